"""Whether slices are plausibly axial brain FLAIR, and what was seen if not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

EXPECTED = "axial FLAIR of a brain: a head seen from below, grey, with dark air around it"
"""What :func:`check` looks for, as a phrase for messages."""


@dataclass(frozen=True)
class Quality:
    """What was seen in an input before it was segmented.

    Attributes
    ----------
    reasons
        Sentences that say why this is not axial brain FLAIR; empty where it plausibly is.
    cautions
        Sentences on what makes the result less certain, and is no reason to refuse.
    measured
        The numbers that were judged, by name.
    """

    reasons: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)

    @property
    def plausible(self) -> bool:
        """Whether this may be axial brain FLAIR."""
        return not self.reasons

    @property
    def findings(self) -> tuple[str, ...]:
        """All that was seen, reasons first."""
        return (*self.reasons, *self.cautions)

    def as_json(self) -> dict[str, Any]:
        """Return the content for ``result.json``."""
        return {
            "plausible": self.plausible,
            "reasons": list(self.reasons),
            "cautions": list(self.cautions),
            "measured": {name: round(value, 4) for name, value in self.measured.items()},
        }


def check(voxels: NDArray[Any]) -> Quality:
    """Return whether slices are plausibly axial brain FLAIR.

    Parameters
    ----------
    voxels
        Axial slices as the network gets to see them, ``(z, y, x, c)`` with 1 channel (FLAIR) or 3
        (pre-contrast T1, FLAIR, post-contrast T1), any real dtype.
    """
    low, high = float(voxels.min()), float(voxels.max())
    if low == high == 0.0:  # as slices of a volume are that another sequence reached and FLAIR did not
        return Quality(cautions=("The image is black throughout: there is no head in it.",))
    if low == high:
        return Quality(("The image is of one shade throughout: there is no head in it.",))
    return Quality()

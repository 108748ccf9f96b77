"""Whether slices are plausibly axial brain FLAIR, and what was seen if not.

A slice's appearance (:mod:`gliomask.appearance`) is held against what no head goes beyond
(:data:`BOUNDS`), and judged by a small network in ``quality.json``. ``docs/quality_check.py`` fits the
network and measures both. They are lenient: a real scan that is refused costs more than a T1 that is
let through.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.appearance import appearance, shared_detail
from gliomask.preprocess import place_padding

EXPECTED = "an axial FLAIR of a brain, as grey or as three MRI sequences, with dark air around the head"
"""What :func:`check` looks for, as a phrase for messages."""

KINDS = ("flair", "t1", "not_axial", "ct", "no_head")
"""What the network tells apart, in the order of its outputs; :data:`SEEN` has them in words."""

MOST_SLICES = 7
"""Slices of a volume that are looked at; more of them say little more."""

FEW = 5
"""Slices from which a volume is judged as one, by a limit stricter than a single slice's."""

SHARED_DETAIL = 0.88
"""Correlation of the channels' fine detail beyond which they are colours of one picture, not sequences (LGG: up to 0.84)."""

COLOURED = 0.05
"""Mean difference of the channels, in shares of the mean brightness, below which they are one grey picture."""

COLOUR_SLICES = 3
"""Slices of a volume whose colours are compared."""

MAPPED_COLOURS, LEAST_COLOURED, LEAST_SPAN = 256, 2000, 32
"""Most colours that a map of 8-bit grey gives; the bright pixels, and the span of two channels, from which three sequences have more.

LGG: no slice has fewer that has them; noise above the head spans less, and where one sequence reaches alone the others are black.
"""

CUT_OFF = 0.25
"""Share of the frame's border with tissue on it from which the head counts as cut off."""


@dataclass(frozen=True)
class Bound:
    """What a number of the appearance never goes beyond in a head.

    Attributes
    ----------
    name
        Of the number.
    least, most
        The bounds, both allowed.
    seen
        What it is if it goes beyond, with the number in braces.
    """

    name: str
    seen: str
    least: float = -np.inf
    most: float = np.inf

    def broken_by(self, numbers: Mapping[str, float]) -> bool:
        """Return whether the number lies beyond the bounds."""
        return not self.least <= numbers[self.name] <= self.most


BOUNDS = (
    # LGG: up to 0.90, where noise above the head fills the frame; brains cut to their frame up to 0.70.
    Bound(
        "straight",
        "a picture that fills a rectangle: {:.0%} along its edges is bright, where a head is round and has dark air around it",
        most=0.92,
    ),
    # LGG: from 0.37.
    Bound("one_piece", "many pieces: the largest is {:.0%} of what is bright, where a head is one", least=0.25),
    # LGG: up to 4.3, and 5.3 where the frame is cut to the head.
    Bound("shell1", "a bright rim around darkness: {:.0f} times as bright as what is inside, where a head holds a brain", most=8.0),
    # LGG: from 0.079; with 64 pixels a side from 0.045.
    Bound("sd", "an even patch: its inside varies by {:.1%}, where a brain has grey and white matter", least=0.03),
    # LGG: from 0.018; with 64 pixels a side from 0.008.
    Bound("texture", "a smooth drawing: its brightness varies by {:.2%} from point to point, less than any scanner's noise", least=0.002),
)
"""What no slice of the dataset goes beyond, with a margin: the network was fitted to few pictures that are no heads."""

TOLD = ("head_share", "border", "mirror_lr", "inner_p98", *(bound.name for bound in BOUNDS))
"""The numbers of the appearance that are told of a case."""


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
        The numbers that were judged, by name: ``margin``, how much likelier FLAIR is than the other
        kind that comes nearest (natural logarithm, mean over the slices); ``limit``, below which it is
        refused; ``head_share`` and ``border``, shares of the frame and of its border; ``mirror_lr``, the
        overlap of the head with its mirror image; ``inner_p98``, the brightest inside in multiples of the
        median inside; and what has :data:`BOUNDS`: ``straight``, the share of tissue along the edges of
        the box around the head; ``one_piece``, the head's share of all that is not air; ``shell1``,
        ``sd`` and ``texture``, in multiples of the median inside: the rim, the spread inside and the
        difference of pixels from their surroundings. Medians over the slices.
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


@dataclass(frozen=True)
class Judge:
    """A network of one hidden layer over a slice's appearance, as ``quality.json`` holds it.

    Attributes
    ----------
    names
        Which numbers of the appearance it takes, in order.
    mean, scale
        Of these numbers over the fitting data.
    layers
        ``(weights, bias)`` of the hidden layer and of the output, one output for each of :data:`KINDS`.
    slice_limits, volume_limits
        For each of :data:`KINDS` but the first, the margin of FLAIR over it below which a slice, or a
        volume, is refused. T1 is hardest to tell, so its limit is the lowest.
    """

    names: tuple[str, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    layers: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]
    slice_limits: NDArray[np.float64]
    volume_limits: NDArray[np.float64]

    def log_probabilities(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the logarithm of each kind's probability ``(n, kinds)`` for appearances ``(n, names)``.

        What lies beyond four standard deviations counts as four, since nothing was fitted there.
        """
        values = np.clip((numbers - self.mean) / self.scale, -4.0, 4.0)
        (weights, bias), (last_weights, last_bias) = self.layers
        scores = np.maximum(values @ weights + bias, 0.0) @ last_weights + last_bias
        scores -= scores.max(axis=1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def check(voxels: NDArray[Any]) -> Quality:
    """Return whether slices are plausibly axial brain FLAIR.

    Parameters
    ----------
    voxels
        Axial slices as the network gets to see them, ``(z, y, x, c)`` with 1 channel (FLAIR) or 3
        (pre-contrast T1, FLAIR, post-contrast T1), any real dtype.

    Returns
    -------
    Quality
        A black slice is plausible, with a caution: volumes have them where FLAIR does not reach.
    """
    flair = voxels[..., voxels.shape[-1] // 2]
    looked = _slices_to_look_at(flair)
    if not looked:
        if float(flair.min()) == float(flair.max()) != 0.0:
            return Quality(("It is of one shade throughout: there is no head in it.",))
        return Quality(cautions=("It is black throughout: there is no head in it.",))
    found = [a for z in looked if (a := appearance(place_padding(flair[z]))) is not None]
    if not found:
        return Quality(("There is no head in it: nothing stands out from the background.",))
    quality = judged(found)
    if voxels.shape[-1] == 3 and (seen := _colour(voxels[looked])):
        return Quality((seen, *quality.reasons), quality.cautions, quality.measured)
    return quality


def judged(found: Sequence[Mapping[str, float]]) -> Quality:
    """Return what the appearances of a case's slices say together."""
    judge = load_judge()
    numbers = np.array([[a[name] for name in judge.names] for a in found])
    evidence = judge.log_probabilities(numbers).mean(axis=0)
    margins = evidence[0] - evidence[1:]
    limits = judge.volume_limits if len(found) >= FEW else judge.slice_limits
    other = int((margins - limits).argmin())
    margin, limit = float(margins[other]), float(limits[other])
    middle = {name: float(np.median([a[name] for a in found])) for name in TOLD}
    measured = {"margin": margin, "limit": limit, **middle}
    for bound in BOUNDS:
        if bound.broken_by(middle):
            told = bound.seen.format(min(middle[bound.name], 1000.0))  # of darkness itself everything is a multiple
            return Quality((f"It looks like {told}.",), (), measured)
    seen = _seen(KINDS[1 + other], middle)
    if margin < limit:
        return Quality((f"It looks like {seen}.",), (), measured)
    cautions = [f"It could also be {seen}."] if margin < 0.0 else []
    if middle["border"] > CUT_OFF:
        cautions.append(f"The head is cut off, or there is no dark air around it: {middle['border']:.0%} of the border is bright.")
    return Quality((), tuple(cautions), measured)


def _slices_to_look_at(flair: NDArray[Any]) -> list[int]:
    """Return the numbers of slices that hold anything; of a volume's some of the middle half, where the head is large."""
    filled = [z for z in range(len(flair)) if float(flair[z].min()) < float(flair[z].max())]
    if len(filled) < FEW:
        return filled
    middle = filled[len(filled) // 4 : len(filled) - len(filled) // 4]
    wanted = np.linspace(0, len(middle) - 1, min(MOST_SLICES, len(middle)))
    middle = [middle[int(z)] for z in wanted]
    return middle if len(middle) >= FEW else filled


def _colour(slices: NDArray[Any]) -> str:
    """Return the sentence on colour if the channels are the colours of one picture, else nothing."""
    few = slices[:: -(-len(slices) // COLOUR_SLICES)]
    levels = few.astype(np.float32)
    difference = max(float(np.abs(levels[..., 1] - levels[..., c]).mean()) for c in (0, 2))
    if difference < COLOURED * max(float(np.abs(levels).mean()), 1e-9):
        return ""
    if mapped := _mapped_colours(few):
        return f"It is in colour as a map of grey values is: {mapped} colours, where three MRI sequences have thousands. Save it in grey."
    shared = float(np.median([shared_detail(s) for s in few]))
    if shared < SHARED_DETAIL:
        return ""
    return (
        "It is in colour as a photograph is: its three channels share their finest detail "
        f"(correlation {shared:.2f}), which three MRI sequences do not."
    )


def _mapped_colours(slices: NDArray[Any]) -> int:
    """Return how many colours the slices have if a map of 8-bit grey may have made them, else 0."""
    if slices.dtype != np.uint8:
        return 0
    brightest = slices.max(axis=-1)
    bright = np.count_nonzero(brightest > brightest.mean(axis=(1, 2), keepdims=True), axis=(1, 2)) > LEAST_COLOURED
    filled = bright & (np.median(np.ptp(slices, axis=(1, 2)), axis=-1) >= LEAST_SPAN)
    most = 0
    for plane in slices[filled]:
        colours = np.unique(plane.astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)).size
        if colours > min(MAPPED_COLOURS, 3 * max(np.unique(plane[..., c]).size for c in range(3))):
            return 0  # each channel of a map follows the grey value; sequences make colours of their own
        most = max(most, colours)
    return most


def _seen(kind: str, middle: Mapping[str, float]) -> str:
    """Return a kind of picture in words, with the number that tells most."""
    if kind == "t1":
        return f"T1: brightness changes from rim to middle as in T1 (the rim is {middle['shell1']:.1f} times as bright), not as in FLAIR"
    if kind == "not_axial":
        return f"a sagittal or coronal slice: its halves agree in outline by {middle['mirror_lr']:.0%}"
    if kind == "ct":
        return f"CT: an even inside within a bright rim ({middle['shell1']:.1f} times as bright)"
    if middle["border"] > CUT_OFF:
        return f"a picture that fills its frame: {middle['border']:.0%} of its border is bright, where a head has dark air around it"
    return f"something other than a head: its largest object covers {middle['head_share']:.0%} of the frame"


@cache
def load_judge() -> Judge:
    """Return the fitted network."""
    content = json.loads(resources.files("gliomask").joinpath("quality.json").read_text(encoding="utf-8"))
    layers = tuple((np.array(layer["weights"]), np.array(layer["bias"])) for layer in content["layers"])
    mean, scale = np.array(content["mean"]), np.array(content["scale"])
    return Judge(tuple(content["names"]), mean, scale, layers, np.array(content["slice_limits"]), np.array(content["volume_limits"]))

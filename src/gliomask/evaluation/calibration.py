"""Whether probabilities mean what they say: reliability and the expected calibration error.

Most pixels of a scan are background to which every model gives a probability of nearly 0, rightly;
over all pixels any model looks calibrated. The same is therefore told of the pixels that the model is
in any doubt about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 20
DOUBT = (0.01, 0.99)
"""Probabilities between which a pixel counts as one that the model is in doubt about."""

ALL_PIXELS, IN_DOUBT = "all pixels", f"pixels with a probability of {DOUBT[0]:g} to {DOUBT[1]:g}"


@dataclass(frozen=True, eq=False)
class Reliability:
    """Pixels by bins of their probability, equally wide from 0 to 1.

    Attributes
    ----------
    pixels, tumour
        How many pixels a bin holds, and how many of them are tumour by the reference; int64.
    probability
        The sum of their probabilities; float64.
    squared_error
        The sum of (probability - truth)² over all pixels, for the Brier score.
    """

    pixels: NDArray[np.int64]
    tumour: NDArray[np.int64]
    probability: NDArray[np.float64]
    squared_error: float

    def plus(self, other: "Reliability") -> "Reliability":
        """Return both together."""
        return Reliability(
            self.pixels + other.pixels,
            self.tumour + other.tumour,
            self.probability + other.probability,
            self.squared_error + other.squared_error,
        )

    @property
    def expected_calibration_error(self) -> float:
        r"""Return the mean distance of what is said from what is, :math:`\sum_b \frac{n_b}{N} |t_b - p_b|` (Guo 2017, arXiv:1706.04599).

        :math:`t_b` is the share of tumour in bin *b* and :math:`p_b` the mean probability there; NaN
        without pixels.
        """
        total = self.pixels.sum()
        return float(np.abs(self.tumour - self.probability).sum() / total) if total else float("nan")

    def as_json(self) -> dict[str, Any]:
        """Return the error and the curve, bins without pixels left out."""
        filled = np.flatnonzero(self.pixels)
        total = int(self.pixels.sum())
        return {
            "pixels": total,
            "expected_calibration_error": self.expected_calibration_error if total else None,
            "brier_score": self.squared_error / total if total else None,
            "curve": [
                {
                    "mean_probability": float(self.probability[b] / self.pixels[b]),
                    "tumour_share": float(self.tumour[b] / self.pixels[b]),
                    "pixels": int(self.pixels[b]),
                }
                for b in filled
            ],
        }


def reliability(probability: NDArray[np.float32], reference: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Return the histogram of probabilities, 0 to 1, against the truth; both of one shape, any dimension.

    >>> two = reliability(np.array([0.25, 0.25], np.float32), np.array([True, False]))
    >>> two.expected_calibration_error
    0.25
    """
    said = probability.astype(np.float64).ravel()
    truth = reference.ravel()
    place = np.minimum((said * bins).astype(np.int64), bins - 1)  # 1 itself belongs to the last bin
    return Reliability(
        np.bincount(place, minlength=bins),
        np.bincount(place[truth], minlength=bins),
        np.asarray(np.bincount(place, weights=said, minlength=bins), np.float64),
        float(np.square(said - truth).sum()),
    )


def in_doubt(probability: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where the model is in doubt, of the same shape."""
    doubt: NDArray[np.bool_] = (probability >= DOUBT[0]) & (probability <= DOUBT[1])
    return doubt


def reliabilities(
    probability: NDArray[np.float32], reference: NDArray[np.bool_], doubt: NDArray[np.bool_] | None = None
) -> dict[str, Reliability]:
    """Return the histograms of all pixels and of those in doubt.

    Parameters
    ----------
    doubt
        Which pixels these are, if not those of *probability* itself: to compare before and after calibration, both
        have to be of the same pixels.
    """
    doubt = in_doubt(probability) if doubt is None else doubt
    return {ALL_PIXELS: reliability(probability, reference), IN_DOUBT: reliability(probability[doubt], reference[doubt])}


def pooled(parts: Sequence[Mapping[str, Reliability]]) -> dict[str, Reliability]:
    """Return the histograms of several patients added up, by region."""
    whole: dict[str, Reliability] = {}
    for part in parts:
        for region, found in part.items():
            whole[region] = whole[region].plus(found) if region in whole else found
    return whole

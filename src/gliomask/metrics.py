"""Overlap of a predicted and a reference mask, the empty case decided once.

Every score is computed from counts of pixels, so that counts can be added over slices of a patient
or over patients before the score is taken.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Confusion(NamedTuple):
    """Pixels by prediction and reference: true and false positives, false and true negatives."""

    tp: int
    fp: int
    fn: int
    tn: int

    def plus(self, other: "Confusion") -> "Confusion":
        """Return the counts of both together."""
        return Confusion(*(a + b for a, b in zip(self, other, strict=True)))


def confusion(predicted: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Confusion:
    """Return the counts over two masks of one shape, any dimension.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if predicted.shape != reference.shape:
        raise ValueError(f"masks of different shapes: predicted {predicted.shape}, reference {reference.shape}")
    both = int(np.count_nonzero(predicted & reference))
    found, marked = int(np.count_nonzero(predicted)), int(np.count_nonzero(reference))
    return Confusion(both, found - both, marked - both, predicted.size - found - marked + both)


def dice(counts: Confusion) -> float:
    """Return 2·TP / (2·TP + FP + FN); 1 if both masks are empty, since they agree (Dice 1945, doi:10.2307/1932409).

    >>> dice(Confusion(tp=3, fp=1, fn=1, tn=95))
    0.75
    """
    denominator = 2 * counts.tp + counts.fp + counts.fn
    return 2 * counts.tp / denominator if denominator else 1.0


def iou(counts: Confusion) -> float:
    """Return TP / (TP + FP + FN), the Jaccard index; 1 if both masks are empty.

    >>> iou(Confusion(tp=3, fp=1, fn=1, tn=95))
    0.6
    """
    denominator = counts.tp + counts.fp + counts.fn
    return counts.tp / denominator if denominator else 1.0


def pixel_accuracy(counts: Confusion) -> float:
    """Return (TP + TN) / all; NaN if there are no pixels."""
    return (counts.tp + counts.tn) / sum(counts) if sum(counts) else float("nan")


def sensitivity(counts: Confusion) -> float:
    """Return TP / (TP + FN), the share of the reference that was found; NaN if the reference is empty: there is nothing to find.

    >>> sensitivity(Confusion(tp=3, fp=2, fn=1, tn=94))
    0.75
    """
    reference = counts.tp + counts.fn
    return counts.tp / reference if reference else float("nan")


def specificity(counts: Confusion) -> float:
    """Return TN / (TN + FP), the share of what is no tumour that was left alone; NaN if all of the reference is tumour.

    >>> specificity(Confusion(tp=3, fp=2, fn=1, tn=6))
    0.75
    """
    negative = counts.tn + counts.fp
    return counts.tn / negative if negative else float("nan")


def precision(counts: Confusion) -> float:
    """Return TP / (TP + FP), the share of what was marked that is tumour; NaN if nothing was marked.

    A patient in whom nothing was marked is thus left out of a mean of precisions; the sensitivity of
    0 tells of it.

    >>> precision(Confusion(tp=3, fp=1, fn=2, tn=94))
    0.75
    """
    marked = counts.tp + counts.fp
    return counts.tp / marked if marked else float("nan")


def area_error(counts: Confusion) -> float:
    """Return (marked - reference) / reference, signed: 0.1 is 10 % too much; NaN if the reference is empty.

    >>> area_error(Confusion(tp=3, fp=3, fn=1, tn=93))
    0.5
    """
    reference = counts.tp + counts.fn
    return (counts.fp - counts.fn) / reference if reference else float("nan")

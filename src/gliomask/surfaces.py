"""Distances between the outlines of two masks, slice by slice.

SciPy's exact Euclidean distance transform does the work. Of the libraries that have these metrics
ready-made, DeepMind's ``surface-distance`` has had no release since 0.1 and weighs outlines by tables
for three dimensions, and MONAI brings PyTorch; the definitions below are MONAI's. (MedPy's ``hd95`` takes
the percentile of both directions' distances together, not the larger of two percentiles.)

An outline is the mask's own pixels that have a neighbour (of four) outside it or outside the picture.
Distances lie in the plane: image files know nothing of the way between slices, and where it is known
it is mostly several times a pixel, so that a distance through the planes would be one of slices.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliomask.bounds import bounding_box
from gliomask.errors import EngineError

TOLERANCE = 2.0
"""Distance up to which outlines count as the same in surface Dice, in pixels (mm where the spacing is
known): about 2 mm in the LGG dataset, and what two careful raters of a diffuse border differ by."""

ROUNDING = 1e-4
"""Share by which a distance may exceed the tolerance and still count as equal to it.

Many lie exactly at it, 2 pixels of 1 mm, and spacings that come from single-precision affines of oblique scans are off by 1e-7.
"""

PERCENTILE = 95.0

Distances = NDArray[np.float64]


@dataclass(frozen=True)
class OutlineDistances:
    """For every pixel of each outline how far the other mask's outline is, pooled over slices.

    Infinite in a slice where the other mask is empty: there is no outline to measure to.
    """

    predicted_to_reference: Distances
    reference_to_predicted: Distances

    def plus(self, other: "OutlineDistances") -> "OutlineDistances":
        """Return the distances of both together."""
        return OutlineDistances(
            np.concatenate([self.predicted_to_reference, other.predicted_to_reference]),
            np.concatenate([self.reference_to_predicted, other.reference_to_predicted]),
        )


def outline_distances(
    predicted: NDArray[np.bool_], reference: NDArray[np.bool_], spacing_yx: tuple[float, float] = (1.0, 1.0)
) -> OutlineDistances:
    """Return the distances between the outlines of two masks ``(z, y, x)``, slice by slice.

    Parameters
    ----------
    predicted, reference
        Masks of one shape, bool.
    spacing_yx
        A pixel's height and width: 1 for distances in pixels, millimetres for distances in mm.

    Raises
    ------
    ValueError
        The shapes differ.
    EngineError
        SciPy is not installed.
    """
    if predicted.shape != reference.shape:
        raise ValueError(f"masks of different shapes: predicted {predicted.shape}, reference {reference.shape}")
    pairs = [_slice_distances(p, r, spacing_yx) for p, r in zip(predicted, reference, strict=True) if p.any() or r.any()]
    nothing = np.empty(0)
    return OutlineDistances(
        np.concatenate([nothing, *(pair[0] for pair in pairs)]), np.concatenate([nothing, *(pair[1] for pair in pairs)])
    )


def _slice_distances(
    predicted: NDArray[np.bool_], reference: NDArray[np.bool_], spacing_yx: tuple[float, float]
) -> tuple[Distances, Distances]:
    try:
        from scipy.ndimage import distance_transform_edt  # half a second that other commands need not wait for
    except ImportError as error:
        raise EngineError("distances between outlines need SciPy. Install it: pip install 'gliomask[evaluate]'.") from error
    box = bounding_box(predicted | reference)  # the transform of a whole slice would take ten times as long
    mine, theirs = outline(predicted)[box], outline(reference)[box]
    to_reference, to_predicted = (
        distance_transform_edt(~edge, sampling=spacing_yx) if edge.any() else np.full(edge.shape, np.inf) for edge in (theirs, mine)
    )
    return to_reference[mine], to_predicted[theirs]


def outline(mask: NDArray[np.bool_], width: int = 1) -> NDArray[np.bool_]:
    """Return the pixels of a mask ``(y, x)`` that lie within *width* pixels of its edge, inside it; beyond the picture is outside."""
    inside = mask
    for _ in range(width):
        padded = np.pad(inside, 1)
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def hd95(distances: OutlineDistances) -> float:
    r"""Return the 95 % Hausdorff distance, :math:`\max(P_{95}(d_{p \to r}), P_{95}(d_{r \to p}))`.

    Over the slices that hold both masks; slices that only one of them marks are no matter of
    distance, and are told by surface Dice and by the sensitivity and specificity over slices.

    0 if both masks are empty, since they agree; NaN if they share no slice, since nothing can be
    measured then (a patient left out of the mean has a Dice of 0, which tells of it).
    """
    forth, back = (d[np.isfinite(d)] for d in (distances.predicted_to_reference, distances.reference_to_predicted))
    if not forth.size:  # an outline in a shared slice has distances both ways
        both_empty = not distances.predicted_to_reference.size and not distances.reference_to_predicted.size
        return 0.0 if both_empty else float("nan")
    return float(max(np.percentile(forth, PERCENTILE), np.percentile(back, PERCENTILE)))


def surface_dice(distances: OutlineDistances, tolerance: float = TOLERANCE) -> float:
    """Return the share of both outlines' pixels that lie within *tolerance* of the other (Nikolov 2021, doi:10.2196/26151).

    Pixels in slices that the other mask leaves empty count as far away. 1 if both masks are empty.
    """
    forth, back = distances.predicted_to_reference, distances.reference_to_predicted
    pixels = forth.size + back.size
    reached = tolerance * (1.0 + ROUNDING)
    within = np.count_nonzero(forth <= reached) + np.count_nonzero(back <= reached)
    return float(within / pixels) if pixels else 1.0

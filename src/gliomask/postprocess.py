"""Array to array: what is done to a network's probabilities before they become a mask.

The network sees slices one by one. What it cannot know of their neighbours is added here, and the
parameters travel with the model in its record, like those of the preprocessing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliomask.bounds import bounding_box
from gliomask.components import components

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

HEAD_MM = 150.0
"""Height that slices without spacing are taken to span together: a head's, from vertex to skull base."""

NEIGHBOUR_MM = 10.0
"""Largest distance of slices in which parts of one lesion are expected to touch."""

ROWS = 16
"""Rows of all slices that are smoothed at a time, so that what lies between takes little memory."""

MOST_CERTAIN = 1e-4
"""Probabilities are kept this far from 0 and 1, so that one slice's certainty can be outvoted by its neighbours."""


@dataclass(frozen=True)
class Postprocessing:
    """How probabilities are combined over slices, and which lesions stay; 0 turns a step off.

    Attributes
    ----------
    edge_pull
        By how much log-odds change at most where FLAIR says that a pixel lies inside or outside, see :func:`gliomask.edges.follow_edges`.
    smoothing_mm
        Standard deviation, across slices, of the Gaussian that averages log-odds.
    smallest_share
        A lesion smaller than this share of the largest one is left out of the mask.
    smallest_share_in_slice
        The same for the parts of a mask in a slice that is judged by itself, where one tumour often has several.
    smallest_area_mm2
        The area in a slice under which a mark is mostly false. In a slice that is judged by itself, parts smaller than this are left
        out. At the ends of a volume's mask, slices with less than this are left unmarked: a tumour fades out there, and experts end it
        sooner or later by judgement.
    smallest_end
        Such an end also has to have less than this share of the largest slice's area, since all slices of a small tumour are small.
    """

    edge_pull: float = 0.0
    smoothing_mm: float = 0.0
    smallest_share: float = 0.0
    smallest_share_in_slice: float = 0.0
    smallest_area_mm2: float = 0.0
    smallest_end: float = 0.0


def log_odds(probability: Float) -> Float:
    """Return log(p / (1 - p)), p being kept :data:`MOST_CERTAIN` away from 0 and 1."""
    kept = np.clip(probability, MOST_CERTAIN, 1.0 - MOST_CERTAIN)
    return np.log(kept / (1.0 - kept))


def from_log_odds(values: Float) -> Float:
    """Return 1 / (1 + exp(-x)): the way back of :func:`log_odds`."""
    return np.reciprocal(1.0 + np.exp(-values), dtype=np.float32)


def slice_distance_mm(slices: int) -> float:
    """Return how far apart the slices of a case without spacing are taken to be: as if they spanned a head.

    A few slices count as far apart, so that pictures which have nothing to do with each other are not mixed.
    """
    return HEAD_MM / max(slices, 1)


def smooth_across_slices(probability: Float, smoothing_mm: float, distance_mm: float) -> Float:
    """Return probabilities ``(z, y, x)`` whose log-odds are a Gaussian mean over neighbouring slices.

    Tumours go on from slice to slice and most errors do not. Outermost slices are repeated beyond the
    end. A kernel that would give the neighbours less than 1 in 1000 changes nothing.

    Parameters
    ----------
    smoothing_mm
        Standard deviation of the Gaussian.
    distance_mm
        From one slice to the next.
    """
    sigma = smoothing_mm / distance_mm
    if len(probability) == 1 or sigma <= 0.0 or np.exp(-0.5 / sigma**2) < 1e-3:
        return probability
    reach = int(np.ceil(3.0 * sigma))
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    smoothed = np.empty_like(probability)
    for top in range(0, probability.shape[1], ROWS):
        odds = np.pad(log_odds(probability[:, top : top + ROWS]), ((reach, reach), (0, 0), (0, 0)), mode="edge")
        mean = sum(weight * odds[first : first + len(probability)] for first, weight in enumerate(weights.astype(np.float32)))
        smoothed[:, top : top + ROWS] = from_log_odds(mean)
    return smoothed


def final_mask(mask: Mask, postprocessing: Postprocessing, distance_mm: float = 0.0, pixel_mm2: float = 1.0) -> Mask:
    """Return what a model's mask is of what reaches its threshold ``(z, y, x)``; parameters as of :func:`without_small_parts`."""
    return without_faint_ends(without_small_parts(mask, postprocessing, distance_mm, pixel_mm2), postprocessing, distance_mm, pixel_mm2)


def without_small_parts(mask: Mask, postprocessing: Postprocessing, distance_mm: float = 0.0, pixel_mm2: float = 1.0) -> Mask:
    """Return a mask ``(z, y, x)`` without the lesions that are small beside the largest, or small for a slice by itself.

    Voxels belong to one lesion if they touch by a face, an edge or a corner. A slice alone, and slices
    further apart than :data:`NEIGHBOUR_MM`, are judged one by one, since a lesion's parts in them need not touch.

    Parameters
    ----------
    postprocessing
        How small is too small.
    distance_mm
        From one slice to the next.
    pixel_mm2
        The area of a pixel.
    """
    if _is_one_volume(mask, distance_mm):
        return _without_small(mask, postprocessing.smallest_share)
    share, pixels = postprocessing.smallest_share_in_slice, postprocessing.smallest_area_mm2 / pixel_mm2
    return np.concatenate([_without_small(mask[z : z + 1], share, pixels) for z in range(len(mask))])


def without_faint_ends(mask: Mask, postprocessing: Postprocessing, distance_mm: float = 0.0, pixel_mm2: float = 1.0) -> Mask:
    """Return a mask ``(z, y, x)`` without the little in its first and last slices; parameters as of :func:`without_small_parts`."""
    if not mask.any() or not _is_one_volume(mask, distance_mm):
        return mask
    areas = np.count_nonzero(mask, axis=(1, 2))
    enough = np.flatnonzero(areas >= min(postprocessing.smallest_area_mm2 / pixel_mm2, postprocessing.smallest_end * areas.max()))
    kept = np.zeros_like(mask)
    kept[enough[0] : enough[-1] + 1] = mask[enough[0] : enough[-1] + 1]
    return kept


def _is_one_volume(mask: Mask, distance_mm: float) -> bool:
    """Return whether a mask's slices are near enough to each other to hold parts of one lesion."""
    return len(mask) > 1 and distance_mm <= NEIGHBOUR_MM


def _without_small(mask: Mask, smallest_share: float, smallest: float = 0.0) -> Mask:
    """Return a mask without its parts of fewer than *smallest* voxels or *smallest_share* of the largest one's."""
    if max(smallest_share, smallest) <= 0.0 or not mask.any():
        return mask
    box = bounding_box(mask)
    labels, _ = components(mask[box])
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = np.zeros_like(mask)
    kept[box] = mask[box] & (sizes >= max(smallest, smallest_share * sizes.max()))[labels]
    return kept

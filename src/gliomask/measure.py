"""Mask to numbers: lesions, millilitres, diameters.

Masks are ``(z, y, x)`` bool. An affine ``(4, 4)`` takes voxel indices in the order x, y, z to
millimetres in RAS+, as nibabel has it; None says that the input carries no geometry, and then there
are voxels and no millimetres. Indices count from 0, and ranges include their last index. Slices are
axial ones and count from the bottom of the head as in the overlay, whichever way the array runs.
"""

from dataclasses import dataclass
from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from gliomask.components import components
from gliomask.diameters import EQUAL, diameters
from gliomask.errors import InputError
from gliomask.grid import radiological

Mask = NDArray[np.bool_]
Affine = NDArray[np.float64]
Laterality = Literal["left", "right", "midline"]
Triple = tuple[float, float, float]


MIDLINE_MM = 10.0
"""Up to this distance from the head's middle a centroid is at the midline: a head turned by 8° moves it by as much at its front."""

EDGE_MM = 5.0
"""A head that comes this close to the edge of the field counts as cut off: its mask ends before the edge where the tissue there is dark."""

CUT_HEAD = 0.25
"""Smallest share of the head's rows that have to show both of its ends for its middle to count as known."""

ML_DECIMALS, MM_DECIMALS, PROBABILITY_DECIMALS = 3, 1, 4
NO_SPACING = "the input carries no spacing"


@dataclass(frozen=True)
class Lesion:
    r"""One connected part of a mask.

    Attributes
    ----------
    number
        1 is the largest.
    voxels, volume_ml
        Its size; millilitres are voxels times \|det(affine)\| / 1000, None without an affine.
    centroid_voxel, centroid_mm
        The mean of its voxels' centres: indices (x, y, z), and RAS+ (None without an affine).
    laterality
        The patient's side on which the centroid lies, ``"midline"`` within :data:`MIDLINE_MM` of the
        head's middle; None where the orientation or the head is unknown, or the field cuts the head off.
    longest_axial_diameter_mm, perpendicular_mm, bidimensional_product_mm2
        See :func:`lesions`; None without an affine.
    diameter_slice
        The slice in which they were measured; None without an affine.
    slices, slice_range
        How many axial slices it spans, and the first and the last of them.
    bounding_box_voxel
        The smallest and the largest indices (x, y, z) of its voxels; both belong to it.
    touches_border
        Whether it reaches an outermost plane of the volume, so that part of it may be missing.
    mean_probability, peak_probability
        The mean of its voxels' probabilities, which for calibrated ones is the share of them expected to
        be tumour, and the highest; None where no probabilities were given.
    """

    number: int
    voxels: int
    volume_ml: float | None
    centroid_voxel: Triple
    centroid_mm: Triple | None
    laterality: Laterality | None
    longest_axial_diameter_mm: float | None
    perpendicular_mm: float | None
    bidimensional_product_mm2: float | None
    diameter_slice: int | None
    slices: int
    slice_range: tuple[int, int]
    bounding_box_voxel: tuple[tuple[int, int, int], tuple[int, int, int]]
    touches_border: bool
    mean_probability: float | None
    peak_probability: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the lesion as plain types, millilitres rounded to 3 decimals and millimetres to 1."""
        first, last = self.bounding_box_voxel
        return {
            "number": self.number,
            "voxels": self.voxels,
            "volume_ml": _rounded(self.volume_ml, ML_DECIMALS),
            "centroid_voxel": [_rounded(c, MM_DECIMALS) for c in self.centroid_voxel],
            "centroid_mm": None if self.centroid_mm is None else [_rounded(c, MM_DECIMALS) for c in self.centroid_mm],
            "laterality": self.laterality,
            "longest_axial_diameter_mm": _rounded(self.longest_axial_diameter_mm, MM_DECIMALS),
            "perpendicular_mm": _rounded(self.perpendicular_mm, MM_DECIMALS),
            "bidimensional_product_mm2": _rounded(self.bidimensional_product_mm2, MM_DECIMALS),
            "diameter_slice": self.diameter_slice,
            "slices": self.slices,
            "slice_range": list(self.slice_range),
            "bounding_box_voxel": {"first": list(first), "last": list(last)},
            "touches_border": self.touches_border,
            "mean_probability": _rounded(self.mean_probability, PROBABILITY_DECIMALS),
            "peak_probability": _rounded(self.peak_probability, PROBABILITY_DECIMALS),
        }


@dataclass(frozen=True)
class Removed:
    """How many lesions were removed for being small, and how large they were together."""

    lesions: int
    volume_ml: float


def area_pixels(mask: Mask) -> list[int]:
    """Return the number of marked pixels of each slice of a mask ``(z, y, x)``."""
    return [int(n) for n in np.count_nonzero(mask, axis=(1, 2))]


def volume_ml(mask: Mask, affine: Affine | None) -> float | None:
    r"""Return the volume of a mask in millilitres, voxels times \|det(affine)\| / 1000; None without an affine."""
    return None if affine is None else int(np.count_nonzero(mask)) * _voxel_ml(affine)


def slice_axis(affine: Affine | None) -> tuple[int, bool]:
    """Return the array axis (0 is z, 1 is y, 2 is x) along which axial slices follow each other, and whether it runs downwards.

    It is the one nearest to the patient's long axis; without an affine the first, upwards, as image
    files hold axial slices in their order.
    """
    if affine is None:
        return 0, False
    axes, flips = radiological(affine)
    return axes[0], flips[0].step == -1


def lesions(
    mask: Mask,
    affine: Affine | None = None,
    *,
    oriented: bool = True,
    head: Mask | None = None,
    probability: NDArray[np.floating[Any]] | None = None,
) -> list[Lesion]:
    """Return the connected parts of a mask, the largest first; an empty mask has none.

    The two diameters are those of the RANO criteria (Wen 2010, doi:10.1200/JCO.2009.26.3541; for
    lower-grade gliomas on FLAIR van den Bent 2011, doi:10.1016/S1470-2045(11)70057-2), read off a
    mask as follows:

    - Slices are the volume's own planes across the axis nearest to superior (:func:`slice_axis`), and
      a lesion's part in a slice is the area of its pixels up to their outer edges.
    - The longest diameter is the greatest distance in mm between two points of that area, over all
      slices. The points are corners of pixels. Of equally long ones (but for rounding) the one
      with the largest perpendicular counts, then the one in the lowest slice, so that the numbers do
      not depend on the order in which the array is stored.
    - The perpendicular lies in the same slice, at exactly a right angle to the longest diameter: of
      all such lines it is the greatest distance between the two outermost points of the area on one
      line. Like the longest diameter it ends on the lesion and may cross a gap in it.
    - The bidimensional product is the product of the two.

    Distances go through the affine, so that anisotropic, oblique and sheared volumes are right. RANO
    has its own rules on which lesions are measurable, and a radiologist leaves out cysts and cavities;
    neither is done here.

    Laterality compares the centroid with the head's middle in the lesion's own slices: the median
    over image rows of the middle between the head's two ends. Rows in which the head comes within :data:`EDGE_MM`
    of the left or right edge of the field have no known end and are left out; it is None if fewer than
    :data:`CUT_HEAD` of the head's rows remain.

    Parameters
    ----------
    mask
        ``(z, y, x)`` bool.
    affine
        ``(4, 4)``, voxel indices (x, y, z) to RAS+ mm; None where there is no geometry.
    oriented
        Whether the affine tells the patient's directions, and not sizes alone; centroids in mm need it.
    head
        ``(z, y, x)`` bool, where the head is; laterality needs it.
    probability
        ``(z, y, x)``, 0 to 1, for each lesion's mean and peak.

    Raises
    ------
    InputError
        The mask is not three-dimensional, or *head* or *probability* has another shape.
    """
    for array in (mask, head, probability):
        if array is not None and (array.shape != mask.shape or array.ndim != 3):
            raise InputError(f"a mask of shape {mask.shape} with an array of shape {array.shape}; expected one shape (z, y, x).")
    labels, count = components(mask)
    if count == 0:
        return []
    statistics = cc3d.statistics(labels)
    frame = _frame(mask.shape, affine, head, oriented)
    order = np.argsort(-statistics["voxel_counts"][1:].astype(np.int64), kind="stable") + 1
    found = []
    for number, label in enumerate(order, start=1):
        box = statistics["bounding_boxes"][label]
        inside = labels[box] == label
        inner = None if probability is None else probability[box][inside]
        found.append(_lesion(number, inside, box, statistics["centroids"][label][::-1], inner, frame))
    return found


def remove_small(mask: Mask, affine: Affine | None, min_ml: float) -> tuple[Mask, Removed]:
    """Return the mask without lesions smaller than *min_ml* millilitres, and what was removed.

    Raises
    ------
    InputError
        There is no affine, so that nothing is known in millilitres, or *min_ml* is negative or not
        a number.
    """
    if affine is None:
        raise InputError(f"lesions under {min_ml:g} ml cannot be removed: {NO_SPACING}. Leave --min-lesion-ml out.")
    if not 0.0 <= min_ml < np.inf:
        raise InputError(f"smallest lesion of {min_ml} ml: expected 0 or more.")
    labels, _ = components(mask)
    sizes_ml = np.bincount(labels.ravel()) * _voxel_ml(affine)
    # A lesion of exactly the limit stays, whatever its last digit came out as.
    small = sizes_ml < min_ml * (1.0 - EQUAL)
    small[0] = False
    return mask & ~small[labels], Removed(int(small.sum()), float(sizes_ml[small].sum()))


def measurements(
    mask: Mask,
    affine: Affine | None = None,
    *,
    oriented: bool = True,
    head: Mask | None = None,
    probability: NDArray[np.floating[Any]] | None = None,
) -> dict[str, Any]:
    """Return everything that is measured of a mask as plain types for JSON; parameters as of :func:`lesions`.

    Volumes are rounded to 3 decimals of a millilitre, lengths to 1 of a millimetre; what is not 0
    never becomes 0. Without an affine ``volume_ml`` is None and ``volume_ml_reason`` says why. An
    empty mask has 0 voxels, no lesions, and None for where they would be.

    Examples
    --------
    >>> mask = np.zeros((4, 9, 9), bool)
    >>> mask[1:3, 2:5, 2:6] = True
    >>> found = measurements(mask, np.diag([1.0, 1.0, 5.0, 1.0]))
    >>> found["volume_ml"], found["slice_range"], found["lesions"][0]["longest_axial_diameter_mm"]
    (0.12, [1, 2], 5.0)
    """
    found = lesions(mask, affine, oriented=oriented, head=head, probability=probability)
    axis, downwards = slice_axis(affine)
    planes = np.flatnonzero(np.flip(np.any(mask, axis=tuple(a for a in range(3) if a != axis)), 0 if downwards else ()))
    boxes = np.array([lesion.bounding_box_voxel for lesion in found])
    box = {"first": boxes[:, 0].min(axis=0).tolist(), "last": boxes[:, 1].max(axis=0).tolist()} if found else None
    total_ml = volume_ml(mask, affine)
    return {
        "voxels": sum(lesion.voxels for lesion in found),
        "volume_ml": _rounded(total_ml, ML_DECIMALS),
        **({"volume_ml_reason": NO_SPACING} if total_ml is None else {}),
        "lesion_count": len(found),
        "slice_axis": "zyx"[axis],
        "slice_count": mask.shape[axis],
        "slices_with_lesion": len(planes),
        "slice_range": [int(planes[0]), int(planes[-1])] if found else None,
        "bounding_box_voxel": box,
        "touches_border": any(lesion.touches_border for lesion in found),
        "lesions": [lesion.as_json() for lesion in found],
    }


@dataclass(frozen=True)
class _Frame:
    """What all lesions of a mask are measured with.

    ``plane`` holds the steps in mm from row to row and from column to column within a slice, turned
    into the slice's own two axes; ``middles`` is of :func:`_row_middles`; ``to_patient`` is the affine where it tells the patient's
    directions.
    """

    shape: tuple[int, ...]
    axis: int
    downwards: bool
    to_patient: Affine | None
    voxel_ml: float | None
    plane: NDArray[np.float64] | None
    middles: NDArray[np.float64] | None

    def slice_number(self, index: int) -> int:
        """Return a slice's number from the bottom of the head, given its index along the axis."""
        return self.shape[self.axis] - 1 - index if self.downwards else index


def _frame(shape: tuple[int, ...], affine: Affine | None, head: Mask | None, oriented: bool) -> _Frame:
    axis, downwards = slice_axis(affine)
    if affine is None:
        return _Frame(shape, axis, downwards, None, None, None, None)
    row_axis, column_axis = (a for a in range(3) if a != axis)
    # The Cholesky factor keeps lengths and angles of the two steps and drops where they point in space.
    steps = affine[:3, [2 - row_axis, 2 - column_axis]]
    plane: NDArray[np.float64] = np.linalg.cholesky(steps.T @ steps).T.astype(np.float64)
    to_patient, middles = affine if oriented else None, None if head is None else _row_middles(head, affine)
    return _Frame(shape, axis, downwards, to_patient, _voxel_ml(affine), plane, middles)


def _lesion(
    number: int,
    inside: Mask,
    box: tuple[slice, slice, slice],
    centroid: NDArray[np.float64],
    probability: NDArray[np.floating[Any]] | None,
    frame: _Frame,
) -> Lesion:
    """Return the measurements of a lesion that fills *inside* within its bounding box, *probability* being its voxels'."""
    first, last = box[frame.axis].start, box[frame.axis].stop - 1
    voxels = int(np.count_nonzero(inside))
    volume = None if frame.voxel_ml is None else voxels * frame.voxel_ml
    place = None if frame.to_patient is None else frame.to_patient[:3, :3] @ centroid + frame.to_patient[:3, 3]
    side = None if place is None or frame.middles is None else _side(float(place[0]), frame.middles[first : last + 1])
    ends = frame.slice_number(first), frame.slice_number(last)
    longest = perpendicular = product = at = None
    if frame.plane is not None:
        upwards = np.moveaxis(inside, frame.axis, 0)[:: -1 if frame.downwards else 1]
        longest, perpendicular, at = diameters(upwards, frame.plane)
        product, at = longest * perpendicular, min(ends) + at
    return Lesion(
        number=number,
        voxels=voxels,
        volume_ml=volume,
        centroid_voxel=_triple(centroid),
        centroid_mm=None if place is None else _triple(place),
        laterality=side,
        longest_axial_diameter_mm=longest,
        perpendicular_mm=perpendicular,
        bidimensional_product_mm2=product,
        diameter_slice=at,
        slices=last - first + 1,
        slice_range=(min(ends), max(ends)),
        bounding_box_voxel=((box[2].start, box[1].start, box[0].start), (box[2].stop - 1, box[1].stop - 1, box[0].stop - 1)),
        # Along an axis with a single plane everything would touch.
        touches_border=any(n > 1 and (s.start == 0 or s.stop == n) for s, n in zip(box, frame.shape, strict=True)),
        mean_probability=None if probability is None else float(probability.mean(dtype=np.float64)),
        peak_probability=None if probability is None else float(probability.max()),
    )


def _voxel_ml(affine: Affine) -> float:
    return float(abs(np.linalg.det(affine[:3, :3]))) / 1000.0


def _row_middles(head: Mask, affine: Affine) -> NDArray[np.float64]:
    """Return the R coordinate in mm of the head's middle in each row, ``(slice, row)``.

    It is NaN where a row shows no head, and infinite where the head comes within :data:`EDGE_MM` of the
    left or right edge of the field, so that an end of it is not seen. Rows run along the array axis nearest to left-right.
    """
    (across_slices, along_column, along_row), _ = radiological(affine)
    rows = head.transpose(across_slices, along_column, along_row)
    start = rows.argmax(axis=2)
    stop = rows.shape[2] - 1 - rows[:, :, ::-1].argmax(axis=2)
    right = affine[0, :3]
    slices, columns = np.indices(start.shape)
    middle = right[2 - across_slices] * slices + right[2 - along_column] * columns + right[2 - along_row] * (start + stop) / 2.0
    edge = max(1, round(EDGE_MM / float(np.linalg.norm(affine[:3, 2 - along_row]))))
    is_cut = (start < edge) | (stop >= rows.shape[2] - edge)
    return np.where(rows.any(axis=2), np.where(is_cut, np.inf, middle + affine[0, 3]), np.nan)


def _side(right_mm: float, middles: NDArray[np.float64]) -> Laterality | None:
    """Return on which side of the head's middle a point lies; None where its slices show no head or too little of it."""
    known = middles[np.isfinite(middles)]
    if known.size == 0 or known.size < CUT_HEAD * np.count_nonzero(~np.isnan(middles)):
        return None
    offset = right_mm - float(np.median(known))
    if abs(offset) <= MIDLINE_MM:
        return "midline"
    return "right" if offset > 0 else "left"


def _triple(values: NDArray[np.float64]) -> Triple:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _rounded(value: float | None, decimals: int) -> float | None:
    """Return the value rounded; what is not 0 keeps two significant digits rather than become 0."""
    if value is None:
        return None
    return round(value, decimals) or float(f"{value:.2g}")

"""A predicted mask and its reference, read, on one grid, and turned to axial slices."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import InputError
from gliomask.grid import CORNER_TOLERANCE_MM, corners_apart_mm, radiological
from gliomask.io import read_mask
from gliomask.io.naming import is_nifti


@dataclass(frozen=True, eq=False)
class MaskPair:
    """Two masks ``(z, y, x)``, bool, as the reference's file has them, and the affine they share; None where they have no geometry.

    ``turned`` says that the predicted mask's file has its axes in another order or direction.
    """

    predicted: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    affine: NDArray[np.float64] | None = None
    turned: bool = False

    @property
    def pixel_mm(self) -> tuple[float, float] | None:
        """A pixel's height and width in the slices of :meth:`axial`; None without geometry."""
        if self.affine is None:
            return None
        axes, _ = radiological(self.affine)
        spacing_zyx = np.linalg.norm(self.affine[:3, :3], axis=0)[::-1]
        return float(spacing_zyx[axes[1]]), float(spacing_zyx[axes[2]])

    @property
    def aspect(self) -> float:
        """A pixel's height by its width in the slices of :meth:`axial`; 1 without geometry."""
        height, width = self.pixel_mm or (1.0, 1.0)
        return height / width

    def axial(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array on the masks' grid as axial slices, patient's right on the left; as it is without geometry."""
        if self.affine is None:
            return array
        axes, flips = radiological(self.affine)
        return array.transpose(axes)[flips]


def read_pair(mine: Path, theirs: Path) -> MaskPair:
    """Return a predicted mask and its reference, both NIfTI or both images.

    NIfTI masks whose affines put the same voxels in the same places fit together, whatever the order and direction of their axes.

    Raises
    ------
    InputError
        One cannot be read, has another size or place than the other, or has a geometry where the other has none.
    """
    return _read_nifti(mine, theirs) if is_nifti(theirs) else _read_images(mine, theirs)


def _read_images(mine: Path, theirs: Path) -> MaskPair:
    predicted, reference = read_mask(mine), read_mask(theirs)
    if predicted.shape != reference.shape:
        raise InputError(f"{mine}: is {sizes(predicted.shape)} (x, y, pages), its reference {theirs} {sizes(reference.shape)}.")
    return MaskPair(predicted, reference)


def _read_nifti(mine: Path, theirs: Path) -> MaskPair:
    from gliomask.io.nifti import read_nifti_mask, turned_onto  # nibabel: half a second that image masks need not wait for

    (predicted, affine), (reference, expected) = read_nifti_mask(mine), read_nifti_mask(theirs)
    if affine is not None and expected is not None:
        if _apart_mm(predicted, affine, reference, expected) <= CORNER_TOLERANCE_MM:
            return MaskPair(predicted, reference, expected)
        turned, moved = turned_onto(predicted, affine, expected)
        if _apart_mm(turned, moved, reference, expected) <= CORNER_TOLERANCE_MM:
            return MaskPair(turned, reference, expected, turned=True)
    if predicted.shape != reference.shape:
        raise InputError(
            f"{mine}: is {sizes(predicted.shape)} voxels (x, y, z), its reference {theirs} {sizes(reference.shape)}. "
            "Masks have to share a grid: resample one onto the other."
        )
    if affine is None and expected is None:
        return MaskPair(predicted, reference)
    if affine is None or expected is None:
        without, other = (mine, theirs) if affine is None else (theirs, mine)
        raise InputError(
            f"{without}: a mask of image files, without geometry, and {other} has one. Masks have to share a grid: give both as images."
        )
    apart_mm = corners_apart_mm(predicted.shape, affine, expected)
    raise InputError(
        f"{mine}: lies up to {apart_mm:.3g} mm from its reference {theirs} by the affines, although both have the same size. Masks "
        "have to share a grid: resample one onto the other, or mend the header."
    )


def _apart_mm(one: NDArray[np.bool_], affine: NDArray[np.float64], other: NDArray[np.bool_], expected: NDArray[np.float64]) -> float:
    """Return how far the corners of two masks lie apart at the most; infinitely far where they differ in size."""
    return corners_apart_mm(one.shape, affine, expected) if one.shape == other.shape else float("inf")


def sizes(shape: tuple[int, ...]) -> str:
    """Return a shape ``(z, y, x)`` as people write it.

    >>> sizes((1, 240, 256))
    '256 x 240 x 1'
    """
    return " x ".join(map(str, shape[::-1]))

"""Reference masks beside a case's files, brought into the case's own array."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gliomask.app.uploads import subject_of
from gliomask.errors import InputError
from gliomask.grid import CORNER_TOLERANCE_MM, corners_apart_mm
from gliomask.io import CaseSource, read_mask
from gliomask.io.naming import is_image, is_mask, is_nifti, stem_of
from gliomask.volume import Volume


def masks_beside(source: CaseSource) -> tuple[Path, ...]:
    """Return the reference masks that lie beside a case's files under names that say so, in the order of the files."""
    if source.kind == "dicom" or not source.files:
        return ()
    beside = [p for p in sorted(source.files[0].parent.iterdir()) if is_mask(p)]
    if source.kind == "nifti":
        same = [p for p in beside if is_nifti(p) and subject_of(p.name) == subject_of(source.files[0].name)]
        return tuple(same[:1])
    by_stem = {stem_of(p).casefold(): p for p in beside if is_image(p)}
    wanted = (f"{stem_of(file)}_mask".casefold() for file in source.files)
    return tuple(by_stem[stem] for stem in wanted if stem in by_stem)


def slices_without(source: CaseSource) -> int:
    """Return how many of a case's slice files have no mask of their own beside them, where others have."""
    masks = masks_beside(source) if source.kind == "images" else ()
    return len(source.files) - len(masks) if masks else 0


def read_reference(source: CaseSource, volume: Volume) -> NDArray[np.bool_] | None:
    """Return the reference mask of a case ``(z, y, x)``; None where there is none. A slice without a file has an empty one.

    Raises
    ------
    InputError
        A mask cannot be read, or is not of the case's size or place.
    """
    masks = masks_beside(source)
    if not masks:
        return None
    if source.kind == "nifti":
        return _nifti_reference(masks[0], volume)
    by_stem = {stem_of(mask).casefold(): mask for mask in masks}
    empty = np.zeros((1, *volume.voxels.shape[1:3]), bool)
    pages = [by_stem.get(f"{stem_of(file)}_mask".casefold()) for file in source.files]
    reference = np.concatenate([empty if mask is None else _of_size(mask, read_mask(mask), volume) for mask in pages])
    if len(reference) != len(volume.voxels):
        raise InputError(f"{masks[0]}: {len(reference)} page(s) for {len(volume.voxels)} slices. Give a mask for each slice.")
    return reference


def _nifti_reference(path: Path, volume: Volume) -> NDArray[np.bool_]:
    from gliomask.io.nifti import read_nifti_mask, turned_onto  # nibabel, wanted for NIfTI alone

    mask, affine = read_nifti_mask(path)
    if affine is not None and volume.affine is not None:
        mask, affine = turned_onto(mask, affine, volume.affine)
    reference = _of_size(path, mask, volume)
    if len(mask) != len(volume.voxels):
        raise InputError(f"{path}: a mask of {len(mask)} slices for a scan of {len(volume.voxels)}. Give the mask of this scan.")
    if volume.affine is not None:
        if affine is None:
            raise InputError(f"{path}: a mask of image files, which says nothing of its place. Give a mask on the scan's own grid.")
        apart = corners_apart_mm(mask.shape, affine, volume.affine)
        if apart > CORNER_TOLERANCE_MM:
            raise InputError(f"{path}: lies {apart:.1f} mm from the scan by its affine. Resample it onto the scan first.")
    return reference


def _of_size(path: Path, mask: NDArray[np.bool_], volume: Volume) -> NDArray[np.bool_]:
    """Return the mask if its slices have the volume's size."""
    if mask.shape[1:] != volume.voxels.shape[1:3]:
        found, wanted = (" x ".join(map(str, reversed(shape[1:3]))) for shape in (mask.shape, volume.voxels.shape))
        raise InputError(f"{path}: a mask of {found} voxels a slice for a scan of {wanted}. Give the mask of this scan.")
    return mask

"""NIfTI-1 and NIfTI-2, read and written with nibabel; a mask has its input's header."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from gliomask.errors import InputError
from gliomask.grid import SMALLEST_COVER, resampled
from gliomask.io.access import check_opens
from gliomask.io.images import MAX_LABELS, MAX_PIXELS
from gliomask.io.naming import quoted
from gliomask.io.silence import unwarned
from gliomask.io.writing import atomic_path
from gliomask.preprocess import rough_head
from gliomask.volume import CHANNELS, Volume, checked_affine

MAX_SLICES = 2048
"""Most slices along any axis; more is no head."""

MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
"""How long a header's unit is; where it names none, millimetres are meant."""

NO_GEOMETRY = b"gliomask; no geometry known"
"""What :func:`write_nifti` puts into the description where a volume has no affine."""

GZIP = b"\x1f\x8b"
"""What a gzip file begins with, whatever it is called."""

MOST_BEHIND = 2**24
"""Most bytes behind the voxels that are unpacked to come to gzip's checksum; there are none in a proper file."""

SAMPLE = 100_000  # voxels looked at before all are, to tell an image from a mask

UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    zlib.error,
    gzip.BadGzipFile,
)


@dataclass(frozen=True)
class NiftiOrigin:
    """What a NIfTI file that a volume came from says of itself: header, affine in its own unit, the array's shape."""

    header: Any
    affine: Any
    shape: tuple[int, ...]


def read_nifti(
    path: Path, name: str, pre: Path | None = None, post: Path | None = None, *, strict: bool = True, max_pixels: int | None = None
) -> Volume:
    """Return a NIfTI file's volume, FLAIR alone or with T1 resampled onto its grid.

    Parameters
    ----------
    path
        FLAIR: 3-D, or 4-D with a single volume.
    pre, post
        T1 before and after contrast, in the same space by their affines. Where one is given, FLAIR
        stands in for the other, as in the LGG dataset.
    strict
        Whether T1 that cannot be used is an error; else it is left out and noted.
    max_pixels
        Most voxels that are read of a file; None is :data:`gliomask.io.images.MAX_PIXELS`.

    Raises
    ------
    InputError
        Not to be read, damaged, no image of real numbers, several volumes, a header without a usable geometry, too
        large, a mask, or T1 that does not lie where FLAIR does.
    """
    image, array = _loaded(path, max_pixels)
    affine = _affine_mm(path, image)
    _check_is_no_mask(path, array)
    notes = _geometry_notes(image.header)
    if 1 in array.shape:
        thickness = np.linalg.norm(affine[:3, array.shape[::-1].index(1)])
        notes.append(f"one slice only, taken as {thickness:g} mm thick")
    voxels = array[..., None]
    if pre or post:
        head = rough_head(array)
        given = ((pre, CHANNELS[0]), (post, CHANNELS[2]))
        before, after = (None if p is None else _sequence(p, role, head, affine, path, strict, notes, max_pixels) for p, role in given)
        if before is not None or after is not None:
            flair = array.astype(np.float32)
            voxels = np.stack([flair if s is None else s for s in (before, flair, after)], axis=-1)
    origin = NiftiOrigin(image.header, image.affine, image.shape)
    return Volume(voxels, name, (), path, tuple(notes), None, affine, origin, oriented=_tells_directions(image.header))


def read_nifti_mask(path: Path) -> tuple[NDArray[np.bool_], NDArray[np.float64] | None]:
    """Return a mask ``(z, y, x)``, whatever is not 0 being inside, and its affine; None if :func:`write_nifti` knew of none.

    Raises
    ------
    InputError
        As :func:`read_nifti`, but that it has to be a mask: 0 and one other value, or whole numbers, few of them different.
    """
    image, array = _loaded(path)
    _check_finite(path, array)
    values = np.unique(array)
    binary = values.size <= 2 and 0 in values  # whatever a slope makes of the other
    if not binary and (values.size > MAX_LABELS or not np.array_equal(values, np.round(values))):
        raise InputError(
            f"{path}: holds {values.size} different values from {values[0]:g} to {values[-1]:g}: a scan or probabilities, not a mask. "
            "Give a file of labels, such as a case's *_mask.nii.gz."
        )
    placeless = not _tells_directions(image.header) and image.header["descrip"].item() == NO_GEOMETRY
    return array != 0, None if placeless else _affine_mm(path, image)


def is_oriented(path: Path) -> bool:
    """Return whether a file that can be read tells the patient's directions, and not the voxels' size alone."""
    with _unpacked(path) as file, unwarned():
        image, _ = _image(path, file)
    return _tells_directions(image.header)


def turned_onto(
    mask: NDArray[np.bool_], affine: NDArray[np.float64], wanted: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return a mask ``(z, y, x)`` with its axes in the order and direction nearest to those of another affine, and its own affine then."""
    way = ornt_transform(io_orientation(affine), io_orientation(wanted))
    array = mask.transpose(2, 1, 0)
    return apply_orientation(array, way).transpose(2, 1, 0), affine @ inv_ornt_aff(way, array.shape)


def nifti_shape(path: Path) -> tuple[int, ...]:
    """Return the shape that a file's header gives, nothing of its voxels being read.

    Raises
    ------
    InputError
        It is no NIfTI. On damage nibabel, NumPy and gzip raise their own.
    """
    with _unpacked(path) as file, unwarned():
        image, _ = _image(path, file)
    return tuple(image.shape)


def write_nifti(array: NDArray[Any], volume: Volume, path: Path) -> None:
    """Write an array ``(z, y, x)`` on a volume's grid, bool as uint8, float as float32, atomically.

    A NIfTI input's header is kept with its affines, codes and zooms; what may name the patient
    (description, extensions) is not. Without geometry the affine's codes are 0, which is NIfTI's
    way to say that nothing is known.
    """
    stored = array.astype(np.uint8 if array.dtype == bool else np.float32).transpose(2, 1, 0)
    if isinstance(volume.origin, NiftiOrigin):
        origin = volume.origin
        kind: Any = nibabel.Nifti2Image if isinstance(origin.header, nibabel.Nifti2Header) else nibabel.Nifti1Image
        header = origin.header.copy()
        header.extensions.clear()
        header.set_slope_inter(1, 0)
        header["cal_min"], header["cal_max"], header["intent_code"] = 0, 0, 0
        for field in {"aux_file", "intent_name", "db_name", "data_type"} & set(header.keys()):
            header[field] = b""
        header.set_data_dtype(stored.dtype)
        image = kind(stored.reshape(origin.shape), origin.affine, header, dtype=stored.dtype)
    else:
        image = nibabel.Nifti1Image(stored, volume.affine, dtype=stored.dtype)
        if volume.affine is not None:
            image.set_qform(_without_shear(volume.affine), 1)
            image.set_sform(volume.affine, 1)
            image.header["pixdim"][1:4] = volume.spacing_mm
            image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"gliomask" if volume.affine is not None else NO_GEOMETRY
    with atomic_path(path) as temporary:
        nibabel.save(image, temporary)


def _without_shear(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the affine with its slices one above the other: rows and columns where they are, as ITK reads a tilted DICOM series.

    A qform has no room for a gantry's tilt; the sform beside it has.
    """
    upright = affine.copy()
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal *= np.sign(normal @ affine[:3, 2]) / np.linalg.norm(normal)
    upright[:3, 2] = normal * np.linalg.norm(affine[:3, 2])
    return upright


def _affine_mm(path: Path, image: Any) -> NDArray[np.float64]:
    """Return the file's affine in millimetres, whatever unit its header names."""
    try:
        unit = image.header.get_xyzt_units()[0]
    except KeyError:  # a code that no unit has
        unit = "unknown"
    factor = MILLIMETRES.get(unit, 1.0)
    return checked_affine(np.diag([factor, factor, factor, 1.0]) @ image.affine, str(path))


def _loaded(path: Path, max_pixels: int | None = None) -> tuple[Any, NDArray[Any]]:
    """Return the image and its array as ``(z, y, x)``, sizes having been checked before anything is allocated."""
    check_opens(path)
    try:
        with _unpacked(path) as file, unwarned():  # what nibabel would say of a header names no file
            image, stored = _image(path, file)
            _check_header(path, image, stored, MAX_PIXELS if max_pixels is None else max_pixels)
            array: NDArray[Any] = np.asanyarray(image.dataobj)
            file.read(MOST_BEHIND)  # gzip compares its checksum at the end, which the voxels alone do not reach
    except UNREADABLE as error:
        raise InputError(f"{path}: damaged, cut short or not NIfTI ({error}). Export it again.") from error
    except MemoryError as error:
        raise InputError(f"{path}: too large for this computer's memory ({' x '.join(map(str, image.shape))} voxels).") from error
    if array.dtype.kind not in "uif":
        raise InputError(f"{path}: voxels of type {array.dtype}; expected one real number each.")
    return image, array.reshape((*array.shape, 1, 1)[:3]).transpose(2, 1, 0)


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Yield a file's bytes, unpacked where they are gzip's: exports call a packed file .nii, or a plain one .nii.gz."""
    with path.open("rb") as file:
        packed = file.read(len(GZIP)) == GZIP
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield unpacked


def _image(path: Path, file: IO[bytes] | gzip.GzipFile) -> tuple[Any, Any]:
    """Return the image in a file, its voxels still to be read, and its header as it is stored, which nibabel mends in the image.

    The content says which NIfTI it is; ``nibabel.load`` goes by the name, and fails on an ending like ``.Nii.gz``.
    """
    start = file.read(nibabel.Nifti2Header.sizeof_hdr)
    kind: Any = next((k for k in (nibabel.Nifti1Image, nibabel.Nifti2Image) if k.header_class.may_contain_header(start)), None)
    if kind is None:
        raise InputError(f"{path}: damaged, cut short or not NIfTI ({'no header' if start else 'empty'}). Export it again.")
    file.seek(0)
    stored = kind.header_class.from_fileobj(file, check=False)
    file.seek(0)
    return kind.from_file_map(kind.make_file_map({"image": file})), stored


def _check_header(path: Path, image: Any, stored: Any, max_pixels: int) -> None:
    shape = image.shape
    if len(shape) < 2 or 0 in shape:
        raise InputError(f"{path}: an array of {' x '.join(map(str, shape)) or 'no'} voxels; expected a volume.")
    if any(n > 1 for n in shape[3:]):
        raise InputError(
            f"{path}: holds {int(np.prod(shape[3:]))} volumes ({' x '.join(map(str, shape))}); expected one. Split it, and give the one "
            "that is meant."
        )
    if max(shape) > MAX_SLICES or int(np.prod(shape, dtype=object)) > max_pixels:
        raise InputError(
            f"{path}: too large ({' x '.join(map(str, shape))} voxels). At most {MAX_SLICES} along an axis and "
            f"{max_pixels // 2**20} million in all are read."
        )
    if stored["vox_offset"] < image.header.sizeof_hdr:
        raise InputError(f"{path}: its header says that the voxels begin within it (vox_offset {stored['vox_offset']:g}). Export it again.")
    spacing = np.asarray(stored["pixdim"][1 : 1 + min(3, len(shape))], float)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        shown = ", ".join(f"{s:g}" for s in spacing)
        raise InputError(f"{path}: a voxel spacing of {shown} mm in its header (pixdim); expected positive numbers. Mend the header.")


def _tells_directions(header: Any) -> bool:
    return bool(header["qform_code"] > 0 or header["sform_code"] > 0)


def _geometry_notes(header: Any) -> list[str]:
    if not _tells_directions(header):
        return ["orientation unknown (qform and sform codes are 0): taken as the array's own order; left and right may be swapped"]
    try:
        differ = (
            header["qform_code"] > 0 and header["sform_code"] > 0 and not np.allclose(header.get_qform(), header.get_sform(), atol=0.05)
        )
    except ValueError:  # a quaternion that is none
        return ["the qform is damaged; the sform is used"]
    return ["qform and sform differ; the sform is used"] if differ else []


def _check_finite(path: Path, array: NDArray[Any]) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{path}: holds {int((~np.isfinite(array)).sum())} NaN or infinite values. Replace them first.")


def _check_is_no_mask(path: Path, array: NDArray[Any]) -> None:
    step = max(1, array.size // SAMPLE)
    if np.unique(array.ravel()[::step]).size > MAX_LABELS:
        return
    values = np.unique(array)
    if values.size == 1:
        raise InputError(f"{path}: all voxels are {values[0]:g}; there is no image in it. Export it again.")
    if values.size <= MAX_LABELS:
        shown = ", ".join(f"{v:g}" for v in values[:6])
        raise InputError(
            f"{path}: holds {values.size} different value(s) only ({shown}{', …' if values.size > 6 else ''}): a mask, not a scan. "
            "Give the FLAIR."
        )


def _sequence(
    path: Path,
    role: str,
    head: NDArray[np.bool_],
    affine: NDArray[np.float64],
    flair_path: Path,
    strict: bool,
    notes: list[str],
    max_pixels: int | None,
) -> NDArray[np.float32] | None:
    """Return a T1, used as its *role* says, on FLAIR's grid; None where it does not fit, if not *strict*."""
    try:
        image, array = _loaded(path, max_pixels)
        _check_finite(path, array)
        _check_is_no_mask(path, array)
        moved, covered = resampled(array, _affine_mm(path, image), affine, head)
        if covered < SMALLEST_COVER:
            raise InputError(
                f"{path}: covers {covered:.0%} of the head in {quoted(flair_path.name)} by its affine; expected the same head in the "
                "same space. Register it first."
            )
    except InputError as error:
        if strict:
            raise
        notes.append(f"{role} not used. {str(error).replace(str(path), quoted(path.name))}")
        return None
    notes.append(f"{role}: {quoted(path.name)}, resampled onto the FLAIR, of whose head it covers {covered:.0%}")
    return moved

"""Pictures of masks that some tool wrote: over the scan that lies beside them, where there is one."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gliomask.errors import GliomaskError, InputError
from gliomask.evaluation.mask_pairs import MaskPair, read_pair, sizes
from gliomask.evaluation.outcome import CasePicture
from gliomask.evaluation.pictures import case_picture, largest_slice
from gliomask.grid import CORNER_TOLERANCE_MM, corners_apart_mm
from gliomask.io import read_image
from gliomask.io.naming import MASK_SUFFIX, NO_MASK_SUFFIX, folder_name, is_image, is_nifti, natural_key, printable, stem_of
from gliomask.volume import Volume

FLAIR_SUFFIX = re.compile(r"[_-](t2_?flair|flair|t2f)$", re.IGNORECASE)
"""What is behind a case's name in a FLAIR that has other sequences beside it."""

Files = tuple[Path, Path]
"""A predicted mask and its reference."""

ScanOf = Callable[[Path], Path | None]
"""What finds a mask's scan, such as :func:`scan_beside`."""


def mask_pictures(patients: Mapping[str, Sequence[Files]], scan_of: ScanOf) -> tuple[tuple[CasePicture, ...], tuple[str, ...]]:
    """Return a picture of each patient, whose masks are given, and in a note how many scans could not be used and why the first.

    Files are read one after another; of each patient the slice stays that is shown.
    """
    pictures: list[CasePicture] = []
    problems: list[str] = []
    for name, pairs in patients.items():
        picture, problem = _picture(name, pairs, scan_of)
        pictures.append(picture)
        problems += [problem] if problem else []
    if not problems:
        return tuple(pictures), ()
    which = (
        "A scan beside the masks could not be shown" if len(problems) == 1 else f"{len(problems)} scans beside the masks could not be shown"
    )
    return tuple(pictures), (f"{which}; the outlines stand on black. {'' if len(problems) == 1 else 'The first: '}{problems[0]}",)


def _picture(name: str, pairs: Sequence[Files], scan_of: ScanOf) -> tuple[CasePicture, str]:
    """Return a patient's picture, and why the scan is not in it where one was found."""
    most, slices, before = -1, 0, 0
    for files in pairs:
        pair = read_pair(*files)
        predicted = pair.axial(pair.predicted)
        _, area = largest_slice(predicted, pair.axial(pair.reference))
        if area > most:
            most, before, shown, place = area, slices, pair, files
        slices += len(predicted)
    flair, problem = _flair(place, shown, scan_of)
    picture = case_picture(name, flair, shown.axial(shown.predicted), shown.axial(shown.reference), shown.aspect)
    return replace(picture, slice_number=before + picture.slice_number, slices=slices), problem


def _flair(files: Files, pair: MaskPair, scan_of: ScanOf) -> tuple[NDArray[Any] | None, str]:
    """Return the FLAIR of the reference or else of the predicted mask, as axial slices, or why it cannot be used."""
    mine, theirs = files
    problem = ""
    for scan in dict.fromkeys(found for mask in (theirs, mine) if (found := scan_of(mask)) is not None):
        try:
            return pair.axial(_read_scan(scan, pair)), ""
        except GliomaskError as error:
            # With its folder: slices of several patients may bear one name.
            problem = problem or str(error).replace(str(scan), printable(f"{folder_name(scan.parent)}/{scan.name}"))
    return None, problem


def scan_beside(mask: Path) -> Path | None:
    """Return the scan of a mask in the same folder, as :func:`scan_among` knows it; None without one."""
    return scan_among(mask, mask.parent.iterdir())


def scan_among(mask: Path, files: Iterable[Path]) -> Path | None:
    """Return that of the files beside a mask which is named as it is without ``_mask``, ``_seg`` or the like; None without one.

    One whose name says FLAIR goes first, as ``head_flair.nii.gz`` beside ``head_seg.nii.gz``. A mask of the scan's own
    name tells of none.
    """
    stem = MASK_SUFFIX.sub("", stem_of(mask))
    if stem == stem_of(mask):
        return None
    alike = is_nifti if is_nifti(mask) else is_image
    found = [path for path in files if alike(path) and stem in (stem_of(path), FLAIR_SUFFIX.sub("", stem_of(path)))]
    scans = [path for path in found if not (MASK_SUFFIX.search(stem_of(path)) or NO_MASK_SUFFIX.search(stem_of(path)))]
    return min(scans, key=lambda path: (stem_of(path) == stem, natural_key(path.name)), default=None)


def _read_scan(scan: Path, pair: MaskPair) -> NDArray[Any]:
    """Return the FLAIR ``(z, y, x)`` of a scan on the grid of two masks.

    Raises
    ------
    InputError
        It cannot be read, or is of another size or place.
    """
    if is_nifti(scan):
        from gliomask.io.nifti import read_nifti  # nibabel: half a second that images need not wait for

        volume = read_nifti(scan, scan.name)
    else:
        volume = Volume(read_image(scan)[0], scan.name, source=scan)
    shape = pair.reference.shape
    if volume.flair.shape != shape:
        raise InputError(f"{scan}: is {sizes(volume.flair.shape)} (x, y, slices), its mask {sizes(shape)}.")
    if volume.affine is not None and pair.affine is not None:
        apart_mm = corners_apart_mm(shape, volume.affine, pair.affine)
        if apart_mm > CORNER_TOLERANCE_MM:
            raise InputError(f"{scan}: lies up to {apart_mm:.3g} mm from its mask by the affines.")
    return volume.flair

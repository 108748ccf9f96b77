"""Masks that some tool wrote, scored against reference masks: which belong together, and what they come to."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import InputError
from gliomask.evaluation.outcome import Evaluation
from gliomask.evaluation.scores import MILLIMETRES, PIXELS, UNKNOWN, Part, PatientScore, measure_part, patient_score
from gliomask.grid import radiological
from gliomask.io import read_mask
from gliomask.io.naming import MAPS, is_image, is_mask, is_nifti, natural_key, stem_of

MaskKey = tuple[str, str]
"""A mask's folder's name and its own without ending and without ``_mask``, ``_seg`` and the like."""

MASK_SUFFIX = re.compile(r"[_-](mask|d?seg|labels?|pred|prediction)$", re.IGNORECASE)
"""What tools put behind a case's name in masks."""

NO_MASK_SUFFIX = re.compile(rf"[_-]({'|'.join(MAPS)}|probseg|probabilities|softmax)$", re.IGNORECASE)
"""What is behind a case's name in what lies beside masks and is none."""

CORNER_TOLERANCE_MM = 0.1
"""How far the corners of two grids may lie apart by rounding in their headers."""


def evaluate_masks(data: Path, reference: Path) -> Evaluation:
    """Return the scores of the masks under *data* against those under *reference*: image files, or NIfTI.

    What *reference* holds decides. Image masks are the ``*_mask.*`` files, or all images where none is
    named so, a folder being a patient. NIfTI masks are the ``*.nii[.gz]`` whose names end in ``_mask``,
    ``_seg`` or the like, or all of them where none does, a file being a patient; distances are then in
    mm, but for masks of image files, which have no geometry.

    Masks are paired by their folder's name and their own, endings and ``_mask`` or the like aside. One that
    has no partner of that name is paired by its own name alone, if no other mask on either side bears it.

    Raises
    ------
    InputError
        Reference masks have no counterpart (how many, and the first of them), one has another size or
        grid, *reference* holds both kinds in different folders, two masks on one side have the same
        folder's name and their own, or distances would be partly in pixels and partly in mm.
    """
    nifti = _holds_nifti(reference)
    predicted, wanted = _masks_under(data, nifti), _masks_under(reference, nifti)
    partners = pair_masks(predicted, wanted)
    if missing := [path for key, path in wanted.items() if key not in partners]:
        shown = "\n  ".join(str(path) for path in missing[:5])
        raise InputError(f"{len(missing)} reference masks without a counterpart under {data}, such as\n  {shown}")
    pairs = {key: (predicted[partners[key]], path) for key, path in wanted.items()}
    scores, unit = score_pairs(pairs, nifti=nifti)
    return Evaluation(
        f"masks in {data.resolve().name} against {reference.resolve().name}",
        scores,
        unit=unit,
        ignored_masks=len(predicted) - len(partners),
    )


def pair_masks(predicted: Collection[MaskKey], wanted: Collection[MaskKey]) -> dict[MaskKey, MaskKey]:
    """Return for each reference mask that has one the predicted mask that belongs to it, as :func:`evaluate_masks` pairs them."""
    partners = {key: key for key in wanted if key in predicted}
    left = [key for key in predicted if key not in partners]
    often = Counter(name for _, name in predicted) | Counter(name for _, name in wanted)
    by_name = {name: (folder, name) for folder, name in left if often[name] == 1}
    return partners | {key: by_name[key[1]] for key in wanted if key not in partners and key[1] in by_name}


def score_pairs(pairs: Mapping[MaskKey, tuple[Path, Path]], *, nifti: bool) -> tuple[tuple[PatientScore, ...], str]:
    """Return the scores of pairs of a predicted and a reference mask, NIfTI or images, and the unit of their distances.

    Raises
    ------
    InputError
        A mask cannot be read, has another size or grid than its reference, or has a geometry where others have none.
    """
    return _score_volumes(pairs) if nifti else (_score_folders(pairs), PIXELS)


def _score_folders(pairs: Mapping[MaskKey, tuple[Path, Path]]) -> tuple[PatientScore, ...]:
    """Return the scores of image masks, those of a folder being one patient's."""
    folders: dict[str, list[Part]] = {}
    for (folder, _), (mine, theirs) in pairs.items():
        folders.setdefault(folder, []).append(_measure_images(mine, theirs))
    return tuple(patient_score(folder, UNKNOWN, parts) for folder, parts in sorted(folders.items()))


def _measure_images(mine: Path, theirs: Path) -> Part:
    predicted, reference = read_mask(mine), read_mask(theirs)
    if predicted.shape != reference.shape:
        found, expected = (" x ".join(map(str, m.shape[::-1])) for m in (predicted, reference))
        raise InputError(f"{mine}: is {found} (x, y, pages), its reference {theirs} {expected}.")
    return measure_part(predicted, reference)


def _score_volumes(pairs: Mapping[MaskKey, tuple[Path, Path]]) -> tuple[tuple[PatientScore, ...], str]:
    """Return the scores of NIfTI masks, each a patient's, and their unit; one that shares its name has its folder's before it."""
    often = Counter(name for _, name in pairs)
    named = {f"{folder}/{name}" if often[name] > 1 else name: files for (folder, name), files in pairs.items()}
    measured = {name: _measure_volumes(*files) for name, files in sorted(named.items())}
    units = {unit for _, unit in measured.values()}
    if len(units) > 1:
        first = next(named[name][1] for name, (_, unit) in measured.items() if unit == PIXELS)
        raise InputError(f"{first}: a mask of image files, without geometry, among masks that have one. Score them one kind at a time.")
    return tuple(patient_score(name, UNKNOWN, [part]) for name, (part, _) in measured.items()), units.pop()


def _measure_volumes(mine: Path, theirs: Path) -> tuple[Part, str]:
    """Return what NIfTI masks come to, on the axes nearest to axial slices where they have a geometry, and the unit of distances."""
    from gliomask.io.nifti import read_nifti_mask  # nibabel: half a second that image masks need not wait for

    (predicted, affine), (reference, expected) = read_nifti_mask(mine), read_nifti_mask(theirs)
    _check_sizes(mine, theirs, predicted.shape, reference.shape)
    if affine is None and expected is None:
        return measure_part(predicted, reference), PIXELS
    if affine is None or expected is None:
        without, other = (mine, theirs) if affine is None else (theirs, mine)
        raise InputError(
            f"{without}: a mask of image files, without geometry, and {other} has one. Masks have to share a grid: give both as images."
        )
    _check_places(mine, theirs, predicted.shape, affine, expected)
    axes, flips = radiological(expected)
    spacing_zyx = np.linalg.norm(expected[:3, :3], axis=0)[::-1]
    height, width = spacing_zyx[axes[1]], spacing_zyx[axes[2]]
    return measure_part(predicted.transpose(axes)[flips], reference.transpose(axes)[flips], (float(height), float(width))), MILLIMETRES


def _check_sizes(mine: Path, theirs: Path, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        sizes = [" x ".join(map(str, shape[::-1])) for shape in (found, expected)]
        raise InputError(f"{mine}: is {sizes[0]} voxels (x, y, z), its reference {theirs} {sizes[1]}. Masks have to share a grid.")


def _check_places(mine: Path, theirs: Path, shape: tuple[int, ...], affine: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
    corners = np.array([(x, y, z, 1) for z in (0, 1) for y in (0, 1) for x in (0, 1)]) * np.array([*shape[::-1], 1])
    apart_mm = np.linalg.norm(corners @ (affine - expected).T, axis=1).max()
    if apart_mm > CORNER_TOLERANCE_MM:
        raise InputError(
            f"{mine}: lies up to {apart_mm:.3g} mm from its reference {theirs} by the affines, although both have the same size. Masks "
            "have to share a grid: resample one onto the other, or mend the header."
        )


def _holds_nifti(reference: Path) -> bool:
    """Return whether the reference masks are NIfTI; beside a folder's image masks they are the same once more, as segment writes them."""
    _check_folder(reference)
    images = {path.parent for path in _image_masks(reference) if is_mask(path)}  # an image of another name may be a preview
    apart = [path for path in _nifti_masks(reference) if path.parent not in images]
    if images and apart:
        raise InputError(
            f"{reference}: holds image masks, such as those in {min(images)}, and NIfTI, such as {apart[0]}. Score them one kind at a time."
        )
    return bool(apart)


def _masks_under(root: Path, nifti: bool) -> dict[MaskKey, Path]:
    _check_folder(root)
    paths = _nifti_masks(root) if nifti else _image_masks(root)
    if not paths:
        wanted = (
            "NIfTI, as the reference masks are" if nifti else "images (*_mask.*, or any PNG, JPEG or TIFF); the references may be NIfTI"
        )
        raise InputError(f"{root}: holds no masks. Looked for {wanted}.")
    masks: dict[MaskKey, Path] = {}
    for path in paths:
        key = (path.resolve().parent.name, MASK_SUFFIX.sub("", stem_of(path)))
        if key in masks:
            raise InputError(f"{path} and {masks[key]} have the same folder's name and their own; score their folders one by one.")
        masks[key] = path
    return masks


def _check_folder(root: Path) -> None:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder.")


def _image_masks(root: Path) -> list[Path]:
    """Return the files that are masks by their names, or all where none is named so."""
    files = [p for p in root.rglob("*") if is_image(p) and not NO_MASK_SUFFIX.search(stem_of(p))]
    named = [p for p in files if is_mask(p)]
    return _sorted(named or files)


def _nifti_masks(root: Path) -> list[Path]:
    """Return the files that are masks by their names, or all where none is named so: other tools name a mask like its scan."""
    files = [p for p in root.rglob("*") if is_nifti(p) and not NO_MASK_SUFFIX.search(stem_of(p))]
    named = [p for p in files if MASK_SUFFIX.search(stem_of(p))]
    return _sorted(named or files)


def _sorted(paths: Sequence[Path]) -> list[Path]:
    return sorted(paths, key=lambda p: natural_key(str(p)))

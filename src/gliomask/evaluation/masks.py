"""Masks that some tool wrote, scored against reference masks: which belong together, and what they come to."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from pathlib import Path

from gliomask.errors import InputError
from gliomask.evaluation.cases import chosen_patients
from gliomask.evaluation.mask_pairs import read_pair
from gliomask.evaluation.mask_pictures import FLAIR_SUFFIX, Files, ScanOf, mask_pictures, scan_beside
from gliomask.evaluation.outcome import CasePicture, Evaluation
from gliomask.evaluation.scores import MILLIMETRES, PIXELS, UNKNOWN, Part, PatientScore, measure_part, patient_score
from gliomask.io.naming import MASK_SUFFIX, NO_MASK_SUFFIX, is_image, is_mask, is_nifti, natural_key, stem_of

MaskKey = tuple[str, str]
"""A mask's folder's name and its own without ending and without ``_mask``, ``_seg`` and the like."""


def evaluate_masks(data: Path, reference: Path, *, pictures: bool = False) -> Evaluation:
    """Return the scores of the masks under *data* against those under *reference*: image files, or NIfTI.

    What *reference* holds decides. Image masks are the ``*_mask.*`` files, or all images where none is
    named so, a folder being a patient. NIfTI masks are the ``*.nii[.gz]`` whose names end in ``_mask``,
    ``_seg`` or the like, or all of them where none does, a file being a patient; distances are then in
    mm, but for masks of image files, which have no geometry.

    Masks are paired by their folder's name and their own, endings and ``_mask`` or the like aside. One that
    has no partner of that name is paired by its own name alone, if no other mask on either side bears it, and else by
    that without ``_flair`` or the like, likewise: of ``p_flair.nii.gz`` with ``p_seg.nii.gz`` beside it
    ``gliomask segment`` makes ``p_flair_mask.nii.gz``.

    With *pictures* those patients are read once more of whom a report shows a picture, for its slice alone: over the scan
    that lies beside the reference mask, or else beside the predicted one (:func:`scan_beside`), and on black without one.

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
        raise InputError(
            f"{len(missing)} reference masks without a counterpart under {data}, such as\n  {shown}\n"
            "Masks are paired by their folder's name and their own, ending and _mask, _seg or the like aside."
        )
    pairs = {key: (predicted[partners[key]], path) for key, path in wanted.items()}
    scores, unit = score_pairs(pairs, nifti=nifti)
    drawn, notes = draw_pairs(pairs, scores, nifti=nifti) if pictures else ((), ())
    return Evaluation(
        f"masks in {data.resolve().name} against {reference.resolve().name}",
        scores,
        unit=unit,
        pictures=drawn,
        notes=notes,
        ignored_masks=len(predicted) - len(partners),
    )


def pair_masks(predicted: Collection[MaskKey], wanted: Collection[MaskKey]) -> dict[MaskKey, MaskKey]:
    """Return for each reference mask that has one the predicted mask that belongs to it, as :func:`evaluate_masks` pairs them."""
    partners = {key: key for key in wanted if key in predicted}
    for called in (itemgetter(1), _without_flair):
        often = Counter(map(called, predicted)) | Counter(map(called, wanted))
        taken = set(partners.values())
        left = {called(key): key for key in predicted if key not in taken and often[called(key)] == 1}
        partners |= {key: left[called(key)] for key in wanted if key not in partners and called(key) in left}
    return partners


def _without_flair(key: MaskKey) -> str:
    return FLAIR_SUFFIX.sub("", key[1])


def score_pairs(pairs: Mapping[MaskKey, Files], *, nifti: bool) -> tuple[tuple[PatientScore, ...], str]:
    """Return the scores of pairs of a predicted and a reference mask, NIfTI or images, and the unit of their distances.

    Raises
    ------
    InputError
        A mask cannot be read, has another size or grid than its reference, or has a geometry where others have none.
    """
    scores: list[PatientScore] = []
    first: dict[str, Path] = {}
    for name, masks in patients_of(pairs, nifti=nifti).items():
        measured = [_measured(*files) for files in masks]
        scores.append(patient_score(name, UNKNOWN, [part for part, _ in measured]))
        first.setdefault(measured[0][1], masks[0][1])
    if len(first) > 1:
        raise InputError(
            f"{first[PIXELS]}: a mask of image files, without geometry, among masks that have one. Score them one kind at a time."
        )
    return tuple(scores), first.popitem()[0]


def draw_pairs(
    pairs: Mapping[MaskKey, Files], scores: Sequence[PatientScore], *, nifti: bool, scan_of: ScanOf = scan_beside
) -> tuple[tuple[CasePicture, ...], tuple[str, ...]]:
    """Return pictures of those scored patients of whom a report shows one, and a note if a scan beside the masks could not be used."""
    masks = patients_of(pairs, nifti=nifti)
    return mask_pictures({patient.name: masks[patient.name] for patient in chosen_patients(scores)}, scan_of)


def patients_of(pairs: Mapping[MaskKey, Files], *, nifti: bool) -> dict[str, list[Files]]:
    """Return the pairs of each patient by name: image masks of a folder are one patient's, a NIfTI mask is one patient's alone.

    A NIfTI mask that shares its name with others has its folder's before it.
    """
    often = Counter(name for _, name in pairs)
    patients: dict[str, list[Files]] = {}
    for (folder, name), files in pairs.items():
        patient = folder if not nifti else f"{folder}/{name}" if often[name] > 1 else name
        patients.setdefault(patient, []).append(files)
    return dict(sorted(patients.items()))


def _measured(mine: Path, theirs: Path) -> tuple[Part, str]:
    """Return what two masks come to, on the axes nearest to axial slices where they have a geometry, and the unit of distances."""
    pair = read_pair(mine, theirs)
    part = measure_part(pair.axial(pair.predicted), pair.axial(pair.reference), pair.pixel_mm or (1.0, 1.0))
    return part, PIXELS if pair.affine is None else MILLIMETRES


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

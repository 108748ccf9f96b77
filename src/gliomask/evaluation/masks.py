"""Masks that some tool wrote, scored against reference masks: which belong together, and what they come to."""

import unicodedata
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
from gliomask.io.access import no_folder
from gliomask.io.folders import look_below
from gliomask.io.naming import (
    MASK_SUFFIX,
    NO_MASK_SUFFIX,
    folder_name,
    is_image,
    is_mask,
    is_nifti,
    listed,
    natural_key,
    numbered,
    printable,
    stem_of,
)
from gliomask.sizes import counted

MaskKey = tuple[str, str]
"""A mask's folder's name and its own without ending and without ``_mask``, ``_seg`` and the like."""

SHOWN = 5
"""Files that a message names, and problems that are looked for: enough to see a pattern."""


def evaluate_masks(data: Path, reference: Path, *, pictures: bool = False) -> Evaluation:
    """Return the scores of the masks under *data* against those under *reference*: image files, or NIfTI.

    What *reference* holds decides. Image masks are the ``*_mask.*`` files, or all images where none is
    named so, a folder being a patient. NIfTI masks are the ``*.nii[.gz]`` whose names end in ``_mask``,
    ``_seg`` or the like, or all of them where none does, a file being a patient; distances are then in
    mm, but for masks of image files, which have no geometry.

    Masks are paired by their folder's name and their own, endings and ``_mask`` or the like aside. One that
    has no partner of that name is paired by its own name alone, if no other mask on either side bears it, and else by
    that without ``_flair`` or the like, likewise: of ``p_flair.nii.gz`` with ``p_seg.nii.gz`` beside it
    ``gliomask segment`` makes ``p_flair_mask.nii.gz``. One whose folder and name together are a mask's name on the other
    side belongs to that, as ``p1/flair_seg.nii.gz`` to the ``p1_flair_mask.nii.gz`` of one of several ``flair.nii.gz``.

    With *pictures* those patients are read once more of whom a report shows a picture, for its slice alone: over the scan
    that lies beside the reference mask, or else beside the predicted one (:func:`scan_beside`), and on black without one.

    Links to folders are followed, and hidden folders passed over. Masks of several labels count as one, whatever is not 0.

    Raises
    ------
    InputError
        Reference masks have no counterpart (how many, and the first of them), one has another size or
        grid, *reference* holds both kinds in different folders, two masks on one side have the same
        folder's name and their own, a folder may not be looked into, or distances would be partly in pixels and partly in mm.
    """
    pairs, ignored, nifti = _pairs(data, reference)
    scores, unit, turned = score_pairs(pairs, nifti=nifti)
    drawn, notes = draw_pairs(pairs, scores, nifti=nifti) if pictures else ((), ())
    return Evaluation(
        f"masks in {printable(data.resolve().name)} against {printable(reference.resolve().name)}",
        scores,
        unit=unit,
        pictures=drawn,
        notes=(*turned, *notes),
        ignored_masks=ignored,
    )


def _pairs(data: Path, reference: Path) -> tuple[dict[MaskKey, Files], int, bool]:
    """Return the masks under two folders in pairs, how many of *data* are in none, and whether they are NIfTI."""
    looked_at, files = _files_below(reference), _files_below(data)
    nifti = holds_nifti(reference, looked_at)
    wanted = _masks_among(looked_at, nifti)
    if not wanted:
        found = listed(looked_at) or "no files"
        raise InputError(f"{reference}: holds no masks. Looked for NIfTI (.nii, .nii.gz), PNG, JPEG and TIFF; found {found}.")
    predicted = _masks_among(files, nifti)
    if not predicted:
        kind, found = "NIfTI" if nifti else "images", listed(files) or "no files"
        raise InputError(
            f"{data}: holds no masks. Looked for {kind}, as the reference masks are; found {found}. Give both sides as one kind of file."
        )
    partners = pair_masks(predicted, wanted)
    if missing := [path for key, path in wanted.items() if key not in partners]:
        shown = ", ".join(map(str, missing[:SHOWN])) + (f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else "")
        raise InputError(
            f"{data}: no masks for {counted(len(missing), 'reference mask')}, {shown}. Masks are paired by their folder's name and their "
            "own, ending and _mask, _seg or the like aside. Give one for each reference mask, an empty one where nothing was found."
        )
    return {key: (predicted[partners[key]], path) for key, path in wanted.items()}, len(predicted) - len(partners), nifti


def pair_masks(predicted: Collection[MaskKey], wanted: Collection[MaskKey]) -> dict[MaskKey, MaskKey]:
    """Return for each reference mask that has one the predicted mask that belongs to it, as :func:`evaluate_masks` pairs them."""
    partners = {key: key for key in wanted if key in predicted}
    for ours, theirs in ((itemgetter(1),) * 2, (_without_flair,) * 2, (itemgetter(1), "_".join)):
        often = Counter(map(ours, predicted)) | Counter(map(theirs, wanted))
        taken = set(partners.values())
        left = {ours(key): key for key in predicted if key not in taken and often[ours(key)] == 1}
        partners |= {key: left[theirs(key)] for key in wanted if key not in partners and theirs(key) in left}
    return partners


def _without_flair(key: MaskKey) -> str:
    return FLAIR_SUFFIX.sub("", key[1])


def score_pairs(pairs: Mapping[MaskKey, Files], *, nifti: bool) -> tuple[tuple[PatientScore, ...], str, tuple[str, ...]]:
    """Return the scores of pairs of a predicted and a reference mask, NIfTI or images, the unit of their distances, and notes.

    Raises
    ------
    InputError
        Masks cannot be read, have another size or grid than their references, or have a geometry where others have none. The
        first of them are named together, so that not each is found by a run of its own.
    """
    scores: list[PatientScore] = []
    problems: list[str] = []
    first: dict[str, Path] = {}
    turned = 0
    for name, masks in patients_of(pairs, nifti=nifti).items():
        parts: list[Part] = []
        for files in masks:
            try:
                pair = read_pair(*files)
            except InputError as error:
                problems.append(str(error))
                continue
            turned += pair.turned
            first.setdefault(PIXELS if pair.affine is None else MILLIMETRES, files[1])
            parts.append(measure_part(pair.axial(pair.predicted), pair.axial(pair.reference), pair.pixel_mm or (1.0, 1.0)))
        if len(problems) >= SHOWN:
            break
        if not problems:
            scores.append(patient_score(name, UNKNOWN, parts))
    if problems:
        many = f"{len(problems)} problems with the masks, perhaps more; mend or remove these files:" if len(problems) > 1 else ""
        raise InputError("\n  ".join([many, *problems] if many else problems))
    if len(first) > 1:
        raise InputError(
            f"{first[PIXELS]}: a mask of image files, without geometry, among masks that have one. Score them one kind at a time."
        )
    told = f"{turned} of {len(pairs):,} masks had their axes turned to their reference's by the affines; nothing was interpolated."
    return tuple(scores), next(iter(first)), (*((told,) if turned else ()), *(() if nifti else _pooled(pairs)))


def _pooled(pairs: Collection[MaskKey]) -> tuple[str, ...]:
    """Return the note that image masks in one folder are scored as one patient's, though their names are those of several series."""
    series = Counter((folder, numbered(name)[0]) for folder, name in pairs if numbered(name)[1] is not None)
    several = Counter(folder for (folder, _), slices in series.items() if slices > 1)
    return tuple(
        f"{folder}: masks of {number} series by their names, scored as one patient since they share a folder's name. Give each patient a "
        "folder of their own."
        for folder, number in several.items()
        if number > 1
    )


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


def _files_below(root: Path) -> list[Path]:
    """Return the files in and below a folder.

    Raises
    ------
    InputError
        It is none, or one in it may not be looked into: masks would be missed in silence.
    """
    if not root.is_dir():
        raise InputError(f"{no_folder(root)} Give the folder that holds the masks.")
    below = look_below(root, results=True)
    for error in below.closed.values():
        raise error
    return list(below.files())


def holds_nifti(reference: Path, files: Sequence[Path]) -> bool:
    """Return whether the reference masks are NIfTI; beside a folder's image masks they are the same once more, as segment writes them."""
    images = {path.parent for path in _image_masks(files) if is_mask(path)}  # an image of another name may be a preview
    apart = [path for path in _nifti_masks(files) if path.parent not in images]
    if images and apart:
        raise InputError(
            f"{reference}: holds image masks, such as those in {min(images)}, and NIfTI, such as {apart[0]}. Score them one kind at a time."
        )
    return bool(apart)


def _masks_among(files: Sequence[Path], nifti: bool) -> dict[MaskKey, Path]:
    masks: dict[MaskKey, Path] = {}
    for path in _nifti_masks(files) if nifti else _image_masks(files):
        key = (_comparable(folder_name(path.parent)), _comparable(MASK_SUFFIX.sub("", stem_of(path))))
        if key in masks:
            other = masks[key]
            advice = "leave one of them there" if other.parent == path.parent else "score their folders one by one"
            raise InputError(f"{path} and {other} have the same folder's name and their own; {advice}.")
        masks[key] = path
    return masks


def _comparable(name: str) -> str:
    """Return a name as it can be compared, printed and stored: macOS takes letters with accents apart, Linux does not."""
    return unicodedata.normalize("NFC", printable(name))


def _image_masks(paths: Sequence[Path]) -> list[Path]:
    """Return the files that are masks by their names, or all where none is named so."""
    files = [p for p in paths if is_image(p) and not NO_MASK_SUFFIX.search(stem_of(p))]
    named = [p for p in files if is_mask(p)]
    return _sorted(named or files)


def _nifti_masks(paths: Sequence[Path]) -> list[Path]:
    """Return the files that are masks by their names, or all where none is named so: other tools name a mask like its scan."""
    files = [p for p in paths if is_nifti(p) and not NO_MASK_SUFFIX.search(stem_of(p))]
    named = [p for p in files if MASK_SUFFIX.search(stem_of(p))]
    return _sorted(named or files)


def _sorted(paths: Sequence[Path]) -> list[Path]:
    return sorted(paths, key=lambda p: natural_key(str(p)))

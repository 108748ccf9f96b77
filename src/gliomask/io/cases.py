"""What an input path stands for: which files make up which case."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import GliomaskError, InputError
from gliomask.io.access import closed, lost
from gliomask.io.archives import Unpacked, archives_inside
from gliomask.io.bids import bids_cases, is_derivative
from gliomask.io.folders import look_below
from gliomask.io.headers import is_dicom
from gliomask.io.images import match_channels, read_image
from gliomask.io.naming import (
    SEQUENCE_FOLDER,
    folder_name,
    is_image,
    is_mask,
    is_named_flair,
    is_nifti,
    is_other_format,
    is_zip,
    listed,
    map_values,
    page_names,
    printable,
    quoted,
    stem_of,
)
from gliomask.io.sources import CaseSource
from gliomask.io.studies import common_folder, find_dicom, loose_studies, with_reports, without_previews
from gliomask.volume import Volume

AnyPath = str | os.PathLike[str]

KINDS = "PNG, JPEG or TIFF slices, NIfTI (.nii, .nii.gz), DICOM or a zip of them"

OTHER_FORMAT = (
    "in a format that is not read. Convert a scan to NIfTI (.nii.gz) with the tool that wrote it, save a picture as PNG, unpack an archive."
)


def find_cases(inputs: Sequence[Path]) -> list[CaseSource]:
    """Return the cases that the inputs stand for, each under a name of its own.

    An image or NIfTI file is a case. A folder that holds images is a case of its slices; every
    folder below it that holds images is another. Of a folder's NIfTI files, folders named after a
    sequence being one with what holds them, those that are FLAIR by their names are cases, or all where
    none is. DICOM files below a folder, or given one by one, are sorted by study, each being a case; images in or below
    a folder of a study's own are its previews. A BIDS dataset's cases, wherever it lies below a
    folder, are its FLAIR images. A zip is what it holds, wherever it lies. Reference masks
    (``*_mask.*``), hidden folders, folders of earlier results and derivatives are passed over; what
    else is not used is told in a case's notes. Of several inputs, folders or zips, one that stands
    for nothing or cannot be read is returned with its problem, so that it does not stop the others.

    Raises
    ------
    InputError
        A single input does not exist, is a mask or of an unknown kind, or holds no case.
    """
    found: list[CaseSource] = []
    studies = loose_studies(inputs)
    for path in inputs:
        try:
            if len(inputs) > 1 and path.is_file() and is_mask(path):
                continue  # a shell's *.png brings the masks too
            if path in studies:
                cases = _cases_of_dicom(studies[path]) if path.absolute() == studies[path][0] else []
            else:
                cases = _cases_in_folder(path) if path.is_dir() else _cases_of_file(path)
            found.extend(_placed(cases, path))
        except (GliomaskError, OSError) as error:
            if len(inputs) == 1:
                raise
            found.extend(_placed([_failed(path, error)], path))
    if not found:
        raise InputError(f"{inputs[0]} and the other inputs are reference masks by their names (*_mask.*). Give the slices.")
    return _with_unique_names(found)


def read_case(case: CaseSource) -> Volume:
    """Return the case as one volume.

    Raises
    ------
    InputError
        A file cannot be read or changes meanwhile, or the slices differ in size or type; the message names the files.
    EngineError
        The package that reads this kind is not installed.
    """
    if case.problem:
        raise InputError(case.problem)
    with case.at_hand():
        before = case.state()
        volume = _read(case)
        if case.state() != before:  # else one state's mask would be kept as that of another
            raise InputError(f"{case.path}: changed while it was read. Run again when nothing is copied there any more.")
    return volume


def _read(case: CaseSource) -> Volume:
    if case.kind == "images":
        volume = _read_images(case)
    elif case.kind == "nifti":
        from gliomask.io.nifti import read_nifti  # nibabel: half a second that reading a PNG need not wait for

        volume = read_nifti(case.files[0], case.name, *case.sequences, strict=not case.found, max_pixels=case.max_pixels)
    else:
        from gliomask.io.dicom import read_study

        volume = read_study(case.files, case.name, case.path, case.series, max_pixels=case.max_pixels)
    return replace(volume, notes=(*volume.notes, *case.notes), sha256=case.sha256())


def read(path: AnyPath, *, pre: AnyPath | None = None, post: AnyPath | None = None, series: str | None = None) -> Volume:
    """Return the one case that a path stands for.

    Parameters
    ----------
    path
        An image, a folder of slices, a NIfTI file, a folder or a zip of DICOM files.
    pre, post
        For NIfTI: T1 before and after contrast.
    series
        For DICOM: the FLAIR series' UID, number or part of its description.

    Raises
    ------
    InputError
        The path holds no case or several, or cannot be read.
    """
    before, after = (None if p is None else Path(p) for p in (pre, post))
    cases = with_choices(find_cases([Path(path)]), before, after, series)
    if len(cases) > 1:
        names = ", ".join(c.name for c in cases[:5])
        raise InputError(f"{path}: holds {len(cases)} cases ({names}…); call once for each, or use the command line.")
    return read_case(cases[0])


def with_choices(cases: list[CaseSource], pre: Path | None, post: Path | None, series: str | None) -> list[CaseSource]:
    """Return the cases with T1 of one NIfTI case, or with the FLAIR series of DICOM, as the user chose them.

    Raises
    ------
    InputError
        The choice fits none of the cases, or T1 is given for several.
    """
    if pre is not None or post is not None:
        if len(cases) != 1 or cases[0].kind != "nifti":
            found = f"{len(cases)} cases" if len(cases) > 1 else f"{cases[0].path}, which is none"
            raise InputError(f"T1 (pre, post) goes with a single FLAIR as NIfTI; found {found}.")
        return [replace(cases[0], sequences=(pre, post), found=False)]
    if series is None:
        return cases
    if not any(case.kind == "dicom" for case in cases):
        raise InputError(f"{cases[0].path}: no DICOM, so there is no series {series!r} to choose.")
    return [replace(case, series=series) if case.kind == "dicom" else case for case in cases]


def _read_images(case: CaseSource) -> Volume:
    """Return the slices of image files as one volume without geometry."""
    if len(case.files) == 1:
        pages, file_notes = read_image(case.files[0], max_pixels=case.max_pixels)
        return Volume(pages, case.name, page_names(printable(case.files[0].stem), len(pages)), case.path, file_notes)
    slices: list[NDArray[Any]] = []
    notes: list[str] = []
    for file in case.files:
        pages, file_notes = read_image(file, max_pixels=case.max_pixels)
        if len(pages) > 1:
            raise InputError(f"{file}: has {len(pages)} pages inside a folder of slices; give it as an input of its own.")
        if slices and pages.shape[1:3] != slices[0].shape[:2]:
            expected, got = (" x ".join(map(str, s)) for s in (slices[0].shape[1::-1], pages.shape[2:0:-1]))
            raise InputError(
                f"{file}: is {got} pixels, the slices before it {expected}. The images of a folder are taken as one "
                "volume; put those of another case in a folder of their own, or give them one by one."
            )
        if slices and pages.dtype != slices[0].dtype:
            raise InputError(
                f"{file}: holds {pages.dtype} pixels, the slices before it {slices[0].dtype}. The images of a folder are taken "
                "as one volume and scaled together; save them all alike, or give them one by one."
            )
        slices.append(pages[0])
        if case.max_pixels is not None and len(slices) * pages[0].size // pages.shape[-1] > case.max_pixels:
            raise InputError(
                f"{case.path}: its {len(case.files)} slices have over {case.max_pixels // 2**20} megapixels, which is too large here."
            )
        notes.extend(f"{note} ({quoted(file.name)})" for note in file_notes)
    return Volume(np.stack(match_channels(slices)), case.name, _distinct(case), case.path, tuple(notes))


def _distinct(case: CaseSource) -> tuple[str, ...]:
    """Return the slices' names; where two files differ by their ending alone, with the ending."""
    times = Counter(f.stem for f in case.files)
    return tuple(printable(f.name.replace(".", "_") if times[f.stem] > 1 else f.stem) for f in case.files)


def _cases_of_file(path: Path) -> list[CaseSource]:
    if not path.exists():
        raise InputError(lost(path) or f"{path}: no such file or folder.")
    if is_mask(path):
        raise InputError(f"{path}: {map_values(path) or 'a reference mask'} by its name, not an input. Give the scan itself.")
    if is_image(path):
        return [CaseSource(printable(path.stem), path, (path,))]
    if is_nifti(path):
        return [CaseSource(printable(stem_of(path)), path, (path,), kind="nifti")]
    if is_zip(path):
        return _cases_in_zip(path)
    if path.name.upper() == "DICOMDIR":
        below = look_below(path.parent)
        found = find_dicom(below.files(), path.parent)
        return _cases_or_problem(path.parent, with_reports(found.studies, found.reports), below.closed | found.failed)
    if path.stat().st_size == 0:
        raise InputError(f"{path}: empty (0 bytes). Export it again.")
    if is_dicom(path):
        return _cases_of_dicom([path])
    if is_other_format(path):
        raise InputError(f"{path}: {OTHER_FORMAT}")
    raise InputError(f"{path}: unknown kind of file. Expected {KINDS}, or a folder.")


def _cases_of_dicom(files: Sequence[Path]) -> list[CaseSource]:
    """Return the cases that DICOM files stand for; a single one names its case itself."""
    given = files[0] if len(files) == 1 else common_folder(files)
    found = find_dicom(files, given)
    return _cases_or_problem(given, with_reports(found.studies, found.reports), found.failed)


def _placed(cases: Sequence[CaseSource], given: Path) -> list[CaseSource]:
    """Return the cases with where they lie; several DICOM studies of one folder by their first files."""
    try:
        base = (given if given.is_dir() else given.parent).absolute()
    except OSError:  # in a closed folder
        base = given.parent.absolute()
    times = Counter(case.path for case in cases)
    placed = []
    for case in cases:
        path = (case.path / case.files[0].name if times[case.path] > 1 and case.files else case.path).absolute()
        below = path.relative_to(base) if path.is_relative_to(base) else Path(path.name)
        placed.append(replace(case, place=printable(Path(folder_name(base), below).as_posix())))
    return placed


def _cases_in_folder(root: Path) -> list[CaseSource]:
    below = look_below(root)
    failed = dict(below.closed)
    pictures: list[CaseSource] = []
    nifti: list[Path] = []
    others: list[Path] = []
    searches: list[tuple[Path, Callable[[Path], list[CaseSource]]]] = []
    for folder, files in below.folders.items():
        slices = tuple(p for p in files if is_image(p) and not is_mask(p))
        if slices:
            pictures.append(CaseSource(printable(folder_name(folder)), folder, slices))
        nifti.extend(p for p in files if is_nifti(p) and not is_mask(p))
        searches.extend((p, _cases_in_zip) for p in files if is_zip(p))
        others.extend(p for p in files if not (is_image(p) or is_nifti(p) or is_zip(p)))
    searches.extend((dataset, bids_cases) for dataset in below.datasets if dataset == root or not is_derivative(dataset))
    found: list[CaseSource] = []
    for place, search in searches:
        try:
            found.extend(search(place))
        except (GliomaskError, OSError) as error:
            failed[place] = error
    dicom = find_dicom(others, root)
    own, studies = without_previews(pictures, dicom)
    cases = with_reports([*own, *_nifti_cases(nifti), *found, *studies], dicom.reports)
    failed |= dicom.failed
    used = {file for case in cases for file in case.files}
    unread = [p for p in others if is_other_format(p) and p not in used]
    missed = _in_other_formats(unread, cases, failed)
    beside = [p for p in unread if p.parent not in missed]
    if cases and beside:
        cases = _noted(cases, f"not used, being in a format that is not read: {listed(beside)}")
    return _cases_or_problem(root, cases, failed | missed)


def _in_other_formats(files: list[Path], cases: list[CaseSource], failed: Collection[Path]) -> dict[Path, Exception]:
    """Return the folders with a FLAIR in a format that is not read, which are none of a case's, each with the reason.

    Where there is no case at all, any scan counts: what else lies beside cases, such as an atlas, is nobody's loss.
    """
    taken = {*failed, *(file.parent for case in cases for file in case.files)}
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        if (not cases or is_named_flair(file)) and taken.isdisjoint(file.parents):
            by_folder[file.parent].append(file)
    return {folder: InputError(f"{folder}: {listed(inside)}: {OTHER_FORMAT}") for folder, inside in by_folder.items()}


def _cases_or_problem(given: Path, cases: list[CaseSource], failed: dict[Path, Exception]) -> list[CaseSource]:
    """Return the cases and one for all that failed; where a single problem is all that there is, it is raised."""
    if not cases and len(failed) < 2:
        raise next(iter(failed.values()), InputError(f"{given}: holds no scan. Expected {KINDS} in it or in its folders."))
    return _named_by(given, cases + [_failed(place, error) for place, error in failed.items()])


def _failed(path: Path, error: Exception) -> CaseSource:
    """Return what stands for an input that is no case."""
    try:
        name = folder_name(path) if path.is_dir() else stem_of(path)
    except OSError:  # in a closed folder
        name = stem_of(path)
    problem = closed(path, error) if isinstance(error, OSError) else error
    return CaseSource(printable(name), path, problem=str(problem))


def _named_by(folder: Path, cases: list[CaseSource]) -> list[CaseSource]:
    """Return the cases, a single DICOM study being named by the folder that was given rather than by one below it."""
    if len(cases) != 1 or cases[0].kind != "dicom" or not folder.is_dir():
        return cases
    return [replace(cases[0], name=printable(folder_name(folder)), path=folder)]


def _nifti_cases(files: list[Path]) -> list[CaseSource]:
    """Return the cases: of every patient's files those named FLAIR, the others being other sequences; or all, where none is."""
    by_patient: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        by_patient[file.parent.parent if SEQUENCE_FOLDER.fullmatch(file.parent.name) else file.parent].append(file)
    cases = []
    for inside in by_patient.values():
        named = [p for p in inside if is_named_flair(p)]
        others = [p for p in inside if not is_named_flair(p)] if named else []
        found = [CaseSource(printable(stem_of(p)), p, (p,), problem=lost(p), kind="nifti") for p in named or inside]
        cases += _noted(found, f"not used, as FLAIR is not in the name: {listed(others)}") if others else found
    return cases


def _noted(cases: Sequence[CaseSource], note: str) -> list[CaseSource]:
    """Return the cases with a note on what lies beside them: on the first without a problem, since what fails tells its reason alone."""
    number = next((n for n, case in enumerate(cases) if not case.problem), 0)
    return [case.noted(note) if n == number else case for n, case in enumerate(cases)]


def _cases_in_zip(path: Path) -> list[CaseSource]:
    unpacked = Unpacked(path)
    folder = unpacked.folder
    try:
        with unpacked:
            cases = _cases_in_folder(folder)
            unpacked.readers += len(cases)
    except InputError as error:
        unpacked.close()
        raise InputError(str(error).replace(str(folder), str(path))) from error
    if archives := archives_inside(path):
        cases = _noted(cases, f"not used, being archives in an archive: {listed(archives)}")
    inner = []
    for case in cases:
        named_by_zip = case.bids is None and (len(cases) == 1 or case.path == folder)
        inner.append(
            replace(
                case,
                name=printable(path.stem) if named_by_zip else case.name,
                path=path / case.path.relative_to(folder),
                problem=case.problem.replace(str(folder), str(path)),
                archive=unpacked,
            )
        )
    return inner


def _with_unique_names(cases: list[CaseSource]) -> list[CaseSource]:
    """Return the cases renamed where several share a name, so that no result replaces another's.

    Names grow by one parent folder at a time, up to three. Those that only a folder further up tells
    apart get its name alone. Those that none does, such as ``a.png`` beside ``a.jpg``, stay short and
    get their ending, then a number.
    """
    names = [case.name for case in cases]
    for depth in count(1):
        places = {i: Path(os.path.normpath(cases[i].path.absolute())).parts for i in _clashing(names)}  # links keep their own names
        deep = {i: parts for i, parts in places.items() if depth < len(parts) - 1}  # the root has no name
        if not deep:
            break
        for i, parts in deep.items():
            parents = parts[-1 - depth : -1] if depth <= 3 else parts[-1 - depth : -depth]
            names[i] = printable("_".join([*parents, cases[i].name]))
    for i in _clashing(names):
        names[i] = cases[i].name
    for i in _clashing(names):
        if cases[i].kind != "dicom" and len(cases[i].files) == 1:
            names[i] += cases[i].path.suffix.replace(".", "_")
    taken = {name.casefold() for name in names}
    for i in _clashing(names):
        names[i] = next(name for n in count(1) if (name := f"{names[i]}_{n}").casefold() not in taken)
        taken.add(names[i].casefold())
    return [replace(case, name=name) for name, case in zip(names, cases, strict=True)]


def _clashing(names: list[str]) -> list[int]:
    """Return the positions of names that occur more than once, letters' case aside (file systems may ignore it)."""
    times = Counter(name.casefold() for name in names)
    return [i for i, name in enumerate(names) if times[name.casefold()] > 1]

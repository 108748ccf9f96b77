"""What an input path stands for: which files make up which case."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import GliomaskError, InputError
from gliomask.io.archives import extracted
from gliomask.io.bids import bids_cases, is_bids, is_derivative
from gliomask.io.images import match_channels, read_image
from gliomask.io.naming import RESULT, is_image, is_mask, is_nifti, is_zip, natural_key, page_names, printable, stem_of
from gliomask.io.sources import CaseSource
from gliomask.volume import Volume

AnyPath = str | os.PathLike[str]

KINDS = "PNG, JPEG or TIFF slices, NIfTI (.nii, .nii.gz), DICOM or a zip of them"

MOST_NAMED = 4
"""Most files that a note names one by one."""


def find_cases(inputs: Sequence[Path]) -> list[CaseSource]:
    """Return the cases that the inputs stand for, each under a name of its own.

    An image or NIfTI file is a case. A folder that holds images is a case of its slices; every
    folder below it that holds images is another. Of the NIfTI files in and below a folder those
    with FLAIR in their names are cases, or all where none has. DICOM files below a folder are
    sorted by study, each being a case. A BIDS dataset's cases, wherever it lies below a folder, are
    its FLAIR images. A zip is what it holds. Reference masks (``*_mask.*``), hidden folders,
    folders of earlier results and derivatives are passed over. Of several inputs, or of several
    folders with DICOM, one that stands for nothing is returned with its problem, so that it does
    not stop the others.

    Raises
    ------
    InputError
        A single input does not exist, is a mask or of an unknown kind, or holds no case.
    """
    found: list[CaseSource] = []
    for path in inputs:
        if len(inputs) > 1 and path.is_file() and is_mask(path):
            continue  # a shell's *.png brings the masks too
        try:
            found.extend(_cases_in_folder(path) if path.is_dir() else _cases_of_file(path))
        except (GliomaskError, OSError) as error:
            if len(inputs) == 1:
                raise
            found.append(_failed(path, error))
    if not found:
        raise InputError(f"{inputs[0]} and the other inputs are reference masks by their names (*_mask.*). Give the slices.")
    return _with_unique_names(found)


def read_case(case: CaseSource) -> Volume:
    """Return the case as one volume.

    Raises
    ------
    InputError
        A file cannot be read, or the slices differ in size or type; the message names the files.
    EngineError
        The package that reads this kind is not installed.
    """
    if case.problem:
        raise InputError(case.problem)
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
            raise InputError(f"T1 (pre, post) goes with a single NIfTI file; found {len(cases)} case(s) of kind {cases[0].kind}.")
        return [replace(cases[0], sequences=(pre, post))]
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
        notes.extend(f"{note} ({file.name})" for note in file_notes)
    return Volume(np.stack(match_channels(slices)), case.name, _distinct(case), case.path, tuple(notes))


def _distinct(case: CaseSource) -> tuple[str, ...]:
    """Return the slices' names; where two files differ by their ending alone, with the ending."""
    times = Counter(f.stem for f in case.files)
    return tuple(printable(f.name.replace(".", "_") if times[f.stem] > 1 else f.stem) for f in case.files)


def _cases_of_file(path: Path) -> list[CaseSource]:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder.")
    if is_mask(path):
        raise InputError(f"{path}: a reference mask by its name, not an input. Give the scan itself.")
    if is_image(path):
        return [CaseSource(printable(path.stem), path, (path,))]
    if is_nifti(path):
        return [CaseSource(printable(stem_of(path)), path, (path,), kind="nifti")]
    if is_zip(path):
        return _cases_in_zip(path)
    if path.name.upper() == "DICOMDIR":
        dicom, unread = _sorted_out(p for p in path.parent.rglob("*") if p.is_file())
        return _named_by(path.parent, _dicom_cases(dicom or [path], unread, path.parent))
    if path.stat().st_size == 0:
        raise InputError(f"{path}: empty (0 bytes). Export it again.")
    if _is_dicom(path):
        return _dicom_cases([path], [], path)
    raise InputError(f"{path}: unknown kind of file. Expected {KINDS}, or a folder.")


def _cases_in_folder(root: Path) -> list[CaseSource]:
    if is_bids(root):
        return bids_cases(root)
    folders, datasets = _folders_of(root)
    cases: list[CaseSource] = []
    nifti: list[Path] = []
    others: list[Path] = []
    for folder in folders:
        files = sorted((p for p in folder.iterdir() if p.is_file()), key=lambda p: natural_key(p.name))
        slices = tuple(p for p in files if is_image(p) and not is_mask(p))
        if slices:
            cases.append(CaseSource(printable(_folder_name(folder)), folder, slices))
        nifti.extend(p for p in files if is_nifti(p) and not is_mask(p))
        others.extend(p for p in files if not (is_image(p) or is_nifti(p)))
    cases.extend(_nifti_cases(nifti))
    searches: list[tuple[Path, Callable[[], list[CaseSource]]]] = [(dataset, partial(bids_cases, dataset)) for dataset in datasets]
    dicom, unread = _sorted_out(others)
    if dicom:
        # Beside DICOM, pictures are a viewer's icons and previews of the same scan.
        cases = [case for case in cases if case.kind != "images"]
        searches.append((root, partial(_dicom_cases, dicom, unread, root)))
    cases = _found_by(searches, cases)
    if not cases:
        raise InputError(f"{root}: holds no scan. Expected {KINDS} in it or in its folders.")
    return _named_by(root, cases)


def _folders_of(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders to look into, the root first, and the BIDS datasets among them, whose own folders are left out."""
    folders: list[Path] = []
    datasets: list[Path] = []
    for folder in sorted((p for p in [root, *root.rglob("*")] if p.is_dir()), key=lambda p: natural_key(str(p))):
        hidden = any(part.startswith(".") for part in folder.relative_to(root).parts)
        if hidden or is_result(folder) or any(folder.is_relative_to(dataset) for dataset in datasets):
            continue
        (datasets if is_bids(folder) else folders).append(folder)
    return folders, [dataset for dataset in datasets if not is_derivative(dataset)]


def _found_by(searches: Sequence[tuple[Path, Callable[[], list[CaseSource]]]], cases: list[CaseSource]) -> list[CaseSource]:
    """Return the cases and those that the searches find; a failing one is a case with a problem, or raises if there is no other case."""
    found, failed = list(cases), []
    for place, search in searches:
        try:
            found.extend(search())
        except InputError as error:
            failed.append((place, error))
    if failed and not found:
        raise failed[0][1]
    return found + [_failed(place, error) for place, error in failed]


def _failed(path: Path, error: Exception) -> CaseSource:
    """Return what stands for an input that is no case."""
    return CaseSource(printable(_folder_name(path) if path.is_dir() else stem_of(path)), path, problem=str(error))


def _folder_name(folder: Path) -> str:
    """Return a folder's name; that of a link is its own, that of ``.`` or ``..`` is the folder's that it stands for."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def _named_by(folder: Path, cases: list[CaseSource]) -> list[CaseSource]:
    """Return the cases, a single DICOM study being named by the folder that was given rather than by one below it."""
    if len(cases) != 1 or cases[0].kind != "dicom":
        return cases
    return [replace(cases[0], name=printable(_folder_name(folder)), path=folder)]


def _nifti_cases(files: list[Path]) -> list[CaseSource]:
    """Return an input's cases: the files named FLAIR, the others being their other sequences; or all, where none is."""
    named = [p for p in files if "flair" in p.name.casefold()]
    return [CaseSource(printable(stem_of(p)), p, (p,), kind="nifti") for p in named or files]


def _sorted_out(files: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return the files that are DICOM, and those that are not although their names say so or say nothing."""
    dicom: list[Path] = []
    unread: list[Path] = []
    for file in files:
        ending = file.suffix.casefold()
        if _is_dicom(file):
            dicom.append(file)
        elif not file.name.startswith(".") and (ending in ("", ".dcm", ".ima") or ending[1:].isdecimal()):  # UIDs end in numbers
            unread.append(file)
    return dicom, unread


def _dicom_cases(files: list[Path], unread: list[Path], given: Path) -> list[CaseSource]:
    """Return a case for every study, and one with a problem for every folder that cannot be used; if none can, that raises."""
    from gliomask.io.series import find_studies, unusable_folders  # pydicom: wanted for DICOM alone

    failed: list[CaseSource] = []
    try:
        studies = find_studies(files)
    except InputError:
        reasons = unusable_folders(files)
        usable = [file for file in files if file.parent not in reasons]
        if not usable or not reasons:
            raise
        studies = find_studies(usable)
        failed = [_failed(folder, error) for folder, error in reasons.items()]
    cases = []
    for study in studies:
        common = Path(os.path.commonpath([file.parent for file in study.files])) if given.is_dir() else given
        name = _folder_name(common) if given.is_dir() else stem_of(given)
        cases.append(CaseSource(printable(name), common, study.files, kind="dicom", notes=_unread_beside(study.files, unread)))
    return cases + failed


def _unread_beside(files: Sequence[Path], unread: Sequence[Path]) -> tuple[str, ...]:
    """Return a note on the files in a study's folders that are no DICOM, if there are any."""
    folders = {file.parent for file in files}
    beside = [file for file in unread if file.parent in folders]
    if not beside:
        return ()
    named = [f"{printable(f.name)} ({'empty' if f.stat().st_size == 0 else 'not DICOM'})" for f in beside[:MOST_NAMED]]
    return (f"{len(beside)} file{'s' if len(beside) > 1 else ''} not read: {', '.join(named)}{', …' if len(beside) > MOST_NAMED else ''}",)


def _cases_in_zip(path: Path) -> list[CaseSource]:
    unpacked = _Unpacked(path)
    folder = unpacked.folder
    try:
        cases = _cases_in_folder(folder)
    except InputError as error:
        raise InputError(str(error).replace(str(folder), str(path))) from error
    inner = []
    for case in cases:
        named_by_zip = case.bids is None and (len(cases) == 1 or case.path == folder)
        inner.append(
            replace(
                case,
                name=printable(path.stem) if named_by_zip else case.name,
                path=path / case.path.relative_to(folder),
                problem=case.problem.replace(str(folder), str(path)),
                holder=unpacked,
            )
        )
    return inner


class _Unpacked:
    """An archive's files, there for as long as somebody holds this."""

    def __init__(self, path: Path) -> None:
        stack = ExitStack()
        self.folder = stack.enter_context(extracted(path))
        self._finalizer = finalize(self, stack.close)


def _is_dicom(path: Path) -> bool:
    from gliomask.io.dicom import is_dicom

    return is_dicom(path)


def _with_unique_names(cases: list[CaseSource]) -> list[CaseSource]:
    """Return the cases renamed where several share a name, so that no result replaces another's.

    Names grow by one parent folder at a time. Those that no folder tells apart, such as ``a.png``
    beside ``a.jpg``, stay short and get their ending, then a number.
    """
    names = [case.name for case in cases]
    for depth in range(1, 4):
        for i in _clashing(names):
            parents = cases[i].path.resolve().parts[-1 - depth : -1]
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


def is_result(folder: Path) -> bool:
    """Return whether the folder holds a case's results, by its record."""
    try:
        content = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "notice" in content and "files" in content

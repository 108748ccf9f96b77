"""What an input path stands for: which files make up which case."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import GliomaskError, InputError
from gliomask.io.archives import extracted
from gliomask.io.bids import bids_cases, is_bids
from gliomask.io.images import match_channels, read_image
from gliomask.io.naming import RESULT, is_image, is_mask, is_nifti, is_zip, natural_key, page_names, printable, stem_of
from gliomask.io.sources import CaseSource
from gliomask.volume import Volume

AnyPath = str | os.PathLike[str]

KINDS = "PNG, JPEG or TIFF slices, NIfTI (.nii, .nii.gz), DICOM or a zip of them"


def find_cases(inputs: Sequence[Path]) -> list[CaseSource]:
    """Return the cases that the inputs stand for, each under a name of its own.

    An image or NIfTI file is a case. A folder that holds images is a case of its slices; every
    folder below it that holds images is another. Of a folder's NIfTI files those with FLAIR in
    their names are cases, or all where none has. DICOM files below a folder are sorted by study,
    each being a case. A BIDS dataset's cases are its FLAIR images. A zip is what it holds.
    Reference masks (``*_mask.*``), hidden folders and folders of earlier results are passed over.
    Of several inputs, one that stands for nothing is returned with its problem, so that it does not
    stop the others.

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
            found.append(CaseSource(printable(path.stem or str(path)), path, problem=str(error)))
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
        from gliomask.io.nifti import read_nifti  # nibabel: 0.1 s that a PNG need not wait for

        volume = read_nifti(case.files[0], case.name, *case.sequences, strict=not case.found)
    else:
        from gliomask.io.dicom import read_study

        volume = read_study(case.files, case.name, case.path, case.series)
    return replace(volume, sha256=case.sha256())


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
        pages, file_notes = read_image(case.files[0])
        return Volume(pages, case.name, page_names(printable(case.files[0].stem), len(pages)), case.path, file_notes)
    slices: list[NDArray[Any]] = []
    notes: list[str] = []
    for file in case.files:
        pages, file_notes = read_image(file)
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
        notes.extend(f"{note} ({file.name})" for note in file_notes)
    return Volume(np.stack(match_channels(slices)), case.name, _distinct(case), case.path, tuple(notes))


def _distinct(case: CaseSource) -> tuple[str, ...]:
    """Return the slices' names; where two files differ by their ending alone, with the ending."""
    count = Counter(f.stem for f in case.files)
    return tuple(printable(f.name.replace(".", "_") if count[f.stem] > 1 else f.stem) for f in case.files)


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
        return _dicom_cases([p for p in path.parent.rglob("*") if p.is_file() and _is_dicom(p)], path)
    if path.stat().st_size == 0:
        raise InputError(f"{path}: empty (0 bytes). Export it again.")
    if _is_dicom(path):
        return _dicom_cases([path], path)
    raise InputError(f"{path}: unknown kind of file. Expected {KINDS}, or a folder.")


def _cases_in_folder(root: Path) -> list[CaseSource]:
    if is_bids(root):
        return bids_cases(root)
    cases: list[CaseSource] = []
    dicom: list[Path] = []
    folders = sorted((p for p in [root, *root.rglob("*")] if p.is_dir()), key=lambda p: natural_key(str(p)))
    for folder in folders:
        if is_result(folder) or any(part.startswith(".") for part in folder.relative_to(root).parts):
            continue
        files = sorted((p for p in folder.iterdir() if p.is_file()), key=lambda p: natural_key(p.name))
        slices = tuple(p for p in files if is_image(p) and not is_mask(p))
        if slices:
            name = folder.name if folder.name not in ("", "..") else folder.resolve().name  # a link keeps its own name
            cases.append(CaseSource(printable(name), folder, slices))
        cases.extend(_nifti_cases([p for p in files if is_nifti(p) and not is_mask(p)]))
        dicom.extend(p for p in files if not (is_image(p) or is_nifti(p)) and _is_dicom(p))
    if dicom:
        # Beside DICOM, pictures are a viewer's icons and previews of the same scan.
        cases = [case for case in cases if case.kind != "images"] + _dicom_cases(dicom, root)
    if not cases:
        raise InputError(f"{root}: holds no scan. Expected {KINDS} in it or in its folders.")
    return cases


def _nifti_cases(files: list[Path]) -> list[CaseSource]:
    """Return a folder's cases: the files named FLAIR, the others being their other sequences; or all, where none is."""
    named = [p for p in files if "flair" in p.name.casefold()]
    return [CaseSource(printable(stem_of(p)), p, (p,), kind="nifti") for p in named or files]


def _dicom_cases(files: list[Path], given: Path) -> list[CaseSource]:
    from gliomask.io.series import find_studies  # pydicom: wanted for DICOM alone

    cases = []
    for study in find_studies(files or [given]):
        common = Path(os.path.commonpath([file.parent for file in study.files])) if given.is_dir() else given
        cases.append(CaseSource(printable(stem_of(common) if common.is_file() else common.name), common, study.files, kind="dicom"))
    return cases


def _cases_in_zip(path: Path) -> list[CaseSource]:
    unpacked = _Unpacked(path)
    try:
        cases = _cases_in_folder(unpacked.folder)
    except InputError as error:
        raise InputError(str(error).replace(str(unpacked.folder), str(path))) from error
    inner = [replace(case, path=path / case.path.relative_to(unpacked.folder), holder=unpacked) for case in cases]
    return [replace(inner[0], name=printable(path.stem))] if len(inner) == 1 else inner


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

    Names grow by one parent folder at a time; what still collides, such as ``a.png`` beside
    ``a.jpg``, gets its ending, then a number.
    """
    names = [case.name for case in cases]
    for depth in range(1, 4):
        for i in _clashing(names):
            parents = cases[i].path.resolve().parts[-1 - depth : -1]
            names[i] = printable("_".join([*parents, cases[i].name]))
    for i in _clashing(names):
        names[i] += cases[i].path.suffix.replace(".", "_")
    for position, i in enumerate(_clashing(names), start=1):
        names[i] += f"_{position}"
    return [replace(case, name=name) for name, case in zip(names, cases, strict=True)]


def _clashing(names: list[str]) -> list[int]:
    """Return the positions of names that occur more than once, letters' case aside (file systems may ignore it)."""
    count = Counter(name.casefold() for name in names)
    return [i for i, name in enumerate(names) if count[name.casefold()] > 1]


def is_result(folder: Path) -> bool:
    """Return whether the folder holds a case's results, by its record."""
    try:
        content = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "notice" in content and "files" in content

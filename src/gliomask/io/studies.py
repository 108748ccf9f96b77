"""The DICOM files below a folder as cases, and what lies beside them: previews, reports, files that cannot be read."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gliomask.errors import GliomaskError, InputError
from gliomask.io.headers import Header, is_dicom, read_header
from gliomask.io.naming import MOST_NAMED, folder_name, is_image, is_nifti, listed, printable, quoted, stem_of
from gliomask.io.series import Study, by_study_and_patient, find_studies, unusable_folders
from gliomask.io.sources import CaseSource


@dataclass(frozen=True)
class DicomCases:
    """What DICOM files stand for.

    Attributes
    ----------
    studies
        A case for every study with images.
    reports
        A case for every study without, of patients who have no other.
    failed
        Why a folder, or all that was given, cannot be used.
    discs
        Folders with a DICOMDIR.
    """

    studies: list[CaseSource]
    reports: list[CaseSource]
    failed: dict[Path, Exception]
    discs: list[Path]


@dataclass(frozen=True)
class _Heap:
    """Files that are DICOM; that are not, although their names say so or say nothing; that have such names and cannot be read."""

    dicom: list[Path] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    refused: dict[Path, InputError] = field(default_factory=dict)


def find_dicom(files: Iterable[Path], given: Path) -> DicomCases:
    """Return the cases among files of which some may be DICOM; *given* is the folder or file that names a case."""
    heap = _sorted_out(files)
    failed = _refusing_folders(heap.refused)
    studies, unusable = _studies([file for file in heap.dicom if file.parent not in failed], given)
    cases: dict[bool, list[CaseSource]] = {True: [], False: []}
    for study in studies:
        common = common_folder(study.files) if given.is_dir() else given
        name = folder_name(common) if given.is_dir() else stem_of(given)
        notes = _unread_beside(study.files, heap.unread)
        cases[study.has_images].append(CaseSource(printable(name), common, study.files, kind="dicom", notes=notes))
    discs = [file.parent for file in heap.dicom if file.name.upper() == "DICOMDIR"]
    return DicomCases(cases[True], cases[False], failed | unusable, discs)


def common_folder(files: Sequence[Path]) -> Path:
    """Return the folder that holds all files, or the first one's if none does."""
    try:
        return Path(os.path.commonpath([file.parent for file in files]))
    except ValueError:  # on several drives
        return files[0].parent


def loose_studies(inputs: Sequence[Path]) -> dict[Path, tuple[Path, ...]]:
    """Return the DICOM files that were given one by one, as a shell's ``study/*`` gives them, each with all of its study.

    Files that are all that was given of their study stay by themselves. One that cannot be read counts to a study with files in its folder,
    since that would lack a slice. Those of several are absolute paths, as one may be given by either kind.
    """
    headers: list[Header] = []
    broken: list[Path] = []
    for path in dict.fromkeys(inputs) if len(inputs) > 1 else ():
        if not _is_loose_dicom(path):
            continue
        try:
            headers.append(read_header(path))
        except GliomaskError:
            broken.append(path)
    studies: dict[Path, tuple[Path, ...]] = {}
    for group in by_study_and_patient(headers).values():
        files = [header.file for header in group]
        if len(files) > 1:
            folders = {file.parent for file in files}
            given = [*files, *(path for path in broken if path.parent in folders)]
            studies |= dict.fromkeys(given, tuple(file.absolute() for file in given))
    return studies


def _is_loose_dicom(path: Path) -> bool:
    """Return whether an input is a DICOM file by itself."""
    try:
        return path.is_file() and path.name.upper() != "DICOMDIR" and not (is_image(path) or is_nifti(path)) and is_dicom(path)
    except (GliomaskError, OSError):
        return False


def without_previews(pictures: Sequence[CaseSource], dicom: DicomCases) -> tuple[list[CaseSource], list[CaseSource]]:
    """Return the pictures that are cases of their own, and the studies with notes on those that are previews or a viewer's icons.

    Those lie in or below a folder of a study's own, or on its disc.
    """
    studies = list(dicom.studies)
    owners = {file.parent: number for number, study in enumerate(studies) for file in study.files}
    for disc in dicom.discs:
        on_it = [number for folder, number in owners.items() if folder.is_relative_to(disc)]
        owners |= {disc: on_it[0]} if on_it else {}
    own: list[CaseSource] = []
    previews: dict[int, list[Path]] = defaultdict(list)
    for case in pictures:
        owner = next((owners[folder] for folder in (case.path, *case.path.parents) if folder in owners), None)
        if owner is None:
            own.append(case)
        else:
            previews[owner].extend(case.files)
    for owner, files in previews.items():
        studies[owner] = studies[owner].noted(f"not used, as they lie beside DICOM: {listed(files)}")
    return own, studies


def with_reports(cases: Sequence[CaseSource], reports: Sequence[CaseSource]) -> list[CaseSource]:
    """Return the cases with notes on the reports in or above their folders, and the other reports, which fail as cases of their own."""
    told = list(cases)
    for report in reports:
        folders = {file.parent for file in report.files}
        near = (n for n, c in enumerate(cases) for f in folders if c.path.is_relative_to(f) or f.is_relative_to(c.path))
        number = next(near, None)
        if number is None:
            told.append(report)
        else:
            told[number] = told[number].noted(f"not used, being DICOM without images: {listed(report.files)}")
    return told


def _sorted_out(files: Iterable[Path]) -> _Heap:
    heap = _Heap()
    for file in files:
        ending = file.suffix.casefold()
        named = not file.name.startswith(".") and (ending in ("", ".dcm", ".ima") or ending[1:].isdecimal())  # UIDs end in numbers
        try:
            if is_dicom(file):
                heap.dicom.append(file)
            elif named:
                heap.unread.append(file)
        except InputError as error:
            if named:
                heap.refused[file] = error
    return heap


def _refusing_folders(refused: dict[Path, InputError]) -> dict[Path, Exception]:
    """Return the folders with files that cannot be read, each with the first one's reason and the names of the others.

    Nothing of such a folder is used: a series without some of its slices would be a head cut off.
    """
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for file in refused:
        by_folder[file.parent].append(file)
    return {
        folder: InputError(f"{refused[first]}{f' Beside it cannot be read either: {listed(rest)}.' if rest else ''}")
        for folder, (first, *rest) in by_folder.items()
    }


def _studies(files: list[Path], given: Path) -> tuple[list[Study], dict[Path, Exception]]:
    """Return the studies, and why a folder, or all that is left without such folders, cannot be used."""
    try:
        return find_studies(files), {}
    except InputError as error:
        reasons = unusable_folders(files)
        if not reasons:
            return [], {given: error}
        studies, more = _studies([file for file in files if file.parent not in reasons], given)
        return studies, more | reasons


def _unread_beside(files: Sequence[Path], unread: Sequence[Path]) -> tuple[str, ...]:
    """Return a note on the files in a study's folders that are no DICOM, if there are any."""
    folders = {file.parent for file in files}
    beside = [file for file in unread if file.parent in folders]
    if not beside:
        return ()
    named = [f"{quoted(f.name)} ({'empty' if f.stat().st_size == 0 else 'not DICOM'})" for f in beside[:MOST_NAMED]]
    return (f"{len(beside)} file{'s' if len(beside) > 1 else ''} not read: {', '.join(named)}{', …' if len(beside) > MOST_NAMED else ''}",)

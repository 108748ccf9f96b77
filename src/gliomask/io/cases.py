"""What an input path stands for: which files make up which case."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import InputError
from gliomask.io.images import match_channels, read_image
from gliomask.io.naming import IMAGE_ENDINGS, RESULT, is_image, is_mask, natural_key, page_names, printable
from gliomask.volume import Volume


@dataclass(frozen=True)
class CaseSource:
    """A case that has not been read yet: its name, where it is, its slice files in natural order.

    ``problem`` says why an input is no case; then there are no files.
    """

    name: str
    path: Path
    files: tuple[Path, ...] = ()
    problem: str = ""

    def sha256(self) -> str:
        """Return the SHA-256 over the names and the bytes of the files, in order."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(os.fsencode(file.name) + b"\0" + hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()


def find_cases(inputs: Sequence[Path]) -> list[CaseSource]:
    """Return the cases that the inputs stand for, each under a name of its own.

    An image file is a case. A folder that holds images is a case of its slices; every folder below
    it that holds images is another. Reference masks (``*_mask.*``), hidden folders and folders of
    earlier results are passed over. Of several inputs, one that stands for nothing is returned with
    its problem, so that it does not stop the others.

    Raises
    ------
    InputError
        A single input does not exist, is a mask or no image by its ending, or holds no images.
    """
    found: list[CaseSource] = []
    for path in inputs:
        if len(inputs) > 1 and path.is_file() and is_mask(path):
            continue  # a shell's *.png brings the masks too
        try:
            found.extend(_cases_in_folder(path) if path.is_dir() else [_case_of_file(path)])
        except (InputError, OSError) as error:
            if len(inputs) == 1:
                raise
            found.append(CaseSource(printable(path.stem or str(path)), path, problem=str(error)))
    if not found:
        raise InputError(f"{inputs[0]} and the other inputs are reference masks by their names (*_mask.*). Give the slices.")
    return _with_unique_names(found)


def read_case(case: CaseSource) -> Volume:
    """Return the case's slices as one volume.

    Raises
    ------
    InputError
        A file cannot be read, or the slices differ in size or type; the message names the files.
    """
    if case.problem:
        raise InputError(case.problem)
    sha256 = case.sha256()
    if len(case.files) == 1:
        pages, page_notes = read_image(case.files[0])
        names = page_names(printable(case.files[0].stem), len(pages))
        return Volume(pages, case.name, names, case.path, page_notes, sha256)
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
    return Volume(np.stack(match_channels(slices)), case.name, _distinct(case), case.path, tuple(notes), sha256)


def _distinct(case: CaseSource) -> tuple[str, ...]:
    """Return the slices' names; where two files differ by their ending alone, with the ending."""
    count = Counter(f.stem for f in case.files)
    return tuple(printable(f.name.replace(".", "_") if count[f.stem] > 1 else f.stem) for f in case.files)


def _case_of_file(path: Path) -> CaseSource:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder.")
    if is_mask(path):
        raise InputError(f"{path}: a reference mask by its name (*_mask.*), not an input. Give the slice itself.")
    if not is_image(path):
        raise InputError(f"{path}: unknown kind of file. Expected one of {', '.join(sorted(IMAGE_ENDINGS))}, or a folder.")
    return CaseSource(printable(path.stem), path, (path,))


def _cases_in_folder(root: Path) -> list[CaseSource]:
    cases = []
    folders = sorted((p for p in [root, *root.rglob("*")] if p.is_dir()), key=lambda p: natural_key(str(p)))
    for folder in folders:
        if is_result(folder) or any(part.startswith(".") for part in folder.relative_to(root).parts):
            continue
        files = sorted((p for p in folder.iterdir() if p.is_file()), key=lambda p: natural_key(p.name))
        slices = tuple(p for p in files if is_image(p) and not is_mask(p))
        if slices:
            name = folder.name if folder.name not in ("", "..") else folder.resolve().name  # a link keeps its own name
            cases.append(CaseSource(printable(name), folder, slices))
    if not cases:
        raise InputError(f"{root}: holds no images. Expected {', '.join(sorted(IMAGE_ENDINGS))} in it or in its folders.")
    return cases


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

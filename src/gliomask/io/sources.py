"""A case before it is read."""

import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gliomask.io.archives import Unpacked

Kind = Literal["images", "nifti", "dicom"]


@dataclass(frozen=True)
class CaseSource:
    """A case that has not been read yet.

    Attributes
    ----------
    name
        What results are filed under.
    path
        The file or folder that was given, for messages.
    files
        Slices in natural order, one NIfTI file, or the DICOM files of one study.
    problem
        Why an input is no case, or why its file cannot be reached.
    kind
        What the files are.
    sequences
        For NIfTI: the files of T1 before and after contrast, or None.
    found
        Whether those sequences were found by the program; then they are left out if they do not fit.
    series
        For DICOM: the FLAIR series' UID, number or part of its description, where the choice is not
        left to the program.
    bids
        For an image of a BIDS dataset: its path within it, and the dataset's folder.
    notes
        What is to be told of the files beside it, for the volume's notes.
    max_pixels
        Most pixels that are read of the case; None is what its reader allows.
    place
        Where it lies, from the folder on that was given or holds the file that was; empty for uploads.
    archive
        What the files are unpacked from; they are there :meth:`at_hand`.
    """

    name: str
    path: Path
    files: tuple[Path, ...] = ()
    problem: str = ""
    kind: Kind = "images"
    sequences: tuple[Path | None, Path | None] = (None, None)
    found: bool = False
    series: str | None = None
    bids: tuple[Path, Path] | None = None
    notes: tuple[str, ...] = ()
    max_pixels: int | None = None
    place: str = ""
    archive: Unpacked | None = field(default=None, repr=False, compare=False)

    @property
    def folder(self) -> Path:
        """Where its results go, below the output; that of a BIDS dataset has the dataset's own tree beside them."""
        return Path(self.name) if self.bids is None else Path("cases", self.name)

    @property
    def t1(self) -> list[tuple[str, Path]]:
        """The files of T1, each with ``"pre"`` or ``"post"``, which it is used as."""
        return [(role, file) for role, file in zip(("pre", "post"), self.sequences, strict=True) if file is not None]

    def at_hand(self) -> AbstractContextManager[object]:
        """Return a context in which the files can be read, those from an archive too."""
        return nullcontext() if self.archive is None else self.archive

    def noted(self, note: str) -> "CaseSource":
        """Return the case with one more note."""
        return replace(self, notes=(*self.notes, note))

    def state(self) -> list[tuple[int, int] | None]:
        """Return size and time of change of each file, None of one that is not there: the same before and after a reading of one state."""
        return [_state(file) for file in (*self.files, *(file for _, file in self.t1))]

    def sha256(self, called: Callable[[str], str] = str) -> str:
        """Return the SHA-256 over the names and the bytes of the files, in order, and over the choice of a series.

        Of T1 it is over what each is used as, too. Sequences that the program found but cannot read have no part in it, as they have
        none in the volume. *called* tells what a file is called by its name on the disk.
        """
        flair = [(called(file.name), file) for file in self.files]
        t1 = [(f"{role}/{called(file.name)}", file) for role, file in self.t1 if not self.found or os.access(file, os.R_OK)]
        return files_sha256([*flair, *t1], self.series)


def _state(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def files_sha256(files: Iterable[tuple[str, Path]], series: str | None = None) -> str:
    """Return the SHA-256 over names and bytes of files, each given with what it is called, and over the choice of a series."""
    digest = hashlib.sha256()
    for name, file in files:
        with file.open("rb") as content:
            digest.update(os.fsencode(name) + b"\0" + hashlib.file_digest(content, "sha256").digest())
    if series is not None:
        digest.update(series.encode())
    return digest.hexdigest()

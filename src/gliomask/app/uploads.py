"""Uploaded files sorted into cases by their names and first bytes; what a file was called never becomes a path."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, Protocol

from gliomask.io.naming import is_image, is_mask, is_nifti, is_zip, natural_key, numbered, quoted, stem_of

Kind = Literal["images", "nifti", "dicom", "zip", "unknown"]
Header = tuple[int, int, int]
"""Width, height and pages of an image."""

POST = frozenset({"t1ce", "t1c", "t1gd", "t1post", "t1km", "post", "postcontrast", "ce", "gd"})
PRE = frozenset({"t1", "t1w", "t1n", "t1pre", "pre", "precontrast", "native"})
WHEN = frozenset({"pre", "post"})
FLAIR = frozenset({"flair", "t2flair", "t2f"})
OTHER = frozenset({"t2", "t2w", "adc", "dwi", "swi"})
MASK = frozenset({"mask", "seg", "label"})


class Upload(Protocol):
    """What is used of Streamlit's uploaded file: a binary file with a name and a size."""

    name: str
    size: int

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        ...


def from_start(upload: Upload) -> BinaryIO:
    """Return an uploaded file to be read from its beginning, whatever was read of it before."""
    seek = getattr(upload, "seek", None)
    if seek is not None:
        seek(0)
    return upload  # type: ignore[return-value] # read is all that is used


@dataclass(frozen=True)
class Received:
    """An uploaded file: what its owner calls it (cleaned), and where it lies under a name of the program's."""

    name: str
    path: Path


@dataclass(frozen=True)
class Group:
    """Files that belong together.

    Attributes
    ----------
    name
        What the case is to be called.
    kind
        What the files are.
    files
        In order.
    sequences
        For NIfTI: T1 before and after contrast.
    masks
        Reference masks of it.
    notes
        What is to be told of files beside it.
    """

    name: str
    kind: Kind
    files: tuple[Received, ...]
    sequences: tuple[Received | None, Received | None] = (None, None)
    masks: tuple[Received, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def everything(self) -> tuple[Received, ...]:
        """All files of the group."""
        return (*self.files, *(file for file in self.sequences if file is not None), *self.masks)


def clean_name(name: str) -> str:
    """Return an uploaded file's name without folders and without characters that a file system or an archive trips over.

    >>> clean_name("../head: 1.png")
    'head_ 1.png'
    """
    composed = unicodedata.normalize("NFC", name)  # macOS takes letters with accents apart
    last = " ".join(PurePosixPath(composed.replace("\\", "/")).name.split())
    return re.sub(r'[\x00-\x1f\x7f<>:"|?*]', "_", last)[-120:].lstrip(".") or "file"


def grouped(
    files: Sequence[Received], *, is_dicom: Callable[[Path], bool], header: Callable[[Path], Header | None] | None = None
) -> list[Group]:
    """Return the cases that files stand for, each with its reference masks, in the order of their first files.

    Images whose names differ by a last number alone are the slices of one volume if they are of
    one size and of one page each. NIfTI files are told apart by what their names say beside the
    sequence. All DICOM files together are one group, which the DICOM reader sorts into studies.
    """
    header = image_header if header is None else header
    kinds: dict[Kind, list[Received]] = {"images": [], "nifti": [], "dicom": [], "zip": [], "unknown": []}
    for file in files:
        kinds[_kind(file, is_dicom)].append(file)
    groups = [
        *_image_groups(kinds["images"], header),
        *_nifti_groups(kinds["nifti"]),
        *(Group(stem_of(Path(file.name)), "zip", (file,)) for file in kinds["zip"]),
        *(Group(stem_of(Path(file.name)), "unknown", (file,)) for file in kinds["unknown"]),
    ]
    if kinds["dicom"]:
        groups.append(Group("study", "dicom", tuple(kinds["dicom"])))
    place = {id(file): number for number, file in enumerate(files)}
    return sorted(groups, key=lambda group: min(place[id(file)] for file in group.everything))


def singles(group: Group) -> list[Group]:
    """Return the slices of a volume as cases of their own, each with its mask."""
    return [replace(group, name=stem_of(Path(f.name)), files=(f,), masks=_masks_of([f], group.masks)) for f in group.files]


def image_header(path: Path) -> Header | None:
    """Return an image's size and pages; None where it cannot be read, which the reader tells in its own words."""
    from PIL import Image

    from gliomask.io.images import FORMATS

    try:
        with Image.open(path, formats=FORMATS) as image:
            return (*image.size, getattr(image, "n_frames", 1))
    except Exception:  # noqa: BLE001 - each format's own errors; none is of interest here
        return None


def _kind(file: Received, is_dicom: Callable[[Path], bool]) -> Kind:
    name = Path(file.name)
    if is_image(name):
        return "images"
    if is_nifti(name):
        return "nifti"
    if is_zip(name):
        return "zip"
    return "dicom" if is_dicom(file.path) else "unknown"


def _image_groups(files: Iterable[Received], header: Callable[[Path], Header | None]) -> list[Group]:
    images = sorted((f for f in files if not is_mask(Path(f.name))), key=lambda f: natural_key(f.name))
    masks = [f for f in files if is_mask(Path(f.name))]
    stacks: dict[object, list[Received]] = {}
    for file in images:
        found, (prefix, number) = header(file.path), numbered(stem_of(Path(file.name)))
        alone = found is None or found[2] > 1 or number is None
        stacks.setdefault(id(file) if alone else (prefix.casefold(), found), []).append(file)
    groups = []
    for stack in stacks.values():
        stem = stem_of(Path(stack[0].name))
        name = stem if len(stack) == 1 else numbered(stem)[0] or "slices"
        groups.append(Group(name, "images", tuple(stack), masks=_masks_of(stack, masks)))
    return groups + [Group(stem_of(Path(f.name)), "images", (f,)) for f in _unused(masks, groups)]


def _masks_of(images: Iterable[Received], masks: Iterable[Received]) -> tuple[Received, ...]:
    """Return the masks that are named after the images (``<image>_mask.*``), in the images' order."""
    by_name = {stem_of(Path(mask.name)).casefold(): mask for mask in masks}
    wanted = (f"{stem_of(Path(image.name))}_mask".casefold() for image in images)
    return tuple(by_name[name] for name in wanted if name in by_name)


def _unused(masks: Iterable[Received], groups: Iterable[Group]) -> list[Received]:
    used = {id(mask) for group in groups for mask in group.masks}
    return [mask for mask in masks if id(mask) not in used]


def _nifti_groups(files: Sequence[Received]) -> list[Group]:
    masks = [f for f in files if is_mask(Path(f.name))]
    twice = _seen_twice(files)

    def visits(file: Received) -> list[tuple[str, frozenset[str]]]:
        name, when = subject_of(file.name), _words(file.name) & WHEN
        if name not in twice:
            return [(name, frozenset())]
        return [(name, visit) for visit in ([when] if when else twice[name])]

    subjects: dict[tuple[str, frozenset[str]], list[Received]] = {}
    for file in files:
        for visit in () if is_mask(Path(file.name)) else visits(file):
            subjects.setdefault(visit, []).append(file)
    groups = [group for (_, when), of_one in subjects.items() for group in _subject_groups(of_one, when)]
    by_visit = {visit: number for number, group in enumerate(groups) for visit in visits(group.files[0])}
    for mask in masks:
        number = 0 if len(groups) == len(masks) == 1 else by_visit.get(visits(mask)[-1])
        if number is not None:
            groups[number] = replace(groups[number], masks=(mask,))
    return groups + [Group(stem_of(Path(f.name)), "nifti", (f,)) for f in _unused(masks, groups)]


def _seen_twice(files: Sequence[Received]) -> dict[str, list[frozenset[str]]]:
    """Return the subjects with a FLAIR before and one after, an operation say, and these words, which there tell of no contrast agent."""
    times: dict[str, dict[frozenset[str], None]] = {}
    for file in files:
        if _words(file.name) & FLAIR and (when := _words(file.name) & WHEN):
            times.setdefault(subject_of(file.name), {})[when] = None
    return {subject: list(seen) for subject, seen in times.items() if len(seen) > 1}


def _subject_groups(files: Sequence[Received], when: frozenset[str]) -> list[Group]:
    """Return the cases among the NIfTI files of one subject: its FLAIR with T1 beside it; where no name says FLAIR, each file.

    The words *when* tell of all these files when they were made.
    """
    flairs = [f for f in files if _words(f.name) & FLAIR]
    if not flairs:
        return [Group(stem_of(Path(f.name)), "nifti", (f,)) for f in files]
    others = [f for f in files if f not in flairs]
    post = next((f for f in others if (_words(f.name) - when) & POST), None)
    pre = next((f for f in others if f is not post and (_words(f.name) - when) & PRE), None)
    rest = ", ".join(quoted(f.name) for f in others if f not in (pre, post))
    notes = (f"not used: {rest}",) if rest else ()
    return [Group(stem_of(Path(f.name)), "nifti", (f,), (pre, post), notes=notes) for f in flairs]


def _words(name: str) -> frozenset[str]:
    return frozenset(_parts(name))


def _parts(name: str) -> list[str]:
    return re.split(r"[^a-z0-9]+", stem_of(Path(name)).casefold())


def subject_of(name: str) -> str:
    """Return what a NIfTI file's name says beside sequence and mask."""
    return "_".join(word for word in _parts(name) if word not in POST | PRE | FLAIR | OTHER | MASK)

"""How files are named: natural order, reference masks, image endings."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}

NIFTI_ENDINGS = (".nii", ".nii.gz")

OTHER_ENDINGS = (
    *(".hdr", ".img", ".mgz", ".mgh", ".mnc", ".nrrd", ".nhdr", ".mha", ".mhd", ".par", ".head"),
    *(".nii.bz2", ".nii.xz", ".nii.zst", ".dcm.gz"),
)
"""Of scans as other tools write or pack them, which are not read here but told of."""

UNREAD_ENDINGS = (*OTHER_ENDINGS, ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar", ".bmp", ".jp2")
"""Of these, and of archives and pictures that may hold scans and are not read either."""

RESULT = "result.json"
"""The record of a finished case; a folder that holds one is output, not input."""

MapName = Literal["probability", "uncertainty"]

MAPS: dict[MapName, str] = {"probability": "probabilities", "uncertainty": "uncertainty"}
"""The maps that a result may hold beside its mask, on the same grid: how their files' names end, and what their values are called."""

NAMED_FLAIR = re.compile(r"flair|(?<![a-z0-9])t2f(?![a-z0-9])", re.IGNORECASE)
"""What a FLAIR's name holds."""

NAMED_POST = re.compile(
    r"post(?!er|.?fossa)|gado|kontrast|контраст|增强|造影"
    r"|(?<![a-z])(gd|gad|ce|km|mdc|contrast[eo]?|inj[a-z]*|dotarem|gadavist)(?![a-z])|t1ce|t1c(?![a-z])|\+ ?c(?![a-z])|c\+"
)
NAMED_PRE = re.compile(
    r"(?<![a-z])(pre|native?|plain|nc|without|w/?o|ohne|vor|sans|avant|sin|senza|без"
    r"|non?[ _.-]?(gd|gad[a-z]*|contrast[a-z]*|inj[a-z]*|km|c))(?![a-z])"
)
"""What tells in a lower-case description of T1 that contrast agent was given, or was not."""

NAMED_OTHER = re.compile(
    r"(?<![a-z])((pre|post)[ _.-]?op(erat[a-z]*)?"
    r"|(without|w/?o|ohne|sans|sin|senza|no)[ _.-]?(fs|fat[ _.-]?(sat|sup)[a-z]*))(?![a-z])"
)
"""What tells there, in the same words, of surgery or of the signal of fat."""

SEQUENCE_FOLDER = re.compile(r"(t[12]|flair)[a-z_ -]*|pd|dwi|adc|swi", re.IGNORECASE)
"""Folders that hold one sequence of the patient whose folder is the one above."""

MASK_SUFFIX = re.compile(r"[_-](mask|d?seg|labels?|pred|prediction)$", re.IGNORECASE)
"""What tools put behind a case's name in masks."""

NO_MASK_SUFFIX = re.compile(rf"[_-]({'|'.join(MAPS)}|probseg|probabilities|softmax)$", re.IGNORECASE)
"""What is behind a case's name in what lies beside masks and is none."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a table's cell must not begin with, since a spreadsheet would run it."""

MOST_NAMED = 4
"""Most files that a note names one by one."""


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts ``slice_2`` before ``slice_10``, whatever the letters' case.

    >>> sorted(["s10.png", "S2.png", "s1.png"], key=natural_key)
    ['s1.png', 'S2.png', 's10.png']
    """
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def printable(name: str) -> str:
    """Return a name with the bytes that are no UTF-8 written out, so that it can be printed and stored."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8").replace("\\", "_")


def cell(name: str) -> str:
    """Return a name for a spreadsheet to show as it is and not to run: what files are called is anybody's.

    >>> cell("=cmd()"), cell("head")
    ("'=cmd()", 'head')
    """
    return f"'{name}" if name.startswith(FORMULA) else name


def page_names(stem: str, pages: int) -> tuple[str, ...]:
    """Return the slices' names of a file: its own for a single page, numbered from 1 for several.

    >>> page_names("head", 1), page_names("head", 2)
    (('head',), ('head_1', 'head_2'))
    """
    return (stem,) if pages == 1 else tuple(f"{stem}_{page}" for page in range(1, pages + 1))


def stem_of(path: Path) -> str:
    """Return the file's name without its ending, ``.nii.gz`` being one.

    >>> stem_of(Path("head.nii.gz")), stem_of(Path("head.v2.png"))
    ('head', 'head.v2')
    """
    name = path.name
    return name[: -len(".nii.gz")] if name.casefold().endswith(".nii.gz") else path.stem


def numbered(stem: str) -> tuple[str, int | None]:
    """Return a name without its last number and what joins them, and the number.

    >>> numbered("TCGA_CS_4941_12"), numbered("head")
    (('TCGA_CS_4941', 12), ('head', None))
    """
    match = re.fullmatch(r"(.*?)[ _.\-(]*(\d{1,9})\)?", stem)
    return (match[1], int(match[2])) if match else (stem, None)


def folder_name(folder: Path) -> str:
    """Return a folder's name; that of a link is its own, that of ``.`` or ``..`` is the folder's that it stands for."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def quoted(name: str) -> str:
    """Return a file's name as notes and messages quote it, by which a report without identifiers knows all of it.

    >>> quoted("Jane Doe flair.nii")
    '“Jane Doe flair.nii”'
    """
    return f"“{printable(name).replace('”', '_')}”"


def listed(files: Sequence[Path]) -> str:
    """Return the names of the first files, and how many there are if those are not all.

    >>> listed([Path(f"{n}.png") for n in range(9)])
    '“0.png”, “1.png”, “2.png”, “3.png”, … (9 files)'
    """
    named = ", ".join(quoted(file.name) for file in files[:MOST_NAMED])
    return named if len(files) <= MOST_NAMED else f"{named}, … ({len(files)} files)"


def map_values(path: Path) -> str | None:
    """Return what the values of a result's map are called, which the file is by its name; None if it is none.

    >>> map_values(Path("head_probability.nii.gz")), map_values(Path("head_mask.png"))
    ('probabilities', None)
    """
    stem = stem_of(path).casefold()
    return next((values for name, values in MAPS.items() if stem.endswith(f"_{name}")), None)


def is_mask(path: Path) -> bool:
    """Return whether a file is no input by its name.

    That is a map, or a reference mask: ``*_mask.*``, of NIfTI also ``*_seg``, ``*-seg`` and ``*_probseg``.
    """
    endings = ("_mask", "_seg", "-seg", "_probseg") if is_nifti(path) else ("_mask",)
    return map_values(path) is not None or stem_of(path).casefold().endswith(endings)


def is_named_flair(path: Path) -> bool:
    """Return whether a file is a FLAIR by its name, or by that of the folder that holds its sequence (``t2f`` is BraTS's word for it).

    >>> is_named_flair(Path("p1/T2_FLAIR.nii.gz")), is_named_flair(Path("FLAIR/scan.nii")), is_named_flair(Path("p1/GLI-01-t2w.nii.gz"))
    (True, True, False)
    """
    folder = path.parent.name
    return any(NAMED_FLAIR.search(name) for name in (stem_of(path), folder if SEQUENCE_FOLDER.fullmatch(folder) else ""))


def is_named_post(description: str, *, given: bool = False) -> bool:
    """Return whether contrast agent was *given*, or is so by a sequence's description, unless that says that it was not.

    >>> is_named_post("AX T1 POST"), is_named_post("T1 without Gd"), is_named_post("T1 +C PRE-OP"), is_named_post("T1", given=True)
    (True, False, True, True)
    """
    name = NAMED_OTHER.sub(" ", description.casefold())
    return not NAMED_PRE.search(name) and (given or bool(NAMED_POST.search(name)))


def is_nifti(path: Path) -> bool:
    """Return whether the file's ending is NIfTI's."""
    return path.name.casefold().endswith(NIFTI_ENDINGS) and not path.name.startswith(".")


def is_other_format(path: Path) -> bool:
    """Return whether the file's name is that of what may hold a scan, in a format that is not read."""
    return path.name.casefold().endswith(UNREAD_ENDINGS) and not (path.name.startswith(".") or MASK_SUFFIX.search(stem_of(path)))


def is_zip(path: Path) -> bool:
    """Return whether the file's ending is that of a zip archive."""
    return path.suffix.casefold() == ".zip" and not path.name.startswith(".")


def is_image(path: Path) -> bool:
    """Return whether the file's ending is one of an image that can be an input slice."""
    return path.suffix.casefold() in IMAGE_ENDINGS and not path.name.startswith(".")

"""How files are named: natural order, reference masks, image endings."""

import re
from pathlib import Path

IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}

RESULT = "result.json"
"""The record of a finished case; a folder that holds one is output, not input."""


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


def page_names(stem: str, pages: int) -> tuple[str, ...]:
    """Return the slices' names of a file: its own for a single page, numbered from 1 for several.

    >>> page_names("head", 1), page_names("head", 2)
    (('head',), ('head_1', 'head_2'))
    """
    return (stem,) if pages == 1 else tuple(f"{stem}_{page}" for page in range(1, pages + 1))


def is_mask(path: Path) -> bool:
    """Return whether the file is a reference mask by its name (``*_mask.*``), never an input."""
    return path.stem.casefold().endswith("_mask")


def is_image(path: Path) -> bool:
    """Return whether the file's ending is one of an image that can be an input slice."""
    return path.suffix.casefold() in IMAGE_ENDINGS and not path.name.startswith(".")

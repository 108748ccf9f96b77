"""Files in, files out: the only package that knows file formats."""

from gliomask.io.cases import find_cases, read, read_case, with_choices
from gliomask.io.images import read_image, read_mask
from gliomask.io.sources import CaseSource
from gliomask.io.writing import alone_in, atomic_path, write_png, write_text

__all__ = [
    "CaseSource",
    "alone_in",
    "atomic_path",
    "find_cases",
    "read",
    "read_case",
    "read_image",
    "read_mask",
    "with_choices",
    "write_png",
    "write_text",
]

"""Files in, files out: the only package that knows file formats."""

from gliomask.io.cases import CaseSource, find_cases, read_case
from gliomask.io.images import read_image, read_mask
from gliomask.io.writing import atomic_path, write_png, write_text

__all__ = [
    "CaseSource",
    "atomic_path",
    "find_cases",
    "read_case",
    "read_image",
    "read_mask",
    "write_png",
    "write_text",
]

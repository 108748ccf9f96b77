"""Output files that are there whole or not at all."""

import errno
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gliomask.errors import InputError

PNG_LEVEL = 1
"""Of zlib: a sheet of slices comes out 3 % larger than at the usual 6, in a third of the time."""


ADVICE = {
    errno.ENOSPC: "Make room, or choose another --output.",
    errno.EDQUOT: "Make room, or choose another --output.",
    errno.ENAMETOOLONG: "Give the input or the output a shorter name.",
}
"""What to do where the system refuses to write, by its reason; for all others, choose another output."""


@contextmanager
def blaming_output(path: Path) -> Iterator[None]:
    """Blame *path*, the output, and not an input, where the system refuses something in the block."""
    try:
        yield
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, "Choose another --output.")
        raise InputError(f"{path}: cannot be written ({error.strerror or error}). {advice}") from error


def check_can_be_folder(path: Path) -> None:
    """Make sure that *path* is or can be made a folder to write into, before hours of work depend on it.

    Raises
    ------
    InputError
        It is a file or below one, or may not be written to.
    """
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not there.is_dir():
        fault = "a file" if there == path else f"{there} is a file"
        raise InputError(f"{path}: {fault}. Give a folder for --output.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written ({there} is read-only for you). Choose another --output.")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside *path* that becomes *path* if the block ends well, and goes if it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".partial-{secrets.token_hex(8)}{''.join(path.suffixes[-2:])}")  # .nii.gz has two
    temporary.touch(exist_ok=False)  # with the permissions that the user's umask gives, unlike tempfile's
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold off other processes that ask for the same folder, where the system has locks that end with their process."""
    if sys.platform == "win32":
        yield
        return
    import fcntl  # there on Unix alone

    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems lock no folders
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_text(text: str, path: Path) -> None:
    """Write text as UTF-8, atomically; bytes of a file's name that are none are written out."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_png(pixels: NDArray[np.uint8] | NDArray[np.uint16] | Image.Image, path: Path) -> None:
    """Write ``(y, x)`` uint8 or uint16, ``(y, x, 3)`` uint8, or a picture as PNG atomically."""
    with atomic_path(path) as temporary:
        picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        picture.save(temporary, format="PNG", compress_level=PNG_LEVEL)

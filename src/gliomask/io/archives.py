"""Zip archives of a case, unpacked into a folder that goes away again; nothing an archive says of itself is trusted."""

import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from threading import Lock, local
from weakref import finalize

from gliomask.errors import GliomaskError, InputError
from gliomask.io.access import lost
from gliomask.io.naming import listed

MAX_BYTES = 4 * 2**30
"""Most bytes that an archive may unpack to; a study of 2,000 slices of 512 x 512 has 1 GiB."""

MAX_FILES = 20_000
"""Most entries of an archive."""

MAX_RATIO = 200
"""Most bytes unpacked for each packed one, from :data:`RATIO_FROM_BYTES` on; images reach 50, bombs 1,000."""

RATIO_FROM_BYTES = 16 * 2**20
"""Bytes below which any ratio does no harm, such as that of an empty mask."""

CHUNK = 2**20


class Unpacked:
    """An archive's files in a folder of their own, there within ``with`` blocks, in which several threads may be, and each in several.

    They stay between blocks as long as *readers* are still to come and the disk has room for one more archive, and go with
    this object at the latest.

    Attributes
    ----------
    folder
        Where they lie; always the same.
    readers
        How many times more they are to be read.
    close
        Removes everything, as when this object goes.
    """

    def __init__(self, path: Path) -> None:
        """Remember the archive; nothing is unpacked before it is used."""
        self._path = path
        self._own = Path(tempfile.mkdtemp(prefix="gliomask-"))  # nobody else can put anything in the files' place
        self.close = finalize(self, shutil.rmtree, self._own, ignore_errors=True)
        self.folder = self._own / "unpacked"
        self.readers = 1
        self._inside = 0
        self._own_depth = local()
        self._lock = Lock()

    def __enter__(self) -> "Unpacked":
        """Unpack the archive, unless its files are there.

        Raises
        ------
        InputError
            As :func:`extracted`.
        """
        with self._lock:
            if not self.folder.exists():
                try:
                    self.folder.mkdir()
                    _unpack(self._path, self.folder)
                except BaseException:
                    shutil.rmtree(self.folder, ignore_errors=True)
                    raise
            self._inside += 1
        self._own_depth.blocks = getattr(self._own_depth, "blocks", 0) + 1
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the files if nobody is to read them, or they take room that others need."""
        self._own_depth.blocks -= 1
        with self._lock:
            self._inside -= 1
            self.readers -= not self._own_depth.blocks
            if not self._inside and (self.readers <= 0 or shutil.disk_usage(self._own).free < MAX_BYTES):
                shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def extracted(path: Path) -> Iterator[Path]:
    """Yield a temporary folder with an archive's files, removed when the block ends.

    Archives inside the archive are left out, and so are macOS's resource forks (``__MACOSX``).

    Raises
    ------
    InputError
        No zip, damaged, empty or encrypted; an entry that points outside or is a link; or more
        bytes, files or compression than :data:`MAX_BYTES`, :data:`MAX_FILES` and :data:`MAX_RATIO`
        allow, counted on what is really unpacked.
    """
    unpacked = Unpacked(path)
    try:
        with unpacked:
            yield unpacked.folder
    finally:
        unpacked.close()


def archives_inside(path: Path) -> list[Path]:
    """Return the archives inside an archive that has been unpacked, which :func:`extracted` leaves out."""
    with zipfile.ZipFile(path) as archive:
        return [Path(entry.filename) for entry in archive.infolist() if _is_archive(entry)]


def _unpack(path: Path, folder: Path) -> None:
    """Unpack an archive's files into a folder, whatever goes wrong being an InputError."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > MAX_FILES:
                raise InputError(f"{path}: holds {len(entries)} files; at most {MAX_FILES} are unpacked. Give a folder.")
            wanted = [(entry, _target(path, entry, folder)) for entry in entries if not _passed_over(entry)]
            if not wanted:
                inside = [Path(entry.filename) for entry in entries if _is_archive(entry)]
                found = f"but archives ({listed(inside)}). Unpack it, and give the folder" if inside else "Expected a case's images in it"
                raise InputError(f"{path}: holds no files{', ' if inside else '. '}{found}.")
            written, most = 0, _bound(path)
            for entry, target in wanted:
                written += _unpack_entry(path, archive, entry, target, most - written)
    except FileNotFoundError as error:
        raise InputError(lost(path) or f"{path}: no such file.") from error
    except GliomaskError:
        raise
    except OSError as error:  # the disk is full, the file may not be read, a file's name is another's folder
        raise InputError(f"{path}: could not be unpacked ({error}). Unpack it yourself and give the folder.") from error
    except Exception as error:  # on damage each decompressor raises its own
        raise InputError(f"{path}: not a zip archive, damaged or cut short ({error}). Pack it again.") from error


def _passed_over(entry: zipfile.ZipInfo) -> bool:
    """Return whether an entry is an archive itself or a resource fork of macOS."""
    return _is_archive(entry) or "__MACOSX" in PurePosixPath(entry.filename).parts


def _is_archive(entry: zipfile.ZipInfo) -> bool:
    return entry.filename.casefold().endswith(".zip")


def _target(path: Path, entry: zipfile.ZipInfo, folder: Path) -> Path:
    """Return where an entry goes.

    Raises
    ------
    InputError
        It would go outside the folder, is a link or other special file, or is encrypted.
    """
    name = entry.filename
    place = PureWindowsPath(name)  # splits at slashes and backslashes, and knows drives
    if place.anchor or ".." in place.parts:
        raise InputError(f"{path}: its entry {name!r} points outside the archive. Pack the images' folder itself.")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise InputError(f"{path}: its entry {name!r} is a link or special file. Pack the files themselves.")
    if entry.flag_bits & 0x1:
        raise InputError(f"{path}: encrypted ({name!r}). Unpack it with its password and give the folder.")
    return folder.joinpath(*place.parts)


def _bound(path: Path) -> int:
    """Return the most bytes that an archive of this size may unpack to."""
    return min(MAX_BYTES, max(RATIO_FROM_BYTES, path.stat().st_size * MAX_RATIO))


def _unpack_entry(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, room: int) -> int:
    """Unpack one entry in pieces, and return its bytes; more than there is *room* for is refused."""
    if target.exists():
        raise InputError(f"{path}: holds {entry.filename!r} twice. Pack it again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with archive.open(entry) as packed, target.open("xb") as unpacked:
        while piece := packed.read(CHUNK):
            written += len(piece)
            if written > room:
                raise InputError(
                    f"{path}: unpacks to more than {_bound(path) / 2**20:.0f} MiB at its size, as a decompression bomb does. Give a folder."
                )
            unpacked.write(piece)
    return written

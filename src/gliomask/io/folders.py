"""What lies in and below a folder: links are followed, and what may not be looked into is told."""

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from gliomask.io.access import closed, is_lost
from gliomask.io.bids import is_bids
from gliomask.io.naming import RESULT, natural_key


@dataclass(frozen=True)
class Below:
    """What was found in and below a folder, in natural order.

    Attributes
    ----------
    folders
        The files of every folder, links to nothing among them.
    datasets
        BIDS datasets, into which one looks in another way.
    closed
        Why a folder could not be looked into.
    """

    folders: dict[Path, list[Path]]
    datasets: list[Path]
    closed: dict[Path, Exception]

    def files(self) -> Iterator[Path]:
        """Yield the files of all folders."""
        return chain.from_iterable(self.folders.values())


def look_below(root: Path, *, results: bool = False) -> Below:
    """Return what lies in and below a folder, hidden folders and earlier results being passed over.

    Links to folders are followed. A folder that is reached twice counts once, by its own place
    rather than by a link to it, so that links in a circle come to an end; links to a folder above the
    one that was given are not followed.

    With *results* earlier results are looked into too, and BIDS datasets as any other folder.
    """
    folders: dict[Path, list[Path]] = {}
    datasets: list[Path] = []
    refused: dict[Path, Exception] = {}
    seen = set(root.resolve().parents)
    waiting = deque([root])
    while waiting:
        folder = waiting.popleft()
        try:
            if (real := folder.resolve()) in seen:
                continue
            seen.add(real)
            inside = sorted(folder.iterdir(), key=lambda p: natural_key(p.name))
            if not results and is_bids(folder):
                datasets.append(folder)
                continue
            inner = [p for p in inside if p.is_dir() and not p.name.startswith(".")]
            files = [p for p in inside if p.is_file() or is_lost(p)]
        except OSError as error:
            refused[folder] = closed(folder, error)
            continue
        if results or not is_result(folder):
            folders[folder] = files
        for p in inner:
            (waiting.append if p.is_symlink() else waiting.appendleft)(p)
    in_order = sorted(folders, key=lambda p: natural_key(str(p)))
    return Below({p: folders[p] for p in in_order}, sorted(datasets, key=lambda p: natural_key(str(p))), refused)


def is_result(folder: Path) -> bool:
    """Return whether the folder holds a case's results, by its record."""
    try:
        content = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "notice" in content and "files" in content

"""A case's folder of results, and the table over all cases."""

import csv
import io
import json
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import gliomask
from gliomask.errors import InputError
from gliomask.io import write_png, write_text
from gliomask.io.naming import RESULT
from gliomask.measure import area_pixels
from gliomask.report.overlay import contact_sheet
from gliomask.segmentation import Segmentation

OVERLAY = "overlay.png"
WRITE_EVERY_S = 2.0  # the whole table is rewritten each time, which thousands of cases would feel
NOTICE = "Research software, not a medical device: not for diagnosis or treatment."
COLUMNS = (
    "case", "status", "found", "slices", "slices_with_tumour", "area_pixels", "max_probability",
    "model", "threshold", "seconds", "reason",
)  # fmt: skip


def summary(result: Segmentation, files: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the content of ``result.json``: what was found, with what, and how long it took.

    Areas are in pixels of the input's grid: an image file carries no spacing, so there are no
    millimetres to give.
    """
    areas = area_pixels(result.mask)
    return {
        "case": result.volume.name,
        "found": any(areas),
        "slices": len(areas),
        "slices_with_tumour": sum(area > 0 for area in areas),
        "area_pixels": sum(areas),
        "area_pixels_per_slice": dict(zip(result.volume.slice_names, areas, strict=True)),
        "max_probability": round(result.max_probability, 4),
        "threshold": result.threshold,
        "model": {"name": result.model.name, "sha256": result.model.sha256, "recipe": result.model.recipe},
        "size_pixels": {"height": result.probability.shape[1], "width": result.probability.shape[2]},
        "spacing_mm": None,
        "input_sha256": result.volume.sha256,
        "notes": list(result.volume.notes),
        "seconds": round(result.seconds, 3),
        "versions": {
            "gliomask": gliomask.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "engine": result.engine,
        },
        "files": list(files),
        "notice": NOTICE,
    }


def save_segmentation(result: Segmentation, folder: Path, *, overwrite: bool = False, save_probability: bool = False) -> list[Path]:
    """Write a case's results into *folder* and return the files.

    ``<slice>_mask.png`` (uint8, 0 or 255, the slice's own size), ``overlay.png``, with
    *save_probability* ``<slice>_probability.png`` (uint16, 65535 being 1), and last of all
    ``result.json``: where that is missing, the writing was cut short and the folder counts as
    unfinished.

    Raises
    ------
    InputError
        The folder holds the input slices, or a finished result and *overwrite* is not set, or a
        file that no result lists would be replaced; those are never overwritten.
    """
    earlier = _check_room(folder, _names(result, save_probability), result.volume.source, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Written aside first: a run that is killed leaves no half of a case under its name.
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent) as aside:
        files = _write_all(result, Path(aside), save_probability)
        folder.mkdir(exist_ok=True)
        for name in earlier:
            (folder / name).unlink(missing_ok=True)
        for file in files:
            os.replace(file, folder / file.name)
    return [folder / file.name for file in files]


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return a finished case's ``result.json``, or None where there is none."""
    try:
        content = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / RESULT}: not readable ({error}). Remove it, or choose another --output.") from error
    if not isinstance(content, dict) or not isinstance(content.get("files"), list) or not isinstance(content.get("model", {}), dict):
        raise InputError(f"{folder / RESULT}: not written by gliomask. Choose another --output.")
    return content


def _names(result: Segmentation, save_probability: bool) -> list[str]:
    kinds = ("mask", "probability") if save_probability else ("mask",)
    return [f"{name}_{kind}.png" for kind in kinds for name in result.volume.slice_names] + [OVERLAY, RESULT]


def _write_all(result: Segmentation, folder: Path, save_probability: bool) -> list[Path]:
    mask = result.mask
    for z, name in enumerate(result.volume.slice_names):
        write_png(mask[z].astype(np.uint8) * 255, folder / f"{name}_mask.png")
        if save_probability:
            write_png(np.round(result.probability[z] * 65535).astype(np.uint16), folder / f"{name}_probability.png")
    write_png(contact_sheet(result), folder / OVERLAY)
    names = _names(result, save_probability)
    write_text(json.dumps(summary(result, tuple(names)), indent=2) + "\n", folder / RESULT)
    return [folder / name for name in names]


def _check_room(folder: Path, names: list[str], source: Path | None, overwrite: bool) -> list[str]:
    """Return the files of the earlier result that are to go; raise if something in the way may not."""
    if source is not None and folder.resolve() == (source if source.is_dir() else source.parent).resolve():
        raise InputError(f"{folder}: holds the input itself; results would mix with it. Choose another output folder.")
    earlier = read_result(folder)
    if earlier is not None and not overwrite:
        raise InputError(f"{folder}: already holds a result. Set overwrite (--overwrite) to replace it, or choose another folder.")
    ours = set(earlier["files"]) if earlier is not None else set()
    if in_the_way := [name for name in names if name not in ours and (folder / name).exists()]:
        raise InputError(
            f"{folder / in_the_way[0]}: is there already and belongs to no result that gliomask recorded. Move it away, "
            "or choose another output folder."
        )
    # The record first, so that an interruption never leaves it beside files that are not its own;
    # plain names only, since a record that was tampered with must not name files elsewhere.
    listed = [RESULT, *(name for name in earlier["files"] if name != RESULT)] if earlier is not None else []
    return [name for name in listed if Path(name).name == name]


class CasesTable:
    """``cases.csv``: one row a case, those of earlier runs into the same folder kept."""

    def __init__(self, path: Path) -> None:
        """Read the rows that are there already.

        Raises
        ------
        InputError
            The file is somebody else's, or cannot be read.
        """
        self._path = path
        self._written = 0.0
        try:
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else [",".join(COLUMNS)]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as a table ({error}). Choose another --output.") from error
        reader = csv.DictReader(lines)
        if reader.fieldnames != list(COLUMNS):
            raise InputError(f"{path}: not a table written by this version of gliomask. Move it away, or choose another --output.")
        self._rows: dict[str, dict[str, str]] = {row["case"]: row for row in reader}

    def add(self, case: str, status: str, content: Mapping[str, Any] | None = None, reason: str = "") -> None:
        """Set a case's row from its ``result.json`` content, or from why there is none; the file follows within seconds."""
        row = {key: content[key] for key in COLUMNS if key in content} if content else {}
        if content:
            row["model"] = content["model"]["name"]
        self._rows[case] = {key: str(value) for key, value in (row | {"case": case, "status": status, "reason": reason}).items()}
        if time.monotonic() - self._written > WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Write the table as it stands."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(self._rows.values())
        write_text(text.getvalue(), self._path)
        self._written = time.monotonic()

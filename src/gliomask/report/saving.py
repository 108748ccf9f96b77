"""A case's folder of results, and the table over all cases."""

import csv
import io
import json
import os
import platform
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gliomask
from gliomask.errors import InputError
from gliomask.io import alone_in, write_png, write_text
from gliomask.io.dicom import DicomOrigin
from gliomask.io.naming import MAPS, RESULT, MapName, cell
from gliomask.io.writing import blaming_output
from gliomask.measure import area_pixels
from gliomask.models import sha256_of
from gliomask.notice import NOTICE as NOTICE
from gliomask.report.overlay import SheetLayout, axial_view, contact_sheet
from gliomask.segmentation import Segmentation
from gliomask.volume import Volume

OVERLAY = "overlay.png"
REPLACING = ".replacing.json"
"""The names of an earlier result's files and of those that take their place, for as long as that takes: who is killed meanwhile goes on."""
SEGS = {"mask": "seg", "probability": "probability_seg"}
"""What has a DICOM SEG, and how its name ends. Its fractions are a probability or an occupancy (Segmentation Fractional
Type, 0062,0010), so that uncertainty has none."""
WRITE_EVERY_S = 2.0  # the whole table is rewritten each time, which thousands of cases would feel
MASK_CHANGED = "the mask has been changed since; what is told here is of the mask as it was. For the one that is there: gliomask measure"
SATELLITES_LISTED = 5  # the largest of the lesions that are left out, for somebody to look at; the rest are specks
COLUMNS = (
    "case", "input", "status", "found", "slices", "slices_with_tumour", "area_pixels", "volume_ml", "lesions", "satellites",
    "longest_axial_diameter_mm", "perpendicular_mm", "max_probability", "expected_dice", "expected_dice_low", "expected_dice_high",
    "model", "threshold", "all_lesions", "min_lesion_ml", "seconds", "reason",
)  # fmt: skip


def summary(result: Segmentation, files: tuple[str, ...] = (), overlay: SheetLayout | None = None) -> dict[str, Any]:
    """Return the content of ``result.json``: what was found, with what, and how long it took.

    Slices are axial ones, counted from the bottom of the head. Millilitres and millimetres stand in
    ``measurements`` where the input has a geometry; image files have none.
    """
    volume = result.volume
    _, mask, _ = axial_view(result)
    areas = area_pixels(mask)
    return {
        "case": volume.name,
        "found": any(areas),
        "slices": len(areas),
        "slices_with_tumour": sum(area > 0 for area in areas),
        "area_pixels": sum(areas),
        "area_pixels_per_slice": _per_slice(volume, areas),
        "measurements": result.measurements,
        "max_probability": round(result.max_probability, 4),
        "confidence": None if result.confidence is None else {k: round(v, 4) for k, v in asdict(result.confidence).items()},
        **({"confidence_reason": result.confidence_reason} if result.confidence is None else {}),
        "threshold": result.threshold,
        "min_lesion_ml": result.min_lesion_ml,
        "removed": asdict(result.removed),
        "all_lesions": result.all_lesions,
        "satellites": len(result.satellites),
        "largest_satellites": [lesion.as_json() for lesion in result.satellites[:SATELLITES_LISTED]],
        "model": {"name": result.model.name, "sha256": result.model.sha256, "recipe": result.model.recipe} | result.model.settings(),
        "size_pixels": {"height": mask.shape[1], "width": mask.shape[2]},
        "shape_xyz": list(result.probability.shape[::-1]),
        "spacing_mm": None if volume.spacing_mm is None else [round(s, 4) for s in volume.spacing_mm],
        "oriented": volume.oriented and volume.affine is not None,
        "affine": None if volume.affine is None else volume.affine.tolist(),
        "input_sha256": volume.sha256,
        "quality": result.quality.as_json(),
        "notes": [*volume.notes, *result.notes],
        "overlay": None if overlay is None else asdict(overlay),
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


def _per_slice(volume: Volume, areas: list[int]) -> dict[str, int]:
    """Return the areas of all slice files by name; of a volume's slices those with tumour, by their number from 1."""
    if volume.affine is None:
        return dict(zip(volume.slice_names, areas, strict=True))
    return {str(z): area for z, area in enumerate(areas, start=1) if area}


def save_segmentation(result: Segmentation, folder: Path, *, overwrite: bool = False, maps: Collection[MapName] = ()) -> list[Path]:
    """Write a case's results into *folder* and return the files.

    ``<case>_mask.nii.gz`` always, on the input's own grid. Beside it, for image files
    ``<slice>_mask.png`` (uint8, 0 or 255, the slice's own size), for DICOM ``<case>_seg.dcm``. Each of
    *maps* likewise: ``<case>_probability.nii.gz`` (float32), ``<slice>_probability.png`` (uint16,
    65535 being 1), ``<case>_probability_seg.dcm``; ``<case>_uncertainty.nii.gz`` (float32, bits) and
    ``<slice>_uncertainty.png``, but no DICOM SEG, see :data:`SEGS`. Then ``overlay.png`` and last of
    all ``result.json``: where that is missing, the writing was cut short and the folder counts as
    unfinished.

    Raises
    ------
    InputError
        The folder holds the input slices, or a finished result and *overwrite* is not set, or a
        file that no result lists would be replaced; those are never overwritten.
    """
    kinds = ("mask", *(kind for kind in MAPS if kind in maps))
    names = _names(result, kinds)
    _check_room(folder, names, result.volume.source, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Written aside first: a run that is killed leaves no half of a case under its name.
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent) as aside:
        whole = Path(aside, "case")
        whole.mkdir()  # with the permissions that the user's umask gives, unlike tempfile's
        files = _write_all(result, whole, kinds)
        earlier = _check_room(folder, names, result.volume.source, overwrite)  # another process may have been faster
        if not folder.exists():
            os.replace(whole, folder)  # at once: no interruption leaves files without their record
        else:
            write_text(json.dumps([*earlier, *names]), folder / REPLACING)
            for name in earlier:
                (folder / name).unlink(missing_ok=True)
            for file in files:
                os.replace(file, folder / file.name)
            (folder / REPLACING).unlink(missing_ok=True)
    return [folder / file.name for file in files]


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return a finished case's ``result.json``, with a note where its mask is not the one that was written; None where there is none."""
    try:
        content = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / RESULT}: not readable ({error}). Remove it, or choose another --output.") from error
    if not isinstance(content, dict) or not isinstance(content.get("files"), list) or not isinstance(content.get("model", {}), dict):
        raise InputError(f"{folder / RESULT}: not written by gliomask. Choose another --output.")
    if _is_mask_changed(folder, content):
        content["notes"].append(MASK_CHANGED)
    return content


def _is_mask_changed(folder: Path, content: Mapping[str, Any]) -> bool:
    """Return whether a case's mask is there and not as it was written, since somebody has corrected it, say."""
    mask = f"{content.get('case')}_mask.nii.gz"
    written, path = content.get("mask_sha256"), folder / Path(mask).name
    return written is not None and isinstance(content.get("notes"), list) and path.is_file() and sha256_of(path) != written


def _names(result: Segmentation, kinds: Sequence[str]) -> list[str]:
    """Return the files of a case; *kinds* are its mask and maps, named as the attributes that hold them."""
    case, volume, names = result.volume.name, result.volume, []
    for kind in kinds:
        names.append(f"{case}_{kind}.nii.gz")
        if volume.affine is None:
            names += [f"{name}_{kind}.png" for name in volume.slice_names]
        if kind in SEGS and isinstance(volume.origin, DicomOrigin):
            names.append(f"{case}_{SEGS[kind]}.dcm")
    return [*names, OVERLAY, RESULT]


def _write_all(result: Segmentation, folder: Path, kinds: Sequence[str]) -> list[Path]:
    from gliomask.io.nifti import write_nifti  # nibabel: half a second that a page showing results need not wait for

    volume = result.volume
    for kind in kinds:
        values = getattr(result, kind)
        write_nifti(values, volume, folder / f"{volume.name}_{kind}.nii.gz")
        if volume.affine is None:
            for name, pixels in zip(volume.slice_names, values, strict=True):
                write_png(_grey(pixels), folder / f"{name}_{kind}.png")
    problem = _write_segs(result, folder, kinds) if isinstance(volume.origin, DicomOrigin) else ""
    picture, layout = contact_sheet(result)
    write_png(picture, folder / OVERLAY)
    names = tuple(name for name in _names(result, kinds) if not (problem and name.endswith(".dcm")))
    content = summary(replace(result, notes=(*result.notes, problem)) if problem else result, names, layout)
    content["mask_sha256"] = sha256_of(folder / names[0])
    write_text(json.dumps(content, indent=2) + "\n", folder / RESULT)
    return [folder / name for name in names]


def _grey(pixels: NDArray[Any]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return a mask's slice as 0 or 255, a map's in 16 bits, 65535 being 1."""
    return pixels.astype(np.uint8) * 255 if pixels.dtype == bool else np.round(pixels * 65535).astype(np.uint16)


def _write_segs(result: Segmentation, folder: Path, kinds: Sequence[str]) -> str:
    """Write DICOM SEG, and return why there is none if the source's headers do not allow it."""
    from gliomask.io.seg import no_seg, write_seg  # highdicom: wanted for DICOM alone

    case, volume = result.volume.name, result.volume
    model, version = f"gliomask {result.model.name}", f"{gliomask.__version__}, {result.model.sha256[:12]}"
    try:
        for kind in (kind for kind in kinds if kind in SEGS):
            path = folder / f"{case}_{SEGS[kind]}.dcm"
            write_seg(getattr(result, kind), volume, path, model_name=model, model_version=version, fractional=kind != "mask")
    except InputError as error:
        return no_seg(error, volume)
    return ""


def _check_room(folder: Path, names: list[str], source: Path | None, overwrite: bool) -> list[str]:
    """Return the files of the earlier result that are to go; raise if something in the way may not."""
    if source is not None and folder.resolve() == (source if source.is_dir() else source.parent).resolve():
        raise InputError(f"{folder}: holds the input itself; results would mix with it. Choose another output folder.")
    earlier = read_result(folder)
    if earlier is not None and not overwrite:
        raise InputError(f"{folder}: already holds a result. Set overwrite (--overwrite) to replace it, or choose another folder.")
    replaced = _replaced(folder)
    ours = {*replaced, *(earlier["files"] if earlier is not None else ())}
    if in_the_way := [name for name in names if name not in ours and (folder / name).exists()]:
        raise InputError(
            f"{folder / in_the_way[0]}: is there already and belongs to no result that gliomask recorded. Move it away, "
            "or choose another output folder."
        )
    # The record first, so that an interruption never leaves it beside files that are not its own;
    # plain names only, since a record that was tampered with must not name files elsewhere.
    if earlier is None and not replaced:
        return []
    from gliomask.report.page import stale_reports  # the page is built on this module

    listed = [RESULT, *sorted(ours - {RESULT}), *stale_reports(folder)]
    return [name for name in listed if Path(name).name == name]


def _replaced(folder: Path) -> list[str]:
    """Return the files of a result that was being replaced when the program was killed."""
    try:
        names = json.loads((folder / REPLACING).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


class CasesTable:
    """``cases.csv``: one row a case, those of other runs into the same folder kept, be they earlier or under way."""

    def __init__(self, path: Path) -> None:
        """Check the table that may be there already.

        Raises
        ------
        InputError
            The file is somebody else's, or cannot be read.
        """
        self._path = path
        self._written = 0.0
        self._rows: dict[str, dict[str, str]] = {}
        if path.exists():
            _rows_of(path)

    def add(self, case: str, status: str, content: Mapping[str, Any] | None = None, reason: str = "", place: str = "") -> None:
        """Set a case's row: where it lies, and its ``result.json`` content or why there is none. The file follows within seconds."""
        row = _row(content) if content else {}
        told = {"case": cell(case), "input": cell(place), "status": status, "reason": cell(reason)}
        self._rows[told["case"]] = {key: str(value) for key, value in (row | told).items()}
        if time.monotonic() - self._written > WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Write this run's rows in among those that are there by now.

        Raises
        ------
        InputError
            The file has become somebody else's, or the system refuses, such as on a full disk.
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore", restval="")
        writer.writeheader()
        with blaming_output(self._path), alone_in(self._path.parent):
            there = _rows_of(self._path) if self._path.is_file() else {}
            writer.writerows((there | self._rows).values())
            write_text(text.getvalue(), self._path)
        self._written = time.monotonic()


def _rows_of(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a table by case; a value may hold line breaks of any kind."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table ({error}). Choose another --output.") from error
    if header != list(COLUMNS):
        raise InputError(f"{path}: not a table written by this version of gliomask. Move it away, or choose another --output.")
    return {row[0]: dict(zip(COLUMNS, row, strict=False)) for row in rows if row}


def _row(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a case's row from its ``result.json``: of several lesions the diameters of the largest."""
    measured, expected = content["measurements"], content.get("confidence") or {}
    largest = measured["lesions"][0] if measured["lesions"] else {}
    row = {key: value for source in (largest, measured, content) for key, value in source.items() if key in COLUMNS and value is not None}
    row |= {key if key == "expected_dice" else f"expected_dice_{key}": value for key, value in expected.items()}
    return row | {"model": content["model"]["name"], "lesions": len(measured["lesions"])}

"""What a visitor takes away: the files that the command line writes, named after the case."""

import csv
import io
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gliomask.io.dicom import DicomOrigin
from gliomask.io.naming import RESULT, cell
from gliomask.report import save_segmentation
from gliomask.report.page import write_report
from gliomask.report.saving import OVERLAY
from gliomask.segmentation import Segmentation

LESION_COLUMNS = (
    "case", "lesion", "voxels", "volume_ml", "longest_axial_diameter_mm", "perpendicular_mm", "bidimensional_product_mm2", "laterality",
    "first_slice", "last_slice", "centroid_r_mm", "centroid_a_mm", "centroid_s_mm", "touches_border", "peak_probability", "threshold",
    "all_lesions",
)  # fmt: skip


@dataclass(frozen=True)
class Offer:
    """Something to take away.

    Attributes
    ----------
    label
        What it is called on its button.
    name
        The file's name.
    kind
        Its media type.
    part
        Which of the case's files it holds, as :func:`packed` knows them.
    """

    label: str
    name: str
    kind: str
    part: str


def offers(result: Segmentation, *, seg: bool = True) -> list[Offer]:
    """Return what can be taken away of a result, of DICOM with a SEG unless its headers allow none; the first holds everything."""
    case = result.volume.name
    several = len(result.volume.slice_names) > 1
    found = [
        Offer("Everything (ZIP)", f"{case}_gliomask.zip", "application/zip", "all"),
        Offer("Report (HTML)", f"{case}_report.html", "text/html", "report"),
        Offer("Mask (NIfTI)", f"{case}_mask.nii.gz", "application/gzip", "nifti"),
        Offer("Overlay (PNG)", f"{case}_overlay.png", "image/png", "overlay"),
        Offer("Measurements (CSV)", f"{case}_measurements.csv", "text/csv", "csv"),
    ]
    if result.volume.affine is None:
        name = f"{case}_masks.zip" if several else f"{result.volume.slice_names[0]}_mask.png"
        found.insert(2, Offer("Masks (PNG, ZIP)" if several else "Mask (PNG)", name, "application/zip" if several else "image/png", "png"))
    if seg and isinstance(result.volume.origin, DicomOrigin):
        found.insert(2, Offer("Mask (DICOM SEG)", f"{case}_seg.dcm", "application/dicom", "seg"))
    return found


def packed(result: Segmentation, part: str) -> bytes:
    """Return the content of an offer's file."""
    files = written(result)
    case = result.volume.name
    if part == "all":
        return zipped(files)
    if part == "png":
        masks = {name: content for name, content in files.items() if name.endswith("_mask.png")}
        return zipped(masks) if len(masks) > 1 else next(iter(masks.values()))
    endings = {"report": "_report.html", "nifti": "_mask.nii.gz", "overlay": "_overlay.png", "csv": "_measurements.csv", "seg": "_seg.dcm"}
    return files[f"{case}{endings[part]}"]


def written(result: Segmentation) -> dict[str, bytes]:
    """Return the files of a case by name, as the command line writes them but for the case's name before overlay, record and report."""
    case = result.volume.name
    with tempfile.TemporaryDirectory(prefix="gliomask-") as temporary:
        folder = Path(temporary, "case")
        save_segmentation(result, folder)
        write_report(folder)
        renamed = {OVERLAY: f"{case}_{OVERLAY}", RESULT: f"{case}_{RESULT}", "report.html": f"{case}_report.html"}
        files = {renamed.get(path.name, path.name): path.read_bytes() for path in sorted(folder.iterdir())}
    return {**files, f"{case}_measurements.csv": lesions_csv(result).encode()}


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return files as the bytes of a zip archive."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:  # PNG and NIfTI are packed already
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def lesions_csv(result: Segmentation) -> str:
    """Return a row for each lesion; of a case without any, the header alone."""
    text = io.StringIO()
    writer = csv.DictWriter(text, LESION_COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for lesion in result.measurements["lesions"]:
        writer.writerow(_row(result, lesion))
    return text.getvalue()


def _row(result: Segmentation, lesion: Mapping[str, Any]) -> dict[str, Any]:
    first, last = lesion["slice_range"]
    row = {"case": cell(result.volume.name), "lesion": lesion["number"], "first_slice": first + 1, "last_slice": last + 1}
    if lesion["centroid_mm"] is not None:
        row |= dict(zip(("centroid_r_mm", "centroid_a_mm", "centroid_s_mm"), lesion["centroid_mm"], strict=True))
    copied = {name: lesion[name] for name in LESION_COLUMNS if lesion.get(name) is not None}
    return row | copied | {"threshold": result.threshold, "all_lesions": result.all_lesions}

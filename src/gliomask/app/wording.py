"""What the page says: plain functions from numbers to sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gliomask.app.case import Case, Summary
from gliomask.app.work import Progress
from gliomask.metrics import confusion, dice
from gliomask.models import ModelRecord
from gliomask.notice import NOTICE
from gliomask.sizes import ROWS_SHOWN, counted, format_left_out, ml
from gliomask.volume import CHANNELS, Volume

if TYPE_CHECKING:
    from gliomask.segmentation import Segmentation

__all__ = [
    "NOTICE", "about", "agreement", "area_phrases", "cautions", "headline", "measured", "overall", "plain", "privacy", "progress",
    "ranges", "read_as", "status",
]  # fmt: skip

DATASET = "LGG MRI segmentation dataset (TCGA-LGG; Buda, Saha and Mazurowski 2019)"
LIMITS = (
    "Made for axial slices of lower-grade gliomas like those it was trained on, and for nothing else. It looks at each slice by "
    "itself, and a slice given alone is scaled by its own intensities. It marks the FLAIR abnormality, which includes oedema."
)
EMPTY = "An empty mask does not mean that there is no tumour."


def plain(text: str) -> str:
    r"""Return *text* for Markdown to show as it is: a file's name must not become a link, an image or a formula.

    >>> print(plain("a_b[1].png"))
    a\_b\[1\]\.png
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def headline(summary: Summary, confidence: Any = None) -> str:
    """Return the answer in one sentence.

    *confidence* has ``expected_dice``, ``low`` and ``high`` where a calibrated one is known.

    >>> headline(Summary((0, 40, 60), 38.2))
    'Abnormality found: 38.2 ml in 2 of 3 slices'
    >>> headline(Summary((0, 0), None))
    'No abnormality found in 2 slices'
    """
    slices = len(summary.areas)
    found = sum(area > 0 for area in summary.areas)
    where = f"{found} of {slices} slices" if slices > 1 else "one slice"
    if not found:
        return f"No abnormality found in {where if slices == 1 else f'{slices} slices'}"
    sentence = f"Abnormality found: {size(summary)}" + (f" in {where}" if slices > 1 else "")
    expected = getattr(confidence, "expected_dice", None)
    if expected is None:
        return sentence
    return f"{sentence}, expected agreement with an expert {expected:.2f} ({confidence.low:.2f} to {confidence.high:.2f})"


def size(summary: Summary) -> str:
    """Return how much is marked: in millilitres where they are known."""
    return counted(sum(summary.areas), "pixel") if summary.volume_ml is None else ml(summary.volume_ml)


def status(case: Case, now: float) -> str:
    """Return a case's line in the list: what was found in it, or how far it is."""
    if case.progress.stage == "done" and case.summary is not None:
        found = sum(area > 0 for area in case.summary.areas)
        slices = len(case.summary.areas)
        where = f" · {found} of {slices} slices" if slices > 1 else ""
        return f"{size(case.summary)}{where}" if found else "Nothing found"
    return progress(case.progress, now)


def progress(progress: Progress, now: float) -> str:
    """Return how far a case is, with the time left once there is a pace.

    >>> progress(Progress("segmenting", 8, 22, started=0.0), 4.0)
    'Segmenting slice 8 of 22, about 7 s left'
    """
    fixed = {"waiting": "Waiting", "reading": "Reading", "refused": "Not a brain FLAIR?", "failed": "Could not be read", "done": "Done"}
    if progress.stage in fixed:
        return fixed[progress.stage]
    if not progress.slices:
        return "Segmenting"
    left = progress.seconds_left(now)
    rest = "" if left is None or left < 1 else f", about {left:.0f} s left" if left < 90 else f", about {left / 60:.0f} min left"
    return f"Segmenting slice {progress.slices} of {progress.of}{rest}"


def overall(cases: Sequence[Case]) -> str:
    """Return the answer over several cases."""
    done = [case for case in cases if case.summary is not None and case.progress.stage == "done"]
    found = sum(any(case.summary.areas) for case in done if case.summary is not None)
    failed = sum(case.progress.stage in ("failed", "refused") for case in cases)
    left = len(cases) - len(done) - failed
    parts = [f"{len(cases)} cases", f"{found} with an abnormality"]
    parts += [f"{failed} not segmented"] if failed else []
    return " · ".join(parts + ([f"{left} to go"] if left else []))


def agreement(result: Segmentation, reference: Any) -> str:
    """Return how far mask and reference agree."""
    return f"Dice with the reference mask: {dice(confusion(result.mask, reference)):.3f}"


def area_phrases(areas: Sequence[int], area_mm2: float | None) -> list[str]:
    """Return for each axial slice what is marked in it, in square centimetres where a pixel's area is known."""
    if area_mm2 is None:
        return [f"{counted(area, 'pixel')} marked" if area else "nothing marked" for area in areas]
    return [f"{_cm2(area * area_mm2 / 100)} marked" if area else "nothing marked" for area in areas]


def _cm2(area: float) -> str:
    return f"{area:.1f} cm²" if area >= 0.05 else "under 0.1 cm²"


def measured(content: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the largest lesions of :func:`gliomask.measure.measurements` as a table's columns; empty without any."""
    lesions = content["lesions"][:ROWS_SHOWN]
    if not lesions:
        return {}
    columns = {"Lesion": [str(lesion["number"]) for lesion in lesions]}
    if content["volume_ml"] is None:
        columns["Pixels"] = [f"{lesion['voxels']:,}" for lesion in lesions]
    else:
        columns["Volume"] = [ml(lesion["volume_ml"]) for lesion in lesions]
        columns["Diameters, mm"] = [f"{lesion['longest_axial_diameter_mm']:.1f} × {lesion['perpendicular_mm']:.1f}" for lesion in lesions]  # noqa: RUF001
        columns["Side"] = [lesion["laterality"] or "unknown" for lesion in lesions]
    columns["Slices"] = [ranges(range(first + 1, last + 2)) for first, last in (lesion["slice_range"] for lesion in lesions)]
    if lesions[0]["peak_probability"] is not None:
        columns["Peak probability"] = [f"{lesion['peak_probability']:.2f}" for lesion in lesions]
    return columns


def not_in_table(content: Mapping[str, Any]) -> str:
    """Return a sentence on the lesions that :func:`measured` leaves out of the table; nothing if it has all."""
    more = content["lesion_count"] - ROWS_SHOWN
    return f"And {counted(more, 'smaller one')}, listed in Measurements (CSV)." if more > 0 else ""


def cautions(result: Segmentation, found: bool) -> list[str]:
    """Return what a reader has to know of a result: what was seen in the input, what was done to it, what an empty mask means."""
    sentences = [] if found else [EMPTY]
    sentences += result.quality.findings
    if result.satellites:
        left_out = format_left_out(len(result.satellites), result.satellites[0].as_json())
        sentences.append(f"{left_out}. Most such marks are false; All lesions shows them.")
    if result.measurements["touches_border"]:
        sentences.append("The outline reaches the border of the scan, so that part of the abnormality may lie outside.")
    if not result.volume.oriented:
        sentences.append("Nothing in the file tells the patient's left from right: the picture may be mirrored.")
    if result.volume.affine is None:
        several = ", and the distance of slices is assumed for the picture" if len(result.volume.slice_names) > 1 else ""
        sentences.append(f"{'These files hold' if several else 'The file holds'} no spacing: sizes are in pixels{several}.")
    return sentences


def ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers with neighbours drawn together.

    >>> ranges([1, 2, 3, 7])
    '1-3, 7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def read_as(volume: Volume) -> list[str]:
    """Return what the input was taken for, and what was done to it on reading."""
    channels = ", ".join(CHANNELS) if volume.voxels.shape[-1] == 3 else "FLAIR alone"
    depth, height, width = volume.voxels.shape[:3]
    spacing = "" if volume.spacing_mm is None else f" of {' x '.join(f'{s:.3g}' for s in volume.spacing_mm)} mm"
    voxels = f"{width} x {height} x {depth} voxels{spacing}" if depth > 1 else f"{width} x {height} pixels{spacing}"
    return [f"{channels}; {voxels}", *volume.notes]


def privacy(url: str | None) -> str:
    """Return where images go, given the address at which the page was opened."""
    host = urlsplit(url or "").hostname
    if host in ("localhost", "127.0.0.1", "::1"):
        return "Nothing leaves this computer."
    if host is None:
        return "Nothing leaves the computer that runs this page."
    return f"Images go to {host}, which runs this page, and nowhere else."


def about(model: ModelRecord) -> list[tuple[str, str]]:
    """Return what is known of a model as rows of a title and a text."""
    patients = len(model.training.get("patients", ()))
    rows = [
        ("Model", f"{model.name}, a U-Net; SHA-256 {model.sha256[:12]}…"),
        ("Trained on", (f"{patients} patients of the " if patients else "") + DATASET),
        ("Input", f"{', '.join(model.channels)}; slices are brought to {model.input_size} x {model.input_size} pixels"),
        ("Threshold", f"{model.threshold:.2f}"),
    ]
    return [*rows, ("Licence of the weights", model.licence), ("Limits", LIMITS)]

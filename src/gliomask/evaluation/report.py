"""The report of an evaluation: one page of HTML with its plots and pictures inside and nothing fetched from anywhere."""

import base64
import hashlib
import platform
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from gliomask import __version__
from gliomask.evaluation.calibration import ALL_PIXELS, IN_DOUBT
from gliomask.evaluation.cases import case_pictures
from gliomask.evaluation.outcome import Evaluation
from gliomask.evaluation.plots import dice_by_institution, dice_by_size, reliability_curve
from gliomask.evaluation.report_tables import HARD_SPACE, group_table, interval, one, patient_table, percent, three
from gliomask.evaluation.scores import HELD_OUT, SEALED_TEST, TRAINED_ON, UNKNOWN
from gliomask.evaluation.summary import by_institution, by_size, summarise
from gliomask.evaluation.table import TITLES
from gliomask.report.html import paragraphs, style
from gliomask.report.saving import NOTICE
from gliomask.surfaces import TOLERANCE

MARK = '<meta name="generator" content="gliomask evaluation">'
"""What tells this report from another page, so that nothing but an earlier one is replaced."""

Record = Mapping[str, Any]


def evaluation_page(evaluation: Evaluation) -> str:
    """Return the page.

    Numbers and plots are those of the patients whose scores measure quality best: held-out ones
    before sealed and unknown ones, and those that a model was trained on only where there are no
    others. All patients are in the table.
    """
    role, patients = next(iter(evaluation.roles().items()))
    folder = Path(__file__).parent
    script = (folder / "report.js").read_text(encoding="utf-8").strip()
    thirds = by_size(patients)
    summary = summarise(patients)
    return Template((folder / "report.html").read_text(encoding="utf-8")).substitute(
        mark=MARK,
        style=f"{style()}\n{(folder / 'report.css').read_text(encoding='utf-8').strip()}",
        script=script,
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}",
        notice=escape(NOTICE),
        subject=escape(f"version {__version__}"),
        sentence=escape(_sentence(summary, role)),
        lead=paragraphs(_lead(evaluation), "lead"),
        cautions=paragraphs(_cautions(evaluation, role), "caution"),
        numbers="\n".join(_tile(*number) for number in _numbers(summary, evaluation.unit)),
        numbers_note="Under each number the 95 % interval of its mean, by bootstrap over patients, or the quartiles of the patients.",
        distribution=dice_by_institution(patients),
        distribution_note="A point is a patient; the line is the median, the bar spans the quartiles.",
        by_size=dice_by_size(patients, thirds),
        by_size_note="A point is a patient, its size that of the reference." + (" Lines: medians of the thirds." if thirds else ""),
        groups=group_table(by_institution(patients), thirds, evaluation.unit),
        cases=case_pictures(patients, evaluation.pictures),
        calibration=_calibration(evaluation, role),
        patients=patient_table(evaluation),
        patients_note="Click a column's title to sort by it. Area: error of the area over all slices, relative to the reference.",
        method="\n".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _method(evaluation)),
    )


def _sentence(summary: Record, role: str) -> str:
    low, high = summary["mean_dice_95"]
    whom = "1 patient" if summary["patients"] == 1 else f"{summary['patients']} patients"
    whose = {HELD_OUT: " that were not trained on", SEALED_TEST: " of the sealed test set", TRAINED_ON: " of the training itself"}
    where = whose.get(role, "")
    return f"Mean Dice {summary['mean_dice']:.3f} (95{HARD_SPACE}% interval {low:.3f} to {high:.3f}) on {whom}{where}"


def _lead(evaluation: Evaluation) -> Iterator[str]:
    yield f"{evaluation.subject[0].upper()}{evaluation.subject[1:]}."


def _cautions(evaluation: Evaluation, role: str) -> Iterator[str]:
    """Yield what a reader has to know before the numbers."""
    if any(picture.grey is not None for picture in evaluation.pictures):
        yield "This page holds slices of patients' scans. Keep it, and pass it on, as you would the scans themselves."
    if role == TRAINED_ON:
        yield "The model was trained on these patients, so the numbers say how well it remembers, not how well it works."
    if role == UNKNOWN and evaluation.kind != "masks":
        yield "It is not known whether the model was trained on these patients: if it was, the numbers say how well it remembers."
    others = {r: len(patients) for r, patients in evaluation.roles().items() if r != role}
    for other, count in others.items():
        yield f"{count} more patients ({TITLES[other]}) stand in the table below and in no number or plot."
    yield from evaluation.notes
    if evaluation.ignored_masks:
        yield f"{evaluation.ignored_masks} masks had no reference and were not scored."


Number = tuple[str, str, str, str]
"""Name, value, unit, and what stands under it."""


def _numbers(s: Record, unit: str) -> Iterator[Number]:
    yield "Dice, mean", three(s["mean_dice"]), "", interval(s["mean_dice_95"])
    yield "Dice, median", three(s["median_dice"]), "", f"quartiles {interval(s['quartiles_dice'])}"
    yield "Dice, lowest", three(s["lowest_dice"]), "", f"highest {three(s['highest_dice'])}"
    yield "IoU, mean", three(s["mean_iou"]), "", interval(s["mean_iou_95"])
    yield "Dice, pixels pooled", three(s["pooled_dice"]), "", f"IoU {s['pooled_iou']:.3f}"
    yield "Sensitivity, mean", three(s["mean_sensitivity"]), "", interval(s["mean_sensitivity_95"])
    yield "Precision, mean", three(s["mean_precision"]), "", interval(s["mean_precision_95"])
    yield "HD95, median", one(s["median_hd95"]), unit, f"quartiles {interval(s['quartiles_hd95'], 1)}"
    yield f"Surface Dice, mean, at {TOLERANCE:g} {unit}", three(s["mean_surface_dice"]), "", interval(s["mean_surface_dice_95"])
    yield "Area error, mean", percent(s["mean_area_error"], "+"), "", f"{percent(s['mean_absolute_area_error'])} without its sign"
    yield "Tumour slices found", percent(s["found_tumour_slices_share"]), "", f"of {s['tumour_slices']:,}"
    yield "Tumour-free slices marked", percent(s["marked_clean_slices_share"]), "", f"of {s['clean_slices']:,}"


def _tile(name: str, value: str, unit: str, below: str) -> str:
    shown = f"{escape(value)} <small>{escape(unit)}</small>" if unit else escape(value)
    return f'<div><dt>{escape(name)}</dt><dd>{shown}<span class="interval">{escape(below)}</span></dd></div>'


def _calibration(evaluation: Evaluation, role: str) -> str:
    """Return the reliability curve and its errors; nothing for masks, which have no probabilities."""
    regions = evaluation.calibration.get(role)
    if not regions:
        return ""
    found = {region: regions[region].as_json() for region in (ALL_PIXELS, IN_DOUBT)}
    tiles = [
        _tile(f"Calibration error, {region}", three(s["expected_calibration_error"]), "", f"{s['pixels']:,} pixels")
        for region, s in found.items()
    ]
    doubt = found[IN_DOUBT]
    texts = [
        "A calibrated model's curve lies on the dashed line: of the pixels that it gives a probability of 0.7, seven in ten are tumour. "
        "Below the line it claims too much.",
        "The expected calibration error is the mean distance from that line. Over all pixels it is small for any model, since nearly "
        "all are background that nobody doubts"
        + (f"; {percent(doubt['pixels'] / found[ALL_PIXELS]['pixels'])} of the pixels are in doubt." if doubt["pixels"] else "."),
    ]
    body = f'<div><dl class="numbers">{"".join(tiles)}</dl>{paragraphs(texts)}</div>'
    plot = f"<div>{reliability_curve(found[ALL_PIXELS]['curve'])}</div>"
    title = '<h2 id="calibration">Calibration of the probabilities</h2>'
    return f'<section aria-labelledby="calibration">\n{title}\n<div class="calibration">{plot}{body}</div>\n</section>'


def _method(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    unit = {"px": "pixels", "mm": "millimetres"}[evaluation.unit]
    for fold, model in evaluation.models:
        told = f"{model.name}, recipe {model.recipe or 'unknown'}, SHA-256 {model.sha256[:16]}…"
        yield "Model" if fold is None else f"Model of fold {fold}", told
    if evaluation.kind == "cross-validation":
        yield "Cross-validation", "Every patient is scored by the one model whose training had held the patient out."
    yield "Dice, IoU", "Over all slices of a patient at once; 1 if both masks are empty."
    yield "Sensitivity, precision", "Over all slices of a patient; left out where the reference, or the prediction, is empty."
    yield "Distances", f"In {unit}, in the plane of each slice, from outline pixel to outline pixel, pooled over a patient's slices."
    yield (
        "HD95",
        "The larger of the two directions' 95th percentiles, over slices that both masks mark; 0 if both masks are empty, left out if "
        "they share no slice.",
    )
    yield (
        "Surface Dice",
        f"Share of outline pixels within {TOLERANCE:g} {unit} of the other outline; slices that only one mask marks count as wrong.",
    )
    yield "Slices", "A tumour slice is found if anything is marked in it, a tumour-free one marked likewise, wherever the mark lies."
    yield "Intervals", "95 % percentile bootstrap over patients of the mean, 10,000 resamples, fixed seed."
    if evaluation.calibration:
        yield "Calibration", "20 equally wide bins of probability, pixels of all patients pooled."
    yield "Versions", f"gliomask {__version__}, Python {platform.python_version()}, NumPy {np.__version__}"

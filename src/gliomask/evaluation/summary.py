"""What the patients' scores come to: means with intervals, by institution and by the tumour's size."""

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.evaluation.scores import PatientScore, finite
from gliomask.metrics import Confusion, dice, iou

BOOTSTRAP = 10_000
INTERVAL = (2.5, 97.5)

SIZES = ("smallest third", "middle third", "largest third")
LIMITS = ("from_pixels", "to_pixels")

RECORDED = (
    "patients", "mean_dice", "mean_dice_95", "median_dice", "quartiles_dice", "lowest_dice", "mean_iou", "mean_sensitivity",
    "mean_sensitivity_95", "mean_precision", "mean_precision_95", "median_hd95", "quartiles_hd95", "mean_surface_dice",
    "mean_surface_dice_95", "mean_area_error", "mean_absolute_area_error", "mean_pixel_accuracy", "pooled_dice", "pooled_iou",
    "tumour_slices", "found_tumour_slices_share", "clean_slices", "marked_clean_slices_share",
)  # fmt: skip
"""What of a summary a model's record keeps, as documents tell it."""

RECORDED_OF_GROUPS = ("patients", "mean_dice", "mean_dice_95", "median_dice", "lowest_dice", "mean_sensitivity", "mean_precision",
                      "clean_slices", "marked_clean_slices_share")  # fmt: skip
"""What of it a record keeps for each institution and each third by size."""

Values = NDArray[np.float64]


def summarise(patients: Sequence[PatientScore]) -> dict[str, Any]:
    """Return mean, median, quartiles and extremes of the patients' scores, and the scores of all pixels pooled.

    For each score that :meth:`PatientScore.values` names: ``mean_<score>``, ``mean_<score>_95``,
    ``median_<score>`` and ``quartiles_<score>``, over the patients for whom it is defined; None if
    that is nobody. Intervals are 95 % percentile bootstraps over patients (Efron and Tibshirani 1993):
    10,000 resamples, fixed seed, the same ones for all scores.
    """
    draws = np.random.default_rng(0).integers(len(patients), size=(BOOTSTRAP, len(patients)))
    rows = [p.values() for p in patients]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    pixels = reduce(Confusion.plus, (p.counts for p in patients))
    slices = reduce(Confusion.plus, (p.slices for p in patients))
    clean, marked = slices.fp + slices.tn, slices.tp + slices.fn
    by_score = (_spread(name, column, draws).items() for name, column in columns.items())
    return {
        "patients": len(patients),
        **dict(chain.from_iterable(by_score)),
        "median_dice_95": _interval(np.median(columns["dice"][draws], axis=1)),
        "lowest_dice": float(columns["dice"].min()),
        "highest_dice": float(columns["dice"].max()),
        "mean_absolute_area_error": _mean(np.abs(columns["area_error"])),
        "pooled_dice": dice(pixels),
        "pooled_iou": iou(pixels),
        "tumour_slices": marked,
        "found_tumour_slices_share": slices.tp / marked if marked else None,
        "clean_slices": clean,
        "marked_clean_slices_share": slices.fp / clean if clean else None,
    }


def compact(summary: Mapping[str, Any], calibration_errors: Mapping[str, float | None]) -> dict[str, Any]:
    """Return what a model's record keeps of a summary, and the expected calibration error of each region."""
    return {name: summary[name] for name in RECORDED} | {"expected_calibration_error": dict(calibration_errors)}


def compact_groups(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what a model's record keeps of the summaries of institutions or of sizes."""
    return {group: {name: found[name] for name in (*LIMITS, *RECORDED_OF_GROUPS) if name in found} for group, found in groups.items()}


def by_institution(patients: Sequence[PatientScore]) -> dict[str, dict[str, Any]]:
    """Return the summary of each institution's patients; those whose names tell of none are left out."""
    groups: dict[str, list[PatientScore]] = {}
    for patient in sorted(patients, key=lambda p: p.name):
        if patient.institution is not None:
            groups.setdefault(patient.institution, []).append(patient)
    return {name: summarise(group) for name, group in sorted(groups.items())}


def by_size(patients: Sequence[PatientScore]) -> dict[str, dict[str, Any]]:
    """Return the summary of each third of the patients by the reference's size, with its limits; nothing for fewer than three."""
    if len(patients) < len(SIZES):
        return {}
    ordered = sorted(patients, key=lambda p: p.reference_pixels)
    cuts = [round(part * len(ordered) / len(SIZES)) for part in range(len(SIZES) + 1)]
    thirds = {name: ordered[low:high] for name, low, high in zip(SIZES, cuts, cuts[1:], strict=False)}
    return {name: _limits(group) | summarise(group) for name, group in thirds.items()}


def _limits(patients: Sequence[PatientScore]) -> dict[str, Any]:
    return dict(zip(LIMITS, (patients[0].reference_pixels, patients[-1].reference_pixels), strict=True))


def _spread(name: str, column: Values, draws: NDArray[np.int64]) -> Mapping[str, Any]:
    defined = column[~np.isnan(column)]
    return {
        f"mean_{name}": _mean(column),
        f"mean_{name}_95": _interval(_means(column[draws])),
        f"median_{name}": float(np.median(defined)) if defined.size else None,
        f"quartiles_{name}": [float(q) for q in np.percentile(defined, [25, 75])] if defined.size else None,
    }


def _mean(column: Values) -> float | None:
    return finite(float(_means(column[None])[0]))


def _means(rows: Values) -> Values:
    """Return the mean of each row over what is defined in it; NaN where nothing is."""
    defined = ~np.isnan(rows)
    counts = defined.sum(axis=1)
    sums = np.where(defined, rows, 0.0).sum(axis=1)
    return np.divide(sums, counts, out=np.full(len(rows), np.nan), where=counts > 0)


def _interval(means: Values) -> list[float] | None:
    defined = means[~np.isnan(means)]
    return [float(limit) for limit in np.percentile(defined, INTERVAL)] if defined.size else None

"""What ``gliomask calibrate`` does: cases that no model was trained on, the fits, and how far they hold."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.confidence import Calibration
from gliomask.dataset import Patient
from gliomask.errors import InputError
from gliomask.evaluation.cross_validation import fold_models, held_out_patients
from gliomask.evaluation.fitting import Fit, FittingCase, Kind, cross_fitted, fit, summarise_predictions
from gliomask.evaluation.protocol import Progress, no_progress
from gliomask.io import write_text
from gliomask.metrics import confusion, dice
from gliomask.models import UNCALIBRATED, ModelRecord, read_record
from gliomask.segmenter import Segmenter
from gliomask.volume import Volume

SLICE_STRIDE = 4
"""Every how many slices of a patient one is looked at by itself; neighbours say the same twice."""


@dataclass(frozen=True)
class Calibrated:
    """The fits, on which folds, and what fits without a fold come to on that fold.

    ``report`` has the calibration error before and after and, for volumes and slices, how expected and
    true Dice go together.
    """

    folds: tuple[str, ...]
    patients: int
    fit: Fit
    report: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain types."""
        agreement = {kind: {"weights": model.weights, "errors": model.errors} for kind, model in self.fit.agreement.items()}
        calibration = asdict(self.fit.calibration)
        return {
            "folds": self.folds,
            "patients": self.patients,
            "threshold": self.fit.threshold,
            "calibration": calibration,
            "agreement": agreement,
            **self.report,
        }


def calibrate(
    data: Path, runs: Path, split: Path | None = None, threads: int | None = None, progress: Progress = no_progress
) -> Calibrated:
    """Return calibration and expected agreement, fitted on each fold's patients as the model without that fold sees them.

    All channels and FLAIR alone count alike, so that one fit serves both. Errors are those of fits that
    had no case of the fold that they are told for.

    Parameters
    ----------
    data, runs, split, threads, progress
        As of :func:`gliomask.evaluation.cross_validate`.

    Raises
    ------
    InputError
        There are models of fewer than two folds, or one was trained on a patient of its own fold.
    """
    cases = held_out_cases(data, runs, split, threads, progress)
    folds = tuple(sorted({case.fold for case in cases}))
    return Calibrated(folds, len({case.patient for case in cases}), fit(cases), checked(cases))


def checked(cases: Sequence[FittingCase], known: Sequence[FittingCase] | None = None) -> dict[str, Any]:
    """Return the ``report`` of :class:`Calibrated` on cases; *known* as of :func:`gliomask.evaluation.fitting.cross_fitted`."""
    predictions, found = cross_fitted(cases, known)
    kinds = sorted({p.kind for p in predictions})
    return {**found, "expected_dice": {kind: summarise_predictions([p for p in predictions if p.kind == kind]) for kind in kinds}}


def held_out_cases(
    data: Path, runs: Path, split: Path | None = None, threads: int | None = None, progress: Progress = no_progress
) -> list[FittingCase]:
    """Return what :func:`calibrate` fits on: volumes and single slices, from all channels and from FLAIR alone.

    Parameters and errors are as there.
    """
    models = fold_models(runs)
    patients, _ = held_out_patients(data, runs, models, split)
    if len({fold for fold, _ in patients}) < 2:
        raise InputError(
            f"{runs}: models of one fold alone, or patients of no other; a fit is made on some folds and checked on another, so give two "
            "or more."
        )
    fold_of = {patient.name: fold for fold, patient in patients}
    segmenters: dict[str, Segmenter] = {}
    cases: list[FittingCase] = []
    for patient in progress([patient for _, patient in patients]):
        fold = fold_of[patient.name]
        if fold not in segmenters:
            raw = replace(models[fold], calibration=Calibration(), threshold=UNCALIBRATED)
            segmenters = {fold: Segmenter(raw, threads=threads)}  # one in memory at a time
        cases += _cases(patient, fold, segmenters[fold])
    return cases


def _cases(patient: Patient, fold: str, segmenter: Segmenter) -> list[FittingCase]:
    images, reference = patient.load()
    cases = []
    for voxels in (images, images[..., 1:2]):
        cases.append(_case(patient.name, fold, "volume", segmenter, voxels, reference))
        for z in range(0, len(images), SLICE_STRIDE):
            cases.append(_case(patient.name, fold, "slice", segmenter, voxels[z : z + 1], reference[z : z + 1]))
    return cases


def _case(
    patient: str, fold: str, kind: Kind, segmenter: Segmenter, voxels: NDArray[np.uint8], reference: NDArray[np.bool_]
) -> FittingCase:
    result = segmenter.segment(Volume(voxels), force=True)
    said = result.own_features
    row = None if said is None else (said, dice(confusion(result.mask, reference)))
    return FittingCase(patient, fold, kind, result.probability.astype(np.float16), reference, row, result.members)


def write_to_records(calibrated: Calibrated, paths: Sequence[Path]) -> list[ModelRecord]:
    """Set calibration and expected agreement in models' records, with what they come to beside the scores, and return the records.

    The threshold is set to what 0.5 becomes, to two digits, so that masks stay as they are but for rounding. Of an ensemble
    the fits are its members', one by one, so that nothing is set of what they come to on single networks.
    """
    written = []
    fitted = calibrated.fit
    confidence = {"folds": calibrated.folds, "patients": calibrated.patients, **calibrated.report}
    for path, record in zip(paths, [read_record(path) for path in paths], strict=True):
        scores = record.scores if "members" in record.training else {**record.scores, "confidence": confidence}
        threshold = float(f"{fitted.threshold:.2g}")
        told = replace(record, threshold=threshold, calibration=fitted.calibration, agreement=fitted.agreement, scores=scores)
        write_text(told.to_json(), path)
        written.append(told)
    return written


def format_calibrated(calibrated: Calibrated) -> str:
    """Return the fits and what they come to as lines for a person."""
    fitted, report = calibrated.fit, calibrated.report
    lines = [
        f"{calibrated.patients} patients of folds {', '.join(calibrated.folds)}, each as the model without its fold sees it",
        f"calibration: log-odds {', '.join(f'{odds:.1f}' for odds in fitted.calibration.network)}",
        f"  become {', '.join(f'{odds:.1f}' for odds in fitted.calibration.calibrated)}",
        f"  0.5 becomes {fitted.threshold:.3f}",
    ]
    before, after = report["calibration_error"]["before"], report["calibration_error"]["after"]
    for where in before:
        lines.append(f"  expected calibration error, {where}: {_told(before[where], 4)} before, {_told(after[where], 4)} after")
    for kind, held in report["expected_dice"].items():
        lines += [
            f"expected Dice of a {kind}, {held['cases']} cases in which something is marked",
            f"  rank correlation with the true Dice {_told(held['spearman'])}, mean absolute error {held['mean_absolute_error']:.3f}",
            f"  90 % intervals hold for {100 * held['coverage']:.1f} %, mean width {held['mean_width']:.3f}",
        ]
    return "\n".join(lines)


def _told(value: float | None, digits: int = 3) -> str:
    return "not defined" if value is None else f"{value:.{digits}f}"

"""The session's cases that came with reference masks as an evaluation, and evaluations as files and words."""

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gliomask.app.case import Case
from gliomask.app.facts import Comparison
from gliomask.dataset import read_split
from gliomask.evaluation import Evaluation, PatientScore
from gliomask.evaluation.calibration import pooled
from gliomask.evaluation.files import write_evaluation
from gliomask.evaluation.protocol import role_of
from gliomask.evaluation.scores import HELD_OUT, MILLIMETRES, PIXELS, SEALED_TEST, TRAINED_ON, UNKNOWN, patient_score
from gliomask.models import ModelRecord

PATIENT = re.compile(r"TCGA_[A-Z0-9]{2}_\w{4}_\d{8}")
"""A patient's name in the LGG dataset, which a case's name begins with."""

WHOSE: Mapping[str, str] = {
    HELD_OUT: "that the model was not trained on",
    SEALED_TEST: "of the sealed test set",
    TRAINED_ON: "that the model was trained on",
    UNKNOWN: "",
}

COLUMNS: Mapping[str, str] = {
    "patient": "Case", "dice": "Dice", "iou": "IoU", "sensitivity": "Sensitivity", "precision": "Precision", "hd95": "HD95",
    "surface_dice": "Surface Dice", "area_error": "Area error", "found_tumour_slices": "Slices found", "tumour_slices": "Tumour slices",
    "reference_pixels": "Reference, pixels",
}  # fmt: skip


def evaluate_cases(cases: Iterable[Case], model: ModelRecord) -> Evaluation | None:
    """Return the scores of the cases that have reference masks, at the model's own threshold; None where none has.

    Distances are in mm if the spacing of all of them is known, else in pixels.
    """
    compared = [(case.name, case.facts.comparison) for case in cases if case.facts is not None and case.facts.comparison is not None]
    if not compared:
        return None
    millimetres = all(comparison.millimetres is not None for _, comparison in compared)
    patients = tuple(_score(name, comparison, model, millimetres) for name, comparison in compared)
    roles = {patient.role for patient in patients}
    calibration = {
        role: pooled([comparison.calibration for (_, comparison), p in zip(compared, patients, strict=True) if p.role == role])
        for role in sorted(roles)
    }
    return Evaluation(
        f"model {model.name} on the cases of this session",
        patients,
        kind="model",
        input="as uploaded",
        threshold=model.threshold,
        models=((None, model),),
        unit=MILLIMETRES if millimetres else PIXELS,
        calibration=calibration,
        pictures=tuple(replace(comparison.picture, patient=name) for name, comparison in compared),
    )


def _score(name: str, comparison: Comparison, model: ModelRecord, millimetres: bool) -> PatientScore:
    part = comparison.millimetres if millimetres and comparison.millimetres is not None else comparison.pixels
    return patient_score(name, case_role(name, model), [part])


def case_role(name: str, model: ModelRecord) -> str:
    """Return whether a model was trained on a case, as far as its name tells: only names of the dataset do."""
    match = PATIENT.match(name)
    return role_of(match[0], model) if match and match[0] in read_split() else UNKNOWN


def told(evaluation: Evaluation) -> list[str]:
    """Return what has to be known of the numbers, which are those of the first role alone."""
    role, *others = evaluation.roles()
    sentences = []
    if role == TRAINED_ON:
        sentences.append("The model was trained on these patients: the numbers say how well it remembers, not how well it works.")
    for other in others:
        sentences.append(
            f"{len(evaluation.roles()[other])} more {WHOSE[other] or 'of unknown origin'} stand in the table alone, not in the numbers."
        )
    if evaluation.ignored_masks:
        many = evaluation.ignored_masks
        sentences.append(f"{many} predicted mask{'s' if many > 1 else ''} without a reference {'were' if many > 1 else 'was'} not scored.")
    return [*sentences, *evaluation.notes]


def tiles(summary: Mapping[str, Any], unit: str) -> list[tuple[str, str, str]]:
    """Return the numbers over all: what each is called, its value, and what stands under it."""
    several = summary["patients"] > 1

    def mean(name: str) -> tuple[str, str]:
        value, ends = summary[f"mean_{name}"], summary[f"mean_{name}_95"]
        known = several and ends is not None
        return ("-" if value is None else f"{value:.3f}", f"95 % interval {ends[0]:.2f} to {ends[1]:.2f}" if known else "")

    far, quartiles = summary["median_hd95"], summary["quartiles_hd95"]
    distance = "-" if far is None else f"{far:.1f} {unit}"
    spread = f"quartiles {quartiles[0]:.1f} and {quartiles[1]:.1f}" if several and quartiles is not None else ""
    lowest = f"lowest {summary['lowest_dice']:.3f}" if several else ""
    return [
        ("Dice, mean", *mean("dice")),
        ("Dice, median", f"{summary['median_dice']:.3f}", lowest),
        ("Sensitivity, mean", *mean("sensitivity")),
        ("Precision, mean", *mean("precision")),
        ("Surface Dice, mean", *mean("surface_dice")),
        ("HD95, median", distance, spread),
    ]


def table_of(evaluation: Evaluation) -> dict[str, list[Any]]:
    """Return the patients' scores as columns by title, lowest Dice first."""
    rows = sorted((patient.as_json() for patient in evaluation.patients), key=lambda row: float(row["dice"]))
    columns = {title: [row[name] for row in rows] for name, title in COLUMNS.items()}
    columns["Area error"] = [None if error is None else 100 * error for error in columns["Area error"]]  # in percent
    if len(evaluation.roles()) > 1:
        columns["Training"] = [row["role"] for row in rows]
    return columns


def files_of(evaluation: Evaluation) -> dict[str, bytes]:
    """Return the files that ``gliomask evaluate --output`` writes, by name."""
    with tempfile.TemporaryDirectory(prefix="gliomask-") as temporary:
        return {path.name: path.read_bytes() for path in write_evaluation(evaluation, Path(temporary))}


def shown_patients(evaluation: Evaluation) -> Sequence[PatientScore]:
    """Return those whose scores measure quality best, as the report chooses them."""
    return next(iter(evaluation.roles().values()))

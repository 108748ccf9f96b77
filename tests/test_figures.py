"""The documents' tables come from the record, and the record's scores from evaluations."""

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gliomask.evaluation import Evaluation, PatientScore
from gliomask.metrics import Confusion
from gliomask.models import DEFAULT, ModelRecord, bundled_models
from gliomask.surfaces import TOLERANCE

INPUT = "all three channels, whole volumes"


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[1] / "docs" / "figures.py"))


@pytest.fixture
def record() -> ModelRecord:
    """Return the bundled model's record, as if it had held patients out and been scored on them."""
    bundled = bundled_models()[DEFAULT]
    row = next(iter(bundled.unseen_scores.values()))
    scores = {**bundled.scores, "held_out": {INPUT: row}}
    return replace(bundled, scores=scores, training={**bundled.training, "held_out_fold": "0"})


def content(record: ModelRecord, kind: str = "cross-validation", role: str = "held out") -> dict[str, Any]:
    patients = tuple(PatientScore(name, role, Confusion(9, 1, 1, 89), Confusion(3, 1, 1, 5), 2.5, 0.625) for name in "ab")
    found = Evaluation("s", patients, kind, INPUT, 0.5, ((None, record),), calibration={role: {}})  # type: ignore[arg-type]
    return found.as_json()


def test_a_cross_validation_becomes_table_and_headline(figures: dict[str, Any], record: ModelRecord) -> None:
    record = replace(record, scores={key: value for key, value in record.scores.items() if key != "cross_validation"})
    assert figures["sections"](record)["cross_validation"] == ""
    sections = figures["sections"](figures["with_evaluation"](record, content(record)))
    heads, _, row = sections["cross_validation"].splitlines()[2:]
    told = dict(zip(heads.split(" | "), row.split(" | "), strict=True))
    assert told["sensitivity, mean"] == told["precision, mean"] == "0.900"
    assert (told["HD95, median, px"], told[f"surface Dice at {TOLERANCE:g} px, mean"]) == ("2.5", "0.625")
    assert (told["tumour slices found"], told["tumour-free slices marked |"]) == ("75.0 % of 8", "16.7 % of 12 |")
    assert sections["headline"].startswith("On 2 patients in cross-validation")


def test_scores_that_a_record_lacks_are_left_out(figures: dict[str, Any]) -> None:
    old = {"mean_dice": 0.8, "mean_dice_95": [0.7, 0.9]}
    assert figures["_table"]({INPUT: old}) == f"| input | Dice, mean (95 %) |\n| --- | --- |\n| {INPUT} | 0.800 (0.700 to 0.900) |"
    both = figures["_table"]({INPUT: old, "FLAIR": old | {"mean_iou": 0.5}})
    assert both.splitlines()[2].endswith("| - |") and both.splitlines()[3].endswith("| 0.500 |")


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"schema": "gliomask.evaluation/0"}, "expected gliomask.evaluation/1"), ({"kind": "model", "models": []}, "another model than")],
)
def test_evaluations_of_something_else_are_refused(
    figures: dict[str, Any], record: ModelRecord, changed: dict[str, Any], message: str
) -> None:  # fmt: skip
    with pytest.raises(ValueError, match=message):
        figures["with_evaluation"](record, content(record) | changed)


def test_patients_of_the_training_do_not_get_into_the_record(figures: dict[str, Any], record: ModelRecord) -> None:
    with pytest.raises(ValueError, match="expected held-out ones alone"):
        figures["with_evaluation"](record, content(record, "model", "trained on"))


def test_a_model_without_held_out_patients_has_its_cross_validation_alone(figures: dict[str, Any], record: ModelRecord) -> None:
    scores = {key: value for key, value in record.scores.items() if key not in ("held_out", "cross_validation")}
    alone = replace(record, scores=scores, training={**record.training, "held_out_fold": None})
    sections = figures["sections"](figures["with_evaluation"](alone, content(record)))
    assert sections["scores"] == "" and "nobody held out" in sections["training"]
    assert sections["headline"].startswith("On 2 patients in cross-validation")

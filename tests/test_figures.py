"""The documents' tables come from the record, and the record's scores from evaluations."""

import runpy
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
    return bundled_models()[DEFAULT]


def score(name: str, missed: int, role: str = "held out") -> PatientScore:
    return PatientScore(name, role, Confusion(9 * missed, missed, missed, 89), Confusion(3, 1, 1, 5), 2.5, 0.625)


def content(record: ModelRecord, role: str = "held out") -> dict[str, Any]:
    patients = tuple(score(name, missed, role) for missed, name in enumerate(("TCGA_DU_1_2", "TCGA_CS_3_4", "TCGA_CS_5_6"), start=1))
    found = Evaluation("s", patients, "cross-validation", INPUT, 0.5, (("0", record),), calibration={role: {}})
    return found.as_json()


@pytest.fixture
def sections(figures: dict[str, Any], record: ModelRecord) -> dict[str, str]:
    """Return the documents' sections once the record has been given an evaluation."""
    return figures["sections"](figures["with_evaluation"](record, content(record), {"0": record.sha256}))


def rows(section: str) -> list[dict[str, str]]:
    """Return a table's rows by the titles of its columns, whatever stands before it left out."""
    heads, _, *lines = [line[2:-2].split(" | ") for line in section.splitlines() if line.startswith("|")]
    return [dict(zip(heads, line, strict=True)) for line in lines]


def test_a_cross_validation_becomes_table_and_headline(figures: dict[str, Any], sections: dict[str, str]) -> None:
    told = next(row for row in rows(sections["cross_validation"]) if row["input"] == INPUT)
    assert told["sensitivity, mean"] == told["precision, mean"] == told["median"] == "0.900"
    assert (told["quartiles"], told["area error, mean"], told["size of the area error, mean"]) == ("0.900 to 0.900", "+0 %", "0 %")
    assert (told["HD95, median, px"], told[f"surface Dice at {TOLERANCE:g} px, mean"]) == ("2.5", "0.625")
    assert (told["tumour slices found"], told["tumour-free slices marked"]) == ("75.0 % of 12", "16.7 % of 18")
    assert sections["headline"].startswith("On 3 patients in cross-validation")


def test_the_same_scores_are_told_by_institution_and_size(sections: dict[str, str]) -> None:
    told = [list(row.values()) for row in rows(sections["groups"])]
    assert [row[:3] for row in told] == [
        ["Thomas Jefferson University", "2", "0.900 (0.900 to 0.900)"],
        ["Henry Ford Hospital", "1", "0.900"],
        ["smallest third, 10 to 10 px", "1", "0.900"],
        ["middle third, 20 to 20 px", "1", "0.900"],
        ["largest third, 30 to 30 px", "1", "0.900"],
    ]
    assert told[0][-1] == "16.7 % of 12"


def test_a_score_that_is_defined_for_nobody_is_a_dash(figures: dict[str, Any]) -> None:
    nobody = {"mean_dice": 0.8, "mean_dice_95": None, "mean_precision": None}
    columns = [(title, cell) for title, cell in figures["COLUMNS"] if title in ("Dice, mean (95 %)", "precision, mean")]
    assert figures["_table"]("input", {INPUT: nobody}, columns).splitlines()[2] == f"| {INPUT} | - | - |"


def test_evaluations_of_another_version_are_refused(figures: dict[str, Any], record: ModelRecord) -> None:
    with pytest.raises(ValueError, match=r"expected gliomask.evaluation/1"):
        figures["with_evaluation"](record, content(record) | {"schema": "gliomask.evaluation/0"}, {"0": record.sha256})


@pytest.mark.parametrize("members", [{"0": "another network"}, {"1": "another network"}, {}])
def test_evaluations_of_other_networks_are_refused(figures: dict[str, Any], record: ModelRecord, members: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="no cross-validation of the members"):
        figures["with_evaluation"](record, content(record), members)


def test_patients_of_the_training_do_not_get_into_the_record(figures: dict[str, Any], record: ModelRecord) -> None:
    with pytest.raises(ValueError, match="expected held-out ones alone"):
        figures["with_evaluation"](record, content(record, "trained on"), {"0": record.sha256})


def test_the_members_are_those_of_the_bundled_ensemble(figures: dict[str, Any]) -> None:
    members = figures["bundled_members"]()
    assert sorted(members) == ["0", "1", "2", "3", "4"] and len({*members.values()}) == 5
    assert members == figures["bundled_members"](), "the same file each time it is taken apart"

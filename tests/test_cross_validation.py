import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gliomask import InputError, cli
from gliomask.confidence import Calibration
from gliomask.dataset import sealed_patients
from gliomask.evaluation import Protocol, cross_validate
from gliomask.evaluation.fitting import Fit
from gliomask.models import BUNDLED, read_record

PATIENTS = {"TCGA_XX_1_20000101": "a", "TCGA_XX_2_20000101": "b", "TCGA_YY_3_20000101": "b"}


@pytest.fixture
def data(tmp_path: Path, write_slices: Callable[..., Path]) -> Path:
    for name in PATIENTS:
        write_slices(tmp_path / "data" / name, (5, 6), masks=True)
    return tmp_path / "data"


@pytest.fixture
def split(tmp_path: Path) -> Path:
    path = tmp_path / "folds.csv"
    path.write_text("patient,fold\n" + "".join(f"{name},{fold}\n" for name, fold in PATIENTS.items()))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a folder with the bundled network twice, as if trained without fold a and without fold b."""
    for fold in "ab":
        write_run(tmp_path / "runs" / f"run-{fold}", held_out_fold=fold, patients=[n for n, own in PATIENTS.items() if own != fold])
    return tmp_path / "runs"


def write_run(folder: Path, **training: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "fast.onnx").exists():
        shutil.copy(BUNDLED / "fast.onnx", folder)
    record = json.loads((BUNDLED / "fast.json").read_text())
    record |= {"training": training, "quantised": None}
    (folder / "fast.json").write_text(json.dumps(record))


def test_every_patient_is_scored_by_the_model_that_was_trained_without(data: Path, split: Path, runs: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores"
    assert cli.main(["evaluate", str(data), "--cross-validation", str(runs), "--split", str(split), "--output", str(output)]) == 0
    content = json.loads((output / "evaluation.json").read_text())
    assert content["kind"] == "cross-validation"
    assert {p["patient"]: p["fold"] for p in content["patients"]} == PATIENTS
    assert {p["role"] for p in content["patients"]} == {"held out"}
    assert [model["fold"] for model in content["models"]] == ["a", "b"]
    assert content["over_all"]["held out"]["patients"] == 3
    assert set(content["by_institution"]["held out"]) == {"XX", "YY"}
    with (output / "patients.csv").open(newline="") as file:
        assert [row["patient"] for row in csv.DictReader(file)] == list(PATIENTS)
    page = (output / "report.html").read_text()
    assert "2-fold cross-validation of fast" in page and "Model of fold b" in page
    assert page.count("data:image/png") == 3


def test_a_model_that_was_trained_on_a_patient_is_refused(data: Path, split: Path, runs: Path) -> None:
    write_run(runs / "run-b", held_out_fold="b", patients=["TCGA_XX_1_20000101", "TCGA_XX_2_20000101"])
    with pytest.raises(InputError, match=r"run-b/fast\.onnx: was trained on 1 of the patients of fold b \(TCGA_XX_2_20000101"):
        cross_validate(data, runs, Protocol(split))


def test_a_record_that_names_no_patients_proves_nothing(data: Path, split: Path, runs: Path) -> None:
    write_run(runs / "run-b", held_out_fold="b")
    with pytest.raises(InputError, match="does not tell the patients and the fold"):
        cross_validate(data, runs, Protocol(split))


def test_folds_without_a_model_and_with_two_are_named(data: Path, split: Path, runs: Path) -> None:
    write_run(runs / "again", held_out_fold="a", patients=[])
    with pytest.raises(InputError, match="both had fold a held out"):
        cross_validate(data, runs, Protocol(split))
    shutil.rmtree(runs / "again")
    shutil.rmtree(runs / "run-b")
    partial = cross_validate(data, runs, Protocol(split))
    assert [p.name for p in partial.patients] == ["TCGA_XX_1_20000101"]
    assert partial.subject.startswith("1 of 2 folds cross-validation") and partial.notes == (
        "Fold b has no model, so its 2 patients are not among the scores.",
    )
    write_run(runs / "run-a", held_out_fold="c", patients=[])
    with pytest.raises(InputError, match="models for fold c, but the patients are of fold a, b"):
        cross_validate(data, runs, Protocol(split))
    with pytest.raises(InputError, match="no folders with a network"):
        cross_validate(data, runs / "run-a", Protocol(split))


def test_what_weakens_the_proof_is_told(
    data: Path, split: Path, runs: Path, write_slices: Callable[..., Path]
) -> None:  # fmt: skip
    sealed = min(sealed_patients())
    write_slices(data / sealed, (5,), masks=True)
    split.write_text(split.read_text() + f"{sealed},a\n")
    write_run(runs / "run-a", held_out_fold="a", patients=[], initial_weights="0" * 64)
    write_run(runs / "run-b", held_out_fold="b", patients=[], chosen_on_held_out=True)
    evaluation = cross_validate(data, runs, Protocol(split))
    assert sealed not in {p.name for p in evaluation.patients}
    started, chosen, left_out = evaluation.notes
    assert "fold a started from other weights" in started
    assert "fold b was chosen on its held-out patients" in chosen
    assert left_out.startswith("1 patients of the sealed test set")


def test_a_model_that_saw_a_patient_under_another_spelling_is_refused(
    tmp_path: Path, split: Path, runs: Path, write_slices: Callable[..., Path]
) -> None:
    write_slices(tmp_path / "tcia" / "TCGA-XX-0001", (5,), masks=True)
    split.write_text("patient,fold\nTCGA-XX-0001,a\n")
    write_run(runs / "run-a", held_out_fold="a", patients=["TCGA_XX_0001_20000101"])
    with pytest.raises(InputError, match="was trained on 1 of the patients of fold a"):
        cross_validate(tmp_path / "tcia", runs, Protocol(split))


def test_a_patient_without_a_fold_is_named(data: Path, split: Path, runs: Path, write_slices: Callable[..., Path]) -> None:
    write_slices(data / "stranger", (5,), masks=True)
    with pytest.raises(InputError, match="1 patient without a fold in the split: stranger"):
        cross_validate(data, runs, Protocol(split))


def test_calibrate_tells_before_its_work_what_it_cannot_write(
    data: Path, split: Path, runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # nothing is read-only for root
    monkeypatch.setattr("gliomask.evaluation.calibrate.calibrate", lambda *_: pytest.fail("worked for nothing"))
    record = runs / "run-a" / "fast.json"
    assert cli.main(["calibrate", str(data), "--cross-validation", str(runs), "--split", str(split), "--write", str(record)]) == 1
    assert f"{record.parent}: cannot be written" in capsys.readouterr().err


def test_calibrate_writes_what_it_fitted(
    data: Path, split: Path, runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = runs / "run-a" / "fast.json"
    command = ["calibrate", str(data), "--cross-validation", str(runs), "--split", str(split)]
    assert cli.main([*command, "--write", str(record)]) == 0
    told = capsys.readouterr().out
    assert "3 patients of folds a, b" in told and "expected calibration error, all pixels:" in told
    written = read_record(record)
    assert written.scores["confidence"]["patients"] == 3
    assert written.calibration != Calibration()
    # The mask stays what it was: the threshold moves with the probabilities.
    assert written.threshold == pytest.approx(float(written.calibration.apply(np.array(0.5, np.float32))), abs=0.006)
    assert cli.main([*command, "--write", str(record)]) == 0  # of a record that is calibrated by now
    again = read_record(record)
    assert again.calibration.calibrated == pytest.approx(written.calibration.calibrated, abs=1e-3)
    assert again.agreement["volume"].weights == pytest.approx(written.agreement["volume"].weights, abs=1e-3)
    monkeypatch.setattr(Fit, "threshold", property(lambda _: 0.003456))  # of a network early in its training
    assert cli.main([*command, "--write", str(record)]) == 0
    assert read_record(record).threshold == 0.0035


def test_a_fit_needs_two_folds(data: Path, split: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(runs / "run-b")
    assert cli.main(["calibrate", str(data), "--cross-validation", str(runs), "--split", str(split)]) == 1
    assert "models of one fold alone" in capsys.readouterr().err

"""A network in int8 beside its float32."""

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gliomask import Segmenter, cli
from gliomask.dataset import index_dataset
from gliomask.models import BUNDLED, read_record, verify
from gliomask.processor import has_fast_int8

pytest.importorskip("onnx", reason="training's extra is not installed: pip install 'gliomask[train]'")
if not has_fast_int8():
    pytest.skip("this processor has no 8-bit dot product", allow_module_level=True)

TRAINED, HELD_OUT = "TCGA_XX_1_20000101", "TCGA_XX_2_20000101"


@pytest.fixture
def data(tmp_path: Path, write_slices: Callable[..., Path]) -> Path:
    for name in (TRAINED, HELD_OUT):
        write_slices(tmp_path / "data" / name, (5, 6), masks=True)
    return tmp_path / "data"


def copied(folder: Path, patients: list[str], held_out_fold: str | None = "0") -> Path:
    """Return the bundled network in a folder, as if trained on these patients and without int8."""
    folder.mkdir()
    shutil.copy(BUNDLED / "fast.onnx", folder)
    record = json.loads((BUNDLED / "fast.json").read_text())
    record |= {"quantised": None, "training": {"patients": patients, "held_out_fold": held_out_fold}}
    (folder / "fast.json").write_text(json.dumps(record))
    return folder / "fast.onnx"


def test_a_network_is_quantised_and_compared_on_held_out_patients(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = copied(tmp_path / "run", [TRAINED])
    assert cli.main(["quantise", str(data), "--model", str(model)]) == 0
    told = capsys.readouterr().out
    assert "over 1 patients held out" in told and "fast-int8.onnx" in told
    record = read_record(model.with_suffix(".json"))
    assert record.quantised is not None
    assert set(record.quantised.scores["held_out"]) == {"all three channels", "FLAIR alone"}
    assert record.quantised.scores["held_out"]["all three channels"]["mean_agreement"] > 0.9
    assert (model.parent / record.quantised.file).stat().st_size < model.stat().st_size / 3
    assert Segmenter(model, precision="int8").engine.precision == "int8"


def test_networks_of_a_cross_validation_are_compared_on_the_folds_that_they_never_saw(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_record(copied(tmp_path / "run", [TRAINED]).with_suffix(".json"))
    patients = [("0" if patient.name == HELD_OUT else "1", patient) for patient in index_dataset(data)]
    runpy.run_path(str(Path(__file__).parents[1] / "docs" / "int8_held_out.py"))["print_table"]({"0": record}, patients)
    rows = [line[2:-2].split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")][2:]
    assert [row[:3] for row in rows] == [[what, fold, "1"] for fold in ("0", "all") for what in ("all three channels", "FLAIR alone")]
    assert [row[3:] for row in rows[:2]] == [row[3:] for row in rows[2:]] and float(rows[0][6]) > 0.9
    assert read_record(tmp_path / "run" / "fast.json").quantised is None, "a comparison accepts nothing"


def test_the_stem_and_its_depthwise_convolution_stay_in_float32() -> None:
    import onnx

    from gliomask.training.quantise import first_layers

    nodes = onnx.load(BUNDLED / "fast.onnx").graph.node
    named = first_layers(onnx.load(BUNDLED / "fast.onnx"))
    assert [node.op_type for node in nodes if node.name in named].count("Conv") == 2
    # In the int8 network all convolutions but these two take what was quantised and brought back.
    quantised = onnx.load(BUNDLED / "fast-int8.onnx").graph.node
    made_by = {output: node.op_type for node in quantised for output in node.output}
    in_float = [node.name for node in quantised if node.op_type == "Conv" and made_by.get(node.input[0]) != "DequantizeLinear"]
    assert len(in_float) == 2
    assert set(in_float) <= set(named)


def test_int8_that_is_worse_is_not_kept(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = copied(tmp_path / "run", [TRAINED])
    before = model.with_suffix(".json").read_text()
    monkeypatch.setattr("gliomask.training.quantise.MOST_LOST", -2.0)  # nothing is good enough
    assert cli.main(["quantise", str(data), "--model", str(model)]) == 1
    assert "at most -2 may be lost. Nothing was kept." in capsys.readouterr().err
    assert model.with_suffix(".json").read_text() == before
    assert sorted(path.name for path in model.parent.iterdir()) == ["fast.json", "fast.onnx"]


def test_an_int8_network_that_is_there_outlives_one_that_is_worse(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = copied(tmp_path / "run", [TRAINED])
    shutil.copy(BUNDLED / "fast-int8.onnx", model.parent)
    record = json.loads(model.with_suffix(".json").read_text())
    record["quantised"] = json.loads((BUNDLED / "fast.json").read_text())["quantised"]
    model.with_suffix(".json").write_text(json.dumps(record))
    monkeypatch.setattr("gliomask.training.quantise.MOST_LOST", -2.0)  # nothing is good enough
    assert cli.main(["quantise", str(data), "--model", str(model)]) == 1
    assert "Nothing was kept." in capsys.readouterr().err
    verify(read_record(model.with_suffix(".json")))


def test_without_held_out_patients_nothing_can_be_compared(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = copied(tmp_path / "run", [TRAINED, HELD_OUT])
    assert cli.main(["quantise", str(data), "--model", str(model)]) == 1
    assert "2 patients that fast was trained on and 0 held out" in capsys.readouterr().err


def test_where_nobody_was_held_out_masks_are_compared_on_training_patients(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = copied(tmp_path / "run", [TRAINED, HELD_OUT], None)
    assert cli.main(["quantise", str(data), "--model", str(model)]) == 0
    assert "over 2 patients trained on" in capsys.readouterr().out
    record = read_record(model.with_suffix(".json"))
    assert record.quantised is not None and set(record.quantised.scores) == {"trained_on"}

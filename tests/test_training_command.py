import contextlib
import io
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gliomask import InputError, Segmenter, Volume
from gliomask.evaluation.cross_validation import fold_models
from gliomask.models import find_model

keras = pytest.importorskip("keras", reason="training's extra is not installed: pip install 'gliomask[train]'")


@pytest.fixture(scope="module")
def of_everybody(small_networks: None, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A training with `fast` that holds nobody out: its folder, and what it told."""
    from gliomask.cli import main

    output, told = tmp_path_factory.mktemp("everybody"), io.StringIO()
    sizes = ("--width", "8", "--epochs", "2", "--steps-per-epoch", "1")
    with contextlib.redirect_stdout(told):
        assert main(["train", str(dataset), *nobody_held_out(dataset), "--output", str(output), *sizes]) == 0
    return output, told.getvalue()


def nobody_held_out(dataset: Path) -> tuple[str, ...]:
    return "--split", str(dataset.parent / "split.csv"), "--fold", "none"


def test_a_leaky_training_says_so(small_batches: None, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gliomask.cli import main

    sizes = ("--width", "4", "--epochs", "1", "--steps-per-epoch", "1", "--recipe", "original")
    assert main(["train", str(dataset), "--leaky", "--output", str(tmp_path / "run"), *sizes]) == 0
    told = capsys.readouterr().out
    record = find_model(tmp_path / "run" / "model.onnx")
    assert record.training["held_out_fold"] is None and record.training["split"] == "by slice, leaky"
    assert set(record.scores["reference_project"]) == {"split", "slices", "dice", "iou", "pixel_accuracy"}
    slices = record.scores["reference_project"]["slices"]
    assert "how well the network remembers" in told and f"as means over batches of 32 of {slices} slices; by slice, leaky" in told
    assert "held_out" not in record.scores and len(record.training["history"]) == 1
    with pytest.raises(InputError, match="proves nothing"):
        fold_models(tmp_path)
    from gliomask.dataset import divide_slices, index_dataset

    # The table of docs/leak.py scores the same held-out slices, and their masks beside them; all are in one batch here.
    made = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "leak.py"))
    (what, split, parameters, epochs, *figures) = made["row"](record, index_dataset(dataset))
    assert (what, split, parameters, epochs) == ("original", "by slice, leaky", "0.12 M", "1")
    cases = [patient.load() for patient in divide_slices(index_dataset(dataset))[1]]
    y = np.concatenate([reference for _, reference in cases])
    p = np.concatenate([Segmenter(record, force=True).segment(Volume(images)).probability for images, _ in cases])
    wanted = []
    for q in (p, (p >= 0.5).astype(np.float32)):
        shared, both = (y * q).sum(), y.sum() + q.sum()
        wanted += [(2 * shared + 100) / (both + 100), (shared + 100) / (both - shared + 100)]
    wanted.insert(2, ((p >= 0.5) == y).mean())
    assert [float(figure) for figure in figures] == pytest.approx(wanted, abs=6e-4)
    with pytest.raises(SystemExit, match="not trained on one split"):
        made["held_out_of"](replace(record, training={"members": [record.training, {"split": "lgg_folds.csv", "held_out_fold": "0"}]}), [])
    with pytest.raises(SystemExit, match="nobody in the dataset was held out"):
        made["held_out_of"](replace(record, training={**record.training, "split": "split.csv"}), [])


def test_a_last_training_holds_nobody_out_and_has_no_scores(
    of_everybody: tuple[Path, str], dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gliomask.cli import main

    run, told = of_everybody
    assert "3 patients to train on, nobody held out" in told and "not scored, as nobody was held out" in told
    record = find_model(run / "model.onnx")
    assert record.training["patients"] == ["a", "b", "c"] and record.training["held_out_fold"] is None
    assert set(record.scores) == {"export_difference"}
    assert record.training["keras"] == f"{keras.__version__} on {keras.backend.backend()}"
    assert all("val_dice" not in row for row in record.training["history"])
    assert (run / "history.png").stat().st_size > 5_000
    assert main(["train", str(dataset), *nobody_held_out(dataset), "--output", str(tmp_path / "other"), "--recipe", "original"]) == 1
    assert "stops by the scores of held-out patients" in capsys.readouterr().err


def test_the_last_round_goes_on_from_fast_for_the_overlap_alone(of_everybody: tuple[Path, str], dataset: Path, tmp_path: Path) -> None:
    from gliomask.cli import main

    first, _ = of_everybody
    last = ("--recipe", "fast-dice", "--width", "8", "--epochs", "1", "--steps-per-epoch", "1")
    initial = ("--initial-weights", str(first / "model.keras"), "--average-initial")
    assert main(["train", str(dataset), *nobody_held_out(dataset), "--output", str(tmp_path), *last, *initial]) == 0
    for row in find_model(first / "model.onnx").training["history"]:
        assert row["loss"] > 1.1 * (1.0 - row["soft_dice"])
    (row,) = find_model(tmp_path / "model.onnx").training["history"]
    assert row["loss"] == pytest.approx(1.0 - row["soft_dice"], abs=1e-3)
    assert find_model(tmp_path / "model.onnx").recipe == "fast-dice"


def test_what_cannot_be_exported_here_is_kept_with_its_record_and_gone_on_from(
    small_networks: None, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gliomask.cli import main
    from gliomask.models import write_record
    from gliomask.training import export

    def unable(*arguments: object) -> None:
        raise ImportError("no exporter")

    def run(output: str, *initial: str) -> int:
        sizes = ("--recipe", "fast", "--width", "8", "--epochs", "1", "--steps-per-epoch", "1")
        return main(["train", str(dataset), *nobody_held_out(dataset), "--output", str(tmp_path / output), *sizes, *initial])

    with monkeypatch.context() as without:
        without.setattr(export, "export", unable)
        assert run("first") == 1
    first = tmp_path / "first" / "model.keras"
    assert f"{first} with its record, but not exported to ONNX: no exporter" in capsys.readouterr().err
    record = find_model(first)
    assert record.normalisation.method == "foreground_median" and record.training["patients"] == ["a", "b", "c"]
    assert run("more", "--initial-weights", str(first)) == 0
    assert not find_model(tmp_path / "more" / "model.onnx").started_from_unknown
    assert run("first") == 0  # straight to the export
    exported = find_model(first.with_suffix(".onnx"))
    assert exported.file == "model.onnx"
    write_record(replace(exported, threshold=0.3))  # as calibration does
    assert run("first") == 0
    assert "exported before, and left as it is" in capsys.readouterr().out
    assert find_model(exported.path).threshold == 0.3

    elsewhere = tmp_path / "moved"
    elsewhere.mkdir()
    shutil.copy(tmp_path / "first" / "checkpoint.npz", elsewhere)  # alone, as from a machine that cannot export
    assert run("moved") == 0
    assert len(find_model(elsewhere / "model.onnx").training["history"]) == 1


def test_whom_initial_weights_had_seen_is_known_from_their_record(
    small_networks: None, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gliomask.cli import main

    def run(output: str, fold: str, *initial: str) -> int:
        sizes = ("--width", "4", "--epochs", "1", "--steps-per-epoch", "1")
        split = ("--split", str(dataset.parent / "split.csv"), "--fold", fold)
        return main(["train", str(dataset), *split, "--output", str(tmp_path / output), *sizes, *initial])

    first = tmp_path / "first" / "model.keras"
    assert run("first", "0") == 0
    assert run("more", "0", "--initial-weights", str(first)) == 0
    more = find_model(tmp_path / "more" / "model.onnx")
    assert more.training["patients"] == find_model(tmp_path / "first" / "model.onnx").training["patients"]
    assert not more.started_from_unknown

    assert run("other", "1", "--initial-weights", str(first)) == 1
    told = capsys.readouterr()
    assert "patients of fold 1" in told.err and "who would be held out" in told.err
    assert not (tmp_path / "other" / "checkpoint.npz").exists()

    beside = first.with_suffix(".json")
    record = beside.read_text()
    beside.write_text(record.replace('"b"', '"TCGA_XX_0001_20000101"').replace('"c"', '"TCGA_XX_0002_20000101"'))
    for name in "ab":
        shutil.copytree(dataset / name, tmp_path / "tcia" / f"TCGA-XX-000{'_ab'.index(name)}")
    (tmp_path / "tcia.csv").write_text("patient,fold\nTCGA-XX-0001,1\nTCGA-XX-0002,0\n")
    other = ("--split", str(tmp_path / "tcia.csv"), "--fold", "1", "--output", str(tmp_path / "spelled"))
    assert main(["train", str(tmp_path / "tcia"), *other, "--initial-weights", str(first)]) == 1
    assert "(TCGA-XX-0001…), who would be held out" in capsys.readouterr().err
    beside.write_text(record)

    alone = shutil.copy(first, tmp_path / "alone.keras")
    assert run("unknown", "1", "--initial-weights", str(alone)) == 0
    assert "no record beside it tells whom it was trained on" in capsys.readouterr().out
    assert find_model(tmp_path / "unknown" / "model.onnx").started_from_unknown
    assert run("on", "1", "--initial-weights", str(tmp_path / "unknown" / "model.keras")) == 0
    assert find_model(tmp_path / "on" / "model.onnx").started_from_unknown

    capsys.readouterr()
    assert run("nothing", "0", "--initial-weights", str(tmp_path / "none.keras")) == 1
    told = capsys.readouterr()
    assert "none.keras: no such file" in told.err and "no record" not in told.out

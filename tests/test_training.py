import csv
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gliomask import InputError, ModelError, Segmenter, Volume
from gliomask.evaluation.cross_validation import fold_models
from gliomask.io import read_image
from gliomask.models import find_model
from gliomask.preprocess import Normalisation, apply_windows, intensity_windows

pytest.importorskip("keras", reason="training's extra is not installed: pip install 'gliomask[train]'")


@pytest.fixture(scope="module")
def training() -> ModuleType:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from gliomask.training import export, loop, losses, networks, recipes

    bundle = ModuleType("training")
    for module in (export, loop, losses, networks, recipes):
        bundle.__dict__.update({k: v for k, v in vars(module).items() if not k.startswith("__")})
    return bundle


def command(dataset: Path, output: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "gliomask", "train", str(dataset), "--split", str(dataset.parent / "split.csv"),
        "--output", str(output), "--width", "4", *more,
    ]  # fmt: skip


def test_unet_has_the_papers_size(training: ModuleType) -> None:
    # 31.03 million parameters with 64 to 1024 filters, 3 input channels and a single output map.
    assert training.unet().count_params() == pytest.approx(31.03e6, rel=0.002)
    assert training.unet(8).output_shape == (None, None, None, 1)


def test_losses_by_hand(training: ModuleType) -> None:
    y = np.zeros((1, 20, 20, 1), np.float32)
    y[0, :10] = 1  # 200 pixels
    p = np.full_like(y, 0.5)
    # Dice: (2·100 + 100) / (200 + 200 + 100); IoU: (100 + 100) / (200 + 200 - 100 + 100)
    assert float(training.soft_dice(y, p)) == pytest.approx(300 / 500)
    assert float(training.soft_iou(y, p)) == pytest.approx(200 / 400)
    assert float(training.dice_loss(y, p)) == pytest.approx(0.4)
    assert float(training.cross_entropy_dice_loss(y, p)) == pytest.approx(0.4 + np.log(2), rel=1e-4)
    assert float(training.binary_pixel_accuracy(y, p)) == 0.5
    assert float(training.soft_dice(y * 0, p * 0)) == 1.0


@pytest.mark.parametrize("recipe", ["original", "fast"])
def test_exported_network_gives_the_same_probabilities_on_real_slices(training: ModuleType, lgg: Path, tmp_path: Path, recipe: str) -> None:
    import keras

    keras.utils.set_random_seed(1)
    model = training.RECIPES[recipe].network(8)
    rng = np.random.default_rng(0)
    model.set_weights([w if w.ndim > 1 else np.abs(w + rng.normal(0, 0.2, w.shape)).astype(w.dtype) for w in model.get_weights()])
    training.export(model, training.RECIPES[recipe], tmp_path, "tiny", {"patients": []})
    slices = [read_image(p)[0][0] for p in sorted((lgg / "original").glob("*.tif")) if "mask" not in p.name]
    batch = apply_windows(np.stack(slices), intensity_windows(np.stack(slices), Normalisation()))
    exported = Segmenter(tmp_path / "tiny.onnx").engine.run(batch)
    expected = training.predict(model, batch)
    assert np.ptp(expected) > 0.01
    assert np.abs(exported - expected).max() < 1e-3


def test_an_export_that_differs_is_refused(training: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(training.export.__globals__, "PARITY", -1.0)
    with pytest.raises(ModelError, match="probabilities differ"):
        training.export(training.unet(4), training.RECIPES["original"], tmp_path, "m", {})
    assert not (tmp_path / "m.json").exists()


def test_stages_follow_one_another(training: ModuleType) -> None:
    recipe = training.RECIPES["fast"]
    assert training.stage_at(recipe, 0.0).size == 128
    assert training.stage_at(recipe, 0.449).size == 128
    assert training.stage_at(recipe, 0.45).size == 192
    assert training.stage_at(recipe, 1.0).size == 192


def test_early_stopping_counts_from_the_best_epoch(training: ModuleType) -> None:
    from dataclasses import replace

    recipe = replace(training.RECIPES["original"], patience=2)
    history = [{"val_dice": v} for v in (0.1, 0.5, 0.4)]
    assert training.best_epoch(history) == 1
    assert not training._is_over(history, recipe, 10)
    assert training._is_over([*history, {"val_dice": 0.5}], recipe, 10)
    assert training._is_over(history, recipe, 3)


@pytest.mark.parametrize("recipe", ["fast", "original"])
def test_a_resumed_training_ends_where_an_unbroken_one_does(
    training: ModuleType, dataset: Path, tmp_path: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    import keras

    from gliomask.dataset import index_dataset

    a, b, c = index_dataset(dataset)
    sizes = (training.Stage(0.5, 64, 0.25), training.Stage(0.5, 32, 0.25)) if recipe == "original" else (training.Stage(1.0, 64, 0.25),)
    small = replace(training.RECIPES[recipe], batch_size=2, stages=sizes)
    seen: list[int] = []
    shares: list[float] = []
    train_step = keras.Model.train_on_batch

    def watched(model: keras.Model, images: np.ndarray, *arguments: object, **options: object) -> object:
        seen.append(images.shape[1])
        return train_step(model, images, *arguments, **options)

    monkeypatch.setattr(keras.Model, "train_on_batch", watched)

    class Stop(Exception):
        pass

    def settings_of(folder: str) -> object:
        return training.RunSettings(tmp_path / folder, epochs=2, steps_per_epoch=2, width=4, checkpoint_s=0.0)

    def run(folder: str, stop_at: str | None = None) -> list[np.ndarray]:
        def report(line: str) -> None:
            if stop_at and line.startswith(stop_at):
                raise Stop

        return training.train([b, c], [a], small, settings_of(folder), report, lambda pace: shares.append(pace.share)).get_weights()

    unbroken = run("unbroken")
    # Two steps of 64 x 64 and two of a quarter of that; the first one, in which the network is compiled, says nothing of the pace.
    assert shares == pytest.approx([0.8, 0.9, 1.0] if recipe == "original" else [0.5, 0.75, 1.0])
    with pytest.raises(Stop):
        run("broken", stop_at="epoch 2")  # before the last checkpoint is written: step 3 has to be done again
    resumed = run("broken")
    # The unbroken run, the broken one, and the last step, before which a size that is over is shown: steps are compiled for what is seen.
    assert seen == ([64, 64, 32, 32] * 2 + [64, 32] if recipe == "original" else [64] * 9)
    with pytest.raises(InputError, match=r"another training; it differs in training, validation\. Choose another"):
        training.train([a, c], [b], small, settings_of("broken"))
    for one, other in zip(unbroken, resumed, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert training.read_history(tmp_path / "broken")[1]["val_dice"] == pytest.approx(
        training.read_history(tmp_path / "unbroken")[1]["val_dice"], abs=1e-3
    )


def test_bfloat16_trains_a_float32_network(training: ModuleType, dataset: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from gliomask.dataset import index_dataset

    a, b, _ = index_dataset(dataset)
    small = replace(training.RECIPES["fast"], batch_size=2, stages=(training.Stage(1.0, 64, 0.25),))
    settings = training.RunSettings(tmp_path / "run", "bfloat16", epochs=1, steps_per_epoch=1, width=4)
    model = training.train([b], [a], small, settings)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert not model.compiled


def test_a_killed_training_goes_on_to_the_same_weights(dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    first = subprocess.Popen(
        command(dataset, output, "--epochs", "6", "--steps-per-epoch", "1"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while not (output / "checkpoint.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = subprocess.run(
        command(dataset, output, "--epochs", "6", "--steps-per-epoch", "1", "--name", "mine"), capture_output=True, text=True, check=False
    )
    assert second.returncode == 0, second.stderr
    assert "resumed at step" in second.stdout
    unbroken = subprocess.run(
        command(dataset, tmp_path / "unbroken", "--epochs", "6", "--steps-per-epoch", "1"), capture_output=True, text=True, check=False
    )
    assert unbroken.returncode == 0, unbroken.stderr
    assert (tmp_path / "unbroken" / "history.csv").read_bytes() == (output / "history.csv").read_bytes()
    same_weights(tmp_path / "unbroken" / "model.keras", output / "mine.keras")
    with (output / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert {"loss", "soft_dice", "soft_iou", "binary_pixel_accuracy", "val_dice", "val_iou", "val_accuracy"} <= set(rows[0])
    assert (output / "history.png").stat().st_size > 10_000
    record = find_model(output / "mine.onnx")
    assert record.training["patients"] == ["b", "c"]
    assert len(record.scores["held_out"]) == 4
    assert json.loads((output / "mine.json").read_text())["scores"]["export_difference"] < 1e-3
    keras_file(output / "mine.keras")


def same_weights(one: Path, other: Path) -> None:
    """Two .keras files hold the same weights, bit for bit."""
    from keras.saving import load_model

    pairs = zip(*(load_model(path, compile=False).get_weights() for path in (one, other)), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def keras_file(path: Path) -> None:
    """A .keras file runs through Keras, with its record beside it or, like another project's, without."""
    slices = np.zeros((2, 100, 80), np.uint8)
    slices[:, 20:60, 20:60] = 150
    path.with_suffix(".json").unlink()
    segmenter = Segmenter(path, force=True)  # boxes are no heads
    assert segmenter.engine.description.startswith("Keras")
    assert segmenter.model.normalisation == Normalisation("full_scale")
    assert segmenter.segment(slices).mask.shape == (2, 100, 80)
    path.write_bytes(b"no archive")
    with pytest.raises(ModelError, match="not a model that Keras"):
        Segmenter(path)


def test_a_training_starts_from_a_trained_network(
    training: ModuleType, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from gliomask.dataset import index_dataset

    patients = index_dataset(dataset)
    started = training.unet(4)
    started.save(tmp_path / "trained.keras")
    still = replace(training.RECIPES["original"], learning_rate=0.0, patience=None)
    settings = training.RunSettings(tmp_path / "run", epochs=1, steps_per_epoch=1, width=4, initial_weights=tmp_path / "trained.keras")
    for one, two in zip(training.train(patients[1:], patients[:1], still, settings).get_weights(), started.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    moved = replace(still, learning_rate=0.1)
    ends = [
        training.train(patients[1:], [], moved, replace(settings, output=tmp_path / "moved", average_initial=mean)).get_weights()
        for mean in (False, True)  # the second time there is nothing left to train
    ]
    for one, end, mean in zip(started.get_weights(), *ends, strict=True):
        np.testing.assert_allclose(mean, (one + end) / 2, rtol=1e-6)
    assert any(np.abs(one - end).max() > 1e-3 for one, end in zip(started.get_weights(), ends[0], strict=True))
    with pytest.raises(InputError, match="--initial-weights MODEL"):
        training.train(patients[1:], [], moved, replace(settings, initial_weights=None, average_initial=True))

    def loaded(*_: object) -> None:
        pytest.fail("what cannot be used is refused before the patients are loaded")

    monkeypatch.setitem(training.train.__globals__, "load_case", loaded)
    other = replace(settings, output=tmp_path / "other", width=6)
    with pytest.raises(InputError, match=r"trained\.keras: a network of .* parameters"):
        training.train(patients[1:], patients[:1], still, other)
    (tmp_path / "bad.keras").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"bad\.keras: not a network that Keras can load"):
        training.train(patients[1:], patients[:1], still, replace(other, initial_weights=tmp_path / "bad.keras"))
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"bad\.onnx: not the recipe's network"):
        training.train(patients[1:], patients[:1], still, replace(other, initial_weights=tmp_path / "bad.onnx"))
    with pytest.raises(InputError, match=r"none\.keras: no such file"):
        training.train(patients[1:], patients[:1], still, replace(other, initial_weights=tmp_path / "none.keras"))
    fresh = replace(settings, initial_weights=None)
    with pytest.raises(InputError, match="differs in initial_weights"):
        training.train(patients[1:], patients[:1], still, fresh)


def test_epochs_shorter_than_a_second_are_all_logged(tmp_path: Path) -> None:
    from gliomask.training.logs import log_history

    rows = [{"epoch": float(epoch), "loss": 0.5, "val_dice": 0.5} for epoch in range(1, 5)]
    for count in range(1, 5):
        log_history(rows[:count], tmp_path)
    logged = [file.read_bytes() for file in (tmp_path / "tensorboard").iterdir()]
    assert len(logged) == 4 and all(b"training/loss" in events and b"validation/dice" in events for events in logged)


def test_batch_scores_are_the_reference_projects(training: ModuleType, dataset: Path) -> None:
    from gliomask.dataset import index_dataset

    cases = [training.load_case(patient, Normalisation("full_scale")) for patient in index_dataset(dataset)]

    def half(images: np.ndarray, training: bool) -> np.ndarray:
        return np.full((*images.shape[:3], 1), 0.5, np.float32)

    scores = training.batch_scores(half, cases, cases[0].images.shape[1])
    y = sum(np.count_nonzero(case.masks) for case in cases)
    pixels = sum(case.masks.size for case in cases)
    p = pixels / 2
    assert scores["slices"] == 6
    assert scores["dice"] == pytest.approx((y + 100) / (y + p + 100))  # Σ(y·p) is half of Σy
    assert scores["iou"] == pytest.approx((y / 2 + 100) / (y / 2 + p + 100))
    assert scores["pixel_accuracy"] == pytest.approx(y / pixels)


def test_a_leaky_training_says_so(training: ModuleType, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gliomask.cli import main

    sizes = ("--width", "4", "--epochs", "1", "--steps-per-epoch", "1", "--recipe", "original")
    assert main(["train", str(dataset), "--leaky", "--output", str(tmp_path / "run"), *sizes]) == 0
    assert "how well the network remembers" in capsys.readouterr().out
    record = find_model(tmp_path / "run" / "model.onnx")
    assert record.training["held_out_fold"] is None and record.training["split"] == "by slice, leaky"
    assert set(record.scores["reference_project"]) == {"split", "slices", "dice", "iou", "pixel_accuracy"}
    assert "held_out" not in record.scores and len(record.training["history"]) == 1
    with pytest.raises(InputError, match="proves nothing"):
        fold_models(tmp_path)
    from dataclasses import replace

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
    training: ModuleType, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gliomask.cli import main

    split = ("--split", str(dataset.parent / "split.csv"), "--fold", "none")
    sizes = ("--width", "8", "--epochs", "2", "--steps-per-epoch", "1")
    assert main(["train", str(dataset), *split, "--output", str(tmp_path / "run"), *sizes]) == 0
    told = capsys.readouterr().out
    assert "3 patients to train on, nobody held out" in told and "not scored, as nobody was held out" in told
    record = find_model(tmp_path / "run" / "model.onnx")
    assert record.training["patients"] == ["a", "b", "c"] and record.training["held_out_fold"] is None
    assert set(record.scores) == {"export_difference"}
    assert all("val_dice" not in row for row in record.training["history"])
    assert (tmp_path / "run" / "history.png").stat().st_size > 5_000
    assert main(["train", str(dataset), *split, "--output", str(tmp_path / "other"), "--recipe", "original", *sizes]) == 1
    assert "stops by the scores of held-out patients" in capsys.readouterr().err


def test_the_last_round_goes_on_from_fast_for_the_overlap_alone(training: ModuleType, dataset: Path, tmp_path: Path) -> None:
    from gliomask.cli import main

    def run(output: str, *recipe: str) -> list[dict[str, float]]:
        sizes = ("--width", "8", "--epochs", "1", "--steps-per-epoch", "1")
        split = ("--split", str(dataset.parent / "split.csv"), "--fold", "none")
        assert main(["train", str(dataset), *split, "--output", str(tmp_path / output), *sizes, *recipe]) == 0
        history: list[dict[str, float]] = find_model(tmp_path / output / "model.onnx").training["history"]
        return history

    (first,) = run("first")
    (last,) = run("last", "--recipe", "fast-dice", "--initial-weights", str(tmp_path / "first" / "model.keras"), "--average-initial")
    assert first["loss"] > 1.1 * (1.0 - first["soft_dice"])
    assert last["loss"] == pytest.approx(1.0 - last["soft_dice"], abs=1e-3)
    assert find_model(tmp_path / "last" / "model.onnx").recipe == "fast-dice"


def test_whom_initial_weights_had_seen_is_known_from_their_record(
    training: ModuleType, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gliomask.cli import main

    def run(output: str, fold: str, *initial: str) -> int:
        sizes = ("--width", "4", "--epochs", "1", "--steps-per-epoch", "1", "--recipe", "original")
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

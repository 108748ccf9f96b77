import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from small_networks import normalising, with_small_batches

from gliomask import InputError, ModelError, Segmenter
from gliomask.dataset import index_dataset
from gliomask.io import read_image
from gliomask.preprocess import Normalisation, apply_windows, intensity_windows

pytest.importorskip("keras", reason="training's extra is not installed: pip install 'gliomask[train]'")


@pytest.fixture(scope="module")
def training() -> ModuleType:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from gliomask.training import checkpoint, export, history, loop, losses, networks, recipes, validation

    bundle = ModuleType("training")
    for module in (checkpoint, export, history, loop, losses, networks, recipes, validation):
        bundle.__dict__.update({k: v for k, v in vars(module).items() if not k.startswith("__")})
    return bundle


class Stop(Exception):
    """What a test ends a training with before its time."""


def small(training: ModuleType, name: str, **changes: Any) -> Any:
    """A recipe of small steps, whose validation slices are as small, with more changes."""
    return with_small_batches(training.RECIPES[name], **({"input_size": 64} | changes))


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
    exported = Segmenter(tmp_path / "tiny.onnx").engine.run(batch)[..., 0]
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
    import keras

    a, b, c = index_dataset(dataset)
    two_sizes = (training.Stage(0.5, 64, 0.25), training.Stage(0.5, 32, 0.25))
    tried = small(training, recipe, network=normalising, **({"stages": two_sizes} if recipe == "original" else {}))
    seen: list[int] = []
    shares: list[float] = []
    train_step = keras.Model.train_on_batch

    def watched(model: keras.Model, images: np.ndarray, *arguments: object, **options: object) -> object:
        seen.append(images.shape[1])
        return train_step(model, images, *arguments, **options)

    monkeypatch.setattr(keras.Model, "train_on_batch", watched)

    def settings_of(folder: str) -> object:
        return training.RunSettings(tmp_path / folder, epochs=2, steps_per_epoch=2, width=4, checkpoint_s=0.0)

    def run(folder: str, stop_at: str | None = None) -> list[np.ndarray]:
        def report(line: str) -> None:
            if stop_at and line.startswith(stop_at):
                raise Stop

        return training.train([b, c], [a], tried, settings_of(folder), report, lambda pace: shares.append(pace.share)).get_weights()

    unbroken = run("unbroken")
    # Two steps of 64 x 64 and two of a quarter of that; the first one, in which the network is compiled, says nothing of the pace.
    assert shares == pytest.approx([0.8, 0.9, 1.0] if recipe == "original" else [0.5, 0.75, 1.0])
    with pytest.raises(Stop):
        run("broken", stop_at="epoch 2")  # before the last checkpoint is written: step 3 has to be done again
    resumed = run("broken")
    # The unbroken run, the broken one, and the last step, before which a size that is over is shown: steps are compiled for what is seen.
    assert seen == ([64, 64, 32, 32] * 2 + [64, 32] if recipe == "original" else [64] * 9)
    with pytest.raises(InputError, match=r"another training; it differs in training, validation\. Choose another"):
        training.train([a, c], [b], tried, settings_of("broken"))
    for one, other in zip(unbroken, resumed, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert training.read_history(tmp_path / "broken")[1]["val_dice"] == pytest.approx(
        training.read_history(tmp_path / "unbroken")[1]["val_dice"], abs=1e-3
    )


def test_what_took_the_steps_is_kept_whatever_goes_on_from_them(
    training: ModuleType, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    def stop(line: str) -> None:
        if line.startswith("epoch 2"):  # whose checkpoint is not written yet
            raise Stop

    patients, tried = index_dataset(dataset), small(training, "fast", network=normalising)
    settings = training.RunSettings(tmp_path, epochs=2, steps_per_epoch=1, width=4)
    backend = keras.backend.backend()
    monkeypatch.setattr(keras, "__version__", "1")
    with pytest.raises(Stop):
        training.train(patients, [], tried, settings, stop)
    assert training.trained_by(tmp_path) == [f"1 on {backend}"]
    for version in ("2", "3"):  # the third time there is nothing left to train
        monkeypatch.setattr(keras, "__version__", version)
        training.train(patients, [], tried, settings)
        assert training.trained_by(tmp_path) == [f"1 on {backend}", f"2 on {backend}"]


def test_a_training_stopped_in_its_first_epoch_goes_on(training: ModuleType, dataset: Path, tmp_path: Path) -> None:
    def stop(pace: object) -> None:
        raise Stop

    a, b, _ = index_dataset(dataset)
    tried = small(training, "fast", network=normalising)
    settings = training.RunSettings(tmp_path, epochs=1, steps_per_epoch=3, width=4, checkpoint_s=0.0)
    with pytest.raises(Stop):
        training.train([b], [a], tried, settings, show=stop)
    told: list[str] = []
    training.train([b], [a], tried, settings, told.append)
    assert told[0] == "resumed at step 1 of 3" and len(training.read_history(tmp_path)) == 1


def test_bfloat16_trains_a_float32_network(training: ModuleType, dataset: Path, tmp_path: Path) -> None:
    a, b, _ = index_dataset(dataset)
    settings = training.RunSettings(tmp_path / "run", "bfloat16", epochs=1, steps_per_epoch=1, width=4)
    model = training.train([b], [a], small(training, "fast", network=normalising), settings)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert not model.compiled


def test_a_training_starts_from_a_trained_network(
    training: ModuleType, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patients = index_dataset(dataset)
    started = training.unet(4)
    started.save(tmp_path / "trained.keras")
    still = small(training, "original", learning_rate=0.0, patience=None)
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
    cases = [training.load_case(patient, Normalisation("full_scale"), 256) for patient in index_dataset(dataset)]

    class Half:
        def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
            return np.full((*images.shape[:3], 1), 0.5, np.float32)

    scores = training.batch_scores(Half(), cases, cases[0].images.shape[1])
    y = sum(np.count_nonzero(case.masks) for case in cases)
    pixels = sum(case.masks.size for case in cases)
    p = pixels / 2
    assert scores["slices"] == 6
    assert scores["dice"] == pytest.approx((y + 100) / (y + p + 100))  # Σ(y·p) is half of Σy
    assert scores["iou"] == pytest.approx((y / 2 + 100) / (y / 2 + p + 100))
    assert scores["pixel_accuracy"] == pytest.approx(y / pixels)

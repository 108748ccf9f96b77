import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gliomask.engine import OnnxEngine
from gliomask.errors import ModelError
from gliomask.models import find_model

keras = pytest.importorskip("keras", reason="training's extra is not installed: pip install 'gliomask[train]'")

if keras.backend.backend() != "tensorflow":
    pytest.skip("other backends' exporters name weights their own way", allow_module_level=True)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[keras.Model, Path]]:
    """A network of the recipe `fast` whose normalisation has seen something, and its export."""
    from gliomask.training.export import export
    from gliomask.training.recipes import FAST

    keras.utils.set_random_seed(0)
    network, rng = FAST.network(8), np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(
                [rng.uniform(low, high, layer.gamma.shape) for low, high in ((0.5, 1.5), (-0.3, 0.3), (-1.0, 1.0), (0.5, 2.0))]
            )
        elif isinstance(layer, keras.layers.Conv2DTranspose):
            layer.bias.assign(rng.normal(0.0, 0.2, layer.bias.shape))
    folder = tmp_path_factory.mktemp("exported")
    export(network, FAST, folder, "network", {})
    return network, folder / "network.onnx"


def slices(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((24, 64, 64, 3), np.float32)


def probabilities(network: keras.Model, images: np.ndarray, training: bool = False) -> np.ndarray:
    return keras.ops.convert_to_numpy(network(images, training=training))


def test_an_exported_network_comes_back_and_normalises_as_it_did(exported: tuple[keras.Model, Path]) -> None:
    from gliomask.training.recipes import FAST
    from gliomask.training.restore import restore, set_statistics

    network, path = exported
    restored = FAST.network(8)
    assert np.abs(probabilities(restored, slices()) - probabilities(network, slices())).max() > 0.05
    restore(path, restored, slices())
    np.testing.assert_allclose(probabilities(restored, slices()), probabilities(network, slices()), atol=2e-4)
    set_statistics(restored, slices())
    for images in (slices(), slices(1)):
        np.testing.assert_allclose(probabilities(restored, images), probabilities(network, images), atol=2e-4)
    while_trained = probabilities(restored, slices(), training=True)  # with the statistics of the batch
    np.testing.assert_allclose(while_trained, probabilities(network, slices()), atol=2e-3)


def test_the_original_network_comes_back_too(tmp_path: Path) -> None:
    from gliomask.training.export import export
    from gliomask.training.recipes import ORIGINAL
    from gliomask.training.restore import restore

    network, restored = ORIGINAL.network(4), ORIGINAL.network(4)
    export(network, ORIGINAL, tmp_path, "network", {})
    restore(tmp_path / "network.onnx", restored, slices())
    np.testing.assert_allclose(probabilities(restored, slices()), probabilities(network, slices()), atol=1e-5)
    with pytest.raises(ModelError, match=r"network\.onnx: not the recipe's network as Keras on TensorFlow exports it"):
        restore(tmp_path / "network.onnx", ORIGINAL.network(8), slices())


def test_another_file_is_refused_by_name(tmp_path: Path) -> None:
    from gliomask.training.recipes import FAST
    from gliomask.training.restore import restore

    (tmp_path / "other.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"other\.onnx: not the recipe's network .* Start from the \.keras file of its training"):
        restore(tmp_path / "other.onnx", FAST.network(8), slices())


def test_a_network_that_computes_something_else_is_not_taken(
    exported: tuple[keras.Model, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gliomask.training import restore as module
    from gliomask.training.recipes import FAST

    assert isinstance(module, ModuleType)
    monkeypatch.setattr(module, "PARITY", 1e-9)
    with pytest.raises(ModelError, match=r"network\.onnx: brought back to Keras, its probabilities differ by"):
        module.restore(exported[1], FAST.network(8), slices())


def test_a_training_starts_from_exported_networks(
    small_batches: None, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gliomask.cli import main
    from gliomask.training.export import export
    from gliomask.training.recipes import ORIGINAL

    def run(output: str, fold: str, *initial: str) -> int:
        sizes = ("--recipe", "original", "--width", "4", "--epochs", "1", "--steps-per-epoch", "1", "--name", output)
        split = ("--split", str(dataset.parent / "split.csv"), "--fold", fold)
        return main(["train", str(dataset), *split, "--output", str(tmp_path / output), *sizes, *initial])

    for name, fold, patients in (("a", "0", ["b", "c"]), ("b", "1", ["a"])):
        made = {"split": "split.csv", "held_out_fold": fold, "patients": patients, "initial_patients_known": True}
        export(ORIGINAL.network(4), ORIGINAL, tmp_path, name, made)
    first, second = (str(tmp_path / f"{name}.onnx") for name in "ab")
    assert main(["ensemble", first, second, "--output", str(tmp_path)]) == 0
    ensemble = str(tmp_path / "ensemble.onnx")
    assert run("member", "1", "--initial-weights", ensemble) == 0
    member = find_model(tmp_path / "member" / "member.onnx").training
    assert member["patients"] == find_model(second).training["patients"] and member["initial_patients_known"]
    capsys.readouterr()
    assert run("all", "none", "--initial-weights", ensemble) == 1
    assert "ensemble.onnx: an ensemble. Name a --fold" in capsys.readouterr().err
    assert run("third", "2", "--initial-weights", ensemble) == 1
    assert "none of its members was trained without fold 2; there are those without 0, 1" in capsys.readouterr().err
    assert run("unknown", "none", "--initial-weights", "best") == 1
    assert "best: no such file" in capsys.readouterr().err


def test_a_training_goes_on_from_the_bundled_network(small_batches: None, dataset: Path, tmp_path: Path) -> None:
    from gliomask.cli import main

    sizes = ("--epochs", "1", "--steps-per-epoch", "1", "--average-initial", "--recipe", "fast-dice")
    split = ("--split", str(dataset.parent / "split.csv"), "--fold", "none")
    assert main(["train", str(dataset), *split, "--output", str(tmp_path), *sizes, "--initial-weights", "fast"]) == 0
    bundled, tuned = find_model("fast"), find_model(tmp_path / "model.onnx")
    assert set(tuned.training["patients"]) > set(bundled.training["patients"])
    with np.load(tmp_path / "checkpoint.npz") as checkpoint:
        assert json.loads(str(checkpoint["facts"]))["initial_weights"] == bundled.sha256
    both = [OnnxEngine(record.path).run(np.random.default_rng(0).random((2, 64, 64, 3), np.float32)) for record in (bundled, tuned)]
    assert 0.0 < np.abs(both[0] - both[1]).max() < 0.2  # one warmed-up step, halved

import csv
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gliomask import ModelError, Segmenter
from gliomask.models import find_model
from gliomask.preprocess import Normalisation

pytest.importorskip("keras", reason="training's extra is not installed: pip install 'gliomask[train]'")


EPOCHS = 40
"""Of a step each, so that there is time to be killed in."""


def arguments(dataset: Path, output: Path) -> list[str]:
    sizes = ("--width", "4", "--epochs", str(EPOCHS), "--steps-per-epoch", "1")
    return ["train", str(dataset), "--split", str(dataset.parent / "split.csv"), "--output", str(output), "--name", "mine", *sizes]


def test_a_killed_training_goes_on_to_the_same_weights(small_networks: None, dataset: Path, tmp_path: Path) -> None:
    from gliomask.cli import main

    output, unbroken = tmp_path / "run", tmp_path / "unbroken"
    command = [sys.executable, str(Path(__file__).with_name("small_networks.py")), *arguments(dataset, output)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (output / "checkpoint.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    (step,) = re.findall(rf"resumed at step (\d+) of {EPOCHS}\n", second.stdout)
    assert 0 < int(step) < EPOCHS
    assert main(arguments(dataset, unbroken)) == 0
    assert (unbroken / "history.csv").read_bytes() == (output / "history.csv").read_bytes()
    same_weights(unbroken / "mine.keras", output / "mine.keras")
    with (output / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == EPOCHS
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

"""A trained network as an ONNX file with its record, for inference without Keras."""

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from gliomask.engine import OnnxEngine
from gliomask.errors import ModelError
from gliomask.models import ModelRecord, sha256_of
from gliomask.training.loop import predict
from gliomask.training.recipes import Recipe
from gliomask.volume import CHANNELS

INPUT_SIZE = 256
PARITY = 1e-3
"""Largest difference of probabilities between Keras and the exported network, in float32."""

WEIGHTS_LICENCE = "CC BY-NC-SA 4.0, as the dataset: non-commercial research"


@dataclass(frozen=True)
class Provenance:
    """What the record says of a model's making: patients trained on, split, fold, epochs, scores."""

    training: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)


def export(model: keras.Model, recipe: Recipe, folder: Path, name: str, provenance: Provenance) -> ModelRecord:
    """Write ``<name>.onnx`` and ``<name>.json`` into *folder* and return the record.

    The network is rebuilt in float32 with a fixed 256 x 256 input, which runtimes plan better than
    a free one, and compared with the original on random slices before the record is written.

    Raises
    ------
    ModelError
        The exported network's probabilities differ by more than :data:`PARITY`.
    """
    plain = in_float32(model)
    path = folder / f"{name}.onnx"
    signature = [keras.InputSpec(shape=(None, INPUT_SIZE, INPUT_SIZE, len(CHANNELS)), dtype="float32", name="slices")]
    with contextlib.redirect_stdout(io.StringIO()):  # Keras prints a summary of what it saved
        plain.export(path, format="onnx", input_signature=signature, verbose=False)
    slices = np.random.default_rng(0).random((2, INPUT_SIZE, INPUT_SIZE, len(CHANNELS)), np.float32)
    difference = float(np.abs(OnnxEngine(path).run(slices) - predict(plain, slices)).max())
    if difference > PARITY:
        raise ModelError(f"{path}: probabilities differ from Keras's by {difference:.2g}; at most {PARITY:g} is accepted.")
    record = ModelRecord(
        name=name,
        file=path.name,
        sha256=sha256_of(path),
        channels=CHANNELS,
        input_size=INPUT_SIZE,
        normalisation=recipe.normalisation,
        threshold=0.5,
        licence=WEIGHTS_LICENCE,
        recipe=recipe.name,
        training=provenance.training,
        scores=provenance.scores,
        folder=folder,
    )
    (folder / f"{name}.json").write_text(record.to_json(), encoding="utf-8")
    return record


def in_float32(model: keras.Model) -> keras.Model:
    """Return the same network with every layer computing in float32."""

    def clone(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        config["dtype"] = "float32"
        return layer.__class__.from_config(config)

    plain = keras.models.clone_model(model, clone_function=clone)
    plain.set_weights(model.get_weights())
    return plain

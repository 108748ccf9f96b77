"""A trained network as an ONNX file with its record, for inference without Keras."""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from gliomask.engine import OnnxEngine
from gliomask.errors import ModelError
from gliomask.models import UNCALIBRATED, ModelRecord, sha256_of, write_record
from gliomask.training.parity import drawn_slices
from gliomask.training.recipes import Recipe
from gliomask.training.validation import predict
from gliomask.volume import CHANNELS

SIZE_MULTIPLE = 32
"""What heights and widths have to be multiples of: the networks halve them five times at most."""

PARITY = 1e-3
"""Largest difference of probabilities between Keras and the exported network, in float32."""

WEIGHTS_LICENCE = "CC BY-NC-SA 4.0, as the dataset: non-commercial research"


def export(model: keras.Model, recipe: Recipe, folder: Path, name: str, training: Mapping[str, Any]) -> ModelRecord:
    """Write a float32 network's ``<name>.onnx`` and ``<name>.json`` into *folder* and return the record, *training* in it.

    Heights and widths are free as long as they are multiples of :data:`SIZE_MULTIPLE`. Before the record is
    written, the exported network is compared with the original on drawn heads, in slices of two sizes.

    Raises
    ------
    ModelError
        The exported network cannot be run, or its probabilities differ by more than :data:`PARITY`.
    """
    path = folder / f"{name}.onnx"
    signature = [keras.InputSpec(shape=(None, recipe.input_size, recipe.input_size, len(CHANNELS)), dtype="float32", name="slices")]
    with contextlib.redirect_stdout(io.StringIO()):  # Keras prints a summary of what it saved
        model.export(path, format="onnx", input_signature=signature, verbose=False)
    with_free_size(path)
    slices = drawn_slices(recipe.normalisation, recipe.input_size, len(CHANNELS))
    sizes = (slices, np.ascontiguousarray(slices[:, SIZE_MULTIPLE:, 2 * SIZE_MULTIPLE :]))
    difference = max(float(np.abs(_run(path, part) - predict(model, part)).max()) for part in sizes)
    if difference > PARITY:
        raise ModelError(f"{path}: probabilities differ from Keras's by {difference:.2g}; at most {PARITY:g} is accepted.")
    return write_record_of(path, recipe, training, {"export_difference": difference})


def write_record_of(path: Path, recipe: Recipe, training: Mapping[str, Any], scores: Mapping[str, Any]) -> ModelRecord:
    """Write the record of a recipe's network beside its file, ``.onnx`` or ``.keras``, and return it."""
    record = ModelRecord(
        name=path.stem,
        file=path.name,
        sha256=sha256_of(path),
        channels=CHANNELS,
        input_size=recipe.input_size,
        size_multiple=SIZE_MULTIPLE,
        normalisation=recipe.normalisation,
        threshold=UNCALIBRATED,
        licence=WEIGHTS_LICENCE,
        recipe=recipe.name,
        postprocessing=recipe.postprocessing,
        training=training,
        scores=scores,
        folder=path.parent,
    )
    return write_record(record)


def with_free_size(path: Path) -> None:
    """Let an exported network take slices of any height and width, in its own file.

    Exporters are given a fixed size, since a free one makes some of them compute sizes within the
    network, which runtimes then cannot plan. All that is fixed by it is the last reordering of axes.
    """
    network = onnx.load(path)
    graph = network.graph
    last = graph.node[-1]
    if last.op_type == "Reshape":  # one channel: bringing it last is a reordering that the exporter simplified
        last.CopyFrom(helper.make_node("Transpose", [last.input[0]], list(last.output), name=last.name, perm=(0, 2, 3, 1)))
    for port in (graph.input[0], graph.output[0]):
        for axis, name in ((0, "batch"), (1, "height"), (2, "width")):
            port.type.tensor_type.shape.dim[axis].dim_param = name
    del graph.value_info[:]  # sizes of what lies between, inferred from the fixed one
    used = {name for node in graph.node for name in node.input}
    weights = [weight for weight in graph.initializer if weight.name in used]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    onnx.checker.check_model(network)
    onnx.save(network, path)


def _run(path: Path, slices: NDArray[np.float32]) -> NDArray[np.float32]:
    try:
        return OnnxEngine(path).run(slices)[..., 0]
    except Exception as error:  # each backend has an exporter of its own, and the runtime errors of its own
        backend = keras.backend.backend()
        raise ModelError(
            f"{path}: exported by Keras on {backend}, but ONNX Runtime cannot run it ({error}). The training is kept: run the same "
            "command again with KERAS_BACKEND=tensorflow, and it goes straight to the export."
        ) from error

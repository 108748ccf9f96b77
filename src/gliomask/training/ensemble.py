"""Several trained networks as one, in one ONNX file of 8-bit weights: a map of each, whose mean is what the ensemble says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from gliomask.engine import OnnxEngine
from gliomask.errors import InputError, ModelError
from gliomask.io.writing import atomic_path, blaming_output, check_can_be_folder
from gliomask.models import UNCALIBRATED, ModelRecord, find_model, sha256_of, write_record
from gliomask.training.members import PROVENANCE
from gliomask.training.parity import drawn_slices

PARITY = 0.05
"""Largest difference of a probability between the file and the mean of its members, which keep float32 weights."""

SMALL, LARGE = 256, 20_000
"""Numbers in a weight: fewer than the first are kept as they are, from the second on they are stored in 8 bits, those between in 16."""


def export_ensemble(members: Sequence[Path], folder: Path, name: str) -> ModelRecord:
    """Write ``<name>.onnx`` and ``<name>.json`` into *folder*: a map of each member, in their order, and the record.

    Large weights are stored as 8-bit integers with a scale for each slice along their first axis, smaller ones in half
    precision, and all are computed with in float32: a third of the file, at no cost in speed.

    Raises
    ------
    InputError
        There are fewer than two members, one is given twice, they differ in what they take in, there is a model of that name, or
        *folder* cannot be written to.
    ModelError
        A member cannot be used, or the ensemble's probabilities differ from their mean by more than :data:`PARITY`.
    """
    records = [find_model(path) for path in members]
    _check_alike(records)
    path = folder / f"{name}.onnx"
    if path.exists() or path.with_suffix(".json").exists():
        raise InputError(f"{path}: there is a model of that name. Remove it, or choose another --name or --output.")
    check_can_be_folder(folder)
    size = records[0].input_size
    slices = drawn_slices(records[0].normalisation, size, len(records[0].channels))
    wanted: NDArray[np.float32] = np.mean([OnnxEngine(record.path).run(slices)[..., 0] for record in records], axis=0)
    merged = _merged([onnx.load(record.path) for record in records])
    with blaming_output(path), atomic_path(path) as temporary:
        onnx.save(merged, temporary)
        difference = float(np.abs(OnnxEngine(temporary).run(slices).mean(axis=-1) - wanted).max())
        if difference > PARITY:
            raise ModelError(f"{path}: probabilities differ from the members' mean by {difference:.2g}; at most {PARITY:g} is accepted.")
    first = records[0]
    record = ModelRecord(
        name=name,
        file=path.name,
        sha256=sha256_of(path),
        channels=first.channels,
        input_size=size,
        size_multiple=first.size_multiple,
        normalisation=first.normalisation,
        threshold=UNCALIBRATED,
        licence=first.licence,
        recipe=first.recipe,
        training={
            "patients": sorted({patient for r in records for patient in r.training.get("patients", [])}),
            "members": [_member(r) for r in records],
        },
        scores={"export_difference": difference},
        postprocessing=first.postprocessing,
        mirrored=True,
        folder=folder,
    )
    return write_record(record)


def _member(record: ModelRecord) -> dict[str, Any]:
    """Return what the ensemble's record keeps of a member, enough to tell on whom its scores count."""
    trained = {key: record.training[key] for key in PROVENANCE if key in record.training}
    return {"name": record.name, "sha256": record.sha256, "held_out_fold": None, "patients": [], **trained}


def _check_alike(records: Sequence[ModelRecord]) -> None:
    if len(records) < 2:
        raise InputError(f"{records[0].path}: the only model given; an ensemble has two members or more.")
    known: dict[str, ModelRecord] = {}
    for record in records:
        if (same := known.setdefault(record.sha256, record)) is not record:
            raise InputError(f"{record.path}: the same network as {same.path}, which would count twice. Give each once.")
    for record in records[1:]:
        for what in ("channels", "input_size", "size_multiple", "normalisation", "postprocessing"):
            mine, first = getattr(record, what), getattr(records[0], what)
            if mine != first:
                raise InputError(f"{record.path}: {what} is {mine}, that of {records[0].path} {first}; members have to be alike.")


def _merged(networks: Sequence[onnx.ModelProto]) -> onnx.ModelProto:
    """Return one network that gives the others' single maps as its channels, for a common input."""
    graphs = [compose.add_prefix_graph(network.graph, f"member{i}/") for i, network in enumerate(networks)]
    shared, result = graphs[0].input[0], graphs[0].output[0]
    nodes = [helper.make_node("Identity", ["slices"], [graph.input[0].name]) for graph in graphs]
    weights = []
    for graph in graphs:
        nodes += graph.node
        for weight in graph.initializer:
            stored, restored = _packed(weight)
            weights += stored
            nodes[:0] = restored
    nodes.append(helper.make_node("Concat", [graph.output[0].name for graph in graphs], ["probability"], axis=3))
    inputs = [helper.make_tensor_value_info("slices", TensorProto.FLOAT, _shape(shared))]
    outputs = [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [*_shape(result)[:3], len(graphs)])]
    merged = helper.make_model(
        helper.make_graph(nodes, "ensemble", inputs, outputs, weights),
        opset_imports=networks[0].opset_import,
        ir_version=networks[0].ir_version,
    )
    onnx.checker.check_model(merged)
    return merged


def _packed(weight: onnx.TensorProto) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """Return a float32 weight in fewer bits with the nodes that bring it back, one that is small or of another type as it is.

    Kernels of one channel, as depthwise convolutions have, are never stored in 8 bits: no sum over channels evens their
    rounding out, and probabilities changed by up to 0.5 with it.

    Cast and Mul rather than DequantizeLinear: ONNX Runtime works them out once, when it loads the
    network, and leaves a DequantizeLinear in place for every run.
    """
    size = int(np.prod(weight.dims))
    if weight.data_type != TensorProto.FLOAT or size < SMALL:
        return [weight], []
    values = numpy_helper.to_array(weight)
    if size < LARGE or values.shape[1] == 1:
        half = f"{weight.name}/half"
        cast = helper.make_node("Cast", [half], [weight.name], to=TensorProto.FLOAT)
        return [numpy_helper.from_array(values.astype(np.float16), half)], [cast]
    largest = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    stored, scales, wide = (f"{weight.name}/{part}" for part in ("int8", "scale", "wide"))
    tensors = [
        numpy_helper.from_array(np.round(values / scale).astype(np.int8), stored),
        numpy_helper.from_array(scale, scales),
    ]
    nodes = [
        helper.make_node("Cast", [stored], [wide], to=TensorProto.FLOAT),
        helper.make_node("Mul", [wide, scales], [weight.name]),
    ]
    return tensors, nodes


def _shape(value: onnx.ValueInfoProto) -> list[int | str | None]:
    return [dim.dim_value or dim.dim_param or None for dim in value.type.tensor_type.shape.dim]

"""An ensemble taken apart again: each member a model of its own, so that anyone can score it on the fold it never saw."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from gliomask.confidence import Calibration
from gliomask.errors import InputError, ModelError
from gliomask.models import UNCALIBRATED, ModelRecord, sha256_of, write_record

PROVENANCE = ("held_out_fold", "patients", "split", "chosen_on_held_out", "initial_weights", "initial_patients_known", "brain_masks")
"""What an ensemble keeps of each member's training: whom it saw, and what weakens scores on those it did not."""


def unpack_members(ensemble: ModelRecord, folder: Path) -> list[ModelRecord]:
    """Write ``<fold>/<name>.onnx`` and its record into *folder* for each member of an ensemble, and return the records.

    The weights are the ensemble's, integers of 8 bits and numbers of 16 brought back to float32, and so not the very
    ones of the member's own file, whose SHA-256 the record keeps under ``training.unpacked_from``. Members are neither
    mirrored nor calibrated.

    Parameters
    ----------
    ensemble
        As :func:`gliomask.models.find_model` returns it, which has compared the file's checksum.
    folder
        As :func:`gliomask.evaluation.cross_validate` takes it for *runs*.

    Raises
    ------
    InputError
        The model is no ensemble, or its record does not tell what fold and which patients each member was trained
        without and with.
    ModelError
        The network does not give as many maps as the record has members.
    """
    members = [_trained(ensemble, member) for member in _members(ensemble)]
    networks = _networks(ensemble, len(members))
    records = []
    for member, network in zip(members, networks, strict=True):
        place = folder / str(member["held_out_fold"])
        place.mkdir(parents=True)
        name = str(member.pop("name"))
        path = place / f"{name}.onnx"
        onnx.save(network, path)
        record = replace(
            ensemble,
            name=name,
            file=path.name,
            sha256=sha256_of(path),
            threshold=UNCALIBRATED,
            mirrored=False,
            calibration=Calibration(),
            agreement={},
            quantised=None,
            training=member,
            scores={},
            folder=place,
        )
        records.append(write_record(record))
    return records


def _members(ensemble: ModelRecord) -> list[dict[str, Any]]:
    """Return what the record has on its members, each with a fold of its own and a name fit for a file."""
    members = ensemble.training.get("members")
    if not members:
        raise InputError(
            f"{ensemble.path}: no ensemble, since its record has no training.members. Give one that gliomask ensemble made, or a "
            "folder with one model for each fold."
        )
    if missing := [str(member.get("name")) for member in members if member.get("held_out_fold") is None]:
        raise InputError(
            f"{ensemble.path}: its record does not tell the fold that was held out in the training of {', '.join(missing)}, so there "
            "is nobody to score it on. Make the ensemble of models that gliomask train made with --fold."
        )
    folds = [str(member["held_out_fold"]) for member in members]
    if twice := sorted({fold for fold in folds if folds.count(fold) > 1}):
        raise InputError(f"{ensemble.path}: several of its members had fold {', '.join(twice)} held out; expected one for each fold.")
    if odd := [text for text in (*folds, *(str(member.get("name")) for member in members)) if not _plain(text)]:
        raise InputError(f"{ensemble.path}: {odd[0]!r} in its record is no plain name for a file. Export the ensemble again.")
    return list(members)


def _plain(text: str) -> bool:
    return bool(text) and text == Path(text).name and text != ".."


def _trained(ensemble: ModelRecord, member: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a member's record says of its training, its ``name`` too."""
    origin = {"ensemble": ensemble.name, "ensemble_sha256": ensemble.sha256, "sha256": member.get("sha256")}
    trained = {"name": member["name"], **{key: member[key] for key in PROVENANCE if key in member}, "unpacked_from": origin}
    if not member.get("patients"):
        raise InputError(
            f"{ensemble.path}: its record does not tell the patients that {member['name']} was trained on, so it proves nothing."
        )
    return trained


def _networks(ensemble: ModelRecord, count: int) -> list[onnx.ModelProto]:
    """Return the networks whose maps the ensemble gives, in the record's order."""
    merged = onnx.load(ensemble.path)
    result = merged.graph.output[0].name
    last = next((node for node in merged.graph.node if result in node.output), onnx.NodeProto())
    if last.op_type != "Concat" or len(last.input) != count:
        found = f"{last.op_type or 'nothing'} of {len(last.input)}"
        raise ModelError(
            f"{ensemble.path}: gives the {found}, not the Concat of the {count} members in its record. Make the ensemble again."
        )
    return [_leading_to(output, merged) for output in last.input]


def _leading_to(output: str, merged: onnx.ModelProto) -> onnx.ModelProto:
    """Return the part of the network that *output* comes from, with float32 weights, as a network of its own."""
    graph = merged.graph
    restored = _restored(graph)
    result = onnx.ValueInfoProto()
    result.CopyFrom(graph.output[0])
    result.type.tensor_type.shape.dim[-1].dim_value = 1
    nodes = [helper.make_node("Identity", [output], [result.name])]
    weights: list[onnx.TensorProto] = []
    needed = {output}
    for node in reversed(graph.node):  # a node stands after those that it takes from
        if needed.isdisjoint(node.output):
            continue
        if node.output[0] in restored:
            weights.append(numpy_helper.from_array(restored[node.output[0]], node.output[0]))
        else:
            nodes.insert(0, node)
            needed.update(node.input)
    weights += [weight for weight in graph.initializer if weight.name in needed]
    member = helper.make_model(
        helper.make_graph(nodes, "member", graph.input, [result], weights),
        opset_imports=merged.opset_import,
        ir_version=merged.ir_version,
    )
    onnx.checker.check_model(member)
    return member


def _restored(graph: onnx.GraphProto) -> dict[str, NDArray[np.float32]]:
    """Return the weights that the network works out itself, by a Cast and a Mul of what it has stored."""
    known = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    found: dict[str, NDArray[np.float32]] = {}
    for node in graph.node:
        if node.op_type in ("Cast", "Mul") and all(name in known for name in node.input):
            values = [known[name].astype(np.float32) for name in node.input]
            known[node.output[0]] = found[node.output[0]] = np.prod(np.broadcast_arrays(*values), axis=0, dtype=np.float32)
    return found

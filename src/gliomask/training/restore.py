"""An exported network as Keras weights again, to train on from where its .keras file is not at hand, as with the bundled ones."""

import re
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import onnx
from keras import layers
from numpy.typing import NDArray
from onnx import numpy_helper

from gliomask.engine import OnnxEngine
from gliomask.errors import ModelError

Float = NDArray[np.float32]

PARITY = 1e-3
"""Largest difference of probabilities between the exported network and what is made of it."""

BATCH = 16
"""Slices that are passed through the network at a time."""

AUTOMATIC = re.compile(r"conv2d(_transpose)?((?:_\d+)*)")
"""A name that Keras gave a layer, with a number that rises with each one made."""


def restore(path: Path, network: keras.Model, slices: Float) -> None:
    """Set the weights of a float32 network to what an ONNX file holds that TensorFlow's Keras exported of the same one.

    The exporter folds batch normalisation into the convolution before it, and its statistics are lost: the network computes the
    same when it is used, and while it is trained only after :func:`set_statistics`.

    Parameters
    ----------
    slices
        A few normalised slices ``(n, y, x, c)`` to compare both on, of a size that the network takes.

    Raises
    ------
    ModelError
        The file is no such network's, or its probabilities of the slices differ by more than :data:`PARITY`.
    """
    try:
        found = _convolutions(onnx.load(path).graph, network)
        folded = {layer.name: _set_convolution(layer, *found[layer.name]) for layer in _convolutional(network)}
        _add_folded(network, folded)
    except Exception as error:  # what protobuf raises at another file, and Keras at other shapes
        raise ModelError(
            f"{path}: not the recipe's network as Keras on TensorFlow exports it ({type(error).__name__}: {str(error)[:200]}). "
            "Start from the .keras file of its training."
        ) from error
    difference = float(np.abs(OnnxEngine(path).run(slices) - keras.ops.convert_to_numpy(network(slices, training=False))).max())
    if difference > PARITY:
        raise ModelError(
            f"{path}: brought back to Keras, its probabilities differ by {difference:.2g}; at most {PARITY:g} is accepted. "
            "Start from the .keras file of its training."
        )


def set_statistics(network: keras.Model, slices: Float) -> None:
    """Give each batch normalisation its input's statistics, and the scale and shift with which it computes the same as before.

    So a network that :func:`restore` has set computes nearly the same while it is trained as when it is used.

    Parameters
    ----------
    slices
        Normalised slices ``(n, y, x, c)`` as training draws them, some hundred.
    """
    normalisations = _normalisations(network)
    if not normalisations:
        return
    inputs = keras.Model(network.input, [layer.input for layer in normalisations])
    moments = [np.zeros((2, *layer.gamma.shape)) for layer in normalisations]
    for first in range(0, len(slices), BATCH):
        batch = slices[first : first + BATCH]
        for moment, seen in zip(moments, inputs(batch, training=False), strict=True):
            values = keras.ops.convert_to_numpy(seen).astype(np.float64)
            moment += len(batch) / len(slices) * np.stack([values.mean(axis=(0, 1, 2)), (values**2).mean(axis=(0, 1, 2))])
    for layer, (mean, square) in zip(normalisations, moments, strict=True):
        gamma, beta, old_mean, old_variance = layer.get_weights()
        variance = np.maximum(square - mean**2, 0.0)
        scale = gamma / np.sqrt(old_variance + layer.epsilon)
        layer.set_weights([scale * np.sqrt(variance + layer.epsilon), beta + scale * (mean - old_mean), mean, variance])


def _normalisations(network: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in network.layers if isinstance(layer, layers.BatchNormalization)]


def _convolutional(network: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in network.layers if isinstance(layer, layers.Conv2D | layers.Conv2DTranspose | layers.DepthwiseConv2D)]


def _convolutions(graph: onnx.GraphProto, network: keras.Model) -> dict[str, tuple[Float, Float | None]]:
    """Return kernel and bias, as ONNX has them, by the name of the network's layer.

    Layers with a name of their own are found by it. The others, whose numbers depend on how many were made
    before, are matched in the order in which they were made.
    """
    known = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    added = {name: node for node in graph.node if node.op_type == "Add" for name in node.input}
    names = [layer.name for layer in _convolutional(network)]
    numbers = {name: _number(match) for name in names if (match := AUTOMATIC.fullmatch(name))}
    own = [name for name in names if name not in numbers]
    named: dict[str, tuple[Float, Float | None]] = {}
    numbered: dict[tuple[bool, tuple[int, ...]], tuple[Float, Float | None]] = {}
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose"):
            continue
        weights = known[node.input[1]], known[node.input[2]] if len(node.input) > 2 else _added(added.get(node.output[0]), known)
        # A kernel that the exporter has reordered loses its name, and equal biases share one: so the kernel's comes first.
        parts = [part for name in node.input[1:] for part in name.split("/")]
        layer = next((name for part in parts for name in own if re.fullmatch(rf"{name}(_\d+)?", part)), None)
        automatic = next((match for part in parts if (match := AUTOMATIC.fullmatch(part))), None)
        if layer is not None:
            named[layer] = weights
        elif automatic is not None:
            numbered[_number(automatic)] = weights
    return named | dict(zip(sorted(numbers, key=numbers.__getitem__), (numbered[key] for key in sorted(numbered)), strict=True))


def _number(automatic: re.Match[str]) -> tuple[bool, tuple[int, ...]]:
    """Return what orders the layers that Keras named: whether they are transposed, and their numbers."""
    return bool(automatic[1]), tuple(int(number) for number in automatic[2].split("_")[1:])


def _added(node: onnx.NodeProto | None, known: Mapping[str, Float]) -> Float | None:
    """Return the weight that is added after a convolution, which is how the bias of a transposed one is exported."""
    return next((known[name].reshape(-1) for name in node.input if name in known), None) if node is not None else None


def _set_convolution(layer: keras.layers.Layer, kernel: Float, bias: Float | None) -> Float | None:
    """Set a layer's weights, and return the bias that it has no place for: that of the normalisation folded into it."""
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    weights = [kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(2, 3, 1, 0)]
    if layer.use_bias:
        weights.append(np.zeros(layer.bias.shape, np.float32) if bias is None else bias)
        bias = None
    layer.set_weights(weights)
    return bias


def _add_folded(network: keras.Model, folded: Mapping[str, Float | None]) -> None:
    """Let each batch normalisation add the bias that was folded into the convolution before it, and change nothing else."""
    folded_at = {id(layer.output): folded[layer.name] for layer in _convolutional(network)}
    for layer in _normalisations(network):
        zero, one, bias = np.zeros(layer.gamma.shape, np.float32), np.ones(layer.gamma.shape, np.float32), folded_at[id(layer.input)]
        layer.set_weights([np.sqrt(one + layer.epsilon), zero if bias is None else bias, zero, one])

"""How much arithmetic a network does: multiplications and additions of its convolutions, counted from its layers."""

from math import prod
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError

COUNTED = ("Conv", "ConvInteger", "QLinearConv", "ConvTranspose", "MatMul", "MatMulInteger", "Gemm")
"""The layers that have work worth counting."""


def unet_gflop(width: int, size: int = 256, depth: int = 5, channels: int = 3) -> float:
    """Return the GFLOP that one slice costs a U-Net of two 3 x 3 convolutions a level, as both peers are.

    A multiplication and an addition are two operations. Normalisations, activations and pooling are left out.

    Parameters
    ----------
    width
        Filters of the first level; they double with each of the *depth* levels.

    >>> round(unet_gflop(32), 1), round(unet_gflop(64), 1)  # Buda 2019, Ronneberger 2015
    (24.1, 96.3)
    """
    multiplications = 0
    for level in range(depth):
        filters, pixels = width * 2**level, (size // 2**level) ** 2
        before = channels if level == 0 else filters // 2
        multiplications += pixels * 9 * filters * (before + filters)
        if level < depth - 1:  # on the way up: the transposed convolution, two convolutions after the skip is concatenated
            multiplications += pixels // 4 * 4 * (2 * filters) * filters
            multiplications += pixels * 9 * filters * (2 * filters + filters)
    multiplications += size * size * width
    return 2 * multiplications / 1e9


def onnx_gflop(path: Path, size: int = 256) -> float:
    """Return the GFLOP that one slice of *size* x *size* costs the network of an ONNX file, float or quantised.

    Raises
    ------
    ImportError
        The package onnx, which reads the file's layers, is not installed.
    BenchmarkError
        A layer's shape cannot be told, so that it would count as nothing.
    """
    import onnx

    model = onnx.load(path)
    for port in (model.graph.input[0], model.graph.output[0]):
        for dim, value in zip(port.type.tensor_type.shape.dim, (1, size, size), strict=False):  # the channels stay
            dim.Clear()
            dim.dim_value = value
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output, *graph.input)
    }
    shapes |= {weight.name: list(weight.dims) for weight in graph.initializer}
    counts = [_multiplications(node, shapes) for node in graph.node if node.op_type in COUNTED]
    if not all(counts):
        raise BenchmarkError(f"{path}: the shape of a {COUNTED[0]} or another layer cannot be told, nor its work.")
    return 2 * sum(counts) / 1e9


def _multiplications(node: Any, shapes: dict[str, list[int]]) -> int:
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
        weight = shapes[node.input[3 if node.op_type == "QLinearConv" else 1]]  # (filters, channels of a group, y, x)
        return prod(shapes[node.output[0]]) * prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]

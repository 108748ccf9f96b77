"""The machine's matrix-product peak by precision: what a network could reach at most."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from benchmarks import machine
from benchmarks.report import Column, Table
from benchmarks.rounds import Call, Contender, Measured

SIDE, TINY_SIDE = 2048, 128
"""Rows and columns of the matrices: large enough that the product and not the memory takes the time."""


def contenders(threads: int, tiny: bool) -> list[Contender]:
    """Return a product of square matrices for each precision; a call counts as one slice."""
    side = TINY_SIDE if tiny else SIDE
    return [
        Contender("peak float32", float32, (side,)),
        Contender("peak bfloat16", bfloat16, (side,)),
        Contender("peak int8", int8, (side, threads)),
    ]


def table(measured: Mapping[str, Measured], tiny: bool) -> Table:
    """Return the peaks as a table."""
    with_what = {"float32": "NumPy", "bfloat16": "PyTorch", "int8": "ONNX Runtime, MatMulInteger of uint8 and int8"}
    peaks = gflop_per_s(measured, tiny)
    rows = [
        {"precision": name, "with": with_what[name], "gflop_per_s": peaks[name], "note": measured[f"peak {name}"].reason}
        for name in with_what
    ]
    columns = (Column("precision", "precision"), Column("with", "measured with"), Column("gflop_per_s", "GFLOP/s"), Column("note", "note"))
    return Table("Matrix-product peak of the machine", columns, tuple(rows))


def gflop_per_s(measured: Mapping[str, Measured], tiny: bool) -> dict[str, float]:
    """Return the peak of each precision, not a number where it could not be measured."""
    work = 2 * (TINY_SIDE if tiny else SIDE) ** 3 / 1e9
    return {name.removeprefix("peak "): work * found.rate for name, found in measured.items() if name.startswith("peak ")}


def float32(side: int) -> Call:
    """Return NumPy's product."""
    a, b = np.random.default_rng(0).random((2, side, side), np.float32)
    return partial(np.matmul, a, b, out=np.empty_like(a))


def bfloat16(side: int) -> Call:
    """Return PyTorch's product."""
    machine.require_bfloat16()
    import torch

    a, b = torch.rand((2, side, side)).to(torch.bfloat16)
    return partial(torch.mm, a, b)


def int8(side: int, threads: int) -> Call:
    """Return ONNX Runtime's product, with the second matrix known beforehand as weights are."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = numpy_helper.from_array(rng.integers(-128, 128, (side, side), np.int8), "b")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [side, side])],
        [helper.make_tensor_value_info("c", TensorProto.INT32, [side, side])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {"a": rng.integers(0, 256, (side, side), np.uint8)})

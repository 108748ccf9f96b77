"""Batches of slices to probabilities, on an inference runtime that is imported when first needed."""

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import EngineError, ModelError

Float = NDArray[np.float32]

BATCH = 8
"""Slices per call: few enough to stay in the processor's cache, enough to fill two cores."""


class Engine(Protocol):
    """What runs a network.

    Attributes
    ----------
    description
        Runtime, version, device and threads in a few words, for the result's record.
    """

    description: str

    def run(self, slices: Float) -> Float:
        """Return probabilities ``(n, y, x)`` for normalised slices ``(n, y, x, c)``; safe to call from several threads."""
        ...


def available_threads() -> int:
    """Return how many processors this process may use, which containers and batch systems set below the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OnnxEngine:
    """An exported network on ONNX Runtime's CPU provider.

    Raises
    ------
    ModelError
        The file is no ONNX network with one image input and one output.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load the network at *path* with *threads* threads (None: all that the process may use)."""
        import onnxruntime  # 70 ms and tens of megabytes that --help does not need

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or available_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(f"{path}: not a network that ONNX Runtime {onnxruntime.__version__} can load ({error}).") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
            raise ModelError(f"{path}: expected one input (n, y, x, c) and one output; found {len(inputs)} and {len(outputs)}.")
        self._input = inputs[0].name
        self.description = f"ONNX Runtime {onnxruntime.__version__}, CPU, {options.intra_op_num_threads} threads"

    def run(self, slices: Float) -> Float:
        """Return probabilities ``(n, y, x)`` for normalised slices ``(n, y, x, c)``."""
        parts = [self._session.run(None, {self._input: slices[i : i + BATCH]})[0] for i in range(0, len(slices), BATCH)]
        return np.concatenate(parts)[..., 0]


class KerasEngine:
    """A ``.keras`` file through Keras, in safe mode and without its training configuration.

    Raises
    ------
    EngineError
        Keras or a backend for it is not installed.
    ModelError
        The file cannot be loaded, or wants code that safe mode refuses.
    """

    def __init__(self, path: Path) -> None:
        """Load the network at *path*."""
        try:
            import keras  # seconds and a gigabyte; wanted only for .keras files
        except ImportError as error:
            raise EngineError(f"{path}: .keras files need Keras. Install it: pip install 'gliomask[train]'.") from error
        try:
            # Losses and metrics of the training are not needed, and safe mode runs no code of the file's.
            self._model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            raise ModelError(f"{path}: not a model that Keras {keras.__version__} can load ({error}).") from error
        self._to_numpy = keras.ops.convert_to_numpy
        self.description = f"Keras {keras.__version__} on {keras.backend.backend()}"

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """The input's ``(n, y, x, c)`` as the file has it; None where it is free."""
        return tuple(self._model.input_shape)

    def run(self, slices: Float) -> Float:
        """Return probabilities ``(n, y, x)`` for normalised slices ``(n, y, x, c)``."""
        parts = [self._to_numpy(self._model(slices[i : i + BATCH], training=False)) for i in range(0, len(slices), BATCH)]
        return np.concatenate(parts)[..., 0]

"""Batches of slices to probabilities, on an inference runtime that is imported when first needed."""

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import EngineError, ModelError

Float = NDArray[np.float32]

BATCH = 8
"""Slices per call: few enough to stay in the processor's cache, enough to fill two cores."""

SAFE_KERAS = (3, 11)
"""The first Keras whose safe mode runs no code of a .keras file's."""


class Engine(Protocol):
    """What runs a network.

    Attributes
    ----------
    description
        Runtime, version, device and threads in a few words, for the result's record.
    input_shape
        The network's ``(n, y, x, c)``; what is no number is free.
    output_channels
        How many maps the network gives; one is what is wanted.
    """

    description: str
    input_shape: tuple[Any, ...]
    output_channels: Any

    def run(self, slices: Float) -> Float:
        """Return probabilities ``(n, y, x)`` for one batch of normalised slices ``(n, y, x, c)``; safe to call from several threads."""
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
        self.input_shape = tuple(inputs[0].shape)
        self.output_channels = outputs[0].shape[-1]
        self.description = f"ONNX Runtime {onnxruntime.__version__}, CPU, {options.intra_op_num_threads} threads"

    def run(self, slices: Float) -> Float:
        """Return probabilities ``(n, y, x)`` for normalised slices ``(n, y, x, c)``."""
        return self._session.run(None, {self._input: slices})[0][..., 0]


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
        if tuple(int(part) for part in keras.__version__.split(".")[:2]) < SAFE_KERAS:
            raise EngineError(f"Keras {keras.__version__} runs code from crafted files (CVE-2025-9906). Install 3.11 or newer.")
        try:
            # Losses and metrics of the training are not needed, and safe mode runs no code of the file's.
            self._model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            raise ModelError(f"{path}: not a model that Keras {keras.__version__} can load ({error}).") from error
        self.input_shape = tuple(self._model.input_shape)
        self.output_channels = self._model.output_shape[-1]
        self._to_numpy = keras.ops.convert_to_numpy
        self.description = f"Keras {keras.__version__} on {keras.backend.backend()}"

    def run(self, slices: Float) -> Float:
        """Return probabilities ``(n, y, x)`` for normalised slices ``(n, y, x, c)``."""
        return self._to_numpy(self._model(slices, training=False))[..., 0]

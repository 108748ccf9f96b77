"""Batches of slices to probabilities, on an inference runtime that is imported when first needed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import EngineError, ModelError
from gliomask.models import ModelRecord
from gliomask.processor import available_threads, has_fast_int8

Float = NDArray[np.float32]

BATCH = 8
"""Slices per call: few enough to stay in the processor's cache, enough to fill two cores (``python -m benchmarks network``)."""

SAFE_KERAS = (3, 11)
"""The first Keras whose safe mode runs no code of a .keras file's."""

CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True)
class Runtime:
    """What is to run a network, and how.

    Attributes
    ----------
    device
        ``"cuda"``, ``"cpu"``, or ``"auto"``: CUDA where ONNX Runtime comes with it and it works, else the processor.
    precision
        ``"float32"``, ``"int8"``, or ``"auto"``: int8 on a processor that is faster with it if the model
        has a quantised network, else float32.
    engine
        ``"onnxruntime"`` or ``"openvino"``.
    threads
        Processor threads for one call; None takes all that the process may use, and more than these are never taken.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "int8"] = "auto"
    engine: Literal["onnxruntime", "openvino"] = "onnxruntime"
    threads: int | None = None

    @property
    def cpu_threads(self) -> int:
        """How many processor threads are used."""
        return min(self.threads or available_threads(), available_threads())


class Engine(Protocol):
    """What runs a network.

    Attributes
    ----------
    description
        Runtime, version, device, precision and threads in a few words, for the result's record.
    precision
        ``"float32"`` or ``"int8"``.
    input_shape
        The network's ``(n, y, x, c)``; what is no number is free.
    output_channels
        How many maps the network gives: one, an ensemble one for each member.
    """

    description: str
    precision: str
    input_shape: tuple[Any, ...]
    output_channels: Any

    def run(self, slices: Float) -> Float:
        """Return maps ``(n, y, x, maps)`` for one batch of normalised slices ``(n, y, x, c)``; safe to call from several threads."""
        ...


def load_engine(record: ModelRecord, runtime: Runtime) -> Engine:
    """Return what runs a model's network as asked.

    Raises
    ------
    EngineError
        The device or the runtime is not there, or cannot do what is asked of it.
    ModelError
        The network cannot be loaded, or there is none in the precision that is asked for.
    """
    if record.path.suffix == ".keras":
        return _load_keras(record, runtime)
    if runtime.engine == "openvino":
        if runtime.device == "cuda":
            raise EngineError("device cuda: OpenVINO has none. Use the engine onnxruntime, or the device cpu.")
        return OpenVinoEngine(*_cpu_network(record, runtime.precision), runtime.cpu_threads)
    if runtime.device == "cuda" and runtime.precision == "int8":
        raise EngineError("device cuda: runs float32, which is faster there. Leave out the precision int8, or use the device cpu.")
    if runtime.device == "cuda" or (runtime.device == "auto" and runtime.precision != "int8" and _has_cuda()):
        try:
            return OnnxEngine(record.path, "float32", runtime.cpu_threads, cuda=True)
        except EngineError:
            if runtime.device == "cuda":
                raise
    return OnnxEngine(*_cpu_network(record, runtime.precision), runtime.cpu_threads)


def _cpu_network(record: ModelRecord, precision: str) -> tuple[Path, str]:
    """Return the file and the precision to run on a processor."""
    if precision == "int8" and record.quantised is None:
        raise ModelError(f"{record.path}: has no int8 network. Use the precision float32, or make one: gliomask quantise.")
    if precision == "int8" and not has_fast_int8():
        raise EngineError(
            "precision int8: this processor has no 8-bit dot product (VNNI on x86, ASIMDDP on ARM), so sums would overflow and masks "
            "differ. Use the precision float32, or auto."
        )
    if record.quantised is not None and (precision == "int8" or (precision == "auto" and has_fast_int8())):
        return record.folder / record.quantised.file, "int8"
    return record.path, "float32"


def _load_keras(record: ModelRecord, runtime: Runtime) -> Engine:
    for asked, only in ((runtime.device, "device auto"), (runtime.precision, "precision float32"), (runtime.engine, "engine onnxruntime")):
        if asked not in ("auto", only.split()[1]):
            raise EngineError(f"{record.path}: {asked}: Keras chooses device and runtime itself and runs float32. Export it as .onnx.")
    return KerasEngine(record.path)


def _has_cuda() -> bool:
    import onnxruntime  # 70 ms and tens of megabytes that --help does not need

    return CUDA in onnxruntime.get_available_providers()


class OnnxEngine:
    """An exported network on ONNX Runtime, on the processor or by CUDA.

    Raises
    ------
    EngineError
        CUDA is asked for and not there.
    ModelError
        The file is no ONNX network with one image input and one output.
    """

    def __init__(self, path: Path, precision: str = "float32", threads: int | None = None, *, cuda: bool = False) -> None:
        """Load the network at *path* with *threads* threads (None: all that the process may use)."""
        import onnxruntime

        if cuda and not _has_cuda():
            raise EngineError(
                f"device cuda: this ONNX Runtime ({onnxruntime.__version__}) comes without it. Install onnxruntime-gpu in place of "
                "onnxruntime, or use the device cpu."
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or available_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        providers = [CUDA, "CPUExecutionProvider"] if cuda else ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:
            raise ModelError(f"{path}: not a network that ONNX Runtime {onnxruntime.__version__} can load ({error}).") from error
        if cuda and CUDA not in self._session.get_providers():
            raise EngineError("device cuda: ONNX Runtime cannot start it: no GPU, or CUDA and cuDNN do not fit. Use the device cpu.")
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
            raise ModelError(f"{path}: expected one input (n, y, x, c) and one output; found {len(inputs)} and {len(outputs)}.")
        self._input = inputs[0].name
        self._giving_back = onnxruntime.RunOptions()
        if not cuda:  # memory that the largest batch took would else be kept as long as the network
            self._giving_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self.precision = precision
        self.input_shape = tuple(inputs[0].shape)
        self.output_channels = outputs[0].shape[-1]
        device = "CUDA" if cuda else f"CPU, {options.intra_op_num_threads} threads"
        self.description = f"ONNX Runtime {onnxruntime.__version__}, {device}, {precision}"

    def run(self, slices: Float) -> Float:
        """Return maps ``(n, y, x, maps)`` of probabilities for normalised slices ``(n, y, x, c)``."""
        maps: Float = self._session.run(None, {self._input: slices}, self._giving_back)[0]
        return maps


class OpenVinoEngine:
    """An exported network on OpenVINO, on the processor.

    Raises
    ------
    EngineError
        OpenVINO is not installed.
    ModelError
        The file is no ONNX network with one image input and one output.
    """

    def __init__(self, path: Path, precision: str = "float32", threads: int | None = None) -> None:
        """Load the network at *path* with *threads* threads (None: all that the process may use)."""
        try:
            import openvino  # an extra of 180 MB
        except ImportError as error:
            raise EngineError("engine openvino: not installed. Install it: pip install 'gliomask[openvino]'.") from error
        threads = threads or available_threads()
        try:
            network = openvino.Core().read_model(path)
            settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
            self._network = openvino.compile_model(network, "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"{path}: not a network that OpenVINO {openvino.__version__} can load ({error}).") from error
        if len(self._network.inputs) != 1 or len(self._network.outputs) != 1:
            found = f"{len(self._network.inputs)} and {len(self._network.outputs)}"
            raise ModelError(f"{path}: expected one input (n, y, x, c) and one output; found {found}.")
        self.precision = precision
        self.input_shape, (*_, self.output_channels) = (
            tuple(side.get_length() if side.is_static else str(side) for side in port.partial_shape)
            for port in (self._network.input(0), self._network.output(0))
        )
        self.description = f"OpenVINO {openvino.__version__.split('-')[0]}, CPU, {threads} threads, {precision}"

    def run(self, slices: Float) -> Float:
        """Return maps ``(n, y, x, maps)`` of probabilities for normalised slices ``(n, y, x, c)``."""
        request = self._network.create_infer_request()  # one for each call, so that threads do not share results
        maps: Float = request.infer([slices])[0]
        return maps.copy()


class KerasEngine:
    """A ``.keras`` file through Keras, in safe mode and without its training configuration.

    Raises
    ------
    EngineError
        Keras or a backend for it is not installed.
    ModelError
        The file cannot be loaded, or wants code that safe mode refuses.
    """

    precision = "float32"

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
        self.description = f"Keras {keras.__version__} on {keras.backend.backend()}, {self.precision}"

    def run(self, slices: Float) -> Float:
        """Return maps ``(n, y, x, maps)`` of probabilities for normalised slices ``(n, y, x, c)``."""
        maps: Float = self._to_numpy(self._model(slices, training=False))
        return maps

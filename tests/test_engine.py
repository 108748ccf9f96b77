"""What runs a network: which runtime, on which device, in which precision."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gliomask import EngineError, ModelError, Segmenter, Volume
from gliomask.engine import CUDA, OnnxEngine, Runtime, load_engine
from gliomask.metrics import confusion, dice
from gliomask.models import BUNDLED, find_model
from gliomask.processor import has_fast_int8


def test_int8_is_taken_where_the_processor_is_fast_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for fast, precision in ((True, "int8"), (False, "float32")):
        monkeypatch.setattr("gliomask.engine.has_fast_int8", lambda fast=fast: fast)
        engine = Segmenter().engine
        assert engine.precision == precision
        assert engine.description.endswith(f"threads, {precision}")


def test_int8_that_would_overflow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gliomask.engine.has_fast_int8", lambda: False)
    with pytest.raises(EngineError, match=r"precision int8: this processor has no 8-bit dot product .*Use the precision float32"):
        Segmenter(precision="int8")


@pytest.mark.skipif(not has_fast_int8(), reason="this processor has no 8-bit dot product")
def test_both_precisions_give_the_same_mask(phantom: Volume) -> None:
    masks = [Segmenter(precision=precision).segment(phantom).mask for precision in ("float32", "int8")]  # type: ignore[arg-type]
    assert masks[0].any()
    assert dice(confusion(*masks)) > 0.95


def test_a_model_without_int8_runs_float32_unless_int8_is_asked_for() -> None:
    plain = replace(find_model("fast"), quantised=None)
    assert Segmenter(plain).engine.precision == "float32"
    with pytest.raises(ModelError, match=r"fast\.onnx: has no int8 network.*gliomask quantise"):
        Segmenter(plain, precision="int8")


def test_an_altered_int8_network_is_refused(tmp_path: Path) -> None:
    for name in ("fast.onnx", "fast.json", "fast-int8.onnx"):
        shutil.copy(BUNDLED / name, tmp_path)
    (tmp_path / "fast-int8.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"fast-int8\.onnx: altered or cut short"):
        find_model(tmp_path / "fast.onnx")
    (tmp_path / "fast-int8.onnx").unlink()
    with pytest.raises(ModelError, match=r"fast-int8\.onnx: missing.*with all its files"):
        find_model(tmp_path / "fast.onnx")


def test_no_more_threads_than_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gliomask.engine.available_threads", lambda: 2)
    assert [Runtime(threads=n).cpu_threads for n in (None, 1, 2, 64)] == [2, 1, 2, 2]


def test_a_device_that_is_not_there_is_told() -> None:
    import onnxruntime

    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(EngineError, match=r"device cuda: .*Install onnxruntime-gpu in place of onnxruntime, or use the device cpu"):
        Segmenter(device="cuda")
    assert "CPU" in Segmenter(device="auto").engine.description


def test_cuda_that_does_not_start_is_told_and_auto_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    start = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda path, options, providers: start(path, options, providers=providers[-1:]))
    with pytest.raises(EngineError, match="device cuda: ONNX Runtime cannot start it"):
        Segmenter(device="cuda")
    assert "CPU" in Segmenter().engine.description


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Runtime(device="cuda", engine="openvino"), "OpenVINO has none"),
        (Runtime(device="cuda", precision="int8"), "runs float32"),
    ],
)
def test_what_does_not_go_together_is_told(asked: Runtime, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        load_engine(find_model("fast"), asked)


@pytest.mark.parametrize("asked", [Runtime(device="cuda"), Runtime(precision="int8"), Runtime(engine="openvino")])
def test_a_keras_file_takes_no_runtime(asked: Runtime) -> None:
    record = replace(find_model("fast"), file="fast.keras")
    with pytest.raises(EngineError, match=r"fast\.keras: .*Keras chooses device and runtime itself"):
        load_engine(record, asked)


def test_openvino_gives_what_onnx_runtime_gives() -> None:
    pytest.importorskip("openvino", reason="the extra is not installed: pip install 'gliomask[openvino]'")
    record = find_model("fast")
    slices = np.random.default_rng(0).random((2, 96, 128, 3), np.float32)
    engine = load_engine(record, Runtime(engine="openvino", precision="float32"))
    assert np.abs(engine.run(slices) - OnnxEngine(record.path).run(slices)).max() < 1e-3


def test_openvino_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(EngineError, match=r"engine openvino: not installed.*gliomask\[openvino\]"):
        Segmenter(engine="openvino")

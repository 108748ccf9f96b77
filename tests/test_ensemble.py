from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gliomask import InputError, Segmenter, Volume
from gliomask.engine import OnnxEngine
from gliomask.models import ModelRecord, read_record, sha256_of
from gliomask.postprocess import Postprocessing
from gliomask.preprocess import Normalisation
from gliomask.volume import CHANNELS

onnx = pytest.importorskip("onnx", reason="training's extra is not installed: pip install 'gliomask[train]'")

FILTERS = 32


def network(folder: Path, seed: int, **changes: object) -> Path:
    """A network of two convolutions with random weights, and its record."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    weights = {
        "first": rng.normal(0, 0.3, (FILTERS, 3, 3, 3)).astype(np.float32),
        "second": rng.normal(0, 0.3, (1, FILTERS, 1, 1)).astype(np.float32),
    }
    make = onnx.helper.make_node
    nodes = [
        make("Transpose", ["slices"], ["a"], perm=[0, 3, 1, 2]),
        make("Conv", ["a", "first"], ["b"], pads=[1, 1, 1, 1]),
        make("Relu", ["b"], ["c"]),
        make("Conv", ["c", "second"], ["d"]),
        make("Sigmoid", ["d"], ["e"]),
        make("Transpose", ["e"], ["probability"], perm=[0, 2, 3, 1]),
    ]
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, f"n{seed}", [info("slices", 1, ["n", 64, 64, 3])], [info("probability", 1, ["n", 64, 64, 1])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    path = folder / f"fold{seed}.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    record = ModelRecord(
        name=path.stem, file=path.name, sha256=sha256_of(path), channels=CHANNELS, input_size=64, normalisation=Normalisation(),
        threshold=0.5, licence="none", training={"patients": [f"p{seed}", "q"], "held_out_fold": str(seed)}, folder=folder,
    )  # fmt: skip
    path.with_suffix(".json").write_text(replace(record, **changes).to_json())
    return path


def test_an_ensemble_is_the_mean_of_its_members(tmp_path: Path) -> None:
    from gliomask.training.ensemble import export_ensemble

    members = [network(tmp_path / str(seed), seed) for seed in range(3)]
    record = export_ensemble(members, tmp_path / "all", "ensemble")
    slices = np.random.default_rng(1).random((2, 64, 64, 3), np.float32)
    mean = np.mean([OnnxEngine(path).run(slices) for path in members], axis=0)
    assert OnnxEngine(record.path).run(slices) == pytest.approx(mean, abs=2e-3)
    assert read_record(record.path.with_suffix(".json")) == record
    assert record.training["patients"] == ["p0", "p1", "p2", "q"]
    assert [member["held_out_fold"] for member in record.training["members"]] == ["0", "1", "2"]
    stored = {tensor.name: tensor.data_type for tensor in onnx.load(record.path).graph.initializer}
    assert stored["member0/first/half"] == onnx.TensorProto.FLOAT16
    assert stored["member0/second"] == onnx.TensorProto.FLOAT  # too small to be worth it


def test_a_mirrored_model_gives_mirrored_slices_mirrored_masks(tmp_path: Path) -> None:
    path = network(tmp_path / "0", 0, mirrored=True)
    voxels = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    segmenter = Segmenter(path, force=True)
    as_is = segmenter.segment(Volume(voxels)).probability
    assert segmenter.segment(Volume(voxels[:, :, ::-1].copy())).probability[:, :, ::-1] == pytest.approx(as_is, abs=1e-5)
    path.with_suffix(".json").write_text(replace(read_record(path.with_suffix(".json")), mirrored=False).to_json())
    assert np.abs(Segmenter(path, force=True).segment(Volume(voxels)).probability - as_is).max() > 0.01


def test_members_have_to_be_alike(tmp_path: Path) -> None:
    from gliomask.training.ensemble import export_ensemble

    one, other = network(tmp_path / "0", 0), network(tmp_path / "1", 1, postprocessing=Postprocessing(3.0))
    with pytest.raises(InputError, match=r"fold1\.onnx: postprocessing is .* members have to be alike"):
        export_ensemble([one, other], tmp_path / "all", "ensemble")
    with pytest.raises(InputError, match="two members or more"):
        export_ensemble([one], tmp_path / "all", "ensemble")

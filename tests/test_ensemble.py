import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gliomask import InputError, ModelError, Segmenter, Volume, cli
from gliomask.commands import fold_runs
from gliomask.confidence import Calibration, features
from gliomask.engine import OnnxEngine
from gliomask.evaluation.cross_validation import fold_models
from gliomask.models import ModelRecord, find_model, read_record, sha256_of
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


def test_weights_are_stored_in_fewer_bits_the_larger_they_are() -> None:
    from gliomask.training.ensemble import LARGE, SMALL, _packed

    rng = np.random.default_rng(0)
    for shape, kinds in (
        ((SMALL - 1,), {"w": np.float32}),
        ((8, SMALL // 8), {"w/half": np.float16}),
        ((LARGE // 10, 10), {"w/int8": np.int8, "w/scale": np.float32}),
        ((LARGE // 25, 1, 5, 5), {"w/half": np.float16}),  # one channel: never in 8 bits
    ):
        tensors, _ = _packed(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), "w"))
        assert {tensor.name: onnx.numpy_helper.to_array(tensor).dtype.type for tensor in tensors} == kinds


def test_an_ensemble_gives_the_maps_of_its_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gliomask.training.ensemble import export_ensemble

    monkeypatch.setattr("gliomask.training.ensemble.LARGE", FILTERS * 27)
    members = [network(tmp_path / str(seed), seed) for seed in range(3)]
    record = export_ensemble(members, tmp_path / "all", "ensemble")
    slices = np.random.default_rng(1).random((2, 64, 64, 3), np.float32)
    maps = np.concatenate([OnnxEngine(path).run(slices) for path in members], axis=-1)
    assert OnnxEngine(record.path).run(slices) == pytest.approx(maps, abs=5e-3)
    assert read_record(record.path.with_suffix(".json")) == record
    assert record.training["patients"] == ["p0", "p1", "p2", "q"]
    assert [member["held_out_fold"] for member in record.training["members"]] == ["0", "1", "2"]
    stored = {tensor.name: tensor.data_type for tensor in onnx.load(record.path).graph.initializer}
    assert stored["member0/first/int8"] == onnx.TensorProto.INT8
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

    one, other = network(tmp_path / "0", 0), network(tmp_path / "1", 1, postprocessing=Postprocessing(smoothing_mm=3.0))
    with pytest.raises(InputError, match=r"fold1\.onnx: postprocessing is .* members have to be alike"):
        export_ensemble([one, other], tmp_path / "all", "ensemble")
    with pytest.raises(InputError, match=r"fold0\.onnx: the only model given; an ensemble has two members or more"):
        export_ensemble([one], tmp_path / "all", "ensemble")
    with pytest.raises(InputError, match=r"fold0\.onnx: the same network as .*fold0\.onnx, which would count twice"):
        export_ensemble([one, one], tmp_path / "all", "ensemble")


def test_an_ensemble_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gliomask.training import ensemble

    members = [network(tmp_path / str(seed), seed) for seed in range(2)]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"all: .*file is a file\. Give a folder"):
        ensemble.export_ensemble(members, tmp_path / "file" / "all", "ensemble")
    monkeypatch.setattr(ensemble, "PARITY", -1.0)
    with pytest.raises(ModelError, match=r"ensemble\.onnx: probabilities differ from the members' mean"):
        ensemble.export_ensemble(members, tmp_path / "all", "ensemble")
    assert not list((tmp_path / "all").iterdir())
    members[1].write_bytes(b"no network")
    record = members[1].with_suffix(".json")
    record.write_text(replace(read_record(record), sha256=sha256_of(members[1])).to_json())
    with pytest.raises(ModelError, match=r"fold1\.onnx: not a network"):
        ensemble.export_ensemble(members, tmp_path / "new", "ensemble")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def ensemble(tmp_path: Path) -> Path:
    """Two networks as one, the first trained without fold 0 and the second without fold 1."""
    from gliomask.training.ensemble import export_ensemble

    trainings = [
        {"patients": ["TCGA_XX_1"], "held_out_fold": "0"},
        {"patients": ["TCGA_XX_0"], "held_out_fold": "1", "initial_weights": "0"},
    ]
    members = [network(tmp_path / str(seed), seed, training=training, mirrored=True) for seed, training in enumerate(trainings)]
    return export_ensemble(members, tmp_path / "all", "both").path


@pytest.fixture
def data(tmp_path: Path, write_slices: Callable[..., Path]) -> Path:
    for fold in "01":
        write_slices(tmp_path / "data" / f"TCGA_XX_{fold}", (5, 6), masks=True)
    return tmp_path / "data"


@pytest.fixture
def split(tmp_path: Path) -> Path:
    path = tmp_path / "folds.csv"
    path.write_text("patient,fold\nTCGA_XX_0,0\nTCGA_XX_1,1\n")
    return path


def with_training(ensemble: Path, members: list[dict[str, Any]], **training: object) -> ModelRecord:
    """Write to an ensemble's record what it says of its members, and return the record."""
    path = ensemble.with_suffix(".json")
    record = json.loads(path.read_text())
    record["training"] |= training
    record["training"]["members"] = [old | new for old, new in zip(record["training"]["members"], members, strict=True)]
    path.write_text(json.dumps(record))
    return find_model(ensemble)


def test_members_come_out_as_they_went_in(ensemble: Path, tmp_path: Path) -> None:
    from gliomask.training.members import unpack_members

    record = find_model(ensemble)
    members = unpack_members(record, tmp_path / "runs")
    assert [str(member.path.relative_to(tmp_path / "runs")) for member in members] == ["0/fold0.onnx", "1/fold1.onnx"]
    assert fold_models(tmp_path / "runs") == {"0": members[0], "1": members[1]}
    slices = np.random.default_rng(1).random((2, 64, 64, 3), np.float32)
    probabilities = [OnnxEngine(member.path).run(slices) for member in members]
    for seed, probability in enumerate(probabilities):
        assert probability == pytest.approx(OnnxEngine(tmp_path / str(seed) / f"fold{seed}.onnx").run(slices), abs=5e-3)
    assert OnnxEngine(ensemble).run(slices) == pytest.approx(np.concatenate(probabilities, axis=-1), abs=1e-6)
    for seed, member in enumerate(members):
        graph = onnx.load(member.path).graph
        assert {tensor.data_type for tensor in graph.initializer} == {onnx.TensorProto.FLOAT}
        assert {tensor.name for tensor in graph.initializer} == {f"member{seed}/first", f"member{seed}/second"}
        assert ([value.name for value in graph.input], [value.name for value in graph.output]) == (["slices"], ["probability"])
        assert (member.mirrored, member.threshold, member.calibration) == (False, 0.5, Calibration())
    assert members[1].training == {
        "held_out_fold": "1", "patients": ["TCGA_XX_0"], "initial_weights": "0",
        "unpacked_from": {"ensemble": "both", "ensemble_sha256": record.sha256, "sha256": sha256_of(tmp_path / "1" / "fold1.onnx")},
    }  # fmt: skip


@pytest.mark.parametrize("calibration", [Calibration(), Calibration.of([-4.0, 0.0, 4.0], [-1.0, -0.5, 3.0])], ids=["raw", "calibrated"])
@pytest.mark.parametrize("affine", [None, np.diag([-3.75, -3.75, 5.0, 1.0])], ids=["slices", "volume"])
def test_what_an_ensemble_says_is_the_mean_and_what_it_expects_comes_from_each(
    affine: np.ndarray | None, calibration: Calibration, ensemble: Path, tmp_path: Path
) -> None:
    from gliomask.training.members import unpack_members

    record = replace(find_model(ensemble), postprocessing=Postprocessing(smoothing_mm=2.0, smallest_share=0.3), calibration=calibration)
    volume = Volume(np.random.default_rng(0).integers(0, 255, (24, 64, 64, 3), np.uint8), affine=affine)
    found = Segmenter(record, force=True).segment(volume)
    members = unpack_members(record, tmp_path / "runs")
    alike = [replace(member, mirrored=True, calibration=calibration) for member in members]
    mirrored = [Segmenter(member, force=True).segment(volume).probability for member in alike]
    # Smoothing is of log-odds, and of an ensemble comes after calibration and after both views' mean.
    assert found.probability == pytest.approx(np.mean(mirrored, axis=0), abs=1e-3 if calibration == Calibration() else 0.05)
    if calibration != Calibration():
        raw = Segmenter(replace(record, calibration=Calibration()), force=True).segment(volume).probability
        assert np.abs(found.probability - calibration.apply(raw)).max() > np.abs(found.probability - np.mean(mirrored, axis=0)).max()
    for member, said in zip(members, found.members, strict=True):
        alone = Segmenter(member, force=True).segment(volume)
        assert alone.members == ()  # which one network has none of
        assert said == pytest.approx(features(alone.probability, alone.mask), abs=0.1)  # half precision takes nearly 0.5 for 0.5
    assert found.members[0] != pytest.approx(found.members[1], abs=0.2)


def test_a_network_that_gives_fewer_maps_than_its_record_has_members_is_refused(ensemble: Path, tmp_path: Path) -> None:
    single = replace(find_model(tmp_path / "0" / "fold0.onnx"), training=find_model(ensemble).training)
    with pytest.raises(ModelError, match=r"gives 1 map\(s\); expected \(64, 64, 3\) and 2"):
        Segmenter(single)


def test_an_ensemble_gets_the_fits_of_its_members_and_nothing_of_what_these_come_to(ensemble: Path, data: Path, split: Path) -> None:
    record = find_model(ensemble)
    path = ensemble.with_suffix(".json")
    assert cli.main(["calibrate", str(data), "--cross-validation", str(ensemble), "--split", str(split), "--write", str(path)]) == 0
    written = find_model(ensemble)
    assert written.agreement and not record.agreement
    assert written.calibration != record.calibration == Calibration()
    assert written.threshold == pytest.approx(float(written.calibration.apply(np.array(0.5, np.float32))), rel=0.05)
    assert replace(written, agreement={}, calibration=Calibration(), threshold=record.threshold) == record


def test_fits_on_ensembles_are_told_and_written_nowhere(
    ensemble: Path, data: Path, split: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for fold in "01":
        folder = tmp_path / "runs" / fold
        folder.mkdir(parents=True)
        shutil.copy(ensemble, folder / "both.onnx")
        record = json.loads(ensemble.with_suffix(".json").read_text())
        record["training"] |= {"held_out_fold": fold, "patients": []}
        (folder / "both.json").write_text(json.dumps(record))
    command = ["calibrate", str(data), "--cross-validation", str(tmp_path / "runs"), "--split", str(split)]
    assert cli.main(command) == 0
    before = ensemble.with_suffix(".json").read_bytes()
    assert cli.main([*command, "--write", str(ensemble.with_suffix(".json"))]) == 1
    assert "its models are ensembles, whose members are calibrated one by one" in capsys.readouterr().err
    assert ensemble.with_suffix(".json").read_bytes() == before


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([{}, {"held_out_fold": None}], r"both\.onnx: its record does not tell the fold .* training of fold1"),
        ([{}, {"held_out_fold": "0"}], r"both\.onnx: several of its members had fold 0 held out"),
        ([{}, {"patients": []}], r"both\.onnx: its record does not tell the patients that fold1 was trained on"),
        ([{}, {"name": "../fold1"}], r"both\.onnx: '\.\./fold1' in its record is no plain name"),
        ([{}, {"held_out_fold": ""}], r"both\.onnx: '' in its record is no plain name"),
    ],
)
def test_members_that_cannot_be_scored_are_refused(members: list[dict[str, Any]], message: str, ensemble: Path, tmp_path: Path) -> None:
    from gliomask.training.members import unpack_members

    with pytest.raises(InputError, match=message):
        unpack_members(with_training(ensemble, members), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_network_of_other_members_than_its_record_is_refused(ensemble: Path, tmp_path: Path) -> None:
    from gliomask.training.members import unpack_members

    record = find_model(ensemble)
    three = replace(record, training={"members": [*record.training["members"], {"name": "c", "held_out_fold": "2", "patients": ["q"]}]})
    with pytest.raises(ModelError, match=r"both\.onnx: gives the Concat of 2, not the Concat of the 3 members"):
        unpack_members(three, tmp_path / "runs")
    single = replace(find_model(tmp_path / "0" / "fold0.onnx"), training=record.training)
    with pytest.raises(ModelError, match=r"fold0\.onnx: gives the Transpose of 1, not the Concat"):
        unpack_members(single, tmp_path / "runs")


def test_an_ensembles_members_are_scored_each_on_its_own_fold(
    ensemble: Path, data: Path, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert cli.main(["evaluate", str(data), "--cross-validation", str(ensemble), "--split", str(split), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [(model["fold"], model["name"]) for model in content["models"]] == [("0", "fold0"), ("1", "fold1")]
    assert {p["patient"]: (p["fold"], p["role"]) for p in content["patients"]} == {
        "TCGA_XX_0": ("0", "held out"),
        "TCGA_XX_1": ("1", "held out"),
    }
    (note,) = content["notes"]
    assert "fold 1 started from other weights" in note
    assert cli.main(["calibrate", str(data), "--cross-validation", str(ensemble), "--split", str(split)]) == 0
    assert "2 patients of folds 0, 1" in capsys.readouterr().out
    assert not list((tmp_path / "temporary").iterdir())


def test_an_ensemble_that_saw_whom_it_would_score_is_refused(
    ensemble: Path, data: Path, split: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split.write_text("patient,fold\nTCGA_XX_0,1\nTCGA_XX_1,0\n")
    assert cli.main(["evaluate", str(data), "--cross-validation", str(ensemble), "--split", str(split)]) == 1
    assert f"gliomask: {ensemble}/0/fold0.onnx: was trained on 1 of the patients of fold 0 (TCGA_XX_1" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
def test_what_is_neither_runs_nor_ensemble_is_named(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, str(tmp_path), "--cross-validation", "fast"]) == 1
    assert "fast.onnx: no ensemble, since its record has no training.members" in capsys.readouterr().err
    assert cli.main([command, str(tmp_path), "--cross-validation", "runz"]) == 1
    assert "runz: no such folder, file or bundled model (" in capsys.readouterr().err


def test_a_folder_does_not_hide_the_bundled_ensemble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ensemble").mkdir()
    with fold_runs(Path("ensemble")) as runs:
        assert sorted(folder.name for folder in runs.iterdir()) == list("01234")
    with fold_runs(tmp_path / "ensemble") as runs:
        assert runs == tmp_path / "ensemble"


def test_the_extra_is_named_where_onnx_is_missing(
    ensemble: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "gliomask.training.members", raising=False)
    assert cli.main(["evaluate", str(tmp_path), "--cross-validation", str(ensemble)]) == 1
    assert "both.onnx: taking an ensemble apart needs onnx. Install it: pip install 'gliomask[train]'." in capsys.readouterr().err

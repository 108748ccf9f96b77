import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gliomask import ModelError, Segmenter
from gliomask.models import BUNDLED, DEFAULT, bundled_models, find_model


def test_the_default_model_is_bundled_and_whole() -> None:
    record = find_model(DEFAULT)
    assert record.path.stat().st_size < 40e6
    assert record.channels == ("pre-contrast T1", "FLAIR", "post-contrast T1")
    assert "CC BY-NC-SA" in record.licence
    assert record.unseen_scores["all three channels, whole volumes"]["mean_dice"] >= 0.79


def test_scores_on_unseen_patients_are_the_networks_own_or_its_cross_validations() -> None:
    record = find_model(DEFAULT)
    own, crossed = {"all": {"mean_dice": 0.8}}, {"all": {"mean_dice": 0.7}}
    assert replace(record, scores={"held_out": own, "cross_validation": crossed}).unseen_scores == own
    assert replace(record, scores={"cross_validation": crossed}).unseen_scores == crossed
    assert replace(record, scores={}).unseen_scores == {}


def test_the_bundled_models_saw_no_sealed_patient() -> None:
    from gliomask.dataset import SEALED, read_split

    sealed = {name for name, fold in read_split().items() if fold == SEALED}
    assert len(sealed) == 22
    for record in bundled_models().values():
        assert record.training["patients"]
        assert not sealed & set(record.training["patients"])


def copy_default(folder: Path) -> Path:
    for ending in ("onnx", "json"):
        shutil.copy(BUNDLED / f"{DEFAULT}.{ending}", folder / f"mine.{ending}")
    record = json.loads((folder / "mine.json").read_text())
    record |= {"file": "mine.onnx", "name": "mine", "quantised": None}
    (folder / "mine.json").write_text(json.dumps(record))
    return folder / "mine.onnx"


def test_a_model_by_its_path(tmp_path: Path) -> None:
    assert Segmenter(copy_default(tmp_path)).model.name == "mine"


def test_an_altered_network_is_refused(tmp_path: Path) -> None:
    path = copy_default(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"mine\.onnx: altered or cut short"):
        find_model(path)


def test_a_network_without_its_record_is_refused(tmp_path: Path) -> None:
    path = copy_default(tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match=r"mine\.json: missing"):
        find_model(path)


def test_a_network_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = copy_default(tmp_path)
    record = json.loads(path.with_suffix(".json").read_text()) | {"channels": ["FLAIR"]}
    path.with_suffix(".json").write_text(json.dumps(record))
    with pytest.raises(ModelError, match=r"takes slices of .*3\).*expected \(256, 256, 1\) and 1"):
        Segmenter(path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"name": 1}'])
def test_a_record_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = copy_default(tmp_path)
    path.with_suffix(".json").write_text(text)
    with pytest.raises(ModelError, match="not a model record"):
        find_model(path)


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    path = copy_default(tmp_path)
    path.write_bytes(b"no network")
    record = json.loads(path.with_suffix(".json").read_text())
    record["sha256"] = "2b8bd4a1aeb9ac8bd1fe0a0b6b21f3b0b25ff0d3a7cbfaaf8f4cbbd8d3dc6b2b"
    path.with_suffix(".json").write_text(json.dumps(record))
    with pytest.raises(ModelError, match="altered or cut short"):
        Segmenter(path)
    from gliomask.engine import OnnxEngine

    with pytest.raises(ModelError, match="not a network that ONNX Runtime"):
        OnnxEngine(path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nope", r"no such model\. Bundled: .*fast"), ("nope.onnx", "no such file"), ("x.pt", "no such model")],
)
def test_unknown_models_are_answered_with_what_there_is(name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        find_model(name)

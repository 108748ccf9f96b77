import csv
import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gliomask import Segmenter, Volume, __version__, batch, cli, commands
from gliomask.confidence import entropy
from gliomask.dataset import sealed_patients
from gliomask.io import CaseSource
from gliomask.models import find_model

Write = Callable[..., Path]
COMMANDS = ("segment", "measure", "report", "evaluate", "calibrate", "app", "info", "train", "ensemble", "quantise", "split")


def run(*arguments: object) -> int:
    try:
        return cli.main([str(a) for a in arguments])
    except SystemExit as error:
        return int(error.code or 0)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    shown = capsys.readouterr().out
    assert f"example: gliomask {command}" in shown
    for option in re.findall(r"^  (--[a-z-]+)", shown, re.MULTILINE):
        after = shown.split(f"  {option}", 1)[1].strip()
        assert len(after) > 5, f"{command} {option} has no help"


def test_the_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)
    assert "not a medical device" in " ".join(shown.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"gliomask {__version__}\n"


def test_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    told = " ".join(capsys.readouterr().out.split())
    codes = (commands.DONE, commands.SOME_FAILED, commands.USAGE, commands.INTERRUPTED)
    assert "Exit codes: {} done; {} some case failed, or nothing could be done; {} wrong usage; {} interrupted.".format(*codes) in told


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("segment",),
        ("segment", "x.png"),
        ("nonsense",),
        ("app", "--port", "0"),
        ("segment", "", "--output", "o"),
        ("segment", "s.png", "--output", ""),
        ("segment", "s.nii", "--post", "", "--output", "o"),
        *(("segment", "s.png", "--output", "o", "--threshold", text) for text in ("0", "7", "nan", "half")),
        ("split", "d", "--output", "o", "--seed", "-1"),
        ("train", "d", "--output", "o", "--name", "a/b"),
        ("evaluate", "d", "--reference-masks", "r", "--fold", "0"),
        ("evaluate", "d", "--reference-masks", "r", "--cross-validation", "runs"),
        ("evaluate", "d", "--reference-masks", "r", "--threshold", "0"),
        ("evaluate", "d", "--reference-masks", "r", "--model", "nope"),
        ("evaluate", "d", "--reference-masks", "r", "--device", "cuda", "--threads", "3"),
        ("evaluate", "d", "--cross-validation", "runs", "--fold", "0"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_two_lines(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert "--help" in error
    assert len(error.splitlines()) == 2


def test_a_folder_of_cases_with_a_broken_one(tmp_path: Path, write_slices: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write_slices(tmp_path / "scans" / "good")
    write_slices(tmp_path / "scans" / "other", (6,))
    (tmp_path / "scans" / "bad").mkdir()
    (tmp_path / "scans" / "bad" / "1.png").write_text("no image")
    assert run("segment", tmp_path / "scans", "--output", tmp_path / "out") == 1
    shown = capsys.readouterr()
    assert "good: abnormality found in 2 of 2 slices, " in shown.out
    assert "2 of 3 cases done" in shown.out
    assert "bad/1.png: not an image" in shown.err
    table = {row["case"]: row for row in rows(tmp_path / "out" / "cases.csv")}
    assert {case: row["status"] for case, row in table.items()} == {"bad": "failed", "good": "done", "other": "done"}
    assert {case: row["input"] for case, row in table.items()} == {name: f"scans/{name}" for name in ("bad", "good", "other")}
    assert table["good"]["found"] == "True" and int(table["good"]["area_pixels"]) > 0
    assert [table["good"][key] for key in ("all_lesions", "min_lesion_ml")] == ["False", ""]
    assert "not an image" in table["bad"]["reason"]
    assert not (tmp_path / "out" / "bad").exists()


def test_t1_goes_with_one_nifti_file(tmp_path: Path, write_slices: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (write_slices(tmp_path / name) for name in "ab")
    assert run("segment", a, "--pre", tmp_path / "t1.nii", "--output", tmp_path / "out") == 1
    assert f"single FLAIR as NIfTI; found {a}, which is none." in capsys.readouterr().err
    assert run("segment", a, b, "--post", tmp_path / "t1.nii", "--output", tmp_path / "out") == 1
    assert "found 2 cases." in capsys.readouterr().err


def test_a_second_run_keeps_what_is_done(tmp_path: Path, write_slices: Write, capsys: pytest.CaptureFixture[str]) -> None:
    scans = write_slices(tmp_path / "scans" / "a").parent
    assert run("segment", scans, "--output", tmp_path / "out") == 0
    before = (tmp_path / "out" / "a" / "result.json").read_bytes()
    write_slices(tmp_path / "scans" / "b")
    capsys.readouterr()
    assert run("segment", scans, "--output", tmp_path / "out") == 0
    assert "a: abnormality found" in (shown := capsys.readouterr().out)
    assert "earlier result kept" in shown
    assert (tmp_path / "out" / "a" / "result.json").read_bytes() == before
    assert [row["status"] for row in rows(tmp_path / "out" / "cases.csv")] == ["kept", "done"]


def test_an_input_given_twice_is_segmented_once(tmp_path: Path, write_slices: Write, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_slices(tmp_path / "in" / "p1")
    again = folder / ".." / "p1"
    assert run("segment", folder, again, "--output", tmp_path / "out") == 0
    shown = capsys.readouterr()
    assert "1 of 1 cases done" in shown.out
    assert f"{again}: the same input as {folder}" in shown.err


def test_other_settings_need_overwrite(tmp_path: Path, write_slices: Write, capsys: pytest.CaptureFixture[str]) -> None:
    scan = write_slices(tmp_path / "a")
    assert run("segment", scan, "--output", tmp_path / "out") == 0
    assert run("segment", scan, "--output", tmp_path / "out", "--threshold", 0.9) == 1
    made = f"made with --threshold {find_model('fast').threshold}, not with --threshold 0.9. Use --overwrite"
    assert made in capsys.readouterr().err
    assert run("segment", scan, "--output", tmp_path / "out", "--all-lesions") == 1
    assert "a result made without --all-lesions, not with --all-lesions. Use --overwrite" in capsys.readouterr().err
    assert run("segment", scan, "--output", tmp_path / "out", "--threshold", 0.9, "--all-lesions", "--overwrite") == 0
    assert [(row["threshold"], row["all_lesions"]) for row in rows(tmp_path / "out" / "cases.csv")] == [("0.9", "True")]
    assert run("segment", scan, "--output", tmp_path / "out", "--threshold", 0.9, "--overwrite") == 0
    assert json.loads((tmp_path / "out" / "a" / "result.json").read_text())["threshold"] == 0.9


def test_another_model_is_not_told_as_a_threshold_that_nobody_asked_for(
    tmp_path: Path, write_slices: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = write_slices(tmp_path / "a")
    assert run("segment", scan, "--output", tmp_path / "out") == 0
    assert run("segment", scan, "--output", tmp_path / "out", "--model", "ensemble") == 1
    told = capsys.readouterr().err
    assert "holds a result of another model" in told and "--threshold" not in told


@pytest.mark.parametrize(
    ("arguments", "called", "goes_on"),
    [
        (("segment", "in.png", "--output", "out"), "gliomask.io.find_cases", True),
        (("evaluate", "data"), "gliomask.evaluation.evaluate_model", False),
    ],
)
def test_an_interruption_promises_to_go_on_only_where_something_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], called: str, goes_on: bool
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(called, interrupted)
    assert run(*arguments) == commands.INTERRUPTED
    told = capsys.readouterr().err
    assert told.startswith("gliomask: interrupted.") and ("goes on from there" in told) is goes_on


def test_an_input_that_changed_is_not_passed_off_as_done(tmp_path: Path, write_slices: Write, capsys: pytest.CaptureFixture[str]) -> None:
    scan = write_slices(tmp_path / "a")
    assert run("segment", scan, "--output", tmp_path / "out") == 0
    write_slices(tmp_path / "a", (1, 2))
    assert run("segment", scan, "--output", tmp_path / "out") == 1
    assert "of another input, or the input has changed" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_an_input_that_changes_while_it_is_read_fails(
    tmp_path: Path, write_slices: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    scan = write_slices(tmp_path / "a", (1, 2))
    hashed = CaseSource.sha256

    def changed(case: CaseSource) -> str:
        """Voxels are in memory by then; the file is hashed as it is now."""
        digest = hashed(case)
        if change == "replaced":
            case.files[0].write_bytes(case.files[1].read_bytes())
        else:
            case.files[0].unlink()
        return digest

    monkeypatch.setattr(CaseSource, "sha256", changed)
    assert run("segment", scan, "--output", tmp_path / "out") == 1
    assert "changed while it was read. Run again" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*mask*"))


def test_another_input_of_the_same_name_is_not_passed_off_as_done(
    tmp_path: Path, write_slices: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write_slices(tmp_path / "x" / "scan", (5,))
    write_slices(tmp_path / "y" / "scan", (1,))
    assert run("segment", tmp_path / "x" / "scan", "--output", tmp_path / "out") == 0
    assert run("segment", tmp_path / "y" / "scan", "--output", tmp_path / "out") == 1
    assert "of another input" in capsys.readouterr().err


def test_kept_results_are_whole(tmp_path: Path, write_slices: Write, capsys: pytest.CaptureFixture[str]) -> None:
    scan = write_slices(tmp_path / "a")
    assert run("segment", scan, "--output", tmp_path / "out") == 0
    assert run("segment", scan, "--output", tmp_path / "out", "--save-probability") == 1
    assert "without probabilities. Use --overwrite" in capsys.readouterr().err
    assert run("segment", scan, "--output", tmp_path / "out", "--save-uncertainty") == 1
    assert "without uncertainty. Use --overwrite" in capsys.readouterr().err
    assert run("segment", scan, "--output", tmp_path / "out", "--save-uncertainty", "--save-probability") == 1
    assert "without probabilities and uncertainty. Use --overwrite" in capsys.readouterr().err
    (tmp_path / "out" / "a" / "head_1_mask.png").unlink()
    assert run("segment", scan, "--output", tmp_path / "out") == 1
    assert "of which head_1_mask.png is missing" in capsys.readouterr().err


def test_what_breaks_one_case_does_not_stop_the_others(
    tmp_path: Path, write_slices: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        write_slices(tmp_path / "scans" / name, (5,))
    real = batch.read_case

    def read(case: CaseSource) -> Volume:
        if case.name == "a":
            raise KeyError("surprise")
        return real(case)

    monkeypatch.setattr(batch, "read_case", read)
    assert run("segment", tmp_path / "scans", "--output", tmp_path / "out", "--json") == 1
    a, b = json.loads(capsys.readouterr().out)
    assert (a["status"], b["status"]) == ("failed", "done")
    assert "a: KeyError: 'surprise'" in a["reason"]


def test_names_that_are_no_unicode(tmp_path: Path, phantom: Volume, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/q\xff.png"))
    try:
        Image.fromarray(phantom.voxels[5]).save(path)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    assert run("segment", path, "--output", tmp_path / "out") == 0
    assert (tmp_path / "out" / "q_udcff" / "q_udcff_mask.png").exists()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_console_need_not_know_a_names_letters(tmp_path: Path, phantom: Volume, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    for name in ("a", "b_\u5f20", "c"):
        Image.fromarray(phantom.voxels[5]).save(tmp_path / f"{name}.png")
    (tmp_path / "d_\u5f20.png").write_bytes(b"no image")
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    inputs = sorted(tmp_path.glob("*.png"))
    assert run("segment", *inputs, "--output", tmp_path / "out") == 1
    assert [row["case"] for row in rows(tmp_path / "out" / "cases.csv")] == ["a", "b_\u5f20", "c", "d_\u5f20"]
    for stream, words in ((out, rb"b_\u5f20"), (err, rb"d_\u5f20")):
        stream.flush()
        assert words in stream.buffer.getvalue()


def test_masks_of_names_that_are_no_unicode_are_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in ("mine", "reference"):
        folder = Path(os.fsdecode(os.fsencode(tmp_path / side) + b"/=q\xff"))
        try:
            folder.mkdir(parents=True)
        except OSError:
            pytest.skip("this file system takes Unicode names only")
        Image.fromarray(np.full((8, 8), 255, np.uint8)).save(folder / "1_mask.png")
        (folder / "1.png").write_bytes(b"no scan")
    output = tmp_path / "scores"
    assert run("evaluate", tmp_path / "mine", "--reference-masks", tmp_path / "reference", "--output", output) == 0
    assert [row["patient"] for row in rows(output / "patients.csv")] == ["'=q_udcff"]  # which no spreadsheet runs
    assert "=q_udcff/1.png: not an image" in (output / "report.html").read_text()


def test_json_is_all_that_goes_to_standard_output(tmp_path: Path, write_slices: Write, capsys: pytest.CaptureFixture[str]) -> None:
    scan = write_slices(tmp_path / "a")
    assert run("segment", scan, "--output", tmp_path / "out", "--json", "--save-probability") == 0
    (case,) = json.loads(capsys.readouterr().out)
    assert (case["case"], case["status"]) == ("a", "done")
    assert case["result"] == json.loads((tmp_path / "out" / "a" / "result.json").read_text())
    assert (tmp_path / "out" / "a" / "head_1_probability.png").exists()


def test_uncertainty_is_written_if_asked_for_and_kept(tmp_path: Path, write_slices: Write, capsys: pytest.CaptureFixture[str]) -> None:
    segment = ("segment", write_slices(tmp_path / "a", (5,)), "--output", tmp_path / "out")
    flags = ("--save-uncertainty", "--save-probability", "--save-uncertainty")
    assert run(*segment, *flags) == 0
    folder = tmp_path / "out" / "a"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    bits, probability = (np.asarray(Image.open(next(folder.glob(f"*_{kind}.png")))) for kind in ("uncertainty", "probability"))
    assert bits.dtype == np.uint16
    np.testing.assert_allclose(bits / 65535, entropy(probability / 65535), atol=2e-4)
    assert bits.max() > 30_000
    capsys.readouterr()
    for kept in ((), flags[:1], flags):
        assert run(*segment, *kept) == 0
        assert "earlier result kept" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert run(*segment, "--overwrite") == 0
    assert not list(folder.glob("*uncertainty*")) and not list(folder.glob("*probability*"))


@pytest.mark.parametrize("image", [np.full((300, 200), 9000, np.uint16), np.zeros((60, 80, 4), np.uint8)], ids=["16 bit", "RGBA"])
def test_masks_have_the_size_of_their_slice(tmp_path: Path, image: np.ndarray) -> None:
    Image.fromarray(image).save(tmp_path / "s.png")
    assert run("segment", tmp_path / "s.png", "--output", tmp_path / "out", "--force") == 0  # no heads
    mask = np.asarray(Image.open(tmp_path / "out" / "s" / "s_mask.png"))
    assert mask.shape == image.shape[:2]
    assert set(np.unique(mask)) <= {0, 255}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("segment", "nothing.png", "--output", "out"), "nothing.png: no such file or folder"),
        (("segment", ".", "--output", "out"), "holds no scan"),
        (("segment", "s.png", "--output", "out", "--model", "nope"), "nope: no such model. Bundled: "),
        (("segment", "s.png", "--output", "s.png"), "cannot be made a folder"),
        (("evaluate", "nothing"), "nothing: no such folder"),
        (("train", "nothing", "--output", "out"), "nothing: no such folder"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if "s.png" in arguments:
        Image.fromarray(np.zeros((8, 8), np.uint8)).save("s.png")
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert reason in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_segment_and_evaluate_agree(lgg_patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("segment", lgg_patients, "--output", tmp_path / "out") == 0
    capsys.readouterr()
    assert run("evaluate", tmp_path / "out", "--reference-masks", lgg_patients, "--json") == 0
    from_files = json.loads(capsys.readouterr().out)
    assert run("evaluate", lgg_patients, "--json") == 0
    from_model = json.loads(capsys.readouterr().out)
    assert [p["dice"] for p in from_files["patients"]] == [p["dice"] for p in from_model["patients"]]
    assert from_model["over_all"]["trained on"]["patients"] == 2  # as the default was on everybody


def test_split_writes_folds(tmp_path: Path, write_slices: Write) -> None:
    sealed = min(sealed_patients())
    for name in (*(f"TCGA_XX_{n}_20000101" for n in range(4)), sealed):
        write_slices(tmp_path / "data" / name, (5,), masks=True)
    assert run("split", tmp_path / "data", "--output", tmp_path / "folds.csv", "--folds", 2) == 0
    folds = {row["patient"]: row["fold"] for row in rows(tmp_path / "folds.csv")}
    assert folds.pop(sealed) == "test"
    assert sorted(folds.values()) == ["0", "0", "1", "1"]


def test_there_are_no_more_folds_than_patients(tmp_path: Path, write_slices: Write, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", min(sealed_patients())):
        write_slices(tmp_path / "data" / name, (5,), masks=True)
    assert run("split", tmp_path / "data", "--output", tmp_path / "folds.csv") == 1
    assert "data: 2 patients beside 1 of the sealed test set for 5 folds. Give fewer --folds" in capsys.readouterr().err
    assert not (tmp_path / "folds.csv").exists()


def test_info_tells_models_and_checksums(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info") == 0
    assert re.search(r"model fast \(default\): fast\.onnx, \d+\.\d MB, checksum ok", capsys.readouterr().out)
    assert run("info", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["gliomask"] == __version__
    assert facts["models"][0]["checksum"] == "ok"
    assert facts["packages"]["nibabel"] and {"pydicom", "highdicom", "openvino"} <= set(facts["packages"])


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, gliomask.cli\n"
        "try: gliomask.cli.main(['segment', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'PIL', 'onnxruntime', 'streamlit', 'keras', 'tensorflow', 'cv2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_segmenting_a_picture_loads_neither_training_nor_dicom(tmp_path: Path, write_slices: Write) -> None:
    scan = write_slices(tmp_path / "a")
    code = (
        "import sys, gliomask.cli\n"
        f"assert gliomask.cli.main(['segment', {str(scan)!r}, '--output', {str(tmp_path / 'out')!r}]) == 0\n"
        "heavy = {'streamlit', 'keras', 'tensorflow', 'cv2', 'matplotlib', 'pydicom'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_json_tells_of_a_single_input_that_is_no_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("segment", tmp_path / "missing.png", "--output", tmp_path / "out", "--json") == 1
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["case"], entry["status"], entry["result"]) == ("missing", "failed", None)
    assert "no such file" in entry["reason"]


@pytest.mark.parametrize(
    ("more", "reason"), [(("--model", "nope"), "nope: no such model"), (("--series", "3"), "no DICOM"), ((), "cannot be made a folder")]
)
def test_json_names_every_case_of_a_run_that_cannot_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], reason: str
) -> None:
    paths = [tmp_path / "base_flair.nii.gz", tmp_path / "later.nii"]
    for path in paths:
        path.write_bytes(b"read later, if at all")
    output = tmp_path / "out" if more else paths[0]
    assert run("segment", *paths, "--output", output, "--json", *more) == 1
    captured = capsys.readouterr()
    entries = json.loads(captured.out)
    assert [(entry["case"], entry["status"]) for entry in entries] == [("base_flair", "failed"), ("later", "failed")]
    assert all(reason in entry["reason"] for entry in entries) and reason in captured.err


def test_notes_follow_their_case(tmp_path: Path, phantom: Volume, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(phantom.voxels[5, ..., 1]).convert("RGBA").save(tmp_path / "grey.png")
    assert run("segment", tmp_path / "grey.png", "--output", tmp_path / "out") == 0
    notes = json.loads((tmp_path / "out" / "grey" / "result.json").read_text())["notes"]
    assert notes
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("grey: ")
    assert others[:-1] == [f"  {note}" for note in notes]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"found": False, "slices": 1}, "no abnormality found in 1 slice"),
        ({"slices": 23, "slices_with_tumour": 1, "spacing_mm": None, "area_pixels": 1}, "abnormality found in 1 of 23 slices, 1 pixel"),
        (
            {"slices": 1, "slices_with_tumour": 1, "spacing_mm": [1, 1, 1], "measurements": {"volume_ml": 0.02}},
            "abnormality found in 1 of 1 slice, under 0.1 ml",
        ),
    ],
)
def test_what_was_found_is_told_in_the_words_of_the_page(content: dict[str, Any], told: str) -> None:
    assert batch.finding({"found": True, **content}) == told


def test_lesions_left_out_are_told() -> None:
    content = {"notes": ["n"], "min_lesion_ml": 30.0, "removed": {"lesions": 1, "volume_ml": 24.93}}
    assert batch.Outcome("a", "done", content).notes == ("n", "1 lesion under 30 ml (24.9 ml in all) left out")
    speck = {"min_lesion_ml": 0.1, "removed": {"lesions": 2, "volume_ml": 0.04}}
    assert batch.Outcome("a", "done", speck).notes == ("2 lesions under 0.1 ml (under 0.1 ml in all) left out",)
    assert batch.Outcome("a", "failed", None).notes == ()
    satellite = {"voxels": 9, "volume_ml": 0.5, "slice_range": [4, 4], "laterality": None}
    (told,) = batch.Outcome("a", "done", {"satellites": 1, "largest_satellites": [satellite]}).notes
    assert told == "1 small part is left out of the mask, of 0.5 ml (slice 5); see --all-lesions"


@pytest.mark.parametrize(
    ("spacing", "area", "volume", "size"),
    [(None, 1, None, "1 pixel"), ([1, 1, 1], 20, 0.02, "under 0.1 ml"), ([1, 1, 5], 9000, 45.0, "45.0 ml")],
)
def test_what_was_found_is_never_told_as_nothing(spacing: list[int] | None, area: int, volume: float | None, size: str) -> None:
    counts = {"found": True, "slices": 3, "slices_with_tumour": 1, "area_pixels": area}
    content = {**counts, "spacing_mm": spacing, "measurements": {"volume_ml": volume}}
    assert batch.finding(content) == f"abnormality found in 1 of 3 slices, {size}"


def test_a_refused_second_run_leaves_the_numbers_of_the_first(tmp_path: Path, write_slices: Write) -> None:
    scan = write_slices(tmp_path / "a")
    assert run("segment", scan, "--output", tmp_path / "out") == 0
    (before,) = rows(tmp_path / "out" / "cases.csv")
    assert run("segment", scan, "--output", tmp_path / "out", "--threshold", 0.9) == 1
    (after,) = rows(tmp_path / "out" / "cases.csv")
    assert after.pop("status") == "failed" and "made with --threshold" in after.pop("reason")
    assert after == {key: value for key, value in before.items() if key not in ("status", "reason")}


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (errno.ENOSPC, "Make room, or choose another --output."),
        (errno.EACCES, "Choose another --output."),
        (errno.ENAMETOOLONG, "Give the input or the output a shorter name."),
    ],
)
def test_an_output_that_cannot_be_written_is_not_blamed_on_the_input(
    tmp_path: Path, write_slices: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reason: int, advice: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(batch, "save_segmentation", full)
    assert run("segment", write_slices(tmp_path / "a"), "--output", tmp_path / "out") == 1
    told = f"a: failed. {tmp_path / 'out' / 'a'}: cannot be written ({os.strerror(reason)}). {advice}\n"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", ".", "..", "../a"])
def test_names_that_lead_out_of_the_output_are_refused(tmp_path: Path, write_slices: Write, segmenter: Segmenter, name: str) -> None:
    scan = write_slices(tmp_path / "a")
    case = CaseSource(name, scan, tuple(scan.iterdir()))
    (outcome,) = batch.segment_cases([case], segmenter, tmp_path / "res" / "out")
    assert outcome.status == "failed" and "names no folder" in outcome.reason
    assert [p.name for p in (tmp_path / "res").rglob("*")] == ["out", "cases.csv"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_ends_as_an_exit_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    def terminated(_: object) -> int:
        signal.raise_signal(number)
        return 0

    before = signal.getsignal(number)
    monkeypatch.setattr(commands, "info", terminated)
    assert run("info") == 128 + number
    assert signal.getsignal(number) == before


def test_a_closed_terminal_does_not_end_what_runs_under_nohup(monkeypatch: pytest.MonkeyPatch) -> None:
    def hung_up(_: object) -> int:
        signal.raise_signal(signal.SIGHUP)
        return 0

    monkeypatch.setattr(commands, "info", hung_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run("info") == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)

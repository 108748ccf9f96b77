import csv
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from gliomask import InputError, Segmentation, Segmenter, Volume
from gliomask.io import alone_in
from gliomask.report import CasesTable, contact_sheet, read_result
from gliomask.report.overlay import OUTLINE, display_grey, outline, overlay_slice
from gliomask.report.saving import MASK_CHANGED


@pytest.fixture
def result(segmenter: Segmenter) -> Segmentation:
    """Two slices of 40 x 30 pixels, 12 pixels marked in the second."""
    probability = np.zeros((2, 40, 30), np.float32)
    probability[1, 10:13, 10:14] = 0.75
    volume = Volume(np.full((2, 40, 30, 1), 50, np.uint8), "case", ("s1", "s2"))
    return Segmentation(volume, probability, 0.5, segmenter.model, "test", 0.1)


def test_files_of_a_case(tmp_path: Path, result: Segmentation) -> None:
    files = result.save(tmp_path / "case", save_probability=True)
    slices = {f"s{z}_{kind}.png" for z in (1, 2) for kind in ("mask", "probability")}
    names = slices | {"case_mask.nii.gz", "case_probability.nii.gz", "overlay.png", "result.json"}
    assert {f.name for f in files} == {f.name for f in (tmp_path / "case").iterdir()} == names
    mask = Image.open(tmp_path / "case" / "s2_mask.png")
    assert (mask.mode, mask.size) == ("L", (30, 40))
    np.testing.assert_array_equal(np.asarray(mask), result.mask[1] * 255)
    probability = np.asarray(Image.open(tmp_path / "case" / "s2_probability.png"))
    assert probability.dtype == np.uint16
    np.testing.assert_allclose(probability / 65535, result.probability[1], atol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["case"]


def test_uncertainty_is_the_entropy_of_the_probability(tmp_path: Path, result: Segmentation) -> None:
    files = result.save(tmp_path / "case", save_uncertainty=True)
    slices = {f"s{z}_{kind}.png" for z in (1, 2) for kind in ("mask", "uncertainty")}
    names = slices | {"case_mask.nii.gz", "case_uncertainty.nii.gz", "overlay.png", "result.json"}
    assert {f.name for f in files} == {f.name for f in (tmp_path / "case").iterdir()} == names
    assert set(json.loads((tmp_path / "case" / "result.json").read_text())["files"]) == names
    bits = np.where(result.mask, 2 - 0.75 * np.log2(3), 0)  # of 0.75, and of 0
    written = nib.load(tmp_path / "case" / "case_uncertainty.nii.gz")
    assert written.get_data_dtype() == np.float32
    np.testing.assert_allclose(np.asanyarray(written.dataobj).transpose(2, 1, 0), bits, atol=1e-5)
    picture = Image.open(tmp_path / "case" / "s2_uncertainty.png")
    assert (picture.mode, picture.size) == ("I;16", (30, 40))
    np.testing.assert_allclose(np.asarray(picture) / 65535, bits[1], atol=1e-5)


def test_even_odds_are_white(tmp_path: Path, result: Segmentation) -> None:
    result.probability[0, 0, :2] = 0.5, 1.0
    result.save(tmp_path / "case", save_uncertainty=True)
    assert np.asarray(Image.open(tmp_path / "case" / "s1_uncertainty.png"))[0, :2].tolist() == [65535, 0]


def test_maps_lie_on_the_grid_of_the_mask(tmp_path: Path, result: Segmentation) -> None:
    affine = np.array([[0, -2.0, 0.3, 40], [1.5, 0, 0, -60], [0, 0.2, 5, 10], [0, 0, 0, 1]])
    placed = replace(result, volume=Volume(result.volume.voxels, "case", affine=affine))
    files = placed.save(tmp_path / "case", save_probability=True, save_uncertainty=True)
    names = [f"case_{kind}.nii.gz" for kind in ("mask", "probability", "uncertainty")]
    assert [f.name for f in files] == [*names, "overlay.png", "result.json"]
    mask, *maps = (nib.load(tmp_path / "case" / name) for name in names)
    for image, values in zip(maps, (placed.probability, placed.uncertainty), strict=True):
        np.testing.assert_array_equal(image.affine, mask.affine)
        np.testing.assert_array_equal(np.asanyarray(image.dataobj).transpose(2, 1, 0), values)
    np.testing.assert_allclose(mask.affine, affine, atol=1e-5)


def test_record_of_a_case(tmp_path: Path, result: Segmentation) -> None:
    result.save(tmp_path / "case")
    record = json.loads((tmp_path / "case" / "result.json").read_text())
    assert record["found"] is True
    assert record["area_pixels"] == 12
    assert record["area_pixels_per_slice"] == {"s1": 0, "s2": 12}
    assert record["slices_with_tumour"] == 1
    assert record["max_probability"] == 0.75
    assert record["model"]["sha256"] == result.model.sha256
    assert record["spacing_mm"] is None
    assert "not a medical device" in record["notice"]


def test_a_mask_that_was_corrected_is_noted(tmp_path: Path, result: Segmentation) -> None:
    result.save(tmp_path / "results")
    written = read_result(tmp_path / "results")
    assert written is not None and MASK_CHANGED not in written["notes"]
    mask = tmp_path / "results" / "case_mask.nii.gz"
    image = nib.load(mask)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), mask)
    corrected = read_result(tmp_path / "results")
    assert corrected == written | {"notes": [*written["notes"], MASK_CHANGED]}
    mask.unlink()
    assert read_result(tmp_path / "results") == written


def test_lesions_that_are_left_out_are_in_the_record(tmp_path: Path, result: Segmentation) -> None:
    result.probability[1, 30, ::2] = 0.9  # 15 pixels, each a thirteenth of what is marked
    result.save(tmp_path / "case")
    record = json.loads((tmp_path / "case" / "result.json").read_text())
    assert (record["area_pixels"], record["satellites"]) == (12, 15)
    assert [(lesion["voxels"], lesion["slice_range"]) for lesion in record["largest_satellites"]] == [(1, [1, 1])] * 5
    assert not np.asarray(Image.open(tmp_path / "case" / "s2_mask.png"))[30].any()


def test_the_nifti_twin_of_an_image_claims_no_geometry(tmp_path: Path, result: Segmentation) -> None:
    result.save(tmp_path / "case")
    twin = nib.load(tmp_path / "case" / "case_mask.nii.gz")
    assert twin.header["qform_code"] == twin.header["sform_code"] == 0
    np.testing.assert_array_equal(np.asanyarray(twin.dataobj).transpose(2, 1, 0), result.mask)


def test_nothing_found_is_a_result(tmp_path: Path, result: Segmentation) -> None:
    result.with_threshold(0.9).save(tmp_path / "case")
    record = json.loads((tmp_path / "case" / "result.json").read_text())
    assert (record["found"], record["area_pixels"]) == (False, 0)
    assert not np.asarray(Image.open(tmp_path / "case" / "s2_mask.png")).any()


def test_an_earlier_result_is_not_overwritten_unasked(tmp_path: Path, result: Segmentation) -> None:
    result.save(tmp_path / "case", save_probability=True)
    before = (tmp_path / "case" / "result.json").read_bytes()
    with pytest.raises(InputError, match="already holds a result"):
        result.with_threshold(0.9).save(tmp_path / "case")
    assert (tmp_path / "case" / "result.json").read_bytes() == before


def test_overwriting_replaces_ours_and_leaves_the_users(tmp_path: Path, result: Segmentation) -> None:
    result.save(tmp_path / "case", save_probability=True, save_uncertainty=True)
    (tmp_path / "case" / "notes.txt").write_text("mine")
    result.with_threshold(0.9).save(tmp_path / "case", overwrite=True)
    names = {p.name for p in (tmp_path / "case").iterdir()}
    assert names == {"s1_mask.png", "s2_mask.png", "case_mask.nii.gz", "overlay.png", "result.json", "notes.txt"}


@pytest.mark.parametrize("moved", [0, 2])
def test_a_program_that_is_killed_while_it_overwrites_goes_on(
    tmp_path: Path, result: Segmentation, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    folder = tmp_path / "case"
    result.save(folder)
    (folder / "notes.txt").write_text("mine")
    replace_one = os.replace

    def killed(source: Path, target: Path) -> None:
        into_place = Path(target).parent == folder != Path(source).parent
        if into_place and sum(path.stat().st_mtime_ns > before for path in folder.glob("*_*")) >= moved:
            raise KeyboardInterrupt
        replace_one(source, target)

    before = time.time_ns()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("os.replace", killed)
        result.with_threshold(0.9).save(folder, overwrite=True, save_probability=True)
    assert read_result(folder) is None
    result.save(folder)  # nothing is finished there, so that nothing has to be overwritten
    names = {"s1_mask.png", "s2_mask.png", "case_mask.nii.gz", "overlay.png", "result.json", "notes.txt"}
    assert {path.name for path in folder.iterdir()} == names
    assert read_result(folder)["threshold"] == result.threshold


def test_a_result_that_another_process_finished_meanwhile_stays(
    tmp_path: Path, result: Segmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(late: Segmentation) -> object:
        monkeypatch.undo()
        result.with_threshold(0.9).save(tmp_path / "case")
        return contact_sheet(late)

    monkeypatch.setattr("gliomask.report.saving.contact_sheet", overtaken)
    with pytest.raises(InputError, match="already holds a result"):
        result.save(tmp_path / "case")
    assert json.loads((tmp_path / "case" / "result.json").read_text())["threshold"] == 0.9


def test_a_file_in_the_way_is_not_replaced_unasked(tmp_path: Path, result: Segmentation) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "s1_mask.png").write_text("a reference mask")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"s1_mask\.png: is there already"):
            result.save(tmp_path / "case", overwrite=overwrite)
    assert (tmp_path / "case" / "s1_mask.png").read_text() == "a reference mask"


def test_results_do_not_mix_with_their_input(tmp_path: Path, write_slices: Callable[..., Path], segmenter: Segmenter) -> None:
    folder = write_slices(tmp_path / "case")
    before = {p.name for p in folder.iterdir()}
    with pytest.raises(InputError, match="holds the input itself"):
        segmenter.segment(folder).save(folder, overwrite=True)
    assert {p.name for p in folder.iterdir()} == before


def test_a_record_cannot_name_files_elsewhere(tmp_path: Path, result: Segmentation) -> None:
    (tmp_path / "precious.txt").write_text("keep")
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "result.json").write_text(json.dumps({"files": ["../precious.txt", "result.json"]}))
    result.save(tmp_path / "case", overwrite=True)
    assert (tmp_path / "precious.txt").read_text() == "keep"


def test_a_strange_record_is_named(tmp_path: Path, result: Segmentation) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "result.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="not written by gliomask"):
        result.save(tmp_path / "case")


def test_writing_that_fails_leaves_nothing(tmp_path: Path, result: Segmentation, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("gliomask.report.saving.contact_sheet", fail)
    with pytest.raises(OSError, match="disk full"):
        result.save(tmp_path / "case")
    assert list(tmp_path.iterdir()) == []


def test_outline_lies_inside_the_mask() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    edge = outline(mask)
    assert edge.sum() == 16
    assert not edge[3:6, 3:6].any()
    assert outline(np.ones((3, 3), bool)).sum() == 8  # the picture's border is an edge


def test_overlay_colours_the_outline_alone_unless_filled() -> None:
    grey = np.full((9, 9), 100, np.uint8)
    mask = np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    drawn = overlay_slice(grey, mask)
    assert tuple(drawn[2, 2]) == OUTLINE
    assert tuple(drawn[4, 4]) == (100, 100, 100)
    assert tuple(overlay_slice(grey, mask, opacity=1.0)[4, 4]) == OUTLINE


@pytest.mark.parametrize(("shape", "columns"), [((1, 40, 30), 1), ((7, 40, 30), 6), ((3, 600, 500), 3)])
def test_contact_sheet_holds_every_slice(segmenter: Segmenter, shape: tuple[int, int, int], columns: int) -> None:
    volume = Volume(np.random.default_rng(0).integers(0, 200, (*shape, 1), np.uint8))
    sheet, layout = contact_sheet(Segmentation(volume, np.zeros(shape, np.float32), 0.5, segmenter.model, "test", 0.1))
    tile = round(shape[2] * min(1, 256 / max(shape[1:])))
    assert sheet.width == columns * tile
    assert layout.shown_slices == tuple(range(shape[0])) and layout.columns == columns


def test_contact_sheet_shows_greys_outline_and_captions_in_their_colours(segmenter: Segmenter) -> None:
    voxels = np.full((2, 64, 64, 1), 100, np.uint8)
    voxels[:, :8], voxels[:, 8:16] = 0, 200
    probability = np.zeros((2, 64, 64), np.float32)
    probability[1, 30:40, 20:50] = 1.0
    result = Segmentation(Volume(voxels), probability, 0.5, segmenter.model, "test", 0.1)
    sheet, layout = contact_sheet(result)
    empty, marked = (np.asarray(sheet.convert("RGB"))[:, x : x + 64] for x in (0, 64))
    shown = display_grey(result.volume.flair)
    assert np.abs(empty[layout.caption :].astype(int) - shown[0][..., None]).max() <= 1  # half a step of the palette's greys
    assert tuple(marked[layout.caption + 30, 20]) == OUTLINE
    assert np.ptp(empty[: layout.caption], axis=-1).max() == 0 and empty[: layout.caption].max() > 100
    red, green, blue = marked[: layout.caption].reshape(-1, 3).astype(int).T
    assert red.max() > 150 and blue.max() == 0 and np.abs(green - red * OUTLINE[1] / OUTLINE[0]).max() < 2


def test_table_keeps_the_rows_of_earlier_runs(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    CasesTable(path).add("a", "failed", reason="broken, twice")
    table = CasesTable(path)
    table.add("b", "failed", reason="other")
    table.add("a", "failed", reason="again", place="all/a")
    table.write()
    assert path.read_text().splitlines()[1:] == ["a,all/a,failed,,,,,,,,,,,,,,,,,,,again", "b,,failed,,,,,,,,,,,,,,,,,,,other"]


def test_table_runs_nothing_in_a_spreadsheet_and_knows_its_rows_again(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    for reason in ("first", "second"):
        table = CasesTable(path)
        table.add("=1+2", "failed", reason=reason, place="-x/=1+2")
        table.write()
    assert path.read_text().splitlines()[1:] == ["'=1+2,'-x/=1+2,failed,,,,,,,,,,,,,,,,,,,second"]


def test_table_has_what_is_expected_of_a_result_and_the_settings_it_was_made_with(tmp_path: Path) -> None:
    measured, expected = {"volume_ml": 3.5, "lesions": []}, {"expected_dice": 0.8, "low": 0.6, "high": 0.9}
    settings = {"threshold": 0.4, "all_lesions": True, "min_lesion_ml": 0.5}
    content = {"measurements": measured, "confidence": expected, "model": {"name": "m"}, "satellites": 2, **settings}
    CasesTable(tmp_path / "cases.csv").add("a", "done", content)
    with (tmp_path / "cases.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert [row[key] for key in ("expected_dice", "expected_dice_low", "expected_dice_high")] == ["0.8", "0.6", "0.9"]
    assert [row[key] for key in (*settings, "satellites", "volume_ml")] == ["0.4", "True", "0.5", "2", "3.5"]


def test_tables_of_runs_at_the_same_time_are_one(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    one, other = CasesTable(path), CasesTable(path)
    one.add("a", "failed", reason="broken")
    other.add("b", "failed", reason="broken")
    one.write()
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["case", "a", "b"]
    assert [file.name for file in tmp_path.iterdir()] == ["cases.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="has no locks of folders")
def test_a_table_waits_for_that_of_another_run(tmp_path: Path) -> None:
    path, written = tmp_path / "cases.csv", threading.Event()

    def write() -> None:
        CasesTable(path).add("b", "failed", reason="broken")
        written.set()

    with alone_in(tmp_path):
        other = threading.Thread(target=write)
        other.start()
        assert not written.wait(0.2)
    other.join(20)
    assert written.is_set()


@pytest.mark.parametrize("content", [b"x,y\n1,2\n", b"case,age\na,40\n", b"case\n", b"", b"caf\xe9\n"])
def test_a_foreign_table_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cases.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"cases\.csv: (not a table written|cannot be read)"):
        CasesTable(tmp_path / "cases.csv")


def test_a_new_case_appears_at_once(tmp_path: Path, result: Segmentation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the only rename fails there is nothing under the case's name, so that the next run can go on."""

    def fail(source: Path, target: Path) -> None:
        if target == tmp_path / "case" or target.parent == tmp_path / "case":
            raise KeyboardInterrupt
        source.rename(target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("gliomask.report.saving.os.replace", fail)
        result.save(tmp_path / "case")
    assert list(tmp_path.iterdir()) == []
    result.save(tmp_path / "case")
    (tmp_path / "made").mkdir()
    assert (tmp_path / "case").stat().st_mode == (tmp_path / "made").stat().st_mode


def test_a_table_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    table = CasesTable(tmp_path / "cases.csv")
    (tmp_path / "cases.csv").mkdir()
    with pytest.raises(InputError, match=r"cases\.csv: cannot be written"):
        table.write()


def test_a_reason_with_bytes_that_are_no_utf8_is_written_out(tmp_path: Path) -> None:
    table = CasesTable(tmp_path / "cases.csv")
    table.add("a", "failed", reason=os.fsdecode(b"M\xfcller.nii: damaged"))
    table.write()
    with (tmp_path / "cases.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["reason"] == "M\\udcfcller.nii: damaged"


def test_a_reason_with_line_breaks_of_any_kind_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    CasesTable(path).add("a", "failed", reason="one\ntwo\u2028three\x0cfour")
    before = path.read_bytes()
    CasesTable(path).write()
    assert path.read_bytes() == before

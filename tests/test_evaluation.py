from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gliomask import InputError, Segmenter
from gliomask.evaluation import Protocol, evaluate_masks, evaluate_model, format_table, summarise
from gliomask.evaluation.scores import score


def save_mask(path: Path, rows: int, size: int = 10) -> None:
    """Write a mask whose first *rows* rows are marked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((size, size), np.uint8)
    mask[:rows] = 255
    Image.fromarray(mask).save(path)


def test_masks_are_scored_by_hand_worked_numbers(tmp_path: Path) -> None:
    save_mask(tmp_path / "mine" / "p1" / "p1_1_mask.png", 4)
    save_mask(tmp_path / "mine" / "p1" / "p1_2_mask.png", 0)
    save_mask(tmp_path / "mine" / "p2" / "p2_1_mask.png", 1)
    save_mask(tmp_path / "reference" / "p1" / "p1_1_mask.tif", 2)
    save_mask(tmp_path / "reference" / "p1" / "p1_2_mask.tif", 0)
    save_mask(tmp_path / "reference" / "p2" / "p2_1_mask.tif", 0)
    evaluation = evaluate_masks(tmp_path / "mine", tmp_path / "reference")
    one, two = (p.as_json() for p in evaluation.patients)
    assert (one["patient"], one["dice"], one["iou"]) == ("p1", pytest.approx(2 * 20 / 60), 0.5)
    assert (one["clean_slices"], one["marked_clean_slices"]) == (1, 0)
    assert (two["dice"], two["clean_slices"], two["marked_clean_slices"]) == (0.0, 1, 1)
    over_all = evaluation.as_json()["over_all"]["unknown"]
    assert over_all["mean_dice"] == pytest.approx(1 / 3)
    assert over_all["pooled_dice"] == pytest.approx(2 * 20 / (50 + 20))
    assert over_all["marked_clean_slices_share"] == 0.5
    assert "p2" in format_table(evaluation)


def test_masks_in_folders_of_other_names_are_paired_by_their_own(tmp_path: Path) -> None:
    save_mask(tmp_path / "mine" / "run" / "a_mask.png", 3)
    save_mask(tmp_path / "mine" / "run" / "extra_mask.png", 3)
    save_mask(tmp_path / "reference" / "case" / "a_mask.png", 3)
    evaluation = evaluate_masks(tmp_path / "mine", tmp_path / "reference")
    assert evaluation.patients[0].as_json()["dice"] == 1.0
    assert evaluation.ignored_masks == 1
    assert "1 masks had no reference" in format_table(evaluation)


def test_a_patient_without_masks_is_not_scored_with_anothers(tmp_path: Path) -> None:
    save_mask(tmp_path / "mine" / "p1" / "1_mask.png", 3)
    for patient in ("p1", "p2"):
        save_mask(tmp_path / "reference" / patient / "1_mask.png", 3)
    with pytest.raises(InputError, match=r"1 reference masks without a counterpart.*\n.*p2"):
        evaluate_masks(tmp_path / "mine", tmp_path / "reference")


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    for site in ("a", "b"):
        save_mask(tmp_path / "mine" / site / "p1" / "1_mask.png", 3)
    with pytest.raises(InputError, match="same folder's name and their own"):
        evaluate_masks(tmp_path / "mine", tmp_path / "mine")


def test_missing_masks_and_other_sizes_are_named(tmp_path: Path) -> None:
    save_mask(tmp_path / "mine" / "p" / "a_mask.png", 3)
    save_mask(tmp_path / "reference" / "p" / "a_mask.png", 3)
    save_mask(tmp_path / "reference" / "p" / "b_mask.png", 3)
    with pytest.raises(InputError, match=r"1 reference masks without a counterpart.*\n.*b_mask\.png"):
        evaluate_masks(tmp_path / "mine", tmp_path / "reference")
    save_mask(tmp_path / "mine" / "p" / "b_mask.png", 3, size=12)
    with pytest.raises(InputError, match=r"is 12 x 12 x 1 .*10 x 10 x 1"):
        evaluate_masks(tmp_path / "mine", tmp_path / "reference")


def test_a_folder_without_masks_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no masks"):
        evaluate_masks(tmp_path, tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        evaluate_masks(tmp_path / "x", tmp_path)


def test_the_interval_holds_the_mean_and_narrows_with_patients() -> None:
    empty = np.zeros((1, 4, 4), bool)
    full = ~empty
    scores = [score("a", "held out", full, full), score("b", "held out", empty, full)]
    few, many = summarise(scores), summarise(scores * 20)
    for s in (few, many):
        assert s["mean_dice"] == 0.5
        assert s["mean_dice_95"][0] <= 0.5 <= s["mean_dice_95"][1]
    assert np.diff(many["mean_dice_95"]) < np.diff(few["mean_dice_95"])


def test_a_fold_without_patients_is_named(tmp_path: Path, segmenter: Segmenter) -> None:
    save_mask(tmp_path / "p1" / "p1_1.tif", 5)
    save_mask(tmp_path / "p1" / "p1_1_mask.tif", 5)
    with pytest.raises(InputError, match="no patient of fold '9'"):
        evaluate_model(tmp_path, segmenter, Protocol(fold="9"))


@pytest.mark.parametrize("flair_alone", [False, True])
@pytest.mark.parametrize("single_slices", [False, True])
def test_held_out_patients_in_every_way_of_input(lgg_patients: Path, segmenter: Segmenter, flair_alone: bool, single_slices: bool) -> None:
    evaluation = evaluate_model(lgg_patients, segmenter, Protocol(None, "0", flair_alone, single_slices))
    assert [p.role for p in evaluation.patients] == ["held out", "held out"]
    # Two patients, and not the easiest: a floor that a wrong channel or normalisation would fall through.
    assert summarise(evaluation.patients)["mean_dice"] > (0.4 if flair_alone else 0.6)


def test_what_is_outside_the_brain_is_not_seen(tmp_path: Path, write_slices: Callable[..., Path], segmenter: Segmenter) -> None:
    write_slices(tmp_path / "data" / "p", (5, 6), masks=True)
    for name in ("head_1", "head_2"):
        save_mask(tmp_path / "brains" / "p" / f"{name}_mask.png", 0, 256)
    protocol = Protocol(brain_masks=tmp_path / "brains")
    assert protocol.input == "all three channels, skull removed, whole volumes"
    (blind,) = evaluate_model(tmp_path / "data", segmenter, protocol).patients
    (seeing,) = evaluate_model(tmp_path / "data", segmenter, Protocol()).patients
    assert blind.counts.tp == blind.counts.fp == 0
    assert seeing.counts.tp > 0

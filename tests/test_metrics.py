import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gliomask.metrics import Confusion, area_error, confusion, dice, iou, pixel_accuracy, precision, sensitivity, specificity


def test_counts_of_two_overlapping_squares() -> None:
    predicted, reference = np.zeros((2, 10, 10), bool), np.zeros((2, 10, 10), bool)
    predicted[0, 0:4, 0:4] = True  # 16 pixels
    reference[0, 2:6, 0:4] = True  # 16 pixels, 8 shared
    counts = confusion(predicted, reference)
    assert counts == Confusion(tp=8, fp=8, fn=8, tn=176)
    assert dice(counts) == 0.5
    assert iou(counts) == pytest.approx(1 / 3)
    assert pixel_accuracy(counts) == pytest.approx(184 / 200)


@pytest.mark.parametrize(
    ("predicted", "reference", "expected_dice"),
    [(False, False, 1.0), (True, False, 0.0), (False, True, 0.0), (True, True, 1.0)],
)
def test_empty_and_full_masks(predicted: bool, reference: bool, expected_dice: float) -> None:
    counts = confusion(np.full((3, 3), predicted), np.full((3, 3), reference))
    assert dice(counts) == expected_dice
    assert iou(counts) == expected_dice


def test_no_pixels_have_no_accuracy() -> None:
    assert math.isnan(pixel_accuracy(Confusion(0, 0, 0, 0)))


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        confusion(np.zeros((2, 2), bool), np.zeros((2, 3), bool))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_dice_and_iou_are_symmetric_and_tied(pairs: list[tuple[bool, bool]]) -> None:
    predicted, reference = (np.array(column) for column in zip(*pairs, strict=True))
    forth, back = confusion(predicted, reference), confusion(reference, predicted)
    assert dice(forth) == dice(back)
    assert dice(forth) == pytest.approx(2 * iou(forth) / (1 + iou(forth)))
    assert sum(forth) == len(pairs)


def test_counts_add_up_over_slices() -> None:
    rng = np.random.default_rng(1)
    predicted, reference = rng.random((2, 4, 8, 8)) > 0.5
    parts = [confusion(p, r) for p, r in zip(predicted, reference, strict=True)]
    assert parts[0].plus(parts[1]).plus(parts[2]).plus(parts[3]) == confusion(predicted, reference)


def test_what_was_found_and_what_of_it_is_right() -> None:
    counts = Confusion(tp=6, fp=2, fn=4, tn=88)
    assert sensitivity(counts) == 0.6
    assert precision(counts) == 0.75
    assert specificity(counts) == pytest.approx(88 / 90)
    assert area_error(counts) == pytest.approx(-0.2)


def test_scores_that_nothing_defines_are_nan() -> None:
    assert math.isnan(sensitivity(Confusion(0, 3, 0, 1)))
    assert math.isnan(area_error(Confusion(0, 3, 0, 1)))
    assert math.isnan(precision(Confusion(0, 0, 3, 1)))
    assert math.isnan(specificity(Confusion(3, 0, 1, 0)))

"""The table of docs/ceiling.py rests on masks that are put right in one way at a time."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the extra [volumes] is not installed")


@pytest.fixture(scope="module")
def ceiling() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[1] / "docs" / "ceiling.py"))


def test_one_kind_of_mistake_is_put_right_at_a_time(ceiling: dict[str, Any]) -> None:
    reference, mask = np.zeros((2, 3, 40, 40), bool)
    reference[1, 10:20, 10:20] = True  # found, three pixels too wide to the right
    mask[1, 10:20, 10:23] = True
    reference[0, 30:34, 30:34] = True  # missed
    mask[2, 2:5, 2:5] = True  # there is nothing
    made = ceiling["put_right"](mask, reference)
    assert [int(m.sum()) for m in made.values()] == [139, 130, 155, 146, 139 - 10 + 12, 139 - 20 + 16]
    assert np.array_equal(made["as it is"], mask)
    assert not made["without lesions that touch none of the reference"][2].any()
    assert made["with the reference's lesions that were missed whole"][0].sum() == 16
    # The third column of the three lies beyond two pixels from the outline and stays.
    assert np.flatnonzero(made["right within 2 px of the reference's outline"][1, 15]).tolist() == [*range(10, 20), 22]


def test_the_moved_outline_keeps_to_its_slice(ceiling: dict[str, Any]) -> None:
    reference = np.zeros((3, 40, 40), bool)
    reference[1, 10:20, 10:20] = True
    wider, narrower = ceiling["moved"](reference).values()
    assert wider.sum() == 100 + 40
    assert narrower.sum() == 64
    assert not wider[[0, 2]].any()


def test_half_the_resolution_keeps_what_is_two_pixels_wide(ceiling: dict[str, Any]) -> None:
    reference = np.zeros((2, 40, 40), bool)
    reference[0, 10:20, 10:20] = True
    drawn = ceiling["halved"](reference)
    assert np.array_equal(drawn, reference)
    line = np.zeros((1, 40, 40), bool)
    line[0, 18] = True
    assert not ceiling["halved"](line).any()


def test_slices_count_from_the_nearest_with_tumour(ceiling: dict[str, Any]) -> None:
    mask = np.zeros((6, 4, 4), bool)
    assert ceiling["slices_away"](mask).tolist() == [6] * 6
    mask[1, 2, 2] = mask[2, 0, 0] = True
    assert ceiling["slices_away"](mask).tolist() == [1, 0, 0, 1, 2, 3]


def test_lesions_beside_the_largest_touch_the_reference_or_not(ceiling: dict[str, Any]) -> None:
    reference, mask = np.zeros((2, 3, 40, 40), bool)
    mask[1, 10:20, 10:20], mask[1, 30:35, 30:35], mask[0, 2, 2] = True, True, True
    reference[1, 34, 34:38] = True
    assert ceiling["beside_the_largest"](mask, reference) == [(0.25, True), (0.01, False)]
    assert ceiling["beside_the_largest"](reference, reference) == ceiling["beside_the_largest"](mask & False, reference) == []

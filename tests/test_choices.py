"""The second table of docs/choices.py rests on outlines that are changed within slices."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the extra [volumes] is not installed")
pytest.importorskip("tqdm", reason="the group test is not installed")


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[1] / "docs" / "choices.py"))


@pytest.fixture
def probability() -> np.ndarray:
    """Twenty slices: in the first ten a ring around a hole, at the picture's edge, and in one of these a doubtful pixel far from it."""
    drawn = np.full((20, 24, 24), 0.01, np.float32)
    drawn[:10, 0:9, 4:13] = 0.99
    drawn[:10, 4:6, 7:9] = 0.01
    drawn[0, 20, 20] = 0.6
    return drawn


def test_outlines_change_as_they_say(script: dict[str, Any], probability: np.ndarray) -> None:
    masks = {name: outline(probability) for name, outline in script["OUTLINES"].items()}
    assert all(mask.shape == probability.shape and not mask[10:].any() for mask in masks.values())
    bundled = masks["as bundled"]
    np.testing.assert_array_equal(bundled, probability >= 0.5)
    whole = bundled.copy()
    whole[:10, 4:6, 7:9] = True
    np.testing.assert_array_equal(masks["holes filled"], whole)
    np.testing.assert_array_equal(masks["closed by 2 pixels, holes filled"], whole)
    assert not masks["smoothed over 1 pixel"][0, 20, 20] and masks["smoothed over 1 pixel"][0, 2, 8]


def test_an_outline_takes_the_thresholds_place_and_small_parts_still_go(script: dict[str, Any], probability: np.ndarray) -> None:
    bundled, outlines = script["BUNDLED"], script["OUTLINES"]
    plain = bundled._replace(smoothing_mm=0.0)
    np.testing.assert_array_equal(plain.mask(probability, outlines["as bundled"]), plain.mask(probability))
    filled = plain.mask(probability, outlines["holes filled"])
    assert filled[0, 4, 7] and not plain.mask(probability)[0, 4, 7] and not filled[0, 20, 20]

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gliomask import EngineError
from gliomask.surfaces import OutlineDistances, hd95, outline, outline_distances, surface_dice

Mask = NDArray[np.bool_]


def mask(*pixels: tuple[int, int, int], slices: int = 2, size: int = 20) -> Mask:
    """Return a mask with these pixels (z, y, x)."""
    array = np.zeros((slices, size, size), bool)
    for pixel in pixels:
        array[pixel] = True
    return array


def square(z: int, top: int, left: int, side: int) -> Mask:
    array = mask()
    array[z, top : top + side, left : left + side] = True
    return array


def test_two_pixels_3_px_apart() -> None:
    distances = outline_distances(mask((0, 5, 5)), mask((0, 5, 8)))
    assert distances.predicted_to_reference.tolist() == distances.reference_to_predicted.tolist() == [3.0]
    assert hd95(distances) == 3.0
    assert surface_dice(distances, 2.9) == 0.0
    assert surface_dice(distances, 3.0) == 1.0


def test_pixels_have_a_height_and_a_width_in_mm() -> None:
    distances = outline_distances(mask((0, 5, 5)), mask((0, 6, 8)), (4.0, 1.0))
    assert hd95(distances) == pytest.approx(5.0)  # 4 mm down and 3 mm across


@pytest.mark.parametrize("pixel_mm", [0.2, 0.4, 2 / 3, 1.0])
def test_what_an_affine_in_single_precision_rounds_does_not_pass_the_tolerance(pixel_mm: float) -> None:
    apart = round(2.0 / pixel_mm)
    for stored in (np.float32(pixel_mm), np.nextafter(np.float32(pixel_mm), np.float32(2))):
        distances = outline_distances(mask((0, 5, 5)), mask((0, 5, 5 + apart)), (1.0, float(stored)))
        assert surface_dice(distances, 2.0) == 1.0
        assert surface_dice(distances, 1.999) == 0.0


def test_a_square_in_a_larger_one() -> None:
    # The inner 3 x 3 has an outline of 8 pixels, all 1 px from that of the 5 x 5 around it, which has 16; its corners are √2 away.
    distances = outline_distances(square(0, 6, 6, 3), square(0, 5, 5, 5))
    assert distances.predicted_to_reference.tolist() == [1.0] * 8
    assert sorted(distances.reference_to_predicted) == [1.0] * 12 + [pytest.approx(math.sqrt(2))] * 4
    assert hd95(distances) == pytest.approx(math.sqrt(2))
    assert surface_dice(distances, 1.0) == pytest.approx(20 / 24)


def test_the_larger_direction_counts() -> None:
    # A stray pixel far away: 1 of the 2 predicted ones, and none of the reference's.
    distances = outline_distances(mask((0, 5, 5), (0, 5, 15)), mask((0, 5, 5)))
    assert distances.reference_to_predicted.tolist() == [0.0]
    assert hd95(distances) == pytest.approx(9.5)  # 95 % of the way from 0 to 10


def test_distances_stay_in_their_slice() -> None:
    distances = outline_distances(mask((0, 5, 5), (1, 5, 5)), mask((0, 5, 5), (1, 5, 9)))
    assert distances.predicted_to_reference.tolist() == [0.0, 4.0]


def test_a_slice_that_one_mask_leaves_empty_costs_surface_dice_and_no_distance() -> None:
    distances = outline_distances(mask((0, 5, 5), (1, 5, 5)), mask((0, 5, 6)))
    assert sorted(distances.predicted_to_reference) == [1.0, math.inf]
    assert hd95(distances) == 1.0
    assert surface_dice(distances) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("predicted", "reference", "expected_hd95", "expected_surface_dice"),
    [(mask(), mask(), 0.0, 1.0), (mask((0, 1, 1)), mask(), math.nan, 0.0), (mask((0, 1, 1)), mask((1, 1, 1)), math.nan, 0.0)],
    ids=["both empty", "one empty", "no slice shared"],
)
def test_empty_cases(predicted: Mask, reference: Mask, expected_hd95: float, expected_surface_dice: float) -> None:
    distances = outline_distances(predicted, reference)
    assert hd95(distances) == pytest.approx(expected_hd95, nan_ok=True)
    assert surface_dice(distances) == expected_surface_dice


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 20, 20\).*\(1, 20, 20\)"):
        outline_distances(mask(), mask(slices=1))


def test_without_scipy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(EngineError, match=r"pip install 'gliomask\[evaluate\]'"):
        outline_distances(mask((0, 5, 5)), mask((0, 5, 8)))


def test_the_border_of_the_picture_is_a_border_of_the_mask() -> None:
    assert outline(np.ones((4, 5), bool)).sum() == 14


def brute_force(of: Mask, to: Mask) -> list[float]:
    """Return each outline pixel's distance to the nearest one of the other, by trying all."""
    found = []
    for one, other in zip(of, to, strict=True):
        targets = np.argwhere(outline(other))
        found += [np.hypot(*(targets - pixel).T).min() if len(targets) else math.inf for pixel in np.argwhere(outline(one))]
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.6))
def test_distances_are_those_of_trying_all(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.random((2, 9, 12)) < density for _ in range(2))
    distances = outline_distances(one, other)
    assert distances.predicted_to_reference == pytest.approx(brute_force(one, other))
    assert distances.reference_to_predicted == pytest.approx(brute_force(other, one))
    parts = [outline_distances(a[None], b[None]) for a, b in zip(one, other, strict=True)]
    whole: OutlineDistances = parts[0].plus(parts[1])
    assert whole.predicted_to_reference == pytest.approx(distances.predicted_to_reference)

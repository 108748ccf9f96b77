from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gliomask.postprocess import (
    Postprocessing,
    from_log_odds,
    log_odds,
    slice_distance_mm,
    smooth_across_slices,
    without_faint_ends,
    without_small_parts,
)


def column(*probabilities: float) -> np.ndarray:
    """Slices of one pixel each."""
    return np.array(probabilities, np.float32).reshape(-1, 1, 1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.001, 0.999), min_size=1, max_size=9))
def test_log_odds_go_there_and_back(values: list[float]) -> None:
    probability = np.array(values, np.float32)
    assert from_log_odds(log_odds(probability)) == pytest.approx(probability, abs=1e-5)


def test_smoothing_is_a_gaussian_mean_of_log_odds() -> None:
    # One standard deviation a slice: weights of exp(-d²/2) up to three slices away, the ends repeated.
    probability = column(0.1, 0.1, 0.9, 0.1, 0.1)
    weights = np.exp(-0.5 * np.arange(-3, 4) ** 2)
    odds = np.array([-1, -1, -1, 1, -1, -1, -1]) * np.log(9.0)  # as the middle slice sees its neighbours
    expected = 1 / (1 + np.exp(-(weights @ odds) / weights.sum()))
    assert smooth_across_slices(probability, 5.0, 5.0)[2, 0, 0] == pytest.approx(expected, abs=1e-5)


def test_smoothing_depends_on_millimetres_not_on_slices() -> None:
    thick = column(0.01, 0.01, 0.95, 0.01, 0.01)
    thin = np.repeat(thick, 5, axis=0)
    assert smooth_across_slices(thin, 3.0, 1.0)[12, 0, 0] == pytest.approx(smooth_across_slices(thick, 3.0, 5.0)[2, 0, 0], abs=0.2)


def test_what_has_no_neighbours_stays_as_it_is() -> None:
    probability = column(0.2, 0.9, 0.4)
    assert smooth_across_slices(probability, 0.0, 5.0) is probability
    assert smooth_across_slices(probability, 3.0, slice_distance_mm(3)) is probability  # three pictures are no volume
    single = probability[:1]
    assert smooth_across_slices(single, 3.0, 5.0) is single


def test_constant_slices_stay_constant() -> None:
    assert smooth_across_slices(np.full((6, 2, 2), 0.3, np.float32), 4.0, 2.0) == pytest.approx(0.3, abs=1e-5)


def lesions(*sizes: int) -> np.ndarray:
    mask = np.zeros((1, 2 * len(sizes), max(sizes)), bool)
    for row, size in enumerate(sizes):
        mask[0, 2 * row, :size] = True
    return mask


def test_satellites_are_smaller_than_a_share_of_the_largest() -> None:
    mask = lesions(100, 10, 9, 1).repeat(2, axis=0)
    assert without_small_parts(mask, Postprocessing(smallest_share=0.1)).sum() == 220
    assert without_small_parts(mask, Postprocessing(smallest_share=0.2)).sum() == 200


def test_no_share_or_an_empty_mask_changes_nothing() -> None:
    for mask in (lesions(100, 1), lesions(100, 1).repeat(2, axis=0)):
        np.testing.assert_array_equal(without_small_parts(mask, Postprocessing()), mask)
    assert not without_small_parts(np.zeros((2, 3, 3), bool), Postprocessing(smallest_share=0.5)).any()


@pytest.mark.parametrize("distance_mm", [5.0, 30.0])
def test_a_slice_by_itself_has_a_share_of_its_own(distance_mm: float) -> None:
    processing = Postprocessing(smallest_share=0.5, smallest_share_in_slice=0.1)
    assert without_small_parts(lesions(100, 10, 9), processing, distance_mm).sum() == 110
    far = distance_mm > 10.0
    assert without_small_parts(lesions(100, 10, 9).repeat(2, axis=0), processing, distance_mm).sum() == (220 if far else 200)


def test_slices_far_apart_are_judged_one_by_one() -> None:
    mask = np.concatenate([lesions(100, 1), lesions(5, 1)[..., :5].repeat(20, axis=-1)], axis=0)
    mask[1] = False
    mask[1, 0, :5] = True  # all that the second slice has, and a twentieth of the first's
    processing = Postprocessing(smallest_share=0.1, smallest_share_in_slice=0.1)
    assert without_small_parts(mask, processing, distance_mm=30.0)[1].sum() == 5
    far = np.stack([mask[0], np.zeros_like(mask[0]), mask[1]])  # not touching
    assert without_small_parts(far, processing, distance_mm=5.0)[2].sum() == 0


@pytest.mark.parametrize("distance_mm", [5.0, 30.0])
def test_a_part_in_a_slice_by_itself_needs_an_area(distance_mm: float) -> None:
    processing = Postprocessing(smallest_area_mm2=40.0)
    assert without_small_parts(lesions(100, 10, 9), processing, distance_mm, pixel_mm2=4.0).sum() == 110
    assert without_small_parts(lesions(100, 10, 9), processing, distance_mm, pixel_mm2=2.0).sum() == 100
    assert not without_small_parts(lesions(10, 9), processing, distance_mm).any(), "nothing need be left"
    far = distance_mm > 10.0
    assert without_small_parts(lesions(100, 10, 9).repeat(2, axis=0), processing, distance_mm).sum() == (200 if far else 238)


def slices(*areas: int) -> np.ndarray:
    return (np.arange(200) < np.array(areas)[:, None])[:, None]


@pytest.mark.parametrize(
    ("areas", "distance_mm", "pixel_mm2", "kept"),
    [
        ([1, 19, 20, 100, 5, 100, 19], 5.0, 1.0, [0, 0, 20, 100, 5, 100, 0]),  # what lies between is no end
        ([1, 19, 20, 100, 5, 100, 19], 5.0, 2.0, [0, 19, 20, 100, 5, 100, 19]),
        ([1, 19, 20, 100, 5, 100, 19], 30.0, 1.0, [1, 19, 20, 100, 5, 100, 19]),  # slices by themselves
        ([2, 3, 10, 4, 2], 5.0, 1.0, [0, 3, 10, 4, 0]),  # a small tumour is small in all its slices
        ([19], 5.0, 1.0, [19]),  # a slice alone has no ends
        ([0, 0], 5.0, 1.0, [0, 0]),
    ],
)
def test_faint_ends_of_a_volume_are_left_unmarked(areas: list[int], distance_mm: float, pixel_mm2: float, kept: list[int]) -> None:
    processing = Postprocessing(smallest_area_mm2=20.0, smallest_end=0.3)
    found = without_faint_ends(slices(*areas), processing, distance_mm, pixel_mm2)
    assert np.count_nonzero(found, axis=(1, 2)).tolist() == kept
    for off in (Postprocessing(), replace(processing, smallest_area_mm2=0.0), replace(processing, smallest_end=0.0)):
        np.testing.assert_array_equal(without_faint_ends(slices(*areas), off, distance_mm), slices(*areas))


def test_outermost_slices_are_repeated_beyond_the_end() -> None:
    weights = np.exp(-0.5 * np.arange(-3, 4) ** 2)
    odds = np.array([1, 1, 1, 1, -1, -1, -1]) * np.log(9.0)
    expected = 1 / (1 + np.exp(-(weights @ odds) / weights.sum()))
    assert smooth_across_slices(column(0.9, 0.1, 0.1, 0.1, 0.1), 5.0, 5.0)[0, 0, 0] == pytest.approx(expected, abs=1e-5)

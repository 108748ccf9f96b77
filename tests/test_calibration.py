import numpy as np
import pytest

from gliomask.evaluation.calibration import ALL_PIXELS, IN_DOUBT, in_doubt, pooled, reliabilities, reliability


def test_probabilities_that_mean_what_they_say_have_no_error() -> None:
    said = np.repeat(np.array([0.0, 0.5, 1.0], np.float32), 4)
    truth = np.array([False] * 4 + [True, False] * 2 + [True] * 4)
    found = reliability(said, truth)
    assert found.expected_calibration_error == 0.0
    assert found.as_json()["brier_score"] == pytest.approx(4 * 0.25 / 12)
    assert [point["pixels"] for point in found.as_json()["curve"]] == [4, 4, 4]


def test_the_error_is_the_pixels_mean_distance_from_the_truth_of_their_bin() -> None:
    # Three pixels said 0.9 of which one is tumour: |1/3 - 0.9|; one said 0.1 rightly none: 0.1.
    said, truth = np.array([0.9, 0.9, 0.9, 0.1], np.float32), np.array([True, False, False, False])
    assert reliability(said, truth).expected_calibration_error == pytest.approx((3 * (0.9 - 1 / 3) + 0.1) / 4)


def test_background_does_not_drown_the_pixels_in_doubt() -> None:
    said, truth = np.zeros((1, 10, 10), np.float32), np.zeros((1, 10, 10), bool)
    said[0, 0, :4] = 0.8  # four of a hundred, none of them tumour
    found = reliabilities(said, truth)
    assert found[ALL_PIXELS].expected_calibration_error == pytest.approx(0.032)
    assert found[IN_DOUBT].expected_calibration_error == pytest.approx(0.8)
    assert found[IN_DOUBT].pixels.sum() == 4


def test_before_and_after_are_told_of_the_same_pixels() -> None:
    before = np.array([0.5, 0.5, 0.999, 0.999], np.float32)
    after, truth = np.array([0.4, 0.4, 0.9, 0.9], np.float32), np.array([True, False, True, True])
    assert reliabilities(after, truth)[IN_DOUBT].pixels.sum() == 4
    found = reliabilities(after, truth, in_doubt(before))[IN_DOUBT]
    assert found.pixels.sum() == 2
    assert found.expected_calibration_error == pytest.approx(0.1)


def test_patients_add_up() -> None:
    rng = np.random.default_rng(0)
    said, truth = rng.random((4, 8, 8), np.float32), rng.random((4, 8, 8)) > 0.5
    parts = pooled([reliabilities(s[None], t[None]) for s, t in zip(said, truth, strict=True)])
    whole = reliabilities(said, truth)
    for region, found in whole.items():
        assert parts[region].expected_calibration_error == pytest.approx(found.expected_calibration_error)


def test_no_pixels_in_doubt_have_no_error() -> None:
    none = reliabilities(np.zeros((1, 2, 2), np.float32), np.zeros((1, 2, 2), bool))[IN_DOUBT].as_json()
    assert (none["pixels"], none["expected_calibration_error"], none["curve"]) == (0, None, [])

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gliomask import Volume
from gliomask.preprocess import (
    Normalisation,
    apply_windows,
    fill_channels,
    from_network_grid,
    head_box,
    holds_head,
    intensity_window,
    intensity_windows,
    place_padding,
    place_paddings,
    to_network_grid,
)

MEDIAN = Normalisation("foreground_median", headroom=4.0)
FULL = Normalisation("full_scale")


def normalise(voxels: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    return apply_windows(voxels, intensity_windows(voxels, normalisation))


def half_tissue(value: float, dtype: str = "float32") -> np.ndarray:
    plane = np.zeros((10, 10), dtype)
    plane[5:] = value
    return plane


def test_tissue_median_lands_on_a_quarter() -> None:
    assert intensity_window(half_tissue(60.0), MEDIAN) == (0.0, 240.0)


@pytest.mark.parametrize(
    ("dtype", "largest", "expected"),
    [("uint8", 255, 255.0), ("uint16", 40_000, 65535.0), ("float32", 0.7, 1.0), ("float32", 1.0, 1.0), ("float32", 200.0, 255.0)],
)
def test_full_scale_follows_the_stored_type(dtype: str, largest: float, expected: float) -> None:
    assert intensity_window(half_tissue(largest, dtype), FULL) == (0.0, expected)


@pytest.mark.parametrize("value", [200, 1e30])
def test_a_channel_that_is_constant_but_for_a_few_voxels_stays_finite(value: float) -> None:
    channel = np.full((2, 40, 40, 1), value, np.float32)
    channel[0, :2, :5] = 0
    out = normalise(channel, MEDIAN)
    assert np.isfinite(out).all() and not out[1].any()


@pytest.mark.parametrize("value", [0, 7, -3])
@pytest.mark.parametrize("normalisation", [MEDIAN, FULL])
def test_constant_channel_stays_finite(value: int, normalisation: Normalisation) -> None:
    out = normalise(np.full((2, 4, 4, 1), value, np.int16), normalisation)
    assert np.isfinite(out).all()
    assert out.min() >= 0 and out.max() <= 1


def test_one_bright_voxel_does_not_dim_the_rest(phantom: Volume) -> None:
    bright = phantom.voxels.astype(np.float32)
    bright[0, 0, 0] = 30_000
    plain, spoilt = normalise(phantom.voxels, MEDIAN), normalise(bright, MEDIAN)
    assert np.abs(plain[6] - spoilt[6]).max() < 0.02


@given(st.floats(0.01, 500.0), st.floats(-50.0, 50.0))
@settings(max_examples=25, deadline=None)
def test_gain_and_offset_of_the_scanner_cancel(gain: float, offset: float) -> None:
    rng = np.random.default_rng(3)
    voxels = rng.gamma(2.0, 20.0, (3, 16, 16, 2))
    np.testing.assert_allclose(normalise(voxels, MEDIAN), normalise(voxels * gain + offset, MEDIAN), atol=1e-3)


def test_channels_have_windows_of_their_own() -> None:
    voxels = np.stack([half_tissue(10.0), half_tissue(1000.0)], axis=-1)[None]
    out = normalise(voxels, MEDIAN)
    np.testing.assert_allclose(out[..., 0], out[..., 1])


@pytest.mark.parametrize(
    "change",
    [
        lambda v: (v - 60.0) / 20.0,
        lambda v: v + 300.0,
        lambda v: np.clip((v - 60.0) / 200.0 + 0.5, 0.0, 1.0),
        lambda v: np.round(v * 10.0).astype(np.uint16) + 5000,
    ],
    ids=["zero mean", "shifted", "0..1", "16 bit, shifted"],
)
def test_tissue_is_as_bright_as_ever_wherever_its_padding_lies(change: Callable[[np.ndarray], np.ndarray]) -> None:
    tissue = np.random.default_rng(0).normal(60.0, 20.0, (4, 32, 32)).clip(2.0)
    inside = np.zeros(tissue.shape, bool)
    inside[:, 8:24, 8:24] = True
    plain = np.where(inside, tissue, 0.0)[..., None]
    moved = np.where(inside, change(tissue), 0)[..., None]
    placed = place_paddings(moved, MEDIAN)
    assert place_paddings(plain, MEDIAN) is plain
    assert np.abs(normalise(placed, MEDIAN) - normalise(plain, MEDIAN))[inside].max() < 0.05
    assert normalise(placed, MEDIAN)[~inside].max() == 0.0


def test_full_scale_keeps_the_stored_type_that_it_divides_by() -> None:
    shifted = np.full((2, 8, 8, 1), 20_000, np.uint16)
    shifted[:, :4] = 0
    shifted[:, 6:] = 30_000
    assert place_paddings(shifted, MEDIAN).dtype != np.uint16
    assert place_paddings(shifted, FULL) is shifted
    assert normalise(place_paddings(shifted, FULL), FULL).max() == pytest.approx(30_000 / 65_535)


def test_padding_below_all_tissue_is_placed_too() -> None:
    tissue = np.random.default_rng(0).normal(60.0, 20.0, (4, 32, 32)).clip(2.0)
    tissue[:, :16] = -1000.0
    placed = place_padding(tissue)
    assert -20.0 < placed.min() < 20.0
    np.testing.assert_array_equal(placed[:, 16:], tissue[:, 16:])


@pytest.mark.parametrize("value", [-32768, -2000, -1024, -500])
@pytest.mark.parametrize("lines", [1, 4], ids=["1.6 %", "6.2 %"])
@pytest.mark.parametrize("air", ["noise", "zero"])
def test_a_strip_of_padding_far_below_a_head_in_air_does_not_move_its_window(phantom: Volume, value: int, lines: int, air: str) -> None:
    flair = phantom.flair[:, : 64 * (phantom.flair.shape[1] // 64)].astype(np.int16)
    if air == "zero":
        flair[flair < 15] = 0
        assert np.mean(flair == 0) > 0.3
    padded = flair.copy()
    padded[:, : lines * flair.shape[1] // 64] = value
    low, high = intensity_window(place_padding(padded), MEDIAN)
    expected = intensity_window(flair, MEDIAN)
    assert (low, high) == pytest.approx(expected, abs=0.03 * expected[1])
    assert np.ptp(intensity_window(padded, MEDIAN)) > 1.3 * np.ptp(expected)  # as it would be


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_scans_without_padding_and_heads_in_black_air_are_left_alone(phantom: Volume, dtype: str) -> None:
    flair = phantom.flair.astype(dtype)
    for channel in (flair, np.where(flair > 20, flair, 0).astype(dtype), flair + np.asarray(50, dtype), np.zeros((2, 4, 4), dtype)):
        assert place_padding(channel) is channel


def test_apply_windows_clips() -> None:
    out = apply_windows(np.array([[-5.0], [5.0], [50.0]]), [(0.0, 10.0)])
    assert out.dtype == np.float32
    assert out.ravel().tolist() == [0.0, 0.5, 1.0]


def test_fill_channels_repeats_flair_without_copying() -> None:
    grey = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
    filled = fill_channels(grey, 3)
    assert filled.shape == (1, 2, 2, 3)
    assert np.shares_memory(filled, grey)
    assert (filled[..., 2] == grey[..., 0]).all()


def test_network_grid_is_left_alone_where_it_fits() -> None:
    slices = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    np.testing.assert_array_equal(to_network_grid(slices, 64), slices)


@given(st.integers(20, 150), st.integers(20, 150))
@settings(max_examples=25, deadline=None)
def test_there_and_back_keeps_place(height: int, width: int) -> None:
    y, x = np.mgrid[:height, :width]
    disc = ((y - height * 0.4) ** 2 + (x - width * 0.6) ** 2 < (min(height, width) * 0.25) ** 2).astype(np.float32)
    there = to_network_grid(disc[None, ..., None], 128)
    assert there.shape == (1, 128, 128, 1)
    back = from_network_grid(there[..., 0], height, width)[0]
    assert back.shape == (height, width)
    both = (back > 0.5) & (disc > 0.5)
    assert 2 * both.sum() / ((back > 0.5).sum() + disc.sum()) > 0.93
    for axis in (y, x):  # the centre moves by less than a quarter of a pixel
        assert abs((axis * (back > 0.5)).sum() / (back > 0.5).sum() - (axis * disc).sum() / disc.sum()) < 0.25


def test_padding_is_about_the_middle() -> None:
    out = to_network_grid(np.ones((1, 64, 32, 1), np.float32), 64)[0, ..., 0]
    assert out[:, 16:48].all()
    assert not out[:, :16].any() and not out[:, 48:].any()


@pytest.mark.parametrize(("voxels", "value"), [(1, 1e8), (80, 1e6), (300, 1e5)])
def test_a_few_wild_voxels_do_not_move_the_window(voxels: int, value: float) -> None:
    rng = np.random.default_rng(0)
    head = np.where(rng.random((20, 64, 64)) < 0.4, rng.normal(300, 40, (20, 64, 64)), rng.normal(8, 3, (20, 64, 64)))
    before = intensity_window(head, Normalisation())
    head.ravel()[rng.choice(head.size, voxels, replace=False)] = value
    assert intensity_window(head, Normalisation()) == pytest.approx(before, rel=0.02, abs=1)


def test_the_scale_of_intensities_does_not_matter() -> None:
    head = np.random.default_rng(0).gamma(2.0, 50.0, (4, 32, 32))
    low, high = intensity_window(head, Normalisation())
    assert intensity_window(head * 1e-12, Normalisation()) == pytest.approx((low * 1e-12, high * 1e-12), rel=1e-6)


def test_the_box_holds_the_head_and_a_margin() -> None:
    flair = np.zeros((2, 256, 256), np.float32)
    flair[0, 100:140, 60:160] = 0.3
    flair[1, 110:150, 60:150] = 0.3
    rows, columns = head_box(flair, 32)
    assert (rows.start, rows.stop) == (77, 173)  # 74 rows with the margin, 96 as a multiple, about their middle
    assert (columns.start, columns.stop) == (46, 174)
    assert head_box(flair, 256) == (slice(0, 256), slice(0, 256))


def test_a_box_stays_within_the_slice() -> None:
    flair = np.zeros((1, 256, 256), np.float32)
    flair[0, :40, 200:] = 0.3
    assert head_box(flair, 32) == (slice(0, 64), slice(160, 256))


def test_specks_are_no_head() -> None:
    flair = np.zeros((2, 256, 256), np.float32)
    flair[0, 5, 5:9] = 1.0
    flair[1, 100:120, 100:120] = 0.2
    assert holds_head(flair).tolist() == [False, True]


def test_channels_begin_where_their_own_windows_do() -> None:
    assert apply_windows(np.array([[5.0, 105.0]]), [(0.0, 10.0), (100.0, 110.0)]).tolist() == [[0.5, 0.5]]

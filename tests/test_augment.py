from dataclasses import fields, replace

import numpy as np
import pytest

pytest.importorskip("cv2", reason="training's extra is not installed: pip install 'gliomask[train]'")

import cv2

from gliomask import Volume
from gliomask.dataset.augment import (
    FLAIR,
    ROTATION_FLIP_SCALE,
    Augmentation,
    draw_outside,
    drop_sequences,
    remove_outside,
    vary_intensity,
    warp,
)
from gliomask.dataset.batches import Case, CaseWindows, make_batch
from gliomask.phantom import lesion_mask
from gliomask.preprocess import Normalisation, apply_windows

NONE = Augmentation(**{f.name: 0.0 for f in fields(Augmentation)})


@pytest.fixture
def case(phantom: Volume) -> Case:
    images, masks = np.asarray(phantom.voxels), lesion_mask()
    windows = CaseWindows.of(images, Normalisation())
    return Case(images, masks[..., None], windows, np.flatnonzero(masks.any(axis=(1, 2))), (128.0, 128.0))


def test_no_augmentation_is_a_crop(case: Case) -> None:
    image, mask = warp(case.images[6], case.masks[6], 100, 1.0, (127.5, 127.5), NONE, np.random.default_rng(0))
    np.testing.assert_array_equal(image, case.images[6, 78:178, 78:178])
    np.testing.assert_array_equal(mask, case.masks[6, 78:178, 78:178])


def test_image_and_mask_move_together(case: Case) -> None:
    bright = np.repeat(case.masks[6] * np.uint8(255), 3, axis=-1)
    for seed in range(20):
        image, mask = warp(bright, case.masks[6], 192, 1.0, (128.0, 128.0), Augmentation(), np.random.default_rng(seed))
        np.testing.assert_array_equal(image[..., 0] > 127, mask[..., 0])
        assert mask.any()


def test_flip_mirrors_left_and_right(case: Case) -> None:
    image, _ = warp(case.images[6], case.masks[6], 256, 1.0, (127.5, 127.5), replace(NONE, flip=1.0), np.random.default_rng(0))
    np.testing.assert_array_equal(image, case.images[6, :, ::-1])


def test_zoom_halves_the_resolution(case: Case) -> None:
    _, mask = warp(case.images[6], case.masks[6], 128, 0.5, (127.5, 127.5), NONE, np.random.default_rng(0))
    assert mask.sum() == pytest.approx(case.masks[6].sum() / 4, rel=0.05)


@pytest.mark.parametrize(("alone", "outer"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_missing_sequences_become_flair(alone: float, outer: float) -> None:
    image = np.random.default_rng(0).random((8, 8, 3), np.float32)
    out = drop_sequences(image.copy(), replace(NONE, flair_alone=alone, missing_outer=outer), np.random.default_rng(0))
    replaced = [bool((out[..., c] == image[..., FLAIR]).all()) for c in (0, 2)]
    assert sum(replaced) == 2 * alone + outer
    np.testing.assert_array_equal(out[..., FLAIR], image[..., FLAIR])


def test_either_outer_sequence_may_be_the_missing_one() -> None:
    image = np.random.default_rng(0).random((8, 8, 3), np.float32)
    outs = [drop_sequences(image.copy(), replace(NONE, missing_outer=1.0), np.random.default_rng(seed)) for seed in range(20)]
    replaced = {tuple(bool((out[..., c] == image[..., FLAIR]).all()) for c in (0, 2)) for out in outs}
    assert replaced == {(True, False), (False, True)}


def test_skull_removal_takes_the_rim_and_never_the_lesion(case: Case) -> None:
    image, tumour = apply_windows(case.images[6], case.windows.volume), case.masks[6, ..., 0]
    out = remove_outside(image, tumour, "skull removed", np.random.default_rng(0))
    scalp = (slice(120, 136), slice(49, 53))
    assert image[scalp].max() > 0.1
    assert not out[scalp].any()
    np.testing.assert_array_equal(out[tumour], image[tumour])
    assert out[128, 150].any()


def test_skull_removal_by_a_brain_mask_keeps_brain_and_lesion_alone(case: Case) -> None:
    image, tumour = apply_windows(case.images[6], case.windows.volume), case.masks[6, ..., 0]
    brain = np.zeros((256, 256), bool)
    brain[100:200, 120:180] = True
    for seed in range(5):
        out = remove_outside(image, tumour, "skull removed", np.random.default_rng(seed), brain)
        np.testing.assert_array_equal(out[tumour], image[tumour])
        assert out[150, 150].any() and not out[195:, :110].any() and not out[:80].any()


def test_outside_is_drawn_as_often_as_asked() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_outside(replace(NONE, skull_removal=0.3, clean_background=0.2), rng) for _ in range(2000)]
    assert drawn.count("skull removed") / 2000 == pytest.approx(0.3, abs=0.04)
    assert drawn.count("clean") / 2000 == pytest.approx(0.2, abs=0.04)


def test_a_skull_removed_slice_is_scaled_as_a_stripped_scan_is(case: Case) -> None:
    brain = np.zeros(case.masks.shape[:3], bool)
    brain[:, 60:200, 70:190] = True
    stripped = CaseWindows.of(case.images * brain[..., None], Normalisation())
    known = replace(case, masks=np.concatenate([case.masks, brain[..., None]], axis=-1), stripped=stripped)
    images, masks = make_batch([known], 0, 8, 256, 1.0, replace(NONE, skull_removal=1.0), 1.0)
    assert masks.shape == (8, 256, 256, 1) and masks.any()
    outside = ~cv2.dilate(brain[6].astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
    assert not images[:, outside].any()
    inner = np.s_[100:150, 100:150]
    scaled = [apply_windows(s, w)[inner] for z, s in enumerate(case.images) for w in (stripped.volume, stripped.slices[z])]
    assert all(min(np.abs(image[inner] - one).max() for one in scaled) < 1e-5 for image in images)


def test_every_patient_is_drawn(case: Case) -> None:
    images, _ = make_batch([case, replace(case, images=np.zeros_like(case.images))], 0, 64, 64, 0.25, NONE, 0.5)
    assert images.any(axis=(1, 2, 3)).mean() == pytest.approx(0.5, abs=0.2)


def test_rotations_are_of_as_many_degrees_as_asked(case: Case) -> None:
    before, turned = np.argwhere(case.masks[6, ..., 0]).mean(axis=0) - 127.5, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        _, mask = warp(case.images[6], case.masks[6], 256, 1.0, (127.5, 127.5), replace(NONE, rotation_degrees=10.0), rng)
        y, x = np.argwhere(mask[..., 0]).mean(axis=0) - 127.5
        turned.append(np.degrees(np.arctan2(y, x) - np.arctan2(*before)))
    assert 8 < max(turned) < 10.5 and -10.5 < min(turned) < -8


@pytest.mark.parametrize("name", ["gain", "gamma", "bias_field", "noise", "blur", "contrast"])
def test_each_intensity_change_changes_within_bounds(case: Case, name: str) -> None:
    image = apply_windows(case.images[6], case.windows.volume)
    strength = 1.0 if name in ("noise", "blur", "contrast") else 0.3
    out = vary_intensity(image.copy(), replace(NONE, **{name: strength}), np.random.default_rng(1))
    assert out.shape == image.shape and out.dtype == np.float32
    assert out.min() >= 0 and out.max() <= 1
    assert not np.allclose(out, image, atol=1e-3)


def test_batches_are_a_function_of_seed_and_step(case: Case) -> None:
    first, again, other = (make_batch([case], step, 4, 96, 1.0, Augmentation(), 0.5, seed=9) for step in (3, 3, 4))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first[0], other[0])
    images, masks = first
    assert (images.shape, masks.shape) == ((4, 96, 96, 3), (4, 96, 96, 1))
    assert images.dtype == masks.dtype == np.float32
    assert set(np.unique(masks)) <= {0.0, 1.0}


def test_tumour_slices_are_drawn_as_often_as_asked(case: Case) -> None:
    for share in (0.0, 1.0):
        masks = np.concatenate([make_batch([case], s, 8, 256, 1.0, ROTATION_FLIP_SCALE, share)[1] for s in range(4)])
        # Without oversampling a slice with tumour comes up as often as it occurs, in 5 of 12.
        assert masks.any(axis=(1, 2, 3)).mean() == (1.0 if share else pytest.approx(5 / 12, abs=0.25))

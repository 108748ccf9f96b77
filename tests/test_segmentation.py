from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import centred, scan
from PIL import Image

import gliomask
from gliomask import InputError, Segmentation, Segmenter, Volume
from gliomask.confidence import AgreementModel, Calibration, features
from gliomask.grid import FIELD_OF_VIEW_MM
from gliomask.metrics import confusion, dice
from gliomask.models import find_model
from gliomask.phantom import draw_phantom, lesion_mask
from gliomask.postprocess import Postprocessing, smooth_across_slices
from gliomask.quality import Quality


class BrightEngine:
    """Calls bright what is bright: a network whose answer can be worked out by hand."""

    description = "test"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, slices: np.ndarray) -> np.ndarray:
        assert slices.dtype == np.float32 and slices.flags.c_contiguous
        self.batches.append(len(slices))
        return slices[..., 1:2].copy()


@pytest.fixture
def bright() -> Segmenter:
    plain = replace(find_model("fast"), threshold=0.5, postprocessing=Postprocessing(), calibration=Calibration())
    segmenter = Segmenter(plain, force=True)  # it is given boxes and black, which are no heads
    segmenter.engine = BrightEngine()
    return segmenter


def test_the_phantoms_lesion_is_found(phantom: Volume, segmenter: Segmenter) -> None:
    result = segmenter.segment(phantom)
    assert result.found
    assert result.mask.dtype == bool
    assert result.mask.shape == result.probability.shape == (12, 256, 256)
    assert dice(confusion(result.mask, lesion_mask())) > 0.8


def test_less_is_marked_in_a_phantom_without_lesion(phantom: Volume, segmenter: Segmenter) -> None:
    clean = segmenter.segment(draw_phantom(lesion=False))
    # Not nothing: the network has never seen a head like the phantom's.
    assert clean.mask.sum() < 0.25 * segmenter.segment(phantom).mask.sum()


def test_nothing_in_a_black_image(segmenter: Segmenter) -> None:
    result = segmenter.segment(np.zeros((64, 64), np.uint8))
    assert not result.found
    assert not result.mask.any()


@pytest.mark.parametrize("scale", [np.uint8(1), np.uint16(200), np.float32(1 / 255)])
def test_the_stored_type_does_not_matter(phantom: Volume, bright: Segmenter, scale: np.generic) -> None:
    plain = bright.segment(phantom.voxels[5])
    scaled = bright.segment(phantom.voxels[5].astype(type(scale)) * scale)
    np.testing.assert_allclose(plain.probability, scaled.probability, atol=1e-5)


def test_grey_counts_as_flair_in_all_channels(phantom: Volume, segmenter: Segmenter) -> None:
    flair = phantom.flair[5]
    alone = segmenter.segment(flair)
    thrice = segmenter.segment(np.repeat(flair[..., None], 3, axis=-1))
    np.testing.assert_allclose(alone.probability, thrice.probability, atol=1e-5)


@pytest.mark.parametrize("shape", [(256, 256), (512, 512), (300, 200), (101, 173), (1, 1)])
def test_results_have_the_inputs_own_size(bright: Segmenter, shape: tuple[int, int]) -> None:
    slice_ = np.zeros(shape, np.uint8)
    slice_[shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 200
    result = bright.segment(slice_)
    assert result.mask.shape == (1, *shape)
    assert result.probability.min() >= 0 and result.probability.max() <= 1


def test_batches_are_bounded_and_progress_is_told(phantom: Volume, bright: Segmenter) -> None:
    seen: list[tuple[int, int]] = []
    bright.segment(np.tile(phantom.voxels[5:6], (19, 1, 1, 1)), progress=lambda done, total: seen.append((done, total)))
    assert bright.engine.batches == [8, 8, 3]  # type: ignore[attr-defined]
    assert seen == [(8, 19), (16, 19), (19, 19)]


def test_threshold_recuts_without_predicting(phantom: Volume, bright: Segmenter) -> None:
    result = bright.segment(phantom)
    calls = len(bright.engine.batches)  # type: ignore[attr-defined]
    low, high = result.with_threshold(0.1), result.with_threshold(0.9)
    assert low.mask.sum() > result.mask.sum() > high.mask.sum()
    assert (result.with_threshold(0.3).mask == (result.probability >= 0.3)).all()
    assert len(bright.engine.batches) == calls  # type: ignore[attr-defined]


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_thresholds_out_of_range_are_refused(threshold: float) -> None:
    with pytest.raises(InputError, match="threshold"):
        Segmenter(threshold=threshold)


def test_several_threads_get_the_same_answer(phantom: Volume, segmenter: Segmenter) -> None:
    slices = [phantom.voxels[z] for z in (4, 5, 6, 7)] * 2
    alone = [segmenter.segment(s).probability for s in slices]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda s: segmenter.segment(s).probability, slices))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_segment_takes_a_path(tmp_path: Path, phantom: Volume) -> None:
    Image.fromarray(phantom.voxels[5]).save(tmp_path / "slice.png")
    result = gliomask.segment(tmp_path / "slice.png")
    assert result.volume.slice_names == ("slice",)
    assert result.found


def test_a_path_of_several_cases_is_refused(tmp_path: Path, write_slices: Callable[..., Path], segmenter: Segmenter) -> None:
    write_slices(tmp_path / "all" / "a")
    write_slices(tmp_path / "all" / "b")
    with pytest.raises(InputError, match=r"holds 2 cases \(a, b"):
        segmenter.segment(tmp_path / "all")


def drawn(probability: np.ndarray, affine: np.ndarray | None = None, **changes: Any) -> Segmentation:
    """A result of probabilities that no network gave."""
    record = replace(find_model("fast"), postprocessing=Postprocessing(smallest_share=0.1), **changes)
    volume = Volume(np.zeros((*probability.shape, 1), np.uint8), "drawn", affine=affine)
    return Segmentation(volume, probability.astype(np.float32), 0.5, replace(record, threshold=0.5), "none", 0.0)


def two_lesions() -> np.ndarray:
    probability = np.full((20, 32, 32), 0.1)
    probability[5:10, 4:14, 4:14], probability[8, 20:24, 20:24] = 0.9, 0.8  # 500 voxels and 16
    return probability


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)], ids=["axial", "sagittal"])
def test_lesions_much_smaller_than_the_largest_are_left_out(order: tuple[int, int, int]) -> None:
    axes = np.diag([-0.9, -0.9, 5.0, 1.0])
    affine = None if order == (0, 1, 2) else axes[:, [1, 2, 0, 3]]
    result = drawn(two_lesions().transpose(order), affine)
    assert int(result.mask.sum()) == 500
    (satellite,) = result.satellites
    assert (satellite.voxels, satellite.slice_range) == (16, (8, 8)) and satellite.mean_probability == pytest.approx(0.8)
    assert satellite.volume_ml == (None if affine is None else pytest.approx(16 * 0.9 * 0.9 * 5 / 1000))
    kept = replace(result, all_lesions=True)
    assert (int(kept.mask.sum()), kept.satellites) == (516, [])
    assert result.with_threshold(0.85).satellites == []  # it is not there to be left out
    assert (satellite.centroid_mm is None) == (affine is None)
    lost = replace(result, volume=replace(result.volume, oriented=False))
    assert lost.satellites[0].centroid_mm is None  # where it lies in the world is no more known than where the lesions do


@pytest.mark.parametrize(("spacing", "marked"), [((0.9, 0.9), 0), ((0.9, 4.0), 36), ((4.0, 0.9), 36)])
def test_the_area_of_a_pixel_is_its_height_times_its_width(spacing: tuple[float, float], marked: int) -> None:
    probability = np.full((1, 128, 128), 0.1)
    probability[0, 40:46, 40:46] = 0.9
    result = drawn(probability, np.diag([-spacing[0], -spacing[1], 5.0, 1.0]))
    result = replace(result, model=replace(result.model, postprocessing=Postprocessing(smallest_area_mm2=100.0)))
    assert int(result.mask.sum()) == marked


def test_the_expected_dice_comes_from_the_networks_own_probabilities_in_its_own_pixels() -> None:
    agreement = {"volume": AgreementModel.of([0.3, 0.5, 0.7, 0.1], [-1, 1])}
    result = drawn(two_lesions(), np.diag([-3.0, -1.5, 6.0, 1.0]), agreement=agreement)
    pixel = np.sqrt(3.0 * 1.5) * result.model.input_size / FIELD_OF_VIEW_MM
    wanted = features(result.model.calibration.undo(result.probability), result.mask, pixel)
    assert wanted is not None and result.own_features == pytest.approx(wanted, abs=1e-5)
    assert int(result.mask.sum()) == 500 and result.confidence == agreement["volume"].estimate(wanted)


def test_smoothing_counts_the_axial_slices_own_distance(monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter) -> None:
    seen, smooth, shape = [], smooth_across_slices, (150, 170, 24)

    def watched(probability: np.ndarray, smoothing_mm: float, distance_mm: float) -> np.ndarray:
        seen.append(distance_mm)
        return smooth(probability, smoothing_mm, distance_mm)

    monkeypatch.setattr("gliomask.segmenter.smooth_across_slices", watched)
    affine = centred(np.diag([-1.2, -1.2, 6.0]), shape)
    flair = scan(affine, shape)
    for order in ((0, 1, 2), (2, 0, 1)):
        columns = [2 - axis for axis in order][::-1]
        segmenter.segment(Volume(np.ascontiguousarray(flair.transpose(order))[..., None], affine=affine[:, [*columns, 3]]))
    assert seen == pytest.approx([6.0, 6.0])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)], ids=["axial", "sagittal"])
def test_faint_ends_are_no_lesions_and_stay_with_all_that_reaches_the_threshold(order: tuple[int, int, int]) -> None:
    probability = np.full((20, 32, 32), 0.1)
    probability[5:10, 4:14, 4:14], probability[10, 5, 5] = 0.9, 0.6  # 100 voxels in each of five slices, and one above
    axes = np.diag([-0.9, -0.9, 5.0, 1.0])
    affine = None if order == (0, 1, 2) else axes[:, [1, 2, 0, 3]]
    result = drawn(probability.transpose(order), affine)
    ended = replace(
        result, model=replace(result.model, postprocessing=Postprocessing(smallest_share=0.1, smallest_area_mm2=100.0, smallest_end=0.3))
    )
    assert (int(result.mask.sum()), int(ended.mask.sum()), ended.satellites) == (501, 500, [])
    assert int(replace(ended, all_lesions=True).mask.sum()) == 501


@pytest.mark.parametrize(("pixel_mm", "marked"), [(None, 0), (0.9, 0), (2.0, 36)])
def test_what_is_small_in_a_slice_by_itself_is_left_out_and_told(pixel_mm: float | None, marked: int) -> None:
    probability = np.full((1, 256, 256), 0.1)
    probability[0, 40:46, 40:46] = 0.9  # 36 pixels: of 240 mm over 256 they are 32 mm²
    result = drawn(probability, None if pixel_mm is None else np.diag([-pixel_mm, -pixel_mm, 5.0, 1.0]))
    result = replace(result, model=replace(result.model, postprocessing=Postprocessing(smallest_area_mm2=100.0)))
    assert (int(result.mask.sum()), result.found) == (marked, marked > 0)
    assert [lesion.voxels for lesion in result.satellites] == ([] if marked else [36])
    assert int(replace(result, all_lesions=True).mask.sum()) == 36


def test_the_expected_dice_is_that_of_a_volume_or_of_a_slice() -> None:
    agreement = {"volume": AgreementModel.of([0, 0, 0, 0], [-1, 1]), "slice": AgreementModel.of([0, 0, 0, 2], [0, 0])}
    assert drawn(two_lesions(), agreement=agreement).confidence.expected_dice == pytest.approx(0.5)
    assert drawn(two_lesions()[8:9], agreement=agreement).confidence.expected_dice == pytest.approx(0.8808, abs=1e-4)
    own = drawn(two_lesions(), agreement=agreement)
    assert own.confidence_reason == ""
    for result, reason in (
        (drawn(two_lesions(), agreement={}), "none was measured for this model"),
        (drawn(np.zeros((20, 8, 8)), agreement=agreement), "nothing is marked"),
        (own.with_threshold(0.6), "not the model's own, 0.50"),
        (replace(own, all_lesions=True), "small lesions and faint ends"),
        (replace(own, min_lesion_ml=0.1), "lesions are left out"),
        (replace(own, quality=Quality(("It looks like CT.",))), "does not look like axial brain FLAIR"),
        (drawn(two_lesions()[4:14], agreement=agreement), "neither one slice nor a whole head"),  # a part of a head: nobody measured those
    ):
        assert result.confidence is None
        assert reason in result.confidence_reason


def test_an_ensemble_expects_what_its_members_do_on_average() -> None:
    agreement = {"volume": AgreementModel.of([1, 0, 0, 0], [-1, 1])}
    found = drawn(two_lesions(), agreement=agreement)
    one, other = (replace(found, members=((odds, 0.0, 0.0),)).confidence for odds in (0.0, 2.0))
    both = replace(found, members=((0.0, 0.0, 0.0), None, (2.0, 0.0, 0.0))).confidence
    assert one.expected_dice == pytest.approx(0.5) and other.expected_dice == pytest.approx(0.8808, abs=1e-4)
    assert astuple(both) == pytest.approx(np.mean([astuple(one), astuple(other)], axis=0))
    assert "no network of the ensemble" in replace(found, members=(None, None)).confidence_reason
    empty = replace(drawn(np.zeros((20, 8, 8)), agreement=agreement), members=((0.0, 0.0, 0.0),))
    assert empty.confidence_reason == "nothing is marked"


def test_pictures_of_different_things_are_taken_one_by_one(bright: Segmenter) -> None:
    bright.model = replace(bright.model, postprocessing=Postprocessing(smoothing_mm=3.0, smallest_share=0.1))
    voxels = np.zeros((40, 64, 64, 3), np.uint8)
    voxels[:, 20:40, 20:40] = 60
    voxels[8, 24:30, 24:30] = 250
    series = bright.segment(Volume(voxels, "head"))
    pictures = bright.segment(Volume(voxels, "album", tuple(f"{chr(97 + z)}_1" for z in range(40))))
    assert pictures.probability[8].max() - 0.01 > series.probability[8].max()
    assert pictures.confidence is None


def test_the_outline_is_most_uncertain_at_even_odds() -> None:
    probability = np.array([[[0.0, 0.5, 1.0]]])
    assert drawn(probability).uncertainty[0, 0] == pytest.approx([0.0, 1.0, 0.0], abs=1e-3)


def test_slices_without_a_head_are_not_predicted(phantom: Volume, bright: Segmenter) -> None:
    voxels = np.concatenate([phantom.voxels[5:7], np.zeros_like(phantom.voxels[:3])])
    result = bright.segment(voxels)
    assert bright.engine.batches == [2]  # type: ignore[attr-defined]
    assert (result.probability[2:] == 0).all()
    assert (result.probability[:2] > 0).any()


def test_air_around_the_head_changes_little(phantom: Volume) -> None:
    small, whole = (Segmenter(replace(find_model("fast"), size_multiple=multiple)) for multiple in (32, None))
    shapes = []
    run = small.engine.run
    small.engine.run = lambda slices: (shapes.append(slices.shape), run(slices))[1]  # type: ignore[method-assign, func-returns-value]
    assert dice(confusion(small.segment(phantom).mask, whole.segment(phantom).mask)) > 0.95
    assert all(shape[1] % 32 == 0 and shape[2] % 32 == 0 for shape in shapes)
    assert min(shape[1] * shape[2] for shape in shapes) < 256 * 256

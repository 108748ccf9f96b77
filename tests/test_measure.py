import json
import re
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from heads import rotation
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from gliomask import InputError, Volume, cli
from gliomask.io.nifti import write_nifti
from gliomask.measure import Lesion, Removed, area_pixels, lesions, measurements, remove_small, volume_ml
from gliomask.sizes import format_measurements

MM = np.eye(4)  # voxels of 1 mm, x to the right, y to the front, z up
Mask = NDArray[np.bool_]


def boxed(shape: tuple[int, int, int], *boxes: tuple[slice, slice, slice]) -> Mask:
    mask = np.zeros(shape, bool)
    for box in boxes:
        mask[box] = True
    return mask


def flat(*rows: str) -> Mask:
    """A mask of one slice, drawn: # is inside."""
    return np.array([[[c == "#" for c in row] for row in rows]])


def only(mask: Mask, affine: NDArray[np.float64] = MM) -> Lesion:
    (lesion,) = lesions(mask, affine)
    return lesion


def diameters(mask: Mask, affine: NDArray[np.float64] = MM) -> tuple[float | None, float | None]:
    lesion = only(mask, affine)
    return lesion.longest_axial_diameter_mm, lesion.perpendicular_mm


def spaced(x: float, y: float, z: float) -> NDArray[np.float64]:
    return np.diag([x, y, z, 1.0])


def turned(degrees: float) -> NDArray[np.float64]:
    """A rotation about an axis of no particular direction."""
    x, y, z = np.array([1.0, 2.0, 3.0]) / np.sqrt(14.0)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return matrix


def test_area_of_each_slice() -> None:
    assert area_pixels(boxed((3, 4, 5), np.s_[1:2, 1:3, 1:4])) == [0, 6, 0]


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (None, None),
        (spaced(0.5, 0.5, 6.0), 6 * 1.5 / 1000),
        (spaced(-0.5, 0.5, -6.0), 6 * 1.5 / 1000),
        (turned(40.0) @ spaced(0.5, 0.5, 6.0), 6 * 1.5 / 1000),
        (np.array([[1.0, 0, 0, 9], [0.7, 1, 0, 9], [0, 0, 2, 9], [0, 0, 0, 1]]), 6 * 2 / 1000),  # sheared: base times height
    ],
)
def test_volume_is_voxels_times_determinant(affine: NDArray[np.float64] | None, expected: float | None) -> None:
    mask = boxed((2, 3, 4), np.s_[0:1, 0:2, 0:3])
    assert volume_ml(mask, affine) == (None if expected is None else pytest.approx(expected))


# A rectangle of a x b, a being longer: the diagonal d, and a chord from one long side to the other, b d / a.
@pytest.mark.parametrize(
    ("mask", "affine", "longest", "perpendicular"),
    [
        (flat("#"), MM, np.sqrt(2), np.sqrt(2)),
        (flat("#"), spaced(2, 1, 5), np.sqrt(5), np.sqrt(5) / 2),
        (flat("####", "####", "####"), MM, 5, 3.75),
        (flat("##", "##", "##"), spaced(2, 1, 5), 5, 3.75),  # 4 mm x 3 mm
        (flat("....", ".##.", ".##.", ".##."), spaced(2, -1, 5), 5, 3.75),
        # Along the diagonal of the L every line across is cut by one arm or meets the inner corner; its convex hull is 2 sqrt(2) wide.
        (flat("#..", "#..", "###"), MM, 3 * np.sqrt(2), np.sqrt(2)),
        # The chord from arm to arm crosses the gap of the U.
        (flat("#...#", "#...#", "#...#", "#...#", "#####"), MM, 5 * np.sqrt(2), 5 * np.sqrt(2)),
    ],
    ids=["pixel", "oblong pixel", "rectangle", "anisotropic", "flipped", "L", "U"],
)
def test_diameters_worked_by_hand(mask: Mask, affine: NDArray[np.float64], longest: float, perpendicular: float) -> None:
    assert diameters(mask, affine) == (pytest.approx(longest), pytest.approx(perpendicular))


def test_diameters_of_a_sheared_pixel() -> None:
    # Steps (1, 0) and (0.5, 1): the long diagonal is (1.5, 1). The two other corners stand 1 / |d| off it
    # (area 1), at 1.5 / |d| and 1.75 / |d| along it; the chord through the first is as high as it plus
    # 1.5 / 1.75 of the second.
    affine = np.array([[1.0, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]])
    diagonal = np.sqrt(1.5**2 + 1)
    assert diameters(flat("#"), affine) == (pytest.approx(diagonal), pytest.approx((1 + 1.5 / 1.75) / diagonal))


@pytest.mark.parametrize("angle", [0, 27, 45, 90])
def test_diameters_of_an_ellipse(angle: float) -> None:
    y, x = np.mgrid[-60:61, -60:61] * 0.5
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    mask = (((c * x + s * y) / 20) ** 2 + ((c * y - s * x) / 11) ** 2 <= 1)[None]
    longest, perpendicular = diameters(mask, spaced(0.5, 0.5, 3.0))
    assert longest == pytest.approx(40, abs=0.8)  # up to a pixel's diagonal more than the axes
    assert perpendicular == pytest.approx(22, abs=0.8)


def test_the_slice_with_the_longest_diameter_counts() -> None:
    mask = boxed((5, 20, 20), np.s_[1:2, 4:12, 4:10], np.s_[2:3, 4:16, 4:9], np.s_[3:4, 4:10, 4:10])
    lesion = only(mask, spaced(1, 1, 5))
    assert lesion.diameter_slice == 2
    assert lesion.longest_axial_diameter_mm == pytest.approx(13)  # 12 x 5
    assert lesion.bidimensional_product_mm2 == pytest.approx(13 * 5 * 13 / 12)


def test_of_equally_long_diameters_the_widest_counts_then_the_lowest() -> None:
    # 40 x 30 and 48 x 14 pixels have the same diagonal of 50; the narrow one lies once above and once below.
    mask = boxed((7, 50, 60), np.s_[1:3, 1:41, 5:35], np.s_[3:4, 5:15, 5:15], np.s_[4:5, 1:15, 5:53])
    tall = boxed((7, 50, 60), np.s_[1:2, 1:15, 5:53], np.s_[2:3, 5:15, 5:15], np.s_[3:5, 1:41, 5:35])
    for drawn, lowest in ((mask, 1), (tall, 3)):
        for z, y, x in product((1, -1), repeat=3):
            affine = spaced(0.7 * x, 0.7 * y, 5.0 * z)
            lesion = only(drawn[::z, ::y, ::x], affine)
            assert lesion.longest_axial_diameter_mm == pytest.approx(35)
            assert lesion.perpendicular_mm == pytest.approx(35 * 3 / 4)
            assert lesion.bidimensional_product_mm2 == pytest.approx(35 * 35 * 3 / 4)
            assert lesion.diameter_slice == lowest
            turned_over = only(drawn[::z, ::y, ::x].transpose(0, 2, 1), affine[:, [1, 0, 2, 3]])
            assert (turned_over.perpendicular_mm, turned_over.diameter_slice) == (pytest.approx(35 * 3 / 4), lowest)


def test_of_equally_long_diameters_of_a_slice_the_widest_counts() -> None:
    # Both diagonals of the 5 x 3 rectangle are there; only across one of them does a line reach from one long side to the other.
    area = flat("#...#", "####.", "#..##")
    whole = diameters(area)
    assert whole == (pytest.approx(np.sqrt(34)), pytest.approx(3 * np.sqrt(34) / 5))
    for y, x in product((1, -1), repeat=2):
        assert diameters(area[:, ::y, ::x]) == pytest.approx(whole)
        assert diameters(area[:, ::y, ::x].transpose(0, 2, 1)) == pytest.approx(whole)


@pytest.mark.parametrize("degrees", [0, 5, 9, 20, 30])
def test_which_of_equally_long_diameters_counts_is_not_for_rounding_to_say(degrees: float) -> None:
    # Both diagonals are as long; the perpendicular of one is only 2.4 mm. Files hold affines in single precision.
    oblique = turned(degrees).astype(np.float32).astype(np.float64)
    assert diameters(flat("##..", "#.#.", "#..."), oblique) == (pytest.approx(np.sqrt(13)), pytest.approx(np.sqrt(13)))


@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_diameters_agree_with_trying_everything(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    area = rng.random((height, width)) < 0.6
    area[0, 0] = True
    area = _connected(area)
    affine = np.eye(4)
    affine[:2, :2] += rng.uniform(-0.4, 0.4, (2, 2))
    steps = affine[:2, :2]
    corners = np.array([steps @ (x + i, y + j) for y, x in np.argwhere(area) for i in (0, 1) for j in (0, 1)])
    distances = np.linalg.norm(corners[:, None] - corners, axis=2)
    longest, perpendicular = diameters(area[None], affine)
    assert longest == pytest.approx(distances.max())
    # Widths along lines through the corners, for each of the pairs that are as far apart.
    widths = [_width(area, steps, (corners[j] - corners[i]) / distances[i, j]) for i, j in np.argwhere(distances > distances.max() - 1e-9)]
    assert perpendicular == pytest.approx(max(widths), abs=1e-6)


def _connected(area: Mask) -> Mask:
    """The part that hangs together with the first pixel."""
    part = np.zeros_like(area)
    part[0, 0] = True
    for _ in range(area.size):
        padded = np.pad(part, 1)
        around = [padded[i : i + area.shape[0], j : j + area.shape[1]] for i in range(3) for j in range(3)]
        part = np.any(around, axis=0) & area
    return part


def _width(area: Mask, steps: NDArray[np.float64], direction: NDArray[np.float64]) -> float:
    """The longest chord across *direction*, by cutting each pixel's outline with the line through each corner."""
    across = np.array([-direction[1], direction[0]])
    pixels = [np.array([steps @ (x + i, y + j) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))]) for y, x in np.argwhere(area)]
    best = 0.0
    for t in {round(float(t), 9) for pixel in pixels for t in pixel @ direction}:
        reached = []
        for pixel in pixels:
            for a, b in zip(pixel, np.roll(pixel, -1, axis=0), strict=True):
                ta, tb = a @ direction, b @ direction
                if min(ta, tb) - 1e-8 <= t <= max(ta, tb) + 1e-8:
                    share = 0.0 if abs(tb - ta) < 1e-7 else np.clip((t - ta) / (tb - ta), 0, 1)
                    reached.append((a + share * (b - a)) @ across)
                    if abs(tb - ta) < 1e-7:
                        reached.append(b @ across)
        best = max(best, max(reached) - min(reached))
    return best


def test_numbers_do_not_depend_on_how_the_scan_is_stored() -> None:
    # An irregular lesion stored in all 48 orders and directions of the axes; the affine goes along.
    affine = spaced(0.8, 1.1, 4.0)
    affine[:3, 3] = (-30, 12, 7)
    mask = boxed((6, 20, 18), np.s_[1:4, 3:12, 4:9], np.s_[2:3, 8:17, 6:14], np.s_[3:5, 10:13, 7:16])
    head = boxed((6, 20, 18), np.s_[:, 1:19, 7:11])
    expected = only(mask, affine)
    for order, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        linear = affine[:3, :3][:, [2 - a for a in order[::-1]]] * flips[::-1]
        moved, moved_head = (m.transpose(order)[tuple(slice(None, None, f) for f in flips)] for m in (mask, head))
        origin = [0 if f == 1 else n - 1 for f, n in zip(flips, moved.shape, strict=True)]
        original = np.zeros(3)
        original[list(order)] = origin  # where the new first voxel lies in the old array
        stored = np.eye(4)
        stored[:3, :3] = linear
        stored[:3, 3] = affine[:3, :3] @ original[::-1] + affine[:3, 3]
        (found,) = lesions(moved, stored, head=moved_head)
        assert found.centroid_mm == pytest.approx(expected.centroid_mm)
        assert found.longest_axial_diameter_mm == pytest.approx(expected.longest_axial_diameter_mm)
        assert found.perpendicular_mm == pytest.approx(expected.perpendicular_mm)
        assert (found.slice_range, found.diameter_slice) == (expected.slice_range, expected.diameter_slice) == ((1, 4), 2)
        assert found.laterality == "midline"


@pytest.mark.parametrize("degrees", [5, 20, 33])
def test_diameters_of_an_oblique_scan(degrees: float) -> None:
    mask = boxed((3, 12, 12), np.s_[1:2, 2:5, 3:7])
    assert diameters(mask, turned(degrees)) == (pytest.approx(5), pytest.approx(3.75))


def test_voxels_that_touch_by_a_corner_are_one_lesion() -> None:
    mask = boxed((4, 9, 9), np.s_[0:1, 0:1, 0:1], np.s_[1:2, 1:2, 1:2], np.s_[1:2, 3:6, 3:6])
    assert [(lesion.number, lesion.voxels) for lesion in lesions(mask, MM)] == [(1, 9), (2, 2)]


def test_lesions_are_measured_one_by_one() -> None:
    affine = spaced(2, 2, 5)
    affine[:3, 3] = (-10, -20, 30)
    mask = boxed((5, 10, 12), np.s_[1:2, 1:2, 1:2], np.s_[2:4, 4:6, 5:9])
    probability = np.where(mask, 0.6, 0.0).astype(np.float32)
    probability[3, 5, 8], probability[0, 0, 0] = 0.9, 1.0
    large, small = lesions(mask, affine, probability=probability)
    assert (large.voxels, large.volume_ml) == (16, pytest.approx(16 * 20 / 1000))
    assert large.centroid_voxel == (6.5, 4.5, 2.5)
    assert large.centroid_mm == (3.0, -11.0, 42.5)
    assert (large.slices, large.slice_range) == (2, (2, 3))
    assert large.bounding_box_voxel == ((5, 4, 2), (8, 5, 3))  # x, y, z, both ends belonging to it
    assert large.peak_probability == pytest.approx(0.9)
    assert (small.number, small.voxels, small.slice_range, small.bounding_box_voxel) == (2, 1, (1, 1), ((1, 1, 1), (1, 1, 1)))
    assert not large.touches_border and not small.touches_border


def test_slices_count_from_the_bottom_of_the_head() -> None:
    mask = boxed((6, 4, 4), np.s_[1:3, 1:2, 1:2], np.s_[1:2, 1:3, 1:2])
    assert (only(mask).slice_range, only(mask).diameter_slice) == ((1, 2), 1)
    downwards = only(mask, spaced(1, 1, -1))
    assert (downwards.slice_range, downwards.diameter_slice) == ((3, 4), 4)
    assert downwards.bounding_box_voxel == ((1, 1, 1), (1, 2, 2))  # indices stay those of the array
    assert measurements(mask, spaced(1, 1, -1))["slice_range"] == [3, 4]


@pytest.mark.parametrize(
    ("mask", "touches"),
    [
        (boxed((3, 4, 5), np.s_[1:2, 1:3, 1:4]), False),
        (boxed((3, 4, 5), np.s_[0:2, 1:3, 1:4]), True),
        (boxed((3, 4, 5), np.s_[1:2, 1:4, 1:4]), True),
        (boxed((3, 4, 5), np.s_[1:2, 1:3, 1:5]), True),
        (flat("...", ".#.", "..."), False),  # one slice alone has no neighbours to be cut off
        (flat("...", "##.", "..."), True),
    ],
)
def test_a_lesion_at_the_border_is_flagged_and_measured(mask: Mask, touches: bool) -> None:
    measured = measurements(mask, MM)
    assert measured["touches_border"] is measured["lesions"][0]["touches_border"] is touches
    assert measured["volume_ml"] == mask.sum() / 1000


def test_without_directions_nothing_is_said_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = boxed((5, 9, 9), np.s_[1:3, 2:5, 2:6])
    known, unknown = nibabel.Nifti1Image(mask.T.astype(np.uint8), MM), nibabel.Nifti1Image(mask.T.astype(np.uint8), None)
    for name, image in (("known", known), ("unknown", unknown)):
        nibabel.save(image, tmp_path / f"{name}.nii")
        assert cli.main(["measure", str(tmp_path / f"{name}.nii"), "--json"]) == 0
        (lesion,) = json.loads(capsys.readouterr().out)[0]["measurements"]["lesions"]
        assert lesion["volume_ml"] == 0.024 and lesion["longest_axial_diameter_mm"] == 5.0
        assert (lesion["centroid_mm"] is None) is (name == "unknown")
    assert cli.main(["measure", str(tmp_path / "unknown.nii")]) == 0
    shown = capsys.readouterr().out
    assert "unknown" in shown.splitlines()[-2] and "does not tell the patient's left from right" in shown


def head_and_lesion(x: int, roll: float = 0.0) -> tuple[Mask, Mask]:
    """A head of 140 mm from left to right whose middle lies at x = 90, and a lesion with its centre at x."""
    z, y, right = np.mgrid[:20, :200, :200]
    middle = 90 + roll * (z - 10)
    return ((right - middle) / 70) ** 2 + ((y - 100) / 90) ** 2 <= 1, boxed((20, 200, 200), np.s_[4:6, 80:90, x - 4 : x + 5])


@pytest.mark.parametrize(("x", "side"), [(140, "right"), (101, "right"), (99, "midline"), (90, "midline"), (81, "midline"), (40, "left")])
def test_laterality_is_the_patients_side(x: int, side: str) -> None:
    head, mask = head_and_lesion(x)
    assert lesions(mask, MM, head=head)[0].laterality == side
    # The same head in the order of a radiologist's screen, patient's right on the left.
    assert lesions(mask[..., ::-1], spaced(-1, 1, 1), head=head[..., ::-1])[0].laterality == side


@pytest.mark.parametrize(("axis", "x", "side"), [("z", 105, "right"), ("z", 75, "midline"), ("y", 95, "midline"), ("y", 110, "right")])
def test_laterality_in_a_scan_whose_axes_are_oblique(axis: str, x: int, side: str) -> None:
    head, mask = head_and_lesion(x)
    assert lesions(mask, rotation(axis, 20) @ spaced(1, 1, 7), head=head)[0].laterality == side


def test_what_is_near_the_edge_is_told_in_millimetres() -> None:
    _, mask = head_and_lesion(130)
    head = boxed(mask.shape, np.s_[:, 10:190, 16:160])
    assert lesions(mask, spaced(0.25, 0.25, 1), head=head)[0].laterality is None  # 16 pixels are 4 mm
    assert lesions(mask, spaced(0.5, 0.5, 1), head=head)[0].laterality == "right"


def test_the_longest_diameter_may_lie_in_a_slice_of_a_smaller_bounding_box() -> None:
    y, x = np.mgrid[-11:12, -11:12]
    lesion = only(np.stack([np.abs(x) + np.abs(y) <= 10, np.maximum(np.abs(x), np.abs(y)) <= 7]))
    assert (lesion.longest_axial_diameter_mm, lesion.diameter_slice) == (pytest.approx(15 * np.sqrt(2)), 1)


def test_the_longest_diameter_of_sheared_slices_may_run_along_the_other_diagonal() -> None:
    affine = np.eye(4)
    affine[:2, :2] = [[1.0, -0.7], [0.0, 0.7]]
    mask = np.zeros((2, 12, 14), bool)
    mask[0, 0, :12], mask[1, :10, :10] = True, True
    lesion = only(mask, affine)
    assert (lesion.longest_axial_diameter_mm, lesion.diameter_slice) == (pytest.approx(np.hypot(17, 7)), 1)


def test_laterality_follows_a_head_that_leans() -> None:
    head, mask = head_and_lesion(75, roll=3.0)  # the middle is at 75 in slice 5, at 90 over all
    assert lesions(mask, MM, head=head)[0].laterality == "midline"


@pytest.mark.parametrize(
    ("field", "side"),
    [
        (np.s_[:, 40:160, 95:175], None),  # 80 x 120 mm around a lesion on the right
        (np.s_[:, 40:160, 75:155], None),  # the middle is in the field, the left end is not
        (np.s_[:, :, 85:], None),  # but for the tips, the head is cut off all along
        (np.s_[:, :, 30:], "right"),  # only the widest rows are
        (np.s_[:, 10:191, 20:161], "right"),  # as narrow as the head
        (np.s_[:, 85:, :], "right"),
    ],
)
def test_laterality_of_a_cropped_head(field: tuple[slice, ...], side: str | None) -> None:
    head, mask = head_and_lesion(130)
    head &= np.random.default_rng(0).random(head.shape) < 0.7  # a threshold leaves holes, also at the edge
    cropped, affine = mask[field], np.eye(4)
    affine[:2, 3] = field[2].start or 0, field[1].start or 0
    assert lesions(cropped, affine, head=head[field])[0].laterality == side
    affine[0] = -1, 0, 0, (field[2].start or 0) + cropped.shape[2] - 1
    assert lesions(cropped[..., ::-1], affine, head=head[field][..., ::-1])[0].laterality == side


def test_laterality_is_unknown_without_head_or_affine() -> None:
    head, mask = head_and_lesion(40)
    assert lesions(mask, MM)[0].laterality is None
    assert lesions(mask, None, head=head)[0].laterality is None
    assert lesions(mask, MM, head=np.zeros_like(head))[0].laterality is None


def test_without_geometry_there_are_voxels_and_no_millimetres() -> None:
    measured = measurements(boxed((3, 8, 8), np.s_[1:2, 2:5, 2:6]))
    assert (measured["voxels"], measured["volume_ml"], measured["slice_range"]) == (12, None, [1, 1])
    assert measured["volume_ml_reason"] == "the input carries no spacing"
    (lesion,) = measured["lesions"]
    assert lesion["voxels"] == 12
    assert all(lesion[key] is None for key in lesion if key.endswith(("_mm", "_mm2", "_ml")))


@pytest.mark.parametrize("affine", [None, MM])
def test_an_empty_mask_has_no_lesions(affine: NDArray[np.float64] | None) -> None:
    measured = measurements(np.zeros((3, 4, 5), bool), affine)
    assert (measured["voxels"], measured["lesion_count"], measured["lesions"]) == (0, 0, [])
    assert measured["volume_ml"] == (None if affine is None else 0.0)
    assert (measured["slice_range"], measured["bounding_box_voxel"], measured["touches_border"]) == (None, None, False)


def test_measurements_are_plain_and_rounded_once() -> None:
    mask = boxed((4, 9, 9), np.s_[1:3, 2:5, 2:6], np.s_[1:2, 7:8, 7:8])
    measured = measurements(mask, spaced(0.9, 0.9, 3.3), head=np.ones_like(mask), probability=np.where(mask, 2 / 3, 0.0))
    assert measured == json.loads(json.dumps(measured))
    assert (measured["volume_ml"], measured["lesion_count"], measured["slices_with_lesion"], measured["slice_count"]) == (0.067, 2, 2, 4)
    assert measured["bounding_box_voxel"] == {"first": [2, 2, 1], "last": [7, 7, 2]}
    first = measured["lesions"][0]
    assert (first["volume_ml"], first["longest_axial_diameter_mm"], first["perpendicular_mm"]) == (0.064, 4.5, 3.4)
    assert (first["bidimensional_product_mm2"], first["peak_probability"]) == (15.2, 0.6667)  # 4.5 x 3.375


def test_what_is_there_is_never_rounded_to_nothing() -> None:
    measured = measurements(boxed((3, 3, 3), np.s_[1:2, 1:2, 1:2]), spaced(0.4, 0.4, 0.4))
    assert measured["volume_ml"] == measured["lesions"][0]["volume_ml"] == 0.000064


def test_arrays_of_other_shapes_are_refused() -> None:
    mask = np.zeros((3, 4, 5), bool)
    with pytest.raises(InputError, match=r"shape \(3, 4, 5\) with an array of shape \(3, 4, 4\)"):
        lesions(mask, MM, head=mask[..., 1:])
    with pytest.raises(InputError, match=r"expected one shape \(z, y, x\)"):
        lesions(mask[0], MM)


def test_small_lesions_are_removed_and_reported() -> None:
    mask = boxed((5, 20, 20), np.s_[1:3, 1:11, 1:11], np.s_[1:2, 13:15, 13:18], np.s_[3:4, 18:19, 1:4])
    kept, removed = remove_small(mask, MM, 0.01)  # 200, 10 and 3 voxels of 1 mm: the one of exactly 0.01 ml stays
    assert removed == Removed(1, pytest.approx(0.003))
    np.testing.assert_array_equal(kept, mask & ~boxed((5, 20, 20), np.s_[3:4, 18:19, 1:4]))
    oblique = turned(18.0).astype(np.float32).astype(np.float64)
    assert np.linalg.det(oblique) < 1.0 and remove_small(mask, oblique, 0.01)[1].lesions == 1
    kept, removed = remove_small(mask, MM, 1.0)
    assert not kept.any() and removed == Removed(3, pytest.approx(0.213))
    assert remove_small(np.zeros_like(mask), MM, 1.0)[1] == Removed(0, 0.0)


@pytest.mark.parametrize(("affine", "limit", "reason"), [(None, 1.0, "carries no spacing"), (MM, -1.0, "0 or more"), (MM, np.nan, "0 or")])
def test_removing_needs_millilitres(affine: NDArray[np.float64] | None, limit: float, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        remove_small(np.ones((2, 2, 2), bool), affine, limit)


def test_text_for_a_person() -> None:
    mask = boxed((4, 9, 9), np.s_[1:3, 2:5, 2:6])
    assert format_measurements("a", measurements(mask, MM)).splitlines() == [
        "a: 0.024 ml in 1 lesion, slices 2-3 of 4",
        "  lesion     ml  diameters mm  product mm2  centre mm (R A S)  slices",
        "       1  0.024     5.0 x 3.8         18.8        3.5 3.0 1.5     2-3",
    ]
    assert format_measurements("a", measurements(mask[:2])).splitlines()[0] == (
        "a: 12 voxels (the input carries no spacing) in 1 lesion, slice 2 of 2"
    )
    assert "reaches the border" in format_measurements("a", measurements(mask[:2]))
    assert format_measurements("a", measurements(mask & False, MM)) == "a: empty, nothing is marked"


def test_text_of_many_lesions_says_what_it_leaves_out() -> None:
    mask = np.zeros((1, 19, 19), bool)
    mask[:, 1::2, 1::2] = True
    assert format_measurements("a", measurements(mask, MM)).splitlines()[-1] == "  and 61 smaller ones; --json lists all"


@pytest.fixture
def masks(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes the same mask under a name, as NIfTI or as an image."""

    def write(name: str) -> Path:
        mask = boxed((4, 9, 9), np.s_[1:3, 2:5, 2:6])
        if ".nii" in name:
            nibabel.save(nibabel.Nifti1Image(mask.transpose(2, 1, 0).astype(np.uint8) * 4, spaced(2, 2, 5)), tmp_path / name)
        else:
            Image.fromarray(mask[1].astype(np.uint8) * 255).save(tmp_path / name)
        return tmp_path / name

    return write


def test_measure_command(masks: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["measure", str(masks("a.nii.gz")), str(masks("b_mask.png"))]) == 0
    shown = capsys.readouterr().out
    assert "a.nii.gz: 0.480 ml in 1 lesion, slices 2-3 of 4" in shown
    assert "10.0 x 7.5" in shown
    assert "b_mask.png: 12 voxels (the input carries no spacing)" in shown


def test_measure_command_goes_on_after_a_broken_mask(
    masks: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.nii").write_bytes(b"no image")
    assert cli.main(["measure", str(tmp_path / "broken.nii"), str(masks("a.nii")), "--json"]) == 1
    captured = capsys.readouterr()
    broken, good = json.loads(captured.out)
    assert "broken.nii: " in captured.err and len(captured.err.splitlines()) == 1
    assert (broken["status"], broken["measurements"]) == ("failed", None) and "broken.nii" in broken["reason"]
    assert (good["status"], good["measurements"]["volume_ml"]) == ("done", 0.48)


@pytest.mark.parametrize("values", [np.linspace(0, 1, 3), np.arange(100)], ids=["probabilities", "scan"])
def test_what_is_no_mask_is_not_measured(values: NDArray[np.float64], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    voxels = np.resize(values, (9, 9, 4)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, spaced(2, 2, 5)), tmp_path / "other.nii.gz")
    assert cli.main(["measure", str(tmp_path / "other.nii.gz")]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and re.search(r"other\.nii\.gz: .*a mask", captured.err)


def test_the_nifti_twin_of_a_picture_is_measured_in_voxels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = Volume(np.zeros((2, 9, 9, 1), np.uint8))
    write_nifti(boxed((2, 9, 9), np.s_[1:2, 2:5, 2:6]), volume, tmp_path / "a_mask.nii.gz")
    assert cli.main(["measure", str(tmp_path / "a_mask.nii.gz")]) == 0
    assert "a_mask.nii.gz: 12 voxels (the input carries no spacing)" in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "values"), [("probability", "probabilities"), ("uncertainty", "uncertainty")])
@pytest.mark.parametrize("top", [5, 60_000], ids=["nothing found", "tumour"])
def test_maps_of_a_picture_are_not_measured(top: int, kind: str, values: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.linspace(0, top, 81).astype(np.uint16).reshape(9, 9)).save(tmp_path / f"a_{kind}.png")
    assert cli.main(["measure", str(tmp_path / f"a_{kind}.png")]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and f"a_{kind}.png: {values} by its name, not a mask. Give a_mask.png" in captured.err
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 9, 4), np.float32), MM), tmp_path / f"a_{kind}.nii.gz")
    assert cli.main(["measure", str(tmp_path / f"a_{kind}.nii.gz")]) == 1
    assert f"a_{kind}.nii.gz: {values} by its name, not a mask. Give a_mask.nii.gz" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.mgz", "a_seg.nrrd", "a.hdr"])
def test_formats_that_are_not_read_are_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_bytes(bytes(400))
    assert cli.main(["measure", str(tmp_path / name)]) == 1
    assert f"{name}: in a format that is not read. Masks are NIfTI, PNG, JPEG or TIFF" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "advice"),
    [("a_seg.dcm", "give a_mask.nii.gz beside it"), ("IM1", "give <case>_mask.nii.gz beside it"), ("b.DCM", "NIfTI, PNG and TIFF")],
)
def test_a_dicom_mask_is_refused_with_advice(name: str, advice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    assert cli.main(["measure", str(tmp_path / name)]) == 1
    captured = capsys.readouterr()
    assert f"{name}: DICOM. " in captured.err and advice in captured.err and len(captured.err.splitlines()) == 1


@pytest.mark.parametrize("name", ["case", "case.nii.gz"])
def test_a_folder_is_no_mask(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).mkdir()
    assert cli.main(["measure", str(tmp_path / name)]) == 1
    assert f"{name}: a folder. Give the mask itself" in capsys.readouterr().err

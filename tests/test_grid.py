import itertools

import numpy as np
import pytest
from heads import LESION_CENTRE_MM, LESION_ML, Matrix, centred, rotation, scan
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("scipy", reason="the extra [volumes] is not installed")

from gliomask import InputError, Segmenter, Volume
from gliomask.grid import MAX_TILT_DEGREES, axial_grid, radiological, resampled

LPS = np.diag([-1.0, -1.0, 1.0])
TRAINING_MM = 240 / 256


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter()


def found(segmenter: Segmenter, affine: Matrix, shape: tuple[int, int, int], movement: Matrix | None = None) -> tuple[Matrix, float]:
    """Return the centroid in mm and the volume in ml of what is found in the head scanned on a grid."""
    result = segmenter.segment(Volume(scan(affine, shape, movement)[..., None], "head", affine=affine))
    indices = np.argwhere(result.mask)[:, ::-1]
    assert len(indices), "nothing found"
    return affine[:3] @ np.r_[indices.mean(axis=0), 1.0], len(indices) * abs(np.linalg.det(affine[:3, :3])) / 1000


@pytest.fixture(scope="module")
def upright_ml(segmenter: Segmenter) -> float:
    shape = (256, 256, 22)
    centroid, volume_ml = found(segmenter, centred(LPS @ np.diag([TRAINING_MM, TRAINING_MM, 6.0]), shape), shape)
    assert np.linalg.norm(centroid - LESION_CENTRE_MM) < 1.0
    assert volume_ml == pytest.approx(LESION_ML, rel=0.1)  # the network draws its own edge, the geometry not
    return volume_ml


SAGITTAL, CORONAL = np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]]), np.array([[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]])
GRIDS = {
    "axial, thick": (LPS @ np.diag([0.9, 0.9, 6.0]), (256, 256, 24)),
    "axial, fine in plane": (LPS @ np.diag([0.47, 0.47, 5.0]), (512, 512, 28)),
    "axial, 2 mm, RAS": (2 * np.eye(3), (95, 110, 85)),
    "axial, from the top down": (np.diag([-1.0, -1.0, -4.0]), (220, 240, 42)),
    "sagittal, 2 mm": (2 * SAGITTAL, (120, 120, 88)),
    "coronal, 2 mm": (2 * CORONAL, (110, 100, 110)),
    "coronal, thick": (CORONAL @ np.diag([1.0, 2.0, 3.0]), (220, 100, 72)),
    "oblique by 15 degrees, thick": (rotation("x", 15)[:3, :3] @ LPS @ np.diag([0.9, 0.9, 5.0]), (256, 256, 36)),
    "turned in its plane by 60 degrees": (rotation("z", 60)[:3, :3] @ LPS @ np.diag([0.9, 0.9, 5.0]), (270, 270, 32)),
    "oblique by 40 degrees, thin": (rotation("y", 40)[:3, :3] @ LPS * 2.0, (126, 126, 108)),
    "sheared as by a gantry's tilt": (np.array([[-0.9, 0, 0], [0, -0.9, 1.2], [0, 0, 5.0]]), (256, 280, 32)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_the_lesion_is_where_it_was_put_on_any_grid(name: str, segmenter: Segmenter, upright_ml: float) -> None:
    linear, shape = GRIDS[name]
    centroid, volume_ml = found(segmenter, centred(linear, shape, (3.0, -5.0, 2.0)), shape)
    assert np.linalg.norm(centroid - LESION_CENTRE_MM) < 1.0
    assert volume_ml == pytest.approx(upright_ml, rel=0.05)


def test_a_head_away_from_the_middle_of_a_wide_field_of_view_is_found(segmenter: Segmenter, upright_ml: float) -> None:
    shape = (400, 400, 24)
    centroid, volume_ml = found(segmenter, centred(LPS @ np.diag([1.0, 1.0, 6.0]), shape, (70.0, -60.0, 0.0)), shape)
    assert np.linalg.norm(centroid - LESION_CENTRE_MM) < 1.0
    assert volume_ml == pytest.approx(upright_ml, rel=0.05)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    order=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3),
    angles=st.tuples(*[st.floats(-12, 12)] * 3),
    shift=st.tuples(*[st.floats(-15, 15)] * 3),
    slice_mm=st.floats(2.5, 5.0),
)
def test_a_head_moved_in_the_scanner_gives_the_mask_moved(
    segmenter: Segmenter, upright_ml: float, order: list[int], signs: Matrix, angles: Matrix, shift: Matrix, slice_mm: float
) -> None:
    """The head turns and shifts and the grid is permuted and flipped; the centroid follows within a voxel."""
    movement = rotation("x", angles[0]) @ rotation("y", angles[1]) @ rotation("z", angles[2])
    movement[:3, 3] = shift
    spacing = np.array([1.8, 1.8, slice_mm])
    linear = (np.eye(3)[:, order] * np.array(signs)) * spacing[order]
    extent = np.array([210.0, 240.0, 215.0])[order]
    nx, ny, nz = (int(n) for n in np.ceil(extent / spacing[order]))
    centroid, volume_ml = found(segmenter, centred(linear, (nx, ny, nz)), (nx, ny, nz), movement)
    assert np.linalg.norm(centroid - movement[:3] @ np.r_[LESION_CENTRE_MM, 1.0]) < max(1.5, slice_mm)
    assert volume_ml == pytest.approx(upright_ml, rel=0.08)


def test_slices_on_the_training_grid_are_copied_not_interpolated() -> None:
    affine = centred(LPS @ np.diag([TRAINING_MM, TRAINING_MM, 5.0]), (256, 256, 4))
    grid = axial_grid(affine, (4, 256, 256), 256)
    np.testing.assert_array_equal(grid.to_voxel, np.eye(4))
    voxels = np.random.default_rng(0).random((4, 256, 256), np.float32)
    np.testing.assert_array_equal(grid.sample(voxels), voxels)
    np.testing.assert_array_equal(grid.restore(voxels), voxels)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_permuted_and_flipped_voxels_are_the_same_slices_and_come_back_in_their_own_order(
    order: tuple[int, int, int], signs: tuple[int, int, int]
) -> None:
    """Slices of a volume and of the same volume stored otherwise are equal, voxel for voxel."""
    rng = np.random.default_rng(1)
    counts, spacing = (30, 28, 25), np.full(3, TRAINING_MM)
    voxels = rng.random(counts, np.float32).transpose(2, 1, 0)  # (z, y, x) of a grid in the training slices' order
    affine = centred(LPS * spacing, counts)
    stored = voxels.transpose(2, 1, 0).transpose(order)[tuple(slice(None, None, s) for s in signs)]
    to_first = np.zeros((4, 4))  # indices of the stored array to those of the first
    to_first[3, 3] = 1
    for axis, (source, sign) in enumerate(zip(order, signs, strict=True)):
        to_first[source, axis] = sign
        to_first[source, 3] = 0 if sign > 0 else counts[source] - 1
    first, second = (axial_grid(a, s, 64) for a, s in ((affine, (25, 28, 30)), (affine @ to_first, stored.shape[::-1])))
    zyx = np.ascontiguousarray(stored.transpose(2, 1, 0))
    np.testing.assert_allclose(second.sample(zyx), first.sample(voxels), atol=1e-5)
    probability = rng.random(first.shape, np.float32)
    back_first = first.restore(probability).transpose(2, 1, 0).transpose(order)[tuple(slice(None, None, s) for s in signs)]
    np.testing.assert_allclose(second.restore(probability).transpose(2, 1, 0), back_first, atol=1e-5)


def test_thick_slices_far_off_the_axial_plane_are_refused_with_the_angle() -> None:
    affine = centred(rotation("x", 44)[:3, :3] @ LPS @ np.diag([1.0, 1.0, 6.0]), (240, 240, 24))
    with pytest.raises(InputError, match=rf"head: its slices lie 44° off the axial plane .*; up to {MAX_TILT_DEGREES:.0f}°"):
        axial_grid(affine, (24, 240, 240), 256, name="head")


@pytest.mark.parametrize(("linear", "plane"), [(SAGITTAL, "sagittal"), (CORONAL, "coronal")])
def test_a_single_slice_that_is_not_axial_is_refused(linear: Matrix, plane: str) -> None:
    with pytest.raises(InputError, match=f"head: a single {plane} slice"):
        axial_grid(centred(linear @ np.diag([1, 1, 5.0]), (40, 30, 1)), (1, 30, 40), 256, name="head")


@pytest.mark.parametrize(
    ("linear", "note"),
    [
        (LPS @ np.diag([1, 1, 5.0]), ""),
        (LPS @ np.diag([0.94, 0.94, 0.45]), ""),
        (LPS @ np.diag([0.94, 0.9401, 0.17]), ""),
        (CORONAL @ np.diag([1, 1, 5.0]), "acquired in coronal slices of 5 mm"),
        (SAGITTAL @ np.diag([1, 1, 5.0]), "acquired in sagittal slices of 5 mm"),
        (rotation("x", 30)[:3, :3] @ LPS @ np.diag([1, 1, 5.0]), "30° off the axial plane: lower confidence"),
        (rotation("x", 30)[:3, :3] @ LPS, "thin: resampled to upright ones"),
    ],
)
def test_how_it_was_acquired_is_told(linear: Matrix, note: str) -> None:
    grid = axial_grid(centred(linear, (40, 40, 40)), (40, 40, 40), 256)
    assert note in " ".join(grid.notes) and bool(note) == bool(grid.notes)


@pytest.mark.parametrize("linear", [LPS, np.eye(3), SAGITTAL, CORONAL, rotation("z", 20)[:3, :3] @ SAGITTAL])
def test_the_view_is_radiological(linear: Matrix) -> None:
    """Going down the slices is up the head, down the rows to the back, along the columns to the patient's left."""
    shape = (20, 24, 28)
    affine = centred(linear, shape)
    x, y, z = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    world = (affine[:3, :3] @ np.stack([x, y, z]).reshape(3, -1)).reshape(3, *shape).transpose(0, 3, 2, 1)
    axes, flips = radiological(affine)
    right, front, up = (w.transpose(axes)[flips] for w in world)
    assert np.diff(up, axis=0).mean() > 0.5 and np.diff(front, axis=1).mean() < -0.5 and np.diff(right, axis=2).mean() < -0.5


def test_another_sequence_is_brought_to_the_same_place() -> None:
    shape, other = (64, 72, 20), (80, 60, 90)
    affine, moving = (
        centred(LPS @ np.diag([3.0, 3.0, 8.0]), shape),
        centred(rotation("y", 25)[:3, :3] @ SAGITTAL @ np.diag([3.0, 2.8, 2.5]), other),
    )
    everywhere = np.ones(shape[::-1], np.bool_)
    onto, covered = resampled(scan(moving, other), moving, affine, everywhere)
    inside = scan(affine, shape) > 40
    assert 0.4 < covered < 1.0
    assert resampled(scan(moving, other), moving, affine, inside)[1] > 0.99  # what is not covered is air beside the head
    assert np.abs(onto - scan(affine, shape))[inside].mean() < 8  # of 62, at edges that are thinner than a voxel


@settings(max_examples=20, deadline=None, derandomize=True)
@given(angle=st.floats(-180, 180), shift=st.floats(-80, 80))
def test_a_sequence_on_the_same_oblique_grid_is_copied_to_its_last_voxel(angle: float, shift: float) -> None:
    affine = centred(
        rotation("x", angle)[:3, :3] @ rotation("z", angle / 3)[:3, :3] @ np.diag([0.9, 1.1, 5.3]), (9, 8, 7), (shift, 1 / 3, 7.7)
    )
    voxels = np.random.default_rng(0).random((7, 8, 9), np.float32) + 1
    onto, covered = resampled(voxels, affine, affine, np.ones((7, 8, 9), np.bool_))
    np.testing.assert_allclose(onto, voxels, atol=1e-5)
    assert covered == 1.0


@pytest.mark.parametrize(("depth", "shift_mm"), [(1, 0.001), (1, -2.4), (4, 0.01), (4, -0.01)])
def test_a_sequence_that_lies_a_little_off_keeps_its_outermost_slices(depth: int, shift_mm: float) -> None:
    affine = np.diag([0.9, 0.9, 5.0, 1.0])
    moving = affine.copy()
    moving[2, 3] = shift_mm
    voxels = np.random.default_rng(0).random((depth, 9, 9), np.float32) + 1
    onto, covered = resampled(voxels, moving, affine, np.ones((depth, 9, 9), np.bool_))
    np.testing.assert_allclose(onto, voxels, atol=0.01)
    assert covered == 1.0


def test_a_thick_slice_fills_all_thin_ones_within_it_and_none_beyond() -> None:
    voxels = np.random.default_rng(0).random((1, 9, 9), np.float32) + 1
    thin = np.diag([0.9, 0.9, 1.0, 1.0])
    thin[2, 3] = -3.0
    onto, covered = resampled(voxels, np.diag([0.9, 0.9, 5.0, 1.0]), thin, np.ones((7, 9, 9), np.bool_))
    np.testing.assert_allclose(onto[1:6], np.repeat(voxels, 5, axis=0), atol=1e-5)
    assert (onto[[0, 6]] == voxels.min()).all() and covered == pytest.approx(5 / 7)


def test_a_sequence_elsewhere_covers_nothing() -> None:
    shape = (20, 20, 20)
    moving = np.ones(shape, np.float32)
    _, covered = resampled(moving, centred(LPS, shape, (500, 0, 0)), centred(LPS, shape), np.ones(shape, np.bool_))
    assert covered == 0.0

"""Where the network's axial slices lie in a volume of any orientation, and the way there and back.

The network knows slices as the LGG dataset has them: axial, patient's right on the left, front on
top, 256 pixels over 240 mm. One affine takes a pixel of such a slice to a voxel of the input, and
its inverse takes probabilities back, so that what goes in rotated comes out rotated.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import EngineError, InputError

FIELD_OF_VIEW_MM = 240.0
"""What the training slices show from edge to edge (no file says so; measured on the heads in them)."""

ROOMY_MM = 264.0
"""A field of view beyond which the head may lie anywhere in it, so that it is looked for."""

TILT_FOR_3D_DEGREES = 20.0
"""Tilt of the slices against the axial plane from which thin slices are resampled to upright ones."""

THIN = 2.0
"""Largest ratio of a volume's spacings at which it can be cut at any angle without stairs."""

ALIKE = 1.01
"""Ratio of two spacings up to which neither is the wider one."""

MAX_TILT_DEGREES = 40.0
"""Tilt from which thick slices show an anatomy that no training slice does."""

SMALLEST_COVER = 0.75
"""Share of the head in a FLAIR that another sequence has to cover; beyond its own field of view it is dark."""

CORNER_TOLERANCE_MM = 0.1
"""How far the corners of two grids may lie apart by rounding in their headers."""

INDEX, RIGHT, ANTERIOR, SUPERIOR = np.arange(3), *np.eye(3)


def assumed_pixel_mm(height: int, width: int) -> float:
    """Return the side in mm of a pixel of a slice without spacing: such a slice is taken to show :data:`FIELD_OF_VIEW_MM`.

    >>> assumed_pixel_mm(256, 200)
    0.9375
    """
    return FIELD_OF_VIEW_MM / max(height, width)


@dataclass(frozen=True)
class AxialGrid:
    """Axial slices ``(n, size, size)`` laid through a volume ``(z, y, x)``.

    Attributes
    ----------
    to_voxel
        ``(4, 4)``, from a slice's indices (x, y, slice) to the volume's indices (x, y, z).
    shape, volume_shape
        Of the slices and of the volume, both ``(z, y, x)``.
    notes
        What the user should know of it.
    """

    to_voxel: NDArray[np.float64]
    shape: tuple[int, int, int]
    volume_shape: tuple[int, int, int]
    notes: tuple[str, ...] = ()

    def sample(self, voxels: NDArray[Any], outside: float | None = 0.0) -> NDArray[np.float32]:
        """Return the slices ``(n, size, size)`` of one channel ``(z, y, x)``, linearly interpolated.

        Where slices are coarser than voxels these are smoothed first, so that nothing aliases.
        *outside* fills what lies beyond the middles of the outermost voxels; None goes on with these.
        """
        ndimage = _ndimage()
        steps = np.linalg.norm(self.to_voxel[:3, :3], axis=1)[::-1]  # voxels per slice pixel along z, y, x
        sigma = np.sqrt(np.maximum(steps**2 - 1.0, 0.0)) / 2.0
        smooth = voxels.astype(np.float32)
        if (sigma > 0.3).any():
            smooth = ndimage.gaussian_filter(smooth, np.where(sigma > 0.3, sigma, 0.0), mode="nearest")
        return _transformed(smooth, self.to_voxel, self.shape, outside)

    def restore(self, probability: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities ``(n, size, size)`` on the volume's own grid ``(z, y, x)``; 0 where no slice reaches."""
        return _transformed(probability, np.linalg.inv(self.to_voxel), self.volume_shape, 0.0)


def axial_grid(
    affine: NDArray[np.float64], volume_shape: tuple[int, int, int], size: int, head: NDArray[np.bool_] | None = None, name: str = "volume"
) -> AxialGrid:
    """Return the axial slices through a volume.

    Slices that the scanner made are kept, since nothing is gained by cutting thick ones anew: the
    network gets the volume's own planes nearest to axial, turned and scaled within the plane. Thin
    slices that are tilted by more than :data:`TILT_FOR_3D_DEGREES` are resampled to upright ones.

    Parameters
    ----------
    affine
        ``(4, 4)``, voxel indices (x, y, z) to millimetres in RAS+.
    volume_shape
        ``(z, y, x)``.
    size
        Height and width of the slices in pixels, over :data:`FIELD_OF_VIEW_MM`.
    head
        Where the head is, ``(z, y, x)``; where the field of view is roomy, slices centre on it.
    name
        What messages call the volume.

    Raises
    ------
    InputError
        Thick slices lie at an angle to the axial plane at which nothing can be trusted, or there is
        one slice only and it is not axial.
    """
    counts = np.array(volume_shape[::-1])
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    up_axis = int(np.flatnonzero(_orientation(affine)[:, 0] == 2)[0])
    first, second = np.delete(INDEX, up_axis)
    normal = np.cross(directions[:, first], directions[:, second])
    normal *= np.sign(normal @ SUPERIOR) / np.linalg.norm(normal)
    tilt = float(np.degrees(np.arccos(np.clip(normal @ SUPERIOR, -1.0, 1.0))))
    if (counts == 1).sum() == 1 and counts[up_axis] > 1:
        plane = ("sagittal", "coronal")[int(_orientation(affine)[int(np.argmin(counts)), 0])]
        raise InputError(f"{name}: a single {plane} slice. The network knows axial slices; give one, or a whole volume.")
    present = spacing[counts > 1] if (counts > 1).any() else spacing
    thin = bool(present.max() / present.min() <= THIN)
    plane = "3-D" if thin else _plane(affine, spacing)
    notes = []
    if tilt > TILT_FOR_3D_DEGREES and thin and counts.min() > 1:
        notes.append(f"slices lie {tilt:.0f}° off the axial plane and are thin: resampled to upright ones")
        target, depth = _upright(affine, counts, spacing, size)
    elif tilt > MAX_TILT_DEGREES:
        raise InputError(
            f"{name}: its slices lie {tilt:.0f}° off the axial plane and are {spacing.max():.3g} mm thick; up to {MAX_TILT_DEGREES:.0f}° "
            "is accepted. Give an axial or a 3-D acquisition."
        )
    else:
        target, depth = _along(affine, counts, up_axis, normal, size), int(counts[up_axis])
        if tilt > TILT_FOR_3D_DEGREES:
            notes.append(f"slices lie {tilt:.0f}° off the axial plane: lower confidence")
    if plane in ("coronal", "sagittal"):
        notes.append(f"acquired in {plane} slices of {spacing.max():.3g} mm, reformatted to axial ones: lower confidence")
    if head is not None and head.any() and _roomy(affine, counts, target):
        target = _centred_on(head, affine, target, size)
    to_voxel = np.linalg.inv(affine) @ target
    return AxialGrid(_snapped(to_voxel), (depth, size, size), volume_shape, tuple(notes))


def radiological(affine: NDArray[np.float64]) -> tuple[tuple[int, int, int], tuple[slice, slice, slice]]:
    """Return how to transpose, then slice an array ``(z, y, x)`` so that it shows axial slices upright.

    No interpolation: the volume's own axes nearest to superior, posterior and left, in this order;
    for looking at, where :class:`AxialGrid` is for computing.

    >>> radiological(np.diag([-1.0, -1.0, 1.0, 1.0]))[0]
    (0, 1, 2)
    """
    orientation = _orientation(affine)
    axes, flips = [], []
    for world, sign in ((2, 1), (1, -1), (0, -1)):
        voxel_axis = int(np.flatnonzero(orientation[:, 0] == world)[0])
        axes.append(2 - voxel_axis)
        flips.append(slice(None) if orientation[voxel_axis, 1] == sign else slice(None, None, -1))
    return (axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2])


def resampled(
    moving: NDArray[Any], moving_affine: NDArray[np.float64], affine: NDArray[np.float64], head: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], float]:
    """Return another sequence ``(z, y, x)`` on a volume's grid, and the share of the volume's *head* ``(z, y, x)`` which it covers.

    Linearly interpolated by the affines, smoothed first along axes on which the volume is coarser;
    beyond its own outermost voxels, which reach half a voxel from their middles, it has its smallest value.
    """
    shape = (head.shape[0], head.shape[1], head.shape[2])
    grid = AxialGrid(_snapped(np.linalg.inv(moving_affine) @ affine), shape, (moving.shape[0], moving.shape[1], moving.shape[2]))
    corner = np.array(moving.shape[::-1]) - 0.5
    onto, low, covered = grid.sample(moving, outside=None), float(moving.min()), 0
    columns = np.stack(np.meshgrid(np.arange(shape[2]), np.arange(shape[1]), indexing="ij"), axis=-1).reshape(-1, 2)
    for z in range(shape[0]):
        points = np.c_[columns, np.full(len(columns), z)] @ grid.to_voxel[:3, :3].T + grid.to_voxel[:3, 3]
        inside = ((points >= -0.5) & (points <= corner)).all(axis=1).reshape(shape[1:])
        onto[z, ~inside] = low
        covered += int(np.count_nonzero(inside & head[z]))
    return onto, covered / np.count_nonzero(head)


def corners_apart_mm(shape: tuple[int, ...], one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return how far the corners of two grids of one shape ``(z, y, x)`` lie apart at the most."""
    corners = np.array([(x, y, z, 1) for z in (0, 1) for y in (0, 1) for x in (0, 1)]) * np.array([*shape[::-1], 1])
    return float(np.linalg.norm(corners @ (one - other).T, axis=1).max())


def _plane(affine: NDArray[np.float64], spacing: NDArray[np.float64]) -> str:
    """Return how slices were acquired: across the axis with the widest spacing; as ``"3-D"`` where no axis has that alone."""
    world = int(_orientation(affine)[int(np.argmax(spacing)), 0])
    _, next_widest, widest = np.sort(spacing)
    if widest <= ALIKE * next_widest:
        return "3-D"
    return ("sagittal", "coronal", "axial")[world]


def _along(
    affine: NDArray[np.float64], counts: NDArray[np.int_], up_axis: int, normal: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """Return the affine of the volume's own planes, turned within the plane so that the patient's right is on the left.

    A sheared volume (gantry tilt) keeps its planes: each follows the last along the volume's own axis.
    """
    step = affine[:3, up_axis] * np.sign(affine[:3, up_axis] @ normal)
    leftwards = -(RIGHT - (RIGHT @ normal) * normal)
    leftwards /= np.linalg.norm(leftwards)
    backwards = np.cross(normal, leftwards)
    middle = (counts - 1) / 2.0
    middle[up_axis] = 0.0 if affine[:3, up_axis] @ normal > 0 else counts[up_axis] - 1
    return _target(leftwards, backwards, step, affine[:3, :3] @ middle + affine[:3, 3], size)


def _upright(
    affine: NDArray[np.float64], counts: NDArray[np.int_], spacing: NDArray[np.float64], size: int
) -> tuple[NDArray[np.float64], int]:
    """Return the affine and the number of exactly axial slices that cover the volume."""
    corners = np.stack(np.meshgrid(*([0.0, n - 1.0] for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    heights = (corners @ affine[:3, :3].T + affine[:3, 3])[:, 2]
    thickness = float(spacing.min())
    depth = int(np.ceil((heights.max() - heights.min()) / thickness)) + 1
    centre = affine[:3, :3] @ ((counts - 1) / 2.0) + affine[:3, 3]
    centre[2] = heights.min()
    return _target(-RIGHT, -ANTERIOR, SUPERIOR * thickness, centre, size), depth


def _target(
    leftwards: NDArray[np.float64], backwards: NDArray[np.float64], step: NDArray[np.float64], centre: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """Return the affine of slices (x, y, slice) whose first one has its middle at *centre*."""
    pixel = FIELD_OF_VIEW_MM / size
    target = np.eye(4)
    target[:3, 0], target[:3, 1], target[:3, 2] = leftwards * pixel, backwards * pixel, step
    target[:3, 3] = centre - (target[:3, 0] + target[:3, 1]) * (size - 1) / 2.0
    return target


def _roomy(affine: NDArray[np.float64], counts: NDArray[np.int_], target: NDArray[np.float64]) -> bool:
    """Return whether the volume is wider than a head's usual field of view along the slices' rows or columns."""
    across = target[:3, :2] / np.linalg.norm(target[:3, :2], axis=0)
    extent = np.abs(across.T @ (affine[:3, :3] * counts)).max(axis=1)
    return bool((extent > ROOMY_MM).any())


def _centred_on(head: NDArray[np.bool_], affine: NDArray[np.float64], target: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return the slices shifted within their plane so that the head's middle is theirs."""
    indices = np.argwhere(head)[:, ::-1]
    inside = np.linalg.inv(target) @ affine @ np.c_[indices, np.ones(len(indices))].T
    low, high = np.percentile(inside[:2], [1, 99], axis=1)
    shift = (low + high) / 2.0 - (size - 1) / 2.0
    moved = target.copy()
    moved[:3, 3] += target[:3, :2] @ shift
    return moved


def _orientation(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each voxel axis the world axis (0, 1, 2 for right, anterior, superior) nearest to it, and its sign: ``(3, 2)``."""
    from nibabel.orientations import io_orientation  # half a second that slices without geometry need not wait for

    orientation: NDArray[np.float64] = io_orientation(affine)
    return orientation


def _snapped(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix with rounding errors removed, so that voxels that coincide are copied, not interpolated."""
    return np.round(matrix, 6) + 0.0


def _transformed(
    array: NDArray[np.floating[Any]], matrix: NDArray[np.floating[Any]], shape: tuple[int, int, int], outside: float | None
) -> NDArray[np.float32]:
    """Return ``array`` sampled at *matrix* times each index of *shape*, the matrix being in x, y, z and arrays in z, y, x.

    *outside* as of :meth:`AxialGrid.sample`.
    """
    if shape == array.shape and np.array_equal(matrix, np.eye(4)):
        return array
    reverse = matrix[:3, :3][::-1, ::-1]
    out = np.empty(shape, np.float32)
    mode = "nearest" if outside is None else "constant"
    _ndimage().affine_transform(array, reverse, matrix[:3, 3][::-1], shape, out, order=1, mode=mode, cval=outside or 0.0)
    return out


def _ndimage() -> Any:
    try:
        from scipy import ndimage  # 100 MB that slices without geometry do not need
    except ImportError as error:
        raise EngineError("scans with geometry need SciPy. Install it: pip install 'gliomask[volumes]'.") from error
    return ndimage

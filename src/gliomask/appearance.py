"""How a slice looks, in numbers: its head's outline, its halves, its brightness from rim to middle, its texture."""

from itertools import pairwise
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gliomask.bounds import bounding_box

Plane = NDArray[np.float32]
Region = NDArray[np.bool_]

SIDE = 96
"""Pixels along a side of the square in which a slice is looked at: 2.5 mm each over the network's 240 mm."""

AIR = 0.3
"""Share of the foreground's median below which a pixel is dark."""

RINGS = (0.0, 0.05, 0.10, 0.16, 0.24, 0.34, 0.48, 0.66, 1.01)
"""Bounds of the head's rings: depth below its outline in radii of the disc of the same area."""

RIM = 0.24
"""Depth at which scalp and skull lie behind: what is deeper counts as inside."""

DARKEST = 2
"""Percentile that counts as the air's brightness."""

PERCENTS = (2, 10, 25, 50, 75, 90, 98)

SMALLEST_HEAD = 20
"""Pixels of the square below which there is nothing to describe."""

LEAST_SHARE = 1e-4
"""Shares below this are not told apart."""

DETAIL_SIDE = 512
"""Of larger slices every second pixel or fewer is compared: it is cheaper, and a mean would take the sequences' own noise away."""


def appearance(plane: NDArray[Any]) -> dict[str, float] | None:
    """Return what describes a slice, by name; None where there is nothing bright in it.

    Brightness is in multiples of the median inside the head, so that neither unit nor gain matters.
    Lengths are in shares of the frame or of the head, so that the pixel's size does not matter.

    Parameters
    ----------
    plane
        One channel of one slice, ``(y, x)``, any real dtype.
    """
    square = _reduced(plane)
    square -= np.percentile(square, DARKEST)
    mean = float(square.mean())
    bright = square[square > mean]
    if bright.size == 0 or mean <= 0.0:
        return None
    tissue = _smooth(square) > AIR * float(np.median(bright))
    air = _outside(tissue)
    head = _largest(~air)
    area = int(head.sum())
    if area < SMALLEST_HEAD:
        return None
    depth = _depth(head) / np.float32(np.sqrt(area / np.pi))
    inside = head & (depth > RIM)
    if inside.sum() < SMALLEST_HEAD / 2:
        inside = head
    level = square / max(float(np.median(square[inside])), 1e-9)
    shown = _placed(plane.shape)
    outline = {
        "head_share": area / SIDE**2,
        "border": _along_edges(tissue[shown]),
        "straight": _along_edges(tissue[shown][bounding_box(head[shown])]),
        "one_piece": area / float((~air).sum()),
    }
    return (
        outline
        | _shape(head, level)
        | _brightness(level, head, inside, air)
        | _rings(level, head, depth)
        | _inner(level, inside, depth)
        | _extremes(plane, area)
    )


def shared_detail(slice_: NDArray[Any]) -> float:
    """Return how far three channels ``(y, x, 3)`` have their finest detail in common, the least of the three correlations.

    Sequences share edges, each with noise of its own (at most 0.75 in the LGG dataset); colours of a photograph share nearly
    everything.
    """
    step = -(-max(slice_.shape[:2]) // DETAIL_SIDE)
    planes = [slice_[::step, ::step, c].astype(np.float32) for c in range(3)]
    fine = [_detail(plane) for plane in planes]
    return min(_correlation(fine[a], fine[b]) for a, b in ((0, 1), (1, 2), (0, 2)))


def _detail(plane: Plane) -> Plane:
    padded = np.pad(plane, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    mean: Plane = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    return plane - mean


def _reduced(plane: NDArray[Any]) -> Plane:
    """Return the slice within a square of :data:`SIDE` pixels, padded with the brightness of its air."""
    rows, columns = placed = _placed(plane.shape)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    method = Image.Resampling.BOX if max(plane.shape) > SIDE else Image.Resampling.BILINEAR
    small = np.asarray(Image.fromarray(np.ascontiguousarray(plane, np.float32)).resize(size, method))
    square = np.full((SIDE, SIDE), np.percentile(small, DARKEST), np.float32)
    square[placed] = small
    return square


def _placed(shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return where in the square a slice of this shape lies, rows and columns: in the middle, with its longer side from end to end."""
    height, width = (max(1, round(n * SIDE / max(shape))) for n in shape)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    return slice(top, top + height), slice(left, left + width)


def _smooth(plane: Plane) -> Plane:
    padded = np.pad(plane, 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16


def _outside(tissue: Region) -> Region:
    """Return the dark region around the tissue that reaches the frame."""
    labels = cc3d.connected_components(np.pad(~tissue, 1, constant_values=True).astype(np.uint8), connectivity=4)
    region: Region = (labels == labels[0, 0])[1:-1, 1:-1]
    return region


def _largest(region: Region) -> Region:
    labels = cc3d.connected_components(region.astype(np.uint8), connectivity=4)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: Region = (labels == sizes.argmax()) & region
    return largest


def _along_edges(region: Region) -> float:
    """Return the share of the frame's four edges that is in the region."""
    return float(np.concatenate([region[0], region[-1], region[:, 0], region[:, -1]]).mean())


def _depth(head: Region) -> Plane:
    """Return the distance below the outline in pixels: erosions survived, by a cross and a square in turn."""
    depth, left = np.zeros(head.shape, np.float32), np.pad(head, 1)
    turn = 0
    while left.any():
        depth += left[1:-1, 1:-1]
        turn += 1
        eroded = left[1:-1, 1:-1] & left[:-2, 1:-1] & left[2:, 1:-1] & left[1:-1, :-2] & left[1:-1, 2:]
        if turn % 2 == 0:
            eroded &= left[:-2, :-2] & left[2:, :-2] & left[:-2, 2:] & left[2:, 2:]
        left[1:-1, 1:-1] = eroded
    return depth


def _shape(head: Region, level: Plane) -> dict[str, float]:
    """Return how like an ellipse the head is, how it lies, and how its halves mirror each other in outline and brightness."""
    y, x = np.nonzero(head)
    middle_y, middle_x = float(y.mean()), float(x.mean())
    yy, xx, yx = float(y.var()) + 1 / 12, float(x.var()) + 1 / 12, float(((y - middle_y) * (x - middle_x)).mean())
    determinant = yy * xx - yx**2
    rows, columns = np.mgrid[:SIDE, :SIDE]
    rows, columns = rows - middle_y, columns - middle_x
    ellipse = (xx * rows**2 - 2 * yx * rows * columns + yy * columns**2) / determinant < 4.0
    middle = SIDE / 2 - 0.5
    spread = np.hypot((yy - xx) / 2, yx)
    found = {
        "ellipse": float((head & ellipse).sum() / (head | ellipse).sum()),
        "tall": 0.5 * np.log(yy / xx),
        "lean": yx / np.sqrt(yy * xx),
        "long": 0.5 * np.log(((yy + xx) / 2 + spread) / max((yy + xx) / 2 - spread, 1e-9)),
        "off_y": (middle_y - middle) / SIDE,
        "off_x": (middle_x - middle) / SIDE,
    }
    soft = np.clip(_smooth(_smooth(level)), 0.0, 3.0)
    for name, axis, centre in (("lr", 1, middle_x), ("ud", 0, middle_y)):
        found[f"mirror_{name}"], found[f"mirror_i_{name}"] = _mirrored(head, soft, axis, centre)
    return {name: float(value) for name, value in found.items()}


def _mirrored(head: Region, soft: Plane, axis: int, centre: float) -> tuple[float, float]:
    """Return overlap and correlation of the head with its mirror image, about the best of three axes."""
    best, correlation = 0.0, -1.0
    for shift in (-1.5, 0.0, 1.5):
        mirror = np.clip(np.round(2 * centre + shift - np.arange(SIDE)).astype(int), 0, SIDE - 1)
        flipped = np.take(head, mirror, axis)
        both = head & flipped
        overlap = float(both.sum() / (head | flipped).sum())
        if overlap > best:
            best, correlation = overlap, _correlation(soft[both], np.take(soft, mirror, axis)[both])
    return best, correlation


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / scale if scale > 0.0 else 0.0


def _brightness(level: Plane, head: Region, inside: Region, air: Region) -> dict[str, float]:
    found = {"air_level": float(level[air].mean()) if air.any() else 0.0, "air_spread": float(level[air].std()) if air.any() else 0.0}
    for name, region in (("inner", inside), ("head", head)):
        found |= {f"{name}_p{p}": float(v) for p, v in zip(PERCENTS, np.percentile(level[region], PERCENTS), strict=True)}
    return found


def _rings(level: Plane, head: Region, depth: Plane) -> dict[str, float]:
    found = {}
    for number, (low, high) in enumerate(pairwise(RINGS)):
        ring = level[head & (depth >= low) & (depth < high)]
        found[f"shell{number}"] = float(ring.mean()) if ring.size else 1.0
        found[f"shellsd{number}"] = float(ring.std()) if ring.size else 0.0
    return found


def _inner(level: Plane, inside: Region, depth: Plane) -> dict[str, float]:
    """Return spread, skewness, the trend from rim to middle and the texture of what is inside the head."""
    values = level[inside]
    low, high = np.percentile(values, (10, 90))
    usual = inside & (level > low) & (level < high)
    once = _smooth(level)
    down, across = np.gradient(once)
    fine = (level - _smooth(once))[inside]
    return {
        "sd": float(values.std()),
        "skew": _skewness(values - values.mean()),
        "depth_corr": _correlation(depth[inside], values),
        "depth_corr_mid": _correlation(depth[usual], level[usual]) if usual.any() else 0.0,
        "texture": float(np.abs(level - once)[inside].mean()),
        "grad": float(np.hypot(down, across)[inside].mean()),
        "hp_skew": _skewness(fine),
    }


def _skewness(deviations: NDArray[np.float32]) -> float:
    return float(np.clip((deviations**3).mean() / (deviations.std() + 1e-9) ** 3, -4.0, 4.0))


def _extremes(plane: NDArray[Any], area: int) -> dict[str, float]:
    """Return log10 of the share of the head's pixels that have the very largest value, as where a display's window cut them off."""
    share = float(np.mean(plane == plane.max())) / max(area / SIDE**2, 0.01)
    return {"saturated": float(np.log10(max(share, LEAST_SHARE)))}

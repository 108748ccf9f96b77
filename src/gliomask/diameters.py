"""The two diameters of a lesion in its slices, between corners of pixels and in millimetres."""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

EQUAL = 1e-5
"""Lengths that differ by a smaller share are equally long: what rounding changes, such as an affine in single precision."""


def diameters(slices: Mask, plane: NDArray[np.float64]) -> tuple[float, float, int]:
    """Return the longest diameter and its perpendicular in mm over slices ``(n, y, x)``, and the slice they lie in.

    Of equally long ones it is the one with the largest perpendicular, then the one in the first slice,
    so that the order of storage changes nothing.

    Parameters
    ----------
    slices
        ``(n, y, x)`` bool with at least one pixel marked.
    plane
        ``(2, 2)``: columns are the steps of a row and of a column in mm, in coordinates of the plane.
    """
    reach = _reach(slices, plane)
    longest, found = 0.0, []
    for z in np.argsort(-reach, kind="stable"):
        if reach[z] < longest * (1.0 - EQUAL):
            break  # no later slice is large enough to hold one as long
        length, directions = _longest(_hull(slices[z]) @ plane.T)
        found.append((length, int(z), directions))
        longest = max(longest, length)
    tied = [(z, d) for length, z, directions in found if length >= longest * (1.0 - EQUAL) for d in directions]
    widths = [_perpendicular(slices[z], plane, direction) for z, direction in tied]
    widest = max(widths)
    at = min(z for (z, _), width in zip(tied, widths, strict=True) if width >= widest * (1.0 - EQUAL))
    return longest, widest, at


def _reach(slices: Mask, plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each slice the diagonal of its bounding box in mm, which no diameter exceeds."""
    rows = _extent(np.any(slices, axis=2))[:, None] * plane[:, 0]
    columns = _extent(np.any(slices, axis=1))[:, None] * plane[:, 1]
    return np.maximum(np.linalg.norm(rows + columns, axis=1), np.linalg.norm(rows - columns, axis=1))


def _extent(marked: Mask) -> NDArray[np.int_]:
    """Return for each line of ``(n, m)`` from the first to the last marked entry, 0 where there is none."""
    length = marked.shape[1] - marked.argmax(axis=1) - marked[:, ::-1].argmax(axis=1)
    return np.where(marked.any(axis=1), length, 0)


def _hull(area: Mask) -> NDArray[np.int_]:
    """Return the corners (row, column) of the convex hull of the pixels ``(y, x)``, pixel i reaching from i to i + 1."""
    width = area.shape[1]
    filled = area.any(axis=1)
    start = np.where(filled, area.argmax(axis=1), width)
    stop = np.where(filled, width - area[:, ::-1].argmax(axis=1), 0)
    # A line between two rows of pixels reaches as far as the longer of them.
    left = np.minimum(np.append(start, width), np.insert(start, 0, width))
    right = np.maximum(np.append(stop, 0), np.insert(stop, 0, 0))
    lines = np.flatnonzero(left < right)
    return np.array(_chain(lines, left[lines], 1) + _chain(lines, right[lines], -1))


def _chain(rows: NDArray[np.int_], columns: NDArray[np.int_], side: int) -> list[tuple[int, int]]:
    """Return the points of one side of the hull (Andrew's monotone chain), the points being in the order of their rows."""
    kept: list[tuple[int, int]] = []
    for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
        while len(kept) > 1:
            (y0, x0), (y1, x1) = kept[-2:]
            if side * ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) < 0:
                break
            kept.pop()
        kept.append((y, x))
    return kept


def _longest(points: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Return the greatest distance between two of the points, and the unit vector along it of each pair so far apart, ``(n, 2)``."""
    differences = points[:, None] - points[None]
    lengths = np.sqrt((differences**2).sum(axis=2))
    length = float(lengths.max())
    pairs = np.triu(lengths >= length * (1.0 - EQUAL))  # each pair once
    return length, differences[pairs] / lengths[pairs, None]


def _perpendicular(area: Mask, plane: NDArray[np.float64], direction: NDArray[np.float64]) -> float:
    """Return the longest chord of the pixels' area at a right angle to *direction*, in mm.

    With t along *direction* and s across it, the chord at t reaches from the lowest to the highest s
    of the outline. Both are linear between the outline's corners, so the longest chord is at a corner.
    """
    padded = np.pad(area, 1)
    axes = np.array([direction, [-direction[1], direction[0]]]) @ plane  # (row, column) to (t, s)
    families = []
    for along, outline in ((1, padded[1:, 1:-1] != padded[:-1, 1:-1]), (0, padded[1:-1, 1:] != padded[1:-1, :-1])):
        step = axes[:, along]
        starts = np.argwhere(outline) @ axes.T
        families.append((starts if step[0] >= 0 else starts + step, np.copysign(1.0, step[0]) * step))
    corners = np.unique(np.concatenate([t for starts, step in families for t in (starts[:, 0], starts[:, 0] + step[0])]))
    tolerance = 1e-9 * float(np.abs(plane).max()) * max(area.shape)
    highest = np.full(len(corners), -np.inf)
    lowest = np.full(len(corners), np.inf)
    for starts, step in families:
        if step[0] <= tolerance:
            continue  # parallel to the chords: its ends belong to edges of the other family too
        for sign, best in ((1.0, highest), (-1.0, lowest)):
            reached = _envelope(starts[:, 0], sign * starts[:, 1], step[0], sign * step[1], corners, tolerance)
            (np.maximum if sign > 0 else np.minimum)(best, sign * reached, out=best)
    return float((highest - lowest).max())


def _envelope(
    t: NDArray[np.float64], s: NDArray[np.float64], width: float, rise: float, at: NDArray[np.float64], tolerance: float
) -> NDArray[np.float64]:
    """Return at each *at* the highest of the parallel edges from (t, s) to (t + width, s + rise) there; -inf where there is none."""
    order = np.argsort(t)
    slope = rise / width
    offsets = np.append((s - slope * t)[order], -np.inf)  # the edges that cover a place differ in their offset alone
    first = np.searchsorted(t[order], at - width - tolerance)
    stop = np.searchsorted(t[order], at + tolerance, side="right")
    best = np.maximum.reduceat(offsets, np.stack([first, stop], axis=1).ravel())[::2]
    return np.where(first < stop, best + slope * at, -np.inf)

"""The slices that stand for a case on its page, and their pictures, taken from the contact sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.report.html import content_box

KEY_SLICES = 6
"""Most slices that are shown."""


@dataclass(frozen=True)
class Tile:
    """A slice's picture ``(y, x, 3)``: ``index`` counts from 0, ``area`` is how many of its pixels are marked."""

    index: int
    area: int
    pixels: NDArray[np.uint8]


def key_slices(areas: Sequence[int], shown: Sequence[int], most: int = KEY_SLICES) -> list[int]:
    """Return which of the *shown* slices stand for a case, in their order; *areas* are those of all slices.

    Marked slices if there are few enough. Of more, the marked area is divided into *most* equal parts
    from bottom to top, and the slice with the largest area stands for each, since neighbours look
    alike. Where nothing is marked they are evenly spaced.

    >>> key_slices([0, 4, 9, 5, 0], [0, 1, 2, 3, 4], most=2)
    [2, 3]
    """
    marked = [z for z in shown if areas[z]]
    if not marked:
        positions = np.linspace(0, len(shown) - 1, min(most, len(shown)))
        return [shown[round(p)] for p in positions]
    if len(marked) <= most:
        return marked
    weights = np.array([areas[z] for z in marked], float)
    middles = (np.cumsum(weights) - weights / 2.0) / weights.sum()
    part = np.floor(middles * most).astype(int)
    chosen = [max((z for z, p in zip(marked, part, strict=True) if p == wanted), key=lambda z: areas[z]) for wanted in np.unique(part)]
    # A slice that holds several parts by itself leaves room for the largest of the rest.
    rest = sorted((z for z in marked if z not in chosen), key=lambda z: -areas[z])
    return sorted([*chosen, *rest[: most - len(chosen)]])


def key_tiles(layout: Mapping[str, Any], overlay: NDArray[Any], areas: Sequence[int]) -> list[Tile]:
    """Return the key slices' pictures, all cropped alike to what is not background.

    Parameters
    ----------
    layout
        Of a contact sheet, as ``result.json`` has it under ``overlay``.
    overlay
        The contact sheet, ``(y, x, 1 or 3)`` uint8.
    areas
        Marked pixels of all slices.

    Raises
    ------
    ValueError
        The contact sheet is of another size than its layout says.
    """
    (width, height), columns, caption, shown = layout["tile"], layout["columns"], layout["caption"], layout["shown_slices"]
    rows = -(-len(shown) // columns)
    if overlay.shape[:2] != (rows * (height + caption), columns * width):
        raise ValueError(f"an overlay of {overlay.shape[1]} x {overlay.shape[0]} pixels")
    colour = np.broadcast_to(overlay, (*overlay.shape[:2], 3))
    tiles = []
    for z in key_slices(areas, shown):
        row, column = divmod(shown.index(z), columns)
        top, left = row * (height + caption) + caption, column * width
        tiles.append(Tile(z, areas[z], colour[top : top + height, left : left + width]))
    box = content_box(np.max([tile.pixels.max(axis=2) for tile in tiles], axis=0))
    return [Tile(tile.index, tile.area, tile.pixels[box]) for tile in tiles]

"""Pictures: the slice with the abnormality outlined or filled."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gliomask.grid import radiological
from gliomask.segmentation import Segmentation
from gliomask.surfaces import outline

Pixels = NDArray[np.uint8]

OUTLINE = (255, 176, 0)
"""Amber: no alarm, and told apart from grey by every kind of colour vision (Wong 2011, doi:10.1038/nmeth.1618)."""

REFERENCE = (86, 180, 233)
"""Sky blue, for a reference mask: with amber the pair that every kind of colour vision tells apart (Wong 2011)."""

GREYS = 224
"""Grey levels of a contact sheet: more than a screen shows apart, and the rest of a byte is left for the outline's colour."""

PALETTE: Pixels = (
    np.concatenate(
        [
            np.repeat(np.linspace(0, 255, GREYS)[:, None], 3, axis=1),
            np.linspace(0, 1, 256 - GREYS)[:, None] * OUTLINE,
        ]
    )
    .round()
    .astype(np.uint8)
)
"""Colours ``(256, 3)`` of a contact sheet: greys from black to white, then ambers from black to the outline's."""

_GREY_INDEX: Pixels = (np.arange(256) * ((GREYS - 1) / 255)).round().astype(np.uint8)

TILE = 256
COLUMNS = 6
MAX_TILES = 60
CAPTION = 18


def display_grey(flair: NDArray[Any]) -> Pixels:
    """Return intensities ``(z, y, x)`` as uint8 for the eye: the 99.8th percentile of what is not background is white."""
    low = float(flair.min())
    shown = flair[flair > flair.mean()]
    high = float(np.percentile(shown, 99.8)) if shown.size else low + 1.0
    scaled = (flair.astype(np.float32) - low) * (255.0 / max(high - low, 1e-6))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def overlay_slice(grey: Pixels, mask: NDArray[np.bool_], opacity: float = 0.0) -> Pixels:
    """Return a slice ``(y, x)`` as RGB ``(y, x, 3)``, the mask outlined and filled with *opacity* (0 to 1)."""
    rgb = np.repeat(grey[..., None], 3, axis=-1).astype(np.float32)
    colour = np.array(OUTLINE, np.float32)
    rgb[mask] = (1 - opacity) * rgb[mask] + opacity * colour
    rgb[outlined(mask)] = colour
    return rgb.astype(np.uint8)


def outlined(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the outline of a mask ``(y, x)``, thicker in larger slices."""
    return outline(mask, max(1, round(max(mask.shape) / 256)))


@dataclass(frozen=True)
class SheetLayout:
    """How a contact sheet is laid out: tiles ``(width, height)`` in pixels under captions, row by row.

    ``shown_slices`` are the axial slices that have a tile, counted from 0 at the bottom of the head.
    """

    tile: tuple[int, int]
    columns: int
    caption: int
    shown_slices: tuple[int, ...]


def axial_view(result: Segmentation) -> tuple[NDArray[Any], NDArray[np.bool_], tuple[float, float]]:
    """Return FLAIR and mask ``(z, y, x)`` as axial slices upright, patient's right on the left, and a pixel's height and width.

    No interpolation: the volume's own axes, turned and flipped. Without geometry they are as they
    came, a pixel being 1 x 1.
    """
    volume = result.volume
    if volume.affine is None or volume.spacing_mm is None:
        return volume.flair, result.mask, (1.0, 1.0)
    axes, flips = radiological(volume.affine)
    spacing_zyx = volume.spacing_mm[::-1]
    height, width = spacing_zyx[axes[1]], spacing_zyx[axes[2]]
    return volume.flair.transpose(axes)[flips], result.mask.transpose(axes)[flips], (height, width)


def contact_sheet(result: Segmentation) -> tuple[Image.Image, SheetLayout]:
    """Return a case's axial slices as one picture, each with its number and area, and how it is laid out.

    The picture has :data:`PALETTE`: a byte a pixel compresses in a third of the time that RGB takes.
    A volume of more than :data:`MAX_TILES` slices is thinned out: of each run of neighbours the one
    with most tumour is shown.
    """
    flair, mask, (pixel_height, pixel_width) = axial_view(result)
    depth, height, width = mask.shape
    areas = np.count_nonzero(mask, axis=(1, 2))
    step = -(-depth // MAX_TILES)
    shown = tuple(int(z + np.argmax(areas[z : z + step])) for z in range(0, depth, step))
    size_mm = np.array([width * pixel_width, height * pixel_height])
    largest = min(TILE, max(height, width)) if pixel_height == pixel_width else TILE
    tile_width, tile_height = (max(1, round(float(s))) for s in size_mm * largest / size_mm.max())
    layout = SheetLayout((tile_width, tile_height), min(COLUMNS, len(shown)), CAPTION, shown)
    rows = -(-len(shown) // layout.columns)
    sheet = np.zeros((rows * (tile_height + CAPTION), layout.columns * tile_width), np.uint8)
    grey = display_grey(flair)
    for place, z in enumerate(shown):
        top, left = place // layout.columns * (tile_height + CAPTION), place % layout.columns * tile_width
        columns = slice(left, left + tile_width)
        sheet[top : top + CAPTION, columns] = _caption(f"{z + 1}" + (f": {areas[z]} px" if areas[z] else ""), tile_width, bool(areas[z]))
        sheet[top + CAPTION : top + CAPTION + tile_height, columns] = _tile(grey[z], mask[z], layout.tile)
    picture = Image.fromarray(sheet, "L")
    picture.putpalette(PALETTE.tobytes())
    return picture, layout


def _caption(text: str, width: int, marked: bool) -> Pixels:
    """Return a caption as indices into the palette: amber where the slice is marked, else grey."""
    drawn = Image.new("L", (width, CAPTION))
    ImageDraw.Draw(drawn).text((5, 3), text, fill=255, font=_font())
    levels = np.asarray(drawn)
    if not marked:
        return (levels * (0.6 * (GREYS - 1) / 255)).astype(np.uint8)
    return np.where(levels, GREYS + levels * ((255 - GREYS) / 255), 0).astype(np.uint8)


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default()  # which reads and parses it anew each time


def _tile(grey: Pixels, mask: NDArray[np.bool_], size: tuple[int, int]) -> Pixels:
    """Return a slice with outline at a tile's size, as indices into the palette: scaled first, for an outline as fine on any grid."""
    if grey.shape != size[::-1]:
        grey = np.asarray(Image.fromarray(np.ascontiguousarray(grey)).resize(size, Image.Resampling.LANCZOS))
        marked = Image.fromarray(np.ascontiguousarray(mask).astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
        mask = np.asarray(marked) > 127
    tile = _GREY_INDEX[grey]
    if mask.any():
        tile[outlined(mask)] = 255
    return tile

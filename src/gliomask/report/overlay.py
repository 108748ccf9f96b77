"""Pictures: the slice with the abnormality outlined or filled."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gliomask.segmentation import Segmentation

Pixels = NDArray[np.uint8]

OUTLINE = (255, 176, 0)
"""Amber: no alarm, and told apart from grey by every kind of colour vision (Wong 2011, doi:10.1038/nmeth.1618)."""

TILE = 256
COLUMNS = 6
CAPTION = 18


def display_grey(flair: NDArray[Any]) -> Pixels:
    """Return intensities ``(z, y, x)`` as uint8 for the eye: the 99.8th percentile of what is not background is white."""
    low = float(flair.min())
    shown = flair[flair > flair.mean()]
    high = float(np.percentile(shown, 99.8)) if shown.size else low + 1.0
    scaled = (flair.astype(np.float32) - low) * (255.0 / max(high - low, 1e-6))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def outline(mask: NDArray[np.bool_], width: int = 1) -> NDArray[np.bool_]:
    """Return the pixels of a mask ``(y, x)`` that lie within *width* pixels of its edge, inside it."""
    inside = mask
    for _ in range(width):
        padded = np.pad(inside, 1)
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def overlay_slice(grey: Pixels, mask: NDArray[np.bool_], opacity: float = 0.0) -> Pixels:
    """Return a slice ``(y, x)`` as RGB ``(y, x, 3)``, the mask outlined and filled with *opacity* (0 to 1)."""
    rgb = np.repeat(grey[..., None], 3, axis=-1).astype(np.float32)
    colour = np.array(OUTLINE, np.float32)
    rgb[mask] = (1 - opacity) * rgb[mask] + opacity * colour
    rgb[outline(mask, max(1, round(max(grey.shape) / 256)))] = colour
    return rgb.astype(np.uint8)


def contact_sheet(result: Segmentation) -> Pixels:
    """Return all slices of a case as one RGB picture, in reading order, each with its number and area."""
    grey, mask = display_grey(result.volume.flair), result.mask
    depth, height, width = mask.shape
    scale = min(1.0, TILE / max(height, width))
    tile = (max(1, round(width * scale)), max(1, round(height * scale)))
    columns = min(COLUMNS, depth)
    rows = -(-depth // columns)
    sheet = Image.new("RGB", (columns * tile[0], rows * (tile[1] + CAPTION)))
    draw = ImageDraw.Draw(sheet)
    for z in range(depth):
        left, top = z % columns * tile[0], z // columns * (tile[1] + CAPTION)
        picture = Image.fromarray(overlay_slice(grey[z], mask[z]))
        sheet.paste(picture.resize(tile, Image.Resampling.LANCZOS) if scale < 1 else picture, (left, top + CAPTION))
        area = int(mask[z].sum())
        caption = f"{z + 1}" + (f": {area} px" if area else "")
        draw.text((left + 5, top + 3), caption, fill=OUTLINE if area else (150, 150, 150))
    return np.asarray(sheet)

"""Arrays to what the page shows and hands out."""

import io
import zipfile

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gliomask.report.overlay import OUTLINE, Pixels
from gliomask.segmentation import Segmentation

SHOWN_SIDE = 1024
"""Longest side on the page in pixels; a larger slice is shrunk for the screen and handed out whole."""


def mask_pixels(mask: NDArray[np.bool_]) -> Pixels:
    """Return a mask ``(y, x)`` as uint8, 0 or 255."""
    return mask.astype(np.uint8) * 255


def for_screen(pixels: Pixels) -> Pixels:
    """Return a picture ``(y, x)`` no larger than the page can show."""
    image = Image.fromarray(pixels)
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return np.asarray(image)


def png(pixels: Pixels) -> bytes:
    """Return a picture as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def masks_zip(result: Segmentation) -> bytes:
    """Return all masks of a volume as the bytes of a ZIP archive of PNG files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:  # stored: PNG is compressed already
        for name, mask in zip(result.volume.slice_names, result.mask, strict=True):
            archive.writestr(f"{name}_mask.png", png(mask_pixels(mask)))
    return file.getvalue()


def icon() -> Image.Image:
    """Return the page's icon: an outlined spot on a head."""
    image = Image.new("RGBA", (64, 64))
    draw = ImageDraw.Draw(image)
    draw.ellipse((8, 2, 56, 62), fill=(70, 78, 88))
    draw.ellipse((15, 18, 35, 38), outline=OUTLINE, width=5)
    return image

"""Pictures for where no viewer is drawn: single slices, and browsers without WebGL 2."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gliomask.report.overlay import REFERENCE, Pixels, outlined, overlay_slice

SHOWN_SIDE = 1024
"""Longest side on the page in pixels; a larger slice is shrunk for the screen and handed out whole."""

BOTH = (204, 121, 167)
"""Reddish purple of the same palette: where two outlines are one."""

CIVIDIS = np.array([(0, 34, 78), (53, 69, 108), (87, 93, 109), (124, 123, 120), (165, 156, 116), (209, 193, 96), (254, 232, 56)])
"""Read alike with every kind of colour vision (Nunez 2018, doi:10.1371/journal.pone.0199239)."""


def for_screen(pixels: Pixels) -> Pixels:
    """Return a picture ``(y, x)`` no larger than the page can show."""
    image = Image.fromarray(pixels)
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return np.asarray(image)


def windowed(grey: Pixels, window: tuple[float, float]) -> Pixels:
    """Return grey values stretched so that the window's ends (0 to 255) are black and white."""
    low, high = window
    return np.clip((grey.astype(np.float32) - low) * (255.0 / max(high - low, 1.0)), 0, 255).astype(np.uint8)


def marked_slice(
    grey: Pixels, mask: NDArray[np.bool_], values: NDArray[np.float32], reference: NDArray[np.bool_] | None, mark: str, opacity: float
) -> Pixels:
    """Return a slice ``(y, x)`` as RGB with what is marked in it, the reference outlined in blue, in purple where both outlines are one.

    *mark* is outline, fill, probability or uncertainty (whose *values* are mapped), or nothing.
    """
    small = for_screen(grey)
    ours = np.zeros(small.shape, np.bool_)
    size = small.shape[::-1]
    if mark in ("probability", "uncertainty"):
        shown = _mapped(small, np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR)), opacity)
    elif mark == "nothing":
        shown = np.repeat(small[..., None], 3, axis=-1)
    else:
        inside = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)) > 127
        shown = overlay_slice(small, inside, opacity if mark == "fill" else 0.0)
        ours = outlined(inside)
    if reference is not None and mark != "nothing":
        given = np.asarray(Image.fromarray(reference).resize(size, Image.Resampling.NEAREST))
        theirs = outlined(given)
        shown = shown.copy()
        shown[theirs] = REFERENCE
        shown[theirs & ours] = BOTH
    return shown


def _mapped(grey: Pixels, chance: NDArray[np.float32], opacity: float) -> Pixels:
    at = np.clip(chance, 0.0, 1.0) * (len(CIVIDIS) - 1)
    colours = np.stack([np.interp(at, np.arange(len(CIVIDIS)), CIVIDIS[:, channel]) for channel in range(3)], axis=-1)
    weight = np.where(chance >= 0.05, opacity, 0.0)[..., None]
    return ((1 - weight) * grey[..., None] + weight * colours).astype(np.uint8)


def png(pixels: Pixels) -> bytes:
    """Return a picture as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()

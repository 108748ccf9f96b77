"""What pages are put together from: their style, pictures inside them, paragraphs."""

import base64
import io
from collections.abc import Iterable
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BACKGROUND = 40
"""Grey value up to which the border of a picture is taken for the background around the head."""

PICTURE_PIXELS = 480
"""Longer side to which small pictures are enlarged, so that they do not print as blocks."""


def style() -> str:
    """Return the style sheet that all pages have in common."""
    return Path(__file__).with_name("page.css").read_text(encoding="utf-8").strip()


def content_box(grey: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return the part of a picture ``(y, x)`` that is not background, with a margin."""
    box = []
    for axis in (0, 1):
        bright = np.flatnonzero((grey > BACKGROUND).any(axis=1 - axis))
        margin = grey.shape[axis] // 32
        box.append(slice(max(bright[0] - margin, 0), bright[-1] + 1 + margin) if bright.size else slice(None))
    return box[0], box[1]


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return a picture ``(y, x)`` or ``(y, x, 3)`` as PNG inside an address, enlarged if it is small."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    scale = PICTURE_PIXELS / max(picture.size)
    if scale > 1:
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def paragraphs(texts: Iterable[str], kind: str = "") -> str:
    """Return each text as a paragraph of HTML, of the class *kind* if there is one."""
    opening = f'<p class="{kind}">' if kind else "<p>"
    return "\n".join(f"{opening}{escape(text)}</p>" for text in texts)

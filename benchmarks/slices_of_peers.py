"""How the peers read slices and write masks: image files one by one, with Pillow."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 256
"""The height and width of both peers' slices."""


def read_slice(path: Path) -> NDArray[np.uint8]:
    """Return an image file's slice at the network's size, ``(256, 256, 3)``."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def read_volume(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """Return a case's slices ``(z, 256, 256, 3)``."""
    return np.stack([read_slice(path) for path in paths])


def write_mask(mask: NDArray[np.bool_], path: Path) -> None:
    """Write a slice's mask, 0 or 255, as PNG."""
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)

"""A head drawn by the program: something to click on, to test with and to show, and nobody's scan."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gliomask.volume import Volume

SLICES = 12
SIZE = 256
LESION_CENTRE = (6.0, 112.0, 92.0)  # z, y, x in voxels
LESION_RADII = (2.6, 23.0, 19.0)


def draw_phantom(lesion: bool = True, seed: int = 7) -> Volume:
    """Return a synthetic axial head, ``(12, 256, 256, 3)`` uint8, with or without a bright FLAIR lesion.

    Scalp, skull, a brain with folds, two kinds of tissue and dark ventricles, smoothed and noisy as
    a slice of the LGG dataset is. It resembles anatomy just enough for a network trained on heads.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    slices = [_head_slice(z, y, x, lesion, rng) for z in range(SLICES)]
    return Volume(np.stack(slices), "phantom", tuple(f"phantom_{z + 1}" for z in range(SLICES)))


def lesion_mask() -> NDArray[np.bool_]:
    """Return where the phantom's lesion was drawn, ``(12, 256, 256)``."""
    z, y, x = np.mgrid[:SLICES, :SIZE, :SIZE].astype(np.float32)
    offsets = [(axis - c) / r for axis, c, r in zip((z, y, x), LESION_CENTRE, LESION_RADII, strict=True)]
    angle = np.arctan2(offsets[1], offsets[2])
    distance: NDArray[np.float32] = np.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2)
    return distance < 1.0 + 0.10 * np.sin(3 * angle) + 0.06 * np.cos(5 * angle)


def _head_slice(z: int, y: NDArray[np.float32], x: NDArray[np.float32], lesion: bool, rng: np.random.Generator) -> NDArray[np.uint8]:
    level = 1.0 - 0.45 * ((z - SLICES * 0.45) / (SLICES * 0.6)) ** 2  # the head narrows above and below
    radius = _ellipse(y, x, 128, 128, 101 * level, 80 * level)
    angle = np.arctan2(y - 128, x - 128)
    texture = _smooth_noise(rng, 9)
    wave = np.sin(17 * angle + z + 2.0 * texture) + 0.6 * np.sin(29 * angle - 2 * z)
    brain = radius < 0.86 + 0.010 * wave
    sulci = brain & (wave < -1.05) & (radius > 0.70)
    white = brain & (radius < 0.73 + 0.06 * wave)
    fissure = (np.abs(x - 128 - 1.5 * np.sin(y / 9 + z)) < 1.4) & brain
    ventricles = _ventricles(y, x, z) & brain
    skull, scalp = (radius >= 0.90) & (radius < 0.95), (radius >= 0.95) & (radius < 1.0)
    # Grey matter, white matter, fluid in folds and in ventricles, as T1, FLAIR and T1 with contrast show them.
    tissues = (
        (brain, (58, 68, 62)),
        (white, (76, 60, 80)),
        (sulci, (34, 36, 40)),
        (fissure, (30, 30, 60)),
        (ventricles, (22, 20, 22)),
    )
    channels = []
    marked = lesion_mask()[z] & brain if lesion else np.zeros_like(brain)
    for channel, (tumour, scalp_value) in enumerate(((54, 105), (118, 66), (57, 105))):
        plane = np.full((SIZE, SIZE), 3.0, np.float32)
        for region, values in tissues:
            plane[region] = values[channel]
        plane[marked] = (tumour + 6.0 * _smooth_noise(rng, 24))[marked]
        plane[skull], plane[scalp] = 8.0, scalp_value
        plane += 5.0 * texture * (radius < 1.0)
        channels.append(np.abs(_blurred(plane) + 2.2 * rng.standard_normal(plane.shape, np.float32)))
    return np.clip(np.round(np.stack(channels, axis=-1)), 0, 255).astype(np.uint8)


def _ellipse(y: NDArray[np.float32], x: NDArray[np.float32], cy: float, cx: float, ry: float, rx: float) -> NDArray[np.float32]:
    return np.hypot((y - cy) / ry, (x - cx) / rx)


def _ventricles(y: NDArray[np.float32], x: NDArray[np.float32], z: int) -> NDArray[np.bool_]:
    size = max(0.0, 1.0 - abs(z - 5) / 4)
    if size == 0.0:
        return np.zeros(y.shape, bool)
    left = _ellipse(y, x - 0.25 * (y - 125), 125, 117, 26 * size, 5.5 * size)
    right = _ellipse(y, x + 0.25 * (y - 125), 125, 139, 26 * size, 5.5 * size)
    return np.minimum(left, right) < 1.0


def _blurred(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    half = Image.fromarray(plane).resize((SIZE // 2, SIZE // 2), Image.Resampling.BILINEAR)
    return np.asarray(half.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def _smooth_noise(rng: np.random.Generator, cells: int) -> NDArray[np.float32]:
    coarse = Image.fromarray(rng.normal(0.0, 1.0, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC))

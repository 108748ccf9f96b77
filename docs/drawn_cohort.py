"""Scans of heads that a program draws, with their reference masks, for the pictures of the pages over many cases: nobody's scans.

    python docs/drawn_cohort.py heads/

writes them, for ``gliomask segment heads/ --output masks/`` and ``gliomask evaluate masks/ --reference-masks heads/``.
"""

import argparse
import gzip
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gliomask import draw_phantom
from gliomask.app.case import SAMPLE_SPACING_MM

LESIONS = (
    (6.0, 112, 92, 23), (5.5, 120, 160, 14), (6.5, 92, 150, 30), (6.0, 140, 100, 18), (5.0, 100, 108, 11), (6.0, 150, 150, 26),
    (7.0, 118, 96, 20), (6.0, 96, 98, 16), (5.5, 108, 156, 34), (6.5, 136, 158, 22), (6.0, 124, 90, 13), None,
)  # fmt: skip
"""Of each head the lesion's centre (z, y, x) and half its height in pixels; None is a head without any."""

UNLIKE = 0.12
"""By how much a reference differs from what was drawn, as one reader's outline does from another's."""


def files() -> Iterator[tuple[str, bytes]]:
    """Yield the files' names and contents: a FLAIR volume and a reference mask for each head."""
    rng = np.random.default_rng(3)
    for number, lesion in enumerate(LESIONS, start=1):
        flair = draw_phantom(lesion=False, seed=number).voxels[..., 1].astype(np.float32)
        mask = np.zeros(flair.shape, bool)
        if lesion is not None:
            inside = _inside(flair.shape, lesion, rng.uniform(0, 6))
            soft = np.clip(inside * 6 + 0.5, 0, 1) * (flair > 25)
            flair = flair * (1 - soft) + soft * (112 + _speckle(flair.shape, rng))
            mask = (inside > rng.uniform(-UNLIKE, 2 * UNLIKE)) & (flair > 25)
        yield f"head-{number:02d}_flair.nii.gz", _nifti(np.clip(flair, 0, 255).astype(np.uint8))
        yield f"head-{number:02d}_mask.nii.gz", _nifti(mask.astype(np.uint8))


def _inside(shape: tuple[int, ...], lesion: tuple[float, int, int, int], turn: float) -> NDArray[np.float32]:
    """Return how far each voxel lies inside a lesion with a wavy outline, in parts of its radius."""
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij")
    centre_z, centre_y, centre_x, half = lesion
    angle = np.arctan2(y - centre_y, x - centre_x)
    distance = np.sqrt(((z - centre_z) / (0.6 + half / 12)) ** 2 + ((y - centre_y) / half) ** 2 + ((x - centre_x) / (0.8 * half)) ** 2)
    return np.asarray(1 + 0.1 * np.sin(3 * angle + turn) + 0.05 * np.cos(5 * angle) - distance, np.float32)


def _speckle(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    slices, height, width = shape
    coarse = [
        Image.fromarray(rng.normal(0, 7, (24, 24)).astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
        for _ in range(slices)
    ]
    return np.stack([np.asarray(plane) for plane in coarse])


def _nifti(array: NDArray[np.uint8]) -> bytes:
    """Return an array ``(z, y, x)``, front on top and the patient's right on the left, as a NIfTI file."""
    x, y, z = SAMPLE_SPACING_MM
    image = nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([-x, -y, z, 1.0]))
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), mtime=0)


def main() -> None:
    """Read the command line and write the scans and their masks."""
    parser = argparse.ArgumentParser(description="Write scans of drawn heads, with their reference masks.")
    parser.add_argument("folder", type=Path, help="where to write them")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()

"""Heads that gliomask draws, as the files that are measured with: nobody's scans, and as many as wanted."""

import argparse
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.errors import NotMeasuredError
from gliomask import draw_phantom

DRAWN = 8
"""Different heads. Each has slices of its own noise, so that none compresses better than a scan's; after that they come again."""

HEIGHT_MM = 150.0
"""Of a head, whatever the number of its slices."""

IMAGES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}


@cache
def _phantom(number: int) -> NDArray[np.uint8]:
    voxels: NDArray[np.uint8] = draw_phantom(lesion=number % 4 != 3, seed=number).voxels
    return voxels


def head(slices: int, size: int = 256, first: int = 0) -> NDArray[np.uint8]:
    """Return a head's slices ``(z, y, x, 3)`` from below to above; number *first* and the next ones share the noise between them."""
    different = len(_phantom(0))
    heads = [_phantom((first + k) % DRAWN) for k in range(min(DRAWN, -(-slices // different)))]
    planes = [heads[z % len(heads)][z * different // slices] for z in range(slices)]
    if size == planes[0].shape[0]:
        return np.stack(planes)
    resized = np.stack([np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR)) for plane in planes])
    # Each sequence its own noise again, which resizing took away: without, they would be a photograph's colours.
    noisy = resized + np.random.default_rng(first).normal(0, 3, resized.shape).astype(np.float32)
    return np.clip(np.abs(noisy), 0, 255).astype(np.uint8)


def write_slices(folder: Path, slices: int, size: int = 256, first: int = 0) -> list[Path]:
    """Write a head as a folder of TIFF files, as the LGG dataset has them, and return the files in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{folder.name}_{z + 1}.tif" for z in range(slices)]
    for path, plane in zip(paths, head(slices, size, first), strict=True):
        Image.fromarray(plane).save(path)
    return paths


def write_nifti(path: Path, slices: int) -> Path:
    """Write a head's FLAIR as one NIfTI file."""
    import nibabel

    voxels = head(slices)[..., 1]
    affine = np.diag([-0.9375, -0.9375, HEIGHT_MM / slices, 1.0])  # 240 mm of field; the patient's right on the image's left
    image: Any = nibabel.Nifti1Image(voxels.transpose(2, 1, 0).astype(np.int16), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def cases(options: argparse.Namespace, folder: Path) -> list[list[Path]]:
    """Return each case's slices in order: of the dataset that is given, or of heads drawn into *folder*.

    Raises
    ------
    NotMeasuredError
        The dataset's folder has no folders of slices.
    """
    if options.dataset is None:
        return [write_slices(folder / f"head{number:03}", options.slices, first=number) for number in range(options.cases)]
    folders = sorted(path for path in options.dataset.iterdir() if path.is_dir())
    found = [slices for path in folders[: options.cases] if (slices := _slices(path))]
    if not found:
        raise NotMeasuredError(f"{options.dataset}: has no folders of slices. Give the folder that holds the patients' folders.")
    return found


def first_slices(cases: Sequence[Sequence[Path]], at_most: int) -> list[list[Path]]:
    """Return whole cases up to about so many slices, at least one case."""
    chosen: list[list[Path]] = []
    for case in cases:
        if chosen and sum(map(len, chosen)) + len(case) > at_most:
            break
        chosen.append(list(case))
    return chosen


def _slices(folder: Path) -> list[Path]:
    """Return a folder's slices, reference masks aside; their order does not matter to the time."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES and not path.stem.endswith("_mask"))

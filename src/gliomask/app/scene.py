"""A case as the viewer takes it: small volumes in RAS+, thumbnails, and which slice to look at first."""

import base64
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gliomask.grid import assumed_pixel_mm, radiological
from gliomask.postprocess import slice_distance_mm
from gliomask.report.overlay import Pixels, display_grey, overlay_slice
from gliomask.volume import Volume

MOST_ASSUMED_MM = 6.0
"""Largest distance that slices without geometry are drawn at: a few of them are no head's height."""

ONE = 65535
"""What stands for a probability of 1; fine enough that the viewer's cut is that of the measurements."""

THUMBNAILS = 12
THUMBNAIL_HEIGHT = 136  # twice what is shown, for screens with fine pixels

Box = tuple[tuple[int, int, int], tuple[slice, slice, slice]]


@dataclass(frozen=True)
class Scene:
    """What is drawn of a case, all arrays ``(z, y, x)`` in RAS+.

    Attributes
    ----------
    flair
        Intensities for the eye, 0 to 255.
    probability
        0 to :data:`ONE`.
    affine
        From x, y, z to millimetres.
    assumed
        Whether spacing and place are assumed because the input has none.
    """

    flair: Pixels
    probability: NDArray[np.uint16]
    affine: NDArray[np.float64]
    assumed: bool

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self.flair.nbytes + self.probability.nbytes


def scene_of(volume: Volume, probability: NDArray[np.float32]) -> Scene:
    """Return what the viewer draws of a volume and its probabilities."""
    affine, box = ras_box(volume)
    return Scene(display_grey(in_ras(volume.flair, box)), stored(in_ras(probability, box)), affine, volume.affine is None)


def stored(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return values from 0 to 1 as whole numbers up to :data:`ONE`."""
    return np.round(values * ONE).astype(np.uint16)


def ras_box(volume: Volume) -> tuple[NDArray[np.float64], Box]:
    """Return the affine of a volume turned to RAS+, and how its arrays ``(z, y, x)`` are transposed and then sliced for that."""
    depth, height, width = volume.voxels.shape[:3]
    affine = _assumed(depth, height, width) if volume.affine is None else volume.affine
    axes, flips = radiological(affine)
    other = slice(None, None, -1)
    turned = (flips[0], *(other if flip.step is None else slice(None) for flip in flips[1:]))
    shape = volume.voxels.shape[:3]
    ras = np.eye(4)
    for column, (axis, flip) in enumerate(zip(axes[::-1], turned[::-1], strict=True)):  # x, y, z
        direction = affine[:3, 2 - axis]
        ras[:3, column] = direction if flip.step is None else -direction
    start = [0 if flip.step is None else shape[axis] - 1 for axis, flip in zip(axes, turned, strict=True)]
    first = np.zeros(3)
    for axis, index in zip(axes, start, strict=True):
        first[2 - axis] = index
    ras[:3, 3] = affine[:3, :3] @ first + affine[:3, 3]
    return ras, (axes, (turned[0], turned[1], turned[2]))


def in_ras(array: NDArray[Any], box: Box) -> NDArray[Any]:
    """Return an array ``(z, y, x)`` turned to RAS+; no value is changed."""
    axes, flips = box
    return np.ascontiguousarray(array.transpose(axes)[flips])


def nifti(array: NDArray[Any], affine: NDArray[np.float64]) -> bytes:
    """Return an array ``(z, y, x)`` as the bytes of a packed NIfTI file."""
    image = nibabel.Nifti1Image(array.transpose(2, 1, 0), affine, dtype=array.dtype)
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def focus(probability: NDArray[np.uint16], threshold: float) -> tuple[int, int, int]:
    """Return the voxel (x, y, z) to look at first: amid the slice with most tumour; without any, the volume's middle."""
    marked = probability >= np.round(threshold * ONE)
    areas = np.count_nonzero(marked, axis=(1, 2))
    if not areas.any():
        depth, height, width = probability.shape
        return width // 2, height // 2, depth // 2
    z = int(areas.argmax())
    y, x = (int(np.median(indices)) for indices in np.nonzero(marked[z]))
    return x, y, z


def chosen_slices(areas: Sequence[int], most: int = THUMBNAILS) -> list[int]:
    """Return the slices with tumour, or where there are too many the one with most of each stretch of them.

    >>> chosen_slices([0, 3, 9, 4, 0, 1], most=2)
    [2, 3]
    """
    found = [z for z, area in enumerate(areas) if area]
    runs = np.array_split(np.array(found, int), min(most, len(found))) if found else []
    return [int(max(run, key=lambda z: areas[z])) for run in runs]


def thumbnail(grey: Pixels, mask: NDArray[np.bool_], aspect: float = 1.0) -> str:
    """Return a slice ``(y, x)`` with its outline as a small picture in a data URL; *aspect* is a pixel's height by its width."""
    shown = Image.fromarray(overlay_slice(grey, mask, 0.25))
    size = (max(1, round(THUMBNAIL_HEIGHT * grey.shape[1] / (grey.shape[0] * aspect))), THUMBNAIL_HEIGHT)
    file = io.BytesIO()
    shown.resize(size, Image.Resampling.BILINEAR).save(file, format="JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _assumed(depth: int, height: int, width: int) -> NDArray[np.float64]:
    """Return an affine for axial slices of which nothing is known but that they are upright, patient's right on the left."""
    pixel = assumed_pixel_mm(height, width)
    return np.diag([-pixel, -pixel, min(MOST_ASSUMED_MM, slice_distance_mm(depth)), 1.0])

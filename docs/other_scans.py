"""How the cross-validated Dice holds where scans differ from the dataset's, one difference at a time.

    python docs/other_scans.py kaggle_3m/ ensemble brains/

The second is as for ``gliomask evaluate --cross-validation``, ``brains/`` is what ``docs/brain_masks.py``
makes. From FLAIR alone, every patient through the network of the fold that left them out, as a volume
with geometry: pixels of 240 / 256 mm, and slices that span 150 mm together, since the dataset records
no spacing. Prints mean, median and failures (Dice under 0.5) over the patients, and how many the
quality check would refuse; they are scored all the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from held_out import held_out
from markdown_table import print_head, print_row
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from gliomask import Segmenter, Volume
from gliomask.components import components
from gliomask.dataset import Patient
from gliomask.grid import FIELD_OF_VIEW_MM
from gliomask.metrics import confusion, dice
from gliomask.models import ModelRecord
from gliomask.postprocess import slice_distance_mm
from gliomask.preprocess import foreground

FAILED = 0.5


@dataclass(frozen=True)
class Scan:
    """A FLAIR scan: its voxels, where the brain and the tumour are, all ``(z, y, x)``, and its spacing ``(z, y, x)`` in mm."""

    flair: NDArray[np.float32]
    brain: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]

    @property
    def volume(self) -> Volume:
        """What the segmenter is given: axial slices, patient's right on the left, front on top."""
        dz, dy, dx = self.spacing_mm
        return Volume(self.flair.astype(np.float32)[..., None], "scan", affine=np.diag([-dx, -dy, dz, 1.0]))


def tissue(flair: NDArray[np.float32]) -> float:
    """Return the median of what is bright."""
    return float(np.median(flair[foreground(flair)]))


def thin(scan: Scan) -> Scan:
    """Return the scan at 1 mm in all directions, as research volumes are."""
    flair, brain, reference = (
        ndimage.zoom(a.astype(np.float32), scan.spacing_mm, order=1, mode="nearest", grid_mode=True)
        for a in (scan.flair, scan.brain, scan.reference)
    )
    return Scan(flair, brain > 0.5, reference > 0.5, (1.0, 1.0, 1.0))


def binned(scan: Scan, z: int, y: int, x: int) -> Scan:
    """Return the scan with blocks of voxels averaged, the masks by majority."""
    depth, height, width = (n // k for n, k in zip(scan.flair.shape, (z, y, x), strict=True))
    flair, brain, reference = (
        a[: depth * z].astype(np.float32).reshape(depth, z, height, y, width, x).mean(axis=(1, 3, 5))
        for a in (scan.flair, scan.brain, scan.reference)
    )
    dz, dy, dx = scan.spacing_mm
    return Scan(flair, brain >= 0.5, reference >= 0.5, (dz * z, dy * y, dx * x))


def noisy(scan: Scan) -> Scan:
    """Return the scan with Rician noise of a tenth of the tissue's brightness."""
    rng, sigma = np.random.default_rng(0), 0.1 * tissue(scan.flair)
    real, imaginary = (rng.normal(0.0, sigma, scan.flair.shape) for _ in range(2))
    return replace(scan, flair=np.hypot(scan.flair + real, imaginary))


def with_gamma(scan: Scan, gamma: float) -> Scan:
    """Return the scan with another curve from dark to bright."""
    largest = scan.flair.max()
    return replace(scan, flair=largest * (scan.flair / largest) ** gamma)


def shaded(scan: Scan) -> Scan:
    """Return the scan brightening by e from one end to the other, in a direction that differs from scan to scan."""
    direction = np.random.default_rng(len(scan.flair)).normal(size=3)
    z, y, x = np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in scan.flair.shape), indexing="ij")
    along = np.stack([z, y, x], axis=-1) @ (direction / np.linalg.norm(direction))
    return replace(scan, flair=scan.flair * np.exp(along))


def under_coil(scan: Scan) -> Scan:
    """Return the scan twice as bright at the head's surface, falling to half of that in 17 mm, as under receive coils."""
    head = ndimage.binary_fill_holes(scan.flair > 0.3 * tissue(scan.flair))
    depth = ndimage.distance_transform_edt(head, sampling=scan.spacing_mm)
    return replace(scan, flair=scan.flair * (1.0 + np.exp(-depth / 25.0)))


def scaled(scan: Scan, factor: float) -> Scan:
    """Return the scan of a head as much wider and deeper."""
    dz, dy, dx = scan.spacing_mm
    return replace(scan, spacing_mm=(dz, dy * factor, dx * factor))


def turned(scan: Scan) -> Scan:
    """Return the scan with the head turned by 15 degrees within the slices."""
    flair, brain, reference = (
        ndimage.rotate(a.astype(np.float32), 15, (1, 2), reshape=False, order=1) for a in (scan.flair, scan.brain, scan.reference)
    )
    return replace(scan, flair=flair, brain=brain > 0.5, reference=reference > 0.5)


def hollowed(scan: Scan, level: float) -> Scan:
    """Return the scan with a core in the tumour, as necrosis or a cyst is, *level* times as bright as tissue.

    It lies where the tumour is deeper than 8 mm and than 35 % of its depth. The reference holds it, as experts' outlines do.
    """
    depth = ndimage.distance_transform_edt(scan.reference, sampling=scan.spacing_mm)
    lesions, number = components(scan.reference)
    deepest = np.append(0.0, ndimage.maximum(depth, lesions, range(1, number + 1)))[lesions]
    core = (scan.reference & (depth > np.maximum(0.35 * deepest, 8.0))).astype(np.float32)
    core = ndimage.gaussian_filter(core, [1.0 / mm for mm in scan.spacing_mm])
    grain = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=core.shape), [2.0 / mm for mm in scan.spacing_mm])
    inside = tissue(scan.flair) * level * (1.0 + 0.1 * grain / grain.std())
    return replace(scan, flair=scan.flair + core * (inside - scan.flair))


def brain_alone(scan: Scan) -> Scan:
    """Return the scan with 0 outside the brain."""
    return replace(scan, flair=scan.flair * scan.brain)


def framed(scan: Scan) -> Scan:
    """Return the scan cut out of its frame around the brain."""
    (box,) = ndimage.find_objects(scan.brain.astype(np.uint8))
    return replace(scan, flair=scan.flair[box], brain=scan.brain[box], reference=scan.reference[box])


def zero_mean(scan: Scan) -> Scan:
    """Return the brain alone, with zero mean and unit variance within it and 0 around it."""
    inside = scan.flair[scan.brain]
    return replace(scan, flair=np.where(scan.brain, (scan.flair - inside.mean()) / inside.std(), 0.0))


def shifted(scan: Scan) -> Scan:
    """Return the brain alone, its values of zero mean within 5 standard deviations mapped to 0..1, as some pipelines store it."""
    return replace(scan, flair=np.where(scan.brain, np.clip(zero_mean(scan).flair / 10.0 + 0.5, 0.0, 1.0), 0.0))


CONDITIONS: dict[str, Callable[[Scan], Scan]] = {
    "as it is": lambda scan: scan,
    "interpolated to 1 mm": thin,
    "two slices averaged": lambda scan: binned(scan, 2, 1, 1),
    "pixels of 1.9 mm": lambda scan: binned(scan, 1, 2, 2),
    "noise of a tenth of the tissue": noisy,
    "brightness to the power of 0.6": lambda scan: with_gamma(scan, 0.6),
    "brightness to the power of 1.6": lambda scan: with_gamma(scan, 1.6),
    "2.7 times as bright at one end": shaded,
    "twice as bright under the coil": under_coil,
    "cut off at the brightest hundredth": lambda scan: replace(scan, flair=np.minimum(scan.flair, np.percentile(scan.flair, 99))),
    "head 15 % larger": lambda scan: scaled(scan, 1.15),
    "head 13 % smaller": lambda scan: scaled(scan, 0.87),
    "head turned by 15°": turned,
    "a tumour's core as dark as fluid": lambda scan: hollowed(scan, 0.3),
    "a tumour's core as bright as brain": lambda scan: hollowed(scan, 1.0),
    "brain alone": brain_alone,
    "brain alone, framed": lambda scan: framed(brain_alone(scan)),
    "brain alone, of zero mean": zero_mean,
    "brain alone, of zero mean, then mapped to 0..1": shifted,
    "brain alone, of zero mean, interpolated to 1 mm": lambda scan: zero_mean(thin(scan)),
}


def main() -> None:
    """Read the command line and print the table."""
    with held_out("Score scans that differ from the dataset's in one way at a time.", brains="brain masks") as (models, patients, options):
        scans = [(fold, scan_of(patient, patient.load_brain(options.brains))) for fold, patient in patients]
        print_table(models, scans)


def scan_of(patient: Patient, brain: NDArray[np.bool_]) -> Scan:
    """Return a patient's FLAIR with the geometry that is taken for it."""
    images, reference = patient.load()
    pixel = FIELD_OF_VIEW_MM / images.shape[1]
    return Scan(images[..., 1].astype(np.float32), brain, reference, (slice_distance_mm(len(images)), pixel, pixel))


def print_table(models: Mapping[str, ModelRecord], scans: Sequence[tuple[str, Scan]]) -> None:
    """Score all scans in all conditions and print a row for each condition as soon as it is known."""
    segmenters = {fold: Segmenter(model, force=True) for fold, model in models.items()}
    print_head(["scans", "Dice, mean", "median", f"under {FAILED:g}", "refused"])
    for name, condition in CONDITIONS.items():
        scores, refused = [], 0
        for fold, scan in tqdm(scans, name):
            other = condition(scan)
            result = segmenters[fold].segment(other.volume)
            scores.append(dice(confusion(result.mask, other.reference)))
            refused += not result.quality.plausible
        failed = sum(s < FAILED for s in scores)
        print_row([name, f"{np.mean(scores):.3f}", f"{np.median(scores):.3f}", f"{failed}", f"{refused}"])


if __name__ == "__main__":
    main()

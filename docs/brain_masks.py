"""Make brain masks of the LGG dataset with deepbet, for training on and scoring slices without skull.

    uv run --with deepbet --with torch --with-editable . python docs/brain_masks.py kaggle_3m/ brains/

deepbet (Fisch et al. 2024, doi:10.1016/j.compbiomed.2024.108845) is trained on T1 and comes with its
weights, so it gets the pre-contrast channel. The dataset records no slice spacing; a head of 140 mm
is assumed, which is near enough for a network that looks at a box about the brain.
"""

import argparse
from pathlib import Path

import nibabel
import numpy as np
from deepbet.bet import BrainExtraction

from gliomask.dataset import Patient, index_dataset
from gliomask.io import write_png

PIXEL_MM, HEAD_MM = 240 / 256, 140.0
PRE_CONTRAST = 0


def brain_mask(patient: Patient, extraction: BrainExtraction) -> np.ndarray:
    """Return where the brain is, ``(z, y, x)`` bool."""
    voxels = patient.load()[0][..., PRE_CONTRAST].astype(np.float32)
    affine = np.diag([-PIXEL_MM, -PIXEL_MM, HEAD_MM / len(voxels), 1.0])
    _, mask, _ = extraction.run(nibabel.Nifti1Image(np.ascontiguousarray(voxels.transpose(2, 1, 0)), affine))
    return np.asarray(mask.dataobj).transpose(2, 1, 0) > 0


def main() -> None:
    """Read the command line and write ``<output>/<patient>/<slice>_mask.png`` for every slice of the dataset."""
    parser = argparse.ArgumentParser(description="Make brain masks of the LGG dataset with deepbet.")
    parser.add_argument("data", type=Path, help="the dataset's folder")
    parser.add_argument("output", type=Path, help="where masks are written, a folder for each patient")
    options = parser.parse_args()
    extraction = BrainExtraction(no_gpu=True)
    for patient in index_dataset(options.data):
        for image, mask in zip(patient.images, brain_mask(patient, extraction), strict=True):
            write_png(mask.astype(np.uint8) * 255, options.output / patient.name / f"{image.stem}_mask.png")


if __name__ == "__main__":
    main()

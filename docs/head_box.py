"""Prove on the dataset that leaving out air does no harm: how much is left out, and what the masks lose by it.

    python docs/head_box.py kaggle_3m/

Slices without a head are not predicted, and of the others only the rows and columns around the head
(:func:`gliomask.preprocess.head_box`). Dice is that of the ensemble's member that had fold 0 held out, on the patients of
fold 0. Needs the extra ``[train]``, to take the ensemble apart.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from gliomask import Segmenter, Volume
from gliomask.dataset import index_dataset
from gliomask.engine import BATCH
from gliomask.evaluation.protocol import role_of
from gliomask.evaluation.scores import HELD_OUT
from gliomask.metrics import confusion, dice
from gliomask.models import ModelRecord, find_model
from gliomask.preprocess import apply_windows, head_box, holds_head, intensity_windows
from gliomask.training.members import unpack_members


def main() -> None:
    """Print what is left out over all patients, and Dice with and without over the held-out ones."""
    parser = argparse.ArgumentParser(description="Prove on the dataset that leaving out air does no harm.")
    parser.add_argument("data", type=Path, help="the dataset's folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record = unpack_members(find_model("ensemble"), Path(folder))[0]
        compare(options.data, record)


def compare(data: Path, record: ModelRecord) -> None:
    """Print what this network is not shown, and what its masks lose by it."""
    slices = skipped = predicted = lost = 0
    for patient in (patients := index_dataset(data)):
        images, reference = patient.load()
        flair = apply_windows(images, intensity_windows(images, record.normalisation))[..., 1]
        seen = np.zeros(reference.shape, bool)
        for z in range(0, len(flair), BATCH):
            heads = z + np.flatnonzero(holds_head(flair[z : z + BATCH]))
            if heads.size:
                rows, columns = head_box(flair[heads], record.size_multiple or record.input_size)
                seen[heads, rows, columns] = True
        slices += len(seen)
        skipped += int((~seen.any(axis=(1, 2))).sum())
        predicted += int(seen.sum())
        lost += int((reference & ~seen).sum())
    size = record.input_size**2
    print(  # noqa: T201
        f"{len(patients)} patients, {slices} slices: {skipped} without a head, {predicted / size / slices:.1%} of all pixels predicted, "
        f"{lost} pixels of the reference masks outside of them"
    )
    segmenters = [Segmenter(replace(record, size_multiple=multiple), force=True) for multiple in (None, record.size_multiple)]
    held_out = [patient.load() for patient in patients if role_of(patient.name, record) == HELD_OUT]
    for what, channels in (("all three channels", slice(None)), ("FLAIR alone", slice(1, 2))):
        scores = [
            [dice(confusion(segmenter.segment(Volume(images[..., channels])).mask, reference)) for images, reference in held_out]
            for segmenter in segmenters
        ]
        whole, boxed = (float(np.mean(row)) for row in scores)
        print(f"{what}, {len(held_out)} held-out patients: mean Dice of whole slices {whole:.4f}, of the box {boxed:.4f}")  # noqa: T201


if __name__ == "__main__":
    main()

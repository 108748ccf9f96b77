"""What a split by slice adds to the scores: the table of docs/experiments.md.

    python docs/leak.py kaggle_3m/ runs/original/original.onnx runs/original-leaky/original.onnx runs/fold0/fold0.onnx runs/leaky/leaky.onnx

Dice, IoU and pixel accuracy as the reference project defines them, over batches of 32 of the slices
held out of each model's training: on its probabilities, as that project does, and on what is given
to a user, its masks cut at 0.5. Nothing is calibrated, smoothed or left out. The epochs are those of
the record's own training: "more", where it went on from another's weights, "averaged", where the mean
with those was kept.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from markdown_table import print_head, print_row
from numpy.typing import NDArray

from gliomask import Segmenter, Volume
from gliomask.confidence import Calibration
from gliomask.dataset import Patient, divide_slices, index_dataset
from gliomask.evaluation.protocol import role_of
from gliomask.evaluation.scores import HELD_OUT
from gliomask.models import ModelRecord, find_model
from gliomask.postprocess import Postprocessing
from gliomask.training.command import LEAKY
from gliomask.training.validation import reference_scores

HEADINGS = ("recipe", "split", "parameters", "epochs", "Dice", "IoU", "pixel accuracy", "Dice of masks", "IoU of masks")
PUBLISHED = ("the reference project, as published", LEAKY, "31 M", "119", "0.913", "0.841", "0.998", "", "")


def main() -> None:
    """Print a row for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the dataset's folder")
    parser.add_argument("models", type=Path, nargs="+", help="networks that gliomask train wrote, or ensembles of them, with their records")
    options = parser.parse_args()
    patients = index_dataset(options.data)
    print_head(HEADINGS)
    print_row(PUBLISHED)
    for model in options.models:
        print_row(row(find_model(model), patients))


def row(record: ModelRecord, patients: Sequence[Patient]) -> tuple[str, ...]:
    """Return a model's cells of the table."""
    networks = trainings(record)
    split, held_out = held_out_of(record, patients)
    parameters = sum(math.prod(weights.dims) for weights in onnx.load(record.path).graph.initializer)
    probabilities, masks = predictions(record, held_out)
    soft = reference_scores(probabilities, masks)
    cut = reference_scores([(p >= 0.5).astype(np.float32) for p in probabilities], masks)
    name = f"{record.recipe}, the mean of {len(networks)}" if len(networks) > 1 else record.recipe
    more = " more" if record.training.get("initial_weights") else ""
    more += ", averaged" if record.training.get("average_initial") else ""
    epochs = f"{record.training['epochs']}{more}" if len(networks) == 1 else ""
    return (
        f"{name}, mirrored" if record.mirrored else name, split, f"{parameters / 1e6:.2f} M", epochs,
        f"{soft['dice']:.3f}", f"{soft['iou']:.3f}", f"{soft['pixel_accuracy']:.4f}", f"{cut['dice']:.3f}", f"{cut['iou']:.3f}",
    )  # fmt: skip


def trainings(record: ModelRecord) -> list[dict[str, Any]]:
    """Return what the record tells of the training of each network in the file, one or an ensemble's."""
    members: list[dict[str, Any]] = record.training.get("members", [record.training])
    return members


def held_out_of(record: ModelRecord, patients: Sequence[Patient]) -> tuple[str, list[Patient]]:
    """Return the split that all the trainings share, in words, and what was held out of them."""
    splits = {(training["split"], training["held_out_fold"]) for training in trainings(record)}
    if len(splits) > 1:
        raise SystemExit(f"{record.path}: its networks were not trained on one split but on {sorted(map(str, splits))}.")
    split, fold = splits.pop()
    if split == LEAKY:
        return LEAKY, divide_slices(patients)[1]
    held_out = [patient for patient in patients if role_of(patient.name, record) == HELD_OUT]
    if not held_out:
        raise SystemExit(f"{record.path}: nobody in the dataset was held out of its training, so that there is nothing to score.")
    return f"by patient, fold {fold}", held_out


def predictions(record: ModelRecord, held_out: Sequence[Patient]) -> tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]]:
    """Return the network's own probabilities and the reference masks of each patient, ``(z, y, x)``."""
    bare = replace(record, calibration=Calibration(), postprocessing=Postprocessing())
    segmenter = Segmenter(bare, precision="float32", force=True)
    pairs = [patient.load() for patient in held_out]
    return [segmenter.segment(Volume(images)).probability for images, _ in pairs], [reference for _, reference in pairs]


if __name__ == "__main__":
    main()

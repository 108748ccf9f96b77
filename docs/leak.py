"""What a split by slice adds to the scores: the table of docs/experiments.md from the records of trainings.

    python docs/leak.py runs/original/original.json runs/original-leaky/original.json runs/fold0/fold0.json runs/leaky/leaky.json

Dice, IoU and pixel accuracy as the reference project defines them, on the probabilities of whole
batches of 32 held-out slices; ``gliomask train`` writes them into a record. The epochs are those of
the record's own training: "more", where it went on from another's weights.
"""

import math
import sys
from pathlib import Path

import onnx

from gliomask.models import read_record

PUBLISHED = ("the reference project, as published", "by slice, leaky", "31 M", "119", "0.913", "0.841", "0.998")


def main(paths: list[Path]) -> None:
    """Print a row for each record."""
    rows = [PUBLISHED, *(row(path) for path in paths)]
    print("| recipe | split | parameters | epochs | Dice | IoU | pixel accuracy |\n|" + " --- |" * 7)  # noqa: T201
    for cells in rows:
        print(f"| {' | '.join(cells)} |")  # noqa: T201


def row(path: Path) -> tuple[str, ...]:
    """Return the cells of the training that a record tells of; its network lies beside it."""
    record = read_record(path)
    parameters = sum(math.prod(weights.dims) for weights in onnx.load(record.path).graph.initializer)
    training, scores = record.training, record.scores["reference_project"]
    split = scores["split"] if training["held_out_fold"] is None else f"by patient, fold {training['held_out_fold']}"
    figures = (f"{scores['dice']:.3f}", f"{scores['iou']:.3f}", f"{scores['pixel_accuracy']:.4f}")
    epochs = f"{training['epochs']}{' more' if training.get('initial_weights') else ''}"
    return record.recipe, split, f"{parameters / 1e6:.2f} M", epochs, *figures


if __name__ == "__main__":
    main([Path(path) for path in sys.argv[1:]])

"""A run's history: what each epoch came to, as a table in its folder."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HISTORY = "history.csv"


def write_history(history: Sequence[dict[str, float]], output: Path) -> None:
    """Write one row an epoch as CSV into a run's folder, replacing the file in one move."""
    path = output / HISTORY
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, history[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in history)
    os.replace(temporary, path)


def read_history(output: Path) -> list[dict[str, float]]:
    """Return a run's history as written by :func:`write_history`; empty if there is none yet."""
    path = output / HISTORY
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def best_epoch(history: Sequence[dict[str, float]]) -> int:
    """Return the index of the first epoch with the highest validation Dice."""
    return int(np.argmax([row["val_dice"] for row in history]))

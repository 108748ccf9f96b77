"""Compare the networks of a cross-validation in int8 and in float32, each on the fold that it never saw.

    python docs/int8_held_out.py kaggle_3m/ ensemble

The second is as for ``gliomask evaluate --cross-validation``: a folder of runs, or an ensemble of
them. Each network is brought to int8 by patients of its own training, as ``gliomask quantise`` does it,
and whatever it loses is told: mean Dice per patient of both, the largest loss of a patient, and the
Dice of both masks with each other. int8 networks of runs are left beside them.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from held_out import held_out
from markdown_table import print_head, print_row
from numpy.typing import NDArray

from gliomask.dataset import Patient
from gliomask.models import ModelRecord
from gliomask.training.quantise import compare, compared_in_all, in_int8


def main() -> None:
    """Read the command line and print the table."""
    with held_out("Compare the networks of a cross-validation in int8 and in float32.") as (models, patients, _):
        print_table(models, patients)


def print_table(models: Mapping[str, ModelRecord], patients: Sequence[tuple[str, Patient]]) -> None:
    """Compare the networks and print a row for each fold and for all patients, from all channels and from FLAIR alone."""
    print_head(["input", "fold", "patients", "Dice, float32", "Dice, int8", "largest loss", "Dice of both masks, mean", "lowest"])
    found: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for fold, model in models.items():
        int8 = in_int8(model, [patient for _, patient in patients if patient.name in model.training["patients"]])
        own = [patient for held, patient in patients if held == fold]
        for what, alone in (("all three channels", False), ("FLAIR alone", True)):
            found[what].append(compare(replace(model, quantised=int8), own, flair_alone=alone))
            _print(what, fold, found[what][-1])
    for what, rows in found.items():
        _print(what, "all", np.concatenate(rows))


def _print(what: str, fold: str, rows: NDArray[np.float64]) -> None:
    told = compared_in_all(rows)
    means = (f"{told[name]:.4f}" for name in ("float32_mean_dice", "int8_mean_dice"))
    others = (f"{told[name]:.3f}" for name in ("largest_loss", "mean_agreement", "lowest_agreement"))
    print_row([what, fold, str(told["patients"]), *means, *others])


if __name__ == "__main__":
    main()

"""What the scripts that look into a cross-validation begin with: their command line, the models and who was held out of each."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gliomask.commands import fold_runs
from gliomask.dataset import Patient
from gliomask.evaluation.cross_validation import fold_models, held_out_patients
from gliomask.models import ModelRecord


@contextmanager
def held_out(description: str, **folders: str) -> Iterator[tuple[dict[str, ModelRecord], list[tuple[str, Patient]], argparse.Namespace]]:
    """Read the command line, and yield the models by the fold held out of their training, the patients with their folds, and the options.

    *folders* are further arguments by name, with what they hold.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path, help="the dataset's folder")
    parser.add_argument("runs", type=Path, help="a folder with one run for each fold, or an ensemble of them")
    for name, holds in folders.items():
        parser.add_argument(name, type=Path, help=f"a folder with {holds}")
    options = parser.parse_args()
    with fold_runs(options.runs) as runs:
        models = fold_models(runs)
        patients, _ = held_out_patients(options.data, runs, models)
        yield models, patients, options

"""Whether what one cross-validation's networks are fitted with holds for another's: a table of docs/experiments.md.

    python docs/carried_over.py kaggle_3m/ runs/several/ runs/one/ ensemble

The first cross-validation is that of the networks told of, and a row each tells how far calibration and expected Dice
hold for them that were fitted on their own held-out patients and on those of the others. Whatever the fit, it had no
patient of the fold that it is told for, nor had the network. A cross-validation is as for ``gliomask calibrate``: a
folder of runs, or an ensemble of them. If those of the first are ensembles themselves, what is expected of their mean is
told too, and what their members expect on average, as :class:`gliomask.Segmentation` does it. A second table tells the
calibration error of their volumes as they are and with each member calibrated before the mean is taken, as
:class:`gliomask.Segmenter` does it, by a fit on the others' networks.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from markdown_table import print_head, print_row

from gliomask import Segmenter, Volume
from gliomask.commands import fold_runs
from gliomask.dataset import index_dataset
from gliomask.evaluation.calibrate import checked, held_out_cases
from gliomask.evaluation.calibration import IN_DOUBT, in_doubt, pooled, reliabilities
from gliomask.evaluation.cross_validation import fold_models
from gliomask.evaluation.fitting import FittingCase, fit_calibration, threshold_of
from gliomask.metrics import confusion, dice

HEADINGS = (
    "fitted on", "error in doubt, before", "after", "of a", "cases", "rank correlation", "mean absolute error", "90 % intervals hold for",
    "mean width",
)  # fmt: skip
CALIBRATED = ("members calibrated on", "error in doubt", "log-likelihood loss", "Dice, all channels", "FLAIR alone")


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the dataset's folder")
    parser.add_argument("runs", type=Path, help="the cross-validation that is told of")
    parser.add_argument("others", type=Path, nargs="*", help="cross-validations that fits are carried over from")
    options = parser.parse_args()
    cases = held_out(options.data, options.runs)
    as_one = [replace(case, members=()) for case in cases]
    several = any(case.members for case in cases)
    print_head(HEADINGS)
    print_rows("its own", as_one, as_one)
    known = {other: held_out(options.data, other) for other in options.others}
    for other, others in known.items():
        print_rows(str(other), as_one, others)
        if several:
            print_rows(f"{other}, the mean of what members expect", cases, others)
    if several:
        print_head(CALIBRATED)
        volumes = [case for case in cases if case.kind == "volume"]
        print_row(["", *told_of(volumes, volumes)])
        for other, others in known.items():
            print_row([str(other), *told_of(with_members_calibrated(options.data, options.runs, volumes, others), volumes)])


def held_out(data: Path, runs: Path) -> list[FittingCase]:
    """Return the held-out cases of a cross-validation."""
    with fold_runs(runs) as folder:
        return held_out_cases(data, folder)


def with_members_calibrated(data: Path, runs: Path, volumes: Sequence[FittingCase], known: Sequence[FittingCase]) -> list[FittingCase]:
    """Return volumes, two of a patient, in their order, as their ensembles have them by fits on *known* cases without the fold."""
    patients = {patient.name: patient for patient in index_dataset(data)}
    segmenters = {}
    with fold_runs(runs) as folder:
        for fold, model in fold_models(folder).items():
            calibration = fit_calibration([case for case in known if case.kind == "volume" and case.fold != fold])
            segmenters[fold] = Segmenter(replace(model, calibration=calibration, threshold=threshold_of(calibration)))
    calibrated: list[FittingCase] = []
    for all_channels, flair in zip(volumes[::2], volumes[1::2], strict=True):
        images, reference = patients[all_channels.patient].load()
        for case, voxels in ((all_channels, images), (flair, images[..., 1:2])):
            result = segmenters[case.fold].segment(Volume(voxels), force=True)
            row = ((), dice(confusion(result.mask, reference)))
            calibrated.append(replace(case, probability=result.probability.astype(np.float16), row=row))
    return calibrated


def told_of(found: Sequence[FittingCase], raw: Sequence[FittingCase]) -> list[str]:
    """Return the calibration error where the ensembles' own mean is in doubt, the loss, and the mean Dice from either input.

    Both are the same volumes in the same order, all channels and FLAIR alone in turn.
    """
    errors, losses = [], []
    for case, before in zip(found, raw, strict=True):
        p = case.probability.astype(np.float32)
        errors.append(reliabilities(p, case.reference, in_doubt(before.probability.astype(np.float32))))
        losses.append(-np.log(np.clip(np.where(case.reference, p, 1.0 - p), 1e-6, 1.0)).mean())
    dices = [0.0 if case.row is None else case.row[1] for case in found]
    error = pooled(errors)[IN_DOUBT].expected_calibration_error
    return [f"{error:.4f}", f"{np.mean(losses):.4f}", f"{np.mean(dices[::2]):.3f}", f"{np.mean(dices[1::2]):.3f}"]


def print_rows(name: str, cases: list[FittingCase], known: list[FittingCase]) -> None:
    """Print how far what was fitted on *known* cases holds on the others, a row for volumes and one for slices."""
    report = checked(cases, known)
    errors = (f"{report['calibration_error'][when][IN_DOUBT]:.4f}" for when in ("before", "after"))
    told = [name, *errors]
    for kind, held in report["expected_dice"].items():
        numbers = (held[key] for key in ("spearman", "mean_absolute_error"))
        coverage = f"{100 * held['coverage']:.0f} %"
        print_row([*told, kind, str(held["cases"]), *(f"{number:.3f}" for number in numbers), coverage, f"{held['mean_width']:.2f}"])


if __name__ == "__main__":
    main()

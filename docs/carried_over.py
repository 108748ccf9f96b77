"""Whether what one cross-validation's networks are fitted with holds for another's: a table of docs/experiments.md.

    python docs/carried_over.py kaggle_3m/ runs/several/ runs/one/ ensemble

The first cross-validation is that of the networks told of, and a row each tells how far calibration and expected Dice
hold for them that were fitted on their own held-out patients and on those of the others. Whatever the fit, it had no
patient of the fold that it is told for, nor had the network. A cross-validation is as for ``gliomask calibrate``: a
folder of runs, or an ensemble of them. If those of the first are ensembles themselves, what is expected of their mean is
told too, and what their members expect on average, as :class:`gliomask.Segmentation` does it.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from markdown_table import print_head, print_row

from gliomask.commands import fold_runs
from gliomask.evaluation.calibrate import checked, held_out_cases
from gliomask.evaluation.calibration import IN_DOUBT
from gliomask.evaluation.fitting import FittingCase

HEADINGS = (
    "fitted on", "error in doubt, before", "after", "of a", "cases", "rank correlation", "mean absolute error", "90 % intervals hold for",
    "mean width",
)  # fmt: skip


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the dataset's folder")
    parser.add_argument("runs", type=Path, help="the cross-validation that is told of")
    parser.add_argument("others", type=Path, nargs="*", help="cross-validations that fits are carried over from")
    options = parser.parse_args()
    cases = held_out(options.data, options.runs)
    as_one = [replace(case, members=()) for case in cases]
    print_head(HEADINGS)
    print_rows("its own", as_one, as_one)
    for other in options.others:
        known = held_out(options.data, other)
        print_rows(str(other), as_one, known)
        if any(case.members for case in cases):
            print_rows(f"{other}, the mean of what members expect", cases, known)


def held_out(data: Path, runs: Path) -> list[FittingCase]:
    """Return the held-out cases of a cross-validation."""
    with fold_runs(runs) as folder:
        return held_out_cases(data, folder)


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

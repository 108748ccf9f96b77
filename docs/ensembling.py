"""What several networks are worth as one: a table of docs/experiments.md.

    python docs/ensembling.py kaggle_3m/ runs/

The model ``ensemble`` is the mean of five networks, each trained without one fold, so that every patient of the
dataset has been seen by four of them: as one it cannot be scored on any. This scores what it is made of on
patients whom nobody saw: a network is trained without each two folds, and the four without a given fold and one
of the others are scored on that fold's patients, by themselves and as one. What they are compared with is a network
trained without that fold alone, as ``fast`` is to ``ensemble``: one that has seen all there is to see, against
several that have each seen less.

All are trained as docs/ablation.py trains, and kept where it keeps them.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from ablation import AS_IT_IS, Cohort, Scores, cells, make_parser, scores
from markdown_table import print_head, print_row

from gliomask.models import ModelRecord
from gliomask.training.ensemble import export_ensemble

HEADINGS = (
    "networks", "all channels", "difference (95 %)", "tumour-free slices marked",
    "FLAIR alone", "difference (95 %)", "tumour-free slices marked",
)  # fmt: skip


def main() -> None:
    """Read the command line and print the table."""
    options = make_parser(__doc__, ["0", "1", "2", "3", "4"]).parse_args()
    cohort, folds = Cohort.of_options(options), options.folds
    members = {fold: [cohort.trained(AS_IT_IS, fold, other) for other in folds if other != fold] for fold in folds}
    print_head(HEADINGS)
    reference = scores(cohort, {fold: cohort.trained(AS_IT_IS, fold) for fold in folds})
    print_row(["one, trained without the fold", *cells(reference, reference)])
    for number in range(len(folds) - 1):
        one = scores(cohort, {fold: networks[number] for fold, networks in members.items()})
        print_row([f"one, trained without the fold and another ({number + 1})", *cells(one, reference)])
    print_row([f"these {len(folds) - 1} as one", *cells(together(cohort, members), reference)])


def together(cohort: Cohort, members: dict[str, list[ModelRecord]]) -> Scores:
    """Return the scores of each fold's patients by its networks as one, not mirrored: what that is worth is in docs/choices.py."""
    with tempfile.TemporaryDirectory() as folder:
        models = {fold: export_ensemble([m.path for m in networks], Path(folder), fold) for fold, networks in members.items()}
        return scores(cohort, {fold: replace(model, mirrored=False) for fold, model in models.items()})


if __name__ == "__main__":
    main()

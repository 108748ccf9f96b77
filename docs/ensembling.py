"""What several networks are worth as one: a table of docs/experiments.md.

    python docs/ensembling.py kaggle_3m/ runs/

The model ``ensemble`` is the mean of five networks, each trained without one fold, so that every patient of the
dataset has been seen by four of them: as one it cannot be scored on any. This scores what it is made of on
patients whom nobody saw: a network is trained without each two folds, and the four without a given fold and one
of the others are scored on that fold's patients, by themselves and as one. What they are compared with is a network
trained without that fold alone, as ``fast`` is to ``ensemble``: one that has seen all there is to see, against
several that have each seen less.

All are trained as docs/ablation.py trains, and kept where it keeps them. Those that the first and the last row are of
are left in *runs* as cross-validations, ``one`` and ``several``, for ``gliomask calibrate`` and docs/carried_over.py.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ablation import AS_IT_IS, VARIANTS, Cohort, cells, make_parser, scores
from markdown_table import print_head, print_row

from gliomask.models import ModelRecord, write_record
from gliomask.training.ensemble import export_ensemble

HEADINGS = (
    "networks", "all channels", "difference (95 %)", "tumour-free slices marked",
    "FLAIR alone", "difference (95 %)", "tumour-free slices marked",
)  # fmt: skip


def main() -> None:
    """Read the command line and print the table."""
    parser = make_parser(__doc__, ["0", "1", "2", "3", "4"])
    variants = {variant.slug: variant for variant in (AS_IT_IS, *VARIANTS)}
    parser.add_argument("--variant", choices=variants, default=AS_IT_IS.slug, help="of docs/ablation.py (default: the recipe %(default)s)")
    options = parser.parse_args()
    cohort, folds, variant = Cohort.of_options(options), options.folds, variants[options.variant]
    members = {fold: [cohort.trained(variant, fold, other) for other in folds if other != fold] for fold in folds}
    one = {fold: as_run(cohort.trained(variant, fold), fold, cohort.runs / "one") for fold in folds}
    several = {fold: together(networks, fold, cohort.runs / "several") for fold, networks in members.items()}
    print_head(HEADINGS)
    reference = scores(cohort, one)
    print_row(["one, trained without the fold", *cells(reference, reference)])
    for number in range(len(folds) - 1):
        found = scores(cohort, {fold: networks[number] for fold, networks in members.items()})
        print_row([f"one, trained without the fold and another ({number + 1})", *cells(found, reference)])
    # Not mirrored, as the others are not: what that is worth is in docs/choices.py.
    found = scores(cohort, {fold: replace(model, mirrored=False) for fold, model in several.items()})
    print_row([f"these {len(folds) - 1} as one", *cells(found, reference)])


def together(networks: Sequence[ModelRecord], fold: str, runs: Path) -> ModelRecord:
    """Return networks as one, kept as that of *fold* in a cross-validation."""
    with tempfile.TemporaryDirectory() as folder:
        return as_run(export_ensemble([network.path for network in networks], Path(folder), fold), fold, runs)


def as_run(model: ModelRecord, fold: str, runs: Path) -> ModelRecord:
    """Return a model kept as that of *fold* in a cross-validation."""
    folder = runs / fold
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model.path, folder / model.file)
    training = {**model.training, "held_out_fold": fold}
    return write_record(replace(model, training=training, quantised=None, folder=folder))


if __name__ == "__main__":
    main()

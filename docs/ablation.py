"""What each choice of the recipe ``fast`` is worth: the table of docs/experiments.md.

    python docs/ablation.py kaggle_3m/ runs/ --folds 3 4

Trains the recipe as it is and with one choice changed at a time, all from the same seed and for as many
steps, once without each of the folds, and scores each network on the fold's patients, from all channels
and from FLAIR alone. Differences are those of the same patients, with a 95 % bootstrap interval over them.
A training takes as long as ``gliomask train`` with as many epochs. What *runs* has already is not trained
again, so that the command can be stopped, or run for some folds beside another for others before all.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from markdown_table import print_head, print_row
from numpy.typing import NDArray

from gliomask import Segmenter
from gliomask.dataset import Patient, divide, index_dataset, read_split
from gliomask.dataset.augment import ROTATION_FLIP_SCALE, Augmentation
from gliomask.dataset.splits import SEALED
from gliomask.evaluation import Protocol, evaluate_patients
from gliomask.evaluation.scores import PatientScore
from gliomask.evaluation.summary import BOOTSTRAP, INTERVAL, summarise
from gliomask.metrics import dice
from gliomask.models import ModelRecord, find_model
from gliomask.training import losses
from gliomask.training.export import export
from gliomask.training.loop import RunSettings, train
from gliomask.training.pretrained import LITE0, LITE2, Encoder, lite_unet
from gliomask.training.recipes import FAST, Recipe

EPOCHS = 4
PROTOCOLS = (Protocol(), Protocol(flair_alone=True))
HEADINGS = (
    "choice", "variant", "parameters", "all channels", "difference (95 %)", "tumour-free slices marked",
    "FLAIR alone", "difference (95 %)", "tumour-free slices marked",
)  # fmt: skip
NETWORK = "network"
"""What every exported network is called, in a folder of its own."""

Scores = dict[Protocol, list[PatientScore]]
"""Of the same patients in the same order in all variants."""


class Variant(NamedTuple):
    """The recipe with one choice changed; ``slug`` is its folder's name."""

    slug: str
    choice: str
    words: str
    recipe: Recipe


def _network(decoder: Sequence[int], encoder: Encoder = LITE0) -> Recipe:
    return replace(FAST, network=lambda width: lite_unet(decoder, encoder))


SHALLOW = LITE0._replace(blocks=LITE0.blocks[:-1])
AS_IT_IS = Variant("as-it-is", "", "as it is", FAST)
VARIANTS = (
    Variant("rotation-flip-scale", "augmentation", "rotation, flip and scale alone", replace(FAST, augmentation=ROTATION_FLIP_SCALE)),
    Variant(
        "all-sequences", "augmentation", "without missing sequences",
        replace(FAST, augmentation=Augmentation(flair_alone=0.0, missing_outer=0.0)),
    ),
    Variant(
        "same-intensities", "augmentation", "without gain, gamma, bias field, noise, blur and contrast",
        replace(FAST, augmentation=Augmentation(gain=0.0, gamma=0.0, bias_field=0.0, noise=0.0, blur=0.0, contrast=0.0)),
    ),
    Variant("dice", "loss", "batch Dice alone", replace(FAST, loss=losses.dice_loss)),
    Variant("cross-entropy", "loss", "cross-entropy alone", replace(FAST, loss=keras.losses.binary_crossentropy)),
    Variant("depth", "depth", "without the coarsest level, a 32nd of the resolution", _network((64, 40, 24), SHALLOW)),
    Variant("half-width", "width", "half as many filters in the decoder", _network((48, 32, 24, 16))),
    Variant("double-width", "width", "twice as many filters in the decoder", _network((192, 128, 80, 48))),
    Variant("lite2", "encoder", "EfficientNet-Lite2 in place of Lite0", _network((96, 64, 40, 24), LITE2)),
)  # fmt: skip


class Cohort(NamedTuple):
    """The dataset, its split, and how long each training is."""

    patients: list[Patient]
    split: dict[str, str]
    runs: Path
    epochs: int

    @classmethod
    def of_options(cls, options: argparse.Namespace) -> "Cohort":
        """Return what a command line names, see :func:`make_parser`."""
        return cls(index_dataset(options.data), read_split(), options.runs, options.epochs)

    def of(self, fold: str) -> list[Patient]:
        """Return a fold's patients."""
        return divide(self.patients, self.split, fold)[1]

    def trained(self, variant: Variant, *without: str) -> ModelRecord:
        """Return the network of a recipe that was trained without these folds, training it if it is not there."""
        output = self.runs / variant.slug / f"without-{'-'.join(sorted(without))}"
        if not (output / f"{NETWORK}.json").is_file():
            training, _ = divide([p for p in self.patients if self.split.get(p.name) not in without], self.split, None)
            model = train(training, [], variant.recipe, RunSettings(output, epochs=self.epochs))
            export(model, variant.recipe, output, NETWORK, {"patients": sorted(patient.name for patient in training)})
        return find_model(output / f"{NETWORK}.onnx")


def main() -> None:
    """Read the command line and print the table."""
    slugs = [variant.slug for variant in VARIANTS]
    parser = make_parser(__doc__, ["3", "4"])
    parser.add_argument("--variants", nargs="+", default=slugs, choices=slugs, help="which to compare with the recipe (default: all)")
    options = parser.parse_args()
    cohort, folds = Cohort.of_options(options), options.folds
    print_head(HEADINGS)
    reference = variant_scores(cohort, folds, AS_IT_IS)
    print_row(["", AS_IT_IS.words, size(AS_IT_IS), *cells(reference, reference)])
    for variant in (v for v in VARIANTS if v.slug in options.variants):
        print_row([variant.choice, variant.words, size(variant), *cells(variant_scores(cohort, folds, variant), reference)])


def make_parser(description: str, folds: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser of what :meth:`Cohort.of_options` takes, and of the folds to hold out, *folds* unless any are named."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("data", type=Path, help="the dataset's folder")
    parser.add_argument("runs", type=Path, help="where networks are kept")
    known = sorted(set(read_split().values()) - {SEALED})
    parser.add_argument("--folds", nargs="+", default=folds, choices=known, help="folds to hold out, one after the other")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each training (default: %(default)s)")
    return parser


def size(variant: Variant) -> str:
    """Return the number of a network's parameters, in words."""
    return f"{variant.recipe.network(None).count_params() / 1e6:.2f} M"


def variant_scores(cohort: Cohort, folds: Sequence[str], variant: Variant) -> Scores:
    """Return the scores of the patients of these folds, each by the variant's network that was trained without the fold."""
    return scores(cohort, {fold: cohort.trained(variant, fold) for fold in folds})


def scores(cohort: Cohort, models: Mapping[str, ModelRecord]) -> Scores:
    """Return the scores of the patients of each fold by the model that is given for it."""
    found: Scores = {protocol: [] for protocol in PROTOCOLS}
    for fold, model in models.items():
        segmenter = Segmenter(model, force=True)
        for protocol, patients in found.items():
            patients += evaluate_patients(cohort.of(fold), segmenter, protocol).patients
    return found


def cells(found: Scores, reference: Scores) -> list[str]:
    """Return for each input the mean Dice, by how much it differs from the reference's, and the share of tumour-free slices marked."""
    told = []
    for protocol, patients in found.items():
        summary = summarise(patients)
        values, before = (np.array([dice(p.counts) for p in group]) for group in (patients, reference[protocol]))
        told += [f"{summary['mean_dice']:.3f}", difference(values - before), f"{100 * summary['marked_clean_slices_share']:.1f} %"]
    return told


def difference(values: NDArray[np.float64]) -> str:
    """Return the mean of the patients' differences with its 95 % percentile bootstrap interval; nothing where there are none."""
    if not values.any():
        return ""
    draws = np.random.default_rng(0).integers(len(values), size=(BOOTSTRAP, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), INTERVAL)
    return f"{values.mean():+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()

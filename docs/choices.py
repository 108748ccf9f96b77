"""Score what can be done with a network's probabilities, fold by fold, each fold's patients by the model that never saw them.

    python docs/choices.py kaggle_3m/ ensemble

The second is as for ``gliomask evaluate --cross-validation``: a folder of runs, or an ensemble of
them. One line for each way of smoothing across slices, averaging with the mirrored slice, threshold,
smallest lesion and smallest end, for all channels and for FLAIR alone: mean Dice per
patient of each fold, the lowest of any patient, and in what share of the slices with tumour and of
those without something is marked. A choice is made on some folds and reported on others.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from held_out import held_out
from markdown_table import print_head, print_row
from numpy.typing import NDArray
from tqdm import tqdm

from gliomask import Segmenter, Volume
from gliomask.confidence import Calibration
from gliomask.dataset import Patient
from gliomask.metrics import confusion, dice
from gliomask.models import ModelRecord
from gliomask.postprocess import Postprocessing, final_mask, slice_distance_mm, smooth_across_slices


class Choice(NamedTuple):
    """One way to make a mask of probabilities."""

    mirrored: bool = False
    smoothing_mm: float = 0.0
    threshold: float = 0.5
    smallest_share: float = 0.0
    smallest_end: float = 0.0

    def mask(self, probability: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return the mask ``(z, y, x)`` of a case's probabilities."""
        distance_mm = slice_distance_mm(len(probability))
        smooth = smooth_across_slices(probability, self.smoothing_mm, distance_mm)
        processing = Postprocessing(smallest_share=self.smallest_share, smallest_end=self.smallest_end)
        return final_mask(smooth >= self.threshold, processing, distance_mm)


CHOICES = (
    Choice(),
    Choice(mirrored=True),
    *(Choice(smoothing_mm=2.0, smallest_share=share) for share in (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)),
    *(Choice(False, 2.0, 0.5, 0.3, share) for share in (0.01, 0.02, 0.03, 0.05, 0.1)),
    *(Choice(False, mm, 0.5, 0.3, 0.02) for mm in (0.0, 1.5, 2.5, 3.0, 4.0)),
    *(Choice(False, 2.0, t, 0.3, 0.02) for t in (0.2, 0.3, 0.4, 0.6)),
    Choice(True, 2.0, 0.5, 0.3, 0.02),
)


def main() -> None:
    """Read the command line and print the table."""
    with held_out("Score what can be done with a network's probabilities, fold by fold.") as (models, patients, _):
        print_table(models, patients)


def print_table(models: Mapping[str, ModelRecord], patients: Sequence[tuple[str, Patient]]) -> None:
    """Score all choices and print them."""
    scores: dict[tuple[str, Choice], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    found: Counter[tuple[str, Choice]] = Counter()
    marked: Counter[tuple[str, Choice]] = Counter()
    tumour_slices = clean_slices = 0
    for fold, patient in tqdm(patients):
        plain = replace(models[fold], calibration=Calibration(), postprocessing=Postprocessing())
        images, reference = patient.load()
        clean = ~reference.any(axis=(1, 2))
        tumour_slices += int((~clean).sum())
        clean_slices += int(clean.sum())
        for name, voxels in (("all", images), ("FLAIR", images[..., 1:2])):
            for mirrored in (False, True):
                segmenter = Segmenter(replace(plain, mirrored=mirrored), force=True)
                probability = segmenter.segment(Volume(voxels)).probability
                for choice in (c for c in CHOICES if c.mirrored == mirrored):
                    mask = choice.mask(probability)
                    scores[name, choice][fold].append(dice(confusion(mask, reference)))
                    in_slice = mask.any(axis=(1, 2))
                    found[name, choice] += int((in_slice & ~clean).sum())
                    marked[name, choice] += int((in_slice & clean).sum())
    folds = sorted({fold for fold, _ in patients})
    ways = ("input", "mirrored", "smoothing mm", "threshold", "smallest share", "smallest end")
    results = ("all", "lowest", "tumour slices found", "others marked")
    print_head([*ways, *(f"fold {fold}" for fold in folds), *results])
    for (name, choice), by_fold in scores.items():
        everyone = [value for values in by_fold.values() for value in values]
        way = [name, "yes" if choice.mirrored else "no", *(f"{value:g}" for value in choice[1:])]
        means = [f"{np.mean(values):.3f}" for values in (*(by_fold[fold] for fold in folds), everyone)]
        shares = [f"{100 * found[name, choice] / tumour_slices:.1f} %", f"{100 * marked[name, choice] / clean_slices:.1f} %"]
        print_row([*way, *means, f"{min(everyone):.3f}", *shares])


if __name__ == "__main__":
    main()

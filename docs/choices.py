"""Score what can be done with a network's probabilities, fold by fold, each fold's patients by the model that never saw them.

    python docs/choices.py kaggle_3m/ ensemble

The second is as for ``gliomask evaluate --cross-validation``: a folder of runs, or an ensemble of
them. One line for each way of smoothing across slices, averaging with the mirrored slice, threshold,
smallest lesion, smallest area at the ends, smallest end and pull of edges, for all channels and for FLAIR alone: mean Dice per
patient of each fold, the lowest of any patient, and in what share of the slices with tumour and of
those without something is marked. A choice is made on some folds and reported on others. A second table
does so for ways to change outlines within slices, which the package has none of, a third for slices by themselves,
with the smallest share and the smallest area that a part may have there.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from held_out import held_out
from markdown_table import print_head, print_row
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from gliomask import Segmenter, Volume
from gliomask.confidence import Calibration
from gliomask.dataset import Patient
from gliomask.grid import assumed_pixel_mm
from gliomask.metrics import Confusion, confusion, dice, sensitivity, specificity
from gliomask.models import ModelRecord
from gliomask.postprocess import Postprocessing, final_mask, log_odds, slice_distance_mm, smooth_across_slices

Outline = Callable[[NDArray[np.float32]], NDArray[np.bool_]]
"""What is marked in slices ``(z, y, x)`` of probabilities that have been smoothed across them."""


class Choice(NamedTuple):
    """One way to make a mask of probabilities."""

    mirrored: bool = False
    smoothing_mm: float = 0.0
    threshold: float = 0.5
    smallest_share: float = 0.0
    smallest_area_mm2: float = 0.0
    smallest_end: float = 0.0
    edge_pull: float = 6.0

    def mask(self, probability: NDArray[np.float32], outline: Outline | None = None) -> NDArray[np.bool_]:
        """Return the mask ``(z, y, x)`` of the probabilities of a case without spacing, *outline* taking the threshold's place.

        They are drawn to edges and mirrored already.
        """
        slices, height, width = probability.shape
        distance_mm, pixel_mm2 = slice_distance_mm(slices), assumed_pixel_mm(height, width) ** 2
        smooth = smooth_across_slices(probability, self.smoothing_mm, distance_mm)
        processing = Postprocessing(
            smallest_share=self.smallest_share, smallest_area_mm2=self.smallest_area_mm2, smallest_end=self.smallest_end
        )
        marked = smooth >= self.threshold if outline is None else outline(smooth)
        return final_mask(marked, processing, distance_mm, pixel_mm2)


CHOICES = (
    Choice(),
    Choice(mirrored=True),
    *(Choice(smoothing_mm=2.0, smallest_share=share) for share in (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)),
    *(Choice(False, 2.0, 0.5, 0.3, area, 0.3) for area in (25.0, 50.0, 75.0, 100.0, 150.0, 200.0)),
    *(Choice(False, 2.0, 0.5, 0.3, 100.0, end) for end in (0.02, 0.05, 0.1, 0.2, 0.5)),
    *(Choice(False, mm, 0.5, 0.3, 100.0, 0.3) for mm in (0.0, 1.5, 2.5, 3.0, 4.0)),
    *(Choice(False, 2.0, t, 0.3, 100.0, 0.3) for t in (0.2, 0.3, 0.4, 0.6)),
    *(Choice(False, 2.0, 0.5, 0.3, 100.0, 0.3, pull) for pull in (0.0, 2.0, 4.0, 8.0)),
    Choice(True, 2.0, 0.5, 0.3, 100.0, 0.3),
)

BUNDLED = Choice(False, 2.0, 0.5, 0.3, 100.0, 0.3)


def filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask with the holes of each slice filled."""
    return np.stack([ndimage.binary_fill_holes(section) for section in mask])


def closed(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Return a mask closed by a disc in each slice, its holes filled."""
    y, x = np.mgrid[-pixels : pixels + 1, -pixels : pixels + 1]
    margin = ((0, 0), (pixels, pixels), (pixels, pixels))
    return filled(ndimage.binary_closing(np.pad(mask, margin), (np.hypot(y, x) <= pixels)[None])[:, pixels:-pixels, pixels:-pixels])


def smoothed(probability: NDArray[np.float32], pixels: float) -> NDArray[np.bool_]:
    """Return where log-odds that are smoothed within each slice are for tumour."""
    return np.asarray(ndimage.gaussian_filter(log_odds(probability), (0.0, pixels, pixels)) >= 0.0)


OUTLINES: dict[str, Outline] = {
    "as bundled": lambda p: p >= BUNDLED.threshold,
    "holes filled": lambda p: filled(p >= BUNDLED.threshold),
    "closed by 2 pixels, holes filled": lambda p: closed(p >= BUNDLED.threshold, 2),
    "closed by 3 pixels, holes filled": lambda p: closed(p >= BUNDLED.threshold, 3),
    "smoothed over 0.7 pixels": lambda p: smoothed(p, 0.7),
    "smoothed over 1 pixel": lambda p: smoothed(p, 1.0),
    "smoothed over 2 pixels": lambda p: smoothed(p, 2.0),
}

SMALLEST_IN_SLICE = ((0.0, 0.0), *((0.1, area) for area in (0.0, 25.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0)))
"""The smallest share of the largest part's area, and the smallest area in mm²."""

Way = tuple[str | bool | float, ...]
"""What the network sees, and how a mask is made of its probabilities."""


class Tally:
    """What each way of making masks comes to, from all channels and from FLAIR alone."""

    def __init__(self) -> None:
        self.dices: dict[Way, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.slices: dict[Way, Confusion] = defaultdict(lambda: Confusion(0, 0, 0, 0))

    def add(self, way: Way, fold: str, mask: NDArray[np.bool_], reference: NDArray[np.bool_]) -> None:
        """Score the mask of a patient."""
        self.dices[way][fold].append(dice(confusion(mask, reference)))
        self.slices[way] = self.slices[way].plus(confusion(*(np.asarray(m.any(axis=(1, 2))) for m in (mask, reference))))

    def print(self, headings: Sequence[str]) -> None:
        """Print a row for each way, *headings* naming its parts."""
        folds = sorted({fold for by_fold in self.dices.values() for fold in by_fold})
        print_head([*headings, *(f"fold {fold}" for fold in folds), "all", "lowest", "tumour slices found", "others marked"])
        for way, by_fold in self.dices.items():
            everyone = [value for values in by_fold.values() for value in values]
            means = [f"{np.mean(values):.3f}" for values in (*(by_fold[fold] for fold in folds), everyone)]
            shares = [f"{100 * share:.1f} %" for share in (sensitivity(self.slices[way]), 1.0 - specificity(self.slices[way]))]
            print_row([*map(_words, way), *means, f"{min(everyone):.3f}", *shares])


def _words(part: str | bool | float) -> str:
    if isinstance(part, bool):
        return "yes" if part else "no"
    return part if isinstance(part, str) else f"{part:g}"


def main() -> None:
    """Read the command line and print the tables."""
    with held_out("Score what can be done with a network's probabilities, fold by fold.") as (models, patients, _):
        edges = Postprocessing(edge_pull=BUNDLED.edge_pull)
        bare = {fold: replace(model, calibration=Calibration(), postprocessing=edges) for fold, model in models.items()}
        print_volumes(bare, patients)
        print_slices(bare, patients)


def print_volumes(models: Mapping[str, ModelRecord], patients: Sequence[tuple[str, Patient]]) -> None:
    """Score all choices for whole volumes and print them."""
    ways = {(choice.mirrored, choice.edge_pull) for choice in CHOICES}
    segmenters = {
        (fold, mirrored, pull): Segmenter(replace(model, mirrored=mirrored, postprocessing=Postprocessing(edge_pull=pull)), force=True)
        for fold, model in models.items()
        for mirrored, pull in ways
    }
    tally, outlines = Tally(), Tally()
    for fold, patient in tqdm(patients):
        images, reference = patient.load()
        for name, voxels in (("all", images), ("FLAIR", images[..., 1:2])):
            probabilities = {way: segmenters[fold, *way].segment(Volume(voxels)).probability for way in ways}
            for choice in CHOICES:
                probability = probabilities[choice.mirrored, choice.edge_pull]
                tally.add((name, *choice), fold, choice.mask(probability), reference)
                if choice == BUNDLED:
                    for way, outline in OUTLINES.items():
                        outlines.add((name, way), fold, BUNDLED.mask(probability, outline), reference)
    tally.print(["input", "mirrored", "smoothing mm", "threshold", "smallest share", "smallest area mm²", "smallest end", "edge pull"])
    outlines.print(["input", "outlines"])


def print_slices(models: Mapping[str, ModelRecord], patients: Sequence[tuple[str, Patient]]) -> None:
    """Score the smallest areas for slices by themselves and print them."""
    segmenters = {fold: Segmenter(model, force=True) for fold, model in models.items()}
    tally = Tally()
    for fold, patient in tqdm(patients):
        images, reference = patient.load()
        pixel_mm2 = assumed_pixel_mm(*images.shape[1:3]) ** 2
        for name, voxels in (("all", images), ("FLAIR", images[..., 1:2])):
            marked = np.concatenate([segmenters[fold].segment(Volume(voxels[z : z + 1])).probability >= 0.5 for z in range(len(voxels))])
            for share, area in SMALLEST_IN_SLICE:
                processing = Postprocessing(smallest_share_in_slice=share, smallest_area_mm2=area)
                tally.add((name, share, area), fold, final_mask(marked, processing, np.inf, pixel_mm2), reference)
    tally.print(["input, slice by slice", "smallest share", "smallest area mm²"])


if __name__ == "__main__":
    main()

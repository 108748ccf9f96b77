"""What stands between the cross-validated Dice and 1, taken apart with the reference in hand.

    python docs/ceiling.py kaggle_3m/ ensemble

The second is as for ``gliomask evaluate --cross-validation``: a folder of runs, or an ensemble of
them. Mean and median Dice per patient of the masks as they are, and of masks that somebody who knows
the reference has put right in one way at a time: no lesion where there is none, every lesion found,
the best threshold of each patient, outlines forgiven where they are off by a pixel or two. Then what
the reference's own outline costs where it is moved by one pixel all around, and the mean without the
patients who score lowest. A second table tells how far from the reference's tumour the slices lie in
which something is marked and the reference has nothing; a third, how many of the lesions beside the
largest touch the reference, by their size, those too that are left out of the masks.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
from held_out import held_out
from markdown_table import print_head, print_row
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, generate_binary_structure
from tqdm import tqdm

from gliomask import Segmenter, Volume
from gliomask.components import components
from gliomask.dataset import Patient
from gliomask.metrics import confusion, dice
from gliomask.models import ModelRecord

Mask = NDArray[np.bool_]

IN_PLANE = generate_binary_structure(2, 1)[None]
"""The four neighbours within the slice: slices lie several pixels apart."""

THRESHOLDS = np.arange(0.05, 1.0, 0.05)
LOWEST = 10
SHARES = (0.0, 0.01, 0.03, 0.1, 0.3)
"""Where the classes of lesions beside the largest begin, as shares of the largest."""


def main() -> None:
    """Read the command line and print the table."""
    with held_out("Take apart what is missing from a Dice of 1.") as (models, patients, _):
        print_table(models, patients)


def print_table(models: Mapping[str, ModelRecord], patients: Sequence[tuple[str, Patient]]) -> None:
    """Score all masks and print the table."""
    segmenters = {fold: Segmenter(model, force=True) for fold, model in models.items()}
    scores: dict[str, list[float]] = defaultdict(list)
    away: Counter[int] = Counter()
    clean_slices = 0
    beside: list[tuple[float, bool]] = []
    for fold, patient in tqdm(patients):
        images, reference = patient.load()
        result = segmenters[fold].segment(Volume(images))
        beside += beside_the_largest(replace(result, all_lesions=True).mask, reference)
        distances = slices_away(reference)
        away.update(distances[result.mask.any(axis=(1, 2)) & (distances > 0)].tolist())
        clean_slices += int((distances > 0).sum())
        for what, mask in put_right(result.mask, reference).items():
            scores[what].append(dice(confusion(mask, reference)))
        scores["as it is, the best threshold of each patient"].append(
            max(dice(confusion(result.with_threshold(float(t)).mask, reference)) for t in THRESHOLDS)
        )
        readings = moved(reference)
        for what, mask in readings.items():
            scores[what].append(dice(confusion(mask, reference)))
        scores["the reference itself, drawn at half the resolution"].append(dice(confusion(halved(reference), reference)))
        scores["the wider one against the narrower one"].append(dice(confusion(*readings.values())))
    scores[f"as it is, without the {LOWEST} patients who score lowest"] = sorted(scores["as it is"])[LOWEST:]
    print_head(["mask", "Dice, mean", "median", "lowest", "under 0.75"])
    for what, values in scores.items():
        print_row([what, f"{np.mean(values):.3f}", f"{np.median(values):.3f}", f"{min(values):.3f}", f"{sum(v < 0.75 for v in values)}"])
    print_head(["slices away from the reference's nearest", "marked", "of all tumour-free slices"])
    for what, number in (("1", away[1]), ("2", away[2]), ("3 or more", away.total() - away[1] - away[2])):
        print_row([what, str(number), f"{100 * number / clean_slices:.1f} %"])
    print_head(["lesions beside the largest, of its size", "how many", "that touch the reference"])
    for low, high in zip(SHARES, (*SHARES[1:], 1.0), strict=True):
        inside = [touches for share, touches in beside if low <= share < high or share == high == 1.0]
        print_row([f"{100 * low:g} to {100 * high:g} %", str(len(inside)), str(sum(inside))])


def beside_the_largest(mask: Mask, reference: Mask) -> list[tuple[float, bool]]:
    """Return for each lesion of a mask but the largest its size as a share of the largest's, and whether it touches the reference."""
    labels, _ = components(mask)
    sizes = np.bincount(labels.ravel())[1:]
    touching = np.bincount(labels[reference], minlength=sizes.size + 1)[1:] > 0
    others = np.argsort(-sizes, kind="stable")[1:]
    return [(float(sizes[n] / sizes.max()), bool(touching[n])) for n in others]


def put_right(mask: Mask, reference: Mask) -> dict[str, Mask]:
    """Return a mask ``(z, y, x)`` as it is and with one kind of mistake put right at a time, by what was done."""
    untouched = mask & ~_touching(mask, reference)
    missed = reference & ~_touching(reference, mask)
    return {
        "as it is": mask,
        "without lesions that touch none of the reference": mask & ~untouched,
        "with the reference's lesions that were missed whole": mask | missed,
        "with both, so that only outlines differ": (mask & ~untouched) | missed,
        **{
            f"right within {pixels} px of the reference's outline": np.where(_near_outline(reference, pixels), reference, mask)
            for pixels in (1, 2)
        },
    }


def slices_away(mask: Mask) -> NDArray[np.int64]:
    """Return how far each slice of a mask ``(z, y, x)`` lies from the nearest that is marked, in slices; their number if none is."""
    slices = np.arange(len(mask))
    return np.abs(slices[:, None] - slices[mask.any(axis=(1, 2))]).min(axis=1, initial=len(mask))


def moved(reference: Mask) -> dict[str, Mask]:
    """Return the reference ``(z, y, x)`` with its outline moved by a pixel outwards and inwards, by what was done."""
    return {
        "the reference itself, a pixel wider all around": binary_dilation(reference, IN_PLANE),
        "the reference itself, a pixel narrower all around": binary_erosion(reference, IN_PLANE),
    }


def halved(reference: Mask) -> Mask:
    """Return the reference ``(z, y, x)`` as means of 2 x 2 pixels tell it: the network's finest level has one place for four pixels."""
    depth, height, width = reference.shape
    drawn = np.empty_like(reference)
    for z in range(depth):
        half = cv2.resize(reference[z].astype(np.float32), (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        drawn[z] = cv2.resize(half, (width, height), interpolation=cv2.INTER_LINEAR) >= 0.5
    return drawn


def _touching(mask: Mask, other: Mask) -> Mask:
    """Return the lesions of a mask that share a voxel with another mask."""
    labels, _ = components(mask)
    return np.isin(labels, np.setdiff1d(np.unique(labels[other]), [0]))


def _near_outline(mask: Mask, pixels: int) -> Mask:
    """Return the voxels within some pixels of the outline, on both sides of it."""
    return binary_dilation(mask, IN_PLANE, pixels) & ~binary_erosion(mask, IN_PLANE, pixels)


if __name__ == "__main__":
    main()

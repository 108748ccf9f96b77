"""The scores of one patient, and of one part of a patient's slices before they are put together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.dataset import institution
from gliomask.metrics import Confusion, area_error, confusion, dice, iou, pixel_accuracy, precision, sensitivity, specificity
from gliomask.surfaces import OutlineDistances, hd95, outline_distances, surface_dice

TRAINED_ON, HELD_OUT, SEALED_TEST, UNKNOWN = "trained on", "held out", "sealed", "unknown"
ROLES = (HELD_OUT, SEALED_TEST, UNKNOWN, TRAINED_ON)
"""In the order in which they are shown: what measures quality first."""

PIXELS, MILLIMETRES = "px", "mm"

INSTITUTIONS = {
    "CS": "Thomas Jefferson University",
    "DU": "Henry Ford Hospital",
    "EZ": "University of North Carolina",
    "FG": "Case Western",
    "HT": "Case Western, St Joseph's",
}
"""The institutions behind the source sites in the dataset's names (Buda 2019, doi:10.1016/j.compbiomed.2019.05.002)."""


@dataclass(frozen=True)
class Part:
    """What was counted and measured in some slices of a patient, to be added up before scores are taken.

    ``slices`` counts slices as ``pixels`` counts pixels: a true positive is one in which both masks
    mark something, wherever it lies.
    """

    pixels: Confusion
    slices: Confusion
    distances: OutlineDistances

    def plus(self, other: "Part") -> "Part":
        """Return both together."""
        return Part(self.pixels.plus(other.pixels), self.slices.plus(other.slices), self.distances.plus(other.distances))


@dataclass(frozen=True)
class PatientScore:
    """One patient's counts over all slices, and how far the outlines lie from each other.

    ``role`` says whether the model was trained on the patient (``"trained on"``), was not
    (``"held out"``, or ``"sealed"`` for the test set), or whether that is unknown. ``fold`` is the
    fold whose model was used, in cross-validation. Distances are in the evaluation's unit.
    """

    name: str
    role: str
    counts: Confusion
    slices: Confusion
    hd95: float
    surface_dice: float
    fold: str | None = None

    @property
    def reference_pixels(self) -> int:
        """The tumour's size by the reference: its area over all slices."""
        return self.counts.tp + self.counts.fn

    @property
    def institution(self) -> str | None:
        """The tissue source site in a name of TCGA; None in others."""
        return institution(self.name)

    def values(self) -> dict[str, float]:
        """Return the scores that are averaged over patients, by name; NaN where one is not defined."""
        return {
            "dice": dice(self.counts),
            "iou": iou(self.counts),
            "sensitivity": sensitivity(self.counts),
            "precision": precision(self.counts),
            "hd95": self.hd95,
            "surface_dice": self.surface_dice,
            "area_error": area_error(self.counts),
            "slice_sensitivity": sensitivity(self.slices),
            "slice_specificity": specificity(self.slices),
            "pixel_accuracy": pixel_accuracy(self.counts),
        }

    def as_json(self) -> dict[str, Any]:
        """Return who it is, the scores and what they come from, as plain types; None for what is not defined."""
        return {
            "patient": self.name,
            "role": self.role,
            "institution": self.institution,
            "fold": self.fold,
            **{name: finite(value) for name, value in self.values().items()},
            "predicted_pixels": self.counts.tp + self.counts.fp,
            "reference_pixels": self.reference_pixels,
            "slices": sum(self.slices),
            "tumour_slices": self.slices.tp + self.slices.fn,
            "found_tumour_slices": self.slices.tp,
            "clean_slices": self.slices.fp + self.slices.tn,
            "marked_clean_slices": self.slices.fp,
        }


def finite(value: float) -> float | None:
    """Return the value; None for NaN, which JSON does not have."""
    return None if math.isnan(value) else float(value)


def measure_part(predicted: NDArray[np.bool_], reference: NDArray[np.bool_], spacing_yx: tuple[float, float] = (1.0, 1.0)) -> Part:
    """Return what masks ``(z, y, x)`` come to, a pixel's height and width being in the unit that distances are wanted in."""
    marked, tumour = (np.asarray(mask.any(axis=(1, 2)), np.bool_) for mask in (predicted, reference))
    return Part(confusion(predicted, reference), confusion(marked, tumour), outline_distances(predicted, reference, spacing_yx))


def patient_score(name: str, role: str, parts: Sequence[Part], fold: str | None = None) -> PatientScore:
    """Return a patient's scores from the parts that the slices were measured in."""
    whole = reduce(Part.plus, parts)
    return PatientScore(name, role, whole.pixels, whole.slices, hd95(whole.distances), surface_dice(whole.distances), fold)


def score(name: str, role: str, predicted: NDArray[np.bool_], reference: NDArray[np.bool_], fold: str | None = None) -> PatientScore:
    """Return a patient's scores from masks ``(z, y, x)``, distances in pixels."""
    return patient_score(name, role, [measure_part(predicted, reference)], fold)

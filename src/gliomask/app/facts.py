"""What stays of a case when its result has had to make room: the numbers of the cohort's table, and how it compares with its reference.

They are made once, in the thread that segments; a table of 64 cases would otherwise ask for 64 results, which do not fit into memory
together, and compute the first again when the last is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gliomask.confidence import Agreement
from gliomask.metrics import dice

if TYPE_CHECKING:  # evaluation is imported where a case has a reference mask, which few have; the rest is for the first paint to be quick
    from gliomask.evaluation.calibration import Reliability
    from gliomask.evaluation.outcome import CasePicture
    from gliomask.evaluation.scores import Part
    from gliomask.segmentation import Segmentation


@dataclass(frozen=True)
class Comparison:
    """A result against its reference mask, on axial slices.

    Attributes
    ----------
    pixels, millimetres
        What was counted and measured, distances in pixels and, where the spacing is known, in mm.
    calibration
        The probabilities against the truth, by region.
    picture
        The slice with the largest area in either mask.
    """

    pixels: Part
    millimetres: Part | None
    calibration: dict[str, Reliability]
    picture: CasePicture

    @property
    def dice(self) -> float:
        """The Dice over all slices; 1 if both masks are empty."""
        return dice(self.pixels.pixels)


@dataclass(frozen=True)
class Facts:
    """A case in numbers.

    Attributes
    ----------
    lesions
        How many connected parts the mask has.
    longest_mm
        The longest axial diameter of any of them; None where there is none or no spacing is known.
    expected
        The Dice to be expected; None where the model tells none.
    comparison
        With the reference mask; None where there is none.
    """

    lesions: int
    longest_mm: float | None
    expected: Agreement | None
    comparison: Comparison | None = None


def facts_of(result: Segmentation, reference: NDArray[np.bool_] | None) -> Facts:
    """Return a case's facts; *reference* has the shape of its mask, or is None."""
    lesions = result.measurements["lesions"]
    diameters = [lesion["longest_axial_diameter_mm"] for lesion in lesions if lesion["longest_axial_diameter_mm"] is not None]
    comparison = None if reference is None else compare(result, reference)
    return Facts(len(lesions), max(diameters, default=None), result.confidence, comparison)


def compare(result: Segmentation, reference: NDArray[np.bool_]) -> Comparison:
    """Return how a result compares with a reference mask of its shape."""
    from gliomask.evaluation.calibration import reliabilities
    from gliomask.evaluation.mask_pairs import MaskPair
    from gliomask.evaluation.pictures import case_picture
    from gliomask.evaluation.scores import measure_part

    pair = MaskPair(result.mask, np.asarray(reference, np.bool_), result.volume.affine)
    flair, predicted, wanted = (pair.axial(array) for array in (result.volume.flair, pair.predicted, pair.reference))
    millimetres = None if pair.pixel_mm is None else measure_part(predicted, wanted, pair.pixel_mm)
    picture = case_picture(result.volume.name, flair, predicted, wanted, pair.aspect)
    return Comparison(measure_part(predicted, wanted), millimetres, reliabilities(result.probability, reference), picture)

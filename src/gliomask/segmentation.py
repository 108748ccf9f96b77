"""The result of a segmentation: probabilities, and what follows from them at a threshold."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.confidence import Agreement, Features, entropy, features, mean_agreement
from gliomask.errors import InputError
from gliomask.grid import FIELD_OF_VIEW_MM, assumed_pixel_mm, radiological
from gliomask.io.naming import MapName
from gliomask.measure import Lesion, Removed, lesions, measurements, remove_small
from gliomask.models import ModelRecord
from gliomask.postprocess import NEIGHBOUR_MM, final_mask, slice_distance_mm, without_small_parts
from gliomask.preprocess import rough_head
from gliomask.quality import Quality
from gliomask.volume import WHOLE_HEAD_MM, Volume

Members = tuple[Features | None, ...]
"""What each member of an ensemble says of the mask that it would draw by itself, None if it would draw none; empty for one network."""


@dataclass(frozen=True)
class Segmentation:
    """What was found in one case.

    Attributes
    ----------
    volume
        The input.
    probability
        Calibrated, for each voxel on the input's own grid, ``(z, y, x)``, float32, 0..1.
    threshold
        Probability from which a voxel belongs to the mask.
    model, engine
        Which model, and what ran it.
    seconds
        Time from the volume in memory to the probabilities.
    notes
        What the user should know of how the slices were laid through the volume.
    min_lesion_ml
        Lesions smaller than this are left out of the mask; None keeps all.
    quality
        Whether the input is plausibly axial brain FLAIR, and what was seen; not plausible only where
        the segmentation was forced.
    all_lesions
        Whether the mask is all that reaches the threshold: small lesions and faint ends too, which
        else are left out as the model's record says.
    members
        For an ensemble, what each network's own probabilities say, see :func:`gliomask.confidence.features`.
    """

    volume: Volume
    probability: NDArray[np.float32]
    threshold: float
    model: ModelRecord
    engine: str
    seconds: float
    notes: tuple[str, ...] = ()
    min_lesion_ml: float | None = None
    quality: Quality = field(default_factory=Quality)
    all_lesions: bool = False
    members: Members = ()

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """The abnormality, ``(z, y, x)`` bool; all False is a valid result."""
        return self._mask_and_removed[0]

    @property
    def removed(self) -> Removed:
        """The lesions that were left out of the mask because they are smaller than asked for."""
        return self._mask_and_removed[1]

    @cached_property
    def satellites(self) -> list[Lesion]:
        """The parts left out of the mask because they are small beside the largest lesion, or for a slice by itself; the largest first."""
        if self.all_lesions:
            return []
        marked = self.probability >= self.threshold
        left_out = marked & ~self._axially(without_small_parts, marked)
        return lesions(left_out, self.volume.affine, oriented=self.volume.oriented, head=self._head, probability=self.probability)

    @cached_property
    def _mask_and_removed(self) -> tuple[NDArray[np.bool_], Removed]:
        marked = self.probability >= self.threshold
        if not self.all_lesions:
            marked = self._axially(final_mask, marked)
        if self.min_lesion_ml is None:
            return marked, Removed(0, 0.0)
        return remove_small(marked, self.volume.affine, self.min_lesion_ml)

    def _axially(self, step: Callable[..., NDArray[np.bool_]], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return what a step of the postprocessing makes of a mask when it is given its axial slices."""
        axes, pixel_mm, distance_mm = self._axial
        return step(mask.transpose(axes), self.model.postprocessing, distance_mm, pixel_mm**2).transpose(np.argsort(axes))

    @cached_property
    def _head(self) -> NDArray[np.bool_] | None:
        """Where the head is, ``(z, y, x)``; None where the patient's sides are not known."""
        return rough_head(self.volume.flair) if self.volume.oriented and self.volume.affine is not None else None

    @cached_property
    def _axial(self) -> tuple[tuple[int, int, int], float, float]:
        """How to transpose the volume to axial slices, the side of their pixels and their distance in mm."""
        volume = self.volume
        if volume.affine is None or volume.spacing_mm is None:
            return (0, 1, 2), assumed_pixel_mm(*volume.voxels.shape[1:3]), assumed_distance_mm(volume)
        axes, _ = radiological(volume.affine)
        distance_mm, height_mm, width_mm = (volume.spacing_mm[2 - axis] for axis in axes)
        return axes, float(np.sqrt(height_mm * width_mm)), distance_mm

    @property
    def confidence(self) -> Agreement | None:
        """The Dice to be expected between the mask and an expert's; None where none was measured, see :attr:`confidence_reason`."""
        return None if isinstance(self._expected, str) else self._expected

    @property
    def confidence_reason(self) -> str:
        """Why no Dice is expected, as a clause for after a colon; empty where one is."""
        return self._expected if isinstance(self._expected, str) else ""

    @cached_property
    def _expected(self) -> Agreement | str:
        """The Dice to be expected, or why there is none.

        It was measured for what the model marks by its own settings, in single slices and in whole heads, of what looks like a FLAIR.
        """
        axes, _, distance_mm = self._axial
        slices = self.volume.voxels.shape[axes[0]]
        whole = distance_mm <= NEIGHBOUR_MM and slices * distance_mm >= WHOLE_HEAD_MM
        expectation = self.model.agreement.get("slice" if slices == 1 else "volume")
        if expectation is None:
            return "none was measured for this model"
        if not self.quality.plausible:
            return "the input does not look like axial brain FLAIR"
        if not (slices == 1 or whole):
            return "this is neither one slice nor a whole head"
        if self.threshold != self.model.threshold:
            return f"the threshold is not the model's own, {self.model.threshold:.2f}"
        if self.all_lesions:
            return "small lesions and faint ends are marked too"
        if self.min_lesion_ml is not None:
            return "lesions are left out as asked"
        if not self.found:
            return "nothing is marked"
        estimates = [expectation.estimate(row) for row in self.members or [self.own_features] if row is not None]
        return mean_agreement(estimates) if estimates else "no network of the ensemble marks anything by itself"

    @property
    def own_features(self) -> Features | None:
        """What the network's own probabilities, as they are before calibration, say of the mask; None for an empty one."""
        axes, pixel_mm, _ = self._axial
        pixel = pixel_mm * self.model.input_size / FIELD_OF_VIEW_MM
        return features(self.model.calibration.undo(self.probability).transpose(axes), self.mask.transpose(axes), pixel)

    @property
    def uncertainty(self) -> NDArray[np.float32]:
        """Entropy of each voxel's probability in bits, ``(z, y, x)``, 0..1: where the outline might as well lie elsewhere."""
        return entropy(self.probability)

    @cached_property
    def measurements(self) -> dict[str, Any]:
        """Volume, lesions and diameters, ready for JSON; see :func:`gliomask.measure.measurements`."""
        return measurements(self.mask, self.volume.affine, oriented=self.volume.oriented, head=self._head, probability=self.probability)

    @property
    def found(self) -> bool:
        """Whether any voxel is in the mask."""
        return bool(self.mask.any())

    @property
    def max_probability(self) -> float:
        """The highest probability of any voxel. It is not a probability that there is a tumour."""
        return float(self.probability.max())

    def with_threshold(self, threshold: float) -> "Segmentation":
        """Return the same result cut at another threshold; nothing is predicted again."""
        return replace(self, threshold=checked_threshold(threshold))

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        save_probability: bool = False,
        save_uncertainty: bool = False,
    ) -> list[Path]:
        """Write masks, overlay and ``result.json`` into *folder* and return the files written.

        Parameters
        ----------
        save_probability, save_uncertainty
            Whether :attr:`probability` and :attr:`uncertainty` are written beside the mask, see
            :func:`gliomask.report.save_segmentation`.

        Raises
        ------
        InputError
            The folder already holds a result and *overwrite* is not set, or holds the input itself.
        """
        from gliomask.report import save_segmentation  # report is built on this module

        asked: dict[MapName, bool] = {"probability": save_probability, "uncertainty": save_uncertainty}
        return save_segmentation(self, Path(folder), overwrite=overwrite, maps=[kind for kind, wanted in asked.items() if wanted])


def checked_threshold(threshold: float) -> float:
    """Return the threshold if it lies above 0 and at most at 1; at 0 every voxel would be tumour.

    Raises
    ------
    InputError
        It does not.
    """
    if not 0.0 < threshold <= 1.0:
        raise InputError(f"threshold {threshold}: expected a probability above 0 and up to 1.")
    return float(threshold)


def assumed_distance_mm(volume: Volume) -> float:
    """Return how far apart the slices of a volume without spacing count; infinitely where they are pictures of different things."""
    return slice_distance_mm(len(volume.voxels)) if volume.in_sequence else float("inf")

"""The use case: a volume in, a segmentation out."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gliomask.confidence import Agreement, entropy, features
from gliomask.engine import BATCH, Engine, Runtime, load_engine
from gliomask.errors import ImplausibleInputError, InputError, ModelError
from gliomask.grid import FIELD_OF_VIEW_MM, assumed_pixel_mm, axial_grid, radiological
from gliomask.io import read
from gliomask.io.naming import MapName
from gliomask.measure import Lesion, Removed, lesions, measurements, remove_small
from gliomask.models import DEFAULT, ModelRecord, find_model
from gliomask.postprocess import NEIGHBOUR_MM, final_mask, slice_distance_mm, smooth_across_slices, without_small_parts
from gliomask.preprocess import (
    Windows,
    apply_windows,
    fill_channels,
    foreground,
    from_network_grid,
    head_box,
    holds_head,
    intensity_windows,
    place_paddings,
    to_network_grid,
)
from gliomask.quality import EXPECTED, Quality, check
from gliomask.volume import Volume

FORCED_NOTE = "segmented by force: it does not look like a brain FLAIR, and the mask may mean nothing"
"""What a result says that would have been refused."""

Progress = Callable[[int, int], None]

WHOLE_HEAD_MM = 100.0
"""What slices have to span for the expected Dice of a volume to hold; that of a few slices of a head was not measured."""

Input = str | os.PathLike[str] | NDArray[Any] | Volume


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
        return lesions(left_out, self.volume.affine, head=self._head, probability=self.probability)

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
        return foreground(self.volume.flair) if self.volume.oriented and self.volume.affine is not None else None

    @cached_property
    def _axial(self) -> tuple[tuple[int, int, int], float, float]:
        """How to transpose the volume to axial slices, the side of their pixels and their distance in mm."""
        volume = self.volume
        if volume.affine is None or volume.spacing_mm is None:
            return (0, 1, 2), assumed_pixel_mm(*volume.voxels.shape[1:3]), _distance_mm(volume)
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
        axes, pixel_mm, distance_mm = self._axial
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
        pixel = pixel_mm * self.model.input_size / FIELD_OF_VIEW_MM
        row = features(self.model.calibration.undo(self.probability).transpose(axes), self.mask.transpose(axes), pixel)
        return "nothing is marked" if row is None else expectation.estimate(row)

    @property
    def uncertainty(self) -> NDArray[np.float32]:
        """Entropy of each voxel's probability in bits, ``(z, y, x)``, 0..1: where the outline might as well lie elsewhere."""
        return entropy(self.probability)

    @cached_property
    def measurements(self) -> dict[str, Any]:
        """Volume, lesions and diameters, ready for JSON; see :func:`gliomask.measure.measurements`."""
        return measurements(self.mask, self.volume.affine, head=self._head, probability=self.probability)

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


class Segmenter:
    """A loaded model, to be called as often as wanted and from several threads.

    Parameters
    ----------
    model
        A bundled model's name, the path of an ``.onnx`` or ``.keras`` file, or a model's record.
    threshold
        In place of the model's own, above 0 and up to 1.
    threads
        Processor threads for one call; None takes all that the process may use, and more are never taken.
    device
        ``"cuda"``, ``"cpu"``, or ``"auto"``: CUDA where ONNX Runtime comes with it and it works.
    precision
        ``"float32"``, ``"int8"``, or ``"auto"``: int8 where the model has such a network and the processor is faster with it.
    engine
        ``"onnxruntime"``, or ``"openvino"`` if it is installed.
    min_lesion_ml
        Lesions smaller than this many millilitres are left out of the mask; None keeps all.
    force
        Whether to segment what does not look like axial brain FLAIR too; its result says so.
    all_lesions
        Whether to mark all that reaches the threshold: small lesions and faint ends too, which the
        model's record leaves out.

    Raises
    ------
    ModelError, EngineError, InputError
        The model cannot be used, its runtime is missing, or the threshold is out of range.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelRecord = DEFAULT,
        *,
        threshold: float | None = None,
        threads: int | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        precision: Literal["auto", "float32", "int8"] = "auto",
        engine: Literal["onnxruntime", "openvino"] = "onnxruntime",
        min_lesion_ml: float | None = None,
        force: bool = False,
        all_lesions: bool = False,
    ) -> None:
        """Load the model."""
        self.force = force
        self.all_lesions = all_lesions
        self.min_lesion_ml = min_lesion_ml
        self.model = model if isinstance(model, ModelRecord) else find_model(os.fspath(model))
        self.threshold = self.model.threshold if threshold is None else checked_threshold(threshold)
        self.runtime = Runtime(device, precision, engine, threads)
        self.engine: Engine = load_engine(self.model, self.runtime)
        self._check_shape()

    def _check_shape(self) -> None:
        """Compare what the network takes and gives with what its record says, where the network fixes it."""
        size = self.model.input_size
        wanted = (size, size, len(self.model.channels))
        found = self.engine.input_shape[1:]
        pairs = zip((*found, self.engine.output_channels), (*wanted, 1), strict=True)
        if any(isinstance(f, int) and f != w for f, w in pairs):
            raise ModelError(
                f"{self.model.path}: takes slices of {found} (y, x, channels) and gives {self.engine.output_channels} map(s); "
                f"expected {wanted} and 1."
            )

    def segment(self, case: Input, progress: Progress | None = None, *, force: bool | None = None) -> Segmentation:
        """Return the segmentation of one case.

        Parameters
        ----------
        case
            A path of one case (an image file, a folder of slices, NIfTI, DICOM, a zip of them), a
            :class:`Volume`, or an array as :meth:`Volume.from_array` takes it.
        progress
            Called with the slices done and the slices in all, after each batch.
        force
            For this case, in place of the segmenter's own.

        Raises
        ------
        InputError
            The case cannot be read, the path holds several, or lies too far off the axial plane.
        ImplausibleInputError
            It does not look like axial brain FLAIR, and nothing is forced.
        """
        volume = _as_volume(case)
        if self.min_lesion_ml is not None and volume.affine is None:
            raise InputError(
                f"{volume.source or volume.name}: carries no spacing, so no lesion can be measured in ml. Leave out min_lesion_ml."
            )
        started = time.perf_counter()
        force = self.force if force is None else force
        notes: tuple[str, ...] = ()
        voxels = place_paddings(volume.voxels, self.model.normalisation)
        if volume.affine is None:
            quality = _checked(voxels, volume, force)
            probability = self._predict_slices(voxels, _distance_mm(volume), progress)
        else:
            probability, notes, quality = self._predict_volume(volume, voxels, volume.affine, progress, force)
        if not quality.plausible:
            notes = (*notes, FORCED_NOTE, *quality.reasons)
        np.clip(probability, 0.0, 1.0, out=probability)
        seconds = time.perf_counter() - started
        return Segmentation(
            volume, probability, self.threshold, self.model, self.engine.description, seconds, notes, self.min_lesion_ml, quality,
            self.all_lesions,
        )  # fmt: skip

    def _predict_slices(
        self, voxels: NDArray[Any], distance_mm: float, progress: Progress | None, windows: Windows | None = None
    ) -> NDArray[np.float32]:
        """Return probabilities ``(z, y, x)`` for axial slices ``(z, y, x, c)`` that lie *distance_mm* apart."""
        windows = windows or intensity_windows(voxels, self.model.normalisation)
        depth, height, width = voxels.shape[:3]
        probability = np.empty((depth, height, width), np.float32)
        for z in range(0, depth, BATCH):
            slices = apply_windows(voxels[z : z + BATCH], windows)
            slices = to_network_grid(slices, self.model.input_size)
            predicted = self._predict_heads(fill_channels(slices, len(self.model.channels)))
            probability[z : z + BATCH] = from_network_grid(predicted, height, width)
            if progress is not None:
                progress(min(z + BATCH, depth), depth)
        return self.model.calibration.apply(smooth_across_slices(probability, self.model.postprocessing.smoothing_mm, distance_mm))

    def _predict_heads(self, slices: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities ``(n, y, x)`` for normalised slices ``(n, y, x, c)``: 0 where there is air alone, which is not predicted."""
        probability = np.zeros(slices.shape[:3], np.float32)
        flair = slices[..., slices.shape[-1] // 2]
        heads = np.flatnonzero(holds_head(flair))
        if heads.size:
            rows, columns = head_box(flair[heads], self.model.size_multiple or self.model.input_size)
            probability[heads, rows, columns] = self._run(np.ascontiguousarray(slices[heads, rows, columns]))
        return probability

    def _run(self, slices: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's probabilities ``(n, y, x)``, for a mirrored model the mean of slices as they are and mirrored."""
        probability = self.engine.run(slices)
        if not self.model.mirrored:
            return probability
        mirrored = self.engine.run(np.ascontiguousarray(slices[:, :, ::-1]))
        return (probability + mirrored[:, :, ::-1]) / 2.0

    def _predict_volume(
        self, volume: Volume, voxels: NDArray[Any], affine: NDArray[np.float64], progress: Progress | None, force: bool
    ) -> tuple[NDArray[np.float32], tuple[str, ...], Quality]:
        """Return probabilities on the grid of a volume with geometry, what is to be told of the way there and back, and what was seen."""
        depth, height, width = voxels.shape[:3]
        channels = [voxels[..., c] for c in range(voxels.shape[-1])]
        windows = intensity_windows(voxels, self.model.normalisation)
        name = str(volume.source or volume.name)
        grid = axial_grid(affine, (depth, height, width), self.model.input_size, foreground(channels[len(channels) // 2]), name)
        slices = np.stack([grid.sample(channel, window[0]) for channel, window in zip(channels, windows, strict=True)], axis=-1)
        quality = _checked(slices, volume, force)
        distance_mm = float(np.linalg.norm((affine @ grid.to_voxel)[:3, 2]))
        return grid.restore(self._predict_slices(slices, distance_mm, progress, windows)), grid.notes, quality


def segment(case: Input, *, model: str | os.PathLike[str] = DEFAULT, threshold: float | None = None, force: bool = False) -> Segmentation:
    """Return the segmentation of one case; for many, make a :class:`Segmenter` and keep it.

    Examples
    --------
    >>> import gliomask
    >>> result = gliomask.segment(gliomask.draw_phantom())
    >>> result.found
    True
    """
    return Segmenter(model, threshold=threshold, force=force).segment(case)


def _checked(slices: NDArray[Any], volume: Volume, force: bool) -> Quality:
    """Return what is seen in a volume's axial slices ``(z, y, x, c)``; raise if it is no brain FLAIR and not forced."""
    quality = check(slices)
    if not quality.plausible and not force:
        raise ImplausibleInputError(
            f"{volume.source or volume.name}: does not look like a brain FLAIR. {' '.join(quality.reasons)} Expected {EXPECTED}. "
            "To segment it all the same, use --force (force=True).",
            quality.reasons,
        )
    return quality


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


def _distance_mm(volume: Volume) -> float:
    """Return how far apart the slices of a volume without spacing count; infinitely where they are pictures of different things."""
    return slice_distance_mm(len(volume.voxels)) if volume.in_sequence else float("inf")


def _as_volume(case: Input) -> Volume:
    if isinstance(case, Volume):
        return case
    if isinstance(case, np.ndarray):
        return Volume.from_array(case)
    return read(case)

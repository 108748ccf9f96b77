"""The use case: a volume in, a segmentation out."""

import os
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gliomask.confidence import Features, features
from gliomask.edges import follow_edges
from gliomask.engine import BATCH, Engine, Runtime, load_engine
from gliomask.errors import ImplausibleInputError, InputError, ModelError
from gliomask.grid import assumed_pixel_mm, axial_grid
from gliomask.io import read
from gliomask.models import DEFAULT, UNCALIBRATED, ModelRecord, find_model
from gliomask.postprocess import final_mask, smooth_across_slices
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
from gliomask.segmentation import Members, Segmentation, assumed_distance_mm, checked_threshold
from gliomask.volume import Volume

FORCED_NOTE = "segmented by force: it does not look like a brain FLAIR, and the mask may mean nothing"
"""What a result says that would have been refused."""

Progress = Callable[[int, int], None]

Input = str | os.PathLike[str] | NDArray[Any] | Volume


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
        self._members = len(self.model.training.get("members", ())) or 1
        self._check_shape()

    def _check_shape(self) -> None:
        """Compare what the network takes and gives with what its record says, where the network fixes it."""
        size = self.model.input_size
        wanted = (size, size, len(self.model.channels))
        found = self.engine.input_shape[1:]
        pairs = zip((*found, self.engine.output_channels), (*wanted, self._members), strict=True)
        if any(isinstance(f, int) and f != w for f, w in pairs):
            raise ModelError(
                f"{self.model.path}: takes slices of {found} (y, x, channels) and gives {self.engine.output_channels} map(s); "
                f"expected {wanted} and {self._members}. Get or make the model again, its record with it."
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
            probability, members = self._predict_slices(voxels, assumed_distance_mm(volume), progress)
        else:
            probability, members, notes, quality = self._predict_volume(volume, voxels, volume.affine, progress, force)
        if not quality.plausible:
            notes = (*notes, FORCED_NOTE, *quality.reasons)
        np.clip(probability, 0.0, 1.0, out=probability)
        seconds = time.perf_counter() - started
        return Segmentation(
            volume, probability, self.threshold, self.model, self.engine.description, seconds, notes, self.min_lesion_ml, quality,
            self.all_lesions, members,
        )  # fmt: skip

    def _predict_slices(
        self, voxels: NDArray[Any], distance_mm: float, progress: Progress | None, windows: Windows | None = None
    ) -> tuple[NDArray[np.float32], Members]:
        """Return probabilities ``(z, y, x)`` for axial slices ``(z, y, x, c)`` that lie *distance_mm* apart, and what members say."""
        windows = windows or intensity_windows(voxels, self.model.normalisation)
        depth, height, width = voxels.shape[:3]
        size = self.model.input_size
        probability = np.empty((depth, height, width), np.float32)
        maps = np.empty((self._members, depth, size, size), np.float16) if self._members > 1 else None
        for z in range(0, depth, BATCH):
            slices = apply_windows(voxels[z : z + BATCH], windows)
            slices = to_network_grid(slices, size)
            predicted, own = self._predict_heads(fill_channels(slices, len(self.model.channels)))
            probability[z : z + BATCH] = from_network_grid(predicted, height, width)
            if maps is not None:
                maps[:, z : z + BATCH] = own.transpose(3, 0, 1, 2)
            if progress is not None:
                progress(min(z + BATCH, depth), depth)
        probability = smooth_across_slices(probability, self.model.postprocessing.smoothing_mm, distance_mm)
        members = () if maps is None else tuple(self._features(own.astype(np.float32), distance_mm) for own in maps)
        return probability if self._members > 1 else self.model.calibration.apply(probability), members

    def _features(self, probability: NDArray[np.float32], distance_mm: float) -> Features | None:
        """Return what a member's probabilities ``(z, y, x)``, on the network's grid, say of the mask that it would draw by itself."""
        settings = self.model.postprocessing
        probability = smooth_across_slices(probability, settings.smoothing_mm, distance_mm)
        pixel_mm = assumed_pixel_mm(*probability.shape[1:])
        return features(probability, final_mask(probability >= UNCALIBRATED, settings, distance_mm, pixel_mm**2))

    def _predict_heads(self, slices: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return probabilities ``(n, y, x)`` and maps ``(n, y, x, members)`` for normalised slices ``(n, y, x, c)``.

        Both are 0 where there is air alone, which is not predicted.
        """
        probability = np.zeros(slices.shape[:3], np.float32)
        maps = np.zeros((*slices.shape[:3], self._members), np.float32)
        flair = slices[..., slices.shape[-1] // 2]
        heads = np.flatnonzero(holds_head(flair))
        if heads.size:
            rows, columns = head_box(flair[heads], self.model.size_multiple or self.model.input_size)
            probability[heads, rows, columns], maps[heads, rows, columns] = self._run(np.ascontiguousarray(slices[heads, rows, columns]))
        return probability, maps

    def _run(self, slices: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the model's probabilities ``(n, y, x)`` and its network's maps ``(n, y, x, members)``.

        The first are the mean of the members, for a mirrored model of slices as they are and mirrored.
        """
        maps = self._maps(slices)
        probability = self._mean(maps)
        if self.model.mirrored:
            mirrored = self._maps(np.ascontiguousarray(slices[:, :, ::-1]))
            probability = (probability + self._mean(mirrored)[:, :, ::-1]) / 2.0
        return probability, maps

    def _maps(self, slices: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's maps ``(n, y, x, members)``, their outlines drawn to the edges in the slices' FLAIR."""
        return follow_edges(self.engine.run(slices), slices[..., slices.shape[-1] // 2], self.model.postprocessing.edge_pull)

    def _mean(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean of maps ``(n, y, x, members)``; an ensemble's are calibrated one by one before."""
        probability: NDArray[np.float32] = (self.model.calibration.apply(maps) if self._members > 1 else maps).mean(axis=-1)
        return probability

    def _predict_volume(
        self, volume: Volume, voxels: NDArray[Any], affine: NDArray[np.float64], progress: Progress | None, force: bool
    ) -> tuple[NDArray[np.float32], Members, tuple[str, ...], Quality]:
        """Return probabilities on the grid of a volume with geometry, what members say, notes on the way, and what was seen."""
        depth, height, width = voxels.shape[:3]
        channels = [voxels[..., c] for c in range(voxels.shape[-1])]
        windows = intensity_windows(voxels, self.model.normalisation)
        name = str(volume.source or volume.name)
        grid = axial_grid(affine, (depth, height, width), self.model.input_size, foreground(channels[len(channels) // 2]), name)
        slices = np.stack([grid.sample(channel, window[0]) for channel, window in zip(channels, windows, strict=True)], axis=-1)
        quality = _checked(slices, volume, force)
        distance_mm = float(np.linalg.norm((affine @ grid.to_voxel)[:3, 2]))
        probability, members = self._predict_slices(slices, distance_mm, progress, windows)
        return grid.restore(probability), members, grid.notes, quality


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
        names = "; ".join(volume.flair_series.values())
        several = f"This study has several series to take with --series: {names}. " if names else ""
        raise ImplausibleInputError(
            f"{volume.source or volume.name}: does not look like a brain FLAIR. {' '.join(quality.reasons)} Expected {EXPECTED}. "
            f"{several}To segment it all the same, use --force (force=True).",
            quality.reasons,
        )
    return quality


def _as_volume(case: Input) -> Volume:
    if isinstance(case, Volume):
        return case
    if isinstance(case, np.ndarray):
        return Volume.from_array(case)
    return read(case)

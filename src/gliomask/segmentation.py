"""The use case: a volume in, a segmentation out."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.engine import BATCH, Engine, KerasEngine, OnnxEngine
from gliomask.errors import InputError, ModelError
from gliomask.io import find_cases, read_case
from gliomask.models import DEFAULT, ModelRecord, find_model
from gliomask.preprocess import (
    apply_windows,
    fill_channels,
    from_network_grid,
    intensity_windows,
    to_network_grid,
)
from gliomask.volume import Volume

Input = str | os.PathLike[str] | NDArray[Any] | Volume


@dataclass(frozen=True)
class Segmentation:
    """What was found in one case.

    Attributes
    ----------
    volume
        The input.
    probability
        The network's output for each voxel on the input's own grid, ``(z, y, x)``, float32, 0..1.
    threshold
        Probability from which a voxel belongs to the mask.
    model, engine
        Which model, and what ran it.
    seconds
        Time from the volume in memory to the probabilities.
    """

    volume: Volume
    probability: NDArray[np.float32]
    threshold: float
    model: ModelRecord
    engine: str
    seconds: float

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The abnormality, ``(z, y, x)`` bool; all False is a valid result."""
        return self.probability >= self.threshold

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

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False, save_probability: bool = False) -> list[Path]:
        """Write masks, overlay and ``result.json`` into *folder* and return the files written.

        Raises
        ------
        InputError
            The folder already holds a result and *overwrite* is not set, or holds the input itself.
        """
        from gliomask.report import save_segmentation  # report is built on this module

        return save_segmentation(self, Path(folder), overwrite=overwrite, save_probability=save_probability)


class Segmenter:
    """A loaded model, to be called as often as wanted and from several threads.

    Parameters
    ----------
    model
        A bundled model's name, or the path of an ``.onnx`` or ``.keras`` file.
    threshold
        In place of the model's own, above 0 and up to 1.
    threads
        Processor threads for one call; None takes all that the process may use.

    Raises
    ------
    ModelError, EngineError, InputError
        The model cannot be used, its runtime is missing, or the threshold is out of range.
    """

    def __init__(self, model: str | os.PathLike[str] = DEFAULT, *, threshold: float | None = None, threads: int | None = None) -> None:
        """Load the model."""
        self.model = find_model(os.fspath(model))
        self.threshold = self.model.threshold if threshold is None else checked_threshold(threshold)
        self.engine: Engine = KerasEngine(self.model.path) if self.model.path.suffix == ".keras" else OnnxEngine(self.model.path, threads)
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

    def segment(self, case: Input, progress: Callable[[int, int], None] | None = None) -> Segmentation:
        """Return the segmentation of one case.

        Parameters
        ----------
        case
            A path of one case (an image file, a folder of slices), a :class:`Volume`, or an array as
            :meth:`Volume.from_array` takes it.
        progress
            Called with the slices done and the slices in all, after each batch.

        Raises
        ------
        InputError
            The case cannot be read, or the path holds several.
        """
        volume = _as_volume(case)
        started = time.perf_counter()
        windows = intensity_windows(volume.voxels, self.model.normalisation)
        depth, height, width = volume.voxels.shape[:3]
        probability = np.empty((depth, height, width), np.float32)
        for z in range(0, depth, BATCH):
            slices = apply_windows(volume.voxels[z : z + BATCH], windows)
            slices = to_network_grid(slices, self.model.input_size)
            slices = np.ascontiguousarray(fill_channels(slices, len(self.model.channels)))
            predicted = self.engine.run(slices)
            probability[z : z + BATCH] = from_network_grid(predicted, height, width)
            if progress is not None:
                progress(min(z + BATCH, depth), depth)
        np.clip(probability, 0.0, 1.0, out=probability)
        seconds = time.perf_counter() - started
        return Segmentation(volume, probability, self.threshold, self.model, self.engine.description, seconds)


def segment(case: Input, *, model: str | os.PathLike[str] = DEFAULT, threshold: float | None = None) -> Segmentation:
    """Return the segmentation of one case; for many, make a :class:`Segmenter` and keep it.

    Examples
    --------
    >>> import gliomask
    >>> result = gliomask.segment(gliomask.draw_phantom())
    >>> result.found
    True
    """
    return Segmenter(model, threshold=threshold).segment(case)


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


def _as_volume(case: Input) -> Volume:
    if isinstance(case, Volume):
        return case
    if isinstance(case, np.ndarray):
        return Volume.from_array(case)
    cases = find_cases([Path(case)])
    if len(cases) > 1:
        names = ", ".join(c.name for c in cases[:5])
        raise InputError(f"{case}: holds {len(cases)} cases ({names}…); call once for each, or use the command line.")
    return read_case(cases[0])

"""Training batches: a pure function of the seed and the step, so that a resumed run goes on as if never stopped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.dataset.augment import Augmentation, draw_outside, drop_sequences, remove_outside, vary_intensity, warp
from gliomask.dataset.index import Patient
from gliomask.preprocess import Normalisation, Windows, apply_windows, intensity_windows, to_network_grid

SINGLE_SLICE = 0.3  # share of slices normalised by themselves, as a lone PNG will be


@dataclass(frozen=True)
class CaseWindows:
    """Intensity windows of a case as a volume and of each of its slices by itself."""

    volume: Windows
    slices: list[Windows]

    @classmethod
    def of(cls, images: NDArray[np.uint8], normalisation: Normalisation) -> "CaseWindows":
        """Return the windows of images ``(z, y, x, c)``."""
        return cls(intensity_windows(images, normalisation), [intensity_windows(image, normalisation) for image in images])


@dataclass(frozen=True)
class Case:
    """One patient in memory, with its intensity windows.

    ``images`` is ``(z, y, x, 3)`` uint8, ``masks`` ``(z, y, x, k)`` bool with the tumour first and
    the brain, where it is known, second; ``windows`` are those of the images, ``stripped`` those of
    the images without skull; ``centre`` is the head's middle as ``(y, x)``.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    windows: CaseWindows
    tumour_slices: NDArray[np.intp]
    centre: tuple[float, float]
    stripped: CaseWindows | None = None


def load_case(patient: Patient, normalisation: Normalisation, size: int, brain_masks: Path | None = None) -> Case:
    """Return the patient read into memory with everything that batches need to know of it.

    Parameters
    ----------
    size
        Pixels along the longer side of the slices that the network sees; others are resized to it, as they are for a prediction.
    brain_masks
        As :meth:`gliomask.dataset.Patient.load_brain` takes it.

    Raises
    ------
    InputError
        A file is missing, unreadable, or of another size than its slice.
    """
    images, tumour = patient.load()
    brain = None if brain_masks is None else _sized(patient.load_brain(brain_masks), size)
    return make_case(_sized(images, size), _sized(tumour, size), normalisation, brain)


def _sized(slices: NDArray[Any], size: int) -> NDArray[Any]:
    """Return slices ``(z, y, x)`` or ``(z, y, x, c)`` of their own type whose longer side has *size* pixels, the same if it has."""
    if max(slices.shape[1:3]) == size:
        return slices
    channels = slices.astype(np.float32).reshape(*slices.shape[:3], -1)
    resized = to_network_grid(channels, size).reshape(-1, size, size, *slices.shape[3:])
    return resized >= 0.5 if slices.dtype == np.bool_ else np.round(resized).astype(slices.dtype)


def make_case(
    images: NDArray[np.uint8], tumour: NDArray[np.bool_], normalisation: Normalisation, brain: NDArray[np.bool_] | None = None
) -> Case:
    """Return slices ``(z, y, x, 3)`` and masks ``(z, y, x)`` with everything that batches need to know of them."""
    windows = CaseWindows.of(images, normalisation)
    head = apply_windows(images, windows.volume).max(axis=-1).mean(axis=0) > 0.08
    rows, columns = (np.flatnonzero(head.any(axis=axis)) for axis in (1, 0))
    y, x = (float(span[0] + span[-1]) / 2 if span.size else images.shape[1] / 2 for span in (rows, columns))
    tumour_slices = np.flatnonzero(tumour.any(axis=(1, 2)))
    if brain is None:
        return Case(images, tumour[..., None], windows, tumour_slices, (y, x))
    stripped = CaseWindows.of(images * brain[..., None], normalisation)
    return Case(images, np.stack([tumour, brain], axis=-1), windows, tumour_slices, (y, x), stripped)


def make_batch(
    cases: Sequence[Case],
    step: int,
    batch_size: int,
    size: int,
    zoom: float,
    augmentation: Augmentation,
    tumour_share: float | None,
    seed: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return batch number *step*: images ``(b, size, size, 3)`` in 0..1 and masks ``(b, size, size, 1)``, float32.

    With a *tumour_share* every patient is as likely as every other, since patients are what is
    scored, and slices with tumour are drawn with that probability; without, all slices are alike.
    """
    rng = np.random.default_rng([seed, step])
    drawn = [_draw_slice(cases, tumour_share, rng) for _ in range(batch_size)]
    pairs = [make_sample(case, z, size, zoom, augmentation, rng) for case, z in drawn]
    return np.stack([image for image, _ in pairs]), np.stack([mask for _, mask in pairs])


def _draw_slice(cases: Sequence[Case], tumour_share: float | None, rng: np.random.Generator) -> tuple[Case, int]:
    if tumour_share is None:
        counts = np.array([len(case.images) for case in cases])
        case = cases[int(rng.choice(len(cases), p=counts / counts.sum()))]
    else:
        case = cases[int(rng.integers(len(cases)))]
        if case.tumour_slices.size > 0 and rng.random() < tumour_share:
            return case, int(rng.choice(case.tumour_slices))
    return case, int(rng.integers(len(case.images)))


def make_sample(
    case: Case, z: int, size: int, zoom: float, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return one draw of a slice: the image ``(size, size, 3)`` in 0..1 and its mask ``(size, size, 1)``, float32."""
    outside = draw_outside(augmentation, rng)
    windows = case.stripped if outside == "skull removed" and case.stripped is not None else case.windows
    centre = case.centre if size < max(case.images.shape[1:3]) else _middle(case)
    raw, masks = warp(case.images[z], case.masks[z], size, zoom, centre, augmentation, rng)
    tumour, brain = masks[..., 0], masks[..., 1] if masks.shape[-1] > 1 else None
    image = apply_windows(raw, windows.slices[z] if rng.random() < SINGLE_SLICE else windows.volume)
    image = drop_sequences(image, augmentation, rng)
    image = vary_intensity(image, augmentation, rng)
    image = remove_outside(image, tumour, outside, rng, brain)
    return image, tumour.astype(np.float32)[..., None]


def _middle(case: Case) -> tuple[float, float]:
    """Return the centre of the whole slice, for crops that hold all of it."""
    return (case.images.shape[1] - 1) / 2, (case.images.shape[2] - 1) / 2

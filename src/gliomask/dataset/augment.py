"""Augmentation for MRI slices: what scanners, protocols and preprocessing vary, drawn at random.

Geometry is drawn and resampled in one step on the raw slice, so that nothing is interpolated
twice; intensity comes after normalisation, where its parameters mean the same in every case.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

Outside = Literal["kept", "skull removed", "clean"]

PRE, FLAIR, POST = 0, 1, 2

cv2.setNumThreads(1)  # batches are made beside the training step, which has the processor's threads


@dataclass(frozen=True)
class Augmentation:
    """How much of everything; a probability of 0 turns a transform off.

    Attributes
    ----------
    rotation_degrees, log_scale, shear, shift_pixels
        Half-widths of the uniform distributions of the affine part.
    flip
        Probability of a left-right flip.
    elastic, elastic_pixels
        Probability of a smooth random displacement and the standard deviation of its coarse grid.
    gain, gamma
        Standard deviations of the logarithms of each channel's gain and gamma.
    bias_field
        Standard deviation of the logarithm of a smooth multiplicative field's coarse grid.
    noise, blur, contrast
        Probabilities of Rician-like noise, of smoothing, and of a stretch about the mean.
    skull_removal, clean_background
        Probabilities that all but the brain, or all outside the head, is set to zero.
    flair_alone, missing_outer
        Probabilities that both outer channels, or one of them, are replaced by FLAIR.
    """

    rotation_degrees: float = 20.0
    log_scale: float = 0.22
    shear: float = 0.08
    shift_pixels: float = 12.0
    flip: float = 0.5
    elastic: float = 0.3
    elastic_pixels: float = 5.0
    gain: float = 0.18
    gamma: float = 0.18
    bias_field: float = 0.15
    noise: float = 0.3
    blur: float = 0.15
    contrast: float = 0.15
    skull_removal: float = 0.2
    clean_background: float = 0.2
    flair_alone: float = 0.35
    missing_outer: float = 0.2


ROTATION_FLIP_SCALE = Augmentation(
    rotation_degrees=15.0, log_scale=0.1, shear=0.0, shift_pixels=0.0, flip=0.5, elastic=0.0,
    gain=0.0, gamma=0.0, bias_field=0.0, noise=0.0, blur=0.0, contrast=0.0,
    skull_removal=0.0, clean_background=0.0, flair_alone=0.0, missing_outer=0.0,
)  # fmt: skip
"""What the original recipe draws: rotation, flip and scale, nothing else."""


def warp(
    image: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    size: int,
    zoom: float,
    centre: tuple[float, float],
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a randomly warped *size* x *size* crop of a slice and its masks.

    Parameters
    ----------
    image, masks
        Slice ``(y, x, c)`` uint8 and masks ``(y, x, k)`` bool, such as tumour and brain.
    zoom
        Output pixels per input pixel before the random scale; under 1 the crop sees more at a
        lower resolution.
    centre
        ``(y, x)`` of the input that falls on the crop's middle before the random shift.
    """
    a = augmentation
    angle = np.deg2rad(rng.uniform(-a.rotation_degrees, a.rotation_degrees))
    scale = zoom * np.exp(rng.uniform(-a.log_scale, a.log_scale))
    mirror = -1.0 if rng.random() < a.flip else 1.0
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1.0, rng.uniform(-a.shear, a.shear)], [0.0, 1.0]])
    to_input = rotation @ shear @ np.diag([mirror, 1.0]) / scale  # on (x, y), output to input
    middle = np.array([centre[1], centre[0]]) + rng.uniform(-a.shift_pixels, a.shift_pixels, 2)
    grid = np.stack(np.meshgrid(*(np.arange(size, dtype=np.float32) - (size - 1) / 2,) * 2), axis=-1)
    points = (grid @ to_input.T + middle).astype(np.float32)
    if rng.random() < a.elastic:
        coarse = rng.normal(0.0, a.elastic_pixels, (5, 5, 2)).astype(np.float32)
        points += cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    warped = cv2.remap(image, points, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    targets: NDArray[np.uint8] = cv2.remap(masks.astype(np.uint8) * 255, points, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return warped, targets.reshape(size, size, -1) > 127  # OpenCV drops the axis of a single mask


def drop_sequences(image: Float, augmentation: Augmentation, rng: np.random.Generator) -> Float:
    """Return the slice ``(y, x, 3)`` with outer channels replaced by FLAIR as if never acquired."""
    draw = rng.random()
    missing: tuple[int, ...] = ()
    if draw < augmentation.flair_alone:
        missing = (PRE, POST)
    elif draw < augmentation.flair_alone + augmentation.missing_outer:
        missing = (PRE,) if rng.random() < 0.5 else (POST,)
    for channel in missing:
        image[..., channel] = image[..., FLAIR]
    return image


def draw_outside(augmentation: Augmentation, rng: np.random.Generator) -> Outside:
    """Return what is done to what lies outside: nothing, the skull removed, or the background cleaned."""
    draw = rng.random()
    if draw < augmentation.skull_removal:
        return "skull removed"
    return "clean" if draw < augmentation.skull_removal + augmentation.clean_background else "kept"


def remove_outside(
    image: Float, mask: NDArray[np.bool_], outside: Outside, rng: np.random.Generator, brain: NDArray[np.bool_] | None = None
) -> Float:
    """Return the slice with the background, or the skull too, set to zero.

    Where no *brain* mask ``(y, x)`` is given, skull removal keeps what lies deeper inside the head
    than scalp and skull are thick. It is no brain extraction, but it teaches the network not to
    lean on the bright rim that skull-stripped research volumes lack. A given one is grown or shrunk
    by up to two pixels, as brain extractions differ. The reference mask is never cut.
    """
    if outside == "kept":
        return image
    if outside == "skull removed" and brain is not None:
        kernel = np.ones((3, 3), np.uint8)
        change = int(rng.integers(-2, 3))
        keep = (cv2.dilate if change > 0 else cv2.erode)(brain.astype(np.uint8), kernel, iterations=abs(change))
    else:
        keep = (cv2.blur(image.max(axis=-1), (5, 5)) > 0.08).astype(np.uint8)
        outline, _ = cv2.findContours(keep, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(keep, outline, -1, 1, thickness=cv2.FILLED)
        if outside == "skull removed":
            # Scalp and skull are 6 to 12 % of the head's width, about 160 of 256 pixels.
            depth = rng.uniform(0.06, 0.12) * np.sqrt(keep.sum())
            keep = (cv2.distanceTransform(keep, cv2.DIST_L2, 3) > depth).astype(np.uint8)
    inside = (keep > 0) | (cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)
    return image * inside[..., None]


def vary_intensity(image: Float, augmentation: Augmentation, rng: np.random.Generator) -> Float:
    """Return the normalised slice ``(y, x, c)`` with random gain, gamma, bias field, noise, blur and contrast."""
    a = augmentation
    channels = image.shape[-1]
    gain = np.exp(rng.normal(0.0, a.gain, channels)).astype(np.float32)
    if a.bias_field > 0:
        coarse = rng.normal(0.0, a.bias_field, (4, 4)).astype(np.float32)
        field = cv2.resize(coarse, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        image = image * np.exp(field)[..., None]
    if rng.random() < a.contrast:
        mean = image.mean(axis=(0, 1), keepdims=True)
        image = (image - mean) * rng.uniform(0.7, 1.4) + mean
    image = np.clip(image * gain, 0.0, 1.0)
    if a.gamma > 0:
        image = image ** np.exp(rng.normal(0.0, a.gamma, channels)).astype(np.float32)
    if rng.random() < a.blur:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2))
    if rng.random() < a.noise:
        image = np.abs(image + rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0.005, 0.04)))
    return np.clip(image, 0.0, 1.0)

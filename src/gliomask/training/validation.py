"""What a network in training makes of whole slices, and the scores of it."""

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from gliomask.dataset.batches import Case
from gliomask.metrics import confusion, dice, iou, pixel_accuracy
from gliomask.preprocess import apply_windows, from_network_grid, to_network_grid
from gliomask.training.losses import binary_pixel_accuracy, soft_dice, soft_iou

PREDICTION_BATCH = 16

REFERENCE_BATCH = 32
"""Slices whose Dice the reference project takes as one."""


def predict(model: keras.Model, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities ``(n, y, x)`` for normalised slices ``(n, y, x, c)``, in batches of a fixed size."""
    padded = np.concatenate([images, np.zeros((-len(images) % PREDICTION_BATCH, *images.shape[1:]), np.float32)])
    parts = [model.predict_on_batch(padded[i : i + PREDICTION_BATCH]) for i in range(0, len(padded), PREDICTION_BATCH)]
    return np.concatenate(parts)[: len(images), ..., 0].astype(np.float32)


def _probability(model: keras.Model, case: Case, size: int, stride: int = 1) -> NDArray[np.float32]:
    """Return probabilities ``(z, y, x)`` of every *stride*-th slice of a case, seen at *size* x *size*."""
    slices = to_network_grid(apply_windows(case.images[::stride], case.windows.volume), size)
    return from_network_grid(predict(model, slices), *case.images.shape[1:3])


def validate(model: keras.Model, cases: Sequence[Case], size: int, stride: int) -> dict[str, float]:
    """Return mean per-patient Dice and IoU and the pixel accuracy of the cases, every *stride*-th slice, seen at *size* x *size*."""
    tables = [confusion(_probability(model, case, size, stride) >= 0.5, case.masks[::stride, ..., 0]) for case in cases]
    return {
        "val_dice": float(np.mean([dice(t) for t in tables])),
        "val_iou": float(np.mean([iou(t) for t in tables])),
        "val_accuracy": float(np.mean([pixel_accuracy(t) for t in tables])),
    }


def batch_scores(model: keras.Model, cases: Sequence[Case], size: int) -> dict[str, float]:
    """Return what :func:`reference_scores` gives for a network's probabilities of whole slices, seen at *size* x *size*."""
    return reference_scores([_probability(model, case, size) for case in cases], [case.masks[..., 0] for case in cases])


def reference_scores(probabilities: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_]]) -> dict[str, float]:
    """Return Dice, IoU and pixel accuracy as the reference project defines them, over all slices of the cases ``(z, y, x)``.

    On the probabilities of a whole batch, averaged over batches: :func:`soft_dice` and
    :func:`soft_iou`; accuracy at 0.5. Slices are shuffled over patients first, as a random split
    is. Such figures are not comparable with Dice per patient.
    """
    slices = [(number, z) for number, case in enumerate(probabilities) for z in range(len(case))]
    order = np.random.default_rng(0).permutation(len(slices))
    rows = []
    for start in range(0, len(order), REFERENCE_BATCH):
        drawn = [slices[i] for i in order[start : start + REFERENCE_BATCH]]
        probability = np.stack([probabilities[number][z] for number, z in drawn])
        mask = np.stack([masks[number][z] for number, z in drawn]).astype(np.float32)
        rows.append([float(metric(mask, probability)) for metric in (soft_dice, soft_iou, binary_pixel_accuracy)])
    means = np.mean(rows, axis=0)
    return {"slices": len(slices)} | dict(zip(("dice", "iou", "pixel_accuracy"), map(float, means), strict=True))

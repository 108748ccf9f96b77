"""Losses and training metrics in Keras operations; they run on any backend."""

import keras
from keras import ops

SMOOTH = 100.0
"""Added to both sides of the fraction, as the reference project does: a batch without tumour scores near 1."""


def soft_dice(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    """Return (2·Σ(y·p) + 100) / (Σy + Σp + 100) over all pixels of the batch."""
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    shared = ops.sum(y_true * y_pred)
    return (2.0 * shared + SMOOTH) / (ops.sum(y_true) + ops.sum(y_pred) + SMOOTH)


def soft_iou(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    """Return (Σ(y·p) + 100) / (Σy + Σp - Σ(y·p) + 100) over all pixels of the batch."""
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    shared = ops.sum(y_true * y_pred)
    return (shared + SMOOTH) / (ops.sum(y_true) + ops.sum(y_pred) - shared + SMOOTH)


def binary_pixel_accuracy(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    """Return the share of the batch's pixels that a threshold of 0.5 puts on the right side."""
    right = ops.equal(ops.cast(y_true, "float32") >= 0.5, ops.cast(y_pred, "float32") >= 0.5)
    return ops.mean(ops.cast(right, "float32"))


def dice_loss(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    """Return 1 - :func:`soft_dice`."""
    return 1.0 - soft_dice(y_true, y_pred)


def cross_entropy_dice_loss(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    """Return mean binary cross-entropy plus batch Dice loss: the first keeps probabilities honest, the second finds small tumours."""
    cross_entropy = ops.mean(keras.losses.binary_crossentropy(ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")))
    return cross_entropy + dice_loss(y_true, y_pred)

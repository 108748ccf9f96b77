"""The reference project's network, in Keras 3 and free of any backend's own operations."""

import keras
from keras import layers

from gliomask.volume import CHANNELS

LEVELS = 5


def unet(width: int = 64) -> keras.Model:
    """Return the U-Net of Ronneberger, Fischer and Brox 2015 (doi:10.1007/978-3-319-24574-4_28).

    Two 3 x 3 convolutions with ReLU a level, max-pooling down, 2 x 2 transposed convolutions and
    concatenated skip connections up, a sigmoid at the end. Unlike the paper's, convolutions are
    padded, so that the mask has the size of the slice.

    Parameters
    ----------
    width
        Filters of the first level; they double with each of the five levels (64..1024).
    """
    inputs = keras.Input((None, None, len(CHANNELS)), name="slices")
    x, skips = inputs, []
    for level in range(LEVELS):
        x = _two_convolutions(x, width * 2**level)
        if level < LEVELS - 1:
            skips.append(x)
            x = layers.MaxPooling2D()(x)
    for level in reversed(range(LEVELS - 1)):
        x = layers.Conv2DTranspose(width * 2**level, 2, strides=2)(x)
        x = _two_convolutions(layers.Concatenate()([skips.pop(), x]), width * 2**level)
    outputs = layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="probability")(x)
    return keras.Model(inputs, outputs, name="unet")


def _two_convolutions(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    for _ in range(2):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
    return x

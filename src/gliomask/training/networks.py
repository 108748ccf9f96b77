"""The networks, in Keras 3 and free of any backend's own operations."""

from collections.abc import Sequence

import keras
from keras import layers


def unet(width: int = 64, depth: int = 5, channels: int = 3) -> keras.Model:
    """Return the U-Net of Ronneberger, Fischer and Brox 2015 (doi:10.1007/978-3-319-24574-4_28).

    Two 3 x 3 convolutions with ReLU a level, max-pooling down, 2 x 2 transposed convolutions and
    concatenated skip connections up, a sigmoid at the end. Unlike the paper's, convolutions are
    padded, so that the mask has the size of the slice.

    Parameters
    ----------
    width
        Filters of the first level; they double with each of the *depth* levels (64..1024).
    """
    inputs = keras.Input((None, None, channels), name="slices")
    x, skips = inputs, []
    for level in range(depth):
        x = _two_convolutions(x, width * 2**level)
        if level < depth - 1:
            skips.append(x)
            x = layers.MaxPooling2D()(x)
    for level in reversed(range(depth - 1)):
        x = layers.Conv2DTranspose(width * 2**level, 2, strides=2)(x)
        x = _two_convolutions(layers.Concatenate()([skips.pop(), x]), width * 2**level)
    outputs = layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="probability")(x)
    return keras.Model(inputs, outputs, name="unet")


def residual_unet(widths: Sequence[int] = (24, 48, 96, 160, 256), channels: int = 3) -> keras.Model:
    """Return a residual U-Net whose first level works at half the slice's resolution.

    A 2 x 2 convolution of stride 2 takes the place of a space-to-depth and a 1 x 1 convolution, a
    2 x 2 transposed convolution that of depth-to-space at the end: the costly full resolution has
    no layer of its own. Skip connections are added, which spares the decoder half its first
    convolution. Blocks are those of He et al. 2016 (doi:10.1109/CVPR.2016.90). Slices' height and
    width have to be multiples of ``2 ** len(widths)``.
    """
    inputs = keras.Input((None, None, channels), name="slices")
    x, skips = layers.Conv2D(widths[0], 2, strides=2)(inputs), []
    for level, width in enumerate(widths):
        if level > 0:
            x = layers.MaxPooling2D()(x)
        x = _residual_block(x, width)
        skips.append(x)
    skips.pop()
    for width in reversed(widths[:-1]):
        x = layers.Conv2DTranspose(width, 2, strides=2)(x)
        x = _residual_block(layers.Add()([x, skips.pop()]), width)
    x = layers.Conv2DTranspose(1, 2, strides=2)(x)
    outputs = layers.Activation("sigmoid", dtype="float32", name="probability")(x)
    return keras.Model(inputs, outputs, name="residual_unet")


def _two_convolutions(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    for _ in range(2):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
    return x


def _residual_block(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    shortcut = x if x.shape[-1] == filters else layers.Conv2D(filters, 1, use_bias=False)(x)
    for last in (False, True):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
        x = layers.BatchNormalization(momentum=0.98, gamma_initializer="zeros" if last else "ones")(x)
        x = layers.Add()([shortcut, x]) if last else x
        x = layers.ReLU()(x)
    return x

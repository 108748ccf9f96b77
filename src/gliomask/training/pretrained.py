"""A U-Net on an encoder that was trained on photographs: EfficientNet-Lite, in Keras 3."""

from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import keras
import numpy as np
from keras import layers


class Blocks(NamedTuple):
    """Inverted residual blocks of one resolution; the stride is the first one's."""

    number: int
    kernel: int
    stride: int
    expansion: int
    filters: int


class Encoder(NamedTuple):
    """An EfficientNet-Lite without its last block and its head.

    ``weights`` is the file of its weights as ``docs/pretrained_encoder.py`` wrote it, Apache License 2.0.
    """

    weights: str
    blocks: tuple[Blocks, ...]


STEM = 32
LITE0 = Encoder(
    "efficientnet_lite0.npz",
    (
        Blocks(1, 3, 1, 1, 16),
        Blocks(2, 3, 2, 6, 24),
        Blocks(2, 5, 2, 6, 40),
        Blocks(3, 3, 2, 6, 80),
        Blocks(3, 5, 1, 6, 112),
        Blocks(4, 5, 2, 6, 192),
    ),
)
"""EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946, table 1); Lite leaves out squeeze-and-excitation and has ReLU6 in place of swish."""

LITE2 = Encoder(
    "efficientnet_lite2.npz",
    (
        Blocks(1, 3, 1, 1, 16),
        Blocks(3, 3, 2, 6, 24),
        Blocks(3, 5, 2, 6, 48),
        Blocks(4, 3, 2, 6, 88),
        Blocks(4, 5, 1, 6, 120),
        Blocks(5, 5, 2, 6, 208),
    ),
)
"""The same, 1.1 times as wide and 1.2 times as deep, as EfficientNet-B2 is."""


def lite_unet(decoder: Sequence[int], encoder: Encoder = LITE0) -> keras.Model:
    """Return a U-Net whose encoder is an EfficientNet-Lite with weights from ImageNet.

    The encoder's batch normalisation is folded into its convolutions. It takes slices in 0..1 with
    three channels; pre-contrast, FLAIR and post-contrast take the place of red, green and blue. The
    decoder has a residual block a level; skip connections are brought to its filters and added.
    Slices' height and width have to be multiples of 32.

    Parameters
    ----------
    decoder
        Filters of the decoder's levels, the coarsest first: as many as the encoder halves its resolution after the stem.
    encoder
        With all its blocks, or the first of them for fewer levels.
    """
    inputs = keras.Input((None, None, 3), name="slices")
    x, skips = _relu6(layers.Conv2D(STEM, 3, strides=2, padding="same", name="stem")(inputs)), []
    for stage, blocks in enumerate(encoder.blocks):
        if blocks.stride == 2:
            skips.append(x)
        for place in range(blocks.number):
            x = _inverted_residual(x, blocks, place, block_name(stage, place))
    for filters in decoder:
        skip = layers.Conv2D(filters, 1)(skips.pop())
        x = _residual_block(layers.Add()([layers.Conv2DTranspose(filters, 2, strides=2)(x), skip]), filters)
    x = layers.Conv2DTranspose(1, 2, strides=2)(x)
    outputs = layers.Activation("sigmoid", dtype="float32", name="probability")(x)
    model = keras.Model(inputs, outputs, name="lite_unet")
    _set_pretrained(model, encoder.weights)
    return model


def _inverted_residual(x: keras.KerasTensor, blocks: Blocks, place: int, name: str) -> keras.KerasTensor:
    """Return one block's output: expanded, convolved channel by channel, projected (Sandler et al. 2018, doi:10.1109/CVPR.2018.00474)."""
    y = x
    if blocks.expansion > 1:
        y = _relu6(layers.Conv2D(blocks.expansion * x.shape[-1], 1, name=f"{name}_expand")(y))
    stride = blocks.stride if place == 0 else 1
    y = _relu6(layers.DepthwiseConv2D(blocks.kernel, strides=stride, padding="same", name=f"{name}_depthwise")(y))
    y = layers.Conv2D(blocks.filters, 1, name=f"{name}_project")(y)
    return y if place == 0 else layers.Add()([x, y])


def _residual_block(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    """Return two convolutions and what they add to (He et al. 2016, doi:10.1109/CVPR.2016.90)."""
    shortcut = x if x.shape[-1] == filters else layers.Conv2D(filters, 1, use_bias=False)(x)
    for last in (False, True):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
        x = layers.BatchNormalization(momentum=0.98, gamma_initializer="zeros" if last else "ones")(x)
        x = layers.Add()([shortcut, x]) if last else x
        x = layers.ReLU()(x)
    return x


def _relu6(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.ReLU(max_value=6.0)(x)


def block_name(stage: int, place: int) -> str:
    """Return how the layers of a block begin, here and in the file of weights."""
    return f"block{stage}{'abcde'[place]}"


def _set_pretrained(model: keras.Model, file_name: str) -> None:
    """Set the encoder's kernels and biases to those of ImageNet."""
    with resources.files("gliomask.training").joinpath(file_name).open("rb") as file, np.load(file) as weights:
        stored = {key.split("/")[0] for key in weights.files}
        for layer in (layer for layer in model.layers if layer.name in stored):
            layer.set_weights([weights[f"{layer.name}/{part}"].astype(np.float32) for part in ("kernel", "bias")])

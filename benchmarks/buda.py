"""Buda's PyTorch port, with random weights: its network, and its inference from files to masks."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.rounds import Call
from benchmarks.slices_of_peers import SIZE, read_volume, write_mask

WIDTH, TINY_WIDTH = 32, 4

BATCH = 32
"""Slices that the port predicts at once."""


def network(width: int, batch: int, threads: int, precision: str) -> Call:
    """Return the prediction of a batch in float32 or bfloat16."""
    if precision == "bfloat16":
        machine.require_bfloat16()
    import torch

    model = _model(width, threads, precision)
    return partial(_predict, model, torch.rand((batch, 3, SIZE, SIZE)).to(getattr(torch, precision)))


def files(width: int, threads: int, cases: Sequence[Sequence[Path]], output: Path) -> Call:
    """Return files in, masks out, as the port does: a volume at a time, normalised, cut at 0.5, its largest lesion kept, a PNG a slice."""
    import cc3d
    import torch

    model = _model(width, threads, "float32")

    def segment() -> None:
        for case in cases:
            slices = torch.from_numpy(_normalised(read_volume(case)))
            parts = [_predict(model, slices[z : z + BATCH])[:, 0] for z in range(0, len(slices), BATCH)]
            mask = cc3d.largest_k(np.concatenate(parts) > 0.5, k=1, connectivity=26) > 0
            for path, plane in zip(case, mask, strict=True):
                write_mask(plane, output / f"{path.stem}_mask.png")

    return segment


def _model(width: int, threads: int, precision: str) -> Any:
    import torch

    from benchmarks.buda_unet import Unet

    torch.set_num_threads(threads)
    return Unet(width).eval().to(getattr(torch, precision))


def _predict(model: Any, slices: Any) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        return np.asarray(model(slices).float().numpy())


def _normalised(volume: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return slices ``(z, c, y, x)``: intensities between the 10th and the 99th percentile, then each channel's mean 0 and deviation 1."""
    low, high = np.percentile(volume, (10, 99))
    clipped = np.clip(volume.astype(np.float32), low, high)
    mean, deviation = clipped.mean(axis=(0, 1, 2)), clipped.std(axis=(0, 1, 2))
    return np.ascontiguousarray(((clipped - mean) / np.maximum(deviation, 1e-6)).transpose(0, 3, 1, 2), np.float32)

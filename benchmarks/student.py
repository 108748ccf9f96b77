"""The student project's way: Ronneberger's U-Net of 31 million parameters through Keras ``predict`` on TensorFlow."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rounds import Call
from benchmarks.slices_of_peers import SIZE, read_slice, write_mask

WIDTH, TINY_WIDTH = 64, 4


def network(width: int, batch: int) -> Call:
    """Return the prediction of a batch."""
    slices = np.random.default_rng(0).random((batch, SIZE, SIZE, 3), np.float32)
    return partial(_model(width).predict, slices, batch_size=batch, verbose=0)


def files(width: int, cases: Sequence[Sequence[Path]], output: Path) -> Call:
    """Return files in, masks out, as its page does: one slice after another, scaled by 255, cut at 0.5, a PNG each."""
    model = _model(width)

    def segment() -> None:
        for case in cases:
            for path in case:
                slices = read_slice(path)[None].astype(np.float32) / 255.0
                mask = model.predict(slices, verbose=0)[0, ..., 0] > 0.5
                write_mask(mask, output / f"{path.stem}_mask.png")

    return segment


def _model(width: int) -> Any:
    from gliomask.training.networks import unet  # Keras and TensorFlow: seconds and a gigabyte, in its own process alone

    return unet(width)

"""gliomask as a contender: its network on an engine, and its command from files to masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.errors import BenchmarkError, NotMeasuredError
from benchmarks.rounds import Call


@dataclass(frozen=True)
class Way:
    """An engine and a precision."""

    engine: str
    precision: str

    @property
    def name(self) -> str:
        """For a table, beside the precision."""
        return f"gliomask, {ENGINES[self.engine]}"


ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}

WAYS = tuple(Way(engine, precision) for engine in ENGINES for precision in ("float32", "int8"))
"""What can be chosen of."""

OPTIONS = ("threads", "device", "engine", "precision")
"""Which of the settings the command line takes; the ways that it cannot choose have no row of files to masks."""


def settings(way: Way, threads: int) -> dict[str, Any]:
    """Return the arguments of :class:`gliomask.Segmenter` for an engine and a precision."""
    return {"threads": threads, "device": "cpu", "engine": way.engine, "precision": way.precision}


def command_ways() -> tuple[Way, ...]:
    """Return the ways that ``gliomask segment`` can choose of."""
    return WAYS if "precision" in OPTIONS else WAYS[:1]


def flags(way: Way, threads: int) -> list[str]:
    """Return the settings as options of ``gliomask segment``."""
    chosen = settings(way, threads)
    return [part for name in OPTIONS for part in (f"--{name}", str(chosen[name]))]


def loaded(way: Way, threads: int) -> Any:
    """Return a :class:`gliomask.Segmenter` with the bundled model.

    Raises
    ------
    NotMeasuredError
        The engine is not installed, or the model has no network of that precision.
    """
    from gliomask import Segmenter
    from gliomask.errors import EngineError, ModelError

    try:
        return Segmenter(**settings(way, threads))
    except (EngineError, ModelError) as error:
        # Where the package lies is of no interest to whoever reads the table.
        raise NotMeasuredError(str(error).rpartition("/")[2]) from error


def network(way: Way, batch: int, threads: int) -> Call:
    """Return the prediction of a batch."""
    segmenter = loaded(way, threads)
    size, channels = segmenter.model.input_size, len(segmenter.model.channels)
    return partial(segmenter.engine.run, np.random.default_rng(0).random((batch, size, size, channels), np.float32))


def files(way: Way, threads: int, inputs: Sequence[Path], output: Path, warm: Path | None = None) -> Call:
    """Return ``gliomask segment``, its model's loading included, from files to a new folder of results at every call.

    Parameters
    ----------
    warm
        A small case that is segmented beforehand, so that what is imported once is not timed.
    """
    from gliomask.cli import main

    loaded(way, threads)  # else what is missing would be a failed command
    numbers = count()

    def segment(paths: Sequence[Path] = inputs) -> None:
        folder = output / f"{next(numbers)}"
        if main(["segment", *map(str, paths), "--output", str(folder), *flags(way, threads)]):
            raise BenchmarkError("gliomask segment failed")

    if warm is not None:
        segment([warm])
    return segment

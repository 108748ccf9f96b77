"""How fast a training goes, and how much of it is left."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pace:
    """Where a training stands.

    ``share`` is the part of all its work that is done, ``slices_per_s`` what it does at the present size of slices, ``elapsed_s``
    the time since the run's first step. A training that ``may_end_earlier`` has at most ``left_s`` to go.
    """

    share: float
    slices_per_s: float
    elapsed_s: float
    left_s: float
    may_end_earlier: bool = False

    def __str__(self) -> str:
        """Return it in words.

        >>> str(Pace(share=0.25, slices_per_s=12.34, elapsed_s=700.0, left_s=2100.0))
        '12.3 slices/s  about 35 min left'
        """
        return f"{self.slices_per_s:.1f} slices/s  {'at most' if self.may_end_earlier else 'about'} {_duration(self.left_s)} left"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


class Clock:
    """Tells a training's pace when its slices differ in size, by taking all their pixels to cost the same.

    A run's first step, in which the network is compiled, is not counted.
    """

    def __init__(
        self, sizes: Sequence[int], batch_size: int, may_end_earlier: bool = False, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the height and width of the slices of each step of the whole training; *now* gives the time in seconds."""
        self._slice = np.square(np.array(sizes, np.float64))
        self._work = np.concatenate([[0.0], batch_size * np.cumsum(self._slice)])
        self._may_end_earlier = may_end_earlier
        self._now = now
        self._start: tuple[float, float] | None = None

    def after(self, steps: int) -> Pace | None:
        """Return the pace when that many of all steps are done, None at a run's first call."""
        done, total, now = self._work[steps], self._work[-1], self._now()
        if self._start is None:
            self._start = (now, done)
        started, before = self._start
        if done == before:
            return None
        pixels_per_s = (done - before) / max(now - started, 1e-9)
        left_s = (total - done) / pixels_per_s
        return Pace(done / total, pixels_per_s / self._slice[steps - 1], now - started, left_s, self._may_end_earlier)

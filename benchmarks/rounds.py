"""Contenders measured side by side: each in a process of its own, taking turns, so that a machine's moods meet all of them alike.

pyperf's own runner measures one benchmark after the other, and ratios between them would hold its
drift. Here pyperf has the clock and the statistics, and the order is ours: round by round, every
contender one turn. Each keeps its process, since runtimes in one process fight over its threads.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyperf

from benchmarks.effort import Effort
from benchmarks.errors import BenchmarkError, NotMeasuredError

Call = Callable[[], object]


@dataclass(frozen=True)
class Contender:
    """Something to be measured.

    Attributes
    ----------
    build
        A function of a module; called with *arguments* in the contender's process, it returns what is timed.
        Where it needs a package that is missing, its ImportError becomes the row's reason.
    slices
        How much one call does; values are seconds for each.
    warmups
        Calls before the first turn, the last of which decides how often a turn repeats its call; without any, once.
    """

    name: str
    build: Callable[..., Call]
    arguments: tuple[Any, ...] = ()
    slices: int = 1
    warmups: int = 2


@dataclass(frozen=True)
class Measured:
    """What came of a contender.

    Attributes
    ----------
    benchmark
        pyperf's statistics over the turns, in seconds a slice; None where there is a *reason*.
    load_s
        From a started interpreter to something that can be called, imports included.
    memory_mb
        Peak resident memory of its process.
    """

    benchmark: pyperf.Benchmark | None = None
    load_s: float = math.nan
    memory_mb: float = math.nan
    reason: str = ""

    @property
    def rate(self) -> float:
        """Slices a second, by the median turn; not a number where nothing was measured."""
        return math.nan if self.benchmark is None else 1.0 / float(self.benchmark.median())

    @property
    def seconds(self) -> float:
        """Seconds a slice, by the median turn."""
        return 1.0 / self.rate

    @property
    def spread(self) -> float:
        """Median absolute deviation of the turns as a share of their median."""
        if self.benchmark is None or self.benchmark.get_nvalue() < 2:
            return math.nan
        return float(self.benchmark.median_abs_dev() / self.benchmark.median())

    def times_faster_than(self, other: "Measured") -> float:
        """Return the median over the rounds of how many times faster this was than the *other* in the same round."""
        if self.benchmark is None or other.benchmark is None:
            return math.nan
        pairs = zip(self.benchmark.get_values(), other.benchmark.get_values(), strict=True)
        ratios = sorted(theirs / mine for mine, theirs in pairs)
        middle = len(ratios) // 2
        return float(ratios[middle] if len(ratios) % 2 else (ratios[middle - 1] + ratios[middle]) / 2)


def limit_threads(threads: int) -> None:
    """Have this process's children use *threads* processor threads, for the libraries that can only be told before they load."""
    for name in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"  # start-up chatter


def measure(contenders: Sequence[Contender], effort: Effort) -> dict[str, Measured]:
    """Return what came of each contender, by its name.

    Raises
    ------
    BenchmarkError
        One of them failed; what is merely not installed has a reason instead of figures.
    """
    workers = [_Worker(contender) for contender in contenders]
    try:
        for worker in workers:
            worker.start()
            if not effort.at_once:
                worker.wait()
        present = [worker for worker in workers if worker.wait()]
        for worker in present:
            worker.warm_up(effort.turn_s)
        for number in range(effort.rounds):
            shift = number % max(1, len(present))  # nobody always follows the same one
            for worker in present[shift:] + present[:shift]:
                time.sleep(effort.pause_s)
                worker.turn()
        return {worker.contender.name: worker.measured() for worker in workers}
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """A contender's process, seen from outside."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self._loops = 1
        self._warmups: list[tuple[int, float]] = []
        self._values: list[float] = []
        self._found: Measured | None = None
        context = get_context("spawn")  # a fork would inherit what the parent has loaded, threads and memory
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, contender.build, contender.arguments), daemon=True)
        self._theirs: Connection | None = theirs

    def start(self) -> None:
        self._process.start()
        assert self._theirs is not None
        self._theirs.close()  # else its end would not be noticed here
        self._theirs = None

    def wait(self) -> bool:
        """Return whether there is something to call, once it is built."""
        if self._found is None:
            self._found = self._received()
        return not self._found.reason

    def warm_up(self, turn_s: float) -> None:
        for _ in range(self.contender.warmups):
            seconds = self._called(1)
            self._warmups.append((1, seconds))
            self._loops = max(1, round(turn_s / max(seconds, 1e-9)))

    def turn(self) -> None:
        self._values.append(self._called(self._loops) / (self._loops * self.contender.slices))

    def measured(self) -> Measured:
        assert self._found is not None
        if self._found.reason:
            return self._found
        facts = {"name": self.contender.name, "loops": self._loops, "inner_loops": self.contender.slices, "unit": "second"}
        # pyperf's own collection would put the machine's name into the results.
        run = pyperf.Run(self._values, self._warmups, facts, collect_metadata=False)
        return replace(self._found, benchmark=pyperf.Benchmark([run]), memory_mb=self._memory_mb())

    def stop(self) -> None:
        if self._theirs is not None:  # never started
            self._theirs.close()
        else:
            with contextlib.suppress(OSError):
                self._connection.send(None)
            self._process.join(timeout=5)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
            self._process.close()
        self._connection.close()

    def _called(self, loops: int) -> float:
        self._connection.send(loops)
        return float(self._received())

    def _memory_mb(self) -> float:
        self._connection.send("memory")
        return float(self._received())

    def _received(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError as error:
            raise BenchmarkError(f"{self.contender.name}: its process ended without an answer.") from error
        if isinstance(answer, BenchmarkError):
            raise BenchmarkError(f"{self.contender.name}: {answer}") from answer
        return answer


def _work(connection: Connection, build: Callable[..., Call], arguments: tuple[Any, ...]) -> None:
    """Build a contender and call it as often as the other end asks, until it asks no more."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):  # tables alone go to standard output
        try:
            began = pyperf.perf_counter()
            call = build(*arguments)
            connection.send(Measured(load_s=pyperf.perf_counter() - began))
            while (order := connection.recv()) is not None:
                connection.send(peak_memory_mb() if order == "memory" else _seconds(call, order))
        except (NotMeasuredError, ModuleNotFoundError) as error:
            connection.send(absent(error))
        except EOFError:  # the other end was interrupted
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the other end has to tell it
            connection.send(BenchmarkError(f"{type(error).__name__}: {error}"))


def absent(error: NotMeasuredError | ModuleNotFoundError) -> Measured:
    """Return what stands for a contender that cannot be built here."""
    what = f"install {(error.name or str(error)).partition('.')[0]}" if isinstance(error, ModuleNotFoundError) else str(error)
    return Measured(reason=f"not measured: {what}")


def _seconds(call: Call, loops: int) -> float:
    began = pyperf.perf_counter()
    for _ in range(loops):
        call()
    return float(pyperf.perf_counter() - began)


def peak_memory_mb() -> float:
    """Return this process's peak resident memory; not a number where the system keeps none in /proc.

    ``getrusage`` would tell the parent's, where that was larger when it started this process.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), math.nan)

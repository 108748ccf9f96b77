"""Whole commands timed cold by ``pyperf command``, taking turns, each with its peak memory."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyperf

from benchmarks.errors import BenchmarkError
from benchmarks.rounds import Measured

ONCE = ("--processes", "1", "--values", "1", "--warmups", "0", "--loops", "1")


def measure_commands(
    commands: Mapping[str, Sequence[str]], rounds: int, folder: Path, slices: Mapping[str, int] | None = None
) -> dict[str, Measured]:
    """Return the time (a slice, where it is given how many a command does) and the peak memory of each command, by its name.

    Parameters
    ----------
    commands
        What to run; a command has to succeed however often it is run.
    rounds
        How often each is run, all of them once a round.
    folder
        For pyperf's own files.

    Raises
    ------
    BenchmarkError
        A command failed.
    """
    files = {name: folder / f"command-{number}.json" for number, name in enumerate(commands)}
    for _ in range(rounds):
        for name, command in commands.items():
            _run(name, command, files[name])
    return {name: _read(name, file, (slices or {}).get(name, 1)) for name, file in files.items()}


def _run(name: str, command: Sequence[str], file: Path) -> None:
    pyperf_command = [
        sys.executable,
        "-m",
        "pyperf",
        "command",
        "--quiet",
        "--copy-env",
        *ONCE,
        "--append",
        str(file),
        "--name",
        name,
        "--",
    ]
    done = subprocess.run([*pyperf_command, *command], capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        raise BenchmarkError(f"{name}: {' '.join(command)} failed: {done.stderr.strip()[-400:]}")


def _read(name: str, file: Path, slices: int) -> Measured:
    """Return what pyperf wrote, without what it says of the machine, its name among it."""
    benchmark = pyperf.Benchmark.load(str(file))
    memory = [run.get_metadata()["command_max_rss"] for run in benchmark.get_runs()]
    facts = {"name": name, "loops": 1, "inner_loops": slices, "unit": "second"}
    runs = [pyperf.Run([value / slices], metadata=facts, collect_metadata=False) for value in benchmark.get_values()]
    return Measured(pyperf.Benchmark(runs), memory_mb=max(memory) / 1e6)

"""Peak resident memory of ``gliomask segment``, for a volume of 60 slices and one of 1,000."""

import argparse
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from benchmarks import cohort
from benchmarks.commands import measure_commands
from benchmarks.effort import Effort
from benchmarks.report import Column, Report, Table

NAME = "memory"

GOALS_MB = {60: 250.0}

COLUMNS = (
    Column("what", "gliomask segment of"),
    Column("slices", "slices"),
    Column("memory_mb", "peak memory, MB", ".0f"),
    Column("goal_mb", "goal, MB", ".0f"),
    Column("seconds", "time, s"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--slices", type=int, nargs="+", default=[1, 60, 1000], metavar="N", help="slices of a volume (default: 1 60 1000)")


def run(options: argparse.Namespace) -> Report:
    """Measure; of several rounds the highest peak counts."""
    counts = [2] if options.tiny else options.slices
    with tempfile.TemporaryDirectory(prefix="gliomask-benchmark-") as name:
        inputs = _inputs(Path(name), counts)
        commands = {what: _command(path, Path(name) / f"out-{number}") for number, (what, (path, _)) in enumerate(inputs.items())}
        measured = measure_commands(commands, min(3, Effort.of(options).rounds), Path(name))
    rows = tuple(
        {
            "what": what.rpartition(",")[0],
            "slices": inputs[what][1],
            "memory_mb": found.memory_mb,
            "goal_mb": GOALS_MB.get(inputs[what][1]),
            "seconds": found.seconds,
        }
        for what, found in measured.items()
    )
    return Report(NAME, options.command, (Table("Peak resident memory of one command, Python included", COLUMNS, rows),), measured)


def _inputs(folder: Path, counts: list[int]) -> dict[str, tuple[Path, int]]:
    """Return what is segmented: a folder of TIFF slices of three channels, and FLAIR as NIfTI where the extra [volumes] is installed."""
    found = {}
    for count in counts:
        found[f"a folder of TIFF slices, {count}"] = (cohort.write_slices(folder / f"head{count}", count)[0].parent, count)
        if find_spec("scipy") is not None and count > 1:  # one slice has no axis to lie on
            found[f"a NIfTI file, {count}"] = (cohort.write_nifti(folder / f"flair{count}.nii.gz", count), count)
    return found


def _command(path: Path, output: Path) -> list[str]:
    return [sys.executable, "-m", "gliomask", "segment", os.fspath(path), "--output", os.fspath(output), "--overwrite"]

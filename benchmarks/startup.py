"""Wall time from a cold start: help, import, one slice segmented, and the page with its model."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import pyperf
from PIL import Image

from benchmarks import cohort
from benchmarks.commands import measure_commands
from benchmarks.effort import Effort
from benchmarks.errors import NotMeasuredError
from benchmarks.page_server import times_s
from benchmarks.report import Column, Report, Table
from benchmarks.rounds import Measured

NAME = "startup"

INTERPRETER = "an interpreter that does nothing"
PAGE = {
    "served": "gliomask app: the address answers",
    "drawn": "gliomask app: the first visitor's page is drawn",
    "ready": "gliomask app: the model is ready",
    "settled": "gliomask app: all readers are loaded",
}
GOALS_S = {"gliomask --help": 0.2, "gliomask segment one.png": 0.8, PAGE["ready"]: 2.0}

COLUMNS = (
    Column("what", "from a cold start to"),
    Column("seconds", "time, s"),
    Column("spread_percent", "spread, %"),
    Column("goal_s", "goal, s"),
    Column("times_interpreter", "times a bare interpreter"),
    Column("memory_mb", "memory, MB", ".0f"),
    Column("note", "note"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--no-page", action="store_true", help="leave out the page")


def run(options: argparse.Namespace) -> Report:
    """Measure; files are in the system's cache by then, as nobody can empty it without being root."""
    rounds = Effort.of(options).rounds
    with tempfile.TemporaryDirectory(prefix="gliomask-benchmark-") as name:
        measured = measure_commands(_commands(Path(name)), rounds, Path(name))
    if not options.no_page:
        measured |= _page(rounds)
    bare = measured[INTERPRETER]
    rows = tuple(
        {
            "what": what,
            "seconds": found.seconds,
            "spread_percent": 100 * found.spread,
            "goal_s": GOALS_S.get(what),
            "times_interpreter": bare.times_faster_than(found),
            "memory_mb": found.memory_mb,
            "note": found.reason,
        }
        for what, found in measured.items()
    )
    return Report(NAME, options.command, (Table("Start-up", COLUMNS, rows),), measured)


def _commands(folder: Path) -> dict[str, list[str]]:
    one = folder / "one.png"
    Image.fromarray(cohort.head(12)[6]).save(one)
    gliomask = [sys.executable, "-m", "gliomask"]
    return {
        INTERPRETER: [sys.executable, "-c", "pass"],
        "import gliomask": [sys.executable, "-c", "import gliomask"],
        "gliomask --help": [*gliomask, "--help"],
        "gliomask segment one.png": [*gliomask, "segment", os.fspath(one), "--output", os.fspath(folder / "out"), "--overwrite"],
    }


def _page(rounds: int) -> dict[str, Measured]:
    try:
        times = [times_s() for _ in range(rounds)]
    except NotMeasuredError as error:
        return {what: Measured(reason=f"not measured: {error}") for what in PAGE.values()}
    return {
        what: Measured(
            pyperf.Benchmark([pyperf.Run([t[key] for t in times], metadata={"name": what, "unit": "second"}, collect_metadata=False)])
        )
        for key, what in PAGE.items()
    }

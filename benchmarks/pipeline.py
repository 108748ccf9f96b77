"""Files in to masks out: the whole of ``gliomask segment`` against what both peers do with the same slices."""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks import buda, cohort, ours, peak, peers, student
from benchmarks.commands import measure_commands
from benchmarks.effort import Effort
from benchmarks.report import Column, Report, Table
from benchmarks.rounds import Contender, Measured, limit_threads, measure

NAME = "pipeline"

STUDENT = "student project's page, slice by slice"
BUDA = "Buda's inference, volume by volume"
COLD = "gliomask segment, as a command"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument(
        "--dataset", type=Path, metavar="FOLDER", help="folders of slices, such as kaggle_3m (default: heads that gliomask draws)"
    )
    parser.add_argument("--cases", type=int, default=20, metavar="N", help="cases at most (default: 20)")
    parser.add_argument("--slices", type=int, default=36, metavar="N", help="slices of a drawn head (default: 36, the dataset's mean)")
    parser.add_argument(
        "--peer-slices", type=int, default=72, metavar="N", help="slices that the peers get of them, being slower (default: 72)"
    )
    peers.add_argument(parser)


def run(options: argparse.Namespace) -> Report:
    """Measure."""
    if options.tiny:
        options.cases, options.slices, options.peer_slices = 2, 3, 3
    limit_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="gliomask-benchmark-") as name:
        return _measured_in(Path(name), options)


def _measured_in(folder: Path, options: argparse.Namespace) -> Report:
    cases = cohort.cases(options, folder / "input")
    fewer = cohort.first_slices(cases, options.peer_slices)
    slices, few = sum(map(len, cases)), sum(map(len, fewer))
    masks = folder / "masks of peers"
    masks.mkdir()
    inputs = [case[0].parent for case in cases]
    width, narrow = (student.TINY_WIDTH, buda.TINY_WIDTH) if options.tiny else (student.WIDTH, buda.WIDTH)
    warmups = 0 if options.tiny else 1
    contenders = []
    if peers.STUDENT in options.peers:
        contenders.append(Contender(STUDENT, student.files, (width, fewer, masks), few, warmups))
    if peers.BUDA in options.peers:
        contenders.append(Contender(BUDA, buda.files, (narrow, options.threads, fewer, masks), few, warmups))
    for number, way in enumerate(ours.command_ways()):
        arguments = (way, options.threads, inputs, folder / f"ours-{number}", inputs[0])
        contenders.append(Contender(_ours(way), ours.files, arguments, slices, warmups=0))
    names = [contender.name for contender in contenders] + [COLD]
    effort = Effort.of(options)
    measured = measure(contenders + peak.contenders(options.threads, options.tiny), effort)
    command = [sys.executable, "-m", "gliomask", "segment", *map(os.fspath, inputs), "--output", os.fspath(folder / "cold"), "--overwrite"]
    measured |= measure_commands({COLD: command}, effort.rounds, folder, {COLD: slices})
    counts = {name: slices for name in measured} | {STUDENT: few, BUDA: few}
    rows = tuple(_row(name, counts[name], measured) for name in names)
    source = "heads drawn by gliomask" if options.dataset is None else "the dataset"
    table = Table(f"Files to masks, {len(cases)} cases of {source}", COLUMNS, rows)
    return Report(NAME, options.command, (table, peak.table(measured, options.tiny)), measured)


def _row(name: str, slices: int, measured: Mapping[str, Measured]) -> dict[str, object]:
    found = measured[name]

    def times(other: str) -> float:
        # The command had its turns by itself, after the others, so that no round of theirs is one of its own.
        against = measured.get(other, Measured())
        return found.rate / against.rate if name == COLD else found.times_faster_than(against)

    return {
        "what": name,
        "slices": slices,
        "seconds": found.seconds * slices,
        "slices_per_s": found.rate,
        "spread_percent": 100 * found.spread,
        "times_student": times(STUDENT),
        "times_buda": times(BUDA),
        "load_s": found.load_s,
        "memory_mb": found.memory_mb,
        "note": found.reason or ("start-up included" if name == COLD else "" if name in (STUDENT, BUDA) else "loading the model included"),
    }


def _ours(way: ours.Way) -> str:
    return f"{way.name}, {way.precision}"


COLUMNS = (
    Column("what", "what"),
    Column("slices", "slices"),
    Column("seconds", "time, s"),
    Column("slices_per_s", "slices/s"),
    Column("spread_percent", "spread, %"),
    Column("times_student", "times the student project"),
    Column("times_buda", "times Buda"),
    Column("load_s", "loaded in, s"),
    Column("memory_mb", "memory, MB", ".0f"),
    Column("note", "note"),
)

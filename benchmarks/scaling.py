"""Time of ``gliomask segment`` against the number of slices, their size and the threads."""

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks import cohort, ours
from benchmarks.effort import Effort
from benchmarks.report import Column, Report, Table
from benchmarks.rounds import Contender, Measured, limit_threads, measure

NAME = "scaling"

CASE = 100
"""Slices of a case at most; more slices are more cases."""

FIXED_SLICES = 24
"""Where size and threads are varied."""

FIGURES = (
    Column("seconds", "time, s"),
    Column("spread_percent", "spread, %"),
    Column("slices_per_s", "slices/s"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument(
        "--slices", type=int, nargs="+", default=[1, 10, 100, 1000, 10_000], metavar="N", help="(default: 1 10 100 1000 10000)"
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[128, 256, 512, 1024, 2048], metavar="N", help="(default: 128 256 512 1024 2048)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the first two tables, as SVG or PNG (needs matplotlib)")


def run(options: argparse.Namespace) -> Report:
    """Measure."""
    if options.tiny:
        options.slices, options.sizes = [1, 3], [128]
    limit_threads(options.threads)
    threads = [1] if options.tiny else sorted({1, options.threads})
    with tempfile.TemporaryDirectory(prefix="gliomask-benchmark-") as name:
        folder = Path(name)
        warm = cohort.write_slices(folder / "warm", 1)[0].parent
        by_slices = {n: _many(folder / f"slices{n}", n) for n in options.slices}
        few = options.slices[-1] if options.tiny else FIXED_SLICES
        by_size = {s: [cohort.write_slices(folder / f"size{s}", few, s)[0].parent] for s in options.sizes}
        way = ours.WAYS[0]

        def contender(kind: str, number: int, inputs: list[Path], slices: int, used: int) -> Contender:
            arguments = (way, used, inputs, folder / f"out-{kind}-{number}", warm)
            return Contender(f"{kind} {number}", ours.files, arguments, slices, warmups=0 if slices > CASE else 1)

        contenders = [contender("slices", n, inputs, n, options.threads) for n, inputs in by_slices.items()]
        contenders += [contender("size", s, inputs, few, options.threads) for s, inputs in by_size.items()]
        contenders += [contender("threads", t, by_size[options.sizes[0]], few, t) for t in threads]
        contenders += [Contender(f"network threads {t}", ours.network, (way, 8, t), 8) for t in threads]
        measured = measure(contenders, Effort.of(options))
    tables = (
        _slices_table(measured, options.slices),
        _size_table(measured, options.sizes, few),
        _threads_table(measured, threads),
    )
    if options.plot is not None:
        from benchmarks.plot import draw

        draw(tables[0], tables[1], options.plot)
    return Report(NAME, options.command, tables, measured)


def _many(folder: Path, slices: int) -> list[Path]:
    """Return folders with so many slices in all; those of full length are the same files under more names."""
    whole, rest = divmod(slices, CASE)
    found = [cohort.write_slices(folder / "rest", rest)[0].parent] if rest else []
    first = cohort.write_slices(folder / "case0", CASE) if whole else []
    for number in range(whole):
        case = folder / f"case{number}"
        case.mkdir(exist_ok=True)
        for path in first if number else ():
            os.link(path, case / path.name)
        found.append(case)
    return found


def _figures(found: Measured, slices: int) -> dict[str, float]:
    return {"seconds": found.seconds * slices, "spread_percent": 100 * found.spread, "slices_per_s": found.rate}


def _slices_table(measured: dict[str, Measured], counts: list[int]) -> Table:
    rows = tuple({"slices": n} | _figures(measured[f"slices {n}"], n) | {"memory_mb": measured[f"slices {n}"].memory_mb} for n in counts)
    columns = (Column("slices", "slices"), *FIGURES, Column("memory_mb", "memory, MB", ".0f"))
    return Table(f"Against the number of slices (256 x 256, cases of {CASE} at most)", columns, rows)


def _size_table(measured: dict[str, Measured], sizes: list[int], slices: int) -> Table:
    rows = []
    for size in sizes:
        figures = _figures(measured[f"size {size}"], slices)
        rows.append({"size": size} | figures | {"megapixels_per_s": figures["slices_per_s"] * size * size / 1e6})
    columns = (Column("size", "height and width"), *FIGURES, Column("megapixels_per_s", "megapixels/s"))
    return Table(f"Against the size of {slices} slices", columns, tuple(rows))


def _threads_table(measured: dict[str, Measured], threads: list[int]) -> Table:
    rows = []
    for kind, what in (("network threads", "the network"), ("threads", "files to masks")):
        for number in threads:
            found = measured[f"{kind} {number}"]
            one = found.times_faster_than(measured[f"{kind} {threads[0]}"])
            rows.append(
                {"what": what, "threads": number, "slices_per_s": found.rate, "spread_percent": 100 * found.spread, "times_one": one}
            )
    columns = (Column("what", "what"), Column("threads", "threads"), *FIGURES[1:], Column("times_one", "times one thread"))
    return Table("Against threads", columns, tuple(rows))

"""One network's slices a second: ours on its engines, the student project's and Buda's, beside the machine's peak."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks import buda, ours, peak, peers, student
from benchmarks.effort import Effort
from benchmarks.report import Column, Report, Table
from benchmarks.rounds import Contender, Measured, limit_threads, measure
from benchmarks.work import onnx_gflop, unet_gflop

NAME = "network"

STUDENT = "student project: U-Net 64 to 1024, Keras predict"
BUDA = "Buda's U-Net, PyTorch"


@dataclass(frozen=True)
class Entry:
    """A row before it is measured."""

    contender: Contender
    network: str
    precision: str
    gflop: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 16], metavar="N", help="slices a call (default: 1 8 16)")
    peers.add_argument(parser)


def run(options: argparse.Namespace) -> Report:
    """Measure."""
    batches = [2] if options.tiny else options.batches
    limit_threads(options.threads)
    entries = [entry for batch in batches for entry in _entries(batch, options)]
    contenders = [entry.contender for entry in entries] + peak.contenders(options.threads, options.tiny)
    measured = measure(contenders, Effort.of(options))
    table = Table(
        "One slice of 256 x 256", COLUMNS, tuple(_row(entry, measured, peak.gflop_per_s(measured, options.tiny)) for entry in entries)
    )
    return Report(NAME, options.command, (table, peak.table(measured, options.tiny)), measured)


COLUMNS = (
    Column("network", "network"),
    Column("precision", "precision"),
    Column("batch", "batch"),
    Column("slices_per_s", "slices/s"),
    Column("spread_percent", "spread, %"),
    Column("times_student", "times the student project"),
    Column("times_buda", "times Buda, float32"),
    Column("gflop", "GFLOP/slice"),
    Column("gflop_per_s", "GFLOP/s"),
    Column("share_of_peak_percent", "share of its precision's peak, %"),
    Column("load_s", "loaded in, s"),
    Column("memory_mb", "memory, MB", ".0f"),
    Column("note", "note"),
)


def _entries(batch: int, options: argparse.Namespace) -> list[Entry]:
    """Return the rows of one batch size: the peers as they are published, ours in every way that can be chosen."""
    found = []
    if peers.STUDENT in options.peers:
        width = student.TINY_WIDTH if options.tiny else student.WIDTH
        contender = Contender(_name(STUDENT, "float32", batch), student.network, (width, batch), batch)
        found.append(Entry(contender, STUDENT, "float32", unet_gflop(width)))
    for precision in ("float32", "bfloat16") if peers.BUDA in options.peers else ():
        width = buda.TINY_WIDTH if options.tiny else buda.WIDTH
        contender = Contender(_name(BUDA, precision, batch), buda.network, (width, batch, options.threads, precision), batch)
        found.append(Entry(contender, BUDA, precision, unet_gflop(width)))
    gflop = _our_gflop()
    for way in ours.WAYS:
        contender = Contender(_name(way.name, way.precision, batch), ours.network, (way, batch, options.threads), batch)
        found.append(Entry(contender, way.name, way.precision, gflop))
    return found


def _name(network: str, precision: str, batch: int) -> str:
    return f"{network}, {precision}, batch {batch}"


def _our_gflop() -> float | None:
    """Return the work of the bundled network; None without the package that reads its layers."""
    from gliomask.models import DEFAULT, find_model

    try:
        return onnx_gflop(find_model(DEFAULT).path)
    except ImportError:
        return None


def _row(entry: Entry, measured: Mapping[str, Measured], peaks: Mapping[str, float]) -> dict[str, object]:
    batch = entry.contender.slices
    found = measured[entry.contender.name]
    speed = None if entry.gflop is None else entry.gflop * found.rate
    return {
        "network": entry.network,
        "precision": entry.precision,
        "batch": batch,
        "slices_per_s": found.rate,
        "spread_percent": 100 * found.spread,
        "times_student": found.times_faster_than(measured.get(_name(STUDENT, "float32", batch), Measured())),
        "times_buda": found.times_faster_than(measured.get(_name(BUDA, "float32", batch), Measured())),
        "gflop": entry.gflop,
        "gflop_per_s": speed,
        "share_of_peak_percent": None if speed is None else 100 * speed / peaks[entry.precision],
        "load_s": found.load_s,
        "memory_mb": found.memory_mb,
        "note": found.reason,
    }

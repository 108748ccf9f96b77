"""Time against work, with the line that cost in proportion to work would follow."""

from pathlib import Path
from typing import Any

from benchmarks.report import Table


def draw(by_slices: Table, by_size: Table, path: Path) -> None:
    """Write the two tables of scaling as a picture, in the format of the path's ending."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "gliomask"  # the same figures give the same file
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _line(left, [row["slices"] for row in by_slices.rows], by_slices, "slices of 256 x 256", power=1)
    _line(right, [row["size"] for row in by_size.rows], by_size, "height and width of the slices", power=2)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _line(axes: Any, work: list[int], table: Table, label: str, power: int) -> None:
    seconds = [row["seconds"] for row in table.rows]
    axes.loglog(work, seconds, "o-", label="measured")
    proportional = [seconds[-1] * (n / work[-1]) ** power for n in work]
    axes.loglog(work, proportional, ":", color="grey", label="in proportion to " + ("slices" if power == 1 else "pixels"))
    axes.set_xticks(work, [f"{n:,}" for n in work])
    axes.xaxis.set_minor_formatter("")  # its labels would lie across the others
    axes.set_xlabel(label)
    axes.set_ylabel("time, s")
    axes.grid(alpha=0.3)
    axes.legend()

"""Figures as a table for people and as JSON for programs."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pyperf

from benchmarks import machine
from benchmarks.rounds import Measured

MISSING = "–"  # noqa: RUF001 - the dash of an empty cell


@dataclass(frozen=True)
class Column:
    """A column: its key in a row, its heading with the unit, and how its numbers are written."""

    key: str
    heading: str
    form: str = ""

    def cell(self, row: Mapping[str, Any]) -> str:
        """Return the row's value as text; a dash where there is none."""
        value = row.get(self.key)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return MISSING
        if isinstance(value, float) and not self.form:
            return significant(value)
        return format(value, self.form)


@dataclass(frozen=True)
class Table:
    """Rows of figures under a title."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Any], ...]

    def as_markdown(self) -> str:
        """Return the table for pasting into a document."""
        lines = [[column.heading for column in self.columns], ["---"] * len(self.columns)]
        lines += [[column.cell(row) for column in self.columns] for row in self.rows]
        return f"{self.title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def as_json(self) -> dict[str, Any]:
        """Return the table's rows, with every heading, for JSON."""
        headings = {column.key: column.heading for column in self.columns}
        return {"title": self.title, "columns": headings, "rows": [_finite(row) for row in self.rows]}


@dataclass(frozen=True)
class Report:
    """What a benchmark found.

    Attributes
    ----------
    command
        What gives it again.
    measured
        The measurements behind the rows, which go into the JSON as pyperf writes them.
    facts
        :func:`benchmarks.machine.facts` from before the start.
    """

    name: str
    command: str
    tables: tuple[Table, ...]
    measured: Mapping[str, Measured] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_markdown(self) -> str:
        """Return everything that belongs into a document."""
        parts = [f"`{self.command}`", " ".join(machine.sentences(dict(self.facts)))]
        return "\n\n".join([*parts, *(table.as_markdown() for table in self.tables)])

    def as_json(self) -> dict[str, Any]:
        """Return everything, every turn of every contender included."""
        return {
            "benchmark": self.name,
            "command": self.command,
            "machine": dict(self.facts),
            "tables": [table.as_json() for table in self.tables],
            "pyperf": _suite(m.benchmark for m in self.measured.values()),
        }

    def write(self, path: Path) -> None:
        """Write the JSON."""
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")


def significant(value: float) -> str:
    """Return a number with three significant digits and no exponent.

    >>> significant(1234.5), significant(12.345), significant(0.012345)
    ('1234', '12.3', '0.0123')
    """
    if value == 0.0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(0, digits)}f}"


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without what JSON has no word for."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}


def _suite(benchmarks: Iterable[pyperf.Benchmark | None]) -> Any:
    """Return pyperf's own form of the measurements, which ``python -m pyperf stats`` reads from a file of its own; None without any."""
    present = [benchmark for benchmark in benchmarks if benchmark is not None]
    if not present:
        return None
    text = StringIO()
    pyperf.BenchmarkSuite(present).dump(text)
    return json.loads(text.getvalue())

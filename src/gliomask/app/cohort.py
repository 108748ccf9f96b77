"""The session's cases as a table: rows, filters and CSV, all from what stays of each case."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from gliomask.app.case import Case
from gliomask.app.wording import progress
from gliomask.app.work import BUSY
from gliomask.io.naming import cell

ALL, FOUND, NONE_FOUND, NOT_SEGMENTED, TO_GO = "All", "Abnormality found", "Nothing found", "Not segmented", "To go"
KINDS = (ALL, FOUND, NONE_FOUND, NOT_SEGMENTED, TO_GO)


@dataclass(frozen=True)
class Row:
    """A case's line; None where there is no such number for it.

    Attributes
    ----------
    number
        What the case is called in the address; not part of the table.
    case, status
        Its name and how far it is.
    found
        Whether anything is marked.
    volume_ml, pixels
        How much; millilitres only where the spacing is known.
    marked_slices, slices
        In how many of how many axial slices.
    lesions, longest_diameter_mm
        Connected parts, and the longest axial diameter of any.
    expected_dice, expected_dice_low, expected_dice_high
        What the model expects, with its 90 % interval.
    dice
        With the case's reference mask.
    """

    number: str
    case: str
    status: str
    found: bool | None = None
    volume_ml: float | None = None
    pixels: int | None = None
    marked_slices: int | None = None
    slices: int | None = None
    lesions: int | None = None
    longest_diameter_mm: float | None = None
    expected_dice: float | None = None
    expected_dice_low: float | None = None
    expected_dice_high: float | None = None
    dice: float | None = None
    kind: str = TO_GO


COLUMNS = tuple(field.name for field in fields(Row) if field.name not in ("number", "kind"))
"""What the CSV holds of a row, in order."""

TITLES: Mapping[str, str] = {
    "case": "Case", "status": "Status", "found": "Found", "volume_ml": "Volume (ml)", "pixels": "Pixels", "marked_slices": "Slices marked",
    "slices": "Slices", "lesions": "Lesions", "longest_diameter_mm": "Longest diameter (mm)", "expected_dice": "Expected Dice",
    "dice": "Dice with reference",
}  # fmt: skip
"""What the page shows of a row, in order, and what it is called there."""


def row_of(case: Case, now: float) -> Row:
    """Return a case's line at a time on :func:`time.monotonic`'s clock."""
    stage, summary, facts = case.progress.stage, case.summary, case.facts
    if summary is None or facts is None or stage not in ("done", *BUSY):
        return Row(case.number, case.name, progress(case.progress, now), kind=TO_GO if stage in BUSY else NOT_SEGMENTED)
    # A case that is computed again because its result had to make room keeps its line: its numbers are known.
    found = any(summary.areas)
    return Row(
        case.number,
        case.name,
        "Segmented",
        found=found,
        volume_ml=summary.volume_ml,
        pixels=sum(summary.areas),
        marked_slices=sum(area > 0 for area in summary.areas),
        slices=len(summary.areas),
        lesions=facts.lesions,
        longest_diameter_mm=facts.longest_mm,
        expected_dice=None if facts.expected is None else round(facts.expected.expected_dice, 4),
        expected_dice_low=None if facts.expected is None else round(facts.expected.low, 4),
        expected_dice_high=None if facts.expected is None else round(facts.expected.high, 4),
        dice=None if facts.comparison is None else round(facts.comparison.dice, 4),
        kind=FOUND if found else NONE_FOUND,
    )


def kinds_of(rows: Iterable[Row]) -> list[str]:
    """Return the filters that leave some rows and take some away; nothing where all rows are of one kind."""
    present = {row.kind for row in rows}
    return [kind for kind in KINDS if kind == ALL or kind in present] if len(present) > 1 else []


def matching(rows: Sequence[Row], kind: str | None = ALL, text: str = "") -> list[Row]:
    """Return the rows of a kind whose case's name holds a text, whatever the letters' case."""
    wanted = text.strip().casefold()
    return [row for row in rows if (kind in (None, ALL, row.kind)) and wanted in row.case.casefold()]


def columns_of(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Return the table's columns by title; those that hold nothing are left out, and pixels where all volumes are known."""
    columns = {title: [getattr(row, name) for row in rows] for name, title in TITLES.items()}
    columns[TITLES["found"]] = [{True: "Yes", False: "No", None: ""}[row.found] for row in rows]
    if all(row.pixels is None or row.volume_ml is not None for row in rows):
        del columns[TITLES["pixels"]]
    return {title: values for title, values in columns.items() if any(value not in (None, "") for value in values)}


def csv_of(rows: Sequence[Row]) -> str:
    """Return the rows as CSV; volumes rounded to 0.001 ml, empty cells where there is no number."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        cells = asdict(row)
        cells["case"] = cell(row.case)
        cells["found"] = "" if row.found is None else str(row.found).lower()
        cells["volume_ml"] = "" if row.volume_ml is None else f"{row.volume_ml:.3f}"
        writer.writerow(cells)
    return text.getvalue()


def volumes(rows: Iterable[Row]) -> tuple[str, list[tuple[str, float]]]:
    """Return the unit of the volumes to be drawn, and names and volumes of the cases in which something is marked.

    Millilitres if any case has them, since a drawing of both units would compare what cannot be compared.
    """
    found = [row for row in rows if row.found]
    known = [(row.case, row.volume_ml) for row in found if row.volume_ml is not None]
    if known:
        return "ml", known
    return "pixels", [(row.case, float(row.pixels)) for row in found if row.pixels is not None]

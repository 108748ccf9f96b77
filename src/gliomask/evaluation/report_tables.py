"""The report's tables: groups of patients, and all patients; and how its numbers are written."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from gliomask.evaluation.outcome import Evaluation
from gliomask.evaluation.scores import INSTITUTIONS, TRAINED_ON
from gliomask.report.html import paragraphs

MINUS, HARD_SPACE = "\N{MINUS SIGN}", "\N{NO-BREAK SPACE}"

Record = Mapping[str, Any]


def group_table(institutions: Mapping[str, Record], thirds: Mapping[str, Record], unit: str) -> str:
    """Return the scores of institutions and of thirds by size as a table; nothing if there is no more than one group."""
    rows = [(INSTITUTIONS.get(name, name), s) for name, s in institutions.items()] if len(institutions) > 1 else []
    rows += [(f"{name.capitalize()}, {s['from_pixels']:,} to {s['to_pixels']:,} px", s) for name, s in thirds.items()]
    if not rows:
        return ""
    heads = (
        "Group", "Patients", "Dice, mean", "95 % interval", "Median", "Lowest", "Sensitivity", "Precision", f"HD95, {unit}", "Surface Dice",
        "Clean slices marked",
    )  # fmt: skip
    cells = [
        [
            escape(name), f"{s['patients']}", three(s["mean_dice"]), interval(s["mean_dice_95"]) if s["patients"] > 1 else "-",
            three(s["median_dice"]), three(s["lowest_dice"]), three(s["mean_sensitivity"]), three(s["mean_precision"]),
            one(s["median_hd95"]), three(s["mean_surface_dice"]), percent(s["marked_clean_slices_share"]),
        ]
        for name, s in rows
    ]  # fmt: skip
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in cells)
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    told = "HD95 is the median of the patients, the other scores are means. Clean slices are those without tumour in the reference."
    note = paragraphs([told], "note")
    title = '<h2 id="groups">By institution and tumour size</h2>'
    return f'<section aria-labelledby="groups">\n{title}\n<div class="scroll">{table}</div>\n{note}\n</section>'


def patient_table(evaluation: Evaluation) -> str:
    """Return all patients as a table that sorts itself by the column that is clicked, lowest Dice first."""
    heads = (
        ("Patient", "patient"), ("Dice", "dice"), ("IoU", "iou"), ("Sensitivity", "sensitivity"), ("Precision", "precision"),
        (f"HD95, {evaluation.unit}", "hd95"), ("Surface Dice", "surface_dice"), ("Area", "area_error"),
        ("Tumour slices found", "slice_sensitivity"), ("Clean slices marked", "marked_clean_slices"),
        ("Reference, pixels", "reference_pixels"),
    )  # fmt: skip
    roles = len(evaluation.roles()) > 1
    rows = sorted((p.as_json() for p in evaluation.patients), key=lambda row: float(row["dice"]))
    head = "".join(_sortable(name, sorted_by=key == "dice") for name, key in heads)
    body = "\n".join(_row(row, [key for _, key in heads], roles) for row in rows)
    table = f'<table class="sortable">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>'
    return f'<div class="patients">{table}</div>'


def _sortable(name: str, sorted_by: bool) -> str:
    sort = ' aria-sort="ascending"' if sorted_by else ""
    return f'<th scope="col"{sort}><button type="button">{escape(name)}</button></th>'


def _row(row: Record, keys: Sequence[str], roles: bool) -> str:
    cells = "".join(f'<td data-value="{_sort_value(row[key])}">{escape(_cell(row, key, roles))}</td>' for key in keys)
    quiet = ' class="trained"' if row["role"] == TRAINED_ON else ""
    return f"<tr{quiet}>{cells}</tr>"


def _sort_value(value: Any) -> str:
    return "" if value is None else escape(str(value))


def _cell(row: Record, key: str, roles: bool) -> str:
    value = row[key]
    match key:
        case "patient":
            return f"{value} ({row['role']})" if roles else str(value)
        case "slice_sensitivity":
            return f"{row['found_tumour_slices']} of {row['tumour_slices']}"
        case "marked_clean_slices":
            return f"{value} of {row['clean_slices']}"
        case "reference_pixels":
            return f"{value:,}"
        case "area_error":
            return percent(value, "+", 0)
        case "hd95":
            return one(value)
        case _:
            return three(value)


def three(value: float | None) -> str:
    """Return a score with three decimals; a dash where it is not defined."""
    return "-" if value is None else f"{value:.3f}"


def one(value: float | None) -> str:
    """Return a distance with one decimal; a dash where it is not defined."""
    return "-" if value is None else f"{value:.1f}"


def percent(share: float | None, sign: str = "", digits: int = 1) -> str:
    """Return a share in percent, with its sign if *sign* is "+"; a dash where it is not defined."""
    if share is None:
        return "-"
    rounded = round(100 * share, digits) or 0.0  # a rounded -0.3 is no -0
    return f"{rounded:{sign if rounded else ''}.{digits}f}{HARD_SPACE}%".replace("-", MINUS)


def interval(ends: Sequence[float] | None, digits: int = 3) -> str:
    """Return both ends of an interval; a dash where there is none."""
    return "-" if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"

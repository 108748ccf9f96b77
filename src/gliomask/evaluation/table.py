"""Scores as a table for the terminal."""

from typing import Any

from gliomask.evaluation.outcome import Evaluation
from gliomask.evaluation.summary import by_institution, by_size, summarise
from gliomask.sizes import counted
from gliomask.surfaces import TOLERANCE

TITLES = {
    "held out": "not trained on",
    "sealed": "of the sealed test set",
    "trained on": "trained on (no measure of quality)",
    "unknown": "training unknown",
}

COLUMNS = (
    ("Dice", "dice", "6.4f"),
    ("IoU", "iou", "6.4f"),
    ("sens.", "sensitivity", "6.3f"),
    ("prec.", "precision", "6.3f"),
    ("HD95", "hd95", "6.1f"),
    ("surface", "surface_dice", "7.3f"),
    ("area", "area_error", "+6.0%"),
)


def format_table(evaluation: Evaluation) -> str:
    """Return patients, worst first, and what they come to, as aligned text."""
    rows = sorted((p.as_json() for p in evaluation.patients), key=lambda row: float(row["dice"]))
    of_a_model = evaluation.kind != "masks"  # on whom a tool was trained that made masks is not known here
    longest = max(len(row["patient"]) for row in rows)
    names = [f"{row['patient']:{longest}}  {row['role']:10}" if of_a_model else row["patient"] for row in rows]
    width = max(map(len, ("patient", *names)))
    titles = "  ".join(f"{title:>{_width(form)}}" for title, _, form in COLUMNS)
    lines = [evaluation.subject, "", f"{'patient':{width}}  {titles}  tumour slices  others marked  reference (pixels)"]
    lines += [f"{name:{width}}  {_row(row)}" for name, row in zip(names, rows, strict=True)]
    for role, patients in evaluation.roles().items():
        whose = f", {TITLES[role]}" if of_a_model else ""
        lines += ["", f"{counted(len(patients), 'patient')}{whose}", *_summary_lines(summarise(patients), evaluation.unit)]
        for groups in (by_institution(patients), by_size(patients)):
            lines += [f"  {name:18}  {_group(group)}" for name, group in groups.items() if len(groups) > 1]
    for role, regions in evaluation.calibration.items():
        errors = [f"{found.expected_calibration_error:.4f} over {region}" for region, found in regions.items()]
        lines += ["", f"Expected calibration error, patients {TITLES[role]}: {'; '.join(errors)}"]
    if evaluation.ignored_masks:
        lines += ["", f"{evaluation.ignored_masks} masks had no reference and were not scored."]
    return "\n".join([*lines, *("\n" + note for note in evaluation.notes)])


def _width(form: str) -> int:
    return int(form.lstrip("+").split(".")[0])


def _row(row: dict[str, Any]) -> str:
    cells = [f"{'-':>{_width(form)}}" if row[key] is None else f"{row[key]:{form}}" for _, key, form in COLUMNS]
    found = f"{row['found_tumour_slices']} of {row['tumour_slices']}"
    marked = f"{row['marked_clean_slices']} of {row['clean_slices']}"
    return f"{'  '.join(cells)}  {found:>13}  {marked:>13}  {row['reference_pixels']:18d}"


def _summary_lines(s: dict[str, Any], unit: str) -> list[str]:
    low, high = s["quartiles_dice"]
    pooled = f"Dice {s['pooled_dice']:.4f}, IoU {s['pooled_iou']:.4f}"
    return [
        f"  Dice per patient    mean {s['mean_dice']:.4f}{_range(s['mean_dice_95'])}, median {s['median_dice']:.4f}, "
        f"quartiles {low:.3f} and {high:.3f}, lowest {s['lowest_dice']:.4f}",
        f"  IoU per patient     {_mean(s, 'iou')}",
        f"  sensitivity         {_mean(s, 'sensitivity')}",
        f"  precision           {_mean(s, 'precision')}",
        f"  HD95, {unit}            {_mean(s, 'hd95', 1)}, in slices that both masks mark",
        f"  surface Dice        {_mean(s, 'surface_dice')}, within {TOLERANCE:g} {unit}",
        f"  area error          {_percent(s['mean_area_error'], '+')} on average, "
        f"{_percent(s['mean_absolute_area_error'])} without its sign",
        f"  pixel accuracy      {_mean(s, 'pixel_accuracy', 4)}",
        f"  all pixels pooled   {pooled}",
        f"  tumour slices       {s['tumour_slices']}, something marked in {_percent(s['found_tumour_slices_share'])}",
        f"  tumour-free slices  {s['clean_slices']}, something marked in {_percent(s['marked_clean_slices_share'])}",
    ]


def _group(group: dict[str, Any]) -> str:
    sizes = f", {group['from_pixels']} to {group['to_pixels']} pixels" if "from_pixels" in group else ""
    return f"Dice mean {group['mean_dice']:.3f}, median {group['median_dice']:.3f} ({counted(group['patients'], 'patient')}{sizes})"


def _mean(s: dict[str, Any], name: str, digits: int = 3) -> str:
    mean, median = s[f"mean_{name}"], s[f"median_{name}"]
    if mean is None:
        return "not defined for any patient"
    return f"mean {mean:.{digits}f}{_range(s[f'mean_{name}_95'], digits)}, median {median:.{digits}f}"


def _range(interval: list[float] | None, digits: int = 3) -> str:
    return "" if interval is None else f" (95 % interval {interval[0]:.{digits}f} to {interval[1]:.{digits}f})"


def _percent(share: float | None, sign: str = "") -> str:
    return "none" if share is None else f"{100 * share:{sign}.1f} %"

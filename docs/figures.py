"""Bring the figures in README.md and MODEL_CARD.md up to date with the bundled model's record.

    python docs/figures.py [EVALUATION ...]

Whatever stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` in the two files is replaced. Each
EVALUATION is an ``evaluation.json`` of ``gliomask evaluate --cross-validation ensemble --output``, whose
scores are put into the record of the bundled model first, in place of those of the same input.
"""

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gliomask.commands import fold_runs
from gliomask.evaluation.cross_validation import fold_models
from gliomask.evaluation.outcome import SCHEMA
from gliomask.evaluation.scores import HELD_OUT, INSTITUTIONS
from gliomask.evaluation.summary import compact, compact_groups
from gliomask.models import DEFAULT, ModelRecord, bundled_models, write_record
from gliomask.surfaces import TOLERANCE

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "MODEL_CARD.md")
ALL, FLAIR = "all three channels, whole volumes", "FLAIR alone, whole volumes"
CROSS_VALIDATION = "cross_validation"

Scores = Mapping[str, Any]
Rows = Mapping[str, Scores]


def sections(record: ModelRecord) -> dict[str, str]:
    """Return the text of each section by its name."""
    crossed: Rows = record.scores.get(CROSS_VALIDATION, {})
    return {
        "headline": _headline(crossed),
        CROSS_VALIDATION: _cross_validation(crossed),
        "groups": _groups(crossed),
        "confidence": _confidence(record.scores.get("confidence", {})),
        "training": _training(record),
        "quantised": _quantised(record),
    }


def with_evaluation(record: ModelRecord, content: Mapping[str, Any], members: Mapping[str, str]) -> ModelRecord:
    """Return the record with the scores of an ``evaluation.json`` in it.

    Parameters
    ----------
    members
        SHA-256 of the networks of the cross-validation that is told of, by the fold that each never saw.

    Raises
    ------
    ValueError
        It is of another version, no cross-validation of these networks, or of patients that are not all held out.
    """
    if content.get("schema") != SCHEMA:
        raise ValueError(f"an evaluation of the schema {content.get('schema')}; expected {SCHEMA}")
    if set(content["over_all"]) != {HELD_OUT}:
        raise ValueError(f"holds patients that are {', '.join(content['over_all'])}; expected held-out ones alone")
    if {model["fold"]: model["sha256"] for model in content["models"]} != members:
        raise ValueError(f"{content['subject']}: is no cross-validation of the members of the bundled ensemble")
    errors = {region: found["expected_calibration_error"] for region, found in content["calibration"][HELD_OUT].items()}
    groups = {name: compact_groups(content[name][HELD_OUT]) for name in ("by_institution", "by_size")}
    entry = compact(content["over_all"][HELD_OUT], errors) | groups
    crossed = {**record.scores.get(CROSS_VALIDATION, {}), content["input"]: entry}
    return replace(record, scores={**record.scores, CROSS_VALIDATION: crossed})


def bundled_members() -> dict[str, str]:
    """Return the SHA-256 of the bundled ensemble's members by the fold that each never saw."""
    with fold_runs(Path("ensemble")) as runs:
        return {fold: model.sha256 for fold, model in fold_models(runs).items()}


def filled(text: str, replacements: dict[str, str]) -> str:
    """Return a document's text with its marked sections replaced."""
    for name, content in replacements.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        body = f"{content}\n" if content else ""
        text = re.sub(pattern, partial(_with_body, body), text, flags=re.DOTALL)
    return text


def _with_body(body: str, match: re.Match[str]) -> str:
    return f"{match[1]}{body}{match[2]}"


def _headline(crossed: Rows) -> str:
    whole, alone = crossed[ALL], crossed.get(FLAIR)
    low, high = whole["mean_dice_95"]
    flair = f"; from FLAIR alone the mean is {alone['mean_dice']:.3f}" if alone else ""
    return (
        f"On {whole['patients']} patients in cross-validation by patient, each scored by a model of the same recipe that was not trained\n"
        f"on the patient, the mean Dice per patient is **{whole['mean_dice']:.3f}** (95 % interval {low:.3f} to {high:.3f}), the median "
        f"{whole['median_dice']:.3f},\nthe lowest {whole['lowest_dice']:.3f}{flair}. "
        f"In {100 * whole['marked_clean_slices_share']:.1f} % of their {whole['clean_slices']} tumour-free slices\nsomething is marked."
    )


def _with_interval(name: str) -> Callable[[Scores], str]:
    def shown(s: Scores) -> str:
        low, high = s[f"mean_{name}_95"]
        return f"{s[f'mean_{name}']:.3f} ({low:.3f} to {high:.3f})"

    return shown


COLUMNS: tuple[tuple[str, Callable[[Scores], str]], ...] = (
    ("Dice, mean (95 %)", _with_interval("dice")),
    ("median", lambda s: f"{s['median_dice']:.3f}"),
    ("quartiles", lambda s: " to ".join(f"{quartile:.3f}" for quartile in s["quartiles_dice"])),
    ("lowest", lambda s: f"{s['lowest_dice']:.3f}"),
    ("IoU, mean", lambda s: f"{s['mean_iou']:.3f}"),
    ("sensitivity, mean", lambda s: f"{s['mean_sensitivity']:.3f}"),
    ("precision, mean", lambda s: f"{s['mean_precision']:.3f}"),
    ("HD95, median, px", lambda s: f"{s['median_hd95']:.1f}"),
    (f"surface Dice at {TOLERANCE:g} px, mean", lambda s: f"{s['mean_surface_dice']:.3f}"),
    ("area error, mean", lambda s: f"{100 * s['mean_area_error']:+.0f} %"),
    ("size of the area error, mean", lambda s: f"{100 * s['mean_absolute_area_error']:.0f} %"),
    ("pixel accuracy", lambda s: f"{s['mean_pixel_accuracy']:.4f}"),
    ("Dice, pooled", lambda s: f"{s['pooled_dice']:.3f}"),
    ("tumour slices found", lambda s: f"{100 * s['found_tumour_slices_share']:.1f} % of {s['tumour_slices']}"),
    ("tumour-free slices marked", lambda s: f"{100 * s['marked_clean_slices_share']:.1f} % of {s['clean_slices']}"),
)


GROUP_COLUMNS: tuple[tuple[str, Callable[[Scores], str]], ...] = (
    ("patients", lambda s: f"{s['patients']}"),
    ("Dice, mean (95 %)", lambda s: _with_interval("dice")(s) if s["patients"] > 1 else f"{s['mean_dice']:.3f}"),
    *((title, cell) for title, cell in COLUMNS if title in ("median", "lowest", "sensitivity, mean", "precision, mean")),
    COLUMNS[-1],
)


def _table(head: str, rows: Rows, columns: Sequence[tuple[str, Callable[[Scores], str]]]) -> str:
    """Return a row for each way of input or group; a score that is not defined is a dash."""
    lines = [f"| {head} | {' | '.join(title for title, _ in columns)} |", f"| {' | '.join(['---'] * (len(columns) + 1))} |"]
    lines += [f"| {name} | {' | '.join(_cell(cell, scores) for _, cell in columns)} |" for name, scores in rows.items()]
    return "\n".join(lines)


def _cell(cell: Callable[[Scores], str], scores: Scores) -> str:
    try:
        return cell(scores)
    except TypeError:  # a score that is defined for nobody is None
        return "-"


def _cross_validation(crossed: Rows) -> str:
    patients = crossed[ALL]["patients"]
    told = f"Cross-validated over {patients} patients, each scored by the model of this recipe that was trained without the patient's fold:"
    return f"{told}\n\n{_table('input', crossed, COLUMNS)}"


def _groups(crossed: Rows) -> str:
    """Return the first row of the cross-validation by institution and by the size of the reference."""
    whole = crossed[ALL]
    institutions = {INSTITUTIONS.get(name, name): scores for name, scores in whole["by_institution"].items()}
    sizes = {f"{name}, {s['from_pixels']:,} to {s['to_pixels']:,} px": s for name, s in whole["by_size"].items()}
    return _table(f"{ALL}, by institution and by the reference's size", institutions | sizes, GROUP_COLUMNS)


def _confidence(found: Mapping[str, Any]) -> str:
    """Return what calibration and expected Dice came to; nothing while the record has neither."""
    if not found:
        return ""
    before, after = found["calibration_error"]["before"], found["calibration_error"]["after"]
    lines = [
        f"Fitted by `gliomask calibrate` on {found['patients']} patients of folds {', '.join(found['folds'])}, from all channels and "
        "from FLAIR alone, each patient as\nseen by the model that was trained without it. What follows is told for each fold by fits "
        "that had no case of it.\n",
        "| | before | after |\n| --- | --- | --- |",
        *(f"| expected calibration error, {where} | {before[where]:.4f} | {after[where]:.4f} |" for where in before),
        "\n| expected Dice of | cases | rank correlation with the true Dice | mean absolute error | 90 % intervals hold for | mean width |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| a {kind} in which something is marked | {e['cases']} | {e['spearman']:.2f} | {e['mean_absolute_error']:.3f} "
            f"| {100 * e['coverage']:.0f} % | {e['mean_width']:.2f} |"
            for kind, e in found["expected_dice"].items()
        ),
    ]
    return "\n".join(lines)


def _training(record: ModelRecord) -> str:
    t = record.training
    held_out = "nobody held out" if t["held_out_fold"] is None else f"fold {t['held_out_fold']} of `{t['split']}` held out"
    return (
        f"Recipe `{record.recipe}`, {len(t['patients'])} patients, {held_out}, {record.schedule},\n"
        f"{t['precision']}, seed {t['seed']}, Keras {t['keras']}. Exported to ONNX; the largest difference of its probabilities from\n"
        f"Keras's is {record.scores['export_difference']:.1e}. SHA-256 of `{record.file}`:\n`{record.sha256}`."
    )


def _quantised(record: ModelRecord) -> str:
    """Return how the masks of int8 and float32 compare; nothing without int8."""
    lines = [
        "| patients | input | Dice, float32 | Dice, int8 | largest loss of a patient | Dice of both masks, mean | lowest |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {found['patients']}, {role.replace('_', ' ')} | {given} | {found['float32_mean_dice']:.4f} | {found['int8_mean_dice']:.4f} "
            f"| {found['largest_loss']:.3f} | {found['mean_agreement']:.3f} | {found['lowest_agreement']:.3f} |"
            for role, by_input in (record.quantised.scores if record.quantised else {}).items()
            for given, found in by_input.items()
        ),
    ]
    return "\n".join(lines) if len(lines) > 2 else ""


def main() -> None:
    """Read the command line, put the evaluations into the record and rewrite the documents."""
    parser = argparse.ArgumentParser(description="Bring the figures of the documents up to date with the bundled model's record.")
    parser.add_argument(
        "evaluations", nargs="*", type=Path, metavar="EVALUATION", help="an evaluation.json whose scores the record gets first"
    )
    evaluations: list[Path] = parser.parse_args().evaluations
    record = bundled_models()[DEFAULT]
    if evaluations:
        members = bundled_members()
        for file in evaluations:
            record = with_evaluation(record, json.loads(file.read_text(encoding="utf-8")), members)
        write_record(record)
    replacements = sections(record)
    for name in DOCUMENTS:
        path = ROOT / name
        path.write_text(filled(path.read_text(encoding="utf-8"), replacements), encoding="utf-8")


if __name__ == "__main__":
    main()

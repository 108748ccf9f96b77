"""Bring the figures in README.md and MODEL_CARD.md up to date with the bundled model's record.

    python docs/figures.py [EVALUATION ...]

Whatever stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` in the two files is replaced. The
record is written by ``gliomask train`` with scores of the fold that was held out. Each EVALUATION is
an ``evaluation.json`` of ``gliomask evaluate --output`` whose scores are put into the record first:
those of a cross-validation beside the others, those of the bundled model in place of the same input's.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gliomask.evaluation.outcome import SCHEMA
from gliomask.evaluation.scores import HELD_OUT
from gliomask.evaluation.summary import compact
from gliomask.io import write_text
from gliomask.models import DEFAULT, ModelRecord, bundled_models
from gliomask.surfaces import TOLERANCE

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "MODEL_CARD.md")
ALL, FLAIR = "all three channels, whole volumes", "FLAIR alone, whole volumes"
CROSS_VALIDATION = "cross_validation"

Scores = Mapping[str, Any]


def sections(record: ModelRecord) -> dict[str, str]:
    """Return the text of each section by its name."""
    held_out: dict[str, Scores] = dict(record.scores.get("held_out", {}))
    crossed: dict[str, Scores] = dict(record.scores.get(CROSS_VALIDATION, {}))
    return {
        "headline": _headline(held_out, crossed),
        "scores": _table(held_out) if held_out else "",
        CROSS_VALIDATION: _cross_validation(crossed),
        "confidence": _confidence(record.scores.get("confidence", {})),
        "training": _training(record),
        "quantised": _quantised(record),
    }


def with_evaluation(record: ModelRecord, content: Mapping[str, Any]) -> ModelRecord:
    """Return the record with the scores of an ``evaluation.json`` in it.

    Raises
    ------
    ValueError
        It is of another version, of another model, or of patients that are not all held out.
    """
    if content.get("schema") != SCHEMA:
        raise ValueError(f"an evaluation of the schema {content.get('schema')}; expected {SCHEMA}")
    if set(content["over_all"]) != {HELD_OUT}:
        raise ValueError(f"holds patients that are {', '.join(content['over_all'])}; expected held-out ones alone")
    crossed = content["kind"] == "cross-validation"
    if not crossed and [model["sha256"] for model in content["models"]] != [record.sha256]:
        raise ValueError(f"is of another model than {record.name}")
    errors = {region: found["expected_calibration_error"] for region, found in content["calibration"][HELD_OUT].items()}
    entry = compact(content["over_all"][HELD_OUT], errors)
    part = CROSS_VALIDATION if crossed else "held_out"
    return replace(record, scores={**record.scores, part: {**record.scores.get(part, {}), content["input"]: entry}})


def filled(text: str, replacements: dict[str, str]) -> str:
    """Return a document's text with its marked sections replaced."""
    for name, content in replacements.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        body = f"{content}\n" if content else ""
        text = re.sub(pattern, lambda match, body=body: f"{match[1]}{body}{match[2]}", text, flags=re.DOTALL)
    return text


def _headline(held_out: Mapping[str, Scores], crossed: Mapping[str, Scores]) -> str:
    scores = crossed if ALL in crossed else held_out
    whole, alone = scores[ALL], scores.get(FLAIR)
    low, high = whole["mean_dice_95"]
    whom = (
        f"On {whole['patients']} patients in cross-validation by patient, each scored by a model of the same recipe that was not trained\n"
        "on the patient"
        if scores is crossed
        else f"On {whole['patients']} patients that it was not trained on (fold 0 of the committed split by\npatient)"
    )
    flair = f"; from FLAIR alone the mean is {alone['mean_dice']:.3f}" if alone else ""
    return (
        f"{whom}, the mean Dice per patient is **{whole['mean_dice']:.3f}** (95 % interval {low:.3f} to {high:.3f}), the median "
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
    ("lowest", lambda s: f"{s['lowest_dice']:.3f}"),
    ("IoU, mean", lambda s: f"{s['mean_iou']:.3f}"),
    ("sensitivity, mean", lambda s: f"{s['mean_sensitivity']:.3f}"),
    ("precision, mean", lambda s: f"{s['mean_precision']:.3f}"),
    ("HD95, median, px", lambda s: f"{s['median_hd95']:.1f}"),
    (f"surface Dice at {TOLERANCE:g} px, mean", lambda s: f"{s['mean_surface_dice']:.3f}"),
    ("pixel accuracy", lambda s: f"{s['mean_pixel_accuracy']:.4f}"),
    ("Dice, pooled", lambda s: f"{s['pooled_dice']:.3f}"),
    ("tumour slices found", lambda s: f"{100 * s['found_tumour_slices_share']:.1f} % of {s['tumour_slices']}"),
    ("tumour-free slices marked", lambda s: f"{100 * s['marked_clean_slices_share']:.1f} % of {s['clean_slices']}"),
)


def _table(rows: Mapping[str, Scores]) -> str:
    """Return a row for each input; scores that no record of these rows has yet are left out."""
    cells = {title: [_cell(cell, s) for s in rows.values()] for title, cell in COLUMNS}
    shown = {title: column for title, column in cells.items() if any(column)}
    lines = [f"| input | {' | '.join(shown)} |", f"| {' | '.join(['---'] * (len(shown) + 1))} |"]
    lines += [f"| {name} | {' | '.join(column[n] or '-' for column in shown.values())} |" for n, name in enumerate(rows)]
    return "\n".join(lines)


def _cell(cell: Callable[[Scores], str], scores: Scores) -> str:
    try:
        return cell(scores)
    except (KeyError, TypeError):  # records of earlier versions lack it; a score that is not defined is None
        return ""


def _cross_validation(crossed: Mapping[str, Scores]) -> str:
    """Return the table of a cross-validation; nothing while the record has none."""
    if not crossed:
        return ""
    patients = next(iter(crossed.values()))["patients"]
    told = f"Cross-validated over {patients} patients, each scored by the model of this recipe that was trained without the patient's fold:"
    return f"{told}\n\n{_table(crossed)}"


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


def main(evaluations: Sequence[str]) -> None:
    """Put the evaluations into the record and rewrite the documents."""
    record = bundled_models()[DEFAULT]
    for path in evaluations:
        record = with_evaluation(record, json.loads(Path(path).read_text(encoding="utf-8")))
    if evaluations:
        write_text(record.to_json(), record.path.with_suffix(".json"))
    replacements = sections(record)
    for name in DOCUMENTS:
        path = ROOT / name
        path.write_text(filled(path.read_text(encoding="utf-8"), replacements), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Bring the figures in README.md and MODEL_CARD.md up to date with the bundled model's record.

    python docs/figures.py

Whatever stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` in the two files is replaced. The
record itself is written by ``gliomask train``, and ``gliomask evaluate`` gives its scores again.
"""

import re
from pathlib import Path
from typing import Any

from gliomask.models import DEFAULT, ModelRecord, bundled_models

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "MODEL_CARD.md")


def sections(record: ModelRecord) -> dict[str, str]:
    """Return the text of each section by its name."""
    held_out: dict[str, dict[str, Any]] = dict(record.scores["held_out"])
    return {"headline": _headline(held_out), "scores": _table(held_out), "training": _training(record)}


def filled(text: str, replacements: dict[str, str]) -> str:
    """Return a document's text with its marked sections replaced."""
    for name, content in replacements.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text = re.sub(pattern, lambda match, content=content: f"{match[1]}{content}\n{match[2]}", text, flags=re.DOTALL)
    return text


def _headline(held_out: dict[str, dict[str, Any]]) -> str:
    whole, alone = held_out["all three channels, whole volumes"], held_out["FLAIR alone, whole volumes"]
    low, high = whole["mean_dice_95"]
    return (
        f"On {whole['patients']} patients that it was not trained on and that nothing was chosen on (fold 0 of the committed split by\n"
        f"patient), the mean Dice per patient is **{whole['mean_dice']:.3f}** (95 % interval {low:.3f} to {high:.3f}), the median "
        f"{whole['median_dice']:.3f},\nthe lowest {whole['lowest_dice']:.3f}; from FLAIR alone the mean is {alone['mean_dice']:.3f}. "
        f"In {100 * whole['marked_clean_slices_share']:.1f} % of their {whole['clean_slices']} tumour-free slices\nsomething is marked."
    )


def _table(held_out: dict[str, dict[str, Any]]) -> str:
    rows = [
        "| input | Dice, mean (95 %) | median | lowest | IoU, mean | pixel accuracy | Dice, pooled | tumour-free slices marked |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    rows += [
        f"| {name} | {s['mean_dice']:.3f} ({s['mean_dice_95'][0]:.3f} to {s['mean_dice_95'][1]:.3f}) | {s['median_dice']:.3f} "
        f"| {s['lowest_dice']:.3f} | {s['mean_iou']:.3f} | {s['mean_pixel_accuracy']:.4f} | {s['pooled_dice']:.3f} "
        f"| {100 * s['marked_clean_slices_share']:.1f} % of {s['clean_slices']} |"
        for name, s in held_out.items()
    ]
    return "\n".join(rows)


def _training(record: ModelRecord) -> str:
    t = record.training
    return (
        f"Recipe `{record.recipe}`, {len(t['patients'])} patients, fold {t['held_out_fold']} of `{t['split']}` held out, "
        f"{t['epochs']} epochs,\n"
        f"{t['precision']}, seed {t['seed']}, Keras {t['keras']}. Exported to ONNX; the largest difference of its probabilities from\n"
        f"Keras's is {record.scores['export_difference']:.1e}. SHA-256 of `{record.file}`:\n`{record.sha256}`."
    )


def main() -> None:
    """Rewrite the documents."""
    replacements = sections(bundled_models()[DEFAULT])
    for name in DOCUMENTS:
        path = ROOT / name
        path.write_text(filled(path.read_text(encoding="utf-8"), replacements), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Scores as a table for the terminal."""

from typing import Any

from gliomask.evaluation.protocol import Evaluation, summarise


def format_table(evaluation: Evaluation) -> str:
    """Return patients, worst first, and what they come to, as aligned text."""
    rows = sorted((p.as_json() for p in evaluation.patients), key=lambda row: float(row["dice"]))
    width = max(len("patient"), *(len(row["patient"]) for row in rows))
    lines = [evaluation.subject, "", f"{'patient':{width}}  {'':10}    Dice     IoU  accuracy  predicted  reference (pixels)"]
    lines += [
        f"{row['patient']:{width}}  {row['role']:10}  {row['dice']:6.4f}  {row['iou']:6.4f}    {row['pixel_accuracy']:6.4f}"
        f"  {row['predicted_pixels']:9d}  {row['reference_pixels']:9d}"
        for row in rows
    ]
    for role, patients in evaluation.roles().items():
        lines += ["", *_summary_lines(role, summarise(patients))]
    if evaluation.ignored_masks:
        lines += ["", f"{evaluation.ignored_masks} masks had no reference and were not scored."]
    return "\n".join(lines)


def _summary_lines(role: str, s: dict[str, Any]) -> list[str]:
    titles = {
        "held out": "not trained on",
        "sealed": "of the sealed test set",
        "trained on": "trained on (no measure of quality)",
        "unknown": "training unknown",
    }
    low, high = s["mean_dice_95"]
    share = s["marked_clean_slices_share"]
    return [
        f"{s['patients']} patients, {titles[role]}",
        f"  Dice per patient    mean {s['mean_dice']:.4f} (95 % interval {low:.3f} to {high:.3f}), "
        f"median {s['median_dice']:.4f}, lowest {s['lowest_dice']:.4f}",
        f"  IoU per patient     mean {s['mean_iou']:.4f}",
        f"  pixel accuracy      mean {s['mean_pixel_accuracy']:.4f}",
        f"  all pixels pooled   Dice {s['pooled_dice']:.4f}, IoU {s['pooled_iou']:.4f}",
        f"  tumour-free slices  {s['clean_slices']}" + (f", something marked in {100 * share:.1f} %" if share is not None else ""),
    ]

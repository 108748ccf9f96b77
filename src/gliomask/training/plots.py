"""Pictures of a training: its history."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from gliomask.training.loop import best_epoch


def plot_history(history: Sequence[dict[str, float]], path: Path) -> None:
    """Write loss and validation scores by epoch as PNG, the epoch of the highest validation Dice marked."""
    epochs = [row["epoch"] for row in history]
    best = history[best_epoch(history)]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [row["loss"] for row in history], color="#0072B2")
    left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    for key, label, colour in (("val_dice", "Dice", "#0072B2"), ("val_iou", "IoU", "#D55E00")):
        right.plot(epochs, [row[key] for row in history], label=label, color=colour)
    right.plot(best["epoch"], best["val_dice"], "o", color="#0072B2")
    right.annotate(
        f"{best['val_dice']:.3f} in epoch {best['epoch']:.0f}", (best["epoch"], best["val_dice"]),
        textcoords="offset points", xytext=(-6, 8), ha="right",
    )  # fmt: skip
    right.set(xlabel="epoch", ylabel="mean over validation patients", ylim=(0, 1))
    right.legend(loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(path, dpi=120)

"""Pictures of a training: its history."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gliomask.training.history import best_epoch


def plot_history(history: Sequence[dict[str, float]], path: Path) -> None:
    """Write loss and, where there are, validation scores by epoch as PNG, the epoch of the highest validation Dice marked."""
    epochs = [row["epoch"] for row in history]
    validated = "val_dice" in history[0]
    figure = Figure(figsize=(10 if validated else 5, 4), layout="constrained")
    panels = figure.subplots(1, 2 if validated else 1, squeeze=False)[0]
    panels[0].plot(epochs, [row["loss"] for row in history], color="#0072B2")
    panels[0].set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    if validated:
        _plot_validation(panels[1], history)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(path, dpi=120)


def _plot_validation(axes: Axes, history: Sequence[dict[str, float]]) -> None:
    epochs, best = [row["epoch"] for row in history], history[best_epoch(history)]
    for key, label, colour in (("val_dice", "Dice", "#0072B2"), ("val_iou", "IoU", "#D55E00")):
        axes.plot(epochs, [row[key] for row in history], label=label, color=colour)
    axes.plot(best["epoch"], best["val_dice"], "o", color="#0072B2")
    axes.annotate(
        f"{best['val_dice']:.3f} in epoch {best['epoch']:.0f}", (best["epoch"], best["val_dice"]),
        textcoords="offset points", xytext=(-6, 8), ha="right",
    )  # fmt: skip
    axes.set(xlabel="epoch", ylabel="mean over validation patients", ylim=(0, 1))
    axes.legend(loc="lower right")

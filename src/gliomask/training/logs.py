"""A run's history as TensorBoard reads it."""

from collections.abc import Sequence
from pathlib import Path

from tensorboardX import SummaryWriter

FOLDER = "tensorboard"


def log_history(history: Sequence[dict[str, float]], output: Path) -> None:
    """Write the newest row of the history as an event of each of its columns, in ``output/tensorboard``.

    The step is the epoch. A row that an interrupted run had logged and a resumed one logs again takes
    the earlier one's place, as TensorBoard drops what came before from the same step on.
    """
    row = history[-1]
    epoch = int(row["epoch"])
    # Files are named by the second: without the suffix an epoch shorter than that would replace the one before.
    with SummaryWriter(str(output / FOLDER), purge_step=epoch, filename_suffix=f".{epoch}") as writer:
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(f"{'validation' if name.startswith('val_') else 'training'}/{name.removeprefix('val_')}", value, epoch)

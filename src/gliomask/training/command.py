"""What ``gliomask train`` does: data, split, training, export."""

import os
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from gliomask.dataset import divide, index_dataset, read_split
from gliomask.errors import EngineError


def run_training(options: Namespace, report: Callable[[str], None]) -> None:
    """Train as the command line's options say, or go on with a training that was stopped, and export the result.

    Raises
    ------
    InputError, EngineError, ModelError
        The data or the split cannot be used, Keras is not installed, or the export differs from the
        trained network.
    """
    training, validation = divide(
        index_dataset(options.data), read_split(options.split), options.fold, use_sealed=options.use_sealed
    )
    report(f"{len(training)} patients to train on, {len(validation)} of fold {options.fold} to validate on")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up chatter; errors still show
    try:
        import keras

        from gliomask.training.export import Provenance, export
        from gliomask.training.loop import RunSettings, read_history, train
        from gliomask.training.plots import plot_history
        from gliomask.training.recipes import RECIPES
    except ImportError as error:
        raise EngineError(f"training needs {error.name}. Install it: pip install 'gliomask[train]'.") from error
    recipe = RECIPES[options.recipe]
    settings = RunSettings(
        options.output, options.precision, options.seed, options.epochs, options.steps_per_epoch, options.width
    )
    started = time.monotonic()
    model = train(training, validation, recipe, settings, report)
    history = read_history(options.output)
    plot_history(history, options.output / "history.png")
    model.save(options.output / "model.keras")
    made: dict[str, Any] = {
        "patients": [p.name for p in training],
        "validation_fold": options.fold,
        "split": options.split.name if options.split else "lgg_folds.csv",
        "epochs": len(history),
        "precision": options.precision,
        "seed": options.seed,
        "keras": f"{keras.__version__} on {keras.backend.backend()}",
    }
    scores = {"while_training": {k: v for k, v in history[-1].items() if k.startswith("val_")}}
    record = export(model, recipe, options.output, "model", Provenance(made, scores))
    report(f"done in {(time.monotonic() - started) / 60:.0f} min: {options.output / 'model.keras'}, {record.path}")

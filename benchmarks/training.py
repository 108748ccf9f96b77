"""Training's slices a second: the input pipeline and the bare step apart, by recipe, crop and precision."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cohort
from benchmarks.effort import Effort
from benchmarks.errors import BenchmarkError
from benchmarks.report import Column, Report, Table
from benchmarks.rounds import Call, Contender, Measured, limit_threads, measure

NAME = "training"

INPUT = "input pipeline"
STEP = "training step"
PRECISIONS = ("float32", "mixed_bfloat16")
CONVERTED = "uint8 to float32"
CROPS = {"fast": (128, 192), "fast-dice": (128, 192), "original": (256,)}
"""Height and width of each stage's crop, here as well so that only the workers load Keras; what differs from the recipe is refused."""

COLUMNS = (
    Column("recipe", "recipe"),
    Column("crop", "crop"),
    Column("batch", "batch"),
    Column("part", "part"),
    Column("precision", "precision"),
    Column("slices_per_s", "slices/s"),
    Column("spread_percent", "spread, %"),
    Column("times_step", "times the float32 step"),
    Column("memory_mb", "memory, MB", ".0f"),
    Column("note", "note"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--recipes", nargs="+", choices=sorted(CROPS), default=sorted(CROPS), help="recipes (default: all)")
    parser.add_argument("--dataset", type=Path, metavar="FOLDER", help="the LGG dataset (default: heads that gliomask draws)")
    parser.add_argument(
        "--batch", type=int, default=8, metavar="N", help="slices of a batch (default: 8, as the original recipe's own 32 take much memory)"
    )


def run(options: argparse.Namespace) -> Report:
    """Measure."""
    recipes, batch, width = (["fast"], 2, 8) if options.tiny else (options.recipes, options.batch, None)
    limit_threads(options.threads)
    shown = 1 if options.tiny else None
    entries = [
        Entry(recipe, stage, part, precision)
        for recipe in recipes
        for stage in range(len(CROPS[recipe]))[:shown]
        for part, precision in ((INPUT, CONVERTED), *((STEP, precision) for precision in PRECISIONS[:shown]))
    ]
    warmups = 1 if options.tiny else 3
    contenders = [
        Contender(entry.name, input_pipeline, (entry.recipe, entry.stage, batch, options.dataset), batch, warmups)
        if entry.part == INPUT
        else Contender(entry.name, step, (entry.recipe, entry.stage, batch, entry.precision, width), batch, warmups)
        for entry in entries
    ]
    measured = measure(contenders, Effort.of(options))
    table = Table("Training", COLUMNS, tuple(_row(entry, batch, measured) for entry in entries))
    return Report(NAME, options.command, (table,), measured)


@dataclass(frozen=True)
class Entry:
    """A row before it is measured."""

    recipe: str
    stage: int
    part: str
    precision: str

    @property
    def crop(self) -> int:
        """Height and width of the stage's slices."""
        return CROPS[self.recipe][self.stage]

    @property
    def name(self) -> str:
        """For its contender."""
        return f"{self.recipe}, {self.crop}, {self.part}, {self.precision}"


def _row(entry: Entry, batch: int, measured: Mapping[str, Measured]) -> dict[str, object]:
    found = measured[entry.name]
    return {
        "recipe": entry.recipe,
        "crop": f"{entry.crop} x {entry.crop}",
        "batch": batch,
        "part": entry.part,
        "precision": entry.precision,
        "slices_per_s": found.rate,
        "spread_percent": 100 * found.spread,
        "times_step": found.times_faster_than(measured[replace(entry, part=STEP, precision=PRECISIONS[0]).name]),
        "memory_mb": found.memory_mb,
        "note": found.reason,
    }


def input_pipeline(recipe: str, stage: int, batch: int, dataset: Path | None) -> Call:
    """Return the making of the next batch, in one thread as the training loop makes it beside its steps."""
    from gliomask.dataset.batches import make_batch
    from gliomask.training.recipes import RECIPES

    chosen = RECIPES[recipe]
    where = _stage(chosen, stage)
    cases, numbers = _cases(chosen, dataset), count()

    def make() -> object:
        return make_batch(cases, next(numbers), batch, where.size, where.zoom, chosen.augmentation, chosen.tumour_share)

    return make


def step(recipe: str, stage: int, batch: int, precision: str, width: int | None) -> Call:
    """Return one step of the recipe's network, loss and optimiser on a batch that is there already."""
    import keras

    from gliomask.training.loop import wants_xla
    from gliomask.training.recipes import RECIPES

    chosen = RECIPES[recipe]
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(precision)
    model = chosen.network(width)
    model.compile(chosen.optimizer(chosen.learning_rate), chosen.loss, jit_compile=wants_xla())
    size, rng = _stage(chosen, stage).size, np.random.default_rng(0)
    images = rng.random((batch, size, size, 3), np.float32)
    masks = (rng.random((batch, size, size, 1)) > 0.9).astype(np.float32)
    return partial(model.train_on_batch, images, masks)


def _stage(recipe: Any, stage: int) -> Any:
    if tuple(s.size for s in recipe.stages) != CROPS[recipe.name]:
        raise BenchmarkError(f"the recipe {recipe.name} has other crops than benchmarks/training.py says; bring CROPS up to date.")
    return recipe.stages[stage]


def _cases(recipe: Any, dataset: Path | None) -> Sequence[Any]:
    """Return cases in memory: some of the dataset's, or drawn heads with what is bright in them as tumour."""
    from gliomask.dataset import index_dataset
    from gliomask.dataset.batches import load_case, make_case

    if dataset is not None:
        return [load_case(patient, recipe.normalisation, recipe.input_size) for patient in index_dataset(dataset)[:8]]
    heads = [cohort.head(12, first=number) for number in range(4)]
    return [make_case(head, head[..., 1] > 100, recipe.normalisation) for head in heads]

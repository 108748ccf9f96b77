"""The training loop: steps and epochs from the first, or the last checkpoint, to the end, on any Keras backend."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from gliomask.dataset.batches import Case, load_case, make_batch
from gliomask.dataset.index import Patient
from gliomask.errors import InputError
from gliomask.models import sha256_of
from gliomask.training.checkpoint import CHECKPOINT, Checkpoint, RunState, Weights
from gliomask.training.history import best_epoch, write_history
from gliomask.training.logs import log_history
from gliomask.training.losses import binary_pixel_accuracy, soft_dice, soft_iou
from gliomask.training.progress import Clock, Pace
from gliomask.training.recipes import Recipe, Stage
from gliomask.training.start import initial_network, initial_weights
from gliomask.training.validation import validate

BATCHES_AHEAD = 4
"""Batches that are made while a step is done, each in a thread of its own: a GPU takes them faster than one thread makes them."""

SAVINGS = 20
"""The end of an epoch is worth a checkpoint if that many could have been written since the last: a GPU's epochs are seconds long."""


@dataclass(frozen=True)
class RunSettings:
    """What a run adds to its recipe.

    ``epochs``, ``steps_per_epoch`` and ``width`` override the recipe's where they are not None;
    ``checkpoint_s`` is the longest time in seconds between checkpoints. ``initial_weights`` is a file of the
    same network to start from, ``.keras``, or ``.onnx`` as :func:`gliomask.training.restore.restore`
    takes it; with ``average_initial`` the mean of its weights and those that the training ends with is
    returned (stochastic weight averaging, Izmailov et al. 2018, arXiv:1803.05407). ``brain_masks`` is
    a folder as :func:`gliomask.dataset.batches.load_case` takes it.
    """

    output: Path
    precision: str = "float32"
    seed: int = 0
    epochs: int | None = None
    steps_per_epoch: int | None = None
    width: int | None = None
    checkpoint_s: float = 180.0
    initial_weights: Path | None = None
    average_initial: bool = False
    brain_masks: Path | None = None

    def length(self, recipe: Recipe) -> tuple[int, int]:
        """Return the epochs and the steps of one."""
        return self.epochs or recipe.epochs, self.steps_per_epoch or recipe.steps_per_epoch


def train(
    training: Sequence[Patient],
    validation: Sequence[Patient],
    recipe: Recipe,
    settings: RunSettings,
    report: Callable[[str], None] = lambda line: None,
    show: Callable[[Pace], None] = lambda pace: None,
) -> keras.Model:
    """Return the trained network, float32 and not compiled; resume from the checkpoint in ``settings.output`` if there is one.

    Every batch is a function of the seed and the step and the whole state is written in one atomic
    file, so a run that was killed goes on from its last checkpoint as if it had not stopped.

    Parameters
    ----------
    validation
        Who is held out; nobody for a last training, whose scores are those of the folds before it.
    report
        Called with one line of progress after each epoch.
    show
        Called after each step with the pace of the training, from a run's second step on.

    Raises
    ------
    InputError
        The checkpoint in the output folder belongs to another training: another recipe, network,
        length, seed, or other patients; nobody is held out of a recipe that is stopped by them; or the
        initial weights are missing or another network's.
    """
    _check(settings, recipe, validation)
    keras.utils.set_random_seed(settings.seed)
    settings.output.mkdir(parents=True, exist_ok=True)
    epochs, steps_per_epoch = settings.length(recipe)
    steps = epochs * steps_per_epoch
    with _precision("mixed_bfloat16" if settings.precision == "bfloat16" else "float32"):
        model = _compiled(recipe, settings.width, steps)
    checkpoint = Checkpoint(settings.output / CHECKPOINT, _identity(recipe, settings, model.count_params(), (training, validation)))
    state = checkpoint.resume(model)
    if state.step:
        _show_earlier_sizes(model, recipe, state.step, steps)
        state = checkpoint.resume(model)  # what was shown has moved the weights
        if state.history:
            write_history(state.history, settings.output)  # the checkpoint may have come from elsewhere by itself
        report(f"resumed at step {state.step} of {steps}")
    path = settings.initial_weights if settings.average_initial or not state.step else None
    network = None if path is None else initial_network(path, recipe, _network(recipe, settings.width))  # refused before the loading
    cases = _load(training, recipe, settings.brain_masks)
    held_out = _load(validation, recipe)
    initial: Weights = []
    if path is not None:
        initial = initial_weights(path, network, lambda step: _batch(cases, recipe, recipe.stages[-1], step, settings.seed)[0])
        if not state.step:
            model.set_weights(initial)
    clock = Clock(
        [stage_at(recipe, step / steps).size for step in range(steps)], recipe.batch_size, may_end_earlier=recipe.patience is not None
    )
    saved, took = time.monotonic(), 0.0
    is_over = _is_over(state.history, recipe, epochs)
    for images, masks in () if is_over else _batches(cases, recipe, settings.seed, state.step, steps):
        _step(model, state, images, masks)
        _update_average(state.average, model, recipe.average_decay, state.step)
        if (pace := clock.after(state.step)) is not None:
            show(pace)
        epoch_ends = state.step % steps_per_epoch == 0
        if epoch_ends:
            _end_epoch(model, state, held_out, recipe, steps_per_epoch)
            write_history(state.history, settings.output)
            log_history(state.history, settings.output)
            report(_progress(state, epochs, clock.after(state.step)))
            is_over = _is_over(state.history, recipe, epochs)
        since = time.monotonic() - saved
        if is_over or since > settings.checkpoint_s or (epoch_ends and since > SAVINGS * took):
            began = time.monotonic()
            checkpoint.save(model, state)
            saved = time.monotonic()
            took = saved - began
        if is_over:
            break
    trained = _network(recipe, settings.width)
    trained.set_weights(_final_weights(model, state, recipe, initial if settings.average_initial else []))
    return trained


def _check(settings: RunSettings, recipe: Recipe, validation: Sequence[Patient]) -> None:
    """Raise if settings, recipe and held-out patients do not go together."""
    if settings.initial_weights is not None and not settings.initial_weights.is_file():
        raise InputError(
            f"{settings.initial_weights}: no such file. Give one of a training of the same network, or a bundled model's name."
        )
    if settings.average_initial and settings.initial_weights is None:
        raise InputError("there are no initial weights to average with. Name a network to start from: --initial-weights MODEL.")
    if recipe.patience is not None and not validation:
        raise InputError(f"the recipe {recipe.name} stops by the scores of held-out patients. Name a --fold to hold out.")


def _load(patients: Sequence[Patient], recipe: Recipe, brain_masks: Path | None = None) -> list[Case]:
    """Return patients read into memory, several at a time: a GPU would wait for one after the other."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda patient: load_case(patient, recipe.normalisation, recipe.input_size, brain_masks), patients))


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Build layers with a dtype policy, and leave Keras with the one it had."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _network(recipe: Recipe, width: int | None) -> keras.Model:
    """Return a new network in float32, whatever precision it was or will be trained in."""
    with _precision("float32"):
        model = recipe.network(width)
    model.jit_compile = wants_xla()
    return model


def _compiled(recipe: Recipe, width: int | None, steps: int) -> keras.Model:
    model = recipe.network(width)
    rate: Any = recipe.learning_rate
    if recipe.cosine:
        warm_up = max(1, steps // 25)
        rate = keras.optimizers.schedules.CosineDecay(
            recipe.learning_rate / 20, max(1, steps - warm_up), warmup_target=recipe.learning_rate, warmup_steps=warm_up
        )
    model.compile(recipe.optimizer(rate), recipe.loss, metrics=[soft_dice, soft_iou, binary_pixel_accuracy], jit_compile=wants_xla())
    model.optimizer.build(model.trainable_variables)
    return model


def wants_xla() -> bool:
    """Return whether XLA is to compile a network's steps.

    JAX knows no other way. TensorFlow's own convolutions are oneDNN's on a CPU, which XLA does not call: with AVX-512 it is slower in
    float32 and in bfloat16, and ten times slower with depthwise ones.
    """
    return keras.backend.backend() == "jax"


def _batch(cases: Sequence[Case], recipe: Recipe, stage: Stage, step: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return make_batch(cases, step, recipe.batch_size, stage.size, stage.zoom, recipe.augmentation, recipe.tumour_share, seed)


def _final_weights(model: keras.Model, state: RunState, recipe: Recipe, initial: Weights) -> Weights:
    """Return what a training leaves: the best epoch's weights or the moving average; their mean with the initial ones, if there are any."""
    final = (state.best if recipe.patience is not None else state.average) or model.get_weights()
    return [(one + other) / 2 for one, other in zip(final, initial, strict=True)] if initial else final


def _batches(cases: Sequence[Case], recipe: Recipe, seed: int, first: int, last: int) -> Iterator[tuple[Any, Any]]:
    """Yield the batches of steps *first* to *last*, the next ones being made meanwhile."""

    def make(step: int) -> tuple[Any, Any]:
        return _batch(cases, recipe, stage_at(recipe, step / last), step, seed)

    with ThreadPoolExecutor(BATCHES_AHEAD) as pool:
        waiting = [pool.submit(make, step) for step in range(first, min(first + BATCHES_AHEAD, last))]
        for step in range(first, last):
            batch = waiting.pop(0).result()
            if step + BATCHES_AHEAD < last:
                waiting.append(pool.submit(make, step + BATCHES_AHEAD))
            yield batch


def _show_earlier_sizes(model: keras.Model, recipe: Recipe, step: int, last: int) -> None:
    """Train a step on nothing in the size of each stage that is over, if there are steps left.

    Keras on TensorFlow compiles its step for one size, and for any once it sees a second. A resumed run that had not seen
    the first would compile for its own alone, whose sums are rounded in other places.
    """
    now = recipe.stages.index(stage_at(recipe, step / last)) if step < last else 0
    for over in recipe.stages[:now]:
        nothing = np.zeros((recipe.batch_size, over.size, over.size, 3), np.float32)
        model.train_on_batch(nothing, nothing[..., :1])


def stage_at(recipe: Recipe, progress: float) -> Stage:
    """Return the recipe's stage at *progress* (0 at the first step, 1 after the last)."""
    ends = np.cumsum([stage.share for stage in recipe.stages])
    return recipe.stages[min(int(np.searchsorted(ends, progress, side="right")), len(ends) - 1)]


def _step(model: keras.Model, state: RunState, images: NDArray[np.float32], masks: NDArray[np.float32]) -> None:
    """Train on a batch, and count it and its metrics."""
    if (here := f"{keras.__version__} on {keras.backend.backend()}") not in state.trained_by:
        state.trained_by.append(here)
    model.reset_metrics()  # else Keras returns the mean over all steps since the last reset
    for name, value in model.train_on_batch(images, masks, return_dict=True).items():
        state.sums[name] = state.sums.get(name, 0.0) + float(value)
    state.step += 1


def _update_average(average: Weights, model: keras.Model, decay: float, step: int) -> None:
    """Move the average towards the current weights; early on it forgets faster, so that it has no memory of the start."""
    if not decay:
        return
    weights = model.get_weights()
    if not average:
        average.extend(w.astype(np.float32) for w in weights)
        return
    keep = min(decay, (1 + step) / (10 + step))
    for mean, weight in zip(average, weights, strict=True):
        mean *= keep
        mean += (1 - keep) * weight


def _end_epoch(model: keras.Model, state: RunState, held_out: Sequence[Case], recipe: Recipe, steps: int) -> None:
    """Add the epoch to the history, scored as what would be exported now, and keep its weights if they are the best so far."""
    current = model.get_weights()
    if state.average:
        model.set_weights(state.average)
    row = {"epoch": len(state.history) + 1.0} | {name: total / steps for name, total in state.sums.items()}
    row["learning_rate"] = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
    if held_out:
        row |= validate(model, held_out, recipe.input_size, recipe.validation_stride)
    state.history.append(row)
    state.sums = {}
    if recipe.patience is not None and best_epoch(state.history) == len(state.history) - 1:
        state.best = model.get_weights()
    model.set_weights(current)


def _is_over(history: Sequence[dict[str, float]], recipe: Recipe, epochs: int) -> bool:
    """Return whether all epochs are done, or the best of them is as far back as the recipe has patience."""
    if len(history) >= epochs:
        return True
    return recipe.patience is not None and bool(history) and len(history) - 1 - best_epoch(history) >= recipe.patience


def _progress(state: RunState, epochs: int, pace: Pace | None) -> str:
    """Return the line of the epoch that has just ended."""
    row = state.history[-1]
    validated = f"  validation Dice {row['val_dice']:.4f}" if "val_dice" in row else ""
    return f"epoch {int(row['epoch'])}/{epochs}  loss {row['loss']:.4f}{validated}" + ("" if pace is None else f"  {pace}")


def _identity(
    recipe: Recipe, settings: RunSettings, parameters: int, patients: tuple[Sequence[Patient], Sequence[Patient]]
) -> dict[str, Any]:
    """Return what a checkpoint and the run that goes on from it must have in common."""
    epochs, steps_per_epoch = settings.length(recipe)
    training, validation = patients
    return {
        "recipe": recipe.name,
        "precision": settings.precision,
        "seed": settings.seed,
        "parameters": parameters,
        "epochs": epochs,
        "steps_per_epoch": steps_per_epoch,
        "initial_weights": sha256_of(settings.initial_weights) if settings.initial_weights else None,
        "brain_masks": settings.brain_masks is not None,
        "training": [patient.name for patient in training],
        "validation": [patient.name for patient in validation],
    }

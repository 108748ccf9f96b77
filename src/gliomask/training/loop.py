"""The training loop: steps, validation, checkpoints and history, on any Keras backend."""

import csv
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from gliomask.dataset.batches import Case, load_case, make_batch
from gliomask.dataset.index import Patient
from gliomask.errors import InputError
from gliomask.metrics import confusion, dice, iou, pixel_accuracy
from gliomask.models import sha256_of
from gliomask.preprocess import apply_windows, from_network_grid, to_network_grid
from gliomask.training.logs import log_history
from gliomask.training.losses import binary_pixel_accuracy, soft_dice, soft_iou
from gliomask.training.parity import drawn_slices
from gliomask.training.progress import Clock, Pace
from gliomask.training.recipes import Recipe, Stage
from gliomask.training.restore import restore, set_statistics
from gliomask.volume import CHANNELS

CHECKPOINT = "checkpoint.npz"
HISTORY = "history.csv"
PREDICTION_BATCH = 16

REFERENCE_BATCH = 32
"""Slices whose Dice the reference project takes as one."""

RESTORING_BATCHES = 8
"""Batches that tell the statistics which an exported network has lost."""

Weights = list[NDArray[Any]]


@dataclass(frozen=True)
class RunSettings:
    """What a run adds to its recipe.

    ``epochs``, ``steps_per_epoch`` and ``width`` override the recipe's where they are not None;
    ``checkpoint_s`` is the time in seconds between checkpoints. ``initial_weights`` is a file of the
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


@dataclass
class RunState:
    """Where a run stands: all that a resumed run needs besides its data."""

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    average: Weights = field(default_factory=list)
    best: Weights = field(default_factory=list)


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
    if settings.initial_weights is not None and not settings.initial_weights.is_file():
        raise InputError(
            f"{settings.initial_weights}: no such file. Give one of a training of the same network, or a bundled model's name."
        )
    if settings.average_initial and settings.initial_weights is None:
        raise InputError("there are no initial weights to average with. Name a network to start from: --initial-weights MODEL.")
    if recipe.patience is not None and not validation:
        raise InputError(f"the recipe {recipe.name} stops by the scores of held-out patients. Name a --fold to hold out.")
    keras.utils.set_random_seed(settings.seed)
    settings.output.mkdir(parents=True, exist_ok=True)
    epochs, steps_per_epoch = settings.length(recipe)
    with _precision("mixed_bfloat16" if settings.precision == "bfloat16" else "float32"):
        model = _compiled(recipe, settings.width, epochs * steps_per_epoch)
    identity = _identity(recipe, settings, model.count_params(), (training, validation))
    state = _restore(model, identity, settings.output / CHECKPOINT)
    if state.step:
        _show_earlier_sizes(model, recipe, state.step, epochs * steps_per_epoch)
        state = _restore(model, identity, settings.output / CHECKPOINT)  # what was shown has moved the weights
        report(f"resumed at step {state.step} of {epochs * steps_per_epoch}")
    network = _initial_network(recipe, settings) if settings.average_initial or not state.step else None  # refused before the loading
    cases = [load_case(patient, recipe.normalisation, settings.brain_masks) for patient in training]
    held_out = [load_case(patient, recipe.normalisation) for patient in validation]
    initial = _initial_weights(network, recipe, settings, cases) if network is not None else []
    if initial and not state.step:
        model.set_weights(initial)
    sizes = [stage_at(recipe, step / (epochs * steps_per_epoch)).size for step in range(epochs * steps_per_epoch)]
    clock = Clock(sizes, recipe.batch_size, may_end_earlier=recipe.patience is not None)
    saved = time.monotonic()
    for images, masks in _batches(cases, recipe, settings.seed, state.step, epochs * steps_per_epoch):
        if _is_over(state.history, recipe, epochs):
            break
        model.reset_metrics()  # else Keras returns the mean over all steps since the last reset
        for name, value in model.train_on_batch(images, masks, return_dict=True).items():
            state.sums[name] = state.sums.get(name, 0.0) + float(value)
        state.step += 1
        _update_average(state.average, model, recipe.average_decay, state.step)
        if (pace := clock.after(state.step)) is not None:
            show(pace)
        if state.step % steps_per_epoch == 0:
            _end_epoch(model, state, held_out, recipe, steps_per_epoch)
            write_history(state.history, settings.output / HISTORY)
            log_history(state.history, settings.output)
            report(_progress(state, epochs, clock.after(state.step)))
        if state.step % steps_per_epoch == 0 or time.monotonic() - saved > settings.checkpoint_s:
            _save(model, state, identity, settings.output / CHECKPOINT)
            saved = time.monotonic()
    with _precision("float32"):
        trained = recipe.network(settings.width)
    trained.set_weights(_final_weights(model, state, recipe, initial if settings.average_initial else []))
    return trained


def predict(model: keras.Model, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities ``(n, y, x)`` for normalised slices ``(n, y, x, c)``, in batches of a fixed size."""
    padded = np.concatenate([images, np.zeros((-len(images) % PREDICTION_BATCH, *images.shape[1:]), np.float32)])
    parts = [
        keras.ops.convert_to_numpy(model(padded[i : i + PREDICTION_BATCH], training=False)) for i in range(0, len(padded), PREDICTION_BATCH)
    ]
    return np.concatenate(parts)[: len(images), ..., 0].astype(np.float32)


def _probability(model: keras.Model, case: Case, size: int, stride: int = 1) -> NDArray[np.float32]:
    """Return probabilities ``(z, y, x)`` of every *stride*-th slice of a case, seen at *size* x *size*."""
    slices = to_network_grid(apply_windows(case.images[::stride], case.windows.volume), size)
    return from_network_grid(predict(model, slices), *case.images.shape[1:3])


def validate(model: keras.Model, cases: Sequence[Case], size: int, stride: int) -> dict[str, float]:
    """Return mean per-patient Dice and IoU and the pixel accuracy of the cases, every *stride*-th slice, seen at *size* x *size*."""
    tables = [confusion(_probability(model, case, size, stride) >= 0.5, case.masks[::stride, ..., 0]) for case in cases]
    return {
        "val_dice": float(np.mean([dice(t) for t in tables])),
        "val_iou": float(np.mean([iou(t) for t in tables])),
        "val_accuracy": float(np.mean([pixel_accuracy(t) for t in tables])),
    }


def batch_scores(model: keras.Model, cases: Sequence[Case], size: int) -> dict[str, float]:
    """Return what :func:`reference_scores` gives for a network's probabilities of whole slices, seen at *size* x *size*."""
    return reference_scores([_probability(model, case, size) for case in cases], [case.masks[..., 0] for case in cases])


def reference_scores(probabilities: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_]]) -> dict[str, float]:
    """Return Dice, IoU and pixel accuracy as the reference project defines them, over all slices of the cases ``(z, y, x)``.

    On the probabilities of a whole batch, averaged over batches: :func:`soft_dice` and
    :func:`soft_iou`; accuracy at 0.5. Slices are shuffled over patients first, as a random split
    is. Such figures are not comparable with Dice per patient.
    """
    slices = [(number, z) for number, case in enumerate(probabilities) for z in range(len(case))]
    order = np.random.default_rng(0).permutation(len(slices))
    rows = []
    for start in range(0, len(order), REFERENCE_BATCH):
        drawn = [slices[i] for i in order[start : start + REFERENCE_BATCH]]
        probability = np.stack([probabilities[number][z] for number, z in drawn])
        mask = np.stack([masks[number][z] for number, z in drawn]).astype(np.float32)
        rows.append([float(metric(mask, probability)) for metric in (soft_dice, soft_iou, binary_pixel_accuracy)])
    means = np.mean(rows, axis=0)
    return {"slices": len(slices)} | dict(zip(("dice", "iou", "pixel_accuracy"), map(float, means), strict=True))


def write_history(history: Sequence[dict[str, float]], path: Path) -> None:
    """Write one row an epoch as CSV, replacing the file in one move."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, history[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in history)
    os.replace(temporary, path)


def best_epoch(history: Sequence[dict[str, float]]) -> int:
    """Return the index of the first epoch with the highest validation Dice."""
    return int(np.argmax([row["val_dice"] for row in history]))


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Build layers with a dtype policy, and leave Keras with the one it had."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


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
    """Return whether XLA is to compile the training step.

    JAX knows no other way. TensorFlow's own convolutions are oneDNN's on a CPU, which XLA does not call: with AVX-512 it is slower in
    float32 and in bfloat16, and ten times slower with depthwise ones.
    """
    return keras.backend.backend() == "jax"


def _initial_network(recipe: Recipe, settings: RunSettings) -> keras.Model | None:
    """Return the network to start from, which has to be the recipe's; None if none is named."""
    path = settings.initial_weights
    if path is None:
        return None
    with _precision("float32"):
        network = recipe.network(settings.width)
    if path.suffix == ".onnx":
        restore(path, network, drawn_slices(recipe.normalisation, recipe.input_size, len(CHANNELS)))
        return network
    try:
        trained = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its parts do
        raise InputError(f"{path}: not a network that Keras can load. Give the .keras file of a training of the same network.") from error
    shapes, wanted = ([w.shape for w in m.get_weights()] for m in (trained, network))
    if shapes != wanted:
        raise InputError(
            f"{path}: a network of {trained.count_params()} parameters; the recipe's has {network.count_params()} in other places."
        )
    return trained


def _initial_weights(network: keras.Model, recipe: Recipe, settings: RunSettings, cases: Sequence[Case]) -> Weights:
    """Return the weights of the network to start from; an exported one gets the statistics that its file has lost from the cases."""
    if settings.initial_weights is not None and settings.initial_weights.suffix == ".onnx":
        last = recipe.stages[-1]
        set_statistics(network, np.concatenate([_batch(cases, recipe, last, step, settings.seed)[0] for step in range(RESTORING_BATCHES)]))
    weights: Weights = network.get_weights()
    return weights


def _batch(cases: Sequence[Case], recipe: Recipe, stage: Stage, step: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return make_batch(cases, step, recipe.batch_size, stage.size, stage.zoom, recipe.augmentation, recipe.tumour_share, seed)


def _final_weights(model: keras.Model, state: RunState, recipe: Recipe, initial: Weights) -> Weights:
    """Return what a training leaves: the best epoch's weights or the moving average; their mean with the initial ones, if there are any."""
    final = (state.best if recipe.patience is not None else state.average) or model.get_weights()
    return [(one + other) / 2 for one, other in zip(final, initial, strict=True)] if initial else final


def _batches(cases: Sequence[Case], recipe: Recipe, seed: int, first: int, last: int) -> Iterator[tuple[Any, Any]]:
    """Yield the batches of steps *first* to *last*, the next ones being made meanwhile in a thread."""

    def make(step: int) -> tuple[Any, Any]:
        return _batch(cases, recipe, stage_at(recipe, step / last), step, seed)

    ahead = 3
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(make, step) for step in range(first, min(first + ahead, last))]
        for step in range(first, last):
            batch = waiting.pop(0).result()
            if step + ahead < last:
                waiting.append(pool.submit(make, step + ahead))
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
    if len(history) >= epochs:
        return True
    return recipe.patience is not None and bool(history) and len(history) - 1 - best_epoch(history) >= recipe.patience


def _progress(state: RunState, epochs: int, pace: Pace | None) -> str:
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


def _save(model: keras.Model, state: RunState, identity: Mapping[str, Any], path: Path) -> None:
    arrays: dict[str, Any] = {}
    optimizer = [keras.ops.convert_to_numpy(v) for v in model.optimizer.variables]
    for group, values in (
        ("weights", model.get_weights()),
        ("optimizer", optimizer),
        ("average", state.average),
        ("best", state.best),
    ):
        arrays |= {f"{group}_{i:04}": value for i, value in enumerate(values)}
    facts = {**identity, "step": state.step, "sums": state.sums, "history": state.history}
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(file, facts=np.array(json.dumps(facts)), **arrays)
    os.replace(temporary, path)


def _restore(model: keras.Model, identity: Mapping[str, Any], path: Path) -> RunState:
    if not path.exists():
        return RunState()
    with np.load(path) as archive:
        facts = json.loads(str(archive["facts"]))
        if other := [key for key, value in identity.items() if facts.get(key) != value]:
            raise InputError(
                f"{path}: a checkpoint of another training; it differs in {', '.join(other)}. "
                "Choose another --output, or remove the folder to start anew."
            )
        groups: dict[str, Weights] = {"weights": [], "optimizer": [], "average": [], "best": []}
        for name in sorted(set(archive.files) - {"facts"}):
            groups[name.rsplit("_", 1)[0]].append(archive[name])
    model.set_weights(groups["weights"])
    for variable, value in zip(model.optimizer.variables, groups["optimizer"], strict=True):
        variable.assign(value)
    return RunState(facts["step"], facts["sums"], facts["history"], groups["average"], groups["best"])


def read_history(output: Path) -> list[dict[str, float]]:
    """Return a run's history as written by :func:`write_history`; empty if there is none yet."""
    path = output / HISTORY
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]

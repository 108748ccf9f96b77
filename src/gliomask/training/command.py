"""What ``gliomask train`` does: data, split, training, export."""

import json
import os
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gliomask.dataset import Patient, divide, divide_slices, identity, index_dataset, read_split
from gliomask.errors import EngineError, InputError
from gliomask.evaluation import Protocol, evaluate_patients
from gliomask.models import ModelRecord, bundled_models, find_model, read_record, sha256_of, write_record
from gliomask.segmenter import Segmenter
from gliomask.training.progress import Pace

LEAKY = "by slice, leaky"


def run_training(options: Namespace, report: Callable[[str], None], show: Callable[[Pace], None]) -> None:
    """Train as the command line's options say, or go on with a training that was stopped, and export the result.

    *report* and *show* are called as :func:`gliomask.training.loop.train` calls them.

    Raises
    ------
    InputError, EngineError, ModelError
        The data or the split cannot be used, the initial weights have seen a patient who is to be held
        out, Keras is not installed, or the export differs from the trained network.
    """
    with TemporaryDirectory(prefix="gliomask-train-") as folder:
        initial = _starting_point(options, Path(folder))
        _train_and_export(Namespace(**vars(options) | {"initial_weights": initial}), report, show)


def _starting_point(options: Namespace, folder: Path) -> Path | None:
    """Return the file to start from: the one named, a bundled model's or, of an ensemble, the member that was trained without the fold.

    *folder* is where such a member is unpacked.
    """
    given: Path | None = options.initial_weights
    if given is None or not (str(given) in bundled_models() or (given.suffix == ".onnx" and given.with_suffix(".json").is_file())):
        return given
    record = find_model(given)
    if "members" not in record.training:
        return record.path
    if options.leaky or options.fold is None:
        raise InputError(
            f"{given}: an ensemble. Name a --fold, to start from the member that was trained without it, or start from one network."
        )
    from gliomask.training.members import unpack_members

    members = {member.training["held_out_fold"]: member.path for member in unpack_members(record, folder)}
    if options.fold not in members:
        raise InputError(
            f"{given}: none of its members was trained without fold {options.fold}; there are those without {', '.join(members)}."
        )
    return members[options.fold]


def _train_and_export(options: Namespace, report: Callable[[str], None], show: Callable[[Pace], None]) -> None:
    training, validation = _divided(options, report)
    seen = _seen_before(options, validation, report)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up chatter; errors still show
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")  # with more, sums depend on which operation ends first: no two trainings are alike
    try:
        from gliomask.dataset.batches import load_case
        from gliomask.training.checkpoint import trained_by
        from gliomask.training.export import export, write_record_of
        from gliomask.training.history import read_history
        from gliomask.training.loop import RunSettings, train
        from gliomask.training.plots import plot_history
        from gliomask.training.recipes import RECIPES
        from gliomask.training.validation import batch_scores
    except ImportError as error:
        raise EngineError(f"training needs {error.name}. Install it: pip install 'gliomask[train]'.") from error
    recipe = RECIPES[options.recipe]
    settings = RunSettings(
        options.output, options.precision, options.seed, options.epochs, options.steps_per_epoch, options.width,
        initial_weights=options.initial_weights, average_initial=options.average_initial, brain_masks=options.brain_masks,
    )  # fmt: skip
    started = time.monotonic()
    model = train(training, validation, recipe, settings, report, show)
    history = read_history(options.output)
    plot_history(history, options.output / "history.png")
    kept = options.output / f"{options.name}.keras"
    model.save(kept)
    made = _told(options, training, seen, history) | {
        "chosen_on_held_out": recipe.patience is not None,
        "keras": ", then ".join(trained_by(options.output)),
    }
    if _is_exported(options.output / f"{options.name}.onnx", made, scored=bool(validation)):
        report(f"{options.output / options.name}.onnx: exported before, and left as it is with its record")
        return
    write_record_of(kept, recipe, made, {})  # whatever becomes of the export, whose record takes its place: trainings go on from here
    try:
        record = export(model, recipe, options.output, options.name, made)
    except ImportError as error:  # each backend has an exporter of its own
        raise EngineError(
            f"trained, and kept as {kept} with its record, but not exported to ONNX: {error}. "
            "Install what is missing and run the same command again; it goes straight to the export."
        ) from error
    if validation:
        batches = batch_scores(
            model, [load_case(patient, recipe.normalisation, recipe.input_size) for patient in validation], recipe.input_size
        )
        record = replace(record, scores=dict(record.scores) | {"reference_project": {"split": made["split"]} | batches})
        record = write_record(record) if options.leaky else add_scores(record, validation, options.brain_masks)
    report(f"done in {(time.monotonic() - started) / 60:.0f} min; {describe(record)}")
    report(f"written: {kept}, {record.path} and its record")


def _is_exported(path: Path, made: dict[str, Any], *, scored: bool) -> bool:
    """Return whether this very training has its network and record there, *scored* if anybody was held out: it may be calibrated by now."""
    beside = path.with_suffix(".json")
    if not (path.is_file() and beside.is_file()):
        return False
    record = read_record(beside)
    same = record.training == json.loads(json.dumps(made)) and record.sha256 == sha256_of(path)
    return same and (not scored or bool({"held_out", "reference_project"} & record.scores.keys()))


def _told(options: Namespace, training: Sequence[Patient], seen: set[str] | None, history: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return what the record keeps of a training: on whom it was and *seen*, those that its initial weights were trained on, and how."""
    return {
        "patients": sorted({p.name for p in training} | (seen or set())),
        "held_out_fold": None if options.leaky else options.fold,
        "split": LEAKY if options.leaky else options.split.name if options.split else "lgg_folds.csv",
        "epochs": len(history),
        "history": [{key: float(f"{value:.4g}") for key, value in row.items()} for row in history],
        "width": options.width,
        "precision": options.precision,
        "seed": options.seed,
        "initial_weights": sha256_of(options.initial_weights) if options.initial_weights else None,
        "initial_patients_known": seen is not None,
        "average_initial": options.average_initial,
        "brain_masks": options.brain_masks is not None,
    }


def _divided(options: Namespace, report: Callable[[str], None]) -> tuple[list[Patient], list[Patient]]:
    """Return whom to train on and who is held out, and report both."""
    patients = index_dataset(options.data)
    if options.leaky:
        training, validation = divide_slices(patients, options.sealed)
        report("a split by slice: nearly every patient is in both parts, so that the scores show how well the network remembers them")
    else:
        training, validation = divide(patients, read_split(options.split), options.fold, options.sealed)
        held_out = f"{len(validation)} of fold {options.fold} to validate on" if validation else "nobody held out and no scores"
        report(f"{len(training)} patients to train on, {held_out}")
    if aside := len({p.name for p in patients} - {p.name for p in training} - {p.name for p in validation}):
        report(f"{aside} patients of the sealed test set left out; --sealed PATIENT uses one all the same")
    return training, validation


def _seen_before(options: Namespace, validation: Sequence[Patient], report: Callable[[str], None]) -> set[str] | None:
    """Return whom the initial weights were trained on, as the record beside them tells; ``None`` if nothing does, which is reported."""
    weights = options.initial_weights
    if weights is None or not weights.is_file():  # a missing file is the training's to tell
        return set()
    record = read_record(weights.with_suffix(".json")) if weights.with_suffix(".json").is_file() else None
    if record is None or record.started_from_unknown or "patients" not in record.training:
        report(f"{weights}: no record beside it tells whom it was trained on, so that the new record cannot either")
        return None
    seen = set(record.training["patients"])
    known = set(map(identity, seen))
    if not options.leaky and (both := sorted(patient.name for patient in validation if identity(patient.name) in known)):
        raise InputError(
            f"{weights}: was trained on {len(both)} of the {len(validation)} patients of fold {options.fold} "
            f"({', '.join(both[:3])}…), who would be held out. Start from the network of the same fold, or from none."
        )
    return seen


def add_scores(record: ModelRecord, held_out: Sequence[Patient], brain_masks: Path | None) -> ModelRecord:
    """Score an exported model on its held-out patients, as it will be run, and return the record with the scores written to it."""
    segmenter = Segmenter(record.path, force=True)
    protocols = [Protocol(flair_alone=alone, single_slices=single) for alone in (False, True) for single in (False, True)]
    if brain_masks is not None:
        protocols += [Protocol(flair_alone=alone, brain_masks=brain_masks) for alone in (False, True)]
    scores = {p.input: evaluate_patients(held_out, segmenter, p).for_record() for p in protocols}
    return write_record(replace(record, scores=dict(record.scores) | {"held_out": scores}))


def describe(record: ModelRecord) -> str:
    """Return the record's main figure in words."""
    if "held_out" not in record.scores:
        from gliomask.training.validation import REFERENCE_BATCH

        row = record.scores.get("reference_project")
        if row is None:
            return "not scored, as nobody was held out"
        return (
            f"Dice {row['dice']:.3f}, IoU {row['iou']:.3f}, pixel accuracy {row['pixel_accuracy']:.4f} as means over batches of "
            f"{REFERENCE_BATCH} of {row['slices']:,} slices; {row['split']}"
        )
    first = next(iter(record.scores["held_out"].values()))
    low, high = first["mean_dice_95"]
    return f"Dice {first['mean_dice']:.3f} ({low:.3f} to {high:.3f}) over {first['patients']} held-out patients"

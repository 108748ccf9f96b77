"""Cross-validation: every patient is scored by the model of the fold that the patient was held out in."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from gliomask.dataset import SEALED, Patient, check_folds, identity, index_dataset, is_sealed, read_split
from gliomask.errors import InputError
from gliomask.evaluation.outcome import Evaluation
from gliomask.evaluation.protocol import Progress, Protocol, Scored, no_progress, pictures_of, pooled_by_role, score_patient
from gliomask.models import QUANTISED, ModelRecord, find_model
from gliomask.segmenter import Segmenter


def cross_validate(
    data: Path,
    runs: Path,
    protocol: Protocol,
    *,
    threshold: float | None = None,
    runtime: Mapping[str, Any] | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Return the pooled scores of one model for each fold, each on the patients of its own fold alone.

    Patients of the sealed test set are left out, and so are those of folds without a model; the notes say so.

    Parameters
    ----------
    data
        The dataset's folder.
    runs
        Holds a folder for each fold's training, as ``gliomask train --fold K --output RUNS/foldK``
        writes it: a network and its record, which says what fold was held out.
    protocol
        What the models see; ``fold`` has to be None, since all folds are scored.
    threshold
        As of :class:`gliomask.Segmenter`.
    runtime
        ``threads``, ``device``, ``precision`` and ``engine``, as of :class:`gliomask.Segmenter`.

    Raises
    ------
    InputError
        No fold has a model, one has two, a patient has no fold, or a model was trained on a patient that it
        would score, or does not say whom it was trained on.
    ModelError, EngineError
        A model cannot be used.
    """
    models = fold_models(runs)
    patients, left_out = held_out_patients(data, runs, models, protocol.split)
    scored: list[Scored] = []
    thresholds: set[float] = set()
    ordered = [patient for _, patient in patients]
    fold_of = {patient.name: fold for fold, patient in patients}
    for fold, group in groupby(progress(ordered), key=lambda patient: fold_of[patient.name]):  # one model in memory at a time
        segmenter = Segmenter(models[fold].path, threshold=threshold, **(runtime or {}))
        thresholds.add(segmenter.threshold)
        scored += [score_patient(patient, segmenter, protocol, fold) for patient in group]
    scored.sort(key=lambda s: s.score.name)
    used = [(fold, models[fold]) for fold in sorted({fold for fold, _ in patients})]
    folds = f"{len(used)} of {len(used) + len(left_out.folds)} folds" if left_out.folds else f"{len(used)}-fold"
    cuts = ", ".join(f"{cut:g}" for cut in sorted(thresholds))
    return Evaluation(
        f"{folds} cross-validation of {', '.join(sorted({m.name for _, m in used}))}, threshold {cuts}, {protocol.input}",
        tuple(s.score for s in scored),
        "cross-validation",
        protocol.input,
        thresholds.pop() if len(thresholds) == 1 else None,
        tuple(used),
        calibration=pooled_by_role(scored),
        pictures=pictures_of(scored),
        notes=tuple(_notes(used, left_out)),
    )


def fold_models(runs: Path) -> dict[str, ModelRecord]:
    """Return the models in the folders below *runs* by the fold that was held out in their training.

    Raises
    ------
    InputError
        There is none, two have the same fold, or a record does not tell fold and patients.
    ModelError
        A network is not what its record says.
    """
    models: dict[str, ModelRecord] = {}
    for path in sorted(runs.glob("*/*.onnx")):
        if path.stem.endswith(QUANTISED) and not path.with_suffix(".json").exists():
            continue  # in int8 what a network beside it is in float32
        model = find_model(path)
        if "members" in model.training and "held_out_fold" not in model.training:
            continue  # an ensemble of the runs beside them
        if not {"patients", "held_out_fold"} <= set(model.training) or model.training["held_out_fold"] is None:
            raise InputError(f"{path}: its record does not tell the patients and the fold of its training, so it proves nothing.")
        fold = str(model.training["held_out_fold"])
        if fold in models:
            raise InputError(f"{path} and {models[fold].path} both had fold {fold} held out; give a folder with one model for each fold.")
        models[fold] = model
    if not models:
        raise InputError(
            f"{runs}: no folders with a network (*.onnx) and its record; expected one for each fold, as gliomask train writes."
        )
    return models


@dataclass(frozen=True)
class LeftOut:
    """Who is not in a cross-validation: how many of the sealed test set, and the patients of each fold without a model."""

    sealed: int
    folds: Mapping[str, int]


def held_out_patients(
    data: Path, runs: Path, models: Mapping[str, ModelRecord], split_file: Path | None = None
) -> tuple[list[tuple[str, Patient]], LeftOut]:
    """Return the patients with their folds, fold by fold, for whom there is a model that was trained without them, and who is left out.

    Raises
    ------
    InputError
        A patient has no fold in the split, no fold has a model, or a model was trained on a patient of its own fold.
    """
    split = read_split(split_file)
    everyone = index_dataset(data)
    check_folds((p.name for p in everyone), split)
    usable = [p for p in everyone if split[p.name] != SEALED and not is_sealed(p.name)]
    if not usable:
        raise InputError(f"{data}: none of its {len(everyone)} patients is in a fold of the cross-validation.")
    counts = Counter(split[p.name] for p in usable)
    missing = {fold: count for fold, count in sorted(counts.items()) if fold not in models}
    if len(missing) == len(counts):
        raise InputError(
            f"{runs}: models for fold {', '.join(sorted(models))}, but the patients are of fold {', '.join(missing)}. Give the split "
            "that the models were trained with (--split)."
        )
    patients = sorted(((split[p.name], p) for p in usable if split[p.name] in models), key=lambda pair: (pair[0], pair[1].name))
    _check_models(models, patients)
    return patients, LeftOut(len(everyone) - len(usable), missing)


def _check_models(models: Mapping[str, ModelRecord], patients: Sequence[tuple[str, Patient]]) -> None:
    """Refuse models that saw patients whom they would score."""
    for fold in sorted({fold for fold, _ in patients}):
        trained = set(map(identity, models[fold].training["patients"]))
        if seen := sorted(patient.name for own, patient in patients if own == fold and identity(patient.name) in trained):
            raise InputError(
                f"{models[fold].path}: was trained on {len(seen)} of the patients of fold {fold} ({', '.join(seen[:3])}…), which it "
                "would score. Give the split that it was trained with (--split), or a model trained without that fold."
            )


def _notes(used: Sequence[tuple[str, ModelRecord]], left_out: LeftOut) -> Iterator[str]:
    """Yield what weakens the proof, and who is not in it."""
    if started := [fold for fold, model in used if model.started_from_unknown]:
        yield (
            f"The training of fold {', '.join(started)} started from other weights; the record does not tell which patients those had "
            "seen, so it is for you to know that they were none of these."
        )
    if chosen := [fold for fold, model in used if model.training.get("chosen_on_held_out")]:
        yield f"The epoch of fold {', '.join(chosen)} was chosen on its held-out patients, so their scores are on the high side."
    for fold, count in left_out.folds.items():
        yield f"Fold {fold} has no model, so its {count} patients are not among the scores."
    if left_out.sealed:
        yield f"{left_out.sealed} patients of the sealed test set were left out."

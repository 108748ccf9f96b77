"""How a model, or masks that some tool wrote, are scored against reference masks, patient by patient."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.dataset import Patient, index_dataset, read_split, sealed_patients
from gliomask.errors import InputError
from gliomask.io import read_mask
from gliomask.io.naming import is_image, is_mask, natural_key
from gliomask.metrics import Confusion, confusion, dice, iou, pixel_accuracy
from gliomask.models import ModelRecord
from gliomask.segmentation import Segmenter
from gliomask.volume import Volume

MaskKey = tuple[str, str]
"""A mask's folder's name and its own without ending."""

BOOTSTRAP = 10_000
TRAINED_ON, HELD_OUT, SEALED_TEST, UNKNOWN = "trained on", "held out", "sealed", "unknown"


@dataclass(frozen=True)
class Protocol:
    """Which patients are scored and how much of them the model gets to see.

    ``flair_alone`` leaves out the contrast channels; ``single_slices`` gives every slice by itself,
    as a picture dropped on the page, instead of the whole volume. ``brain_masks`` is a folder with
    ``<patient>/<slice>_mask.png``, white where the brain is: all else is set to 0, as in
    skull-stripped research volumes.
    """

    split: Path | None = None
    fold: str | None = None
    flair_alone: bool = False
    single_slices: bool = False
    brain_masks: Path | None = None

    @property
    def input(self) -> str:
        """What the model sees, in words."""
        channels = "FLAIR alone" if self.flair_alone else "all three channels"
        skull = ", skull removed" if self.brain_masks else ""
        return f"{channels}{skull}, {'slice by slice' if self.single_slices else 'whole volumes'}"


@dataclass(frozen=True)
class PatientScore:
    """One patient's counts over all slices.

    ``role`` says whether the model was trained on the patient (``"trained on"``), was not
    (``"held out"``, or ``"sealed"`` for the test set), or whether that is unknown. ``clean_slices``
    are the slices without tumour in the reference, ``marked_clean_slices`` those of them in which
    something was marked.
    """

    name: str
    role: str
    counts: Confusion
    clean_slices: int
    marked_clean_slices: int

    def as_json(self) -> dict[str, Any]:
        """Return the scores by name."""
        return {
            "patient": self.name,
            "role": self.role,
            "dice": dice(self.counts),
            "iou": iou(self.counts),
            "pixel_accuracy": pixel_accuracy(self.counts),
            "predicted_pixels": self.counts.tp + self.counts.fp,
            "reference_pixels": self.counts.tp + self.counts.fn,
            "clean_slices": self.clean_slices,
            "marked_clean_slices": self.marked_clean_slices,
        }


@dataclass(frozen=True)
class Evaluation:
    """Scores of all patients, and what was scored."""

    subject: str
    patients: tuple[PatientScore, ...]
    ignored_masks: int = 0

    def roles(self) -> dict[str, list[PatientScore]]:
        """Return the patients by role, held-out ones first."""
        groups = {role: [p for p in self.patients if p.role == role] for role in (HELD_OUT, SEALED_TEST, UNKNOWN, TRAINED_ON)}
        return {role: patients for role, patients in groups.items() if patients}

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain types."""
        return {
            "subject": self.subject,
            "patients": [p.as_json() for p in self.patients],
            "over_all": {role: summarise(patients) for role, patients in self.roles().items()},
            "ignored_masks": self.ignored_masks,
        }


def summarise(patients: Sequence[PatientScore]) -> dict[str, Any]:
    """Return mean, median and worst of the patients' scores and the scores of all pixels pooled.

    The interval is the 95 % percentile bootstrap over patients of the mean Dice (Efron and
    Tibshirani 1993): 10,000 resamples, fixed seed.
    """
    dices = np.array([dice(p.counts) for p in patients])
    draws = np.random.default_rng(0).integers(len(dices), size=(BOOTSTRAP, len(dices)))
    low, high = np.percentile(dices[draws].mean(axis=1), [2.5, 97.5])
    pooled = reduce(Confusion.plus, (p.counts for p in patients))
    clean = sum(p.clean_slices for p in patients)
    return {
        "patients": len(patients),
        "mean_dice": float(dices.mean()),
        "mean_dice_95": [float(low), float(high)],
        "median_dice": float(np.median(dices)),
        "lowest_dice": float(dices.min()),
        "mean_iou": float(np.mean([iou(p.counts) for p in patients])),
        "mean_pixel_accuracy": float(np.mean([pixel_accuracy(p.counts) for p in patients])),
        "pooled_dice": dice(pooled),
        "pooled_iou": iou(pooled),
        "clean_slices": clean,
        "marked_clean_slices_share": sum(p.marked_clean_slices for p in patients) / clean if clean else None,
    }


def score(name: str, role: str, predicted: NDArray[np.bool_], reference: NDArray[np.bool_]) -> PatientScore:
    """Return a patient's score from masks ``(z, y, x)``."""
    clean = ~reference.any(axis=(1, 2))
    marked = predicted.any(axis=(1, 2)) & clean
    return PatientScore(name, role, confusion(predicted, reference), int(clean.sum()), int(marked.sum()))


def evaluate_model(
    data: Path,
    segmenter: Segmenter,
    protocol: Protocol,
    progress: Callable[[Sequence[Patient]], Iterable[Patient]] = lambda patients: patients,
) -> Evaluation:
    """Return the scores of a model on the dataset in *data*, or on one fold's patients of it.

    Raises
    ------
    InputError
        The dataset cannot be read, or none of its patients is in the fold.
    """
    split = read_split(protocol.split)
    patients = [p for p in index_dataset(data) if protocol.fold is None or split.get(p.name) == protocol.fold]
    if not patients:
        folds = ", ".join(sorted(set(split.values())))
        raise InputError(f"{data}: no patient of fold {protocol.fold!r}; the split has the folds {folds}.")
    return evaluate_patients(progress(patients), segmenter, protocol)


def evaluate_patients(patients: Iterable[Patient], segmenter: Segmenter, protocol: Protocol) -> Evaluation:
    """Return the scores of a model on these patients, the protocol saying how much of them it sees."""
    scores = []
    for patient in patients:
        images, masks = patient.load()
        if protocol.brain_masks is not None:
            images = images * patient.load_brain(protocol.brain_masks)[..., None]
        mask = _predict(segmenter, images[..., 1:2] if protocol.flair_alone else images, protocol.single_slices)
        scores.append(score(patient.name, role_of(patient.name, segmenter.model), mask, masks))
    subject = f"model {segmenter.model.name}, threshold {segmenter.threshold:g}, {protocol.input}"
    return Evaluation(subject, tuple(scores))


def _predict(segmenter: Segmenter, images: NDArray[np.uint8], single_slices: bool) -> NDArray[np.bool_]:
    if not single_slices:
        return segmenter.segment(Volume(images)).mask
    return np.concatenate([segmenter.segment(Volume(images[z : z + 1])).mask for z in range(len(images))])


def role_of(patient: str, model: ModelRecord) -> str:
    """Return whether a model was trained on a patient, from the names in its record."""
    trained = model.training.get("patients")
    if trained is None:
        return UNKNOWN
    if patient in trained:
        return TRAINED_ON
    return SEALED_TEST if patient in sealed_patients() else HELD_OUT


def evaluate_masks(data: Path, reference: Path) -> Evaluation:
    """Return the scores of the ``*_mask.*`` files under *data* against those under *reference*.

    Masks are paired by their folder's name and their own, endings aside. One that has no partner of
    that name is paired by its own name alone, if no other mask on either side bears it.

    Raises
    ------
    InputError
        Reference masks have no counterpart (how many, and the first of them), one has another size,
        or two masks on one side have the same folder's name and their own.
    """
    predicted, wanted = _masks_under(data), _masks_under(reference)
    partners = _pair(predicted, wanted)
    if missing := [path for key, path in wanted.items() if key not in partners]:
        shown = "\n  ".join(str(path) for path in missing[:5])
        raise InputError(f"{len(missing)} reference masks without a counterpart under {data}, such as\n  {shown}")
    pairs: dict[str, list[tuple[Path, Path]]] = {}
    for key, path in wanted.items():
        pairs.setdefault(key[0], []).append((predicted[partners[key]], path))
    scores = [_score_files(folder, files) for folder, files in sorted(pairs.items())]
    subject = f"masks in {data.resolve().name} against {reference.resolve().name}"
    return Evaluation(subject, tuple(scores), len(predicted) - len(partners))


def _pair(predicted: Mapping[MaskKey, Path], wanted: Mapping[MaskKey, Path]) -> dict[MaskKey, MaskKey]:
    partners = {key: key for key in wanted if key in predicted}
    left = [key for key in predicted if key not in partners]
    often = Counter(name for _, name in predicted) | Counter(name for _, name in wanted)
    by_name = {name: (folder, name) for folder, name in left if often[name] == 1}
    return partners | {key: by_name[key[1]] for key in wanted if key not in partners and key[1] in by_name}


def _score_files(folder: str, files: list[tuple[Path, Path]]) -> PatientScore:
    parts = []
    for mine, theirs in files:
        predicted, reference = read_mask(mine), read_mask(theirs)
        if predicted.shape != reference.shape:
            found, expected = (" x ".join(map(str, m.shape[::-1])) for m in (predicted, reference))
            raise InputError(f"{mine}: is {found} (x, y, pages), its reference {theirs} {expected}.")
        parts.append(score(folder, UNKNOWN, predicted, reference))
    counts = reduce(Confusion.plus, (part.counts for part in parts))
    return PatientScore(folder, UNKNOWN, counts, sum(p.clean_slices for p in parts), sum(p.marked_clean_slices for p in parts))


def _masks_under(root: Path) -> dict[MaskKey, Path]:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder.")
    paths = sorted((p for p in root.rglob("*") if is_image(p) and is_mask(p)), key=lambda p: natural_key(str(p)))
    if not paths:
        raise InputError(f"{root}: holds no masks (*_mask.png, *_mask.tif, …).")
    masks: dict[MaskKey, Path] = {}
    for path in paths:
        key = (path.resolve().parent.name, path.stem)
        if key in masks:
            raise InputError(f"{path} and {masks[key]} have the same folder's name and their own; score their folders one by one.")
        masks[key] = path
    return masks

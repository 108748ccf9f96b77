"""How models are scored on the dataset, patient by patient: one on any patients, or one for each fold on the fold's own."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gliomask.dataset import Patient, identity, index_dataset, is_sealed, read_split
from gliomask.errors import InputError
from gliomask.evaluation.calibration import Reliability, pooled, reliabilities
from gliomask.evaluation.outcome import CasePicture, Evaluation
from gliomask.evaluation.pictures import case_picture
from gliomask.evaluation.scores import HELD_OUT, SEALED_TEST, TRAINED_ON, UNKNOWN, PatientScore, score
from gliomask.models import ModelRecord
from gliomask.segmenter import Segmenter
from gliomask.volume import Volume

Progress = Callable[[Sequence[Patient]], Iterable[Patient]]


def no_progress(patients: Sequence[Patient]) -> Iterable[Patient]:
    """Return the patients as they are."""
    return patients


@dataclass(frozen=True)
class Protocol:
    """Which patients are scored, how much of them the model gets to see, and what is kept.

    ``flair_alone`` leaves out the contrast channels; ``single_slices`` gives every slice by itself,
    as a picture dropped on the page, instead of the whole volume. ``brain_masks`` is a folder with
    ``<patient>/<slice>_mask.png``, white where the brain is: all else is set to 0, as in
    skull-stripped research volumes. ``pictures`` keeps one of every patient, for a report.
    """

    split: Path | None = None
    fold: str | None = None
    flair_alone: bool = False
    single_slices: bool = False
    brain_masks: Path | None = None
    pictures: bool = False

    @property
    def input(self) -> str:
        """What the model sees, in words."""
        channels = "FLAIR alone" if self.flair_alone else "all three channels"
        skull = ", skull removed" if self.brain_masks else ""
        return f"{channels}{skull}, {'slice by slice' if self.single_slices else 'whole volumes'}"


@dataclass(frozen=True)
class Scored:
    """One patient's scores with what an evaluation pools or shows beside them."""

    score: PatientScore
    reliability: dict[str, Reliability]
    picture: CasePicture | None


def evaluate_model(data: Path, segmenter: Segmenter, protocol: Protocol, progress: Progress = no_progress) -> Evaluation:
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
    scored = [score_patient(patient, segmenter, protocol) for patient in patients]
    return Evaluation(
        f"model {segmenter.model.name}, threshold {segmenter.threshold:g}, {protocol.input}",
        tuple(s.score for s in scored),
        "model",
        protocol.input,
        segmenter.threshold,
        ((None, segmenter.model),),
        calibration=pooled_by_role(scored),
        pictures=pictures_of(scored),
    )


def score_patient(patient: Patient, segmenter: Segmenter, protocol: Protocol, fold: str | None = None) -> Scored:
    """Return what a model comes to on a patient; *fold*, in a cross-validation, was held out of its training, and the patient with it."""
    images, reference = patient.load()
    if protocol.brain_masks is not None:
        images = images * patient.load_brain(protocol.brain_masks)[..., None]
    mask, probability = _predict(segmenter, images[..., 1:2] if protocol.flair_alone else images, protocol.single_slices)
    return Scored(
        score(patient.name, role_of(patient.name, segmenter.model) if fold is None else HELD_OUT, mask, reference, fold),
        reliabilities(probability, reference),
        case_picture(patient.name, images[..., 1], mask, reference) if protocol.pictures else None,
    )


def _predict(segmenter: Segmenter, images: NDArray[np.uint8], single_slices: bool) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Return mask and probabilities; slices that the quality check would refuse are scored like the others."""
    volumes = [images[z : z + 1] for z in range(len(images))] if single_slices else [images]
    results = [segmenter.segment(Volume(voxels), force=True) for voxels in volumes]
    return np.concatenate([r.mask for r in results]), np.concatenate([r.probability for r in results])


def pooled_by_role(scored: Sequence[Scored]) -> dict[str, dict[str, Reliability]]:
    """Return the probabilities against the truth, added up over the patients of each role."""
    roles = dict.fromkeys(s.score.role for s in scored)
    return {role: pooled([s.reliability for s in scored if s.score.role == role]) for role in roles}


def pictures_of(scored: Sequence[Scored]) -> tuple[CasePicture, ...]:
    """Return the pictures that were kept."""
    return tuple(s.picture for s in scored if s.picture is not None)


def role_of(patient: str, model: ModelRecord) -> str:
    """Return whether a model was trained on a patient, from the names in its record; a name of TCGA may be written in another way.

    Of weights that it started from, or a member, the record may not tell.
    """
    trained = model.training.get("patients")
    if trained is None:
        return UNKNOWN
    if identity(patient) in map(identity, trained):
        return TRAINED_ON
    if model.started_from_unknown:
        return UNKNOWN
    return SEALED_TEST if is_sealed(patient) else HELD_OUT

"""What an evaluation found: the patients' scores, what was scored and how."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gliomask import __version__
from gliomask.evaluation.calibration import Reliability, pooled
from gliomask.evaluation.scores import PIXELS, ROLES, PatientScore, finite
from gliomask.evaluation.summary import by_institution, by_size, compact, summarise
from gliomask.models import ModelRecord
from gliomask.surfaces import TOLERANCE

SCHEMA = "gliomask.evaluation/1"
"""Name and version of the JSON; the number goes up when a key changes its meaning or goes away (docs/evaluation.md)."""

Kind = Literal["model", "cross-validation", "masks"]


@dataclass(frozen=True, eq=False)
class CasePicture:
    """A patient's slice with the largest area in either mask, both masks ``(y, x)``, bool.

    ``grey`` is the FLAIR as uint8; None where there is no scan. ``aspect`` is a pixel's height by its width.
    """

    patient: str
    slice_number: int
    slices: int
    grey: NDArray[np.uint8] | None
    predicted: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    aspect: float = 1.0


@dataclass(frozen=True)
class Evaluation:
    """Scores of all patients, and what was scored.

    Attributes
    ----------
    subject
        What was scored, in words.
    patients
        The scores.
    kind
        Whether a model, several in cross-validation, or masks of any tool were scored.
    input, threshold, models
        What the models saw, in words; from which probability a pixel is marked; and which models
        they are, by fold where each has one. Nothing is known of that for masks.
    unit
        Of distances, ``"px"`` or ``"mm"``.
    calibration
        By role and region, the probabilities against the truth; empty for masks.
    pictures
        One of each patient, if they were asked for.
    ignored_masks
        How many masks had no reference.
    notes
        What is to be known of the scores beside them.
    """

    subject: str
    patients: tuple[PatientScore, ...]
    kind: Kind = "masks"
    input: str | None = None
    threshold: float | None = None
    models: tuple[tuple[str | None, ModelRecord], ...] = ()
    unit: str = PIXELS
    calibration: Mapping[str, Mapping[str, Reliability]] = field(default_factory=dict)
    pictures: tuple[CasePicture, ...] = field(default=(), repr=False)
    ignored_masks: int = 0
    notes: tuple[str, ...] = ()

    def roles(self) -> dict[str, list[PatientScore]]:
        """Return the patients by role, held-out ones first."""
        groups = {role: [p for p in self.patients if p.role == role] for role in ROLES}
        return {role: patients for role, patients in groups.items() if patients}

    def for_record(self) -> dict[str, Any]:
        """Return what a model's record keeps of the scores of all patients, whatever their roles."""
        regions = pooled(tuple(self.calibration.values()))
        return compact(summarise(self.patients), {name: finite(found.expected_calibration_error) for name, found in regions.items()})

    def as_json(self) -> dict[str, Any]:
        """Return everything but the pictures as plain types."""
        roles = self.roles()
        return {
            "schema": SCHEMA,
            "gliomask": __version__,
            "kind": self.kind,
            "subject": self.subject,
            "input": self.input,
            "threshold": self.threshold,
            "models": [{"fold": fold, "name": model.name, "recipe": model.recipe, "sha256": model.sha256} for fold, model in self.models],
            "distance_unit": self.unit,
            "surface_tolerance": TOLERANCE,
            "patients": [p.as_json() for p in self.patients],
            "over_all": {role: summarise(patients) for role, patients in roles.items()},
            "by_institution": {role: by_institution(patients) for role, patients in roles.items()},
            "by_size": {role: by_size(patients) for role, patients in roles.items()},
            "calibration": {
                role: {region: found.as_json() for region, found in regions.items()} for role, regions in self.calibration.items()
            },
            "ignored_masks": self.ignored_masks,
            "notes": list(self.notes),
        }

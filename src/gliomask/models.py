"""The registry of models: a network file and, beside it, a JSON record of everything that goes with it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gliomask.confidence import AgreementModel, Calibration
from gliomask.errors import ModelError
from gliomask.io.writing import write_text
from gliomask.postprocess import Postprocessing
from gliomask.preprocess import Normalisation
from gliomask.volume import CHANNELS

BUNDLED = Path(__file__).parent / "models"
DEFAULT = "fast"

UNCALIBRATED = 0.5
"""Threshold of what has no calibration."""

QUANTISED = "-int8"
"""Ends the file name, before its suffix, of a network in int8, which has its record in common with that in float32."""


@dataclass(frozen=True)
class QuantisedNetwork:
    """A model's network in int8: its file beside the record, its SHA-256, and what it scored against float32, patient by patient."""

    file: str
    sha256: str
    scores: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelRecord:
    """What is known of a model; the JSON beside its file holds these fields.

    Attributes
    ----------
    name, file, sha256
        The registry's name, the network file's name beside the record, and its SHA-256.
    channels
        The input's channels in order.
    input_size
        Height and width in pixels that slices are brought to.
    size_multiple
        What height and width have to be multiples of for the network to take slices of other sizes too, so
        that air around the head can be left out; None where it takes no other size.
    normalisation
        How intensities are scaled; the same as in its training.
    threshold
        Probability from which a pixel belongs to the mask.
    recipe, training, scores
        How it was trained, on which patients of which split, and what it scored on whom.
    licence
        What the weights may be used for.
    mirrored
        Whether every slice is seen mirrored too, and the mean of both taken, at twice the time.
    postprocessing, calibration
        What is done to the network's probabilities; an ensemble's members are calibrated one by one, before their mean is taken.
    agreement
        What tells the expected Dice of a ``"volume"`` and of a single ``"slice"``; without it none is told.
    quantised
        The same network in int8; None where there is none.
    """

    name: str
    file: str
    sha256: str
    channels: tuple[str, ...]
    input_size: int
    normalisation: Normalisation
    threshold: float
    licence: str
    recipe: str = ""
    mirrored: bool = False
    postprocessing: Postprocessing = field(default_factory=Postprocessing)
    calibration: Calibration = field(default_factory=Calibration)
    agreement: Mapping[str, AgreementModel] = field(default_factory=dict)
    quantised: QuantisedNetwork | None = None
    size_multiple: int | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = field(default=BUNDLED, compare=False)

    @property
    def path(self) -> Path:
        """The network file."""
        return self.folder / self.file

    @property
    def started_from_unknown(self) -> bool:
        """Whether the training, or a member's, went on from weights of which it is not known whom they had seen.

        ``training["patients"]`` lacks those.
        """
        trainings = (self.training, *self.training.get("members", ()))
        return any(training.get("initial_weights") and not training.get("initial_patients_known") for training in trainings)

    @property
    def schedule(self) -> str:
        """How long the training was and from what it went on, in words; empty where the record does not tell."""
        if "epochs" not in self.training:
            return ""
        more = " more from another training's weights" if self.training.get("initial_weights") else ""
        averaged = ", averaged with those weights" if self.training.get("average_initial") else ""
        return f"{self.training['epochs']} epochs{more}{averaged}"

    @property
    def unseen_scores(self) -> Mapping[str, Mapping[str, Any]]:
        """Scores by way of input on patients that had no part in training.

        Those of the fold that was held out of this network's own training or, where none was, of the
        same recipe's cross-validation; empty where neither is recorded.
        """
        scores: Mapping[str, Mapping[str, Any]] = self.scores.get("held_out") or self.scores.get("cross_validation", {})
        return scores

    def settings(self) -> dict[str, Any]:
        """Return what is done with the network's probabilities, as JSON gives it back."""
        calibration = {name: list(points) for name, points in asdict(self.calibration).items()}
        return {"mirrored": self.mirrored, "postprocessing": asdict(self.postprocessing), "calibration": calibration}

    def to_json(self) -> str:
        """Return the record as the text of its JSON file."""
        fields = asdict(self)
        del fields["folder"]
        return json.dumps(fields, indent=2) + "\n"


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bundled_models() -> dict[str, ModelRecord]:
    """Return the models that come with the package, by name."""
    records = (read_record(path) for path in sorted(BUNDLED.glob("*.json")))
    return {record.name: record for record in records}


def write_record(record: ModelRecord) -> ModelRecord:
    """Write a record beside its network, and return it."""
    write_text(record.to_json(), record.path.with_suffix(".json"))
    return record


def read_record(path: Path) -> ModelRecord:
    """Return the record in a JSON file.

    Raises
    ------
    ModelError
        The file is missing or is no such record.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields["normalisation"] = Normalisation(**fields["normalisation"])
        fields["channels"] = tuple(fields["channels"])
        fields["postprocessing"] = Postprocessing(**fields.get("postprocessing", {}))
        fields["calibration"] = Calibration.of(**fields.get("calibration", {}))
        fields["agreement"] = {kind: AgreementModel.of(**values) for kind, values in fields.get("agreement", {}).items()}
        fields["quantised"] = QuantisedNetwork(**fields["quantised"]) if fields.get("quantised") else None
        return ModelRecord(**fields, folder=path.parent)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: missing. A network needs the record that says how its input is made.") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{path}: not a model record (.json) of this version ({type(error).__name__}: {str(error)[:200]}). Export the model again."
        ) from error


def find_model(name_or_path: str | Path) -> ModelRecord:
    """Return a bundled model by its name, or the record of a network file by its path.

    A ``.keras`` file without a record, such as another project's, is taken as that of the original
    recipe: three channels, 256 x 256, intensities divided by their type's largest value, threshold 0.5.

    Raises
    ------
    ModelError
        No such model, a file without its record, or a file that is not what its record says.
    """
    bundled = bundled_models()
    if str(name_or_path) in bundled:
        record = bundled[str(name_or_path)]
    else:
        path = Path(name_or_path)
        if path.suffix not in (".onnx", ".keras"):
            raise ModelError(f"{name_or_path}: no such model. Bundled: {', '.join(bundled)}; or give an .onnx or .keras file.")
        if not path.is_file():
            raise ModelError(f"{path}: no such file.")
        beside = path.with_suffix(".json")
        record = _bare_keras(path) if path.suffix == ".keras" and not beside.exists() else read_record(beside)
    verify(record)
    return record


def verify(record: ModelRecord) -> None:
    """Compare the checksums of the model's network files with the record's.

    Raises
    ------
    ModelError
        A file is missing or differs.
    """
    files = {record.path: record.sha256}
    if record.quantised is not None:
        files[record.folder / record.quantised.file] = record.quantised.sha256
    for path, expected in files.items():
        if not path.is_file():
            raise ModelError(f"{path}: missing. Install gliomask again, or get the model again with all its files.")
        found = sha256_of(path)
        if found != expected:
            raise ModelError(f"{path}: altered or cut short (SHA-256 {found}, expected {expected}). Get the file again.")


def _bare_keras(path: Path) -> ModelRecord:
    return ModelRecord(
        name=path.stem,
        file=path.name,
        sha256=sha256_of(path),
        channels=CHANNELS,
        input_size=256,
        normalisation=Normalisation("full_scale"),
        threshold=UNCALIBRATED,
        licence="unknown",
        folder=path.parent,
    )

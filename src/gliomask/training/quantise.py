"""A trained network in int8 beside the one in float32, accepted only if its masks are as good."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from gliomask.dataset import Patient, index_dataset
from gliomask.engine import BATCH
from gliomask.errors import InputError, ModelError
from gliomask.evaluation.protocol import Progress, no_progress, role_of
from gliomask.evaluation.scores import HELD_OUT, TRAINED_ON
from gliomask.io import atomic_path
from gliomask.metrics import confusion, dice
from gliomask.models import QUANTISED, ModelRecord, QuantisedNetwork, read_record, sha256_of, write_record
from gliomask.preprocess import apply_windows, fill_channels, intensity_windows, to_network_grid
from gliomask.segmenter import Segmenter
from gliomask.volume import Volume

Float = NDArray[np.float32]

MOST_LOST = 0.002
"""Mean Dice per patient that int8 may lose against float32."""

TUMOUR_SLICES = 2
"""Slices with tumour of each training patient, all channels and FLAIR alone, beside one of any kind, that set the ranges."""


def quantise(model: Path, data: Path, progress: Progress = no_progress) -> ModelRecord:
    """Write ``<name>-int8.onnx`` beside a model, compare both on the patients held out of its training, and return the record.

    Where nobody was held out they are compared on the training patients, as the record says: what is asked is not how good
    the masks are, but whether they are the same.

    Weights are integers of one scale for each output channel, activations of one for each tensor, from
    the smallest and largest values on slices of the training patients (Jacob 2018, arXiv:1712.05877).
    The first layers stay in float32 (:func:`first_layers`).
    Weights take all 8 bits, for processors that add their products in 32
    (:func:`gliomask.processor.has_fast_int8`); others run float32.

    Raises
    ------
    InputError
        *data* has none of the patients that the model was trained on, or of those held out none.
    EngineError
        The processor cannot run it.
    ModelError
        The model cannot be used, or int8 loses more than :data:`MOST_LOST`; all files are as they were then.
    """
    record = read_record(model.with_suffix(".json"))
    patients = index_dataset(data)
    training, held_out = ([p for p in patients if role_of(p.name, record) == role] for role in (TRAINED_ON, HELD_OUT))
    nobody = record.training.get("held_out_fold", "") is None
    if not training or not (held_out or nobody):
        raise InputError(
            f"{data}: has {len(training)} patients that {record.name} was trained on and {len(held_out)} held out; both are needed."
        )
    role, compared = (HELD_OUT, held_out) if held_out else (TRAINED_ON, training)
    with tempfile.TemporaryDirectory(prefix="gliomask-quantise-") as aside:  # the model may have an int8 network, which stays until then
        copy = replace(record, folder=Path(aside))
        shutil.copyfile(record.path, copy.path)
        int8 = in_int8(copy, training)
        scores = {
            what: compared_in_all(compare(replace(copy, quantised=int8), compared, progress, flair_alone=alone))
            for what, alone in (("all three channels", False), ("FLAIR alone", True))
        }
        _refuse_worse(scores, role, record.folder / int8.file)
        with atomic_path(record.folder / int8.file) as temporary:
            shutil.copyfile(copy.folder / int8.file, temporary)
    return write_record(replace(record, quantised=replace(int8, scores={role.replace(" ", "_"): scores})))


def _refuse_worse(scores: Mapping[str, Mapping[str, Any]], role: str, path: Path) -> None:
    """Raise if the int8 network to be written to *path* loses too much with any kind of input."""
    for what, found in scores.items():
        if found["float32_mean_dice"] - found["int8_mean_dice"] > MOST_LOST:
            raise ModelError(
                f"{path}: Dice {found['int8_mean_dice']:.4f} over {found['patients']} patients {role}, {what}; float32 has "
                f"{found['float32_mean_dice']:.4f}, and at most {MOST_LOST:g} may be lost. Nothing was kept."
            )


def in_int8(record: ModelRecord, training: Sequence[Patient]) -> QuantisedNetwork:
    """Write ``<name>-int8.onnx`` beside a model, its ranges set by patients of the training, and return what a record says of it."""
    path = record.path.with_name(f"{record.path.stem}{QUANTISED}.onnx")
    with tempfile.TemporaryDirectory() as folder:
        plain, quantised = Path(folder, "plain.onnx"), Path(folder, "int8.onnx")
        quant_pre_process(str(record.path), str(plain), skip_symbolic_shape=True)
        quantization.quantize_static(
            plain,
            quantised,
            _Slices(training, record),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=False,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            nodes_to_exclude=first_layers(onnx.load(plain)),
        )
        path.write_bytes(quantised.read_bytes())
    return QuantisedNetwork(path.name, sha256_of(path))


def first_layers(network: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes before the second convolution that is not channel by channel.

    All that follows is made of the few channels here, which have one scale for all of them. They are 1 in 50 of the multiplications of
    ``fast``; with them in int8 it lost 0.003 of FLAIR alone's Dice.
    """
    names: list[str] = []
    full_convolutions = 0
    for node in network.graph.node:
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        full_convolutions += node.op_type == "Conv" and groups == 1
        if full_convolutions == 2:
            break
        names.append(node.name)
    return names


def compare(
    record: ModelRecord, patients: Sequence[Patient], progress: Progress = no_progress, *, flair_alone: bool = False
) -> NDArray[np.float64]:
    """Return the Dice of a model's masks in float32 and in int8 with the reference, and with each other, ``(patients, 3)``."""
    segmenters = [Segmenter(record, precision=precision, force=True) for precision in ("float32", "int8")]
    rows = []
    for patient in progress(patients):
        images, reference = patient.load()
        shown = Volume(images[..., 1:2] if flair_alone else images)
        masks = [segmenter.segment(shown).mask for segmenter in segmenters]
        rows.append([dice(confusion(one, other)) for one, other in ((masks[0], reference), (masks[1], reference), masks)])
    return np.array(rows)


def compared_in_all(rows: NDArray[np.float64]) -> dict[str, Any]:
    """Return what the rows of :func:`compare` come to."""
    return {
        "patients": len(rows),
        "float32_mean_dice": float(rows[:, 0].mean()),
        "int8_mean_dice": float(rows[:, 1].mean()),
        "largest_loss": float((rows[:, 0] - rows[:, 1]).max()),
        "mean_agreement": float(rows[:, 2].mean()),
        "lowest_agreement": float(rows[:, 2].min()),
    }


def format_comparison(record: ModelRecord) -> str:
    """Return what a quantised network scored as lines for a person."""
    found_by_role = record.quantised.scores if record.quantised else {}
    return "\n".join(
        f"{what}: Dice float32 {found['float32_mean_dice']:.4f}, int8 {found['int8_mean_dice']:.4f} over {found['patients']} patients "
        f"{role.replace('_', ' ')} (largest loss {found['largest_loss']:.4f}); Dice of both masks {found['mean_agreement']:.4f}, "
        f"lowest {found['lowest_agreement']:.4f}"
        for role, scores in found_by_role.items()
        for what, found in scores.items()
    )


class _Slices(quantization.CalibrationDataReader):  # type: ignore[misc]  # the runtime's class has no types
    """Batches of training patients' slices as the network sees them."""

    def __init__(self, patients: Sequence[Patient], record: ModelRecord) -> None:
        self._batches = self._drawn(patients, record)

    def get_next(self) -> dict[str, Float] | None:
        """Return the next batch, None after the last."""
        return next(self._batches, None)

    @staticmethod
    def _drawn(patients: Sequence[Patient], record: ModelRecord) -> Iterator[dict[str, Float]]:
        rng, channels = np.random.default_rng(0), len(record.channels)
        batch: list[Float] = []
        for patient in patients:
            images, masks = patient.load()
            tumour = np.flatnonzero(masks.any(axis=(1, 2)))
            drawn = [*rng.choice(tumour, min(TUMOUR_SLICES, len(tumour)), replace=False), rng.integers(len(images))]
            for number, z in enumerate(drawn):
                shown = images[..., 1:2] if number == 1 else images
                scaled = apply_windows(shown[z : z + 1], intensity_windows(shown, record.normalisation))
                batch.append(fill_channels(to_network_grid(scaled, record.input_size), channels))
            if len(batch) >= BATCH:
                yield {"slices": np.concatenate(batch)}
                batch = []
        if batch:
            yield {"slices": np.concatenate(batch)}

"""Synthetic DICOM for the tests, made here: series of any orientation and file order, multi-frame files, what stands beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

PATIENT_ID, PATIENT_NAME = "SECRET-4711", "Doe^Jane"

FLAIR = {"SeriesDescription": "AX FLAIR", "InversionTime": 2500, "EchoTime": 120, "RepetitionTime": 9000, "ScanningSequence": ["SE", "IR"]}
T1 = {"SeriesDescription": "AX T1", "EchoTime": 9, "RepetitionTime": 550, "ScanningSequence": "SE"}
T1_POST = {**T1, "SeriesDescription": "AX T1 POST", "ContrastBolusAgent": "gadobutrol"}

AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)


@dataclass(frozen=True)
class Geometry:
    """Where slices lie, in DICOM's own terms (LPS): position of the first, step to the next, spacing of rows and columns."""

    cosines: Sequence[float] = AXIAL
    first: Sequence[float] = (-20.0, -30.0, 5.0)
    step: Sequence[float] = (0.0, 0.0, 6.0)
    spacing: tuple[float, float] = (1.5, 1.25)

    def position(self, z: float) -> np.ndarray:
        return np.asarray(self.first, float) + z * np.asarray(self.step, float)

    def world_ras(self, x: float, y: float, z: float) -> np.ndarray:
        """Return the place of a pixel by DICOM's equation, in RAS+."""
        columns, rows = np.asarray(self.cosines[:3], float), np.asarray(self.cosines[3:], float)
        return np.array([-1, -1, 1]) * (self.position(z) + columns * self.spacing[1] * x + rows * self.spacing[0] * y)


def numbered(shape: tuple[int, int, int] = (5, 32, 40), dtype: type = np.uint16, seed: int = 0) -> np.ndarray:
    """Return voxels that all differ from one another, nearly."""
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(dtype)


def decimals(values: Sequence[float]) -> list[str]:
    return [f"{v:.9g}" for v in values]


@dataclass(frozen=True)
class Study:
    """The identifiers that files of one study share."""

    uid: str
    frame_of_reference: str
    patient: str = PATIENT_ID

    @classmethod
    def new(cls, patient: str = PATIENT_ID) -> "Study":
        return cls(generate_uid(), generate_uid(), patient)


def header(study: Study, sop_class: str, **tags: object) -> FileDataset:
    """Return a dataset with what every object has; *tags* replace or add, None removes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    common = {
        "SpecificCharacterSet": "ISO_IR 100",
        "SOPClassUID": sop_class,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": study.uid,
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": study.frame_of_reference,
        "PositionReferenceIndicator": "",
        "PatientID": study.patient,
        "PatientName": PATIENT_NAME,
        "PatientBirthDate": "19600102",
        "PatientSex": "F",
        "StudyID": "1",
        "StudyDate": "20200304",
        "StudyTime": "101112",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "",
        "Manufacturer": "test",
        "Modality": "MR",
        "SeriesNumber": 5,
        "InstanceNumber": 1,
    }
    set_tags(dataset, {**common, **tags})
    return dataset


def set_tags(dataset: Dataset, tags: dict[str, object]) -> None:
    for keyword, value in tags.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)


def pixels(dataset: Dataset, values: np.ndarray) -> None:
    """Put an image's pixels into a dataset, as they are."""
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = values.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes()
    if values.itemsize == 2:
        dataset["PixelData"].VR = "OW"


def mr_slice(study: Study, geometry: Geometry, z: float, values: np.ndarray, **tags: object) -> FileDataset:
    """Return one classic MR image at level *z* of the geometry."""
    dataset = header(study, MRImageStorage, **{"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"], **FLAIR, **tags})
    pixels(dataset, values)
    placed: dict[str, object] = {
        "ImagePositionPatient": decimals(geometry.position(z)),
        "ImageOrientationPatient": decimals(geometry.cosines),
        "PixelSpacing": decimals(geometry.spacing),
        "SliceThickness": 5,
        "MRAcquisitionType": "2D",
    }
    set_tags(dataset, {**placed, **{k: v for k, v in tags.items() if k in placed or k in PIXEL_TAGS}})
    return dataset


PIXEL_TAGS = {"Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "PixelData"}


def write(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    values: np.ndarray,
    geometry: Geometry | None = None,
    *,
    study: Study | None = None,
    order: Sequence[int] | None = None,
    levels: Sequence[float] | None = None,
    **tags: object,
) -> list[Path]:
    """Write a series of classic MR images, slice z at level z, and return the files in the order of z.

    *order* says which number each slice's file and InstanceNumber carry, *levels* puts slices at
    other levels than 0, 1, 2 …; *tags* replace attributes in all of them, None removes.
    """
    study, geometry, uid = study or Study.new(), geometry or Geometry(), generate_uid()
    files = []
    for z, plane in enumerate(values):
        instance = z if order is None else order[z]
        level = z if levels is None else levels[z]
        dataset = mr_slice(study, geometry, level, plane, **{"SeriesInstanceUID": uid, "InstanceNumber": instance + 1, **tags})
        files.append(write(dataset, folder / f"IM{instance:04d}"))
    return files


def enhanced(
    values: np.ndarray, geometry: Geometry | None = None, *, order: Sequence[int] | None = None, shared: bool = True, **tags: object
) -> FileDataset:
    """Return an Enhanced MR multi-frame object whose frame ``order[z]`` shows slice z; geometry is shared or repeated in each frame."""
    geometry, order = geometry or Geometry(), list(order or range(len(values)))
    series = {k: v for k, v in FLAIR.items() if k == "SeriesDescription"}
    dataset = header(Study.new(), EnhancedMRImageStorage, ImageType=["ORIGINAL", "PRIMARY", "FLAIR", "NONE"], **{**series, **tags})
    in_order = np.argsort(order)
    pixels(dataset, values[in_order])
    dataset.NumberOfFrames = len(values)
    common, frames = Dataset(), []
    set_groups(common, MREchoSequence={"EffectiveEchoTime": 120.0}, MRModifierSequence={"InversionTimes": [2500.0]})
    placed = {
        "PlaneOrientationSequence": {"ImageOrientationPatient": decimals(geometry.cosines)},
        "PixelMeasuresSequence": {"PixelSpacing": decimals(geometry.spacing), "SliceThickness": 5},
    }
    if shared:
        set_groups(common, **placed)
    for z in in_order:
        frame = Dataset()
        set_groups(frame, PlanePositionSequence={"ImagePositionPatient": decimals(geometry.position(z))}, **({} if shared else placed))
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence = [common]
    dataset.PerFrameFunctionalGroupsSequence = frames
    set_tags(dataset, {k: v for k, v in tags.items() if k in PIXEL_TAGS or k.endswith("FunctionalGroupsSequence")})
    return dataset


def set_groups(item: Dataset, **groups: dict[str, object]) -> None:
    """Put functional groups into an item of a functional groups sequence."""
    for sequence, tags in groups.items():
        content = Dataset()
        set_tags(content, tags)
        setattr(item, sequence, [content])


def report(study: Study, sop_class: str, modality: str, **tags: object) -> FileDataset:
    """Return an object without an image, such as an SR or a RTSTRUCT."""
    return header(study, sop_class, Modality=modality, **{"FrameOfReferenceUID": None, "SeriesNumber": 99, **tags})


def without_meta(path: Path, *, implicit: bool = True, little: bool = True) -> Path:
    """Rewrite a file without preamble and meta header, in another encoding if asked."""
    dataset = pydicom.dcmread(path)
    if not little:
        dataset["PixelData"].value = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    bare = elements_of(dataset)
    bare.save_as(path, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
    return path


def elements_of(dataset: Dataset) -> Dataset:
    """Return a dataset's elements alone, which pydicom lets be written in another encoding."""
    bare = Dataset()
    bare.update({element.tag: element for element in dataset})
    return bare


def big_endian(path: Path) -> Path:
    """Rewrite a file of 16-bit pixels as Explicit VR Big Endian."""
    dataset = pydicom.dcmread(path)
    dataset["PixelData"].value = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    bare = elements_of(dataset)
    bare.file_meta, bare.preamble = dataset.file_meta, dataset.preamble
    bare.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    bare.save_as(path, implicit_vr=False, little_endian=False, enforce_file_format=True)
    return path


def compress(path: Path, syntax: str) -> Path:
    """Rewrite a file in a compressed transfer syntax."""
    dataset = pydicom.dcmread(path)
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path)
    return path


def write_dicomdir(path: Path, names: Sequence[str]) -> Path:
    """Write a DICOMDIR that names images by their paths."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, "1.2.840.10008.1.3.10"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    records = []
    for name in names:
        record = Dataset()
        with pydicom.config.disable_value_validation():  # a test names what is outside
            record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", name.split("/")
        records.append(record)
    dataset.FileSetID, dataset.DirectoryRecordSequence = "TEST", records
    return write(dataset, path)

"""DICOM SEG out: a mask or a probability on the source images' own slices."""

from copy import copy
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import EngineError, GliomaskError, InputError
from gliomask.io.dicom import DicomOrigin
from gliomask.io.headers import number
from gliomask.io.silence import unwarned
from gliomask.io.writing import atomic_path
from gliomask.volume import Volume

SERIES_NUMBER_OFFSET = 1000
"""What is added to the source's SeriesNumber, so that the segmentation sorts behind the scanner's series."""

LONGEST_LO = 64
"""Characters of DICOM's value representation LO (long string)."""

TYPE_2 = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
"""Attributes of patient and study that have to be there and may be empty; exports lack them all the same."""

TYPE_1 = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
"""Attributes of the source without which a segmentation could not be tied to it."""

SHARED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
"""Of these, what all images of the source have to agree in."""

SEXES = ("M", "F", "O", "")

UTF_8 = "ISO_IR 192"
"""DICOM's name of the character set UTF-8."""

NO_SERIAL_NUMBER = "software"
"""DeviceSerialNumber of what has none; DICOM's Enhanced General Equipment module does not let it be empty."""

_VALIDATION = Lock()
"""Held while pydicom's validation is off: that is the process's setting, and two threads would restore each other's."""


def write_seg(
    mask_or_probability: NDArray[Any], volume: Volume, path: Path, *, model_name: str, model_version: str, fractional: bool = False
) -> None:
    """Write a segmentation as a DICOM SEG object, whole or not at all.

    One segment, on the source's own frames: every slice has its frame, empty or not, because
    viewers place a SEG by the frames that it has, and every frame refers to the image that it lies
    on. Nothing found is a valid segmentation, with all frames empty. What the segment is, in codes
    (SCT is SNOMED CT, DCM the DICOM controlled terminology, CID the context group of PS3.16):

    - Segmented Property Category: SCT 49755003 "Morphologically Abnormal Structure" (CID 7150)
    - Segmented Property Type: SCT 52988006 "Lesion" (CID 7194, in CID 7159)
    - Anatomic Region: SCT 12738006 "Brain" (CID 4)
    - Algorithm Family: DCM 123110 "Artificial Intelligence" (CID 7162)

    It is called a lesion, and neither a neoplasm nor an edema, because it is both together: what is
    abnormal on FLAIR, tumour and oedema unparted.

    Parameters
    ----------
    mask_or_probability
        ``(z, y, x)`` on the volume's grid: bool, or with *fractional* probabilities in 0..1.
    volume
        The volume as :func:`gliomask.io.dicom.read_study` gave it, with the source's headers.
    path
        The file to be written.
    model_name, model_version
        Algorithm Identification: which network, in which version.
    fractional
        Write Segmentation Type FRACTIONAL with Segmentation Fractional Type PROBABILITY in 255
        steps, instead of BINARY.

    Raises
    ------
    InputError
        The volume is not from DICOM, the array is not on its grid, the source lacks a UID that ties a
        segmentation to it, its images differ in one that they have to share, or do not in their own, or highdicom refuses its headers.
    EngineError
        highdicom is not installed.
    """
    frames = _checked_frames(mask_or_probability, volume, fractional)
    hd, config = _packages()
    # The source's identifiers are copied as they are, also where they are longer than DICOM allows.
    with unwarned(), _VALIDATION, config.disable_value_validation():
        sources, numbers_of_frames = _sources(volume)
        try:
            seg = hd.seg.Segmentation(
                source_images=sources,
                pixel_array=frames,
                segmentation_type="FRACTIONAL" if fractional else "BINARY",
                fractional_type="PROBABILITY",
                max_fractional_value=255,
                segment_descriptions=[_segment(hd, model_name, model_version)],
                omit_empty_frames=False,  # OHIF shifts a SEG that lacks frames of its source
                **_equipment_and_series(hd, sources[0], model_name, model_version),
            )
        except (ValueError, TypeError, AttributeError, LookupError) as error:  # its message may quote what is in the headers
            raise InputError(
                f"{volume.source or volume.name}: highdicom makes no segmentation of its headers ({type(error).__name__}). "
                "Take the NIfTI mask."
            ) from error
        _restore_frame_numbers(seg, numbers_of_frames)
        seg.ContentCreatorName = ""  # nobody: has to be there, may be empty
        with atomic_path(path) as temporary:
            seg.save_as(temporary)


def seg_problem(volume: Volume) -> str:
    """Return the note that the headers of a volume from DICOM allow no DICOM SEG, as far as they tell before one is made, or nothing."""
    if not isinstance(volume.origin, DicomOrigin):
        return ""
    try:
        _, config = _packages()
        with unwarned(), _VALIDATION, config.disable_value_validation():
            _sources(volume)
    except GliomaskError as error:
        return no_seg(error, volume)
    return ""


def no_seg(error: GliomaskError, volume: Volume) -> str:
    """Return the note that a case has no DICOM SEG, without the source's folders."""
    return f"no DICOM SEG: {str(error).removeprefix(f'{volume.source or volume.name}: ')}"


def _packages() -> tuple[Any, Any]:
    """Return highdicom and pydicom's settings."""
    try:
        import highdicom
        from pydicom import config
    except ImportError as error:
        raise EngineError("DICOM SEG needs highdicom. Install it: pip install 'gliomask[dicom]'.") from error
    return highdicom, config


def _checked_frames(array: NDArray[Any], volume: Volume, fractional: bool) -> NDArray[Any]:
    """Return the frames as highdicom takes them: uint8 0 or 1, or float32 in 0..1."""
    if not isinstance(volume.origin, DicomOrigin):
        raise InputError(f"{volume.source or volume.name}: not read from DICOM, so that no DICOM SEG can refer to it. Write NIfTI.")
    if array.shape != volume.voxels.shape[:3]:
        raise InputError(f"{volume.name}: a mask of shape {array.shape} for a volume of {volume.voxels.shape[:3]}; expected the same grid.")
    if not fractional:
        if array.dtype != np.bool_:
            raise InputError(f"{volume.name}: a mask of {array.dtype}; expected bool, or probabilities with fractional=True.")
        return array.astype(np.uint8)
    probability = np.asarray(array, np.float32)
    if not ((probability >= 0) & (probability <= 1)).all():  # also refuses NaN
        raise InputError(f"{volume.name}: probabilities from {probability.min():g} to {probability.max():g}; expected 0 to 1.")
    return probability


def _sources(volume: Volume) -> tuple[list[Any], tuple[int, ...]]:
    """Return copies of the source's headers in the order of z, made fit for highdicom, and a multi-frame source's frame numbers."""
    origin: DicomOrigin = volume.origin
    if origin.frames and len(origin.datasets) > 1:
        raise InputError(
            f"{volume.source or volume.name}: slices from {len(origin.datasets)} multi-frame files; a DICOM SEG refers to one. Take the "
            "NIfTI mask."
        )
    sources = [_fit(dataset, volume) for dataset in origin.datasets]
    if differing := [keyword for keyword in SHARED if len({str(source.get(keyword)) for source in sources}) > 1]:
        raise InputError(
            f"{volume.source or volume.name}: its images differ in {', '.join(differing)}, which a DICOM SEG has once for all. Take the "
            "NIfTI mask."
        )
    if len({source.SOPInstanceUID for source in sources}) < len(sources):
        raise InputError(
            f"{volume.source or volume.name}: several of its images have one SOPInstanceUID, by which a DICOM SEG refers to them. Take the "
            "NIfTI mask."
        )
    if origin.frames:
        _share_geometry(sources[0], origin.frames, volume)
    else:
        for source in sources:
            # One orientation for all: within the reader's tolerance they may differ in the last digit.
            source.ImageOrientationPatient = sources[0].ImageOrientationPatient
            source.PixelSpacing = sources[0].PixelSpacing
            source.SpacingBetweenSlices = _text_of(_distance_mm(volume))
            source.SliceThickness = _thickness(source, volume)
    return sources, tuple(index + 1 for index in origin.frames)


def _fit(dataset: Any, volume: Volume) -> Any:
    """Return a copy of a header with what a segmentation takes over of it, empty where DICOM allows that."""
    from pydicom.charset import python_encoding
    from pydicom.valuerep import DA, TM

    fit = _copied(dataset)
    missing = [keyword for keyword in TYPE_1 if not fit.get(keyword)]
    if missing:
        raise InputError(f"{volume.source or volume.name}: its headers lack {', '.join(missing)}, without which no SEG refers to them.")
    for keyword in TYPE_2:
        if fit.get(keyword) is None:
            setattr(fit, keyword, "")
    for keyword, parse in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            parse(fit[keyword].value)
        except ValueError:
            setattr(fit, keyword, "")
    if fit.PatientSex not in SEXES:
        fit.PatientSex = ""
    if fit.get("SpecificCharacterSet", "ISO_IR 100") not in [name for name in python_encoding if name]:
        fit.SpecificCharacterSet = UTF_8  # names are text by now, and are written anew
    return fit


def _copied(dataset: Any) -> Any:
    """Return a dataset whose elements can be set without altering the original's; what cannot be decoded is left out."""
    from pydicom.dataset import Dataset

    copied = Dataset()
    for tag in dataset.keys():  # noqa: SIM118 - iterating a dataset decodes, and stops at the first element that cannot be
        try:
            copied[tag] = copy(dataset[tag])
        except (ValueError, TypeError, AttributeError, LookupError, NotImplementedError):
            continue
    return copied


def _share_geometry(source: Any, frames: tuple[int, ...], volume: Volume) -> None:
    """Give a multi-frame header its used frames in the order of z, with orientation and spacing shared by all."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    per_frame, shared = source.PerFrameFunctionalGroupsSequence, (source.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]

    def group(index: int, keyword: str) -> Any:
        own = per_frame[index]
        return _copied((own if keyword in own else shared)[keyword][0])

    measures = group(frames[0], "PixelMeasuresSequence")
    measures.SpacingBetweenSlices = _text_of(_distance_mm(volume))
    measures.SliceThickness = _thickness(measures, volume)
    together, placed = Dataset(), [Dataset() for _ in frames]
    together.PixelMeasuresSequence = Sequence([measures])
    together.PlaneOrientationSequence = Sequence([group(frames[0], "PlaneOrientationSequence")])
    for place, index in zip(placed, frames, strict=True):
        place.PlanePositionSequence = Sequence([group(index, "PlanePositionSequence")])
    source.SharedFunctionalGroupsSequence = Sequence([together])
    source.PerFrameFunctionalGroupsSequence = Sequence(placed)
    source.NumberOfFrames = len(placed)


def _restore_frame_numbers(seg: Any, frame_numbers: tuple[int, ...]) -> None:
    """Let the references to a multi-frame source count as its file does, where they counted in the order of z."""
    for groups in seg.PerFrameFunctionalGroupsSequence if frame_numbers else ():
        for derivation in groups.DerivationImageSequence:
            for reference in derivation.SourceImageSequence:
                reference.ReferencedFrameNumber = frame_numbers[int(reference.ReferencedFrameNumber) - 1]


def _distance_mm(volume: Volume) -> float:
    """Return the slices' distance along their normal, which in a sheared stack is less than from centre to centre."""
    x, y, step = np.asarray(volume.affine)[:3, :3].T
    normal = np.cross(x, y)
    return float(step @ normal / np.linalg.norm(normal))


def _thickness(measures: Any, volume: Volume) -> str:
    """Return the source's SliceThickness; where it says nothing, the slices' distance."""
    thickness = number(measures, "SliceThickness") or 0.0
    return _text_of(thickness if thickness > 0 else _distance_mm(volume))


def _text_of(length_mm: float) -> str:
    """Return a length as DICOM's decimal string, at most 16 characters."""
    return f"{length_mm:.10g}"


def _segment(hd: Any, model_name: str, model_version: str) -> Any:
    """Return what the one segment is, and which algorithm made it."""
    from pydicom.sr.codedict import codes

    return hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="FLAIR abnormality",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        anatomic_regions=[codes.SCT.Brain],
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=model_name[:LONGEST_LO],
            version=model_version[:LONGEST_LO],
            family=codes.DCM.ArtificialIntelligence,
            source="gliomask",
        ),
    )


def _equipment_and_series(hd: Any, source: Any, model_name: str, model_version: str) -> dict[str, Any]:
    """Return who made the object and the series that it is, as highdicom's arguments."""
    from gliomask import __version__  # at the top it would be a circle

    return {
        "series_instance_uid": hd.UID(),
        "series_number": max(int(number(source, "SeriesNumber") or 0), 0) + SERIES_NUMBER_OFFSET,
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": "gliomask",
        "manufacturer_model_name": model_name[:LONGEST_LO],
        "software_versions": (f"gliomask {__version__}", model_version[:LONGEST_LO]),
        "device_serial_number": NO_SERIAL_NUMBER,
        "series_description": f"FLAIR abnormality, {model_name}"[:LONGEST_LO],
        "content_label": "GLIOMASK",
        "content_description": "Abnormality on FLAIR: tumour and oedema",
    }

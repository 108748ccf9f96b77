"""What a DICOM file says of itself: told from other files by content, read without its pixels, as plain values."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gliomask.errors import EngineError, GliomaskError, InputError
from gliomask.io.access import closed, lost
from gliomask.io.silence import unwarned

PREAMBLE = 128
"""Bytes before the letters DICM in a file of DICOM PS3.10."""

LONGEST_FIRST_ELEMENT = 1024
"""Bytes of a first element beyond which a file without preamble is not taken for DICOM."""

MAX_DEFLATED_BYTES = 2**20
"""Largest deflated file that is read: deflate expands up to 1,032-fold, and pydicom does so in memory."""

STORAGE = "1.2.840.10008.5.1.4.1.1."
MR_IMAGES = {STORAGE + "4", STORAGE + "4.1", STORAGE + "4.3", STORAGE + "4.4"}
"""SOP classes MR, Enhanced MR, Enhanced MR Color and Legacy Converted Enhanced MR Image Storage."""

EXTENTS = ("SpacingBetweenSlices", "SliceThickness")
"""How far a slice reaches to the next one; some write the gap between two as the first."""

KEYWORDS = (
    *("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID", "Modality", "SeriesNumber"),
    *("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName", "ScanningSequence", "ImageType", "InversionTime"),
    *("EchoTime", "RepetitionTime", "ContrastBolusAgent", "ContrastBolusAgentSequence", "NumberOfFrames", "Rows", "Columns"),
    *EXTENTS,
    *("ImageOrientationPatient", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
"""All that is read of a file to say what it is."""


NO_AGENT = re.compile(r"(no|none|not? .*|nil|n/?a|without.*|0|[-.]+)?", re.IGNORECASE)
"""What is typed in as the contrast agent where none was given."""


@dataclass(frozen=True)
class Header:
    """What one file says of itself, as plain values; identifiers stay out of its ``repr``.

    Attributes
    ----------
    described, protocol, sequence_names
        SeriesDescription, ProtocolName, and SequenceName with PulseSequenceName.
    inversion_recovery
        Whether ScanningSequence holds IR; None where it tells nothing, as "research mode" does.
    slice_mm
        The larger of :data:`EXTENTS`; None where none is given.
    protocol_is_own
        False where ProtocolName turned out to be that of the whole examination, which says nothing of a series.
    """

    file: Path
    sop_class: str
    modality: str
    study: str = field(repr=False)
    series: str = field(repr=False)
    patient: str = field(repr=False)
    frame_of_reference: str = field(repr=False)
    number: int | None
    described: str
    protocol: str
    sequence_names: str
    image_type: tuple[str, ...]
    inversion_recovery: bool | None
    inversion_ms: float | None
    echo_ms: float | None
    repetition_ms: float | None
    contrast_agent: bool
    frames: int
    rows: int
    columns: int
    plane: str
    slice_mm: float | None
    protocol_is_own: bool = True

    @property
    def description(self) -> str:
        """What the series is called where it is shown."""
        return (self.described or self.protocol)[:64]

    @property
    def own_protocol(self) -> str:
        """The protocol of this series; empty where there is none but the whole examination's."""
        return self.protocol if self.protocol_is_own else ""

    @property
    def own_name(self) -> str:
        """What names this series and no other; may be empty."""
        return self.described or self.own_protocol

    @property
    def words(self) -> str:
        """All that names its sequence, in lower case."""
        return f"{self.own_name} {self.sequence_names}".casefold()


@contextmanager
def blaming(path: Path, part: str) -> Iterator[None]:
    """Turn whatever pydicom and its decoders run into on damaged bytes into an InputError that names the file and the part."""
    try:
        yield
    except GliomaskError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: claims more than fits into memory. Export it again.") from error
    except Exception as error:
        raise InputError(f"{path}: {part} cut short or damaged ({type(error).__name__}). Export it again.") from error


def is_dicom(path: Path) -> bool:
    """Return whether the file is DICOM by its content.

    True with the letters DICM after the preamble, and for files without preamble whose first
    element is a plausible one of group 0002 or 0008; the name is never looked at.

    Raises
    ------
    InputError
        It may not be read, or is a link to nothing, so that nobody knows.
    """
    if problem := lost(path):
        raise InputError(problem)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(PREAMBLE + 4)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise closed(path, error) from error
    return start[PREAMBLE:] == b"DICM" or _starts_with_element(start, size)


def _starts_with_element(start: bytes, size: int) -> bool:
    """Return whether bytes begin with an element of group 0002 or 0008: tag, then VR or a small length."""
    if len(start) < 8:
        return False
    vr_is_letters = start[4:6].isalpha() and start[4:6].isupper()
    if start[:2] in (b"\x00\x02", b"\x00\x08"):  # big endian always has a VR
        return vr_is_letters
    length = int.from_bytes(start[4:8], "little")
    plausible = length <= LONGEST_FIRST_ELEMENT and length % 2 == 0 and 8 + length < size
    return start[:2] in (b"\x02\x00", b"\x08\x00") and (vr_is_letters or plausible)


def read_dataset(path: Path, **options: Any) -> Any:
    """Return a file as a pydicom dataset; *options* are those of ``pydicom.dcmread``.

    Raises
    ------
    InputError
        It may not be read, is no DICOM file, damaged, or could expand beyond bounds.
    EngineError
        pydicom is not installed.
    """
    if not is_dicom(path):
        empty = path.is_file() and path.stat().st_size == 0
        found = "empty" if empty else "not a DICOM file" if path.exists() else "no such file"
        raise InputError(f"{path}: {found}. Give DICOM files, or leave it out.")
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise EngineError("DICOM needs pydicom and highdicom. Install them: pip install 'gliomask[dicom]'.") from error
    with blaming(path, "file"):
        if path.stat().st_size > MAX_DEFLATED_BYTES and _is_deflated(path):
            raise InputError(f"{path}: deflated, and more than {MAX_DEFLATED_BYTES // 2**20} MiB. Save it uncompressed (dcmconv +te).")
        return dcmread(path, force=True, **options)  # force: files without preamble or meta header


def _is_deflated(path: Path) -> bool:
    """Return whether a file's meta header (group 0002), with or without a preamble before it, says that the rest is deflated."""
    from pydicom import filereader, uid

    with path.open("rb") as file:
        filereader.read_preamble(file, force=True)
        meta = filereader.read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    return bool(meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian)


def _values(dataset: Any, keyword: str) -> list[Any]:
    """Return an element's values, of which there may be none."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    return list(value) if hasattr(value, "__iter__") and not isinstance(value, str | bytes) else [value]


def texts(dataset: Any, keyword: str) -> tuple[str, ...]:
    """Return an element's values as text, without control characters; empty where there are none."""
    cleaned = (" ".join("".join(c if c.isprintable() else " " for c in str(v)).split()) for v in _values(dataset, keyword))
    return tuple(v for v in cleaned if v)


def text(dataset: Any, keyword: str) -> str:
    """Return an element's values as one text; empty where there are none."""
    return " ".join(texts(dataset, keyword))


def numbers(dataset: Any, keyword: str) -> tuple[float, ...]:
    """Return an element's values as numbers; empty where there are none or one is not a number."""
    try:
        return tuple(float(v) for v in _values(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return ()


def number(dataset: Any, keyword: str) -> float | None:
    """Return an element's first value as a finite number; None where it has none."""
    values = numbers(dataset, keyword)
    return values[0] if values and np.isfinite(values[0]) else None


def in_groups(dataset: Any, frame: int, sequence: str, keyword: str) -> tuple[float, ...]:
    """Return the numbers of an element for a frame: from its own functional groups, else from those that all frames share."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for groups in (*per_frame[frame : frame + 1], *shared[:1]):
        for item in (groups.get(sequence) or ())[:1]:
            if values := numbers(item, keyword):
                return values
    return ()


def read_header(path: Path) -> Header:
    """Return what a file says of itself, without its pixels.

    Raises
    ------
    InputError
        The file cannot be read, or holds none of what every DICOM object has.
    """
    with unwarned():
        dataset = read_dataset(path, stop_before_pixels=True, specific_tags=list(KEYWORDS))
        with blaming(path, "header"):
            header = header_of(dataset, path)
    if not header.sop_class and not header.modality:
        raise InputError(f"{path}: cut short, or not DICOM after all: neither SOP class nor modality. Export it again.")
    is_mr = header.sop_class in MR_IMAGES or (header.modality == "MR" and not header.sop_class)
    if is_mr and not (header.rows and header.columns):
        raise InputError(f"{path}: cut short: an MR image without rows and columns. Export it again.")
    return header


def header_of(dataset: Any, path: Path) -> Header:
    """Return what a pydicom dataset, read from *path*, says of itself."""
    series_number = number(dataset, "SeriesNumber")
    rows, columns, frames = (int(number(dataset, k) or 0) for k in ("Rows", "Columns", "NumberOfFrames"))
    cosines = numbers(dataset, "ImageOrientationPatient") or in_groups(dataset, 0, "PlaneOrientationSequence", "ImageOrientationPatient")
    return Header(
        file=path,
        sop_class=text(dataset, "SOPClassUID") or text(getattr(dataset, "file_meta", {}), "MediaStorageSOPClassUID"),
        modality=text(dataset, "Modality").upper(),
        study=text(dataset, "StudyInstanceUID"),
        series=text(dataset, "SeriesInstanceUID"),
        patient=text(dataset, "PatientID"),
        frame_of_reference=text(dataset, "FrameOfReferenceUID"),
        number=None if series_number is None else int(series_number),
        described=text(dataset, "SeriesDescription"),
        protocol=text(dataset, "ProtocolName"),
        sequence_names=f"{text(dataset, 'SequenceName')} {text(dataset, 'PulseSequenceName')}",
        image_type=tuple(v.upper() for v in texts(dataset, "ImageType")),
        inversion_recovery="IR" in sequences if (sequences := set(texts(dataset, "ScanningSequence")) - {"RM"}) else None,
        inversion_ms=_parameter(dataset, "MRModifierSequence", "InversionTimes", "InversionTime"),
        echo_ms=_parameter(dataset, "MREchoSequence", "EffectiveEchoTime", "EchoTime"),
        repetition_ms=_parameter(dataset, "MRTimingAndRelatedParametersSequence", "RepetitionTime", "RepetitionTime"),
        contrast_agent=not NO_AGENT.fullmatch(text(dataset, "ContrastBolusAgent")) or bool(dataset.get("ContrastBolusAgentSequence")),
        frames=max(frames, 1),
        rows=rows,
        columns=columns,
        plane=_plane(cosines),
        slice_mm=max(filter(None, (_parameter(dataset, "PixelMeasuresSequence", keyword, keyword) for keyword in EXTENTS)), default=None),
    )


def _parameter(dataset: Any, sequence: str, in_sequence: str, at_root: str) -> float | None:
    """Return a sequence parameter, from the root or the first frame's functional groups; None where there is none."""
    values = numbers(dataset, at_root) or in_groups(dataset, 0, sequence, in_sequence)
    return values[0] if values and values[0] > 0 else None  # 0 stands for "none" in many exports


def _plane(cosines: Sequence[float]) -> str:
    """Return the plane of an ImageOrientationPatient; empty where there is none."""
    if len(cosines) != 6:
        return ""
    normal = np.abs(np.cross(cosines[:3], cosines[3:]))
    return ("sagittal", "coronal", "axial")[int(np.argmax(normal))]

"""Which DICOM files belong together, what each is, and which series is the FLAIR one; headers only."""

import logging
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gliomask.errors import EngineError, GliomaskError, InputError
from gliomask.io.naming import natural_key

PREAMBLE = 128
"""Bytes before the letters DICM in a file of DICOM PS3.10."""

LONGEST_FIRST_ELEMENT = 1024
"""Bytes of a first element beyond which a file without preamble is not taken for DICOM."""

MAX_DEFLATED_BYTES = 2**20
"""Largest deflated file that is read: deflate expands up to 1,032-fold, and pydicom does so in memory."""

FLAIR_INVERSION_MS = (1500.0, 3500.0)
"""Inversion times that null cerebrospinal fluid at 0.5 to 7 T; fat (STIR) needs 100 to 300 ms."""

LONG_ECHO_MS = 60.0
"""Echo time from which an inversion recovery is T2-weighted; "T1 FLAIR" has 5 to 30 ms."""

LONGEST_T1_ECHO_MS = 30.0
"""Echo time up to which a series that is called T1 is taken for one."""

LONGEST_T1_REPETITION_MS = 3500.0
"""Repetition time up to which a series that is called T1 is taken for one (T1 FLAIR and MPRAGE go beyond 2,000)."""

NAMED_FLAIR = re.compile(r"flair|fluid.?atten|dark.?fluid|tirm|(?<![a-z])df(?![a-z])")
NAMED_T1 = re.compile(r"t1|mprage|bravo|spgr|vibe|(?<![a-z])tfl(?![a-z])")
NAMED_T2 = re.compile(r"t2|(?<![a-z])pd(?![a-z])")
NAMED_POST = re.compile(
    r"post(?!er|.?fossa)|gado|(?<![a-z])(gd|gad|ce|km|contrast|dotarem|gadavist)(?![a-z])|t1ce|t1c(?![a-z])|\+ ?c(?![a-z])|c\+"
)
NAMED_PRE = re.compile(r"(?<![a-z])(pre|nativ|native|plain|non.?contrast|without|w/?o|nc)(?![a-z])")
NAMED_LOCALIZER = re.compile(r"locali[sz]er|scout|survey|(?<![a-z])loc(?![a-z])")
NAMED_MAP = re.compile(r"(?<![a-z])(adc|mip|trace|stir|subtraction|sub|cbf|cbv|mtt|ttp|swi|tof|asl|perfusion|dwi|dti|diff)(?![a-z])|dyn")
MAP_TYPES = {*("ADC", "TRACEW", "FA", "DIFFUSION", "SUBTRACT", "SUBTRACTION", "CBF", "CBV", "MTT", "TTP", "MIP", "PROJECTION IMAGE")}
"""Values of ImageType that name a derived map rather than an image of the anatomy."""

STORAGE = "1.2.840.10008.5.1.4.1.1."
MR_IMAGES = {STORAGE + "4", STORAGE + "4.1", STORAGE + "4.3", STORAGE + "4.4"}
"""SOP classes MR, Enhanced MR, Enhanced MR Color and Legacy Converted Enhanced MR Image Storage."""

DICOMDIR = "1.2.840.10008.1.3.10"
"""SOP class Media Storage Directory Storage."""

KINDS = (
    (r"66\.[47]$", "SEG"),
    (r"481\.3$", "RTSTRUCT"),
    (r"481\.", "RT object"),
    (r"104\.1$", "PDF"),
    (r"104\.", "encapsulated document"),
    (r"88\.", "SR"),
    (r"11\.", "presentation state"),
    (r"7(\.\d+)?$", "secondary capture"),
)
"""What the end of a storage SOP class says that a file is."""

MODALITY_KINDS = {"SEG": "SEG", "RTSTRUCT": "RTSTRUCT", "SR": "SR", "KO": "SR", "DOC": "PDF", "OT": "secondary capture"}
"""What the modality says, where there is no SOP class."""

MR_IMAGE = "MR image"

KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID", "Modality"),
    *("SeriesNumber", "SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName", "ScanningSequence", "ImageType"),
    *("InversionTime", "EchoTime", "RepetitionTime", "ContrastBolusAgent", "ContrastBolusAgentSequence", "NumberOfFrames", "Rows"),
    *("Columns", "ImageOrientationPatient", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
"""All that is read of a file to say what it is."""


@dataclass(frozen=True)
class Study:
    """The DICOM files of one study, in natural order of their paths."""

    files: tuple[Path, ...]


@dataclass(frozen=True)
class Header:
    """What one file says of itself, as plain values; identifiers stay out of its ``repr``."""

    file: Path
    kind: str
    study: str = field(repr=False)
    series: str = field(repr=False)
    patient: str = field(repr=False)
    frame_of_reference: str = field(repr=False)
    number: int | None
    description: str
    words: str
    protocol: str
    image_type: tuple[str, ...]
    inversion_recovery: bool
    inversion_ms: float | None
    echo_ms: float | None
    repetition_ms: float | None
    contrast_agent: bool
    frames: int
    rows: int
    columns: int
    plane: str


@dataclass(frozen=True)
class Series:
    """The images of one series, one header a file."""

    headers: tuple[Header, ...]

    @property
    def first(self) -> Header:
        """The header that stands for the series: sequence parameters are the same in all."""
        return self.headers[0]

    @property
    def slices(self) -> int:
        """Slices in all files together."""
        return sum(header.frames for header in self.headers)

    @property
    def derived(self) -> bool:
        """Whether it was computed from another series."""
        return "DERIVED" in self.first.image_type

    def __str__(self) -> str:
        """Return its number, description and size, as messages give it."""
        number = "without number" if self.first.number is None else self.first.number
        return f"series {number} '{self.first.description}', {self.slices} slice{'s' if self.slices != 1 else ''}"


def pydicom() -> Any:
    """Return the package pydicom, which only DICOM needs.

    Raises
    ------
    EngineError
        It is not installed.
    """
    try:
        import pydicom as package
    except ImportError as error:
        raise EngineError("DICOM needs pydicom and highdicom. Install them: pip install 'gliomask[dicom]'.") from error
    return package


@contextmanager
def unwarned() -> Iterator[None]:
    """Silence what pydicom and highdicom say of values that break DICOM's rules.

    What is used of them is checked here, and such messages quote patients' names and birth dates.
    """
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


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
    """
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(PREAMBLE + 4)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return False
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
        It is no DICOM file, damaged, or could expand beyond bounds.
    """
    if not is_dicom(path):
        found = "no such file" if not path.exists() else "empty" if path.is_file() and path.stat().st_size == 0 else "not a DICOM file"
        raise InputError(f"{path}: {found}. Give DICOM files, or leave it out.")
    package = pydicom()
    deflated = package.uid.DeflatedExplicitVRLittleEndian
    with blaming(path, "file"):
        if path.stat().st_size > MAX_DEFLATED_BYTES and read_file_meta(path).get("TransferSyntaxUID") == deflated:
            raise InputError(f"{path}: deflated, and more than {MAX_DEFLATED_BYTES // 2**20} MiB. Save it uncompressed (dcmconv +te).")
        return package.dcmread(path, force=True, **options)  # force: files without preamble or meta header


def read_file_meta(path: Path) -> Any:
    """Return the meta header (group 0002) of a file; empty where there is none."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_file_meta_info

    try:
        return read_file_meta_info(path)
    except InvalidDicomError:
        return FileMetaDataset()


def texts(dataset: Any, keyword: str) -> tuple[str, ...]:
    """Return an element's values as text, without control characters; empty where there are none."""
    value = dataset.get(keyword)
    values = [] if value is None else [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    cleaned = (" ".join("".join(c if c.isprintable() else " " for c in str(v)).split()) for v in values)
    return tuple(v for v in cleaned if v)


def numbers(dataset: Any, keyword: str) -> tuple[float, ...]:
    """Return an element's values as numbers; empty where there are none or one is not a number."""
    try:
        value: Any = dataset.get(keyword)
        values = [] if value is None or value == "" else list(value) if hasattr(value, "__iter__") else [value]
        return tuple(float(v) for v in values)
    except (TypeError, ValueError, OverflowError):
        return ()


def number(dataset: Any, keyword: str) -> float | None:
    """Return an element's first value as a finite number; None where it has none."""
    values = numbers(dataset, keyword)
    return values[0] if values and np.isfinite(values[0]) else None


def functional_groups(dataset: Any, frame: int) -> tuple[Any, ...]:
    """Return where a frame of a multi-frame file is described: its own functional groups, then the shared ones."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    return (*per_frame[frame : frame + 1], *shared[:1])


def in_groups(dataset: Any, frame: int, sequence: str, keyword: str) -> tuple[float, ...]:
    """Return the numbers of an element for a frame, wherever the functional groups have them."""
    for groups in functional_groups(dataset, frame):
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
            return _header(path, dataset)


def _header(path: Path, dataset: Any) -> Header:
    meta = getattr(dataset, "file_meta", {})
    sop_class = next(iter(texts(dataset, "SOPClassUID") or texts(meta, "MediaStorageSOPClassUID")), "")
    modality = next(iter(texts(dataset, "Modality")), "").upper()
    if not sop_class and not modality:
        raise InputError(f"{path}: cut short, or not DICOM after all: neither SOP class nor modality. Export it again.")
    described, protocol, *sequences = (
        " ".join(texts(dataset, k)) for k in ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
    )
    image_type = tuple(v.upper() for v in texts(dataset, "ImageType"))
    rows, columns, frames = (int(number(dataset, k) or 0) for k in ("Rows", "Columns", "NumberOfFrames"))
    if not (rows and columns) and (sop_class in MR_IMAGES or (modality == "MR" and not sop_class)):
        raise InputError(f"{path}: cut short: an MR image without rows and columns. Export it again.")
    words = " ".join([described or protocol, *sequences]).casefold()
    return Header(
        file=path,
        kind=_kind(sop_class, modality, image_type, words, bool(rows and columns)),
        study=" ".join(texts(dataset, "StudyInstanceUID")),
        series=" ".join(texts(dataset, "SeriesInstanceUID")),
        patient=" ".join(texts(dataset, "PatientID")),
        frame_of_reference=" ".join(texts(dataset, "FrameOfReferenceUID")),
        number=None if (n := number(dataset, "SeriesNumber")) is None else int(n),
        description=(described or protocol)[:64],
        words=words,
        protocol=protocol.casefold(),
        image_type=image_type,
        inversion_recovery="IR" in texts(dataset, "ScanningSequence"),
        inversion_ms=_parameter(dataset, "MRModifierSequence", "InversionTimes", "InversionTime"),
        echo_ms=_parameter(dataset, "MREchoSequence", "EffectiveEchoTime", "EchoTime"),
        repetition_ms=_parameter(dataset, "MRTimingAndRelatedParametersSequence", "RepetitionTime", "RepetitionTime"),
        contrast_agent=bool(texts(dataset, "ContrastBolusAgent") or dataset.get("ContrastBolusAgentSequence")),
        frames=max(frames, 1),
        rows=rows,
        columns=columns,
        plane=_plane(
            numbers(dataset, "ImageOrientationPatient") or in_groups(dataset, 0, "PlaneOrientationSequence", "ImageOrientationPatient")
        ),
    )


def _parameter(dataset: Any, sequence: str, in_sequence: str, at_root: str) -> float | None:
    values = numbers(dataset, at_root) or in_groups(dataset, 0, sequence, in_sequence)
    return values[0] if values and values[0] > 0 else None  # 0 stands for "none" in many exports


def _kind(sop_class: str, modality: str, image_type: tuple[str, ...], words: str, has_pixels: bool) -> str:
    """Return what a file is, in the words of messages."""
    if sop_class == DICOMDIR:
        return "DICOMDIR"
    if sop_class.startswith(STORAGE):
        for end, kind in KINDS:
            if re.match(end, sop_class.removeprefix(STORAGE)):
                return kind
    if not sop_class and modality in MODALITY_KINDS:
        return MODALITY_KINDS[modality]
    if not has_pixels or (modality in ("", "MR") and sop_class and sop_class not in MR_IMAGES):
        return "non-image object"
    if modality not in ("", "MR"):
        return f"{modality} image"
    if "LOCALIZER" in image_type or NAMED_LOCALIZER.search(words):
        return "localizer"
    return "secondary capture" if "SCREEN SAVE" in image_type else MR_IMAGE


def _plane(cosines: Sequence[float]) -> str:
    """Return the plane of an ImageOrientationPatient; empty where there is none."""
    if len(cosines) != 6:
        return ""
    normal = np.abs(np.cross(cosines[:3], cosines[3:]))
    return ("sagittal", "coronal", "axial")[int(np.argmax(normal))]


def find_studies(files: Sequence[Path]) -> list[Study]:
    """Return the studies that DICOM files belong to, by StudyInstanceUID, in the order of their first files.

    A study of nothing but reports, segmentations and the like is left out where others have
    images. A DICOMDIR is passed over; where there is nothing else, the files that it names are taken.

    Raises
    ------
    InputError
        A file cannot be read, two patients share a directory, or a DICOMDIR names what is not there.
    """
    headers = [read_header(file) for file in sorted(files, key=lambda p: natural_key(str(p)))]
    listed = [h for h in headers if h.kind != "DICOMDIR"]
    if headers and not listed:
        return find_studies([file for h in headers for file in _named_by(h.file)])
    _one_patient_a_directory(listed)
    by_study: dict[tuple[str, str], list[Header]] = defaultdict(list)
    for header in listed:
        by_study[header.study, header.patient].append(header)
    with_images = [group for group in by_study.values() if any(h.kind.endswith(" image") for h in group)]
    return [Study(tuple(h.file for h in group)) for group in with_images or by_study.values()]


def _named_by(dicomdir: Path) -> list[Path]:
    """Return the files that a DICOMDIR names, as far as they are there."""
    with unwarned(), blaming(dicomdir, "records"):
        records = read_dataset(dicomdir).get("DirectoryRecordSequence") or ()
        names = [texts(record, "ReferencedFileID") for record in records]
    names = [n for n in names if n and not any(part in ("..", ".") or {"/", "\\"} & set(part) for part in n)]
    files = [dicomdir.parent.joinpath(*n) for n in names]
    present = [file for file in files if is_dicom(file)]
    if not present:
        example = f" (such as {files[0]})" if files else ""
        raise InputError(f"{dicomdir}: an index of {len(files)} files{example}, none of which is there. Give the folder with the images.")
    return present


def _one_patient_a_directory(headers: Sequence[Header]) -> None:
    seen: dict[Path, Header] = {}
    for header in headers:
        if not header.patient:
            continue
        other = seen.setdefault(header.file.parent, header)
        if other.patient != header.patient:
            raise InputError(
                f"{header.file.parent}: images of two patients, {other.file.name} and {header.file.name}. Put each patient's in a folder "
                "of its own."
            )


def group_series(headers: Sequence[Header]) -> list[Series]:
    """Return the MR images as series, by SeriesInstanceUID, in the order of their numbers."""
    groups: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        if header.kind == MR_IMAGE:
            groups[header.series].append(header)
    found = [Series(tuple(group)) for group in groups.values()]
    return sorted(found, key=lambda s: (s.first.number is None, s.first.number or 0))


def passed_over(headers: Sequence[Header]) -> str:
    """Return how many files of which kind are no MR images; empty where all are."""
    count = Counter(h.kind for h in headers if h.kind != MR_IMAGE)
    plural = {"SEG": "SEG", "RTSTRUCT": "RTSTRUCT", "PDF": "PDF", "SR": "SR", "DICOMDIR": "DICOMDIR"}
    return ", ".join(f"{n} {kind if n == 1 else plural.get(kind, kind + 's')}" for kind, n in sorted(count.items()))


def is_map(header: Header) -> bool:
    """Return whether it is a derived map, such as an ADC, or a sequence that shows something else than anatomy."""
    return bool(MAP_TYPES & set(header.image_type) or NAMED_MAP.search(header.words))


def is_flair(header: Header) -> bool:
    """Return whether the sequence is a T2-weighted FLAIR.

    Its inversion time nulls fluid and its echo is long; where the header lacks one of the two, the
    names have to say it. A "T1 FLAIR" has a short echo; a STIR, which some call TIRM, a short
    inversion.
    """
    low, high = FLAIR_INVERSION_MS
    inversion, echo = header.inversion_ms, header.echo_ms
    if is_map(header) or (echo is not None and echo < LONG_ECHO_MS) or (inversion is not None and not low <= inversion <= high):
        return False
    if echo is not None and (inversion is not None or header.inversion_recovery):
        return True
    return _called_flair(header) and (echo is not None or not NAMED_T1.search(header.words))


def _called_flair(header: Header) -> bool:
    """Return whether the series' name says FLAIR, or, where it names no sequence, the protocol's (it may be the whole examination's)."""
    silent = not (NAMED_T1.search(header.words) or NAMED_T2.search(header.words))
    return bool(NAMED_FLAIR.search(header.words) or (silent and NAMED_FLAIR.search(header.protocol)))


def is_t1(header: Header) -> bool:
    """Return whether the sequence is T1-weighted: called so, with a short echo and repetition where these are given."""
    short = (header.echo_ms or 0.0) <= LONGEST_T1_ECHO_MS and (header.repetition_ms or 0.0) <= LONGEST_T1_REPETITION_MS
    return bool(NAMED_T1.search(header.words)) and short and not is_map(header)


def is_post_contrast(header: Header) -> bool:
    """Return whether contrast agent was given, by the agent's name in the header or by the series' names."""
    name = header.description.casefold()
    return not NAMED_PRE.search(name) and (header.contrast_agent or bool(NAMED_POST.search(name)))


def preference(series: Series) -> tuple[bool, bool, int]:
    """Return a sort key, the best first: original before derived, axial before others, then more slices."""
    return (series.derived, series.first.plane != "axial", -series.slices)


def choose_series(all_series: Sequence[Series], wanted: str | None, source: Path) -> tuple[Series, tuple[str, ...]]:
    """Return the FLAIR series, or the one that is *wanted*, and notes on the choice.

    Raises
    ------
    InputError
        None is a FLAIR, or *wanted* fits none or several; the series found are listed.
    """
    if wanted is not None:
        chosen = _wanted(all_series, wanted, source)
        return chosen, (f"{chosen} (as asked)",)
    flairs = sorted((s for s in all_series if is_flair(s.first)), key=preference)
    if not flairs:
        raise InputError(f"{source}: no FLAIR series. Found: {listing(all_series)}. Name the one to take with --series.")
    chosen, *others = flairs
    return chosen, (str(chosen), *(f"passed over: {other} ({_reason(chosen, other)})" for other in others))


def _wanted(all_series: Sequence[Series], wanted: str, source: Path) -> Series:
    """Return the series with this UID, this number, or this in its description, in this order."""
    text = wanted.strip().casefold()
    tests = (
        [s for s in all_series if s.first.series == wanted.strip()],
        [s for s in all_series if text.isdecimal() and s.first.number == int(text)],
        [s for s in all_series if text and text in s.first.description.casefold()],
    )
    found = next((hits for hits in tests if hits), [])
    if len(found) != 1:
        problem = "no series fits" if not found else f"{len(found)} series fit"
        raise InputError(
            f"{source}: {problem} --series {wanted!r}. Found: {listing(found or all_series)}. Give a number, a UID or more of the "
            "description."
        )
    return found[0]


def listing(all_series: Sequence[Series]) -> str:
    """Return the series as a list in one line."""
    return "; ".join(map(str, all_series)) or "no MR series"


def _reason(chosen: Series, other: Series) -> str:
    if other.derived and not chosen.derived:
        return "derived"
    if other.first.plane != chosen.first.plane and chosen.first.plane == "axial":
        return other.first.plane or "of unknown orientation"
    return "fewer slices" if other.slices < chosen.slices else "as good; take it with --series"

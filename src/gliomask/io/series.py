"""Which DICOM files belong together, what each is, and which series is the FLAIR one; headers only."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gliomask.errors import InputError, SeriesError
from gliomask.io.headers import MR_IMAGES, STORAGE, Header, blaming, is_dicom, read_dataset, read_header, texts
from gliomask.io.naming import is_named_post, natural_key, quoted
from gliomask.io.silence import unwarned
from gliomask.volume import WHOLE_HEAD_MM

FLAIR_INVERSION_MS = (1200.0, 3500.0)
"""Inversion times that null cerebrospinal fluid at 0.5 to 7 T, the lowest with short repetition; fat (STIR) needs 100 to 300 ms."""

LONG_ECHO_MS = 60.0
"""Echo time from which an inversion recovery is T2-weighted; "T1 FLAIR" has 5 to 30 ms."""

NAMED_FLAIR = re.compile(r"flair|fluid.?atten|(?<![a-z])da(rk)?.?fl|tirm|(?<![a-z])df(?![a-z])")
NAMED_T1 = re.compile(r"t1|mprage|bravo|spgr|vibe|(?<![a-z])tfl(?![a-z])")
NAMED_T2 = re.compile(r"t2|(?<![a-z])pd(?![a-z])")
NAMED_LOCALIZER = re.compile(r"locali[sz]er|scout|survey|pilot|(?<![a-z])loc(?![a-z])")
NAMED_MAP = re.compile(
    r"(?<![a-z])(adc|mip|trace|stir|dir|subtraction|sub|cbf|cbv|mtt|ttp|swi|tof|asl|perfusion|dwi|dti|diff)(?![a-z])|double.?i|dyn(?!.*shim)|^fat:"
)
MAP_TYPES = {
    *("ADC", "TRACEW", "FA", "DIFFUSION", "SUBTRACT", "SUBTRACTION", "CBF", "CBV", "MTT", "TTP", "MIP", "PROJECTION IMAGE"),
    *("FAT", "OPP_PHASE"),
}
"""Values of ImageType that name a derived map, or fat in a Dixon sequence, rather than an image of the anatomy."""

FEWEST_SLICES = 10
"""Slices of a head: thick ones are 18 or more, a series of fewer was given up or shows a part."""

DICOMDIR_STORAGE = "1.2.840.10008.1.3.10"
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

MR_IMAGE, DICOMDIR = "MR image", "DICOMDIR"


@dataclass(frozen=True)
class Study:
    """The DICOM files of one study, in natural order of their paths, and whether there are images among them."""

    files: tuple[Path, ...]
    has_images: bool = True


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

    @property
    def partial(self) -> int:
        """0 for a whole head, 1 where the slices do not span one as far as the header tells, 2 where they are too few for any."""
        if self.slices < FEWEST_SLICES:
            return 2
        return int(self.slices * (self.first.slice_mm or WHOLE_HEAD_MM) < WHOLE_HEAD_MM)

    @property
    def post_contrast(self) -> bool:
        """Whether contrast agent was given, by the agent's name in the header or by the series' name."""
        return is_named_post(self.first.own_name, given=self.first.contrast_agent)

    def __str__(self) -> str:
        """Return its number, description and size, as messages give it."""
        number = "without number" if self.first.number is None else self.first.number
        return f"series {number} '{self.first.description}', {self.slices} slice{'s' if self.slices != 1 else ''}"


def kind_of(header: Header) -> str:
    """Return what a file is, in the words of messages."""
    sop_class, modality = header.sop_class, header.modality
    if sop_class == DICOMDIR_STORAGE:
        return DICOMDIR
    if sop_class.startswith(STORAGE):
        for end, kind in KINDS:
            if re.match(end, sop_class.removeprefix(STORAGE)):
                return kind
    if not sop_class and modality in MODALITY_KINDS:
        return MODALITY_KINDS[modality]
    has_pixels = header.rows and header.columns
    if not has_pixels or (modality in ("", "MR") and sop_class and sop_class not in MR_IMAGES):
        return "non-image object"
    if modality not in ("", "MR"):
        return f"{modality} image"
    if "LOCALIZER" in header.image_type or (NAMED_LOCALIZER.search(header.words) and not is_flair(header)):
        return "localizer"
    if "MOSAIC" in header.image_type:  # Siemens puts a volume's slices side by side; the position is none of theirs
        return "mosaic image"
    return "secondary capture" if "SCREEN SAVE" in header.image_type else MR_IMAGE


def find_studies(files: Sequence[Path]) -> list[Study]:
    """Return the studies that DICOM files belong to, by StudyInstanceUID, in the order of their first files.

    A study of nothing but reports, segmentations and the like is left out where another of the same
    patient has images. A DICOMDIR is passed over; where there is nothing else, the files that it
    names are taken.

    Raises
    ------
    InputError
        A file cannot be read, two patients share a directory, or a DICOMDIR names what is not there.
    """
    headers = [read_header(file) for file in files]
    listed = [h for h in headers if kind_of(h) != DICOMDIR] or [h for index in headers for h in _named_by(index.file)]
    listed.sort(key=lambda h: natural_key(str(h.file)))
    _check_one_patient_a_folder(listed)
    by_study = by_study_and_patient(listed)
    has_images = {key: any(kind_of(h).endswith(" image") for h in group) for key, group in by_study.items()}
    shown = {patient for (_, patient), images in has_images.items() if images}
    return [
        Study(tuple(h.file for h in group), has_images[study, patient])
        for (study, patient), group in by_study.items()
        if has_images[study, patient] or patient not in shown
    ]


def by_study_and_patient(headers: Sequence[Header]) -> dict[tuple[str, str], list[Header]]:
    """Return headers by StudyInstanceUID and PatientID, those with neither by their folder.

    A file without PatientID is its study's only patient's: some exports lose it in a part of their files.
    """
    patients: dict[str, set[str]] = defaultdict(set)
    for header in headers:
        patients[header.study] |= {header.patient} - {""}
    found: dict[tuple[str, str], list[Header]] = defaultdict(list)
    for header in headers:
        patient = header.patient
        if not patient and header.study and len(patients[header.study]) == 1:
            (patient,) = patients[header.study]
        study = header.study if header.study or patient else str(header.file.parent)
        found[study, patient].append(header)
    return dict(found)


def unusable_folders(files: Sequence[Path]) -> dict[Path, InputError]:
    """Return the folders that hold a file that cannot be read, or two patients, each with the reason."""
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        by_folder[file.parent].append(file)
    reasons = {}
    for folder, inside in by_folder.items():
        try:
            _check_one_patient_a_folder([read_header(file) for file in inside])
        except InputError as error:
            reasons[folder] = error
    return reasons


def _named_by(dicomdir: Path) -> list[Header]:
    """Return the headers of the files that a DICOMDIR names, as far as they are there; an index that it names is none of them."""
    with unwarned(), blaming(dicomdir, "records"):
        records = read_dataset(dicomdir).get("DirectoryRecordSequence") or ()
        names = [texts(record, "ReferencedFileID") for record in records]
    files = [dicomdir.parent.joinpath(*parts) for parts in names if parts and all(map(_is_plain, parts))]
    headers = [h for h in map(read_header, filter(is_dicom, files)) if kind_of(h) != DICOMDIR]
    if not headers:
        example = f" (such as {files[0]})" if files else ""
        raise InputError(f"{dicomdir}: an index of {len(files)} files{example}, none of which is there. Give the folder with the images.")
    return headers


def _is_plain(part: str) -> bool:
    """Return whether a part of a path names something in its folder, rather than a way out of it."""
    return part not in ("..", ".") and not {"/", "\\", ":"} & set(part)


def _check_one_patient_a_folder(headers: Sequence[Header]) -> None:
    """Raise the InputError that names two files of different patients in one folder."""
    first: dict[Path, Header] = {}
    for header in headers:
        if not header.patient:
            continue
        other = first.setdefault(header.file.parent, header)
        if other.patient != header.patient:
            both = f"{quoted(other.file.name)} and {quoted(header.file.name)}"
            raise InputError(f"{header.file.parent}: images of two patients, {both}. Put each patient's in a folder of its own.")


def group_series(headers: Sequence[Header]) -> list[Series]:
    """Return the MR images as series in the order of their numbers.

    They are told apart by SeriesInstanceUID and number, as some who remove names give all of a study one UID; without a UID by number and
    description.
    """
    groups: dict[tuple[str, int | None], list[Header]] = defaultdict(list)
    for header in headers:
        if kind_of(header) == MR_IMAGE:
            groups[header.series or header.description, header.number].append(header)
    found = [Series(tuple(group)) for group in groups.values()]
    return sorted(found, key=lambda s: (s.first.number is None, s.first.number or 0))


def with_own_protocols(headers: Sequence[Header]) -> list[Header]:
    """Return a study's headers, told whether their ProtocolName is their own: one that all of several series share names none of them."""
    images = [header for header in headers if kind_of(header) in (MR_IMAGE, "localizer")]
    shared = len({(h.series, h.number) for h in images}) > 1 and len({h.protocol for h in images}) == 1
    return [replace(header, protocol_is_own=not shared) for header in headers]


def passed_over(headers: Sequence[Header]) -> str:
    """Return how many files of which kind are no MR images; empty where all are."""
    count = Counter(kind for kind in map(kind_of, headers) if kind != MR_IMAGE)
    return ", ".join(f"{n} {kind}" if n == 1 or kind.isupper() else f"{n} {kind}s" for kind, n in sorted(count.items()))


def is_map(header: Header) -> bool:
    """Return whether it is a derived map, such as an ADC, or a sequence that shows something else than anatomy."""
    return bool(MAP_TYPES & set(header.image_type) or NAMED_MAP.search(header.words))


def is_flair(header: Header) -> bool:
    """Return whether the sequence is a T2-weighted FLAIR.

    Its inversion time nulls fluid and its echo is long; where the header lacks one of the two, the
    names have to say it. A "T1 FLAIR" has a short echo; a STIR, which some call TIRM, a short
    inversion. Double inversion (DIR), which nulls white matter too, is told by its name alone.
    """
    low, high = FLAIR_INVERSION_MS
    inversion, echo = header.inversion_ms, header.echo_ms
    if is_map(header) or (echo is not None and echo < LONG_ECHO_MS) or (inversion is not None and not low <= inversion <= high):
        return False
    if echo is not None and (inversion is not None or header.inversion_recovery):
        return True
    return _called_flair(header) and (echo is not None or not NAMED_T1.search(header.words))


def _called_flair(header: Header) -> bool:
    """Return whether the series' name says FLAIR, or, where it names no sequence, the protocol's, unless it had no inversion."""
    if NAMED_FLAIR.search(f"{header.described} {header.sequence_names}".casefold()):
        return True
    named = NAMED_T1.search(header.words) or NAMED_T2.search(header.words)
    denied = header.inversion_recovery is False and header.inversion_ms is None
    return not (named or denied) and bool(NAMED_FLAIR.search(header.own_protocol.casefold()))


def preference(series: Series) -> tuple[int, bool, bool, bool, int]:
    """Return a sort key, the best first.

    Whole heads come before parts, original before derived, axial before others, those without contrast agent before those after it,
    which brightens more than a FLAIR's fluid, then those of more slices.
    """
    return (series.partial, series.derived, series.first.plane != "axial", series.post_contrast, -series.slices)


def flair_series(all_series: Sequence[Series]) -> list[Series]:
    """Return the FLAIR series, the best first."""
    return sorted((s for s in all_series if is_flair(s.first)), key=preference)


def choose_series(all_series: Sequence[Series], wanted: str | None, source: Path) -> tuple[Series, tuple[str, ...]]:
    """Return the FLAIR series, or the one that is *wanted*, and notes on the choice.

    Raises
    ------
    SeriesError
        None is a FLAIR; the series found are listed.
    InputError
        *wanted* fits none or several; likewise.
    """
    if wanted is not None:
        chosen = _wanted(all_series, wanted, source)
        return chosen, (f"{chosen} (as asked)",)
    flairs = flair_series(all_series)
    if not flairs:
        told = f"{source}: no FLAIR series. Found: {listing(all_series)}. Name the one to take with --series."
        raise SeriesError(told, "No series of this study says that it is FLAIR.", called(all_series))
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
    return "; ".join(_distinct(all_series)) or "no MR series"


def called(all_series: Sequence[Series]) -> dict[str, str]:
    """Return what the series are called, by what chooses each: its UID, or where several share that, its number."""
    times = Counter(series.first.series for series in all_series)
    keys = (s.first.series if times[s.first.series] == 1 else str(s.first.number) for s in all_series)
    return dict(zip(keys, _distinct(all_series), strict=True))


def _distinct(all_series: Sequence[Series]) -> list[str]:
    """Return what the series are called, with the UID where neither number nor description tells which of them is meant."""
    names = [(series.first.number, series.first.description) for series in all_series]
    unclear = {name for name, times in Counter(names).items() if times > 1 or name == (None, "")}
    return [f"{s} ({s.first.series})" if name in unclear and s.first.series else str(s) for s, name in zip(all_series, names, strict=True)]


def _reason(chosen: Series, other: Series) -> str:
    """Return why the chosen series was preferred to another."""
    if other.partial > chosen.partial:
        return "only a part of a head"
    if other.derived and not chosen.derived:
        return "derived"
    if other.first.plane != chosen.first.plane and chosen.first.plane == "axial":
        return other.first.plane or "of unknown orientation"
    if other.post_contrast and not chosen.post_contrast:
        return "after contrast agent"
    return "fewer slices" if other.slices < chosen.slices else "as good; the first is taken"

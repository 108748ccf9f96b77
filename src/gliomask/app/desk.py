"""A visitor's cases: files received into a private folder, cases made of them, and what is kept for all visitors."""

import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from gliomask.app.case import SAMPLE, Case, Found, Names, work_on
from gliomask.app.disk import Disk
from gliomask.app.keep import Keep
from gliomask.app.settings import MAX_CASES, MAX_FILES, MAX_PIXELS, MAX_SESSION_MB, MAX_TOTAL_MB
from gliomask.app.uploads import Group, Received, Upload, clean_name, from_start, grouped, singles
from gliomask.app.work import BUSY, Workroom
from gliomask.errors import GliomaskError, InputError
from gliomask.io import CaseSource, find_cases
from gliomask.io.headers import is_dicom
from gliomask.io.naming import is_mask, is_nifti, map_values, stem_of

SAMPLE_NAME = "Sample drawn by this program"


class Desk:
    """A visitor's cases, for as long as the visitor's session lives; then its files go.

    Parameters
    ----------
    workroom, results, disk
        Shared by all visitors; a desk without a disk has one to itself.
    """

    def __init__(self, workroom: Workroom, results: Keep[Found], disk: Disk | None = None) -> None:
        """Start without any case."""
        self.workroom, self.results = workroom, results
        self._disk = Disk(MAX_TOTAL_MB * 2**20) if disk is None else disk
        self._bytes = 0
        self.cases: dict[str, Case] = {}
        self.problems: list[str] = []
        self._groups: dict[str, Group] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="gliomask-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._count = 0

    @property
    def busy(self) -> bool:
        """Whether something is still to be done."""
        return any(case.progress.stage in BUSY for case in self.cases.values())

    def add_sample(self) -> str:
        """Add the drawn head, if it is not there yet, and return its number."""
        if SAMPLE not in self.cases:
            self.cases[SAMPLE] = Case(SAMPLE, SAMPLE_NAME)
            self._begin(self.cases[SAMPLE])
        return SAMPLE

    def receive(self, uploads: Sequence[Upload]) -> None:
        """Take files in and begin with their cases.

        ``problems`` has sentences on what is not taken, also of archives when they are looked into.
        """
        self.problems = problems = []
        if len(uploads) > MAX_FILES:
            problems.append(f"Only the first {MAX_FILES:,} of {len(uploads):,} files were taken. Pack the others into a zip.")
        batch = self._new_folder()
        files = []
        for number, upload in enumerate(uploads[:MAX_FILES]):
            name, path = clean_name(upload.name), batch / str(number)
            try:
                self.take(upload.size)
                with path.open("xb") as file:
                    shutil.copyfileobj(from_start(upload), file)
            except InputError as error:
                problems.append(f"{name}: not taken, since {error}")
            except OSError:  # such as a container's temporary file system, smaller than what is allowed here
                path.unlink(missing_ok=True)
                problems.append(f"{name}: not taken, since the computer that runs this page has no room left on its disk.")
            else:
                files.append(Received(name, path))
        for group in grouped(files, is_dicom=is_dicom):
            if len(self.cases) >= MAX_CASES:
                problems.append(f"{group.name}: not taken, since {_full()}")
                continue
            self._open(group)

    def take(self, size: int) -> None:
        """Count *size* bytes more on the disk; they stay until the session ends.

        Raises
        ------
        InputError
            They are more than a visitor, or all visitors together, may have.
        """
        if self._bytes + size > MAX_SESSION_MB * 2**20:
            raise InputError(f"all files of a visit together may have {MAX_SESSION_MB} MB. Load the page again to begin afresh.")
        if not self._disk.take(self, size):
            raise InputError("this page is full with the files of all its visitors. Try again in a while, or run gliomask yourself.")
        self._bytes += size

    def take_apart(self, number: str) -> None:
        """Make each slice of a volume a case of its own, where there is room for all."""
        slices = singles(self._groups[number])
        if len(self.cases) - 1 + len(slices) > MAX_CASES:
            self.problems.append(f"{self.cases[number].name}: not taken apart into {len(slices)} cases, since {_full()}")
            return
        self.remove(number)
        for single in slices:
            self._open(single)

    def may_take_apart(self, number: str) -> bool:
        """Return whether a case was put together from slices by their names."""
        return number in self._groups and len(self._groups[number].files) > 1

    def force(self, number: str) -> None:
        """Segment a refused case all the same."""
        self.cases[number].force = True
        self._begin(self.cases[number])

    def take_series(self, number: str, uid: str) -> None:
        """Segment that series of a DICOM study, of which the program found none to be FLAIR or took another."""
        case = self.cases[number]
        if case.source is not None:
            case.source, case.force = replace(case.source, series=uid), False  # what was forced was another series
            self._begin(case)

    def remove(self, number: str) -> None:
        """Forget a case; its result goes with the last visitor who has it, its files with the session."""
        self.cases.pop(number, None)
        self._groups.pop(number, None)

    def found(self, number: str) -> Found | None:
        """Return what was found in a case; None while it is being computed again because it had to make room."""
        case = self.cases[number]
        found = self.results.get(case.key, self)
        if found is None:
            if case.progress.stage == "done":
                self._begin(case)
            return None
        return case.owned(found)

    def _open(self, group: Group) -> None:
        """Make the case, or the cases, of a group; archives and DICOM are looked into by the thread."""
        self._count += 1
        number = str(self._count)
        folder = self._new_folder()
        group, names = _placed(group, folder)
        case = Case(number, self._unused(group.name), names=names, slices=len(group.files))
        self.cases[number] = case
        if is_mask(Path(group.files[0].name)):
            what = map_values(Path(group.files[0].name)) or "a reference mask"
            case.problem = f"{group.files[0].name}: {what} by its name, not an input. Give the scan with it."
            case.progress.begin("failed")
        elif group.kind in ("images", "nifti"):
            self._groups[number] = group
            case.source = _source(group)
            self._begin(case)
        else:
            task = partial(_look_into, weakref.ref(self), number, folder)
            self.workroom.submit(self, lambda _: task())

    def _begin(self, case: Case) -> None:
        case.progress.begin("waiting")
        visitor = weakref.ref(self)
        self.workroom.submit(self, partial(work_on, case, results=self.results, visitor=visitor))

    def put_in_place(self, number: str, sources: Sequence[CaseSource]) -> None:
        """Put the cases that an archive or a heap of DICOM files holds in its place."""
        whole = self.cases.get(number)
        if whole is None:
            return
        cases = []
        room = MAX_CASES - len(self.cases) + 1
        if len(sources) > room:
            self.problems.append(f"{whole.name}: {len(sources) - room} of its {len(sources)} cases not taken, since {_full()}")
        for place, source in enumerate(sources[:room]):
            name = whole.name if len(sources) == 1 else self._unused(clean_name(whole.names.restore(source.name)))
            inner = Case(number if place == 0 else f"{number}.{place + 1}", name, replace(source, max_pixels=MAX_PIXELS), whole.names)
            cases.append(inner)
        order = list(self.cases.items())
        at = list(self.cases).index(number)
        self.cases = dict([*order[:at], *((case.number, case) for case in cases), *order[at + 1 :]])
        for case in cases:
            self._begin(case)

    def _unused(self, name: str) -> str:
        taken = {case.name.casefold() for case in self.cases.values()}
        names = (name if n == 1 else f"{name}_{n}" for n in range(1, len(taken) + 2))
        return next(n for n in names if n.casefold() not in taken)

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._folder))


def _full() -> str:
    """Return why no more cases are taken."""
    return f"at most {MAX_CASES} cases fit on this page. Remove some, or use the command line."


def _placed(group: Group, folder: Path) -> tuple[Group, Names]:
    """Move a group's files into a folder under numbered names, masks under that of what they belong to; return where they are."""
    main = [file for file in group.everything if file not in group.masks]
    numbers = {stem_of(Path(file.name)).casefold(): number for number, file in enumerate(main, start=1)}
    moved = {file: Received(file.name, folder / f"upload-{number:04d}{_ending(file)}") for number, file in enumerate(main, start=1)}
    for mask in group.masks:
        number = numbers.get(stem_of(Path(mask.name)).casefold().removesuffix("_mask"), 1)
        moved[mask] = Received(mask.name, folder / f"upload-{number:04d}_mask{_ending(mask)}")
    for old, new in moved.items():
        old.path.replace(new.path)
    shown = {f"upload-{n:04d}": stem_of(Path(file.name)) if _ending(file) else Path(file.name).name for n, file in enumerate(main, start=1)}
    before, after = (None if file is None else moved[file] for file in group.sequences)
    placed = replace(
        group, files=tuple(moved[f] for f in group.files), sequences=(before, after), masks=tuple(moved[m] for m in group.masks)
    )
    return placed, Names(folder, shown)


def _ending(file: Received) -> str:
    """Return a name's ending if readers go by it; DICOM has none."""
    name = Path(file.name)
    return ".nii.gz" if is_nifti(name) and name.suffix.casefold() == ".gz" else name.suffix.casefold() if name.suffix.isascii() else ""


def _source(group: Group) -> CaseSource:
    """Return what the readers take for a group of images or NIfTI files."""
    files = tuple(file.path for file in group.files)
    if group.kind == "images":
        return CaseSource(group.name, files[0].parent if len(files) > 1 else files[0], files, max_pixels=MAX_PIXELS)
    pre, post = (None if file is None else file.path for file in group.sequences)
    return CaseSource(
        group.name, files[0], files, kind="nifti", sequences=(pre, post), found=True, notes=group.notes, max_pixels=MAX_PIXELS
    )


def _look_into(desk: Callable[[], Desk | None], number: str, folder: Path) -> None:
    """Find the cases in an archive, in a heap of DICOM files, or why there are none."""
    owner = desk()
    case = None if owner is None else owner.cases.get(number)
    if owner is None or case is None:
        return
    case.progress.begin("reading")
    try:
        archive = next((path for path in folder.iterdir() if path.suffix == ".zip"), None)
        if archive is not None:
            _make_room(owner, archive)
        several = len(list(folder.iterdir())) > 1
        sources = find_cases([folder if several else next(folder.iterdir())])
    except GliomaskError as error:
        case.problem = case.names.restore(str(error))
        case.progress.begin("failed")
    except Exception as error:  # noqa: BLE001 - a visitor gets a sentence, whatever a file brings to light
        case.problem = f"{case.name}: could not be read ({type(error).__name__})."
        case.progress.begin("failed")
    else:
        owner.put_in_place(number, sources)


def _make_room(owner: Desk, archive: Path) -> None:
    """Count what an archive says it unpacks to, and refuse it if there is no room for it.

    More than an archive says is never unpacked: :mod:`zipfile` stops at the size in an entry's
    header, and :func:`gliomask.io.archives.extracted` counts what is really written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            size = sum(entry.file_size for entry in opened.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # the reader says it in its own words
    try:
        owner.take(size)
    except InputError as error:
        raise InputError(f"{archive}: unpacks to {size / 2**20:,.0f} MB, and {error}") from error

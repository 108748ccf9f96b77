"""Many cases with one model: one bad case does not stop the rest, and a second run goes on where the first stopped."""

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

from gliomask import __version__
from gliomask.errors import GliomaskError, InputError
from gliomask.io import CaseSource, read_case
from gliomask.io.bids import check_output, make_room, write_derivative
from gliomask.io.naming import MAPS, MapName
from gliomask.io.writing import blaming_output
from gliomask.report import CasesTable, read_result, save_segmentation
from gliomask.segmenter import Segmenter
from gliomask.sizes import counted, format_left_out, ml

AT_ONCE = 2
"""Cases that are worked on at a time: more of them take memory and bring nothing on two processors."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case that lies at ``place``: its ``result.json`` content, or the reason why there is none.

    ``status`` is ``"done"``, ``"kept"`` (an earlier result with the same settings) or ``"failed"``;
    where it failed, ``earlier`` is the content of a result of another run that is still there.
    """

    case: str
    status: str
    content: Mapping[str, Any] | None = None
    reason: str = ""
    earlier: Mapping[str, Any] | None = None
    place: str = ""

    @property
    def sentence(self) -> str:
        """One line for a person."""
        if self.content is None:
            return f"{self.case}: failed. {self.reason}"
        earlier = " (earlier result kept)" if self.status == "kept" else ""
        return f"{self.case}: {finding(self.content)}, {self.content['seconds']:.2f} s{earlier}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the result: the notes of its ``result.json``, and what was left out of it."""
        if self.content is None:
            return ()
        return (*self.content.get("notes", ()), *_left_out(self.content))

    def as_json(self) -> dict[str, Any]:
        """Return the outcome for ``--json``."""
        return {"case": self.case, "input": self.place, "status": self.status, "reason": self.reason, "result": self.content}


def finding(content: Mapping[str, Any]) -> str:
    """Return what was found as a phrase, from the content of a ``result.json``."""
    slices = counted(content["slices"], "slice")
    if not content["found"]:
        return f"no abnormality found in {slices}"
    size = counted(content["area_pixels"], "pixel") if content["spacing_mm"] is None else ml(content["measurements"]["volume_ml"])
    return f"abnormality found in {content['slices_with_tumour']} of {slices}, {size}"


def _left_out(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the sentences on lesions that were too small to keep, if there were any."""
    sentences = []
    if content.get("largest_satellites"):
        sentences.append(f"{format_left_out(content['satellites'], content['largest_satellites'][0])}; see --all-lesions")
    removed = content.get("removed") or {}
    if count := removed.get("lesions"):
        sentences.append(f"{counted(count, 'lesion')} under {content['min_lesion_ml']:g} ml ({ml(removed['volume_ml'])} in all) left out")
    return tuple(sentences)


def segment_cases(
    cases: Sequence[CaseSource],
    segmenter: Segmenter,
    output: Path,
    *,
    overwrite: bool = False,
    maps: Collection[MapName] = (),
    progress: Callable[[Sequence[CaseSource]], Iterable[CaseSource]] = lambda cases: cases,
) -> Iterator[Outcome]:
    """Yield each case's outcome as it is done, its files below ``output`` and its row in ``output/cases.csv``.

    A case's folder is ``output/<case>/``; for BIDS it is ``output/cases/<case>/`` and *output* a derivatives dataset.
    *maps* are written beside the masks.

    Raises
    ------
    InputError
        *output* cannot be written to, its ``cases.csv`` is somebody else's, or the derivatives of
        a BIDS dataset would mix there with what is not theirs.
    """
    check_output(cases, output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be made a folder ({error.strerror}). Choose another --output.") from error
    table = CasesTable(output / "cases.csv")
    stop = Event()

    def work(case: CaseSource) -> Outcome:
        return replace(_segment_case(case, segmenter, output, overwrite, maps, stop), place=case.place)

    outcomes = _overlapping(work, cases, min(AT_ONCE, segmenter.runtime.cpu_threads), stop)
    try:
        for _, outcome in zip(progress(cases), outcomes, strict=True):
            table.add(outcome.case, outcome.status, outcome.content or outcome.earlier, outcome.reason, outcome.place)
            yield outcome
    finally:  # an interrupted run has its table too
        outcomes.close()
        table.write()


def _overlapping(work: Callable[[CaseSource], Outcome], cases: Sequence[CaseSource], at_once: int, stop: Event) -> Generator[Outcome]:
    """Yield the outcomes in order, several cases being worked on at a time: one is read or written while another is predicted.

    When it is closed, *stop* tells those at work to end.
    """
    running: deque[Future[Outcome]] = deque()
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for case in cases:
                running.append(pool.submit(work, case))
                if len(running) == at_once:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            stop.set()
            for future in running:
                future.cancel()


class _StoppedError(Exception):
    """The run was ended while a case was being predicted."""


def _going_on(stop: Event) -> Callable[[int, int], None]:
    """Return what a prediction is to call after each batch: it ends it when the run has been ended."""

    def check(done: int, total: int) -> None:
        if stop.is_set():
            raise _StoppedError

    return check


def _segment_case(case: CaseSource, segmenter: Segmenter, output: Path, overwrite: bool, maps: Collection[MapName], stop: Event) -> Outcome:
    folder = output / case.folder
    if Path(case.name).name != case.name or case.name in ("", ".."):
        reason = (
            case.problem or f"{case.path}: {case.name!r} names no folder for its results. Give the input by a path that ends in its name."
        )
        return Outcome(case.name, "failed", reason=reason)
    try:
        with case.at_hand():
            kept = _brought_to_its_end(case, segmenter, output, overwrite, maps, stop)
        return Outcome(case.name, "kept" if kept else "done", kept or read_result(folder))
    except _StoppedError:
        return Outcome(case.name, "failed", reason="interrupted", earlier=_still_there(folder))
    except GliomaskError as error:
        return Outcome(case.name, "failed", reason=str(error), earlier=_still_there(folder))
    except Exception as error:  # noqa: BLE001 - whatever one case brings to light, the others go on
        return Outcome(case.name, "failed", reason=f"{case.path}: {type(error).__name__}: {error}", earlier=_still_there(folder))


def _brought_to_its_end(
    case: CaseSource, segmenter: Segmenter, output: Path, overwrite: bool, maps: Collection[MapName], stop: Event
) -> Mapping[str, Any] | None:
    """Have a case's results in its folder, and return the content of an earlier one if that was kept."""
    folder = output / case.folder
    earlier = None if case.problem else read_result(folder)
    kept = None if overwrite else earlier
    if kept is None:
        result = segmenter.segment(read_case(case), _going_on(stop))
        try:
            with blaming_output(folder):
                make_room(case, output, earlier["files"] if earlier else ())
                save_segmentation(result, folder, overwrite=overwrite, maps=maps)
        except InputError:
            kept = None if overwrite else read_result(folder)  # of another process, which was faster
            if kept is None:
                raise
    if kept is not None and (difference := _difference(case, kept, segmenter, folder, maps)):
        raise InputError(f"{folder}: holds a result {difference}. Use --overwrite, or another --output.")
    with blaming_output(folder):
        write_derivative(case, folder, output, __version__)
    return kept


def _still_there(folder: Path) -> Mapping[str, Any] | None:
    """Return the content of an earlier result that a failed run left as it was, or None."""
    try:
        content = read_result(folder)
    except InputError:
        return None
    return content if content is not None and {"found", "measurements", "model"} <= content.keys() else None


def _difference(case: CaseSource, earlier: Mapping[str, Any], segmenter: Segmenter, folder: Path, maps: Collection[MapName]) -> str:
    """Return in what an earlier result differs from the one that this run would make; nothing if in nothing."""
    model = {"sha256": segmenter.model.sha256} | segmenter.model.settings()
    if any(earlier.get("model", {}).get(key) != value for key, value in model.items()):
        return "of another model, or of one used in another way"
    # After the model, which has a threshold of its own that nobody asked for.
    for key in ("threshold", "min_lesion_ml", "all_lesions"):
        before, now = earlier.get(key) or None, getattr(segmenter, key) or None
        if before != now:
            return f"made {_setting(key, before)}, not {_setting(key, now)}"
    if earlier.get("input_sha256") != case.sha256():
        return "of another input, or the input has changed"
    if segmenter.runtime.precision not in ("auto", *earlier.get("versions", {}).get("engine", "").split(", ")):
        return f"of another precision than {segmenter.runtime.precision}"
    if missing := [name for name in earlier["files"] if not (folder / name).is_file()]:
        return f"of which {missing[0]} is missing"
    asked = {f"_{kind}.nii.gz": values for kind, values in MAPS.items() if kind in maps}
    lacking = [values for ending, values in asked.items() if not any(name.endswith(ending) for name in earlier["files"])]
    return f"without {' and '.join(lacking)}" if lacking else ""


def _setting(name: str, value: float | None) -> str:
    """Return a setting as the command line has it.

    >>> _setting("threshold", 0.5), _setting("all_lesions", True), _setting("min_lesion_ml", None)
    ('with --threshold 0.5', 'with --all-lesions', 'without --min-lesion-ml')
    """
    flag = f"--{name.replace('_', '-')}"
    return f"without {flag}" if value is None else f"with {flag}" if value is True else f"with {flag} {value:g}"

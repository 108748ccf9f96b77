"""Many cases with one model: one bad case does not stop the rest, and a second run goes on where the first stopped."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gliomask.errors import GliomaskError, InputError
from gliomask.io import CaseSource, read_case
from gliomask.io.naming import RESULT
from gliomask.report import CasesTable, read_result, save_segmentation, summary
from gliomask.segmentation import Segmenter

WAY_OUT = "Use --overwrite, or another --output."


@dataclass(frozen=True)
class Outcome:
    """What became of a case: its ``result.json`` content, or the reason why there is none.

    ``status`` is ``"done"``, ``"kept"`` (an earlier result with the same settings) or ``"failed"``.
    """

    case: str
    status: str
    content: Mapping[str, Any] | None = None
    reason: str = ""

    @property
    def sentence(self) -> str:
        """One line for a person."""
        if self.content is None:
            return f"{self.case}: failed. {self.reason}"
        earlier = " (earlier result kept)" if self.status == "kept" else ""
        return f"{self.case}: {finding(self.content)}, {self.content['seconds']:.2f} s{earlier}"

    def as_json(self) -> dict[str, Any]:
        """Return the outcome for ``--json``."""
        return {"case": self.case, "status": self.status, "reason": self.reason, "result": self.content}


def finding(content: Mapping[str, Any]) -> str:
    """Return what was found as a phrase, from the content of a ``result.json``."""
    if not content["found"]:
        return f"no tumour found in {content['slices']} slice(s)"
    return f"tumour found in {content['slices_with_tumour']} of {content['slices']} slice(s), {content['area_pixels']} pixels"


def segment_cases(
    cases: Sequence[CaseSource],
    segmenter: Segmenter,
    output: Path,
    *,
    overwrite: bool = False,
    save_probability: bool = False,
    progress: Callable[[Sequence[CaseSource]], Iterable[CaseSource]] = lambda cases: cases,
) -> Iterator[Outcome]:
    """Yield each case's outcome as it is done, its files in ``output/<case>/`` and its row in ``output/cases.csv``.

    Raises
    ------
    InputError
        *output* cannot be written to, or its ``cases.csv`` is somebody else's.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be made a folder ({error.strerror}). Choose another --output.") from error
    table = CasesTable(output / "cases.csv")
    for case in progress(cases):
        outcome = _segment_case(case, segmenter, output / case.name, overwrite, save_probability)
        table.add(outcome.case, outcome.status, outcome.content, outcome.reason)
        yield outcome


def _segment_case(case: CaseSource, segmenter: Segmenter, folder: Path, overwrite: bool, save_probability: bool) -> Outcome:
    try:
        earlier = None if overwrite else read_result(folder)
        if earlier is not None:
            return _keep(case, earlier, segmenter, folder)
        result = segmenter.segment(read_case(case))
        files = save_segmentation(result, folder, overwrite=overwrite, save_probability=save_probability)
        return Outcome(case.name, "done", summary(result, tuple(file.name for file in files)))
    except GliomaskError as error:
        return Outcome(case.name, "failed", reason=str(error))
    except (OSError, MemoryError) as error:
        return Outcome(case.name, "failed", reason=f"{folder}: {error or 'out of memory'}")


def _keep(case: CaseSource, earlier: dict[str, Any], segmenter: Segmenter, folder: Path) -> Outcome:
    """Return an earlier result if this run would have made the same, else say that it is in the way."""
    made_with = (earlier.get("model", {}).get("sha256"), earlier.get("threshold"))
    if made_with != (segmenter.model.sha256, segmenter.threshold):
        return Outcome(
            case.name, "failed", reason=f"{folder}: holds a result of another model or threshold. Use --overwrite, or another --output."
        )
    finished = (folder / RESULT).stat().st_mtime
    if any(file.stat().st_mtime > finished for file in case.files):
        return Outcome(case.name, "failed", reason=f"{folder}: holds a result older than its input. {WAY_OUT}")
    return Outcome(case.name, "kept", earlier)

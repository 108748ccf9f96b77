"""Many cases with one model: one bad case does not stop the rest, and a second run goes on where the first stopped."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gliomask import __version__
from gliomask.errors import GliomaskError, InputError
from gliomask.io import CaseSource, read_case
from gliomask.io.bids import write_derivative
from gliomask.report import CasesTable, read_result, save_segmentation
from gliomask.segmentation import Segmenter


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
    size = f"{content['area_pixels']} pixels" if content["spacing_mm"] is None else f"{content['measurements']['volume_ml']:.1f} ml"
    return f"tumour found in {content['slices_with_tumour']} of {content['slices']} slice(s), {size}"


def segment_cases(
    cases: Sequence[CaseSource],
    segmenter: Segmenter,
    output: Path,
    *,
    overwrite: bool = False,
    save_probability: bool = False,
    progress: Callable[[Sequence[CaseSource]], Iterable[CaseSource]] = lambda cases: cases,
) -> Iterator[Outcome]:
    """Yield each case's outcome as it is done, its files below ``output`` and its row in ``output/cases.csv``.

    A case's folder is ``output/<case>/``; for BIDS it is ``output/cases/<case>/`` and *output* a derivatives dataset.

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
    try:
        for case in progress(cases):
            outcome = _segment_case(case, segmenter, output, overwrite, save_probability)
            table.add(outcome.case, outcome.status, outcome.content, outcome.reason)
            yield outcome
    finally:  # an interrupted run has its table too
        table.write()


def _segment_case(case: CaseSource, segmenter: Segmenter, output: Path, overwrite: bool, save_probability: bool) -> Outcome:
    folder = output / case.folder
    try:
        earlier = None if overwrite or case.problem else read_result(folder)
        if earlier is not None:
            difference = _difference(case, earlier, segmenter, folder, save_probability)
            if difference:
                return Outcome(case.name, "failed", reason=f"{folder}: holds a result {difference}. Use --overwrite, or another --output.")
            return Outcome(case.name, "kept", earlier)
        result = segmenter.segment(read_case(case))
        save_segmentation(result, folder, overwrite=overwrite, save_probability=save_probability)
        write_derivative(case, folder, output, __version__)
        return Outcome(case.name, "done", read_result(folder))
    except GliomaskError as error:
        return Outcome(case.name, "failed", reason=str(error))
    except Exception as error:  # noqa: BLE001 - whatever one case brings to light, the others go on
        return Outcome(case.name, "failed", reason=f"{case.path}: {type(error).__name__}: {error}")


def _difference(case: CaseSource, earlier: Mapping[str, Any], segmenter: Segmenter, folder: Path, save_probability: bool) -> str:
    """Return in what an earlier result differs from the one that this run would make; nothing if in nothing."""
    settings = (segmenter.model.sha256, segmenter.threshold, segmenter.min_lesion_ml)
    if (earlier.get("model", {}).get("sha256"), earlier.get("threshold"), earlier.get("min_lesion_ml")) != settings:
        return "of another model, threshold or smallest lesion"
    if earlier.get("input_sha256") != case.sha256():
        return "of another input, or the input has changed"
    if missing := [name for name in earlier["files"] if not (folder / name).is_file()]:
        return f"of which {missing[0]} is missing"
    if save_probability and not any(name.endswith("_probability.nii.gz") for name in earlier["files"]):
        return "without probabilities"
    return ""

"""One case of a visitor's: where it comes from, how far it is, and what was found in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gliomask.app.facts import Facts, facts_of
from gliomask.app.keep import Keep
from gliomask.app.references import masks_beside, read_reference, slices_without
from gliomask.app.work import Progress
from gliomask.errors import GliomaskError, ImplausibleInputError, SeriesError
from gliomask.grid import FIELD_OF_VIEW_MM
from gliomask.io import CaseSource, read_case
from gliomask.io.sources import files_sha256
from gliomask.phantom import SIZE, draw_phantom
from gliomask.volume import Volume

if TYPE_CHECKING:
    from gliomask.segmentation import Segmentation
    from gliomask.segmenter import Segmenter

STORED = re.compile(r"upload-\d{4}")
"""What files are called on the disk; no two of a case share a number."""

SAMPLE = "sample"
SAMPLE_SPACING_MM = (FIELD_OF_VIEW_MM / SIZE, FIELD_OF_VIEW_MM / SIZE, 9.0)


@dataclass(frozen=True)
class Names:
    """What stored files are called by their owner.

    Attributes
    ----------
    folder
        Where they lie, which no message may show.
    shown
        Owner's names without ending, by stored names without ending.
    """

    folder: Path = Path()
    shown: Mapping[str, str] = field(default_factory=dict)

    def restore(self, text: str) -> str:
        """Return a text with the owner's names in place of the stored ones."""
        text = text.replace(f"{self.folder}/", "").replace(f"{self.folder}\\", "")
        return STORED.sub(lambda match: self.shown.get(match[0], match[0]), text)


@dataclass(frozen=True)
class Found:
    """What is kept of a case: the result, and the reference mask, with how many slices came without one, or why it cannot be used.

    The result as it was last looked at is kept in it, not with a visitor, so that
    it takes no memory any more when this has had to make room.
    """

    result: Segmentation
    reference: NDArray[np.bool_] | None = None
    reference_problem: str = ""
    slices_without: int = 0
    seg_problem: str = ""
    cuts: list[Segmentation] = field(default_factory=list, compare=False)

    def at(self, threshold: float, *, all_lesions: bool = False) -> Segmentation:
        """Return the result at a threshold, with small lesions or without."""

        def told(volume: Volume) -> tuple[object, ...]:  # two visitors may call equal content differently
            return volume.name, volume.slice_names, volume.notes, volume.sha256

        asked = threshold, all_lesions, told(self.result.volume)
        kept = next((cut for cut in self.cuts if (cut.threshold, cut.all_lesions, told(cut.volume)) == asked), None)
        if kept is None:
            kept = replace(self.result.with_threshold(threshold), all_lesions=all_lesions)
            self.cuts[:] = [kept]
        return kept

    @property
    def bytes(self) -> int:
        """Memory that it takes, about."""
        arrays = (self.result.volume.voxels, self.result.probability, self.reference)
        # Mask and head, each as the model's record has it and as it was last looked at.
        masks = 4 * self.result.probability.size
        return sum(array.nbytes for array in arrays if array is not None) + masks


@dataclass(frozen=True)
class Summary:
    """What stays of a result when the result itself has had to go: marked voxels of each axial slice, and millilitres."""

    areas: tuple[int, ...]
    volume_ml: float | None


@dataclass
class Case:
    """One case of a visitor's, changed by the thread that works on it and read by the page.

    Attributes
    ----------
    number
        What it is called in the page's address.
    name
        What it is called on the page and in file names.
    source
        What is read; None is the sample that the program draws.
    names
        What its files are called.
    slices
        How many files it was put together from, if they may be taken apart again.
    force
        Whether to segment it although it does not look like a brain FLAIR.
    series
        What the series of a DICOM study are called that can be taken, by UID: its FLAIR series, if there are several, or all if
        none says that it is the FLAIR.
    summary, facts
        What stays of its result.
    """

    number: str
    name: str
    source: CaseSource | None = None
    names: Names = field(default_factory=Names)
    slices: int = 1
    force: bool = False
    progress: Progress = field(default_factory=Progress)
    key: str = ""
    sha256: str | None = None
    problem: str = ""
    reasons: tuple[str, ...] = ()
    series: Mapping[str, str] = field(default_factory=dict)
    summary: Summary | None = None
    facts: Facts | None = None

    def read(self) -> Volume:
        """Return its volume, named by what lies on the disk, so that equal files of two visitors have equal results."""
        if self.source is None:
            return sample()
        return read_case(replace(self.source, name="case"))

    def digest(self) -> str:
        """Return what tells its content from any other, whatever its files are called; note what they are called in ``sha256``."""
        if self.source is None:
            return SAMPLE
        self.sha256 = self.source.sha256(self.names.restore)
        flair = ((str(n), path) for n, path in enumerate(self.source.files))
        masks = ((f"mask {n}", path) for n, path in enumerate(masks_beside(self.source)))
        return f"{self.source.kind} {files_sha256([*flair, *self.source.t1, *masks], self.source.series)}"

    def owned(self, found: Found) -> Found:
        """Return what was found under the visitor's own names; the arrays are shared, not copied."""
        volume = found.result.volume
        if self.source is None:
            return found
        names = _distinct(tuple(self.names.restore(name) for name in volume.slice_names))
        if volume.affine is not None:
            names = tuple(f"{self.name}_{z}" for z in range(1, len(names) + 1))
        notes = tuple(self.names.restore(note) for note in volume.notes)
        named = replace(volume, name=self.name, slice_names=names, source=Path(self.name), notes=notes, sha256=self.sha256)
        result = replace(found.result, volume=named, notes=tuple(self.names.restore(note) for note in found.result.notes))
        return replace(found, result=result, reference_problem=self.names.restore(found.reference_problem))


class Left(Exception):
    """The visitor who asked for it is gone."""


def work_on(case: Case, segmenter: Segmenter, results: Keep[Found], visitor: Callable[[], object | None]) -> None:
    """Bring a case to its end, whatever that is, telling of its progress in the case itself."""
    try:
        case.progress.begin("reading")
        with nullcontext() if case.source is None else case.source.at_hand():
            case.key = f"{case.digest()} {segmenter.model.sha256} {case.force}"
            found = _kept(case.key, results, visitor) or _find(case, segmenter, results, visitor)
        case.series = found.result.volume.flair_series or case.series
        case.facts = facts_of(found.result, found.reference)
        case.summary = summary_of(found.result)
        case.progress.begin("done")
    except Left:
        return
    except ImplausibleInputError as error:
        case.reasons = tuple(case.names.restore(reason) for reason in error.reasons)
        case.progress.begin("refused")
    except SeriesError as error:
        case.problem, case.series = case.names.restore(error.problem), error.series
        case.progress.begin("failed")
    except GliomaskError as error:
        case.problem = case.names.restore(str(error))
        case.progress.begin("failed")
    except MemoryError:
        case.problem = f"{case.name}: too large for this computer's memory."
        case.progress.begin("failed")
    except Exception as error:  # noqa: BLE001 - a visitor gets a sentence, whatever a file brings to light
        case.problem = f"{case.name}: could not be segmented ({type(error).__name__}). Export it again, or report this."
        case.progress.begin("failed")


def _kept(key: str, results: Keep[Found], visitor: Callable[[], object | None]) -> Found | None:
    holder = visitor()
    return None if holder is None else results.get(key, holder)


def _find(case: Case, segmenter: Segmenter, results: Keep[Found], visitor: Callable[[], object | None]) -> Found:
    from gliomask.io.seg import seg_problem  # which the first paint need not wait for

    volume = case.read()
    case.series = volume.flair_series or case.series  # to be taken instead where this one is refused

    def count(done: int, of: int) -> None:
        case.progress.count(done, of)
        if visitor() is None:
            raise Left

    case.progress.begin("segmenting")
    result = segmenter.segment(volume, count, force=case.force)
    try:
        reference, problem = None if case.source is None else read_reference(case.source, volume), ""
    except GliomaskError as error:
        reference, problem = None, str(error)
    without = slices_without(case.source) if case.source else 0
    found = Found(result, reference, problem, without, seg_problem(volume))
    holder = visitor()
    if holder is None:
        raise Left
    results.add(case.key, found, found.bytes, holder)
    return found


def summary_of(result: Segmentation) -> Summary:
    """Return the marked voxels of each axial slice, from the bottom of the head, and the volume."""
    from gliomask.measure import volume_ml  # wanted once there is a result

    return Summary(areas_of(result), volume_ml(result.mask, result.volume.affine))


def areas_of(result: Segmentation) -> tuple[int, ...]:
    """Return the marked voxels of each axial slice, from the bottom of the head."""
    from gliomask.measure import area_pixels  # wanted once there is a result
    from gliomask.report.overlay import axial_view

    return tuple(area_pixels(axial_view(result)[1]))


def sample() -> Volume:
    """Return the head that the program draws, as a scan with a place in the patient."""
    drawn = draw_phantom()
    x, y, z = SAMPLE_SPACING_MM
    depth, height, width = drawn.voxels.shape[:3]
    affine = np.diag([-x, -y, z, 1.0])
    affine[:3, 3] = x * (width - 1) / 2, y * (height - 1) / 2, -z * (depth - 1) / 2
    return replace(drawn, affine=affine)


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    return names if len(set(names)) == len(names) else tuple(f"{name}_{z}" for z, name in enumerate(names, start=1))

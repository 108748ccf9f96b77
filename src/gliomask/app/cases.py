"""Uploads to results: read from memory, segmented once, remembered by content."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import streamlit as st

from gliomask.app.settings import MAX_FILES, MAX_PIXELS
from gliomask.app.wording import clean_name
from gliomask.errors import GliomaskError, InputError
from gliomask.io import read_image
from gliomask.io.naming import is_mask, page_names
from gliomask.measure import area_pixels
from gliomask.phantom import draw_phantom
from gliomask.report.overlay import Pixels, display_grey
from gliomask.segmentation import Segmentation, Segmenter
from gliomask.volume import Volume

SAMPLE_NAME = "Sample drawn by this program"


class Upload(Protocol):
    """What is used of Streamlit's uploaded file."""

    name: str

    def getvalue(self) -> bytes:
        """Return its bytes."""
        ...


@dataclass(frozen=True)
class Source:
    """What is to be segmented.

    Attributes
    ----------
    label
        How the page calls it; no two of a page's sources share one.
    name
        The file's name, cleaned.
    content
        The file's bytes; None is the sample that the program draws.
    digest
        The content's SHA-256.
    """

    label: str
    name: str
    content: bytes | None = field(repr=False)
    digest: str


@dataclass(frozen=True)
class Case:
    """A segmented source: the result, its slices in grey for the eye, and the source's digest."""

    result: Segmentation
    grey: Pixels
    digest: str

    def at(self, threshold: float) -> "Case":
        """Return the case cut at another threshold; nothing is predicted again."""
        return Case(self.result.with_threshold(threshold), self.grey, self.digest)

    @cached_property
    def areas(self) -> list[int]:
        """Marked pixels of each slice."""
        return area_pixels(self.result.mask)

    @property
    def start(self) -> int:
        """The slice to look at first: that with most tumour, without any the middle one."""
        return self.areas.index(max(self.areas)) if any(self.areas) else len(self.areas) // 2


def sources_of(uploads: Sequence[Upload], sample: bool) -> list[Source]:
    """Return what the page has to segment: the uploads in order, and the sample if it was asked for."""
    sources: list[Source] = []
    for upload in uploads[:MAX_FILES]:
        content = upload.getvalue()
        name = clean_name(upload.name)
        same = sum(source.name == name for source in sources)
        sources.append(Source(f"{name} ({same + 1})" if same else name, name, content, hashlib.sha256(content).hexdigest()))
    if sample:
        sources.append(Source(SAMPLE_NAME, SAMPLE_NAME, None, "sample"))
    return sources


@st.cache_resource(show_spinner="Loading the model…")  # type: ignore[untyped-decorator] # the type checker skips Streamlit
def load_model() -> Segmenter:
    """Return the default model, loaded once for all visitors."""
    return Segmenter()


def segment_source(source: Source, segmenter: Segmenter) -> Case | str:
    """Return a source's case, or the sentence that says why there is none, so that one bad file does not stop the rest."""
    try:
        case: Case = _segment(source.name, source.digest, segmenter.model.sha256, source, segmenter)
    except GliomaskError as error:
        return str(error)
    except MemoryError:
        return f"{source.name}: too large for this computer's memory."
    except Exception as error:  # noqa: BLE001 - a visitor gets a sentence, whatever a file brings to light
        return f"{source.name}: could not be segmented ({type(error).__name__}). Export it again as PNG, or report this."
    return case


# The name is part of the key because the result carries it: the same slice under another visitor's
# name must not come back under this one. The threshold is not: it is applied to what is kept.
@st.cache_data(show_spinner=False, max_entries=MAX_FILES)  # type: ignore[untyped-decorator]
def _segment(name: str, digest: str, model_sha256: str, _source: Source, _segmenter: Segmenter) -> Case:
    """Return the case of a source, which *name*, *digest* and *model_sha256* stand for in the cache."""
    volume = draw_phantom() if _source.content is None else _read(_source.name, _source.content)
    return Case(_segmenter.segment(volume), display_grey(volume.flair), digest)


def _read(name: str, content: bytes) -> Volume:
    path = Path(name)
    if is_mask(path):
        raise InputError(f"{name}: a reference mask by its name (*_mask.*), not an input. Give the slice itself.")
    # From memory: an upload never touches the disk.
    pages, notes = read_image(path, io.BytesIO(content), max_pixels=MAX_PIXELS)
    return Volume(pages, path.stem, page_names(path.stem, len(pages)), None, notes)

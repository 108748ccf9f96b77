"""What pages share: one model and one store for all visitors, one desk for each, and the address that keeps page and case."""

from contextlib import suppress
from functools import cache
from importlib import import_module

import streamlit as st

from gliomask.app.case import Found
from gliomask.app.desk import Desk
from gliomask.app.keep import Keep
from gliomask.app.scene import Scene
from gliomask.app.settings import MAX_RESULT_BYTES, MAX_RESULTS
from gliomask.app.work import Workroom
from gliomask.models import DEFAULT, ModelRecord, find_model
from gliomask.segmentation import Segmenter

CASE = "case"
"""The parameter of the page's address that names the case."""


@st.cache_resource(show_spinner=False)  # type: ignore[untyped-decorator] # the type checker skips Streamlit
def workroom() -> Workroom:
    """Return the thread that works for all visitors; it loads the model as soon as it is there."""
    return Workroom(_load)


def _load() -> Segmenter:
    """Return the model, and import meanwhile what the first case needs; not the viewer, which belongs to a run of the page."""
    segmenter = Segmenter()
    for name in ("gliomask.app.scene", "gliomask.app.takeaway", "gliomask.io.nifti", "gliomask.io.dicom", "pandas"):
        with suppress(ImportError):  # what is missing is told where it is needed
            import_module(name)
    return segmenter


@cache
def model() -> ModelRecord:
    """Return the record of the model, which is known before the model is loaded."""
    return find_model(DEFAULT)


@st.cache_resource(show_spinner=False)  # type: ignore[untyped-decorator]
def results() -> Keep[Found]:
    """Return what was found in visitors' cases."""
    return Keep(MAX_RESULTS, MAX_RESULT_BYTES)


@st.cache_resource(show_spinner=False)  # type: ignore[untyped-decorator]
def scenes() -> "Keep[tuple[Scene, bytes, bytes]]":
    """Return what the viewer has of the cases that are looked at."""
    return Keep(MAX_RESULTS // 4, MAX_RESULT_BYTES // 4)


def desk() -> Desk:
    """Return this visitor's desk; it goes with the session."""
    if "desk" not in st.session_state:
        st.session_state["desk"] = Desk(workroom(), results())
    found: Desk = st.session_state["desk"]
    return found


def keep_settings() -> None:
    """Keep how cases are looked at while none is, as Streamlit would not, and begin with what is usual."""
    usual = {"threshold": model().threshold, "mark": "Outline", "opacity": 35, "window": (0, 100), "view": "All"}
    for key, value in usual.items():
        st.session_state[key] = st.session_state.get(key, value)


def chosen(desk: Desk) -> str | None:
    """Return the number of the case that the address names, or of the first one that can be shown."""
    named = st.query_params.get(CASE)
    if named == "sample" and named not in desk.cases:
        desk.add_sample()  # the one case that a link can bring along
    if named in desk.cases:
        return named
    return next((number for number, case in desk.cases.items() if case.progress.stage == "done"), next(iter(desk.cases), None))


def choose(number: str | None) -> None:
    """Put a case into the address, so that links and the back button know it."""
    if number is None:
        st.query_params.pop(CASE, None)
    elif st.query_params.get(CASE) != number:
        st.query_params[CASE] = number

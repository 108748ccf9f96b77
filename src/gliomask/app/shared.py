"""What pages share: one model and one store for all visitors, one desk for each, and the address that keeps page and case."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from gliomask.app.desk import Desk
from gliomask.app.disk import Disk
from gliomask.app.keep import Keep
from gliomask.app.settings import MAX_RESULT_BYTES, MAX_RESULTS, MAX_TOTAL_MB, MAX_WAITING_MB
from gliomask.app.visits import bound_waiting, forget, keep_tidy, return_arrays_at_once
from gliomask.app.work import Workroom
from gliomask.models import DEFAULT, ModelRecord, find_model

if TYPE_CHECKING:
    from gliomask.app.case import Found
    from gliomask.app.charts import Chart
    from gliomask.app.scene import Scene
    from gliomask.segmenter import Segmenter

CASE = "case"
"""The parameter of the page's address that names the case."""

WARMED = ("gliomask.app.scene", "gliomask.app.takeaway", "gliomask.io.nifti", "gliomask.io.dicom", "pandas")
"""What the first case needs beside the model; not the viewer, which belongs to a run of the page."""

PATIENCE_S = 0.5
"""How long the model waits at most for the first visitor's page, which shares the interpreter with it."""

LOGGER = logging.getLogger("gliomask.app")


@st.cache_resource(show_spinner=False)  # type: ignore[untyped-decorator] # the type checker skips Streamlit
def workroom() -> Workroom:
    """Return the thread that works for all visitors; it loads the model as soon as the page is drawn."""
    if runtime.exists():  # not under a test of the page's script alone
        bound_waiting(runtime.get_instance().uploaded_file_mgr, MAX_WAITING_MB * 2**20)
        keep_tidy(runtime.get_instance())
        return_arrays_at_once()
    return Workroom(_load, PATIENCE_S, [partial(_import, name) for name in WARMED])


def _load() -> Segmenter:
    """Return the model, and tell the terminal that it is ready."""
    from gliomask.segmenter import Segmenter

    segmenter = Segmenter()
    LOGGER.info("The model is ready: %s, %s.", segmenter.model.name, segmenter.engine.description)
    return segmenter


def _import(name: str) -> None:
    with suppress(ImportError):  # what is missing is told where it is needed
        import_module(name)


@cache
def model() -> ModelRecord:
    """Return the record of the model, which is known before the model is loaded."""
    return find_model(DEFAULT)


@st.cache_resource(show_spinner=False)  # type: ignore[untyped-decorator]
def results() -> Keep[Found]:
    """Return what was found in visitors' cases."""
    return Keep(MAX_RESULTS, MAX_RESULT_BYTES)


@st.cache_resource(show_spinner=False)  # type: ignore[untyped-decorator]
def scenes() -> Keep[tuple[Scene, bytes, bytes]]:
    """Return what the viewer has of the cases that are looked at."""
    return Keep(MAX_RESULTS // 4, MAX_RESULT_BYTES // 4)


@st.cache_resource(show_spinner=False)  # type: ignore[untyped-decorator]
def disk() -> Disk:
    """Return the bound on what all visitors' files take."""
    return Disk(MAX_TOTAL_MB * 2**20)


def desk() -> Desk:
    """Return this visitor's desk; it goes with the session."""
    if "desk" not in st.session_state:
        st.session_state["desk"] = Desk(workroom(), results(), disk())
    found: Desk = st.session_state["desk"]
    return found


def forget_uploads(files: Iterable[Any]) -> None:
    """Have Streamlit forget files that the page has taken in; it would hold them in memory until the session ends."""
    context = get_script_run_ctx()
    if runtime.exists() and context is not None:
        forget(runtime.get_instance(), context.session_id, files)


def keep_settings() -> None:
    """Keep how cases are looked at while none is, as Streamlit would not, and begin with what is usual."""
    usual = {"threshold": model().threshold, "mark": "Outline", "opacity": 35, "window": (0, 100), "view": "All", "all lesions": False}
    for key, value in usual.items():
        st.session_state[key] = st.session_state.get(key, value)


def chosen(desk: Desk) -> str | None:
    """Return the number of the case that the address names, of the one looked at before another page, or of the first that can be shown."""
    named = st.query_params.get(CASE)
    if named == "sample" and named not in desk.cases:
        desk.add_sample()  # the one case that a link can bring along
    if named in desk.cases:
        st.session_state["looked at"] = named
        return named
    if (earlier := st.session_state.get("looked at")) in desk.cases:
        return str(earlier)
    return next((number for number, case in desk.cases.items() if case.progress.stage == "done"), next(iter(desk.cases), None))


def draw(chart: Chart) -> None:
    """Draw a chart in the page's colours, with its sentence for those who do not see it."""
    toned = chart.on_dark() if st.context.theme.type == "dark" else chart
    st.vega_lite_chart(spec=toned.spec, width="stretch", alt=toned.alt)


def choose(number: str | None) -> None:
    """Put a case into the address, so that links and the back button know it."""
    if number is None:
        st.query_params.pop(CASE, None)
    elif st.query_params.get(CASE) != number:
        st.query_params[CASE] = number

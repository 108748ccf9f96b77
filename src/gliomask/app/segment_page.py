"""The page that segments: files in, a list of cases with their progress, and the case that is looked at."""

import time
from collections.abc import Sequence
from typing import Any

import streamlit as st

from gliomask.app import shared
from gliomask.app.case import Case
from gliomask.app.desk import Desk
from gliomask.app.settings import MAX_SESSION_MB, MAX_UPLOAD_MB
from gliomask.app.wording import NOTICE, overall, plain, privacy, status
from gliomask.app.work import BUSY

LONG_LIST = 6  # cases beyond which their list scrolls in itself
POLL_S = 0.5


def show(model_page: Any) -> None:
    """Lay the page out; *model_page* is the page to link to for what is known of the model."""
    desk = shared.desk()
    shared.keep_settings()
    number = shared.chosen(desk)
    _introduce(first=not desk.cases)
    if problem := shared.workroom().problem:
        st.error(plain(problem))
    if number is None:
        _ask(desk, first=True)
    else:
        _work(desk, number)
    st.page_link(model_page, label="How the model was trained, and where it is weak", icon=":material/info:")


def _work(desk: Desk, number: str) -> None:
    """Show the case that is looked at, beside the list where there are several; more can be added to either."""
    several = len(desk.cases) > 1
    left, right = st.columns([1, 3.4], gap="large") if several else (st.container(), st.container())
    with left:
        st.fragment(_list, run_every=POLL_S if desk.busy else None)(desk, number)
    with right:
        _show_case(desk, number)
    with left if several else right:
        _ask(desk, first=False)


def _introduce(*, first: bool) -> None:
    st.title("gliomask", anchor=False)
    if first:
        st.markdown("Outlines the FLAIR abnormality of lower-grade gliomas on brain MRI.")
        if st.query_params.get(shared.CASE):
            st.info("That case is gone with its session. Drop its files again.", icon=":material/history:")
    st.caption(f"{NOTICE} {plain(privacy(st.context.url))}")


def _ask(desk: Desk, *, first: bool) -> None:
    """Take files in; the field is empty again at once, so that nothing stays in memory that lies in the visitor's folder."""
    generation = st.session_state.setdefault("generation", 0)
    box = st.container(key="first-drop" if first else "drop")
    files = box.file_uploader(
        "Drop scans here: slices, NIfTI, DICOM or a zip, of one patient or of many" if first else "Add scans",
        accept_multiple_files=True,
        max_upload_size=MAX_UPLOAD_MB,
        key=f"uploads {generation}",
    )
    if files:
        before = set(desk.cases)
        with st.spinner("Taking the files in…"):
            desk.receive(files)
            shared.forget_uploads(files)
        if before:  # who adds a scan to others, or to the sample, wants to see it
            _show_added([case for number, case in desk.cases.items() if number not in before])
        st.session_state["generation"] = generation + 1
        st.rerun()
    for problem in desk.problems:
        box.warning(plain(problem))
    if first:
        box.caption(
            f"PNG, JPEG or TIFF slices, .nii or .nii.gz (T1 and masks beside it by their names), DICOM files or a folder of them as zip. "
            f"Each file up to {MAX_UPLOAD_MB} MB, {MAX_SESSION_MB} MB in all."
        )
        box.button("No scan at hand? Try the sample", key="try", on_click=_take_sample, args=(desk,), icon=":material/play_circle:")


def _show_added(added: Sequence[Case]) -> None:
    if added:
        readable = (case for case in added if case.progress.stage != "failed")  # a mask without its scan has failed already
        shared.choose(next(readable, added[0]).number)


def _take_sample(desk: Desk) -> None:
    shared.choose(desk.add_sample())


def _list(desk: Desk, shown: str | None) -> None:
    """Show the cases with their status, again and again while something is to be done."""
    now = time.monotonic()
    cases = list(desk.cases.values())
    if len(cases) > 1:
        st.caption(overall(cases))
        picked = _pick(desk, cases, shown, now)
        if picked != shown:
            shared.choose(picked)
            st.rerun()
    running = next((case for case in cases if case.progress.stage in ("reading", "segmenting")), None)
    if running is not None:
        at = running.progress
        st.progress(at.slices / at.of if at.of else 0.0, text=plain(f"{running.name}: {status(running, now)}"))
    seen = st.session_state.get("seen")
    st.session_state["seen"] = state = [(case.number, case.progress.stage) for case in cases]
    if seen is not None and seen != state and (not desk.busy or _changed(seen, state, shown)):
        st.rerun()


def _changed(seen: Sequence[tuple[str, str]], state: Sequence[tuple[str, str]], shown: str | None) -> bool:
    """Return whether the list is another one, or the case that is shown has come to its end."""
    before, now = dict(seen), dict(state)
    return before.keys() != now.keys() or (shown in now and now[shown] not in BUSY and before.get(shown) != now[shown])


def _pick(desk: Desk, cases: list[Case], shown: str | None, now: float) -> str:
    numbers = [case.number for case in cases]
    if shown in numbers and (st.session_state.get("followed") != shown or "case" not in st.session_state):
        # The address has changed (a link, or the back button), or another page was looked at, on which Streamlit forgets the choice.
        st.session_state["case"] = st.session_state["followed"] = shown
    with st.container(height=420 if len(cases) > LONG_LIST else "content", border=False):
        picked: str = st.radio(
            "Cases",
            numbers,
            format_func=lambda number: plain(desk.cases[number].name) if number in desk.cases else "",
            captions=[status(case, now) for case in cases],
            key="case",
            label_visibility="collapsed",
        )
    st.session_state["followed"] = picked
    return picked


def _show_case(desk: Desk, number: str) -> None:
    case = desk.cases[number]
    if case.progress.stage == "failed":
        st.subheader(f"{plain(case.name)}", anchor=False)
        st.warning(plain(case.problem), icon=":material/draft:")
    elif case.progress.stage == "refused":
        _refuse(desk, case)
    elif case.progress.stage == "done":
        from gliomask.app import case_view  # nibabel and more, which the first paint need not wait for

        case_view.show(desk, number)
    else:
        _wait(case)
    if case.series and case.progress.stage not in BUSY:
        _ask_series(desk, case)
    _manage(desk, number)


def _wait(case: Case) -> None:
    with st.container(key="waiting"):
        st.subheader(plain(case.name), anchor=False)
        st.markdown("The result appears here.")


def _refuse(desk: Desk, case: Case) -> None:
    st.subheader("This does not look like a brain FLAIR", anchor=False)
    seen = "\n".join(f"- {plain(reason)}" for reason in case.reasons)
    st.info(f"**{plain(case.name)}** was not segmented. What was seen:\n\n{seen}", icon=":material/visibility:")
    st.caption("Expected are axial FLAIR slices of a head. A mask of anything else may mean nothing.")
    st.button("Segment it all the same", key=f"force {case.number}", on_click=desk.force, args=(case.number,))


def _ask_series(desk: Desk, case: Case) -> None:
    """Have the visitor say which series is the FLAIR, or take another one where that turns out to be none or several are."""
    stage = case.progress.stage
    taken = None if case.source is None else case.source.series
    st.selectbox(
        "FLAIR series" if stage == "done" else "Which series is the FLAIR?",
        list(case.series),
        index=None if stage == "failed" else list(case.series).index(taken or next(iter(case.series))),
        format_func=lambda uid: case.series.get(uid, uid),
        placeholder="Choose a series",
        key=f"series {case.number}",
        on_change=_take_series,
        args=(desk, case.number),
    )


def _take_series(desk: Desk, number: str) -> None:
    if (uid := st.session_state[f"series {number}"]) is not None:
        desk.take_series(number, uid)


def _manage(desk: Desk, number: str) -> None:
    with st.container(horizontal=True, key="manage"):
        if desk.may_take_apart(number):
            st.button(
                f"Not one volume? Take the {desk.cases[number].slices} slices apart",
                key=f"apart {number}",
                on_click=_take_apart,
                args=(desk, number),
                icon=":material/splitscreen:",
                type="tertiary",
            )
        st.button(
            "Remove this case", key=f"remove {number}", on_click=_remove, args=(desk, number), icon=":material/close:", type="tertiary"
        )


def _take_apart(desk: Desk, number: str) -> None:
    desk.take_apart(number)
    shared.choose(None)


def _remove(desk: Desk, number: str) -> None:
    desk.remove(number)
    shared.choose(None)

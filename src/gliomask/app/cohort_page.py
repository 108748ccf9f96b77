"""The page of all cases: what was found in each, and how their volumes lie."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from gliomask.app import shared
from gliomask.app.charts import volume_dots
from gliomask.app.cohort import ALL, Row, columns_of, csv_of, kinds_of, matching, row_of, volumes
from gliomask.app.desk import Desk
from gliomask.app.wording import overall, plain

POLL_S = 1.0
MANY = 4  # cases from which filters are of use
ROW_PX, MOST_PX = 35, 600

PLACE = "#"
"""The first column, where a click opens nothing: the table takes its first cell for clicked when a column's title is."""

Go = Callable[..., Any]


def show(go: Go) -> None:
    """Lay the page out; *go* leads to the segment page, with a case's number or without."""
    desk = shared.desk()
    st.title("Cohort", anchor=False)
    if not desk.cases:
        _invite(desk, go)
        return
    st.fragment(_cases, run_every=POLL_S if desk.busy else None)(desk, go, was_busy=desk.busy)


def _invite(desk: Desk, go: Go) -> None:
    st.markdown("Nothing here yet. Scans that you drop on the **Segment** page, of as many patients as you like, stand here in one table.")
    with st.container(horizontal=True):
        if st.button("Go and drop scans", type="primary", icon=":material/upload_file:"):
            go()
        if st.button("No scans at hand? Try the sample", icon=":material/play_circle:"):
            desk.add_sample()
            st.rerun()


def _cases(desk: Desk, go: Go, *, was_busy: bool) -> None:
    """Show the table, again and again while something is to be done."""
    if was_busy and not desk.busy:
        st.rerun()
    now = time.monotonic()
    cases = list(desk.cases.values())
    rows = [row_of(case, now) for case in cases]
    st.caption(overall(cases) if len(cases) > 1 else f"1 case: {plain(rows[0].case)}")
    shown = _filtered(rows)
    if not shown:
        st.markdown("No case is like that.")
        return
    _table(shown, go)
    _below(shown, go)
    _distribution(shown)


def _filtered(rows: Sequence[Row]) -> list[Row]:
    """Ask which rows to show, where there are enough to choose among."""
    if len(rows) < MANY:
        return list(rows)
    kinds = kinds_of(rows)
    with st.container(horizontal=True, vertical_alignment="bottom", key="filters"):
        kind = st.segmented_control("Show", kinds, default=ALL, required=True, key="cohort kind") if kinds else ALL
        text = st.text_input("Name contains", key="cohort name", width=260, placeholder="Any name", icon=":material/search:")
    return matching(rows, kind, text)


def _table(rows: Sequence[Row], go: Go) -> None:
    columns = {PLACE: list(range(1, len(rows) + 1)), **columns_of(rows)}
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    config = {
        PLACE: number(pinned=True, width=44),
        "Case": text(pinned=True, width=170),  # a name of the LGG dataset
        "Found": text(help="Whether anything is marked. An empty mask does not mean that there is no tumour."),
        "Volume (ml)": number(format="%.1f"),
        "Pixels": number(format="localized"),
        "Longest diameter (mm)": number(format="%.1f", help="The longest line across a lesion in an axial slice."),
        "Expected Dice": number(format="%.2f", help="How far the model expects to agree with an expert: 1 is fully, 0 not at all."),
        "Dice with reference": number(format="%.3f", help="With the reference mask that came with the case."),
    }
    found = sum(bool(row.found) for row in rows)
    event = st.dataframe(
        columns,
        column_config={title: setting for title, setting in config.items() if title in columns},
        hide_index=True,
        height=min(ROW_PX * (len(rows) + 1) + 3, MOST_PX),
        placeholder="",
        on_select="rerun",
        selection_mode="single-cell",
        key=f"cohort {st.session_state.get('cohort opened', 0)}",
        alt=f"Table of {len(rows)} cases, {found} of them with an abnormality.",
    )
    for row, column in event.selection.cells:
        if column == PLACE:
            continue
        # Another key, so that nothing is selected when one comes back.
        st.session_state["cohort opened"] = st.session_state.get("cohort opened", 0) + 1
        go(rows[row].number)


def _below(rows: Sequence[Row], go: Go) -> None:
    """Offer what can be done with the table: by mouse in the table itself, by keyboard from a list."""
    st.caption(
        "Click a row to open its case, a column's title to sort. All is told at the model's own threshold of "
        f"{shared.model().threshold:.2f} and without *All lesions*, whatever is set for a case."
    )
    with st.container(horizontal=True, vertical_alignment="bottom", key="cohort actions"):
        names = {row.number: row.case for row in rows}
        picked = st.selectbox(
            "Open a case",
            list(names),
            index=None,
            format_func=lambda number: names.get(number, ""),
            placeholder="Open a case",
            label_visibility="collapsed",
            width=260,
        )
        st.download_button("Table (CSV)", csv_of(rows), "gliomask_cohort.csv", "text/csv", on_click="ignore", icon=":material/download:")
    if picked is not None:
        go(picked)


def _distribution(rows: Sequence[Row]) -> None:
    unit, named = volumes(rows)
    if len(named) < 2:
        return
    st.subheader("Volumes" if unit == "ml" else "Sizes", anchor=False)
    chart = volume_dots(named, unit)
    shared.draw(chart)
    left_out = sum(bool(row.found) for row in rows) - len(named)
    notes = ["A dot is a case in which something is marked; point at it for its name.", chart.alt]
    if left_out:
        notes.append(f"{left_out} without spacing {'is' if left_out == 1 else 'are'} left out, being in pixels.")
    st.caption(" ".join(notes))

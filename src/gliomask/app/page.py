"""The page's frame: a script that Streamlit runs from top to bottom at every click; what it shows is laid out by a module for each page."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from gliomask.app import segment_page, shared

STYLE = Path(__file__).with_name("page.css")
ICON = Path(__file__).with_name("icon.svg")

Go = Callable[..., Any]
Page = Any  # Streamlit's type of a page, which it does not export by a name of its own


def main() -> None:
    """Lay the page out."""
    st.set_page_config(page_title="gliomask", page_icon=str(ICON), layout="wide")
    st.html(STYLE)
    workroom = shared.workroom()  # the model is loaded while the visitor looks around
    listed = pages()
    page = st.navigation(listed, position="top")
    with st.container(horizontal=True, gap="xxsmall", key="pages"):  # for phones; page.css says why
        for link in listed:
            st.page_link(link)
    page.run()
    workroom.page_drawn()


def pages() -> list[Page]:
    """Return the pages in the navigation's order."""
    model = st.Page(_model, title="Model", url_path="model", icon=":material/network_node:")
    segment = st.Page(partial(segment_page.show, model), title="Segment", url_path="segment", icon=":material/stacks:", default=True)

    def go(number: str | None = None) -> None:
        """Open the segment page, with a case's number or without."""
        st.switch_page(segment, query_params={} if number is None else {shared.CASE: number})

    cohort = st.Page(partial(_cohort, go), title="Cohort", url_path="cohort", icon=":material/table_rows:")
    evaluation = st.Page(partial(_evaluation, go), title="Evaluation", url_path="evaluation", icon=":material/straighten:")
    return [segment, cohort, evaluation, model]


# The first paint is the segment page's; what the others need is imported when they are opened.


def _cohort(go: Go) -> None:
    from gliomask.app import cohort_page

    cohort_page.show(go)


def _evaluation(go: Go) -> None:
    from gliomask.app import evaluation_page

    evaluation_page.show(go)


def _model() -> None:
    from gliomask.app import model_page

    model_page.show()


if __name__ == "__main__":
    main()

"""The page's frame: a script that Streamlit runs from top to bottom at every click; what it shows is laid out by a module for each page."""

from pathlib import Path

import streamlit as st

from gliomask.app import segment_page, shared

STYLE = Path(__file__).with_name("page.css")
ICON = Path(__file__).with_name("icon.svg")


def main() -> None:
    """Lay the page out."""
    st.set_page_config(page_title="gliomask", page_icon=str(ICON), layout="wide")
    st.html(STYLE)
    shared.workroom()  # the model is loaded while the visitor looks around
    pages = [st.Page(segment_page.show, title="Segment", url_path="segment", icon=":material/stacks:", default=True)]
    st.navigation(pages, position="top").run()


if __name__ == "__main__":
    main()

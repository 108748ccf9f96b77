"""The page itself: a script that Streamlit runs from top to bottom at every click, so it only lays out what other modules make."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from gliomask.app.cases import SAMPLE_NAME, Case, Source, load_model, segment_source, sources_of
from gliomask.app.pictures import for_screen, icon, mask_pixels, masks_zip, png
from gliomask.app.settings import MAX_FILES, MAX_PIXELS, MAX_UPLOAD_MB
from gliomask.app.wording import (
    NOTICE,
    about,
    details,
    headline,
    plain,
    privacy,
    read_as,
    scores,
    status,
    summary,
)
from gliomask.errors import GliomaskError
from gliomask.models import ModelRecord
from gliomask.report import overlay_slice

ENDINGS = ["png", "jpg", "jpeg", "tif", "tiff"]
LONG_LIST = 6  # cases beyond which their list scrolls in itself
STYLE = Path(__file__).with_name("page.css")

Outcome = Case | str


def main() -> None:
    """Lay the page out."""
    st.set_page_config(page_title="gliomask", page_icon=icon(), layout="wide")
    st.html(STYLE)
    _introduce()
    sources = _ask()
    try:
        segmenter = load_model()
    except GliomaskError as error:
        st.error(plain(str(error)))
        return
    if sources:
        waiting = st.empty()
        outcomes: dict[str, Outcome] = {}
        for number, source in enumerate(sources, start=1):
            with waiting, st.spinner(f"Segmenting {number} of {len(sources)}…"):
                outcomes[source.label] = segment_source(source, segmenter)
        _show(outcomes, segmenter.model)
    _tell_about(segmenter.model)


def _introduce() -> None:
    st.title("gliomask", anchor=False)
    st.markdown("Outlines the FLAIR abnormality of lower-grade gliomas on axial slices of brain MRI.")
    st.info(f"**{NOTICE}** {plain(privacy(st.context.url))}", icon=":material/info:")


def _ask() -> list[Source]:
    upload, sample = st.columns([3, 1], gap="medium")
    with upload:
        files = st.file_uploader(
            "Drop MRI slices here, one or many",
            ENDINGS,
            accept_multiple_files=True,
            max_upload_size=MAX_UPLOAD_MB,
            key="uploads",
            on_change=_leave_sample,
        )
        st.caption(
            f"Up to {MAX_FILES} files, each of up to {MAX_UPLOAD_MB} MB and {MAX_PIXELS // 2**20} megapixels. A grey image counts as "
            "FLAIR; a colour image as pre-contrast T1, FLAIR and post-contrast T1. The pages of a TIFF are the slices of one volume."
        )
    taken = st.session_state.get("sample", False)
    with sample:
        st.markdown("No slice at hand?")
        inviting = "secondary" if files or taken else "primary"
        st.button("Try the sample", key="try", on_click=_take_sample, type=inviting, width="stretch")
        st.caption("A head drawn by this program; nobody's scan.")
    if len(files) > MAX_FILES:
        st.warning(f"Only the first {MAX_FILES} of {len(files)} files are segmented. For more, use the command line: `gliomask segment`.")
    return sources_of(files, taken)


def _take_sample() -> None:
    st.session_state["sample"] = True
    st.session_state["case"] = SAMPLE_NAME


def _leave_sample() -> None:
    st.session_state["sample"] = False


def _show(outcomes: Mapping[str, Outcome], model: ModelRecord) -> None:
    """Show the answer over all, the list of cases where there are several, and one case."""
    several = len(outcomes) > 1
    over_all = st.empty()
    if not any(isinstance(outcome, Case) for outcome in outcomes.values()):
        for reason in outcomes.values():
            st.warning(plain(str(reason)))
        return
    left, right = st.columns([1, 3], gap="medium") if several else (st.container(), st.container())
    # The settings stand below the pictures but decide on every answer above them, so they are asked first.
    answer, settings = right.container(), right.container()
    with settings:
        threshold, opacity = _settings(model)
    cut = {label: outcome.at(threshold) if isinstance(outcome, Case) else outcome for label, outcome in outcomes.items()}
    chosen = next(iter(cut.values()))
    if several:
        over_all.header(summary([o.areas for o in cut.values() if isinstance(o, Case)], len(cut)), anchor=False)
        with left:
            chosen = cut[_choose(cut)]
    with answer:
        if isinstance(chosen, str):
            st.warning(plain(chosen))
            return
        (st.subheader if several else st.header)(headline(chosen.areas), anchor=False)
        z = _show_case(chosen, opacity)
    with settings:
        _hand_out(chosen, z, opacity)


def _settings(model: ModelRecord) -> tuple[float, float]:
    left, right = st.columns(2, gap="medium")
    threshold = left.slider(
        "Threshold",
        min(0.01, model.threshold),
        1.0,
        model.threshold,
        0.01,
        key="threshold",
        help=f"Pixels of at least this probability are marked. The model's own is {model.threshold:.2f}. Nothing is computed again.",
    )
    opacity = right.slider("Opacity of the overlay", 0, 100, 30, 5, format="%d%%", key="opacity", help="At 0% the outline alone is drawn.")
    return threshold, opacity / 100


def _choose(outcomes: Mapping[str, Outcome]) -> str:
    """Return the label of the case to show: the one picked, at first the first that was segmented."""
    if st.session_state.get("case") not in outcomes:
        segmented = (label for label, outcome in outcomes.items() if isinstance(outcome, Case))
        st.session_state["case"] = next(segmented, next(iter(outcomes)))
    captions = [status(outcome.areas) if isinstance(outcome, Case) else "Not segmented" for outcome in outcomes.values()]
    with st.container(height=420 if len(outcomes) > LONG_LIST else "content", border=False):
        picked: str = st.radio("Case", list(outcomes), format_func=plain, captions=captions, key="case")
    return picked


def _show_case(case: Case, opacity: float) -> int:
    """Show a case's numbers and pictures and return the slice that is looked at."""
    result, areas = case.result, case.areas
    sentences = st.empty()
    z = 0
    if len(areas) > 1:
        key = f"slice of {case.digest}"
        if key not in st.session_state:
            st.session_state[key] = case.start + 1
        z = st.slider("Slice", 1, len(areas), key=key) - 1
    sentences.markdown(details(result, areas, z))
    _show_pictures(case, z, opacity)
    st.caption(plain(read_as(result.volume)))
    return z


def _show_pictures(case: Case, z: int, opacity: float) -> None:
    # Shrunk before it is drawn on: a large slice would take seconds at every move of a slider.
    grey, mask = for_screen(case.grey[z]), for_screen(mask_pixels(case.result.mask[z]))
    slices = len(case.grey)
    name = f"slice {z + 1} of {slices}" if slices > 1 else "slice"
    pictures = (
        (grey, f"FLAIR, {name}" if slices > 1 else "FLAIR", f"FLAIR {name} in grey"),
        (mask, "Mask", f"Mask of the {name}: marked pixels white on black"),
        (overlay_slice(grey, mask > 127, opacity), "Overlay", f"FLAIR {name} with the marked pixels outlined in amber"),
    )
    with st.container(key="pictures"):
        columns = st.columns(3)
    for column, (pixels, caption, description) in zip(columns, pictures, strict=True):
        column.image(pixels, caption, width="stretch", output_format="PNG", alt=description)


def _hand_out(case: Case, z: int, opacity: float) -> None:
    """Offer the mask and the overlay of the slice that is looked at, and all masks of a volume."""
    result = case.result
    name, mask = result.volume.slice_names[z], result.mask[z]
    files: list[tuple[str, Any, str, str]] = [
        ("Mask (PNG)", lambda: png(mask_pixels(mask)), f"{name}_mask.png", "image/png"),
        ("Overlay (PNG)", lambda: png(overlay_slice(case.grey[z], mask, opacity)), f"{name}_overlay.png", "image/png"),
    ]
    if len(result.mask) > 1:
        files.append(("All masks (ZIP)", lambda: masks_zip(result), f"{result.volume.name}_masks.zip", "application/zip"))
    with st.container(horizontal=True):
        for text, content, file_name, kind in files:
            st.download_button(text, content, file_name, kind, on_click="ignore", icon=":material/download:")


def _tell_about(model: ModelRecord) -> None:
    with st.expander("About the model"):
        facts = "\n".join(f"- **{title}:** {plain(text)}" for title, text in about(model))
        st.markdown(f"{facts}\n{scores(model)}")


if __name__ == "__main__":
    main()

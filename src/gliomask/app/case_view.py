"""One case: the sentence, the viewer with its settings, measurements, and what can be taken away."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from gliomask.app import shared, viewer
from gliomask.app.case import Found, Summary, areas_of, summary_of
from gliomask.app.desk import Desk
from gliomask.app.pictures import BOTH, CIVIDIS, for_screen, marked_slice, windowed
from gliomask.app.scene import ONE, Scene, chosen_slices, focus, in_ras, nifti, ras_box, scene_of, stored, thumbnail
from gliomask.app.takeaway import offers, packed
from gliomask.app.wording import agreement, area_phrases, cautions, headline, measured, not_in_table, plain, read_as
from gliomask.report.overlay import OUTLINE, REFERENCE
from gliomask.segmentation import Segmentation
from gliomask.sizes import ml

MARKS = {"Outline": "outline", "Fill": "fill", "Probability": "probability", "Uncertainty": "uncertainty", "Nothing": "nothing"}
VIEWS = {"All": "all", "Axial": "axial", "Coronal": "coronal", "Sagittal": "sagittal", "3-D": "solid"}
AMBER, BLUE, PURPLE = (f"#{bytes(colour).hex()}" for colour in (OUTLINE, REFERENCE, BOTH))
RAMP = ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in CIVIDIS)

FAILED = "viewer failed"
NO_VIEWER = {
    "no-webgl": "This browser draws no 3-D graphics (WebGL 2); plain pictures are shown instead.",
    "error": "The viewer could not draw this; plain pictures are shown instead.",
}
"""Why a visitor sees plain pictures, by what the viewer tells."""

UPRIGHT = (slice(None, None, -1), slice(None, None, -1))
"""Turns a slice ``(y, x)`` in RAS+ so that the front is on top and the patient's right on the left."""


@dataclass(frozen=True)
class Settings:
    """How a case is looked at; attributes as of :class:`gliomask.app.viewer.Shown` and of :class:`gliomask.Segmentation`."""

    threshold: float
    all_lesions: bool
    mark: str
    opacity: float
    window: tuple[float, float]
    view: str


def show(desk: Desk, number: str) -> None:
    """Show a case of a desk; a change of its settings runs this part of the page alone."""
    st.fragment(_show)(desk, number)


def _show(desk: Desk, number: str) -> None:
    found = desk.found(number) if number in desk.cases else None
    if found is None:
        if number in desk.cases:  # its result had to make room for others and is computed again: the whole page shows how far it is
            st.rerun()
        return
    sentence, stage, controls = st.container(), st.container(), st.container()
    several = _is_volume(found)
    failed = several and st.session_state.get(FAILED)
    with controls:
        settings = _ask(found.result, views=several and not failed)
    cut = found.at(settings.threshold, all_lesions=settings.all_lesions)
    summary = summary_of(cut)
    if cut.found and cut.confidence_reason:
        controls.caption(f"Expected agreement with an expert not known: {cut.confidence_reason}.")  # here it moves no picture when it comes
    with sentence:
        st.header(headline(summary, cut.confidence), anchor=False)
        _tell_reference(found, cut)
    with stage:
        if failed or not several:
            _draw_plainly(found, cut, settings)
        elif reason := _draw(desk, number, found, cut, summary, settings):
            st.session_state[FAILED] = reason
            st.rerun()  # the controls are the viewer's
        if failed:
            st.caption(NO_VIEWER.get(failed, NO_VIEWER["error"]))
    _hand_out(cut, found.seg_problem)
    _measure(cut, summary)


def _is_volume(found: Found) -> bool:
    """Return whether there are several axial slices."""
    _, (axes, _) = ras_box(found.result.volume)
    return found.result.probability.shape[axes[0]] > 1


def _ask(result: Segmentation, *, views: bool) -> Settings:
    least = min(0.01, result.model.threshold)
    with st.container(horizontal=True, key="modes", vertical_alignment="bottom"):
        mark = st.segmented_control("Show", list(MARKS), key="mark", required=True)
        view = st.segmented_control("View", list(VIEWS), key="view", required=True) if views else "Axial"
        all_lesions = st.toggle(
            "All lesions",
            key="all lesions",
            help="Mark all that reaches the threshold: small lesions, most of which are false, and faint ends.",
        )
    first, second, third = st.columns(3, gap="medium")
    threshold = first.slider(
        "Threshold",
        least,
        1.0,
        step=0.01,
        key="threshold",
        help=f"What has at least this probability is marked. The model's own is {result.model.threshold:.2f}. Nothing is computed again.",
    )
    opacity = second.slider("Opacity", 0, 100, step=5, format="%d%%", key="opacity", help="Of the fill and of the maps.")
    low, high = third.slider(
        "Grey window", 0, 100, step=1, format="%d%%", key="window", help="Which intensities are black and which are white."
    )
    return Settings(threshold, all_lesions, MARKS[mark], opacity / 100, (low * 2.55, high * 2.55), VIEWS[view])


def _tell_reference(found: Found, cut: Segmentation) -> None:
    if found.reference is not None:
        st.markdown(f"**{agreement(cut, found.reference)}**")
        if found.slices_without:
            st.caption(f"{found.slices_without} of {len(found.reference)} slices came without a mask and count as free of tumour.")
    elif found.reference_problem:
        st.warning(f"The reference mask was not used. {plain(found.reference_problem)}")


def _draw(desk: Desk, number: str, found: Found, cut: Segmentation, summary: Summary, settings: Settings) -> str:
    """Draw the viewer and return why it cannot be drawn, or nothing."""
    key = desk.cases[number].key
    scene, flair, probability = _scene(desk, key, found)
    reference = None
    if found.reference is not None:
        _, box = ras_box(found.result.volume)
        reference = viewer.address(nifti(in_ras(found.reference, box).view(np.uint8), scene.affine), f"viewer {number} reference")
    pixel_mm2 = None if scene.assumed else float(np.prod(np.linalg.norm(scene.affine[:3, :2], axis=0)))
    shown = viewer.Shown(
        case=f"{number} {key}",
        flair=viewer.address(flair, f"viewer {number} flair"),
        probability=viewer.address(probability, f"viewer {number} probability"),
        reference=reference,
        map=_map(number, scene, found.result) if settings.mark == "uncertainty" else None,
        marked=_marked(number, cut, scene),
        threshold=settings.threshold,
        mark=settings.mark,
        opacity=settings.opacity,
        window=settings.window,
        view=settings.view,
        focus=focus(scene.probability, found.result.model.threshold),
        oriented=found.result.volume.oriented and found.result.volume.affine is not None,
        areas=area_phrases(summary.areas, pixel_mm2),
        thumbnails=_thumbnails(scene, cut, summary),
        legend=_legend(found, settings.mark),
        description=f"FLAIR with the {_in_words(settings.mark)}.",
        token=f"{number} {settings}",
    )
    return viewer.show(shown, key="viewer", windowed=_take_window)


def _take_window(low: int, high: int) -> None:
    """Have the control of the grey window stand where a drag in the picture has put it."""
    st.session_state["window"] = (low, high)


def _marked(number: str, cut: Segmentation, scene: Scene) -> str | None:
    """Return the address of the mask where it is another than what reaches the threshold, such as without its satellites."""
    mask = _mask_in_ras(cut)
    if np.array_equal(mask, scene.probability >= round(cut.threshold * ONE)):
        return None
    return viewer.address(gzip.compress(mask.tobytes(), compresslevel=1, mtime=0), f"viewer {number} marked")


def _mask_in_ras(cut: Segmentation) -> NDArray[np.bool_]:
    _, box = ras_box(cut.volume)
    return in_ras(cut.mask, box)


def _map(number: str, scene: Scene, result: Segmentation) -> str:
    _, box = ras_box(result.volume)
    return viewer.address(nifti(stored(in_ras(result.uncertainty, box)), scene.affine), f"viewer {number} map")


def _scene(desk: Desk, key: str, found: Found) -> tuple[Scene, bytes, bytes]:
    """Return a case's scene and its two volumes as files, made once."""
    kept = shared.scenes().get(key, desk)
    if kept is None:
        scene = scene_of(found.result.volume, found.result.probability)
        kept = scene, nifti(scene.flair, scene.affine), nifti(scene.probability, scene.affine)
        shared.scenes().add(key, kept, scene.bytes + len(kept[1]) + len(kept[2]), desk)
    return kept


def _thumbnails(scene: Scene, cut: Segmentation, summary: Summary) -> list[dict[str, Any]]:
    x, y = np.linalg.norm(scene.affine[:3, :2], axis=0)
    mask = _mask_in_ras(cut)
    pictures = []
    for z in chosen_slices(summary.areas):
        picture = thumbnail(scene.flair[z][UPRIGHT], mask[z][UPRIGHT], y / x)
        pictures.append({"z": z, "picture": picture, "alt": f"Go to slice {z + 1}"})
    return pictures


def _legend(found: Found, mark: str, *, outlines: bool = False) -> list[tuple[str, str]]:
    """Return the colours with what they mean: of areas, or of *outlines*, which lie over each other in part."""
    if mark == "nothing":
        return []
    if mark in ("probability", "uncertainty"):
        return [("ramp", f"{mark.capitalize()} 0.05 to 1")]
    legend = [(AMBER, "Marked by the model")]
    reference, both = ("Reference", "Both outlines") if outlines else ("Reference alone", "Both")
    return legend if found.reference is None else [*legend, (BLUE, reference), (PURPLE, both)]


def _in_words(mark: str) -> str:
    return {
        "outline": "marked region outlined in amber",
        "fill": "marked region filled in amber",
        "probability": "probability of an abnormality as a colour map from blue to yellow",
        "uncertainty": "uncertainty of the model as a colour map from blue to yellow",
        "nothing": "image alone",
    }[mark]


def _draw_plainly(found: Found, cut: Segmentation, settings: Settings) -> None:
    """Show single slices as pictures: where there is one only, or where the browser draws no viewer."""
    scene_flair, box = _plain_arrays(found)
    areas = areas_of(cut)
    z = 0
    if len(areas) > 1:
        start = areas.index(max(areas)) if any(areas) else len(areas) // 2
        z = st.slider("Slice", 1, len(areas), start + 1, key=f"slice {cut.volume.name}") - 1
    grey = windowed(scene_flair[z][UPRIGHT], settings.window)
    values = in_ras(cut.uncertainty if settings.mark == "uncertainty" else cut.probability, box)[z][UPRIGHT]
    reference = None if found.reference is None else in_ras(found.reference, box)[z][UPRIGHT]
    mask = in_ras(cut.mask, box)[z][UPRIGHT]
    marked = marked_slice(grey, mask, values, reference, settings.mark, settings.opacity)
    with st.container(key="pictures"):
        left, right = st.columns(2)
    name = f"slice {z + 1} of {len(areas)}" if len(areas) > 1 else "slice"
    beside = "" if reference is None or settings.mark == "nothing" else ", the reference outlined in blue"
    right.image(marked, width="stretch", output_format="PNG", alt=f"FLAIR {name} with the {_in_words(settings.mark)}{beside}")
    left.image(for_screen(grey), width="stretch", output_format="PNG", alt=f"FLAIR {name} in grey")
    if legend := _legend(found, settings.mark, outlines=True):
        st.html(
            "".join(f'<span style="white-space: nowrap; margin-right: 1.1rem">{_swatch(colour)}{text}</span>' for colour, text in legend)
        )


def _swatch(colour: str) -> str:
    width, background = (4.5, f"linear-gradient(90deg, {RAMP})") if colour == "ramp" else (0.75, colour)
    return f'<i style="display: inline-block; width: {width}em; height: 0.75em; margin-right: 0.4em; background: {background}"></i>'


def _plain_arrays(found: Found) -> tuple[Any, Any]:
    from gliomask.report.overlay import display_grey

    _, box = ras_box(found.result.volume)
    return display_grey(in_ras(found.result.volume.flair, box)), box


def _measure(cut: Segmentation, summary: Summary) -> None:
    content = cut.measurements
    columns = measured(content)
    if columns:
        st.subheader("Measurements", anchor=False)
        st.container(key="lesions").table(columns)
    if more := not_in_table(content):
        st.caption(more)
    for sentence in cautions(cut, any(summary.areas)):
        st.markdown(f":material/info: {plain(sentence)}")
    with st.expander("How it was read"):
        peak = f"Highest probability of a voxel: {cut.max_probability:.2f} (not the probability of a tumour)"
        whole = [] if content["volume_ml"] is None else [f"Volume {ml(content['volume_ml'])} at a threshold of {cut.threshold:.2f}"]
        st.markdown("\n".join(f"- {plain(line)}" for line in [*read_as(cut.volume), *cut.notes, *whole, peak]))


def _hand_out(cut: Segmentation, seg_problem: str) -> None:
    """Offer the files; each is made when its button is pressed."""
    first, *others = offers(cut, seg=not seg_problem)
    with st.container(horizontal=True, key="takeaway"):
        _button(first.label, partial(packed, cut, first.part), first.name, first.kind, "primary")
        for offer in others:
            _button(offer.label, partial(packed, cut, offer.part), offer.name, offer.kind, "secondary")
    if seg_problem:
        st.caption(plain(seg_problem[:1].upper() + seg_problem[1:]))


def _button(label: str, content: Callable[[], bytes], name: str, kind: str, look: str) -> None:
    st.download_button(label, content, name, kind, on_click="ignore", icon=":material/download:", type=look, key=f"take {label}")

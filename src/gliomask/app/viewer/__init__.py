"""The viewer: NiiVue (https://niivue.com, BSD-2-Clause, 0.69.0, unaltered, in ``frontend/niivue.js``) as a Streamlit component.

NiiVue's own Streamlit component takes volumes whole with every change of a setting and knows neither
threshold nor outline nor a place to go to, so this one hands over addresses, and cuts in the browser.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v1 import declare_component
from streamlit.runtime import get_instance

FRONTEND = Path(__file__).with_name("frontend")
_component = declare_component("gliomask_viewer", path=FRONTEND)


@dataclass(frozen=True)
class Shown:
    """What the viewer shows; attributes are those of ``frontend/viewer.js``.

    Attributes
    ----------
    case
        Tells one case from another; when it changes, the crosshair goes to *focus*.
    flair, probability, reference, map
        Addresses of packed NIfTI files, from :func:`address`.
    marked
        Address of the mask's packed bytes in the order of FLAIR's voxels; None where it is what reaches the threshold.
    threshold, mark, opacity, window, view
        Settings: 0 to 1; outline, fill, probability, uncertainty or nothing; 0 to 1; the grey
        values (0 to 255) that are black and white; all, axial, coronal, sagittal or solid.
    focus
        Voxel (x, y, z).
    oriented
        Whether the patient's sides are known; then letters tell them.
    areas
        A phrase for each axial slice on what is marked in it.
    thumbnails
        Slices of interest: ``z``, ``picture`` (data URL) and ``alt``.
    legend
        Colours (CSS, or ``"ramp"``) with what they mean.
    description
        What a screen reader says of the picture.
    token
        Anything that changes with the arguments; the page tells by it when they are drawn.
    """

    case: str
    flair: str
    probability: str
    threshold: float
    mark: str
    opacity: float
    window: tuple[float, float]
    view: str
    focus: tuple[int, int, int]
    oriented: bool
    areas: list[str]
    thumbnails: list[dict[str, Any]]
    legend: list[tuple[str, str]]
    description: str
    token: str
    reference: str | None = None
    map: str | None = None
    marked: str | None = None


def show(shown: Shown, key: str, windowed: Callable[[int, int], None]) -> str:
    """Draw the viewer; return why it cannot be drawn in this browser, or nothing.

    *windowed* is called before the page's next run with the grey window, 0 to 100, that the visitor has dragged in the picture.
    """

    def changed() -> None:
        value = st.session_state.get(key)
        if isinstance(value, dict) and "window" in value:
            low, high = (min(max(int(end), 0), 100) for end in value["window"])
            windowed(low, max(low, high))

    value = _component(**asdict(shown), key=key, default=None, on_change=changed)
    return str(value.get("failed", "")) if isinstance(value, dict) else ""


def address(content: bytes, place: str) -> str:
    """Return where the page's own server hands a file out for as long as it is shown at *place*; equal bytes have one address.

    A browser fetches it once, while an argument of a component travels again with every change of another.

    Streamlit documents no such address, but hands out its own pictures and sounds by this manager. Its documented
    ways do not fit: static files are on the disk, for everybody and for good, and data in a component's arguments travel each time.
    """
    if not st.runtime.exists():
        return ""
    return get_instance().media_file_mgr.add(content, "application/gzip", place)

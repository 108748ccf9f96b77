"""The report's plots, as SVG that takes its colours and letters from the page around it."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import numpy as np

from gliomask.errors import EngineError
from gliomask.evaluation.scores import INSTITUTIONS, PatientScore
from gliomask.metrics import dice

TEXT, QUIET, LINE, MARK, SECOND = "#010203", "#010204", "#010205", "#010206", "#010207"
"""Stand-ins that matplotlib draws with; the page's own colours, light or dark, take their places."""

VARIABLES = {TEXT: "--text", QUIET: "--quiet", LINE: "--line", MARK: "--mark", SECOND: "--second"}

POINT = re.compile(r'<g id="point-(\d+)">')
GOLDEN = 0.618034
"""Neighbours in a row of points are set apart by this turn, so that they cover each other least."""

WIDTH_IN, HEIGHT_IN = 5.0, 3.6
MOST_TICKS = 6


def require_matplotlib() -> None:
    """Raise an EngineError that names the extra if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401 - asked for before hours of work depend on it
    except ImportError as error:
        raise EngineError("the report's plots need matplotlib. Install it: pip install 'gliomask[evaluate]'.") from error


def dice_by_institution(patients: Sequence[PatientScore]) -> str:
    """Return every patient's Dice as a point, over all and by institution, with medians and quartiles."""
    rows: dict[str, list[PatientScore]] = {"All": list(patients)}
    for name in sorted({p.institution for p in patients if p.institution is not None}):
        rows[name] = [p for p in patients if p.institution == name]
    if len(rows) == 2:  # one institution says what all say
        rows = {"All": rows["All"]}
    points = _Points()
    with _figure(WIDTH_IN, max(HEIGHT_IN, 1.0 + 0.4 * len(rows))) as (figure, axes):
        for y, group in enumerate(rows.values()):
            values = [dice(p.counts) for p in group]
            low, middle, high = np.percentile(values, [25, 50, 75])
            axes.plot([low, high], [y, y], color=LINE, linewidth=15, solid_capstyle="butt", zorder=1)
            axes.plot([middle, middle], [y - 0.3, y + 0.3], color=TEXT, linewidth=2, solid_capstyle="butt", zorder=3)
            for number, (patient, value) in enumerate(zip(group, values, strict=True)):
                points.draw(axes, value, y + 0.44 * ((number * GOLDEN) % 1 - 0.5), f"{patient.name}: Dice {value:.3f}")
        labels = [f"{INSTITUTIONS.get(name, name).replace(', ', chr(10))} ({len(group)})" for name, group in rows.items()]
        axes.set_yticks(range(len(rows)), labels)
        axes.set(xlim=_limits([dice(p.counts) for p in patients]), ylim=(len(rows) - 0.4, -0.6), xlabel="Dice of a patient")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        return _svg(figure, "Dice of each patient, over all and by institution, with medians and quartiles", points)


def dice_by_size(patients: Sequence[PatientScore], thirds: dict[str, dict[str, Any]]) -> str:
    """Return every patient's Dice against the tumour's size by the reference, with the median of each third of the sizes."""
    points = _Points()
    with _figure(WIDTH_IN, HEIGHT_IN) as (figure, axes):
        for patient in patients:
            value = dice(patient.counts)
            told = f"{patient.name}: Dice {value:.3f}, {patient.reference_pixels:,} pixels"
            points.draw(axes, max(1, patient.reference_pixels), value, told)
        for third in thirds.values():
            ends = [max(1, third["from_pixels"]), max(1, third["to_pixels"])]
            axes.plot(ends, [third["median_dice"]] * 2, color=TEXT, linewidth=2, zorder=1)
        axes.set_xscale("log")
        axes.set_xticks(*_round_sizes([max(1, p.reference_pixels) for p in patients]))
        axes.minorticks_off()
        axes.set(ylim=_limits([dice(p.counts) for p in patients]), xlabel="tumour in all slices, pixels", ylabel="Dice of a patient")
        return _svg(figure, "Dice of each patient against the size of the tumour", points)


def reliability_curve(curve: Sequence[dict[str, Any]]) -> str:
    """Return how often pixels are tumour against the probability that was given to them, above how many pixels there are.

    *curve* is that of :meth:`gliomask.evaluation.calibration.Reliability.as_json`.
    """
    said, found, pixels = (np.array([point[key] for point in curve]) for key in ("mean_probability", "tumour_share", "pixels"))
    with _figure(WIDTH_IN, 4.4, rows=(3.2, 1.0)) as (figure, (upper, lower)):
        upper.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        upper.plot(said, found, color=MARK, linewidth=2, marker="o", markersize=5, zorder=2)
        upper.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share that is tumour")
        upper.annotate(
            "as said", (0.83, 0.83), xytext=(6, -12), textcoords="offset points", color=QUIET, fontsize=9
        )  # fmt: skip
        lower.bar(said, pixels, width=0.032, color=MARK, zorder=2)
        lower.set_yscale("log")
        lower.set(xlim=(-0.02, 1.02), xlabel="probability given to a pixel", ylabel="pixels")
        return _svg(figure, "Share of pixels that are tumour against the probability given to them", _Points())


class _Points:
    """Points of a plot, each with a text that shows when one points at it."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def draw(self, axes: Any, x: float, y: float, text: str) -> None:
        (point,) = axes.plot([x], [y], marker="o", markersize=5.5, color=MARK, alpha=0.75, markeredgewidth=0, zorder=2)
        point.set_gid(f"point-{len(self.texts)}")
        self.texts.append(text)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Return limits of an axis of Dice that show all values: from a round tenth below the lowest to 1."""
    return max(-0.02, np.floor(10 * min(values) - 0.5) / 10), 1.02


def _round_sizes(pixels: Sequence[int]) -> tuple[list[float], list[str]]:
    """Return round sizes that span the given ones, few enough to stand beside each other, and how they are written."""
    powers = range(int(np.log10(min(pixels))), int(np.log10(max(pixels))) + 1)
    ticks = [float(min(pixels))]
    for steps in ((1, 2, 5), (1, 3), (1,)):
        rounded = [step * 10.0**power for power in powers for step in steps]
        ticks = [tick for tick in rounded if min(pixels) / 1.3 <= tick <= max(pixels) * 1.3] or ticks
        if len(ticks) <= MOST_TICKS:
            break
    return ticks, [f"{tick:,.0f}" for tick in ticks]


@contextmanager
def _figure(width: float, height: float, rows: tuple[float, ...] = (1.0,)) -> Iterator[Any]:
    """Yield a figure of that many inches with its axes, one for each relative height in *rows*."""
    import matplotlib  # half a second, and an extra: only a report needs it
    from matplotlib.figure import Figure

    style = {"svg.fonttype": "none", "svg.hashsalt": "gliomask", "font.size": 9, "text.color": TEXT, "axes.labelcolor": QUIET}
    style |= {"axes.edgecolor": LINE, "xtick.color": LINE, "ytick.color": LINE, "xtick.labelcolor": QUIET, "ytick.labelcolor": TEXT}
    style |= {"axes.grid": True, "grid.color": LINE, "grid.linewidth": 0.7, "axes.axisbelow": True}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(len(rows), 1, height_ratios=rows)
        for each in np.ravel(axes):
            each.spines[["top", "right"]].set_visible(False)
            each.minorticks_off()
        yield figure, axes


def _svg(figure: Any, described: str, points: _Points) -> str:
    """Return the figure as an element for a page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    opening = f'<svg role="img" aria-label="{escape(described)}"'
    text = re.sub(r'<svg[^>]*?(viewBox="[^"]*")[^>]*>', rf"{opening} \1>", text, count=1)
    text = POINT.sub(lambda match: f"<g><title>{escape(points.texts[int(match[1])])}</title>", text)
    text = re.sub(r' id="[a-z0-9.]+_\d+"', "", text)  # matplotlib numbers groups from 1 in each figure; a page's names have to differ
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text

"""What the pages draw, as Vega-Lite: plain functions from numbers to specifications, with a sentence for those who do not see them.

Streamlit serves Vega itself, and its theme gives axes and grid their colours, light or dark. What is drawn here has one colour, which
stands out from the page by 4:1 and more and differs from grey for every kind of colour vision; nothing is told by colour alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

MARK, QUIET = "#2f86a6", "#6b707a"
DARK = {MARK: "#5fb4cf", QUIET: "#a4a9b3"}
"""What stands in place of the colours on a dark page."""

GOLDEN = 0.618034
"""Neighbours in a row of points are set apart by this turn, so that they cover each other least."""

DOT, AROUND = 16, 84
"""Height of a dot in a stack of them, and of axis and labels around a plot, in CSS pixels."""

HEIGHT = 270
MOST_BINS, ROOM = 24, 5

Spec = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A specification with its data, and what it shows in words."""

    spec: Spec
    alt: str

    def on_dark(self) -> "Chart":
        """Return the same for a dark page."""
        text = json.dumps(self.spec)
        for light, dark in DARK.items():
            text = text.replace(light, dark)
        return Chart(json.loads(text), self.alt)


def volume_dots(named: Sequence[tuple[str, float]], unit: str) -> Chart:
    """Return a dot for each case above its volume, stacked where they would lie on each other, with the median; one case at least."""
    values = [value for _, value in named]
    middle = median(values)
    step = bin_width(max(values))
    heights: dict[int, int] = {}
    dots = []
    for name, value in sorted(named, key=lambda pair: pair[1]):
        place = int(value / step)
        heights[place] = heights.get(place, 0) + 1
        dots.append({"case": name, "volume": value, "x": (place + 0.5) * step, "y": heights[place] - 0.5})
    most = max(heights.values())
    scale: Spec = {"domain": [0, (int(max(values) / step) + 1) * step], "nice": False}
    title = "Volume (ml)" if unit == "ml" else "Marked pixels"
    x = {"field": "x", "type": "quantitative", "title": title, "scale": scale, "axis": {"tickCount": 8, "grid": False}}
    y = {"field": "y", "type": "quantitative", "scale": {"domain": [0, max(most, ROOM)], "nice": False}, "axis": None}
    told = [{"field": "case", "title": "Case"}, {"field": "volume", "type": "quantitative", "title": title, "format": ",.1f"}]
    points = {
        "data": {"values": dots},
        "mark": {"type": "circle", "size": 130, "color": MARK, "opacity": 0.9},
        "encoding": {"x": x, "y": y, "tooltip": told},
    }
    layers = [points]
    if len(values) > 2:
        layers.insert(0, _rule("x", middle, f"Median {_size(middle, unit)}", scale))
    span = f"{_size(min(values), unit)} to {_size(max(values), unit)}"
    alt = f"Volumes of {len(values)} cases: {span}, median {_size(middle, unit)}."
    return Chart({"height": DOT * max(most, ROOM) + AROUND, "layer": layers}, alt)


def bin_width(largest: float) -> float:
    """Return a round width that cuts 0 to *largest* into at most :data:`MOST_BINS` parts.

    >>> bin_width(41.0), bin_width(0.0)
    (2.0, 1.0)
    """
    if largest <= 0:
        return 1.0
    power = 1e-3
    while True:
        for step in (1, 2, 5):
            if largest / (step * power) < MOST_BINS:
                return step * power
        power *= 10


def _size(value: float, unit: str) -> str:
    return f"{value:,.1f} ml" if unit == "ml" else f"{value:,.0f} pixels"


def _rule(axis: str, value: float, label: str, scale: Mapping[str, Any]) -> Spec:
    """Return a line across the plot at a value, with its label at the upper end."""
    encoding = {axis: {"field": "value", "type": "quantitative", "scale": scale}}
    text = {"type": "text", "align": "left", "dx": 5, "baseline": "top", "fontSize": 12, "color": QUIET}
    return {
        "data": {"values": [{"value": value, "label": label}]},
        "layer": [
            {"mark": {"type": "rule", "color": QUIET, "strokeDash": [4, 3]}, "encoding": encoding},
            {"mark": text, "encoding": {**encoding, "y": {"value": 0}, "text": {"field": "label"}}},
        ],
    }


def dice_dots(named: Sequence[tuple[str, float]]) -> Chart:
    """Return each patient's Dice as a point, with the median and, from four patients on, a bar over the quartiles."""
    values = [value for _, value in named]
    scale = {"domain": [dice_floor(values), 1.0], "nice": False, "clamp": True}
    x = {"field": "dice", "type": "quantitative", "title": "Dice of a case", "scale": scale, "axis": {"tickCount": 6}}
    y = {"field": "y", "type": "quantitative", "scale": {"domain": [-0.75, 0.6]}, "axis": None}
    points = [{"case": name, "dice": value, "y": 0.8 * ((n * GOLDEN) % 1 - 0.5)} for n, (name, value) in enumerate(named)]
    told = [{"field": "case", "title": "Case"}, {"field": "dice", "type": "quantitative", "title": "Dice", "format": ".3f"}]
    layers: list[Spec] = []
    alt = f"Dice of {len(values)} cases: {min(values):.2f} to {max(values):.2f}, median {median(values):.2f}."
    if len(values) > 3:
        low, _, high = quantiles(values, n=4, method="inclusive")
        ends = {"x": {"datum": low, "type": "quantitative", "scale": scale}, "x2": {"datum": high}}
        layers.append({"mark": {"type": "rect", "color": QUIET, "opacity": 0.18}, "encoding": ends})
        alt += f" Half of them lie between {low:.2f} and {high:.2f}."
    layers.append(_rule("x", median(values), f"Median {median(values):.3f}", scale))
    circle = {"type": "circle", "size": 90, "color": MARK, "opacity": 0.85}
    layers.append({"data": {"values": points}, "mark": circle, "encoding": {"x": x, "y": y, "tooltip": told}})
    return Chart({"height": HEIGHT, "data": {"values": [{}]}, "layer": layers}, alt)


def dice_by_size(named: Sequence[tuple[str, float, int]]) -> Chart:
    """Return each patient's Dice against the reference's size in pixels."""
    values = [value for _, value, _ in named]
    points = [{"case": name, "dice": value, "pixels": max(1, pixels)} for name, value, pixels in named]
    encoding = {
        "x": {"field": "pixels", "type": "quantitative", "title": "Reference mask, pixels in all slices", "scale": {"type": "log"},
              "axis": {"tickCount": 4, "format": "~s", "grid": False}},
        "y": {"field": "dice", "type": "quantitative", "title": "Dice", "scale": {"domain": [dice_floor(values), 1.0], "nice": False}},
        "tooltip": [{"field": "case", "title": "Case"}, {"field": "dice", "type": "quantitative", "title": "Dice", "format": ".3f"},
                    {"field": "pixels", "type": "quantitative", "title": "Pixels", "format": ",d"}],
    }  # fmt: skip
    circle = {"type": "circle", "size": 90, "color": MARK, "opacity": 0.85}
    alt = "Dice of each case against the size of its reference mask; the table has the same numbers."
    return Chart({"height": HEIGHT, "data": {"values": points}, "mark": circle, "encoding": encoding}, alt)


def dice_floor(values: Sequence[float]) -> float:
    """Return a round tenth below all values, where an axis of Dice may begin.

    >>> dice_floor([0.58, 0.9])
    0.5
    """
    return max(0.0, int(min(values) * 10 - 0.5) / 10)


def reliability(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Chart:
    """Return how often pixels are tumour against the probability given to them, one curve for each name (two at most).

    A curve is that of :meth:`gliomask.evaluation.calibration.Reliability.as_json`.
    """
    points = [{**point, "curve": name} for name, curve in curves.items() for point in curve]
    unit = {"domain": [0, 1], "nice": False}
    names = list(curves)
    several = len(names) > 1
    colour = {"field": "curve", "title": None, "sort": names, "scale": {"domain": names, "range": [QUIET, MARK] if several else [MARK]},
              "legend": {"orient": "top"} if several else None}  # fmt: skip
    encoding = {
        "x": {"field": "mean_probability", "type": "quantitative", "title": "Probability given to a pixel", "scale": unit},
        "y": {"field": "tumour_share", "type": "quantitative", "title": "Share that is tumour", "scale": unit},
        "color": colour,
        "shape": {"field": "curve", "sort": names, "legend": None},
        "tooltip": [{"field": "mean_probability", "title": "Probability", "format": ".2f"},
                    {"field": "tumour_share", "title": "Share that is tumour", "format": ".2f"},
                    {"field": "pixels", "title": "Pixels", "format": ",d"}],
    }  # fmt: skip
    ideal = {
        "data": {"values": [{"p": 0}, {"p": 1}]},
        "mark": {"type": "line", "color": QUIET, "strokeDash": [4, 3]},
        "encoding": {"x": {"field": "p", "type": "quantitative", "scale": unit}, "y": {"field": "p", "type": "quantitative"}},
    }
    drawn = {"data": {"values": points}, "mark": {"type": "line", "point": {"size": 50}}, "encoding": encoding}
    alt = "Share of pixels that are tumour against the probability given to them; on the dashed line both are equal."
    return Chart({"height": HEIGHT, "layer": [ideal, drawn]}, alt)


def intervals(rows: Sequence[tuple[str, float, float, float]]) -> Chart:
    """Return names with their means as points and their intervals as lines, the names above the lines: a phone has no room beside them."""
    data = [{"name": name, "mean": mean, "low": low, "high": high} for name, mean, low, high in rows]
    floor = dice_floor([low for _, _, low, _ in rows])
    scale = {"domain": [floor, 1.0], "nice": False}
    x = {"type": "quantitative", "scale": scale, "axis": {"tickCount": 6}, "title": "Mean Dice per patient, with 95 % interval"}
    y = {"field": "name", "type": "nominal", "sort": None, "axis": None}
    told = [{"field": "name", "title": "Input"}, *({"field": f, "title": f.capitalize(), "format": ".3f"} for f in ("mean", "low", "high"))]
    label = {"type": "text", "align": "left", "dy": -13, "fontSize": 12, "color": QUIET}
    layers = [
        {"mark": label, "encoding": {"x": {**x, "datum": floor}, "y": y, "text": {"field": "name"}}},
        {"mark": {"type": "rule", "color": MARK, "strokeWidth": 3, "opacity": 0.55},
         "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y, "tooltip": told}},
        {"mark": {"type": "circle", "size": 110, "color": MARK, "opacity": 1},
         "encoding": {"x": {**x, "field": "mean"}, "y": y, "tooltip": told}},
    ]  # fmt: skip
    alt = f"Mean Dice with 95 % intervals for {len(rows)} ways of input; the table has the same numbers."
    return Chart({"height": {"step": 44}, "data": {"values": data}, "layer": layers}, alt)


def history(rows: Sequence[Mapping[str, float]]) -> Chart:
    """Return the Dice of validation patients by epoch; *rows* have ``epoch`` and ``val_dice``."""
    encoding = {
        "x": {"field": "epoch", "type": "quantitative", "title": "Epoch", "axis": {"format": "d"}},
        "y": {"field": "val_dice", "type": "quantitative", "title": "Mean Dice, held-out patients", "scale": {"domain": [0, 1]}},
        "tooltip": [{"field": "epoch", "format": "d"}, {"field": "val_dice", "title": "Dice", "format": ".3f"}],
    }
    data = [{"epoch": row["epoch"], "val_dice": row["val_dice"]} for row in rows]
    alt = f"Mean Dice of held-out patients over {len(data)} epochs, {data[-1]['val_dice']:.2f} at the end."
    return Chart(
        {"height": 260, "data": {"values": data}, "mark": {"type": "line", "color": MARK, "point": True}, "encoding": encoding}, alt
    )

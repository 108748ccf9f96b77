"""The report's pictures: the worst, the middle and the best patients, with the outlines of both masks."""

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gliomask.evaluation.outcome import CasePicture
from gliomask.evaluation.scores import PatientScore
from gliomask.metrics import dice
from gliomask.report.html import content_box, data_uri, paragraphs
from gliomask.report.overlay import OUTLINE, REFERENCE
from gliomask.surfaces import outline

ENLARGED = 3
"""Pixels of a picture for one of the slice, so that two outlines have room beside each other on the border of both masks."""

LARGEST_SIDE = 768
"""Pixels along a picture's longer side at the most: the dataset's slices three times enlarged; more would only make the page heavy."""

LEAST_SHOWN = 0.5
"""Share of a slice's rows and columns that a picture without a scan shows at least, so that sizes of lesions can be compared."""

LINE_PIXELS = 2
CASES = 4


def case_pictures(patients: Sequence[PatientScore], pictures: Sequence[CasePicture]) -> str:
    """Return the pictures of the worst, the middle and the best patients; nothing without pictures."""
    shown = {picture.patient: picture for picture in pictures}
    rows = list(_chosen([p for p in patients if p.name in shown]))
    if not rows:
        return ""
    parts = "\n".join(
        f'<h3>{title}</h3>\n<div class="{"slices three" if _in_threes(len(group)) else "slices"}">\n'
        + "\n".join(_figure(p, shown[p.name]) for p in group)
        + "\n</div>"
        for title, group in rows
    )
    legend = '<p class="legend"><span><span class="swatch predicted"></span>predicted</span>'
    legend += '<span><span class="swatch reference"></span>reference</span></p>'
    told = "Of each patient the slice with the largest area in either mask. The predicted outline is drawn inside its border and the "
    told += "reference's outside of it, so that both are seen where they agree."
    told += _without_scan([shown[p.name] for _, group in rows for p in group])
    title = '<h2 id="cases">Cases</h2>'
    return f'<section aria-labelledby="cases" class="cases">\n{title}\n{legend}\n{parts}\n{paragraphs([told], "note")}\n</section>'


def _in_threes(count: int) -> bool:
    """Return whether pictures stand in rows of three, as rows of :data:`CASES` would leave one by itself."""
    return count > CASES and count % CASES == 1


def _without_scan(pictures: Sequence[CasePicture]) -> str:
    """Return a sentence on the pictures that stand on black; nothing if there are none."""
    without = sum(picture.grey is None for picture in pictures)
    if not without:
        return ""
    if without == len(pictures):
        return " There is no scan to show: the outlines stand on black, cropped to about the lesion."
    whom = "1 patient has" if without == 1 else f"{without} patients have"
    return f" {whom} no scan to show: there the outlines stand on black, cropped to about the lesion."


def chosen_patients(patients: Sequence[PatientScore]) -> list[PatientScore]:
    """Return the patients whose pictures :func:`case_pictures` would show if there were one of everybody."""
    return [patient for _, row in _chosen(patients) for patient in row]


def _chosen(patients: Sequence[PatientScore]) -> Iterator[tuple[str, Sequence[PatientScore]]]:
    """Yield a title and the patients of each row, lowest Dice first; of few patients all in one row, of none no row."""
    ordered = sorted(patients, key=lambda p: dice(p.counts))
    if not ordered:
        return
    if len(ordered) < 3 * CASES:
        yield "All, lowest Dice first", ordered
        return
    middle = (len(ordered) - CASES) // 2
    yield "Lowest Dice", ordered[:CASES]
    yield "Around the median", ordered[middle : middle + CASES]
    yield "Highest Dice", ordered[-CASES:]


def _figure(patient: PatientScore, picture: CasePicture) -> str:
    value = f"{dice(patient.counts):.3f}"
    place = f"slice {picture.slice_number} of {picture.slices}"
    marked = picture.predicted.any() or picture.reference.any()
    outlines = "predicted and reference outline" if marked else "nothing marked in either mask"
    described = f"S{place[1:]} of {picture.patient}, {outlines}" + (", on black" if picture.grey is None else "")
    image = f'<div class="picture"><img src="{data_uri(both_outlines(picture))}" alt="{escape(described)}"></div>'
    caption = f"<b>{value}</b> {escape(picture.patient)}, {place if marked else 'nothing marked'}"
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def both_outlines(picture: CasePicture) -> NDArray[np.uint8]:
    """Return the slice enlarged as RGB ``(y, x, 3)``, the predicted mask outlined inside and the reference outside.

    It is cropped to the head and what is marked; without a scan, to what is marked and something around it. Pixels are
    square, whatever they are in the slice.
    """
    slice_ = np.zeros(picture.reference.shape, np.uint8) if picture.grey is None else picture.grey
    box = _cropped(picture, slice_)
    grey, predicted, reference = (array[box] for array in (slice_, picture.predicted, picture.reference))
    size = _enlarged(grey.shape, picture.aspect)
    rgb = np.asarray(Image.fromarray(np.ascontiguousarray(grey)).resize(size, Image.Resampling.LANCZOS).convert("RGB")).copy()
    for mask, colour, outside in ((reference, REFERENCE, True), (predicted, OUTLINE, False)):
        smooth = Image.fromarray(np.ascontiguousarray(mask).astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
        large = np.asarray(smooth) > 127
        rgb[outline(~large, LINE_PIXELS) & _off_border(large) if outside else outline(large, LINE_PIXELS)] = colour
    return rgb


def _cropped(picture: CasePicture, grey: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return the part of the slice that is shown."""
    box = content_box(np.where(picture.predicted | picture.reference, np.uint8(255), grey))
    if picture.grey is not None:
        return box
    rows, columns = (_widened(part, length) for part, length in zip(box, grey.shape, strict=True))
    return rows, columns


def _widened(part: slice, length: int) -> slice:
    """Return the part of a slice's rows or columns with as much around it as makes it :data:`LEAST_SHOWN` of them."""
    start, stop, _ = part.indices(length)
    shown = max(stop - start, round(length * LEAST_SHOWN))
    start = min(max((start + stop - shown) // 2, 0), length - shown)
    return slice(start, start + shown)


def _enlarged(shape: tuple[int, ...], aspect: float) -> tuple[int, int]:
    """Return the width and height at which a slice ``(y, x)`` is drawn, its pixels' height by their width being *aspect*."""
    height, width = shape[0] * max(1.0, aspect), shape[1] * max(1.0, 1.0 / aspect)
    scale = min(ENLARGED, LARGEST_SIDE / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _off_border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return all pixels but those on the picture's own border, which is no outline of what lies outside a mask."""
    inner = np.zeros_like(mask)
    inner[LINE_PIXELS:-LINE_PIXELS, LINE_PIXELS:-LINE_PIXELS] = True
    return inner

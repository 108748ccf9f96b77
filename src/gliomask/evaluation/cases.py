"""The report's pictures: the worst, the middle and the best patients, with the outlines of both masks."""

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gliomask.evaluation.outcome import CasePicture
from gliomask.evaluation.scores import PatientScore
from gliomask.metrics import dice
from gliomask.report.overlay import OUTLINE
from gliomask.report.page import content_box, data_uri, paragraphs
from gliomask.surfaces import outline

REFERENCE = (86, 180, 233)
"""Sky blue beside the prediction's amber: the pair that every kind of colour vision tells apart (Wong 2011, doi:10.1038/nmeth.1618)."""

ENLARGED = 3
"""Pixels of a picture for one of the slice, so that two outlines have room beside each other on the border of both masks."""

LINE_PIXELS = 2
CASES = 4


def case_pictures(patients: Sequence[PatientScore], pictures: Sequence[CasePicture]) -> str:
    """Return the pictures of the worst, the middle and the best patients; nothing without pictures."""
    shown = {picture.patient: picture for picture in pictures}
    ordered = sorted((p for p in patients if p.name in shown), key=lambda p: dice(p.counts))
    if not ordered:
        return ""
    parts = "\n".join(
        f'<h3>{title}</h3>\n<div class="slices">\n' + "\n".join(_figure(p, shown[p.name]) for p in group) + "\n</div>"
        for title, group in _chosen(ordered)
    )
    legend = '<p class="legend"><span><span class="swatch predicted"></span>predicted</span>'
    legend += '<span><span class="swatch reference"></span>reference</span></p>'
    told = "Of each patient the slice with the largest area in either mask. The predicted outline is drawn inside its border and the "
    told += "reference's outside of it, so that both are seen where they agree."
    title = '<h2 id="cases">Cases</h2>'
    return f'<section aria-labelledby="cases" class="cases">\n{title}\n{legend}\n{parts}\n{paragraphs([told], "note")}\n</section>'


def _chosen(ordered: Sequence[PatientScore]) -> Iterator[tuple[str, Sequence[PatientScore]]]:
    """Yield a title and the patients of each row, lowest Dice first; of few patients all in one row."""
    if len(ordered) < 3 * CASES:
        yield "All, lowest Dice first", ordered
        return
    middle = (len(ordered) - CASES) // 2
    yield "Lowest Dice", ordered[:CASES]
    yield "Around the median", ordered[middle : middle + CASES]
    yield "Highest Dice", ordered[-CASES:]


def _figure(patient: PatientScore, picture: CasePicture) -> str:
    value = f"{dice(patient.counts):.3f}"
    described = f"Slice {picture.slice_number} of {picture.slices} of {picture.patient}, predicted and reference outline"
    image = f'<div class="picture"><img src="{data_uri(both_outlines(picture))}" alt="{escape(described)}"></div>'
    caption = f"<b>{value}</b> {escape(picture.patient)}, slice {picture.slice_number} of {picture.slices}"
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def both_outlines(picture: CasePicture) -> NDArray[np.uint8]:
    """Return the slice enlarged as RGB ``(y, x, 3)``, the head cropped, the predicted mask outlined inside and the reference outside."""
    box = content_box(picture.grey)
    grey, predicted, reference = (array[box] for array in (picture.grey, picture.predicted, picture.reference))
    size = (grey.shape[1] * ENLARGED, grey.shape[0] * ENLARGED)
    rgb = np.asarray(Image.fromarray(np.ascontiguousarray(grey)).resize(size, Image.Resampling.LANCZOS).convert("RGB")).copy()
    for mask, colour, outside in ((reference, REFERENCE, True), (predicted, OUTLINE, False)):
        smooth = Image.fromarray(np.ascontiguousarray(mask).astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
        large = np.asarray(smooth) > 127
        rgb[outline(~large, LINE_PIXELS) & _off_border(large) if outside else outline(large, LINE_PIXELS)] = colour
    return rgb


def _off_border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return all pixels but those on the picture's own border, which is no outline of what lies outside a mask."""
    inner = np.zeros_like(mask)
    inner[LINE_PIXELS:-LINE_PIXELS, LINE_PIXELS:-LINE_PIXELS] = True
    return inner

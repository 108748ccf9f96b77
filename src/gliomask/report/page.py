"""The report: one page of HTML on a case's results, with its pictures inside and nothing fetched from anywhere."""

import base64
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gliomask.errors import EngineError, InputError
from gliomask.io import read_image, write_text
from gliomask.io.naming import RESULT
from gliomask.measure import format_left_out
from gliomask.models import ModelRecord, bundled_models
from gliomask.report.pdf import check_room, write_pdf
from gliomask.report.saving import NOTICE, OVERLAY, read_result

REPORT = "report.html"
REPORT_PDF = "report.pdf"
MARK = '<meta name="generator" content="gliomask report">'
"""What tells a report from another page, so that nothing but an earlier report is replaced."""

KEY_SLICES = 6
LESION_ROWS = 8
LESIONS_BESIDE_MEDIUM = 3
NOTE_LINES = 12
BACKGROUND = 40
"""Grey value up to which the border of a picture is taken for the background around the head."""

PICTURE_PIXELS = 480
"""Longer side to which small pictures are enlarged, so that they do not print as blocks."""

DIAMETERS = (
    "Diameters: the longest in an axial slice and its perpendicular there, and their product as in the RANO criteria. "
    "Centre: millimetres towards the patient's right, front and top. "
)
PEAK = "Peak: highest probability of a voxel."

ENDING = r"\.(?:png|jpe?g|tiff?|nii(?:\.gz)?|dcm|ima|zip)\b"
FILE_IN_BRACKETS = rf" ?\([^()]*{ENDING}\)"
ABSOLUTE_PATH = r"(?s)(?<!\w)\(?(?:[A-Za-z]:\\|\\\\|~?/)(?=\S)(?:.+(?=:\s[^/\\]*$)|.+)"
"""A path may hold spaces, commas and brackets, so all that follows goes with it, up to the last colon that ends it or to the end."""

IDENTIFIERS = "|".join(
    (
        r"[^\s()'\",;]+[/\\][^\s()'\",;]+[/\\][^\s()'\",;]+",
        rf"[^\s()'\",;]+{ENDING}",
        r"\b\d+(?:\.\d+){4,}\b",  # a DICOM UID
    )
)
NOTE_WORDS = frozenset(
    """acquired adjusted affine as average axial brain bright case channel channels column columns confidence contrast converted copies
    coronal correction cover covered covers cropped damaged dark differ different distance dropped duplicate echo enhanced exif field file
    files first flair flat flip frame frames gantry gap gaps geometry grey grid head header image images inverted irregular its left
    lesion lie lower mask mean missing mm mosaic mri no normal not number of off one only order orientation oriented other over own page
    pages patient phase pixel pixels place plane post pre protocol qform reaches read reformatted removed resampled right rotated
    row rows sagittal same scan scans second sequence series sform shear sheared single skipped slice slices spacing stack study
    swapped t1 t1w t2 taken than the thick thickness thin tilt tilted time times transparency turned uneven unknown unsorted upright
    used view volume volumes voxel voxels with without""".split()  # noqa: SIM905 - a list of 130 quoted words reads worse
)
"""What notes say in their own words: a case of such a name is not told by it, so it stays there, other than in a file's name."""

LEFT_OUT = "[…]"
TIMES, MINUS, HARD_SPACE = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}", "\N{NO-BREAK SPACE}"

Record = Mapping[str, Any]


def write_report(case: Path, output: Path | None = None, *, pdf: bool = False, with_identifiers: bool = False) -> list[Path]:
    """Write the report on a case and return the files.

    Parameters
    ----------
    case
        A folder of results, as ``gliomask segment`` writes it for each case.
    output
        The page, ``report.html`` in the folder if None; a PDF goes beside it under the same name.
    pdf
        Whether to print it as PDF too.
    with_identifiers
        Whether the names of case, slices and files stand in it; else the first digits of the
        input's checksum tell which case it is.

    Raises
    ------
    InputError
        *case* is no folder, holds no finished result or one of an earlier version, its overlay cannot
        be read, or a file is in the way that is no report.
    EngineError
        *pdf* without a program on this machine that prints pages.
    """
    output = case / REPORT if output is None else output
    if output.suffix.casefold() not in (".html", ".htm"):
        raise InputError(f"{output}: a report is a page of HTML. Let its name end in .html.")
    if not case.is_dir():
        fault = "a file" if case.exists() else "no such folder"
        raise InputError(f"{case}: {fault}. CASE is a folder of results, such as results/<case> after gliomask segment.")
    content = read_result(case)
    if content is None:
        raise InputError(f"{case}: holds no {RESULT}. Give one case's folder of results, such as results/<case>.")
    _check_room(output)
    printed = output.with_suffix(".pdf")
    if pdf:
        check_room(printed)
    html = report_page(content, read_image(case / OVERLAY)[0][0], f"{case / RESULT}", with_identifiers=with_identifiers)
    write_text(html, output)
    if pdf:
        try:
            write_pdf(html, printed)
        except EngineError as error:
            raise EngineError(f"{error} The page itself is written: {output}.") from error
    return [output, printed] if pdf else [output]


def report_page(content: Record, overlay: NDArray[Any], source: str = RESULT, *, with_identifiers: bool = False) -> str:
    """Return the page.

    Parameters
    ----------
    content
        Of a case's ``result.json``.
    overlay
        The contact sheet it describes, ``(y, x, 1 or 3)`` uint8.
    source
        What messages call the record.
    with_identifiers
        As of :func:`write_report`.

    Raises
    ------
    InputError
        The record was written by another version, or the overlay is not the one it describes.
    """
    folder = Path(__file__).parent
    template = Template((folder / "page.html").read_text(encoding="utf-8"))
    try:
        parts = _parts(content, overlay, with_identifiers)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"{source}: not a record of this version of gliomask ({error!r}). Segment the case again with --overwrite."
        ) from error
    return template.substitute(parts, style=(folder / "page.css").read_text(encoding="utf-8").strip(), notice=escape(NOTICE))


def _parts(content: Record, overlay: NDArray[Any], with_identifiers: bool) -> dict[str, str]:
    """Return the page's parts as HTML."""
    areas = _areas(content)
    tiles = _key_tiles(content, overlay, areas)
    subject = _subject(content, with_identifiers)
    return {
        "title": escape(f"{subject}: gliomask report" if with_identifiers else "gliomask report"),
        "subject": escape(subject),
        "sentence": escape(_sentence(content)),
        "lead": paragraphs(_lead(content), "lead"),
        "slices_title": "Key slices" if len(tiles) > 1 else "Slice",
        "room": _room(len(tiles), len(content["measurements"]["lesions"])),
        "slices": "\n".join(_figure(tile, content, with_identifiers) for tile in tiles),
        "slices_note": _slices_note(tiles, areas, content),
        "numbers": "\n".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in _numbers(content, areas)),
        "lesions": _lesion_table(content["measurements"]),
        "cautions": paragraphs(_cautions(content), "caution"),
        "confidence": paragraphs(_confidence(content)),
        "notes": _notes(content, with_identifiers),
        "origin": "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _origin(content)),
    }


def _subject(content: Record, with_identifiers: bool) -> str:
    if with_identifiers:
        return f"Case {content['case']}"
    checksum = content["input_sha256"]
    return f"Input with SHA-256 {str(checksum)[:8]}…" if checksum else "Input without a checksum"


def _sentence(content: Record) -> str:
    measured, slices = content["measurements"], _count(content["slices"], "slice")
    if not content["found"]:
        return f"No FLAIR abnormality was marked in {slices}."
    where = f"in {content['slices_with_tumour']:,} of {slices}" if content["slices"] > 1 else "in one slice"
    if measured["volume_ml"] is None:
        return f"FLAIR abnormality of {_count(content['area_pixels'], 'pixel')} marked {where}."
    return f"FLAIR abnormality of {_ml(measured['volume_ml'])}{HARD_SPACE}ml marked {where}."


def _lead(content: Record) -> Iterator[str]:
    """Yield what follows on the first sentence."""
    lesions = content["measurements"]["lesions"]
    if not content["found"]:
        yield "An empty mask does not mean that there is no tumour."
        return
    side = {"left": "on the patient's left", "right": "on the patient's right", "midline": "at the midline"}.get(lesions[0]["laterality"])
    subject = "It is one lesion" if len(lesions) == 1 else f"It consists of {len(lesions):,} lesions; the largest one lies"
    if side:
        yield f"{subject}{', ' if len(lesions) == 1 else ' '}{side}."


def _numbers(content: Record, areas: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Yield the headline numbers, values as HTML."""
    measured = content["measurements"]
    lesions = measured["lesions"]
    if measured["volume_ml"] is None:
        yield "Marked area", f"{content['area_pixels']:,} <small>pixels</small>"
        if content["found"] and content["slices"] > 1:
            yield "Largest in one slice", f"{max(areas):,} <small>pixels</small>"
    else:
        yield "Volume", f"{_ml(measured['volume_ml'])} <small>ml</small>"
        if lesions:
            largest = lesions[0]
            size = f"{largest['longest_axial_diameter_mm']:.1f} {TIMES} {largest['perpendicular_mm']:.1f}"
            yield "Diameters" if len(lesions) == 1 else "Diameters, largest lesion", f"{size} <small>mm</small>"
    yield "Lesions", f"{len(lesions):,}"
    if content["slices"] > 1:
        yield "Slices", f"{content['slices_with_tumour']:,} <small>of {content['slices']:,}</small>"


def _lesion_table(measured: Record) -> str:
    """Return the lesions as a table; nothing where there are none."""
    lesions = measured["lesions"]
    if not lesions:
        return ""
    in_mm = measured["volume_ml"] is not None
    columns = _COLUMNS_IN_MM if in_mm else _COLUMNS_IN_PIXELS
    head = "".join(f'<th scope="col">{name}</th>' for name, _ in columns)
    rows = ["".join(f"<td>{escape(cell(lesion))}</td>" for _, cell in columns) for lesion in lesions[:LESION_ROWS]]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    rest = lesions[LESION_ROWS:]
    remarks = [f"And {len(rest):,} smaller ones, listed in {RESULT}."] if rest else []
    remarks.append(f"{DIAMETERS if in_mm else ''}{PEAK}")
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    return f'<div class="scroll">{table}</div>\n{paragraphs([" ".join(remarks)], "note")}'


def _triple(lesion: Record) -> str:
    return ", ".join(f"{c:.1f}".replace("-", MINUS) for c in lesion["centroid_mm"])


Columns = list[tuple[str, Callable[[Record], str]]]

_COLUMNS_IN_MM: Columns = [
    ("Lesion", lambda lesion: f"{lesion['number']}"),
    ("Volume, ml", lambda lesion: _ml(lesion["volume_ml"])),
    ("Diameters, mm", lambda lesion: f"{lesion['longest_axial_diameter_mm']:.1f} {TIMES} {lesion['perpendicular_mm']:.1f}"),
    ("Product, mm²", lambda lesion: f"{lesion['bidimensional_product_mm2']:,.0f}"),
    ("Side", lambda lesion: lesion["laterality"] or "unknown"),
    ("Centre (R, A, S), mm", _triple),
    ("Slices", lambda lesion: _range(lesion["slice_range"])),
    ("Peak", lambda lesion: _probability(lesion["peak_probability"])),
]
_COLUMNS_IN_PIXELS: Columns = [
    ("Lesion", lambda lesion: f"{lesion['number']}"),
    ("Pixels", lambda lesion: f"{lesion['voxels']:,}"),
    ("Slices", lambda lesion: _range(lesion["slice_range"])),
    ("Peak", lambda lesion: _probability(lesion["peak_probability"])),
]


def _cautions(content: Record) -> Iterator[str]:
    """Yield what limits the measurements."""
    measured, removed = content["measurements"], content.get("removed", {"lesions": 0})
    if measured["volume_ml"] is None:
        yield f"No millilitres and no millimetres: {measured['volume_ml_reason']}."
    if measured["touches_border"]:
        yield "The outline reaches the border of the scan. Part of the abnormality may lie outside, so the numbers are lower bounds."
    if content.get("largest_satellites"):
        told = format_left_out(content["satellites"], content["largest_satellites"][0])
        yield f"{told}. Most such marks are false; {RESULT} says where the largest lie."
    if removed["lesions"]:
        count = _count(removed["lesions"], "lesion")
        yield f"Left out, as asked: {count} under {content['min_lesion_ml']:g} ml, {_ml(removed['volume_ml'])} ml in all."


def _confidence(content: Record) -> Iterator[str]:
    yield (
        f"Highest probability of a voxel: {_probability(content['max_probability'])}. It is calibrated "
        "for voxels, and not the probability of a tumour."
    )
    confidence = content.get("confidence") or {}
    bounds = [confidence.get(key) for key in ("expected_dice", "low", "high")]
    if all(isinstance(bound, float) for bound in bounds):
        expected, low, high = bounds
        yield f"Expected Dice with an expert's outline: {expected:.2f} (90 % interval {low:.2f} to {high:.2f})."
    else:
        yield "No Dice with an expert's outline is told: none was measured for such a result."


def _notes(content: Record, with_identifiers: bool) -> str:
    notes = [str(note) for note in content["notes"]]
    if not with_identifiers:
        counts = Counter(_without_identifiers(note, content) for note in notes)
        notes = [f"{note} ({count} times)" if count > 1 else note for note, count in counts.items()]
    if not notes:
        return "<p>None: it was read as it is.</p>"
    more = [f"and {len(notes) - NOTE_LINES:,} more in {RESULT}"] if len(notes) > NOTE_LINES else []
    items = "\n".join(f"<li>{escape(note)}</li>" for note in [*notes[:NOTE_LINES], *more])
    return f"<ul>\n{items}\n</ul>"


def _without_identifiers(text: str, content: Record) -> str:
    """Return the text without names of the case and its slices, and without anything like a file name, a path or a UID."""
    text = re.sub(FILE_IN_BRACKETS, "", text, flags=re.IGNORECASE)
    text = re.sub(ABSOLUTE_PATH, LEFT_OUT, text)
    for name in sorted(_names(content), key=len, reverse=True):
        endings = "+" if name.casefold() in NOTE_WORDS else "*"
        text = re.sub(rf"(?<!\w){re.escape(name)}(?:\.\w+){endings}(?!\w)", LEFT_OUT, text, flags=re.IGNORECASE)
    return re.sub(IDENTIFIERS, LEFT_OUT, text, flags=re.IGNORECASE).replace(f" ({LEFT_OUT})", "")


def _names(content: Record) -> set[str]:
    """Return the names that a text may not hold; a short number or a single letter identifies nobody by itself."""
    names = {str(content["case"]), *_slice_names(content)}
    names |= {re.sub(r"_(?:png|jpe?g|tiff?)$", "", name, flags=re.IGNORECASE) for name in names}
    return {name for name in names if len(name) > (3 if name.isdecimal() else 1)}


def _origin(content: Record) -> Iterator[tuple[str, str]]:
    """Yield what made the result: the model with its scores, and the versions."""
    model, versions = content["model"], content["versions"]
    everything = ", all lesions kept" if content.get("all_lesions") else ""
    yield "Model", f"{model['name']}, SHA-256 {str(model['sha256'])[:12]}…, threshold {content['threshold']:g}{everything}"
    record = next((r for r in bundled_models().values() if r.sha256 == model["sha256"]), None)
    scores = list(_scores(record, content["slices"])) if record else []
    yield "Dice on unseen patients", "; ".join(scores) or "not recorded for this model"
    yield "Versions", f"gliomask {versions['gliomask']}, Python {versions['python']}, NumPy {versions['numpy']}, {versions['engine']}"


def _scores(record: ModelRecord, slices: int) -> Iterator[str]:
    """Yield the model's mean Dice on patients that had no part in training, given whole volumes or single slices as here."""
    kind = "whole volumes" if slices > 1 else "slice by slice"
    for given, row in record.unseen_scores.items():
        if kind in given:
            low, high = row["mean_dice_95"]
            yield f"{row['mean_dice']:.2f} (95 % interval {low:.2f} to {high:.2f}, {row['patients']} patients) with {given}"


@dataclass(frozen=True)
class _Tile:
    """A slice's picture from the contact sheet."""

    index: int
    area: int
    pixels: NDArray[np.uint8]


def key_slices(areas: Sequence[int], shown: Sequence[int], most: int = KEY_SLICES) -> list[int]:
    """Return which of the *shown* slices stand for a case, in their order; *areas* are those of all slices.

    Marked slices if there are few enough. Of more, the marked area is divided into *most* equal parts
    from bottom to top, and the slice with the largest area stands for each, since neighbours look
    alike. Where nothing is marked they are evenly spaced.

    >>> key_slices([0, 4, 9, 5, 0], [0, 1, 2, 3, 4], most=2)
    [2, 3]
    """
    marked = [z for z in shown if areas[z]]
    if not marked:
        positions = np.linspace(0, len(shown) - 1, min(most, len(shown)))
        return [shown[round(p)] for p in positions]
    if len(marked) <= most:
        return marked
    weights = np.array([areas[z] for z in marked], float)
    middles = (np.cumsum(weights) - weights / 2.0) / weights.sum()
    part = np.floor(middles * most).astype(int)
    chosen = [max((z for z, p in zip(marked, part, strict=True) if p == wanted), key=lambda z: areas[z]) for wanted in np.unique(part)]
    # A slice that holds several parts by itself leaves room for the largest of the rest.
    rest = sorted((z for z in marked if z not in chosen), key=lambda z: -areas[z])
    return sorted([*chosen, *rest[: most - len(chosen)]])


def _areas(content: Record) -> list[int]:
    """Return the marked pixels of each axial slice from the bottom up."""
    areas = content["area_pixels_per_slice"]
    if content["spacing_mm"] is None:
        return list(areas.values())
    return [areas.get(str(number), 0) for number in range(1, content["slices"] + 1)]


def _slice_names(content: Record) -> list[str]:
    """Return the names of the slices of an image file or a folder of them; the slices of a volume have none."""
    return list(content["area_pixels_per_slice"]) if content["spacing_mm"] is None else []


def _key_tiles(content: Record, overlay: NDArray[Any], areas: Sequence[int]) -> list[_Tile]:
    """Return the key slices' pictures, all cropped alike to what is not background."""
    layout = content["overlay"]
    (width, height), columns, caption, shown = layout["tile"], layout["columns"], layout["caption"], layout["shown_slices"]
    rows = -(-len(shown) // columns)
    if overlay.shape[:2] != (rows * (height + caption), columns * width):
        raise ValueError(f"an overlay of {overlay.shape[1]} x {overlay.shape[0]} pixels")
    colour = np.broadcast_to(overlay, (*overlay.shape[:2], 3))
    tiles = []
    for z in key_slices(areas, shown):
        row, column = divmod(shown.index(z), columns)
        top, left = row * (height + caption) + caption, column * width
        tiles.append(_Tile(z, areas[z], colour[top : top + height, left : left + width]))
    box = content_box(np.max([tile.pixels.max(axis=2) for tile in tiles], axis=0))
    return [_Tile(tile.index, tile.area, tile.pixels[box]) for tile in tiles]


def content_box(grey: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return the part of a picture ``(y, x)`` that is not background, with a margin."""
    box = []
    for axis in (0, 1):
        bright = np.flatnonzero((grey > BACKGROUND).any(axis=1 - axis))
        margin = grey.shape[axis] // 32
        box.append(slice(max(bright[0] - margin, 0), bright[-1] + 1 + margin) if bright.size else slice(None))
    return box[0], box[1]


def _figure(tile: _Tile, content: Record, with_identifiers: bool) -> str:
    described = f"Axial slice {tile.index + 1} of {content['slices']}, " + ("abnormality outlined" if tile.area else "nothing marked")
    caption = f"Slice {tile.index + 1:,}"
    if with_identifiers and (names := _slice_names(content)):
        caption += f", {names[tile.index]}"
    if content["measurements"]["volume_ml"] is None and tile.area:
        caption += f": {_count(tile.area, 'pixel')}"
    # Without known directions nobody can tell the patient's left from right in a picture.
    sides = content.get("oriented") is True and content["spacing_mm"] is not None
    marks = '<i class="left-edge">R</i><i class="right-edge">L</i>' if sides else ""
    picture = f'<div class="picture"><img src="{data_uri(tile.pixels)}" alt="{escape(described)}">{marks}</div>'
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def _room(pictures: int, lesions: int) -> str:
    """Return how large the pictures may be on paper, so that the page stays one."""
    if pictures <= KEY_SLICES // 2:  # a single row
        return "large"
    return "medium" if lesions <= LESIONS_BESIDE_MEDIUM else "small"


def _slices_note(tiles: Sequence[_Tile], areas: Sequence[int], content: Record) -> str:
    marked, shown = sum(area > 0 for area in areas), len(tiles)
    if not marked:
        said = "Evenly spaced slices." if content["slices"] > shown else "All slices."
        return f"{said} Nothing is outlined in any slice."
    said = "all marked slices" if shown == marked else f"{shown} of {marked:,} marked slices, spread over the abnormality"
    sides = "" if content["spacing_mm"] is not None else " Image files do not say which side is the patient's left."
    return f'<span class="swatch"></span>Outlined: {said}. More slices are in {OVERLAY}.{sides}'


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return a picture ``(y, x)`` or ``(y, x, 3)`` as PNG inside an address, enlarged if it is small."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    scale = PICTURE_PIXELS / max(picture.size)
    if scale > 1:
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def stale_reports(folder: Path) -> list[str]:
    """Return the names of the reports in a case's folder, which an overwritten result would belie; others' files stay."""
    names = []
    for path, check in ((folder / REPORT, _check_room), (folder / REPORT_PDF, check_room)):
        with suppress(InputError):
            check(path)
            names += [path.name] if path.exists() else []
    return names


def _check_room(output: Path) -> None:
    """Raise if a file is in the way that is no report."""
    try:
        earlier = output.read_text(encoding="utf-8") if output.exists() else MARK
    except (OSError, UnicodeDecodeError):
        earlier = ""
    if MARK not in earlier:
        raise InputError(f"{output}: is there already and is no report of gliomask. Move it away, or choose another --output.")


def paragraphs(texts: Iterable[str], kind: str = "") -> str:
    """Return each text as a paragraph of HTML, of the class *kind* if there is one."""
    opening = f'<p class="{kind}">' if kind else "<p>"
    return "\n".join(f"{opening}{escape(text)}</p>" for text in texts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _range(ends: Sequence[int]) -> str:
    """Return a range of slices as the pictures number them, from 1."""
    first, last = ends
    return f"{first + 1}" if first == last else f"{first + 1}-{last + 1}"


def _ml(value: float) -> str:
    """Return millilitres with as many decimals as say something."""
    if value >= 10 or value == 0:
        return f"{value:,.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _probability(value: float | None) -> str:
    if value is None:
        return "unknown"
    return "over 0.99" if value > 0.99 else f"{value:.2f}"

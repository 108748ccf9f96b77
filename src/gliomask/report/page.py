"""The report: one page of HTML on a case's results, with its pictures inside and nothing fetched from anywhere."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from numpy.typing import NDArray

from gliomask.errors import EngineError, InputError
from gliomask.io import read_image, write_text
from gliomask.io.access import no_folder
from gliomask.io.naming import RESULT
from gliomask.models import ModelRecord, bundled_models
from gliomask.report.html import data_uri, paragraphs, style
from gliomask.report.identifiers import without_identifiers
from gliomask.report.key_slices import KEY_SLICES, Tile, key_tiles
from gliomask.report.pdf import check_room, write_pdf
from gliomask.report.saving import NOTICE, OVERLAY, read_result
from gliomask.sizes import counted, format_left_out, slice_numbers

REPORT = "report.html"
REPORT_PDF = "report.pdf"
MARK = '<meta name="generator" content="gliomask report">'
"""What tells a report from another page, so that nothing but an earlier report is replaced."""

LESION_ROWS = 8
LESIONS_BESIDE_MEDIUM = 3
NOTE_LINES = 12
DIAMETERS = (
    "Diameters: the longest in an axial slice and its perpendicular there, and their product as in the RANO criteria. "
    "Centre: millimetres towards the patient's right, front and top. "
)
PEAK = "Peak: highest probability of a voxel."

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
        raise InputError(f"{no_folder(case)} CASE is a folder of results, such as results/<case> after gliomask segment.")
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
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    try:
        parts = _parts(content, overlay, with_identifiers)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"{source}: not a record of this version of gliomask ({error!r}). Segment the case again with --overwrite."
        ) from error
    return template.substitute(parts, style=style(), notice=escape(NOTICE))


def _parts(content: Record, overlay: NDArray[Any], with_identifiers: bool) -> dict[str, str]:
    """Return the page's parts as HTML."""
    areas = _areas(content)
    tiles = key_tiles(content["overlay"], overlay, areas)
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
    measured, slices = content["measurements"], counted(content["slices"], "slice")
    if not content["found"]:
        return f"No FLAIR abnormality was marked in {slices}."
    where = f"in {content['slices_with_tumour']:,} of {slices}" if content["slices"] > 1 else "in one slice"
    if measured["volume_ml"] is None:
        return f"FLAIR abnormality of {counted(content['area_pixels'], 'pixel')} marked {where}."
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
    return ", ".join(f"{c:.1f}".replace("-", MINUS) for c in lesion["centroid_mm"] or ()) or "unknown"


Columns = list[tuple[str, Callable[[Record], str]]]

_COLUMNS_IN_MM: Columns = [
    ("Lesion", lambda lesion: f"{lesion['number']}"),
    ("Volume, ml", lambda lesion: _ml(lesion["volume_ml"])),
    ("Diameters, mm", lambda lesion: f"{lesion['longest_axial_diameter_mm']:.1f} {TIMES} {lesion['perpendicular_mm']:.1f}"),
    ("Product, mm²", lambda lesion: f"{lesion['bidimensional_product_mm2']:,.0f}"),
    ("Side", lambda lesion: lesion["laterality"] or "unknown"),
    ("Centre (R, A, S), mm", _triple),
    ("Slices", lambda lesion: slice_numbers(lesion["slice_range"])),
    ("Peak", lambda lesion: _probability(lesion["peak_probability"])),
]
_COLUMNS_IN_PIXELS: Columns = [
    ("Lesion", lambda lesion: f"{lesion['number']}"),
    ("Pixels", lambda lesion: f"{lesion['voxels']:,}"),
    ("Slices", lambda lesion: slice_numbers(lesion["slice_range"])),
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
        count = counted(removed["lesions"], "lesion")
        yield f"Left out, as asked: {count} under {content['min_lesion_ml']:g} ml, {_ml(removed['volume_ml'])} ml in all."


def _confidence(content: Record) -> Iterator[str]:
    calibrated = content["model"].get("calibration", {}).get("network")
    yield (
        f"Highest probability of a voxel: {_probability(content['max_probability'])}. It is "
        f"{'calibrated for voxels, and not' if calibrated else 'neither calibrated nor'} the probability of a tumour."
    )
    confidence = content.get("confidence") or {}
    bounds = [confidence.get(key) for key in ("expected_dice", "low", "high")]
    if all(isinstance(bound, float) for bound in bounds):
        expected, low, high = bounds
        yield f"Expected Dice with an expert's outline: {expected:.2f} (90 % interval {low:.2f} to {high:.2f})."
    else:
        yield f"Expected Dice not known: {content.get('confidence_reason', 'none was measured for such a result')}."


def _notes(content: Record, with_identifiers: bool) -> str:
    notes = [str(note) for note in content["notes"]]
    if not with_identifiers:
        names = [str(content["case"]), *_slice_names(content)]
        counts = Counter(without_identifiers(note, names) for note in notes)
        notes = [f"{note} ({count} times)" if count > 1 else note for note, count in counts.items()]
    if not notes:
        return "<p>None: it was read as it is.</p>"
    more = [f"and {len(notes) - NOTE_LINES:,} more in {RESULT}"] if len(notes) > NOTE_LINES else []
    items = "\n".join(f"<li>{escape(note)}</li>" for note in [*notes[:NOTE_LINES], *more])
    return f"<ul>\n{items}\n</ul>"


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


def _areas(content: Record) -> list[int]:
    """Return the marked pixels of each axial slice from the bottom up."""
    areas = content["area_pixels_per_slice"]
    if content["spacing_mm"] is None:
        return list(areas.values())
    return [areas.get(str(number), 0) for number in range(1, content["slices"] + 1)]


def _slice_names(content: Record) -> list[str]:
    """Return the names of the slices of an image file or a folder of them; the slices of a volume have none."""
    return list(content["area_pixels_per_slice"]) if content["spacing_mm"] is None else []


def _figure(tile: Tile, content: Record, with_identifiers: bool) -> str:
    described = f"Axial slice {tile.index + 1} of {content['slices']}, " + ("abnormality outlined" if tile.area else "nothing marked")
    caption = f"Slice {tile.index + 1:,}"
    if with_identifiers and (names := _slice_names(content)):
        caption += f", {names[tile.index]}"
    if content["measurements"]["volume_ml"] is None and tile.area:
        caption += f": {counted(tile.area, 'pixel')}"
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


def _slices_note(tiles: Sequence[Tile], areas: Sequence[int], content: Record) -> str:
    marked, shown = sum(area > 0 for area in areas), len(tiles)
    if not marked:
        said = "Evenly spaced slices." if content["slices"] > shown else "All slices."
        return f"{said} Nothing is outlined in any slice."
    said = "all marked slices" if shown == marked else f"{shown} of {marked:,} marked slices, spread over the abnormality"
    sides = "" if content["spacing_mm"] is not None else " Image files do not say which side is the patient's left."
    return f'<span class="swatch"></span>Outlined: {said}. More slices are in {OVERLAY}.{sides}'


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


def _ml(value: float) -> str:
    """Return millilitres with as many decimals as say something."""
    if value >= 10 or value == 0:
        return f"{value:,.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _probability(value: float | None) -> str:
    if value is None:
        return "unknown"
    return "over 0.99" if value > 0.99 else f"{value:.2f}"

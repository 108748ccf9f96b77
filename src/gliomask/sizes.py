"""Sizes in words: counts, millilitres, slices, and all that is measured of a mask."""

from collections.abc import Mapping, Sequence
from typing import Any

from gliomask.measure import ML_DECIMALS

ROWS_SHOWN = 20
"""Lesions that a table for a person has at most."""


def counted(number: int, noun: str) -> str:
    """Return how many there are of something that takes an s.

    >>> counted(1, "slice"), counted(1200, "pixel")
    ('1 slice', '1,200 pixels')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def ml(volume: float) -> str:
    """Return a volume; what is not 0 never reads as 0.

    >>> ml(38.24), ml(0.02), ml(0.0)
    ('38.2 ml', 'under 0.1 ml', '0 ml')
    """
    return "0 ml" if volume == 0 else "under 0.1 ml" if volume < 0.05 else f"{volume:,.1f} ml"


def slice_numbers(slice_range: Sequence[int]) -> str:
    """Return a range of slices, of which the first and the last are given counted from 0, as pictures number them, from 1.

    >>> slice_numbers([2, 2]), slice_numbers([2, 3])
    ('3', '3-4')
    """
    first, last = slice_range
    return f"{first + 1}" if first == last else f"{first + 1}-{last + 1}"


def format_left_out(count: int, largest: Mapping[str, Any]) -> str:
    """Return how many parts were left out of a mask as small, and how large the largest of them is and where.

    Parameters
    ----------
    largest
        As :meth:`gliomask.measure.Lesion.as_json` gives it.

    Examples
    --------
    >>> print(format_left_out(2, {"voxels": 40, "volume_ml": None, "slice_range": [2, 3], "laterality": None}))
    2 small parts are left out of the mask, the largest of 40 pixels (slices 3-4)
    """
    size = counted(largest["voxels"], "pixel") if largest["volume_ml"] is None else ml(largest["volume_ml"])
    side = f", {largest['laterality']}" if largest["laterality"] else ""
    parts = f"{count:,} small parts are left out of the mask, the largest" if count > 1 else "1 small part is left out of the mask,"
    return f"{parts} of {size} ({_slices(largest['slice_range'])}{side})"


def format_measurements(name: str, measured: Mapping[str, Any]) -> str:
    """Return :func:`gliomask.measure.measurements` as lines for a person: a sentence, and a row for each lesion. Slices count from 1."""
    count = measured["lesion_count"]
    if count == 0:
        return f"{name}: empty, nothing is marked"
    in_ml = measured["volume_ml"] is not None
    size = f"{_exact_ml(measured['volume_ml'])} ml" if in_ml else f"{measured['voxels']:,} voxels ({measured['volume_ml_reason']})"
    lines = [f"{name}: {size} in {counted(count, 'lesion')}, {_slices(measured['slice_range'])} of {measured['slice_count']}"]
    if measured["touches_border"]:
        lines.append("  reaches the border of the volume: part of it may be missing")
    rows: list[tuple[str, ...]] = (
        [("lesion", "ml", "diameters mm", "product mm2", "centre mm (R A S)", "slices")] if in_ml else [("lesion", "voxels", "slices")]
    )
    rows += [_row(lesion, in_ml) for lesion in measured["lesions"][:ROWS_SHOWN]]
    lines += _aligned(rows)
    if in_ml and measured["lesions"][0]["centroid_mm"] is None:
        lines.append("  its header does not tell the patient's left from right, so that no centre is known")
    if count > ROWS_SHOWN:
        lines.append(f"  and {count - ROWS_SHOWN:,} smaller ones; --json lists all")
    return "\n".join(lines)


def _row(lesion: Mapping[str, Any], in_ml: bool) -> tuple[str, ...]:
    if not in_ml:
        return str(lesion["number"]), f"{lesion['voxels']:,}", slice_numbers(lesion["slice_range"])
    return (
        str(lesion["number"]),
        _exact_ml(lesion["volume_ml"]),
        f"{lesion['longest_axial_diameter_mm']} x {lesion['perpendicular_mm']}",
        f"{lesion['bidimensional_product_mm2']}",
        " ".join(f"{c:.1f}" for c in lesion["centroid_mm"] or ()) or "unknown",
        slice_numbers(lesion["slice_range"]),
    )


def _slices(slice_range: Sequence[int]) -> str:
    first, last = slice_range
    return f"slice{'' if first == last else 's'} {slice_numbers(slice_range)}"


def _exact_ml(volume: float) -> str:
    """Return millilitres with all decimals that are kept of them, and smaller ones with those that they have."""
    return f"{volume:.{ML_DECIMALS}f}" if volume >= 10**-ML_DECIMALS else f"{volume:g}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines whose columns end below each other."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]

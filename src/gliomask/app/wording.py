"""What the page says: plain functions from numbers to sentences."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from gliomask.models import ModelRecord
from gliomask.report.saving import NOTICE
from gliomask.segmentation import Segmentation
from gliomask.volume import CHANNELS, Volume

__all__ = [
    "NOTICE", "about", "clean_name", "details", "headline", "plain", "privacy", "ranges", "read_as", "scores",
    "status", "summary",
]  # fmt: skip

DATASET = "LGG MRI segmentation dataset (TCGA-LGG; Buda, Saha and Mazurowski 2019)"
LIMITS = (
    "Made for axial slices of lower-grade gliomas like those it was trained on, and for nothing else: it does not notice when a "
    "picture shows something else. It looks at each slice by itself, and a slice given alone is scaled by its own intensities. "
    "It marks the FLAIR abnormality, which includes oedema. Areas are in pixels, since these files hold no spacing."
)


def plain(text: str) -> str:
    r"""Return *text* for Markdown to show as it is: a file's name must not become a link, an image or a formula.

    >>> print(plain("a_b[1].png"))
    a\_b\[1\]\.png
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def clean_name(name: str) -> str:
    """Return an uploaded file's name without folders and without characters that a file system or an archive trips over.

    >>> clean_name("../head: 1.png")
    'head_ 1.png'
    """
    last = " ".join(PurePosixPath(name.replace("\\", "/")).name.split())
    return re.sub(r'[\x00-\x1f\x7f<>:"|?*]', "_", last)[-120:] or "image"


def headline(areas: Sequence[int]) -> str:
    """Return the answer, from the marked pixels of each slice."""
    found = sum(area > 0 for area in areas)
    if len(areas) == 1:
        return "Tumour found" if found else "No tumour found"
    return f"Tumour found in {found} of {len(areas)} slices" if found else f"No tumour found in {len(areas)} slices"


def summary(areas: Sequence[Sequence[int]], cases: int) -> str:
    """Return the answer for several cases, from the marked pixels of each slice of those that could be segmented."""
    found, failed = sum(any(case) for case in areas), cases - len(areas)
    answer = f"Tumour found in {found} of {cases} cases" if found else f"No tumour found in {len(areas)} of {cases} cases"
    return answer + (f"; {failed} could not be segmented" if failed else "")


def status(areas: Sequence[int]) -> str:
    """Return the answer and the area in one line."""
    return headline(areas) + (f", {_pixels(sum(areas))}" if any(areas) else "")


def details(result: Segmentation, areas: Sequence[int], z: int) -> str:
    """Return what stands below the answer, in Markdown: the areas, and the highest probability with what it is not."""
    share = areas[z] / result.probability[z].size
    part = f"{share:.1%}" if share >= 0.001 else "under 0.1%"
    area = f"**{_pixels(areas[z])}** ({part} of the slice)" if areas[z] else "nothing"
    if len(areas) == 1:
        marked = f"Marked: {area}."
    elif any(areas):
        numbers = [number for number, pixels in enumerate(areas, start=1) if pixels]
        where = f"slice{'s' if len(numbers) > 1 else ''} {ranges(numbers)}"
        marked = f"Marked: **{_pixels(sum(areas))}** in {where}. In slice {z + 1}: {area}."
    else:
        marked = "Marked: nothing in any slice."
    highest = result.max_probability
    shown = "over 0.99" if highest > 0.99 else f"{highest:.2f}"
    caution = "" if any(areas) else " An empty mask does not mean that there is no tumour."
    return f"{marked} Highest probability of a pixel: **{shown}** (not the probability of a tumour).{caution}"


def ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers with neighbours drawn together.

    >>> ranges([1, 2, 3, 7])
    '1-3, 7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def read_as(volume: Volume) -> str:
    """Return what the input was taken for, and what was done to it on reading."""
    channels = ", ".join(CHANNELS) if volume.voxels.shape[-1] == 3 else "FLAIR alone"
    depth, height, width = volume.voxels.shape[:3]
    size = f"{width} x {height} pixels" + (f", {depth} slices" if depth > 1 else "")
    return "; ".join((f"Read as {channels}; {size}", *volume.notes)) + "."


def privacy(url: str | None) -> str:
    """Return where images go, given the address at which the page was opened."""
    host = urlsplit(url or "").hostname
    if host in ("localhost", "127.0.0.1", "::1"):
        return "Nothing leaves this computer."
    if host is None:
        return "Nothing leaves the computer that runs this page."
    return f"Images go to {host}, which runs this page, and nowhere else."


def about(model: ModelRecord) -> list[tuple[str, str]]:
    """Return what is known of a model as rows of a title and a text."""
    patients = len(model.training.get("patients", ()))
    rows = [
        ("Model", f"{model.name}, a U-Net; SHA-256 {model.sha256[:12]}…"),
        ("Trained on", (f"{patients} patients of the " if patients else "") + DATASET),
        ("Input", f"{', '.join(model.channels)}; slices are brought to {model.input_size} x {model.input_size} pixels"),
        ("Threshold", f"{model.threshold:.2f}"),
    ]
    return [*rows, ("Licence of the weights", model.licence), ("Limits", LIMITS)]


def scores(model: ModelRecord) -> str:
    """Return the scores on held-out patients as a Markdown list with a sentence on them; empty where none are recorded."""
    held_out: Mapping[str, Mapping[str, Any]] = model.scores.get("held_out", {})
    lines = [f"- **Scores, {plain(given)}:** {_scores_in_words(row)}" for given, row in held_out.items()]
    if lines and model.training.get("chosen_on_held_out"):
        lines.append("- **Mind:** when to stop the training was chosen on the same patients, which flatters these scores")
    return "\n".join(lines)


def _scores_in_words(row: Mapping[str, Any]) -> str:
    low, high = row["mean_dice_95"]
    dice = f"mean Dice {row['mean_dice']:.3f} (95% interval {low:.3f} to {high:.3f}), median {row['median_dice']:.3f}"
    share = row["marked_clean_slices_share"]
    clean = "" if share is None else f"; something marked in {share:.1%} of the slices without tumour"
    return f"{dice}, over {row['patients']} patients that it was not trained on{clean}"


def _pixels(area: int) -> str:
    return f"{area:,} pixel{'' if area == 1 else 's'}"

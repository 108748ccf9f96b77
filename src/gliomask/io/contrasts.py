"""T1 beside the FLAIR: which series of a study show it before and after contrast, brought onto the FLAIR's grid."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import InputError
from gliomask.grid import SMALLEST_COVER, resampled
from gliomask.io.frames import Stack
from gliomask.io.headers import Header
from gliomask.io.naming import is_named_post, quoted
from gliomask.io.series import NAMED_T1, Series, is_map, preference
from gliomask.preprocess import rough_head
from gliomask.volume import CHANNELS

LONGEST_T1_ECHO_MS = 30.0
"""Echo time up to which a series that is called T1 is taken for one."""

LONGEST_T1_REPETITION_MS = 3500.0
"""Repetition time up to which a series that is called T1 is taken for one (T1 FLAIR and MPRAGE go beyond 2,000)."""

SAME_GRID = 1e-3
"""Largest difference of two grids, in the matrix between their voxels' indices, up to which voxels are copied."""

Reader = Callable[[Series], tuple[NDArray[Any], Stack]]
"""Returns a series' voxels ``(z, y, x)`` and where they lie."""


def with_t1(
    flair: NDArray[Any], stack: Stack, chosen: Series, found: Sequence[Series], read: Reader
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return FLAIR's voxels with those of T1 around them where the study has some that fit, and notes.

    Parameters
    ----------
    flair, stack
        Voxels ``(z, y, x)`` of the *chosen* series, and where they lie.
    found
        All series of the study; T1 has to be in the FLAIR's frame of reference.
    read
        What another series is read with.

    Returns
    -------
    tuple
        ``(z, y, x, 1)`` as given, or float32 ``(z, y, x, 3)``: pre-contrast T1, FLAIR, post-contrast
        T1, FLAIR standing in for one that is missing. A T1 that cannot be used is told in the notes.
    """
    reference = chosen.first.frame_of_reference
    all_t1 = [series for series in found if series is not chosen and is_t1(series.first)]
    beside = [series for series in all_t1 if reference and series.first.frame_of_reference == reference]
    notes = [f"not used: {series} (not said to lie in the FLAIR's frame of reference)" for series in all_t1 if series not in beside]
    if not beside:
        return flair[..., None], tuple(notes)
    head = rough_head(flair)
    pre, post = (_first_that_fits(_candidates(beside, after), head, stack, read, notes) for after in (False, True))
    if pre is None and post is None:
        return flair[..., None], tuple(notes)
    for name, t1 in ((CHANNELS[0], pre), (CHANNELS[2], post)):
        if t1 is None:
            notes.append(f"no {name}: FLAIR in its place")
    channels = [flair if pre is None else pre, flair, flair if post is None else post]
    return np.stack(channels, axis=-1).astype(np.float32), tuple(notes)


def _candidates(t1: Sequence[Series], post: bool) -> list[Series]:
    """Return the T1 series with contrast agent, or those without, the best first.

    With it one comes first whose own name says so: the agent is often filled in for the whole examination.
    """
    fitting = [series for series in t1 if series.post_contrast == post]
    return sorted(fitting, key=lambda s: (post and not is_named_post(s.first.own_name), *preference(s)))


def _first_that_fits(
    candidates: Sequence[Series], head: NDArray[np.bool_], stack: Stack, read: Reader, notes: list[str]
) -> NDArray[np.float32] | None:
    """Return the first series that can be read and covers the head, on the FLAIR's grid; which, and why not others, goes to *notes*."""
    for series in candidates:
        try:
            voxels, own = read(series)
        except InputError as error:
            notes.append(f"not used: {series} ({_without_folders(str(error), series)})")
            continue
        moved, covered = _on_grid(voxels, own.affine, stack.affine, head)
        if covered < SMALLEST_COVER:
            notes.append(f"not used: {series} (reaches {covered:.0%} of the head in the FLAIR)")
            continue
        notes.append(f"{CHANNELS[2] if series.post_contrast else CHANNELS[0]}: {series}")
        return moved
    return None


def _without_folders(message: str, series: Series) -> str:
    """Return a message about a series without the folders in it, whose names may be patients'; files keep their own names."""
    for header in series.headers:
        message = message.replace(str(header.file), quoted(header.file.name))
    for folder in series.first.file.parents:  # a name with a colon in it would mislead the partition below
        message = message.removeprefix(f"{folder}: ")
    place, colon, reason = message.partition(": ")
    in_zip = place.casefold().endswith(".zip") or "/" in place or "\\" in place
    return reason if colon and in_zip else message


def _on_grid(
    voxels: NDArray[Any], own: NDArray[np.float64], affine: NDArray[np.float64], head: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], float]:
    """Return voxels on the grid of a *head*, and the share of it that they cover; on the same grid they are copied."""
    if voxels.shape == head.shape and np.allclose(np.linalg.solve(own, affine), np.eye(4), atol=SAME_GRID):
        return voxels.astype(np.float32), 1.0
    return resampled(voxels, own, affine, head)


def is_t1(header: Header) -> bool:
    """Return whether the sequence is T1-weighted: called so, with a short echo and repetition where these are given."""
    short = (header.echo_ms or 0.0) <= LONGEST_T1_ECHO_MS and (header.repetition_ms or 0.0) <= LONGEST_T1_REPETITION_MS
    return bool(NAMED_T1.search(header.words)) and short and not is_map(header)

"""Outlines drawn to the edges in FLAIR: networks find lesions, and are a pixel or two off where they end."""

import numpy as np
from numpy.typing import NDArray

from gliomask.bounds import bounding_box
from gliomask.postprocess import from_log_odds, log_odds
from gliomask.preprocess import DARK

Float = NDArray[np.float32]

LEAST = 0.05
"""Probability from which a pixel may be part of a lesion whose outline is looked at."""

NEAR = 6
"""Pixels up and down, left and right, over which brightness is averaged inside and outside."""

FEW = 0.05
"""Share of these pixels under which those inside, or outside, say less of the brightness there."""

LEAST_STEP = 0.0125
"""Of normalised FLAIR: what inside is taken to be brighter by at least, 1/20 of tissue's median."""

FINE = 2
"""Pixels each way over which log-odds follow brightness as a straight line."""

LEAST_VARIANCE = 2e-4
"""Of normalised FLAIR over these: under it they are even, and log-odds are averaged instead."""

MARGIN = 2 * NEAR + 2 * FINE
"""Pixels about what may be a lesion that have a say."""


def follow_edges(maps: Float, flair: Float, pull: float) -> Float:
    """Return a network's probabilities with their outlines drawn to the edges in FLAIR.

    A pixel is pulled in or out by where its brightness lies between the local means inside and outside, as in region-based active
    contours (Lankton and Tannenbaum 2008, doi:10.1109/TIP.2008.2004611), one step of them. Then log-odds are made a locally linear
    function of FLAIR, so that they change where it does: the guided filter (He, Sun and Tang 2013, doi:10.1109/TPAMI.2012.213).

    Parameters
    ----------
    maps
        Probabilities ``(n, y, x, members)``.
    flair
        The normalised slices ``(n, y, x)`` that they are of.
    pull
        By how much log-odds change at most; 0 changes nothing.

    Returns
    -------
    ndarray
        As *maps*, which stay as they are; away from what may be a lesion the same values.
    """
    if pull <= 0.0:
        return maps
    followed = maps.copy()
    for n, member in np.argwhere(maps.max(axis=(1, 2)) >= LEAST):
        box = bounding_box(maps[n, ..., member] >= LEAST, MARGIN)
        followed[n][(*box, member)] = _followed(maps[n][(*box, member)], flair[n][box], pull)
    return followed


def _followed(probability: Float, flair: Float, pull: float) -> Float:
    inside, outside = probability, (1.0 - probability) * (flair > DARK)
    near_inside, near_outside = _mean(inside, NEAR) + 1e-3, _mean(outside, NEAR) + 1e-3
    bright, dark = _mean(inside * flair, NEAR) / near_inside, _mean(outside * flair, NEAR) / near_outside
    place = np.clip((flair - (bright + dark) / 2.0) / np.maximum(bright - dark, LEAST_STEP), -1.0, 1.0)
    odds = log_odds(probability) + pull * place * np.minimum(1.0, np.minimum(near_inside, near_outside) / FEW)
    return from_log_odds(_guided(odds, flair))


def _guided(values: Float, guide: Float) -> Float:
    """Return values as a locally linear function of a guide, by the guided filter."""
    mean, mean_guide = _mean(values, FINE), _mean(guide, FINE)
    variance = _mean(guide * guide, FINE) - mean_guide**2
    slope = (_mean(guide * values, FINE) - mean_guide * mean) / (variance + LEAST_VARIANCE)
    return _mean(slope, FINE) * guide + _mean(mean - slope * mean_guide, FINE)


def _mean(plane: Float, reach: int) -> Float:
    """Return the mean over the square of 2 *reach* + 1 pixels about each; the plane's outermost pixels go on beyond it."""
    length = 2 * reach + 1
    sums = np.pad(plane, ((reach + 1, reach), (reach + 1, reach)), mode="edge").cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    rows = sums[length:] - sums[:-length]
    return ((rows[:, length:] - rows[:, :-length]) / length**2).astype(np.float32)

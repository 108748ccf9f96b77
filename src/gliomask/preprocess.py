"""Array to array: what is done to slices before the network sees them, and back again.

Training and inference call the same functions, and their parameters travel with the model in its
record, so that a model is never fed anything but what it was trained on.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Float = NDArray[np.float32]

Windows = list[tuple[float, float]]
"""For each channel the intensities that map to 0 and 1."""

PADDING_SHARE = 0.1
"""Share of voxels of exactly one value from which they are padding, not tissue."""

NEGATIVE_PADDING_SHARE = 0.001
"""Share from which a smallest value is padding if it is negative, as a scanner's -1024 is: a hundredth of it moves the window."""

USUAL_DARK, MOST_DARK = 0.14, 0.4
"""The darkest hundredth of a brain on FLAIR in shares of its foreground's median: usually, and at most (88 patients: 0.14, up to 0.37)."""

USUAL_PERCENTILE, WILD = 99.5, 20.0
"""Voxels above this percentile are errors, not tissue, if they reach this many times further than all the others."""

DARK = 0.1
"""Of a normalised FLAIR slice: what is darker is no tissue, whose median is 0.25."""

LEAST_HEAD = 0.004
"""Share of a slice from which on what is not dark may be a head: a disc of 17 mm in the network's field of view."""

LEAST_LINE, MARGIN = 8, 12
"""Pixels that are not dark which make a row or a column part of the head, and the pixels of air that are kept around it."""

FULL_SCALE = {"uint8": 255.0, "uint16": 65535.0}


@dataclass(frozen=True)
class Normalisation:
    """How raw intensities become network input, channel by channel.

    Attributes
    ----------
    method
        ``"full_scale"``: divided by the largest value of the stored integer type (255 or 65535);
        floating-point voxels are taken to be in 0..1 already if none exceeds 1, else in 0..255.
        ``"foreground_median"``: see :func:`intensity_window`.
    headroom
        For ``"foreground_median"``: the multiple of the tissue median that maps to 1. Anything
        brighter is clipped to 1.
    """

    method: Literal["full_scale", "foreground_median"] = "foreground_median"
    headroom: float = 4.0


def intensity_window(channel: NDArray[Any], normalisation: Normalisation) -> tuple[float, float]:
    """Return ``(low, high)``, the intensities that map to 0 and 1.

    With ``foreground_median``, *low* is the 1st percentile and *high* lies ``headroom`` times as
    far above it as the median of the foreground does, foreground being what is brighter than the
    mean. The median of tissue moves little with one bright voxel, with the share of background or
    with the skull removed, which a maximum or an upper percentile do not survive.

    Parameters
    ----------
    channel
        Intensities of one sequence of one case, any shape, any real dtype.

    Returns
    -------
    tuple of float
        ``high > low`` always; a channel that is constant, but for voxels too few to count, gives ``(value, value + 1)``.
    """
    if normalisation.method == "full_scale":
        largest = FULL_SCALE.get(channel.dtype.name)
        if largest is None:
            largest = 1.0 if channel.size == 0 or float(channel.max()) <= 1.0 else 255.0
        return 0.0, largest
    if channel.size == 0:
        return 0.0, 1.0
    low, usual = percentiles(channel, 1.0, USUAL_PERCENTILE)
    tissue: NDArray[Any] = channel[channel > _tame_mean(channel, usual)]
    median = percentiles(tissue, 50.0)[0] if tissue.size else low
    span = max(median - low, float(np.finfo(np.float32).tiny)) * normalisation.headroom if median > low else 1.0
    return low, max(low + span, float(np.nextafter(low, np.inf)))


def foreground(channel: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a channel is brighter than its mean: roughly the head, or the brain where there is no more."""
    return channel > _tame_mean(channel, *percentiles(channel, USUAL_PERCENTILE))


def percentiles(values: NDArray[Any], *percents: float) -> list[float]:
    """Return percentiles as ``numpy.percentile`` does, linear between neighbours; those of small integers from their histogram."""
    if values.dtype.kind != "u" or values.dtype.itemsize > 2:
        return [float(value) for value in np.percentile(values, percents)]
    up_to = np.cumsum(np.bincount(values.ravel()))
    places = np.array(percents) / 100.0 * (values.size - 1)
    below, above = (np.searchsorted(up_to, index, side="right") for index in (np.floor(places), np.ceil(places)))
    return [float(value) for value in below + (above - below) * (places % 1.0)]


def rough_head(flair: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where the head roughly is in a FLAIR, wherever its padding lies; everywhere if it is all of one value."""
    head = foreground(place_padding(flair))
    return head if head.any() else ~head


def _tame_mean(channel: NDArray[Any], usual: float) -> float:
    """Return the mean, without the say of a few voxels that lie far beyond all others (spikes, division by almost nothing)."""
    mean = float(channel.mean(dtype=np.float64))
    if float(channel.max()) - usual <= WILD * max(usual - float(channel.min()), np.finfo(np.float64).tiny):
        return mean
    return float(np.minimum(channel, usual).mean(dtype=np.float64))


def place_padding(channel: NDArray[Any]) -> NDArray[Any]:
    """Return a channel with its padding where air is in a scan, if it lies among the tissue's values or far below them.

    Scans that were scaled to zero mean within the brain have 0 around it, which is as bright as tissue; those that were shifted
    to positive values then have nothing between 0 and tissue. Padding is a 0, or a smallest value, that more than
    :data:`PADDING_SHARE` of the voxels are, exactly: what a scanner measures never repeats itself like that. Of a negative one,
    which may be there beside the other, :data:`NEGATIVE_PADDING_SHARE` is enough.
    """
    lowest = float(channel.min())
    if lowest < 0.0 and _is_common(channel, lowest, NEGATIVE_PADDING_SHARE):
        channel = _place(channel, lowest)
        lowest = float(channel.min())
    common = next((value for value in (0.0, lowest) if _is_common(channel, value, PADDING_SHARE)), None)
    return channel if common is None else _place(channel, common)


def _is_common(channel: NDArray[Any], value: float, share: float) -> bool:
    return bool(np.count_nonzero(channel == value) > share * channel.size)


def _place(channel: NDArray[Any], padding: float) -> NDArray[Any]:
    """Return a channel with one value where air is, if it lies as no air does."""
    inside = channel != padding
    if not (rest := channel[inside]).size:
        return channel
    bright = rest[foreground(rest)]
    if not bright.size:
        return channel
    (darkest,), (median,) = percentiles(rest, 1.0), percentiles(bright, 50.0)
    if 0.0 <= darkest - padding <= MOST_DARK * (median - padding):
        return channel
    air = max(float(rest.min()), darkest - USUAL_DARK / (1.0 - USUAL_DARK) * (median - darkest))
    return np.where(inside, channel, np.float32(air))


def place_paddings(voxels: NDArray[Any], normalisation: Normalisation) -> NDArray[Any]:
    """Return voxels ``(..., c)`` with :func:`place_padding` of each channel; the same array where there is nothing to do.

    ``full_scale`` looks for no tissue, and at the stored type instead, which stays as it is.
    """
    if normalisation.method == "full_scale":
        return voxels
    channels = [voxels[..., c] for c in range(voxels.shape[-1])]
    placed = [place_padding(channel) for channel in channels]
    return voxels if all(p is c for p, c in zip(placed, channels, strict=True)) else np.stack(placed, axis=-1)


def intensity_windows(voxels: NDArray[Any], normalisation: Normalisation) -> Windows:
    """Return the window of each channel of voxels ``(..., c)``, a case's or a slice's."""
    return [intensity_window(voxels[..., c], normalisation) for c in range(voxels.shape[-1])]


def apply_windows(voxels: NDArray[Any], windows: Windows) -> Float:
    """Return voxels scaled to 0..1 by one ``(low, high)`` window a channel, clipped, float32.

    Parameters
    ----------
    voxels
        Shape ``(..., c)`` with one window for each of the *c* channels.
    """
    low = np.array([w[0] for w in windows], np.float32)
    span = np.array([w[1] - w[0] for w in windows], np.float32)
    scaled = voxels.astype(np.float32)
    scaled -= low
    scaled /= span
    return np.clip(scaled, 0.0, 1.0, out=scaled)


def fill_channels(voxels: NDArray[Any], channels: int) -> NDArray[Any]:
    """Return voxels ``(..., c)`` with *channels* channels, a single one (FLAIR) standing in for all; a view, not a copy."""
    return np.broadcast_to(voxels, (*voxels.shape[:-1], channels))


def holds_head(flair: Float) -> NDArray[np.bool_]:
    """Return for each normalised FLAIR slice ``(n, y, x)`` whether it holds enough tissue to be looked at."""
    tissue = np.count_nonzero(flair > DARK, axis=(1, 2))
    held: NDArray[np.bool_] = tissue >= LEAST_HEAD * flair.shape[1] * flair.shape[2]
    return held


def head_box(flair: Float, unit: int) -> tuple[slice, slice]:
    """Return the rows and columns that hold the head in all of some normalised FLAIR slices ``(n, y, x)``.

    Their numbers are multiples of *unit*, as far as the slices' are; the network sees nothing of the air beyond, which is a
    quarter of the LGG dataset (``python docs/head_box.py``).
    """
    tissue = flair > DARK
    return (_span(tissue.sum(axis=2).max(axis=0), unit), _span(tissue.sum(axis=1).max(axis=0), unit))


def _span(pixels: NDArray[np.int_], unit: int) -> slice:
    lines = np.flatnonzero(pixels >= LEAST_LINE)
    if lines.size == 0:
        return slice(0, pixels.size)
    low, high = max(0, int(lines[0]) - MARGIN), min(pixels.size, int(lines[-1]) + 1 + MARGIN)
    length = min(-(-(high - low) // unit) * unit, pixels.size)
    low = max(0, min(low - (length - (high - low)) // 2, pixels.size - length))
    return slice(low, low + length)


def to_network_grid(slices: Float, size: int) -> Float:
    """Return slices ``(n, y, x, c)`` padded with zeros to squares about their middle and resized to *size* x *size*.

    Bilinear, with a wider kernel where it shrinks, so that nothing aliases.
    """
    n, height, width, channels = slices.shape
    if (height, width) == (size, size):
        return np.ascontiguousarray(slices)
    side = max(height, width)
    out = np.empty((n, size, size, channels), np.float32)
    for i in range(n):
        for c in range(channels):
            out[i, ..., c] = _resize_padded(slices[i, ..., c], side, size)
    return out


def from_network_grid(probability: Float, height: int, width: int) -> Float:
    """Return probabilities ``(n, size, size)`` on the slices' own grid ``(n, height, width)``: the way back of :func:`to_network_grid`."""
    size = probability.shape[1]
    if (height, width) == (size, size):
        return probability
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    scale = size / side
    box = (left * scale, top * scale, (left + width) * scale, (top + height) * scale)
    return np.stack([np.asarray(Image.fromarray(p).resize((width, height), Image.Resampling.BILINEAR, box)) for p in probability])


def _resize_padded(plane: Float, side: int, size: int) -> Float:
    """Return a plane padded to *side* x *side* and resized; the long axis first, so that the square never exists at full size."""
    if plane.shape[0] > plane.shape[1]:
        return _resize_padded(plane.T, side, size).T
    height = plane.shape[0]
    narrow = np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((size, height), Image.Resampling.BILINEAR))
    top = (side - height) // 2
    padded = np.pad(narrow, ((top, side - height - top), (0, 0)))
    return np.asarray(Image.fromarray(padded).resize((size, size), Image.Resampling.BILINEAR))

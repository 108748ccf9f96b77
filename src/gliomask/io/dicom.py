"""The FLAIR series of a DICOM study as a volume, with the T1 series beside it: pixels decoded, rescaled and stacked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import InputError, SeriesError
from gliomask.io.contrasts import with_t1
from gliomask.io.frames import Frame, Stack, stack_of
from gliomask.io.headers import blaming, number, read_dataset, read_header, text
from gliomask.io.images import MAX_PIXELS
from gliomask.io.series import Series, called, choose_series, flair_series, group_series, listing, passed_over, with_own_protocols
from gliomask.io.silence import unwarned
from gliomask.volume import Volume

MAX_SLICES = 2000
"""Most slices of a series; a head at half a millimetre has 400."""

DECODERS = {"JPEG 2000": "pylibjpeg-openjpeg", "JPEG": "pylibjpeg-libjpeg", "RLE": "pylibjpeg-rle"}
"""The package that decodes the transfer syntaxes whose names hold this."""

MOST_BEYOND = 0.01
"""Share of an image's pixels with bits set beyond BitsStored, up to which these are what an overlay of old left there."""

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class DicomOrigin:
    """The headers that a volume was read from, for writing results beside it.

    Attributes
    ----------
    datasets
        pydicom datasets without pixels: one a slice in the order of z, or one of a multi-frame file.
    frames
        For a multi-frame file, which frame (from 0) lies at each z; else empty.
    """

    datasets: tuple[Any, ...] = field(repr=False)
    frames: tuple[int, ...] = ()


def read_study(files: Sequence[Path], name: str, source: Path, series: str | None = None, *, max_pixels: int | None = None) -> Volume:
    """Return the FLAIR series of a study, with the T1 series of the same position where there are some.

    Parameters
    ----------
    files
        The study's DICOM files, in any order.
    name, source
        What the case is called, and the folder or file that messages name.
    series
        The series to take instead: a SeriesInstanceUID, a SeriesNumber, or a part of the description.
    max_pixels
        Most pixels that are read of a series; None is :data:`gliomask.io.images.MAX_PIXELS`.

    Returns
    -------
    Volume
        Voxels ``(z, y, x, c)`` in the files' integer type where no slice is rescaled, else float32:
        slices ascending along their normal, rows and columns as they are stored. One channel, or
        three where a T1 fits (without a pre- or post-contrast T1, FLAIR stands in for it).

    Raises
    ------
    InputError
        No FLAIR, a damaged file, or slices that make no even stack; the message names the files.
    EngineError
        pydicom, or for a T1 SciPy, is not installed.
    """
    with unwarned():
        headers = with_own_protocols([read_header(file) for file in files])
        found, others = group_series(headers), passed_over(headers)
        if not found:
            raise InputError(f"{source}: no MR images ({others or 'no DICOM files'}). Give the FLAIR series of an MR study.")
        chosen, choice_notes = choose_series(found, series, source)
        reader = partial(_read_series, source=source, max_pixels=MAX_PIXELS if max_pixels is None else max_pixels)
        flairs = flair_series(found)
        with _others_told(chosen, flairs if series is None else found):
            flair, stack = reader(chosen)
        voxels, contrast_notes = with_t1(flair, stack, chosen, found, reader)
    other_notes = (f"passed over: {others}",) if others else ()
    notes = (*choice_notes, *other_notes, *stack.notes, *contrast_notes)
    possible = called(flairs if chosen in flairs else [*flairs, chosen])
    several = possible if len(possible) > 1 else {}
    return Volume(voxels, name, source=source, notes=notes, affine=stack.affine, origin=_origin(stack), flair_series=several)


@contextmanager
def _others_told(chosen: Series, possible: Sequence[Series]) -> Iterator[None]:
    """Have an error in reading the chosen series tell the others that are possible."""
    try:
        yield
    except InputError as error:
        others = [series for series in possible if series is not chosen]
        if not others:
            raise
        raise SeriesError(f"{error} Or take another series with --series: {listing(others)}.", str(error), called(possible)) from error


def _origin(stack: Stack) -> DicomOrigin:
    """Return a stack's headers."""
    datasets = {id(f.dataset): f.dataset for f in stack.frames}
    return DicomOrigin(tuple(datasets.values()), tuple(f.index for f in stack.frames if f.index is not None))


def _read_series(series: Series, source: Path, max_pixels: int) -> tuple[NDArray[Any], Stack]:
    """Return a series' voxels ``(z, y, x)``, rescaled slice by slice, and where they lie."""
    _check_size(series, source, max_pixels)
    decoded = lru_cache(maxsize=1)(_decoded)  # a multi-frame file once for all its frames, which follow each other

    def stored(frame: Frame) -> NDArray[Any]:
        pixels = decoded(frame.file, frame.shape)
        return _without_padding(pixels if frame.index is None else pixels.reshape(-1, *frame.shape)[frame.index], frame)

    def scaled(frame: Frame) -> NDArray[np.float32]:
        return _scaled(stored(frame), frame, source)

    stack = stack_of([header.file for header in series.headers], scaled, source)
    values = scaled if any((f.slope, f.intercept) != (1.0, 0.0) for f in stack.frames) else stored
    voxels = np.stack([values(frame) for frame in stack.frames])
    if _is_inverted(stack.frames[0]):
        voxels = (float(voxels.max()) + float(voxels.min()) - voxels).astype(voxels.dtype)
    return voxels, stack


def _check_size(series: Series, source: Path, max_pixels: int) -> None:
    """Compare a series' size with what is read at most, before anything of it is."""
    if series.slices > MAX_SLICES:
        raise InputError(f"{source}: {series}; at most {MAX_SLICES} are read. Split it.")
    pixels = sum(h.frames * h.rows * h.columns for h in series.headers)
    if pixels > max_pixels:
        raise InputError(
            f"{source}: {series} of {pixels / 2**20:.0f} megapixels; at most {max_pixels // 2**20} are read of a series. Split it, or "
            "export it smaller."
        )


def _without_padding(stored: NDArray[Any], frame: Frame) -> NDArray[Any]:
    """Return a frame's pixels with those that its header says are padding shown as dark as the darkest other, unless they are darker.

    Pixel Padding Value and Pixel Padding Range Limit, DICOM PS3.3 C.7.5.1.1.2: what a scanner or a program put where nothing was
    measured, which may be brighter than all tissue.
    """
    value = number(frame.dataset, "PixelPaddingValue")
    if value is None:
        return stored
    limit = number(frame.dataset, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    padding = (stored >= low) & (stored <= high)
    if not padding.any() or padding.all():
        return stored
    rest = stored[~padding]
    inverted = _is_inverted(frame)
    darkest = rest.max() if inverted else rest.min()
    is_darker = high >= darkest if inverted else low <= darkest
    return stored if is_darker else np.where(padding, darkest, stored)


def _is_inverted(frame: Frame) -> bool:
    """Return whether low values are shown bright."""
    return text(frame.dataset, "PhotometricInterpretation") == "MONOCHROME1"


def _scaled(stored: NDArray[Any], frame: Frame, source: Path) -> NDArray[np.float32]:
    """Return a frame's values after its slope and intercept."""
    scaled = (stored * frame.slope + frame.intercept).astype(np.float32)
    if not np.isfinite(scaled).all():
        raise InputError(f"{source}: values beyond 32-bit numbers in {frame} (slope {frame.slope:g}). Export it again.")
    return scaled


def _decoded(file: Path, shape: tuple[int, int]) -> NDArray[Any]:
    """Return a file's pixels as they are stored, ``(y, x)`` or ``(frame, y, x)``, decompressed.

    Raises
    ------
    InputError
        They are cut short or damaged, or their compression cannot be undone here.
    """
    dataset = read_dataset(file)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = _native_syntax(dataset)
    syntax = dataset.file_meta.TransferSyntaxUID
    _check_decodable(syntax, file)
    if not any(keyword in dataset for keyword in PIXELS):
        raise InputError(f"{file}: without pixel data, or cut short. Export it again.")
    with blaming(file, f"pixel data ({syntax.name})"):
        if syntax.is_encapsulated:
            _check_codestreams(dataset, shape, file)
        else:
            _check_bits(dataset, file)
        return np.asarray(dataset.pixel_array)


def _check_bits(dataset: Any, file: Path) -> None:
    """Raise the InputError that tells which bits the pixels are in, where they are not the lowest of BitsStored, which alone are read."""
    from pydicom.pixels import pixel_array

    allocated, bits, high = (number(dataset, keyword) for keyword in ("BitsAllocated", "BitsStored", "HighBit"))
    if bits is None:
        return
    if high not in (None, bits - 1):
        raise InputError(f"{file}: pixels of {bits:g} bits up to bit {high:g} (HighBit); expected up to {bits - 1:g}. Export it again.")
    has_overlay = any(0x6000 <= tag.group <= 0x601E for tag in dataset.keys())  # noqa: SIM118 - an element that cannot be decoded is none
    if bits == allocated or has_overlay or number(dataset, "PixelRepresentation"):
        return  # in the bits beyond lie old overlays, or the signs of signed pixels
    beyond = np.mean(pixel_array(dataset, correct_unused_bits=False) > 2**bits - 1)
    if beyond > MOST_BEYOND:
        raise InputError(
            f"{file}: {beyond:.0%} of its pixels need more than the {bits:g} bits that they are said to have (BitsStored). Export it again."
        )


def _native_syntax(dataset: Any) -> Any:
    """Return the transfer syntax that a file without meta header was found to be in."""
    from pydicom import uid

    implicit, little = dataset.original_encoding
    if not little:
        return uid.ExplicitVRBigEndian
    return uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian


def _check_decodable(syntax: Any, file: Path) -> None:
    """Raise the InputError that names syntax and package where nothing installed decodes it."""
    from pydicom.pixels.decoders.base import get_decoder

    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError as error:
        raise InputError(f"{file}: in transfer syntax {syntax.name}, which is not read. Save it uncompressed (gdcmconv --raw).") from error
    if not available:
        package = next((p for name, p in DECODERS.items() if name in syntax.name), "pylibjpeg")
        raise InputError(
            f"{file}: compressed as {syntax.name}, which needs {package}. Install it: pip install 'gliomask[dicom]', or save it "
            "uncompressed."
        )


def _check_codestreams(dataset: Any, shape: tuple[int, int], file: Path) -> None:
    """Compare the size that each compressed frame claims with the header's, before a decoder allocates it."""
    from pydicom.encaps import generate_frames

    syntax = dataset.file_meta.TransferSyntaxUID
    if "RLE" in syntax.name:
        return  # has no size of its own
    try:
        package = import_module("openjpeg" if "2000" in syntax.name else "libjpeg")
    except ImportError:
        return  # another decoder is at work
    frames = int(number(dataset, "NumberOfFrames") or 1)
    for codestream in generate_frames(dataset.PixelData, number_of_frames=frames):
        claimed = package.get_parameters(codestream)
        if (claimed["rows"], claimed["columns"]) != shape:
            found = f"{claimed['columns']} x {claimed['rows']}"
            raise InputError(f"{file}: compressed pixels of {found}, its header says {shape[1]} x {shape[0]}. Export it again.")

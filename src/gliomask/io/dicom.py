"""The FLAIR series of a DICOM study as a volume, every slice where its own header puts it.

A pixel in column i and row j of a slice lies at ``P + X di i + Y dj j`` millimetres (DICOM PS3.3
C.7.6.2.1.1), with P ImagePositionPatient, X and Y the two halves of ImageOrientationPatient, and
di, dj the spacing of columns and rows. The third column of the affine is the vector from one
slice's P to the next one's, so that a stack that the gantry's tilt has sheared stays sheared.
DICOM's axes point left and posterior; the affine's, right and anterior.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import EngineError, GliomaskError, InputError
from gliomask.io.images import MAX_PIXELS
from gliomask.io.series import (
    Series,
    blaming,
    choose_series,
    group_series,
    in_groups,
    is_dicom,
    is_flair,
    is_post_contrast,
    is_t1,
    number,
    numbers,
    passed_over,
    preference,
    pydicom,
    read_dataset,
    read_header,
    texts,
    unwarned,
)
from gliomask.volume import SMALLEST_SPACING_MM, Volume

__all__ = ["DicomOrigin", "Frame", "is_dicom", "read_study"]

MAX_SLICES = 2000
"""Most slices of a series; a head at half a millimetre has 400."""

COSINE_TOLERANCE = 1e-3
"""Largest difference of direction cosines that are taken as alike: 0.06 degrees, 0.1 mm at the edge of a head."""

SPACING_TOLERANCE = 1e-3
"""Largest relative difference of pixel spacings that are taken as alike."""

SAME_LEVEL_MM = 0.01
"""Distance along the normal up to which two images lie at one level."""

PLACE_TOLERANCE = 0.05
"""How far a slice may lie from its place in an even stack, as a part of the slices' distance."""

MISSING = 1.5
"""Distance of neighbours, as a multiple of the usual one, from which a slice is missing between them."""

TILT_DEGREES = 0.5
"""Angle between the slices' normal and the line through them from which the stack is told to be sheared."""

COVERED = 0.75
"""Part of the FLAIR's voxels that another series has to reach to be used beside it."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

DECODERS = {"JPEG 2000": "pylibjpeg-openjpeg", "JPEG": "pylibjpeg-libjpeg", "RLE": "pylibjpeg-rle"}
"""The package that decodes the transfer syntaxes whose names begin so."""


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


@dataclass(frozen=True)
class Frame:
    """One image, from a file of its own or of a multi-frame file: what places and scales it.

    Attributes
    ----------
    dataset, file, index
        The header it is from, its file, and which frame of the file (from 0; None in a single-frame file).
    position, cosines, spacing
        ImagePositionPatient in mm, ImageOrientationPatient, PixelSpacing (rows, columns) in mm.
    thickness
        SpacingBetweenSlices, else SliceThickness, in mm; None where neither is given.
    slope, intercept
        What stored values are multiplied by, and what is added.
    """

    dataset: Any = field(repr=False)
    file: Path
    index: int | None
    shape: tuple[int, int]
    position: NDArray[np.float64]
    cosines: NDArray[np.float64]
    spacing: tuple[float, float]
    thickness: float | None
    slope: float
    intercept: float

    @property
    def normal(self) -> NDArray[np.float64]:
        """The unit vector across the slice, right-handed with its columns and rows."""
        across = np.cross(self.cosines[:3], self.cosines[3:])
        return np.asarray(across / np.linalg.norm(across), np.float64)

    def __str__(self) -> str:
        """Return the file's name, and the frame's number as viewers count it."""
        return self.file.name if self.index is None else f"frame {self.index + 1} of {self.file.name}"


@dataclass(frozen=True)
class Stack:
    """A series as an even stack of slices: frames in order along their normal, affine in RAS+, notes."""

    frames: tuple[Frame, ...]
    affine: NDArray[np.float64]
    notes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return (len(self.frames), *self.frames[0].shape)

    def origin(self) -> DicomOrigin:
        """Return the headers for writing results."""
        datasets = {id(f.dataset): f.dataset for f in self.frames}
        indices = tuple(f.index for f in self.frames if f.index is not None)
        return DicomOrigin(tuple(datasets.values()), indices)


def read_study(files: Sequence[Path], name: str, source: Path, series: str | None = None) -> Volume:
    """Return the FLAIR series of a study, with the T1 series of the same position where there are some.

    Parameters
    ----------
    files
        The study's DICOM files, in any order.
    name, source
        What the case is called, and the folder or file that messages name.
    series
        The series to take instead: a SeriesInstanceUID, a SeriesNumber, or a part of the description.

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
        headers = [read_header(file) for file in files]
        found = group_series(headers)
        others = passed_over(headers)
        if not found:
            raise InputError(f"{source}: no MR images ({others or 'no DICOM files'}). Give the FLAIR series of an MR study.")
        chosen, notes = choose_series(found, series, source)
        stack = _stack_of(chosen, source)
        voxels = _pixels(stack, source)
        voxels, contrast_notes = _with_t1(voxels, stack, chosen, found, source)
        if others:
            notes = (*notes, f"passed over: {others}")
        return Volume(
            voxels=voxels,
            name=name,
            source=source,
            notes=(*notes, *stack.notes, *contrast_notes),
            affine=stack.affine,
            origin=stack.origin(),
        )


def _stack_of(series: Series, source: Path) -> Stack:
    """Return where the slices of a series lie, after checking that they make a volume; pixels are read of duplicates only."""
    if series.slices > MAX_SLICES:
        raise InputError(f"{source}: {series}; at most {MAX_SLICES} are read. Choose another one with --series.")
    pixels = sum(h.frames * h.rows * h.columns for h in series.headers)
    if pixels > MAX_PIXELS:
        raise InputError(f"{source}: {series} of {pixels / 2**20:.0f} megapixels; at most {MAX_PIXELS // 2**20} are read of a series.")
    frames = [frame for header in series.headers for frame in _frames(header.file)]
    _check_alike(frames, source)
    normal = frames[0].normal
    frames.sort(key=lambda frame: float(frame.position @ normal))
    frames, dropped = _without_duplicates(frames, source)
    step, notes = _step(frames, source)
    if dropped:
        notes = (*notes, f"{dropped} duplicate{'s' if dropped > 1 else ''} dropped")
    return Stack(tuple(frames), _affine(frames[0], step), notes)


def _frames(file: Path) -> list[Frame]:
    """Return the images of a file."""
    dataset = read_dataset(file, stop_before_pixels=True)
    with blaming(file, "header"):
        samples, photometric = number(dataset, "SamplesPerPixel"), " ".join(texts(dataset, "PhotometricInterpretation"))
        if samples not in (None, 1.0) or photometric not in ("MONOCHROME1", "MONOCHROME2", ""):
            raise InputError(f"{file}: a colour image ({photometric}). MR images have one grey value a pixel; choose another --series.")
        count = int(number(dataset, "NumberOfFrames") or 1)
        described = len(dataset.get("PerFrameFunctionalGroupsSequence") or ())
        if described == 0 and count == 1:
            return [_frame(dataset, file, None)]
        if described != count:
            raise InputError(
                f"{file}: {count} frames, of which {described} are described (PerFrameFunctionalGroupsSequence). Export it again."
            )
        return [_frame(dataset, file, index) for index in range(count)]


def _frame(dataset: Any, file: Path, index: int | None) -> Frame:
    def values(sequence: str, keyword: str) -> tuple[float, ...]:
        return numbers(dataset, keyword) if index is None else in_groups(dataset, index, sequence, keyword)

    position = values("PlanePositionSequence", "ImagePositionPatient")
    cosines = values("PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = values("PixelMeasuresSequence", "PixelSpacing")
    where = file if index is None else f"{file}, frame {index + 1}"
    wanted = (("ImagePositionPatient", position, 3), ("ImageOrientationPatient", cosines, 6), ("PixelSpacing", spacing, 2))
    for keyword, found, count in wanted:
        if len(found) != count or not np.isfinite(found).all():
            problem = f"{list(found)}" if found else "nothing"
            raise InputError(
                f"{where}: {problem} as {keyword}; expected {count} numbers. Without them its place is unknown; export it again."
            )
    if min(spacing) < SMALLEST_SPACING_MM:
        raise InputError(f"{where}: a PixelSpacing of {spacing[0]:g} x {spacing[1]:g} mm; expected two lengths above 0.")
    thicknesses = (*values("PixelMeasuresSequence", "SpacingBetweenSlices"), *values("PixelMeasuresSequence", "SliceThickness"))
    slope = next(iter(values("PixelValueTransformationSequence", "RescaleSlope")), 1.0)
    intercept = next(iter(values("PixelValueTransformationSequence", "RescaleIntercept")), 0.0)
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise InputError(f"{where}: a rescale slope of {slope:g} and intercept of {intercept:g}. Export it again.")
    return Frame(
        dataset=dataset,
        file=file,
        index=index,
        shape=(int(dataset.Rows), int(dataset.Columns)),
        position=np.array(position),
        cosines=_unit(cosines, where),
        spacing=(spacing[0], spacing[1]),
        thickness=next((t for t in thicknesses if np.isfinite(t) and t > 0), None),
        slope=slope,
        intercept=intercept,
    )


def _unit(cosines: Sequence[float], where: Path | str) -> NDArray[np.float64]:
    """Return the two directions of an image as unit vectors, in one array of six."""
    halves = np.reshape(cosines, (2, 3))
    lengths = np.linalg.norm(halves, axis=1)
    if np.abs(lengths - 1.0).max() > 10 * COSINE_TOLERANCE or abs(halves[0] @ halves[1]) > 10 * COSINE_TOLERANCE:
        raise InputError(f"{where}: an ImageOrientationPatient of {list(cosines)}; expected two unit vectors at right angles.")
    return np.ravel(halves / lengths[:, None])


def _check_alike(frames: Sequence[Frame], source: Path) -> None:
    """Compare all images with the first.

    Raises
    ------
    InputError
        Orientation, size or pixel spacing differ.
    """
    first = frames[0]
    for frame in frames[1:]:
        if frame.shape != first.shape:
            found = " and ".join(f"{s[1]} x {s[0]}" for s in (first.shape, frame.shape))
            raise InputError(f"{source}: mixed sizes, {found} pixels ({_both(first, frame)}). Choose another --series, or part them.")
        if np.abs(frame.cosines - first.cosines).max() > COSINE_TOLERANCE:
            angle = float(np.degrees(np.arccos(np.clip(frame.normal @ first.normal, -1.0, 1.0))))
            raise InputError(
                f"{source}: mixed orientations within the series, {_both(first, frame)} ({angle:.1f}° between their normals). "
                "Choose another --series, or part them."
            )
        if not np.allclose(frame.spacing, first.spacing, rtol=SPACING_TOLERANCE, atol=0):
            found = " and ".join(f"{s[1]:g} x {s[0]:g}" for s in (first.spacing, frame.spacing))
            raise InputError(f"{source}: mixed pixel spacing, {found} mm ({_both(first, frame)}). Choose another --series, or part them.")


def _both(one: Frame, other: Frame) -> str:
    """Return two images' names for a message, with their folders where the files are called alike."""
    alike = one.file.name == other.file.name and one.file != other.file
    return f"{one.file.parent.name}/{one} and {other.file.parent.name}/{other}" if alike else f"{one} and {other}"


def _without_duplicates(frames: Sequence[Frame], source: Path) -> tuple[list[Frame], int]:
    """Return the frames, sorted along their normal, with one at each level, and how many were dropped."""
    kept: list[Frame] = []
    for frame in frames:
        if not kept or (frame.position - kept[-1].position) @ kept[-1].normal > SAME_LEVEL_MM:
            kept.append(frame)
            continue
        shift = float(np.linalg.norm(frame.position - kept[-1].position))
        if shift > SAME_LEVEL_MM or not np.array_equal(_scaled(frame, source), _scaled(kept[-1], source)):
            raise InputError(
                f"{source}: several images at one position that differ, {_both(kept[-1], frame)}. The series holds several volumes "
                "(echoes, time points or a magnitude and a phase); export one of them, or choose another --series."
            )
    return kept, len(frames) - len(kept)


def _step(frames: Sequence[Frame], source: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the vector from slice to slice in mm, and notes.

    Raises
    ------
    InputError
        A slice is missing, slices are not evenly spaced, or a single one has no thickness.
    """
    if len(frames) == 1:
        thickness = frames[0].thickness
        if thickness is None:
            raise InputError(f"{frames[0].file}: one slice without SpacingBetweenSlices or SliceThickness; its volume is unknown.")
        return frames[0].normal * thickness, (f"one slice only, taken as {thickness:g} mm thick",)
    positions = np.array([f.position for f in frames])
    distances = np.diff(positions @ frames[0].normal)
    usual = float(np.sort(distances)[(len(distances) - 1) // 2])  # the lower median: half of the gaps may be double
    for (before, after), distance in zip(pairwise(frames), distances, strict=True):
        if distance > MISSING * usual:
            raise InputError(
                f"{source}: gap of {distance:.1f} mm between {_both(before, after)}, elsewhere {usual:.1f} mm. A slice is missing; export "
                "the series again, or choose another --series."
            )
    step = (positions[-1] - positions[0]) / (len(frames) - 1)
    off = np.linalg.norm(positions - (positions[0] + np.arange(len(frames))[:, None] * step), axis=1)
    worst = int(np.argmax(off))
    if off[worst] > PLACE_TOLERANCE * usual:
        raise InputError(
            f"{source}: unevenly spaced slices: {frames[worst]} lies {off[worst]:.2f} mm from its place, distances are "
            f"{distances.min():.2f} to {distances.max():.2f} mm. Resample it to even slices, or choose another --series."
        )
    tilt = float(np.degrees(np.arccos(np.clip(step @ frames[0].normal / np.linalg.norm(step), -1.0, 1.0))))
    return step, (f"gantry tilt of {tilt:.1f}°",) if tilt > TILT_DEGREES else ()


def _affine(first: Frame, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the affine in RAS+ of a stack that begins with a frame."""
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = first.cosines[:3] * first.spacing[1], first.cosines[3:] * first.spacing[0]
    lps[:3, 2], lps[:3, 3] = step, first.position
    return LPS_TO_RAS @ lps


def _pixels(stack: Stack, source: Path) -> NDArray[Any]:
    """Return the voxels ``(z, y, x, 1)``, rescaled slice by slice."""
    rescaled = any((f.slope, f.intercept) != (1.0, 0.0) for f in stack.frames)
    stored = _decoded_by_file()
    planes = [_scaled(frame, source, stored) if rescaled else stored(frame) for frame in stack.frames]
    voxels = np.stack(planes)[..., None]
    if "MONOCHROME1" in texts(stack.frames[0].dataset, "PhotometricInterpretation"):
        turned = float(voxels.max()) + float(voxels.min()) - voxels  # MONOCHROME1 shows low values bright
        voxels = turned.astype(voxels.dtype)
    return voxels


def _scaled(frame: Frame, source: Path, stored: Callable[[Frame], NDArray[Any]] | None = None) -> NDArray[np.float32]:
    """Return a frame's values after its slope and intercept, float32."""
    values = (stored or _decoded_by_file())(frame) * frame.slope + frame.intercept
    scaled = values.astype(np.float32)
    if not np.isfinite(scaled).all():
        raise InputError(f"{source}: values beyond 32-bit numbers in {frame} (slope {frame.slope:g}). Export it again.")
    return scaled


def _decoded_by_file() -> Callable[[Frame], NDArray[Any]]:
    """Return a function from a frame to its stored values ``(y, x)``; a multi-frame file is decoded once."""
    last: list[Any] = [None, None]

    def stored(frame: Frame) -> NDArray[Any]:
        if last[0] != frame.file:
            last[:] = frame.file, _decoded(frame.file, frame.shape)
        return np.asarray(last[1] if frame.index is None else np.reshape(last[1], (-1, *frame.shape))[frame.index])

    return stored


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
    if not any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise InputError(f"{file}: without pixel data, or cut short. Export it again.")
    with blaming(file, f"pixel data ({syntax.name})"):
        if syntax.is_encapsulated:
            _check_codestreams(dataset, shape, file)
        return np.asarray(dataset.pixel_array)


def _native_syntax(dataset: Any) -> Any:
    """Return the transfer syntax that a file without meta header was found to be in."""
    implicit, little = dataset.original_encoding
    uids = pydicom().uid
    if not little:
        return uids.ExplicitVRBigEndian
    return uids.ImplicitVRLittleEndian if implicit else uids.ExplicitVRLittleEndian


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


def _with_t1(
    flair: NDArray[Any], stack: Stack, chosen: Series, found: Sequence[Series], source: Path
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the voxels with pre- and post-contrast T1 around the FLAIR where the study has one that fits, and notes."""
    notes: list[str] = []
    channels: list[NDArray[Any] | None] = []
    for post in (False, True):
        channels.append(None)
        for series in _t1_candidates(chosen, found, post):
            try:
                channels[-1] = _on_grid(series, stack, source)
            except EngineError:
                raise
            except GliomaskError as error:
                notes.append(f"not used: {series} ({error})")
                continue
            notes.append(f"{'post' if post else 'pre'}-contrast T1: {series}")
            break
    if all(channel is None for channel in channels):
        return flair, tuple(notes)
    missing = [name for name, channel in zip(("pre-contrast T1", "post-contrast T1"), channels, strict=True) if channel is None]
    notes.extend(f"no {name}: FLAIR in its place" for name in missing)
    pre, post_t1 = (flair[..., 0] if channel is None else channel for channel in channels)
    return np.stack([pre, flair[..., 0], post_t1], axis=-1).astype(np.float32), tuple(notes)


def _t1_candidates(chosen: Series, found: Sequence[Series], post: bool) -> list[Series]:
    """Return the T1 series in the FLAIR's frame of reference, the best first."""
    reference = chosen.first.frame_of_reference
    fitting = [
        s
        for s in found
        if s is not chosen
        and reference
        and s.first.frame_of_reference == reference
        and is_t1(s.first)
        and not is_flair(s.first)
        and is_post_contrast(s.first) == post
    ]
    return sorted(fitting, key=preference)


def _on_grid(series: Series, stack: Stack, source: Path) -> NDArray[np.float32]:
    """Return a series linearly resampled onto another one's grid ``(z, y, x)``, 0 where it does not reach."""
    try:
        from scipy import ndimage
    except ImportError as error:
        raise EngineError("using T1 beside FLAIR needs SciPy. Install it: pip install 'gliomask[dicom]'.") from error
    other = _stack_of(series, source)
    to_other = np.linalg.inv(other.affine) @ stack.affine
    corner = np.array(other.shape[::-1]) - 0.5
    inside = 0
    for z in range(stack.shape[0]):  # one slice at a time: indices of a whole volume take 24 bytes a voxel
        y, x = np.mgrid[: stack.shape[1], : stack.shape[2]].reshape(2, -1)
        index = to_other[:3] @ np.stack([x, y, np.full_like(x, z), np.ones_like(x)])
        inside += int(((index > -0.5) & (index < corner[:, None])).all(axis=0).sum())
    covered = inside / np.prod(stack.shape)
    if covered < COVERED:
        raise InputError(f"reaches {covered:.0%} of the FLAIR's field of view")
    voxels = _pixels(other, source)[..., 0].astype(np.float32)
    if other.shape == stack.shape and np.allclose(to_other, np.eye(4), atol=COSINE_TOLERANCE):
        return voxels
    matrix, offset = to_other[:3, :3][::-1, ::-1], to_other[:3, 3][::-1]
    return np.asarray(ndimage.affine_transform(voxels, matrix, offset, stack.shape, np.float32, order=1, mode="constant", cval=0.0))

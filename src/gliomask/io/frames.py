"""Where the images of a DICOM series lie, and whether they make a volume.

A pixel in column i and row j of a slice lies at ``P + X di i + Y dj j`` millimetres (DICOM PS3.3
C.7.6.2.1.1), with P ImagePositionPatient, X and Y the two halves of ImageOrientationPatient, and
di, dj the spacing of columns and rows. The third column of the affine is the vector from one
slice's P to the next one's, so that a stack that the gantry's tilt has sheared stays sheared.
DICOM's axes point left and posterior; the affine's, right and anterior.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomask.errors import InputError
from gliomask.io.headers import EXTENTS, blaming, in_groups, number, numbers, read_dataset, text
from gliomask.io.naming import quoted
from gliomask.volume import SMALLEST_SPACING_MM, checked_affine

COSINE_TOLERANCE = 1e-3
"""Largest difference of direction cosines that are taken as alike: 0.06 degrees, 0.1 mm at the edge of a head."""

UNIT_TOLERANCE = 1e-2
"""How far the two halves of ImageOrientationPatient may be from unit length and right angles; exports round them."""

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

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Frame:
    """One image, from a file of its own or of a multi-frame file: what places and scales it.

    Attributes
    ----------
    dataset, file, index
        The header it is from, its file, and which frame of the file (from 0; None in a single-frame file).
    shape
        Rows and columns.
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
        name = quoted(self.file.name)
        return name if self.index is None else f"frame {self.index + 1} of {name}"


@dataclass(frozen=True)
class Stack:
    """A series as an even stack of slices: frames in order along their normal, affine in RAS+, notes."""

    frames: tuple[Frame, ...]
    affine: NDArray[np.float64]
    notes: tuple[str, ...]


def stack_of(files: Sequence[Path], values: Callable[[Frame], NDArray[Any]], source: Path) -> Stack:
    """Return where the slices of a series lie.

    Parameters
    ----------
    files
        The series' files, in any order.
    values
        A function to a frame's pixels; they are looked at where several images lie in one place.
    source
        The folder or file that messages name.

    Raises
    ------
    InputError
        The images make no volume, or an image does not say where it lies; the message names the files.
    """
    frames = [frame for file in files for frame in _frames(file)]
    for frame in frames[1:]:
        if difference := _difference(frames[0], frame):
            raise InputError(f"{source}: mixed {difference}. Split the series.")
    normal = frames[0].normal
    frames.sort(key=lambda frame: float(frame.position @ normal))
    kept = _without_duplicates(frames, values, source)
    step = _step(kept, source) if len(kept) > 1 else _thickness(kept[0])
    affine = checked_affine(_affine(kept[0], step), str(source))
    return Stack(tuple(kept), affine, _notes(kept, step, len(frames) - len(kept)))


def _frames(file: Path) -> list[Frame]:
    """Return the images of a file."""
    dataset = read_dataset(file, stop_before_pixels=True)
    with blaming(file, "header"):
        photometric = text(dataset, "PhotometricInterpretation")
        if number(dataset, "SamplesPerPixel") not in (None, 1.0) or photometric not in ("MONOCHROME1", "MONOCHROME2", ""):
            raise InputError(f"{file}: a colour image ({photometric}). MR images have one grey value a pixel. Export the original.")
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
    """Return one image, after checking all that places and scales it."""

    def values(sequence: str, keyword: str) -> tuple[float, ...]:
        return numbers(dataset, keyword) if index is None else in_groups(dataset, index, sequence, keyword)

    where = f"{file}" if index is None else f"{file}, frame {index + 1}"
    position = _complete(values("PlanePositionSequence", "ImagePositionPatient"), 3, "ImagePositionPatient", where)
    cosines = _complete(values("PlaneOrientationSequence", "ImageOrientationPatient"), 6, "ImageOrientationPatient", where)
    spacing = _complete(values("PixelMeasuresSequence", "PixelSpacing"), 2, "PixelSpacing", where)
    if min(spacing) < SMALLEST_SPACING_MM:
        raise InputError(f"{where}: a PixelSpacing of {spacing[0]:g} x {spacing[1]:g} mm; expected two lengths above 0. Export it again.")
    thicknesses = [thickness for keyword in EXTENTS for thickness in values("PixelMeasuresSequence", keyword)]
    slope = next(iter(values("PixelValueTransformationSequence", "RescaleSlope")), 1.0)
    intercept = next(iter(values("PixelValueTransformationSequence", "RescaleIntercept")), 0.0)
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise InputError(f"{where}: a rescale slope of {slope:g} and intercept of {intercept:g}, which leave no image. Export it again.")
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


def _complete(found: tuple[float, ...], count: int, keyword: str, where: str) -> tuple[float, ...]:
    """Return the numbers of an element, which have to be as many as DICOM says, and finite."""
    if len(found) == count and np.isfinite(found).all():
        return found
    problem = f"{list(found)}" if found else "nothing"
    raise InputError(f"{where}: {problem} as {keyword}; expected {count} numbers. Without them its place is unknown; export it again.")


def _unit(cosines: Sequence[float], where: str) -> NDArray[np.float64]:
    """Return the two directions of an image as unit vectors, in one array of six."""
    halves = np.reshape(cosines, (2, 3))
    lengths = np.linalg.norm(halves, axis=1)
    if np.abs(lengths - 1.0).max() > UNIT_TOLERANCE or abs(halves[0] @ halves[1]) > UNIT_TOLERANCE:
        raise InputError(f"{where}: an ImageOrientationPatient of {list(cosines)}; expected two unit vectors at right angles.")
    return np.ravel(halves / lengths[:, None])


def _difference(one: Frame, other: Frame) -> str:
    """Return in which of size, orientation and pixel spacing two images differ; empty where in none."""
    if one.shape != other.shape:
        found = " and ".join(f"{columns} x {rows}" for rows, columns in (one.shape, other.shape))
        return f"sizes, {found} pixels ({_both(one, other)})"
    if np.abs(one.cosines - other.cosines).max() > COSINE_TOLERANCE:
        return f"orientations within the series, {_both(one, other)} ({_degrees(one.normal, other.normal):.1f}° between their normals)"
    if not np.allclose(one.spacing, other.spacing, rtol=SPACING_TOLERANCE, atol=0):
        found = " and ".join(f"{across:g} x {down:g}" for down, across in (one.spacing, other.spacing))
        return f"pixel spacing, {found} mm ({_both(one, other)})"
    return ""


def _degrees(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the angle between two vectors."""
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _both(one: Frame, other: Frame) -> str:
    """Return two images' names for a message, with their folders where the files are called alike."""
    alike = one.file.name == other.file.name and one.file != other.file
    return " and ".join(f"{frame} in {quoted(frame.file.parent.name)}" if alike else str(frame) for frame in (one, other))


def _without_duplicates(frames: Sequence[Frame], values: Callable[[Frame], NDArray[Any]], source: Path) -> list[Frame]:
    """Return one of the frames, which are sorted along their normal, at each level; others have to be the same image."""
    kept = [frames[0]]
    for frame in frames[1:]:
        last = kept[-1]
        shift = frame.position - last.position
        if shift @ last.normal > SAME_LEVEL_MM:
            kept.append(frame)
        elif np.linalg.norm(shift) > SAME_LEVEL_MM or not np.array_equal(values(frame), values(last)):
            raise InputError(
                f"{source}: several images at one position that differ, {_both(last, frame)}. The series holds several volumes "
                "(echoes, time points or a magnitude and a phase). Export one of them."
            )
    return kept


def _step(frames: Sequence[Frame], source: Path) -> NDArray[np.float64]:
    """Return the vector from slice to slice in mm; none may be missing or out of its place."""
    positions = np.array([f.position for f in frames])
    distances = np.diff(positions @ frames[0].normal)
    usual = float(np.sort(distances)[(len(distances) - 1) // 2])  # the lower median: half of the gaps may be double
    for (before, after), distance in zip(pairwise(frames), distances, strict=True):
        if distance > MISSING * usual:
            raise InputError(
                f"{source}: gap of {distance:.1f} mm between {_both(before, after)}, elsewhere {usual:.1f} mm. A slice is missing. Export "
                "the series again."
            )
    step = np.asarray((positions[-1] - positions[0]) / (len(frames) - 1), np.float64)
    off = np.linalg.norm(positions - (positions[0] + np.arange(len(frames))[:, None] * step), axis=1)
    worst = int(np.argmax(off))
    if off[worst] > PLACE_TOLERANCE * usual:
        raise InputError(
            f"{source}: unevenly spaced slices: {frames[worst]} lies {off[worst]:.2f} mm from its place, distances are "
            f"{distances.min():.2f} to {distances.max():.2f} mm. Resample it to even slices."
        )
    return step


def _thickness(frame: Frame) -> NDArray[np.float64]:
    """Return a single slice's extent in mm, as a vector along its normal."""
    if frame.thickness is None:
        raise InputError(f"{frame.file}: one slice without SpacingBetweenSlices or SliceThickness, of unknown volume. Export it again.")
    return frame.normal * frame.thickness


def _notes(kept: Sequence[Frame], step: NDArray[np.float64], dropped: int) -> tuple[str, ...]:
    """Return what the user should know of a stack."""
    notes = []
    tilt = _degrees(step, kept[0].normal)
    if len(kept) == 1:
        notes.append(f"one slice only, taken as {kept[0].thickness:g} mm thick")
    elif tilt > TILT_DEGREES:
        notes.append(f"gantry tilt of {tilt:.1f}°")
    if kept[0].index is None and len(kept) > 1:
        notes += _lost(kept[0].dataset, len(kept) + dropped, float(np.linalg.norm(step)))
    if dropped:
        notes.append(f"{dropped} duplicate{'s' if dropped > 1 else ''} dropped")
    return tuple(notes)


def _lost(dataset: Any, images: int, distance_mm: float) -> Iterator[str]:
    """Yield how a header contradicts the number or the distance of the images that are there, as when every second one was lost."""
    said = max(filter(None, (number(dataset, keyword) for keyword in EXTENTS)), default=None)
    if said is not None and distance_mm > MISSING * said:
        yield f"slices lie {distance_mm:.1f} mm apart, by the header {said:g} mm: some may be missing"
    expected = number(dataset, "ImagesInAcquisition")
    if expected is not None and images < expected:
        yield f"{images} of the {expected:g} images that the header counts in the acquisition: some may be missing"


def _affine(first: Frame, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the affine in RAS+ of a stack that begins with a frame."""
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = first.cosines[:3] * first.spacing[1], first.cosines[3:] * first.spacing[0]
    lps[:3, 2], lps[:3, 3] = step, first.position
    return LPS_TO_RAS @ lps

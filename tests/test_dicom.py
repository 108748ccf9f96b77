import io
import itertools
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import dicom_files as make
import numpy as np
import pydicom
import pytest
from dicom_files import AXIAL, CORONAL, FLAIR, SAGITTAL, T1, T1_POST, Geometry, numbered, write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import generate_uid

from gliomask import EngineError, InputError, Segmenter
from gliomask.errors import ImplausibleInputError, SeriesError
from gliomask.io import contrasts, dicom, find_cases, headers, read_case, series
from gliomask.io.dicom import DicomOrigin, read_study
from gliomask.io.headers import is_dicom
from gliomask.io.series import find_studies
from gliomask.measure import volume_ml
from gliomask.volume import Volume


def read(folder: Path, wanted: str | None = None) -> Volume:
    return read_study(sorted(p for p in folder.rglob("*") if p.is_file()), "case", folder, wanted)


def assert_placed(volume: Volume, values: np.ndarray, geometry: Geometry, flipped: bool = False) -> None:
    """Every corner voxel lies where DICOM's equation puts its pixel, and every voxel is its slice's pixel."""
    found = volume.voxels[..., 0][::-1] if flipped else volume.voxels[..., 0]
    np.testing.assert_array_equal(found, values)
    assert volume.affine is not None
    depth, height, width = values.shape
    for x, y, z in itertools.product((0, width - 1), (0, height - 1), (0, depth - 1)):
        index = (x, y, depth - 1 - z if flipped else z, 1)
        np.testing.assert_allclose((volume.affine @ index)[:3], geometry.world_ras(x, y, z), atol=1e-4)


# Columns of the expected affine, by hand: the directions of x and y with left and posterior negated,
# times 1.25 and 1.5 mm; the step to the slice that lies next along x cross y; the first slice's place.
PLACES = {
    "axial": (
        Geometry(AXIAL, (-20, -30, 5), (0, 0, 6)),
        [[-1.25, 0, 0, 20], [0, -1.5, 0, 30], [0, 0, 6, 5]],
    ),
    "axial from top to bottom": (
        Geometry(AXIAL, (-20, -30, 29), (0, 0, -6)),
        [[-1.25, 0, 0, 20], [0, -1.5, 0, 30], [0, 0, 6, 5]],
    ),
    "columns towards the front": (
        Geometry((1, 0, 0, 0, -1, 0), (-20, 30, 5), (0, 0, 6)),
        [[-1.25, 0, 0, 20], [0, 1.5, 0, -30], [0, 0, -6, 29]],
    ),
    "both negated": (
        Geometry((-1, 0, 0, 0, -1, 0), (20, 30, 5), (0, 0, 6)),
        [[1.25, 0, 0, -20], [0, 1.5, 0, -30], [0, 0, 6, 5]],
    ),
    "sagittal": (
        Geometry(SAGITTAL, (12, -30, 40), (-6, 0, 0)),
        [[0, 0, 6, -12], [-1.25, 0, 0, 30], [0, -1.5, 0, 40]],
    ),
    "coronal": (
        Geometry(CORONAL, (-20, -12, 40), (0, 6, 0)),
        [[-1.25, 0, 0, 20], [0, 0, -6, 12], [0, -1.5, 0, 40]],
    ),
    "oblique by 3-4-5": (
        Geometry((1, 0, 0, 0, 0.8, 0.6), (0, 0, 0), (0, -3.0, 4.0)),
        [[-1.25, 0, 0, 0], [0, -1.2, 3, 0], [0, 0.9, 4, 0]],
    ),
    "sheared by the gantry": (
        Geometry(AXIAL, (-20, -30, 5), (0, 1.5, 6)),
        [[-1.25, 0, 0, 20], [0, -1.5, -1.5, 30], [0, 0, 6, 5]],
    ),
}


@pytest.mark.parametrize("order", [None, (3, 0, 4, 1, 2)], ids=["in order", "shuffled"])
@pytest.mark.parametrize("place", PLACES)
def test_slices_lie_where_their_headers_put_them(tmp_path: Path, place: str, order: tuple[int, ...] | None) -> None:
    geometry, expected = PLACES[place]
    values = numbered()
    write_series(tmp_path, values, geometry, order=order)
    volume = read(tmp_path)
    np.testing.assert_allclose(volume.affine, [*expected, [0, 0, 0, 1]], atol=1e-9)
    normal = np.cross(geometry.cosines[:3], geometry.cosines[3:])
    assert_placed(volume, values, geometry, flipped=bool(normal @ geometry.step < 0))
    assert volume.voxels.dtype == np.uint16


def test_the_oblique_direction_cosines_have_to_be_right() -> None:
    """The table's own arithmetic: its expected affines have the spacing that their geometry says."""
    for geometry, expected in PLACES.values():
        lengths = np.linalg.norm(np.array(expected)[:, :3], axis=0)
        np.testing.assert_allclose(lengths, [geometry.spacing[1], geometry.spacing[0], np.linalg.norm(geometry.step)], atol=1e-9)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    quaternion=st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1),
    shear=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
    order=st.permutations(range(4)),
    distance=st.floats(0.7, 8.0),
    upwards=st.booleans(),
)
def test_any_rotation_shear_and_file_order(
    tmp_path_factory: pytest.TempPathFactory,
    quaternion: tuple[float, float, float, float],
    shear: tuple[float, float],
    order: list[int],
    distance: float,
    upwards: bool,
) -> None:
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    step = rotation @ [shear[0] * distance, shear[1] * distance, distance if upwards else -distance]
    geometry = Geometry((*rotation[:, 0], *rotation[:, 1]), (3.5, -40.25, 12.125), step)
    values = numbered((4, 8, 10))
    folder = tmp_path_factory.mktemp("series")
    write_series(folder, values, geometry, order=order)
    volume = read(folder)
    assert_placed(volume, values, geometry, flipped=not upwards)
    tilted = bool(np.degrees(np.arctan(np.hypot(*shear))) > 0.55)
    assert any("gantry tilt" in note for note in volume.notes) or not tilted


def test_what_the_volume_says_of_itself(tmp_path: Path) -> None:
    write_series(tmp_path, numbered(), Geometry(step=(0, 1.5, 6)))
    volume = read(tmp_path)
    assert volume.notes == ("series 5 'AX FLAIR', 5 slices", "gantry tilt of 14.0°")
    assert volume.slice_names == tuple(f"case_{z}" for z in range(1, 6))
    assert (volume.name, volume.source, volume.sha256) == ("case", tmp_path, None)
    assert volume_ml(np.ones((1, 1, 1), bool), volume.affine) == pytest.approx(1.25 * 1.5 * 6 / 1000)


def test_the_origin_holds_the_headers_in_the_order_of_z(tmp_path: Path) -> None:
    write_series(tmp_path, numbered(), Geometry(first=(0, 0, 24), step=(0, 0, -6)), order=(2, 4, 0, 1, 3))
    origin = read(tmp_path).origin
    assert isinstance(origin, DicomOrigin)
    assert [float(d.ImagePositionPatient[2]) for d in origin.datasets] == [0, 6, 12, 18, 24]
    assert not any("PixelData" in d for d in origin.datasets)
    assert origin.frames == ()
    assert make.PATIENT_ID not in repr(origin)


def test_slope_and_intercept_are_each_slice_s_own(tmp_path: Path) -> None:
    study, uid, values = make.Study.new(), generate_uid(), numbered((3, 32, 40), np.int16)
    for z, (slope, intercept) in enumerate([(1, 0), (2.5, -100), (0.125, 7)]):
        tags = {"SeriesInstanceUID": uid, "RescaleSlope": slope, "RescaleIntercept": intercept}
        make.write(make.mr_slice(study, Geometry(), z, values[z], **tags), tmp_path / str(z))
    voxels = read(tmp_path).voxels
    assert voxels.dtype == np.float32
    np.testing.assert_array_equal(voxels[..., 0], np.stack([values[0], values[1] * 2.5 - 100, values[2] * 0.125 + 7]).astype(np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_unscaled_values_keep_their_type(tmp_path: Path, dtype: type) -> None:
    values = numbered(dtype=np.int16).astype(dtype) if dtype == np.uint8 else numbered(dtype=dtype)
    if dtype == np.int16:
        values -= 2000
    write_series(tmp_path, values, RescaleSlope=1, RescaleIntercept=0)
    voxels = read(tmp_path).voxels
    assert voxels.dtype == dtype
    np.testing.assert_array_equal(voxels[..., 0], values)


@pytest.mark.parametrize(("dtype", "overlay"), [(np.uint16, True), (np.uint16, False), (np.int16, True)])
def test_bits_beyond_those_that_are_stored_do_not_count(tmp_path: Path, dtype: type, overlay: bool) -> None:
    """An overlay in bit 12, as old systems stored it; some take the overlay's elements away and leave its bits."""
    values = numbered(dtype=np.uint16)
    drawn = np.random.default_rng(1).random(values.shape) < (0.5 if overlay else 0.005)
    for file in write_series(tmp_path, (values | drawn.astype(np.uint16) << 12).astype(dtype)):
        dataset = pydicom.dcmread(file)
        dataset.BitsStored, dataset.HighBit = 12, 11
        if overlay:
            dataset.add_new(0x60000102, "US", 12)
        dataset.save_as(file)
    expected = np.where(values > 2047, values.astype(int) - 4096, values) if dtype is np.int16 else values
    np.testing.assert_array_equal(read(tmp_path).voxels[..., 0], expected)


@pytest.mark.parametrize(
    ("padding", "limit", "expected"), [(4000, None, 100), (3990, 4010, 100), (4010, 3990, 100), (0, None, 4000), (None, None, 4000)]
)
def test_padding_brighter_than_tissue_becomes_as_dark_as_the_darkest(
    tmp_path: Path, padding: int | None, limit: int | None, expected: int
) -> None:
    head = np.full((3, 32, 40), 100, np.uint16)
    head[:, 10:20, 10:20] = 700
    padded = head.copy()
    padded[:, :5] = 4000
    write_series(tmp_path, padded, PixelPaddingValue=padding, PixelPaddingRangeLimit=limit)
    voxels = read(tmp_path).voxels[..., 0]
    assert voxels.dtype == np.uint16
    np.testing.assert_array_equal(voxels, np.where(padded == 4000, expected, head))


def test_padding_of_monochrome1_is_dark_once_it_is_turned(tmp_path: Path) -> None:
    stored = numbered() + 1
    padded = stored.copy()
    padded[:, :5] = 0
    write_series(tmp_path, padded, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0)
    voxels = read(tmp_path).voxels[..., 0].astype(int)
    brightest = stored[:, 5:].max(axis=(1, 2), keepdims=True).astype(int)
    turned = brightest.max() + stored[:, 5:].min() - np.where(padded == 0, brightest, stored)
    np.testing.assert_array_equal(voxels, turned)


def test_monochrome1_is_turned_so_that_bright_is_bright(tmp_path: Path) -> None:
    values = numbered()
    write_series(tmp_path, values, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read(tmp_path).voxels[..., 0], values.max() - values + values.min())


@pytest.mark.parametrize("tags", [{"SpacingBetweenSlices": 6.5}, {}], ids=["SpacingBetweenSlices", "SliceThickness"])
def test_a_single_slice_is_as_thick_as_its_header_says(tmp_path: Path, tags: dict[str, object]) -> None:
    write_series(tmp_path, numbered((1, 32, 40)), **tags)
    volume = read(tmp_path)
    thickness = tags.get("SpacingBetweenSlices", 5)
    assert f"one slice only, taken as {thickness} mm thick" in volume.notes
    assert volume.spacing_mm == pytest.approx((1.25, 1.5, thickness))


def test_exact_duplicates_are_dropped_and_counted(tmp_path: Path) -> None:
    values = numbered()
    files = write_series(tmp_path, values)
    for number, file in enumerate(files[1:3]):
        (tmp_path / f"copy{number}").write_bytes(file.read_bytes())
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels[..., 0], values)
    assert "2 duplicates dropped" in volume.notes
    assert len(volume.origin.datasets) == 5


# What each file is written as, and how it comes back.
ENCODINGS: dict[str, Callable[[Path], Path]] = {
    "big endian": make.big_endian,
    "no meta, implicit": make.without_meta,
    "no meta, explicit": lambda p: make.without_meta(p, implicit=False),
    "no meta, big endian": lambda p: make.without_meta(p, implicit=False, little=False),
    "RLE": lambda p: make.compress(p, pydicom.uid.RLELossless),
    "JPEG-LS": lambda p: make.compress(p, pydicom.uid.JPEGLSLossless),
    "JPEG 2000": lambda p: make.compress(p, pydicom.uid.JPEG2000Lossless),
}


def deflate(path: Path) -> Path:
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("encoding", [*ENCODINGS, "deflated"])
def test_every_encoding_gives_the_same_voxels(tmp_path: Path, encoding: str) -> None:
    values = numbered((3, 32, 40))
    for file in write_series(tmp_path, values):
        ENCODINGS.get(encoding, deflate)(file)
        assert is_dicom(file)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels[..., 0], values)
    assert_placed(volume, values, Geometry())


# --- multi-frame files


@pytest.mark.parametrize("shared", [True, False], ids=["shared groups", "per-frame groups"])
@pytest.mark.parametrize("order", [None, (3, 0, 4, 1, 2)], ids=["in order", "shuffled"])
def test_enhanced_mr_is_placed_as_single_frames_are(tmp_path: Path, order: tuple[int, ...] | None, shared: bool) -> None:
    geometry = Geometry((1, 0, 0, 0, 0.8, 0.6), (0, 0, 0), (0, 3.0, -4.0))
    values = numbered()
    make.write(make.enhanced(values, geometry, order=order, shared=shared), tmp_path / "multi")
    volume = read(tmp_path)
    assert_placed(volume, values, geometry, flipped=True)
    assert volume.origin.frames == tuple(reversed(order or range(5)))
    assert len(volume.origin.datasets) == 1
    assert volume.notes == ("series 5 'AX FLAIR', 5 slices",)


def test_enhanced_mr_is_rescaled_frame_by_frame(tmp_path: Path) -> None:
    values = numbered((3, 32, 40))
    dataset = make.enhanced(values)
    for z, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        make.set_groups(frame, PixelValueTransformationSequence={"RescaleSlope": z + 0.5, "RescaleIntercept": -z, "RescaleType": "US"})
    make.write(dataset, tmp_path / "multi")
    expected = np.stack([values[z] * (z + 0.5) - z for z in range(3)]).astype(np.float32)
    np.testing.assert_array_equal(read(tmp_path).voxels[..., 0], expected)


def test_duplicate_frames_of_a_multi_frame_file_are_dropped(tmp_path: Path) -> None:
    values = numbered((4, 32, 40))
    values[3] = values[2]
    dataset = make.enhanced(values)
    dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence = dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    make.write(dataset, tmp_path / "multi")
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels[..., 0], values[:3])
    assert volume.origin.frames == (0, 1, 2)


# --- refusals


def alter(files: list[Path], position: int, **tags: object) -> None:
    dataset = pydicom.dcmread(files[position])
    make.set_tags(dataset, tags)
    dataset.save_as(files[position])


def series_with(levels: tuple[float, ...] | None = None, **tags: object) -> Callable[[Path], object]:
    return lambda folder: write_series(folder, numbered((len(levels or range(5)), 32, 40)), levels=levels, **tags)


def one_altered(**tags: object) -> Callable[[Path], object]:
    return lambda folder: alter(write_series(folder, numbered()), 3, **tags)


def other_size(folder: Path) -> None:
    study, uid = make.Study.new(), generate_uid()
    write_series(folder, numbered((2, 32, 40)), study=study, SeriesInstanceUID=uid)
    write_series(folder / "more", numbered((2, 32, 38)), Geometry(first=(-20, -30, 17)), study=study, SeriesInstanceUID=uid)


def cut_in_pixels(folder: Path) -> None:
    file = write_series(folder, numbered())[3]
    file.write_bytes(file.read_bytes()[:-600])


def cut_in_header(folder: Path) -> None:
    file = write_series(folder, numbered())[3]
    file.write_bytes(file.read_bytes()[:400])


def cut_compressed(folder: Path) -> None:
    file = make.compress(write_series(folder, numbered())[3], pydicom.uid.JPEG2000Lossless)
    file.write_bytes(file.read_bytes()[:-900])


def lying_codestream(folder: Path) -> None:
    file = make.compress(write_series(folder, numbered())[3], pydicom.uid.JPEG2000Lossless)
    content = file.read_bytes()
    size = content.index(b"\xff\x51") + 6  # Xsiz and Ysiz of the codestream's SIZ marker
    file.write_bytes(content[:size] + (4_000).to_bytes(4, "big") * 2 + content[size + 8 :])


def video(folder: Path) -> None:
    file = make.compress(write_series(folder, numbered())[3], pydicom.uid.RLELossless)
    dataset = pydicom.dcmread(file)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    dataset.save_as(file)


def deflated_bomb(folder: Path) -> None:
    file = deflate(write_series(folder, numbered())[3])
    content = zlib.compressobj(0, wbits=-15)
    file.write_bytes(file.read_bytes() + content.compress(bytes(2**20)) + content.flush())


def deflated_bomb_without_preamble(folder: Path) -> None:
    deflated_bomb(folder)
    (folder / "IM0003").write_bytes((folder / "IM0003").read_bytes()[132:])


def multi_frame(change: Callable[[pydicom.Dataset], object]) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        dataset = make.enhanced(numbered())
        change(dataset)
        make.write(dataset, folder / "multi")

    return write


def remove_groups(dataset: pydicom.Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence


def remove_position(dataset: pydicom.Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence


def two_echoes(folder: Path) -> None:
    uid, study = generate_uid(), make.Study.new()
    for echo in (0, 1):
        write_series(folder / str(echo), numbered(seed=echo), study=study, SeriesInstanceUID=uid)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing slice": (
        series_with((0, 1, 3, 4)),
        r"gap of 12\.0 mm between “IM0001” and “IM0002”, elsewhere 6\.0 mm. A slice is missing",
    ),
    "every second of half is missing": (series_with((0, 1, 2, 4, 6)), r"gap of 12\.0 mm between “IM0002” and “IM0003”, elsewhere 6\.0 mm"),
    "uneven": (
        series_with((0, 1, 2.2, 3, 4)),
        r"unevenly spaced slices: “IM0002” lies 1\.20 mm from its place, distances are 4\.80 to 7\.20",
    ),
    "aside": (one_altered(ImagePositionPatient=[-18, -30, 23]), r"unevenly spaced slices: “IM0003” lies 2\.00 mm from its place"),
    "differing images at one place": (two_echoes, r"several images at one position that differ, “IM0000” in “0” and “IM0000” in “1”"),
    "differing offsets at one level": (
        one_altered(ImagePositionPatient=[-10, -30, 17]),
        r"several images at one position that differ, “IM0002” and “IM0003”",
    ),
    "mixed orientations": (
        one_altered(ImageOrientationPatient=[1, 0, 0, 0, 0.8, 0.6]),
        r"mixed orientations within the series, “IM0000” and “IM0003” \(36\.9°",
    ),
    "orientations that differ by little": (
        one_altered(ImageOrientationPatient=[1, 0, 0, 0, 0.99939, 0.0349]),
        r"mixed orientations within the series, “IM0000” and “IM0003” \(2\.0°",
    ),
    "one image at two offsets of one level": (
        lambda folder: alter(write_series(folder, np.repeat(numbered((1, 32, 40)), 5, axis=0)), 3, ImagePositionPatient=[-10, -30, 17]),
        r"several images at one position that differ, “IM0002” and “IM0003”",
    ),
    "mixed pixel spacing": (
        one_altered(PixelSpacing=[1.5, 1.2]),
        r"mixed pixel spacing, 1\.25 x 1\.5 and 1\.2 x 1\.5 mm \(“IM0000” and “IM0003”\)",
    ),
    "mixed sizes": (other_size, r"mixed sizes, 40 x 32 and 38 x 32 pixels \(“IM0000” in “.*” and “IM0000” in “more”\)"),
    "no position": (one_altered(ImagePositionPatient=None), r"IM0003: nothing as ImagePositionPatient; expected 3 numbers"),
    "no orientation": (one_altered(ImageOrientationPatient=None), r"IM0003: nothing as ImageOrientationPatient; expected 6 numbers"),
    "no spacing": (one_altered(PixelSpacing=None), r"IM0003: nothing as PixelSpacing; expected 2 numbers"),
    "two coordinates": (one_altered(ImagePositionPatient=[1, 2]), r"IM0003: \[1\.0, 2\.0\] as ImagePositionPatient"),
    "zero spacing": (one_altered(PixelSpacing=[0, 1.25]), r"IM0003: a PixelSpacing of 0 x 1\.25 mm; expected two lengths above 0"),
    "negative spacing": (one_altered(PixelSpacing=[-1.5, 1.25]), r"IM0003: a PixelSpacing of -1\.5 x 1\.25 mm"),
    "orientation of length 2": (
        one_altered(ImageOrientationPatient=[2, 0, 0, 0, 2, 0]),
        r"IM0003: an ImageOrientationPatient of .*unit vectors",
    ),
    "orientation not at right angles": (one_altered(ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]), r"IM0003: .*at right angles"),
    "a single slice of no thickness": (
        lambda folder: write_series(folder, numbered((1, 32, 40)), SpacingBetweenSlices=1e-6),
        r"its affine is singular \(spacing 1\.25, 1\.5, 1e-06 mm\); voxels have no extent",
    ),
    "slope of zero": (one_altered(RescaleSlope=0), r"IM0003: a rescale slope of 0 and intercept of 0"),
    "slope beyond float32": (one_altered(RescaleSlope=1e38), r"values beyond 32-bit numbers in “IM0003”"),
    "one slice without thickness": (
        lambda folder: write_series(folder, numbered((1, 32, 40)), SliceThickness=None),
        r"IM0000: one slice without SpacingBetweenSlices or SliceThickness",
    ),
    "colour": (one_altered(SamplesPerPixel=3, PhotometricInterpretation="RGB"), r"IM0003: a colour image \(RGB\)"),
    "palette": (one_altered(PhotometricInterpretation="PALETTE COLOR"), r"IM0003: a colour image \(PALETTE COLOR\)"),
    "cut in the pixels": (cut_in_pixels, r"IM0003: pixel data \(Explicit VR Little Endian\) cut short or damaged"),
    "cut in the header": (cut_in_header, r"IM0003: (cut short|damaged)"),
    "cut in compressed pixels": (cut_compressed, r"IM0003: (pixel data .* cut short or damaged|without pixel data, or cut short)"),
    "no pixels": (one_altered(PixelData=None), r"IM0003: without pixel data, or cut short"),
    "codestream of another size": (lying_codestream, r"IM0003: compressed pixels of 4000 x 4000, its header says 40 x 32"),
    "video": (video, r"IM0003: in transfer syntax MPEG2 Main Profile .* which is not read"),
    "large deflated file": (deflated_bomb, r"IM0003: deflated, and more than 1 MiB"),
    "large deflated file without preamble": (deflated_bomb_without_preamble, r"IM0003: deflated, and more than 1 MiB"),
    "too many pixels": (one_altered(NumberOfFrames=1990, Rows=60_000, Columns=60_000), r"megapixels; at most 256 are read of a series"),
    "too many slices": (one_altered(NumberOfFrames=1_000_000), r"1000004 slices; at most 2000 are read"),
    "CT": (series_with(Modality="CT", SOPClassUID=pydicom.uid.CTImageStorage), r"no MR images \(5 CT images\)"),
    "CT that calls itself MR": (series_with(Modality="CT"), r"no MR images \(5 CT images\)"),
    "frames without description": (multi_frame(remove_groups), r"multi: 5 frames, of which 0 are described"),
    "fewer frames described": (
        multi_frame(lambda d: d.PerFrameFunctionalGroupsSequence.pop()),
        r"multi: 5 frames, of which 4 are described",
    ),
    "frame without position": (multi_frame(remove_position), r"multi, frame 3: nothing as ImagePositionPatient"),
    "pixels in the upper bits": (
        one_altered(BitsStored=12, HighBit=15),
        r"IM0003: pixels of 12 bits up to bit 15 \(HighBit\); expected up to 11",
    ),
    "more than BitsStored": (one_altered(BitsStored=8, HighBit=7), r"IM0003: 9\d% of its pixels need more than the 8 bits"),
    "mosaic": (
        lambda folder: write_series(folder, numbered((1, 64, 80)), ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]),
        r"no MR images \(1 mosaic image\)",
    ),
    "no FLAIR": (
        series_with(**T1, InversionTime=None),
        r"no FLAIR series\. Found: series 5 'AX T1', 5 slices\. Name the one to take with --series",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_placed_or_read_is_refused_by_name(tmp_path: Path, case: str) -> None:
    build, reason = REFUSED[case]
    build(tmp_path)
    with pytest.raises(InputError, match=reason) as caught:
        read(tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert make.PATIENT_ID not in message
    assert "Doe" not in message


def test_a_number_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    file = write_series(tmp_path, numbered())[3]
    content = file.read_bytes()
    assert content.count(b"1.5\\1.25") == 1
    for bad in (b"nan\\1.25", b"x.5\\1.25"):
        file.write_bytes(content.replace(b"1.5\\1.25", bad))
        with pytest.raises(InputError, match=r"IM0003: .* as PixelSpacing"):
            read(tmp_path)


def test_a_missing_decoder_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders.base import Decoder

    for file in write_series(tmp_path, numbered((2, 32, 40))):
        make.compress(file, pydicom.uid.JPEG2000Lossless)
    monkeypatch.setattr(Decoder, "is_available", False)
    with pytest.raises(
        InputError, match=r"IM0000: compressed as JPEG 2000 .* needs pylibjpeg-openjpeg\. Install it: pip install 'gliomask\[dicom\]'"
    ):
        read(tmp_path)


def test_a_missing_package_is_an_engine_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_series(tmp_path, numbered((2, 32, 40)))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(EngineError, match=r"pip install 'gliomask\[dicom\]'"):
        find_studies(files)


@pytest.mark.parametrize(("file", "reason"), [("missing", "no such file"), ("empty", "empty"), ("text", "not a DICOM file")])
def test_what_is_no_dicom_is_refused_by_name(tmp_path: Path, file: str, reason: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("some words, enough of them to be more than a header is long" * 5)
    with pytest.raises(InputError, match=f"{file}: {reason}"):
        find_studies([tmp_path / file])


# --- recognising files


def as_image(kind: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(content, format=kind)
    return content.getvalue()


def as_zip() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.dcm", bytes(200))
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08\x00",
        b"words and more words" * 20,
        bytes(400),
        (348).to_bytes(4, "little") + bytes(400),
        b"\x08\x00\x05\x00\xff\xff\xff\x7f" * 40,
    ],
    ids=["empty", "two bytes", "text", "zeros", "NIfTI", "absurd length"],
)
def test_other_files_are_not_dicom_whatever_their_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.dcm").write_bytes(content)
    assert not is_dicom(tmp_path / "a.dcm")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "zip"])
def test_images_and_archives_are_not_dicom(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.dcm").write_bytes(as_zip() if kind == "zip" else as_image(kind))
    assert not is_dicom(tmp_path / "a.dcm")


def test_dicom_is_known_by_content(tmp_path: Path) -> None:
    file = write_series(tmp_path, numbered((1, 32, 40)))[0].rename(tmp_path / "picture.png")
    assert is_dicom(file)
    for implicit, little in ((True, True), (False, True), (False, False)):
        assert is_dicom(make.without_meta(write_series(tmp_path / "bare", numbered((1, 32, 40)))[0], implicit=implicit, little=little))
    assert not is_dicom(tmp_path)
    assert not is_dicom(tmp_path / "missing")


# --- choosing the series


def head(**tags: object) -> headers.Header:
    """Return a header of an MR image with these sequence parameters and names alone."""
    bare = dict.fromkeys(FLAIR)
    dataset = make.mr_slice(make.Study.new(), Geometry(), 0, numbered()[0], **{**bare, **tags})
    return headers.header_of(dataset, Path("a"))


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (FLAIR, True),
        ({"InversionTime": 2500, "EchoTime": 90}, True),
        ({"SeriesDescription": "t2_tirm_tra_dark-fluid", "EchoTime": 87, "InversionTime": 2200}, True),
        ({"SeriesDescription": "TIRM tra", "EchoTime": 70, "InversionTime": 150}, False),
        ({"SeriesDescription": "3D FLAIR SPACE", "EchoTime": 388, "InversionTime": 1650}, True),
        ({"SeriesDescription": "Ax T2 FLAIR"}, True),
        ({"SeriesDescription": "AX T1 FLAIR", "EchoTime": 9.6, "InversionTime": 860}, False),
        ({"SeriesDescription": "AX T1 FLAIR", "EchoTime": 9.6}, False),
        ({"SeriesDescription": "AX T1 FLAIR"}, False),
        ({"SeriesDescription": "AX T1 FLAIR", "EchoTime": 9.6, "InversionTime": 2000}, False),
        ({"SeriesDescription": "T2 STIR", "ScanningSequence": "IR", "EchoTime": 70}, False),
        ({"ScanningSequence": "IR", "EchoTime": 110, "SeriesDescription": "ax"}, True),
        ({"ScanningSequence": "SE", "EchoTime": 110, "SeriesDescription": "AX T2"}, False),
        ({"SeriesDescription": "AX 5MM", "ProtocolName": "FLAIR", "EchoTime": 110}, True),
        ({"SeriesDescription": "AX T2", "ProtocolName": "TUMOR T1 T2 FLAIR", "EchoTime": 110}, False),
        ({"ProtocolName": "FLAIR_longTR"}, True),
        ({"ProtocolName": "BRAIN FLAIR", "ScanningSequence": "SE", "EchoTime": 110}, False),
        ({"ProtocolName": "BRAIN FLAIR", "ScanningSequence": "RM", "EchoTime": 110}, True),
        ({"SeriesDescription": "FLAIR", "ScanningSequence": "SE", "EchoTime": 110}, True),
        ({"SeriesDescription": "Sag CUBE T2 FLAIR", "EchoTime": 120, "InversionTime": 1450}, True),
        ({**FLAIR, "SeriesDescription": "FAT: Ax T2 FLAIR Flex"}, False),
        ({**FLAIR, "SeriesDescription": "FLAIR", "ImageType": ["DERIVED", "PRIMARY", "DIXON", "FAT"]}, False),
        ({**FLAIR, "SeriesDescription": "3D FLAIR dynamic shim"}, True),
        ({**FLAIR, "SeriesDescription": "dyn FLAIR"}, False),
        ({"SeriesDescription": "t2_spc_da-fl_sag_p2_iso", "EchoTime": 388}, True),
        ({"SeriesDescription": "t2_space_dir_sag", "EchoTime": 310, "InversionTime": 3000}, False),
        ({"SeriesDescription": "Double IR 3D", "EchoTime": 310, "InversionTime": 2550}, False),
        ({"SequenceName": "*tir2d1_21", "SeriesDescription": "dark fluid"}, True),
        ({**FLAIR, "InversionTime": 0}, True),
        ({**FLAIR, "ImageType": ["DERIVED", "SECONDARY", "ADC"]}, False),
        ({"SeriesDescription": "ADC FLAIR DWI", "EchoTime": 90, "InversionTime": 2500}, False),
        (T1, False),
        ({}, False),
    ],
)
def test_flair_is_known_by_parameters_and_names(tags: dict[str, object], expected: bool) -> None:
    assert series.is_flair(head(**tags)) is expected


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (T1, (True, False)),
        (T1_POST, (True, True)),
        ({**T1, "SeriesDescription": "t1_mprage_sag_KM"}, (True, True)),
        ({**T1, "SeriesDescription": "AX T1+C"}, (True, True)),
        ({**T1, "SeriesDescription": "SAG T1 POSTERIOR FOSSA"}, (True, False)),
        ({**T1, "SeriesDescription": "AX T1 W/O", "ContrastBolusAgent": "gad"}, (True, False)),
        ({**T1, "SeriesDescription": "AX T1 NO CONTRAST"}, (True, False)),
        ({**T1, "ContrastBolusAgent": "NONE"}, (True, False)),
        ({**T1, "ContrastBolusAgent": "No contrast"}, (True, False)),
        ({**T1, "ContrastBolusAgent": "N/A"}, (True, False)),
        ({**T1, "ContrastBolusAgent": "Novadaq"}, (True, True)),
        ({**T1, "SeriesDescription": "AX T1 POST W/O FS"}, (True, True)),
        ({**T1, "SeriesDescription": "t1 mit KM ohne FatSat"}, (True, True)),
        ({**T1, "SeriesDescription": "T1 apres injection"}, (True, True)),
        ({**T1, "SeriesDescription": "T1 sans injection"}, (True, False)),
        ({**T1, "SeriesDescription": "T1 z kontrastem"}, (True, True)),
        ({**T1, "SeriesDescription": "T1 增强"}, (True, True)),
        ({**T1, "SeriesDescription": "T1 без контраста"}, (True, False)),
        ({**T1, "SeriesDescription": "T1 NON GAD"}, (True, False)),
        ({**T1, "SeriesDescription": "T1 vor KM"}, (True, False)),
        ({**T1, "SeriesDescription": "AX T1 POST-OP"}, (True, False)),
        ({**T1, "SeriesDescription": "AX T1 POST-OP", "ContrastBolusAgent": "gad"}, (True, True)),
        ({**T1, "SeriesDescription": "AX T1 +C PRE-OP"}, (True, True)),
        ({**T1, "SeriesDescription": "T1 GD PREOP", "ContrastBolusAgent": "gad"}, (True, True)),
        ({**T1, "SeriesDescription": "AX T1 PRE", "ProtocolName": "BRAIN W CONTRAST"}, (True, False)),
        ({**T1, "SeriesDescription": "AX T1", "ProtocolName": "BRAIN W CONTRAST"}, (True, False)),
        ({"SeriesDescription": "BRAVO GD", "EchoTime": 3, "RepetitionTime": 8}, (True, True)),
        ({"SeriesDescription": "AX T1 SUBTRACTION", "EchoTime": 9}, (False, False)),
        ({"SeriesDescription": "AX T1 rho", "EchoTime": 90}, (False, False)),
        ({"SeriesDescription": "AX T2", "EchoTime": 90}, (False, False)),
    ],
)
def test_t1_and_contrast_are_known_by_parameters_and_names(tags: dict[str, object], expected: tuple[bool, bool]) -> None:
    header = head(**tags)
    assert (contrasts.is_t1(header), series.Series((header,)).post_contrast) == expected


@pytest.mark.parametrize(
    ("sop_class", "modality", "tags", "expected"),
    [
        (pydicom.uid.SegmentationStorage, "SEG", {}, "SEG"),
        (pydicom.uid.RTStructureSetStorage, "RTSTRUCT", {}, "RTSTRUCT"),
        (pydicom.uid.RTDoseStorage, "RTDOSE", {"Rows": 8, "Columns": 8}, "RT object"),
        (pydicom.uid.EncapsulatedPDFStorage, "DOC", {}, "PDF"),
        (pydicom.uid.EncapsulatedSTLStorage, "M3D", {}, "encapsulated document"),
        (pydicom.uid.ComprehensiveSRStorage, "SR", {}, "SR"),
        (pydicom.uid.GrayscaleSoftcopyPresentationStateStorage, "PR", {}, "presentation state"),
        (pydicom.uid.SecondaryCaptureImageStorage, "MR", {"Rows": 8, "Columns": 8}, "secondary capture"),
        (pydicom.uid.MultiFrameTrueColorSecondaryCaptureImageStorage, "OT", {"Rows": 8, "Columns": 8}, "secondary capture"),
        (
            pydicom.uid.MRImageStorage,
            "MR",
            {"Rows": 8, "Columns": 8, "ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
            "secondary capture",
        ),
        (pydicom.uid.MRImageStorage, "MR", {"Rows": 8, "Columns": 8, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        (pydicom.uid.MRImageStorage, "MR", {"Rows": 8, "Columns": 8, "SeriesDescription": "3-plane Loc"}, "localizer"),
        (pydicom.uid.MRImageStorage, "MR", {"Rows": 8, "Columns": 8, "ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "mosaic image"),
        (pydicom.uid.MRImageStorage, "MR", {"Rows": 8, "Columns": 8}, "MR image"),
        (pydicom.uid.MRSpectroscopyStorage, "MR", {"Rows": 8, "Columns": 8}, "non-image object"),
        (pydicom.uid.RawDataStorage, "MR", {}, "non-image object"),
        (pydicom.uid.PositronEmissionTomographyImageStorage, "PT", {"Rows": 8, "Columns": 8}, "PT image"),
    ],
)
def test_kinds_of_files(tmp_path: Path, sop_class: str, modality: str, tags: dict[str, object], expected: str) -> None:
    dataset = make.header(make.Study.new(), sop_class, Modality=modality, **tags)
    assert series.kind_of(headers.read_header(make.write(dataset, tmp_path / "a"))) == expected


def test_where_the_flair_cannot_be_read_the_others_are_told(tmp_path: Path) -> None:
    study = make.Study.new()
    write_series(tmp_path / "a", numbered((5, 32, 40)), study=study, SeriesNumber=4, SeriesDescription="AX FLAIR")[2].unlink()
    write_series(tmp_path / "b", numbered((5, 32, 40)), study=study, SeriesNumber=5, **T1)
    with pytest.raises(InputError, match="gap of") as alone:
        read(tmp_path)
    assert not isinstance(alone.value, SeriesError)  # a T1 is nothing to take instead
    write_series(tmp_path / "c", numbered((3, 32, 40)), study=study, SeriesNumber=6, SeriesDescription="COR FLAIR")
    with pytest.raises(SeriesError, match=r"gap of.* with --series: series 6 'COR FLAIR', 3 slices\.$") as caught:
        read(tmp_path)
    assert "--series" not in caught.value.problem
    assert list(caught.value.series.values()) == ["series 4 'AX FLAIR', 4 slices", "series 6 'COR FLAIR', 3 slices"]
    assert len(read(tmp_path, "6").voxels) == 3


def test_the_best_flair_is_taken_and_the_others_are_told(tmp_path: Path) -> None:
    study = make.Study.new()
    many, few = numbered((5, 32, 40), seed=1), numbered((3, 32, 40), seed=2)
    write_series(
        tmp_path / "a", many, study=study, SeriesNumber=4, SeriesDescription="FLAIR MPR", ImageType=["DERIVED", "SECONDARY", "MPR"]
    )
    write_series(tmp_path / "b", many, Geometry(CORONAL, step=(0, 6, 0)), study=study, SeriesNumber=5, SeriesDescription="COR FLAIR")
    write_series(tmp_path / "c", few, study=study, SeriesNumber=6, SeriesDescription="AX FLAIR")
    write_series(tmp_path / "d", few[:2], study=study, SeriesNumber=7, SeriesDescription="AX FLAIR short")
    write_series(tmp_path / "e", few, study=study, SeriesNumber=8, SeriesDescription="AX FLAIR again")
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels[..., 0], few)
    assert volume.notes == (
        "series 6 'AX FLAIR', 3 slices",
        "passed over: series 8 'AX FLAIR again', 3 slices (as good; the first is taken)",
        "passed over: series 7 'AX FLAIR short', 2 slices (fewer slices)",
        "passed over: series 5 'COR FLAIR', 5 slices (coronal)",
        "passed over: series 4 'FLAIR MPR', 5 slices (derived)",
    )


def test_a_whole_head_in_another_plane_is_taken_before_an_axial_series_that_was_given_up(tmp_path: Path) -> None:
    study, whole = make.Study.new(), numbered((12, 32, 40), seed=1)
    write_series(tmp_path / "a", whole[:3], study=study, SeriesNumber=4, SeriesDescription="AX FLAIR")
    write_series(tmp_path / "b", whole, Geometry(CORONAL, step=(0, 6, 0)), study=study, SeriesNumber=5, SeriesDescription="COR FLAIR")
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels[..., 0], whole)
    assert volume.notes[1] == "passed over: series 4 'AX FLAIR', 3 slices (only a part of a head)"


def test_a_whole_head_is_taken_before_more_and_thinner_slices_of_a_part(tmp_path: Path) -> None:
    study, whole = make.Study.new(), numbered((24, 32, 40), seed=1)
    write_series(tmp_path / "a", numbered((48, 32, 40)), Geometry(step=(0, 0, 1)), study=study, SeriesNumber=4, SliceThickness=1)
    write_series(tmp_path / "b", whole, study=study, SeriesNumber=5, SpacingBetweenSlices=6)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels[..., 0], whole)
    assert volume.notes == ("series 5 'AX FLAIR', 24 slices", "passed over: series 4 'AX FLAIR', 48 slices (only a part of a head)")


def test_a_flair_before_contrast_agent_is_taken_before_one_of_more_slices_after_it(tmp_path: Path) -> None:
    study, plain = make.Study.new(), numbered((24, 32, 40), seed=1)
    after = {"SeriesNumber": 3, "ContrastBolusAgent": "Gadovist"}
    write_series(tmp_path / "a", numbered((30, 32, 40)), Geometry(step=(0, 0, 5)), study=study, **after)
    write_series(tmp_path / "b", plain, study=study, SeriesNumber=5)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels[..., 0], plain)
    assert volume.notes[1] == "passed over: series 3 'AX FLAIR', 30 slices (after contrast agent)"


def test_a_series_that_is_no_head_is_refused_with_those_to_take_instead(segmenter: Segmenter, tmp_path: Path) -> None:
    study = make.Study.new()
    for number in (3, 5):
        write_series(tmp_path / str(number), numbered((12, 32, 40)), study=study, SeriesNumber=number)
    with pytest.raises(ImplausibleInputError, match=r"several series .* --series: series 3 'AX FLAIR', 12 slices; series 5 .* --force"):
        segmenter.segment(read(tmp_path))


@pytest.mark.parametrize("protocol", ["BRAIN TUMOR FLAIR", "BRAIN T1 T2 FLAIR DWI"])
def test_a_protocol_that_all_series_share_names_none_of_them(tmp_path: Path, protocol: str) -> None:
    study, flair = make.Study.new(), numbered((24, 32, 40), seed=1)
    emptied = {"SeriesDescription": "", "ProtocolName": protocol}
    t2 = {"SeriesNumber": 3, "ScanningSequence": "SE", "InversionTime": None, "EchoTime": 102}
    write_series(tmp_path / "t2", numbered((28, 32, 40)), Geometry(step=(0, 0, 5)), study=study, **{**emptied, **t2})
    with pytest.raises(SeriesError, match=rf"no FLAIR series\. Found: series 3 '{protocol}', 28 slices"):
        read(tmp_path)
    write_series(tmp_path / "flair", flair, study=study, SeriesNumber=4, **emptied)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels[..., 0], flair)
    assert volume.notes == (f"series 4 '{protocol}', 24 slices",)


def test_a_protocol_that_all_series_share_makes_no_localizer_of_them(tmp_path: Path) -> None:
    study, flair = make.Study.new(), numbered((12, 32, 40), seed=1)
    write_series(tmp_path / "flair", flair, study=study, ProtocolName="BRAIN SURVEY")
    t1 = {**T1, "InversionTime": None, "SeriesNumber": 6, "SeriesDescription": "", "SequenceName": "*t1_se", "ProtocolName": "BRAIN SURVEY"}
    write_series(tmp_path / "t1", flair + 1, study=study, **t1)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels[..., 0], flair + 1)
    assert not any("localizer" in note for note in volume.notes)


def test_a_protocol_of_its_own_names_a_series_without_description(tmp_path: Path) -> None:
    study, flair = make.Study.new(), numbered((12, 32, 40), seed=1)
    write_series(tmp_path / "flair", flair, study=study, SeriesDescription="", ProtocolName="t2_tirm_tra_dark-fluid")
    emptied = {**T1, "InversionTime": None, "SeriesNumber": 6, "SeriesDescription": "", "ProtocolName": "t1_se_tra"}
    write_series(tmp_path / "t1", flair + 1, study=study, **emptied)
    np.testing.assert_array_equal(read(tmp_path).voxels, np.stack([flair + 1, flair, flair], axis=-1))


def test_series_under_one_uid_are_told_apart_and_chosen_by_number(tmp_path: Path) -> None:
    study, flair = make.Study.new(), numbered((12, 32, 40), seed=1)
    one = {"SeriesInstanceUID": generate_uid()}
    write_series(tmp_path / "t1", flair + 1, study=study, **{**T1, "InversionTime": None, "SeriesNumber": 4, **one})
    write_series(tmp_path / "a", flair, study=study, SeriesNumber=5, **one)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels[..., 1], flair)
    assert volume.notes[:2] == ("series 5 'AX FLAIR', 12 slices", "pre-contrast T1: series 4 'AX T1', 12 slices")
    write_series(tmp_path / "b", flair[::-1], study=study, SeriesNumber=7, **one)
    several = read(tmp_path).flair_series
    assert list(several) == ["5", "7"]
    np.testing.assert_array_equal(read(tmp_path, "7").voxels[..., 1], flair[::-1])


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"SpacingBetweenSlices": 3}, "slices lie 6.0 mm apart, by the header 3 mm: some may be missing"),
        ({"SpacingBetweenSlices": 1, "SliceThickness": 5}, None),
        ({"SpacingBetweenSlices": 6, "ImagesInAcquisition": 24}, "12 of the 24 images that the header counts in the acquisition"),
        ({"SpacingBetweenSlices": 6, "ImagesInAcquisition": 12}, None),
    ],
    ids=["every second", "gap between slices", "the end", "all"],
)
def test_slices_that_the_header_tells_of_and_are_not_there_are_noted(tmp_path: Path, tags: dict[str, object], told: str | None) -> None:
    write_series(tmp_path, numbered((12, 32, 40)), **{"SliceThickness": 2.5, **tags})
    notes = read(tmp_path).notes[1:]
    assert (len(notes), told is None) in ((1, False), (0, True))
    assert told is None or told in notes[0]


def test_files_that_lost_their_patient_are_the_only_patients_of_their_study(tmp_path: Path) -> None:
    values = numbered((4, 32, 40))
    files = write_series(tmp_path / "study", values)
    for file in files[1:3]:
        dataset = pydicom.dcmread(file)
        dataset.PatientID = ""
        dataset.save_as(file)
    for inputs in ([tmp_path / "study"], files):
        (case,) = find_cases(inputs)
        np.testing.assert_array_equal(read_case(case).voxels[..., 0], values)


def test_of_two_t1_with_an_agent_the_one_that_is_called_so_is_post_contrast(tmp_path: Path) -> None:
    study, flair = make.Study.new(), numbered((12, 32, 40), seed=1)
    write_series(tmp_path / "flair", flair, study=study, ContrastBolusAgent="gad")
    filled_in = {**T1, "InversionTime": None, "ContrastBolusAgent": "gad"}
    write_series(tmp_path / "a", flair + 1, study=study, **{**filled_in, "SeriesNumber": 3})
    write_series(tmp_path / "b", flair + 2, study=study, **{**filled_in, "SeriesNumber": 6, "SeriesDescription": "AX T1 +C"})
    np.testing.assert_array_equal(read(tmp_path).voxels[..., 2], flair + 2)


@pytest.mark.parametrize("tags", [{}, {"SeriesDescription": "", "ProtocolName": "", "SeriesNumber": None}], ids=["alike", "nameless"])
def test_series_that_neither_number_nor_description_tells_apart_are_told_by_uid(tmp_path: Path, tags: dict[str, object]) -> None:
    study, values = make.Study.new(), numbered((3, 32, 40))
    uids = [generate_uid(), generate_uid()]
    unknown = {"InversionTime": None, "EchoTime": None, "ScanningSequence": None, "SeriesDescription": "brain", "SeriesNumber": 5, **tags}
    for number, uid in enumerate(uids):
        write_series(tmp_path / str(number), values + number, study=study, SeriesInstanceUID=uid, **unknown)
    with pytest.raises(InputError, match="no FLAIR series") as refused:
        read(tmp_path)
    assert all(f"({uid})" in str(refused.value) for uid in uids)
    np.testing.assert_array_equal(read(tmp_path, uids[1]).voxels[..., 0], values + 1)


@pytest.mark.parametrize("name", ["PILOT01 AX FLAIR", "FLAIR_SURVEY", "AX FLAIR BRAIN LOC"])
def test_a_flair_is_no_localizer_by_its_name_alone(tmp_path: Path, name: str) -> None:
    values = numbered((3, 32, 40))
    write_series(tmp_path, values, SeriesDescription=name)
    np.testing.assert_array_equal(read(tmp_path).voxels[..., 0], values)


def test_what_stands_beside_the_images_is_counted_and_passed_over(tmp_path: Path) -> None:
    study, values = make.Study.new(), numbered((3, 32, 40))
    uid = generate_uid()
    write_series(tmp_path / "a", values, study=study, SeriesInstanceUID=uid)
    write_series(
        tmp_path / "b", values, Geometry(SAGITTAL), study=study, SeriesInstanceUID=uid, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    for number, (sop_class, modality) in enumerate(
        [
            (pydicom.uid.SegmentationStorage, "SEG"),
            (pydicom.uid.RTStructureSetStorage, "RTSTRUCT"),
            (pydicom.uid.EncapsulatedPDFStorage, "DOC"),
            (pydicom.uid.BasicTextSRStorage, "SR"),
            (pydicom.uid.BasicTextSRStorage, "SR"),
        ]
    ):
        make.write(make.report(study, sop_class, modality), tmp_path / "other" / str(number))
    capture = make.header(study, pydicom.uid.SecondaryCaptureImageStorage, Rows=8, Columns=8)
    make.write(capture, tmp_path / "other" / "capture")
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels[..., 0], values)
    assert volume.notes[-1] == "passed over: 1 PDF, 1 RTSTRUCT, 1 SEG, 2 SR, 3 localizers, 1 secondary capture"


def test_a_number_written_as_text_is_read_whole() -> None:
    """A file that says its own value representations may give an inversion time as text."""
    dataset = pydicom.Dataset()
    dataset.add(pydicom.DataElement("InversionTime", "LO", "2500"))
    assert headers.number(dataset, "InversionTime") == 2500


def two_series(folder: Path) -> str:
    study, uid = make.Study.new(), generate_uid()
    write_series(folder / "a", numbered((2, 32, 40)), study=study, SeriesNumber=4, SeriesDescription="AX FLAIR")
    write_series(folder / "b", numbered((3, 32, 40)), study=study, SeriesInstanceUID=uid, SeriesNumber=12, **{**T1, "InversionTime": None})
    return str(uid)


@pytest.mark.parametrize("wanted", ["12", "ax t1", "T1", " 12 ", "uid"])
def test_a_series_is_taken_as_asked(tmp_path: Path, wanted: str) -> None:
    uid = two_series(tmp_path)
    volume = read(tmp_path, uid if wanted == "uid" else wanted)
    assert volume.voxels.shape == (3, 32, 40, 1)
    assert volume.notes[0] == "series 12 'AX T1', 3 slices (as asked)"


def test_series_without_uid_are_told_apart_by_number_and_description(tmp_path: Path) -> None:
    study, flair = make.Study.new(), numbered((3, 32, 40))
    write_series(tmp_path / "a", flair, study=study, SeriesInstanceUID=None, SeriesNumber=3)
    write_series(tmp_path / "b", flair // 2, study=study, SeriesInstanceUID=None, **{**T1, "InversionTime": None}, SeriesNumber=4)
    assert read(tmp_path).notes[:2] == ("series 3 'AX FLAIR', 3 slices", "pre-contrast T1: series 4 'AX T1', 3 slices")


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("ax", r"2 series fit --series 'ax'\. Found: series 4 'AX FLAIR', 2 slices; series 12 'AX T1', 3 slices"),
        ("99", r"no series fits --series '99'\. Found: series 4"),
        ("1.2.3", "no series fits"),
        ("", "no series fits"),
    ],
)
def test_a_series_that_is_not_one_is_refused_with_the_list(tmp_path: Path, wanted: str, reason: str) -> None:
    two_series(tmp_path)
    with pytest.raises(InputError, match=reason):
        read(tmp_path, wanted)


# --- T1 beside the FLAIR


def test_t1_series_join_the_flair_on_its_grid(tmp_path: Path) -> None:
    study, flair = make.Study.new(), numbered((4, 32, 40))
    write_series(tmp_path / "flair", flair, study=study)
    write_series(tmp_path / "pre", flair // 2, study=study, **{**T1, "InversionTime": None}, SeriesNumber=6)
    write_series(tmp_path / "post", flair // 3, study=study, **{**T1_POST, "InversionTime": None}, SeriesNumber=7)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, np.stack([flair // 2, flair, flair // 3], axis=-1))
    assert volume.notes[1:] == ("pre-contrast T1: series 6 'AX T1', 4 slices", "post-contrast T1: series 7 'AX T1 POST', 4 slices")


@pytest.mark.parametrize(("tags", "channel"), [(T1, 0), (T1_POST, 2)])
def test_a_t1_of_another_grid_is_resampled_and_flair_stands_in_for_the_other(tmp_path: Path, tags: dict[str, object], channel: int) -> None:
    """A field linear in millimetres comes out exact under linear interpolation, whatever grid it was sampled on."""

    def field(geometry: Geometry, shape: tuple[int, int, int]) -> np.ndarray:
        depth, height, width = shape
        z, y, x = np.mgrid[:depth, :height, :width]
        places = np.stack([geometry.world_ras(*index) for index in zip(x.flat, y.flat, z.flat, strict=True)])
        return np.round(1000 + places @ [4, 8, 16]).reshape(shape).astype(np.uint16)

    study = make.Study.new()
    here = Geometry(AXIAL, (-20, -20, 0), (0, 0, 6))
    there = Geometry(SAGITTAL, (32, -30, 40), (-2, 0, 0), (2.0, 2.0))
    write_series(tmp_path / "flair", numbered((4, 32, 40)), here, study=study)
    write_series(tmp_path / "t1", field(there, (30, 30, 50)), there, study=study, **{**tags, "InversionTime": None}, SeriesNumber=6)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels[..., 1], volume.voxels[..., 2 - channel])
    np.testing.assert_array_equal(volume.voxels[..., 1], numbered((4, 32, 40)))
    inner = np.s_[:, 2:-2, 2:-2]
    np.testing.assert_allclose(volume.voxels[..., channel][inner], field(here, (4, 32, 40))[inner], atol=1.01)
    assert any("FLAIR in its place" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"FrameOfReferenceUID": "1.2.3"}, "not said to lie in the FLAIR's frame of reference"),
        ({"EchoTime": 90}, None),
        ({"ImagePositionPatient": ["500", "0", "0"], "slices": 1}, "reaches 0% of the head in the FLAIR"),
        ({"slices": 2}, "reaches 52% of the head in the FLAIR"),
        ({"PixelSpacing": None}, "nothing as PixelSpacing"),
    ],
)
def test_a_t1_that_does_not_fit_is_left_out(tmp_path: Path, change: dict[str, object], told: str | None) -> None:
    study, flair = make.Study.new(), numbered((4, 32, 40))
    write_series(tmp_path / "flair", flair, study=study)
    t1 = flair[: change.pop("slices", 4)]
    write_series(tmp_path / "t1", t1, study=study, **{**T1, "InversionTime": None, "SeriesNumber": 6, **change})
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, flair[..., None])
    assert (told is None) == (len(volume.notes) == 1)
    assert told is None or told in volume.notes[-1]


def test_a_t1_of_another_grid_is_smoothed_where_the_flair_is_coarser(tmp_path: Path) -> None:
    """Thin slices that alternate between 0 and 2000 average out in FLAIR slices six times as thick, where a sample would hit one."""
    study = make.Study.new()
    stripes = np.zeros((24, 32, 40), np.uint16)
    stripes[::2] = 2000
    write_series(tmp_path / "flair", numbered((4, 32, 40)), study=study)
    thin = Geometry(step=(0, 0, 1))
    write_series(tmp_path / "t1", stripes, thin, study=study, **{**T1, "InversionTime": None}, SeriesNumber=6)
    np.testing.assert_allclose(read(tmp_path).voxels[1:3, 4:-4, 4:-4, 0], 1000, atol=50)


def test_bounds_are_checked_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, numbered())
    monkeypatch.setattr(dicom, "MAX_PIXELS", 5 * 32 * 40 - 1)
    monkeypatch.setattr(dicom, "_decoded", None)
    with pytest.raises(InputError, match="megapixels"):
        read(tmp_path)


# --- studies


def test_studies_are_told_apart_by_their_uid(tmp_path: Path) -> None:
    first, second = (make.Study.new() for _ in range(2))
    ours = write_series(tmp_path / "s10", numbered((2, 32, 40)), study=first) + write_series(
        tmp_path / "s2", numbered((2, 32, 40)), study=second
    )
    found = find_studies(ours[::-1])
    assert [study.files for study in found] == [tuple(ours[2:]), tuple(ours[:2])]


def test_files_without_study_and_patient_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    nobody = {"StudyInstanceUID": None, "PatientID": None}
    ours = [write_series(tmp_path / patient, numbered((2, 32, 40)), **nobody) for patient in ("p1", "p2")]
    assert [study.files for study in find_studies([file for files in ours for file in files])] == [tuple(files) for files in ours]
    assert [case.name for case in find_cases([tmp_path])] == ["p1", "p2"]


def test_a_study_of_reports_alone_is_left_out_beside_images(tmp_path: Path) -> None:
    images = write_series(tmp_path, numbered((2, 32, 40)))
    other = make.write(make.report(make.Study.new(), pydicom.uid.BasicTextSRStorage, "SR"), tmp_path / "report")
    assert [s.files for s in find_studies([other, *images])] == [tuple(images)]
    assert [s.files for s in find_studies([other])] == [(other,)]
    with pytest.raises(InputError, match=r"no MR images \(1 SR\)"):
        read_study([other], "case", tmp_path)


def test_two_patients_in_one_folder_are_refused_without_naming_them(tmp_path: Path) -> None:
    first = write_series(tmp_path, numbered((1, 32, 40)), study=make.Study.new("ONE-1234"))
    second = write_series(tmp_path / "b", numbered((1, 32, 40)), study=make.Study.new("TWO-5678"))
    assert len(find_studies([*first, *second])) == 2
    moved = second[0].rename(tmp_path / "other")
    told = r"images of two patients, “IM0000” and “other”\. Put each patient's in a folder of its own"
    with pytest.raises(InputError, match=told) as caught:
        find_studies([*first, moved])
    assert "ONE" not in str(caught.value)
    assert "TWO" not in str(caught.value)


def test_a_dicomdir_is_passed_over_or_followed(tmp_path: Path) -> None:
    images = write_series(tmp_path / "IMAGES", numbered((2, 32, 40)))
    index = make.write_dicomdir(tmp_path / "DICOMDIR", ["IMAGES/IM0000", "IMAGES/IM0001"])
    assert [s.files for s in find_studies([index, *images])] == [tuple(images)]
    assert [s.files for s in find_studies([index])] == [tuple(images)]


@pytest.mark.parametrize("names", [["IMAGES/IM0000", "IMAGES/IM0001"], [], ["../IM0000"], ["DICOMDIR"]])
def test_a_dicomdir_that_points_nowhere(tmp_path: Path, names: list[str]) -> None:
    write_series(tmp_path, numbered((1, 32, 40)))
    index = make.write_dicomdir(tmp_path / "disc" / "DICOMDIR", names)
    with pytest.raises(InputError, match=r"DICOMDIR: an index of \d files.*none of which is there\. Give the folder with the images"):
        find_studies([index])


def test_a_study_is_named_by_the_folder_that_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "scan" / "SERIES1", numbered((2, 32, 40)))
    make.write_dicomdir(tmp_path / "scan" / "DICOMDIR", ["SERIES1/IM0000", "SERIES1/IM0001"])
    assert [case.name for case in find_cases([tmp_path / "scan"])] == ["scan"]
    assert [case.name for case in find_cases([tmp_path / "scan" / "DICOMDIR"])] == ["scan"]
    monkeypatch.chdir(tmp_path / "scan" / "SERIES1")
    assert [case.name for case in find_cases([Path()])] == ["SERIES1"]
    assert [case.name for case in find_cases([Path("..")])] == ["scan"]


def test_loose_slices_of_a_zip_are_named_by_the_zip(tmp_path: Path) -> None:
    first = write_series(tmp_path / "a", numbered((2, 32, 40)))
    second = write_series(tmp_path / "b", numbered((2, 32, 40)))
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for file in first:
            archive.write(file, file.name)
    assert [case.name for case in find_cases([tmp_path / "study.zip"])] == ["study"]
    with zipfile.ZipFile(tmp_path / "study.zip", "a") as archive:
        for file in second:
            archive.write(file, f"b/{file.name}")
    assert sorted(case.name for case in find_cases([tmp_path / "study.zip"])) == ["b", "study"]


def two_patients(folder: Path) -> None:
    for number, patient in enumerate(("ONE", "TWO")):
        (file,) = write_series(folder, numbered((1, 32, 40)), study=make.Study.new(patient), order=[number])
        assert file.exists()


@pytest.mark.parametrize(("spoil", "reason"), [(cut_in_header, "cut short"), (two_patients, "images of two patients")])
def test_one_bad_folder_does_not_stop_the_other_patients(tmp_path: Path, spoil: Callable[[Path], None], reason: str) -> None:
    spoil(tmp_path / "all" / "bad")
    with pytest.raises(InputError, match=reason):
        find_cases([tmp_path / "all"])
    for name in ("p1", "p2"):
        write_series(tmp_path / "all" / name, numbered((2, 32, 40)))
    cases = {case.name: case.problem for case in find_cases([tmp_path / "all"])}
    assert reason in cases.pop("bad")
    assert cases == {"p1": "", "p2": ""}


def test_files_that_are_not_read_are_told(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", numbered((3, 32, 40)))
    (tmp_path / "scan" / "IM0026").touch()
    (tmp_path / "scan" / "IM0027.dcm").write_text("not a header, at any rate")
    (tmp_path / "scan" / "notes.txt").write_text("of another kind")
    (case,) = find_cases([tmp_path / "scan"])
    assert read_case(case).notes[-1] == "2 files not read: “IM0026” (empty), “IM0027.dcm” (not DICOM)"


def save_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)


def test_patients_of_other_kinds_beside_dicom_are_cases(tmp_path: Path) -> None:
    write_series(tmp_path / "p1", numbered((2, 32, 40)))
    save_picture(tmp_path / "p1" / "previews" / "1.jpg")
    save_picture(tmp_path / "p2" / "1.png")
    cases = {case.name: case for case in find_cases([tmp_path])}
    assert {name: case.kind for name, case in cases.items()} == {"p1": "dicom", "p2": "images"}
    assert cases["p1"].notes == ("not used, as they lie beside DICOM: “1.jpg”",)


def test_pictures_on_a_disc_are_its_viewers(tmp_path: Path) -> None:
    write_series(tmp_path / "disc" / "IMAGES", numbered((2, 32, 40)))
    make.write_dicomdir(tmp_path / "disc" / "DICOMDIR", ["IMAGES/IM0000", "IMAGES/IM0001"])
    save_picture(tmp_path / "disc" / "VIEWER" / "icon.png")
    (case,) = find_cases([tmp_path / "disc"])
    assert (case.name, case.notes) == ("disc", ("not used, as they lie beside DICOM: “icon.png”",))


def test_a_report_on_a_disc_is_told_whether_its_folder_or_its_index_is_given(tmp_path: Path) -> None:
    study = make.Study.new()
    write_series(tmp_path / "disc" / "IMAGES", numbered((2, 32, 40)), study=study)
    bare = make.report(make.Study.new(), pydicom.uid.BasicTextSRStorage, "SR", PatientID=None)
    make.write(bare, tmp_path / "disc" / "IMAGES" / "SR1")
    index = make.write_dicomdir(tmp_path / "disc" / "DICOMDIR", ["IMAGES/IM0000", "IMAGES/IM0001", "IMAGES/SR1"])
    for place in (tmp_path / "disc", index):
        (case,) = find_cases([place])
        assert (case.name, case.notes) == ("disc", ("not used, being DICOM without images: “SR1”",))


def test_a_report_beside_patients_is_told_and_a_patient_of_reports_alone_fails(tmp_path: Path) -> None:
    def report(path: Path, patient: str) -> None:
        make.write(make.report(make.Study.new(patient), pydicom.uid.BasicTextSRStorage, "SR"), path)

    for name in ("p1", "p2"):
        save_picture(tmp_path / name / "1.png")
    report(tmp_path / "letter.dcm", "ONE")
    first, second = find_cases([tmp_path])
    assert (first.name, first.notes) == ("p1", ("not used, being DICOM without images: “letter.dcm”",))
    assert (second.name, second.notes) == ("p2", ())
    report(tmp_path / "p3" / "SR", "THREE")
    write_series(tmp_path / "p4", numbered((2, 32, 40)), study=make.Study.new("FOUR"))
    cases = {case.name: case for case in find_cases([tmp_path])}
    assert set(cases) == {"p1", "p2", "p3", "p4"}
    with pytest.raises(InputError, match=r"no MR images \(1 SR\)"):
        read_case(cases["p3"])


@pytest.mark.parametrize("way", ["closed", "lost"])
def test_a_slice_that_cannot_be_read_fails_its_folder(tmp_path: Path, forbid: Callable[[Path], None], way: str) -> None:
    for name in ("p1", "p2"):
        write_series(tmp_path / name, numbered((4, 32, 40)))
    for number in (0, 3):
        file = tmp_path / "p1" / f"IM000{number}"
        if way == "closed":
            forbid(file)
        else:
            file.unlink()
            file.symlink_to("gone")
    good, bad = find_cases([tmp_path])
    assert (good.name, good.problem, bad.name) == ("p2", "", "p1")
    reason = "may not be read (Permission denied)" if way == "closed" else "a link to gone, which is not there"
    assert f"{tmp_path / 'p1' / 'IM0000'}: {reason}" in bad.problem and "cannot be read either: “IM0003”." in bad.problem
    with pytest.raises(InputError, match=r"IM0000: (may not be read|a link to)"):
        find_cases([tmp_path / "p1"])


def test_notes_name_no_folders(tmp_path: Path) -> None:
    study, folder = make.Study.new(), tmp_path / "Doe, Jane: 1960"
    write_series(folder / "flair", numbered((4, 32, 40)), study=study)
    for number, change in enumerate(({"PixelSpacing": None}, {"RescaleSlope": 1e38, "RescaleIntercept": 0}), start=6):
        tags = {**T1, "InversionTime": None, "SeriesNumber": number, **change}
        write_series(folder / str(number), numbered((4, 32, 40)), study=study, **tags)
    notes = read(folder).notes
    assert sum("not used" in note for note in notes) == 2
    assert not any("Doe" in note or "1960" in note or "/" in note for note in notes)


@settings(max_examples=60, deadline=None)
@given(
    multi_frame=st.booleans(),
    bytes_at=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_damage_anywhere_is_an_input_error_or_does_no_harm(
    tmp_path_factory: pytest.TempPathFactory, multi_frame: bool, bytes_at: list[tuple[float, int]], kept: float
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    if multi_frame:
        file = make.write(make.enhanced(numbered((2, 8, 10))), folder / "multi")
    else:
        file = write_series(folder, numbered((2, 8, 10)))[1]
    content = bytearray(file.read_bytes())
    for place, byte in bytes_at:
        content[int(place * len(content))] = byte
    file.write_bytes(content[: int(kept * len(content))])
    try:
        for study in find_studies(sorted(folder.iterdir())):
            read_study(study.files, "case", folder)
    except InputError as error:
        assert str(folder) in str(error)


def test_a_claim_beyond_memory_is_an_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*args: object, **options: object) -> None:
        raise MemoryError

    write_series(tmp_path, numbered((2, 32, 40)))
    with monkeypatch.context() as patch, pytest.raises(InputError, match="IM0000: claims more than fits into memory"):
        patch.setattr(pydicom.Dataset, "pixel_array", property(too_much))
        read(tmp_path)
    monkeypatch.setattr(pydicom, "dcmread", too_much)
    with pytest.raises(InputError, match="IM0000: claims more than fits into memory"):
        read(tmp_path)


def test_nothing_of_the_patient_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pydicom.config.disable_value_validation():
        write_series(tmp_path, numbered((2, 32, 40)), PatientBirthDate="second of May", SeriesInstanceUID="not a UID")
    read(tmp_path)
    assert caplog.text == ""


def test_headers_and_reprs_keep_identifiers_to_themselves(tmp_path: Path) -> None:
    header = headers.read_header(write_series(tmp_path, numbered((1, 32, 40)))[0])
    assert make.PATIENT_ID not in repr(header)
    assert "Doe" not in repr(header)


def test_importing_the_readers_loads_no_heavy_package() -> None:
    modules = ", ".join(f"gliomask.io.{name}" for name in ("archives", "contrasts", "dicom", "frames", "headers", "seg", "series"))
    program = f"import sys, {modules}; print(sorted({{'pydicom', 'highdicom', 'scipy', 'nibabel'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

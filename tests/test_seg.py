import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import dicom_files as make
import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_files import AXIAL, CORONAL, SAGITTAL, Geometry, numbered, write_series
from numpy.typing import NDArray

from gliomask import EngineError, InputError, Segmentation
from gliomask.io.dicom import read_study
from gliomask.io.seg import write_seg
from gliomask.models import find_model
from gliomask.report import read_result
from gliomask.volume import Volume

MODEL = {"model_name": "fast", "model_version": "1.0"}
SHAPE = (5, 32, 40)
ROTATED = (0.36, 0.48, -0.8, -0.8, 0.6, 0.0)  # two rows of an orthogonal matrix of rational numbers

GEOMETRIES = {
    "axial": Geometry(),
    "from top to bottom": Geometry(AXIAL, (-20, -30, 29), (0, 0, -6)),
    "columns towards the front": Geometry((1, 0, 0, 0, -1, 0), (-20, 30, 5), (0, 0, 6)),
    "both negated": Geometry((-1, 0, 0, 0, -1, 0), (20, 30, 5), (0, 0, -6)),
    "sagittal": Geometry(SAGITTAL, (12, -30, 40), (-6, 0, 0)),
    "coronal": Geometry(CORONAL, (-20, -12, 40), (0, 6, 0)),
    "oblique": Geometry(ROTATED, (3, -40, 12), tuple(3.7 * np.cross(ROTATED[:3], ROTATED[3:]))),
    "oblique from top to bottom": Geometry(ROTATED, (3, -40, 12), tuple(-3.7 * np.cross(ROTATED[:3], ROTATED[3:]))),
}
SHEARED = Geometry(AXIAL, (-20, -30, 5), (0, 1.5, 6))


def blob() -> NDArray[np.bool_]:
    """Return a mask without any symmetry, with an empty first slice."""
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return ((x - 25 - z) ** 2 / 50 + (y - 9) ** 2 / 12 + (z - 3) ** 2 / 3 < 1) | ((x > 3) & (x < 6) & (y > 20) & (z == 1))


def read(folder: Path) -> Volume:
    return read_study(sorted(p for p in folder.rglob("*") if p.is_file()), "case", folder)


def source(folder: Path, geometry: Geometry, multi_frame: bool = False, shared: bool = True) -> Volume:
    """Return the volume of a shuffled series or multi-frame file."""
    order = (3, 0, 4, 1, 2)
    if multi_frame:
        make.write(make.enhanced(numbered(), geometry, order=order, shared=shared), folder / "multi")
    else:
        write_series(folder, numbered(), geometry, order=order)
    return read(folder)


def places(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where a mask's voxels lie in mm RAS+, sorted."""
    index = np.argwhere(mask)[:, ::-1]
    world = (affine @ np.c_[index, np.ones(len(index))].T)[:3].T
    return world[np.lexsort(np.round(world, 2).T)]


def validated(path: Path) -> list[str]:
    """Return the errors that dciodvfy has of a file."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs dciodvfy (Debian package dicom3tools)")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def by_dcmqi(path: Path, folder: Path) -> Path | None:
    """Return the NIfTI file that dcmqi makes of a SEG's segment."""
    program = shutil.which("segimage2itkimage") or shutil.which("segimage2itkimage", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("needs dcmqi's segimage2itkimage (pip install dcmqi)")
    folder.mkdir()
    options = ["--inputDICOM", str(path), "--outputDirectory", str(folder), "--outputType", "nifti"]
    subprocess.run([program, *options], capture_output=True, check=True)
    return next(iter(folder.glob("*.nii.gz")), None)


def by_highdicom(path: Path) -> hd.seg.Segmentation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hd.seg.segread(path)


def upwards(seg: pydicom.Dataset) -> NDArray[np.bool_]:
    """Return an axial SEG's frames from bottom to top, by their positions."""
    heights = [float(g.PlanePositionSequence[0].ImagePositionPatient[2]) for g in seg.PerFrameFunctionalGroupsSequence]
    return np.asarray(seg.pixel_array[np.argsort(heights)] > 0)


@pytest.mark.parametrize("multi_frame", [False, True], ids=["single-frame", "multi-frame"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_mask_comes_back_voxel_for_voxel_from_two_readers(tmp_path: Path, name: str, multi_frame: bool) -> None:
    volume, mask = source(tmp_path / "in", GEOMETRIES[name], multi_frame), blob()
    assert volume.affine is not None
    path = tmp_path / "seg.dcm"
    write_seg(mask, volume, path, **MODEL)
    assert validated(path) == []
    expected = places(mask, volume.affine)

    found = by_highdicom(path).get_volume(combine_segments=True)  # (slice, row, column) in LPS
    assert found.array.sum() == mask.sum()
    to_ras = np.diag([-1.0, -1, 1, 1]) @ found.affine @ np.eye(4)[[2, 1, 0, 3]]
    np.testing.assert_allclose(places(found.array > 0, to_ras), expected, atol=0.01)

    nifti = by_dcmqi(path, tmp_path / "dcmqi")
    assert nifti is not None
    image = nib.load(nifti)
    voxels = np.asarray(image.dataobj).transpose(2, 1, 0) > 0
    assert voxels.sum() == mask.sum()
    np.testing.assert_allclose(places(voxels, image.affine), expected, atol=0.01)


@pytest.mark.parametrize("multi_frame", [False, True], ids=["single-frame", "multi-frame"])
@pytest.mark.parametrize("name", [*GEOMETRIES, "sheared"])
def test_every_frame_lies_on_its_source_and_refers_to_it(tmp_path: Path, name: str, multi_frame: bool) -> None:
    """Each frame's own position and reference lead to the slice whose mask it shows, which holds for a sheared stack too."""
    volume, mask = source(tmp_path / "in", GEOMETRIES.get(name, SHEARED), multi_frame), blob()
    assert volume.affine is not None
    write_seg(mask, volume, tmp_path / "seg.dcm", **MODEL)
    assert validated(tmp_path / "seg.dcm") == []
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    corners = (volume.affine @ [[0] * 5, [0] * 5, range(5), [1] * 5])[:3].T * [-1, -1, 1]
    files = {d.SOPInstanceUID: z for z, d in enumerate(volume.origin.datasets)}
    seen = []
    for groups, plane in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        z = int(np.argmin(np.linalg.norm(corners - position, axis=1)))
        np.testing.assert_allclose(position, corners[z], atol=1e-3)
        np.testing.assert_array_equal(plane > 0, mask[z])
        (reference,) = groups.DerivationImageSequence[0].SourceImageSequence
        if multi_frame:
            assert reference.ReferencedFrameNumber == volume.origin.frames[z] + 1
        else:
            assert files[reference.ReferencedSOPInstanceUID] == z
        seen.append(z)
    assert sorted(seen) == list(range(5))
    orientation = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    np.testing.assert_allclose(np.array(orientation, float), GEOMETRIES.get(name, SHEARED).cosines, atol=1e-9)


@pytest.mark.parametrize("fractional", [False, True])
def test_nothing_found_is_a_valid_segmentation_with_all_frames(tmp_path: Path, fractional: bool) -> None:
    volume = source(tmp_path / "in", Geometry())
    nothing = np.zeros(SHAPE, np.float32 if fractional else np.bool_)
    write_seg(nothing, volume, tmp_path / "seg.dcm", **MODEL, fractional=fractional)
    assert validated(tmp_path / "seg.dcm") == []
    seg = by_highdicom(tmp_path / "seg.dcm")
    assert seg.NumberOfFrames == 5
    assert not seg.pixel_array.any()
    assert len(seg.SegmentSequence) == 1


def test_a_full_mask_of_a_size_that_fills_no_bytes(tmp_path: Path) -> None:
    write_series(tmp_path / "in", numbered((3, 7, 5)))
    volume = read(tmp_path / "in")
    mask = np.ones((3, 7, 5), np.bool_)
    mask[1, 2, 3] = False
    write_seg(mask, volume, tmp_path / "seg.dcm", **MODEL)
    assert validated(tmp_path / "seg.dcm") == []
    np.testing.assert_array_equal(upwards(by_highdicom(tmp_path / "seg.dcm")), mask)


def test_probabilities_come_back_to_half_a_step(tmp_path: Path) -> None:
    volume = source(tmp_path / "in", Geometry())
    probability = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    probability[0, 0, :3] = 0, 1, 0.5
    write_seg(probability, volume, tmp_path / "seg.dcm", **MODEL, fractional=True)
    assert validated(tmp_path / "seg.dcm") == []
    seg = by_highdicom(tmp_path / "seg.dcm")
    assert (seg.SegmentationType, seg.SegmentationFractionalType, seg.MaximumFractionalValue) == ("FRACTIONAL", "PROBABILITY", 255)
    uids = [d.SOPInstanceUID for d in volume.origin.datasets]
    found = seg.get_pixels_by_source_instance(uids, segment_numbers=[1], rescale_fractional=True)[..., 0]
    np.testing.assert_allclose(found, probability, atol=0.5 / 255 + 1e-6)


def test_a_single_slice(tmp_path: Path) -> None:
    write_series(tmp_path / "in", numbered((1, 32, 40)), SliceThickness=4)
    volume = read(tmp_path / "in")
    write_seg(blob()[3:4], volume, tmp_path / "seg.dcm", **MODEL)
    assert validated(tmp_path / "seg.dcm") == []
    np.testing.assert_array_equal(pydicom.dcmread(tmp_path / "seg.dcm").pixel_array > 0, blob()[3])


@pytest.mark.parametrize("shared", [True, False], ids=["shared groups", "per-frame groups"])
def test_duplicate_frames_are_not_referred_to(tmp_path: Path, shared: bool) -> None:
    values = numbered((4, 32, 40))
    values[1] = values[0]
    dataset = make.enhanced(values, shared=shared)
    dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence
    for number, z in ((2, 1), (3, 2)):
        position = make.decimals(Geometry().position(z))
        dataset.PerFrameFunctionalGroupsSequence[number].PlanePositionSequence[0].ImagePositionPatient = position
    make.write(dataset, tmp_path / "in" / "multi")
    volume = read(tmp_path / "in")
    write_seg(blob()[1:4], volume, tmp_path / "seg.dcm", **MODEL)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    references = [g.DerivationImageSequence[0].SourceImageSequence[0] for g in seg.PerFrameFunctionalGroupsSequence]
    assert sorted(int(r.ReferencedFrameNumber) for r in references) == [1, 3, 4]
    np.testing.assert_array_equal(upwards(seg), blob()[1:4])


def test_it_belongs_to_the_patient_study_and_frame_of_reference_of_its_source(tmp_path: Path) -> None:
    volume = source(tmp_path / "in", Geometry())
    write_seg(blob(), volume, tmp_path / "seg.dcm", **MODEL)
    seg, first = pydicom.dcmread(tmp_path / "seg.dcm"), volume.origin.datasets[0]
    same = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyID", "AccessionNumber")
    for keyword in (*same, "FrameOfReferenceUID"):
        assert seg[keyword].value == first[keyword].value, keyword
    assert seg.SeriesInstanceUID != first.SeriesInstanceUID
    assert (seg.Modality, seg.SeriesNumber, seg.Manufacturer) == ("SEG", 1005, "gliomask")
    (referenced,) = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == first.SeriesInstanceUID
    assert {r.ReferencedSOPInstanceUID for r in referenced.ReferencedInstanceSequence} == {d.SOPInstanceUID for d in volume.origin.datasets}


def test_a_multi_frame_source_is_referred_to_once(tmp_path: Path) -> None:
    volume = source(tmp_path / "in", Geometry(), multi_frame=True, shared=False)
    write_seg(blob(), volume, tmp_path / "seg.dcm", **MODEL)
    (referenced,) = pydicom.dcmread(tmp_path / "seg.dcm").ReferencedSeriesSequence
    (instance,) = referenced.ReferencedInstanceSequence
    assert instance.ReferencedSOPInstanceUID == volume.origin.datasets[0].SOPInstanceUID
    assert instance.ReferencedSOPClassUID == pydicom.uid.EnhancedMRImageStorage


def test_what_it_is_and_who_made_it_are_coded(tmp_path: Path) -> None:
    write_seg(blob(), source(tmp_path / "in", Geometry()), tmp_path / "seg.dcm", **MODEL)
    (segment,) = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence

    def code(sequence: pydicom.Sequence) -> tuple[str, str, str]:
        return sequence[0].CodeValue, sequence[0].CodingSchemeDesignator, sequence[0].CodeMeaning

    assert code(segment.SegmentedPropertyCategoryCodeSequence) == ("49755003", "SCT", "Morphologically Abnormal Structure")
    assert code(segment.SegmentedPropertyTypeCodeSequence) == ("52988006", "SCT", "Lesion")
    assert code(segment.AnatomicRegionSequence) == ("12738006", "SCT", "Brain")
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert code(algorithm.AlgorithmFamilyCodeSequence) == ("123110", "DCM", "Artificial Intelligence")
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion, algorithm.AlgorithmSource) == ("fast", "1.0", "gliomask")
    assert (segment.SegmentLabel, segment.SegmentAlgorithmType) == ("FLAIR abnormality", "AUTOMATIC")


def test_the_docstring_s_codes_are_in_the_groups_it_names() -> None:
    from pydicom.sr.codedict import codes

    assert codes.cid7150.MorphologicallyAbnormalStructure.value == "49755003"
    assert codes.cid7194.Lesion.value == codes.cid7159.Lesion.value == "52988006"
    assert codes.cid4.Brain.value == "12738006"
    assert codes.cid7162.ArtificialIntelligence.value == "123110"


BARE = dict.fromkeys(
    (
        *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
        *("ReferringPhysicianName", "SliceThickness", "PositionReferenceIndicator", "SeriesNumber", "SpecificCharacterSet"),
    )
)


@pytest.mark.parametrize("multi_frame", [False, True], ids=["single-frame", "multi-frame"])
def test_headers_without_patient_and_study_are_filled_with_nothing(tmp_path: Path, multi_frame: bool) -> None:
    if multi_frame:
        dataset = make.enhanced(numbered(), **{k: v for k, v in BARE.items() if k != "SliceThickness"})
        make.write(dataset, tmp_path / "in" / "multi")
    else:
        write_series(tmp_path / "in", numbered(), **BARE)
    volume = read(tmp_path / "in")
    write_seg(blob(), volume, tmp_path / "seg.dcm", **MODEL)
    assert validated(tmp_path / "seg.dcm") == []
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert [seg.PatientID, seg.PatientBirthDate, seg.StudyID, seg.StudyDate] == [""] * 4
    assert "PatientID" not in volume.origin.datasets[0], "the source's own header is left as it was"


def test_values_that_break_the_rules_neither_stop_nor_change_the_identifiers(tmp_path: Path) -> None:
    long = "X" * 70
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        write_series(
            tmp_path / "in",
            numbered(),
            study=make.Study("1.2.3", "1.2.4", long),
            PatientBirthDate="unknown",
            PatientSex="female",
            StudyTime="noon",
            SeriesNumber=-3,
        )
    volume = read(tmp_path / "in")
    write_seg(blob(), volume, tmp_path / "seg.dcm", **MODEL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seg = pydicom.dcmread(tmp_path / "seg.dcm")
        assert seg.PatientID == long
        assert (seg.PatientBirthDate, seg.PatientSex, seg.StudyTime, seg.SeriesNumber) == ("", "", "", 1000)


@pytest.mark.parametrize(
    ("character_set", "name"),
    [("ISO_IR 100", "Müller^Jörg"), ("ISO_IR 192", "山田^太郎"), (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"), (None, "Doe^Jane")],
)
def test_names_in_other_scripts_stay_what_they_are(tmp_path: Path, character_set: object, name: str) -> None:
    write_series(tmp_path / "in", numbered(), SpecificCharacterSet=character_set, PatientName=name)
    write_seg(blob(), read(tmp_path / "in"), tmp_path / "seg.dcm", **MODEL)
    assert validated(tmp_path / "seg.dcm") == []
    assert str(pydicom.dcmread(tmp_path / "seg.dcm").PatientName) == name


def test_a_character_set_that_does_not_exist(tmp_path: Path) -> None:
    files = write_series(tmp_path / "in", numbered(), PatientName="Müller")
    for file in files:
        content = file.read_bytes()
        assert content.count(b"ISO_IR 100") == 1
        file.write_bytes(content.replace(b"ISO_IR 100", b"ISO-IR 999"))
    write_seg(blob(), read(tmp_path / "in"), tmp_path / "seg.dcm", **MODEL)
    assert pydicom.dcmread(tmp_path / "seg.dcm").NumberOfFrames == 5


def test_big_endian_and_compressed_sources(tmp_path: Path) -> None:
    for number, change in enumerate((make.big_endian, lambda p: make.compress(p, pydicom.uid.JPEG2000Lossless), make.without_meta)):
        folder = tmp_path / str(number)
        for file in write_series(folder / "in", numbered()):
            change(file)
        volume = read(folder / "in")
        write_seg(blob(), volume, folder / "seg.dcm", **MODEL)
        assert validated(folder / "seg.dcm") == []
        np.testing.assert_array_equal(upwards(pydicom.dcmread(folder / "seg.dcm")), blob())


def test_nothing_of_the_patient_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_series(tmp_path / "in", numbered(), PatientName="Noseparator")
    write_seg(blob(), read(tmp_path / "in"), tmp_path / "seg.dcm", **MODEL)
    assert caplog.text == ""


# --- refusals


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "FrameOfReferenceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_a_source_without_uids_is_refused(tmp_path: Path, keyword: str) -> None:
    write_series(tmp_path / "in", numbered(), **{keyword: None})
    with pytest.raises(InputError, match=f"headers lack {keyword}"):
        write_seg(blob(), read(tmp_path / "in"), tmp_path / "seg.dcm", **MODEL)
    assert not (tmp_path / "seg.dcm").exists()


@pytest.mark.parametrize(("keyword", "value"), [("FrameOfReferenceUID", "1.2.3"), ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7")])
def test_slices_that_share_too_little_leave_the_nifti(tmp_path: Path, keyword: str, value: str) -> None:
    write_series(tmp_path / "in", numbered())
    volume = read(tmp_path / "in")
    setattr(volume.origin.datasets[1], keyword, value)
    Segmentation(volume, blob().astype(np.float32), 0.5, find_model("fast"), "test engine", 0.1).save(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["case_mask.nii.gz", "overlay.png", "result.json"]
    (note,) = (note for note in read_result(tmp_path / "out")["notes"] if "SEG" in note)
    assert note.startswith(f"no DICOM SEG: its images differ in {keyword}, which a DICOM SEG has once for all")


def test_images_of_one_uid_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "in", numbered(), SOPInstanceUID="1.2.3")
    with pytest.raises(InputError, match="several of its images have one SOPInstanceUID"):
        write_seg(blob(), read(tmp_path / "in"), tmp_path / "seg.dcm", **MODEL)


def test_what_highdicom_refuses_is_an_input_error_without_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise ValueError("Doe^John")

    volume = source(tmp_path / "in", Geometry())
    monkeypatch.setattr(hd.seg, "Segmentation", refuse)
    with pytest.raises(InputError, match=r"makes no segmentation of its headers \(ValueError\)\. Take the NIfTI mask") as caught:
        write_seg(blob(), volume, tmp_path / "seg.dcm", **MODEL)
    assert "Doe" not in str(caught.value)


def test_several_multi_frame_files_are_refused(tmp_path: Path) -> None:
    first, second = make.enhanced(numbered((2, 32, 40))), make.enhanced(numbered((3, 32, 40)), Geometry(first=(-20, -30, 17)))
    second.SeriesInstanceUID, second.StudyInstanceUID, second.FrameOfReferenceUID = (
        first.SeriesInstanceUID,
        first.StudyInstanceUID,
        first.FrameOfReferenceUID,
    )
    make.write(first, tmp_path / "in" / "a")
    make.write(second, tmp_path / "in" / "b")
    volume = read(tmp_path / "in")
    assert volume.voxels.shape == (5, 32, 40, 1)
    with pytest.raises(InputError, match="slices from 2 multi-frame files"):
        write_seg(blob(), volume, tmp_path / "seg.dcm", **MODEL)


def test_what_is_not_a_mask_of_this_volume_is_refused(tmp_path: Path) -> None:
    volume = source(tmp_path / "in", Geometry())
    path = tmp_path / "seg.dcm"
    with pytest.raises(InputError, match=r"a mask of shape \(4, 32, 40\) for a volume of \(5, 32, 40\)"):
        write_seg(blob()[1:], volume, path, **MODEL)
    with pytest.raises(InputError, match="a mask of float32; expected bool"):
        write_seg(blob().astype(np.float32), volume, path, **MODEL)
    for bad in (1.5, -0.1, np.nan):
        with pytest.raises(InputError, match="expected 0 to 1"):
            write_seg(np.full(SHAPE, bad, np.float32), volume, path, **MODEL, fractional=True)
    with pytest.raises(InputError, match="not read from DICOM"):
        write_seg(blob(), Volume(numbered()[..., None]), path, **MODEL)
    assert not path.exists()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = source(tmp_path / "in", Geometry())
    (tmp_path / "out").mkdir()

    def fail(*args: object, **options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pydicom.Dataset, "save_as", fail)
    with pytest.raises(OSError, match="disk full"):
        write_seg(blob(), volume, tmp_path / "out" / "seg.dcm", **MODEL)
    assert not list((tmp_path / "out").iterdir())


def test_a_missing_package_is_an_engine_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = source(tmp_path / "in", Geometry())
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(EngineError, match=r"pip install 'gliomask\[dicom\]'"):
        write_seg(blob(), volume, tmp_path / "seg.dcm", **MODEL)


@pytest.mark.parametrize("multi_frame", [False, True])
@pytest.mark.parametrize("geometry", [Geometry(), SHEARED], ids=["straight", "sheared"])
def test_slices_are_as_thick_and_far_apart_as_the_sources(tmp_path: Path, geometry: Geometry, multi_frame: bool) -> None:
    write_seg(blob(), source(tmp_path / "in", geometry, multi_frame), tmp_path / "seg.dcm", **MODEL)
    measures = pydicom.dcmread(tmp_path / "seg.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    normal = np.cross(geometry.cosines[:3], geometry.cosines[3:])
    assert float(measures.SpacingBetweenSlices) == pytest.approx(abs(float(normal @ geometry.step)), abs=1e-4)
    assert float(measures.SliceThickness) == 5

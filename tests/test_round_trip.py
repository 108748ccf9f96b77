"""From files to files: what lies where, measured in millimetres on what was written."""

import json
import random
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from heads import LESION_CENTRE_MM, Matrix, centred, rotation, scan

pytest.importorskip("scipy", reason="the extra [volumes] is not installed")
pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")

import highdicom
from dicom_files import Geometry, Study, enhanced, write, write_series

from gliomask import Segmenter, Volume
from gliomask.cli import main
from gliomask.confidence import entropy
from gliomask.dataset import index_dataset
from gliomask.postprocess import slice_distance_mm

LPS_OF_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
AXIAL, CORONAL = np.diag([-1.0, -1.0, 1.0]), np.array([[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]])
SAGITTAL = np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]])

GRIDS = {
    "axial": (AXIAL @ np.diag([1.8, 1.8, 6.0]), (128, 128, 24)),
    "axial, feet up": (np.diag([-1.8, -1.8, -5.0]), (120, 128, 28)),
    "oblique": (rotation("x", 18)[:3, :3] @ AXIAL @ np.diag([1.8, 1.8, 5.0]), (128, 132, 34)),
    "sagittal": (SAGITTAL @ np.diag([2.0, 2.5, 2.5]), (120, 88, 68)),
    "coronal": (CORONAL @ np.diag([2.0, 3.0, 3.0]), (104, 70, 72)),
    "sheared": (np.array([[-1.8, 0, 0], [0, -1.8, 1.1], [0, 0, 5.0]]), (128, 144, 32)),
}


def geometry_of(affine: Matrix) -> Geometry:
    """Return a NIfTI affine (x, y, z to RAS mm) in DICOM's own terms."""
    lps = LPS_OF_RAS @ affine
    column, row = np.linalg.norm(lps[:3, 0]), np.linalg.norm(lps[:3, 1])
    return Geometry((*(lps[:3, 0] / column), *(lps[:3, 1] / row)), tuple(lps[:3, 3]), tuple(lps[:3, 2]), (row, column))


def read_back(folder: Path) -> tuple[Matrix, float]:
    """Return the centroid in mm and the volume in ml of the mask that was written."""
    image = nib.load(next(folder.glob("*_mask.nii.gz")))
    indices = np.argwhere(np.asanyarray(image.dataobj))
    return image.affine[:3] @ np.r_[indices.mean(axis=0), 1], len(indices) * abs(np.linalg.det(image.affine[:3, :3])) / 1000


def centroid_of_seg(path: Path) -> Matrix:
    """Return the centroid in RAS mm of a DICOM SEG, each frame placed by its own position and orientation."""
    seg = highdicom.seg.segread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    total, count = np.zeros(3), 0
    frames = seg.pixel_array
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        measures = (shared if "PixelMeasuresSequence" in shared else groups).PixelMeasuresSequence[0]
        orientation = (shared if "PlaneOrientationSequence" in shared else groups).PlaneOrientationSequence[0].ImageOrientationPatient
        row_mm, column_mm = (float(s) for s in measures.PixelSpacing)
        along, down = np.array(orientation[:3], float), np.array(orientation[3:], float)
        rows, columns = np.nonzero(frame)
        start = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        total += (start + np.outer(columns, along * column_mm) + np.outer(rows, down * row_mm)).sum(axis=0)
        count += len(rows)
    return LPS_OF_RAS[:3, :3] @ (total / count)


@pytest.fixture(scope="module")
def upright_ml() -> float:
    linear, shape = GRIDS["axial"]
    affine = centred(linear, shape)
    result = Segmenter().segment(Volume(scan(affine, shape)[..., None], "head", affine=affine))
    return float(result.measurements["volume_ml"])


@pytest.mark.parametrize("name", GRIDS)
def test_a_lesion_is_found_where_it_was_put_in_dicom_and_nifti(tmp_path: Path, name: str, upright_ml: float) -> None:
    linear, shape = GRIDS[name]
    affine = centred(linear, shape, (2.0, -4.0, 3.0))
    voxels = np.round(scan(affine, shape) * 7).astype(np.uint16)
    order = random.Random(0).sample(range(len(voxels)), len(voxels))
    write_series(tmp_path / "in" / "study", voxels, geometry_of(affine), order=order)
    nib.save(nib.Nifti1Image(voxels.transpose(2, 1, 0), affine), tmp_path / "in" / "nifti_FLAIR.nii.gz")
    assert main(["segment", str(tmp_path / "in"), "--output", str(tmp_path / "out")]) == 0
    for case in ("study", "nifti_FLAIR"):
        centroid, volume_ml = read_back(tmp_path / "out" / case)
        assert np.linalg.norm(centroid - LESION_CENTRE_MM) < 1.0, case
        assert volume_ml == pytest.approx(upright_ml, rel=0.05), case
        measured = json.loads((tmp_path / "out" / case / "result.json").read_text())["measurements"]
        assert measured["volume_ml"] == pytest.approx(volume_ml, rel=1e-3)
        assert measured["lesions"][0]["laterality"] == "right"
    centroid = centroid_of_seg(tmp_path / "out" / "study" / "study_seg.dcm")
    assert np.linalg.norm(centroid - LESION_CENTRE_MM) < 1.0


def test_a_multiframe_file_in_a_zip_gives_the_same_mask_as_its_slices(tmp_path: Path) -> None:
    linear, shape = GRIDS["axial"]
    affine = centred(linear, shape)
    voxels = np.round(scan(affine, shape) * 7).astype(np.uint16)
    write_series(tmp_path / "slices", voxels, geometry_of(affine))
    file = write(enhanced(voxels, geometry_of(affine), order=list(range(len(voxels)))[::-1]), tmp_path / "frames.dcm")
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.write(file, "DICOM/IM0001")
    inputs = [str(tmp_path / "slices"), str(tmp_path / "export.zip")]
    assert main(["segment", *inputs, "--output", str(tmp_path / "out"), "--save-probability", "--save-uncertainty"]) == 0
    first, second = (nib.load(tmp_path / "out" / c / f"{c}_mask.nii.gz") for c in ("slices", "export"))
    np.testing.assert_allclose(first.affine, second.affine, atol=1e-4)
    np.testing.assert_array_equal(first.get_fdata(), second.get_fdata())
    assert first.get_fdata().any()
    fractional = highdicom.seg.segread(tmp_path / "out" / "export" / "export_probability_seg.dcm")
    assert fractional.SegmentationType == "FRACTIONAL"
    # Of uncertainty there is no SEG; its NIfTI lies where the mask lies.
    assert {p.name for p in (tmp_path / "out" / "export").glob("*.dcm")} == {"export_seg.dcm", "export_probability_seg.dcm"}
    uncertainty, probability = (nib.load(tmp_path / "out" / "export" / f"export_{kind}.nii.gz") for kind in ("uncertainty", "probability"))
    np.testing.assert_array_equal(uncertainty.affine, second.affine)
    np.testing.assert_allclose(uncertainty.get_fdata(), entropy(probability.get_fdata()), atol=1e-5)


def test_nothing_found_is_written_in_every_format(tmp_path: Path) -> None:
    linear, shape = GRIDS["axial"]
    affine = centred(linear, shape)
    voxels = np.round(scan(affine, shape, lesion=False) * 7).astype(np.uint16)
    write_series(tmp_path / "study", voxels, geometry_of(affine))
    assert main(["segment", str(tmp_path / "study"), "--output", str(tmp_path / "out"), "--threshold", "1"]) == 0
    folder = tmp_path / "out" / "study"
    assert json.loads((folder / "result.json").read_text())["found"] is False
    assert not nib.load(folder / "study_mask.nii.gz").get_fdata().any()
    seg = highdicom.seg.segread(folder / "study_seg.dcm")
    assert seg.NumberOfFrames == len(voxels) and not seg.pixel_array.any()


def test_a_study_that_cannot_be_read_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    linear, shape = GRIDS["axial"]
    voxels = np.zeros(shape[::-1], np.uint16)
    write_series(tmp_path / "study", voxels, geometry_of(centred(linear, shape)))
    files = sorted((tmp_path / "study").iterdir())
    files[7].unlink()
    assert main(["segment", str(tmp_path / "study"), "--output", str(tmp_path / "out")]) == 1
    assert "12.0 mm" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["cases.csv"]


@pytest.fixture(scope="module")
def patient(lgg_patients: Path) -> tuple[Volume, Matrix]:
    """Return a held-out patient's slices and an affine as they are taken to have without one, so that smoothing is the same."""
    images, _ = index_dataset(lgg_patients)[0].load()
    shape = images.shape[2::-1]
    return Volume(images, "patient"), centred(AXIAL @ np.diag([0.9375, 0.9375, slice_distance_mm(len(images))]), shape)


@pytest.mark.parametrize("turned", [False, True])
def test_a_patient_as_dicom_and_as_nifti_gives_the_mask_of_its_slices(tmp_path: Path, patient: tuple[Volume, Matrix], turned: bool) -> None:
    """16 bit and another scale; turned, the array is stored from the vertex down and from left to right."""
    volume, affine = patient
    expected = Segmenter(precision="float32").segment(volume).mask
    shape = expected.shape[::-1]
    change = np.diag([-1.0, 1.0, -1.0, 1.0]) if turned else np.eye(4)
    change[:3, 3] = np.where(np.diag(change)[:3] < 0, np.array(shape) - 1, 0)
    flip = (slice(None, None, -1), slice(None), slice(None, None, -1)) if turned else (slice(None),) * 3
    stored = [np.round(volume.voxels[..., c].astype(float) * 13.7 + 40).astype(np.uint16)[flip] for c in range(3)]
    placed = affine @ change
    paths = []
    for name, array in zip(("t1", "flair", "t1ce"), stored, strict=True):
        nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), placed), tmp_path / f"{name}.nii.gz")
        paths.append(tmp_path / f"{name}.nii.gz")
    study = Study.new()
    t1 = {"EchoTime": 10, "RepetitionTime": 500, "InversionTime": None, "ScanningSequence": "SE"}
    tags: tuple[dict[str, object], ...] = (
        {"SeriesNumber": 2, "SeriesDescription": "AX T1", **t1},
        {"SeriesNumber": 3, "SeriesDescription": "AX FLAIR"},
        {"SeriesNumber": 4, "SeriesDescription": "AX T1 POST", "ContrastBolusAgent": "Gd", **t1},
    )
    for array, series in zip(stored, tags, strict=True):
        write_series(tmp_path / "study" / str(series["SeriesNumber"]), array, geometry_of(placed), study=study, **series)
    # In float32, since int8 makes more of the differences that rounding leaves between the three.
    out = ["--output", str(tmp_path / "out"), "--precision", "float32"]
    assert main(["segment", str(paths[1]), "--pre", str(paths[0]), "--post", str(paths[2]), *out]) == 0
    assert main(["segment", str(tmp_path / "study"), *out]) == 0
    for case in ("flair", "study"):
        image = nib.load(tmp_path / "out" / case / f"{case}_mask.nii.gz")
        in_order = nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine)
        wanted = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.io_orientation(affine))
        found = np.asanyarray(in_order.as_reoriented(wanted).dataobj).transpose(2, 1, 0) > 0
        dice = 2 * (found & expected).sum() / (found.sum() + expected.sum())
        assert expected.any() and dice > 0.98, (case, dice)

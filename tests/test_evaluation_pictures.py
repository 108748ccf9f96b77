"""Pictures of masks that some tool wrote: which slice, over which scan, and what happens where there is none."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gliomask import Segmenter, Volume
from gliomask.cli import main
from gliomask.evaluation import Protocol, evaluate_masks, evaluate_model, mask_pictures
from gliomask.evaluation.cases import CASES, both_outlines
from gliomask.evaluation.mask_pairs import MaskPair
from gliomask.evaluation.mask_pictures import scan_beside
from gliomask.evaluation.outcome import CasePicture
from gliomask.report.overlay import OUTLINE, display_grey

SAGITTAL = np.array([[0, 0, -5.0, 0], [-2.0, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 0, 1.0]])
"""Voxel axes: posterior 2 mm, superior 3 mm, left 5 mm."""


def save(path: Path, pixels: NDArray[np.generic]) -> Path:
    """Write an image ``(y, x)`` or ``(y, x, 3)``, what is bool in black and white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels).save(path)
    return path


def rows(count: int, size: int = 32) -> NDArray[np.bool_]:
    """Return a mask whose first rows are marked."""
    mask = np.zeros((size, size), bool)
    mask[:count] = True
    return mask


def save_pair(root: Path, name: str, mine: int, theirs: int) -> None:
    """Write a predicted and a reference mask of a slice that is called ``<patient>/<slice>``."""
    save(root / "mine" / f"{name}_mask.png", rows(mine))
    save(root / "reference" / f"{name}_mask.tif", rows(theirs))


def scan(size: int = 32) -> NDArray[np.uint8]:
    """Return a slice of three channels that differ, ``(y, x, 3)``."""
    return np.random.default_rng(size).integers(0, 200, (size, size, 3), np.uint8)


def pictured(root: Path) -> tuple[tuple[CasePicture, ...], tuple[str, ...]]:
    evaluation = evaluate_masks(root / "mine", root / "reference", pictures=True)
    assert evaluation.patients == evaluate_masks(root / "mine", root / "reference").patients
    return evaluation.pictures, evaluation.notes


def test_the_largest_slice_of_a_folder_is_drawn_over_its_own_scan(tmp_path: Path) -> None:
    for number, (mine, theirs) in enumerate([(2, 3), (4, 9), (0, 0), (5, 0)], start=8):  # in natural order, 8 to 11
        save_pair(tmp_path, f"p/s_{number}", mine, theirs)
        save(tmp_path / "reference" / "p" / f"s_{number}.tif", scan() // number)
    ((picture,), notes) = pictured(tmp_path)
    assert (picture.patient, picture.slice_number, picture.slices, picture.aspect, notes) == ("p", 2, 4, 1.0, ())
    assert picture.grey is not None
    np.testing.assert_array_equal(picture.grey, display_grey((scan() // 9)[None, ..., 1])[0])
    np.testing.assert_array_equal(picture.predicted, rows(4))
    np.testing.assert_array_equal(picture.reference, rows(9))


def test_no_picture_is_made_unless_a_report_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pair(tmp_path, "p/a", 2, 3)
    assert len(pictured(tmp_path)[0]) == 1
    monkeypatch.setattr(mask_pictures, "read_pair", lambda *_: pytest.fail("read again"))
    assert evaluate_masks(tmp_path / "mine", tmp_path / "reference").pictures == ()


def test_masks_of_a_model_are_shown_as_the_model_is(dataset: Path, tmp_path: Path, segmenter: Segmenter) -> None:
    of_model = evaluate_model(dataset, segmenter, Protocol(pictures=True))
    for folder in sorted(dataset.iterdir()):
        files = [path for path in sorted(folder.glob("*.tif")) if not path.stem.endswith("_mask")]
        mask = segmenter.segment(Volume(np.stack([np.asarray(Image.open(path)) for path in files])), force=True).mask
        for path, marked in zip(files, mask, strict=True):
            save(tmp_path / "mine" / folder.name / f"{path.stem}_mask.png", marked)
    of_masks = evaluate_masks(tmp_path / "mine", dataset, pictures=True)
    assert [p.counts for p in of_masks.patients] == [p.counts for p in of_model.patients]
    shown = {picture.patient: picture for picture in of_masks.pictures}
    assert len(shown) == len(of_model.pictures) == 3
    for expected in of_model.pictures:
        found = shown[expected.patient]
        assert (found.slice_number, found.slices, found.aspect) == (expected.slice_number, expected.slices, expected.aspect)
        np.testing.assert_array_equal(found.predicted, expected.predicted)
        np.testing.assert_array_equal(found.reference, expected.reference)
        assert found.grey is not None and expected.grey is not None
        assert np.corrcoef(found.grey.ravel(), expected.grey.ravel())[0, 1] > 0.99  # brightness is the slice's, there the volume's


def test_scans_beside_the_predicted_masks_do_where_the_references_have_none(tmp_path: Path) -> None:
    save_pair(tmp_path, "p/a", 2, 3)
    assert pictured(tmp_path)[0][0].grey is None
    save(tmp_path / "mine" / "p" / "a.png", scan())
    ((mine,), _) = pictured(tmp_path)
    save(tmp_path / "reference" / "p" / "a.png", 255 - scan())
    ((theirs,), _) = pictured(tmp_path)
    assert mine.grey is not None and theirs.grey is not None
    np.testing.assert_array_equal(mine.grey, display_grey(scan()[None, ..., 1])[0])
    np.testing.assert_array_equal(theirs.grey, display_grey(255 - scan()[None, ..., 1])[0])


def test_a_scan_that_cannot_be_used_is_told_once_and_stops_nothing(tmp_path: Path) -> None:
    for name in "abcd":
        save_pair(tmp_path, f"{name}/s", 2, 3)
    (tmp_path / "reference" / "a" / "s.tif").write_bytes(b"broken")
    pictures, notes = pictured(tmp_path)
    assert [picture.grey for picture in pictures] == [None] * 4
    (note,) = notes
    assert note.startswith("A scan beside the masks could not be shown; the outlines stand on black. a/s.tif: not an image")
    assert str(tmp_path) not in note
    save(tmp_path / "reference" / "b" / "s.tif", scan(31))
    save(tmp_path / "reference" / "c" / "s.tif", scan())
    pictures, notes = pictured(tmp_path)
    assert [picture.grey is None for picture in sorted(pictures, key=lambda p: p.patient)] == [True, True, False, True]
    (note,) = notes
    assert note.startswith("2 scans beside the masks could not be shown; the outlines stand on black. The first: a/s.tif: ")
    (tmp_path / "reference" / "a" / "s.tif").unlink()
    assert "b/s.tif: is 31 x 31 x 1 (x, y, slices), its mask 32 x 32 x 1." in pictured(tmp_path)[1][0]
    save(tmp_path / "mine" / "b" / "s.png", scan())  # and what can be used in its place is no problem
    assert pictured(tmp_path)[1] == ()


def test_of_many_patients_those_alone_are_read_again_who_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        save_pair(tmp_path, f"p{number:02}/s", number + 1, 20)
        save(tmp_path / "reference" / f"p{number:02}" / "s.tif", scan())
    read: list[Path] = []

    def reading(mine: Path, theirs: Path) -> MaskPair:
        read.append(theirs)
        return read_pair(mine, theirs)

    read_pair = mask_pictures.read_pair
    monkeypatch.setattr(mask_pictures, "read_pair", reading)
    evaluation = evaluate_masks(tmp_path / "mine", tmp_path / "reference", pictures=True)
    assert len(evaluation.patients) == 20
    expected = [f"p{n:02}" for n in (*range(CASES), *range(8, 8 + CASES), *range(20 - CASES, 20))]
    assert [picture.patient for picture in evaluation.pictures] == [path.parent.name for path in read] == expected
    assert all(array.base is None for p in evaluation.pictures for array in (p.grey, p.predicted, p.reference) if array is not None)


def save_nifti(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64] = SAGITTAL) -> None:
    """Write an array in the file's own order ``(i, j, k)``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def sagittal(tmp_path: Path, shift_mm: float = 0.0) -> NDArray[np.int16]:
    """Write masks and their scan, brightest at the patient's right in front; return the scan."""
    mask = np.zeros((10, 8, 6), np.uint8)
    mask[1:4, 5, :2] = 1
    save_nifti(tmp_path / "mine" / "c.nii.gz", mask)
    mask[1:5, 5, :2] = 1
    save_nifti(tmp_path / "reference" / "c_seg.nii.gz", mask)
    flair = np.random.default_rng(1).integers(100, 150, (10, 8, 6)).astype(np.int16)
    flair[0, 5, 0] = 200
    affine = SAGITTAL.copy()
    affine[0, 3] += shift_mm
    save_nifti(tmp_path / "reference" / "c.nii.gz", flair, affine)
    return flair


def test_a_volume_is_shown_as_an_upright_axial_slice_with_its_pixels_proportions(tmp_path: Path) -> None:
    flair = sagittal(tmp_path)
    ((picture,), notes) = pictured(tmp_path)
    assert (picture.slice_number, picture.slices, notes) == (6, 8, ())
    assert picture.grey is not None and picture.grey.shape == (10, 6)  # from front to back, from the patient's right to the left
    np.testing.assert_array_equal(picture.grey, display_grey(flair.transpose(1, 0, 2))[5])
    assert np.unravel_index(picture.grey.argmax(), picture.grey.shape) == (0, 0)
    assert picture.predicted[1:4, :2].all() and picture.predicted.sum() == 6
    assert picture.reference[1:5, :2].all() and picture.reference.sum() == 8
    assert picture.aspect == pytest.approx(2 / 5)
    height, width = both_outlines(picture).shape[:2]
    assert (height, width) == (10 * 3, round(6 * 2.5 * 3))


def test_a_scan_that_lies_elsewhere_is_not_drawn_under_the_masks(tmp_path: Path) -> None:
    sagittal(tmp_path, shift_mm=4.0)
    ((picture,), (note,)) = pictured(tmp_path)
    assert picture.grey is None and picture.aspect == pytest.approx(2 / 5)
    assert "reference/c.nii.gz: lies up to 4 mm from its mask by the affines" in note
    assert (both_outlines(picture) == OUTLINE).all(axis=-1).any()


@pytest.mark.parametrize(
    ("mask", "beside", "scan"),
    [
        ("a_1_mask.tif", ["a_1.tif", "a_10.tif", "a.tif"], "a_1.tif"),
        ("A_mask.PNG", ["A.JPG"], "A.JPG"),
        ("a_mask.png", ["a.nii.gz", "a_probability.png", "a_mask.tif"], None),
        ("a.png", ["a.tif"], None),  # a mask that has the scan's own name cannot tell which is which
        ("a_seg.nii.gz", ["a.nii"], "a.nii"),
        ("a_mask.nii.gz", ["a.nii.gz", "a_uncertainty.nii.gz"], "a.nii.gz"),
        ("a-seg.nii.gz", ["a-t1n.nii.gz", "a-t2f.nii.gz"], "a-t2f.nii.gz"),
        ("a_seg.nii.gz", ["a.nii.gz", "a_FLAIR.nii.gz", "a_t1.nii.gz"], "a_FLAIR.nii.gz"),
        ("a_seg.nii.gz", ["a_t1.nii.gz", ".a.nii.gz", "b_flair.nii.gz"], None),
        ("a_seg_mask.nii.gz", ["a_seg.nii.gz"], None),
    ],
)
def test_the_scan_of_a_mask_is_known_by_its_name(tmp_path: Path, mask: str, beside: list[str], scan: str | None) -> None:
    for name in (mask, *beside):
        (tmp_path / name).touch()
    assert scan_beside(tmp_path / mask) == (None if scan is None else tmp_path / scan)


@pytest.mark.parametrize("scans", [True, False])
def test_the_report_of_masks_has_cases(
    tmp_path: Path, write_slices: Callable[..., Path], capsys: pytest.CaptureFixture[str], scans: bool
) -> None:
    for name, cut in (("a", 90), ("b", 110), ("c", 130)):
        folder = write_slices(tmp_path / "reference" / name, (5, 6), masks=True)
        for path in sorted(folder.glob("*[0-9].tif")):
            save(tmp_path / "mine" / name / f"{path.stem}_mask.png", np.asarray(Image.open(path))[..., 1] > cut)
            if not scans:
                path.unlink()
    given = ("evaluate", str(tmp_path / "mine"), "--reference-masks", str(tmp_path / "reference"))
    assert main([*given, "--output", str(tmp_path / "scores")]) == 0
    page = (tmp_path / "scores" / "report.html").read_text()
    assert page.count("<figcaption>") == page.count('src="data:image/png') == 3
    assert ("This page holds slices of patients" in page) == scans
    assert ("There is no scan to show" in page) != scans
    capsys.readouterr()
    (tmp_path / "reference" / "a" / "head_1.tif").write_bytes(b"broken")
    (tmp_path / "reference" / "a" / "head_2.tif").write_bytes(b"broken")
    assert main([*given]) == 0
    assert "could not be shown" not in capsys.readouterr().out
    assert main([*given, "--output", str(tmp_path / "scores")]) == 0
    assert capsys.readouterr().out.count("A scan beside the masks could not be shown; the outlines stand on black. a/head_") == 1

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from gliomask import InputError, Segmenter, Volume
from gliomask.evaluation import Protocol, evaluate_masks, evaluate_model, format_table, summarise
from gliomask.evaluation.scores import score
from gliomask.evaluation.summary import by_institution, by_size
from gliomask.io.nifti import write_nifti
from gliomask.metrics import dice
from gliomask.models import find_model


def save_mask(path: Path, rows: int, size: int = 10) -> None:
    """Write a mask whose first *rows* rows are marked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((size, size), np.uint8)
    mask[:rows] = 255
    Image.fromarray(mask).save(path)


def test_masks_are_scored_by_hand_worked_numbers(tmp_path: Path) -> None:
    save_mask(tmp_path / "mine" / "p1" / "p1_1_mask.png", 4)
    save_mask(tmp_path / "mine" / "p1" / "p1_2_mask.png", 0)
    save_mask(tmp_path / "mine" / "p2" / "p2_1_mask.png", 1)
    save_mask(tmp_path / "reference" / "p1" / "p1_1_mask.tif", 2)
    save_mask(tmp_path / "reference" / "p1" / "p1_2_mask.tif", 0)
    save_mask(tmp_path / "reference" / "p2" / "p2_1_mask.tif", 0)
    evaluation = evaluate_masks(tmp_path / "mine", tmp_path / "reference")
    one, two = (p.as_json() for p in evaluation.patients)
    assert (one["patient"], one["dice"], one["iou"]) == ("p1", pytest.approx(2 * 20 / 60), 0.5)
    assert (one["clean_slices"], one["marked_clean_slices"]) == (1, 0)
    assert (two["dice"], two["clean_slices"], two["marked_clean_slices"]) == (0.0, 1, 1)
    assert (one["sensitivity"], one["precision"], one["area_error"]) == (1.0, 0.5, 1.0)
    assert (one["tumour_slices"], one["found_tumour_slices"], one["slice_specificity"]) == (1, 1, 1.0)
    # The border of 4 rows of 10 and that of 2: their last rows lie 2 pixels apart.
    assert (one["hd95"], one["surface_dice"]) == (2.0, 1.0)
    assert (two["sensitivity"], two["hd95"], two["surface_dice"]) == (None, None, 0.0)
    over_all = evaluation.as_json()["over_all"]["unknown"]
    assert over_all["mean_hd95"] == 2.0
    assert over_all["mean_dice"] == pytest.approx(1 / 3)
    assert over_all["pooled_dice"] == pytest.approx(2 * 20 / (50 + 20))
    assert over_all["marked_clean_slices_share"] == 0.5
    assert "p2" in format_table(evaluation)


def test_masks_of_scans_that_share_a_name_are_paired_by_folder_and_name(tmp_path: Path) -> None:
    mask = np.zeros((8, 9, 3), np.uint8)
    for patient, rows in (("p1", 3), ("p2", 5)):
        mask[:rows] = 1
        ours = tmp_path / "out" / f"{patient}_flair" / f"{patient}_flair_mask.nii.gz"
        for path in (ours, tmp_path / "data" / patient / "flair_seg.nii.gz"):
            path.parent.mkdir(parents=True)
            nibabel.save(nibabel.Nifti1Image(mask, np.diag([-1.0, -1.0, 5.0, 1.0])), path)
    evaluation = evaluate_masks(tmp_path / "out", tmp_path / "data")
    assert [(patient.name, dice(patient.counts)) for patient in evaluation.patients] == [("p1/flair", 1.0), ("p2/flair", 1.0)]


def test_masks_of_several_series_in_one_folder_are_told_of(tmp_path: Path) -> None:
    for side in ("mine", "reference"):
        for name in ("a_1", "a_2", "b_1", "b_2", "c", "d"):
            save_mask(tmp_path / side / "flat" / f"{name}_mask.png", 3)
            save_mask(tmp_path / side / "apart" / f"{name[0]}" / f"{name}_mask.png", 3)
    flat, apart = (evaluate_masks(tmp_path / "mine" / way, tmp_path / "reference" / way) for way in ("flat", "apart"))
    assert flat.notes == (
        "flat: masks of 2 series by their names, scored as one patient since they share a folder's name. Give each patient a folder of "
        "their own.",
    )
    assert (len(flat.patients), len(apart.patients), apart.notes) == (1, 4, ())


def test_masks_in_folders_of_other_names_are_paired_by_their_own(tmp_path: Path) -> None:
    save_mask(tmp_path / "mine" / "run" / "a_mask.png", 3)
    save_mask(tmp_path / "mine" / "run" / "extra_mask.png", 3)
    save_mask(tmp_path / "reference" / "case" / "a_mask.png", 3)
    evaluation = evaluate_masks(tmp_path / "mine", tmp_path / "reference")
    assert evaluation.patients[0].as_json()["dice"] == 1.0
    assert evaluation.ignored_masks == 1
    told = format_table(evaluation)
    assert "1 masks had no reference" in told
    assert "\n1 patient\n" in told and "unknown" not in told  # of a tool nobody asks on whom it was trained


@pytest.mark.parametrize("reference", ["A_1.png", "A_1_mask.tif"])
def test_images_of_another_tool_need_no_suffix(tmp_path: Path, reference: str) -> None:
    save_mask(tmp_path / "tool" / "A_1.png", 4)
    for kind in ("probability", "uncertainty"):
        save_mask(tmp_path / "tool" / f"A_1_{kind}.png", 9)
    save_mask(tmp_path / "reference" / "p" / reference, 2)
    (one,) = evaluate_masks(tmp_path / "tool", tmp_path / "reference").patients
    assert (one.name, one.counts.tp, one.counts.fp) == ("p", 20, 20)
    save_mask(tmp_path / "tool" / "A_1_mask.png", 2)  # where one is called a mask, the others are none
    (one,) = evaluate_masks(tmp_path / "tool", tmp_path / "reference").patients
    assert (one.counts.tp, one.counts.fp) == (20, 0)


def test_previews_beside_nifti_references_are_none(tmp_path: Path) -> None:
    for side in ("tool", "reference"):
        save_nifti(tmp_path / side / "c.nii.gz", 2)
        save_mask(tmp_path / side / "preview" / "c.png", 3)
    assert evaluate_masks(tmp_path / "tool", tmp_path / "reference").unit == "mm"


def test_a_patient_without_masks_is_not_scored_with_anothers(tmp_path: Path) -> None:
    save_mask(tmp_path / "mine" / "p1" / "1_mask.png", 3)
    for patient in ("p1", "p2"):
        save_mask(tmp_path / "reference" / patient / "1_mask.png", 3)
    with pytest.raises(
        InputError, match=r"mine: no masks for 1 reference mask, .*p2.1_mask\.png\. .* an empty one where nothing was found"
    ):
        evaluate_masks(tmp_path / "mine", tmp_path / "reference")


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    for site in ("a", "b"):
        save_mask(tmp_path / "mine" / site / "p1" / "1_mask.png", 3)
    with pytest.raises(InputError, match="same folder's name and their own"):
        evaluate_masks(tmp_path / "mine", tmp_path / "mine")


def test_missing_masks_and_other_sizes_are_named(tmp_path: Path) -> None:
    save_mask(tmp_path / "mine" / "p" / "a_mask.png", 3)
    save_mask(tmp_path / "reference" / "p" / "a_mask.png", 3)
    save_mask(tmp_path / "reference" / "p" / "b_mask.png", 3)
    with pytest.raises(InputError, match=r"no masks for 1 reference mask, .*b_mask\.png"):
        evaluate_masks(tmp_path / "mine", tmp_path / "reference")
    save_mask(tmp_path / "mine" / "p" / "b_mask.png", 3, size=12)
    with pytest.raises(InputError, match=r"is 12 x 12 x 1 .*10 x 10 x 1"):
        evaluate_masks(tmp_path / "mine", tmp_path / "reference")


def test_a_folder_without_masks_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no masks\. Looked for NIfTI .*; found no files"):
        evaluate_masks(tmp_path, tmp_path)
    save_nifti(tmp_path / "reference" / "c.nii.gz", 2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "c.mgz").touch()
    with pytest.raises(InputError, match=r"mine: holds no masks\. Looked for NIfTI, as the reference masks are; found “c\.mgz”\."):
        evaluate_masks(tmp_path / "mine", tmp_path / "reference")
    with pytest.raises(InputError, match=r"mine: holds no masks\. Looked for NIfTI \("):  # it is the reference masks that are not there
        evaluate_masks(tmp_path / "reference", tmp_path / "mine")
    with pytest.raises(InputError, match=r"x: no such folder\. Give the folder that holds the masks"):
        evaluate_masks(tmp_path / "x", tmp_path)
    with pytest.raises(InputError, match=r"c\.mgz: a file\. Give the folder"):
        evaluate_masks(tmp_path, tmp_path / "mine" / "c.mgz")


def test_links_are_followed_and_named_as_they_are(tmp_path: Path) -> None:
    # As in a datalad dataset: a patient's masks are links to files of other names, here each in a folder of its own.
    for patient, name in product(("p1", "p2"), ("1_mask.png", "2_mask.png")):
        save_mask(tmp_path / "mine" / patient / name, 4)
        save_mask(tmp_path / "objects" / patient / name / "MD5E-1.png", 2)
        (tmp_path / "links" / patient).mkdir(parents=True, exist_ok=True)
        (tmp_path / "links" / patient / name).symlink_to(tmp_path / "objects" / patient / name / "MD5E-1.png")
    (tmp_path / "reference").mkdir()
    for patient in ("p1", "p2"):
        (tmp_path / "reference" / patient).symlink_to(tmp_path / "links" / patient)
    save_mask(tmp_path / "reference" / ".cache" / "3_mask.png", 3)
    (tmp_path / "reference" / "4_mask.png").mkdir()
    evaluation = evaluate_masks(tmp_path / "mine", tmp_path / "reference")
    assert [(p.name, sum(p.slices), p.counts.fp) for p in evaluation.patients] == [("p1", 2, 40), ("p2", 2, 40)]
    (tmp_path / "objects" / "p1" / "1_mask.png" / "MD5E-1.png").unlink()
    with pytest.raises(InputError, match=r"p1.1_mask\.png: a link to .*MD5E-1\.png, which is not there"):
        evaluate_masks(tmp_path / "mine", tmp_path / "reference")


def test_a_closed_folder_hides_no_patient(tmp_path: Path, forbid: Callable[[Path], None]) -> None:
    for side, patient in product(("mine", "reference"), ("p1", "p2")):
        save_mask(tmp_path / side / patient / f"{patient}_mask.png", 4)
    forbid(tmp_path / "reference" / "p2")
    with pytest.raises(InputError, match=r"reference.p2: may not be read"):
        evaluate_masks(tmp_path / "mine", tmp_path / "reference")


def test_all_masks_that_cannot_be_scored_are_named_together(tmp_path: Path) -> None:
    for side, name in product(("mine", "reference"), "abcdefgh"):
        save_nifti(tmp_path / side / f"{name}.nii.gz", 2)
    (tmp_path / "mine" / "b.nii.gz").write_bytes((tmp_path / "mine" / "b.nii.gz").read_bytes()[:-20])
    with pytest.raises(InputError, match=r"^[^\n]*b\.nii\.gz: damaged[^\n]*$"):
        evaluate_masks(tmp_path / "mine", tmp_path / "reference")
    (tmp_path / "reference" / "d.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"^2 problems with the masks, .*:\n  .*b\.nii\.gz: damaged.*\n  .*d\.nii\.gz: damaged.*$"):
        evaluate_masks(tmp_path / "mine", tmp_path / "reference")
    for name in "aefgh":
        (tmp_path / "mine" / f"{name}.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"^5 problems with the masks, perhaps more; .*(\n  .*){5}$"):
        evaluate_masks(tmp_path / "mine", tmp_path / "reference")


def test_the_same_mask_in_two_formats_is_refused(tmp_path: Path) -> None:
    for name in ("mine/c.nii", "mine/c.nii.gz", "reference/c.nii"):
        save_nifti(tmp_path / name, 2)
    with pytest.raises(InputError, match=r"c\.nii\.gz and .*c\.nii have the same .*; leave one of them there"):
        evaluate_masks(tmp_path / "mine", tmp_path / "reference")


def test_names_are_compared_as_they_read(tmp_path: Path) -> None:
    for side, name in (("mine", "\u00e9_1"), ("reference", "e\u0301_1")):  # é, as Linux and as macOS write it
        save_mask(tmp_path / side / name / "1_mask.png", 3)
    assert [p.name for p in evaluate_masks(tmp_path / "mine", tmp_path / "reference").patients] == ["\u00e9_1"]


def test_the_interval_holds_the_mean_and_narrows_with_patients() -> None:
    empty = np.zeros((1, 4, 4), bool)
    full = ~empty
    scores = [score("a", "held out", full, full), score("b", "held out", empty, full)]
    few, many = summarise(scores), summarise(scores * 20)
    for s in (few, many):
        assert s["mean_dice"] == 0.5
        assert s["mean_dice_95"][0] <= 0.5 <= s["mean_dice_95"][1]
    assert np.diff(many["mean_dice_95"]) < np.diff(few["mean_dice_95"])
    assert many["mean_dice_95"] == pytest.approx((0.345, 0.655), abs=0.015)  # 1.96 standard errors, 0.5 / √40 each


def test_groups_by_institution_and_thirds_by_size() -> None:
    empty = np.zeros((1, 4, 4), bool)
    sizes = {"TCGA_CS_1": 4, "TCGA_CS_2": 2, "TCGA_DU_3": 1, "other": 3}
    scores = []
    for name, rows in sizes.items():
        reference = empty.copy()
        reference[0, :rows] = True
        scores.append(score(name, "held out", reference if "DU" not in name else empty, reference))
    institutions = by_institution(scores)
    assert {name: (s["patients"], s["mean_dice"]) for name, s in institutions.items()} == {"CS": (2, 1.0), "DU": (1, 0.0)}
    thirds = by_size(scores)
    assert [(s["from_pixels"], s["to_pixels"], s["mean_dice"]) for s in thirds.values()] == [(4, 4, 0.0), (8, 12, 1.0), (16, 16, 1.0)]
    assert by_size(scores[:2]) == {}


def save_nifti(path: Path, slices: int, spacing_mm: tuple[float, float, float] = (2.0, 3.0, 5.0), shift_mm: float = 0.0) -> None:
    """Write a mask of 6 x 6 voxels in each of *slices* of 4 slices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((10, 10, 4), np.uint8)
    array[2:8, 2:8, :slices] = 1
    affine = np.diag([*spacing_mm, 1.0])
    affine[0, 3] = shift_mm
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def test_nifti_masks_of_another_tool_are_scored_in_mm(tmp_path: Path) -> None:
    save_nifti(tmp_path / "tool" / "case1.nii.gz", 2)
    save_nifti(tmp_path / "reference" / "case1_mask.nii.gz", 4)
    evaluation = evaluate_masks(tmp_path / "tool", tmp_path / "reference")
    (one,) = (p.as_json() for p in evaluation.patients)
    assert (one["patient"], one["dice"], one["hd95"], one["surface_dice"]) == ("case1", pytest.approx(2 / 3), 0.0, pytest.approx(2 / 3))
    assert (one["tumour_slices"], one["found_tumour_slices"]) == (4, 2)
    assert evaluation.as_json()["distance_unit"] == "mm"
    assert "HD95, mm" in format_table(evaluation)


def test_a_mask_named_after_its_flair_meets_the_reference_named_after_the_patient(tmp_path: Path) -> None:
    for name, slices in (("p1", 2), ("p2", 3), ("p2_flair_seg", 4)):
        save_nifti(tmp_path / "mine" / f"{name}_flair" / f"{name}_flair_mask.nii.gz", slices)
    for name in ("p1_seg", "p2-seg", "p2_flair_seg_seg"):
        save_nifti(tmp_path / "scans" / f"{name}.nii.gz", 4)
    evaluation = evaluate_masks(tmp_path / "mine", tmp_path / "scans")
    assert [(p.name, p.slices.tp) for p in evaluation.patients] == [("p1", 2), ("p2", 3), ("p2_flair_seg", 4)]
    save_nifti(tmp_path / "mine" / "more" / "p1-t2f_mask.nii.gz", 4)  # which of the two is p1's is not guessed
    with pytest.raises(InputError, match=r"no masks for 1 reference mask, .*p1_seg\.nii\.gz\. .*paired by their folder's name"):
        evaluate_masks(tmp_path / "mine", tmp_path / "scans")


@pytest.mark.parametrize("axes", ["LPS", "PIR", "SRA"])
def test_masks_of_one_place_are_compared_there_however_their_axes_run(tmp_path: Path, axes: str) -> None:
    rng = np.random.default_rng(0)
    affine = np.array([[0, 0, 5.0, -10], [2.0, 0, 0, 30], [0, -3.0, 0, 7], [0, 0, 0, 1.0]])
    for name in ("mine", "reference"):
        (tmp_path / name).mkdir()
        nibabel.save(nibabel.Nifti1Image((rng.random((7, 8, 9)) < 0.3).astype(np.uint8), affine), tmp_path / name / "c.nii.gz")
    as_stored = evaluate_masks(tmp_path / "mine", tmp_path / "reference")
    assert as_stored.notes == ()
    image = nibabel.load(tmp_path / "mine" / "c.nii.gz")
    way = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(axes))
    turned = nibabel.Nifti1Image(np.asanyarray(image.dataobj), image.affine).as_reoriented(way)
    nibabel.save(turned, tmp_path / "mine" / "c.nii.gz")
    evaluation = evaluate_masks(tmp_path / "mine", tmp_path / "reference", pictures=True)
    assert evaluation.patients == as_stored.patients
    assert evaluation.notes == ("1 of 1 masks had their axes turned to their reference's by the affines; nothing was interpolated.",)
    shifted = turned.affine.copy()
    shifted[0, 3] += 0.5
    nibabel.save(nibabel.Nifti1Image(np.asanyarray(turned.dataobj), shifted), tmp_path / "mine" / "c.nii.gz")
    with pytest.raises(InputError, match="Masks have to share a grid: resample one onto the other"):
        evaluate_masks(tmp_path / "mine", tmp_path / "reference")


def test_labels_count_as_one(tmp_path: Path) -> None:
    labels = np.zeros((6, 6, 3), np.float32)  # as BraTS has them: necrosis 1, oedema 2, enhancing 4
    labels[1:4, 1:4, 1], labels[2, 2, 1], labels[3, 3, 1] = 2, 1, 4
    for name, array in (("mine", labels), ("reference", labels > 0)):
        (tmp_path / name).mkdir()
        nibabel.save(nibabel.Nifti1Image(array.astype(np.float32), np.eye(4)), tmp_path / name / "c_seg.nii.gz")
    (one,) = evaluate_masks(tmp_path / "mine", tmp_path / "reference").patients
    assert (one.counts.tp, one.counts.fp, one.counts.fn) == (9, 0, 0)


def test_the_axial_slices_of_a_sagittal_file_are_compared(tmp_path: Path) -> None:
    # Voxel axes: posterior 2 mm, superior 3 mm, left 5 mm; the second mask is one voxel of 5 mm larger to the left.
    affine = np.array([[0, 0, -5.0, 0], [-2.0, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 0, 1.0]])
    for name, width in (("a", 3), ("b", 4)):
        array = np.zeros((10, 8, 6), np.uint8)
        array[2:8, 2:4, :width] = 1
        (tmp_path / name).mkdir()
        nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / name / "x_seg.nii")
    (one,) = evaluate_masks(tmp_path / "a", tmp_path / "b").patients
    assert sum(one.slices) == 8 and one.slices.tp == 2
    assert one.hd95 == 5.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"spacing_mm": (2.0, 3.0, 6.0)}, "lies up to 4 mm from its reference"), ({"shift_mm": 0.5}, "lies up to 0.5 mm")],
)
def test_nifti_masks_on_other_grids_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    save_nifti(tmp_path / "tool" / "c_mask.nii.gz", 2, **changed)
    save_nifti(tmp_path / "reference" / "c_mask.nii.gz", 2)
    with pytest.raises(InputError, match=message):
        evaluate_masks(tmp_path / "tool", tmp_path / "reference")


def test_a_nifti_mask_of_another_size_and_both_kinds_at_once_are_refused(tmp_path: Path) -> None:
    save_nifti(tmp_path / "reference" / "c_mask.nii.gz", 2)
    (tmp_path / "tool").mkdir()
    nibabel.save(nibabel.Nifti1Image(np.zeros((10, 10, 5), np.uint8), np.eye(4)), tmp_path / "tool" / "c.nii.gz")
    with pytest.raises(InputError, match=r"is 10 x 10 x 5 voxels .*10 x 10 x 4"):
        evaluate_masks(tmp_path / "tool", tmp_path / "reference")
    save_mask(tmp_path / "reference" / "p" / "a_mask.png", 3)
    with pytest.raises(InputError, match="one kind at a time"):
        evaluate_masks(tmp_path / "tool", tmp_path / "reference")


def save_twin(path: Path, rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((4, 10, 10), bool)
    mask[:2, :rows] = True
    write_nifti(mask, Volume(np.zeros((*mask.shape, 1), np.uint8)), path)


def test_nifti_masks_of_image_files_are_scored_in_pixels(tmp_path: Path) -> None:
    save_twin(tmp_path / "tool" / "c_mask.nii.gz", 4)
    save_twin(tmp_path / "reference" / "c_mask.nii.gz", 2)
    evaluation = evaluate_masks(tmp_path / "tool", tmp_path / "reference")
    (one,) = evaluation.patients
    assert (evaluation.unit, one.hd95, one.slices.tp) == ("px", 2.0, 2)


def test_masks_with_and_without_geometry_are_not_mixed(tmp_path: Path) -> None:
    for side in ("tool", "reference"):
        save_twin(tmp_path / side / "c_mask.nii.gz", 4)
        save_nifti(tmp_path / side / "d_mask.nii.gz", 2)
    with pytest.raises(InputError, match=r"reference.c_mask\.nii\.gz: a mask of image files, without geometry, among masks"):
        evaluate_masks(tmp_path / "tool", tmp_path / "reference")
    save_twin(tmp_path / "tool" / "d_mask.nii.gz", 4)
    with pytest.raises(InputError, match=r"tool.d_mask\.nii\.gz: a mask of image files, without geometry, and .*reference.d_mask"):
        evaluate_masks(tmp_path / "tool", tmp_path / "reference")


def test_a_fold_without_patients_is_named(tmp_path: Path, segmenter: Segmenter) -> None:
    save_mask(tmp_path / "p1" / "p1_1.tif", 5)
    save_mask(tmp_path / "p1" / "p1_1_mask.tif", 5)
    with pytest.raises(InputError, match="no patient of fold '9'"):
        evaluate_model(tmp_path, segmenter, Protocol(fold="9"))


@pytest.mark.parametrize(("flair_alone", "single_slices"), [(False, False), (True, True)])
def test_held_out_patients_in_every_way_of_input(lgg_patients: Path, tmp_path: Path, flair_alone: bool, single_slices: bool) -> None:
    from gliomask.training.members import unpack_members

    member = unpack_members(find_model("ensemble"), tmp_path)[0]  # the default was trained on everybody
    evaluation = evaluate_model(lgg_patients, Segmenter(member.path), Protocol(None, "0", flair_alone, single_slices))
    assert [p.role for p in evaluation.patients] == ["held out", "held out"]
    # Two patients, and not the easiest: a floor that a wrong channel or normalisation would fall through.
    assert summarise(evaluation.patients)["mean_dice"] > (0.4 if flair_alone else 0.5)


def test_what_is_outside_the_brain_is_not_seen(tmp_path: Path, write_slices: Callable[..., Path], segmenter: Segmenter) -> None:
    write_slices(tmp_path / "data" / "p", (5, 6), masks=True)
    for name in ("head_1", "head_2"):
        save_mask(tmp_path / "brains" / "p" / f"{name}_mask.png", 0, 256)
    protocol = Protocol(brain_masks=tmp_path / "brains")
    assert protocol.input == "all three channels, skull removed, whole volumes"
    (blind,) = evaluate_model(tmp_path / "data", segmenter, protocol).patients
    (seeing,) = evaluate_model(tmp_path / "data", segmenter, Protocol()).patients
    assert blind.counts.tp == blind.counts.fp == 0
    assert seeing.counts.tp > 0

import errno
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_files import numbered, write_series
from PIL import Image

from gliomask import InputError
from gliomask.io import find_cases, read_case

Write = Callable[..., Path]


def save(path: Path, size: tuple[int, int] = (8, 8), value: int = 9, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size if channels == 1 else (*size, channels)
    pixels = np.full(shape, value, np.uint8)
    if channels == 3:
        pixels[0, 0] = (1, 2, 3)
    Image.fromarray(pixels).save(path)
    return path


def test_a_file_is_a_case(tmp_path: Path) -> None:
    (case,) = find_cases([save(tmp_path / "scan.png")])
    volume = read_case(case)
    assert (case.name, volume.slice_names, volume.voxels.shape) == ("scan", ("scan",), (1, 8, 8, 1))


def test_slices_of_a_folder_come_in_natural_order_without_masks(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        save(tmp_path / "p" / f"s_{number}.tif", value=number)
        save(tmp_path / "p" / f"s_{number}_mask.tif", value=255)
    (tmp_path / "p" / "notes.txt").write_text("passed over")
    (case,) = find_cases([tmp_path / "p"])
    volume = read_case(case)
    assert volume.slice_names == ("s_1", "s_2", "s_10")
    assert volume.voxels[:, 0, 0, 0].tolist() == [1, 2, 10]


def test_a_folder_of_folders_is_many_cases(tmp_path: Path) -> None:
    save(tmp_path / "all" / "b" / "1.png")
    save(tmp_path / "all" / "a" / "1.png")
    save(tmp_path / "all" / ".hidden" / "1.png")
    (tmp_path / "all" / "data.csv").write_text("x")
    assert [case.name for case in find_cases([tmp_path / "all"])] == ["a", "b"]


def test_a_case_tells_where_it_lies_from_what_was_given_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for patient in ("p1", "p2"):
        write_series(tmp_path / "all" / patient / "study" / "5-FLAIR", numbered((2, 8, 8)))
    slices = save(tmp_path / "all" / "p3" / "1.png").parent
    monkeypatch.chdir(tmp_path / "all")
    expected = ["all/p3", "all/p1/study/5-FLAIR", "all/p2/study/5-FLAIR"]
    for given in (tmp_path / "all", Path()):
        assert [case.place for case in find_cases([given])] == expected
    assert [case.place for case in find_cases([slices / "1.png", Path("p3")])] == ["p3/1.png", "p3"]
    assert [case.place for case in find_cases([Path("gone.png"), Path("p3")])] == ["all/gone.png", "p3"]


def test_what_lies_beside_is_told_with_a_case_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a_flair.nii").symlink_to(tmp_path / "gone.nii")
    for name in ("b_flair.nii", "c_t1.nii"):
        (tmp_path / name).write_bytes(b"not read here")
    broken, whole = find_cases([tmp_path])
    assert broken.problem and not broken.notes
    assert whole.notes == ("not used, as FLAIR is not in the name: “c_t1.nii”",)


def test_studies_in_one_folder_are_told_apart_by_their_first_files(tmp_path: Path) -> None:
    for name in "ab":
        for file in write_series(tmp_path / name, numbered((2, 8, 8))):
            file.rename(tmp_path / f"{name}{file.name}")
        (tmp_path / name).rmdir()
    places = [case.place.rpartition("/") for case in find_cases([tmp_path])]
    assert [(folder, first[0]) for folder, _, first in places] == [(tmp_path.name, "a"), (tmp_path.name, "b")]


def test_dicom_files_given_one_by_one_are_sorted_by_study(tmp_path: Path) -> None:
    """As a shell's ``study/*`` gives them."""
    study = [file for name in "ab" for file in write_series(tmp_path / name, numbered((2, 8, 8)))]
    picture = save(tmp_path / "1.png")
    cases = find_cases([study[0], picture, *study[1:]])
    assert [(case.name, case.kind, len(case.files)) for case in cases] == [("a", "dicom", 2), ("1", "images", 1), ("b", "dicom", 2)]
    (tmp_path / "a" / "broken.dcm").write_bytes(study[0].read_bytes()[:200])
    for inputs in ([*study, tmp_path / "a" / "broken.dcm"], [tmp_path / "a" / "broken.dcm", *study]):
        cases = find_cases(inputs)  # as from a folder, nothing of which is used then
        assert [case.files for case in cases if not case.problem] == [tuple(study[2:])]
        assert [("broken.dcm" in case.problem) for case in cases if case.problem] == [True]


def test_dicom_files_that_are_a_study_each_keep_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("p1", "p2"):  # two patients, a file each, in one folder
        (file,) = write_series(tmp_path / name, numbered((1, 8, 8)), PatientID=name)
        file.rename(tmp_path / f"{name}.dcm")
    (tmp_path / "p3.dcm").write_bytes((tmp_path / "p1.dcm").read_bytes()[:200])
    monkeypatch.chdir(tmp_path)
    for first in (tmp_path / "p1.dcm", Path("p1.dcm")):
        cases = find_cases([first, tmp_path / "p2.dcm", tmp_path / "p3.dcm"])
        assert [(case.name, bool(case.problem)) for case in cases] == [("p1", False), ("p2", False), ("p3", True)]
        assert [case.place for case in cases] == [f"{tmp_path.name}/{name}.dcm" for name in ("p1", "p2", "p3")]


def test_a_study_may_be_given_by_paths_of_either_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = write_series(tmp_path / "a", numbered((2, 8, 8)))
    monkeypatch.chdir(tmp_path)
    (case,) = find_cases([first.relative_to(tmp_path), second])
    assert (case.name, len(case.files), case.place) == ("a", 2, "a")


def test_earlier_results_are_no_input(tmp_path: Path) -> None:
    save(tmp_path / "scans" / "a" / "1.png")
    save(tmp_path / "scans" / "results" / "a" / "overlay.png")
    (tmp_path / "scans" / "results" / "a" / "result.json").write_text('{"notice": "x", "files": []}')
    (tmp_path / "scans" / "a" / "result.json").write_text("{}")  # somebody else's
    assert [case.path.parent.name for case in find_cases([tmp_path / "scans"])] == ["scans"]


def test_names_that_clash_are_told_apart(tmp_path: Path) -> None:
    inputs = [save(tmp_path / p) for p in ("x/scan.png", "y/scan.png", "y/Scan.tif", "z/other.png")]
    names = [case.name for case in find_cases(inputs)]
    assert names[0] == "x_scan"
    assert names[3] == "other"
    assert len({name.casefold() for name in names}) == 4


def test_the_same_file_twice_gives_two_results(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.png")
    assert len({case.name for case in find_cases([path, path])}) == 2


def test_pages_of_one_file_are_named(tmp_path: Path) -> None:
    page = Image.fromarray(np.zeros((8, 8), np.uint8))
    page.save(tmp_path / "v.tif", save_all=True, append_images=[page])
    assert read_case(find_cases([tmp_path / "v.tif"])[0]).slice_names == ("v_1", "v_2")


def test_slices_that_differ_in_their_ending_keep_apart(tmp_path: Path) -> None:
    save(tmp_path / "p" / "s1.png")
    save(tmp_path / "p" / "s1.tif")
    assert read_case(find_cases([tmp_path / "p"])[0]).slice_names == ("s1_png", "s1_tif")


def test_grey_among_colour_fills_three_channels(tmp_path: Path) -> None:
    save(tmp_path / "p" / "1.png", channels=3)
    save(tmp_path / "p" / "2.png")
    assert read_case(find_cases([tmp_path / "p"])[0]).voxels.shape == (2, 8, 8, 3)


def test_one_bad_input_of_several_does_not_stop_the_others(tmp_path: Path) -> None:
    good, mask = save(tmp_path / "a.png"), save(tmp_path / "a_mask.png")
    found, missing = find_cases([good, mask, tmp_path / "missing.png"])
    assert (found.name, found.problem) == ("a", "")
    assert "no such file" in missing.problem
    with pytest.raises(InputError, match="no such file"):
        read_case(missing)
    with pytest.raises(InputError, match="reference masks by their names"):
        find_cases([mask, mask])


def test_a_linked_folder_keeps_its_own_name(tmp_path: Path) -> None:
    save(tmp_path / "real" / "000123" / "1.png")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "subject_A").symlink_to(tmp_path / "real" / "000123", target_is_directory=True)
    assert [case.name for case in find_cases([tmp_path / "study" / "subject_A"])] == ["subject_A"]


def test_maps_of_a_result_are_no_slices(tmp_path: Path) -> None:
    save(tmp_path / "p" / "s1.png")
    for name in ("s1_mask.png", "s1_probability.png", "s1_uncertainty.png"):
        save(tmp_path / "p" / name, value=255)
    (tmp_path / "p" / "p_uncertainty.nii.gz").touch()
    (case,) = find_cases([tmp_path / "p"])
    assert read_case(case).slice_names == ("s1",)


def test_slices_of_two_types_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "p" / "1.png")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "p" / "2.png")
    with pytest.raises(InputError, match=r"2\.png: holds uint16 pixels, the slices before it uint8"):
        read_case(find_cases([tmp_path / "p"])[0])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda root: root / "nothing", "no such file or folder"),
        (lambda root: save(root / "s_mask.png"), "a reference mask by its name"),
        (lambda root: save(root / "s_probability.png"), "probabilities by its name, not an input"),
        (lambda root: save(root / "s_uncertainty.tif"), "uncertainty by its name, not an input"),
        (lambda root: save(root / "s.png").rename(root / "s_Uncertainty.nii.gz"), "uncertainty by its name, not an input"),
        (lambda root: root, "holds no scan"),
    ],
)
def test_what_is_no_input_is_refused(tmp_path: Path, make: Callable[[Path], Path], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        find_cases([make(tmp_path)])


def test_unknown_kinds_of_file_are_refused_with_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "scan.docx").write_text("x")
    with pytest.raises(InputError, match=r"scan\.docx: unknown kind of file. Expected PNG"):
        find_cases([tmp_path / "scan.docx"])


def test_slices_of_two_sizes_name_the_file_and_both_sizes(tmp_path: Path) -> None:
    save(tmp_path / "p" / "1.png")
    save(tmp_path / "p" / "2.png", size=(8, 16))
    with pytest.raises(InputError, match=r"2\.png: is 16 x 8 pixels, the slices before it 8 x 8"):
        read_case(find_cases([tmp_path / "p"])[0])


def test_a_multi_page_file_among_slices_is_refused(tmp_path: Path) -> None:
    page = Image.fromarray(np.zeros((8, 8), np.uint8))
    (tmp_path / "p").mkdir()
    page.save(tmp_path / "p" / "v.tif", save_all=True, append_images=[page])
    save(tmp_path / "p" / "w.png")
    with pytest.raises(InputError, match=r"v\.tif: has 2 pages"):
        read_case(find_cases([tmp_path / "p"])[0])


def test_an_input_in_a_closed_folder_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, closed = save(tmp_path / "a.png"), save(tmp_path / "b.png")
    real = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    assert [(case.name, "may not be read" in case.problem) for case in find_cases([closed, good])] == [("b", True), ("a", False)]


def test_names_that_no_folder_tells_apart_stay_short(tmp_path: Path) -> None:
    path = save(tmp_path / "a" / "scan.png")
    first, second = (case.name for case in find_cases([path, path]))
    assert (first, second) == ("scan_png_1", "scan_png_2")
    inputs = [path, path, save(tmp_path / "scan_png_1.png")]
    assert len({case.name for case in find_cases(inputs)}) == 3


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_flair_anywhere_below_makes_the_other_nifti_files_other_sequences(tmp_path: Path) -> None:
    touch(tmp_path / "pat" / "flair" / "flair.nii.gz", tmp_path / "pat" / "t1" / "t1.nii.gz", tmp_path / "pat" / "t2" / "t2.nii")
    assert [case.name for case in find_cases([tmp_path / "pat"])] == ["flair"]
    (tmp_path / "pat" / "flair" / "flair.nii.gz").unlink()
    assert [case.name for case in find_cases([tmp_path / "pat"])] == ["t1", "t2"]


def test_names_with_flair_count_within_a_patient_alone(tmp_path: Path) -> None:
    touch(tmp_path / "all" / "p3" / "t2fl.nii.gz", *(tmp_path / "all" / "p4" / name for name in ("flair.nii.gz", "t1.nii.gz", "t2.nii.gz")))
    first, second = find_cases([tmp_path / "all"])
    assert (first.name, first.notes) == ("t2fl", ())
    assert (second.name, second.notes) == ("flair", ("not used, as FLAIR is not in the name: “t1.nii.gz”, “t2.nii.gz”",))


def test_archives_in_folders_are_cases_and_a_bad_one_stops_no_other(tmp_path: Path) -> None:
    touch(tmp_path / "all" / "flair.nii.gz")
    for name in ("p1", "p2"):
        (tmp_path / "all" / "zips").mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / "all" / "zips" / f"{name}.zip", "w") as archive:
            archive.write(save(tmp_path / "slice.png"), f"{name}/1.png")
    touch(tmp_path / "all" / "zips" / "p3.zip", tmp_path / "all" / "zips" / "._p1.zip")
    cases = {case.name: case for case in find_cases([tmp_path / "all"])}
    assert "not a zip archive" in cases.pop("p3").problem
    assert {name: case.problem for name, case in cases.items()} == {"flair": "", "p1": "", "p2": ""}
    assert read_case(cases["p2"]).voxels.shape == (1, 8, 8, 1)


def test_a_flair_in_another_format_is_a_failed_case_where_there_is_no_other(tmp_path: Path) -> None:
    others = (
        "p2/flair.hdr",
        "p2/flair.img",
        "p3/anat/FLAIR.nrrd",
        "p4/atlas.mgz",
        "p5/flair_seg.nrrd",
        "p1/mri/flair.mgz",
        "p6/._flair.mha",
    )
    touch(tmp_path / "all" / "p1" / "flair.nii.gz", *(tmp_path / "all" / other for other in others))
    cases = {case.name: case.problem.removeprefix(f"{tmp_path}/all/") for case in find_cases([tmp_path / "all"])}
    assert cases.pop("flair") == ""
    assert set(cases) == {"p2", "anat"}
    assert cases["p2"].startswith(
        "p2: “flair.hdr”, “flair.img”: in a format that is not read. Convert a scan to NIfTI (.nii.gz) with the tool"
    )
    with pytest.raises(InputError, match=r"p4: “atlas\.mgz”: in a format that is not read"):
        find_cases([tmp_path / "all" / "p4"])
    (tmp_path / "x.mha").write_text("ObjectType = Image")
    with pytest.raises(InputError, match=r"x\.mha: in a format that is not read"):
        find_cases([tmp_path / "x.mha"])


def test_what_is_not_read_beside_cases_is_told(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("p1_flair.nii.gz", "p2_flair.nrrd", "p3_flair.nii.gz", "p4.tar.gz", "p5/slice.bmp", "notes.txt")))
    first, second = find_cases([tmp_path])
    assert first.notes == ("not used, being in a format that is not read: “p2_flair.nrrd”, “p4.tar.gz”, “slice.bmp”",)
    assert (second.notes, second.problem) == ((), "")
    with pytest.raises(InputError, match=r"p5: “slice\.bmp”: in a format that is not read.*save a picture as PNG"):
        find_cases([tmp_path / "p5"])


def test_a_flair_is_known_by_brats_names_and_by_its_folder(tmp_path: Path) -> None:
    brats = tmp_path / "brats" / "BraTS-GLI-00001-000"
    touch(*(brats / f"BraTS-GLI-00001-000-{kind}.nii.gz" for kind in ("t1c", "t1n", "t2f", "t2w", "seg")))
    (case,) = find_cases([tmp_path / "brats"])
    assert case.files[0].name == "BraTS-GLI-00001-000-t2f.nii.gz"
    assert len(case.notes) == 1 and "t1c.nii.gz" in case.notes[0] and "seg" not in case.notes[0]
    touch(*(tmp_path / "folders" / patient / kind / "scan.nii.gz" for patient in ("p1", "p2") for kind in ("FLAIR", "T1", "T2")))
    assert [case.name for case in find_cases([tmp_path / "folders"])] == ["p1_FLAIR_scan", "p2_FLAIR_scan"]


def test_names_are_told_apart_by_a_folder_far_up(tmp_path: Path) -> None:
    for subject in ("SUBJ_A", "SUBJ_B"):
        touch(tmp_path / subject / "MR1" / "scans" / "5" / "resources" / "NIFTI" / "files" / "flair.nii.gz")
    assert [case.name for case in find_cases([tmp_path])] == ["SUBJ_A_flair", "SUBJ_B_flair"]


def test_dicom_is_read_whatever_another_format_ends_in(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
    from dicom_files import numbered, write_series

    for number, file in enumerate(write_series(tmp_path / "study", numbered())):
        file.rename(file.with_name(f"flair_{number}.img"))
    assert [(case.kind, case.problem, case.notes, len(case.files)) for case in find_cases([tmp_path])] == [("dicom", "", (), 5)]


def test_archives_in_archives_are_told(tmp_path: Path) -> None:
    inner = tmp_path / "p2.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.write(save(tmp_path / "slice.png"), "1.png")
    for name in ("both", "one"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.write(inner, "more/p2.zip")
            if name == "both":
                archive.write(tmp_path / "slice.png", "p1/1.png")
    (case,) = find_cases([tmp_path / "both.zip"])
    assert case.notes == ("not used, being archives in an archive: “p2.zip”",)
    with pytest.raises(InputError, match=r"one\.zip: holds no files, but archives \(“p2\.zip”\)\. Unpack it, and give the folder"):
        find_cases([tmp_path / "one.zip"])


def test_links_to_folders_are_followed_and_come_to_an_end(tmp_path: Path) -> None:
    for name in ("pA", "pB"):
        save(tmp_path / "real" / name / "series" / "deep" / "1.png")
        touch(tmp_path / "links" / "keep")
        (tmp_path / "links" / name).symlink_to(tmp_path / "real" / name)
    (tmp_path / "real" / "pA" / "series" / "round").symlink_to(tmp_path / "real" / "pA")
    (tmp_path / "links" / "above").symlink_to(tmp_path)
    assert [case.path for case in find_cases([tmp_path / "links"])] == [tmp_path / "links" / p / "series" / "deep" for p in ("pA", "pB")]
    assert [case.path.parts[-3:-1] for case in find_cases([tmp_path])] == [("pA", "series"), ("pB", "series")]


def test_files_behind_links_are_told_apart_by_the_links_names(tmp_path: Path) -> None:
    for number, name in enumerate(("pA", "pB")):
        touch(tmp_path / "store" / f"{number}.nii.gz", tmp_path / "real" / f"{number}" / "keep", tmp_path / "links" / "keep")
        (tmp_path / "real" / f"{number}" / "flair.nii.gz").symlink_to(tmp_path / "store" / f"{number}.nii.gz")
        (tmp_path / "links" / name).symlink_to(tmp_path / "real" / f"{number}")
    assert [case.name for case in find_cases([tmp_path / "links"])] == ["pA_flair", "pB_flair"]


def test_links_to_nothing_are_told(tmp_path: Path) -> None:
    save(tmp_path / "all" / "p1" / "1.png")
    for link in ("p2/flair.nii.gz", "p3", "p4.zip", "p5/.hidden"):
        (tmp_path / "all" / link).parent.mkdir(exist_ok=True)
        (tmp_path / "all" / link).symlink_to(tmp_path / "gone")
    cases = {case.name: case.problem for case in find_cases([tmp_path / "all"])}
    assert cases.pop("p1") == ""
    assert set(cases) == {"flair", "p4", "all"}
    assert all("a link to" in problem and "which is not there. Fetch it" in problem for problem in cases.values())
    assert "all/p3:" in cases["all"]
    with pytest.raises(InputError, match=r"p4\.zip: a link to .*gone, which is not there"):
        find_cases([tmp_path / "all" / "p4.zip"])


def test_a_closed_folder_does_not_stop_the_others(tmp_path: Path, forbid: Callable[[Path], None]) -> None:
    for name in ("p1", "p2"):
        save(tmp_path / "all" / name / "1.png")
    forbid(tmp_path / "all" / "p1")
    assert [(case.name, case.problem.partition(": ")[2][:43]) for case in find_cases([tmp_path / "all"])] == [
        ("p2", ""),
        ("p1", "may not be read (Permission denied). Give y"),
    ]
    with pytest.raises(InputError, match="p1: may not be read"):
        find_cases([tmp_path / "all" / "p1"])

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gliomask import InputError, Volume
from gliomask.dataset import (
    SEALED,
    check_folds,
    divide,
    divide_slices,
    index_dataset,
    institution,
    make_folds,
    read_split,
    sealed_patients,
    write_split,
)
from gliomask.dataset.batches import load_case
from gliomask.preprocess import Normalisation, to_network_grid

Write = Callable[..., Path]

NAMES = [f"TCGA_{site}_{n:04}_19990101" for site, count in (("CS", 7), ("DU", 13), ("HT", 10)) for n in range(count)]


def test_patients_and_their_slices_in_natural_order(tmp_path: Path, write_slices: Write) -> None:
    write_slices(tmp_path / "kaggle_3m" / "TCGA_CS_1_19990101", tuple(range(11)), masks=True)
    (tmp_path / "kaggle_3m" / "data.csv").write_text("x")
    (patient,) = index_dataset(tmp_path)
    assert institution(patient.name) == "CS"
    assert [p.stem for p in patient.images] == [f"head_{n}" for n in range(1, 12)]
    images, masks = patient.load()
    assert (images.shape, images.dtype, masks.shape, masks.dtype) == ((11, 256, 256, 3), np.uint8, (11, 256, 256), bool)
    assert index_dataset(tmp_path / "kaggle_3m")[0] == patient


def test_brain_masks_belong_to_their_slices(tmp_path: Path, write_slices: Write) -> None:
    write_slices(tmp_path / "data" / "p", (5, 6), masks=True)
    (patient,) = index_dataset(tmp_path / "data")
    (tmp_path / "brains" / "p").mkdir(parents=True)
    for number, rows in ((1, 40), (2, 7)):
        mask = np.zeros((256, 256), np.uint8)
        mask[:rows] = 255
        Image.fromarray(mask).save(tmp_path / "brains" / "p" / f"head_{number}_mask.png")
    assert [int(m.any(axis=1).sum()) for m in patient.load_brain(tmp_path / "brains")] == [40, 7]
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / "brains" / "p" / "head_2_mask.png")
    with pytest.raises(InputError, match=r"head_2_mask\.png: not of its slice's size, 256 x 256 pixels"):
        patient.load_brain(tmp_path / "brains")
    (tmp_path / "brains" / "p" / "head_2_mask.png").unlink()
    with pytest.raises(InputError, match=r"head_2_mask\.png: cannot be opened"):
        patient.load_brain(tmp_path / "brains")


def test_all_problems_are_in_one_error(tmp_path: Path, write_slices: Write) -> None:
    folder = write_slices(tmp_path / "p", tuple(range(5)), masks=True)
    (folder / "head_1_mask.tif").unlink()
    (folder / "head_2.tif").unlink()
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(folder / "head_3_mask.tif")
    (folder / "head_4.tif").write_bytes(b"broken")
    for name in ("head_5.tif", "head_5_mask.tif"):
        Image.fromarray(np.zeros((8, 9), np.uint8)).save(folder / name)
    with pytest.raises(InputError) as caught:
        index_dataset(tmp_path)
    message = str(caught.value)
    assert "5 problem(s)" in message
    assert "head_5.tif: is 9 x 8 pixels, the patient's first slice 256 x 256" in message
    assert "head_1.tif: its mask head_1_mask.tif is missing" in message
    assert "head_2_mask.tif: a mask without its image" in message
    assert "head_3_mask.tif: is 8 x 9 pixels, its image 256 x 256" in message
    assert "head_4.tif: not readable" in message


def test_slices_are_tiff_by_either_ending_and_others_are_told(tmp_path: Path, write_slices: Write) -> None:
    for name, ending in (("a", ".tif"), ("b", ".tiff"), ("c", ".TIF")):
        for path in list(write_slices(tmp_path / name, (5,), masks=True).iterdir()):
            path.rename(path.with_suffix(ending))
    (tmp_path / "figures").mkdir()
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "figures" / "plot.png")
    assert [(patient.name, len(patient.images)) for patient in index_dataset(tmp_path)] == [("a", 1), ("b", 1), ("c", 1)]
    for path in list((tmp_path / "c").iterdir()):
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    with pytest.raises(InputError, match=r"c: holds slices that are no TIFF, such as the mask head_1_mask\.png"):
        index_dataset(tmp_path)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_training_sees_slices_in_the_size_that_a_prediction_does(tmp_path: Path, phantom: Volume, scale: int) -> None:
    mask = phantom.voxels[6, ..., 1] > 100
    for name, pixels in (("head_1", phantom.voxels[6]), ("head_1_mask", mask.astype(np.uint8) * 255)):
        (tmp_path / "p").mkdir(exist_ok=True)
        Image.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1)).save(tmp_path / "p" / f"{name}.tif")
    (patient,) = index_dataset(tmp_path)
    case = load_case(patient, Normalisation(), 256)
    assert case.images.shape == (1, 256, 256, 3) and case.images.dtype == np.uint8
    images, masks = patient.load()
    predicted = to_network_grid(images.astype(np.float32), 256)
    np.testing.assert_allclose(case.images, predicted, atol=0.5)
    assert case.masks.sum() == pytest.approx(mask.sum(), rel=0.03)
    assert (scale == 1) is bool(masks.shape[1] == 256)


def test_folders_that_are_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no patient folders"):
        index_dataset(tmp_path)
    with pytest.raises(InputError, match=r"x: no such folder\. Give the folder"):
        index_dataset(tmp_path / "x")
    (tmp_path / "data.csv").touch()
    with pytest.raises(InputError, match=r"data\.csv: a file\. Give the folder"):
        index_dataset(tmp_path / "data.csv")


@pytest.mark.parametrize(
    ("name", "site"),
    [("TCGA_DU_5849_19950405", "DU"), ("TCGA-HT-8010", "HT"), ("TCGA_DU", None), ("site_DU_1", None), ("my_TCGA_DU_1", None), ("", None)],
)
def test_only_names_of_tcga_tell_an_institution(name: str, site: str | None) -> None:
    assert institution(name) == site


def test_names_that_tell_no_institution_are_dealt_evenly_too() -> None:
    folds = list(make_folds([*NAMES[:7], *(f"site{n % 2}_{n}" for n in range(13))], folds=5).values())
    assert sorted(folds.count(str(k)) for k in range(5)) == [4] * 5


def test_folds_are_even_over_all_and_within_institutions() -> None:
    split = make_folds(NAMES, folds=5, seed=3)
    assert sorted(split) == sorted(NAMES)
    assert split == make_folds(reversed(NAMES), folds=5, seed=3)
    assert split != make_folds(NAMES, folds=5, seed=4)
    for site in ("", "CS", "DU", "HT"):
        folds = [fold for name, fold in split.items() if site in name]
        counts = [folds.count(str(k)) for k in range(5)]
        assert max(counts) - min(counts) <= 1


def test_split_file_round_trips(tmp_path: Path) -> None:
    split = make_folds([*NAMES, "Doe, Jane", 'the "first"', "Zoë"])
    write_split(split, tmp_path / "s.csv")
    assert read_split(tmp_path / "s.csv") == split
    with pytest.raises(InputError, match="exists already"):
        write_split(split, tmp_path / "s.csv")
    with pytest.raises(InputError, match=r"s\.csv.x\.csv: cannot be written \(.*\)\. Choose another --output"):
        write_split(split, tmp_path / "s.csv" / "x.csv")


def test_masks_of_ones_are_masks(tmp_path: Path, write_slices: Write) -> None:
    folder = write_slices(tmp_path / "p", (5,), masks=True)
    ones = np.zeros((256, 256), np.uint8)
    ones[:30] = 1
    Image.fromarray(ones).save(folder / "head_1_mask.tif")
    assert index_dataset(tmp_path)[0].load()[1].sum() == 30 * 256


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a split file, since it is empty"),
        (b"a,b\n1,2\n", "not a split file, since its first line is 'a,b'"),
        (b"patient;fold\r\na;0\r\n", "not a split file, since its first line is 'patient;fold'"),
        ("patient,fold\na,0\n".encode("utf-16"), "not a split file, since byte 0 is no UTF-8"),
        (b"patient,fold\n\xe9,0\n", "not a split file, since byte 13 is no UTF-8"),
    ],
)
def test_a_file_that_is_no_split(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "s.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"s\.csv: {reason}.* Expected a CSV in UTF-8 with the columns patient,fold, separated by commas"):
        read_split(tmp_path / "s.csv")


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(InputError, match=r"cannot be read \(.*\)\. Expected a CSV"):
            read_split(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfpatient,fold\r\na,0\r\nb,1\r\n",
        b"id,fold,patient,site\n7,0,a,x\n8,1,b,\n",
        b'"patient", "fold"\n"a" , 0\n\nb,1 \n,\n',
    ],
    ids=["of a spreadsheet", "with more columns", "with spaces"],
)
def test_splits_as_programs_write_them(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.csv").write_bytes(content)
    assert read_split(tmp_path / "s.csv") == {"a": "0", "b": "1"}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("a,0\nb\n", "the line 'b,' lacks"),
        ("a,0\nb,\n", "the line 'b,' lacks"),
        ("a,0\n,1\n", "the line ',1' lacks"),
        ("a,0\nb,1\na,1\n", "a stands in two folds"),
    ],
)
def test_every_patient_of_a_split_has_one_fold(tmp_path: Path, lines: str, reason: str) -> None:
    (tmp_path / "s.csv").write_text(f"patient,fold\n{lines}")
    with pytest.raises(InputError, match=reason):
        read_split(tmp_path / "s.csv")


def test_the_committed_split_is_the_command_s() -> None:
    split = read_split()
    ours = [name for name, fold in split.items() if fold != SEALED]
    assert len(ours) == 88 and len(split) == 110
    assert {name: split[name] for name in ours} == make_folds(ours)


def test_the_sealed_patients_are_the_published_ones(lgg: Path) -> None:
    listed = (lgg / "test_patients.txt").read_text().split()
    assert sorted(listed) == sorted(name for name, fold in read_split().items() if fold == SEALED)


@pytest.fixture
def four_patients(tmp_path: Path, write_slices: Write) -> Path:
    for name in "abcd":
        write_slices(tmp_path / "data" / name, (5,), masks=True)
    return tmp_path / "data"


SPLIT = {"a": "0", "b": "1", "c": "2", "d": SEALED}


def test_sealed_patients_are_not_trained_on_unless_asked(four_patients: Path) -> None:
    patients = index_dataset(four_patients)
    training, validation = divide(patients, SPLIT, "0")
    assert [p.name for p in training] == ["b", "c"]
    assert [p.name for p in validation] == ["a"]
    training, _ = divide(patients, SPLIT, "0", allowed=["d"])
    assert [p.name for p in training] == ["b", "c", "d"]
    with pytest.raises(InputError, match="not in the dataset: e"):
        divide(patients, SPLIT, "0", allowed=["d", "e"])


@pytest.mark.parametrize("spelled", [str, lambda name: name[:12].replace("_", "-"), str.lower])
def test_sealed_patients_are_left_out_of_any_split(tmp_path: Path, write_slices: Write, spelled: Callable[[str], str]) -> None:
    sealed = spelled(sorted(sealed_patients())[0])
    for name in ("a", "b", sealed):
        write_slices(tmp_path / "data" / name, (5,), masks=True)
    training, validation = divide(index_dataset(tmp_path / "data"), {"a": "0", "b": "1", sealed: "1"}, "0")
    assert [p.name for p in training + validation] == ["b", "a"]


@pytest.mark.parametrize(
    ("split", "fold", "reason"),
    [(SPLIT, "9", "leaves no validation"), ({"a": "0"}, "0", "3 patients without a fold in the split: b, c, d")],
)
def test_splits_that_do_not_fit(four_patients: Path, split: dict[str, str], fold: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        divide(index_dataset(four_patients), split, fold)


def test_of_many_patients_without_a_fold_some_are_named() -> None:
    with pytest.raises(InputError, match=r"^9 patients without a fold in the split: 1, 2, 3, 4, 5, …\. Make a new one \(gliomask split"):
        check_folds("0123456789", {"0": "1"})


def test_a_split_by_slice_has_every_slice_once_and_patients_on_both_sides(tmp_path: Path, write_slices: Write) -> None:
    sealed = sorted(sealed_patients())[0]
    for name in ("a", "b", sealed):
        write_slices(tmp_path / "data" / name, tuple(range(10)), stem=name, masks=True)
    patients = index_dataset(tmp_path / "data")
    training, validation = divide_slices(patients)
    held_out = [path for patient in validation for path in patient.images]
    everything = held_out + [path for patient in training for path in patient.images]
    assert len(held_out) == 4 and sorted(everything) == sorted(path for p in patients if p.name != sealed for path in p.images)
    assert {p.name for p in training} == {"a", "b"} and {p.name for p in validation} == {"a", "b"}
    assert all(image.stem == mask.stem.removesuffix("_mask") for p in validation for image, mask in zip(p.images, p.masks, strict=True))
    assert divide_slices(patients) == (training, validation)
    assert {p.name for p in divide_slices(patients, [sealed])[0]} == {"a", "b", sealed}
    with pytest.raises(InputError, match="0 slices cannot be divided"):
        divide_slices([p for p in patients if p.name == sealed])

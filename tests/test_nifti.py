import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from heads import LESION_CENTRE_MM, Matrix, centred, rotation, scan

pytest.importorskip("scipy", reason="the extra [volumes] is not installed")

from gliomask import InputError, Segmenter, Volume, read
from gliomask.cli import main
from gliomask.confidence import entropy
from gliomask.io import CaseSource
from gliomask.io.nifti import read_nifti, read_nifti_mask, write_nifti
from gliomask.measure import volume_ml

SHAPE = (60, 70, 12)
AFFINE = centred(np.diag([-3.75, -3.4, 12.0]), SHAPE)


def write(path: Path, data: Matrix, affine: Matrix = AFFINE, qform: int = 1, sform: int = 2, kind: type = nib.Nifti1Image) -> Path:
    image = kind(data, affine)
    image.set_qform(affine, qform, strip_shears=True)
    image.set_sform(affine, sform)
    nib.save(image, path)
    return path


@pytest.fixture
def flair() -> Matrix:
    """Return the head as a NIfTI array (x, y, z), int16."""
    return scan(AFFINE, SHAPE).transpose(2, 1, 0).astype(np.int16)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("codes", [(1, 2), (0, 4), (3, 0), (0, 0)])
@pytest.mark.parametrize(
    "linear", [AFFINE[:3, :3], rotation("x", 25)[:3, :3] @ AFFINE[:3, :3], np.array([[0, 0, 5.1], [4.2, 0, 0], [0, -6.3, 0]])]
)
def test_a_mask_has_its_inputs_header(
    tmp_path: Path, flair: Matrix, kind: type, ending: str, codes: tuple[int, int], linear: Matrix
) -> None:
    path = write(tmp_path / f"head{ending}", flair, centred(linear, SHAPE), *codes, kind)
    volume = read_nifti(path, "head")
    mask = np.zeros(volume.voxels.shape[:3], bool)
    mask[3, 20, 30] = True
    write_nifti(mask, volume, tmp_path / "out.nii.gz")
    given, made = nib.load(path), nib.load(tmp_path / "out.nii.gz")
    assert type(made) is type(given) and made.shape == given.shape and made.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(made.affine, given.affine)
    for field in ("qform_code", "sform_code", "pixdim", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x", "xyzt_units"):
        np.testing.assert_array_equal(made.header[field], given.header[field], field)
    assert np.argwhere(np.asanyarray(made.dataobj)).tolist() == [[30, 20, 3]]
    back, affine = read_nifti_mask(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(back, mask)
    np.testing.assert_array_equal(affine, volume.affine)


def test_what_may_name_the_patient_is_not_copied(tmp_path: Path, flair: Matrix) -> None:
    image = nib.Nifti1Image(flair, AFFINE)
    image.header["descrip"], image.header["aux_file"], image.header["db_name"] = b"DOE^JANE", b"jane.nii", b"Jane Doe"
    image.header["intent_name"], image.header["data_type"] = b"Jane", b"DOE"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe"))
    nib.save(image, tmp_path / "head.nii")
    volume = read(tmp_path / "head.nii")
    write_nifti(np.zeros(volume.voxels.shape[:3], bool), volume, tmp_path / "mask.nii")
    assert b"ane" not in (tmp_path / "mask.nii").read_bytes() and b"DOE" not in (tmp_path / "mask.nii").read_bytes()


def test_scaled_voxels_are_read_as_they_are_meant(tmp_path: Path, flair: Matrix) -> None:
    image = nib.Nifti1Image(flair, AFFINE)
    image.header.set_slope_inter(2.5, -10)
    nib.save(image, tmp_path / "head.nii")
    stored = np.asanyarray(nib.load(tmp_path / "head.nii").dataobj)
    np.testing.assert_array_equal(read(tmp_path / "head.nii").flair, stored.transpose(2, 1, 0))


def test_a_4d_file_of_one_volume_is_that_volume(tmp_path: Path, flair: Matrix) -> None:
    path = write(tmp_path / "head.nii.gz", flair[..., None])
    volume = read(path)
    assert volume.voxels.shape == (12, 70, 60, 1)
    write_nifti(np.zeros((12, 70, 60), bool), volume, tmp_path / "mask.nii.gz")
    assert nib.load(tmp_path / "mask.nii.gz").shape == (60, 70, 12, 1)


@pytest.mark.parametrize("shape", [(60, 70), (60, 70, 1)])
def test_a_single_slice_is_taken_and_told(tmp_path: Path, flair: Matrix, shape: tuple[int, ...], segmenter: Segmenter) -> None:
    nib.save(nib.Nifti1Image(flair[..., 6].reshape(shape), AFFINE), tmp_path / "head.nii")
    volume = read(tmp_path / "head.nii")
    assert volume.voxels.shape == (1, 70, 60, 1) and "one slice only, taken as 12 mm thick" in volume.notes
    write_nifti(segmenter.segment(volume).mask, volume, tmp_path / "mask.nii")
    assert nib.load(tmp_path / "mask.nii").shape == shape


def test_spacing_and_millilitres_come_from_the_affine(tmp_path: Path, flair: Matrix) -> None:
    turned = centred(rotation("y", 30)[:3, :3] @ np.diag([2.0, 3.0, 5.0]), SHAPE)
    volume = read(write(tmp_path / "head.nii", flair, turned))
    assert volume.spacing_mm == pytest.approx((2.0, 3.0, 5.0))
    assert volume_ml(np.ones((1, 1, 1), bool), volume.affine) == pytest.approx(0.03)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e-3), ("micron", 1e3), ("mm", 1.0), ("unknown", 1.0)])
def test_other_units_are_brought_to_millimetres_and_back(tmp_path: Path, flair: Matrix, unit: str, factor: float) -> None:
    stored = np.diag([factor, factor, factor, 1.0]) @ AFFINE
    image = nib.Nifti1Image(flair, stored)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "head.nii")
    volume = read(tmp_path / "head.nii")
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-5)
    write_nifti(np.ones(volume.voxels.shape[:3], bool), volume, tmp_path / "mask.nii")
    mask = nib.load(tmp_path / "mask.nii")
    np.testing.assert_array_equal(mask.affine, nib.load(tmp_path / "head.nii").affine)
    assert mask.header.get_xyzt_units()[0] == unit
    np.testing.assert_allclose(read_nifti_mask(tmp_path / "mask.nii")[1], AFFINE, rtol=1e-5)


def test_a_unit_that_is_none_is_taken_for_millimetres(tmp_path: Path, flair: Matrix) -> None:
    image = nib.Nifti1Image(flair, AFFINE)
    image.header["xyzt_units"] = 7
    nib.save(image, tmp_path / "head.nii")
    np.testing.assert_allclose(read(tmp_path / "head.nii").affine, AFFINE, rtol=1e-5)


def test_what_a_t1_is_used_as_is_part_of_the_input(tmp_path: Path) -> None:
    for name in ("flair", "t1"):
        (tmp_path / f"{name}.nii").write_bytes(name.encode())
    flair, t1 = tmp_path / "flair.nii", tmp_path / "t1.nii"
    case = CaseSource("p", flair, (flair,), kind="nifti")
    choices = ((None, None), (t1, None), (None, t1), (t1, t1))
    assert len({replace(case, sequences=sequences).sha256() for sequences in choices}) == 4


def test_a_sheared_volume_has_its_rows_and_columns_in_the_qform(tmp_path: Path) -> None:
    sheared = centred(np.array([[-0.9, 0, 0], [0, -0.9, 1.2], [0, 0, 5.0]]), SHAPE)
    volume = Volume(np.zeros((*SHAPE[::-1], 1), np.int16), "head", affine=sheared)
    write_nifti(np.zeros(SHAPE[::-1], bool), volume, tmp_path / "mask.nii")
    header = nib.load(tmp_path / "mask.nii").header
    np.testing.assert_allclose(header.get_sform(), sheared, atol=1e-5)
    np.testing.assert_allclose(header.get_qform()[:3, :2], sheared[:3, :2], atol=1e-5)
    np.testing.assert_allclose(header.get_qform()[:3, 3], sheared[:3, 3], atol=1e-4)
    np.testing.assert_allclose(header.get_zooms(), volume.spacing_mm, rtol=1e-6)


def test_a_damaged_quaternion_does_not_matter_beside_an_sform(tmp_path: Path, flair: Matrix) -> None:
    image = nib.Nifti1Image(flair, AFFINE)
    image.set_sform(AFFINE, 1)
    image.header["qform_code"], image.header["quatern_b"], image.header["quatern_c"] = 1, 0.9, 0.9
    nib.save(image, tmp_path / "head.nii")
    assert "the qform is damaged" in read(tmp_path / "head.nii").notes[0]


def test_only_a_mask_of_image_files_has_no_affine(tmp_path: Path) -> None:
    mask = np.zeros((2, 6, 8), bool)
    mask[0, 2:4, 3:5] = True
    write_nifti(mask, Volume(np.zeros((2, 6, 8, 1), np.uint8)), tmp_path / "twin.nii.gz")
    back, affine = read_nifti_mask(tmp_path / "twin.nii.gz")
    np.testing.assert_array_equal(back, mask)
    assert affine is None
    write(tmp_path / "other.nii", mask.astype(np.uint8), np.diag([2.0, 2, 5, 1]), 0, 0)  # of another tool: its spacing is said
    assert read_nifti_mask(tmp_path / "other.nii")[1] is not None


def test_a_mask_is_one_whatever_its_slope(tmp_path: Path) -> None:
    mask = np.zeros((6, 7, 8), np.uint8)
    mask[2:4, 3:5, 1] = 1
    image = nib.Nifti1Image(mask, AFFINE)
    image.header.set_slope_inter(1 / 255, 0)
    nib.save(image, tmp_path / "mask.nii")
    assert 0 < nib.load(tmp_path / "mask.nii").get_fdata().max() < 1
    np.testing.assert_array_equal(read_nifti_mask(tmp_path / "mask.nii")[0], mask.transpose(2, 1, 0) > 0)
    write(tmp_path / "two.nii", np.where(mask > 0, 0.5, 0.25).astype(np.float32))
    with pytest.raises(InputError, match=r"holds 2 different values from 0\.25 to 0\.5"):
        read_nifti_mask(tmp_path / "two.nii")


def test_a_mask_of_several_volumes_gets_no_advice_for_scans(tmp_path: Path) -> None:
    write(tmp_path / "m.nii", np.zeros((4, 4, 4, 2), np.uint8))
    with pytest.raises(
        InputError, match=r"m\.nii: holds 2 volumes \(4 x 4 x 4 x 2\); expected one\. Split it, and give the one that is meant"
    ):
        read_nifti_mask(tmp_path / "m.nii")


def test_probabilities_are_no_mask(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.linspace(0, 1, 64, dtype=np.float32).reshape(4, 4, 4), np.eye(4)), tmp_path / "p.nii")
    with pytest.raises(InputError, match=r"p\.nii: holds 64 different values from 0 to 1: a scan or probabilities, not a mask"):
        read_nifti_mask(tmp_path / "p.nii")


@pytest.mark.parametrize("spoil", [np.nan, "mask", "constant"])
def test_t1_that_is_no_image_is_named_itself(tmp_path: Path, flair: Matrix, spoil: object) -> None:
    t1 = flair.astype(np.float32)
    if spoil == "mask":
        t1 = (flair > 40).astype(np.float32)
    elif spoil == "constant":
        t1[:] = 7
    else:
        t1[0, 0, 0] = np.nan
    write(tmp_path / "t1.nii", t1)
    with pytest.raises(InputError, match=r"t1\.nii: (holds|all voxels)"):
        read(write(tmp_path / "head.nii", flair), pre=tmp_path / "t1.nii")


def test_codes_of_zero_are_told(tmp_path: Path, flair: Matrix) -> None:
    volume = read(write(tmp_path / "head.nii", flair, AFFINE, 0, 0))
    assert not volume.oriented and "left and right may be swapped" in volume.notes[0]


def test_forms_that_differ_are_told(tmp_path: Path, flair: Matrix) -> None:
    image = nib.Nifti1Image(flair, AFFINE)
    image.set_qform(centred(np.diag([3.0, 3.0, 3.0]), SHAPE), 1)
    image.set_sform(AFFINE, 1)
    nib.save(image, tmp_path / "head.nii")
    volume = read(tmp_path / "head.nii")
    assert "the sform is used" in volume.notes[0]
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)


def test_t1_is_brought_onto_flair(tmp_path: Path, flair: Matrix) -> None:
    other = centred(np.diag([4.0, 4.2, 6.0]), (58, 60, 30))
    write(tmp_path / "t1.nii", scan(other, (58, 60, 30)).transpose(2, 1, 0), other)
    volume = read(write(tmp_path / "head.nii", flair), post=tmp_path / "t1.nii")
    assert volume.voxels.shape == (12, 70, 60, 3)
    np.testing.assert_array_equal(volume.voxels[..., 0], volume.voxels[..., 1])  # FLAIR stands in for what is not given
    inside = volume.flair > 40
    assert np.abs(volume.voxels[..., 2] - volume.voxels[..., 1])[inside].mean() < 10  # of 124; slices are 12 mm thick
    assert volume.notes[0] == "post-contrast T1: “t1.nii”, resampled onto the FLAIR, of whose head it covers 100%"


def test_t1_of_another_place_is_refused(tmp_path: Path, flair: Matrix) -> None:
    elsewhere = AFFINE.copy()
    elsewhere[0, 3] += 400
    write(tmp_path / "t1.nii", flair, elsewhere)
    path = write(tmp_path / "head.nii", flair)
    with pytest.raises(InputError, match=r"t1\.nii: covers 0% of the head in “head\.nii” by its affine.*Register it first"):
        read(path, pre=tmp_path / "t1.nii")
    assert read_nifti(path, "head", tmp_path / "t1.nii", strict=False).voxels.shape[-1] == 1


BAD_HEADERS = {
    "zero spacing": ({"pixdim": [1, 0, 1, 1, 0, 0, 0, 0]}, r"head\.nii: a voxel spacing of 0, 1, 1 mm"),
    "negative spacing": ({"pixdim": [1, 1, 1, -2, 0, 0, 0, 0]}, r"a voxel spacing of 1, 1, -2 mm"),
    "spacing that is no number": ({"pixdim": [1, np.nan, 1, 1, 0, 0, 0, 0]}, r"a voxel spacing of nan"),
    "singular affine": ({"sform_code": 1, "srow_x": [1, 0, 0, 0], "srow_y": [2, 0, 0, 0], "srow_z": [0, 0, 1, 0]}, r"affine is singular"),
    "affine of NaN": ({"sform_code": 1, "srow_x": [np.nan, 0, 0, 0]}, r"four rows of four finite numbers"),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_a_bad_header_is_refused_and_named(tmp_path: Path, name: str) -> None:
    header, message = BAD_HEADERS[name]
    image = nib.Nifti1Image(np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16), AFFINE)
    nib.save(image, tmp_path / "head.nii")
    with (tmp_path / "head.nii").open("rb") as file:
        raw = nib.Nifti1Header.from_fileobj(file)
    for field, value in header.items():
        raw[field] = value
    content = bytearray((tmp_path / "head.nii").read_bytes())
    content[:348] = raw.binaryblock
    (tmp_path / "head.nii").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "head.nii")


def test_a_header_that_claims_too_much_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape((2000, 2000, 2000))
    (tmp_path / "head.nii").write_bytes(header.binaryblock + b"\0" * 4)
    with pytest.raises(InputError, match=r"head\.nii: too large \(2000 x 2000 x 2000 voxels\)"):
        read(tmp_path / "head.nii")


def test_five_thousand_slices_are_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 5000), np.uint8), np.eye(4)), tmp_path / "head.nii")
    with pytest.raises(InputError, match=r"too large \(4 x 4 x 5000 voxels\). At most 2048 along an axis"):
        read(tmp_path / "head.nii")


def test_voxels_within_the_header_are_refused(tmp_path: Path, flair: Matrix) -> None:
    """Read from the first byte, as nibabel takes it, the whole image would lie 352 bytes aside."""
    path = write(tmp_path / "head.nii", flair)
    content = bytearray(path.read_bytes())
    content[108:112] = np.float32(0).tobytes()
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"head\.nii: its header says that the voxels begin within it \(vox_offset 0\)"):
        read(path)


BAD_CONTENT = {
    "nan": (lambda a: np.where(a > 100, np.nan, a).astype(np.float32), "NaN or infinite"),
    "inf": (lambda a: np.where(a > 100, np.inf, a).astype(np.float32), "NaN or infinite"),
    "mask": (lambda a: (a > 100).astype(np.uint8), r"holds 2 different value\(s\) only \(0, 1\): a mask, not a scan"),
    "constant": (lambda a: np.zeros_like(a), "all voxels are 0; there is no image in it"),
    "several volumes": (lambda a: np.stack([a, a, a], axis=-1), "holds 3 volumes"),
    "complex": (lambda a: a.astype(np.complex64), "complex64"),
}


@pytest.mark.parametrize("name", BAD_CONTENT)
def test_bad_content_is_refused_and_named(tmp_path: Path, flair: Matrix, name: str) -> None:
    change, message = BAD_CONTENT[name]
    nib.save(nib.Nifti1Image(change(flair), AFFINE), tmp_path / "head.nii.gz")
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path / "head.nii.gz")
    assert "head.nii.gz" in str(error.value)


@pytest.mark.parametrize("kept", [0, 100, 400, 3000])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_truncated_file_is_refused_and_named(tmp_path: Path, flair: Matrix, kept: int, ending: str) -> None:
    path = write(tmp_path / f"head{ending}", flair)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"head\.nii.*(damaged|cut short)"):
        read(path)


@pytest.mark.parametrize("end", ["damaged within", "without checksum"])
def test_what_gzip_does_not_vouch_for_is_refused(tmp_path: Path, flair: Matrix, end: str) -> None:
    """Deflate decodes most damaged bytes to something, as long as the voxels' bytes."""
    path = write(tmp_path / "head.nii.gz", flair)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content if end == "damaged within" else path.read_bytes()[:-6])
    with pytest.raises(InputError, match=r"head\.nii\.gz: damaged, cut short"):
        read(path)


@pytest.mark.parametrize(("name", "packed"), [("Head.Nii.GZ", True), ("head.NII", False), ("head.nii.gz", False), ("head.nii", True)])
def test_content_counts_rather_than_the_ending(tmp_path: Path, flair: Matrix, name: str, packed: bool) -> None:
    path = write(tmp_path / f"made.nii{'.gz' if packed else ''}", flair).rename(tmp_path / name)
    np.testing.assert_array_equal(read(path).flair, flair.transpose(2, 1, 0))


def test_what_nibabel_says_of_headers_stays_off_the_screen(tmp_path: Path, flair: Matrix, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "head.nii", flair)
    content = bytearray(path.read_bytes())
    content[252:256] = np.array([-1, 7], "<i2").tobytes()  # qform_code, sform_code
    path.write_bytes(content)
    assert "orientation unknown" in read(path).notes[0]
    assert not caplog.text


def test_another_format_under_niftis_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "head.nii.gz").write_bytes(gzip.compress(b"not a scan" * 100))
    with pytest.raises(InputError, match=r"head\.nii\.gz: damaged, cut short or not NIfTI"):
        read(tmp_path / "head.nii.gz")


def test_padding_among_tissues_values_does_not_matter(segmenter: Segmenter) -> None:
    """A brain scaled to zero mean within it, with zeros around it, gives the mask of the brain with a dark background."""
    shape = (128, 128, 12)
    affine = centred(np.diag([-1.875, -1.875, 12.0]), shape)
    dark = np.where((head := scan(affine, shape)) > 20, head, 0.0).astype(np.float32)
    inside = dark[dark > 0]
    padded = np.where(dark > 0, (dark - inside.mean()) / inside.std(), 0.0).astype(np.float32)
    results = [segmenter.segment(Volume(v[..., None], "head", affine=affine)) for v in (padded, dark)]
    masks = [result.mask for result in results]
    assert masks[0].any()
    assert [result.measurements["lesions"][0]["laterality"] for result in results] == ["right", "right"]
    assert 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum()) > 0.98


def test_the_command_line_takes_nifti_and_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = (128, 128, 12)
    affine = centred(np.diag([-1.875, -1.875, 12.0]), shape)
    path = write(tmp_path / "p1_FLAIR.nii.gz", scan(affine, shape).transpose(2, 1, 0), affine)
    assert main(["segment", str(path), "--output", str(tmp_path / "out"), "--save-probability", "--save-uncertainty"]) == 0
    folder = tmp_path / "out" / "p1_FLAIR"
    assert {p.name for p in folder.iterdir()} == {
        "p1_FLAIR_mask.nii.gz", "p1_FLAIR_probability.nii.gz", "p1_FLAIR_uncertainty.nii.gz", "overlay.png", "result.json",
    }  # fmt: skip
    content = json.loads((folder / "result.json").read_text())
    lesion = content["measurements"]["lesions"][0]
    np.testing.assert_allclose(lesion["centroid_mm"], LESION_CENTRE_MM, atol=1.5)
    assert lesion["laterality"] == "right"
    assert content["spacing_mm"] == [1.875, 1.875, 12.0]
    mask, probability = (nib.load(folder / f"p1_FLAIR_{kind}.nii.gz") for kind in ("mask", "probability"))
    assert content["measurements"]["volume_ml"] == pytest.approx(mask.get_fdata().sum() * 1.875 * 1.875 * 12 / 1000, abs=1e-3)
    np.testing.assert_array_equal(mask.get_fdata() > 0, probability.get_fdata() >= content["threshold"])
    uncertainty, source = nib.load(folder / "p1_FLAIR_uncertainty.nii.gz"), nib.load(path)
    np.testing.assert_allclose(uncertainty.get_fdata(), entropy(probability.get_fdata()), atol=1e-5)
    np.testing.assert_array_equal(uncertainty.affine, source.affine)
    assert all(uncertainty.header[code] == source.header[code] for code in ("qform_code", "sform_code"))
    assert uncertainty.header.get_zooms() == source.header.get_zooms()
    assert f"{content['measurements']['volume_ml']:.1f} ml" in capsys.readouterr().out
    row = (tmp_path / "out" / "cases.csv").read_text().splitlines()[1]
    assert str(content["measurements"]["volume_ml"]) in row and str(lesion["longest_axial_diameter_mm"]) in row


def test_small_lesions_go_only_if_asked_and_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = (128, 128, 12)
    affine = centred(np.diag([-1.875, -1.875, 12.0]), shape)
    path = write(tmp_path / "head.nii", scan(affine, shape).transpose(2, 1, 0), affine)
    assert main(["segment", str(path), "--output", str(tmp_path / "out"), "--min-lesion-ml", "100"]) == 0
    content = json.loads((tmp_path / "out" / "head" / "result.json").read_text())
    assert content["found"] is False and content["measurements"]["volume_ml"] == 0
    assert main(["segment", str(path), "--output", str(tmp_path / "all")]) == 0
    kept = json.loads((tmp_path / "all" / "head" / "result.json").read_text())["measurements"]
    assert content["removed"]["lesions"] == len(kept["lesions"]) > 0
    assert content["removed"]["volume_ml"] == pytest.approx(kept["volume_ml"], abs=1e-3) and 20 < content["removed"]["volume_ml"] < 30
    assert main(["segment", str(path), "--output", str(tmp_path / "out")]) == 1
    assert "made with --min-lesion-ml 100, not without" in capsys.readouterr().err


def test_nifti_in_folders(tmp_path: Path, flair: Matrix) -> None:
    for patient in ("a", "b"):
        (tmp_path / patient).mkdir()
        for name in ("flair", "t1ce", "seg", "flair_mask"):
            write(tmp_path / patient / f"{patient}_{name}.nii.gz", flair)
    from gliomask.io import find_cases

    assert [case.name for case in find_cases([tmp_path])] == ["a_flair", "b_flair"]


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, flair: Matrix, forbid: Callable[[Path], None]) -> None:
    path = write(tmp_path / "flair.nii.gz", flair)
    forbid(path)
    with pytest.raises(InputError, match=r"flair\.nii\.gz: may not be read \(Permission denied\)"):
        read_nifti(path, "flair")

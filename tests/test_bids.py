import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from heads import Matrix, centred, scan

pytest.importorskip("scipy", reason="the extra [volumes] is not installed")

from gliomask import InputError
from gliomask.cli import main
from gliomask.confidence import entropy
from gliomask.io import find_cases, read, read_case
from gliomask.io.bids import write_derivative
from gliomask.models import find_model

SHAPE = (128, 128, 8)
AFFINE = centred(np.diag([-1.875, -1.875, 18.0]), SHAPE)


@pytest.fixture(scope="module")
def head() -> Matrix:
    return scan(AFFINE, SHAPE).transpose(2, 1, 0).astype(np.float32)


@pytest.fixture
def dataset(tmp_path: Path, head: Matrix) -> Path:
    """Return a raw BIDS dataset: a subject with two runs and T1, one with two sessions."""
    root = tmp_path / "raw"
    images = (
        "sub-01/anat/sub-01_run-1_FLAIR.nii.gz", "sub-01/anat/sub-01_run-2_FLAIR.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_ce-gd_T1w.nii.gz", "sub-02/ses-a/anat/sub-02_ses-a_FLAIR.nii", "sub-02/ses-b/anat/sub-02_ses-b_FLAIR.nii.gz",
        "derivatives/other/sub-01/anat/sub-01_FLAIR.nii.gz",
    )  # fmt: skip
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(head, AFFINE), root / image)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "Synthetic heads", "BIDSVersion": "1.10.0"}))
    return root


def test_every_flair_is_a_case_with_its_own_t1(dataset: Path) -> None:
    cases = {case.name: case for case in find_cases([dataset])}
    assert list(cases) == ["sub-01_run-1_FLAIR", "sub-01_run-2_FLAIR", "sub-02_ses-a_FLAIR", "sub-02_ses-b_FLAIR"]
    pre, post = cases["sub-01_run-2_FLAIR"].sequences
    assert (pre and pre.name, post and post.name) == ("sub-01_T1w.nii.gz", "sub-01_ce-gd_T1w.nii.gz")
    assert cases["sub-02_ses-a_FLAIR"].sequences == (None, None)


def test_a_dataset_without_flair_is_told(tmp_path: Path) -> None:
    (tmp_path / "sub-01" / "anat").mkdir(parents=True)
    (tmp_path / "dataset_description.json").write_text("{}")
    with pytest.raises(InputError, match="a BIDS dataset without FLAIR"):
        find_cases([tmp_path])


def test_a_damaged_description_is_told_before_anything_is_segmented(dataset: Path, tmp_path: Path) -> None:
    (dataset / "dataset_description.json").write_text('{"Name": ')
    with pytest.raises(InputError, match=r"dataset_description\.json: not readable as JSON"):
        find_cases([dataset])
    shutil.copytree(dataset / "sub-01" / "anat", tmp_path / "other")
    assert [bool(case.problem) for case in find_cases([tmp_path])] == [False, False, True]


def test_a_description_may_begin_with_a_byte_order_mark(dataset: Path, tmp_path: Path) -> None:
    (dataset / "dataset_description.json").write_text('{"Name": "Köpfe"}', encoding="utf-8-sig")
    case = find_cases([dataset])[0]
    write_derivative(case, tmp_path / "results", tmp_path / "out", "1")
    assert "Köpfe" in json.loads((tmp_path / "out" / "dataset_description.json").read_text())["Name"]


def test_forks_of_macos_are_no_images(dataset: Path) -> None:
    for name in ("FLAIR", "T1w", "ce-gd_T1w"):
        (dataset / "sub-01" / "anat" / f"._sub-01_{name}.nii.gz").write_bytes(b"\0\5\x16\7")
    first = find_cases([dataset])[0]
    assert first.name == "sub-01_run-1_FLAIR"
    assert [p and p.name for p in first.sequences] == ["sub-01_T1w.nii.gz", "sub-01_ce-gd_T1w.nii.gz"]


def test_subjects_that_cannot_be_reached_are_told(dataset: Path, forbid: Callable[[Path], None]) -> None:
    shutil.rmtree(dataset / "sub-02" / "ses-a")
    (dataset / "sub-02" / "ses-a").symlink_to("gone")
    (dataset / "sub-03").symlink_to("gone")
    forbid(dataset / "sub-01")
    problems = {case.name: case.problem for case in find_cases([dataset])}
    assert problems.pop("sub-02_ses-b_FLAIR") == ""
    assert "sub-01: may not be read (Permission denied)" in problems["sub-01"]
    assert "ses-a: a link to gone, which is not there" in problems["sub-02"]
    assert "sub-03: a link to gone, which is not there" in problems["sub-03"]


def test_images_that_were_not_fetched(dataset: Path) -> None:
    shutil.rmtree(dataset / "sub-02")
    for name in ("run-1_FLAIR", "T1w"):
        file = dataset / "sub-01" / "anat" / f"sub-01_{name}.nii.gz"
        file.unlink()
        file.symlink_to("gone")
    lost, found = find_cases([dataset])
    with pytest.raises(InputError, match=r"run-1_FLAIR\.nii\.gz: a link to gone, which is not there\. Fetch it"):
        read_case(lost)
    notes = read_case(found).notes
    assert "pre-contrast T1 not used. “sub-01_T1w.nii.gz”: a link to gone" in notes[0]
    assert "post-contrast T1: “sub-01_ce-gd_T1w.nii.gz”, resampled" in notes[1]


def test_contrast_agent_is_found_in_other_entities(dataset: Path) -> None:
    anat = dataset / "sub-01" / "anat"
    (anat / "sub-01_T1w.nii.gz").rename(anat / "sub-01_acq-preGd_T1w.nii.gz")
    (anat / "sub-01_ce-gd_T1w.nii.gz").rename(anat / "sub-01_acq-post_T1w.nii.gz")
    case = find_cases([dataset])[0]
    assert [p and p.name for p in case.sequences] == ["sub-01_acq-preGd_T1w.nii.gz", "sub-01_acq-post_T1w.nii.gz"]


def test_t1_that_was_named_has_to_fit(dataset: Path) -> None:
    shutil.rmtree(dataset / "sub-02")
    (dataset / "sub-01" / "anat" / "sub-01_run-1_FLAIR.nii.gz").unlink()
    with pytest.raises(InputError, match=r"missing\.nii: no such file"):
        read(dataset, pre=dataset / "missing.nii")


def test_derivatives_are_a_dataset_that_the_validator_accepts(dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert main(["segment", str(dataset), "--output", str(output), "--save-probability", "--save-uncertainty", "--all-lesions"]) == 0
    for image in ("sub-01/anat/sub-01_run-2", "sub-02/ses-b/anat/sub-02_ses-b"):
        mask = nib.load(output / f"{image}_space-orig_label-lesion_mask.nii.gz")
        np.testing.assert_array_equal(mask.affine, nib.load(dataset / f"{image}_FLAIR.nii.gz").affine)
        assert 0 < mask.get_fdata().sum() < mask.get_fdata().size / 10
        probability = nib.load(output / f"{image}_space-orig_label-lesion_probseg.nii.gz").get_fdata()
        np.testing.assert_array_equal(probability >= find_model("fast").threshold, mask.get_fdata() > 0)
        uncertainty = nib.load(output / f"{image}_space-orig_label-lesion_desc-uncertainty_probseg.nii.gz")
        np.testing.assert_array_equal(uncertainty.affine, mask.affine)
        np.testing.assert_allclose(uncertainty.get_fdata(), entropy(probability), atol=1e-5)
        sidecars = [
            json.loads((output / f"{image}_space-orig_label-lesion_{suffix}.json").read_text())
            for suffix in ("mask", "probseg", "desc-uncertainty_probseg")
        ]
        assert all(sidecar["Sources"] == [f"bids:raw:{image}_FLAIR.nii.gz"] for sidecar in sidecars)
        assert [sidecar.get("Type") for sidecar in sidecars] == ["Lesion", None, None]
        assert [sidecar.get("Units") for sidecar in sidecars] == [None, None, "bits"]
        assert sidecars[2]["Description"].startswith("Entropy of each voxel's calibrated probability")
    description = json.loads((output / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "gliomask"
    assert description["DatasetLinks"] == {"raw": "../raw"}
    assert len((output / "cases.csv").read_text().splitlines()) == 5
    deno, package = shutil.which("deno"), find_spec("bids_validator_deno")
    if deno is None or package is None or package.origin is None:
        pytest.skip("the BIDS validator is not installed; the files above are checked without it")
    # Not by its own command, which does not find deno where environments lie in layers; and without the network.
    bundle = Path(package.origin).with_name("bids-validator.js")
    command = [deno, "run", "--no-prompt", "--allow-read", "--allow-env", str(bundle), "--format", "json", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_a_second_run_without_probabilities_keeps_what_is_there(dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.rmtree(dataset / "sub-02")
    assert main(["segment", str(dataset), "--output", str(output)]) == 0
    assert not list(output.rglob("*probseg*"))
    before = {p: p.read_bytes() for p in output.rglob("sub-*_mask.*")}
    assert main(["segment", str(dataset), "--output", str(output)]) == 0
    assert {p: p.read_bytes() for p in output.rglob("sub-*_mask.*")} == before


def test_datasets_below_a_folder_or_in_a_zip_are_found(dataset: Path, tmp_path: Path) -> None:
    names = ["sub-01_run-1_FLAIR", "sub-01_run-2_FLAIR", "sub-02_ses-a_FLAIR", "sub-02_ses-b_FLAIR"]
    derived = tmp_path / "derived"
    (derived / "sub-01").mkdir(parents=True)
    (derived / "dataset_description.json").write_text(json.dumps({"DatasetType": "derivative"}))
    cases = find_cases([tmp_path])
    assert [case.name for case in cases] == names
    assert all(case.bids and case.bids[1] == dataset for case in cases)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in dataset.rglob("*"):
            archive.write(file, file.relative_to(tmp_path))
    assert [case.name for case in find_cases([tmp_path / "all.zip"])] == names


def test_a_zipped_dataset_is_named_by_its_zip(dataset: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("dataset_description.json", "sub-02/ses-a/anat/sub-02_ses-a_FLAIR.nii"):
            archive.write(dataset / name, name)
    assert main(["segment", str(tmp_path / "all.zip"), "--output", str(tmp_path / "out")]) == 0
    description = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert description["DatasetLinks"] == {"raw": "../all.zip"}
    assert (tmp_path / "out/sub-02/ses-a/anat/sub-02_ses-a_space-orig_label-lesion_mask.nii.gz").exists()


def test_two_datasets_do_not_mix_in_one_output(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(dataset / "sub-02")
    other = shutil.copytree(dataset, tmp_path / "other")
    output = tmp_path / "out"
    assert main(["segment", str(dataset), str(other), "--output", str(output)]) == 1
    assert "two BIDS datasets, whose results would mix" in capsys.readouterr().err
    assert not output.exists()
    assert main(["segment", str(dataset), "--output", str(output)]) == 0
    before = {p: p.read_bytes() for p in output.rglob("*") if p.is_file()}
    assert main(["segment", str(other), "--output", str(output)]) == 1
    assert "holds the derivatives of another BIDS dataset (../raw, not ../other)" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in output.rglob("*") if p.is_file()} == before


def test_a_missing_derivative_is_written_again(dataset: Path, tmp_path: Path) -> None:
    shutil.rmtree(dataset / "sub-02")
    output = tmp_path / "out"
    assert main(["segment", str(dataset), "--output", str(output)]) == 0
    masks = sorted((output / "sub-01").rglob("*_mask.nii.gz"))
    masks[0].unlink()
    assert main(["segment", str(dataset), "--output", str(output)]) == 0
    assert sorted((output / "sub-01").rglob("*_mask.nii.gz")) == masks


def test_a_corrected_mask_is_kept_with_its_result_and_replaced_when_overwriting(dataset: Path, tmp_path: Path) -> None:
    shutil.rmtree(dataset / "sub-02")
    segment = ["segment", str(dataset), "--output", str(tmp_path / "out")]
    assert main([*segment, "--save-probability"]) == 0
    images = sorted((tmp_path / "out" / "sub-01").rglob("*.nii.gz"))
    assert len(images) == 4
    assert main([*segment, "--save-probability", "--save-uncertainty"]) == 1  # its result has none
    assert sorted((tmp_path / "out" / "sub-01").rglob("*.nii.gz")) == images
    corrected, sidecar = images[0], images[0].with_name(images[0].name.replace(".nii.gz", ".json"))
    for file in (corrected, sidecar):
        file.write_bytes(b"corrected by hand")
    assert main([*segment, "--save-probability"]) == 0
    assert corrected.read_bytes() == sidecar.read_bytes() == b"corrected by hand"
    assert main([*segment, "--overwrite"]) == 0
    assert sorted((tmp_path / "out" / "sub-01").rglob("*.nii.gz")) == [image for image in images if "probseg" not in image.name]
    assert nib.load(corrected).shape == SHAPE
    assert json.loads(sidecar.read_text())["Type"] == "Lesion"
    assert main([*segment, "--overwrite", "--save-uncertainty"]) == 0
    assert len(list((tmp_path / "out" / "sub-01").rglob("*_desc-uncertainty_probseg.*"))) == 4
    assert main([*segment, "--overwrite"]) == 0
    assert not list((tmp_path / "out" / "sub-01").rglob("*uncertainty*"))


@pytest.mark.parametrize("generated", [{}, {"GeneratedBy": [{"Name": "An expert"}]}, {"GeneratedBy": "gliomask"}])
def test_derivatives_of_another_tool_are_left_alone(
    dataset: Path, generated: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    output = dataset / "derivatives" / "manual"
    output.mkdir()
    (output / "dataset_description.json").write_text(json.dumps({"Name": "Manual"} | generated))
    assert main(["segment", str(dataset), "--output", str(output), "--overwrite"]) == 1
    assert "manual/dataset_description.json: GeneratedBy does not name gliomask" in capsys.readouterr().err
    assert [path.name for path in output.iterdir()] == ["dataset_description.json"]


def test_files_that_no_result_accounts_for_stay(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(dataset / "sub-02")
    own = [tmp_path / "out" / name for name in ("README.md", ".bidsignore", "sub-01/anat/sub-01_run-1_space-orig_label-lesion_mask.nii.gz")]
    for file in own:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
    assert main(["segment", str(dataset), "--output", str(tmp_path / "out"), "--overwrite"]) == 1
    assert f"{own[-1]}: is there already and belongs to no result" in capsys.readouterr().err
    assert [file.read_text() for file in own] == ["mine"] * 3
    assert [folder.name for folder in (tmp_path / "out" / "cases").iterdir()] == ["sub-01_run-2_FLAIR"]


@pytest.mark.parametrize("place", ["", "sub-01", "sub-02/ses-a/anat/new"])
def test_results_do_not_go_among_the_raw_images(dataset: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(dataset.rglob("*"))
    assert main(["segment", str(dataset), "--output", str(dataset / place)]) == 1
    error = capsys.readouterr().err
    assert "in the BIDS dataset itself" in error and str(dataset / "derivatives" / "gliomask") in error
    assert sorted(dataset.rglob("*")) == before

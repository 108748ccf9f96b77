"""What the page is made of, without Streamlit: files sorted into cases, the thread that works, what is kept, drawn and handed out."""

import csv
import errno
import gc
import gzip
import importlib
import inspect
import io
import subprocess
import sys
import threading
import time
import weakref
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cc3d
import nibabel
import numpy as np
import pytest
from dicom_files import FLAIR, Geometry, Study, write_series
from heads import LESION_CENTRE_MM, LESION_RADII_MM, centred, scan
from numpy.typing import NDArray
from PIL import Image

from gliomask import ModelError, Segmenter, Volume
from gliomask.app import desk as desks
from gliomask.app import scene, takeaway, uploads, visits
from gliomask.app.case import Found, Names, Summary
from gliomask.app.desk import Desk
from gliomask.app.disk import Disk
from gliomask.app.keep import Keep
from gliomask.app.uploads import Group, Received
from gliomask.app.wording import agreement, area_phrases, cautions, headline, measured, ml, not_in_table, overall, progress
from gliomask.app.work import Progress, Workroom
from gliomask.engine import OnnxEngine
from gliomask.io.nifti import write_nifti
from gliomask.measure import area_pixels, measurements
from gliomask.phantom import lesion_mask
from gliomask.segmentation import Segmentation

LESION = 6  # the phantom's slice with most tumour
PATIENCE_S = 120.0


class Sent(io.BytesIO):
    """An uploaded file."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.name, self.size = name, len(content)


def image(pixels: NDArray[Any], kind: str = "PNG", others: tuple[NDArray[Any], ...] = ()) -> bytes:
    content = io.BytesIO()
    more = {"save_all": True, "append_images": [Image.fromarray(o) for o in others]} if others else {}
    Image.fromarray(pixels).save(content, format=kind, **more)
    return content.getvalue()


def nifti(array: NDArray[Any], affine: NDArray[np.float64]) -> bytes:
    return gzip.compress(nibabel.Nifti1Image(array.transpose(2, 1, 0), affine).to_bytes())


SHAPE_XYZ = (80, 100, 8)
AFFINE = centred(np.diag([2.4, 2.4, 11.0]), SHAPE_XYZ, (0.0, 0.0, 8.0))


@pytest.fixture(scope="session")
def head() -> NDArray[np.float32]:
    return scan(AFFINE, SHAPE_XYZ)


@pytest.fixture(scope="session")
def lesion() -> NDArray[np.bool_]:
    z, y, x = np.indices(SHAPE_XYZ[::-1])
    place = (AFFINE @ np.stack([x.ravel(), y.ravel(), z.ravel(), np.ones(x.size)]))[:3].T
    return ((((place - LESION_CENTRE_MM) / LESION_RADII_MM) ** 2).sum(axis=1) < 1.0).reshape(x.shape)


@pytest.fixture
def predictions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have a bright patch marked in every slice in place of the network; each call adds its number of slices to the list."""
    calls: list[int] = []

    def run(self: OnnxEngine, slices: NDArray[np.float32]) -> NDArray[np.float32]:
        calls.append(len(slices))
        probability = np.zeros((*slices.shape[:3], 1), np.float32)
        probability[:, 100:120, 100:130] = 0.8
        return probability

    monkeypatch.setattr(OnnxEngine, "run", run)
    return calls


@pytest.fixture(scope="module")
def room() -> Workroom:
    return Workroom(Segmenter)


@pytest.fixture
def results() -> Keep[Found]:
    return Keep(8, 2**28)


@pytest.fixture
def desk(room: Workroom, results: Keep[Found], predictions: list[int]) -> Iterator[Desk]:
    yield Desk(room, results)


def finished(desk: Desk) -> Desk:
    until(lambda: not desk.busy)
    return desk


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def states(desk: Desk) -> dict[str, str]:
    return {case.name: case.progress.stage for case in finished(desk).cases.values()}


class TestGrouping:
    """Which files belong together."""

    def grouped(self, *names: str, header: Any = (64, 64, 1), dicom: bool = False) -> dict[str, Group]:
        files = [Received(name, Path(f"/nowhere/{n}")) for n, name in enumerate(names)]
        groups = uploads.grouped(files, is_dicom=lambda path: dicom, header=lambda path: header)
        assert len({group.name for group in groups}) == len(groups)
        return {group.name: group for group in groups}

    def test_slices_that_differ_by_a_number_are_one_volume_in_natural_order(self) -> None:
        found = self.grouped("TCGA_A_10.tif", "TCGA_A_2.tif", "TCGA_A_2_mask.tif", "other.png")
        assert list(found) == ["TCGA_A", "other"]
        assert [f.name for f in found["TCGA_A"].files] == ["TCGA_A_2.tif", "TCGA_A_10.tif"]
        assert [f.name for f in found["TCGA_A"].masks] == ["TCGA_A_2_mask.tif"]

    def test_two_patients_are_two_volumes(self) -> None:
        assert list(self.grouped("a_1.png", "b_1.png", "a_2.png", "b_2.png")) == ["a", "b"]

    def test_pages_and_unreadable_images_stay_by_themselves(self) -> None:
        assert list(self.grouped("a_1.tif", "a_2.tif", header=(64, 64, 5))) == ["a_1", "a_2"]
        assert list(self.grouped("a_1.tif", "a_2.tif", header=None)) == ["a_1", "a_2"]

    def test_slices_of_a_volume_can_be_taken_apart(self) -> None:
        apart = uploads.singles(self.grouped("a_1.png", "a_2.png", "a_2_mask.png")["a"])
        assert [(g.name, [m.name for m in g.masks]) for g in apart] == [("a_1", []), ("a_2", ["a_2_mask.png"])]

    def test_nifti_siblings_are_found_by_what_their_names_share(self) -> None:
        names = ("p1_flair.nii.gz", "p1_t1.nii.gz", "p1_t1ce.nii.gz", "p1_t2.nii.gz", "p2_flair.nii.gz", "p1_seg.nii.gz")
        found = self.grouped(*names)
        assert list(found) == ["p1_flair", "p2_flair"]
        assert [f and f.name for f in found["p1_flair"].sequences] == ["p1_t1.nii.gz", "p1_t1ce.nii.gz"]
        assert [f.name for f in found["p1_flair"].masks] == ["p1_seg.nii.gz"]
        assert found["p1_flair"].notes == ("not used: “p1_t2.nii.gz”",)
        assert found["p2_flair"].sequences == (None, None)

    def test_before_and_after_of_one_subject_are_kept_apart(self) -> None:
        names = [f"p1_{when}_{sequence}.nii.gz" for when in ("pre", "post") for sequence in ("flair", "t1", "t1ce", "seg")]
        found = self.grouped(*names)
        assert list(found) == ["p1_pre_flair", "p1_post_flair"]
        for when in ("pre", "post"):
            group = found[f"p1_{when}_flair"]
            assert [f and f.name for f in group.sequences] == [f"p1_{when}_t1.nii.gz", f"p1_{when}_t1ce.nii.gz"]
            assert [f.name for f in group.masks] == [f"p1_{when}_seg.nii.gz"]

    def test_what_is_of_neither_time_belongs_to_both(self) -> None:
        found = self.grouped("s_flair_pre.nii", "s_flair_post.nii", "s_t1.nii", "s_seg.nii")
        assert {name: [f and f.name for f in group.sequences] for name, group in found.items()} == {
            "s_flair_pre": ["s_t1.nii", None],
            "s_flair_post": ["s_t1.nii", None],
        }

    def test_pre_and_post_are_contrast_agents_where_there_is_one_flair(self) -> None:
        group = self.grouped("p1_post_flair.nii.gz", "p1_pre_t1.nii.gz", "p1_post_t1.nii.gz")["p1_post_flair"]
        assert [f and f.name for f in group.sequences] == ["p1_pre_t1.nii.gz", "p1_post_t1.nii.gz"]

    @pytest.mark.parametrize("kind", ["probability", "uncertainty"])
    @pytest.mark.parametrize("ending", [".png", ".nii.gz"])
    def test_maps_of_a_result_are_neither_slices_nor_references(self, kind: str, ending: str) -> None:
        found = self.grouped(f"a_1{ending}", f"a_1_{kind}{ending}", f"a_1_mask{ending}")
        assert {name: len(group.files) for name, group in found.items()} == {"a_1": 1, f"a_1_{kind}": 1}
        assert [f.name for f in found["a_1"].masks] == [f"a_1_mask{ending}"]

    def test_single_mask_belongs_to_the_single_scan(self) -> None:
        assert [m.name for m in self.grouped("scan.nii", "expert_mask.nii")["scan"].masks] == ["expert_mask.nii"]

    def test_dicom_files_without_endings_are_one_heap(self) -> None:
        assert [len(g.files) for g in self.grouped("IM1", "IM2", "IM3.dcm", dicom=True).values()] == [3]

    def test_mask_without_its_image_and_unknown_files_are_cases_that_will_be_refused(self) -> None:
        found = self.grouped("a_mask.png", "notes.txt", "b.zip")
        assert {name: group.kind for name, group in found.items()} == {"a_mask": "images", "notes": "unknown", "b": "zip"}

    @pytest.mark.parametrize(
        ("sent", "cleaned"),
        [
            ("a.png", "a.png"),
            ("../../etc/a.png", "a.png"),
            ("C:\\scans\\a.png", "a.png"),
            ('a<b>"c"\n|?*.png', "a_b__c_ ___.png"),
            ("", "file"),
            (".hidden", "hidden"),
            ("x" * 300 + ".png", "x" * 116 + ".png"),
        ],
    )
    def test_names_are_cleaned(self, sent: str, cleaned: str) -> None:
        assert uploads.clean_name(sent) == cleaned


class TestDesk:
    """From uploads to results."""

    def test_slices_become_a_volume_under_their_own_names(self, desk: Desk, phantom: Volume, predictions: list[int]) -> None:
        desk.receive([Sent(f"head_{z}.png", image(phantom.voxels[z])) for z in (7, 5, 6)])
        assert states(desk) == {"head": "done"}
        assert predictions == [3]
        found = desk.found("1")
        assert found is not None
        assert found.result.volume.slice_names == ("head_5", "head_6", "head_7")
        assert desk.cases["1"].summary == Summary(tuple(area_pixels(found.result.mask)), None)

    def test_maps_of_a_result_are_refused_by_what_they_are(self, desk: Desk, phantom: Volume) -> None:
        desk.receive([Sent(name, image(phantom.voxels[LESION])) for name in ("a.png", "a_probability.png", "a_uncertainty.png")])
        reasons = {case.name: case.problem for case in finished(desk).cases.values()}
        assert reasons == {
            "a": "",
            "a_probability": "a_probability.png: probabilities by its name, not an input. Give the scan with it.",
            "a_uncertainty": "a_uncertainty.png: uncertainty by its name, not an input. Give the scan with it.",
        }

    def test_input_digest_is_that_of_the_command_line(self, desk: Desk, phantom: Volume, tmp_path: Path) -> None:
        (tmp_path / "head.png").write_bytes(image(phantom.voxels[LESION]))
        desk.receive([Sent("head.png", (tmp_path / "head.png").read_bytes())])
        found = finished(desk).found("1")
        assert found is not None
        from gliomask.io import read

        assert found.result.volume.sha256 == read(tmp_path / "head.png").sha256

    def test_a_t1_taken_for_the_other_one_is_another_input(self, desk: Desk, head: NDArray[np.float32], tmp_path: Path) -> None:
        from gliomask.io import read

        content = {"p_flair.nii.gz": nifti(head, AFFINE), "p_t1.nii.gz": nifti(head + 1, AFFINE)}
        for name, packed in content.items():
            (tmp_path / name).write_bytes(packed)
        desk.receive([Sent(name, packed) for name, packed in content.items()])
        desk.receive([Sent(name.replace("_t1", "_t1ce"), packed) for name, packed in content.items()])
        first, second = finished(desk).cases.values()
        assert first.key != second.key
        assert first.sha256 == read(tmp_path / "p_flair.nii.gz", pre=tmp_path / "p_t1.nii.gz").sha256 != second.sha256

    def test_no_file_has_its_own_name_on_the_disk_and_all_go_with_the_desk(
        self, room: Workroom, results: Keep[Found], phantom: Volume, predictions: list[int]
    ) -> None:
        desk = Desk(room, results)
        desk.receive([Sent("Jane_Doe.png", image(phantom.voxels[LESION]))])
        folder = desk._folder
        finished(desk)
        assert len(results) == 1
        assert [p.name for p in folder.rglob("*") if p.is_file()] == ["upload-0001.png"]
        del desk
        until(lambda: bool(gc.collect() is not None and not folder.exists()))
        assert len(results) == 0

    def test_nifti_with_its_reference(self, desk: Desk, head: NDArray[np.float32], lesion: NDArray[np.bool_]) -> None:
        desk.receive([Sent("p_flair.nii.gz", nifti(head, AFFINE)), Sent("p_mask.nii.gz", nifti(lesion.astype(np.uint8), AFFINE))])
        assert states(desk) == {"p_flair": "done"}
        found = desk.found("1")
        assert found is not None and found.reference is not None
        assert np.array_equal(found.reference, lesion)

    def test_reference_with_its_axes_in_another_order(self, desk: Desk, head: NDArray[np.float32], lesion: NDArray[np.bool_]) -> None:
        flipped = np.diag([-1.0, -1.0, 1.0, 1.0])
        flipped[:2, 3] = SHAPE_XYZ[0] - 1, SHAPE_XYZ[1] - 1
        mask = nifti(lesion[:, ::-1, ::-1].astype(np.uint8), AFFINE @ flipped)
        desk.receive([Sent("p_flair.nii.gz", nifti(head, AFFINE)), Sent("p_mask.nii.gz", mask)])
        found = finished(desk).found("1")
        assert found is not None and found.reference is not None
        assert np.array_equal(found.reference, lesion)

    def test_slices_without_a_mask_are_counted(self, desk: Desk, phantom: Volume) -> None:
        pages = [Sent(f"s_{z}.png", image(phantom.voxels[z])) for z in range(4, 8)]
        masks = [Sent(f"s_{z}_mask.png", image(lesion_mask()[z].astype(np.uint8) * 255)) for z in (5, 6)]
        desk.receive([*pages, *masks])
        found = finished(desk).found("1")
        assert found is not None and found.reference is not None
        assert (found.slices_without, found.reference.any(axis=(1, 2)).tolist()) == (2, [False, True, True, False])

    def test_reference_that_lies_elsewhere_is_told(self, desk: Desk, head: NDArray[np.float32], lesion: NDArray[np.bool_]) -> None:
        moved = AFFINE.copy()
        moved[0, 3] += 5
        desk.receive([Sent("p_flair.nii.gz", nifti(head, AFFINE)), Sent("p_mask.nii.gz", nifti(lesion.astype(np.uint8), moved))])
        found = finished(desk).found("1")
        assert found is not None and found.reference is None
        assert "lies 5.0 mm from the scan" in found.reference_problem and "upload-" not in found.reference_problem

    def test_reference_of_image_files_has_no_place_in_a_scan(
        self, desk: Desk, head: NDArray[np.float32], lesion: NDArray[np.bool_], tmp_path: Path
    ) -> None:
        write_nifti(lesion, Volume(head[..., None]), tmp_path / "twin.nii.gz")
        desk.receive([Sent("p_flair.nii.gz", nifti(head, AFFINE)), Sent("p_mask.nii.gz", (tmp_path / "twin.nii.gz").read_bytes())])
        found = finished(desk).found("1")
        assert found is not None and found.reference is None
        assert "says nothing of its place" in found.reference_problem

    def test_zip_of_dicom_and_many_dicom_files_are_one_result(
        self, desk: Desk, head: NDArray[np.float32], tmp_path: Path, predictions: list[int]
    ) -> None:
        files = dicom_series(tmp_path, head)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for file in files:
                archive.write(file, f"Study/{file.name}")
        desk.receive([Sent("study.zip", packed.getvalue()), *(Sent(file.name, file.read_bytes()) for file in files)])
        until(lambda: not desk.busy)
        assert states(desk) == {"study": "done", "study_2": "done"}
        first, second = (desk.found(number) for number in desk.cases)
        assert first is not None and second is not None
        assert np.array_equal(first.result.mask, second.result.mask)

    def test_series_is_asked_for_where_none_says_that_it_is_flair(
        self, desk: Desk, head: NDArray[np.float32], tmp_path: Path, predictions: list[int]
    ) -> None:
        nameless = {"SeriesDescription": "cerebrum", "InversionTime": None, "EchoTime": None}
        study = Study.new()
        files = [
            *dicom_series(tmp_path / "one", head, **nameless, study=study, SeriesNumber=4),
            *dicom_series(tmp_path / "other", head[::-1], **nameless, study=study, SeriesNumber=7),
        ]
        desk.receive([Sent(f"{file.parent.name}{file.name}", file.read_bytes()) for file in files])
        case = finished(desk).cases["1"]
        assert (case.progress.stage, case.problem) == ("failed", "No series of this study says that it is FLAIR.")
        depth = len(head)
        assert list(case.series.values()) == [f"series {number} 'cerebrum', {depth} slices" for number in (4, 7)]
        results = []
        for uid in case.series:
            case.force = True
            desk.take_series("1", uid)
            assert not case.force
            until(lambda: not desk.busy)
            results.append(desk.found("1"))
            assert case.progress.stage == "done"
        assert [found.result.volume.notes[0] for found in results if found] == [
            f"series {number} 'cerebrum', {depth} slices (as asked)" for number in (4, 7)
        ]

    def test_another_flair_series_of_the_study_can_be_taken(
        self, desk: Desk, head: NDArray[np.float32], tmp_path: Path, predictions: list[int]
    ) -> None:
        study, depth = Study.new(), len(head)
        files = [
            *dicom_series(tmp_path / "one", head[:-1], study=study, SeriesNumber=4),
            *dicom_series(tmp_path / "other", head, study=study, SeriesNumber=7),
        ]
        desk.receive([Sent(f"{file.parent.name}{file.name}", file.read_bytes()) for file in files])
        case = finished(desk).cases["1"]
        names = [name.partition(" '")[0] + name.rpartition("'")[2] for name in case.series.values()]
        assert names == [f"series 7, {depth} slices", f"series 4, {depth - 1} slices"]  # what was taken first
        desk.take_series("1", list(case.series)[1])
        found = finished(desk).found("1")
        assert found is not None and len(found.result.mask) == depth - 1
        assert list(case.series) == list(found.result.volume.flair_series) and len(case.series) == 2

    def test_one_bad_case_does_not_spoil_the_rest(self, desk: Desk, phantom: Volume) -> None:
        sent = [
            Sent("empty.png", b""),
            Sent("cut.nii.gz", b"nonsense"),
            Sent("broken.zip", b"PK nonsense"),
            Sent("notes.txt", b"hello"),
            Sent("a_mask.png", image(phantom.voxels[LESION])),
            Sent("head.png", image(phantom.voxels[LESION])),
        ]
        desk.receive(sent)
        assert desk.problems == []
        assert states(desk) == {**dict.fromkeys(("empty", "cut", "broken", "notes", "a_mask"), "failed"), "head": "done"}
        for case, name in zip(desk.cases.values(), ("empty.png", "cut.nii.gz", "broken.zip", "notes.txt", "a_mask.png"), strict=False):
            assert case.problem.startswith(f"{name}: "), case.problem
            assert "upload-" not in case.problem and "/" not in case.problem.replace("and/or", "")

    def test_what_is_no_brain_is_refused_with_reasons_until_it_is_forced(self, desk: Desk) -> None:
        desk.receive([Sent("grey.png", image(np.full((64, 64), 90, np.uint8)))])
        assert states(desk) == {"grey": "refused"}
        assert desk.cases["1"].reasons and desk.found("1") is None
        desk.force("1")
        assert states(desk) == {"grey": "done"}

    def test_equal_files_are_predicted_once_and_keep_their_names(self, desk: Desk, phantom: Volume, predictions: list[int]) -> None:
        content = image(phantom.voxels[LESION])
        desk.receive([Sent("a.png", content), Sent("b.png", content)])
        assert states(desk) == {"a": "done", "b": "done"}
        assert predictions == [1]
        assert [found.result.volume.slice_names for n in "12" if (found := desk.found(n))] == [("a",), ("b",)]

    def test_evicted_result_is_computed_again(self, room: Workroom, phantom: Volume, predictions: list[int]) -> None:
        desk = Desk(room, Keep(1, 2**28))
        desk.receive([Sent("a.png", image(phantom.voxels[5])), Sent("b.png", image(phantom.voxels[6]))])
        finished(desk)
        assert desk.found("1") is None
        assert finished(desk).found("1") is not None
        assert predictions == [1, 1, 1]

    def test_slices_taken_apart(self, desk: Desk, phantom: Volume) -> None:
        desk.receive([Sent(f"head_{z}.png", image(phantom.voxels[z])) for z in (5, 6)])
        assert desk.may_take_apart("1")
        desk.take_apart("1")
        assert states(desk) == {"head_5": "done", "head_6": "done"}

    def test_bounds_in_files_bytes_pixels_and_cases(self, desk: Desk, phantom: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
        content = image(phantom.voxels[LESION])
        monkeypatch.setattr(desks, "MAX_FILES", 4)
        monkeypatch.setattr(desks, "MAX_CASES", 2)
        monkeypatch.setattr(desks, "MAX_PIXELS", 2**10)
        monkeypatch.setattr(desks, "MAX_SESSION_MB", 1)
        sent = [Sent("vast.png", bytes(2**21)), *(Sent(f"{n}.png", content) for n in "abcd")]
        desk.receive(sent)
        problems = desk.problems
        assert problems[0] == "Only the first 4 of 5 files were taken. Pack the others into a zip."
        assert [problem.partition(":")[0] for problem in problems[1:]] == ["vast.png", "c"]
        assert states(desk) == {"a": "failed", "b": "failed"}
        assert "too large" in desk.cases["1"].problem

    def test_cases_that_find_no_room_are_told_and_a_volume_stays_whole(
        self, desk: Desk, phantom: Volume, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(desks, "MAX_CASES", 3)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name in "pqr":
                archive.writestr(f"{name}/1.png", image(phantom.voxels[LESION]))
        slices = [Sent(f"head_{z}.png", image(phantom.voxels[z])) for z in (4, 5, 6, 7)]
        desk.receive([*slices, Sent("many.zip", packed.getvalue())])
        assert states(desk) == {"head": "done", "p": "done", "q": "done"}
        full = "since at most 3 cases fit on this page. Remove some, or use the command line."
        assert desk.problems == [f"many: 1 of its 3 cases not taken, {full}"]
        desk.take_apart("1")
        assert desk.problems[1:] == [f"head: not taken apart into 4 cases, {full}"]
        assert desk.may_take_apart("1") and states(desk) == {"head": "done", "p": "done", "q": "done"}

    def test_zip_that_unpacks_to_more_than_there_is_room_for(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a", bytes(2**21))
        monkeypatch.setattr(desks, "MAX_SESSION_MB", 1)
        desk.receive([Sent("big.zip", packed.getvalue())])
        assert states(desk) == {"big": "failed"}
        assert desk.cases["1"].problem == (
            "big.zip: unpacks to 2 MB, and all files of a visit together may have 1 MB. Load the page again to begin afresh."
        )

    def test_what_zips_unpack_to_counts_for_the_whole_visit(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a", bytes(2**19 + 2**18))
        monkeypatch.setattr(desks, "MAX_SESSION_MB", 1)
        desk.receive([Sent("first.zip", packed.getvalue()), Sent("second.zip", packed.getvalue())])
        assert states(desk) == {"first": "failed", "second": "failed"}
        assert [case.problem.partition(": ")[2][:11] for case in desk.cases.values()] == ["holds no sc", "unpacks to "]

    def test_bound_over_all_visitors_until_one_leaves(self, room: Workroom, phantom: Volume, predictions: list[int]) -> None:
        content = image(phantom.voxels[LESION])
        disk = Disk(len(content) + 100)
        first, second = (Desk(room, Keep(9, 10**9), disk) for _ in range(2))
        first.receive([Sent("a.png", content)])
        assert first.problems == []
        second.receive([Sent("b.png", content)])
        assert second.problems == [
            "b.png: not taken, since this page is full with the files of all its visitors. Try again in a while, or run gliomask yourself."
        ]
        states(first)
        del first
        until(lambda: gc.collect() >= 0 and disk.taken == 0)
        second.receive([Sent("b.png", content)])
        assert second.problems == []

    def test_full_disk_is_told(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(desks.shutil, "copyfileobj", full)
        desk.receive([Sent("a.png", b"1")])
        assert desk.problems == ["a.png: not taken, since the computer that runs this page has no room left on its disk."]
        assert desk.cases == {}


def dicom_series(folder: Path, head: NDArray[np.float32], **changed: Any) -> list[Path]:
    """Write the head as a FLAIR series: rows and columns run to the patient's left and back; *changed* as of ``write_series``."""
    first = AFFINE[:3, :3] @ [79, 99, 0] + AFFINE[:3, 3]
    geometry = Geometry(first=(-first[0], -first[1], first[2]), step=(0.0, 0.0, 11.0), spacing=(2.4, 2.4))
    return write_series(folder, head[:, ::-1, ::-1].astype(np.uint16), geometry, **(FLAIR | changed))


class TestWorkroom:
    def test_visitors_take_turns_and_who_has_left_is_passed_over(self) -> None:
        gate, order = threading.Event(), []
        room = Workroom(lambda: gate.wait() and None)  # type: ignore[arg-type, return-value] # no model is needed here
        many, other, gone = (type("Visitor", (), {})() for _ in range(3))
        for name, visitor in (("a1", many), ("a2", many), ("a3", many), ("b1", other), ("c1", gone)):
            room.submit(visitor, lambda _, name=name: order.append(name))
        del gone, visitor
        gate.set()
        until(lambda: len(order) == 4)
        assert order == ["a1", "b1", "a2", "a3"]

    def test_who_comes_where_somebody_who_has_left_was_in_memory_is_not_taken_for_them(self) -> None:
        class Visitor:
            pass

        gate, done = threading.Event(), []
        room = Workroom(lambda: gate.wait() and None)  # type: ignore[arg-type, return-value] # no model is needed here
        gone = Visitor()
        room.submit(gone, lambda _: done.append("gone"))
        place = id(gone)
        del gone
        visitors = [Visitor()]  # Python gives out the place in memory again
        while id(visitors[-1]) != place and len(visitors) < 10_000:
            visitors.append(Visitor())
        assert id(visitors[-1]) == place
        room.submit(visitors[-1], lambda _: done.append("here"))
        gate.set()
        until(lambda: done == ["here"])

    def test_model_that_cannot_be_loaded_is_told(self) -> None:
        def load() -> Segmenter:
            raise ModelError("model_x: missing.")

        room = Workroom(load)
        until(lambda: room.problem == "model_x: missing.")

    def test_time_left_follows_the_pace(self) -> None:
        assert Progress("segmenting", 8, 24, started=0.0).seconds_left(4.0) == 8.0
        assert Progress("segmenting", 0, 24, started=0.0).seconds_left(4.0) is None
        assert progress(Progress("segmenting", 8, 800, started=0.0), 4.0) == "Segmenting slice 8 of 800, about 7 min left"

    def test_loading_waits_for_the_page_but_not_longer_than_until_the_first_task(self) -> None:
        loads: list[float] = []
        room = Workroom(lambda: loads.append(time.monotonic()), patience_s=PATIENCE_S)  # type: ignore[arg-type, return-value, func-returns-value]
        time.sleep(0.05)
        assert loads == []
        room.submit(visitor := type("Visitor", (), {})(), lambda _: None)
        until(lambda: len(loads) == 1)
        del visitor

    def test_loading_begins_once_the_page_is_drawn_and_then_what_cases_will_need_while_nobody_waits(self) -> None:
        done: list[str] = []
        room = Workroom(lambda: done.append("model"), 60.0, [lambda: done.append("first"), lambda: done.append("second")])  # type: ignore[arg-type, return-value, func-returns-value]
        room.page_drawn()
        until(lambda: len(done) == 3)
        assert done == ["model", "first", "second"]
        gate = threading.Event()
        busy = Workroom(lambda: gate.wait() and None, 0.0, [lambda: done.append("too early")])  # type: ignore[arg-type, return-value]
        busy.submit(visitor := type("Visitor", (), {})(), lambda _: done.append("task"))
        gate.set()
        until(lambda: done[-1] == "task")
        assert "too early" not in done
        del visitor


class TestVisits:
    def test_files_on_their_way_in_are_bounded_over_all_sessions(self) -> None:
        manager = pytest.importorskip("streamlit.runtime.memory_uploaded_file_manager").MemoryUploadedFileManager("/upload")
        record = importlib.import_module("streamlit.runtime.uploaded_file_manager").UploadedFileRec
        visits.bound_waiting(manager, 100)
        manager.add_file("one", record("1", "a", "", bytes(60)))
        with pytest.raises(Exception, match="507: This page is busy"):
            manager.add_file("two", record("2", "b", "", bytes(60)))
        manager.remove_session_files("one")
        manager.add_file("two", record("2", "b", "", bytes(60)))
        assert [len(files) for files in manager.file_storage.values()] == [1]

    def test_files_that_were_taken_in_are_forgotten(self) -> None:
        manager = pytest.importorskip("streamlit.runtime.memory_uploaded_file_manager").MemoryUploadedFileManager("/upload")
        record = importlib.import_module("streamlit.runtime.uploaded_file_manager").UploadedFileRec
        for number in "ab":
            manager.add_file("one", record(number, number, "", bytes(60)))
        visits.forget(SimpleNamespace(uploaded_file_mgr=manager), "one", [SimpleNamespace(file_id="a"), SimpleNamespace(file_id="gone")])
        assert [file.file_id for file in manager.get_files("one", ["a", "b"])] == ["b"]

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and sets what glibc has")
    def test_arrays_go_back_to_the_operating_system(self) -> None:
        """In a process of its own, since it cannot be undone: glibc would keep arrays below 32 MB after the first that goes."""
        code = """if True:
            import sys, numpy as np
            from gliomask.app import visits
            def resident():
                with open("/proc/self/statm") as file:
                    return int(file.read().split()[1]) * 4096 / 2**20
            visits.return_arrays_at_once()
            del (first := [np.ones(2**20)])[:]  # 8 MB
            arrays = [np.ones(2**19) for _ in range(32)]  # 4 MB each
            pin = bytearray(1000)
            full = resident()
            del arrays[:31]
            sys.exit(f"{full - resident():.0f} MB went back" if full - resident() < 120 else 0)
        """
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_session_goes_although_nobody_comes_after_it(self) -> None:
        cache = pytest.importorskip("streamlit.runtime.caching.ttl_cache").TTLCache(128, ttl=0.0)
        ended: list[bool] = []
        session = SimpleNamespace(
            shutdown=lambda: ended.append(True), _session_state={"desk": object()}, _fragment_storage={"list": object()}
        )
        cache["session"] = SimpleNamespace(session=session)
        loop = SimpleNamespace(call_soon_threadsafe=lambda call: call())
        storage = SimpleNamespace(_session_storage=SimpleNamespace(_cache=cache))
        runtime = SimpleNamespace(_session_mgr=storage, _get_async_objs=lambda: SimpleNamespace(eventloop=loop))
        gone = threading.Event()
        visits.expire_sessions(runtime, gone.set)
        assert gone.wait(PATIENCE_S)
        assert not cache._data and ended and not session._session_state and not session._fragment_storage
        visits.expire_sessions(object(), gone.clear)  # another version of Streamlit: nothing happens
        assert gone.is_set()

    def test_visitor_goes_with_the_session_whoever_holds_that(self) -> None:
        """Such as the loop of Streamlit's that goes over the sessions."""
        storage = importlib.import_module("streamlit.runtime.fragment").MemoryFragmentStorage()
        state = importlib.import_module("streamlit.runtime.state").SessionState()
        visitor = threading.Event()
        gone = weakref.ref(visitor)
        state["desk"] = visitor
        storage.register("list", partial(print, visitor))
        session = SimpleNamespace(shutdown=lambda: None, _session_state=state, _fragment_storage=storage)
        del visitor, state, storage
        visits.empty(session)
        gc.collect()
        assert gone() is None

    def test_what_streamlit_calls_these_things_is_still_so(self) -> None:
        """Otherwise memory would stay with visitors who have left, and nothing else would tell."""
        storage = pytest.importorskip("streamlit.runtime.memory_session_storage").MemorySessionStorage()
        assert not storage._cache._data and storage._cache.expire
        session = inspect.getsource(importlib.import_module("streamlit.runtime.app_session").AppSession)
        assert all(name in session for name in ("self._fragment_storage: ", "self._session_state = SessionState()", "def shutdown(self)"))
        manager = importlib.import_module("streamlit.runtime.websocket_session_manager").WebsocketSessionManager
        assert "self._session_storage = session_storage" in inspect.getsource(manager)
        assert "self._session_mgr = " in inspect.getsource(importlib.import_module("streamlit.runtime.runtime").Runtime)
        visits.released()


class TestKeep:
    def test_bounds_in_number_and_bytes_drop_the_least_recently_used(self) -> None:
        keep: Keep[str] = Keep(3, 100)
        holder = threading.Event()
        for key in "abc":
            keep.add(key, key, 10, holder)
        keep.get("a", holder)
        keep.add("d", "d", 10, holder)
        assert [keep.get(key, holder) for key in "abcd"] == ["a", None, "c", "d"]
        keep.add("e", "e", 1000, holder)
        assert (len(keep), keep.bytes) == (1, 1000)

    def test_value_goes_with_its_last_holder(self) -> None:
        keep: Keep[str] = Keep(3, 100)
        first, second = threading.Event(), threading.Event()
        keep.add("a", "a", 10, first)
        assert keep.get("a", second) == "a"
        del first
        assert len(keep) == 1
        del second
        assert (len(keep), keep.bytes) == (0, 0)


class TestScene:
    @pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, -1)])
    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
    def test_every_voxel_keeps_its_place(self, signs: tuple[int, ...], order: tuple[int, ...]) -> None:
        linear = (np.diag([2.0, 3.0, 5.0]) * signs)[:, list(order)]
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = linear, (4.0, -7.0, 9.0)
        array = np.random.default_rng(1).random((4, 5, 6)).astype(np.float32)
        volume = Volume(array[..., None], affine=affine)
        ras, box = scene.ras_box(volume)
        turned = scene.in_ras(array, box)
        assert (np.diag(ras)[:3] > 0).all() and np.count_nonzero(ras[:3, :3]) == 3
        z, y, x = 1, 2, 3
        place = np.linalg.inv(ras) @ affine @ [x, y, z, 1]
        i, j, k = np.round(place[:3]).astype(int)
        assert turned[k, j, i] == array[z, y, x]

    def test_without_geometry_slices_stay_upright(self) -> None:
        array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        affine, box = scene.ras_box(Volume(array[..., None]))
        assert np.array_equal(scene.in_ras(array, box), array[:, ::-1, ::-1])
        assert affine[0, 0] == affine[1, 1] == 60.0

    def test_starts_amid_the_slice_with_most_tumour_else_in_the_middle(self) -> None:
        probability = np.zeros((5, 20, 30), np.uint16)
        assert scene.focus(probability, 0.5) == (15, 10, 2)
        probability[1, 4:9, 6:11] = 65535
        probability[3, 4:6, 6:8] = 65535
        assert scene.focus(probability, 0.5) == (8, 6, 1)

    def test_viewers_cut_is_that_of_the_measurements(self) -> None:
        values = np.linspace(0, 1, 4097, dtype=np.float32)
        for threshold in (0.01, 0.37, 0.5, 0.99, 1.0):
            assert np.array_equal(scene.stored(values) >= round(threshold * 65535), scene.stored(values) >= np.round(threshold * 65535))
            assert abs(int((scene.stored(values) >= round(threshold * 65535)).sum()) - int((values >= threshold).sum())) <= 1

    def test_file_for_the_viewer_is_nifti(self) -> None:
        array = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
        loaded = nibabel.Nifti1Image.from_bytes(gzip.decompress(scene.nifti(array, np.diag([1.0, 2, 3, 1]))))
        assert np.array_equal(np.asanyarray(loaded.dataobj).transpose(2, 1, 0), array)


class TestTakeaway:
    def test_everything_of_a_dicom_study_is_in_the_zip(self, desk: Desk, head: NDArray[np.float32], tmp_path: Path) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for file in dicom_series(tmp_path, head):
                archive.write(file, file.name)
        desk.receive([Sent("case 7.zip", packed.getvalue())])
        until(lambda: not desk.busy)
        found = desk.found("1")
        assert found is not None, desk.cases["1"].problem
        labels = [offer.label for offer in takeaway.offers(found.result)]
        assert labels[0] == "Everything (ZIP)" and "Mask (DICOM SEG)" in labels and "Mask (PNG)" not in labels
        with zipfile.ZipFile(io.BytesIO(takeaway.packed(found.result, "all"))) as archive:
            assert set(archive.namelist()) == {
                f"case 7_{end}" for end in ("mask.nii.gz", "seg.dcm", "overlay.png", "result.json", "report.html", "measurements.csv")
            }

    def test_a_seg_that_the_headers_do_not_allow_is_not_offered_and_the_reason_told(
        self, desk: Desk, head: NDArray[np.float32], tmp_path: Path
    ) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for file in dicom_series(tmp_path, head, FrameOfReferenceUID=None):
                archive.write(file, file.name)
        desk.receive([Sent("study.zip", packed.getvalue())])
        found = finished(desk).found("1")
        assert found is not None
        assert found.seg_problem == "no DICOM SEG: its headers lack FrameOfReferenceUID, without which no SEG refers to them."
        labels = [offer.label for offer in takeaway.offers(found.result, seg=not found.seg_problem)]
        assert "Mask (DICOM SEG)" not in labels and "Mask (NIfTI)" in labels

    def test_masks_of_slices_are_png_under_the_slices_names(self, phantom: Volume, segmenter: Segmenter, predictions: list[int]) -> None:
        result = segmenter.segment(Volume(phantom.voxels[5:7], "head"))
        with zipfile.ZipFile(io.BytesIO(takeaway.packed(result, "png"))) as archive:
            assert archive.namelist() == ["head_1_mask.png", "head_2_mask.png"]
            masks = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()]
        assert np.array_equal(np.stack(masks) == 255, result.mask)

    def test_what_a_case_keeps_in_memory_is_counted(self, head: NDArray[np.float32], segmenter: Segmenter, predictions: list[int]) -> None:
        found = Found(segmenter.segment(Volume(head[..., None], "p", affine=AFFINE)))
        seen = (found.result, found.at(0.3))
        assert all(result.measurements and result.satellites is not None for result in seen)
        kept = {id(array): array.nbytes for result in seen for array in vars(result).values() if isinstance(array, np.ndarray)}
        assert found.result.volume.voxels.nbytes + sum(kept.values()) <= found.bytes

    def test_measurements_have_a_row_for_each_lesion(self, head: NDArray[np.float32], segmenter: Segmenter, predictions: list[int]) -> None:
        result = segmenter.segment(Volume(head[..., None], "p", affine=AFFINE))
        rows = list(csv.DictReader(io.StringIO(takeaway.lesions_csv(result))))
        assert len(rows) == cc3d.connected_components(result.mask, return_N=True)[1]
        assert float(rows[0]["volume_ml"]) == result.measurements["lesions"][0]["volume_ml"]
        assert rows[0]["all_lesions"] == "False"
        everything = replace(result, all_lesions=True)
        assert next(csv.DictReader(io.StringIO(takeaway.lesions_csv(everything))))["all_lesions"] == "True"
        assert takeaway.lesions_csv(result.with_threshold(1.0)).count("\n") == 1
        named = replace(result, volume=replace(result.volume, name="=cmd()"))
        assert next(csv.DictReader(io.StringIO(takeaway.lesions_csv(named))))["case"] == "'=cmd()"


class Confidence:
    expected_dice, low, high = 0.914, 0.86, 0.944


class TestWording:
    @pytest.mark.parametrize(
        ("summary", "sentence"),
        [
            (Summary((0, 40, 60), 38.2), "Abnormality found: 38.2 ml in 2 of 3 slices"),
            (Summary((0, 40, 60), None), "Abnormality found: 100 pixels in 2 of 3 slices"),
            (Summary((1,), None), "Abnormality found: 1 pixel"),
            (Summary((0,), None), "No abnormality found in one slice"),
            (Summary((0, 0), 0.0), "No abnormality found in 2 slices"),
        ],
    )
    def test_headline(self, summary: Summary, sentence: str) -> None:
        assert headline(summary) == sentence

    def test_expected_agreement_stands_in_the_sentence_where_it_is_known(self) -> None:
        assert headline(Summary((1, 2), 38.2), Confidence()).endswith(
            "in 2 of 2 slices, expected agreement with an expert 0.91 (0.86 to 0.94)"
        )

    def test_volume_that_is_not_0_never_reads_as_0(self) -> None:
        assert [ml(v) for v in (0.0, 0.001, 0.05, 1234.56)] == ["0 ml", "under 0.1 ml", "0.1 ml", "1,234.6 ml"]

    def test_list_over_all(self, desk: Desk, phantom: Volume) -> None:
        desk.receive([Sent("a.png", image(phantom.voxels[5])), Sent("b.png", b"")])
        assert overall(list(finished(desk).cases.values())) == "2 cases · 1 with an abnormality · 1 not segmented"

    def test_agreement_with_a_reference(self, phantom: Volume, segmenter: Segmenter, predictions: list[int]) -> None:
        result = segmenter.segment(Volume(phantom.voxels[5:6]))
        assert agreement(result, result.mask) == "Dice with the reference mask: 1.000"

    def test_area_of_a_slice_is_in_square_centimetres_where_a_pixel_has_a_size(self) -> None:
        assert area_phrases((0, 200), 2.0) == ["nothing marked", "4.0 cm² marked"]
        assert area_phrases((0, 4), 1.0) == ["nothing marked", "under 0.1 cm² marked"]
        assert area_phrases((0, 1), None) == ["nothing marked", "1 pixel marked"]

    def test_stored_names_and_folders_are_restored(self) -> None:
        names = Names(Path("/tmp/x"), {"upload-0001": "Jane"})
        assert names.restore("/tmp/x/upload-0001.png: bad (upload-0001.png)") == "Jane.png: bad (Jane.png)"

    @pytest.mark.parametrize(("count", "told"), [(20, ""), (21, "And 1 smaller one, "), (30, "And 10 smaller ones, ")])
    def test_the_table_has_the_largest_lesions(self, count: int, told: str) -> None:
        mask = np.zeros((1, 3, 90), bool)
        mask[0, 0, 1 : 3 * count : 3] = True
        mask[0, 1, 1] = True
        content = measurements(mask)
        assert (len(measured(content)["Lesion"]), measured(content)["Pixels"][0]) == (20, "2")
        assert not_in_table(content) == (f"{told}listed in Measurements (CSV)." if told else "")

    def test_what_is_left_out_is_told_and_can_be_looked_at(self, segmenter: Segmenter) -> None:
        probability = np.zeros((1, 40, 40), np.float32)
        probability[0, 4:24, 4:24], probability[0, 30, 30:35] = 0.9, 0.8
        found = Found(Segmentation(Volume(np.zeros((1, 40, 40, 1), np.uint8), "head"), probability, 0.5, segmenter.model, "", 0.0))
        told = "1 small part is left out of the mask, of 5 pixels (slice 1). Most such marks are false; All lesions shows them."
        assert told in cautions(found.at(0.5), True)
        everything = found.at(0.5, all_lesions=True)
        assert (int(found.at(0.5).mask.sum()), int(everything.mask.sum())) == (400, 405)
        assert told not in cautions(everything, True)
        assert found.at(0.5, all_lesions=True) is found.at(0.5, all_lesions=True), "kept, as it was last looked at"

"""The pages over many cases: what they say, in plain functions, and the pages themselves through Streamlit's test harness."""

import csv
import errno
import io
import unicodedata
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gliomask import InputError, Volume
from gliomask.confidence import Calibration
from gliomask.models import ModelRecord, find_model
from gliomask.report.overlay import display_grey
from gliomask.segmentation import Segmentation

pytest.importorskip("streamlit", reason="needs Streamlit: pip install 'gliomask[app]'")

from streamlit.testing.v1 import AppTest

from gliomask.app import charts, cohort, mask_uploads, model_card, scoring
from gliomask.app.case import Case, summary_of
from gliomask.app.facts import facts_of
from gliomask.app.work import Progress
from gliomask.evaluation.protocol import role_of
from gliomask.evaluation.scores import HELD_OUT, MILLIMETRES, PIXELS, TRAINED_ON, UNKNOWN

MODEL = find_model("fast")
SPACED = np.diag([-2.0, -2.0, 5.0, 1.0])  # as a NIfTI file has it whose array is stored upright


def square(shape: tuple[int, int, int], z: int, y: int, x: int, side: int) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[z, y : y + side, x : x + side] = True
    return mask


def segmented(mask: NDArray[np.bool_], affine: NDArray[np.float64] | None = None, model: ModelRecord = MODEL) -> Segmentation:
    """Return a result with this mask."""
    voxels = np.full((*mask.shape, 1), 50, np.uint8)
    names = tuple(f"s{z}" for z in range(len(mask)))
    volume = Volume(voxels, "drawn", names, affine=affine)
    return Segmentation(volume, np.where(mask, 0.9, 0.1).astype(np.float32), model.threshold, model, "drawn", 0.0)


def done(number: str, name: str, side: int, affine: NDArray[np.float64] | None = SPACED, reference: int | None = None) -> Case:
    """Return a finished case with a square marked, and another one for reference."""
    shape = (3, 40, 40)
    mask = square(shape, 1, 8, 8, side) if side else np.zeros(shape, bool)
    result = segmented(mask, affine)
    facts = facts_of(result, None if reference is None else square(shape, 1, 8, 8, reference))
    return Case(number, name, progress=Progress("done"), summary=summary_of(result), facts=facts)


@dataclass
class FakeDesk:
    """What the pages look at of a visitor's desk."""

    cases: dict[str, Case] = field(default_factory=dict)
    busy: bool = False

    @classmethod
    def of(cls, *cases: Case) -> "FakeDesk":
        return cls({case.number: case for case in cases})


class TestFacts:
    def test_comparison_by_hand(self) -> None:
        # 4 x 4 marked, 4 x 8 in the reference: 16 shared, so Dice 2 * 16 / (16 + 32); the far border is 4 pixels of 2 mm away.
        mask, reference = square((3, 40, 40), 1, 8, 8, 4), np.zeros((3, 40, 40), bool)
        reference[1, 8:12, 8:16] = True
        compared = facts_of(segmented(mask, SPACED), reference).comparison
        assert compared is not None and compared.millimetres is not None
        assert compared.dice == pytest.approx(2 / 3)
        assert compared.picture.slice_number == 2 and compared.picture.slices == 3
        far = [scoring.patient_score("p", UNKNOWN, [part]).hd95 for part in (compared.pixels, compared.millimetres)]
        assert far[0] == pytest.approx(4.0, abs=0.5) and far[1] == pytest.approx(2 * far[0])

    def test_flipped_array_has_the_same_comparison(self) -> None:
        mask, reference = square((3, 40, 40), 0, 8, 8, 6), square((3, 40, 40), 0, 10, 8, 6)
        flipped = SPACED @ np.diag([1.0, 1.0, -1.0, 1.0])
        upright, turned = (facts_of(segmented(m, a), r).comparison for m, a, r in
                           ((mask, SPACED, reference), (mask[::-1], flipped, reference[::-1])))  # fmt: skip
        assert upright is not None and turned is not None
        assert turned.dice == upright.dice
        assert turned.picture.slice_number == upright.picture.slice_number
        assert np.array_equal(turned.picture.predicted, upright.picture.predicted)

    def test_without_geometry_there_are_no_millimetres(self) -> None:
        facts = facts_of(segmented(square((3, 40, 40), 1, 8, 8, 4)), square((3, 40, 40), 1, 8, 8, 4))
        assert facts.longest_mm is None and facts.lesions == 1
        assert facts.comparison is not None and facts.comparison.millimetres is None

    def test_empty_mask(self) -> None:
        facts = facts_of(segmented(np.zeros((2, 8, 8), bool), SPACED), None)
        assert (facts.lesions, facts.longest_mm, facts.comparison) == (0, None, None)


class TestCohort:
    def test_row_of_a_finished_case_has_its_numbers(self) -> None:
        row = cohort.row_of(done("4", "head", 10, reference=10), 0.0)
        assert (row.number, row.case, row.status, row.found) == ("4", "head", "Segmented", True)
        assert row.volume_ml == pytest.approx(100 * 2 * 2 * 5 / 1000)
        assert (row.pixels, row.marked_slices, row.slices, row.lesions) == (100, 1, 3, 1)
        assert row.longest_diameter_mm == pytest.approx(20 * np.sqrt(2), abs=0.1)
        assert row.dice == 1.0

    @pytest.mark.parametrize(
        ("stage", "status", "kind"),
        [
            ("waiting", "Waiting", cohort.TO_GO),
            ("failed", "Could not be read", cohort.NOT_SEGMENTED),
            ("refused", "Not a brain FLAIR?", cohort.NOT_SEGMENTED),
        ],
    )
    def test_row_of_another_case_has_its_status_alone(self, stage: Any, status: str, kind: str) -> None:
        row = cohort.row_of(Case("1", "a", progress=Progress(stage)), 0.0)
        assert (row.status, row.kind, row.found, row.pixels) == (status, kind, None, None)

    def test_case_that_is_computed_again_keeps_its_numbers(self) -> None:
        case = done("1", "a", 10)
        case.progress.begin("waiting")
        assert cohort.row_of(case, 0.0).pixels == 100

    def test_filters_are_those_that_divide_the_rows(self) -> None:
        rows = [cohort.row_of(case, 0.0) for case in (done("1", "Anna", 10), done("2", "berta", 0), done("3", "anton", 5))]
        assert cohort.kinds_of(rows) == [cohort.ALL, cohort.FOUND, cohort.NONE_FOUND]
        assert cohort.kinds_of(rows[:1]) == []
        assert [row.case for row in cohort.matching(rows, cohort.FOUND)] == ["Anna", "anton"]
        assert [row.case for row in cohort.matching(rows, cohort.ALL, " AN")] == ["Anna", "anton"]
        assert [row.case for row in cohort.matching(rows, cohort.NONE_FOUND, "an")] == []

    def test_columns_that_hold_nothing_are_left_out(self) -> None:
        rows = [cohort.row_of(done("1", "a", 10), 0.0), cohort.row_of(Case("2", "b"), 0.0)]
        columns = cohort.columns_of(rows)
        assert columns["Found"] == ["Yes", ""]
        assert "Pixels" not in columns and "Dice with reference" not in columns
        columns = cohort.columns_of([cohort.row_of(done("1", "a", 10, affine=None), 0.0)])
        assert columns["Pixels"] == [100] and "Volume (ml)" not in columns

    def test_csv_has_a_row_for_each_case_and_no_formula(self) -> None:
        rows = [cohort.row_of(case, 0.0) for case in (done("1", "=cmd()", 10), Case("2", "b, c", progress=Progress("failed")))]
        first, second = csv.DictReader(io.StringIO(cohort.csv_of(rows)))
        assert (first["case"], first["found"], first["volume_ml"]) == ("'=cmd()", "true", "2.000")
        assert (second["case"], second["status"], second["found"], second["volume_ml"]) == ("b, c", "Could not be read", "", "")

    def test_volumes_are_of_one_unit_and_of_cases_with_a_finding(self) -> None:
        rows = [cohort.row_of(c, 0.0) for c in (done("1", "a", 10), done("2", "b", 5, affine=None), done("3", "c", 0))]
        assert cohort.volumes(rows) == ("ml", [("a", pytest.approx(2.0))])
        assert cohort.volumes(rows[1:]) == ("pixels", [("b", 25.0)])


class TestCharts:
    def test_equal_volumes_are_stacked(self) -> None:
        chart = charts.volume_dots([("a", 41.0), ("b", 41.0), ("c", 5.0)], "ml")
        values = chart.spec["layer"][-1]["data"]["values"]
        assert [(v["case"], v["x"], v["y"]) for v in values] == [("c", 5.0, 0.5), ("a", 41.0, 0.5), ("b", 41.0, 1.5)]
        assert chart.alt == "Volumes of 3 cases: 5.0 ml to 41.0 ml, median 41.0 ml."

    @pytest.mark.parametrize("largest", [0.003, 0.9, 23.9, 24.0, 1e6])
    def test_bins_are_few_and_hold_the_largest(self, largest: float) -> None:
        assert 1 <= largest / charts.bin_width(largest) + 1 <= charts.MOST_BINS + 1

    def test_dice_of_few_has_no_quartiles(self) -> None:
        assert "Half of them" not in charts.dice_dots([("a", 0.5), ("b", 0.6)]).alt
        assert "between 0.55 and 0.90" in charts.dice_dots([("a", 0.4), ("b", 0.6), ("c", 0.8), ("d", 1.2)]).alt

    def test_reliability_names_its_curves_only_where_there_are_two(self) -> None:
        point = {"mean_probability": 0.5, "tumour_share": 0.4, "pixels": 10}
        one, two = charts.reliability({"All": [point]}), charts.reliability({"Before": [point], "After": [point]})
        assert one.spec["layer"][1]["encoding"]["color"]["legend"] is None
        assert two.spec["layer"][1]["encoding"]["color"]["scale"]["domain"] == ["Before", "After"]


class TestScoring:
    def test_cases_without_reference_are_no_evaluation(self) -> None:
        assert scoring.evaluate_cases([done("1", "a", 10), Case("2", "b")], MODEL) is None

    def test_distances_are_in_mm_where_all_spacings_are_known(self) -> None:
        cases = [done("1", "a", 10, reference=8), done("2", "b", 10, reference=8)]
        evaluation = scoring.evaluate_cases(cases, MODEL)
        assert evaluation is not None and evaluation.unit == MILLIMETRES
        mixed = scoring.evaluate_cases([*cases, done("3", "c", 10, affine=None, reference=8)], MODEL)
        assert mixed is not None and mixed.unit == PIXELS
        assert mixed.patients[0].hd95 == pytest.approx(evaluation.patients[0].hd95 / 2)
        assert {picture.patient for picture in mixed.pictures} == {"a", "b", "c"}

    def test_patients_of_the_training_are_told_apart_by_their_names(self) -> None:
        trained = MODEL.training["patients"][0]
        assert scoring.case_role(f"{trained}_2", MODEL) == TRAINED_ON
        assert role_of(trained[: len("TCGA_CS_4941")].replace("_", "-").lower(), MODEL) == TRAINED_ON
        assert role_of("TCGA-CS-9999", MODEL) == HELD_OUT
        started = replace(MODEL, training={**MODEL.training, "initial_weights": "0" * 64, "initial_patients_known": False})
        assert (role_of(trained, started), role_of("TCGA-CS-9999", started)) == (TRAINED_ON, UNKNOWN)
        members = replace(MODEL, training={"patients": MODEL.training["patients"], "members": [MODEL.training, started.training]})
        assert role_of("TCGA-CS-9999", members) == UNKNOWN
        assert scoring.case_role("head", MODEL) == UNKNOWN
        without = replace(MODEL, training={**MODEL.training, "patients": MODEL.training["patients"][1:]})
        assert scoring.case_role(trained, without) == HELD_OUT
        evaluation = scoring.evaluate_cases([done("1", trained, 10, reference=8)], MODEL)
        assert evaluation is not None and "remembers" in scoring.told(evaluation)[0]

    def test_numbers_of_one_case_have_no_interval(self) -> None:
        evaluation = scoring.evaluate_cases([done("1", "a", 10, reference=8)], MODEL)
        assert evaluation is not None
        from gliomask.evaluation import summarise

        tiles = scoring.tiles(summarise(evaluation.patients), evaluation.unit)
        assert tiles[0] == ("Dice, mean", f"{2 * 64 / 164:.3f}", "")

    def test_files_are_those_of_the_command(self) -> None:
        evaluation = scoring.evaluate_cases([done("1", "a", 10, reference=8), done("2", "b", 6, reference=8)], MODEL)
        assert evaluation is not None
        files = scoring.files_of(evaluation)
        assert set(files) == {"report.html", "evaluation.json", "patients.csv"}
        assert files["patients.csv"].decode().startswith("patient,role")


class Sent(io.BytesIO):
    """An upload."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.name, self.size = name, len(content)


def png(side: int, shape: tuple[int, int] = (20, 20)) -> bytes:
    content = io.BytesIO()
    Image.fromarray(square((1, *shape), 0, 2, 2, side)[0].astype(np.uint8) * 255).save(content, format="PNG")
    return content.getvalue()


def grey(pixels: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


def nifti(mask: NDArray[np.bool_]) -> bytes:
    return nibabel.Nifti1Image(mask.transpose(2, 1, 0).astype(np.uint8), SPACED).to_bytes()


def zipped(name: str, files: dict[str, bytes]) -> Sent:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return Sent(name, content.getvalue())


class TestMaskUploads:
    def test_images_that_differ_by_a_number_are_slices_of_a_patient(self) -> None:
        mine = [Sent(f"{case}_{z}.png", png(10)) for case in ("a", "b") for z in (1, 2)]
        theirs = [Sent(f"{case}_{z}_mask.png", png(8)) for case in ("a", "b") for z in (1, 2)]
        evaluation = mask_uploads.evaluate_uploads(mine, theirs)
        assert [(p.name, sum(p.slices)) for p in evaluation.patients] == [("a", 2), ("b", 2)]
        assert evaluation.patients[0].values()["dice"] == pytest.approx(2 * 64 / 164)
        assert evaluation.unit == PIXELS
        assert [(p.patient, p.slices, p.grey, int(p.predicted.sum())) for p in evaluation.pictures] == [
            ("a", 2, None, 100),
            ("b", 2, None, 100),
        ]

    def test_scans_that_come_along_are_shown_under_the_outlines(self) -> None:
        scans = {case: np.random.default_rng(seed).integers(0, 200, (20, 20), np.uint8) for seed, case in enumerate("abc")}
        theirs = {f"{case}/s_1_mask.png": png(8) for case in "abcd"} | {f"{case}/s_1.png": grey(scan) for case, scan in scans.items()}
        theirs["c/s_1.png"] = grey(scans["c"][:15])  # no scan of that mask
        mine = [zipped("mine.zip", {f"{case}/s_1_mask.png": png(10) for case in "abcd"} | {"b/s_1.png": grey(255 - scans["b"])})]
        evaluation = mask_uploads.evaluate_uploads(mine, [zipped("theirs.zip", theirs)])
        shown = {picture.patient: picture.grey for picture in evaluation.pictures}
        for case in "ab":
            np.testing.assert_array_equal(shown[case], display_grey(scans[case][None])[0])
        assert shown["c"] is None and shown["d"] is None
        (note,) = evaluation.notes
        assert note.endswith("the outlines stand on black. c/s_1.png: is 20 x 15 x 1 (x, y, slices), its mask 20 x 20 x 1.")

    def test_scan_beside_a_nifti_mask_may_be_on_either_side(self) -> None:
        mask = square((3, 30, 30), 1, 4, 4, 10)
        scan = nibabel.Nifti1Image(np.arange(2700, dtype=np.int16).reshape(30, 30, 3), SPACED).to_bytes()
        mine, theirs, flair = Sent("head_mask.nii", nifti(mask)), Sent("head_seg.nii", nifti(mask)), Sent("head_flair.nii", scan)
        for sides in (([mine, flair], [theirs]), ([mine], [theirs, flair])):
            (picture,) = mask_uploads.evaluate_uploads(*sides).pictures
            assert picture.grey is not None and picture.grey.shape == (30, 30)

    @pytest.mark.parametrize("kind", ["probability", "uncertainty"])
    def test_maps_of_a_result_are_no_masks(self, kind: str) -> None:
        mine = [Sent("a_1.png", png(10)), Sent(f"a_1_{kind}.png", png(3))]
        (one,) = mask_uploads.evaluate_uploads(mine, [Sent("a_1.png", png(8)), Sent(f"a_1_{kind}.png", png(3))]).patients
        assert (one.counts.tp, one.counts.fp) == (64, 36)

    def test_folders_of_archives_are_patients(self) -> None:
        mine = zipped("mine.zip", {"out/p1/s_mask.png": png(10), "out/p2/s_mask.png": png(8), "out/p2/overlay.png": png(3)})
        theirs = zipped("theirs.zip", {"p1/s_mask.png": png(8), "p2/s_mask.png": png(8)})
        evaluation = mask_uploads.evaluate_uploads([mine], [theirs])
        assert [(p.name, round(p.values()["dice"], 2)) for p in evaluation.patients] == [("p1", 0.78), ("p2", 1.0)]

    def test_archives_of_single_patients_are_patients(self) -> None:
        def side(kind: str, *, folders: bool) -> list[Sent]:
            inside = {name: f"{name}/" if folders else "" for name in ("ana", "ben")}
            sides = {"ana": (10, 8), "ben": (8, 8)}
            return [zipped(f"{n}.zip", {f"{f}{z}_mask.png": png(sides[n][kind == "theirs"]) for z in (1, 2)}) for n, f in inside.items()]

        for folders in (True, False):
            evaluation = mask_uploads.evaluate_uploads(side("mine", folders=folders), side("theirs", folders=folders))
            assert [(p.name, round(p.values()["dice"], 2)) for p in evaluation.patients] == [("ana", 0.78), ("ben", 1.0)]

    def test_folders_count_on_both_sides_or_on_none(self) -> None:
        mask = nifti(square((3, 30, 30), 1, 4, 4, 10))
        mine, theirs = zipped("mine.zip", {"p1/seg.nii": mask}), zipped("theirs.zip", {f"{p}/seg.nii": mask for p in ("p1", "p2")})
        with pytest.raises(InputError, match=r"^1 reference mask has no predicted mask of the same name: p2/seg\.nii\."):
            mask_uploads.evaluate_uploads([mine], [theirs])
        (one,) = mask_uploads.evaluate_uploads(
            [zipped("m.zip", {"out/1.png": png(10)})], [zipped("t.zip", {"ref/1_mask.png": png(8)})]
        ).patients
        assert (one.name, one.counts.tp) == ("slices", 64)

    @pytest.mark.parametrize("way", ["scan beside", "scan beside the reference", "scans in a zip", "a set in two zips", "zip first"])
    def test_folders_and_archives_around_masks_or_scans_are_no_patients(self, way: str) -> None:
        scan = grey(np.random.default_rng(0).integers(0, 200, (20, 20), np.uint8))
        masks = {name: png(8) for name in ("a_1_mask.png", "a_2_mask.png", "b_1_mask.png")}
        inside = lambda folder, names: {f"{folder}/{name}": masks[name] for name in names}  # noqa: E731
        mine, theirs = [zipped("pred.zip", inside("pred", masks))], [zipped("ref.zip", inside("ref", masks))]
        if way == "scan beside":
            mine.insert(0, Sent("a_1.png", scan))
        elif way == "scan beside the reference":
            theirs.insert(0, Sent("a_1.png", scan))
        elif way == "scans in a zip":
            theirs.append(zipped("scans.zip", {"scans/a_1.png": scan}))
        elif way == "a set in two zips":
            theirs = [zipped(f"ref{n}.zip", inside("ref", names)) for n, names in enumerate((list(masks)[:1], list(masks)[1:]))]
        else:
            mine.append(Sent("a_1.png", scan))
        evaluation = mask_uploads.evaluate_uploads(mine, theirs)
        assert [(p.name, sum(p.slices)) for p in evaluation.patients] == [("a", 2), ("b", 1)]
        (picture,) = (p for p in evaluation.pictures if p.patient == "a")
        assert (picture.grey is None) is (way == "a set in two zips")

    def test_names_are_the_same_however_their_letters_are_stored(self) -> None:
        mask = nifti(square((3, 30, 30), 1, 4, 4, 10))
        names = (unicodedata.normalize(form, "Müller_seg.nii") for form in ("NFC", "NFD"))
        (one,) = mask_uploads.evaluate_uploads(*([Sent(name, mask)] for name in names)).patients
        assert one.name == "Müller"

    def test_folders_of_results_are_scored_as_on_the_command_line(self) -> None:
        mask = nifti(square((3, 30, 30), 1, 4, 4, 10))
        sides = [zipped("r.zip", {f"{p}/{p}_mask.nii": mask for p in "ab"} | {f"{p}/overlay.png": png(3) for p in "ab"}) for _ in range(2)]
        assert [p.name for p in mask_uploads.evaluate_uploads(sides[:1], sides[1:]).patients] == ["a", "b"]

    def test_nifti_is_paired_by_name_and_measured_in_mm(self) -> None:
        mask, reference = square((3, 30, 30), 1, 4, 4, 10), square((3, 30, 30), 1, 4, 4, 8)
        evaluation = mask_uploads.evaluate_uploads(
            [Sent("head_pred.nii", nifti(mask)), Sent("more_pred.nii", nifti(mask))], [Sent("head_seg.nii", nifti(reference))]
        )
        assert [p.name for p in evaluation.patients] == ["head"]
        assert (evaluation.unit, evaluation.ignored_masks) == (MILLIMETRES, 1)
        (one,) = mask_uploads.evaluate_uploads(
            [Sent("head_flair_mask.nii", nifti(mask)), Sent("b.nii", nifti(mask))], [Sent("head_seg.nii", nifti(reference))]
        ).patients
        assert one.name == "head"

    @pytest.mark.parametrize(
        ("mine", "theirs", "message"),
        [
            ([Sent("a.png", png(4))], [Sent("a_mask.png", png(4)), Sent("b_mask.png", png(4))], r"1 reference mask has no .* b_mask\.png"),
            ([Sent("a.png", png(4, (20, 30)))], [Sent("a_mask.png", png(4))], r"^a\.png: is 30 x 20 x 1 .* its reference a_mask\.png"),
            ([Sent("a.nii", b"")], [Sent("a_mask.png", png(4))], "predicted masks is no image"),
            ([Sent("a.txt", b"")], [Sent("a.txt", b"")], "reference masks is no NIfTI file"),
            ([Sent("a.png", b"none")], [Sent("a_mask.png", png(4))], r"^a\.png: not an image"),
            ([Sent("a.png", png(4)), Sent("A.tif", png(4)), Sent("a.jpg", png(4))], [Sent("a.png", png(4))], "of the same name"),
            ([Sent("mine.zip", b"PK none")], [Sent("a_mask.png", png(4))], r"^mine\.zip: not a zip"),
        ],
    )
    def test_what_does_not_fit_is_told_by_its_own_name(self, mine: Sequence[Sent], theirs: Sequence[Sent], message: str) -> None:
        with pytest.raises(InputError, match=message) as refused:
            mask_uploads.evaluate_uploads(mine, theirs)
        assert "/" not in str(refused.value) and "mask-0" not in str(refused.value)

    def test_files_have_their_owners_names_wherever_they_are_stored(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        folder = tmp_path / "First Last"
        folder.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        with pytest.raises(InputError, match=r"^a\.png: is 30 x 20 x 1 .* its reference a_mask\.png 20 x 20") as refused:
            mask_uploads.evaluate_uploads([Sent("a.png", png(4, (20, 30)))], [Sent("a_mask.png", png(4))])
        assert "Last" not in str(refused.value)

    def test_a_full_disk_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("shutil.copyfileobj", full)
        with pytest.raises(InputError, match="no room left on its disk"):
            mask_uploads.evaluate_uploads([Sent("a.png", png(4))], [Sent("a_mask.png", png(4))])

    def test_bounds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        one = lambda: [Sent("a_mask.png", png(4))]  # noqa: E731 - read only once
        monkeypatch.setattr(mask_uploads, "MAX_PIXELS", 399)
        with pytest.raises(InputError, match="voxels; at most"):
            mask_uploads.evaluate_uploads(one(), one())
        monkeypatch.setattr(mask_uploads, "MAX_SESSION_MB", 0)
        with pytest.raises(InputError, match="0 MB in all"):
            mask_uploads.evaluate_uploads(one(), one())

    @pytest.mark.parametrize("name", ["a_mask.nii", "a_mask.nii.gz"])
    def test_bounds_hold_whatever_a_nifti_file_is_called(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        mask = square((3, 30, 30), 1, 4, 4, 10)
        monkeypatch.setattr(mask_uploads, "MAX_PIXELS", mask.size - 1)
        with pytest.raises(InputError, match="voxels; at most"):
            mask_uploads.evaluate_uploads([Sent(name, nifti(mask))], [Sent(name, nifti(mask))])

    def test_files_are_counted_in_archives_and_beside_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = [f"a_{z}_mask.png" for z in range(3)]
        loose, packed = (lambda many: [Sent(n, png(4)) for n in names[:many]]), zipped("m.zip", {n: png(4) for n in names[:2]})
        monkeypatch.setattr(mask_uploads, "MAX_FILES", 2)
        assert len(mask_uploads.evaluate_uploads(loose(2), loose(2)).patients) == 1
        for mine in (loose(3), [Sent(names[2], png(4)), packed]):
            with pytest.raises(InputError, match="At most 2 files of"):
                mask_uploads.evaluate_uploads(mine, loose(2))

    def test_archive_that_unpacks_to_more_than_there_is_room_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mask_uploads, "MAX_SESSION_MB", 1)
        with pytest.raises(InputError, match="unpacks to more"):
            mask_uploads.evaluate_uploads([compressed("bomb.zip", {"a_mask.tif": bytes(2**21)})], [Sent("a_mask.png", png(4))])

    def test_nothing_stays_on_the_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        mask_uploads.evaluate_uploads([zipped("m.zip", {"a_mask.png": png(4)})], [Sent("a_mask.png", png(4))])
        assert list(tmp_path.iterdir()) == []


def compressed(name: str, files: dict[str, bytes]) -> Sent:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return Sent(name, content.getvalue())


CONFIDENCE = {
    "calibration_error": {"before": {"all pixels": 0.012}, "after": {"all pixels": 0.004}},
    "expected_dice": {"volume": {"cases": 72, "spearman": 0.7, "coverage": 0.9, "mean_width": 0.2, "mean_absolute_error": 0.05}},
    "reliability": {"before": [{"mean_probability": 0.5, "tumour_share": 0.3, "pixels": 9}], "after": []},
}


class TestModelCard:
    def test_scores_are_as_recorded(self) -> None:
        row = {"patients": 14, "mean_dice": 0.8812, "mean_dice_95": [0.8, 0.925], "median_dice": 0.9, "marked_clean_slices_share": 0.0312}
        model = replace(MODEL, scores={"held_out": {"whole volumes": row, "slice by slice": row | {"marked_clean_slices_share": None}}})
        first, second = model_card.score_rows(model)
        assert (first["Input"], first["Dice, mean"], first["95 % interval"]) == ("Whole volumes", "0.881", "0.800 to 0.925")
        assert (first["Clean slices marked"], second["Clean slices marked"]) == ("3.1%", "-")
        assert "marked in 3% of them" in dict(model_card.weaknesses(model))["Slices without tumour"]

    def test_confidence_and_history_are_told_where_the_record_has_them(self) -> None:
        history = [{"epoch": 1.0, "val_dice": 0.5}, {"epoch": 2.0}]
        model = replace(MODEL, scores={"confidence": CONFIDENCE}, training={"history": history})
        assert model_card.calibration_rows(model) == [{"Pixels": "All pixels", "Before": "0.0120", "After": "0.0040"}]
        assert model_card.agreement_rows(model)[0]["Within the 90 % interval"] == "90%"
        assert list(model_card.reliability_curves(model)) == ["Before"]
        assert model_card.training_history(model) == history[:1]
        undefined = {"expected_dice": {"volume": CONFIDENCE["expected_dice"]["volume"] | {"spearman": None}}}
        assert model_card.agreement_rows(replace(MODEL, scores={"confidence": undefined}))[0]["Rank correlation"] == "-"

    def test_record_that_says_nothing(self) -> None:
        model = replace(MODEL, scores={}, training={}, recipe="")
        assert model_card.score_rows(model) == model_card.calibration_rows(model) == model_card.agreement_rows(model) == []
        assert model_card.unmeasured(find_model("ensemble")).startswith("They are calibrated, but how well was not measured")
        assert model_card.unmeasured(replace(model, calibration=Calibration())).startswith("They are not calibrated:")
        assert model_card.training_words(model) == [] and not model_card.training_history(model)
        assert "Slices without tumour" not in dict(model_card.weaknesses(model))

    def test_where_nobody_was_held_out_the_scores_are_those_of_the_cross_validation(self) -> None:
        row = {"mean_dice": 0.8, "mean_dice_95": (0.7, 0.9), "median_dice": 0.85, "patients": 88, "marked_clean_slices_share": 0.02}
        crossed = {"cross_validation": {"all three channels, whole volumes": row}}
        model = replace(MODEL, scores=crossed, training={"held_out_fold": None, "patients": ["a"]})
        assert [row["Dice, mean"] for row in model_card.score_rows(model)] == ["0.800"]
        assert any("Nobody was held out" in fact for fact in model_card.training_words(model))
        assert not any("Nobody" in fact for fact in model_card.training_words(replace(model, scores={})))

    def test_choice_on_held_out_patients_is_told(self) -> None:
        model = replace(MODEL, training={"held_out_fold": "0", "chosen_on_held_out": True})
        assert "was chosen on them" in model_card.training_words(model)[0]


def cohort_script() -> None:
    import streamlit as st

    from gliomask.app import cohort_page

    cohort_page.show(lambda number=None: st.session_state.update(opened=number))


def evaluation_script() -> None:
    import streamlit as st

    from gliomask.app import evaluation_page

    evaluation_page.show(lambda number=None: st.session_state.update(opened=number))


def model_script() -> None:
    from gliomask.app import model_page

    model_page.show()


def opened(script: Any, *cases: Case) -> AppTest:
    page = AppTest.from_function(script, default_timeout=60)
    page.session_state["desk"] = FakeDesk.of(*cases)
    page.run()
    assert not page.exception
    return page


def words(page: AppTest) -> str:
    groups = (page.title, page.subheader, page.markdown, page.caption, page.warning)
    return "\n".join(element.value.replace("\\", "") for group in groups for element in group)


class TestCohortPage:
    def test_empty_one_says_what_to_do(self) -> None:
        page = opened(cohort_script)
        assert "Scans that you drop on the **Segment** page" in words(page)
        page.button[0].click().run()
        assert page.session_state["opened"] is None

    def test_table_is_filtered_and_opens_cases(self) -> None:
        cases = [done("1", "a", 10), done("2", "b", 0), done("3", "bc", 20), Case("4", "d", progress=Progress("failed"))]
        page = opened(cohort_script, *cases)
        assert list(page.dataframe[0].value["Case"]) == ["a", "b", "bc", "d"]
        assert f"at the model's own threshold of {MODEL.threshold:.2f} and without *All lesions*" in words(page)
        page.segmented_control(key="cohort kind").set_value(cohort.FOUND).run()
        assert list(page.dataframe[0].value["Case"]) == ["a", "bc"]
        page.text_input(key="cohort name").set_value("c").run()
        assert list(page.dataframe[0].value["Case"]) == ["bc"]
        page.selectbox[0].set_value("3").run()
        assert page.session_state["opened"] == "3"
        page.text_input(key="cohort name").set_value("nobody").run()
        assert "No case is like that." in words(page) and not page.dataframe


class TestEvaluationPage:
    def test_without_references_it_says_how_to_give_them(self) -> None:
        assert "There are no cases here yet." in words(opened(evaluation_script))
        assert "None of the cases here has a reference mask." in words(opened(evaluation_script, done("1", "a", 10)))

    def test_cases_with_references_are_scored(self) -> None:
        page = opened(evaluation_script, done("1", "a", 10, reference=8), done("2", "b", 8, reference=8))
        assert page.subheader[0].value == f"Mean Dice {(2 * 64 / 164 + 1) / 2:.3f} over 2 cases"
        assert f"Scored at the model's own threshold of {MODEL.threshold:.2f}" in words(page)
        assert list(page.dataframe[0].value["Case"]) == ["a", "b"]
        assert [button.label for button in page.get("download_button")] == ["Report (HTML)", "Scores (CSV)", "Everything (JSON)"]

    def test_masks_are_scored_and_a_wrong_one_is_named(self) -> None:
        page = opened(evaluation_script)
        assert page.button(key="score").disabled
        for side, name in zip(page.file_uploader, ("a.png", "a_mask.png"), strict=True):
            side.set_value([(name, png(8), "image/png")])
        page.run()
        page.button(key="score").click().run()
        assert not page.exception
        assert "Mean Dice 1.000 over 1 case" in words(page)
        for side, name in zip(page.file_uploader, ("a.png", "b_mask.png"), strict=True):
            side.set_value([(name, png(8), "image/png")])
        page.run()
        page.button(key="score").click().run()
        assert "b_mask.png" in page.warning[0].value.replace("\\", "") and not page.dataframe
        mine, _ = page.file_uploader  # both are still there, for what was missing to be added
        assert not page.button(key="score").disabled
        mine.set_value([("b.png", png(8), "image/png")])
        page.run()
        page.button(key="score").click().run()
        assert "Mean Dice 1.000 over 1 case" in words(page) and not page.warning


def test_model_page_tells_scores_weaknesses_licence_and_checksum() -> None:
    page = opened(model_script)
    assert MODEL.sha256 in words(page) and "CC BY-NC-SA 4.0" in words(page)
    assert "Where it is weak" in words(page)
    assert len(page.table[0].value) == len(MODEL.unseen_scores)

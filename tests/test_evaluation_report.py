import base64
import errno
import hashlib
import json
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from gliomask import EngineError, InputError
from gliomask.evaluation import Evaluation, PatientScore, files
from gliomask.evaluation.calibration import reliabilities
from gliomask.evaluation.cases import both_outlines
from gliomask.evaluation.files import check_output, write_evaluation
from gliomask.evaluation.outcome import SCHEMA, CasePicture
from gliomask.evaluation.pictures import case_picture, largest_slice
from gliomask.evaluation.report import evaluation_page
from gliomask.metrics import Confusion
from gliomask.report.overlay import OUTLINE, REFERENCE

ROOT = Path(__file__).parents[1]


def patient(number: int, role: str = "held out", site: str = "CS") -> PatientScore:
    """Return a patient of 100 tumour pixels, *number* of which were found, and who has no false marks."""
    return PatientScore(f"TCGA_{site}_{number:04}_x", role, Confusion(number, 0, 100 - number, 900), Confusion(3, 1, 1, 5), 2.0, 0.5)


def picture(name: str) -> CasePicture:
    grey = np.full((64, 64), 100, np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    return CasePicture(name, 3, 10, grey, mask, mask)


def evaluation(**more: object) -> Evaluation:
    patients = tuple(patient(n, site="CS" if n % 8 else "DU") for n in range(28, 100, 4))
    return Evaluation("model <b>, threshold 0.5", patients, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page() -> str:
    """Return the page of a model's evaluation, with all that a page can hold."""
    probability = np.random.default_rng(0).random((1, 8, 8), np.float32)
    found = reliabilities(probability, probability > 0.5)
    return evaluation_page(evaluation(calibration={"held out": found}, pictures=tuple(picture(p.name) for p in evaluation().patients)))


def test_the_page_fetches_nothing_and_runs_its_own_script_alone(page: str) -> None:
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page.replace('xlink:href="#', 'href="#'))
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "model <b>" not in page.lower() and "Model &lt;b&gt;" in page


def test_the_page_is_well_formed_and_its_names_differ(page: str) -> None:
    class Reader(HTMLParser):
        names: list[str]
        open: list[str]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "img"):
                self.open.append(tag)
            self.names += [value for key, value in attrs if key == "id" and value]

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            pass

    reader = Reader()
    reader.names, reader.open = [], []
    reader.feed(page)
    assert not reader.open
    own = [name for name in reader.names if not re.fullmatch(r"[mp][0-9a-f]{10}", name)]  # matplotlib's, the same for the same shape
    assert len(own) == len(set(own))


def test_headline_groups_and_rows_are_the_scores(page: str) -> None:
    dices = [2 * n / (n + 100) for n in range(28, 100, 4)]
    assert f"Mean Dice {np.mean(dices):.3f}" in page
    assert "on 18 patients that were not trained on" in page
    assert all(title in page for title in ("Thomas Jefferson University", "Henry Ford Hospital", "Smallest third", "Largest third"))
    assert len(re.findall(r'<td data-value="TCGA_', page)) == 18


def test_pictures_come_with_a_warning_lowest_and_highest_first_and_last(page: str) -> None:
    everyone = evaluation().patients
    assert "This page holds slices of patients&#x27; scans" in page
    shown = re.findall(r"<figcaption><b>[\d.]+</b> (\S+),", page)
    assert shown == [p.name for p in (*everyone[:4], *everyone[7:11], *everyone[-4:])]


def test_patients_of_the_training_stand_in_the_table_alone() -> None:
    both = Evaluation("model", (patient(90), patient(10, "trained on")))
    page = evaluation_page(both)
    assert "Mean Dice 0.947" in page
    assert "1 more patients (trained on (no measure of quality)) stand in the table below and in no number or plot" in page
    assert 'class="trained"' in page
    assert "how well it remembers" in evaluation_page(Evaluation("model", (patient(10, "trained on"),)))
    assert "It is not known whether the model was" in evaluation_page(Evaluation("model", (patient(10, "unknown"),), "model"))
    assert "It is not known" not in evaluation_page(Evaluation("masks", (patient(10, "unknown"),), "masks"))


def test_both_outlines_are_seen_where_the_masks_agree() -> None:
    colours = {tuple(int(c) for c in colour) for colour in both_outlines(picture("p")).reshape(-1, 3)}
    assert {OUTLINE, REFERENCE} <= colours


def test_a_picture_shows_what_is_marked_outside_of_the_head_too() -> None:
    grey = np.zeros((64, 64), np.uint8)
    grey[30:50, 30:50] = 100
    predicted, reference = np.zeros((2, 64, 64), bool)
    predicted[4:12, 30:40] = reference[32:42, 32:42] = True
    rgb = both_outlines(CasePicture("p", 1, 1, grey, predicted, reference))
    # Rows 4 to 49 and columns 30 to 49 with a margin of 64 / 32 pixels, three times enlarged.
    assert rgb.shape == ((46 + 4) * 3, (20 + 4) * 3, 3)
    assert (rgb == OUTLINE).all(axis=-1).any()


@pytest.mark.parametrize(
    ("shape", "aspect", "size"),
    [((20, 20), 1.0, (60, 60)), ((20, 20), 2.5, (150, 60)), ((20, 20), 0.5, (60, 120)), ((1024, 512), 1.0, (768, 384))],
)
def test_pixels_are_drawn_square_and_pictures_are_no_larger_than_they_need_to_be(
    shape: tuple[int, int], aspect: float, size: tuple[int, int]
) -> None:
    mask = np.ones(shape, bool)
    rgb = both_outlines(CasePicture("p", 1, 1, np.full(shape, 100, np.uint8), mask, mask, aspect))
    assert rgb.shape == (*size, 3)


def test_without_a_scan_outlines_stand_on_black_and_lesions_keep_their_sizes() -> None:
    small, large = np.zeros((2, 100, 100), bool)
    small[2:6, 50:54] = True  # so near to the border that what is shown cannot have it in the middle
    large[40:60, 40:60] = True
    for mask, drawn in ((small, 4), (large, 20)):
        rgb = both_outlines(CasePicture("p", 1, 1, None, mask, mask))
        assert rgb.shape == (150, 150, 3)  # half of the slice, three times enlarged
        assert {tuple(int(c) for c in colour) for colour in rgb.reshape(-1, 3)} == {(0, 0, 0), OUTLINE, REFERENCE}
        assert np.ptp(np.flatnonzero((rgb == OUTLINE).all(axis=-1).any(axis=1))) + 1 == 3 * drawn
    nothing = np.zeros((100, 100), bool)
    assert not both_outlines(CasePicture("p", 1, 1, None, nothing, nothing)).any()


def test_the_page_says_where_there_was_no_scan() -> None:
    everyone = evaluation().patients
    masks = np.zeros((2, 64, 64), bool)
    plain = [CasePicture(p.name, 1, 10, None, *masks) for p in everyone]
    page = evaluation_page(evaluation(pictures=tuple(plain)))
    assert "There is no scan to show: the outlines stand on black" in page
    assert "slices of patients" not in page  # as there are none
    assert "nothing marked</figcaption>" in page
    some = evaluation_page(evaluation(pictures=(plain[0], *(picture(p.name) for p in everyone[1:]))))
    assert "1 patient has no scan to show: " in some
    assert "slices of patients" in some


@pytest.mark.parametrize(("count", "threes"), [(1, False), (4, False), (5, True), (8, False), (9, True), (18, False)])
def test_no_picture_stands_alone_in_its_row(count: int, threes: bool) -> None:
    shown = tuple(picture(p.name) for p in evaluation().patients[:count])
    assert ('<div class="slices three">' in evaluation_page(evaluation(pictures=shown))) == threes


def test_a_picture_is_of_the_largest_slice_and_keeps_no_volume() -> None:
    predicted, reference = np.zeros((2, 4, 8, 8), bool)
    predicted[1, :2], reference[2, :3] = True, True
    predicted[3, :2, :4] = reference[3, 2:6, :4] = True  # as much together as in slice 2, which comes first
    flair = np.arange(4 * 64, dtype=np.int16).reshape(4, 8, 8)
    kept = case_picture("p", flair, predicted, reference, 2.0)
    assert (kept.slice_number, kept.slices, kept.aspect) == (3, 4, 2.0)
    assert kept.grey is not None and np.array_equal(kept.reference, reference[2]) and not kept.predicted.any()
    assert 0 < kept.grey.min() < kept.grey.max() < 255  # brightness is the volume's
    assert all(array.base is None for array in (kept.grey, kept.predicted, kept.reference))
    vast = np.zeros((1, 3000, 2000), bool)
    assert case_picture("p", None, vast, vast).reference.shape == (1000, 667)
    without = case_picture("p", None, predicted, reference)
    assert (without.grey, without.slice_number) == (None, 3)
    assert largest_slice(predicted[:1], reference[:1]) == (0, 0)


def test_a_patient_in_whom_nothing_is_defined_has_a_page_too() -> None:
    nothing = PatientScore("p", "unknown", Confusion(0, 0, 0, 10), Confusion(0, 0, 0, 2), 0.0, 1.0)
    content = Evaluation("masks", (nothing,)).as_json()
    assert content["over_all"]["unknown"]["mean_sensitivity"] is None
    json.dumps(content, allow_nan=False)
    page = evaluation_page(Evaluation("masks", (nothing,)))
    assert "Mean Dice 1.000" in page
    assert "Calibration" not in page and "Cases" not in page  # masks have neither


def test_files_are_replaced_and_those_of_others_are_not(tmp_path: Path) -> None:
    written = write_evaluation(evaluation(), tmp_path / "scores")
    assert sorted(f.name for f in written) == ["evaluation.json", "patients.csv", "report.html"]
    check_output(tmp_path / "scores")
    (tmp_path / "scores" / "report.html").write_text("somebody's page")
    with pytest.raises(InputError, match="no report of an evaluation"):
        write_evaluation(evaluation(), tmp_path / "scores")
    for name in ("evaluation.json", "patients.csv"):
        (tmp_path / f"with {name}").mkdir()
        (tmp_path / f"with {name}" / name).write_text("somebody's")
        with pytest.raises(InputError, match=rf"{name}: is there already, without the report\.html of an evaluation"):
            check_output(tmp_path / f"with {name}")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: a file\. Give a folder"):
        check_output(tmp_path / "file")


@pytest.mark.parametrize("name", ["report.html", "evaluation.json", "patients.csv"])
def test_what_cannot_be_written_is_told_before_anything_is_scored(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scores" / name).mkdir(parents=True)
    with pytest.raises(InputError, match=rf"{re.escape(name)}: is a folder\. Choose another --output"):
        check_output(tmp_path / "scores")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"scores: .*file is a file\. Give a folder"):
        check_output(tmp_path / "file" / "scores")
    monkeypatch.setattr(os, "access", lambda *_: False)  # to root everything is open
    with pytest.raises(InputError, match=r"new: cannot be written .*\. Choose another --output"):
        check_output(tmp_path / "new" / "new")
    assert not (tmp_path / "new").exists()


def test_a_disk_that_gets_full_is_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_text", full)
    with pytest.raises(InputError, match=r"scores: cannot be written .*Make room"):
        write_evaluation(evaluation(), tmp_path / "scores")


def test_what_an_interrupted_evaluation_left_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(files.csv, "DictWriter", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_evaluation(evaluation(), tmp_path)
    assert not (tmp_path / "patients.csv").exists()
    assert len(write_evaluation(evaluation(), tmp_path)) == 3


def test_without_matplotlib_the_extra_is_named_before_anything_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EngineError, match=r"pip install 'gliomask\[evaluate\]'"):
        check_output(tmp_path / "scores")


def test_the_document_names_every_key_of_the_json() -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text()
    content = evaluation(calibration={"held out": reliabilities(np.full((1, 1), 0.5, np.float32), np.ones((1, 1), bool))}).as_json()
    assert SCHEMA in text
    scores = set(patient(1).values())
    summary = {re.sub(rf"^(mean|median|quartiles)_({'|'.join(scores)})(_95)?$", "", key) for key in content["over_all"]["held out"]}
    curve = content["calibration"]["held out"]["all pixels"]
    for key in {*content, *content["patients"][0], *summary, *content["by_size"]["held out"]["middle third"], *curve, *curve["curve"][0]}:
        if not re.match(r"(mean|median|quartiles)_", key) or key in summary:
            assert not key or f"`{key}`" in text, f"docs/evaluation.md does not name {key}"

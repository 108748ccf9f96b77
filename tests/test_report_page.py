import base64
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gliomask import EngineError, InputError, Segmentation, Segmenter, Volume, cli, draw_phantom
from gliomask.io import read_image
from gliomask.io.naming import listed, quoted
from gliomask.phantom import lesion_mask
from gliomask.report import read_result
from gliomask.report.key_slices import key_slices
from gliomask.report.overlay import OUTLINE
from gliomask.report.page import report_page, write_report
from gliomask.report.saving import NOTICE

SHA256 = "0123456789abcdef" * 4
NAME = "Doe_John_1970"
AFFINE = np.array([[-0.9, 0, 0, 115], [0, -0.9, 0, 115], [0, 0, 6, -30], [0, 0, 0, 1.0]])
NOTES = (
    "transparency ignored (DOE17_3.png)",
    "transparency ignored (DOE17_4.png)",
    "series 2 of /data/Doe John/scan 1.2.840.113619.2.5 taken",
    "T1/T2 in 6 mm slices",
)
Write = Callable[..., Path]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome on the PATH: apt-get install chromium")


@pytest.fixture
def write_case(tmp_path: Path, phantom: Volume, segmenter: Segmenter) -> Write:
    """Return a function that writes a case's results: the drawn head, with its drawn lesion as what was found."""

    def write(geometry: bool = False, threshold: float = 0.5, slices: slice = slice(None)) -> Path:
        probability = np.where(lesion_mask(), 0.75, 0.1).astype(np.float32)[slices]
        names = tuple(f"DOE17_{z + 1}" for z in range(len(probability)))
        volume = Volume(phantom.voxels[slices], NAME, names, notes=NOTES, sha256=SHA256)
        if geometry:
            volume = replace(volume, affine=AFFINE)
        folder = tmp_path / "results"
        Segmentation(volume, probability, threshold, segmenter.model, "test engine", 0.1).save(folder)
        return folder

    return write


class Page(HTMLParser):
    """What a page's tags refer to, its pictures, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[str] = []
        self.links: list[str] = []
        self.alternatives: list[str] = []
        self.pictures: list[np.ndarray] = []
        self.words: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action", "poster", "background") and value:
                self.links.append(value)
            if name == "alt" and value:
                self.alternatives.append(value)
        if tag == "img":
            encoded = dict(attrs)["src"].removeprefix("data:image/png;base64,")
            self.pictures.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded)))))

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["style"]:
            self.words.append(data)


def page(folder: Path, changes: dict[str, Any] | None = None, *, with_identifiers: bool = False) -> Page:
    content = read_result(folder)
    overlay = read_image(folder / "overlay.png")[0][0]
    return Page(report_page({**content, **(changes or {})}, overlay, with_identifiers=with_identifiers))


def without_pictures(html: str) -> str:
    return re.sub(r'src="data:[^"]*"', "", html)


def test_the_page_tells_what_was_found(write_case: Write) -> None:
    folder = write_case(geometry=True)
    shown = page(folder).text
    millilitres = lesion_mask().sum() * 0.9 * 0.9 * 6 / 1000
    assert f"FLAIR abnormality of {millilitres:.1f} ml marked in 5 of 12 slices." in shown
    assert "It is one lesion, on the patient's right." in shown
    assert "Highest probability of a voxel: 0.75." in shown and "not the probability of a tumour" in shown
    assert "Expected Dice not known: this is neither one slice nor a whole head." in shown
    lesion = json.loads((folder / "result.json").read_text())["measurements"]["lesions"][0]
    diameters = f"{lesion['longest_axial_diameter_mm']:.1f} × {lesion['perpendicular_mm']:.1f}"  # noqa: RUF001 - as it stands there
    assert shown.count(diameters) == 2  # above the table and in it
    assert f"{lesion['bidimensional_product_mm2']:,.0f}" in shown
    assert " 5-9 " in shown


def test_the_page_tells_what_made_the_result(write_case: Write, segmenter: Segmenter) -> None:
    shown = page(write_case(geometry=True)).text
    score = segmenter.model.unseen_scores["FLAIR alone, whole volumes"]
    low, high = score["mean_dice_95"]
    assert f"{score['mean_dice']:.2f} (95 % interval {low:.2f} to {high:.2f}, {score['patients']} patients) with FLAIR alone" in shown
    assert f"fast, SHA-256 {segmenter.model.sha256[:12]}…, threshold 0.5" in shown
    assert "slice by slice" not in shown
    assert "test engine" in shown
    assert shown.count("not a medical device") == shown.count(NOTICE) == 1


def test_a_foreign_model_has_no_scores(write_case: Write) -> None:
    shown = page(write_case(), {"model": {"name": "mine", "sha256": "f" * 64}}).text
    assert "Dice on unseen patients not recorded for this model" in shown


def test_a_case_without_geometry_is_in_pixels(write_case: Write) -> None:
    shown = page(write_case()).text
    assert f"FLAIR abnormality of {lesion_mask().sum():,} pixels marked in 5 of 12 slices." in shown
    assert "No millilitres and no millimetres: the input carries no spacing." in shown
    assert "Image files do not say which side is the patient's left." in shown
    assert " ml " not in shown and " mm " not in shown.replace("in 6 mm slices", "")


def test_nothing_found_is_told_with_slices_to_look_at(write_case: Write) -> None:
    shown = page(write_case(geometry=True, threshold=0.9))
    assert "No FLAIR abnormality was marked in 12 slices. An empty mask does not mean that there is no tumour." in shown.text
    assert "Evenly spaced slices. Nothing is outlined in any slice." in shown.text
    assert [re.search(r"slice (\d+)", a)[1] for a in shown.alternatives] == ["1", "3", "5", "8", "10", "12"]
    assert "table" not in shown.tags


def test_a_single_slice(write_case: Write) -> None:
    shown = page(write_case(slices=slice(6, 7)))
    assert "pixels marked in one slice." in shown.text
    assert len(shown.pictures) == 1
    assert "slice by slice" in shown.text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"removed": {"lesions": 3, "volume_ml": 0.25}, "min_lesion_ml": 0.2},
            "Left out, as asked: 3 lesions under 0.2 ml, 0.25 ml in all.",
        ),
        (
            {"confidence": {"expected_dice": 0.84, "low": 0.7, "high": 0.912}},
            "Expected Dice with an expert's outline: 0.84 (90 % interval 0.70 to 0.91).",
        ),
        (
            {"confidence": None, "confidence_reason": "nothing is marked"},
            "Expected Dice not known: nothing is marked.",
        ),
        (
            {"satellites": 2, "largest_satellites": [{"voxels": 9, "volume_ml": 1.5, "slice_range": [4, 5], "laterality": "left"}]},
            "2 small parts are left out of the mask, the largest of 1.5 ml (slices 5-6, left). Most such marks are false",
        ),
        ({"all_lesions": True}, "threshold 0.5, all lesions kept"),
        ({"max_probability": 0.9999}, "Highest probability of a voxel: over 0.99."),
        ({"model": {"name": "mine", "sha256": "f" * 64}}, "It is neither calibrated nor the probability of a tumour."),
        ({"notes": []}, "None: it was read as it is."),
        ({"notes": [f"note {letter}" for letter in "abcdefghijklmnop"]}, "and 4 more in result.json"),
        ({"input_sha256": None}, "Input without a checksum"),
    ],
)
def test_what_else_the_page_tells(write_case: Write, changes: dict[str, Any], told: str) -> None:
    folder = write_case()
    assert told not in page(folder).text
    assert told in page(folder, changes).text


def test_a_cut_lesion_and_many_lesions_are_told(write_case: Write) -> None:
    folder = write_case(geometry=True)
    measured = json.loads((folder / "result.json").read_text())["measurements"]
    lesion = measured["lesions"][0] | {"laterality": None}
    many = measured | {"touches_border": True, "lesions": [lesion | {"number": n} for n in range(1, 12)]}
    shown = page(folder, {"measurements": many}).text
    assert "so the numbers are lower bounds" in shown
    assert "And 3 smaller ones, listed in result.json." in shown
    assert "unknown" in shown and "patient's right," not in shown.split("Key slices")[0]


@pytest.mark.parametrize(("oriented", "geometry", "marks"), [(True, True, 5), (False, True, 0), (None, True, 0), (True, False, 0)], ids=str)
def test_left_and_right_are_marked_where_they_are_known(write_case: Write, oriented: bool | None, geometry: bool, marks: int) -> None:
    shown = page(write_case(geometry=geometry), {"oriented": oriented})
    assert shown.html.count('<i class="left-edge">R</i><i class="right-edge">L</i>') == marks


# Pictures


@pytest.mark.parametrize(
    ("areas", "shown", "expected"),
    [
        ([0, 5, 9, 0], [0, 1, 2, 3], [1, 2]),
        ([0] * 4, [0, 1, 2, 3], [0, 1, 2, 3]),
        ([0] * 13, list(range(13)), [0, 2, 5, 7, 10, 12]),
        ([0] * 30, list(range(0, 30, 5)), [0, 5, 10, 15, 20, 25]),
        ([1] * 12, list(range(12)), [0, 2, 4, 6, 8, 10]),  # two slices in each sixth, the first of equals
        ([1, 2] * 6, list(range(12)), [1, 3, 5, 7, 9, 11]),
        ([1, 2] * 6, list(range(0, 12, 2)), [0, 2, 4, 6, 8, 10]),  # a thinned sheet shows no others
        ([100, 1, 1, 3, 2, 1, 4], list(range(7)), [0, 1, 2, 3, 4, 6]),  # one holds five sixths; the largest of the rest join
    ],
)
def test_key_slices(areas: list[int], shown: list[int], expected: list[int]) -> None:
    assert key_slices(areas, shown) == sorted(expected)


def test_each_picture_is_the_slice_that_it_says(write_case: Write) -> None:
    # A sheet whose tiles are of one grey each: 100 + the slice's number from 0.
    folder = write_case()
    layout = json.loads((folder / "result.json").read_text())["overlay"]
    (width, height), columns, caption = layout["tile"], layout["columns"], layout["caption"]
    assert layout["shown_slices"] == list(range(12))
    sheet = np.zeros((2 * (height + caption), columns * width, 3), np.uint8)
    for z in range(12):
        top, left = z // columns * (height + caption) + caption, z % columns * width
        sheet[top : top + height, left : left + width] = 100 + z
    Image.fromarray(sheet).save(folder / "overlay.png")
    shown = page(folder)
    assert [re.search(r"slice (\d+) of 12, abnormality outlined", a)[1] for a in shown.alternatives] == ["5", "6", "7", "8", "9"]
    assert [int(picture.mean()) for picture in shown.pictures] == [104, 105, 106, 107, 108]


def test_pictures_are_cropped_alike_to_the_head_and_keep_the_outline(write_case: Write) -> None:
    pictures = page(write_case()).pictures
    assert len({picture.shape for picture in pictures}) == 1
    height, width = pictures[0].shape[:2]
    assert max(height, width) == 480  # enlarged
    assert 1.1 < height / width < 1.5  # the drawn head, 202 x 160 pixels, of a square slice
    for picture in pictures:
        amber = np.abs(picture.astype(int) - OUTLINE).sum(axis=-1) < 60
        assert amber.sum() > 100


def test_an_overlay_without_colour_is_read(write_case: Write) -> None:
    folder = write_case(threshold=0.9)
    assert all(picture.shape[-1] == 3 for picture in page(folder).pictures)
    assert write_report(folder)[0].exists()  # the reader hands grey pictures on with one channel


# Safe to pass on


def test_nothing_is_fetched_from_anywhere(write_case: Write) -> None:
    shown = page(write_case(), with_identifiers=True)
    assert len(shown.links) == 5
    assert all(link.startswith("data:image/png;base64,") for link in shown.links)
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(shown.tags)
    bare = without_pictures(shown.html)
    assert not re.search(r"https?:|//|url\(|@import|@font-face", bare)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in bare


def test_what_names_hold_is_shown_and_not_run(write_case: Write) -> None:
    folder = write_case()
    evil = '<script>alert("1")</script>'
    areas = json.loads((folder / "result.json").read_text())["area_pixels_per_slice"]
    changes = {
        "case": evil,
        "notes": [evil],
        "model": {"name": evil, "sha256": evil},
        "confidence": {evil: evil},
        "input_sha256": evil,
        "area_pixels_per_slice": {f'{n}" onerror="{evil}': area for n, area in areas.items()},
    }
    for with_identifiers in (False, True):
        shown = page(folder, changes, with_identifiers=with_identifiers)
        assert "script" not in shown.tags
        assert "onerror" not in without_pictures(re.sub(r">[^<]*<", "><", shown.html))
    assert f"Case {evil}" in shown.text


def test_identifiers_stay_out_unless_asked_for(write_case: Write) -> None:
    folder = write_case()
    shown = page(folder)
    bare = without_pictures(shown.html).casefold()
    assert not [word for word in ("doe", "john", "1970", "1.2.840", "/data", str(folder).casefold()) if word in bare]
    assert "Input with SHA-256 01234567…" in shown.text and SHA256[:9] not in bare
    assert "transparency ignored (2 times)" in shown.text
    assert "T1/T2 in 6 mm slices" in shown.text  # no identifier is made of what is none


def test_identifiers_are_there_if_asked_for(write_case: Write) -> None:
    shown = page(write_case(), with_identifiers=True)
    assert f"Case {NAME}" in shown.text
    assert "Slice 5, DOE17_5: " in shown.text
    assert all(note in shown.text for note in NOTES)


@pytest.mark.parametrize(
    ("case", "note", "expected"),
    [
        ("017", "slice 017 of 3", "slice 017 of 3"),  # a short number by itself names nobody
        ("017", "turned (017.png)", "turned"),
        ("12345678", "taken from 12345678.", "taken from […]."),
        ("x", "taken from /data/Doe John/1.2", "taken from […]"),
        ("x", "turned (John Doe.dcm), grey", "turned, grey"),
        ("JS", "series of js left out", "series of […] left out"),
        ("JS", "adjusted", "adjusted"),
        ("Smith J", "turned (smith j.tif)", "turned"),
        ("x", "read C:\\scans\\Smith.nii", "read […]"),
        ("x", "turned (scan (1).png)", "turned"),
        ("x", "taken from /tmp/Doe Jane, 1960 (X)/scan 1: gap", "taken from […]: gap"),
        ("x", "file=/tmp/Doe Jane, (X)/a: b/scan 1.nii: T1 not used: gap", "file=[…]: gap"),
        ("x", "T1 not used. /tmp/Doe J. (1960), Jane", "T1 not used. […]"),
        ("x", "read C:\\Users\\Doe, Jane (X)\\a.nii: gap, large", "read […]: gap, large"),
        ("tilt", "gantry tilt of 13.5°", "gantry tilt of 13.5°"),  # a word that notes use names nobody
        ("tilt", "taken from tilt.nii.gz, not from a/tilt/b", "taken from […], not from […]"),
        ("tilt", "resampled (/data/tilt/x): gap", "resampled […]: gap"),
        ("x", "shear of 3.5 mm in 10.2 slices", "shear of 3.5 mm in 10.2 slices"),
        ("x", f"pre-contrast T1: {quoted('Mueller Hans t1.nii.gz')}, resampled", "pre-contrast T1: […], resampled"),
        ("x", f"not used: {listed([Path('Doe, Jane dwi.nrrd'), Path('O”Neil.mgz')])}", "not used: […], […]"),
        ("x", f"1 file not read: {quoted('MUELLER_HANS_REPORT')} (not DICOM)", "1 file not read: […] (not DICOM)"),
        ("x", f"turned ({quoted('Doe (1), Jane.png')}), grey", "turned, grey"),
    ],
)
def test_names_are_left_out_of_notes(write_case: Write, case: str, note: str, expected: str) -> None:
    shown = page(write_case(), {"case": case, "notes": [note], "area_pixels_per_slice": {f"scan ({n})": 1 for n in range(12)}})
    assert f"<li>{expected}</li>" in shown.html


# Files


def test_report_is_written_into_the_case_and_replaced(write_case: Write) -> None:
    folder = write_case()
    before = {path.name for path in folder.iterdir()}
    assert write_report(folder) == [folder / "report.html"]
    first = (folder / "report.html").read_bytes()
    assert write_report(folder, with_identifiers=True) == [folder / "report.html"]
    assert (folder / "report.html").read_bytes() != first
    assert {path.name for path in folder.iterdir()} == before | {"report.html"}


def test_somebody_elses_files_are_not_replaced(write_case: Write, tmp_path: Path) -> None:
    folder = write_case()
    for name, content in (("mine.html", b"<p>my own page"), ("binary.html", b"\xff\xfe"), ("mine.pdf", b"%PDF-1.7 my own")):
        (tmp_path / name).write_bytes(content)
        output = (tmp_path / name).with_suffix(".html") if name != "mine.pdf" else tmp_path / "mine2.html"
        if name == "mine.pdf":
            (tmp_path / "mine.pdf").rename(tmp_path / "mine2.pdf")
        with pytest.raises(InputError, match=r"is there already and is no report of gliomask"):
            write_report(folder, output, pdf=True)
        assert content in [path.read_bytes() for path in tmp_path.glob("*.*")]
    assert not (tmp_path / "mine2.html").exists()


def test_errors_say_what_to_do(write_case: Write, tmp_path: Path) -> None:
    folder = write_case()
    with pytest.raises(InputError, match=r"holds no result\.json\. Give one case's folder"):
        write_report(tmp_path)
    with pytest.raises(InputError, match=r"result\.json: a file\. CASE is a folder of results, such as results/<case>"):
        write_report(folder / "result.json")
    with pytest.raises(InputError, match=r"nothing: no such folder\. CASE is a folder of results"):
        write_report(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"report\.pdf: a report is a page of HTML"):
        write_report(folder, tmp_path / "report.pdf")
    record = json.loads((folder / "result.json").read_text())
    Image.new("RGB", (30, 30)).save(folder / "overlay.png")
    with pytest.raises(InputError, match=r"result\.json: not a record of this version .* 30 x 30 pixels.* Segment the case again"):
        write_report(folder)
    (folder / "overlay.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"overlay\.png: not an image"):
        write_report(folder)
    for key in ("overlay", "measurements", "area_pixels_per_slice"):
        (folder / "result.json").write_text(json.dumps({k: v for k, v in record.items() if k != key}))
        Image.new("RGB", (30, 30)).save(folder / "overlay.png")
        with pytest.raises(InputError, match=r"Segment the case again with --overwrite"):
            write_report(folder)
    assert not (folder / "report.html").exists()


def test_report_command(write_case: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_case()
    assert cli.main(["report", str(folder), "--output", str(tmp_path / "page.html"), "--with-identifiers"]) == 0
    assert capsys.readouterr().out == f"written: {tmp_path / 'page.html'}\n"
    assert NAME in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert cli.main(["report", str(tmp_path / "nothing")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


# Paper and browsers


def test_pdf_without_a_program_says_what_to_install(write_case: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_case()
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    monkeypatch.setenv("PATH", str(folder))
    told = r"Install WeasyPrint \(pip install weasyprint\) or Chromium.*The page itself is written: .*report\.html"
    with pytest.raises(EngineError, match=told):
        write_report(folder, pdf=True)
    assert (folder / "report.html").exists() and not (folder / "report.pdf").exists()


def test_a_browser_that_fails_is_told(write_case: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_case()
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    browser = tmp_path / "bin" / "chromium"
    browser.parent.mkdir()
    browser.write_text("#!/bin/sh\necho no display >&2\nexit 3\n")
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", str(browser.parent))
    with pytest.raises(EngineError, match=r"chromium: did not print the page \(no display\)"):
        write_report(folder, pdf=True)
    assert not list(folder.glob("*.pdf")) and not list(folder.glob(".partial*"))


@needs_chromium
@pytest.mark.parametrize("geometry", [True, False])
def test_pdf_is_one_page_of_a4(write_case: Write, monkeypatch: pytest.MonkeyPatch, geometry: bool) -> None:
    folder = write_case(geometry=geometry)
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    for _ in range(2):  # the second replaces the first
        assert write_report(folder, pdf=True) == [folder / "report.html", folder / "report.pdf"]
    content = (folder / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) == 1
    width, height = (float(n) for n in re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", content).groups())
    assert (width, height) == (pytest.approx(210 / 25.4 * 72, abs=1), pytest.approx(297 / 25.4 * 72, abs=1))
    assert NAME.encode() not in content


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [340, 1200])
def test_in_a_browser(write_case: Write, width: int, scheme: str) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    (file,) = write_report(write_case(geometry=True))
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        asked, said = [], []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: said.append(message.text))
        tab.goto(file.as_uri())
        assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
        assert said == []
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 100)")
        background = [int(n) for n in re.findall(r"\d+", tab.evaluate("getComputedStyle(document.body).backgroundColor"))]
        assert (sum(background) > 600) is (scheme == "light")
        browser.close()


def test_a_report_goes_with_the_result_that_it_shows(tmp_path: Path) -> None:
    result = Segmenter().segment(draw_phantom())
    result.save(tmp_path / "case")
    write_report(tmp_path / "case")
    (tmp_path / "case" / "report.pdf").write_text("somebody else's")
    result.with_threshold(0.9).save(tmp_path / "case", overwrite=True)
    assert not (tmp_path / "case" / "report.html").exists()
    assert (tmp_path / "case" / "report.pdf").exists()

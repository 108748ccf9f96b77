"""The page as a visitor has it: served by the command, in a real browser that nobody sees."""

import csv
import gzip
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nibabel
import numpy as np
import pytest
from dicom_files import FLAIR, Geometry, write_series
from heads import centred, scan
from PIL import Image

from gliomask import Volume

pytest.importorskip("streamlit", reason="needs Streamlit: pip install 'gliomask[app]'")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome on the PATH: apt-get install chromium")

QUIET = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
SOFTWARE_GL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # WebGL 2 without a graphics card
PATIENCE_S = 150  # a loaded machine; an idle one needs a tenth of it
LESION = 6
WINDOW = {"width": 800, "height": 560}  # without a graphics card each picture costs by its pixels
BELOW = "tools/gliomask"  # a place behind a reverse proxy, which hands the whole path on


class Served:
    """The command ``gliomask app`` in a process of its own, and what it writes."""

    def __init__(self, log: Path, below: str = "") -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.address = f"http://localhost:{port}/{below}".rstrip("/")
        self.log = log
        command = [sys.executable, "-m", "gliomask", "app", "--no-browser", "--port", str(port)]
        settings = {**os.environ, "STREAMLIT_SERVER_BASE_URL_PATH": below}
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=log.parent, env=settings)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=5).close()
                return
            except OSError:
                time.sleep(0.1)
        self.stop(signal.SIGTERM)
        pytest.fail(f"not served: {self.log.read_text()}")

    def stop(self, how: signal.Signals) -> int:
        """End it and return its exit code."""
        self.process.send_signal(how)
        try:
            return self.process.wait(timeout=PATIENCE_S)
        finally:
            self.process.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("served") / "log.txt", BELOW)
    yield server
    server.stop(signal.SIGTERM)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*QUIET, *SOFTWARE_GL],
            downloads_path=tmp_path_factory.mktemp("downloads"),
            timeout=PATIENCE_S * 1000,
        )
        yield browser
        browser.close()


class Visit:
    """The page opened, with the hosts that it called and what went wrong in it."""

    def __init__(self, page: "sync_api.Page", address: str) -> None:
        self.page = page
        self.hosts: set[str | None] = set()
        self.elsewhere: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("request", lambda request: self._note(request.url))
        page.on("websocket", lambda websocket: self._note(websocket.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self._hear(message))
        self.below = urlsplit(address).path.rstrip("/").removesuffix("/segment")
        page.goto(address)

    def _hear(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} {message.location.get('url')}")

    def _note(self, url: str) -> None:
        if not url.startswith(("data:", "blob:")):
            self.hosts.add(urlsplit(url).hostname)
            if not urlsplit(url).path.startswith(self.below):
                self.elsewhere.append(url)  # a reverse proxy would not know it


@pytest.fixture
def visit(browser: "sync_api.Browser", served: Served) -> Iterator[Visit]:
    page = browser.new_page(viewport=WINDOW)
    yield Visit(page, served.address)
    page.close()


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


def sent(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def drop(visit: Visit, *files: dict[str, Any]) -> None:
    visit.page.locator("input[type=file]").first.set_input_files(list(files))


def pictures_are_there(page: "sync_api.Page") -> None:
    """Wait until the case's pictures are fetched; the server forgets them when another case or page is shown."""
    page.get_by_role("img", name="outlined in amber").wait_for()
    page.wait_for_function("() => [...document.images].every(image => image.complete)")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a zip of a DICOM series: the synthetic head in eight slices."""
    shape = (96, 112, 8)
    affine = centred(np.diag([-2.0, -2.0, 10.0]), shape, (0.0, 0.0, 10.0))
    geometry = Geometry(first=tuple(np.array([-1, -1, 1]) * affine[:3, 3]), step=(0.0, 0.0, 10.0), spacing=(2.0, 2.0))
    files = write_series(tmp_path_factory.mktemp("study"), scan(affine, shape).astype(np.uint16), geometry, **FLAIR)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for file in files:
            archive.write(file, f"Secret name/{file.name}")
    return content.getvalue()


def test_zip_of_dicom_goes_in_is_looked_at_and_comes_out_as_files(visit: Visit, served: Served, study: bytes) -> None:
    page = visit.page
    drop(visit, sent("patient 7.zip", study))
    headline = page.get_by_role("heading", name="Abnormality found")
    headline.wait_for()
    assert " ml in " in headline.inner_text() and " of 8 slices" in headline.inner_text()
    viewer = page.frame_locator("iframe[title*=gliomask_viewer]")
    viewer.locator("body[data-ready]").wait_for()
    frame = next(frame for frame in page.frames if "gliomask_viewer" in frame.url)
    drawn = "() => scene.nv.drawBitmap.reduce((n, v) => n + (v & 1), 0)"

    # It starts at the slice with most tumour; keyboard, wheel, slider and thumbnails move through the slices.
    slice_now = viewer.locator("#slice")
    start = int(slice_now.input_value())
    viewer.locator("#canvas").focus()
    page.keyboard.press("ArrowUp")
    assert int(slice_now.input_value()) == start + 1
    page.keyboard.press("Home")
    assert int(slice_now.input_value()) == start
    dragged = "() => [scene.nv.opts.dragMode, scene.nv.scene.clipPlaneDepthAziElevs ?? scene.nv.scene.clipPlane]"
    before_keys = frame.evaluate(dragged)
    for key in ("m", "c", "Control+c", "v"):  # NiiVue's own keys would change what a drag does, or cut the head open
        page.keyboard.press(key)
    assert frame.evaluate(dragged) == before_keys
    assert frame.evaluate("() => scene.nv.opts.isOrientationTextVisible")
    viewer.locator("#above").click()
    assert f"Axial slice {start + 1} of 8" in (viewer.locator("#canvas").get_attribute("aria-label") or "")
    viewer.locator("#strip button").first.click()
    assert viewer.locator("#strip button").first.get_attribute("aria-current") == "true"
    viewer.locator("#canvas").hover(position={"x": 200, "y": 200})
    before = slice_now.input_value()
    page.mouse.wheel(0, 120)
    frame.wait_for_function("before => document.querySelector('#slice').value !== before", arg=before)

    # What is drawn is what is measured, at any threshold.
    with page.expect_download() as download:
        page.get_by_role("button", name="Everything (ZIP)").click()
    names = {f"patient 7_{end}" for end in ("mask.nii.gz", "seg.dcm", "overlay.png", "result.json", "report.html", "measurements.csv")}
    assert download.value.suggested_filename == "patient 7_gliomask.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert set(archive.namelist()) == names
        mask = np.asanyarray(nibabel.Nifti1Image.from_bytes(gzip.decompress(archive.read("patient 7_mask.nii.gz"))).dataobj)
        rows = list(csv.DictReader(io.StringIO(archive.read("patient 7_measurements.csv").decode())))
    assert frame.evaluate(drawn) == np.count_nonzero(mask) == sum(int(row["voxels"]) for row in rows)
    sentence = headline.inner_text()
    threshold = page.get_by_role("slider", name="Threshold")
    higher = f"threshold={round(float(threshold.get_attribute('aria-valuetext') or 0) + 0.03, 2)}"  # as Python writes a number: 0.2
    threshold.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    frame.wait_for_function("higher => document.body.dataset.ready.includes(higher)", arg=higher)
    assert frame.evaluate(drawn) < np.count_nonzero(mask)
    page.wait_for_function("before => [...document.querySelectorAll('h2')].every(h => h.innerText !== before)", arg=sentence)
    assert page.inner_text("body").count("not a medical device") == 1
    assert visit.hosts == {"localhost"}
    assert visit.elsewhere == visit.complaints == []
    log = served.log.read_text()
    assert "Traceback" not in log and "patient 7" not in log and "Secret" not in log


def test_two_visitors_a_broken_file_the_back_button_and_a_reload(
    visit: Visit, browser: "sync_api.Browser", served: Served, phantom: Volume
) -> None:
    page = visit.page
    drop(visit, sent("patient_7.png", png(phantom.voxels[LESION, 10:230])), sent("notes.png", b"no image"))
    page.get_by_text("1 with an abnormality · 1 not segmented").wait_for()
    pictures_are_there(page)
    page.get_by_role("radio", name="notes").check(force=True)
    page.get_by_text("notes.png: not an image that can be read").wait_for()
    page.get_by_role("radio", name="patient_7").check(force=True)
    page.get_by_role("img", name="outlined in amber").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Mask (PNG)").click()
    assert download.value.suggested_filename == "patient_7_mask.png"
    with Image.open(download.value.path()) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (256, 220))
        assert set(np.unique(image).tolist()) <= {0, 255}
    pictures_are_there(page)
    page.go_back()
    page.get_by_text("notes.png: not an image that can be read").wait_for()

    other = browser.new_page(viewport=WINDOW)
    second = Visit(other, page.url)
    other.get_by_text("gone with its session").wait_for()
    assert "patient_7" not in other.inner_text("body")
    assert second.complaints == []
    other.close()

    page.reload()
    page.get_by_text("gone with its session").wait_for()
    page.locator("input[type=file]").wait_for(state="attached")
    assert visit.hosts == {"localhost"}
    assert visit.elsewhere == visit.complaints == []
    log = served.log.read_text()
    assert "Traceback" not in log and "patient_7" not in log and "notes" not in log


def test_row_of_the_cohort_opens_its_case_and_back_returns(visit: Visit, phantom: Volume) -> None:
    page = visit.page
    drop(visit, sent("first.png", png(phantom.voxels[LESION, 10:230])), sent("second.png", png(phantom.voxels[LESION - 1, 10:230])))
    page.get_by_text("2 with an abnormality").wait_for()
    pictures_are_there(page)
    page.get_by_role("link", name="Cohort").click()
    table = page.get_by_test_id("stDataFrame")
    table.locator("canvas").first.wait_for()
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 100, box["y"] + 2.5 * 35)
    page.get_by_role("heading", name="Abnormality found").wait_for()
    assert page.url.endswith("?case=2")
    assert page.get_by_role("radio", name="second").is_checked()
    pictures_are_there(page)
    page.go_back()
    page.get_by_role("heading", name="Cohort").wait_for()
    page.get_by_role("link", name="Segment").click()
    page.get_by_role("heading", name="Abnormality found").wait_for()
    assert page.get_by_role("radio", name="second").is_checked()
    pictures_are_there(page)
    assert visit.hosts == {"localhost"}
    assert visit.complaints == []


def test_row_of_a_sorted_cohort_opens_the_case_that_stands_in_it(visit: Visit, phantom: Volume) -> None:
    page = visit.page
    larger, smaller = phantom.voxels[LESION, 10:230], phantom.voxels[LESION - 2, 10:230]
    drop(visit, sent("b larger.png", png(larger)), sent("a smaller.png", png(smaller)), sent("c same.png", png(larger)))
    page.get_by_text("3 with an abnormality").wait_for()
    page.wait_for_load_state("networkidle")  # pictures that a page asks for while it is left are not there any more
    page.get_by_role("link", name="Cohort").click()
    table = page.get_by_test_id("stDataFrame")
    table.locator("canvas").first.wait_for()
    titles = table.locator("[role=columnheader]")
    titles.first.wait_for(state="attached")
    assert titles.all_inner_texts()[:2] == ["#", "Case"]
    box = table.bounding_box()
    assert box is not None
    # By name, of which none stands where it was dropped; nothing opens by that, though it is the table's first click.
    page.mouse.click(box["x"] + 100, box["y"] + 17)
    page.wait_for_timeout(2000)
    page.get_by_role("heading", name="Cohort").wait_for()
    page.mouse.click(box["x"] + 100, box["y"] + 1.5 * 35)
    page.get_by_role("heading", name="Abnormality found").wait_for()
    assert page.get_by_role("radio", name="a smaller").is_checked()
    # A page that is left may still ask for its pictures, which Streamlit has thrown away by then.
    assert [complaint for complaint in visit.complaints if "/media/" not in complaint] == []


def test_grey_window_dragged_in_the_picture_moves_its_control(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("button", name="Try the sample").click()
    viewer = page.frame_locator("iframe[title*=gliomask_viewer]")
    viewer.locator("body[data-ready]").wait_for()
    frame = next(frame for frame in page.frames if "gliomask_viewer" in frame.url)
    ends = page.get_by_role("slider", name="Grey window")
    asked = [end.get_attribute("aria-valuetext") for end in ends.all()]
    box = viewer.locator("#canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 150, box["y"] + 120)
    page.mouse.down(button="right")
    for step in range(1, 6):
        page.mouse.move(box["x"] + 150 - 8 * step, box["y"] + 120 - 6 * step)
    page.mouse.up(button="right")
    low, high = (round(value / 2.55) for value in frame.evaluate("() => scene.window"))
    assert (low, high) != (0, 100)
    frame.wait_for_function(f"() => document.body.dataset.ready.includes('window=({low * 2.55}, {high * 2.55})')")
    assert [end.get_attribute("aria-valuetext") for end in ends.all()] == [f"{low}%", f"{high}%"] != asked
    assert frame.evaluate("() => scene.window.map(Math.round)") == [round(low * 2.55), round(high * 2.55)]
    assert visit.complaints == []


def test_browser_that_draws_no_volumes_shows_pictures_and_says_why(browser: "sync_api.Browser", served: Served) -> None:
    plain = browser.browser_type.launch(executable_path=CHROMIUM, args=[*QUIET, "--disable-3d-apis"], timeout=PATIENCE_S * 1000)
    page = Visit(plain.new_page(viewport=WINDOW), served.address).page
    page.get_by_role("button", name="Try the sample").click()
    page.get_by_text("This browser draws no 3-D graphics (WebGL 2); plain pictures are shown instead.").wait_for()
    pictures_are_there(page)
    assert page.get_by_text("Marked by the model").is_visible()
    page.get_by_role("radiogroup", name="View").wait_for(state="detached", timeout=20_000)
    assert page.get_by_role("radiogroup", name="Show").is_visible()
    plain.close()


def test_phone_has_all_pages_in_view(browser: "sync_api.Browser", served: Served) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 700})
    visit = Visit(page, served.address)
    names = ["Segment", "Cohort", "Evaluation", "Model"]
    for name in [*names[1:], "Segment"]:
        row = page.get_by_test_id("stPageLink-NavLink")  # while a page comes up, Streamlit's own list is there for a moment
        links = [page.get_by_role("link", name=name, exact=True).and_(row) for name in names]
        for link in links:
            link.wait_for()
        page.wait_for_timeout(1000)  # while it is drawn, links are where they do not stay
        assert len({(link.bounding_box() or {})["y"] for link in links}) == 1
        links[names.index(name)].click()
        page.get_by_role("heading", name="gliomask" if name == "Segment" else name, exact=True).wait_for()
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert page.get_by_role("button", name="sidebar").count() == 0
    assert visit.complaints == []
    page.close()


def test_upload_without_the_pages_own_token_is_refused(visit: Visit, served: Served) -> None:
    visit.page.get_by_text("Drop scans here").wait_for()
    forged = urllib.request.Request(f"{served.address}/_stcore/upload_file/any/any", data=b"", method="PUT")
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(forged, timeout=PATIENCE_S)
    with error.value:
        assert error.value.code == 403


@pytest.mark.skipif(os.name != "posix", reason="sends Ctrl-C as POSIX does")
def test_ctrl_c_ends_it_in_order(tmp_path: Path) -> None:
    server = Served(tmp_path / "log.txt")
    assert server.stop(signal.SIGINT) == 0
    assert "Traceback" not in server.log.read_text()

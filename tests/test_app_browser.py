"""The page as a visitor has it: served by the command, in a real browser that nobody sees."""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from gliomask import Volume

pytest.importorskip("streamlit", reason="needs Streamlit: pip install 'gliomask[app]'")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome on the PATH: apt-get install chromium")

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
PATIENCE_S = 50  # a loaded machine; an idle one needs a tenth of it
LESION = 6


class Served:
    """The command ``gliomask app`` in a process of its own, and what it writes."""

    def __init__(self, log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.address = f"http://localhost:{probe.getsockname()[1]}"
        self.log = log
        command = [sys.executable, "-m", "gliomask", "app", "--no-browser", "--port", self.address.rpartition(":")[2]]
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=log.parent)
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
    server = Served(tmp_path_factory.mktemp("served") / "log.txt")
    yield server
    server.stop(signal.SIGTERM)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=QUIET, downloads_path=tmp_path_factory.mktemp("downloads"), timeout=PATIENCE_S * 1000
        )
        yield browser
        browser.close()


class Visit:
    """The page opened, with the hosts that it called and what went wrong in it."""

    def __init__(self, page: "sync_api.Page", address: str) -> None:
        self.page = page
        self.hosts: set[str | None] = set()
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("request", lambda request: self._note(request.url))
        page.on("websocket", lambda websocket: self._note(websocket.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.goto(address)

    def _note(self, url: str) -> None:
        if not url.startswith(("data:", "blob:")):
            self.hosts.add(urlsplit(url).hostname)


@pytest.fixture
def visit(browser: "sync_api.Browser", served: Served) -> Iterator[Visit]:
    page = browser.new_page()
    yield Visit(page, served.address)
    page.close()


def test_sample_is_one_click_and_calls_nobody(visit: Visit, served: Served) -> None:
    page = visit.page
    page.get_by_role("button", name="Try the sample").click()
    page.get_by_role("heading", name="Tumour found").wait_for()
    page.get_by_role("button", name="All masks").wait_for()
    page.get_by_role("img", name="outlined in amber").wait_for()
    page.get_by_text("About the model").wait_for()
    text = page.inner_text("body")
    assert text.count("not a medical device") == 1
    assert "Nothing leaves this computer." in text
    assert visit.hosts == {"localhost"}
    assert visit.complaints == []
    assert "Traceback" not in served.log.read_text()


def test_slice_goes_up_and_its_mask_comes_down(visit: Visit, served: Served, phantom: Volume) -> None:
    page = visit.page
    content = io.BytesIO()
    Image.fromarray(phantom.voxels[LESION, 10:230]).save(content, format="PNG")
    page.locator("input[type=file]").set_input_files(
        [
            {"name": "patient_7.png", "mimeType": "image/png", "buffer": content.getvalue()},
            {"name": "notes.png", "mimeType": "image/png", "buffer": b"no image"},
        ]
    )
    page.get_by_role("heading", name="1 could not be segmented").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Mask (PNG)").click()
    assert download.value.suggested_filename == "patient_7_mask.png"
    with Image.open(download.value.path()) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (256, 220))
        assert set(np.unique(image).tolist()) <= {0, 255}
    with page.expect_download() as download:
        page.get_by_role("button", name="Overlay (PNG)").click()
    assert download.value.suggested_filename == "patient_7_overlay.png"
    page.get_by_role("radio", name="notes.png").check(force=True)
    page.get_by_text("notes.png: not an image that can be read").wait_for()
    assert visit.hosts == {"localhost"}
    assert visit.complaints == []
    log = served.log.read_text()
    assert "Traceback" not in log and "patient_7" not in log and "notes" not in log


@pytest.mark.skipif(os.name != "posix", reason="sends Ctrl-C as POSIX does")
def test_ctrl_c_ends_it_in_order(tmp_path: Path) -> None:
    server = Served(tmp_path / "log.txt")
    assert server.stop(signal.SIGINT) == 0
    assert "Traceback" not in server.log.read_text()

"""Take the pictures of the web page that the documentation shows: ``python docs/screenshots.py``, or with the names of some.

Needs the extra ``[app]``, ``playwright`` and a Chromium on the machine; nothing is downloaded. The
heads on them are drawn: the sample, and those of ``drawn_cohort.py``.
"""

import argparse
import gzip
import io
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
from drawn_cohort import files
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright

FOLDER = Path(__file__).with_name("screenshots")
PATIENCE_MS = 240_000
SOFTWARE_GL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # WebGL 2 without a graphics card


@dataclass(frozen=True)
class Shot:
    """What a picture is taken of.

    Attributes
    ----------
    width, height
        Width and greatest height in CSS pixels.
    scheme
        Colour scheme.
    view
        The button of the view that is pressed, if any.
    mark
        The button of what is shown, if any.
    before
        What to do on the empty page.
    ready
        A heading that is there when the picture can be taken.
    """

    width: int = 1280
    height: int = 1240
    scheme: Literal["light", "dark"] = "light"
    view: str = ""
    mark: str = ""
    before: Callable[[Page], None] | None = None
    ready: str = "Abnormality found"


def try_sample(page: Page) -> None:
    """Click the sample."""
    page.get_by_role("button", name="Try the sample").click()


def drop_grey(page: Page) -> None:
    """Drop a picture of one shade, which is no head."""
    content = io.BytesIO()
    Image.new("L", (256, 256), 90).save(content, format="PNG")
    page.locator("input[type=file]").set_input_files([FilePayload(name="wall.png", mimeType="image/png", buffer=content.getvalue())])


def open_cohort(page: Page) -> None:
    """Drop the drawn cohort, wait for its last case and open the table."""
    sent = [FilePayload(name=name, mimeType="application/octet-stream", buffer=content) for name, content in files()]
    page.locator("input[type=file]").set_input_files(sent)
    page.get_by_text("to go").wait_for()
    page.get_by_text("to go").wait_for(state="detached")
    open_page(page, "Cohort")


def open_evaluation(page: Page) -> None:
    """Score the drawn cohort."""
    open_cohort(page)
    open_page(page, "Evaluation")


def open_masks(page: Page) -> None:
    """Score the drawn masks, each moved a little, as another program's."""
    open_page(page, "Evaluation")
    page.get_by_role("tab", name="Masks of any tool").click()
    masks = {name: content for name, content in files() if "_mask" in name}
    changes: tuple[Callable[[bytes], bytes], ...] = (moved, bytes)
    for field, change in enumerate(changes):
        sent = [FilePayload(name=name, mimeType="application/gzip", buffer=change(content)) for name, content in masks.items()]
        page.locator("input[type=file]").nth(field).set_input_files(sent)
        page.wait_for_timeout(4000)  # a click that meets the page while it takes files in is lost
    page.get_by_role("button", name="Score").click()


def moved(content: bytes) -> bytes:
    """Return a NIfTI file whose mask is moved to the patient's left and back, the further the larger it is."""
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
    mask = np.asarray(image.dataobj)
    shift = int(np.cbrt(np.count_nonzero(mask)) / 5)
    return gzip.compress(nibabel.Nifti1Image(np.roll(mask, (shift, -shift), axis=(0, 1)), image.affine).to_bytes(), mtime=0)


def open_model(page: Page) -> None:
    """Open the page about the model."""
    open_page(page, "Model")


def open_page(page: Page, name: str) -> None:
    """Follow the navigation's link."""
    link = page.get_by_role("link", name=name, exact=True)
    expect(link).to_have_count(1, timeout=PATIENCE_MS)  # a slow first run of the page shows the navigation twice for a moment
    link.click()


SHOTS: dict[str, Shot] = {
    "start": Shot(height=560, ready=""),
    "page": Shot(before=try_sample),
    "page-dark": Shot(scheme="dark", mark="Probability", before=try_sample),
    "page-phone": Shot(390, 1500, before=try_sample),
    "solid": Shot(height=820, view="3-D", before=try_sample),
    "refusal": Shot(height=640, before=drop_grey, ready="does not look like a brain FLAIR"),
    "cohort": Shot(height=1100, before=open_cohort, ready="Volumes"),
    "evaluation": Shot(height=1500, before=open_evaluation, ready="All cases"),
    "masks": Shot(height=1500, before=open_masks, ready="All cases"),
    "model": Shot(height=2000, before=open_model, ready="Can its probabilities be trusted?"),
}


def main() -> None:
    """Read the command line and write a picture for each of the named shots, or for all."""
    parser = argparse.ArgumentParser(description="Take the pictures of the web page that the documentation shows.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(SHOTS)} (default: all)")
    names: list[str] = parser.parse_args().names
    if unknown := [name for name in names if name not in SHOTS]:
        parser.error(f"no picture is called {', '.join(unknown)}")
    FOLDER.mkdir(exist_ok=True)
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", *SOFTWARE_GL])
        for name in names or SHOTS:
            take(browser, address, name)
        browser.close()


def take(browser: Browser, address: str, name: str) -> None:
    """Open the page, do what the shot asks for and write its picture."""
    shot = SHOTS[name]
    page = browser.new_page(viewport={"width": shot.width, "height": shot.height}, color_scheme=shot.scheme)
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.get_by_text("Drop scans here").wait_for()
    if shot.before is not None:
        shot.before(page)
    if shot.ready:
        page.get_by_role("heading", name=shot.ready).wait_for()
    if shot.before is try_sample:
        viewer = page.frame_locator("iframe[title*=gliomask_viewer]").locator("body")
        viewer.and_(page.frame_locator("iframe[title*=gliomask_viewer]").locator("[data-ready]")).wait_for()
        for choice in filter(None, (shot.view, shot.mark)):
            before = viewer.get_attribute("data-ready")
            page.get_by_role("radio", name=choice, exact=True).click()
            while viewer.get_attribute("data-ready") == before:
                page.wait_for_timeout(250)
    page.wait_for_timeout(3000)  # charts and tables take their height
    # Streamlit scrolls the page inside an element of its own, so the window is made as high as its content.
    content = page.evaluate("document.querySelector('.stMainBlockContainer').scrollHeight")
    page.set_viewport_size({"width": shot.width, "height": min(shot.height, int(content))})
    page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 0)")
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(3000)  # pictures fade in
    # JPEG: the noise of a scan, drawn or not, makes PNG three times as large.
    page.screenshot(path=FOLDER / f"{name}.jpg", type="jpeg", quality=88)
    page.close()


@contextmanager
def served() -> Iterator[str]:
    """Yield the address at which the page is served for as long as the block runs."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    address = f"http://localhost:{port}"
    server = subprocess.Popen([sys.executable, "-m", "gliomask", "app", "--port", str(port), "--no-browser"])
    try:
        wait_for(address)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def wait_for(address: str) -> None:
    """Return once the page is served.

    Raises
    ------
    TimeoutError
        It is not after a minute.
    """
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=5).close()
            return
        except OSError:
            time.sleep(0.25)
    raise TimeoutError(f"{address}: not served after a minute.")


def chromium() -> str:
    """Return the path of the machine's Chromium or Chrome.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(name):
            return found
    raise FileNotFoundError("Chromium or Chrome is needed; on Debian: apt-get install chromium")


if __name__ == "__main__":
    main()

"""Take the pictures of the web page that the documentation shows: ``python docs/screenshots.py``.

Needs the extra ``[app]``, ``playwright`` and a Chromium on the machine; nothing is downloaded. The
head on them is the sample that the program draws.
"""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

FOLDER = Path(__file__).with_name("screenshots")
# Width and greatest height in CSS pixels, picture pixels per CSS pixel, colour scheme.
SHOTS: dict[str, tuple[int, int, float, Literal["light", "dark"]]] = {
    "page": (1280, 2000, 1.0, "light"),
    "page-dark": (1280, 2000, 1.0, "dark"),
    "page-phone": (390, 1420, 1.5, "light"),
}
PATIENCE_MS = 120_000


def main() -> None:
    """Write one picture for each of the shots."""
    FOLDER.mkdir(exist_ok=True)
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        for name in SHOTS:
            take(browser, address, name)
        browser.close()


def take(browser: Browser, address: str, name: str) -> None:
    """Open the page, try its sample and write the picture of the whole page."""
    width, height, scale, scheme = SHOTS[name]
    page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale, color_scheme=scheme)
    page.goto(address)
    page.get_by_role("button", name="Try the sample").click(timeout=PATIENCE_MS)
    page.get_by_role("button", name="All masks").wait_for(timeout=PATIENCE_MS)
    page.get_by_text("About the model").wait_for(timeout=PATIENCE_MS)
    # Streamlit scrolls the page inside an element of its own, so the window is made as high as its content.
    content = page.evaluate("document.querySelector('.stMainBlockContainer').scrollHeight")
    page.set_viewport_size({"width": width, "height": min(height, int(content))})
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(2000)  # pictures fade in
    page.screenshot(path=FOLDER / f"{name}.png")
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

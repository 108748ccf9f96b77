"""Measure the web page under use: ``python docs/page_load.py [--visitors 10] [--uploads 20]``; prints a table for docs/deployment.md.

It starts ``gliomask app`` and visits it with a Chromium that nobody sees. What is dropped is the
phantom that the program draws, made different each time so that nothing is answered from what is
kept. Needs the extra ``[app]``, ``playwright``, and Linux (memory and CPU time are read from /proc).
"""

import argparse
import io
import os
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

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, sync_playwright

from gliomask import draw_phantom

PATIENCE_S = 240
QUIET_S = 3.0  # nothing done for so long: the model is loaded
LEFT_S = 200  # Streamlit keeps a session for two minutes, for a visitor whose connection was lost
SOFTWARE_GL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
VIEWER = "iframe[title*=gliomask_viewer]"


@dataclass(frozen=True)
class Server:
    """``gliomask app`` in a process of its own."""

    address: str
    process: subprocess.Popen[bytes]

    @property
    def memory_mb(self) -> float:
        """Resident memory."""
        return self._status_mb("VmRSS")

    @property
    def most_memory_mb(self) -> float:
        """The most resident memory that it had at any time."""
        return self._status_mb("VmHWM")

    def _status_mb(self, name: str) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) / 1024

    @property
    def cpu_s(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=10)
    parser.add_argument("--uploads", type=int, default=100)
    options = parser.parse_args()
    rows: list[tuple[str, str, str]] = []

    def note(what: str, figure: str, goal: str = "") -> None:
        rows.append((what, figure, goal))
        sys.stdout.write(f"{what}: {figure}\n")
        sys.stdout.flush()

    began = time.monotonic()
    with served() as server, sync_playwright() as playwright:
        note("command to a served address", f"{time.monotonic() - began:.1f} s, CPU {server.cpu_s:.1f} s")
        note("memory before anybody comes", f"{server.memory_mb:.0f} MB")
        browser = playwright.chromium.launch(executable_path=chromium(), args=SOFTWARE_GL)
        warmed(browser)
        page = first_visitor(browser, server, note)
        sample_and_settings(page, server, note)
        page.close()
        at_start = server.memory_mb
        note("memory with the model, one case seen", f"{at_start:.0f} MB")
        many_uploads(browser, server, options.uploads, note)
        many_visitors(browser, server, options.visitors, note)
        time.sleep(LEFT_S)
        note(f"memory {LEFT_S} s after all have left", f"{server.memory_mb:.0f} MB", f"{at_start:.0f} MB")
        browser.close()
    sys.stdout.write("\n| what | measured | goal |\n| --- | --- | --- |\n")
    sys.stdout.writelines(f"| {what} | {figure} | {goal} |\n" for what, figure, goal in rows)


Note = Callable[..., None]


def warmed(browser: Browser) -> None:
    """Have the browser start what any first page makes it start, which is not the page's."""
    page = browser.new_page()
    page.set_content("<canvas></canvas><script>document.querySelector('canvas').getContext('webgl2')</script>")
    page.close()


def first_visitor(browser: Browser, server: Server, note: Note) -> Page:
    """Note how soon the page is drawn for the first visitor, and how soon the model is there."""
    cpu, began = server.cpu_s, time.monotonic()
    page = opened(browser, server)
    note("first paint, first visitor", f"{time.monotonic() - began:.1f} s, CPU of the server {server.cpu_s - cpu:.2f} s", "2 s")
    quiet_since, last = time.monotonic(), server.cpu_s
    while time.monotonic() - quiet_since < QUIET_S:
        time.sleep(0.1)
        if server.cpu_s > last + 0.02:
            quiet_since, last = time.monotonic(), server.cpu_s
    note("model and readers loaded", f"{quiet_since - began:.1f} s, CPU of the server {server.cpu_s - cpu:.2f} s", "5 s")
    return page


def opened(browser: Browser, server: Server) -> Page:
    """Return the page once the place to drop files is drawn."""
    page = browser.new_page(viewport={"width": 1000, "height": 700})
    page.set_default_timeout(PATIENCE_S * 1000)
    page.goto(server.address)
    page.get_by_text("Drop scans here").wait_for()
    return page


def sample_and_settings(page: Page, server: Server, note: Note) -> None:
    """Note how soon the sample is answered, and a change of threshold or slice."""
    began = time.monotonic()
    page.get_by_role("button", name="Try the sample").click()
    page.get_by_role("heading", name="Abnormality found").wait_for()
    note("the sample's answer", f"{time.monotonic() - began:.1f} s")
    body = page.frame_locator(VIEWER).locator("body")
    page.frame_locator(VIEWER).locator("body[data-ready]").wait_for()
    page.get_by_role("slider", name="Threshold").focus()
    waits, cpu = [], server.cpu_s
    frame = next(frame for frame in page.frames if "gliomask_viewer" in frame.url)
    for _ in range(8):
        token, began = body.get_attribute("data-ready"), time.monotonic()
        page.keyboard.press("ArrowRight")
        frame.wait_for_function("before => document.body.dataset.ready !== before", arg=token, polling=10)
        waits.append(time.monotonic() - began)
    note(
        "threshold, key to drawn outline (median of 8)",
        f"{np.median(waits) * 1000:.0f} ms, CPU of the server {(server.cpu_s - cpu) / 8 * 1000:.0f} ms",
        "200 ms",
    )
    waits = []
    page.frame_locator(VIEWER).locator("#canvas").focus()
    for number in range(8):
        began, before = time.monotonic(), page.frame_locator(VIEWER).locator("#slice").input_value()
        page.keyboard.press("ArrowUp" if number % 2 else "ArrowDown")
        frame.wait_for_function("before => document.querySelector('#slice').value !== before", arg=before, polling=10)
        waits.append(time.monotonic() - began)
    note("slice, key to drawn slice (median of 8)", f"{np.median(waits) * 1000:.0f} ms, in the browser alone", "200 ms")


def many_uploads(browser: Browser, server: Server, uploads: int, note: Note) -> None:
    """Note the memory after one visitor's many volumes, ten at a time and removed by leaving."""
    began, cpu = time.monotonic(), server.cpu_s
    for first in range(0, uploads, 10):
        page = opened(browser, server)
        count = min(10, uploads - first)
        page.locator("input[type=file]").set_input_files([drawn(first + n) for n in range(count)])
        page.wait_for_function("n => document.body.innerText.includes(`${n} with an abnormality`)", arg=count)
        page.close()
    each = f"{(time.monotonic() - began) / uploads:.1f} s each, CPU {(server.cpu_s - cpu) / uploads:.1f} s"
    note(f"memory after {uploads} uploads", f"{server.memory_mb:.0f} MB, {server.most_memory_mb:.0f} MB at most; {each}", "600 MB")


def many_visitors(browser: Browser, server: Server, visitors: int, note: Note) -> None:
    """Note how ten visitors at once are served by one model."""
    pages = [opened(browser, server) for _ in range(visitors)]
    began = time.monotonic()
    for number, page in enumerate(pages):
        page.locator("input[type=file]").set_input_files([drawn(10_000 + number)])
    waits = []
    for page in pages:
        page.get_by_role("heading", name="Abnormality found").wait_for()
        waits.append(time.monotonic() - began)
    note(f"{visitors} visitors at once, a volume each", f"answered after {min(waits):.1f} to {max(waits):.1f} s", "one model")
    note(f"memory with {visitors} visitors", f"{server.memory_mb:.0f} MB")
    for page in pages:
        page.close()


def drawn(number: int) -> FilePayload:
    """Return the phantom as a multi-page TIFF that differs from any other number's."""
    pages = [Image.fromarray(page) for page in draw_phantom().voxels]
    pages[0].putpixel((0, 0), (number % 8, number // 8 % 8, number // 64 % 256))
    content = io.BytesIO()
    pages[0].save(content, format="TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    return FilePayload(name=f"case {chr(97 + number % 26)}{number}x.tif", mimeType="image/tiff", buffer=content.getvalue())


@contextmanager
def served() -> Iterator[Server]:
    """Yield the page's server for as long as the block runs."""
    with socket.create_server(("localhost", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "gliomask", "app", "--port", str(port), "--no-browser"], stdout=subprocess.DEVNULL)
    address = f"http://localhost:{port}"
    try:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=5).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield Server(address, process)
    finally:
        process.terminate()
        process.wait(timeout=30)


def chromium() -> str:
    """Return the path of the machine's Chromium or Chrome.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if found is None:
        raise FileNotFoundError("Chromium or Chrome is needed; on Debian: apt-get install chromium")
    return found


if __name__ == "__main__":
    main()

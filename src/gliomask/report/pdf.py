"""A page printed as PDF, by WeasyPrint or by a browser that is on the machine."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from gliomask.errors import EngineError, InputError
from gliomask.io import atomic_path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE_S = 120.0

MARK = b"\n%gliomask report\n"
"""A comment behind the end of the file, where readers pass over it: tells a report from another PDF."""


def check_room(path: Path) -> None:
    """Raise if a file is in the way that is no printed report.

    Raises
    ------
    InputError
        It is.
    """
    if path.exists() and not (path.is_file() and path.read_bytes().endswith(MARK)):
        raise InputError(f"{path}: is there already and is no report of gliomask. Move it away, or choose another --output.")


def write_pdf(html: str, path: Path) -> None:
    """Print a self-contained page as PDF, atomically.

    Raises
    ------
    EngineError
        There is no program that prints pages, or it fails.
    """
    with tempfile.TemporaryDirectory(prefix="gliomask-") as folder:
        printed = Path(folder) / "page.pdf"
        if not _by_weasyprint(html, printed):
            _by_browser(html, printed)
        content = printed.read_bytes()
    with atomic_path(path) as temporary:
        temporary.write_bytes(content + MARK)


def _by_weasyprint(html: str, printed: Path) -> bool:
    """Print the page if WeasyPrint is installed and finds its libraries; return whether it did."""
    try:
        from weasyprint import HTML  # not a dependency: it brings Pango, which a browser makes needless
    except (ImportError, OSError):  # OSError: the package is there, Pango is not
        return False
    HTML(string=html).write_pdf(printed)
    return True


def _by_browser(html: str, printed: Path) -> None:
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise EngineError(
            f"no program here prints a page as PDF. Install WeasyPrint (pip install weasyprint) or Chromium, or print the page "
            f"from your browser. Looked for: weasyprint, {', '.join(BROWSERS)}."
        )
    page = printed.with_suffix(".html")
    page.write_text(html, encoding="utf-8")
    try:
        done = subprocess.run(_command(browser, page, printed), capture_output=True, timeout=PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{browser}: did not print the page ({error}). Print it from your browser.") from error
    if not printed.is_file() or not printed.stat().st_size:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise EngineError(f"{browser}: did not print the page ({' '.join(last) or done.returncode}). Print it from your browser.")


def _command(browser: str, page: Path, printed: Path) -> list[str]:
    root = getattr(os, "geteuid", lambda: 1)() == 0
    return [
        browser,
        "--headless",
        "--disable-gpu",
        "--no-first-run",
        "--disable-extensions",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND",  # the page asks for nothing, and the browser itself shall not either
        *(["--no-sandbox"] if root else []),  # Chromium does not start for root with it, as in containers
        f"--user-data-dir={printed.parent / 'profile'}",
        "--no-pdf-header-footer",
        f"--print-to-pdf={printed}",
        page.as_uri(),
    ]

"""What the page allows, and how Streamlit is set up for it."""

from collections.abc import Mapping

MAX_UPLOAD_MB = 200
"""Largest file; a study of three series of 200 slices, zipped, has half of it."""

MAX_SESSION_MB = 600
"""Most bytes that one visitor's files take on the disk, what is unpacked from archives included."""

MAX_TOTAL_MB = 2000
"""Most bytes that all visitors' files take on the disk together."""

MAX_WAITING_MB = 800
"""Most bytes of files that have been sent but not yet taken in; Streamlit holds them in memory."""

MAX_FILES = 2000
"""Most files at once: a DICOM study that comes as single files."""

MAX_CASES = 64
"""Most cases of one visitor."""

MAX_PIXELS = 24 * 2**20
"""Most voxels of a case: 256 x 256 x 384, or 96 slices of 512 x 512; with its result about 200 MB."""

MAX_RESULTS = 64
"""Most results that are kept for all visitors together."""

MAX_RESULT_BYTES = 160 * 2**20
"""Most memory that kept results take, twenty of 24 slices; the one added last is kept whatever its size. Hosting has 1 GB or less."""

STREAMLIT: Mapping[str, str | int | bool] = {
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",  # what goes wrong is told in a sentence, or in the terminal
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "runner.postScriptGC": False,  # a tenth of a second in which no answer reaches a browser; visits.keep_tidy sees to it
    "server.enableCORS": True,  # on in Streamlit anyway; said here so that no setting of the machine's turns them off
    "server.enableXsrfProtection": True,
    "server.fileWatcherType": "none",  # the page is not edited while it runs
    "server.maxUploadSize": MAX_UPLOAD_MB,
    "server.showEmailPrompt": False,
    "theme.light.primaryColor": "#1f6f8b",  # Streamlit's own is a red that reads as an alarm
    "theme.dark.primaryColor": "#5fb4cf",
}
"""Streamlit's options; ``.streamlit/config.toml`` repeats them for ``streamlit run app.py``."""

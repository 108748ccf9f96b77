"""What the page allows, and how Streamlit is set up for it."""

from collections.abc import Mapping

MAX_UPLOAD_MB = 64
"""Largest file; an upload is held in memory for as long as its page is open."""

MAX_PIXELS = 16 * 2**20
"""Most pixels of a file, all pages together: a volume of 64 slices of 512 x 512, about 120 MB with its result."""

MAX_FILES = 64
"""Most files at once, and as many results are kept."""

STREAMLIT: Mapping[str, str | int | bool] = {
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",  # what goes wrong is told in a sentence, or in the terminal
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "server.fileWatcherType": "none",  # the page is not edited while it runs
    "server.maxUploadSize": MAX_UPLOAD_MB,
    "server.showEmailPrompt": False,
    "theme.light.primaryColor": "#1f6f8b",  # Streamlit's own is a red that reads as an alarm
    "theme.dark.primaryColor": "#5fb4cf",
}
"""Streamlit's options; ``.streamlit/config.toml`` repeats them for ``streamlit run app.py``."""

"""The page from a checkout, where gliomask itself need not be installed: ``streamlit run app.py``."""

import runpy
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "src"
sys.path[:] = [str(SOURCE), *(place for place in sys.path if place != str(SOURCE))]  # once, however often Streamlit runs this
PAGE = runpy.run_path(str(SOURCE / "gliomask" / "app" / "page.py"), run_name="__main__")

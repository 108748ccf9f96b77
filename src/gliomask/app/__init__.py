"""The web page; nothing of Streamlit's is imported until it is launched."""

from gliomask.app.server import launch

__all__ = ["launch"]

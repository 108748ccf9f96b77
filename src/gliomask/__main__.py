"""``python -m gliomask``."""

from gliomask.cli import entry

entry()

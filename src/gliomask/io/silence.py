"""Silence for libraries whose warnings quote what is in a file."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

LOGGERS = ("pydicom", "highdicom", "nibabel.global")


class _Silence:
    """The process's warnings and the loggers of pydicom, highdicom and nibabel, silent while anybody asks for it.

    Both are the whole process's: with two cases being read at a time, the first to end must not
    end the other's silence, nor the second restore what it found, which was silence.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._depth = 0
        self._restore = ExitStack()

    def enter(self) -> None:
        with self._lock:
            if not self._depth:
                self._restore.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                for logger in (logging.getLogger(name) for name in LOGGERS):
                    self._restore.callback(logger.setLevel, logger.level)
                    logger.setLevel(logging.CRITICAL + 1)
            self._depth += 1

    def leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if not self._depth:
                self._restore.close()


_SILENCE = _Silence()


@contextmanager
def unwarned() -> Iterator[None]:
    """Silence what pydicom, highdicom, nibabel and Pillow say of values that break their rules.

    What is used of them is checked here. Such messages quote patients' names and birth dates, and name no file.
    Holds for the whole process, until the last of those who asked for it has left.
    """
    _SILENCE.enter()
    try:
        yield
    finally:
        _SILENCE.leave()

"""What Streamlit holds of visits, with an end to it: files on their way in, and the sessions of visitors who have left."""

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

TIDY_EVERY_S = 30.0
INSUFFICIENT_STORAGE = 507
"""HTTP's status for an upload that there is no room for."""


def bound_waiting(manager: Any, most: int) -> None:
    """Have Streamlit's manager of uploaded files refuse what would make all visitors' files in memory more than *most* bytes.

    Streamlit bounds each file, but not how many a client sends before the page has taken them.
    """
    add = manager.add_file

    def add_bounded(session_id: str, file: Any) -> None:
        waiting = sum(len(held.data) for files in list(manager.file_storage.values()) for held in list(files.values()))
        if waiting + len(file.data) > most:
            from starlette.exceptions import HTTPException

            raise HTTPException(INSUFFICIENT_STORAGE, "This page is busy with other files. Try again in a while.")
        add(session_id, file)

    manager.add_file = add_bounded


def keep_tidy(runtime: Any, every_s: float = TIDY_EVERY_S) -> None:
    """Let go of sessions whose visitors do not come back, again and again, in a thread of its own.

    Streamlit keeps a session for two minutes after its connection is lost, but then drops it only
    when the next visitor leaves. With it go the visitor's files and results.
    """

    def work() -> None:
        while True:
            time.sleep(every_s)
            expire_sessions(runtime, released)

    threading.Thread(target=work, name="gliomask-tidy", daemon=True).start()


def expire_sessions(runtime: Any, then: Callable[[], None]) -> None:
    """Drop expired sessions in the thread that Streamlit's own changes are made in, and call *then* if there were any.

    Where another version of Streamlit keeps them differently, nothing is done.
    """
    with suppress(AttributeError, RuntimeError):
        cache = runtime._session_mgr._session_storage._cache
        before = len(cache._data)

        def expire() -> None:
            cache.expire()
            if len(cache._data) < before:
                threading.Thread(target=then, daemon=True).start()

        if before:
            runtime._get_async_objs().eventloop.call_soon_threadsafe(expire)


def released() -> None:
    """Give memory that is no longer used back to the operating system."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)

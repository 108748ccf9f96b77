"""What Streamlit holds of visits, with an end to it: files on their way in, and the sessions of visitors who have left."""

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

TIDY_EVERY_S = 30.0
INSUFFICIENT_STORAGE = 507
"""HTTP's status for an upload that there is no room for."""

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
"""glibc's names for two settings of its heap (malloc.h)."""

HOLDING = ("_session_state", "_fragment_storage")
"""Streamlit's names for what holds a visitor's cases in a session."""

MMAP_FROM_BYTES = 256 * 1024
"""Size from which memory is the operating system's own pages: any slice of a case, no object of Python's."""


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


def forget(runtime: Any, session_id: str, files: Iterable[Any]) -> None:
    """Drop a session's files, though their field is gone already."""
    for file in files:
        runtime.uploaded_file_mgr.remove_file(session_id, file.file_id)


def keep_tidy(runtime: Any, every_s: float = TIDY_EVERY_S) -> None:
    """Let go of sessions whose visitors do not come back, again and again, in a thread of its own.

    Streamlit keeps a session for two minutes after its connection is lost, but then drops it only
    when the next visitor leaves. With it go the visitor's files and results.
    """

    def work() -> None:
        while True:
            time.sleep(every_s)
            gc.collect()  # settings.py keeps Streamlit from doing so after every run of the page
            expire_sessions(runtime, released)

    threading.Thread(target=work, name="gliomask-tidy", daemon=True).start()


def expire_sessions(runtime: Any, then: Callable[[], None]) -> None:
    """Drop expired sessions in the thread that Streamlit's own changes are made in, and call *then* if there were any.

    Where another version of Streamlit keeps them differently, nothing is done.
    """
    with suppress(AttributeError, RuntimeError):
        cache = runtime._session_mgr._session_storage._cache

        def expire() -> None:
            gone = [info.session for _, info in cache.expire()]
            for session in gone:
                with suppress(AttributeError):
                    empty(session)
            if gone:
                threading.Thread(target=then, daemon=True).start()

        if cache._data:
            runtime._get_async_objs().eventloop.call_soon_threadsafe(expire)


def empty(session: Any) -> None:
    """End a session and let go of all that hangs on it.

    Dropping it is not enough: Streamlit's loop over the sessions goes on holding the one it came to
    last, and with it the last visitor's files and results, until somebody else comes.
    """
    session.shutdown()
    for name in HOLDING:  # emptied they would not be: what a button calls stays with a state that is cleared
        setattr(session, name, type(getattr(session, name))())


def released() -> None:
    """Give memory that is no longer used back to the operating system."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def return_arrays_at_once() -> None:
    """Have the C library give arrays back to the operating system when they go, and share what is left between threads.

    glibc would learn from the first large array that goes to keep those that follow in its heaps, of
    which each of Streamlit's threads may have one; with thirty cases that came to 60 MB.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            heap = ctypes.CDLL("libc.so.6")
            heap.mallopt(M_MMAP_THRESHOLD, MMAP_FROM_BYTES)
            heap.mallopt(M_ARENA_MAX, 2)

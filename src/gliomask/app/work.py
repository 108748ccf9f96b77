"""The background thread that segments for all visitors, one case after another, taking turns between them."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gliomask.segmenter import Segmenter

Stage = Literal["waiting", "reading", "segmenting", "done", "refused", "failed"]
BUSY: frozenset[Stage] = frozenset({"waiting", "reading", "segmenting"})


@dataclass
class Progress:
    """How far a case is.

    Attributes
    ----------
    stage
        What is being done, or what became of it.
    slices, of
        How many slices are segmented, and how many there are.
    started
        When the segmenting began, on :func:`time.monotonic`'s clock.
    """

    stage: Stage = "waiting"
    slices: int = 0
    of: int = 0
    started: float = field(default_factory=time.monotonic)

    def begin(self, stage: Stage) -> None:
        """Enter a stage."""
        self.stage, self.slices, self.of, self.started = stage, 0, 0, time.monotonic()

    def count(self, slices: int, of: int) -> None:
        """Note the slices done."""
        self.slices, self.of = slices, of

    def seconds_left(self, now: float) -> float | None:
        """Return how long the rest will take at the pace so far; None before there is a pace."""
        if self.stage != "segmenting" or not 0 < self.slices <= self.of:
            return None
        return (now - self.started) / self.slices * (self.of - self.slices)


Task = Callable[["Segmenter"], None]


class Workroom:
    """One thread and one model for all visitors.

    A visitor's tasks are done in their order; of several visitors each has a turn, so that nobody
    waits for all of somebody else's cases. What a visitor who has left was waiting for is not done.

    Parameters
    ----------
    load
        Returns the model; called once, in the thread, so that the page is there before it.
    patience_s
        How long the loading waits for the page to be drawn, which it would slow down; no longer than until
        :meth:`page_drawn` or the first task.
    ahead
        What is done after that, one after another, as long as nobody waits for anything.
    """

    def __init__(self, load: Callable[[], Segmenter], patience_s: float = 0.0, ahead: Iterable[Callable[[], object]] = ()) -> None:
        """Start the thread, which loads the model."""
        self._load, self._patience_s, self._ahead = load, patience_s, ahead
        self._drawn = False
        # By reference, not by id: the id of a visitor who has left may be that of the next one.
        self._queues: dict[weakref.ref[object], deque[Task]] = {}
        self._change = threading.Condition()
        self.problem = ""
        self.segmenter: Segmenter | None = None
        threading.Thread(target=self._work, name="gliomask", daemon=True).start()

    def submit(self, visitor: object, task: Task) -> None:
        """Have a task done for a visitor; the task must not hold the visitor, who would never be gone."""
        with self._change:
            self._queues.setdefault(weakref.ref(visitor), deque()).append(task)
            self._change.notify()

    def page_drawn(self) -> None:
        """Let the loading begin, if it has not."""
        with self._change:
            self._drawn = True
            self._change.notify()

    def _next(self) -> Task:
        with self._change:
            while True:
                for visitor, tasks in list(self._queues.items()):
                    del self._queues[visitor]
                    if visitor() is None:
                        continue
                    task = tasks.popleft()
                    if tasks:
                        self._queues[visitor] = tasks  # behind the others
                    return task
                self._change.wait()

    def _work(self) -> None:
        with self._change:
            self._change.wait_for(lambda: self._drawn or self._queues, self._patience_s)
        try:
            self.segmenter = self._load()
        except Exception as error:  # noqa: BLE001 - whatever it is, the page has to say it
            self.problem = str(error)
            return
        for prepare in self._ahead:
            if self._queues:
                break  # a case loads what it needs by itself
            prepare()
        while True:
            task = self._next()
            task(self.segmenter)
            del task  # holds a case's files, which should not outlive their visitor

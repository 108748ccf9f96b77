"""What has been computed, kept for those who still look at it, bounded in number and bytes."""

import threading
import weakref
from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Keep(Generic[Value]):
    """Values by key, the least recently used ones going first; safe to use from several threads.

    A value stays for as long as one of its holders lives: a visitor who leaves takes along what
    nobody else asked for.

    Parameters
    ----------
    most, most_bytes
        Bounds of what is kept; the value added last always stays.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        """Start empty."""
        self._most, self._most_bytes = most, most_bytes
        self._values: OrderedDict[str, tuple[Value, int]] = OrderedDict()
        self._holders: dict[str, weakref.WeakSet[object]] = {}
        self._lock = threading.RLock()  # a holder may be collected while the lock is held

    def add(self, key: str, value: Value, size: int, holder: object) -> None:
        """Keep a value of *size* bytes for a holder."""
        with self._lock:
            self._values[key] = (value, size)
            self._values.move_to_end(key)
            self._hold(key, holder)
            while len(self._values) > 1 and (len(self._values) > self._most or self.bytes > self._most_bytes):
                self._drop(next(iter(self._values)))

    def get(self, key: str, holder: object) -> Value | None:
        """Return a value, which the holder then holds too; None if it is not there (any more)."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            self._hold(key, holder)
            return self._values[key][0]

    @property
    def bytes(self) -> int:
        """How much is kept."""
        with self._lock:
            return sum(size for _, size in self._values.values())

    def __len__(self) -> int:
        """Return how many values are kept."""
        return len(self._values)

    def _hold(self, key: str, holder: object) -> None:
        holders = self._holders.setdefault(key, weakref.WeakSet())
        if holder not in holders:
            holders.add(holder)
            weakref.finalize(holder, self._let_go).atexit = False

    def _let_go(self) -> None:
        """Drop what nobody holds."""
        with self._lock:
            # Listed, not counted: the one that is just going still counts.
            for key in [key for key, holders in self._holders.items() if not list(holders)]:
                self._drop(key)

    def _drop(self, key: str) -> None:
        self._values.pop(key, None)
        self._holders.pop(key, None)

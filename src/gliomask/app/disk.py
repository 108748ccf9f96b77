"""How many bytes the files of all visitors take together, and that there is an end to it."""

import threading
import weakref


class Disk:
    """A bound on the bytes of all visitors; what a visitor has taken comes back when the visitor is gone. Safe to use from several threads.

    Parameters
    ----------
    most
        Bytes that all visitors may take together.
    """

    def __init__(self, most: int) -> None:
        """Start empty."""
        self._most = most
        self._taken: dict[int, int] = {}
        self._lock = threading.RLock()  # a visitor may be collected while the lock is held

    @property
    def taken(self) -> int:
        """Bytes that are taken."""
        with self._lock:
            return sum(self._taken.values())

    def take(self, visitor: object, size: int) -> bool:
        """Take *size* bytes for a visitor and return True, or take none and return False where they are not left."""
        with self._lock:
            if self.taken + size > self._most:
                return False
            if id(visitor) not in self._taken:
                self._taken[id(visitor)] = 0
                weakref.finalize(visitor, self._free, id(visitor)).atexit = False
            self._taken[id(visitor)] += size
            return True

    def _free(self, visitor: int) -> None:
        with self._lock:
            self._taken.pop(visitor, None)

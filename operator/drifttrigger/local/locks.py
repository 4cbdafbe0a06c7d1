"""File locks that the kernel releases when their holder dies, however it dies.

A lock file says who is alive: whoever can take the lock knows that the former holder is gone. No
pid needs to be compared, and no lock is ever stale.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

_POLL_SECONDS = 0.1
_REMIND_SECONDS = 20.0


class FileLock:
    """A lock on one file, held until `release` or until the process dies.

    Args:
        path: The lock file; made when missing, in a folder that exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def try_exclusive(self) -> bool:
        """Take the lock alone; false when anyone holds it."""
        return self._take(fcntl.LOCK_EX | fcntl.LOCK_NB)

    def shared(self) -> Self:
        """Take the lock together with others that share it; waits for an exclusive holder."""
        self._take(fcntl.LOCK_SH)
        return self

    def try_upgrade(self) -> bool:
        """Turn a shared lock into an exclusive one; false, and lost, when others share it."""
        if self._file is None:
            return False
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _take(self, operation: int) -> bool:
        self.release()
        opened = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(opened, operation)
        except BlockingIOError:
            os.close(opened)
            return False
        except BaseException:
            os.close(opened)
            raise
        self._file = opened
        return True


@contextmanager
def exclusive(path: Path, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock alone for the length of a block.

    Args:
        path: The lock file.
        waiting: Called when someone else holds it, at once and then every 20 seconds.
    """
    lock = FileLock(path)
    told: float | None = None
    while not lock.try_exclusive():
        now = time.monotonic()
        if told is None or now - told >= _REMIND_SECONDS:
            told = now
            waiting()
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Tell whether any living process holds the lock."""
    if not path.exists():
        return False
    lock = FileLock(path)
    free = lock.try_exclusive()
    lock.release()
    return not free

"""Whose turn it is among the processes that want to write one catalog file."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

try:
    import fcntl
except ImportError:  # Windows: SQLite's own lock decides alone
    _LOCKS = False
else:
    _LOCKS = True

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_POLL_S = 0.001


class WriterQueue:
    """A place at the head of those that wait for SQLite's lock, held by one process at a time.

    It makes waiting fair and protects nothing: SQLite's own lock does. So a place that cannot be
    had, because the file cannot be made or its holder stands still, is done without.

    Args:
        path: The catalog. The queue is a file beside it, empty, which may be deleted at any time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}-turn")

    @contextmanager
    def place(self, deadline: float) -> Iterator[None]:
        """Wait for the place until half of the time that is left has passed, and hold it.

        Args:
            deadline: By `time.monotonic()`.
        """
        descriptor = None
        with suppress(OSError):
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
            descriptor = os.open(self._path, flags, 0o666) if _LOCKS else None
        if descriptor is None:
            yield
            return
        try:
            _wait(descriptor, (time.monotonic() + deadline) / 2)
            yield
        finally:
            os.close(descriptor)  # and with it the lock

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the one process, and the one thread of it, that packs the file.

        This one does protect something, so that its file is never deleted.

        Raises:
            BlockingIOError: Another one packs, or there are no such locks here.
        """
        if not _LOCKS:
            raise BlockingIOError
        path = self._path.with_name(self._path.name.removesuffix("-turn") + "-pack")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)

    def forget(self) -> None:
        """Delete the file. Those who wait at it now do not meet those who come later."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def _wait(descriptor: int, deadline: float) -> None:
    # Asked again and again rather than waited for: that could not be given up.
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_POLL_S)
        except OSError:
            return  # a file system without such locks
        else:
            return

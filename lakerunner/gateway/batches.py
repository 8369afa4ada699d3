"""Messages that nobody waits for, collected until there are enough to be decoded at once."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import InputError, LakerunnerError
from lakerunner.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LOG = logging.getLogger("lakerunner.gateway")
_AT_ONCE, _BATCH_BYTES = 20_000, 8 * MIB
_WAITING_BYTES = 64 * MIB
_LINGER_SECONDS = 0.1


class Counts(NamedTuple):
    """What came to a listener since it began.

    Attributes:
        received: Messages.
        written: Those that the writer has.
        rejected: Those that it refused, or that could not be read.
        dropped: Those for which there was no room, here or in the kernel.
    """

    received: int
    written: int
    rejected: int
    dropped: int


class Batches:
    """Collects messages; a thread decodes and writes them.

    Args:
        write: Takes some messages, and says how many of them cannot be taken.
    """

    def __init__(self, write: Callable[[list[bytes]], int]) -> None:
        self._write = write
        lock = threading.Lock()
        self._changed, self._room = threading.Condition(lock), threading.Condition(lock)
        self._messages: list[bytes] = []
        self._bytes = 0
        self._busy = 0
        self._ending = False
        self.received = self.written = self.rejected = self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="lakerunner-listener", daemon=True)
        self._thread.start()

    def offer(self, messages: Sequence[bytes], *, drop: bool) -> bool:
        """Take messages if there is room for them; else drop and count them, if that is wished."""
        size = sum(map(len, messages))
        with self._changed:
            if self._bytes + self._busy + size > _WAITING_BYTES and self._bytes:
                if drop:
                    self.received += len(messages)
                    self.dropped += len(messages)
                return drop
            self.received += len(messages)
            self._messages += messages
            self._bytes += size
            if len(self._messages) >= _AT_ONCE or self._bytes >= _BATCH_BYTES:
                self._changed.notify()
        return True

    def put(self, messages: Sequence[bytes]) -> None:
        """Take messages, when there is room for them."""
        while not self.offer(messages, drop=False):
            with self._changed:
                self._room.wait(_LINGER_SECONDS)

    def close(self) -> None:
        """Write what is there, and end."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._ending and len(self._messages) < _AT_ONCE:
                    self._changed.wait(_LINGER_SECONDS)
                messages, self._messages = self._messages, []
                self._busy, self._bytes = self._bytes, 0
                if not messages and self._ending:
                    return
            if messages:
                self._take(messages)

    def _take(self, messages: list[bytes]) -> None:
        try:
            rejected = self._write(messages)
            self.rejected += rejected
            self.written += len(messages) - rejected
        except InputError as error:
            self.rejected += len(messages)
            _LOG.warning("messages could not be read: %s", error)
        except LakerunnerError as error:
            self.dropped += len(messages)
            _LOG.warning("messages could not be written: %s", error)
        finally:
            with self._room:
                self._busy = 0
                self._room.notify_all()

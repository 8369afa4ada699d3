"""Leases for work: who does what, so that workers of several machines need not do it twice."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


KEPT_SECONDS = 3600
"""How long a lease that ran out and that nobody took can still be renewed."""


class Leases(ABC):
    """Work that is in somebody's hands, for a limited time.

    There is no queue. Each worker computes from the catalog what there is to do, the windows to
    merge or the prefixes to read, and takes some of it that nobody else has. So nothing has to be
    kept in step with the catalog, and work that is done disappears by itself.

    A lease saves work; it protects nothing. Its holder may be stopped for longer than the lease
    lasts and go on without knowing. What makes the result right is that of two commits that take
    the same source or replace the same segment one is refused.

    Every method may be called from any thread at once, and raises `CatalogUnavailableError` when
    the leases cannot be reached. A call whose reply was lost may be repeated; what it took and
    nobody heard of is free again when its time is over. The clock is that of the place where the
    leases are kept: those of the workers may be wrong.
    """

    @abstractmethod
    def take(
        self, kind: str, keys: Sequence[str], owner: str, seconds: float, *, limit: int = 1
    ) -> list[str]:
        """Take up to `limit` of the given pieces of work that nobody has at the moment.

        Never waits for another worker. What one worker is just about to take, another leaves out.

        Args:
            kind: What kind of work: `compact`, `ingest`; keys of different kinds do not meet.
            keys: Names of the pieces, the most urgent first.
            owner: Who takes it: a name that no two running workers share. What this owner has
                already is not free either.
            seconds: How long, from now, until others may take it.
            limit: How many at most.

        Returns:
            Those that were taken, in the order of `keys`.
        """

    @abstractmethod
    def renew(self, kind: str, keys: Sequence[str], owner: str, seconds: float) -> list[str]:
        """Keep work for `seconds` from now. A holder does so at a third of the time it was given.

        Returns:
            Those that are still the owner's, in the order of `keys`; to go on with the others
            would be in vain. One that ran out and that nobody took can be kept for an hour.
        """

    @abstractmethod
    def release(self, kind: str, keys: Sequence[str], owner: str) -> None:
        """Give work back, done or not. What is not, or no longer, the owner's is left alone."""


class MemoryLeases(Leases):
    """Leases among the threads of one process.

    Args:
        clock: Seconds; never goes back.

    Example:
        >>> leases = MemoryLeases()
        >>> leases.take("compact", ["acme/logs/7", "acme/logs/8"], "worker-1", 60)
        ['acme/logs/7']
        >>> leases.take("compact", ["acme/logs/7", "acme/logs/8"], "worker-2", 60)
        ['acme/logs/8']
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[tuple[str, str], tuple[str, float]] = {}

    def take(
        self, kind: str, keys: Sequence[str], owner: str, seconds: float, *, limit: int = 1
    ) -> list[str]:
        """Take what nobody has."""
        with self._lock:
            now = self._clock()
            old = [work for work, (_, end) in self._held.items() if end < now - KEPT_SECONDS]
            for work in old:
                del self._held[work]
            free = [
                key
                for key in dict.fromkeys(keys)
                if (kind, key) not in self._held or self._held[kind, key][1] <= now
            ]
            for key in free[:limit]:
                self._held[kind, key] = owner, now + seconds
            return free[:limit]

    def renew(self, kind: str, keys: Sequence[str], owner: str, seconds: float) -> list[str]:
        """Keep what the owner has."""
        with self._lock:
            own = self._own(kind, keys, owner)
            for key in own:
                self._held[kind, key] = owner, self._clock() + seconds
            return own

    def release(self, kind: str, keys: Sequence[str], owner: str) -> None:
        """Give back what the owner has."""
        with self._lock:
            for key in self._own(kind, keys, owner):
                del self._held[kind, key]

    def _own(self, kind: str, keys: Sequence[str], owner: str) -> list[str]:
        return [
            key for key in dict.fromkeys(keys) if self._held.get((kind, key), ("",))[0] == owner
        ]

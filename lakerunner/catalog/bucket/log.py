"""The log: create-only objects, named by the position of their first record."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.catalog.bucket.records import ENTRY, Entry, decode, encode
from lakerunner.errors import (
    CatalogError,
    CommitUnknownError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from lakerunner.store.base import PutMode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.store.base import ObjectStore

PREFIX = "catalog/"
"""Everything of the catalog lies below it in the lake."""

LOG_PREFIX = f"{PREFIX}log/"
SUFFIX = ".json.zst"
_PUT_ATTEMPTS = 4
_FIRST_PAUSE_S = 0.05
_PARALLEL = 8
_PARALLEL_FROM = 3


class Stored(NamedTuple):
    """An entry of the log, and when it was written by the clock of the store."""

    entry: Entry
    modified_ns: int


def numbered(prefix: str, position: int) -> str:
    """The key of a log entry or a checkpoint; keys are in the order of positions.

    Example:
        >>> numbered("catalog/log/", 7)
        'catalog/log/00000000000000000007.json.zst'
    """
    return f"{prefix}{position:020d}{SUFFIX}"


def position_of(key: str, prefix: str) -> int | None:
    """The position in a key, or None for an object that is not ours."""
    number = key.removeprefix(prefix).removesuffix(SUFFIX)
    return int(number) if number.isdecimal() and key == numbered(prefix, int(number)) else None


def pause(attempt: int, longest_s: float = 1.0) -> None:
    """Wait a random time, that grows with the number of attempts before."""
    bound = min(longest_s, _FIRST_PAUSE_S * 2.0**attempt)
    time.sleep(random.uniform(bound / 4, bound))  # noqa: S311 - no secret depends on it


class Log:
    """Reads and appends entries. Keeps no state; may be used from any threads at once.

    Args:
        store: The lake.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def positions_after(self, position: int) -> list[int]:
        """Positions of the entries behind the one that ends at `position`, in order: one listing.

        They need not begin right behind it: older entries may have been deleted.
        """
        found = self._store.list(LOG_PREFIX, start_after=numbered(LOG_PREFIX, position))
        numbers = (position_of(meta.key, LOG_PREFIX) for meta in found)
        return [number for number in numbers if number is not None]

    def read(self, positions: Sequence[int]) -> list[Stored]:
        """The entries at these positions, several at a time.

        Raises:
            ObjectNotFoundError: One was deleted meanwhile.
            CatalogError: One is damaged; the message names it.
        """
        if len(positions) < _PARALLEL_FROM:
            return [self._read(position) for position in positions]
        with ThreadPoolExecutor(min(_PARALLEL, len(positions))) as threads:
            return list(threads.map(self._read, positions))

    def _read(self, position: int) -> Stored:
        key = numbered(LOG_PREFIX, position)
        found = self._store.get(key)
        entry = decode(found.data, ENTRY, key)
        if entry.position != position or not entry.records:
            raise CatalogError(f"{key!r} is damaged: it says {entry.position}", key=key)
        return Stored(entry, found.meta.modified_ns)

    def append(self, entry: Entry) -> Stored | None:
        """Create the object of an entry; None if another entry has the position.

        Raises:
            StoreError: The store refuses to write. Nothing was written.
            CommitUnknownError: The store does not say whether it was written.
        """
        key = numbered(LOG_PREFIX, entry.position)
        data = encode(entry)
        failure: StoreError | None = None
        for attempt in range(_PUT_ATTEMPTS):
            try:
                return Stored(entry, self._store.put(key, data, PutMode.CREATE).modified_ns)
            except ObjectExistsError:
                # The client may have sent it twice by itself: then this is our own entry.
                return self._own(entry)
            except StoreUnavailableError as error:
                failure = error
                pause(attempt)
            except StoreError as error:
                if failure is None:
                    raise
                failure = error  # refused now; an earlier attempt may have arrived
                break
        raise CommitUnknownError(
            f"{key!r} may or may not have been written: {failure}", key=key
        ) from failure

    def _own(self, entry: Entry) -> Stored | None:
        for attempt in range(_PUT_ATTEMPTS):
            try:
                found = self._read(entry.position)
            except StoreUnavailableError:
                pause(attempt)
                continue
            except ObjectNotFoundError:
                return None  # deleted since: it was not written a moment ago
            return found if found.entry.id == entry.id else None
        key = numbered(LOG_PREFIX, entry.position)
        raise CommitUnknownError(f"{key!r} is there, and cannot be read: ours or not?", key=key)

    def exists(self, position: int) -> bool:
        """Whether there is an entry whose first record is at this position."""
        return self._store.exists(numbered(LOG_PREFIX, position))

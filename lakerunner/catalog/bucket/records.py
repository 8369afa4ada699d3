"""What an entry of the log says, and its form as bytes."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import zstandard

from lakerunner.catalog.change import ColumnKey
from lakerunner.errors import (
    CatalogError,
    CatalogUnavailableError,
    CatalogVersionError,
    CommitUnknownError,
    ObjectDeniedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from lakerunner.limits import ZSTD_LEVEL
from lakerunner.model.commit import Commit
from lakerunner.model.segment import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.store.base import ObjectStore

FORMAT_VERSION = 3
"""Version of log entries, checkpoints and parts. Raise it when an old reader would misread them."""

T = TypeVar("T", bound=msgspec.Struct)


class TableChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a commit does to one table, beside adding segments to it.

    Attributes:
        removed: Ids of its segments that are removed.
        segments: By how much its number of live segments grows, which may be negative.
        rows: By how much their rows do.
        bytes: By how much their bytes do.
        columns: By how much the count of each column does.
    """

    removed: tuple[str, ...] = ()
    segments: int = 0
    rows: int = 0
    bytes: int = 0
    columns: tuple[tuple[ColumnKey, int], ...] = ()


class CommitRecord(msgspec.Struct, frozen=True, omit_defaults=True, tag="commit"):
    """A commit that was admitted.

    Attributes:
        commit: Without the rejections that came too late: those of sources already taken.
        changes: What it does to each table that it changes.
        cleared: Sources it takes that were set aside until then.
    """

    commit: Commit
    changes: dict[str, TableChange]
    cleared: tuple[Source, ...] = ()


class PurgedSegment(msgspec.Struct, frozen=True):
    """A removed segment that is forgotten."""

    id: str
    organization: str
    table: str


class PurgeRecord(msgspec.Struct, frozen=True, omit_defaults=True, tag="purge"):
    """Removed segments that are forgotten. It has a position, but is no commit.

    Attributes:
        segments: Which.
        purged: The last commit that removed one of them.
    """

    segments: tuple[PurgedSegment, ...]
    purged: int = 0


class CondemnRecord(msgspec.Struct, frozen=True, omit_defaults=True, tag="condemn"):
    """Segments that are never to be added, and the floor. No commit either."""

    segments: tuple[str, ...]
    floor: int = 0


class ForgetRecord(msgspec.Struct, frozen=True, tag="forget"):
    """Sources that may be taken again. No commit either."""

    sources: tuple[Source, ...]


class SettleRecord(msgspec.Struct, frozen=True, tag="settle"):
    """Whose catalog this is from now on. No commit either."""

    lake: str
    incarnation: int
    whole: bool


Record = CommitRecord | PurgeRecord | CondemnRecord | ForgetRecord | SettleRecord


class Entry(msgspec.Struct, frozen=True):
    """One object of the log.

    Attributes:
        version: See `FORMAT_VERSION`.
        id: Random; by it a writer knows its own entry again.
        previous: The `id` of the entry before, empty for the first.
        position: Of the first record; the others follow.
        records: At least one.
    """

    version: int
    id: str
    previous: str
    position: int
    records: tuple[Record, ...]

    @property
    def last(self) -> int:
        """Position of the last record."""
        return self.position + len(self.records) - 1


def _from_version_1(value: dict[str, Any]) -> dict[str, Any]:
    """What version 1 wrote of a log entry or a manifest, as version 2 would have written it.

    A table was called by the signal that it held, and a commit changed one table.
    """
    for table in value.get("tables", ()):
        table["table"] = table.pop("signal")
    for record in value.get("records", ()):
        for segment in record.get("segments", ()):
            segment["table"] = segment.pop("signal")
        if commit := record.get("commit"):
            for segment in commit.get("add", ()):
                segment["table"] = segment.pop("signal")
            change = {**record.pop("change"), "removed": commit.get("remove", ())}
            record["changes"] = {commit["signal"]: change}
    return value


class _Versioned(msgspec.Struct):
    version: int


# Made once, while the module is imported: msgspec looks at a type when it first decodes it, and
# crashes where several threads do so at once.
ENTRY = msgspec.json.Decoder(Entry)
_VERSIONED = msgspec.json.Decoder(_Versioned)


def encode(value: msgspec.Struct) -> bytes:
    """Write a log entry or a manifest: JSON in a zstd frame with a checksum.

    Example:
        >>> decode(encode(Entry(1, "a", "", 1, ())), ENTRY, "key").id
        'a'
    """
    data = msgspec.json.encode(value)
    return zstandard.ZstdCompressor(ZSTD_LEVEL, write_checksum=True).compress(data)


def decode(data: bytes, kind: msgspec.json.Decoder[T], key: str) -> T:
    """Read what `encode` wrote.

    Args:
        data: The whole object.
        kind: Decodes what it must be. Make it when the module is imported, as `ENTRY`.
        key: Of the object, for messages.

    Raises:
        CatalogVersionError: A newer version wrote it.
        CatalogError: The bytes are broken, or something else.
    """
    try:
        text = zstandard.ZstdDecompressor().decompress(data)
        version = _VERSIONED.decode(text).version
        if version > FORMAT_VERSION:
            raise CatalogVersionError(
                f"{key!r} has version {version} and was written by a newer lakerunner; this one "
                f"reads up to {FORMAT_VERSION}: upgrade",
                key=key,
                version=version,
            )
        if version > 1:
            return kind.decode(text)
        return msgspec.convert(_from_version_1(msgspec.json.decode(text)), kind.type)
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CatalogError(f"{key!r} is damaged: {error}", key=key) from error


# The log: create-only objects, named by the position of their first record.

PREFIX = "catalog/"
"""Everything of the catalog lies below it in the lake."""

LOG_PREFIX = f"{PREFIX}log/"
SUFFIX = ".json.zst"
_PUT_ATTEMPTS = 4
_FIRST_PAUSE_S = 0.05
_PARALLEL = 8
_PARALLEL_FROM = 3


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

    def read(self, positions: Sequence[int]) -> list[Entry]:
        """The entries at these positions, several at a time.

        Raises:
            ObjectNotFoundError: One was deleted meanwhile.
            CatalogError: One is damaged; the message names it.
        """
        if len(positions) < _PARALLEL_FROM:
            return [self._read(position) for position in positions]
        with ThreadPoolExecutor(min(_PARALLEL, len(positions))) as threads:
            return list(threads.map(self._read, positions))

    def _read(self, position: int) -> Entry:
        key = numbered(LOG_PREFIX, position)
        entry = decode(self._store.get(key).data, ENTRY, key)
        if entry.position != position or not entry.records:
            raise CatalogError(f"{key!r} is damaged: it says {entry.position}", key=key)
        return entry

    def append(self, entry: Entry) -> bool:
        """Create the object of an entry; False if another entry has the position.

        Raises:
            StoreError: The store refuses to write. Nothing was written.
            CommitUnknownError: The store does not say whether it was written.
        """
        key = numbered(LOG_PREFIX, entry.position)
        data = encode(entry)
        failure: StoreError | None = None
        for attempt in range(_PUT_ATTEMPTS):
            try:
                self._store.create(key, data)
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
            else:
                return True
        raise CommitUnknownError(
            f"{key!r} may or may not have been written: {failure}", key=key
        ) from failure

    def _own(self, entry: Entry) -> bool:
        for attempt in range(_PUT_ATTEMPTS):
            try:
                found = self._read(entry.position)
            except StoreUnavailableError:
                pause(attempt)
                continue
            except ObjectNotFoundError:
                return False  # deleted since: it was not written a moment ago
            return found.id == entry.id
        key = numbered(LOG_PREFIX, entry.position)
        raise CommitUnknownError(f"{key!r} is there, and cannot be read: ours or not?", key=key)

    def exists(self, position: int) -> bool:
        """Whether there is an entry whose first record is at this position."""
        return self._store.exists(numbered(LOG_PREFIX, position))


# What goes wrong inside: a checkpoint that is of no use, and a store that fails.


class DamagedCheckpointError(CatalogError):
    """A manifest or one of its parts is missing or broken; an older checkpoint may do."""


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn errors of the store into those that the contract of a catalog names.

    Raises:
        CatalogUnavailableError: The store is not reached, or refuses the credential.
        CatalogError: The store fails in another way.
    """
    try:
        yield
    except (StoreUnavailableError, ObjectDeniedError) as error:
        raise CatalogUnavailableError(
            f"the catalog in {url} cannot be reached: {error}", **{**error.context, "url": url}
        ) from error
    except StoreError as error:
        raise CatalogError(
            f"the catalog in {url}: {error}", **{**error.context, "url": url}
        ) from error

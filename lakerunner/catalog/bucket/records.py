"""What an entry of the log says, and its form as bytes."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import zstandard

from lakerunner.catalog.columns import ColumnKey
from lakerunner.errors import CatalogError, CatalogVersionError
from lakerunner.limits import ZSTD_LEVEL
from lakerunner.model.commit import Commit
from lakerunner.model.signal import Signal
from lakerunner.model.source import Source

FORMAT_VERSION = 1
"""Version of log entries, checkpoints and parts. Raise it when an old reader would misread them."""

T = TypeVar("T", bound=msgspec.Struct)


class TotalsChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """By how much a commit changes the totals of its table; counts of columns may be negative."""

    segments: int = 0
    rows: int = 0
    bytes: int = 0
    columns: tuple[tuple[ColumnKey, int], ...] = ()


class CommitRecord(msgspec.Struct, frozen=True, omit_defaults=True, tag="commit"):
    """A commit that was admitted.

    Attributes:
        commit: Without the rejections that came too late: those of sources already taken.
        change: What it does to the totals of its table.
        cleared: Sources it takes that were set aside until then.
    """

    commit: Commit
    change: TotalsChange
    cleared: tuple[Source, ...] = ()


class PurgedSegment(msgspec.Struct, frozen=True):
    """A removed segment that is forgotten."""

    id: str
    organization: str
    signal: Signal


class PurgeRecord(msgspec.Struct, frozen=True, tag="purge"):
    """Removed segments that are forgotten. It has a position, but is no commit."""

    segments: tuple[PurgedSegment, ...]


Record = CommitRecord | PurgeRecord


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


class _Versioned(msgspec.Struct):
    version: int


def encode(value: msgspec.Struct) -> bytes:
    """Write a log entry or a manifest: JSON in a zstd frame with a checksum.

    Example:
        >>> decode(encode(Entry(1, "a", "", 1, ())), Entry, "key").id
        'a'
    """
    data = msgspec.json.encode(value)
    return zstandard.ZstdCompressor(ZSTD_LEVEL, write_checksum=True).compress(data)


def decode(data: bytes, kind: type[T], key: str) -> T:
    """Read what `encode` wrote.

    Args:
        data: The whole object.
        kind: What it must be.
        key: Of the object, for messages.

    Raises:
        CatalogVersionError: A newer version wrote it.
        CatalogError: The bytes are broken, or something else.
    """
    try:
        text = zstandard.ZstdDecompressor().decompress(data)
        version = msgspec.json.decode(text, type=_Versioned).version
        if version > FORMAT_VERSION:
            raise CatalogVersionError(
                f"{key!r} has version {version} and was written by a newer lakerunner; this one "
                f"reads up to {FORMAT_VERSION}: upgrade",
                key=key,
                version=version,
            )
        return msgspec.json.decode(text, type=kind)
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CatalogError(f"{key!r} is damaged: {error}", key=key) from error

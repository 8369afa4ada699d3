"""What an entry of the log says, and its form as bytes."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import zstandard

from lakerunner.catalog.columns import ColumnKey
from lakerunner.errors import CatalogError, CatalogVersionError
from lakerunner.limits import ZSTD_LEVEL
from lakerunner.model.commit import Commit
from lakerunner.model.segment import Source

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

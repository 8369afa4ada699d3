"""Finding many sources or segments by their keys, in a few statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lakerunner.catalog.sqlite.ledger import find_taken
from lakerunner.model.source import Source, SourceState

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

_VARIABLES = 900
"""Values bound to one statement; any build of SQLite takes 999."""

_REJECTED = """
    WITH asked (bucket, key, etag) AS (VALUES {rows})
    SELECT DISTINCT asked.bucket, asked.key, asked.etag
    FROM asked
    CROSS JOIN buckets ON buckets.url = asked.bucket
    CROSS JOIN rejections ON rejections.bucket = buckets.number
        AND rejections.key = asked.key AND rejections.etag = asked.etag"""

_SEGMENTS = """
    WITH asked (id) AS (VALUES {rows})
    SELECT segments.id, segments.removed, segments.payload
    FROM asked CROSS JOIN segments ON segments.id = asked.id"""


KNOWN = """
    WITH asked (id) AS (VALUES {rows})
    SELECT segments.id FROM asked CROSS JOIN segments ON segments.id = asked.id"""
"""Ids that are there, live or removed; for `lookup`."""


class SegmentRow(NamedTuple):
    """What decides whether a segment may be added, removed or purged.

    Attributes:
        id: Its id.
        removed: The commit that removed it, if any did.
        payload: Its description.
    """

    id: str
    removed: int | None
    payload: bytes

    @property
    def live(self) -> bool:
        """Whether it is part of the current state."""
        return self.removed is None


def find_sources(
    connection: sqlite3.Connection, sources: Sequence[Source]
) -> dict[Source, SourceState]:
    """The state of those of the sources that are known."""
    states = dict.fromkeys(find_taken(connection, sources), SourceState.TAKEN)
    # Lines of a source that was taken may be set aside as well.
    keys = [(one.bucket, one.key, one.etag) for one in sources if one not in states]
    rejected = (Source(*key) for key in lookup(connection, _REJECTED, keys))
    return states | dict.fromkeys(rejected, SourceState.REJECTED)


def find_segments(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, SegmentRow]:
    """Those of the segments that are known, live or removed, by id."""
    keys = [(segment_id,) for segment_id in ids]
    return {row[0]: SegmentRow(*row) for row in lookup(connection, _SEGMENTS, keys)}


def lookup(
    connection: sqlite3.Connection, statement: str, keys: Sequence[tuple[str, ...]]
) -> Iterator[Any]:
    """The rows of a statement whose `{rows}` stands for all of the keys, some at a time."""
    width = len(keys[0]) if keys else 1
    size = _VARIABLES // width
    for start in range(0, len(keys), size):
        chunk = keys[start : start + size]
        rows = ", ".join([f"({', '.join('?' * width)})"] * len(chunk))
        yield from connection.execute(
            statement.format(rows=rows), [value for key in chunk for value in key]
        )

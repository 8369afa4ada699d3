"""What a commit does to the tables of a catalog file, inside the writer's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lakerunner.catalog.admission import (
    SegmentRow,
    refuse_strangers,
    refuse_unfinished,
    segments_to_remove,
)
from lakerunner.catalog.change import commit_change
from lakerunner.catalog.sqlite.ledger import add_taken, find_taken, forget_taken
from lakerunner.model.commit import Head, epoch_of
from lakerunner.model.segment import Source, SourceState, encode_segment
from lakerunner.model.times import MAX_NS, MIN_NS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from lakerunner.catalog.change import CommitChange, TableChange
    from lakerunner.model.commit import Commit, Unchanged
    from lakerunner.model.segment import Segment

# Finding many sources or segments by their keys, in a few statements.

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


# Where a catalog file stands, what it has condemned, and whether a part of a table changed.

_HEAD = """
    SELECT (SELECT coalesce(max(sequence), 0) FROM commits), lake, incarnation, whole, floor, purged
    FROM standing"""

_CONDEMNED = """
    WITH asked (id) AS (VALUES {rows})
    SELECT condemned.id FROM asked CROSS JOIN condemned ON condemned.id = asked.id"""

# Of what is live, what was added since; of what was removed since, what was there before. As in
# `catalog.SEGMENTS_NOW`, the longest extent bounds the walk, and may not fit 64 bits.
_CHANGED = """
    SELECT EXISTS (
        SELECT 1 FROM tables CROSS JOIN segments ON segments.table_number = tables.number
        WHERE tables.organization = :organization AND tables.name = :table
            AND max_ns >= :first AND min_ns <= :last
            AND max_ns <= CASE extent_ns WHEN :longest THEN :longest
                ELSE :last + min(extent_ns, :room) END
            AND (removed IS NULL AND added > :sequence
                OR removed > :sequence AND added <= :sequence))"""


def read_head(connection: sqlite3.Connection) -> Head:
    """Where the catalog stands in this transaction."""
    sequence, lake, incarnation, whole, floor, purged = connection.execute(_HEAD).fetchone()
    return Head(sequence, lake, incarnation, bool(whole), floor, purged)


def write_head(connection: sqlite3.Connection, head: Head) -> None:
    """Keep all of it but the sequence, which is that of the last commit."""
    connection.execute(
        "UPDATE standing SET lake = ?, incarnation = ?, whole = ?, floor = ?, purged = ?",
        (head.lake, head.incarnation, head.whole, head.floor, head.purged),
    )


def find_condemned(connection: sqlite3.Connection, ids: Sequence[str]) -> set[str]:
    """Those of the segments that are condemned."""
    return {row[0] for row in lookup(connection, _CONDEMNED, [(name,) for name in ids])}


def add_condemned(connection: sqlite3.Connection, ids: Sequence[str], floor: int) -> None:
    """Condemn segments, and forget those below the floor."""
    epochs = ((name, epoch_of(name)) for name in ids)
    connection.executemany(
        "INSERT OR IGNORE INTO condemned (id, epoch) VALUES (?, ?)",
        ((name, MAX_NS if epoch is None else epoch) for name, epoch in epochs),
    )
    connection.execute("DELETE FROM condemned WHERE epoch < ?", (floor,))


def has_changed(
    connection: sqlite3.Connection, organization: str, wanted: Unchanged, head: Head
) -> bool:
    """Whether other segments are live in a part of a table than were then, or it cannot be told."""
    last = max(MIN_NS, min(wanted.end_ns - 1, MAX_NS))
    values = {
        "organization": organization,
        "table": wanted.table,
        "first": max(MIN_NS, min(wanted.start_ns, MAX_NS)),
        "last": last,
        "longest": MAX_NS,
        "room": MAX_NS - max(last, 0),
        "sequence": wanted.sequence,
    }
    (changed,) = connection.execute(_CHANGED, values).fetchone()
    return bool(changed) or wanted.sequence < head.purged


_ADD_SEGMENT = """
    INSERT INTO segments (id, table_number, min_ns, max_ns, added, payload)
    VALUES (?, ?, ?, ?, ?, ?)"""

_ADD_TO_TOTALS = """
    UPDATE tables SET segments = segments + ?, rows = rows + ?, bytes = bytes + ?,
        extent_ns = max(extent_ns, ?)
    WHERE number = ?"""

_COUNT_COLUMN = """
    INSERT INTO columns (table_number, name, type, overflow, live) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (table_number, name, type, overflow) DO UPDATE SET live = live + excluded.live"""

_ADD_REJECTION = """
    INSERT INTO rejections (organization, bucket, key, etag, code, reason, rows, rejected_ns)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""


def apply_commit(connection: sqlite3.Connection, commit: Commit) -> int:
    """Write a commit if it is not in the file yet, and return its sequence.

    Raises:
        CommitConflictError: It lost a race; the caller must roll back.
        CatalogMismatchError: It was begun in another incarnation of the lake; likewise.
    """
    head = read_head(connection)
    refuse_unfinished(head, commit.adopts)
    first = connection.execute("SELECT sequence FROM commits WHERE id = ?", (commit.id,)).fetchone()
    if first:
        return int(first[0])
    refuse_strangers(commit, head)
    known = find_sources(
        connection,
        [*(one.source for one in commit.taken), *(one.source for one in commit.rejected)],
    )
    added = [segment.id for segment in commit.add]
    removed = segments_to_remove(
        commit,
        head=head,
        states=known,
        rows=find_segments(connection, [*commit.remove, *commit.require_live, *added]),
        condemned=find_condemned(connection, added),
        changed=[
            one
            for one in commit.unchanged_since
            if has_changed(connection, commit.organization, one, head)
        ],
    )
    change = commit_change(commit, removed, known)
    sequence = connection.execute(
        "INSERT INTO commits (id, committed_ns) VALUES (?, ?)", (commit.id, commit.committed_ns)
    ).lastrowid
    assert sequence is not None  # noqa: S101 - an INSERT always has one
    for name, part in change.tables.items():
        table = _table_number(connection, commit.organization, name)
        _add_segments(connection, part.add, table, sequence)
        _change_totals(connection, table, part)
    connection.executemany(
        "UPDATE segments SET removed = ?, removed_ns = ? WHERE id = ?",
        ((sequence, commit.committed_ns, segment_id) for segment_id in commit.remove),
    )
    _change_sources(connection, commit.organization, change)
    return sequence


def _add_segments(
    connection: sqlite3.Connection, add: Sequence[Segment], table: int, sequence: int
) -> None:
    connection.executemany(
        _ADD_SEGMENT,
        (
            (
                segment.id,
                table,
                segment.min_timestamp_ns,
                segment.max_timestamp_ns,
                sequence,
                encode_segment(segment),
            )
            for segment in add
        ),
    )


def _change_totals(connection: sqlite3.Connection, table: int, change: TableChange) -> None:
    extent_ns = min(change.extent_ns, MAX_NS)
    connection.execute(
        _ADD_TO_TOTALS, (change.segments, change.rows, change.bytes, extent_ns, table)
    )
    connection.executemany(
        _COUNT_COLUMN,
        (
            (table, name, kind, overflow, number)
            for (name, kind, overflow), number in change.columns.items()
        ),
    )
    if any(number < 0 for number in change.columns.values()):
        connection.execute("DELETE FROM columns WHERE table_number = ? AND live = 0", (table,))


def _change_sources(
    connection: sqlite3.Connection, organization: str, change: CommitChange
) -> None:
    urls = {one.bucket for one in change.cleared}
    urls |= {entry.source.bucket for entry in change.rejected}
    bucket = {url: _bucket_number(connection, url) for url in sorted(urls)}

    def identity(source: Source) -> tuple[int, str, str]:
        return bucket[source.bucket], source.key, source.etag

    connection.executemany(
        "DELETE FROM rejections WHERE bucket = ? AND key = ? AND etag = ?",
        (identity(source) for source in change.cleared),
    )
    add_taken(connection, change.taken)
    connection.executemany(
        _ADD_REJECTION,
        (
            (
                organization,
                *identity(entry.source),
                entry.code,
                entry.reason,
                entry.rows,
                entry.rejected_at_ns,
            )
            for entry in change.rejected
        ),
    )


def forget_sources(connection: sqlite3.Connection, sources: Sequence[Source]) -> None:
    """Forget that sources were taken or set aside.

    Raises:
        CatalogMismatchError: The catalog is being recovered.
    """
    refuse_unfinished(read_head(connection))
    forget_taken(connection, sources)
    connection.executemany(
        "DELETE FROM rejections WHERE key = ? AND etag = ?"
        " AND bucket = (SELECT number FROM buckets WHERE url = ?)",
        ((one.key, one.etag, one.bucket) for one in sources),
    )


def _table_number(connection: sqlite3.Connection, organization: str, table: str) -> int:
    key = (organization, table)
    connection.execute("INSERT OR IGNORE INTO tables (organization, name) VALUES (?, ?)", key)
    (number,) = connection.execute(
        "SELECT number FROM tables WHERE organization = ? AND name = ?", key
    ).fetchone()
    return int(number)


def _bucket_number(connection: sqlite3.Connection, url: str) -> int:
    connection.execute("INSERT OR IGNORE INTO buckets (url) VALUES (?)", (url,))
    (number,) = connection.execute("SELECT number FROM buckets WHERE url = ?", (url,)).fetchone()
    return int(number)

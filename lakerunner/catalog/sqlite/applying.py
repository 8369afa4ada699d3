"""What a commit does to the tables of a catalog file, inside the writer's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.catalog.admission import (
    late_segments,
    refuse_conflicts,
    refuse_strangers,
    refuse_unfinished,
)
from lakerunner.catalog.change import commit_change
from lakerunner.catalog.sqlite.ledger import add_taken, forget_taken
from lakerunner.catalog.sqlite.lookup import find_segments, find_sources
from lakerunner.catalog.sqlite.standing import find_condemned, has_changed, read_head
from lakerunner.model.segment import decode_segment, encode_segment
from lakerunner.model.source import SourceState
from lakerunner.model.times import MAX_NS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from lakerunner.catalog.change import CommitChange, TableChange
    from lakerunner.model.commit import Commit
    from lakerunner.model.head import Head
    from lakerunner.model.segment import Segment
    from lakerunner.model.source import Source

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
    removed = _refuse(connection, commit, head, known)
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


def _refuse(
    connection: sqlite3.Connection, commit: Commit, head: Head, known: Mapping[Source, SourceState]
) -> list[Segment]:
    """The segments the commit removes, if it may."""
    added = [segment.id for segment in commit.add]
    wanted = (*commit.remove, *commit.require_live)
    rows = find_segments(connection, [*wanted, *added])
    live = {
        row.id: segment
        for row in rows.values()
        if row.live and (segment := decode_segment(row.payload)).organization == commit.organization
    }
    taken = [one.source for one in commit.taken]
    condemned = find_condemned(connection, added)
    refuse_conflicts(
        commit,
        taken=[source for source in taken if known.get(source) is SourceState.TAKEN],
        gone=[name for name in wanted if name not in live],
        known=[name for name in added if name in rows],
        condemned=[name for name in added if name in condemned],
        late=late_segments(commit, head),
        changed=[
            one
            for one in commit.unchanged_since
            if has_changed(connection, commit.organization, one, head)
        ],
    )
    return [live[name] for name in commit.remove]


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

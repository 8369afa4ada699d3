"""What a commit does to the tables of a catalog file, inside the writer's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.catalog.admission import refuse_conflicts
from lakerunner.catalog.columns import column_changes
from lakerunner.catalog.sqlite.lookup import find_segments, find_sources
from lakerunner.model.segment import decode_segment, encode_segment
from lakerunner.model.source import SourceState
from lakerunner.model.times import MAX_NS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from lakerunner.model.commit import Commit
    from lakerunner.model.segment import Segment
    from lakerunner.model.source import Rejection, Source, TakenSource

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

_SET_SOURCE = """
    INSERT INTO sources (bucket, key, etag, taken, rows, sequence) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (bucket, key, etag) DO UPDATE
    SET taken = excluded.taken, rows = excluded.rows, sequence = excluded.sequence"""

_ADD_REJECTION = """
    INSERT INTO rejections (organization, bucket, key, etag, code, reason, rows, rejected_ns)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""


def apply_commit(connection: sqlite3.Connection, commit: Commit) -> int:
    """Write a commit that is not in the file yet, and return its sequence.

    Raises:
        CommitConflictError: It lost a race; the caller must roll back.
    """
    known = find_sources(connection, _sources(commit.taken, commit.rejected))
    taken = {source for source, state in known.items() if state is SourceState.TAKEN}
    changed = _refuse(connection, commit, taken)
    sequence = connection.execute(
        "INSERT INTO commits (id, committed_ns) VALUES (?, ?)", (commit.id, commit.committed_ns)
    ).lastrowid
    assert sequence is not None  # noqa: S101 - an INSERT always has one
    for name in sorted(changed):
        add, removed = changed[name]
        table = _table_number(connection, commit.organization, name)
        _add_segments(connection, add, table, sequence)
        _change_totals(connection, table, add, removed)
        _change_columns(connection, table, add, removed)
    connection.executemany(
        "UPDATE segments SET removed = ?, removed_ns = ? WHERE id = ?",
        ((sequence, commit.committed_ns, segment_id) for segment_id in commit.remove),
    )
    rejected = [entry for entry in commit.rejected if entry.source not in taken]
    _change_sources(connection, commit, rejected, sequence)
    return sequence


def _refuse(
    connection: sqlite3.Connection, commit: Commit, taken: set[Source]
) -> dict[str, tuple[list[Segment], list[Segment]]]:
    """By table, the segments the commit adds, and those it removes, if it may."""
    rows = find_segments(connection, [*commit.remove, *(segment.id for segment in commit.add)])
    live = {
        row.id: segment
        for row in rows.values()
        if row.live and (segment := decode_segment(row.payload)).organization == commit.organization
    }
    refuse_conflicts(
        commit,
        taken=[entry.source for entry in commit.taken if entry.source in taken],
        gone=[segment_id for segment_id in commit.remove if segment_id not in live],
        known=[segment.id for segment in commit.add if segment.id in rows],
    )
    changed: dict[str, tuple[list[Segment], list[Segment]]] = {}
    for segment in commit.add:
        changed.setdefault(segment.table, ([], []))[0].append(segment)
    for segment_id in commit.remove:
        changed.setdefault(live[segment_id].table, ([], []))[1].append(live[segment_id])
    return changed


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


def _change_totals(
    connection: sqlite3.Connection, table: int, add: Sequence[Segment], removed: Sequence[Segment]
) -> None:
    extents = [segment.max_timestamp_ns - segment.min_timestamp_ns for segment in add]
    connection.execute(
        _ADD_TO_TOTALS,
        (
            len(add) - len(removed),
            sum(segment.rows for segment in add) - sum(segment.rows for segment in removed),
            sum(segment.bytes for segment in add) - sum(segment.bytes for segment in removed),
            min(max(extents, default=0), MAX_NS),
            table,
        ),
    )


def _change_columns(
    connection: sqlite3.Connection, table: int, add: Sequence[Segment], removed: Sequence[Segment]
) -> None:
    changes = column_changes(add, removed)
    connection.executemany(
        _COUNT_COLUMN,
        (
            (table, name, kind, overflow, change)
            for (name, kind, overflow), change in changes.items()
        ),
    )
    if any(change < 0 for change in changes.values()):
        connection.execute("DELETE FROM columns WHERE table_number = ? AND live = 0", (table,))


def _change_sources(
    connection: sqlite3.Connection,
    commit: Commit,
    rejected: Sequence[Rejection],
    sequence: int,
) -> None:
    urls = {source.bucket for source in _sources(commit.taken, rejected)}
    bucket = {url: _bucket_number(connection, url) for url in sorted(urls)}

    def identity(source: Source) -> tuple[int, str, str]:
        return bucket[source.bucket], source.key, source.etag

    states = {entry.source: (False, 0) for entry in rejected}
    states |= {entry.source: (True, entry.rows) for entry in commit.taken}
    connection.executemany(
        "DELETE FROM rejections WHERE bucket = ? AND key = ? AND etag = ?",
        (identity(source) for source in states),
    )
    connection.executemany(
        _SET_SOURCE,
        ((*identity(source), *state, sequence) for source, state in sorted(states.items())),
    )
    connection.executemany(
        _ADD_REJECTION,
        (
            (
                commit.organization,
                *identity(entry.source),
                entry.code,
                entry.reason,
                entry.rows,
                entry.rejected_at_ns,
            )
            for entry in rejected
        ),
    )


def _sources(taken: Sequence[TakenSource], rejected: Sequence[Rejection]) -> list[Source]:
    return [*(entry.source for entry in taken), *(entry.source for entry in rejected)]


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

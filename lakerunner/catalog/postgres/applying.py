"""What a commit does to the tables of a catalog, inside its transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple

import msgspec

from lakerunner.catalog.admission import refuse_conflicts
from lakerunner.catalog.columns import column_changes
from lakerunner.catalog.postgres.lookup import (
    SEGMENTS,
    SOURCES,
    SegmentRow,
    identities,
    states_of,
)
from lakerunner.catalog.postgres.schema import LOCK, require_current
from lakerunner.model.segment import decode_segment, encode_segment
from lakerunner.model.source import SourceState
from lakerunner.model.times import MAX_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.catalog.postgres.pool import Link, Transaction
    from lakerunner.model.commit import Commit
    from lakerunner.model.segment import Segment
    from lakerunner.model.source import Rejection, Source

_KNOWN: LiteralString = "SELECT sequence FROM commits WHERE id = %(commit)s"

# ON CONFLICT would use up a number each time; nobody can be faster, who does not hold the lock.
_ADD_TABLES: LiteralString = """
    INSERT INTO tables (organization, name)
    SELECT %(organization)s::text, new.name FROM unnest(%(tables)s::text[]) AS new (name)
    WHERE NOT EXISTS (SELECT FROM tables
        WHERE organization = %(organization)s AND tables.name = new.name)"""

_TABLES: LiteralString = """
    SELECT name, number FROM tables WHERE organization = %(organization)s"""

_ADD_COMMIT: LiteralString = """
    INSERT INTO commits (sequence, id, committed_ns)
    VALUES (%(sequence)s, %(commit)s, %(committed_ns)s)"""

_ADD_SEGMENTS: LiteralString = """
    INSERT INTO segments (id, table_number, min_ns, max_ns, added, payload)
    SELECT id, %(table)s, min_ns, max_ns, %(sequence)s, payload
    FROM unnest(%(ids)s::text[], %(min_ns)s::bigint[], %(max_ns)s::bigint[], %(payload)s::bytea[])
        AS new (id, min_ns, max_ns, payload)"""

_REMOVE_SEGMENTS: LiteralString = """
    UPDATE segments SET removed = %(sequence)s, removed_ns = %(committed_ns)s
    WHERE id = ANY(%(ids)s::text[])"""

_ADD_TO_TOTALS: LiteralString = """
    UPDATE tables SET segments = segments + %(segments)s, rows = rows + %(rows)s,
        bytes = bytes + %(bytes)s, extent_ns = greatest(extent_ns, %(extent_ns)s)
    WHERE number = %(table)s"""

_COUNT_COLUMNS: LiteralString = """
    INSERT INTO columns (table_number, name, type, overflow, live)
    SELECT %(table)s, new.* FROM unnest(
        %(name)s::text[], %(type)s::text[], %(overflow)s::boolean[], %(live)s::bigint[]) AS new
    ON CONFLICT (table_number, name, type, overflow) DO UPDATE
    SET live = columns.live + excluded.live"""

_FORGET_COLUMNS: LiteralString = "DELETE FROM columns WHERE table_number = %(table)s AND live = 0"

_ADD_BUCKETS: LiteralString = """
    INSERT INTO buckets (url) SELECT DISTINCT url FROM unnest(%(bucket)s::text[]) AS url
    WHERE NOT EXISTS (SELECT FROM buckets WHERE buckets.url = url.url)"""

_SET_SOURCES: LiteralString = """
    INSERT INTO sources (bucket, key, etag, taken, rows, sequence)
    SELECT buckets.number, new.key, new.etag, new.taken, new.rows, %(sequence)s
    FROM unnest(%(bucket)s::text[], %(key)s::text[], %(etag)s::text[], %(taken)s::boolean[],
        %(rows)s::bigint[]) AS new (bucket, key, etag, taken, rows)
    JOIN buckets ON buckets.url = new.bucket
    ON CONFLICT (bucket, key, etag) DO UPDATE
    SET taken = excluded.taken, rows = excluded.rows, sequence = excluded.sequence"""

_CLEAR_REJECTIONS: LiteralString = """
    DELETE FROM rejections WHERE number = ANY (ARRAY (
        SELECT found.number
        FROM unnest(%(bucket)s::text[], %(key)s::text[], %(etag)s::text[])
            AS old (bucket, key, etag)
        JOIN buckets ON buckets.url = old.bucket
        CROSS JOIN LATERAL (
            SELECT number FROM rejections
            WHERE bucket = buckets.number AND key = old.key AND etag = old.etag OFFSET 0
        ) AS found))"""

_ADD_REJECTIONS: LiteralString = """
    INSERT INTO rejections (organization, bucket, key, etag, payload)
    SELECT %(organization)s, buckets.number, new.key, new.etag, new.payload
    FROM unnest(%(bucket)s::text[], %(key)s::text[], %(etag)s::text[], %(payload)s::bytea[])
        WITH ORDINALITY AS new (bucket, key, etag, payload, position)
    JOIN buckets ON buckets.url = new.bucket ORDER BY new.position"""

_ADVANCE: LiteralString = "UPDATE lakerunner_catalog SET sequence = %(sequence)s"


class _Found(NamedTuple):
    """What the catalog knows of a commit before it is applied."""

    sequence: int
    known: int | None
    tables: dict[str, int]
    taken: set[Source]
    segments: dict[str, SegmentRow]


def apply_commit(transaction: Transaction, commit: Commit, name: str) -> int:
    """Write a commit if it is not in the catalog yet, and return its sequence.

    Two round trips: all questions, then all changes. The first one waits for its turn.

    Args:
        transaction: One that was not begun; it is durable on return.
        commit: What to write.
        name: The catalog, for messages.

    Raises:
        CommitConflictError: It lost a race; nothing was changed.
        CatalogVersionError: A newer version brought the catalog forward.
    """
    found = _look(transaction, commit, name)
    if found.known is not None:
        return found.known
    rows = found.segments
    live = {
        row.id: segment
        for row in rows.values()
        if row.live and (segment := decode_segment(row.payload)).organization == commit.organization
    }
    refuse_conflicts(
        commit,
        taken=[entry.source for entry in commit.taken if entry.source in found.taken],
        gone=[segment_id for segment_id in commit.remove if segment_id not in live],
        known=[segment.id for segment in commit.add if segment.id in rows],
    )
    changed: dict[str, tuple[list[Segment], list[Segment]]] = {}
    for segment in commit.add:
        changed.setdefault(segment.table, ([], []))[0].append(segment)
    for segment_id in commit.remove:
        changed.setdefault(live[segment_id].table, ([], []))[1].append(live[segment_id])
    sequence = found.sequence + 1
    values: dict[str, object] = {
        "commit": commit.id,
        "committed_ns": commit.committed_ns,
        "sequence": sequence,
        "organization": commit.organization,
    }
    with transaction.changing() as connection:
        connection.execute(_ADD_COMMIT, values)
        for own, (add, removed) in sorted(changed.items()):
            table = values | {"table": found.tables[own]}
            _add_segments(connection, add, table)
            _change_totals(connection, add, removed, table)
        if commit.remove:
            connection.execute(_REMOVE_SEGMENTS, values | {"ids": list(commit.remove)})
        _change_sources(connection, commit, found.taken, values)
        connection.execute(_ADVANCE, values)
    return sequence


def _look(transaction: Transaction, commit: Commit, name: str) -> _Found:
    sources = [entry.source for entry in commit.taken]
    sources += [entry.source for entry in commit.rejected]
    ids = [*commit.remove, *(segment.id for segment in commit.add)]
    tables = {
        "organization": commit.organization,
        "tables": sorted({segment.table for segment in commit.add}),
    }
    with transaction.asking() as connection:
        # Each statement sees what was committed before it began, so all see what the lock waited
        # for.
        lock = connection.execute(LOCK)
        known = connection.execute(_KNOWN, {"commit": commit.id})
        if commit.add:
            connection.execute(_ADD_TABLES, tables)
        numbers = connection.execute(_TABLES, tables)
        states = connection.execute(SOURCES, identities(sources)) if sources else None
        segments = connection.execute(SEGMENTS, {"ids": ids}, binary=True) if ids else None
    ((version, sequence),) = lock.fetchall()
    require_current(version, name)
    earlier = known.fetchone()
    answer = states_of(sources, states.fetchall() if states else ())
    rows: list[tuple[Any, ...]] = segments.fetchall() if segments else []
    return _Found(
        sequence=int(sequence),
        known=int(earlier[0]) if earlier else None,
        tables=dict(numbers.fetchall()),
        taken={source for source, state in answer.items() if state is SourceState.TAKEN},
        segments={row[0]: SegmentRow(*row) for row in rows},
    )


def _add_segments(connection: Link, add: Sequence[Segment], values: dict[str, object]) -> None:
    if add:
        arrays = {
            "ids": [segment.id for segment in add],
            "min_ns": [segment.min_timestamp_ns for segment in add],
            "max_ns": [segment.max_timestamp_ns for segment in add],
            "payload": [encode_segment(segment) for segment in add],
        }
        connection.execute(_ADD_SEGMENTS, values | arrays)


def _change_totals(
    connection: Link,
    add: Sequence[Segment],
    removed: Sequence[Segment],
    values: dict[str, object],
) -> None:
    extents = [segment.max_timestamp_ns - segment.min_timestamp_ns for segment in add]
    totals = {
        "segments": len(add) - len(removed),
        "rows": sum(segment.rows for segment in add) - sum(segment.rows for segment in removed),
        "bytes": sum(segment.bytes for segment in add) - sum(segment.bytes for segment in removed),
        "extent_ns": min(max(extents, default=0), MAX_NS),
    }
    connection.execute(_ADD_TO_TOTALS, values | totals)
    changes = sorted(column_changes(add, removed).items())
    if changes:
        arrays = {
            "name": [name for (name, _, _), _ in changes],
            "type": [kind for (_, kind, _), _ in changes],
            "overflow": [overflow for (_, _, overflow), _ in changes],
            "live": [change for _, change in changes],
        }
        connection.execute(_COUNT_COLUMNS, values | arrays)
    if any(change < 0 for _, change in changes):
        connection.execute(_FORGET_COLUMNS, values)


def _change_sources(
    connection: Link, commit: Commit, taken: set[Source], values: dict[str, object]
) -> None:
    rejected = [entry for entry in commit.rejected if entry.source not in taken]
    states = {entry.source: (False, 0) for entry in rejected}
    states |= {entry.source: (True, entry.rows) for entry in commit.taken}
    if not states:
        return
    changed = sorted(states.items())
    arrays = identities(source for source, _ in changed)
    counts = {
        "taken": [taken for _, (taken, _) in changed],
        "rows": [rows for _, (_, rows) in changed],
    }
    connection.execute(_ADD_BUCKETS, arrays)
    connection.execute(_SET_SOURCES, values | arrays | counts)
    connection.execute(_CLEAR_REJECTIONS, arrays)
    _add_rejections(connection, rejected, values)


def _add_rejections(
    connection: Link, rejected: Sequence[Rejection], values: dict[str, object]
) -> None:
    if rejected:
        arrays = identities(entry.source for entry in rejected)
        payload = {"payload": [msgspec.json.encode(entry) for entry in rejected]}
        connection.execute(_ADD_REJECTIONS, values | arrays | payload)

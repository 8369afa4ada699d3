"""What a commit does to the tables of a catalog, inside its transaction."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple

import msgspec

from lakerunner.catalog.admission import (
    SegmentRow,
    refuse_strangers,
    refuse_unfinished,
    segments_to_remove,
)
from lakerunner.catalog.change import commit_change
from lakerunner.catalog.postgres.ledger import (
    ADD,
    ASIDE,
    SEGMENTS,
    TAKEN,
    digests_of,
    forget_taken,
    identities,
    states_of,
)
from lakerunner.catalog.postgres.schema import require_current
from lakerunner.model.commit import Head, epoch_of
from lakerunner.model.segment import SourceState, encode_segment
from lakerunner.model.times import MAX_NS, MIN_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.catalog.change import CommitChange, TableChange
    from lakerunner.catalog.postgres.pool import Link, Transaction
    from lakerunner.model.commit import Commit, Unchanged
    from lakerunner.model.segment import Rejection, Segment, Source

# Where a catalog stands, what it has condemned, and whether a part of a table changed.

HEAD: LiteralString = """
    SELECT guard.sequence, guard.lake, guard.incarnation, guard.whole, guard.floor, guard.purged"""
"""To be asked beside the guard of `Pool.read`."""

LOCK_HEAD: LiteralString = """
    SELECT version, sequence, lake, incarnation, whole, floor, purged
    FROM lakerunner_catalog FOR UPDATE"""
"""Waits for the commits before this one, and makes those after it wait."""

_SET_HEAD: LiteralString = """
    UPDATE lakerunner_catalog SET lake = %(lake)s, incarnation = %(incarnation)s,
        whole = %(whole)s, floor = %(floor)s, purged = %(purged)s"""

CONDEMNED: LiteralString = "SELECT id FROM condemned WHERE id = ANY(%(ids)s::text[])"

_CONDEMN: LiteralString = """
    INSERT INTO condemned (id, epoch)
    SELECT new.* FROM unnest(%(ids)s::text[], %(epochs)s::bigint[]) AS new
    ON CONFLICT DO NOTHING"""

_FORGET: LiteralString = "DELETE FROM condemned WHERE epoch < %(floor)s"

# As in `catalog.SEGMENTS_THEN`: of what is live, what was added since; of what was removed since,
# what was there before.
_RANGE: LiteralString = """
    SELECT 1 AS one FROM segments
    WHERE table_number = tables.number
        AND max_ns >= part.first_ns AND min_ns <= part.last_ns
        AND max_ns <= CASE tables.extent_ns WHEN %(longest)s::bigint THEN %(longest)s::bigint
            ELSE part.last_ns + least(tables.extent_ns, part.room_ns) END AND """

_PARTS: LiteralString = """
    FROM unnest(%(sequences)s::bigint[], %(tables)s::text[], %(first_ns)s::bigint[],
            %(last_ns)s::bigint[], %(room_ns)s::bigint[])
        WITH ORDINALITY AS part (sequence, name, first_ns, last_ns, room_ns, position)
    JOIN tables ON tables.organization = %(organization)s AND tables.name = part.name"""

CHANGED: LiteralString = f"""
    SELECT DISTINCT part.position {_PARTS} CROSS JOIN LATERAL (
        ({_RANGE} removed IS NULL AND added > part.sequence LIMIT 1)
        UNION ALL
        ({_RANGE} removed > part.sequence AND added <= part.sequence LIMIT 1)) AS found"""
"""Which of the parts of `parts_of` are not as they were; they count from 1."""


def parts_of(commit: Commit) -> dict[str, object]:
    """What a commit requires to be unchanged, as the arrays that `CHANGED` takes."""
    wanted = commit.unchanged_since
    last_ns = [_int64(one.end_ns - 1) for one in wanted]
    return {
        "organization": commit.organization,
        "sequences": [one.sequence for one in wanted],
        "tables": [one.table for one in wanted],
        "first_ns": [_int64(one.start_ns) for one in wanted],
        "last_ns": last_ns,
        "room_ns": [MAX_NS - max(one, 0) for one in last_ns],
        "longest": MAX_NS,
    }


def changed_of(commit: Commit, rows: Sequence[tuple[Any, ...]], head: Head) -> list[Unchanged]:
    """The answer to `CHANGED`, and what cannot be told any more."""
    found = {position for (position,) in rows}
    return [
        one
        for position, one in enumerate(commit.unchanged_since, 1)
        if position in found or one.sequence < head.purged
    ]


def head_of(row: tuple[Any, ...], name: str) -> Head:
    """The row that `LOCK_HEAD` returns.

    Raises:
        CatalogVersionError: A newer version brought the catalog forward.
    """
    version, *fields = row
    require_current(version, name)
    return Head(*fields)


def write_head(connection: Link, head: Head) -> None:
    """Keep all of it but the sequence."""
    values = {
        "lake": head.lake,
        "incarnation": head.incarnation,
        "whole": head.whole,
        "floor": head.floor,
        "purged": head.purged,
    }
    connection.execute(_SET_HEAD, values)


def add_condemned(connection: Link, ids: Sequence[str], floor: int) -> None:
    """Condemn segments, and forget those below the floor."""
    epochs = [epoch_of(name) for name in ids]
    values = {"ids": list(ids), "epochs": [MAX_NS if one is None else one for one in epochs]}
    connection.execute(_CONDEMN, values)
    connection.execute(_FORGET, {"floor": floor})


def _int64(nanoseconds: int) -> int:
    return max(MIN_NS, min(nanoseconds, MAX_NS))


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

    head: Head
    known: int | None
    tables: dict[str, int]
    states: dict[Source, SourceState]
    segments: dict[str, SegmentRow]
    condemned: set[str]
    changed: list[Unchanged]


def apply_commit(transaction: Transaction, commit: Commit, name: str) -> int:
    """Write a commit if it is not in the catalog yet, and return its sequence.

    Two round trips: all questions, then all changes. The first one waits for its turn.

    Args:
        transaction: One that was not begun; it is durable on return.
        commit: What to write.
        name: The catalog, for messages.

    Raises:
        CommitConflictError: It lost a race; nothing was changed.
        CatalogMismatchError: It was begun in another incarnation of the lake; likewise.
        CatalogVersionError: A newer version brought the catalog forward.
    """
    found = _look(transaction, commit, name)
    refuse_unfinished(found.head, commit.adopts)
    if found.known is not None:
        return found.known
    refuse_strangers(commit, found.head)
    removed = segments_to_remove(
        commit,
        head=found.head,
        states=found.states,
        rows=found.segments,
        condemned=found.condemned,
        changed=found.changed,
    )
    change = commit_change(commit, removed, found.states)
    sequence = found.head.sequence + 1
    values: dict[str, object] = {
        "commit": commit.id,
        "committed_ns": commit.committed_ns,
        "sequence": sequence,
        "organization": commit.organization,
    }
    with transaction.changing() as connection:
        connection.execute(_ADD_COMMIT, values)
        for own, part in change.tables.items():
            table = values | {"table": found.tables[own]}
            _add_segments(connection, part.add, table)
            _change_totals(connection, part, table)
        if commit.remove:
            connection.execute(_REMOVE_SEGMENTS, values | {"ids": list(commit.remove)})
        _change_sources(connection, change, values)
        connection.execute(_ADVANCE, values)
    return sequence


def _look(transaction: Transaction, commit: Commit, name: str) -> _Found:
    sources = [entry.source for entry in commit.taken]
    sources += [entry.source for entry in commit.rejected]
    added = [segment.id for segment in commit.add]
    ids = [*commit.remove, *commit.require_live, *added]
    tables = {
        "organization": commit.organization,
        "tables": sorted({segment.table for segment in commit.add}),
    }
    with transaction.asking() as connection:
        # Each statement sees what was committed before it began, so all see what the lock waited
        # for.
        lock = connection.execute(LOCK_HEAD)
        known = connection.execute(_KNOWN, {"commit": commit.id})
        if commit.add:
            connection.execute(_ADD_TABLES, tables)
        numbers = connection.execute(_TABLES, tables)
        states = [
            connection.execute(statement, values)
            for statement, values in ((TAKEN, digests_of(sources)), (ASIDE, identities(sources)))
            if sources
        ]
        segments = connection.execute(SEGMENTS, {"ids": ids}, binary=True) if ids else None
        condemned = connection.execute(CONDEMNED, {"ids": added}) if added else None
        changed = connection.execute(CHANGED, parts_of(commit)) if commit.unchanged_since else None
    head = head_of(lock.fetchall()[0], name)
    earlier = known.fetchone()
    rows: list[tuple[Any, ...]] = segments.fetchall() if segments else []
    return _Found(
        head=head,
        known=int(earlier[0]) if earlier else None,
        tables=dict(numbers.fetchall()),
        states=states_of(sources, chain.from_iterable(each.fetchall() for each in states)),
        segments={row[0]: SegmentRow(*row) for row in rows},
        condemned={row[0] for row in condemned.fetchall()} if condemned else set(),
        changed=changed_of(commit, changed.fetchall(), head) if changed else [],
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


def _change_totals(connection: Link, change: TableChange, values: dict[str, object]) -> None:
    totals = {
        "segments": change.segments,
        "rows": change.rows,
        "bytes": change.bytes,
        "extent_ns": min(change.extent_ns, MAX_NS),
    }
    connection.execute(_ADD_TO_TOTALS, values | totals)
    changes = sorted(change.columns.items())
    if changes:
        arrays = {
            "name": [name for (name, _, _), _ in changes],
            "type": [kind for (_, kind, _), _ in changes],
            "overflow": [overflow for (_, _, overflow), _ in changes],
            "live": [number for _, number in changes],
        }
        connection.execute(_COUNT_COLUMNS, values | arrays)
    if any(number < 0 for _, number in changes):
        connection.execute(_FORGET_COLUMNS, values)


def _change_sources(connection: Link, change: CommitChange, values: dict[str, object]) -> None:
    if change.taken:
        connection.execute(ADD, digests_of(change.taken))
    if change.cleared:
        connection.execute(_CLEAR_REJECTIONS, identities(change.cleared))
    _add_rejections(connection, change.rejected, values)


def forget_sources(connection: Link, sources: Sequence[Source]) -> None:
    """Forget that sources were taken or set aside, in a transaction that holds the head."""
    forget_taken(connection, sources)
    connection.execute(_CLEAR_REJECTIONS, identities(sources))


def _add_rejections(
    connection: Link, rejected: Sequence[Rejection], values: dict[str, object]
) -> None:
    if rejected:
        arrays = identities(entry.source for entry in rejected)
        payload = {"payload": [msgspec.json.encode(entry) for entry in rejected]}
        connection.execute(_ADD_BUCKETS, arrays)
        connection.execute(_ADD_REJECTIONS, values | arrays | payload)

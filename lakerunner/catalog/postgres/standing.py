"""Where a catalog stands, what it has condemned, and whether a part of a table changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

from lakerunner.catalog.postgres.schema import require_current
from lakerunner.model.commit import Head, epoch_of
from lakerunner.model.times import MAX_NS, MIN_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.catalog.postgres.pool import Link
    from lakerunner.model.commit import Commit, Unchanged

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

"""Where a catalog file stands, what it has condemned, and whether a part of a table changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.catalog.sqlite.lookup import lookup
from lakerunner.model.head import Head, epoch_of
from lakerunner.model.times import MAX_NS, MIN_NS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from lakerunner.model.commit import Unchanged

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

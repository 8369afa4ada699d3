"""What a commit does to totals, columns and sources: one pure function for all catalogs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.catalog.columns import column_changes
from lakerunner.model.segment import SourceState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lakerunner.catalog.columns import ColumnKey
    from lakerunner.model.commit import Commit
    from lakerunner.model.segment import Rejection, Segment, Source


class TableChange(NamedTuple):
    """By how much a commit changes one table.

    Attributes:
        add: Segments that come.
        remove: Segments that go.
        segments: Change of the number of live segments.
        rows: Change of the rows in them.
        bytes: Change of their bytes.
        extent_ns: Longest time range of the segments that come; it may not fit 64 bits.
        columns: Change of the number of segments that have each column.
    """

    add: tuple[Segment, ...]
    remove: tuple[Segment, ...]
    segments: int
    rows: int
    bytes: int
    extent_ns: int
    columns: dict[ColumnKey, int]


class CommitChange(NamedTuple):
    """Everything that a commit changes, once it is known that it may.

    Attributes:
        tables: By name, those it adds segments to or removes some from, in order of their names.
        taken: Rows by source, of those it takes.
        rejected: What it sets aside: not what had been taken before.
        touched: Sources in either: earlier rejections of these are over.
        cleared: Those of them that were set aside until now.
    """

    tables: dict[str, TableChange]
    taken: dict[Source, int]
    rejected: tuple[Rejection, ...]
    touched: tuple[Source, ...]
    cleared: tuple[Source, ...]


def commit_change(
    commit: Commit, removed: Iterable[Segment], states: Mapping[Source, SourceState]
) -> CommitChange:
    """Say what a commit changes.

    Args:
        commit: It was admitted.
        removed: The segments it removes.
        states: Of its sources, those the catalog knows.
    """
    add: dict[str, list[Segment]] = {}
    remove: dict[str, list[Segment]] = {}
    for segment in commit.add:
        add.setdefault(segment.table, []).append(segment)
    for segment in removed:
        remove.setdefault(segment.table, []).append(segment)
    rejected = tuple(
        one for one in commit.rejected if states.get(one.source) is not SourceState.TAKEN
    )
    taken = {one.source: one.rows for one in commit.taken}
    touched = dict.fromkeys([*taken, *(one.source for one in rejected)])
    return CommitChange(
        tables={
            name: table_change(add.get(name, ()), remove.get(name, ()))
            for name in sorted(add.keys() | remove.keys())
        },
        taken=taken,
        rejected=rejected,
        touched=tuple(touched),
        cleared=tuple(one for one in touched if states.get(one) is SourceState.REJECTED),
    )


def table_change(add: Sequence[Segment], remove: Sequence[Segment]) -> TableChange:
    """Say what the coming and going of segments changes in their table.

    Example:
        >>> table_change([], [])
        TableChange(add=(), remove=(), segments=0, rows=0, bytes=0, extent_ns=0, columns={})
    """
    sums: Counter[str] = Counter()
    for sign, segments in ((1, add), (-1, remove)):
        for segment in segments:
            sums["rows"] += sign * segment.rows
            sums["bytes"] += sign * segment.bytes
    extents = [segment.max_timestamp_ns - segment.min_timestamp_ns for segment in add]
    return TableChange(
        add=tuple(add),
        remove=tuple(remove),
        segments=len(add) - len(remove),
        rows=sums["rows"],
        bytes=sums["bytes"],
        extent_ns=max(extents, default=0),
        columns=column_changes(add, remove),
    )

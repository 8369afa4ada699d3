"""What a commit does to totals, columns and sources: one pure function for all catalogs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from lakerunner.model.commit import ColumnSummary
from lakerunner.model.deletion import DELETED, DELETIONS, Deletion, Proof, applies, statement_of
from lakerunner.model.segment import SourceState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lakerunner.catalog.base import Catalog
    from lakerunner.model.commit import Commit
    from lakerunner.model.segment import Rejection, Segment, Source

# Counting the columns of live segments, so that a snapshot need not read the segments.

ColumnKey: TypeAlias = tuple[str, str, bool]
"""A column's name, its type, and whether it lives in the overflow map."""


def column_changes(add: Iterable[Segment], remove: Iterable[Segment]) -> dict[ColumnKey, int]:
    """By how much the count of each column changes; columns that stay as they were are left out.

    Merging segments of the same columns therefore changes only the counts, and most commits touch
    only a few rows.
    """
    changes: Counter[ColumnKey] = Counter()
    for sign, segments in ((1, add), (-1, remove)):
        for segment in segments:
            for name, column in segment.columns.items():
                changes[name, column.type, column.overflow] += sign
    return {key: change for key, change in changes.items() if change}


def summarise_counts(counts: Iterable[tuple[ColumnKey, int]]) -> dict[str, ColumnSummary]:
    """Fold the counts of live segments into one summary by name, sorted by name.

    Example:
        >>> summarise_counts([(("x", "string", False), 2), (("x", "int64", True), 1)])
        {'x': ColumnSummary(types=('int64', 'string'), physical=2, overflow=1)}
    """
    types: dict[str, set[str]] = {}
    totals: dict[str, list[int]] = {}
    for (name, kind, overflow), live in counts:
        types.setdefault(name, set()).add(kind)
        totals.setdefault(name, [0, 0])[overflow] += live
    return {
        name: ColumnSummary(tuple(sorted(types[name])), physical, overflow)
        for name, (physical, overflow) in sorted(totals.items())
    }


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


# Deletions as a catalog holds them: segments of a table of the lake's own, one for each.
#
# So they come and go in the order of commits, a state of the past has those of its time, and the
# files tell a recovery of them.


def pending_deletions(
    catalog: Catalog, organization: str, table: str | None = None, *, sequence: int | None = None
) -> Sequence[Deletion]:
    """Deletions that are not complete, in the order in which they were asked for.

    Args:
        catalog: What holds them.
        organization: Whose.
        table: Only those that concern this table.
        sequence: As of this commit; None means now.

    Raises:
        CatalogVersionError: A newer lakerunner asked for one: nothing can be read without it.
        SnapshotExpiredError: As `Catalog.segments` says.
    """
    found = catalog.segments(organization, DELETIONS, sequence=sequence)
    said = (statement_of(one, Deletion) for one in found)
    wanted = (one for one in said if table in {None, one.table})
    return sorted(wanted, key=lambda one: (one.asked_ns, one.id))


def proofs(catalog: Catalog, organization: str) -> Sequence[Proof]:
    """What was done for deletions, in order; of a complete one there is one proof."""
    found = catalog.segments(organization, DELETED)
    said = (statement_of(one, Proof) for one in found)
    return sorted(said, key=lambda one: (one.deletion.asked_ns, one.deletion.id, one.done_ns))


def concerned(deletions: Iterable[Deletion], segment: Segment) -> Sequence[Deletion]:
    """Deletions of which a segment may have rows.

    A merge of it with others would mix these with rows that are not concerned, so merges wait until
    it was rewritten. What a merge makes has `oldest` as the least of `age_of` its inputs, and
    `applied` as all deletions that were pending when it began.
    """
    return [one for one in deletions if applies(one, segment)]

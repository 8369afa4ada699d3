"""A table of one pinned snapshot as engines of others are told of it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.catalog.change import concerned, pending_deletions
from lakerunner.errors import ConfigurationError
from lakerunner.model.times import MIN_NS
from lakerunner.policies.retention import read_retention
from lakerunner.schema.arrays import TYPES, common_type
from lakerunner.schema.attribute import OVERFLOW
from lakerunner.schema.tables import table_spec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from lakerunner.model.commit import ColumnSummary, Snapshot
    from lakerunner.model.segment import Segment
    from lakerunner.model.times import TimeRange
    from lakerunner.scope import Scope


class OutsideTable(NamedTuple):
    """What an engine needs to read a table: nothing of it changes any more.

    Attributes:
        name: As SQL calls it.
        segments: All that may hold rows of the wanted times, by (min timestamp, id).
        columns: Arrow type by name, canonical columns first: those of all live segments, whatever
            the times, so that a query has the same types for any of them.
        overflow: Those of the columns that lie in the overflow map of some segment.
        earliest_ns: By resolution in nanoseconds, or 0 for all others: rows from before then are
            expired, and are not to be seen.
    """

    name: str
    segments: tuple[Segment, ...]
    columns: Mapping[str, pa.DataType]
    overflow: frozenset[str]
    earliest_ns: Mapping[int, int] = MappingProxyType({})

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return sum(one.bytes for one in self.segments)

    @property
    def rows(self) -> int:
        """Of all its files."""
        return sum(one.rows for one in self.segments)

    def bound_ns(self, segment: Segment) -> int:
        """From when on rows of a segment are seen; `MIN_NS` if all of them are."""
        bounds = self.earliest_ns
        found = bounds.get(segment.resolution_ns, bounds.get(0, MIN_NS))
        return found if segment.min_timestamp_ns < found else MIN_NS

    def own_types(self, segment: Segment) -> Mapping[str, str]:
        """Columns that a segment has under another type than the table, and which."""
        return {
            name: stats.type
            for name, stats in sorted(segment.columns.items())
            if not stats.overflow
            and stats.type in TYPES
            and self.columns.get(name) not in {None, TYPES[stats.type]}
        }


def outside_table(
    scope: Scope, name: str, snapshot: Snapshot, segments: Sequence[Segment], now_ns: int
) -> OutsideTable:
    """Some segments of a table as an engine of others is told of them.

    Args:
        scope: The lake; of its organization.
        name: Which table.
        snapshot: Its state.
        segments: Those that the engine shall read, of that state.
        now_ns: What is expired is so at this time.

    Raises:
        ConfigurationError: Rows of these segments are to be deleted and not gone yet: only our own
            engine knows how to leave them out.
    """
    spec = table_spec(name)
    bounds = read_retention(scope.config).bounds(scope.organization, name, now_ns=now_ns)
    always = bounds.get(0, MIN_NS)
    seen = [
        one for one in segments if one.max_timestamp_ns >= bounds.get(one.resolution_ns, always)
    ]
    pending = pending_deletions(scope.catalog, scope.organization, name, sequence=snapshot.sequence)
    for segment in seen:
        for deletion in concerned(pending, segment):
            raise ConfigurationError(
                f"rows of {name} are to be deleted ({deletion}) and still lie in files, which "
                "engines of others would show: run lake.retain() first",
                table=name,
                deletion=deletion.id,
            )
    columns = {one.name: one.type for one in spec.schema if one.name != OVERFLOW}
    attributes = {one: told for one, told in snapshot.columns.items() if one not in columns}
    attributes.pop(OVERFLOW, None)
    columns |= {one: _read_as(told) for one, told in sorted(attributes.items())}
    overflow = {one for one, told in snapshot.columns.items() if told.overflow}
    return OutsideTable(
        name,
        tuple(seen),
        {**columns, OVERFLOW: spec.schema.field(OVERFLOW).type},
        frozenset(overflow),
        bounds,
    )


def pinned(scope: Scope, name: str, times: TimeRange, now_ns: int) -> OutsideTable:
    """A table as it is now, with the segments that may hold rows of some times.

    Raises:
        ConfigurationError: There is no such table, or as for `outside_table`.
        SnapshotExpiredError: The lake is one of the past that is not kept any more.
    """
    name = table_spec(name).name
    snapshot = scope.catalog.snapshot(scope.organization, name)
    segments = scope.catalog.segments(scope.organization, name, times, sequence=snapshot.sequence)
    return outside_table(scope, name, snapshot, segments, now_ns)


def _read_as(summary: ColumnSummary) -> pa.DataType:
    return TYPES[common_type(summary.types)]

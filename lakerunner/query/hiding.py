"""What of a lake's files queries do not see: rows expired, to be deleted, or of other times."""

from __future__ import annotations

import re
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from lakerunner.catalog.change import concerned, pending_deletions
from lakerunner.compute.hidden import Hidden, deleted_in, expired_in, later_in
from lakerunner.compute.table import ScanMode, Table
from lakerunner.errors import QuerySyntaxError, UnsupportedQueryError
from lakerunner.model.times import MIN_NS, TimeRange
from lakerunner.schema.arrays import TYPES, common_type
from lakerunner.schema.tables import SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lakerunner.catalog.base import Catalog
    from lakerunner.compute.session import Session
    from lakerunner.model.commit import Snapshot
    from lakerunner.model.deletion import Deletion
    from lakerunner.model.segment import Segment
    from lakerunner.policies.retention import RetentionRules
    from lakerunner.schema.tables import TableSpec


class Hiding(NamedTuple):
    """What one query does not see of one table.

    Attributes:
        bounds: By resolution in nanoseconds, the first nanosecond that is kept; that of 0 counts
            for all others.
        deletions: What is to be deleted of the table, in the state that the query sees; None while
            nobody has asked.
        wanted: Rows of other times are not seen either.
    """

    bounds: Mapping[int, int] = MappingProxyType({})
    deletions: Sequence[Deletion] | None = None
    wanted: TimeRange = TimeRange()

    def within(self, wanted: TimeRange) -> TimeRange:
        """A time range without what is expired whatever its resolution."""
        earliest_ns = min(self.bounds.values(), default=MIN_NS)
        return self.wanted.overlap(TimeRange(max(wanted.start_ns, earliest_ns), wanted.end_ns))

    def of(self, segment: Segment) -> tuple[Hidden, ...]:
        """What is not seen of a segment; nothing, for nearly all of them."""
        start_ns = max(self._bound_ns(segment), self.wanted.start_ns)
        untimely = expired_in(start_ns, segment), later_in(self.wanted.end_ns, segment)
        found = [deleted_in(one, segment) for one in concerned(self.deletions or (), segment)]
        return (*(one for one in untimely if one is not None), *found)

    def reads(self, segments: Sequence[Segment]) -> frozenset[str]:
        """Columns that are read of segments to know what is not seen."""
        if not self.deletions:
            return frozenset()
        hidden = (one for segment in segments for one in self.of(segment))
        return frozenset(name for one in hidden for name, _ in one.reads)

    def reason(self, segment: Segment) -> str:
        """Why no row of a segment is seen; empty if some may be."""
        expired = segment.max_timestamp_ns < self._bound_ns(segment)
        if expired:
            return "all its rows are expired"
        start_ns, end_ns = self.wanted.start_ns, self.wanted.end_ns
        seen = start_ns <= segment.max_timestamp_ns and segment.min_timestamp_ns < end_ns
        return "" if seen else "all its rows lie outside of start and end"

    def _bound_ns(self, segment: Segment) -> int:
        return self.bounds.get(segment.resolution_ns, self.bounds.get(0, MIN_NS))


SEEN = Hiding()
"""Every row is seen."""


def hiding(organization: str, rules: RetentionRules, tables: Iterable[str]) -> dict[str, Hiding]:
    """What a query that begins now does not see, as far as that is expired.

    Args:
        organization: Whose rows it sees.
        rules: How long rows are kept.
        tables: What it reads.
    """
    now_ns = time.time_ns()
    return {name: Hiding(rules.bounds(organization, name, now_ns=now_ns)) for name in tables}


def with_deletions(
    hidden: Hiding, catalog: Catalog, organization: str, table: str, sequence: int
) -> Hiding:
    """The same, and what is to be deleted; asked for once in a query.

    Raises:
        CatalogVersionError: A newer lakerunner asked for a deletion: to answer would be wrong.
    """
    if hidden.deletions is not None:
        return hidden
    pending = pending_deletions(catalog, organization, table, sequence=sequence)
    return hidden._replace(deletions=pending)


# The condition of a deletion: read once, and refused unless it means the same for ever.

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_CHANGING = re.compile(
    r"\b(?:(?:now|random|uuid|today|rand)\s*\(|current_(?:date|time|timestamp)\b|select\b)",
    re.IGNORECASE,
)


def read_condition(
    session: Session, spec: TableSpec, snapshot: Snapshot, where: str
) -> dict[str, str]:
    """Make sure that a condition can be judged of each row, now and later.

    Args:
        session: Where it is tried.
        spec: The table whose rows it is about.
        snapshot: Its current state.
        where: The condition, in SQL, over the columns of the table.

    Returns:
        The types of the attributes that it speaks of, by column: what they are to it from now on.

    Raises:
        QuerySyntaxError: It cannot be read, is no condition, or names a column that nobody sent.
        UnsupportedQueryError: It asks other rows, or what it says changes with time.
    """
    plain = _QUOTED.sub("''", where)
    if not where.strip():
        raise QuerySyntaxError("a deletion needs a condition; where='true' is that of all rows")
    if found := _CHANGING.search(plain):
        raise UnsupportedQueryError(
            "the condition of a deletion must mean the same whenever it is judged, and of each row "
            f"by itself: {found[0].rstrip('( ')!r} does not; name times, or give start and end",
            query=where,
        )
    attributes = {
        name: common_type(one.types)
        for name, one in snapshot.columns.items()
        if name not in spec.schema.names
    }
    schema = pa.schema([*spec.schema, *((name, TYPES[kind]) for name, kind in attributes.items())])
    table = Table(spec.name, schema, (), ScanMode.SWEEP, {}, aliases=spec.aliases)
    text = " ".join(["SELECT 1 FROM", spec.name, f"WHERE ({where})"])
    scans = session.plan(text, [table]).optimized().scans()
    session.marks([], schema, [Hidden(where)])
    types = attributes | {SERVICE: "string"}
    read = {column for scan in scans for column in scan.columns}
    return {name: types[name] for name in sorted(read & types.keys())}

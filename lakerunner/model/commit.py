"""The atomic step: segments come and go together with the sources they account for."""

from __future__ import annotations

import msgspec

from lakerunner.model.segment import ColumnStats, Segment
from lakerunner.model.source import Rejection, TakenSource


class Unchanged(msgspec.Struct, frozen=True):
    """A part of a table that must be as it was: the same segments are live in it.

    Attributes:
        sequence: As it was after this commit.
        table: Of the organization of the commit.
        start_ns: Start of the time range, in nanoseconds since the epoch.
        end_ns: Its end, which is not part of it.
    """

    sequence: int
    table: str
    start_ns: int
    end_ns: int


class Commit(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that becomes visible at once, for one organization, in any of its tables.

    A commit may be sent again after a lost reply: its `id` makes the second sending harmless.

    Attributes:
        id: Unique; chosen by the writer before the first attempt.
        organization: Whose lake it changes.
        add: Segments that become visible, each in its own table.
        remove: Ids of segments that are replaced or retired, of any table.
        taken: Sources whose rows are in `add`.
        rejected: Sources, or parts of them, that were set aside.
        committed_ns: The writer's clock, in nanoseconds since the epoch.
        require_live: Ids of segments that must be live and stay so: what a rollup was made of.
        unchanged_since: What must not have changed since the writer looked.
        adopts: For a commit that `recover` makes again, the incarnation on whose behalf; its
            segments may then be of older ones. 0 for all others.
    """

    id: str
    organization: str
    committed_ns: int
    add: tuple[Segment, ...] = ()
    remove: tuple[str, ...] = ()
    taken: tuple[TakenSource, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    require_live: tuple[str, ...] = ()
    unchanged_since: tuple[Unchanged, ...] = ()
    adopts: int = 0


class ColumnSummary(msgspec.Struct, frozen=True):
    """How one column appears across all live segments of a table.

    Attributes:
        types: The distinct column types, sorted.
        physical: Segments in which it is a column of its own.
        overflow: Segments in which it lives in the overflow map.
    """

    types: tuple[str, ...]
    physical: int
    overflow: int


class Snapshot(msgspec.Struct, frozen=True):
    """The state of one table after some commit.

    Attributes:
        sequence: Number of the last commit it includes; grows with every commit to the catalog.
        segments: Live segments.
        rows: Rows in them.
        bytes: Bytes in them.
        columns: Every column of every live segment, by name.
    """

    sequence: int
    segments: int
    rows: int
    bytes: int
    columns: dict[str, ColumnSummary]


def summarise_columns(columns: list[dict[str, ColumnStats]]) -> dict[str, ColumnSummary]:
    """Fold the columns of many segments into one summary by name.

    Example:
        >>> a, b = {"x": ColumnStats("int64")}, {"x": ColumnStats("string", overflow=True)}
        >>> summarise_columns([a, b])
        {'x': ColumnSummary(types=('int64', 'string'), physical=1, overflow=1)}
    """
    types: dict[str, set[str]] = {}
    counts: dict[str, list[int]] = {}
    for stats in columns:
        for name, column in stats.items():
            types.setdefault(name, set()).add(column.type)
            counts.setdefault(name, [0, 0])[column.overflow] += 1
    return {
        name: ColumnSummary(tuple(sorted(types[name])), physical, overflow)
        for name, (physical, overflow) in counts.items()
    }

"""Needle or sweep: whether a scan should evaluate its filters while it decodes.

To decode the other columns only where the filter holds pays if whole pages of them can be skipped,
and costs where matches are everywhere. Measured over 10 million rows, a needle is 6 to 10 times
faster for a handful of rows of many columns, and a sweep up to 1.8 times faster when 1 row in 50
matches; they meet where about one row a page matches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.compute.table import ScanMode
from lakerunner.limits import ONE_REQUEST_BYTES, PAGE_ROWS
from lakerunner.model.predicate import (
    And,
    Compare,
    Contains,
    HasWord,
    IsIn,
    Like,
    Matches,
    NotNull,
    Opaque,
    Or,
    StartsWith,
)
from lakerunner.model.times import MAX_NS, MIN_NS, TimeRange

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lakerunner.compute.scans import Scan
    from lakerunner.model.predicate import Operator, Predicate
    from lakerunner.model.segment import ColumnStats, Segment

_RARE = 1 / PAGE_ROWS
_UNIQUE = 1e-6
"""The share of rows that is assumed to have one given value of a column with very many values."""

_SEARCH = (" LIKE ", " ILIKE ", " ~ ", " ~* ", "contains(", "regexp_like(")


def choose_mode(scans: Sequence[Scan], segments: Sequence[Segment]) -> ScanMode:
    """How to scan a table for a query.

    Args:
        scans: All scans of the table in the query; they share one mode.
        segments: What is left of the table after pruning.
    """
    if scans and all(_is_needle(scan, segments) for scan in scans):
        return ScanMode.NEEDLE
    return ScanMode.SWEEP


def mode_at_distance(segments: Sequence[Segment], sections: Mapping[str, int]) -> ScanMode:
    """How to read a few rows of segments that lie in a bucket.

    A needle asks for the columns of its conditions, then for what is left of the others: three or
    four requests, one after the other. A sweep asks once.

    Args:
        segments: What is left of the table after pruning.
        sections: What token filters say of them; see `query.token_filters`.
    """
    most = max((_left_bytes(one, sections.get(one.id, -1)) for one in segments), default=0)
    return ScanMode.SWEEP if most <= ONE_REQUEST_BYTES else ScanMode.NEEDLE


def _left_bytes(segment: Segment, sections: int) -> float:
    """About how large those sections of a segment are that filters leave of it."""
    if not segment.filters:
        return segment.bytes
    left = (one.rows for place, one in enumerate(segment.filters) if sections >> place & 1)
    return segment.bytes * sum(left) / segment.rows


def _is_needle(scan: Scan, segments: Sequence[Segment]) -> bool:
    if scan.limited:
        return True  # only the rows that are still among the first are decoded
    others = set(scan.columns) - set(scan.filtered)
    if not others:
        return False  # nothing to be saved
    if share(scan.predicate, segments) < _RARE:
        return True
    return not scan.aggregated and _searches(scan.predicate)


def share(predicate: Predicate, segments: Sequence[Segment]) -> float:
    """About which share of the rows satisfies a predicate: 1 where nothing is known.

    Conditions on the columns that segments are sorted by count as known nothing of: they choose
    pages, which either mode skips.
    """
    match predicate:
        case And(parts):
            return min((share(part, segments) for part in parts), default=1.0)
        case Or(parts):
            return min(1.0, sum(share(part, segments) for part in parts))
        case Compare(column, "=", value):
            return _share_of_one(column, segments, is_text=isinstance(value, str))
        case IsIn(column, values) if values:
            one = _share_of_one(column, segments, is_text=isinstance(values[0], str))
            return min(1.0, one * len(values))
        case StartsWith(column, prefix) if prefix:
            return max(_share_of_one(column, segments, is_text=True), _RARE)
        case _:
            return 1.0


def _share_of_one(column: str, segments: Sequence[Segment], *, is_text: bool) -> float:
    shares = [
        _share_in(segment.columns[column], is_text=is_text)
        for segment in segments
        if column in segment.columns and column not in segment.sort
    ]
    return max(shares, default=1.0)


def _share_in(stats: ColumnStats, *, is_text: bool) -> float:
    if stats.values is not None:
        return 1 / max(len(stats.values), 1)
    if is_text and stats.type == "string":
        return _UNIQUE
    if isinstance(stats.min, int) and isinstance(stats.max, int) and stats.type != "bool":
        return 1 / (stats.max - stats.min + 1)
    return 1.0


def _searches(predicate: Predicate) -> bool:
    """Whether every matching row must pass a text search; few rows usually do."""
    match predicate:
        case And(parts):
            return any(_searches(part) for part in parts)
        case Or(parts):
            return bool(parts) and all(_searches(part) for part in parts)
        case Contains() | Like() | Matches():
            return not predicate.negated
        case HasWord():
            return True
        case Opaque(text):
            return any(mark in text for mark in _SEARCH) and not text.startswith("NOT ")
        case _:
            return False


# The time range that a predicate leaves, for a catalog that finds segments by time.

NO_TIME = TimeRange(0, 0)
"""The range that holds no instant."""


def time_range(predicate: Predicate) -> TimeRange:
    """The smallest range that holds the timestamp of every row that satisfies a predicate.

    Example:
        >>> time_range(And((Compare("timestamp", ">", 4), Compare("timestamp", "<=", 9))))
        TimeRange(start_ns=5, end_ns=10)
        >>> time_range(Or((Compare("timestamp", "=", 4), Compare("body", "=", "x")))) == TimeRange()
        True
    """
    match predicate:
        case And(parts):
            return _intersection(map(time_range, parts))
        case Or(parts):
            return hull(map(time_range, parts))
        case Compare("timestamp", operator, int(value)):
            return _compared(operator, value)
        case IsIn("timestamp", values) if all(isinstance(value, int) for value in values):
            return hull(_compared("=", int(value)) for value in values)
        case _:
            return TimeRange()


def hull(ranges: Iterable[TimeRange]) -> TimeRange:
    """The smallest range that covers all given ranges.

    Example:
        >>> hull([TimeRange(1, 3), TimeRange(7, 9), NO_TIME]), hull([]) == NO_TIME
        (TimeRange(start_ns=1, end_ns=9), True)
    """
    filled = [one for one in ranges if one.start_ns < one.end_ns]
    if not filled:
        return NO_TIME
    return TimeRange(min(one.start_ns for one in filled), max(one.end_ns for one in filled))


def _intersection(ranges: Iterable[TimeRange]) -> TimeRange:
    start, end = MIN_NS, MAX_NS
    for one in ranges:
        start, end = max(start, one.start_ns), min(end, one.end_ns)
    return TimeRange(start, end) if start < end else NO_TIME


def _compared(operator: str, value: int) -> TimeRange:
    match operator:
        case "=":
            return _range(value, value + 1)
        case "<":
            return _range(MIN_NS, value)
        case "<=":
            return _range(MIN_NS, value + 1)
        case ">":
            return _range(value + 1, MAX_NS)
        case ">=":
            return _range(value, MAX_NS)
    return TimeRange()


def _range(start: int, end: int) -> TimeRange:
    return TimeRange(max(start, MIN_NS), min(end, MAX_NS))


def widen(predicate: Predicate, slack_ns: int) -> Predicate:
    """Weaken the upper bounds of a predicate's times, for a clock that goes on while we plan.

    Example:
        >>> widen(Compare("timestamp", "<", 10), 5)
        Compare(column='timestamp', operator='<', value=15)
    """
    match predicate:
        case And(parts) | Or(parts):
            return type(predicate)(tuple(widen(part, slack_ns) for part in parts))
        case Compare("timestamp", operator, int(value)):
            return _later(operator, value, slack_ns)
        case IsIn("timestamp", values):
            return Or(tuple(_later("=", value, slack_ns) for value in values if type(value) is int))
        case _:
            return predicate


def _later(operator: Operator, value: int, slack_ns: int) -> Predicate:
    """A comparison that holds wherever one with a value up to `slack_ns` later does."""
    last = min(value + slack_ns, MAX_NS)
    match operator:
        case "<" | "<=":
            return Compare("timestamp", operator, last)
        case "=":
            return And((Compare("timestamp", ">=", value), Compare("timestamp", "<=", last)))
        case "!=":
            return NotNull("timestamp")
        case _:
            return Compare("timestamp", operator, value)

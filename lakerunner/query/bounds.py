"""The time range that a predicate leaves, for a catalog that finds segments by time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.model.predicate import And, Compare, IsIn, NotNull, Or
from lakerunner.model.times import MAX_NS, MIN_NS, TimeRange

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakerunner.model.predicate import Operator, Predicate

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

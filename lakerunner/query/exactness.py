"""Comparisons that a double cannot decide: integers beyond 2^53 in a column that has floats too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.model.predicate import And, Compare, IsIn, Or

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from lakerunner.model.predicate import Predicate, Value
    from lakerunner.model.segment import Segment

_EXACT = 2**53
"""Up to here every integer is a double; beyond it several are the same."""


def inexact_column(
    predicates: Iterable[Predicate], doubles: Collection[str], segments: Iterable[Segment]
) -> str | None:
    """A column that some predicate compares with a number which a double cannot tell from others.

    Args:
        predicates: What the scans of a table ask for.
        doubles: Columns that are read as doubles though some segments have integers.
        segments: What is read.

    Returns:
        Its name; None if all comparisons are exact.

    Example:
        >>> inexact_column([Compare("attr_n", "=", 2**53)], ["attr_n"], []) is None
        True
    """
    compared = {
        column
        for predicate in predicates
        for column, value in _comparisons(predicate)
        if column in doubles and isinstance(value, int | float) and abs(value) >= _EXACT
    }
    if not compared:
        return None
    wide = {
        column for segment in segments for column in sorted(compared) if _is_wide(segment, column)
    }
    return min(wide, default=None)


def rounded_columns(
    columns: Collection[str], doubles: Collection[str], segments: Iterable[Segment]
) -> set[str]:
    """Columns of which some values may be rounded as they are read.

    Args:
        columns: What is read.
        doubles: Columns that are read as doubles though some segments have integers.
        segments: What is read of them.

    Example:
        >>> rounded_columns(["attr_n"], ["attr_n"], [])
        set()
    """
    found = set(doubles).intersection(columns)
    return found and {
        column for segment in segments for column in found if _is_wide(segment, column)
    }


def _comparisons(predicate: Predicate) -> Iterator[tuple[str, Value]]:
    match predicate:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _comparisons(part)
        case Compare(column, _, value):
            yield column, value
        case IsIn(column, values):
            yield from ((column, value) for value in values)


def _is_wide(segment: Segment, column: str) -> bool:
    """Whether a segment may have integers in a column that are no doubles."""
    stats = segment.columns.get(column)
    if stats is None or (stats.type == "double" and not stats.overflow):
        return False
    if isinstance(stats.min, int) and isinstance(stats.max, int):
        return max(-stats.min, stats.max) > _EXACT
    return stats.type != "double"

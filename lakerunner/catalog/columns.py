"""Counting the columns of live segments, so that a snapshot need not read the segments."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from lakerunner.model.commit import ColumnSummary

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakerunner.model.segment import Segment

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

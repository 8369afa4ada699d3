"""Which segments can hold a row that satisfies a predicate: judged from statistics alone.

A verdict may keep a segment in vain, but it never drops one that holds a wanted row. Statistics say
nothing where they are absent or of another type than the value they are compared with.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from lakerunner.model.predicate import (
    And,
    Compare,
    Condition,
    Contains,
    IsIn,
    Like,
    Matches,
    Opaque,
    Operator,
    Or,
    Predicate,
    StartsWith,
    Value,
)
from lakerunner.model.segment import ColumnStats, Segment, StatValue
from lakerunner.model.times import isoformat
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.ids import may_hold
from lakerunner.schema.patterns import matching
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

_INTEGERS = frozenset({"int32", "int64", "uint32", "uint64", "timestamp"})
_SHOWN_VALUES = 4
_MANY_VALUES = 1000

# Bounds and values of one type; the type checker cannot know that they are.
_Bounds: TypeAlias = tuple[StatValue | None, StatValue | None, StatValue]
# Why no row can match, told only if somebody asks: of ten thousand segments nobody does.
_Why: TypeAlias = "Callable[[], str]"


class Verdict(NamedTuple):
    """Whether a segment must be read.

    Attributes:
        keep: Some row may satisfy the predicate.
        reason: For a person: why it is kept or dropped.
    """

    keep: bool
    reason: str


_KEPT = Verdict(keep=True, reason="may hold matching rows")


def judge(predicate: Predicate, segment: Segment) -> Verdict:
    """Decide whether any row of a segment may satisfy a predicate.

    Values are compared as the engine compares them: text by its bytes, an integer column with a
    float value as floats. The values must be of the column's type in the table; where a segment
    has another type, it is kept.

    Args:
        predicate: What rows must satisfy; only rows for which it is true are wanted.
        segment: The description of the segment.

    Returns:
        The verdict and its reason.

    Example:
        >>> from lakerunner.model.predicate import NotNull
        >>> from lakerunner.model.signal import Signal
        >>> stats = {"level": ColumnStats("string", values=("INFO", "WARN"))}
        >>> segment = Segment("1", "acme", Signal.LOGS, "1", 0, 60, 5, 9, 1, 1, (), stats, 0, "c")
        >>> judge(Compare("level", "=", "ERROR"), segment)
        Verdict(keep=False, reason="level: 'ERROR' is not among its 2 values")
        >>> judge(Compare("timestamp", ">=", 9), segment).keep
        True
        >>> judge(NotNull("attr_user"), segment).reason
        'attr_user is absent'
    """
    objection = _objection(predicate, segment)
    return _KEPT if objection is None else Verdict(keep=False, reason=objection())


def may_match(predicate: Predicate, segment: Segment) -> bool:
    """Whether any row of a segment may satisfy a predicate: what `judge` says, without why."""
    return _objection(predicate, segment) is None


def _objection(predicate: Predicate, segment: Segment) -> _Why | None:
    """Why no row can satisfy the predicate, or None if one may."""
    match predicate:
        case And(parts):
            for part in parts:
                if (why := _objection(part, segment)) is not None:
                    return why
            return None
        case Or(parts):
            return _all_object([_objection(part, segment) for part in parts])
        case Opaque():
            return None
        case _:
            return _column_objection(predicate, segment)


def _column_objection(predicate: Condition, segment: Segment) -> _Why | None:
    column = predicate.column
    stats = _stats(column, segment)
    reason: _Why | None = None
    if stats is None:
        reason = partial("{} is absent".format, column)
    elif stats.nulls >= segment.rows:
        reason = partial("{} is NULL in every row".format, column)
    elif isinstance(predicate, Compare):
        reason = _compare(column, predicate.operator, predicate.value, stats)
    elif isinstance(predicate, IsIn):
        reason = _is_in(column, predicate.values, stats)
    elif isinstance(predicate, StartsWith):
        reason = _starts_with(column, predicate.prefix, stats)
    elif isinstance(predicate, Contains | Like | Matches) and stats.type == "string":
        reason = _matches(predicate, stats.values)
    return reason


def _all_object(objections: list[_Why | None]) -> _Why | None:
    reasons = [reason for reason in objections if reason is not None]
    if len(reasons) < len(objections):
        return None
    return lambda: (
        " and ".join(dict.fromkeys(one() for one in reasons)) or "no row can satisfy the condition"
    )


def _stats(column: str, segment: Segment) -> ColumnStats | None:
    if column == "timestamp":
        first, last = segment.min_timestamp_ns, segment.max_timestamp_ns
        return ColumnStats("timestamp", min=first, max=last)
    if column == "organization":
        name = segment.organization
        return ColumnStats("string", min=name, max=name, values=(name,))
    return segment.columns.get(column)


def _compare(column: str, operator: Operator, value: Value, stats: ColumnStats) -> _Why | None:
    known = stats.values
    if known is not None and isinstance(value, str):
        held = (
            value in known
            if operator == "="
            else any(_holds(one, operator, value) for one in known)
        )
        return None if held else lambda: f"{column}: {_not_among(operator, [value], known)}"
    if operator == "=" and isinstance(value, str) and not may_hold(stats.filter, value):
        return lambda: f"{column}: its filter excludes {value!r}"
    bounds = _bounds(stats, value)
    return None if bounds is None else _outside(column, operator, bounds)


def _outside(column: str, operator: Operator, bounds: _Bounds) -> _Why | None:
    low, high, value = bounds
    if operator in (">", ">=", "=") and high is not None and _below(high, value, operator):
        return lambda: f"{column}: {_ends(column, high)} before {_text(column, value)}"
    if operator in ("<", "<=", "=") and low is not None and _above(low, value, operator):
        return lambda: f"{column}: {_starts(column, low)} after {_text(column, value)}"
    if operator == "!=" and low == high == value and not _is_zero(value):
        return lambda: f"{column} is {_text(column, value)} in every row"
    return None


def _holds(known: str, operator: Operator, value: str) -> bool:
    match operator:
        case "=":
            return known == value
        case "!=":
            return known != value
        case "<":
            return known < value
        case "<=":
            return known <= value
        case ">":
            return known > value
        case ">=":
            return known >= value


def _bounds(stats: ColumnStats, value: Value) -> _Bounds | None:
    """Bounds that can be compared with a value, and the value, or None if nothing can be said."""
    low, high = stats.min, stats.max
    if stats.type == "string":
        return (low, high, value) if isinstance(value, str) else None
    if stats.type == "bool" or isinstance(value, bool):
        same = stats.type == "bool" and isinstance(value, bool)
        return (low, high, value) if same else None
    if isinstance(value, str) or (isinstance(value, float) and value != value):  # noqa: PLR0124 - NaN
        return None
    if stats.type in _INTEGERS and isinstance(value, int):
        return low, high, value
    if stats.type in _INTEGERS or stats.type == "double":
        # Rounding keeps the order, so bounds stay bounds: the engine rounds every row alike.
        return _as_float(low), _as_float(high), float(value)
    return None


def _as_float(bound: StatValue | None) -> float | None:
    return None if bound is None else float(bound)


def _below(high: StatValue, value: StatValue, operator: Operator) -> bool:
    # Engines disagree on whether -0.0 lies below 0.0, so a bound of zero never excludes zero.
    strict = operator == ">" and not _is_zero(value)
    return bool(high <= value if strict else high < value)  # type: ignore[operator]


def _above(low: StatValue, value: StatValue, operator: Operator) -> bool:
    strict = operator == "<" and not _is_zero(value)
    return bool(low >= value if strict else low > value)  # type: ignore[operator]


def _is_zero(value: StatValue) -> bool:
    return isinstance(value, float) and value == 0


def _is_in(column: str, values: tuple[Value, ...], stats: ColumnStats) -> _Why | None:
    known = stats.values
    if not values:
        return lambda: f"{column}: the list of values is empty"
    if known is not None and all(isinstance(value, str) for value in values):
        held = any(one in _as_set(values) for one in known)
        return None if held else lambda: f"{column}: {_not_among('=', list(values), known)}"
    if len(values) > _MANY_VALUES:
        return None  # such a list hardly leaves a segment out, and looking takes its time
    reasons = [_compare(column, "=", value, stats) for value in values]
    if None in reasons:
        return None
    return (
        reasons[0]
        if len(reasons) == 1
        else lambda: f"{column}: no value of the list is in its bounds or filter"
    )


@lru_cache(maxsize=16)
def _as_set(values: tuple[Value, ...]) -> frozenset[Value]:
    return frozenset(values)


def _starts_with(column: str, prefix: str, stats: ColumnStats) -> _Why | None:
    if stats.type != "string":
        return None
    known = stats.values
    if known is not None:
        if any(value.startswith(prefix) for value in known):
            return None
        return lambda: f"{column}: none of its {len(known)} values starts with {prefix!r}"
    low, high = stats.min, stats.max
    if isinstance(high, str) and high < prefix:
        return lambda: f"{column}: {_ends(column, high)} before {prefix!r}"
    if isinstance(low, str) and low > prefix and not low.startswith(prefix):
        return lambda: f"{column}: {_starts(column, low)} after {prefix!r}"
    return None


def _matches(predicate: Contains | Like | Matches, values: tuple[str, ...] | None) -> _Why | None:
    if values is None:
        return None
    found: tuple[bool, bool] | None
    if isinstance(predicate, Contains):
        wanted = f"contains {predicate.text!r}"
        held = [predicate.text in value for value in values]
        found = any(held), not all(held)
    else:
        like = isinstance(predicate, Like)
        wanted = f"matches {predicate.pattern!r}"
        found = matching(values, predicate.pattern, like=like, any_case=predicate.any_case)
    if found is None or found[predicate.negated]:
        return None
    if predicate.negated:
        return lambda: f"{predicate.column}: each of its {len(values)} values {wanted}"
    return lambda: f"{predicate.column}: none of its {len(values)} values {wanted}"


def _not_among(operator: Operator, wanted: list[Value], known: tuple[str, ...]) -> str:
    shown = ", ".join(repr(value) for value in wanted[:_SHOWN_VALUES])
    more = ", …" if len(wanted) > _SHOWN_VALUES else ""
    if operator == "=":
        none_of = "is" if len(wanted) == 1 else "are"
        return f"{shown}{more} {none_of} not among its {len(known)} values"
    return f"none of its {len(known)} values is {operator} {shown}"


def _ends(column: str, high: StatValue) -> str:
    return f"segment ends {_text(column, high)}"


def _starts(column: str, low: StatValue) -> str:
    return f"segment starts {_text(column, low)}"


_TIMES = {
    field.name for table in TABLES.values() for field in table.schema if field.type == TIMESTAMP
}


def _text(column: str, value: StatValue) -> str:
    if column in _TIMES and isinstance(value, int):
        return isoformat(value)
    return repr(value)


# Comparisons that a double cannot decide: integers beyond 2^53 in a column that has floats too.

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


def tally(column: str, segments: Iterable[Segment]) -> tuple[dict[str | None, int], frozenset[str]]:
    """How many rows of some segments have which value of a column, as far as it is known.

    Args:
        column: A column of texts.
        segments: Those of which all rows are counted.

    Returns:
        Rows by value, None for NULL, and the ids of the segments that these are all rows of.

    Example:
        >>> known = {"level": ColumnStats("string", nulls=1, values=("INFO",), counts=(2,))}
        >>> segment = Segment("1", "acme", "logs", "1", 0, 60, 5, 9, 3, 1, (), known, 0, "c")
        >>> tally("level", [segment])
        ({'INFO': 2, None: 1}, frozenset({'1'}))
    """
    rows: dict[str | None, int] = {}
    counted = set()
    for segment in segments:
        stats = segment.columns.get(
            column, ColumnStats("string", segment.rows, values=(), counts=())
        )
        if stats.type != "string" or stats.overflow or stats.values is None or stats.counts is None:
            continue
        if sum(stats.counts) + stats.nulls != segment.rows:
            continue
        counted.add(segment.id)
        known = [*zip(stats.values, stats.counts, strict=True), (None, stats.nulls)]
        for value, count in known:
            if count:
                rows[value] = rows.get(value, 0) + count
    return rows, frozenset(counted)


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

"""Time ranges cover every wanted row, and a clock that goes on stays inside the slack."""

from __future__ import annotations

import operator as op
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
from hypothesis import given

from lakerunner.model.predicate import (
    EVERYTHING,
    And,
    Compare,
    IsIn,
    NotNull,
    Opaque,
    Operator,
    Or,
    Predicate,
)
from lakerunner.model.times import MAX_NS, MIN_NS, TimeRange
from lakerunner.query.scan_mode import NO_TIME, hull, time_range, widen

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES = st.integers(0, 20)
COMPARE: dict[Operator, Callable[[int, Any], bool]] = {
    "=": op.eq,
    "!=": op.ne,
    "<": op.lt,
    "<=": op.le,
    ">": op.gt,
    ">=": op.ge,
}
OPERATORS: st.SearchStrategy[Operator] = st.sampled_from([*COMPARE])
LEAVES: st.SearchStrategy[Predicate] = (
    st.builds(Compare, st.just("timestamp"), OPERATORS, TIMES)
    | st.builds(IsIn, st.just("timestamp"), st.lists(TIMES, max_size=3).map(tuple))
    | st.sampled_from([Opaque("?"), NotNull("timestamp"), Compare("body", "=", "x")])
)
PREDICATES: st.SearchStrategy[Predicate] = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: And(tuple(parts)))
        | st.lists(inner, max_size=3).map(lambda parts: Or(tuple(parts)))
    ),
    max_leaves=6,
)


def holds(predicate: Predicate, time: int) -> bool:
    match predicate:
        case And(parts):
            return all(holds(part, time) for part in parts)
        case Or(parts):
            return any(holds(part, time) for part in parts)
        case Compare("timestamp", operator, value):
            return bool(COMPARE[operator](time, value))
        case IsIn(_, values):
            return time in values
    return True


@given(PREDICATES, TIMES)
def test_every_wanted_time_is_in_the_range(predicate: Predicate, time: int) -> None:
    bounds = time_range(predicate)
    if holds(predicate, time):
        assert bounds.start_ns <= time < bounds.end_ns


def later(predicate: Predicate, by: int) -> Any:
    """The same predicate with every time moved on."""
    match predicate:
        case And(parts) | Or(parts):
            return type(predicate)(tuple(later(part, by) for part in parts))
        case Compare("timestamp", operator, int(value)):
            return Compare("timestamp", operator, value + by)
        case IsIn(column, values):
            return IsIn(column, tuple(int(value) + by for value in values))
        case _:
            return predicate


@given(PREDICATES, TIMES, st.integers(0, 5), st.integers(0, 5))
def test_a_widened_predicate_holds_wherever_a_later_clock_makes_it_hold(
    predicate: Predicate, time: int, slack: int, by: int
) -> None:
    if by <= slack and holds(later(predicate, by), time):
        assert holds(widen(predicate, slack), time)


def test_ranges_are_exact_where_they_can_be() -> None:
    both = And((Compare("timestamp", ">=", 5), Compare("timestamp", "<", 9), Opaque("?")))
    assert time_range(both) == TimeRange(5, 9)
    either = Or((both, Compare("timestamp", "=", 20)))
    assert time_range(either) == TimeRange(5, 21)
    assert time_range(EVERYTHING) == TimeRange()
    assert time_range(Or(())) == NO_TIME
    assert time_range(And((Compare("timestamp", ">", 9), Compare("timestamp", "<", 5)))) == NO_TIME


def test_ranges_end_where_64_bits_end() -> None:
    for operator in COMPARE:
        for value in (MIN_NS, MAX_NS):
            bounds = time_range(Compare("timestamp", operator, value))
            assert bounds.start_ns >= MIN_NS
            assert bounds.end_ns <= MAX_NS
            assert hull([bounds, NO_TIME]) in (bounds, NO_TIME)

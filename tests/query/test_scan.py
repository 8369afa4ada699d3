"""A language that reckons for itself reads columns, pruned, ordered and explained as SQL is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from lakerunner.errors import ConfigurationError, QueryTimeoutError, UnsupportedQueryError
from lakerunner.model.predicate import (
    EVERYTHING,
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
    Predicate,
    StartsWith,
)
from lakerunner.model.times import TimeRange
from lakerunner.query.scan import ScanQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakerunner.query import QueryEngine

HOURS = 4
TEXTS = ["a", "ab", "a%", "a_c", "b'", 'q"', "é", ""]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Rows of a few hours, in no order."""
    rng = np.random.default_rng(7)
    return [
        {
            "hour": int(rng.integers(HOURS)),
            "offset": int(rng.integers(3600)) * 10**9 + number,
            "text": None if number % 7 == 0 else TEXTS[int(rng.integers(len(TEXTS)))],
            "number": None if number % 5 == 0 else int(rng.integers(-3, 4)),
        }
        for number in range(120)
    ]


@pytest.fixture(scope="module")
def engine(rows: list[dict[str, Any]], small_lake: Callable[[str], Any]) -> Iterator[QueryEngine]:
    """An engine over a segment an hour."""
    lake = small_lake("memory://")
    for hour in range(HOURS):
        mine = [row for row in rows if row["hour"] == hour]
        lake.add(
            {
                "timestamp": [lake.start + hour * lake.hour + row["offset"] for row in mine],
                "resource_service_name": [f"service-{hour}" for _ in mine],
                "attr_text": [row["text"] for row in mine],
                "attr_number": pa.array([row["number"] for row in mine], pa.int64()),
            }
        )
    yield lake.engine
    lake.engine.close()


START = 1_790_002_800 * 10**9
HOUR = 3600 * 10**9


def time_of(row: dict[str, Any]) -> int:
    """The timestamp of a row in nanoseconds."""
    return int(START + row["hour"] * HOUR + row["offset"])


def holds(predicate: Predicate, row: dict[str, Any]) -> bool | None:
    """Three-valued truth of a condition for one row, told naively."""
    if isinstance(predicate, And | Or):
        parts = [holds(part, row) for part in predicate.parts]
        decided = isinstance(predicate, Or)
        if decided in parts:
            return decided
        return None if None in parts else not decided
    assert not isinstance(predicate, Opaque)
    value = {
        "attr_text": row["text"],
        "attr_number": row["number"],
        "timestamp": time_of(row),
    }.get(predicate.column)
    if isinstance(predicate, NotNull) or value is None:
        return None if not isinstance(predicate, NotNull) else value is not None
    if isinstance(predicate, StartsWith | IsIn):
        by_prefix = isinstance(predicate, StartsWith) and value.startswith(predicate.prefix)
        return by_prefix or (isinstance(predicate, IsIn) and value in predicate.values)
    if isinstance(predicate, Compare):
        return compares(predicate, value)
    return searches(predicate, value)


def searches(predicate: Contains | Like | Matches | HasWord, value: str) -> bool:
    """Whether a text is found by one of the few searches that are tried."""
    match predicate:
        case Contains(_, text, negated):
            return (text in value) is not negated
        case Like(_, pattern, any_case, negated) | Matches(_, pattern, any_case, negated):
            flags = re.DOTALL | (re.IGNORECASE if any_case else 0)
            if isinstance(predicate, Like):
                pattern = f"^{pattern.replace('%', '.*')}$"
            return bool(re.search(pattern, value, flags)) is not negated
        case HasWord(_, word):
            return word.lower() in re.findall("[0-9a-z]+", value.lower())


def compares(predicate: Compare, value: Any) -> bool:
    """Whether a value that is there compares as a condition says."""
    against: Any = predicate.value
    truth: dict[str, bool] = {
        "=": value == against,
        "!=": value != against,
        "<": value < against,
        "<=": value <= against,
        ">": value > against,
        ">=": value >= against,
    }
    return truth[predicate.operator]


SEARCHED = st.sampled_from(["a", "B", "x", "%a%", "it%"])
OPERATORS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
NUMBERS = st.integers(-4, 4)
TIMES = st.builds(lambda hour, off: START + hour * HOUR + off, NUMBERS, st.integers(0, HOUR))
LEAVES = (
    st.builds(Compare, st.just("attr_number"), OPERATORS, NUMBERS | NUMBERS.map(float))
    | st.builds(Compare, st.just("attr_text"), OPERATORS, st.sampled_from(TEXTS))
    | st.builds(Compare, st.just("timestamp"), OPERATORS, TIMES)
    | st.builds(Compare, st.just("attr_nowhere"), st.just("="), st.sampled_from(TEXTS))
    | st.builds(IsIn, st.just("attr_text"), st.lists(st.sampled_from(TEXTS)).map(tuple))
    | st.builds(StartsWith, st.just("attr_text"), st.sampled_from(TEXTS))
    | st.builds(Contains, st.just("attr_text"), st.sampled_from(TEXTS), st.booleans())
    | st.builds(Like, st.just("attr_text"), SEARCHED, st.booleans(), st.booleans())
    | st.builds(Matches, st.just("attr_text"), SEARCHED, st.booleans(), st.booleans())
    | st.builds(HasWord, st.just("attr_text"), st.sampled_from(["a", "B", "it", "x"]))
    | st.builds(NotNull, st.sampled_from(["attr_text", "attr_number", "attr_nowhere"]))
)
PREDICATES = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(And, st.lists(inner, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, max_size=3).map(tuple))
    ),
    max_leaves=5,
)


@given(where=PREDICATES, first=st.integers(-1, HOURS), hours=st.integers(0, HOURS))
def test_rows_are_those_of_a_naive_scan(
    engine: QueryEngine, rows: list[dict[str, Any]], where: Predicate, first: int, hours: int
) -> None:
    window = TimeRange(START + first * HOUR, START + (first + hours) * HOUR)
    result = engine.scan("logs", ["timestamp", "attr_text"], where, window, order=["timestamp"])
    expected = sorted(
        (time_of(row), row["text"])
        for row in rows
        if holds(where, row) and window.start_ns <= time_of(row) < window.end_ns
    )
    found = result.to_arrow()
    times = found["timestamp"].cast(pa.int64()).to_pylist()
    assert list(zip(times, found["attr_text"].to_pylist(), strict=True)) == expected


def test_segments_are_pruned_and_explained(engine: QueryEngine) -> None:
    window = TimeRange(START + HOUR, START + 3 * HOUR)
    where = Compare("resource_service_name", "=", "service-2")
    result = engine.scan("logs", ["timestamp"], where, window)
    assert result.to_arrow().num_rows
    assert (result.stats.segments, result.stats.scanned) == (HOURS, 1)
    said = engine.explain(ScanQuery("logs", ["timestamp"], where, window))
    assert [one.keep for one in said.segments] == [False, False, True, False]
    assert said.query == "scan of logs (timestamp)"
    assert "1 of 4 segments kept" in str(said)


def test_columns_come_in_the_order_they_were_named(engine: QueryEngine) -> None:
    named = ["attr_number", "attr_never_sent", "timestamp", "attr_number"]
    table = engine.scan("logs", named, limit=2).to_arrow()
    assert table.schema.names == ["attr_number", "attr_never_sent", "timestamp"]
    assert table["attr_never_sent"].to_pylist() == [None, None]


def test_rows_come_in_the_order_that_was_asked_for(
    engine: QueryEngine, rows: list[dict[str, Any]]
) -> None:
    order = ["attr_number", "timestamp"]
    expected = sorted(
        ((row["number"], time_of(row)) for row in rows),
        key=lambda one: (one[0] is None, one[0] or 0, one[1]),
    )
    for descending in (False, True):
        table = engine.scan("logs", order, order=order, descending=descending).to_arrow()
        times = table["timestamp"].cast(pa.int64()).to_pylist()
        found = list(zip(table["attr_number"].to_pylist(), times, strict=True))
        assert found == (expected[::-1] if descending else expected)
    last = engine.scan("logs", order, order=["timestamp"], descending=True, limit=1).to_arrow()
    assert last["timestamp"].cast(pa.int64()).to_pylist() == [max(map(time_of, rows))]


def test_what_a_scan_cannot_do_is_said(engine: QueryEngine) -> None:
    with pytest.raises(ConfigurationError, match="no table 'lgs'; did you mean 'logs'"):
        engine.scan("lgs", ["timestamp"])
    with pytest.raises(UnsupportedQueryError, match="f\\(x\\)"):
        engine.scan("logs", ["timestamp"], Or((EVERYTHING, Opaque("f(x)"))))
    with pytest.raises(ConfigurationError, match="timeout"):
        engine.scan("logs", ["timestamp"], timeout=0)
    with pytest.raises(QueryTimeoutError):
        engine.scan("logs", ["timestamp"], timeout=1e-9)


def test_a_language_stands_on_a_scan(engine: QueryEngine, rows: list[dict[str, Any]]) -> None:
    """`mean number by hour where text=…`: parsed here, reckoned here, read by the engine."""
    asked = "mean number by hour where text=ab"
    match = re.fullmatch(r"mean (\w+) by hour where (\w+)=(.*)", asked)
    assert match
    column, label, value = match.groups()
    batches = engine.scan(
        "logs",
        ["timestamp", f"attr_{column}"],
        And((Compare(f"attr_{label}", "=", value), NotNull(f"attr_{column}"))),
        order=["timestamp"],
    )
    sums: dict[int, list[int]] = {}
    for batch in batches:
        hours = (batch["timestamp"].cast(pa.int64()).to_numpy() - START) // HOUR
        numbers = batch[f"attr_{column}"].to_numpy()
        for hour in np.unique(hours):
            total = sums.setdefault(int(hour), [0, 0])
            total[0] += int(numbers[hours == hour].sum())
            total[1] += int((hours == hour).sum())
    expected: dict[int, list[int]] = {}
    for row in rows:
        if row["text"] == value and row["number"] is not None:
            total = expected.setdefault(row["hour"], [0, 0])
            total[0] += row["number"]
            total[1] += 1
    assert expected
    assert sums == expected

"""Pruning never drops a segment that holds a wanted row, and says why it drops one."""

from __future__ import annotations

import math
import operator as op
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import msgspec
import pyarrow as pa
import pytest
from datafusion import SessionContext
from hypothesis import example, given

from lakerunner.model.predicate import (
    And,
    Compare,
    Condition,
    Contains,
    IsIn,
    Like,
    Matches,
    NotNull,
    Opaque,
    Operator,
    Or,
    Predicate,
    StartsWith,
)
from lakerunner.model.segment import ColumnStats, Segment
from lakerunner.query.prune import judge
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.ids import id_filter
from lakerunner.segments.stats import column_stats

if TYPE_CHECKING:
    from collections.abc import Callable

BIG = 2**53
TYPES = {
    "timestamp": TIMESTAMP,
    "text": pa.string(),
    "word": pa.dictionary(pa.int32(), pa.string()),
    "trace_id": pa.string(),
    "number": pa.int64(),
    "small": pa.int32(),
    "real": pa.float64(),
    "flag": pa.bool_(),
}
TEXTS = st.text("abAKk\u212a\x00é\U0001f600", max_size=3)
INTEGERS = st.integers(-3, 3) | st.sampled_from([BIG, BIG + 1, -BIG - 1, 2**63 - 1, -(2**63)])
REALS = st.sampled_from([-1.5, -0.0, 0.0, 0.5, 2.0, float(BIG), 1e300]) | st.floats(width=16)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "timestamp": st.integers(0, 9),
    "text": TEXTS,
    "word": TEXTS,
    "trace_id": TEXTS,
    "number": INTEGERS,
    "small": st.integers(-3, 3),
    "real": REALS,
    "flag": st.booleans(),
}
# An integer column is also compared with floats, as the engine does after a cast.
LITERALS = VALUES | {"number": INTEGERS | REALS, "small": st.integers(-9, 9) | REALS}
COMPARE: dict[Operator, Callable[[Any, Any], Any]] = {
    "=": op.eq,
    "!=": op.ne,
    "<": op.lt,
    "<=": op.le,
    ">": op.gt,
    ">=": op.ge,
}
OPERATORS: st.SearchStrategy[Operator] = st.sampled_from([*COMPARE])


LIKES = st.sampled_from(["a%", "%b", "%A_", "_", "%", "", "ab", r"a\%", r"\x", "é%", "%k%"])
REGEXES = st.sampled_from(["^a", "b$", "^(a|b)$", "a.*b", "[^a]", "^$", r"\w", "k", "(?i)A|é", "("])


@st.composite
def leaves(draw: st.DrawFn) -> Predicate:
    column = draw(st.sampled_from([*TYPES, "absent"]))
    value = LITERALS.get(column, TEXTS)
    kinds = ["compare", "in", "not null", "opaque"]
    if column in ("text", "word", "trace_id", "absent"):
        kinds += ["starts", "contains", "like", "matches"]
    makers: dict[str, Callable[[], Predicate]] = {
        "compare": lambda: Compare(column, draw(OPERATORS), draw(value)),
        "in": lambda: IsIn(column, tuple(draw(st.lists(value, max_size=3)))),
        "starts": lambda: StartsWith(column, draw(TEXTS)),
        "contains": lambda: Contains(column, draw(TEXTS), draw(st.booleans())),
        "like": lambda: Like(column, draw(LIKES), draw(st.booleans()), draw(st.booleans())),
        "matches": lambda: Matches(column, draw(REGEXES), draw(st.booleans()), draw(st.booleans())),
        "not null": lambda: NotNull(column),
        "opaque": lambda: Opaque("?"),
    }
    return makers[draw(st.sampled_from(kinds))]()


PREDICATES: st.SearchStrategy[Predicate] = st.recursive(
    leaves(),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: And(tuple(parts)))
        | st.lists(inner, max_size=3).map(lambda parts: Or(tuple(parts)))
    ),
    max_leaves=6,
)


def may_be_true(predicate: Predicate, row: dict[str, Any]) -> bool:
    """Whether a predicate is true of a row; what is opaque may be."""
    match predicate:
        case And(parts):
            return all(may_be_true(part, row) for part in parts)
        case Or(parts):
            return any(may_be_true(part, row) for part in parts)
        case Opaque():
            return True
        case _:
            return row.get(predicate.column) is not None and holds(predicate, row)


@cache
def engine() -> SessionContext:
    return SessionContext()


@lru_cache(maxsize=4096)
def searched(value: str, operator: str, pattern: str) -> bool:
    """What the engine says of one value; what it refuses may be anything."""
    said = [text.replace("'", "''") for text in (value, pattern)]
    try:
        found = engine().sql(f"SELECT '{said[0]}' {operator} '{said[1]}' AS found").to_pydict()
    except Exception:  # noqa: BLE001 - a pattern that is none, or half a character
        return True
    return bool(found["found"][0])


def holds(predicate: Condition, row: dict[str, Any]) -> bool:
    value = row[predicate.column]
    held = True
    match predicate:
        case Contains(_, text, negated):
            held = (text in value) is not negated
        case Like(_, pattern, any_case, negated):
            held = searched(value, f"{'NOT ' * negated}{'I' * any_case}LIKE", pattern)
        case Matches(_, pattern, any_case, negated):
            held = searched(value, f"{'!' * negated}~{'*' * any_case}", pattern)
        case StartsWith(_, prefix):
            held = str(value).startswith(prefix)
        case IsIn(_, values):
            held = any(compare(value, "=", one) for one in values)
        case Compare(_, operator, other):
            held = compare(value, operator, other)
    return held


def compare(value: Any, operator: Operator, other: Any) -> bool:
    if isinstance(value, float) or isinstance(other, float):
        value, other = float(value), float(other)
        if math.isnan(value) or math.isnan(other):  # engines disagree: it may be anything
            return True
    if isinstance(value, str):  # by bytes, as engines do
        value, other = value.encode(), other.encode()
    return bool(COMPARE[operator](value, other))


def segment_of(rows: list[dict[str, Any]]) -> Segment:
    arrays = {
        name: pa.array([row.get(name) for row in rows], dtype) for name, dtype in TYPES.items()
    }
    table = pa.table({n: a for n, a in arrays.items() if a.null_count < len(rows)})
    times = [row["timestamp"] for row in rows]
    return Segment(
        id="1",
        organization="acme",
        table="logs",
        key="1",
        window_start_ns=0,
        window_ns=60,
        min_timestamp_ns=min(times),
        max_timestamp_ns=max(times),
        rows=len(rows),
        bytes=1,
        sort=(),
        columns=column_stats(table, ["trace_id"]),
        created_ns=0,
        commit_id="c",
    )


ROWS = st.lists(
    st.fixed_dictionaries(
        {"timestamp": VALUES["timestamp"]},
        optional={
            name: st.none() | values for name, values in VALUES.items() if name != "timestamp"
        },
    ),
    min_size=1,
    max_size=4,
)


@given(ROWS, PREDICATES)
@example([{"timestamp": 1, "number": BIG + 1}], Compare("number", "<=", float(BIG)))
@example([{"timestamp": 1, "real": -0.0}], Compare("real", "<", 0.0))
@example([{"timestamp": 1, "real": float("nan")}], Compare("real", ">", 5.0))
@example([{"timestamp": 1, "text": "b"}], StartsWith("text", ""))
def test_no_wanted_row_is_lost(rows: list[dict[str, Any]], predicate: Predicate) -> None:
    wanted = any(may_be_true(predicate, row) for row in rows)
    verdict = judge(predicate, segment_of(rows))
    assert verdict.keep or not wanted
    assert verdict.reason


@given(ROWS, PREDICATES, st.integers(0, 2))
def test_cut_text_bounds_are_sound(
    rows: list[dict[str, Any]], predicate: Predicate, length: int
) -> None:
    segment = segment_of(rows)
    word = segment.columns.get("word")
    if word is not None:
        low = str(word.min)[:length]
        cut = msgspec.structs.replace(word, min=low, max=None, values=None)
        segment = msgspec.structs.replace(segment, columns=segment.columns | {"word": cut})
    wanted = any(may_be_true(predicate, row) for row in rows)
    assert judge(predicate, segment).keep or not wanted


def one(**columns: ColumnStats) -> Segment:
    base = segment_of([{"timestamp": 10}, {"timestamp": 20}])
    return msgspec.structs.replace(base, columns=columns)


LEVELS = ColumnStats("string", values=("INFO", "WARN"))
REASONS = [
    (
        Compare("timestamp", ">=", 21),
        "timestamp: segment ends 1970-01-01T00:00:00.000000020Z before",
    ),
    (
        Compare("timestamp", "<", 10),
        "timestamp: segment starts 1970-01-01T00:00:00.000000010Z after",
    ),
    (Compare("level", "=", "ERROR"), "level: 'ERROR' is not among its 2 values"),
    (IsIn("level", ("A", "B")), "level: 'A', 'B' are not among its 2 values"),
    (Compare("level", ">", "X"), "level: none of its 2 values is > 'X'"),
    (StartsWith("level", "E"), "level: none of its 2 values starts with 'E'"),
    (Compare("trace_id", "=", "ff"), "trace_id: its filter excludes 'ff'"),
    (IsIn("trace_id", ("ff",)), "trace_id: its filter excludes 'ff'"),
    (IsIn("trace_id", ("ff", "fe")), "trace_id: no value of the list is in its bounds or filter"),
    (Compare("attr_x", "=", 1), "attr_x is absent"),
    (NotNull("attr_empty"), "attr_empty is NULL in every row"),
    (Compare("attr_n", ">", 7), "attr_n: segment ends 7 before 7"),
    (IsIn("attr_n", (1, 9)), "attr_n: no value of the list is in its bounds or filter"),
    (Compare("attr_n", "!=", 7), "attr_n is 7 in every row"),
    (Compare("organization", "=", "other"), "organization: 'other' is not among its 1 values"),
    (Or(()), "no row can satisfy the condition"),
    (Or((NotNull("attr_x"), NotNull("attr_y"))), "attr_x is absent and attr_y is absent"),
    (And((Opaque("f(x)"), NotNull("attr_x"))), "attr_x is absent"),
]


@pytest.mark.parametrize(("predicate", "reason"), REASONS)
def test_reasons_are_for_people(predicate: Predicate, reason: str) -> None:
    segment = one(
        level=LEVELS,
        trace_id=ColumnStats("string", filter=id_filter(pa.array(["0a", "0b"]))),
        attr_n=ColumnStats("int64", min=7, max=7),
        attr_empty=ColumnStats("string", nulls=2),
    )
    verdict = judge(predicate, segment)
    assert not verdict.keep
    assert verdict.reason.startswith(reason)


@pytest.mark.parametrize(
    "predicate",
    [
        Compare("attr_n", "=", "100"),  # read as text elsewhere: '100' may be 100 here
        Compare("attr_n", "=", value=True),
        Compare("level", "=", 5),
        StartsWith("attr_n", "1"),
        Compare("flag", "=", 0),
        And(()),
        Opaque("anything"),
    ],
)
def test_values_of_another_type_prove_nothing(predicate: Predicate) -> None:
    segment = one(
        level=ColumnStats("string", min="a", max="b"),
        attr_n=ColumnStats("int64", min=7, max=7),
        flag=ColumnStats("bool", min=True, max=True),
    )
    assert judge(predicate, segment).keep


def test_long_lists_are_quick() -> None:
    segment = one(level=LEVELS, attr_n=ColumnStats("int64", min=0, max=9))
    texts = tuple(f"text {number}" for number in range(50_000))
    for _ in range(200):
        assert not judge(IsIn("level", texts), segment).keep
        assert judge(IsIn("level", (*texts[:5], "WARN")), segment).keep
        assert judge(IsIn("attr_n", tuple(range(100, 5000))), segment).keep

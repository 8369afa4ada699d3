"""Filters of a plan as predicates: exact where that can be, weaker where it cannot."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lakerunner.compute import ScanMode, Session, Table
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
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.words import word_pattern

SCHEMA = pa.schema(
    [
        ("timestamp", TIMESTAMP),
        ("s", pa.string_view()),
        ("t", pa.string_view()),
        ("i", pa.int64()),
        ("small", pa.int32()),
        ("big", pa.uint64()),
        ("d", pa.float64()),
        ("b", pa.bool_()),
        ("attribute_overflow", pa.map_(pa.string(), pa.string())),
    ]
)
COMPUTED = {
    "o": "map_extract(attribute_overflow, 'o')[1]",
    "oi": "arrow_cast(map_extract(attribute_overflow, 'oi')[1], 'Int64')",
    "both": "coalesce(t, map_extract(attribute_overflow, 'both')[1])",
    "flag": "arrow_cast(map_extract(attribute_overflow, 'flag')[1], 'Boolean')",
}
DAY = 86_400 * 10**9
T = 20_454 * DAY  # 2026-01-01
NEVER = Or(())


@pytest.fixture(scope="module")
def session() -> Session:
    return Session()


def read(session: Session, condition: str) -> Predicate:
    """The predicate of the only scan, without conjunctions of one and without what is opaque."""
    table = Table("logs", SCHEMA, (), ScanMode.SWEEP, COMPUTED)
    planned = session.plan(f"SELECT count(*) FROM logs WHERE {condition}", [table])
    scans = planned.optimized().scans()
    return simple(scans[0].predicate) if scans else NEVER


def simple(predicate: Predicate) -> Predicate:
    match predicate:
        case And(parts):
            flat: dict[Predicate, None] = {}
            for part in map(simple, parts):
                found = part.parts if isinstance(part, And) else (part,)
                flat |= dict.fromkeys(one for one in found if not isinstance(one, Opaque))
            return flat.popitem()[0] if len(flat) == 1 else And(tuple(flat))
        case Or(parts):
            return Or(tuple(map(simple, parts)))
    return predicate


def prefixed(column: str, prefix: str, pattern: str) -> Predicate:
    return And((StartsWith(column, prefix), Like(column, pattern)))


def time(operator: str, value: int) -> Predicate:
    return Compare("timestamp", operator, value)  # type: ignore[arg-type]


EXACT: dict[str, Predicate] = {
    "s = 'a'": Compare("s", "=", "a"),
    "'a' < s": Compare("s", ">", "a"),
    "s <> 'it''s'": Compare("s", "!=", "it's"),
    "s BETWEEN 'a' AND 'b'": And((Compare("s", ">=", "a"), Compare("s", "<=", "b"))),
    "s NOT BETWEEN 'a' AND 'b'": Or((Compare("s", "<", "a"), Compare("s", ">", "b"))),
    "i = 5": Compare("i", "=", 5),
    "i = '5'": Compare("i", "=", 5),
    "i > 9223372036854775806": Compare("i", ">", 2**63 - 2),
    "big = 18446744073709551615": Compare("big", "=", 2**64 - 1),
    "small = 5": Compare("small", "=", 5),
    "small > 3000000000": Compare("small", ">", 3_000_000_000),
    "i > 5.5": Compare("i", ">", 5.5),
    "CAST(i AS DOUBLE) <= 2": Compare("i", "<=", 2.0),
    "d >= 1": Compare("d", ">=", 1.0),
    "b": Compare("b", "=", value=True),
    "NOT b": Compare("b", "=", value=False),
    "b IS TRUE": Compare("b", "=", value=True),
    "b IS FALSE": Compare("b", "=", value=False),
    "(i > 5) IS TRUE": Compare("i", ">", 5),
    "(i > 5) IS FALSE": Compare("i", "<=", 5),
    "s IN ('a', 'b', 'c', 'd', 'e')": IsIn("s", ("a", "b", "c", "d", "e")),
    "s IN ('a', 'b', 'c', 'd', NULL)": IsIn("s", ("a", "b", "c", "d")),
    "i IN (1, 2, 3, 4, 5.5)": IsIn("i", (1.0, 2.0, 3.0, 4.0, 5.5)),
    "s NOT IN ('a', 'b', 'c', 'd', NULL)": NEVER,
    "i NOT IN (1, 2, 3, 4, 5)": And(tuple(Compare("i", "!=", n) for n in range(1, 6))),
    "s = NULL": NEVER,
    "s = 'a' AND s = 'b'": NEVER,
    "s = 'a' OR s = NULL": Or((Compare("s", "=", "a"), NEVER)),
    "s LIKE 'ab%'": prefixed("s", "ab", "ab%"),
    "s LIKE 'ab'": Compare("s", "=", "ab"),
    "s LIKE 'a_%'": prefixed("s", "a", "a_%"),
    r"s LIKE '50\%%'": prefixed("s", "50", r"50\%%"),
    "starts_with(s, 'ab')": prefixed("s", "ab", "ab%"),
    "ends_with(s, '_b')": Like("s", r"%\_b"),
    "s LIKE '%b%'": Like("s", "%b%"),
    "s NOT LIKE 'ab%'": Like("s", "ab%", negated=True),
    "NOT (s NOT LIKE 'ab%')": prefixed("s", "ab", "ab%"),
    "s ILIKE 'ab%'": Like("s", "ab%", any_case=True),
    "s NOT ILIKE 'ab%'": Like("s", "ab%", any_case=True, negated=True),
    "s ~ 'a.*b'": Matches("s", "a.*b"),
    "s ~* 'a.*b'": Matches("s", "a.*b", any_case=True),
    "s !~ 'a.*b'": Matches("s", "a.*b", negated=True),
    "regexp_like(s, 'a[0-9]', 'i')": Matches("s", "a[0-9]", any_case=True),
    "s ~ '^a[0-9]|^b[0-9]'": And(
        (Or((StartsWith("s", "a"), StartsWith("s", "b"))), Matches("s", "^a[0-9]|^b[0-9]"))
    ),
    f"s ~ '{word_pattern('Two words')}'": HasWord("s", "Two words"),
    "contains(s, 'a')": Contains("s", "a"),
    "NOT contains(s, 'a')": Contains("s", "a", negated=True),
    "s IS NOT NULL": NotNull("s"),
    "NOT (s IS NULL)": NotNull("s"),
    "NOT (i < 5 OR s = 'a')": And((Compare("i", ">=", 5), Compare("s", "!=", "a"))),
    "NOT (i < 5 AND s = 'a')": Or((Compare("i", ">=", 5), Compare("s", "!=", "a"))),
    "NOT (NOT (i < 5))": Compare("i", "<", 5),
    "timestamp >= '2026-01-01'": time(">=", T),
    "timestamp < TIMESTAMP '2026-01-01 00:00:00.000000001'": time("<", T + 1),
    "timestamp = to_timestamp_millis(1767225600000)": time("=", T),
    "timestamp >= '2026-01-01T02:00:00+02:00'": time(">=", T),
    "timestamp > DATE '2026-01-01'": time(">", T),
    "extract(year FROM timestamp) = 2026": And((time(">=", T), time("<", T + 365 * DAY))),
    # columns that are computed stand for themselves
    "o = 'x'": Compare("o", "=", "x"),
    "o LIKE 'x%'": prefixed("o", "x", "x%"),
    "oi >= 5": Compare("oi", ">=", 5),
    "oi IN (1, 2, 3, 4, 5)": IsIn("oi", (1, 2, 3, 4, 5)),
    "both = 'x'": Compare("both", "=", "x"),
    "both IS NOT NULL": NotNull("both"),
    "flag": Compare("flag", "=", value=True),
}


@pytest.mark.parametrize("condition", EXACT)
def test_what_is_understood(session: Session, condition: str) -> None:
    assert read(session, condition) == EXACT[condition]


WEAKER: dict[str, Predicate] = {
    # NULL where their column is, so they need a value to be true
    "s LIKE 'a!%b%' ESCAPE '!'": NotNull("s"),
    "upper(s) = 'A'": NotNull("s"),
    "s || t = 'ab'": And((NotNull("s"), NotNull("t"))),
    "i + 1 > 5": NotNull("i"),
    "i = small": And((NotNull("i"), NotNull("small"))),
    "date_bin(INTERVAL '1 hour', timestamp) > '2026-01-01'": NotNull("timestamp"),
    # text against a number is compared as numbers: nothing is known of its order as text
    "s = 5": NotNull("s"),
    "s > 5": NotNull("s"),
    "TRY_CAST(s AS BIGINT) = 5": NotNull("s"),
    # a cast that folds values together
    "CAST(d AS BIGINT) = 5": NotNull("d"),
    "CAST(i AS VARCHAR) LIKE '5%'": NotNull("i"),
    "CAST(big AS DECIMAL(20, 0)) > -1": NotNull("big"),
    # true of rows without a value
    "s IS NULL": EVERYTHING,
    "s IS DISTINCT FROM 'a'": EVERYTHING,
    "b IS NOT TRUE": EVERYTHING,
    "(i > 5) IS NOT TRUE": EVERYTHING,
    "b IS UNKNOWN": EVERYTHING,
    "coalesce(s, 'x') = 'x'": EVERYTHING,
    "CASE WHEN i > 5 THEN s ELSE 'b' END = 'b'": EVERYTHING,
    "nullif(s, 'a') IS NULL": EVERYTHING,
    # steps of time
    "date_trunc('hour', timestamp) = '2026-01-01'": And(
        (NotNull("timestamp"), time(">=", T), time("<=", T + DAY // 24))
    ),
    "date_trunc('month', timestamp) < '2026-01-01'": And(
        (NotNull("timestamp"), time("<=", T + 31 * DAY))
    ),
    "CAST(timestamp AS DATE) >= '2026-01-01'": And((NotNull("timestamp"), time(">=", T))),
    "CAST(timestamp AS DATE) <> '2026-01-01'": NotNull("timestamp"),
}


@pytest.mark.parametrize("condition", WEAKER)
def test_what_is_understood_in_part(session: Session, condition: str) -> None:
    found = read(session, condition)
    assert (EVERYTHING if isinstance(found, Opaque) else found) == WEAKER[condition]


def test_deep_expressions_are_opaque_and_quick(session: Session) -> None:
    chain = " OR ".join(f"(i + {n} = {n} AND s = 't{n}')" for n in range(300))
    assert isinstance(read(session, chain), Or)
    many = ", ".join(f"'{n}'" for n in range(5000))
    found = read(session, f"s IN ({many})")
    assert isinstance(found, IsIn)
    assert len(found.values) == 5000
    assert read(session, f"s NOT IN ({many})") == NotNull("s")

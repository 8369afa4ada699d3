"""Answers over pruned segments equal answers over all rows, whatever the rows, split and query."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from datafusion import SessionContext
from hypothesis import event, given

from lakerunner.schema.arrays import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z
ROWS = 150
TYPES = {
    "timestamp": TIMESTAMP,
    "resource_service_name": pa.string_view(),
    "level": pa.string_view(),
    "body": pa.string_view(),
    "attr_mixed": pa.string_view(),
    "attr_num": pa.float64(),
    "attr_code": pa.int64(),
    "attr_flag": pa.bool_(),
    "attr_rare": pa.string_view(),
}


def make_rows(rng: random.Random) -> list[dict[str, Any]]:
    def row(number: int) -> dict[str, Any]:
        return {
            "timestamp": START + number * HOUR // 20 + rng.randrange(3),
            "resource_service_name": rng.choice(["cart", "checkout", "frontend", None]),
            "level": rng.choice(["INFO", "INFO", "WARN", "ERROR"]),
            "body": f"{rng.choice(['took', 'lost', 'Took'])} {number}",
            "attr_mixed": rng.choice([None, "1", "7", "12", "x7", "x12", ""]),
            "attr_num": rng.choice([None, -1.5, 0.0, 1.0, 2.0, 2.5, 1e300]),
            "attr_code": rng.choice([None, 200, 404, 500, 2**53 + 1]),
            "attr_flag": rng.choice([None, True, False]),
            "attr_rare": "here" if number in (3, 77) else None,
        }

    return [row(number) for number in range(ROWS)]


def split(rows: list[dict[str, Any]], rng: random.Random) -> list[list[dict[str, Any]]]:
    """Deal rows of neighbouring hours to segments; some segments overlap in time."""
    parts: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault((row["timestamp"] // HOUR, rng.randrange(2)), []).append(row)
    return list(parts.values())


def write(lake: Any, rows: list[dict[str, Any]], rng: random.Random, more: int) -> None:
    """Write a segment; each attribute gets the narrowest type, or goes to the overflow map."""
    columns = {name: [row[name] for row in rows] for name in TYPES}
    overflow = {}
    columns["body"] = pa.array(columns["body"])
    if all(text is None or text.isdigit() for text in columns["attr_mixed"]):
        columns["attr_mixed"] = [None if t is None else int(t) for t in columns["attr_mixed"]]
    if all(num is None or num == int(num) < 2**53 for num in columns["attr_num"]):
        columns["attr_num"] = [None if n is None else int(n) for n in columns["attr_num"]]
    for name, kind in {"attr_code": "int64", "attr_mixed": "string", "attr_rare": "string"}.items():
        if rng.random() < 0.4 and any(one is not None for one in columns[name]):
            texts = [None if one is None else str(one) for one in columns.pop(name)]
            overflow[name] = (kind, texts)
    fillers = {f"attr_filler_{number}": [number] * len(rows) for number in range(more)}
    lake.add(columns | fillers, overflow=overflow)


class Twins:
    """The same rows as several lakes and as one table in memory."""

    def __init__(self, make_lake: Callable[[], Any]) -> None:
        rng = random.Random(7)  # noqa: S311 - the same rows every time
        self.rows = make_rows(rng)
        self.lakes = [make_lake() for _ in range(3)]
        for lake in self.lakes:
            for part in split(self.rows, rng):
                # Of many columns, only those that a query mentions are looked at.
                write(lake, part, rng, more=70 if lake is self.lakes[0] else 0)
        arrays = {n: pa.array([row[n] for row in self.rows], t) for n, t in TYPES.items()}
        self.context = SessionContext()
        self.context.from_arrow(pa.table(arrays), name="logs")

    def naive(self, text: str) -> list[tuple[Any, ...]] | None:
        """The answer over all rows, or None if the query fails on some row."""
        try:
            table = self.context.sql(text).to_arrow_table()
        except Exception:  # noqa: BLE001 - whatever it fails by, there is no answer to compare
            return None
        return answer(table)


def answer(table: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in table.to_pylist()]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory, module_lakes: Callable[..., Any]) -> Twins:
    return Twins(lambda: module_lakes(tmp_path_factory.mktemp("lake")))


def quoted(texts: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from([f"'{text}'" for text in texts])


TIMES = st.integers(-2, ROWS // 20 + 2).map(
    lambda hour: f"arrow_cast({START + hour * HOUR}, 'Timestamp(Nanosecond, Some(\"UTC\"))')"
)
VALUES = {
    "timestamp": TIMES,
    "resource_service_name": quoted(["cart", "checkout", "zzz", ""]),
    "level": quoted(["INFO", "WARN", "ERROR", "FATAL"]),
    "body": quoted(["took 5", "lost 77", "Took 149"]),
    "attr_mixed": quoted(["1", "7", "x7", "", "q"]),
    "attr_num": st.sampled_from(["-1.5", "0", "1", "2.5", "1e300", "3"]),
    "attr_code": st.sampled_from(["200", "404", "404.5", "9007199254740993", "9007199254740992.0"]),
    "attr_rare": quoted(["here", "there"]),
}
OPERATORS = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
PATTERNS = quoted(["c%", "%o%", "checkout", "ERR%", "x_", "1%", "took 1%", "%", ""])


@st.composite
def atoms(draw: st.DrawFn) -> str:
    column = draw(st.sampled_from([*VALUES, "timestamp", "timestamp"]))
    value = VALUES[column]
    inside = ", ".join(draw(st.lists(value | st.just("NULL"), min_size=1, max_size=6)))
    between = f"{draw(value)} AND {draw(value)}"
    left, right = draw(st.permutations([column, draw(value)]))
    kinds = [
        f"{left} {draw(OPERATORS)} {right}",
        f"{left} {draw(OPERATORS)} {right}",
        f"{column} IN ({inside})",
        f"{column} NOT IN ({inside})",
        f"{column} IS NULL",
        f"{column} IS NOT NULL",
        f"{column} BETWEEN {between}",
        f"{column} NOT BETWEEN {between}",
        draw(st.sampled_from(OTHERS)).format(time=draw(TIMES)),
    ]
    if column not in ("timestamp", "attr_num", "attr_code"):
        word = draw(st.sampled_from(["LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE"]))
        kinds.append(f"{column} {word} {draw(PATTERNS)}")
    return draw(st.sampled_from(kinds))


OTHERS = [
    "attr_flag",
    "NOT attr_flag",
    "attr_flag IS TRUE",
    "attr_flag IS NOT TRUE",
    "attr_flag = false",
    "attr_num < attr_code",
    "level <> resource_service_name",
    "date_trunc('hour', timestamp) = date_trunc('hour', {time})",
    "date_trunc('day', timestamp) >= {time}",
    "CAST(timestamp AS DATE) = CAST({time} AS DATE)",
    "CAST(timestamp AS DATE) <> CAST({time} AS DATE)",
    "timestamp + INTERVAL '1 hour' > {time}",
    "extract(hour FROM timestamp) = 17",
    "upper(level) = 'WARN'",
    "coalesce(attr_mixed, 'none') = 'none'",
    "coalesce(attr_code, 0) < 300",
    "attr_code IS DISTINCT FROM 404",
    "attr_code % 100 = 4",
    "CAST(attr_num AS BIGINT) = 2",
    "CAST(attr_code AS VARCHAR) LIKE '4%'",
    "TRY_CAST(attr_mixed AS BIGINT) > 5",
    "CASE WHEN attr_flag THEN level ELSE 'none' END = 'none'",
    "(attr_code > 300) IS NOT FALSE",
    "(attr_code > 300) IS FALSE",
    "length(body) > 7",
    "length(level) > 4",
    "coalesce(level, body) <> 'INFO'",
    "nullif(level, 'INFO') IS NULL",
    "CASE level WHEN 'INFO' THEN 1 ELSE 0 END = 1",
    "level IN (SELECT level FROM logs WHERE attr_code = 404)",
    "resource_service_name IN (SELECT body FROM logs)",
    "level LIKE 'E%' OR resource_service_name LIKE '%out'",
    "concat(level, body) LIKE 'WARNlost%'",
    "level > body",
    "level ~ '^E|O$'",
    "level || resource_service_name = 'WARNcart'",
    "attr_code = 404 OR NULL",
]
CONDITIONS = st.recursive(
    atoms(),
    lambda inner: (
        st.builds("({} AND {})".format, inner, inner)
        | st.builds("({} OR {})".format, inner, inner)
        | st.builds("NOT ({})".format, inner)
    ),
    max_leaves=5,
)
BOUNDS = """SELECT max(attr_mixed), min(attr_mixed), max(attr_num), min(attr_num), max(attr_code),
    min(timestamp), max(level), count(attr_rare), count(*) FROM logs"""
QUERIES = st.sampled_from(
    [
        BOUNDS,
        BOUNDS + " WHERE {a}",
        "SELECT attr_mixed FROM logs WHERE {a} ORDER BY attr_mixed DESC NULLS LAST LIMIT 7",
        "SELECT attr_num FROM logs WHERE {a} ORDER BY attr_num LIMIT 7",
        "SELECT resource_service_name, timestamp FROM logs WHERE {a} ORDER BY 1, 2",
        "SELECT attr_mixed, count(*) FROM logs GROUP BY attr_mixed ORDER BY attr_mixed",
        "SELECT level FROM logs WHERE {a} UNION ALL SELECT body FROM logs WHERE {b}",
        """SELECT level, array_agg(resource_service_name ORDER BY body) FROM logs WHERE {a}
        GROUP BY 1 ORDER BY 1""",
        "SELECT count(DISTINCT level), max(level || body) FROM logs WHERE {a}",
        "SELECT body FROM logs WHERE {a}",
        "SELECT * FROM (SELECT timestamp, body, attr_mixed, attr_code FROM logs) x WHERE {a}",
        "SELECT level, count(*), min(attr_mixed), sum(attr_code) FROM logs WHERE {a} GROUP BY 1",
        "SELECT body FROM logs WHERE {a} ORDER BY timestamp DESC, body LIMIT 5",
        "SELECT count(*) FROM logs WHERE timestamp > (SELECT max(timestamp) FROM logs WHERE {a})",
        "SELECT body FROM logs WHERE {a} UNION SELECT body FROM logs WHERE {b}",
        "SELECT count(*) FROM logs x JOIN logs y ON x.body = y.body AND x.level = 'WARN'",
        "SELECT body FROM logs WHERE attr_code IN (SELECT attr_code FROM logs WHERE {a}) AND {b}",
        "WITH w AS (SELECT * FROM logs WHERE {a}) SELECT level FROM w WHERE {b}",
        """WITH x AS (SELECT * FROM logs WHERE {a})
        SELECT y.body FROM x LEFT JOIN logs y ON x.body = y.body AND y.level = 'INFO'""",
        "SELECT count(*) FROM logs HAVING count(*) FILTER (WHERE {a}) > 3",
    ]
)


@given(QUERIES, CONDITIONS, CONDITIONS)
def test_lakes_answer_like_one_table(twins: Twins, query: str, first: str, second: str) -> None:
    text = query.format(a=first, b=second)
    expected = twins.naive(text)
    if expected is None:
        event("fails on some row")
        return
    for lake in twins.lakes:
        result = lake.engine.sql(text)
        found = answer(result.to_arrow())
        event(f"pruned: {result.stats.pruned > 0}")
        if "ORDER BY" in text:
            assert found == expected
        else:
            assert Counter(map(repr, found)) == Counter(map(repr, expected))


@st.composite
def simple_conditions(draw: st.DrawFn) -> tuple[str, Any]:
    """A conjunction as SQL, and the same as a function of a row of Python values."""
    service = draw(st.sampled_from(["cart", "checkout", "zzz"]))
    first = START + draw(st.integers(-1, 9)) * HOUR
    code = draw(st.sampled_from([200, 404, 500]))
    start = f"to_timestamp({first // 10**9})"
    text = f"resource_service_name = '{service}' AND attr_code >= {code} AND timestamp >= {start}"

    def holds(row: dict[str, Any]) -> bool:
        named = row["resource_service_name"] == service
        return bool(named and (row["attr_code"] or 0) >= code and row["timestamp"] >= first)

    return text, holds


@given(simple_conditions())
def test_lakes_answer_like_a_loop_over_rows(twins: Twins, condition: tuple[str, Any]) -> None:
    text, holds = condition
    expected = sorted(row["body"] for row in twins.rows if holds(row))
    for lake in twins.lakes:
        rows = lake.rows(f"SELECT body FROM logs WHERE {text} ORDER BY body")
        assert [row["body"] for row in rows] == expected


def test_every_column_comes_back(twins: Twins) -> None:
    expected = twins.naive(f"SELECT {', '.join(TYPES)} FROM logs ORDER BY timestamp, body")
    for lake in twins.lakes:
        table = lake.engine.sql("SELECT * FROM logs ORDER BY timestamp, body").to_arrow()
        assert answer(table.select(list(TYPES))) == expected


def test_pruning_took_place(twins: Twins) -> None:
    text = f"SELECT body FROM logs WHERE timestamp >= to_timestamp({(START + 6 * HOUR) // 10**9})"
    for lake in twins.lakes:
        result = lake.engine.sql(text)
        assert 0 < result.stats.scanned <= 4
        assert result.stats.pruned >= 8


@pytest.fixture(scope="module")
def module_lakes(small_lake: Any) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(path: Any) -> Any:
        made.append(small_lake(str(path)))
        return made[-1]

    yield make
    for one in made:
        one.engine.close()

"""Random queries over random lakes, answered as DuckDB answers them over the same rows.

The lakes have what went wrong before: columns of several types, NaN, attributes that overflowed or
are absent, text that is a dictionary in some files, duplicates, and rows at the borders of windows.
"""

from __future__ import annotations

import math
import os
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest

from lakerunner.errors import UnsupportedQueryError
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z
LAKES = 4
ROUNDS = 10
QUERIES = 5000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 50
"""In a round; there are ten."""

TYPES = {
    "attr_id": pa.int64(),
    "attr_n": pa.int64(),
    "attr_x": pa.float64(),
    "attr_b": pa.bool_(),
    "attr_s": pa.string(),
    "attr_t": pa.string(),
    "attr_o": pa.string(),
    "resource_service_name": pa.string(),
    "trace_id": pa.string(),
}
TEXTS = ["attr_s", "attr_t", "attr_o", "resource_service_name", "trace_id"]
NUMBERS = ["attr_n", "attr_x", "attr_id"]
TABLES = {Signal.LOGS: "logs", Signal.SPANS: "spans"}
NAN = math.nan


class Rows:
    """Random rows of one table, and how they are put into segments."""

    def __init__(self, rng: random.Random, count: int) -> None:
        self.rng = rng
        # In some lakes numbers have no NaN, or no fractions.
        self.floats = rng.choice([[0.5, 2.5, -1.5], [NAN, 0.5, -1.5, math.inf], [NAN], []])
        self.words = rng.choice([["x7", "", "b"], []])
        rows = [self._row(number) for number in range(count)]
        rows[0] |= {"attr_t": "x"}  # in one segment at least it is text, and so it is in the table
        self.rows = rows + [dict(one) for one in rng.sample(rows, count // 6)]

    def _row(self, number: int) -> dict[str, Any]:
        pick = self.rng.choice
        edge = pick([0, 0, HOUR - 1, pick(range(HOUR))])
        return {
            "timestamp": START + pick(range(4)) * HOUR + edge,
            "attr_id": number,
            "attr_n": pick([None, 0, 1, 2, 3, 7, -4]),
            "attr_x": pick([None, 1.0, 2.0, 3.0, -4.0, *self.floats]),
            "attr_b": pick([None, True, False]),
            "attr_s": pick([None, "a", "b", "c", "B"]),
            "attr_t": pick([None, "1", "2", "12", *self.words]),
            "attr_o": pick([None, None, "a", "b"]),
            "resource_service_name": pick([None, "a", "b", "cart"]),
            "trace_id": pick([None, *(f"{one:032x}" for one in range(5))]),
        }

    def write(self, lake: Any, signal: Signal) -> None:
        parts: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for row in self.rows:
            parts.setdefault((row["timestamp"] // HOUR, self.rng.randrange(2)), []).append(row)
        for part in parts.values():
            self._segment(lake, signal, part)

    def _segment(self, lake: Any, signal: Signal, rows: list[dict[str, Any]]) -> None:
        columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
        overflow = {}
        if all(text is None or text.isdigit() for text in columns["attr_t"]):
            columns["attr_t"] = [None if one is None else int(one) for one in columns["attr_t"]]
        if all(one is None or one == one // 1 for one in columns["attr_x"]):
            columns["attr_x"] = [None if one is None else int(one) for one in columns["attr_x"]]
        kinds = {"attr_o": "string", "attr_n": "int64", "resource_service_name": "string"}
        for name, kind in kinds.items():
            share = 0.8 if name == "attr_o" else 0.3
            if self.rng.random() < share and any(one is not None for one in columns[name]):
                texts = [None if one is None else str(one) for one in columns.pop(name)]
                overflow[name] = (kind, texts)
        for name in ("attr_s", "resource_service_name"):
            if self.rng.random() < 0.4 and name in columns:
                columns[name] = pa.array(columns[name], pa.string())
        lake.add(columns, signal=signal, overflow=overflow)

    def table(self) -> pa.Table:
        arrays = {name: pa.array([row[name] for row in self.rows], t) for name, t in TYPES.items()}
        times = pa.array([row["timestamp"] for row in self.rows], pa.int64())
        return pa.table({"timestamp": times, **arrays})


class Asker:
    """Writes random queries, in a dialect that both engines read."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def query(self) -> str:
        kinds = [self.rows, self.totals, self.groups, self.joined, self.joined, self.thrice]
        kinds += [self.sets, self.windows, self.nested, self.within, self.outer]
        return self.rng.choice(kinds)()

    def pick(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def number(self, at: str = "") -> str:
        name = at + self.rng.choice(NUMBERS)
        return self.pick(
            *(name, name, name, f"({name} + 1)", f"({name} * 2)", f"coalesce({name}, 3)"),
            f"length({self.text(at, deep=False)})",
            f"CASE WHEN {at}attr_b THEN {name} ELSE 2 END",
            f"nullif({name}, 2)",
        )

    def text(self, at: str = "", *, deep: bool = True) -> str:
        name = at + self.rng.choice(TEXTS)
        if not deep:
            return name
        more = (f"upper({name})", f"coalesce({name}, 'b')", f"nullif({name}, 'b')")
        return self.pick(name, name, name, *more, f"coalesce({name}, {at}attr_s)")

    def constant(self) -> str:
        return self.pick("'a'", "'b'", "'c'", "'1'", "'12'", "'cart'", "''", f"'{2:032x}'")

    def atom(self, at: str, other: str | None = None) -> str:
        operator = self.pick("=", "<>", "<", "<=", ">", ">=")
        there = at if other is None else other
        distinct = self.pick("IS DISTINCT FROM", "IS NOT DISTINCT FROM")
        numbers = self.pick("0", "1", "2", "3", "2.5", "-4", "7")
        either = self.rng.choice(NUMBERS + TEXTS)
        return self.pick(
            f"{self.number(at)} {operator} {numbers}",
            f"{self.number(at)} {operator} {self.number(there)}",
            f"{self.text(at)} {operator} {self.constant()}",
            f"{self.text(at)} {operator} {self.text(there)}",
            f"{at}{either} IS NULL",
            f"{at}{either} IS NULL",
            f"{at}{either} IS NOT NULL",
            f"({self.text(at)} {distinct} {self.text(there)})",
            f"({self.number(at)} {distinct} {numbers})",
            f"{self.number(at)} {self.pick('IN', 'NOT IN')} (1, {numbers}, 7)",
            f"{self.text(at)} {self.pick('IN', 'NOT IN')} ({self.constant()}, {self.constant()})",
            f"{self.number(at)} {self.pick('BETWEEN', 'NOT BETWEEN')} {numbers} AND 3",
            f"{self.text(at)} {self.pick('LIKE', 'NOT LIKE')} {self.pick(*PATTERNS)}",
            f"{at}attr_b",
            f"({at}attr_b IS {self.pick('TRUE', 'NOT TRUE', 'FALSE', 'NOT FALSE')})",
            f"TRY_CAST({at}attr_t AS BIGINT) {operator} {self.pick('1', '2', '12')}",
            f"{at}timestamp {operator} @{START + self.rng.randrange(5) * HOUR}@",
        )

    def condition(self, at: str = "", other: str | None = None, depth: int = 2) -> str:
        if depth and self.rng.random() < 0.5:
            left = self.condition(at, other, depth - 1)
            right = self.condition(other or at, at if other else None, depth - 1)
            return self.pick(f"({left} AND {right})", f"({left} OR {right})", f"NOT ({left})")
        return self.atom(at, other)

    def where(self, at: str = "", other: str | None = None) -> str:
        return f" WHERE {self.condition(at, other)}" if self.rng.random() < 0.8 else ""

    def table(self) -> str:
        return self.pick("logs", "spans")

    def value(self, at: str = "") -> str:
        return self.pick(self.number(at), self.text(at), f"{at}attr_b")

    def columns(self, *ats: str) -> str:
        values = (self.value(self.rng.choice(ats)) for _ in range(self.rng.randint(1, 4)))
        return ", ".join(f"{value} AS c{place}" for place, value in enumerate(values))

    def ordered(self, shown: str) -> str:
        """The first rows by all that is shown: so they are the same rows in every engine."""
        if self.rng.random() < 0.6:
            return ""
        places = list(range(1, shown.count(" AS c") + 1))
        self.rng.shuffle(places)
        way = f"{self.pick('ASC', 'DESC')} NULLS {self.pick('FIRST', 'LAST')}"
        return f" ORDER BY {', '.join(f'{one} {way}' for one in places)} LIMIT 5"

    def aggregate(self, at: str = "") -> str:
        value = self.value(at)
        bounds = f"{self.pick('max', 'min', 'max', 'min', 'count')}({self.bounded(at)})"
        whole = self.pick(bounds, bounds, f"sum({self.number(at)})", f"count(DISTINCT {value})")
        whole = self.pick(whole, whole, "count(*)", f"bool_or({at}attr_b)", f"avg({at}attr_n)")
        some = self.rng.random() < 0.2 and "DISTINCT" not in whole
        return f"{whole} FILTER (WHERE {self.atom(at)})" if some else whole

    def bounded(self, at: str) -> str:
        name = at + self.rng.choice([*NUMBERS, *TEXTS, "attr_b"])
        return self.pick(name, name, self.value(at), f"({at}attr_n + 0.5)")

    def aggregates(self, first: int, *ats: str) -> str:
        values = (self.aggregate(self.rng.choice(ats)) for _ in range(self.rng.randint(1, 4)))
        return ", ".join(f"{value} AS c{place}" for place, value in enumerate(values, first))

    def rows(self) -> str:
        shown = self.columns("")
        distinct = self.pick("", "", "DISTINCT ")
        return f"SELECT {distinct}{shown} FROM {self.table()}{self.where()}{self.ordered(shown)}"

    def totals(self) -> str:
        where = self.where() if self.rng.random() < 0.5 else ""
        return f"SELECT {self.aggregates(0, '')} FROM {self.table()}{where}"

    def groups(self) -> str:
        shown = f"{self.value()} AS c0, {self.aggregates(1, '')}"
        having = f" HAVING count(*) > {self.pick('1', '3')}" if self.rng.random() < 0.3 else ""
        rows = f"{self.table()}{self.where()}"
        return f"SELECT {shown} FROM {rows} GROUP BY 1{having}{self.ordered(shown)}"

    def join(self) -> str:
        return self.pick("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")

    def on(self, left: str, right: str) -> str:
        name = self.rng.choice([*TEXTS, *NUMBERS])
        other = "attr_s" if name in ("attr_o", "resource_service_name") else name
        if self.rng.random() < 0.3:
            return f"{left}{name} = {right}{other} AND {left}attr_id < {right}attr_id"
        return f"{left}{name} = {right}{self.pick(name, other)} AND {left}attr_n = {right}attr_n"

    def joined(self) -> str:
        rows = f"{self.table()} l {self.join()} {self.table()} s ON {self.on('l.', 's.')}"
        where = self.where(*self.rng.sample(["l.", "s."], 2))
        if self.rng.random() < 0.4:
            return f"SELECT {self.aggregates(0, 'l.', 's.')} FROM {rows}{where}"
        shown = self.columns("l.", "s.")
        return f"SELECT {shown} FROM {rows}{where}{self.ordered(shown)}"

    def thrice(self) -> str:
        first, second, third = self.table(), self.table(), self.table()
        rows = f"{first} l {self.join()} {second} s ON {self.on('l.', 's.')}"
        rows += f" {self.join()} {third} m ON {self.on(self.pick('l.', 's.'), 'm.')}"
        where = self.where(*self.rng.sample(["l.", "s.", "m."], 2))
        shown = self.columns("l.", "s.", "m.")
        return f"SELECT {shown} FROM {rows}{where}{self.ordered(shown)}"

    def sets(self) -> str:
        word = self.pick("UNION ALL", "UNION", "INTERSECT", "EXCEPT")
        make = self.rng.choice([self.text, self.number])
        parts = [f"SELECT {make()} AS c0 FROM {self.table()}{self.where()}" for _ in range(2)]
        whole = f" {word} ".join(parts)
        outer = f"SELECT max(c0) AS m, count(*) AS n FROM ({whole}) x"
        return self.pick(whole, outer, f"SELECT * FROM ({whole}) x WHERE c0 IS NOT NULL")

    def windows(self) -> str:
        frame = self.pick("", "", " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING")
        by = f"ORDER BY attr_id, attr_n, timestamp{frame}"
        value = self.rng.choice([*NUMBERS, *TEXTS])
        call = self.pick(f"max({value})", f"min({value})", f"count({value})", "sum(attr_n)")
        if not frame:
            call = self.pick(call, "rank()", "dense_rank()", "sum(attr_id)")
        over = f"{call} OVER (PARTITION BY {self.text(deep=False)} {by})"
        shown = f"{self.value()} AS c0, attr_id AS c1, {over} AS c2"
        rows = f"{self.table()}{self.where()}"
        return f"SELECT {shown} FROM {rows}{self.ordered(shown)}"

    def nested(self) -> str:
        make = self.rng.choice([self.text, self.number])
        inner = f"SELECT {make('i.')} FROM {self.table()} i{self.where('i.')}"
        tests = [
            f"{make('o.')} IN ({inner})",
            f"{make('o.')} NOT IN ({inner})",
            f"EXISTS (SELECT 1 FROM {self.table()} i WHERE {self.on('i.', 'o.')})",
            f"NOT EXISTS (SELECT 1 FROM {self.table()} i WHERE {self.on('i.', 'o.')})",
            f"o.attr_n > (SELECT min(attr_n) FROM {self.table()}{self.where()})",
        ]
        shown = self.columns("o.")
        rows = f"{self.table()} o WHERE {self.rng.choice(tests)} AND {self.condition('o.')}"
        return f"SELECT {shown} FROM {rows}{self.ordered(shown)}"

    def within(self) -> str:
        inner = f"SELECT {self.number()} AS a, {self.text()} AS b FROM {self.table()}{self.where()}"
        rows = f"WITH w AS ({inner}) SELECT {{}} FROM w x {self.join()} w y ON x.b = y.b"
        where = self.pick("", " WHERE x.a IS NULL", " WHERE y.a > 1 OR y.a IS NULL")
        return self.pick(
            rows.format("count(*) AS c0, max(x.a) AS c1, min(y.b) AS c2") + where,
            f"SELECT max(a) AS c0, min(b) AS c1 FROM ({inner}) x WHERE a > 0 OR a IS NULL",
            f"SELECT b AS c0, max(a) AS c1, min(a) AS c2 FROM ({inner}) x GROUP BY b",
        )

    def outer(self) -> str:
        inner = (
            f"SELECT attr_s, attr_x, count(*) AS n FROM {self.table()}{self.where()} GROUP BY 1, 2"
        )
        rows = f"{self.table()} l {self.join()} ({inner}) s ON l.attr_s = s.attr_s"
        where = self.pick("", " WHERE s.n IS NULL", " WHERE l.attr_x IS NULL OR s.attr_x > 1")
        return f"SELECT l.attr_x AS c0, s.attr_x AS c1, s.n AS c2 FROM {rows}{where}"


PATTERNS = ["'a%'", "'%b'", "'%1%'", "'_'", "'%'", "''", "'ca%t'"]


class Pair:
    """One lake, and the same rows in DuckDB."""

    def __init__(self, lake: Any, seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311 - the same rows every time
        self.lake = lake
        self.database = duckdb.connect()
        for signal, name in TABLES.items():
            rows = Rows(rng, rng.choice([12, 40, 60]))
            rows.write(lake, signal)
            self.database.register(name, rows.table())

    def difference(self, text: str) -> str | None:
        """What is not the same about the two answers; None if they are."""
        times = text.split("@")
        plain = "".join(times)
        zoned = "".join(
            f"to_timestamp_nanos({one})" if n % 2 else one for n, one in enumerate(times)
        )
        expected = self.database.execute(plain).fetchall()
        found = self.lake.engine.sql(zoned).to_arrow().to_pylist()
        left = Counter(_plain(tuple(row.values())) for row in found)
        right = Counter(map(_plain, expected))
        if left == right:
            return None
        return f"{zoned}\n  lake only   {left - right}\n  DuckDB only {right - left}"


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(f"{float(one):.9g}" if _is_number(one) else one for one in row)


def _is_number(value: Any) -> bool:
    return value is not None and not isinstance(value, bool | str)


@pytest.fixture(scope="module")
def pairs(small_lake: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Pair]]:
    made = [Pair(small_lake(str(tmp_path_factory.mktemp("lake"))), seed) for seed in range(LAKES)]
    yield made
    for one in made:
        one.lake.engine.close()
        one.database.close()


@pytest.mark.parametrize("number", range(ROUNDS))
def test_lakes_answer_as_duckdb_does(pairs: list[Pair], number: int) -> None:
    asker = Asker(random.Random(number))  # noqa: S311 - the same queries every time
    differences = []
    refused = 0
    for place in range(QUERIES):
        text = asker.query()
        try:
            differences.append(pairs[place % LAKES].difference(text))
        except UnsupportedQueryError:
            refused += 1
    assert [one for one in differences if one] == []
    assert refused <= QUERIES // 20

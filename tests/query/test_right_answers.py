"""Answers that were wrong: bounds of mixed types, joins of columns of one name, NaN, overflow."""

from __future__ import annotations

from functools import reduce
from itertools import product
from operator import add
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest

from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z
NAN = float("nan")


def hours(count: int, rows: int = 1) -> list[list[int]]:
    return [[START + hour * HOUR + row for row in range(rows)] for hour in range(count)]


@pytest.mark.parametrize("number", [1.5, -1.5, 50.5, 1e300, float("inf")])
@pytest.mark.parametrize("integers", [[100, 3], [-(2**62), 3], [2**53 + 1, 3], [1, 2]])
def test_bounds_of_integers_and_floats_meet(
    make_lake: Callable[[], Any], integers: list[int], number: float
) -> None:
    lake = make_lake()
    first, second, third = hours(3, rows=2)
    lake.add({"timestamp": first, "attr_n": integers})
    lake.add({"timestamp": second, "attr_n": [number, number]})
    lake.add({"timestamp": third})
    values = [float(one) for one in integers] + [number] * 2
    wanted = {"max": max(values), "min": min(values), "count": 4, "sum": reduce(add, values)}
    for names in (["max"], ["min"], ["count"], ["max", "min"], ["min", "count", "max", "sum"]):
        shown = ", ".join(f"{name}(attr_n) AS {name}" for name in names)
        for condition in ("", "WHERE level IS NULL", "WHERE attr_n IS NOT NULL"):
            (row,) = lake.rows(f"SELECT {shown} FROM logs {condition}")
            assert row == {name: wanted[name] for name in names}, (names, condition)
    for text, expected in {
        "SELECT max(CAST(attr_n AS DOUBLE)) FROM logs": max(values),
        "SELECT max(m) FROM (SELECT CAST(attr_n AS DOUBLE) AS m FROM logs)": max(values),
        "SELECT max(attr_n) FROM (SELECT attr_n FROM logs UNION ALL SELECT 7)": max(*values, 7),
        "SELECT attr_n FROM logs ORDER BY 1 DESC NULLS LAST LIMIT 1": max(values),
        "SELECT attr_n FROM logs ORDER BY 1 LIMIT 1": min(values),
        "SELECT count(*) FROM logs": 6,
        "SELECT count(*) FROM logs WHERE attr_n IS NULL": 2,
    }.items():
        assert lake.one(text) == expected, text


def test_bounds_of_every_kind_of_column(lake: Any) -> None:
    """NULLs, long text, dictionaries, absent columns, the overflow map: asked for all at once."""
    long = "z" * 5000
    first, second, third = hours(3, rows=3)
    lake.add(
        {
            "timestamp": first,
            "body": pa.array(["b", long, None]),
            "level": ["INFO", None, "WARN"],
            "attr_flag": [True, None, True],
            "attr_some": [3, None, 9],
            "attr_out": [4, 5, None],
        }
    )
    lake.add(
        {"timestamp": second, "body": pa.array(["a", "c", "d"]), "level": ["ERROR"] * 3},
        overflow={"attr_out": ("int64", ["-7", None, "900"])},
    )
    lake.add({"timestamp": third, "attr_flag": [False, False, None]})
    (row,) = lake.rows(
        """SELECT max(body) AS b, min(body) AS a, max(level) AS l, min(level) AS m,
        max(attr_some) AS s, min(attr_some) AS t, count(attr_some) AS c, max(attr_out) AS o,
        min(attr_out) AS p, count(attr_out) AS q, count(level) AS n, min(timestamp) AS f,
        max(attr_flag) AS x, min(attr_flag) AS y, count(*) AS r FROM logs"""
    )
    assert row.pop("f").value == START
    assert row == {
        "b": long,
        "a": "a",
        "l": "WARN",
        "m": "ERROR",
        "s": 9,
        "t": 3,
        "c": 2,
        "o": 900,
        "p": -7,
        "q": 4,
        "n": 5,
        "x": True,
        "y": False,
        "r": 9,
    }
    for one in ("body", "level", "attr_some", "attr_out", "attr_flag"):
        alone = {name: lake.one(f"SELECT {name}({one}) FROM logs") for name in ("max", "min")}
        within = lake.rows(f"SELECT max({one}) AS max, min({one}) AS min FROM logs WHERE true")
        assert [alone] == within


JOINS = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]
ONS = ["l.trace_id = s.trace_id", "l.trace_id = s.trace_id AND l.attr_n < s.attr_n"]
CONDITIONS = [
    "l.attr_user IS NULL",
    "s.attr_user IS NULL",
    "l.trace_id IS NULL",
    "s.trace_id IS NULL",
    "l.attr_user = 'u1' OR l.attr_user IS NULL",
    "s.attr_user = 'u1' OR s.attr_user IS NULL",
    "coalesce(l.attr_user, 'u2') = 'u2'",
    "l.attr_user IS NOT DISTINCT FROM 'u1'",
    "(s.attr_n > 2) IS NOT FALSE",
    "l.attr_user IS NULL AND s.attr_user IS NULL",
]
SHOWN = [
    "l.attr_user AS a, s.attr_user AS b",
    "count(*) AS a, count(l.attr_user) AS b, max(s.attr_user) AS c, sum(l.attr_n) AS d",
]


@pytest.fixture
def joined(make_lake: Callable[[], Any]) -> tuple[Any, Any]:
    """A lake of logs and spans with columns of one name, and the same rows in DuckDB."""
    lake = make_lake()
    database = duckdb.connect()
    for signal, count in ((Signal.LOGS, 7), (Signal.SPANS, 9)):
        rows: dict[str, list[Any]] = {
            "timestamp": [START + number * HOUR // 3 for number in range(count)],
            "trace_id": [None if n % 4 == 3 else f"{n * (count % 4):032x}" for n in range(count)],
            "attr_user": [None if n % 3 == 2 else f"u{n % 5}" for n in range(count)],
            "attr_n": [None if n % 5 == 4 else n for n in range(count)],
        }
        for part in (slice(0, 4), slice(4, None)):
            lake.add({name: values[part] for name, values in rows.items()}, signal=signal)
        database.register(str(signal), pa.table(rows))
    return lake, database


@pytest.mark.parametrize("tables", ["logs l {} spans s", "spans s {} logs l", "logs l {} logs s"])
def test_filters_stay_on_their_side_of_a_join(joined: tuple[Any, Any], tables: str) -> None:
    lake, database = joined
    for join, on, condition, shown in product(JOINS, ONS, CONDITIONS, SHOWN):
        text = f"SELECT {shown} FROM {tables.format(join)} ON {on} WHERE {condition}"
        expected = sorted(map(repr, database.sql(text).fetchall()))
        found = sorted(repr(tuple(row.values())) for row in lake.rows(text))
        assert found == expected, text


@pytest.mark.parametrize("order", ["l.attr_n", "s.attr_n", "l.attr_user DESC", "s.attr_user"])
def test_first_rows_of_a_join_are_those_of_its_order(joined: tuple[Any, Any], order: str) -> None:
    lake, database = joined
    more = "JOIN logs m ON m.attr_n = s.attr_n"
    for join, third, nulls in product(JOINS, ["", more], ["FIRST", "LAST"]):
        text = f"""SELECT {order.split(maxsplit=1)[0]} AS a FROM logs l {join} spans s
            ON l.trace_id = s.trace_id {third} ORDER BY {order} NULLS {nulls} LIMIT 2"""
        expected = [value for (value,) in database.sql(text).fetchall()]
        assert [row["a"] for row in lake.rows(text)] == expected, text


@pytest.mark.parametrize("values", [[1000.0, NAN, 1.0], [NAN, 1000.0, 1.0], [1.0, 1000.0, NAN]])
def test_nan_is_the_largest_number(lake: Any, values: list[float]) -> None:
    rows = hours(2, rows=3)
    for times in rows:
        lake.add({"timestamp": times, "level": ["INFO"] * 3, "attr_v": values, "attr_w": [3, 1, 2]})
    lake.add({"timestamp": hours(3)[2], "level": ["WARN"], "attr_v": [7.0], "attr_w": [NAN]})
    for column, largest, least in (("attr_v", "nan", 1.0), ("attr_w", "nan", 1.0)):
        for text, expected in {
            f"SELECT max({column}) FROM logs": largest,
            f"SELECT min({column}) FROM logs": least,
            f"SELECT max({column}) FROM logs GROUP BY organization": largest,
            f"SELECT min({column}) FROM logs GROUP BY organization": least,
            f"SELECT max(DISTINCT {column}) FROM logs GROUP BY organization": largest,
            f"SELECT max(x) FROM (SELECT {column} AS x, level FROM logs) GROUP BY 1 = 1": largest,
            f"SELECT max({column} * 2 / 2) FROM logs GROUP BY organization": largest,
            f"SELECT max(x) FROM (SELECT max({column}) AS x FROM logs GROUP BY level)": largest,
            f"SELECT {column} FROM logs ORDER BY 1 DESC NULLS LAST LIMIT 1": largest,
            f"SELECT {column} FROM logs ORDER BY 1 LIMIT 1": least,
            f"SELECT max({column}) OVER (PARTITION BY organization) FROM logs LIMIT 1": largest,
            f"SELECT count(*) > 0 FROM logs WHERE {column} > 1e300": "True",
            f"SELECT count(*) > 0 FROM logs WHERE {column} = {column} AND isnan({column})": "True",
            f"SELECT max({column}) FILTER (WHERE NOT isnan({column})) < 2000 FROM logs": "True",
        }.items():
            assert str(lake.one(text)) == str(expected), text
    grouped = lake.rows("SELECT level, max(attr_v) AS x, min(attr_v) AS n FROM logs GROUP BY 1")
    assert sorted(map(repr, grouped)) == [
        "{'level': 'INFO', 'x': nan, 'n': 1.0}",
        "{'level': 'WARN', 'x': 7.0, 'n': 7.0}",
    ]


def test_nan_that_arithmetic_makes_has_the_same_place(lake: Any) -> None:
    """The processor gives it a sign of its own, by which it would sort below all numbers."""
    lake.add({"timestamp": hours(1, rows=3)[0], "attr_v": [0.0, 5.0, 1.0]})
    for shown, expected in {"max(attr_v / attr_v)": "nan", "min(attr_v / attr_v)": "1.0"}.items():
        assert str(lake.one(f"SELECT {shown} FROM logs")) == expected
        assert str(lake.one(f"SELECT {shown} FROM logs GROUP BY organization")) == expected
        assert str(lake.one(f"SELECT {shown} FROM logs WHERE attr_v < 9 GROUP BY 1=1")) == expected
    assert lake.one("SELECT max(0 / attr_v) FILTER (WHERE attr_v > 0) FROM logs GROUP BY 1=1") == 0


def test_what_is_computed_once_stays_what_it_is(lake: Any) -> None:
    values = [NAN, 5.0, -2.0]
    lake.add({"timestamp": hours(1, rows=3)[0], "attr_v": values, "level": ["a", "B", "c"]})
    for grouped in ("", "GROUP BY organization", "WHERE timestamp < now() GROUP BY organization"):
        (row,) = lake.rows(
            f"""SELECT max(attr_v * 2 + 1) AS a, min(attr_v * 2 + 1) AS b, max(upper(level)) AS c,
            min(upper(level)) AS d, sum(attr_v * 2 + 1) AS e, max(attr_v) AS f
            FROM logs {grouped}"""
        )
        assert str(list(row.values())) == "[nan, -3.0, 'C', 'A', nan, nan]"


def test_names_of_results_stay(lake: Any) -> None:
    lake.add({"timestamp": hours(1, rows=2)[0], "attr_v": [NAN, 5.0]})
    table = lake.engine.sql("SELECT max(attr_v), min(attr_v) AS m FROM logs GROUP BY organization")
    assert table.to_arrow().column_names == ["max(logs.attr_v)", "m"]


def test_a_canonical_attribute_that_overflowed_is_found(lake: Any) -> None:
    first, second, third = hours(3, rows=2)
    lake.add({"timestamp": first, "resource_service_name": ["cart", "shop"]})
    lake.add({"timestamp": second}, overflow={"resource_service_name": ("string", ["cart", None])})
    lake.add({"timestamp": third, "resource_service_name": [5, 5]})
    for text, expected in {
        "SELECT count(resource_service_name) FROM logs": 5,
        "SELECT count(*) FROM logs WHERE resource_service_name = 'cart'": 2,
        "SELECT count(*) FROM logs WHERE resource_service_name = '5'": 2,
        "SELECT max(resource_service_name) FROM logs": "shop",
        "SELECT min(resource_service_name) FROM logs": "5",
        "SELECT count(DISTINCT resource_service_name) FROM logs": 3,
    }.items():
        assert lake.one(text) == expected, text


WINDOWS = [
    "row_number() OVER (PARTITION BY attr_low)",
    "row_number() OVER (PARTITION BY attr_low ORDER BY timestamp)",
    "max(timestamp) OVER (PARTITION BY attr_low)",
    "sum(attr_n) OVER (ORDER BY attr_low)",
    "lag(body) OVER (ORDER BY timestamp)",
]


@pytest.mark.parametrize("window", WINDOWS)
def test_windows_over_columns_that_overflowed(lake: Any, window: str) -> None:
    lake.add({"timestamp": [START], "attr_low": ["v1"], "attr_n": [1]})
    low = ("string", ["v1"])
    lake.add({"timestamp": [START + HOUR], "attr_n": [2]}, overflow={"attr_low": low})
    late = "timestamp < '2020-01-01'"
    early = "timestamp < '2026-09-21T15:30:00Z'"
    for condition, rows in {
        "attr_low = 'v1'": 2,
        f"attr_low = 'v1' AND {early}": 1,
        f"attr_low = 'v1' AND {late}": 0,
        "attr_low = 'none'": 0,
        f"upper(attr_low) = 'V1' AND {late}": 0,
    }.items():
        found = lake.rows(f"SELECT {window} AS w FROM logs WHERE {condition}")
        assert len(found) == rows, condition


EMPTY = [
    "SELECT * FROM logs WHERE false",
    "SELECT body FROM logs WHERE body = 'nothing'",
    "SELECT body FROM logs LIMIT 0",
    "SELECT body FROM logs OFFSET 99",
    "SELECT level, count(*) FROM logs WHERE level = 'nothing' GROUP BY 1",
    "SELECT body FROM logs EXCEPT SELECT body FROM logs",
    "SELECT a.body FROM logs a JOIN logs b ON a.body = b.level",
    "SELECT row_number() OVER () FROM logs WHERE false",
    "SELECT attribute_overflow, [1, 2] AS list, {'a': 1} AS struct FROM logs WHERE false",
    "SELECT NULL AS nothing WHERE false",
]


@pytest.mark.parametrize("text", EMPTY)
@pytest.mark.parametrize("filled", [True, False])
def test_an_empty_result_can_be_looked_at(lake: Any, text: str, *, filled: bool) -> None:
    if filled:
        lake.add({"timestamp": [START], "body": pa.array(["m"])})
    result = lake.engine.sql(text)
    for _ in range(2):
        assert str(result).splitlines()[-1] == "0 rows"
        names = [field.name for field in result.schema]
        shown = result._repr_html_()
        assert shown.count("<th>") == len(names)
        assert "<caption>0 rows</caption>" in shown
        assert shown.endswith("<tbody></tbody></table>")
        assert result.to_arrow().num_rows == 0  # from here on it shows what it keeps
    assert result.to_arrow().schema == result.schema
    assert list(result.to_pandas().columns) == names
    assert result.to_polars().shape == (0, len(names))
    assert pa.RecordBatchReader.from_stream(result).read_all().num_rows == 0


def test_bounds_of_text_that_is_a_dictionary_in_some_files(lake: Any) -> None:
    first, second, third = hours(3, rows=2)
    lake.add({"timestamp": first, "attr_route": ["/a", "/b"], "level": ["INFO", "WARN"]})
    lake.add({"timestamp": second, "attr_route": pa.array(["/c", "/c"])})
    lake.add({"timestamp": third, "attr_route": ["/d", "/d"], "level": pa.array(["ZZZ", None])})
    for text, expected in {
        "SELECT max(attr_route) FROM logs": "/d",
        "SELECT min(attr_route) FROM logs": "/a",
        "SELECT max(level) FROM logs": "ZZZ",
        "SELECT max(DISTINCT attr_route) FROM logs": "/d",
        "SELECT max(r) FROM (SELECT attr_route AS r FROM logs)": "/d",
        "SELECT max(arrow_cast(attr_route, 'Utf8')) FROM logs": "/d",
        "SELECT max(r) FROM (SELECT CAST(attr_route AS VARCHAR) AS r FROM logs)": "/d",
        "SELECT count(attr_route) FROM logs": 6,
    }.items():
        assert lake.one(text) == expected, text
    assert lake.rows(
        "SELECT max(attr_route) AS x, count(*) AS n, max(timestamp) > now() AS f FROM logs"
    ) == [{"x": "/d", "n": 6, "f": False}]


def test_no_query_switches_filters_of_aggregates_on(joined: tuple[Any, Any]) -> None:
    """A join that runs without dynamic filters must leave the settings as they were."""
    lake, _ = joined
    text = "SELECT max(attr_n), min(attr_user) FROM logs WHERE attr_n + 1 > 0"
    before = lake.engine.explain(text).physical_plan
    assert "DynamicFilter" not in before
    order = "SELECT l.attr_n, s.attr_n FROM logs l JOIN spans s ON l.trace_id = s.trace_id"
    lake.rows(f"{order} JOIN logs m ON m.attr_n = s.attr_n ORDER BY s.attr_n LIMIT 2")
    assert lake.engine.explain(text).physical_plan == before
    plain = lake.engine.explain("SELECT l.body FROM logs l JOIN spans s USING (trace_id)")
    assert "DynamicFilter" in plain.physical_plan

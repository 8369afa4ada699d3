"""Columns of segments that differ: absent ones, other types, overflow, stars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from lakerunner.errors import QueryExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z


def test_columns_that_segments_lack_are_null(lake: Any) -> None:
    times = [START, START + 1]
    lake.add({"timestamp": times, "attr_a": [1, 2]})
    lake.add({"timestamp": times, "attr_b": ["x", None]})
    lake.add({"timestamp": times})
    rows = lake.rows("SELECT attr_a, attr_b, scope_name FROM logs ORDER BY attr_a, attr_b")
    assert [row["attr_a"] for row in rows] == [1, 2, None, None, None, None]
    assert [row["attr_b"] for row in rows] == [None, None, "x", None, None, None]
    assert {row["scope_name"] for row in rows} == {None}
    assert lake.one("SELECT count(*) FROM logs WHERE attr_a IS NULL") == 4
    assert lake.engine.sql("SELECT body FROM logs WHERE attr_a = 1").stats.scanned == 1


def test_types_are_those_of_all_segments_whatever_is_read(lake: Any) -> None:
    lake.add({"timestamp": [START], "attr_x": [5], "attr_n": [1]})
    lake.add({"timestamp": [START + HOUR], "attr_x": ["five"], "attr_n": [1.5]})
    text = "SELECT attr_x, attr_n FROM logs WHERE timestamp < '2026-09-21T15:30:00Z'"
    result = lake.engine.sql(text)
    assert result.stats.scanned == 1
    assert result.schema.types == [pa.string(), pa.float64()]
    assert result.to_arrow().to_pylist() == [{"attr_x": "5", "attr_n": 1.0}]
    assert lake.one("SELECT count(*) FROM logs WHERE attr_x = '5'") == 1
    assert lake.one("SELECT count(*) FROM logs WHERE attr_n > 1") == 1
    with pytest.raises(QueryExecutionError, match="Cannot cast string 'five'"):
        lake.rows("SELECT * FROM logs WHERE attr_x > 3")
    assert lake.one("SELECT count(*) FROM logs WHERE TRY_CAST(attr_x AS BIGINT) > 3") == 1


def test_numbers_among_text_are_text(lake: Any) -> None:
    lake.add({"timestamp": [START, START + 1], "attr_x": [96, 100]})
    lake.add({"timestamp": [START, START + 1], "attr_x": ["95", "95"]})
    lake.add({"timestamp": [START], "attr_x": [True]})
    lake.add({"timestamp": [START], "attr_x": [1.5]})
    lake.add({"timestamp": [START]}, overflow={"attr_x": ("int64", ["97"])})
    values = lake.rows("SELECT attr_x FROM logs ORDER BY attr_x")
    assert [row["attr_x"] for row in values] == ["1.5", "100", "95", "95", "96", "97", "true"]
    for text, expected in {
        "SELECT max(attr_x) FROM logs WHERE attr_x < 'a'": "97",
        "SELECT min(attr_x) FROM logs": "1.5",
        "SELECT attr_x FROM logs WHERE attr_x > '95' ORDER BY attr_x LIMIT 1": "96",
        "SELECT count(*) FROM logs WHERE attr_x = '96'": 1,
        "SELECT count(*) FROM logs WHERE attr_x = '96' AND timestamp < now()": 1,
        "SELECT count(*) FROM logs WHERE attr_x IN ('1.5', 'true', '97', '100')": 4,
    }.items():
        assert lake.one(text) == expected, text


def test_overflowed_attributes_have_the_same_names_and_types(lake: Any) -> None:
    times = [START, START + 1]
    lake.add({"timestamp": times, "attr_x": [1, 2]})
    lake.add({"timestamp": times}, overflow={"attr_x": ("int64", ["7", None])})
    lake.add({"timestamp": times}, overflow={"attr_deep": ("string", ["d", "e"])})
    lake.add({"timestamp": times})
    values = lake.rows("SELECT attr_x FROM logs ORDER BY 1")
    assert [row["attr_x"] for row in values] == [1, 2, 7, *[None] * 5]
    assert lake.one("SELECT sum(attr_x) FROM logs") == 10
    assert lake.one("SELECT attr_deep FROM logs WHERE attr_deep > 'd'") == "e"
    for text, scanned in {
        "SELECT * FROM logs WHERE attr_x = 7": 1,  # 1 and 2 exclude it; the overflow says nothing
        "SELECT * FROM logs WHERE attr_x > 1": 2,
        "SELECT * FROM logs WHERE attr_deep = 'd'": 1,
        "SELECT * FROM logs WHERE attr_deep IS NULL": 4,
    }.items():
        assert lake.engine.sql(text).stats.scanned == scanned, text
    names = lake.engine.sql("SELECT * FROM logs").schema.names
    assert "attr_x" in names
    assert "attr_deep" not in names  # only where it is named: nowhere is it a column
    text = "SELECT * FROM logs WHERE attr_deep IS NOT NULL"
    assert "attr_deep" in lake.engine.sql(text).schema.names


STARS = [
    "SELECT * FROM logs",
    "SELECT l.* FROM logs l",
    "SELECT *, 1 AS one FROM logs",
    "FROM logs SELECT *",
    "SELECT * FROM (SELECT * FROM logs) x",
    "WITH l AS (SELECT * FROM logs) SELECT * FROM l",
    "SELECT * FROM logs UNION ALL SELECT * FROM logs",
    "SELECT a.* FROM logs a JOIN logs b ON a.timestamp = b.timestamp",
    "SELECT/**/ALL/**/*/**/FROM logs",
    "SELECT DISTINCT * FROM logs",
    "SELECT * EXCEPT (body) FROM logs",
    "SELECT * FROM logs NATURAL JOIN (SELECT timestamp FROM logs) x",
]


@pytest.mark.parametrize("others", [0, 80])
@pytest.mark.parametrize("text", STARS)
def test_every_column_belongs_to_a_star(lake: Any, text: str, others: int) -> None:
    more = {f"attr_{n}": [n] for n in range(others)}
    lake.add({"timestamp": [START], "attr_a": [1], "attr_b": ["x"], **more})
    result = lake.engine.sql(text)
    names = set(result.schema.names)
    assert {"timestamp", "severity_text", "attr_a", "attr_b", *more} <= names
    assert not [name for name in names if name.startswith("__")]
    assert set(result.to_arrow()["attr_a"].to_pylist()) == {1}


@pytest.mark.parametrize("rest", ["LIMIT 0", "WHERE false", "WHERE body = 'nowhere'"])
def test_a_star_over_no_rows_has_every_column(lake: Any, rest: str) -> None:
    more = {f"attr_{n}": [n] for n in range(80)}
    lake.add({"timestamp": [START], **more})
    names = lake.engine.sql(f"SELECT * FROM logs {rest}").schema.names
    assert names == lake.engine.sql("SELECT * FROM logs").schema.names


def test_describe_shows_every_column(lake: Any) -> None:
    lake.add({"timestamp": [START], "attr_a": [1]})
    rows = {row["column_name"]: row["data_type"] for row in lake.rows("DESCRIBE logs")}
    assert rows["attr_a"] == "Int64"
    assert "severity_text" in rows
    assert not [name for name in rows if name.startswith("__")]


def test_thousands_of_attributes_are_not_in_the_way(
    make_lake: Callable[..., Any],
) -> None:
    lake = make_lake()
    kept = {f"attr_{n:04}": [n] for n in range(400)}
    beyond = {f"attr_{n:04}": ("int64", [str(n)]) for n in range(400, 5000)}
    for hour in range(3):
        lake.add({"timestamp": [START + hour * HOUR], **kept}, overflow=beyond)
    lake.one("SELECT count(*) FROM logs")
    text = "SELECT attr_0007 + attr_4321 FROM logs WHERE attr_0007 = 7 AND attr_4999 = 4999"
    assert lake.rows(text)[0].popitem()[1] == 4328
    assert "attr_0008" not in lake.engine.explain(text).physical_plan
    assert len(lake.engine.sql("SELECT * FROM logs").schema.names) < 500

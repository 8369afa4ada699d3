"""What a query may take, what it brings along, and what it says of itself afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from lakerunner.errors import ConfigurationError, QueryLimitError
from lakerunner.query import QueryEngine

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def hours(small_lake: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Twelve hours of 1,000 rows."""
    lake = small_lake(str(tmp_path_factory.mktemp("hours")))
    lake.add_hours(12, rows=1000)
    yield lake
    lake.engine.close()


def limited(hours: Any, **config: Any) -> QueryEngine:
    return QueryEngine(hours.store, hours.catalog, config=config)


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_query_that_reads_too_much_says_so(hours: Any, isolation: str) -> None:
    with limited(hours, query_max_bytes=20_000, query_isolation=isolation) as engine:
        assert engine.sql("SELECT count(*) FROM logs").scalar() == 12_000
        assert engine.sql("SELECT body FROM logs LIMIT 3").to_arrow().num_rows == 3
        for text in [
            "SELECT body FROM logs",
            "SELECT max(body), min(attr_code % 7) FROM logs",
            "SELECT body FROM logs WHERE body LIKE '%x%' ORDER BY timestamp DESC LIMIT 5",
        ]:
            with pytest.raises(QueryLimitError, match="raise query_max_bytes") as caught:
                engine.sql(text).to_arrow()
            assert caught.value.context["limit"] == "query_max_bytes"


def test_a_query_that_returns_too_many_rows_says_so(hours: Any) -> None:
    with limited(hours, query_max_rows=500) as engine:
        assert engine.sql("SELECT body FROM logs LIMIT 500").to_arrow().num_rows == 500
        assert engine.sql("SELECT count(*) FROM logs").scalar() == 12_000
        for text in ["SELECT body FROM logs", "SELECT body FROM logs ORDER BY timestamp LIMIT 501"]:
            with pytest.raises(QueryLimitError, match="query_max_rows") as caught:
                engine.sql(text).to_arrow()
            assert caught.value.context["limit"] == "query_max_rows"


def test_limits_are_above_nothing() -> None:
    for name in ("query_max_bytes", "query_max_rows"):
        with pytest.raises(ConfigurationError, match=name):
            limited(type("Lake", (), {"store": None, "catalog": None}), **{name: 0})


def test_explain_tells_what_was_planned_and_what_it_took(hours: Any) -> None:
    text = "SELECT body FROM logs ORDER BY timestamp DESC LIMIT 10"
    said = hours.engine.explain(text, analyze=True)
    assert said.actual.scanned == 1
    assert said.actual.rows == 10
    assert "actual: 1 segments opened" in str(said)
    assert "10 rows returned" in said._repr_html_()
    assert hours.engine.explain(text).actual is None


OWNERS = {"service": ["service-0", "service-1"], "team": ["red", "blue"]}
JOINED = """SELECT team, count(*) AS n FROM logs
    JOIN owners ON owners.service = logs.resource_service_name GROUP BY 1 ORDER BY 1"""


@pytest.mark.parametrize(
    "frame", [OWNERS, pa.table(OWNERS), pd.DataFrame(OWNERS), pl.DataFrame(OWNERS)]
)
def test_tables_of_the_caller_are_joined(hours: Any, frame: Any) -> None:
    found = hours.engine.sql(JOINED, tables={"owners": frame})
    assert found.fetchall() == [("blue", 12 * 333), ("red", 12 * 334)]
    assert found.fetchall() == found.fetchall()


def test_results_are_tables_too_and_workers_take_them(hours: Any) -> None:
    first = hours.engine.sql(
        "SELECT resource_service_name AS service, 'x' AS team FROM logs LIMIT 1"
    )
    (row,) = hours.engine.sql(JOINED, tables={"owners": first}).fetchall()
    assert row[0] == "x"
    with limited(hours, query_isolation="process") as engine:
        assert engine.sql(JOINED, tables={"owners": OWNERS}).fetchall() == [
            ("blue", 3996),
            ("red", 4008),
        ]


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"logs": OWNERS}, "is a table of the lake"),
        ({"traces": OWNERS}, "is a table of the lake"),
        ({"My Table": OWNERS}, "is no plain name"),
        ({"owners": 5}, "is no table"),
        ({"owners": {"a": [1], "b": [1, 2]}}, "is no table"),
    ],
)
def test_what_is_no_table_is_refused(hours: Any, tables: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        hours.engine.sql("SELECT 1", tables=tables)

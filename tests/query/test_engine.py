"""The engine over lakes of a few segments: what is read, what is not, and under which names."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from lakerunner.catalog import open_catalog
from lakerunner.errors import (
    ConfigurationError,
    QueryExecutionError,
    QuerySyntaxError,
    UnsupportedQueryError,
)
from lakerunner.model.commit import Commit
from lakerunner.model.signal import Signal
from lakerunner.query import QueryEngine
from lakerunner.store import CountingStore, open_store

if TYPE_CHECKING:
    from collections.abc import Callable


HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z


def test_only_segments_whose_window_overlaps_are_read(lake: Any) -> None:
    lake.add_hours(24)
    text = """SELECT count(*) AS c FROM logs
        WHERE timestamp >= '2026-09-21T17:30:00Z' AND timestamp < '2026-09-21T20:00:00Z'"""
    result = lake.engine.sql(text)
    assert result.to_arrow().to_pylist() == [{"c": 200}]
    assert (result.stats.segments, result.stats.pruned, result.stats.scanned) == (24, 22, 2)
    edges = "SELECT count(*) AS c FROM logs WHERE timestamp BETWEEN '2026-09-21T17:01:39Z' AND "
    assert lake.one(edges + "'2026-09-21T18:00:00Z'") == 2


def test_a_needle_reads_the_segments_that_can_hold_it(make_lake: Callable[..., Any]) -> None:
    lake = make_lake()
    lake.add_hours(10, rows=1000)
    result = lake.engine.sql("SELECT * FROM logs WHERE attr_code = 4321")
    (row,) = result.to_arrow().to_pylist()
    assert row["body"] == "request 4321 done"
    assert result.stats.scanned == 1
    assert result.stats.rows_scanned < 400  # of 1,000: those of one service
    assert result.stats.bytes_read < lake.segments[4].bytes
    assert result.stats.rows == 1
    values = "SELECT * FROM logs WHERE resource_service_name = 'service-9'"
    assert lake.engine.sql(values).stats.scanned == 0


def test_several_scans_keep_what_any_of_them_needs(lake: Any) -> None:
    lake.add_hours(6)
    text = """SELECT count(*) AS c FROM logs a JOIN logs b ON a.attr_code + 300 = b.attr_code
        WHERE a.timestamp < '2026-09-21T16:00:00Z' AND b.timestamp >= '2026-09-21T18:00:00Z'"""
    result = lake.engine.sql(text)
    assert result.to_arrow().to_pylist() == [{"c": 100}]
    assert result.stats.scanned == 4
    union = """SELECT body FROM logs WHERE attr_code = 5 UNION ALL
        SELECT body FROM logs WHERE attr_code IN (SELECT max(attr_code) FROM logs
        WHERE timestamp < '2026-09-21T17:00:00Z')"""
    assert sorted(row["body"] for row in lake.rows(union)) == ["request 199 done", "request 5 done"]


def test_tables_of_all_signals(lake: Any) -> None:
    lake.add({"timestamp": [START], "body": ["a"], "trace_id": pa.array(["t"])})
    lake.add(
        {
            "timestamp": [START],
            "trace_id": pa.array(["t"]),
            "name": ["GET /"],
            "events": pa.array([[{"timestamp": START, "name": "retry"}]], EVENTS),
        },
        signal=Signal.SPANS,
    )
    text = "SELECT body, name, events[1]['name'] AS event FROM logs JOIN spans USING (trace_id)"
    assert lake.rows(text) == [{"body": "a", "name": "GET /", "event": "retry"}]
    assert lake.rows("SELECT metric_name, value FROM metrics") == []
    assert lake.engine.sql(text).stats.segments == 2


EVENTS = pa.list_(pa.struct([("timestamp", pa.timestamp("ns", "UTC")), ("name", pa.string())]))


def test_a_lake_without_segments_answers(lake: Any) -> None:
    assert lake.one("SELECT count(*) FROM logs") == 0
    assert lake.rows("SELECT * FROM spans WHERE duration_ns > 5 ORDER BY timestamp LIMIT 3") == []
    with pytest.raises(QuerySyntaxError, match="there is no column attr_x"):
        lake.engine.sql("SELECT attr_x FROM logs")


UNKNOWN = {
    "SELECT atr_code FROM logs": "there is no column atr_code; did you mean attr_code?",
    "SELECT code FROM logs": "there is no column code; did you mean attr_code?",
    "SELECT l.levl FROM logs l": "there is no column l.levl; did you mean level?",
    "SELECT qqqqqq FROM logs": "there is no column qqqqqq",
    "SELECT 1 FROM logs WHERE servce_name = 'a'": "resource_service_name?",
    "SELECT 1 FROM log": "there is no table 'log'; the tables are logs, spans, metrics",
}


@pytest.mark.parametrize("text", UNKNOWN)
def test_unknown_names_are_errors_that_help(make_lake: Callable[..., Any], text: str) -> None:
    lake = make_lake()
    lake.add_hours(1)
    with pytest.raises(QuerySyntaxError) as caught:
        lake.engine.sql(text)
    assert UNKNOWN[text] in caught.value.message


def test_quantified_comparisons_are_refused(make_lake: Callable[..., Any]) -> None:
    lake = make_lake()
    lake.add_hours(1)
    for word in ("ALL", "ANY", "SOME"):
        text = f"SELECT 1 FROM logs WHERE attr_code >= {word} (SELECT attr_code FROM logs)"
        with pytest.raises(UnsupportedQueryError, match=r"(ALL|ANY) \(SELECT …\) is refused"):
            lake.engine.sql(text)
    assert lake.one("SELECT count(*) FROM logs WHERE attr_code = ANY(make_array(1, 2))") == 2


def test_threads_ask_different_things_at_once(lake: Any) -> None:
    lake.add_hours(8)

    def ask(number: int) -> bool:
        hour = number % 8
        first, last = hour * 100, hour * 100 + 99
        text = f"""SELECT min(attr_code) AS a, max(attr_code) AS b, count(*) AS c FROM logs
            WHERE attr_code BETWEEN {first} AND {last}"""
        result = lake.engine.sql(text)
        rows = result.to_arrow().to_pylist()
        return bool(rows == [{"a": first, "b": last, "c": 100}] and result.stats.scanned == 1)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(64)))


def test_organizations_are_apart(make_lake: Callable[..., Any]) -> None:
    lake = make_lake("acme")
    lake.add_hours(2)
    other = QueryEngine(lake.store, lake.catalog, "other")
    assert other.sql("SELECT * FROM logs").to_arrow().num_rows == 0
    with pytest.raises(QuerySyntaxError):
        other.sql("SELECT attr_code FROM logs")
    assert other.sql("SELECT 1 FROM logs WHERE organization = 'acme'").stats.segments == 0
    other.close()
    assert lake.engine.sql("SELECT 1 FROM logs WHERE organization = 'other'").stats.scanned == 0


def test_a_query_sees_the_state_it_was_planned_in(lake: Any) -> None:
    lake.add_hours(2)
    result = lake.engine.sql("SELECT count(*) AS c FROM logs WHERE level = 'ERROR'")
    gone = Commit("gone", "default", 0, remove=(lake.segments[0].id,))
    lake.catalog.commit(gone)
    assert result.to_arrow().to_pylist() == [{"c": 20}]
    assert lake.one("SELECT count(*) FROM logs WHERE level = 'ERROR'") == 10


def test_a_missing_file_is_an_error_and_not_a_smaller_answer(lake: Any) -> None:
    lake.add_hours(3)
    lake.store.delete(lake.segments[1].key)
    with pytest.raises(QueryExecutionError, match="its file is missing"):
        lake.rows("SELECT count(*) FROM logs")
    assert lake.one("SELECT count(*) FROM logs WHERE attr_code < 100") == 100


def test_objects_in_memory_are_copied_once(small_lake: Any) -> None:
    lake = small_lake("memory://")
    lake.add_hours(4)
    store = CountingStore(lake.store)
    with QueryEngine(store, lake.catalog) as engine:
        for _ in range(2):
            engine.sql("SELECT body FROM logs WHERE attr_code < 150").to_arrow()
        assert store.counts.get == 2
        engine.sql("SELECT body FROM logs").to_arrow()
        assert store.counts.get == 4
    lake.engine.close()


def test_settings_are_checked() -> None:
    store, catalog = open_store("memory://"), open_catalog("memory://")
    with pytest.raises(ConfigurationError, match="query_memory_bytes"):
        QueryEngine(store, catalog, config={"query_memory_bytes": 5})
    with pytest.raises(ConfigurationError, match="no setting"):
        QueryEngine(store, catalog, config={"query_memory": 5})
    with QueryEngine(store, catalog, config={"query_threads": 1}) as engine:
        assert engine.sql("SELECT 1").to_arrow().num_rows == 1


def test_a_closed_engine_says_so() -> None:
    engine = QueryEngine(open_store("memory://"), open_catalog("memory://"))
    engine.sql("SELECT 1")
    engine.close()
    engine.close()
    with pytest.raises(ConfigurationError, match="closed"):
        engine.sql("SELECT 1")
    assert "QueryEngine(MemoryStore" in repr(engine)

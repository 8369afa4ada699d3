"""The engine over lakes of a few segments: what is read, what is not, and under which names."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from lakerunner.catalog import open_catalog
from lakerunner.catalog.base import ALL_TIME
from lakerunner.catalog.memory import MemoryCatalog
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
    from collections.abc import Callable, Sequence

    from lakerunner.model.segment import Segment
    from lakerunner.model.times import TimeRange

HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z


def hours(lake: Any, count: int, rows: int = 100, **more: Any) -> None:
    """One segment an hour; in each, services take turns and codes count up over all hours."""
    for hour in range(count):
        lake.add(
            {
                "timestamp": [START + hour * HOUR + n * 10**9 for n in range(rows)],
                "resource_service_name": [f"service-{n % 3}" for n in range(rows)],
                "level": ["ERROR" if n % 10 == 0 else "INFO" for n in range(rows)],
                "body": pa.array([f"request {hour * rows + n} done" for n in range(rows)]),
                "attr_code": list(range(hour * rows, hour * rows + rows)),
                **more,
            }
        )


def test_only_segments_whose_window_overlaps_are_read(lake: Any) -> None:
    hours(lake, 24)
    text = """SELECT count(*) AS c FROM logs
        WHERE timestamp >= '2026-09-21T17:30:00Z' AND timestamp < '2026-09-21T20:00:00Z'"""
    result = lake.engine.sql(text)
    assert result.to_arrow().to_pylist() == [{"c": 200}]
    assert (result.stats.segments, result.stats.pruned, result.stats.scanned) == (24, 22, 2)
    edges = "SELECT count(*) AS c FROM logs WHERE timestamp BETWEEN '2026-09-21T17:01:39Z' AND "
    assert lake.one(edges + "'2026-09-21T18:00:00Z'") == 2


def test_a_needle_reads_the_segments_that_can_hold_it(make_lake: Callable[..., Any]) -> None:
    lake = make_lake()
    hours(lake, 10, rows=1000)
    result = lake.engine.sql("SELECT * FROM logs WHERE attr_code = 4321")
    (row,) = result.to_arrow().to_pylist()
    assert row["body"] == "request 4321 done"
    assert result.stats.scanned == 1
    assert result.stats.rows_scanned < 400  # of 1,000: those of one service
    assert result.stats.bytes_read < lake.segments[4].bytes
    assert result.stats.rows == 1
    values = "SELECT * FROM logs WHERE resource_service_name = 'service-9'"
    assert lake.engine.sql(values).stats.scanned == 0


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


@pytest.mark.parametrize("text", STARS)
def test_every_column_belongs_to_a_star(lake: Any, text: str) -> None:
    lake.add({"timestamp": [START], "attr_a": [1], "attr_b": ["x"]})
    result = lake.engine.sql(text)
    assert {"timestamp", "severity_text", "attr_a", "attr_b"} <= set(result.schema.names)
    assert not [name for name in result.schema.names if name.startswith("__")]
    assert set(result.to_arrow()["attr_a"].to_pylist()) == {1}


def test_describe_shows_every_column(lake: Any) -> None:
    lake.add({"timestamp": [START], "attr_a": [1]})
    rows = {row["column_name"]: row["data_type"] for row in lake.rows("DESCRIBE logs")}
    assert rows["attr_a"] == "Int64"
    assert "severity_text" in rows
    assert not [name for name in rows if name.startswith("__")]


def test_thousands_of_attributes_do_not_slow_other_queries(make_lake: Callable[..., Any]) -> None:
    lake = make_lake()
    kept = {f"attr_{n:04}": [n] for n in range(400)}
    beyond = {f"attr_{n:04}": ("int64", [str(n)]) for n in range(400, 5000)}
    for hour in range(3):
        lake.add({"timestamp": [START + hour * HOUR], **kept}, overflow=beyond)
    lake.one("SELECT count(*) FROM logs")
    started = time.perf_counter()
    text = "SELECT attr_0007 + attr_4321 FROM logs WHERE attr_0007 = 7 AND attr_4999 = 4999"
    assert lake.rows(text)[0].popitem()[1] == 4328
    assert time.perf_counter() - started < 1
    assert len(lake.engine.sql("SELECT * FROM logs").schema.names) < 500


def test_several_scans_keep_what_any_of_them_needs(lake: Any) -> None:
    hours(lake, 6)
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
    hours(lake, 1)
    with pytest.raises(QuerySyntaxError) as caught:
        lake.engine.sql(text)
    assert UNKNOWN[text] in caught.value.message


def test_quantified_comparisons_are_refused(make_lake: Callable[..., Any]) -> None:
    lake = make_lake()
    hours(lake, 1)
    for word in ("ALL", "ANY", "SOME"):
        text = f"SELECT 1 FROM logs WHERE attr_code >= {word} (SELECT attr_code FROM logs)"
        with pytest.raises(UnsupportedQueryError, match=r"(ALL|ANY) \(SELECT …\) is refused"):
            lake.engine.sql(text)
    assert lake.one("SELECT count(*) FROM logs WHERE attr_code = ANY(make_array(1, 2))") == 2


def test_threads_ask_different_things_at_once(lake: Any) -> None:
    hours(lake, 8)

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
    hours(lake, 2)
    other = QueryEngine(lake.store, lake.catalog, "other")
    assert other.sql("SELECT * FROM logs").to_arrow().num_rows == 0
    with pytest.raises(QuerySyntaxError):
        other.sql("SELECT attr_code FROM logs")
    assert other.sql("SELECT 1 FROM logs WHERE organization = 'acme'").stats.segments == 0
    other.close()
    assert lake.engine.sql("SELECT 1 FROM logs WHERE organization = 'other'").stats.scanned == 0


def test_a_query_sees_the_state_it_was_planned_in(lake: Any) -> None:
    hours(lake, 2)
    result = lake.engine.sql("SELECT count(*) AS c FROM logs WHERE level = 'ERROR'")
    gone = Commit("gone", "default", Signal.LOGS, 0, remove=(lake.segments[0].id,))
    lake.catalog.commit(gone)
    assert result.to_arrow().to_pylist() == [{"c": 20}]
    assert lake.one("SELECT count(*) FROM logs WHERE level = 'ERROR'") == 10


def test_a_missing_file_is_an_error_and_not_a_smaller_answer(lake: Any) -> None:
    hours(lake, 3)
    lake.store.delete(lake.segments[1].key)
    with pytest.raises(QueryExecutionError, match="its file is missing"):
        lake.rows("SELECT count(*) FROM logs")
    assert lake.one("SELECT count(*) FROM logs WHERE attr_code < 100") == 100


def test_objects_in_memory_are_copied_once(small_lake: Any) -> None:
    lake = small_lake("memory://")
    hours(lake, 4)
    store = CountingStore(lake.store)
    with QueryEngine(store, lake.catalog) as engine:
        for _ in range(2):
            engine.sql("SELECT body FROM logs WHERE attr_code < 150").to_arrow()
        assert store.counts.get == 2
        engine.sql("SELECT body FROM logs").to_arrow()
        assert store.counts.get == 4
    lake.engine.close()


class RecordingCatalog(MemoryCatalog):
    """Remembers which time ranges it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[TimeRange] = []

    def segments(
        self,
        organization: str,
        signal: Signal,
        time_range: TimeRange = ALL_TIME,
        *,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        self.asked.append(time_range)
        return super().segments(organization, signal, time_range, sequence=sequence)


RANGES = {
    "timestamp >= '2026-01-01' AND timestamp < '2026-01-02' AND level = 'x'": (0, 1),
    "timestamp >= '2026-01-01' AND timestamp < '2026-01-02' OR timestamp = '2026-01-06'": (0, 5),
    "date_trunc('day', timestamp) = '2026-01-03'": (2, 3),
    "NOT (timestamp < '2026-01-03' OR timestamp >= '2026-01-05')": (2, 4),
}


@pytest.mark.parametrize("condition", RANGES)
def test_the_catalog_is_asked_for_the_time_range_only(condition: str) -> None:
    catalog = RecordingCatalog()
    with QueryEngine(open_store("memory://"), catalog) as engine:
        engine.sql(f"SELECT * FROM logs WHERE {condition}")
    day = 24 * HOUR
    first = 1_767_225_600 * 10**9
    start, end = RANGES[condition]
    (asked,) = catalog.asked
    assert asked.start_ns == first + start * day
    assert asked.end_ns in (first + end * day, first + end * day + 1)


def test_a_query_that_needs_no_row_does_not_ask_at_all() -> None:
    catalog = RecordingCatalog()
    with QueryEngine(open_store("memory://"), catalog) as engine:
        for text in ("SELECT 1", "SELECT * FROM logs WHERE false", "DESCRIBE logs"):
            engine.sql(text).to_arrow()
        engine.sql("SELECT * FROM logs WHERE timestamp < '2020-01-01' AND timestamp > '2021-01-01'")
    assert catalog.asked == []


def test_relative_times_are_cut_at_both_ends(small_lake: Any) -> None:
    lake = small_lake("memory://")
    now = time.time_ns()
    for age_s in (7200, 1800, 60, -60):
        lake.add({"timestamp": [now - age_s * 10**9], "body": [f"{age_s} s ago"]})
    text = """SELECT body FROM logs
        WHERE timestamp >= now() - INTERVAL '1 hour' AND timestamp < now() ORDER BY timestamp"""
    result = lake.engine.sql(text)
    assert result.to_arrow()["body"].to_pylist() == ["1800 s ago", "60 s ago"]
    assert result.stats.scanned == 2
    assert "TimestampNanosecond" not in str(result)
    lake.engine.close()


def test_rows_of_this_very_moment_are_found(small_lake: Any) -> None:
    lake = small_lake("memory://")
    for _ in range(20):
        lake.add({"timestamp": [time.time_ns()], "body": ["now"]})
        count = lake.one("SELECT count(*) FROM logs WHERE timestamp <= now()")
        assert count == len(lake.segments)
    lake.engine.close()


def test_now_means_the_same_in_every_run_of_a_result(lake: Any) -> None:
    hours(lake, 1, rows=10)
    result = lake.engine.sql("SELECT DISTINCT arrow_cast(now(), 'Int64') AS t FROM logs")
    first, second = ([batch.to_pylist() for batch in result] for _ in range(2))
    assert first == second


def test_settings_are_checked() -> None:
    store, catalog = open_store("memory://"), open_catalog("memory://")
    with pytest.raises(ConfigurationError, match="query_memory_bytes"):
        QueryEngine(store, catalog, config={"query_memory_bytes": 5})
    with pytest.raises(ConfigurationError, match="unknown field"):
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

"""Time bounds reach the catalog, and the clock of a query stands still."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from lakerunner.catalog.base import ALL_TIME
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.query import QueryEngine
from lakerunner.store import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.model.segment import Segment
    from lakerunner.model.times import TimeRange

HOUR = 3600 * 10**9


class RecordingCatalog(MemoryCatalog):
    """Remembers which time ranges it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[TimeRange] = []

    def segments(
        self,
        organization: str,
        table: str,
        time_range: TimeRange = ALL_TIME,
        *,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        self.asked.append(time_range)
        return super().segments(organization, table, time_range, sequence=sequence)


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
    lake.add_hours(1, rows=10)
    result = lake.engine.sql("SELECT DISTINCT arrow_cast(now(), 'Int64') AS t FROM logs")
    first, second = ([batch.to_pylist() for batch in result] for _ in range(2))
    assert first == second

"""Metrics of logs and spans: each row counts once, and what it counts is what SQL would count."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from lakerunner.errors import ConfigurationError
from lakerunner.model.aggregate import AggregateRule
from lakerunner.rollup.aggregation import read_rules
from tests.rollup.world import World

if TYPE_CHECKING:
    from pathlib import Path

DAY = "2026-01-01"
LINES = {"metric": "log.lines", "by": ["resource_service_name", "level"]}


def line(second: float, level: str = "info", body: str = "hello", **more: Any) -> str:
    minute, rest = divmod(second, 60)
    return json.dumps(
        {
            "time": f"{DAY}T00:{int(minute):02}:{rest:06.3f}Z",
            "level": level,
            "message": body,
            **more,
        }
    )


def ingest(world: World, *lines: str) -> None:
    world.lake.ingest("\n".join(lines).encode())


def made(world: World, columns: str = "sum(value)", where: str = "true") -> list[tuple[Any, ...]]:
    rows = world.lake.sql(f"SELECT {columns} FROM metrics WHERE {where} ORDER BY 1").to_pylist()
    return [tuple(row.values()) for row in rows]


def test_lines_are_counted_by_labels_once() -> None:
    world = World()
    ingest(world, *(line(at) for at in range(25)), line(3, "error"), line(63, "error"))
    assert world.lake.aggregate([LINES], start=DAY).tasks == 1
    assert world.lake.aggregate([LINES], start=DAY).tasks == 0
    columns = "date_part('epoch', start_timestamp) % 3600, attr_level, value, temporality"
    assert made(world, columns, "attr_level = 'ERROR' or start_timestamp >= timestamp") == [
        (0.0, "ERROR", 1.0, "delta"),
        (60.0, "ERROR", 1.0, "delta"),
    ]
    ingest(world, line(4))
    assert world.lake.aggregate([LINES], start=DAY).removed == 1
    assert made(world) == [(28.0,)]
    world.roll()
    assert {row[2] for row in world.sums()} == {28.0}


def test_bytes_conditions_and_numbers() -> None:
    world = World()
    ingest(world, line(1, body="12345", ms=5), line(2, body="é", ms=-3.5), line(3, body="", ms=0))
    rules = [
        {"metric": "log.bytes", "measure": "bytes", "by": []},
        {"metric": "log.some", "by": [], "where": "body LIKE '1%' -- those alone"},
        {"metric": "log.ms", "measure": "values", "value": "attr_ms", "by": [], "unit": "ms"},
    ]
    report = world.lake.aggregate(rules, start=DAY)
    assert not report.failed, report.failed
    assert made(world, "metric_name, value", "value IS NOT NULL") == [
        ("log.bytes", 7.0),
        ("log.some", 1.0),
    ]
    (row,) = world.lake.sql("SELECT * FROM metrics WHERE metric_name = 'log.ms'").to_pylist()
    assert (row["count"], row["sum"], row["min"], row["max"]) == (3, 1.5, -3.5, 5.0)
    assert (row["zero_count"], row["positive_bucket_counts"]) == (1, [1])
    base = 2.0 ** (2.0**-4)
    assert base ** row["positive_offset"] < 5 <= base ** (row["positive_offset"] + 1)
    assert base ** row["negative_offset"] < 3.5 <= base ** (row["negative_offset"] + 1)


def test_requests_of_spans() -> None:
    world = World()
    world.lake.ingest(
        "\n".join(
            json.dumps(
                {
                    "trace_id": f"{number:032x}",
                    "span_id": f"{number:016x}",
                    "name": "GET /",
                    "start_time": f"{DAY}T00:00:0{number}Z",
                    "end_time": f"{DAY}T00:00:0{number}.250Z",
                    "status_code": "ERROR" if number == 2 else "OK",
                }
            )
            for number in range(1, 5)
        ).encode(),
        signal="traces",
    )
    rule = AggregateRule(metric="http", table="spans", measure="requests", by=("name",))
    report = world.lake.aggregate([rule], start=DAY)
    assert not report.failed, report.failed
    assert made(world, "metric_name, value, count, sum, attr_name") == [
        ("http.calls", 4.0, None, None, "GET /"),
        ("http.duration", None, 4, 1.0, "GET /"),
        ("http.errors", 1.0, None, None, "GET /"),
    ]


def test_another_version_waits_to_be_asked_for() -> None:
    world = World()
    ingest(world, line(1), line(2, "error"))
    world.lake.aggregate([LINES], start=DAY)
    later = {**LINES, "version": 2, "where": "level = 'ERROR'"}
    assert world.lake.aggregate([later], start=DAY).tasks == 0
    assert world.lake.aggregate([later], start=DAY, anew=True).tasks == 1
    assert made(world) == [(1.0,)]
    assert {one.made_by for one in world.points()} == {"aggregate/log.lines/2"}
    assert world.lake.aggregate([later], start=DAY, anew=True).tasks == 0
    # By itself it looks at the last days alone.
    assert world.lake.aggregate([{**LINES, "metric": "other"}]).tasks == 0
    assert world.lake.aggregate([LINES], start=DAY, dry_run=True).planned == ()


def test_rows_that_are_gone_are_not_counted_off() -> None:
    world = World()
    ingest(world, line(1), line(2))
    world.lake.aggregate([LINES], start=DAY)
    world.retire(world.lake.segments("logs"))
    assert world.lake.aggregate([LINES], start=DAY).tasks == 0
    ingest(world, line(3))
    (failed,) = world.lake.aggregate([LINES], start=DAY).failed
    assert "cannot take up later rows" in failed.reason
    assert made(world) == [(2.0,)]


def test_two_at_once_count_each_row_once() -> None:
    world = World()
    ingest(world, *(line(at) for at in range(30)))
    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(lambda _: world.lake.aggregate([LINES], start=DAY), range(3)))
    assert sum(report.tasks for report in reports) == 1
    assert made(world) == [(30.0,)]


def test_rules_from_a_file_and_wrong_ones(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("- metric: log.lines\n  by: [level]\n  version: 3\n")
    assert read_rules(path) == (AggregateRule(metric="log.lines", by=("level",), version=3),)
    for wrong, reason in (
        ({"metric": "1"}, "begins with a letter"),
        ({"metric": "a", "every_seconds": 7}, "divides an hour"),
        ({"metric": "a", "measure": "values"}, "has a value"),
        ({"metric": "a", "measure": "requests"}, "made of spans"),
        ({"metric": "a", "table": "spans", "measure": "bytes"}, "made of logs"),
        ({"metric": "a", "by": ["x", "x"]}, "once"),
        ({"metric": "a", "colour": "red"}, "colour"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            read_rules([wrong])
    with pytest.raises(ConfigurationError, match="two rules"):
        read_rules([{"metric": "a"}, {"metric": "a"}])
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_rules(tmp_path / "none.yaml")
    world = World(window_ns=900 * 10**9)
    with pytest.raises(ConfigurationError, match="no multiple of 1200 s"):
        world.lake.aggregate([{"metric": "a", "every_seconds": 1200}])

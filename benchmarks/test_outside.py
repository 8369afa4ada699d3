"""Engines of others: what planning at home adds to theirs, and registering with Iceberg.

pytest benchmarks/test_outside.py --benchmark-enable --benchmark-json=outside.json
"""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from pysail.spark import SparkConnectServer
from pyspark.sql import SparkSession

import lakerunner
from lakerunner.model.commit import Commit
from lakerunner.model.segment import ColumnStats
from lakerunner.testing.values import make_segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner import Lake

pytestmark = pytest.mark.filterwarnings("ignore:PySpark does not yet:FutureWarning")

HOUR = 3600 * 10**9
START = 1_767_225_600 * 10**9
HOURS = 20
QUESTIONS = {
    "count": "SELECT count(*) AS n FROM logs",
    "one hour": "SELECT count(*) AS n FROM logs WHERE timestamp >= '2026-01-01T03:00:00Z' "
    "AND timestamp < '2026-01-01T04:00:00Z'",
    "by service": "SELECT resource_service_name AS s, count(*) AS n FROM logs GROUP BY 1",
    "by level": "SELECT level, count(*) AS n FROM logs GROUP BY 1",
    "by minute": "SELECT date_trunc('minute', timestamp) AS m, count(*) AS n FROM logs GROUP BY 1",
    "distinct": "SELECT count(DISTINCT attr_user) AS n FROM logs",
    "text": "SELECT count(*) AS n FROM logs WHERE body LIKE '%checkout 77 %'",
    "one service": "SELECT level, count(*) AS n FROM logs "
    "WHERE resource_service_name = 'service-7' GROUP BY 1",
    "sum": "SELECT sum(attr_bytes) AS n FROM logs WHERE level = 'ERROR'",
    "top": "SELECT resource_service_name AS s, max(attr_bytes) AS m FROM logs GROUP BY 1 "
    "ORDER BY 2 DESC, 1 LIMIT 3",
}


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> int:
    return 10_000_000 if request.config.getoption("benchmark_enable") else 20_000


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory, rows: int) -> Iterator[Lake]:
    with lakerunner.open(
        tmp_path_factory.mktemp("outside"), config={"word_filters": "never"}
    ) as lake:
        random = np.random.default_rng(1)
        for hour in range(HOURS):
            count = rows // HOURS
            users = random.integers(0, 200_000, count)
            lake.ingest(
                pa.table(
                    {
                        "timestamp": pa.array(
                            START + hour * HOUR + np.sort(random.integers(0, HOUR, count)),
                            pa.timestamp("ns", "UTC"),
                        ),
                        "service.name": pa.array([f"service-{n}" for n in range(20)]).take(
                            pa.array(random.integers(0, 20, count))
                        ),
                        "level": pa.array(["INFO", "WARN", "ERROR"]).take(
                            pa.array(random.integers(0, 3, count))
                        ),
                        "body": pa.array([f"checkout {n} done" for n in range(1000)]).take(
                            pa.array(random.integers(0, 1000, count))
                        ),
                        "user": pa.array(users.astype(str)),
                        "bytes": pa.array(random.integers(0, 10**6, count)),
                    }
                ),
                signal="logs",
            )
        yield lake


@pytest.fixture(scope="module")
def sail() -> Iterator[Any]:
    os.environ["SAIL_MODE"] = "local-cluster"
    os.environ["RUST_LOG"] = "off"
    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    host, port = server.listening_address
    session = SparkSession.builder.remote(f"sc://{host}:{port}").create()
    yield session
    session.stop()
    server.stop()


def timed(action: Any) -> float:
    found = []
    for _ in range(5):
        begun = time.perf_counter()
        action()
        found.append(time.perf_counter() - begun)
    return statistics.median(found) * 1000


@pytest.mark.parametrize("name", list(QUESTIONS))
def test_planning_at_home_costs_little(benchmark: Any, logs: Lake, sail: Any, name: str) -> None:
    """What `lake.sql(…, engine=…)` takes beyond the same text over views that are there already."""
    text = QUESTIONS[name]
    logs.spark(sail)
    wanted = sorted(row[-1] for row in logs.sql(text).fetchall())
    assert sorted(row[-1] for row in logs.sql(text, engine=sail).fetchall()) == wanted
    if not benchmark.disabled:
        benchmark.extra_info["at_home_ms"] = timed(lambda: logs.sql(text).to_arrow())
        benchmark.extra_info["sail_alone_ms"] = timed(lambda: sail.sql(text).toArrow())
    benchmark.pedantic(lambda: logs.sql(text, engine=sail).to_arrow(), rounds=5)


def test_iceberg_registers_ten_thousand(benchmark: Any, tmp_path: Path) -> None:
    """Ten thousand segments at once, then one more, then a merge of twenty."""
    warehouse = tmp_path / "iceberg"
    warehouse.mkdir()
    uri = f"sqlite:///{warehouse}/catalog.db"
    text = {name: ColumnStats("string", 0, "a", "z") for name in ("level", "resource_service_name")}
    columns = {"timestamp": ColumnStats("timestamp"), "body": ColumnStats("string"), **text}
    with lakerunner.open(tmp_path / "lake") as lake:
        segments = [
            make_segment(
                f"s{place:05}",
                START + place * HOUR // 10,
                START + place * HOUR // 10 + 9,
                organization=lake.organization,
                columns=columns,
            )
            for place in range(10_021)
        ]

        def commit(number: int, first: int, last: int, remove: tuple[str, ...] = ()) -> None:
            added = tuple(segments[first:last])
            made = Commit(f"c{number}", lake.organization, number, add=added, remove=remove)
            lake.catalog.commit(made)

        commit(1, 0, 10_000)
        tables = lake.iceberg(
            {"type": "sql", "uri": uri, "warehouse": f"file://{warehouse}"}, namespace="bench"
        )
        steps = {"10,000 segments": (10_000, 0)}
        for place in range(3):
            steps[f"one more ({place})"] = (1, 0)
        steps["a merge of 20"] = (1, 20)
        at = 10_000
        for number, (name, (come, gone)) in enumerate(steps.items(), start=1):
            if number > 1:
                removed = tuple(one.id for one in segments[:gone])
                commit(number, at, at + come, removed)
                at += come
            begun, spent = time.perf_counter(), time.process_time()
            report = tables.sync("logs")
            wall = (time.perf_counter() - begun) * 1000
            cpu = (time.process_time() - spent) * 1000
            assert (report.added["logs"], report.removed["logs"]) == (come, gone)
            benchmark.extra_info[name] = f"{wall:.0f} ms, {cpu:.0f} ms of CPU"
        benchmark.pedantic(lambda: tables.sync("logs"), rounds=1)

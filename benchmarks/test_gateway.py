"""Dashboards that all ask at once, over HTTP: how long the slowest of them wait."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio
import numpy as np
import pyarrow as pa

import lakerunner
from lakerunner.gateway import app

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from pytest_benchmark.fixture import BenchmarkFixture

DASHBOARDS, QUICK_DASHBOARDS = 200, 8
START = 1_790_002_800
SERIES, POINTS = 200, 360
ENOUGH = 200


def points() -> pa.Table:
    """Counters of an hour, a point every ten seconds."""
    rows = SERIES * POINTS
    series = np.repeat(np.arange(SERIES), POINTS)
    keys = pa.array(["n"]).take(pa.array(np.zeros(rows, np.int32)))
    offsets = pa.array(np.arange(rows + 1), pa.int32())
    return pa.table(
        {
            "metric_name": pa.array(["m_total"]).take(pa.array(np.zeros(rows, np.int32))),
            "metric_type": pa.array(["sum"]).take(pa.array(np.zeros(rows, np.int32))),
            "is_monotonic": pa.array(np.ones(rows, dtype=bool)),
            "temporality": pa.array(["cumulative"]).take(pa.array(np.zeros(rows, np.int32))),
            "timestamp": pa.array(
                np.tile(START + np.arange(POINTS) * 10, SERIES), pa.timestamp("s", "UTC")
            ),
            "value": np.tile(np.arange(POINTS, dtype=float), SERIES),
            "attributes": pa.MapArray.from_arrays(offsets, keys, pa.array(series).cast("string")),
        }
    )


def test_many_dashboards_at_once(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    timed = request.config.getoption("benchmark_enable")
    number = DASHBOARDS if timed else QUICK_DASHBOARDS
    took: list[float] = []
    params = {"query": "sum(rate(m_total[5m]))", "start": START, "end": START + 3600, "step": 15}

    async def ask() -> None:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            await anyio.sleep_forever()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        begun = time.perf_counter()
        await made(scope, receive, send)
        took.append(time.perf_counter() - begun)
        answer = json.loads(b"".join(one.get("body", b"") for one in sent))
        assert len(answer["data"]["result"][0]["values"]) > ENOUGH

    async def all_of_them() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(number):
                tasks.start_soon(ask)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/v1/query_range",
        "query_string": urlencode(params).encode(),
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("test", 80),
        "client": ("test", 1),
    }
    settings = {"access": {"anonymous": "default"}, "quotas": {"queries": DASHBOARDS}}
    with lakerunner.open(tmp_path) as lake:
        lake.ingest(points(), signal="metrics")
        made = app(lake, settings)
        benchmark(lambda: anyio.run(all_of_them))
    assert len(took) % number == 0
    benchmark.extra_info["p50"] = float(np.percentile(took, 50))
    benchmark.extra_info["p99"] = float(np.percentile(took, 99))

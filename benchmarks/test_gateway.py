"""The gateway at work: many dashboards, small answers, long exports, idle clients, followers."""

from __future__ import annotations

import json
import resource
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio
import numpy as np
import pyarrow as pa
import pytest
import uvicorn

import lakerunner
from lakerunner.gateway import app
from lakerunner.testing.servers.process import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from lakerunner.lake import Lake

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


# Over a socket, as clients have it.

SMALL, QUICK_SMALL = 300, 3
EXPORTED, QUICK_EXPORTED = 10_000_000, 20_000
AT_ONCE = 500_000
CONNECTIONS, QUICK_CONNECTIONS = 10_000, 50
CLIENTS, QUICK_CLIENTS = 100, 3
TAIL_SECONDS, TAIL_ROWS = 10, 5_000
OPEN = {
    "access": {"anonymous": "default"},
    "quotas": {"requests_per_second": 1e9, "followers": CLIENTS},
}


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@contextmanager
def listening(lake: Lake) -> Iterator[int]:
    (port,) = free_ports(1)
    config = uvicorn.Config(app(lake, OPEN), port=port, log_level="error", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


def test_a_small_answer_costs_little_more_than_the_call(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """`overhead_ms` is the median over HTTP less the median of the call in Python."""
    number = SMALL if request.config.getoption("benchmark_enable") else QUICK_SMALL
    text = "SELECT body FROM logs"
    with lakerunner.open(tmp_path) as lake:
        lake.ingest(b'{"message": "hello"}')
        whose = lake.for_organization("default")
        with listening(lake) as port:
            connection = HTTPConnection("127.0.0.1", port)

            def over_http() -> None:
                connection.request("GET", f"/v1/sql?{urlencode({'query': text})}")
                assert connection.getresponse().read() == b'{"body":"hello"}\n'

            took: dict[str, list[float]] = {"http": [], "python": []}
            for _ in range(number):  # in turns, so that both see the same machine
                for name, ask in (
                    ("http", over_http),
                    ("python", lambda: whose.sql(text).to_arrow()),
                ):
                    begun = time.perf_counter()
                    ask()
                    took[name].append(time.perf_counter() - begun)
            benchmark(over_http)
            connection.close()
    difference = np.median(took["http"]) - np.median(took["python"])
    benchmark.extra_info["overhead_ms"] = float(difference) * 1000


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_export_flows_in_level_memory(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest, tmp_path: Path, form: str
) -> None:
    """`rows_per_s`, and `grown_mib`: by how much the process grew above what it had before."""
    timed = request.config.getoption("benchmark_enable")
    rows = EXPORTED if timed else QUICK_EXPORTED
    part = min(AT_ONCE, rows)
    with lakerunner.open(tmp_path) as lake:
        for first in range(0, rows, part):
            places = np.arange(first, first + part)
            zeros = pa.array(np.zeros(part, np.int32))
            times = pa.array(START * 1000 + places, pa.timestamp("ms", "UTC"))
            names = {"metric_name": pa.array(["m"]).take(zeros)}
            names["metric_type"] = pa.array(["gauge"]).take(zeros)
            lake.ingest(
                pa.table({**names, "timestamp": times, "value": places.astype(float)}),
                signal="metrics",
            )
        query = urlencode({"query": "SELECT timestamp, value FROM metrics", "format": form})
        most, before = 0, resident()

        def export() -> None:
            nonlocal most
            connection = HTTPConnection("127.0.0.1", port)
            connection.request("GET", f"/v1/export?{query}")
            answer = connection.getresponse()
            size = 0
            while piece := answer.read(1 << 20):
                size += len(piece)
                most = max(most, resident())
            assert size > rows
            connection.close()

        with listening(lake) as port:
            benchmark.pedantic(export, rounds=1)  # type: ignore[no-untyped-call] # the plugin has no type for it
    if benchmark.stats is not None:
        benchmark.extra_info["rows_per_s"] = rows / benchmark.stats.stats.mean
    benchmark.extra_info["grown_mib"] = (most - before) / 2**20


def test_idle_connections_keep_nobody_from_asking(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """An answer while others say nothing; `ulimit -n` has to be above twice their number."""
    timed = request.config.getoption("benchmark_enable")
    number = CONNECTIONS if timed else QUICK_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 3 * number)), hard))
    with lakerunner.open(tmp_path) as lake, listening(lake) as port, ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))

        def ask() -> None:
            connection = HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b"ok\n"
            connection.close()

        benchmark(ask)


def test_many_clients_follow_a_table(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """5,000 rows a second to 100 clients: `behind_s` is how long the last row of all took."""
    timed = request.config.getoption("benchmark_enable")
    clients, seconds = (CLIENTS, TAIL_SECONDS) if timed else (QUICK_CLIENTS, 1)
    wanted = seconds * TAIL_ROWS
    ready, ended = threading.Barrier(clients + 1), list[float]()

    def follow(port: int) -> None:
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/v1/tail?column=body&limit=10000")
        answer = connection.getresponse()
        assert answer.readline().startswith(b"event: place")
        ready.wait()
        rows = 0
        while rows < wanted:
            rows += answer.readline().count(b'"body"')
        ended.append(time.perf_counter())
        connection.close()

    with lakerunner.open(tmp_path) as lake:
        lake.ingest(b'{"message": "first"}')

        def run() -> None:
            threads = [threading.Thread(target=follow, args=(port,)) for _ in range(clients)]
            for thread in threads:
                thread.start()
            ready.wait()
            last = 0.0
            for second in range(seconds):
                begun = time.perf_counter()
                lake.ingest(b'{"message": "row"}\n' * TAIL_ROWS)
                last = time.perf_counter()
                if second < seconds - 1:
                    time.sleep(max(0.0, 1 - (last - begun)))
            for thread in threads:
                thread.join()
            benchmark.extra_info["behind_s"] = max(ended) - last

        with listening(lake) as port:
            benchmark.pedantic(run, rounds=1)  # type: ignore[no-untyped-call] # the plugin has no type for it

"""Receivers beside the file path: OTLP over HTTP and gRPC, syslog over UDP, remote write.

A server is a process of its own, `lakerunner serve --journal`, on the same cores as its clients.
What is timed ends when all that was sent is committed; acknowledgements come before, from the
journal. Run as a test, a few requests of each are sent, and only counts are compared.

`pytest benchmarks/test_intake.py --benchmark-enable -s` prints the figures.
"""

from __future__ import annotations

import gzip
import http.client
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import numpy as np
import pyarrow as pa
import pytest

import lakerunner
from lakerunner.generate import TelemetryConfig
from lakerunner.generate.requests import requests_of
from lakerunner.intake.protocols.messages import WRITE, new_message
from lakerunner.model.signal import Signal
from lakerunner.testing.servers.process import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_benchmark.fixture import BenchmarkFixture

CLIENTS, PER_REQUEST = 8, 1000
_EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


class Served(NamedTuple):
    """A server."""

    directory: Path
    http: int
    grpc: int
    syslog: int

    def metric(self, name: str) -> float:
        """A value of `/metrics`, or the sum of those with labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        found = re.findall(rf"^lakerunner_{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    def rows(self) -> int:
        """Rows that are committed."""
        return int(self.metric("intake_rows_total"))

    def wait(self, rows: int) -> None:
        """Return when so many rows are committed."""
        while self.rows() < rows:
            time.sleep(0.05)


@pytest.fixture(scope="module")
def scale(request: pytest.FixtureRequest) -> int:
    """How many times more is sent when it is timed."""
    option = request.config.getoption
    return 50 if option("benchmark_enable") or not option("benchmark_disable") else 1


@contextmanager
def serving(directory: Path) -> Iterator[Served]:
    made = Served(directory / "lake", *free_ports(3))
    command = [str(Path(sys.executable).with_name("lakerunner")), "serve", str(made.directory)]
    command += ["--http", f"127.0.0.1:{made.http}", "--journal", str(directory / "journal")]
    command += ["--otlp-grpc", f"127.0.0.1:{made.grpc}"]
    command += ["--syslog", f"udp://127.0.0.1:{made.syslog}"]
    log = (directory / "log").open("w+")
    with log, subprocess.Popen(command, stderr=log) as process:
        try:
            while "listening" not in Path(log.name).read_text():
                assert process.poll() is None
                time.sleep(0.05)
            yield made
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def requests(scale: int) -> list[bytes]:
    """Export requests of a thousand log records each."""
    count = 4 * scale
    config = TelemetryConfig(
        rate=PER_REQUEST, duration_s=count, signals=(Signal.LOGS,), records_per_object=PER_REQUEST
    )
    found = [request.data for _, request in requests_of(config) if request.records == PER_REQUEST]
    return found[:count]


class HttpClient:
    """Sends bodies over one connection."""

    def __init__(self, port: int, path: str, headers: dict[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._path, self._headers = path, headers

    def send(self, body: bytes) -> None:
        self._connection.request("POST", self._path, body, self._headers)
        answer = self._connection.getresponse()
        assert (answer.status // 100, answer.read()) == (2, b"")

    def close(self) -> None:
        self._connection.close()


class GrpcClient:
    """Sends export requests of logs over one connection."""

    def __init__(self, port: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        self._export = self._channel.unary_unary(_EXPORT)

    def send(self, body: bytes) -> None:
        assert self._export(body, compression=grpc.Compression.Gzip) == b""

    def close(self) -> None:
        self._channel.close()


def sent_by_clients(client: Callable[[], HttpClient | GrpcClient], bodies: Sequence[bytes]) -> Any:
    """Send bodies from several clients at once; the seconds each took, in rising order."""

    def work(number: int) -> list[float]:
        took = []
        with closing(client()) as one:
            for body in bodies[number::CLIENTS]:
                started = time.perf_counter()
                one.send(body)
                took.append(time.perf_counter() - started)
        return took

    with ThreadPoolExecutor(CLIENTS) as threads:
        found = list(threads.map(work, range(CLIENTS)))
    return np.sort(np.concatenate(list(map(np.array, found))))


def told(name: str, rows: int, seconds: float, **more: float) -> None:
    figures = ", ".join(f"{key} {value:,.3f}" for key, value in more.items())
    sys.stdout.write(f"\n{name}: {rows / seconds:,.0f}/s in {seconds:.2f} s, {figures}\n")


def from_files(directory: Path, bodies: Sequence[bytes]) -> float:
    """The seconds that the same bytes take as files."""
    for number, body in enumerate(bodies):
        (directory / f"logs_{number:05}.binpb.gz").write_bytes(body)
    with lakerunner.open(directory.parent / "by-file") as lake:
        started = time.perf_counter()
        assert lake.ingest(str(directory)).rows == len(bodies) * PER_REQUEST
        return time.perf_counter() - started


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_otlp(
    benchmark: BenchmarkFixture,
    served: Served,
    requests: list[bytes],
    tmp_path: Path,
    protocol: str,
) -> None:
    packed = [gzip.compress(body, 6) for body in requests]
    kind = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}

    def client() -> HttpClient | GrpcClient:
        if protocol == "grpc":
            return GrpcClient(served.grpc)
        return HttpClient(served.http, "/v1/logs", kind)

    rows = len(requests) * PER_REQUEST
    bodies = packed if protocol == "http" else requests
    took: list[Any] = []

    def run() -> None:
        took.append(sent_by_clients(client, bodies))
        served.wait(rows)

    started = time.perf_counter()
    benchmark.pedantic(run, rounds=1)  # type: ignore[no-untyped-call]
    seconds = time.perf_counter() - started
    assert served.rows() == rows
    (tmp_path / "raw").mkdir()
    files = from_files(tmp_path / "raw", packed)
    p99 = float(took[0][int(len(took[0]) * 0.99)])
    told(f"otlp {protocol}", rows, seconds, of_file_path=files / seconds, p99_seconds=p99)


def test_syslog(benchmark: BenchmarkFixture, served: Served, scale: int) -> None:
    count = 500 if scale == 1 else 30_000 * scale
    lines = [
        b"<165>1 2026-01-01T00:00:%02d.003Z web%d shop %d ID47 - request %d handled"
        % (number % 60, number % 20, number, number)
        for number in range(min(count, 10_000))
    ]

    def run() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(("127.0.0.1", served.syslog))
            for start in range(0, count, len(lines)):
                for line in lines[: count - start]:
                    sender.send(line)
        while served.metric("listener_received_messages_total") < count:
            time.sleep(0.05)
        written = count - served.metric("listener_dropped_messages_total")
        served.wait(int(written))

    started = time.perf_counter()
    benchmark.pedantic(run, rounds=1)  # type: ignore[no-untyped-call]
    seconds = time.perf_counter() - started
    dropped = served.metric("listener_dropped_messages_total")
    assert served.rows() == count - dropped
    told("syslog udp", served.rows(), seconds, dropped=dropped, sent_a_second=count / seconds)


def test_remote_write(benchmark: BenchmarkFixture, served: Served, scale: int) -> None:
    series, samples, count = 40 * scale, 5, 2 * scale
    write = new_message(WRITE)
    for number in range(series):
        made = write.series.add()
        labels = {"__name__": f"metric_{number % 50}", "job": "api", "instance": f"h{number % 40}"}
        for name, value in {**labels, "path": f"/v1/{number}", "method": "GET"}.items():
            made.labels.add(name=name, value=value)
        for at in range(samples):
            made.samples.add(value=at, timestamp=1767225600000 + at * 15_000)
    body: bytes = pa.Codec("snappy").compress(write.SerializeToString(), asbytes=True)

    def client() -> HttpClient:
        return HttpClient(served.http, "/api/v1/write", {})

    rows = series * samples * count
    took: list[float] = []

    def run() -> None:
        started = time.perf_counter()
        sent_by_clients(client, [body] * count)
        took.append(time.perf_counter() - started)
        served.wait(rows)

    started = time.perf_counter()
    benchmark.pedantic(run, rounds=1)  # type: ignore[no-untyped-call]
    seconds = time.perf_counter() - started
    assert served.rows() == rows
    told("remote write", rows, seconds, acknowledged_a_second=rows / took[0])

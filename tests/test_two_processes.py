"""A lake in S3 with no database: two processes take the same, one is killed, counts are exact."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import lakerunner
from lakerunner.generate import TelemetryConfig, generate_objects
from lakerunner.store import open_store
from lakerunner.testing.servers import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lakerunner.testing.servers import Service

CODE = """
import json, sys
import lakerunner
url, source, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
halting = len(sys.argv) > 4

def halt(event):
    print("committed", flush=True)
    sys.stdin.readline()

with lakerunner.open(url, storage_options=options, config={"batch_objects": 4}) as lake:
    print("open", flush=True)
    sys.stdin.readline()
    lake.ingest(source, progress=halt if halting else None)
"""
FOLDERS = ("otlp", "otlp-json")
TABLES = {
    "logs": ("body", "level"),
    "spans": ("span_id", "name"),
    "metrics": ("series_id", "value"),
}


def worker(
    lake: str, raw: str, options: Mapping[str, object], *, halting: bool = False
) -> subprocess.Popen[str]:
    """A process that has opened the lake and waits to begin; it may halt after its first commit."""
    command = [sys.executable, "-c", CODE, lake, raw, json.dumps(dict(options))]
    command += ["halt"] * halting
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def rows_of(lake: lakerunner.Lake) -> dict[str, Counter[Any]]:
    """The rows of each table as a multiset, without times: some are those of their object."""
    found = {}
    for table, columns in TABLES.items():
        rows = lake.sql(f"SELECT {', '.join(columns)} FROM {table}").to_arrow()
        found[table] = Counter(zip(*(rows[name].to_pylist() for name in columns), strict=True))
    return found


@pytest.fixture
def generated() -> Iterator[tuple[str, bytes]]:
    config = TelemetryConfig(rate=200, duration_s=60, records_per_object=300)
    return generate_objects(config)


@pytest.fixture
def captured(telemetry: Path) -> Iterator[tuple[str, bytes]]:
    files = (path for folder in FOLDERS for path in sorted((telemetry / folder).rglob("*")))
    return ((p.relative_to(telemetry).as_posix(), p.read_bytes()) for p in files if p.is_file())


@pytest.mark.parametrize("input_of", ["generated", "captured"])
def test_two_processes_of_which_one_is_killed(
    seaweed: Service, request: pytest.FixtureRequest, input_of: str
) -> None:
    objects = dict(request.getfixturevalue(input_of))
    place, options = f"two-{input_of}", seaweed.storage_options
    for url in (f"memory://{place}/raw", f"s3://lake/{place}/raw"):
        store = open_store(url, options if url.startswith("s3") else None)
        for key, data in objects.items():
            store.put(key, data)
        store.close()
    with lakerunner.open(f"memory://{place}/lake") as reference:
        report = reference.ingest(f"memory://{place}/raw/")
        expected, rejected = rows_of(reference), len(report.rejected)
    assert report.objects + sum(one.rows is None for one in report.rejected) == len(objects)

    lake, raw = f"s3://lake/{place}/lake", f"s3://lake/{place}/raw/"
    first, second = worker(lake, raw, options, halting=True), worker(lake, raw, options)
    begin(first)
    begin(second)
    with lakerunner.open(lake, storage_options=options) as watching:
        assert first.stdout is not None
        assert first.stdout.readline() == "committed\n"  # and it has more to do
        first.send_signal(signal.SIGKILL)
        assert not rows_of(watching)["logs"] - expected["logs"]
        first.communicate()
        assert first.returncode == -signal.SIGKILL
        again = worker(lake, raw, options)
        begin(again)
        for process in (second, again):
            process.communicate()
            assert process.returncode == 0
        found = rows_of(watching)
        for table in TABLES:
            assert found[table].total() == expected[table].total()
            assert found[table] == expected[table]
        assert len(watching.rejected()) == rejected
        assert watching.ingest(raw).objects == 0


def test_requests_of_an_ingest_and_a_query(moto_s3: Service) -> None:
    """One GET for each raw object, two PUTs for each segment at most, nothing of what is pruned.

    Beside these, a lake is made with two, and a call that committed notes how far it came with one.
    """
    config = TelemetryConfig(rate=2, duration_s=3 * 3600, records_per_object=1000)
    with Proxy(moto_s3.endpoint) as proxy:
        options = {**moto_s3.storage_options, "endpoint_url": proxy.url}
        store = open_store("s3://lake/requests/raw", options)
        keys = [store.put(key, data).key for key, data in generate_objects(config)]
        store.close()
        with lakerunner.open("s3://lake/requests/lake", storage_options=options) as lake:
            proxy.reset()
            report = lake.ingest("s3://lake/requests/raw/")
            assert (report.objects, report.segments > 1) == (len(keys), True)
            asked = proxy.counts()
            assert all(asked["GET", f"/lake/requests/raw/{key}"] == 1 for key in keys)
            raw = {path for _, path in asked if "/requests/raw/" in path}
            assert raw == {f"/lake/requests/raw/{key}" for key in keys}
            puts = [path for method, path in asked.elements() if method == "PUT"]
            assert sum("/segments/" in path for path in puts) == report.segments
            assert sum("/heights/" in path for path in puts) == 1
            assert len(puts) <= 2 + 2 * report.segments + 1

            *_, last = lake.segments("logs")
            text = "SELECT count(*), max(length(body)) FROM logs WHERE timestamp >= "
            result = lake.sql(f"{text}to_timestamp_nanos({last.max_timestamp_ns})")
            result.to_arrow()
            assert result.stats.pruned >= 1
            read = {path for _, path in proxy.counts() if "/segments/" in path}
            assert read == {f"/lake/requests/lake/{last.key}"}

"""Processes that commit to one catalog at the same time: commits a second, and who gets them.

Timed, 1, 4 and 10 processes commit for five seconds each; run as a test, two of them ten times. A
process commits one segment and one source at a time, without a pause.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lakerunner.testing.servers import seaweedfs
from lakerunner.testing.servers.postgres import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

WRITER = """
import json, sys, time
from lakerunner.catalog import open_catalog
from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.store import open_store
from lakerunner.testing.values import make_commit, make_segment, make_source

url, options, name, seconds, commits = sys.argv[1:]
catalog = (
    BucketCatalog(open_store(url.removeprefix("bucket+"), storage_options=json.loads(options)))
    if url.startswith("bucket+")
    else open_catalog(url)
)
catalog.sources([make_source("warm")])
print("ready", flush=True)
sys.stdin.readline()
number, longest, end = 0, 0.0, time.monotonic() + float(seconds)
while time.monotonic() < end and number < int(commits):
    begun = time.monotonic()
    one = f"{name}-{number}"
    catalog.commit(make_commit(one, add=[make_segment(one, number)], take=[make_source(one)]))
    longest = max(longest, time.monotonic() - begun)
    number += 1
print(json.dumps([number, longest]))
"""


@pytest.fixture(scope="module", params=["sqlite", "bucket on files", "bucket on S3", "postgresql"])
def catalog(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """The URL of a catalog, and options of its store as JSON."""
    place: Path = tmp_path_factory.mktemp("writers")
    if request.param == "sqlite":
        yield f"sqlite://{place}/catalog.db", "{}"
    elif request.param == "bucket on files":
        yield f"bucket+file://{place}", "{}"
    elif request.param == "bucket on S3":
        with seaweedfs() as service:
            yield "bucket+s3://lake/writers", json.dumps(dict(service.storage_options))
    else:
        with postgres(durable=True) as server:
            yield server.url(), "{}"


@pytest.mark.parametrize("writers", [1, 4, 10])
def test_writers(
    benchmark: BenchmarkFixture,
    request: pytest.FixtureRequest,
    catalog: tuple[str, str],
    writers: int,
) -> None:
    """All of them together; a fair share is within a factor of three of every other."""
    option = request.config.getoption
    timed = option("benchmark_enable") or not option("benchmark_disable")
    seconds, commits = (5, 10**9) if timed else (60, 10)
    writers = writers if timed else min(writers, 2)

    def run() -> list[tuple[int, float]]:
        arguments = [*catalog, str(seconds), str(commits)]
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, *arguments[:2], f"{writers}-{n}", *arguments[2:]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for n in range(writers)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:  # all of them, before any is waited for
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [tuple(json.loads(process.communicate()[0])) for process in processes]

    outcomes = benchmark.pedantic(run, rounds=1)  # type: ignore[no-untyped-call]
    numbers = [number for number, _ in outcomes]
    benchmark.extra_info["commits_a_second"] = sum(numbers) / seconds
    benchmark.extra_info["fewest"], benchmark.extra_info["most"] = min(numbers), max(numbers)
    benchmark.extra_info["longest_wait_s"] = max(longest for _, longest in outcomes)
    assert min(numbers) > 0

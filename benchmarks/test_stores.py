"""Ingest from S3 compared with ingest from this machine's disk, and commits to a bucket catalog.

S3 is SeaweedFS on the same machine: it takes its share of the same processors, which a real service
does not, and answers sooner than one.
"""

from __future__ import annotations

import gzip
import time
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import pytest

import lakerunner
from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.generate import logs_request
from lakerunner.store import open_store
from lakerunner.testing.servers import seaweedfs
from lakerunner.testing.values import make_commit, make_segment, make_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_benchmark.fixture import BenchmarkFixture

    from lakerunner.testing.servers import Service

RECORDS = 2000
LAKES = count()


class Raw(NamedTuple):
    """The same objects, here and there.

    Attributes:
        url: Where they lie.
        home: Where lakes are made.
        options: How both are reached.
        objects: How many there are.
    """

    url: str
    home: str
    options: Mapping[str, object]
    objects: int


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with seaweedfs() as service:
        yield service


@pytest.fixture(scope="module")
def places(
    service: Service, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, Raw]:
    """120 gzipped objects of 2,000 records; run as a test, four."""
    objects = 120 if request.config.getoption("benchmark_enable", default=False) else 4
    folder = tmp_path_factory.mktemp("stores")
    disk = Raw(f"{folder}/raw/", f"{folder}/lakes", {}, objects)
    bucket = Raw("s3://lake/raw/", "s3://lake/lakes", service.storage_options, objects)
    for place in (disk, bucket):
        store = open_store(place.url, place.options)
        for number in range(objects):
            data = gzip.compress(logs_request(RECORDS, seed=number), 6)
            store.put(f"logs_{number:03d}.binpb.gz", data)
        store.close()
    return {"disk": disk, "s3": bucket}


def ingest(place: Raw) -> float:
    """Seconds of an ingest into a new lake beside the objects."""
    url = f"{place.home}/{next(LAKES)}"
    with lakerunner.open(url, storage_options=place.options) as lake:
        begun = time.perf_counter()
        report = lake.ingest(place.url)
        seconds = time.perf_counter() - begun
    assert (report.objects, report.rows) == (place.objects, place.objects * RECORDS)
    return seconds


def test_ingest_from_s3(benchmark: BenchmarkFixture, places: dict[str, Raw]) -> None:
    """From S3 to S3 with a bucket catalog; the goal is 80 % of the rate of disk to disk."""
    rounds = 1 if places["s3"].objects < 10 else 5
    pairs = [(ingest(places["disk"]), ingest(places["s3"])) for _ in range(rounds)]
    benchmark.pedantic(ingest, args=(places["s3"],), rounds=1)  # type: ignore[no-untyped-call]
    disk, s3 = (sorted(seconds)[rounds // 2] for seconds in zip(*pairs, strict=True))
    rows = places["s3"].objects * RECORDS
    benchmark.extra_info["disk_rows_per_s"] = round(rows / disk)
    benchmark.extra_info["s3_rows_per_s"] = round(rows / s3)
    benchmark.extra_info["share_of_disk"] = round(disk / s3, 3)
    if rounds > 1:
        assert disk / s3 > 0.6, "far below the goal, which noise alone does not explain"


def test_commit_to_a_bucket(benchmark: BenchmarkFixture, service: Service) -> None:
    """Commits of one writer, checkpoints included; the goal is 10 a second."""
    store = open_store(f"s3://lake/commits/{next(LAKES)}", service.storage_options)
    catalog = BucketCatalog(store)
    numbers = count()

    def commit() -> int:
        name = f"c{next(numbers)}"
        added = [make_segment(f"{name}-{n}", n) for n in range(10)]
        taken = [make_source(f"{name}-{n}") for n in range(100)]
        return catalog.commit(make_commit(name, add=added, take=taken))

    benchmark.pedantic(commit, rounds=300, warmup_rounds=1)  # type: ignore[no-untyped-call]
    store.close()

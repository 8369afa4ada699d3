"""Planning and committing in a bucket catalog of a million segments.

Timed, one table holds a million segments, 121 in each hour; run as a test, ten thousand. Every
tenth hour has the statistics of a real segment, 30 columns in 3 kB, and only these are asked for.
The bucket is a directory; what a request costs elsewhere comes on top: one listing a question, one
put a commit.
"""

from __future__ import annotations

import random
from itertools import count, cycle
from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.model.segment import ColumnStats
from lakerunner.model.times import NANOS, TimeRange
from lakerunner.store import CountingStore, open_store
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment, make_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from lakerunner.model.commit import Commit
    from lakerunner.model.segment import Segment

HOUR = 3600 * NANOS
PER_HOUR = 121
RICH_HOURS = 10
GRACE_NS = 0


def rich_columns(rng: random.Random, first_ns: int, last_ns: int) -> dict[str, ColumnStats]:
    """Statistics as a segment of logs has them, with bounds that do not compress."""
    columns = {"timestamp": ColumnStats("timestamp", min=first_ns, max=last_ns)}
    for number in range(29):
        name = f"request.header.{number}"
        columns[f"attr_{name.replace('.', '_')}"] = ColumnStats(
            "string",
            nulls=rng.randrange(1000),
            min=f"{rng.getrandbits(64):016x}",
            max=f"{rng.getrandbits(64):016x}",
            key=name,
            types=("string",),
        )
    return columns


def segments(number: int, rng: random.Random) -> Iterator[Segment]:
    """Segments in the order of time."""
    for index in range(number):
        first_ns = index * HOUR // PER_HOUR
        hour = first_ns // HOUR
        last_ns = min(first_ns + rng.randrange(60 * NANOS), (hour + 1) * HOUR - 1)
        rich = hour % RICH_HOURS == 0
        yield make_segment(
            f"{index:09d}",
            first_ns,
            last_ns,
            rows=50_000,
            size=4 << 20,
            columns=rich_columns(rng, first_ns, last_ns) if rich else None,
        )


@pytest.fixture(scope="module")
def size(request: pytest.FixtureRequest) -> int:
    """Segments in the table."""
    option = request.config.getoption
    timed = option("benchmark_enable") or not option("benchmark_disable")
    return 1_000_000 if timed else 10_000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, size: int) -> Path:
    """A lake with the segments, and half as many sources again."""
    place = tmp_path_factory.mktemp("bucket")
    catalog = BucketCatalog(open_store(place), grace_ns=GRACE_NS)
    rng = random.Random(1)
    entries = segments(size, rng)
    for start in range(0, size, 2000):
        added = [segment for _, segment in zip(range(2000), entries, strict=False)]
        taken = [make_source(f"otel-raw/acme/{start + n:09d}.binpb.gz") for n in range(1000)]
        catalog.commit(make_commit(f"c{start}", add=added, take=taken))
    catalog.checkpoint()
    catalog.purge([])
    return place


@pytest.fixture(scope="module")
def catalog(place: Path) -> BucketCatalog:
    """The lake, opened anew."""
    return BucketCatalog(open_store(place))


def test_plan_one_hour(benchmark: BenchmarkFixture, catalog: BucketCatalog, size: int) -> None:
    """Find and decode the segments of one hour; the target is 50 ms."""
    hours = cycle(range(0, size // PER_HOUR, RICH_HOURS))

    def plan() -> int:
        hour = next(hours)
        time_range = TimeRange(hour * HOUR, (hour + 1) * HOUR)
        return len(catalog.segments(ORGANIZATION, "logs", time_range))

    assert benchmark(plan) == PER_HOUR


def test_open(benchmark: BenchmarkFixture, place: Path, size: int) -> None:
    """Open the lake and plan one hour, in a process that knows nothing yet."""

    def plan() -> int:
        opened = BucketCatalog(open_store(place))
        return len(opened.segments(ORGANIZATION, "logs", TimeRange(0, HOUR)))

    assert benchmark.pedantic(plan, rounds=3) == PER_HOUR  # type: ignore[no-untyped-call]
    assert size


def test_commit(benchmark: BenchmarkFixture, place: Path) -> None:
    """Commit 10 segments and 100 sources behind a million of each, checkpoints included."""
    rng = random.Random(2)
    numbers = count()
    store = CountingStore(open_store(place))
    catalog = BucketCatalog(store)
    assert catalog.sources([make_source("unknown")]) == {}

    def plan() -> tuple[tuple[Commit], dict[str, object]]:
        name = f"new-{next(numbers)}"
        columns = rich_columns(rng, 0, HOUR - 1)
        added = [make_segment(f"{name}-{n}", n, HOUR - 1, columns=columns) for n in range(10)]
        sources = [make_source(f"{name}-{n}.binpb.gz") for n in range(100)]
        return (make_commit(name, add=added, take=sources),), {}

    before = store.counts
    benchmark.pedantic(catalog.commit, setup=plan, rounds=200)  # type: ignore[no-untyped-call]
    counts = store.counts - before
    commits = next(numbers)
    assert commits <= counts.put <= 1.2 * commits
    benchmark.extra_info["bytes_written"] = counts.bytes_written // commits

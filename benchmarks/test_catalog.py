"""Planning and committing in catalogs of a million segments, in SQLite and in PostgreSQL.

Timed, the catalog holds a million segments of ten organizations, 121 in each hour; run as a test,
ten thousand. Every tenth hour has the statistics of a real segment, 30 columns in 5 kB, and only
these hours are asked for: what lies beside them makes the index deep, not the answer long.
"""

from __future__ import annotations

import random
from itertools import count, cycle, islice
from typing import TYPE_CHECKING

import psycopg
import pytest

from lakerunner.catalog import open_catalog
from lakerunner.model.segment import ColumnStats, encode_segment
from lakerunner.model.times import NANOS, TimeRange
from lakerunner.testing.servers.postgres import postgres
from lakerunner.testing.values import make_commit, make_segment, make_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from lakerunner.catalog import Catalog
    from lakerunner.model.commit import Commit
    from lakerunner.model.segment import Segment

HOUR = 3600 * NANOS
ORGANIZATIONS = [f"org-{number}" for number in range(10)]
PER_HOUR = 121
RICH_HOURS = 10
SERVICES = tuple(f"service-{number:02d}" for number in range(20))
RESOURCE = ("service.name", "service.version", "k8s.pod.name", "k8s.node.name", "host.name")
ATTRIBUTES = ("http.method", "http.status", "url.path", "user.id", "request.id", "thread.name")


def hexadecimal(rng: random.Random, digits: int) -> str:
    return f"{rng.getrandbits(4 * digits):0{digits}x}"


def rich_columns(rng: random.Random, first_ns: int, last_ns: int) -> dict[str, ColumnStats]:
    """Statistics as a segment of logs has them."""
    levels = ("DEBUG", "ERROR", "INFO", "WARN")
    columns = {
        "timestamp": ColumnStats("timestamp", min=first_ns, max=last_ns),
        "observed_timestamp": ColumnStats("timestamp", min=first_ns, max=last_ns),
        "severity_number": ColumnStats("int32", min=5, max=17),
        "severity_text": ColumnStats("string", min="DEBUG", max="WARN", values=levels),
        "level": ColumnStats("string", min="DEBUG", max="WARN", values=levels),
        "body": ColumnStats("string", min=f"GET /{hexadecimal(rng, 30)}", max="user logged in"),
        "trace_id": ColumnStats("string", min=hexadecimal(rng, 32), max=hexadecimal(rng, 32)),
        "span_id": ColumnStats("string", min=hexadecimal(rng, 16), max=hexadecimal(rng, 16)),
        "scope_name": ColumnStats("string", min="cart", max="web", values=("cart", "web")),
    }
    for key in RESOURCE:
        columns[f"resource_{key.replace('.', '_')}"] = ColumnStats(
            "string", min=SERVICES[0], max=SERVICES[-1], values=SERVICES, key=key, types=("string",)
        )
    for key in [f"{key}.{number}" for key in ATTRIBUTES for number in range(3)]:
        columns[f"attr_{key.replace('.', '_')}"] = ColumnStats(
            "string",
            nulls=rng.randrange(1000),
            min=hexadecimal(rng, 16),
            max=hexadecimal(rng, 16),
            key=key,
            types=("string",),
        )
    return columns


def segments(organization: str, number: int, rng: random.Random) -> Iterator[Segment]:
    """The first `number` segments of an organization, in the order of time."""
    for index in range(number):
        first_ns = index * HOUR // PER_HOUR
        hour = first_ns // HOUR
        last_ns = min(first_ns + rng.randrange(60 * NANOS), (hour + 1) * HOUR - 1)
        rich = hour % RICH_HOURS == 0
        yield make_segment(
            f"{organization}-{index:09d}",
            first_ns,
            last_ns,
            organization=organization,
            rows=50_000,
            size=4 << 20,
            columns=rich_columns(rng, first_ns, last_ns) if rich else None,
        )


@pytest.fixture(scope="module")
def size(request: pytest.FixtureRequest) -> int:
    """Segments of one organization."""
    option = request.config.getoption
    timed = option("benchmark_enable") or not option("benchmark_disable")
    return 100_000 if timed else 1_000


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def catalog(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, size: int
) -> Iterator[Catalog]:
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("catalog") / "catalog.db"
        with open_catalog(f"sqlite://{path}") as catalog:
            fill(catalog, size, size)
            yield catalog
        path.unlink()
    else:
        with postgres(durable=True) as server, open_catalog(server.url()) as catalog:
            # Commits make the first segments of each organization and all that goes with them;
            # the rest are copied into the same tables, which takes a tenth of the time.
            committed = min(size, 1_000)
            fill(catalog, committed, size)
            copy(server.url(), committed, size)
            yield catalog


def fill(catalog: Catalog, committed: int, size: int) -> None:
    """Commit the first of `size` segments of each organization."""
    rng = random.Random(1)
    for organization in ORGANIZATIONS:
        entries = list(islice(segments(organization, size, rng), committed))
        for start in range(0, committed, 2000):
            batch = entries[start : start + 2000]
            commit_id = f"{organization}-{start}"
            catalog.commit(make_commit(commit_id, organization=organization, add=batch))


def copy(url: str, committed: int, size: int) -> None:
    """Write the segments that were not committed into the tables of a PostgreSQL catalog."""
    rng = random.Random(3)
    copying = "COPY segments (id, table_number, min_ns, max_ns, added, payload) FROM STDIN"
    with psycopg.connect(url, autocommit=True, options="-c search_path=lakerunner") as connection:
        for organization in ORGANIZATIONS:
            query = "SELECT number FROM tables WHERE organization = %s"
            ((number,),) = connection.execute(query, (organization,)).fetchall()
            with connection.cursor() as cursor, cursor.copy(copying) as rows:
                for entry in islice(segments(organization, size, rng), committed, None):
                    first, last = entry.min_timestamp_ns, entry.max_timestamp_ns
                    rows.write_row((entry.id, number, first, last, 1, encode_segment(entry)))
        connection.execute("UPDATE tables SET segments = %s", (size,))


def test_plan_one_hour(benchmark: BenchmarkFixture, catalog: Catalog, size: int) -> None:
    """Find and decode the segments of one hour; the target is 5 ms."""
    hours = range(0, size // PER_HOUR, RICH_HOURS)
    questions = cycle([(name, hour) for hour in hours for name in ORGANIZATIONS])

    def plan() -> int:
        organization, hour = next(questions)
        time_range = TimeRange(hour * HOUR, (hour + 1) * HOUR)
        return len(catalog.segments(organization, "logs", time_range))

    assert benchmark(plan) == PER_HOUR
    (entry, *_) = catalog.segments(ORGANIZATIONS[0], "logs", TimeRange(0, 1))
    benchmark.extra_info["segments"] = size * len(ORGANIZATIONS)
    benchmark.extra_info["entry_bytes"] = len(encode_segment(entry))


def test_snapshot(benchmark: BenchmarkFixture, catalog: Catalog, size: int) -> None:
    """Describe a table: its totals are kept, not counted."""
    snapshot = benchmark(catalog.snapshot, ORGANIZATIONS[-1], "logs")
    assert snapshot.segments == size


def test_commit(benchmark: BenchmarkFixture, catalog: Catalog) -> None:
    """Commit 10 segments and 100 sources, synced to the disk."""
    rng = random.Random(2)
    numbers = count()

    def plan() -> tuple[tuple[Commit], dict[str, object]]:
        name = f"new-{next(numbers)}"
        columns = rich_columns(rng, 0, HOUR - 1)
        organization = "new"
        added = [
            make_segment(f"{name}-{n}", n, HOUR - 1, organization=organization, columns=columns)
            for n in range(10)
        ]
        sources = [
            make_source(
                f"otel-raw/acme/c1/year=2026/month=01/day=02/hour=03/minute=04/{name}-{n}.binpb.gz",
                etag=hexadecimal(rng, 32),
            )
            for n in range(100)
        ]
        commit = make_commit(name, organization=organization, add=added, take=sources)
        return (commit,), {}

    sequence = benchmark.pedantic(  # type: ignore[no-untyped-call]
        catalog.commit, setup=plan, rounds=300
    )
    assert catalog.snapshot("new", "logs").sequence == sequence
    assert catalog.snapshot("new", "logs").segments == 10 * next(numbers)


def test_look_sources_up(benchmark: BenchmarkFixture, catalog: Catalog) -> None:
    """Ask for 1,000 sources, half of them known: the first step of every ingest."""
    known = [make_source(f"otel-raw/acme/{n:07d}.binpb.gz") for n in range(1_000)]
    catalog.commit(make_commit("sources", take=known[::2]))
    states = benchmark(catalog.sources, known)
    assert len(states) == 500

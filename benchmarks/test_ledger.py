"""What a source costs a catalog that remembers it: bytes and time, at random keys.

As a test, ten thousand sources are taken in each catalog. As a script it takes as many as it is
told, 512 in a commit, and prints a line of a table at each of the sizes given:

    python benchmarks/test_ledger.py sqlite 1000000 4000000 10000000
"""

from __future__ import annotations

import random
import resource
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import psycopg
import pytest

from lakerunner.catalog import open_catalog
from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.store import open_store
from lakerunner.testing.servers.postgres import postgres
from lakerunner.testing.values import make_commit, make_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from lakerunner.catalog import Catalog
    from lakerunner.model.segment import Source

AT_ONCE = 512
CATALOGS = ("sqlite", "bucket", "postgresql")


def source(number: int) -> Source:
    """An object of a collector; its digest lies anywhere."""
    folder = "otel-raw/acme/c1/year=2026/month=01/day=02/hour=03/minute=04"
    return make_source(f"{folder}/{number:08x}.binpb.gz", etag=f"{number:032x}")


class Ledger(NamedTuple):
    """A catalog, and how many bytes it has on its disk in all."""

    catalog: Catalog
    size: Callable[[], int]


@contextmanager
def opened(kind: str, place: Path) -> Iterator[Ledger]:
    """An empty catalog of a kind."""
    if kind == "postgresql":
        with postgres() as server, open_catalog(server.url()) as catalog:
            yield Ledger(catalog, lambda: relations(server.url()))
        return
    # What was superseded is deleted at once, so that it is not counted.
    bucket = BucketCatalog(open_store(place), grace_ns=0) if kind == "bucket" else None
    with bucket or open_catalog(f"sqlite://{place}/catalog.db") as catalog:
        yield Ledger(catalog, lambda: sum(one.stat().st_size for one in files(place)))


def files(place: Path) -> Iterator[Path]:
    """All files below a directory, but for the log of writes of SQLite, which is used again."""
    return (one for one in place.rglob("*") if one.is_file() and not one.name.endswith("-wal"))


def relations(url: str) -> int:
    """Bytes of the tables of the ledger with their indexes, once vacuumed."""
    tables = ("ledger_recent", "ledger_blocks", "ledger_runs")
    with psycopg.connect(url, autocommit=True, options="-c search_path=lakerunner") as connection:
        total = 0
        for name in tables:
            connection.execute(f"VACUUM FULL {name}".encode())
            row = connection.execute("SELECT pg_total_relation_size(%s)", (name,)).fetchone()
            assert row is not None
            total += row[0]
        return total


def take(catalog: Catalog, first: int, end: int) -> float:
    """Take sources by commits of 512; returns the longest a commit took, in seconds."""
    longest = 0.0
    for start in range(first, end, AT_ONCE):
        some = [source(number) for number in range(start, min(end, start + AT_ONCE))]
        begun = time.perf_counter()
        catalog.commit(make_commit(f"c{start}", take=some))
        longest = max(longest, time.perf_counter() - begun)
    return longest


def ask(catalog: Catalog, size: int, rng: random.Random) -> float:
    """Look 512 sources up, half of them known; returns seconds."""
    asked = [source(rng.randrange(2 * size)) for _ in range(AT_ONCE)]
    begun = time.perf_counter()
    known = catalog.sources(asked)
    seconds = time.perf_counter() - begun
    assert known.keys() == {one for one in asked if int(one.etag, 16) < size}
    return seconds


@pytest.mark.parametrize("kind", CATALOGS)
def test_take_and_look_up(benchmark: BenchmarkFixture, tmp_path: Path, kind: str) -> None:
    """Look 512 sources up, half of them known, after all were taken and packed."""
    size, rng = 10_000, random.Random(1)
    with opened(kind, tmp_path) as ledger:
        take(ledger.catalog, 0, size)
        ledger.catalog.purge([])
        benchmark(lambda: ask(ledger.catalog, size, rng))


HEAD = (
    "| catalog | sources | bytes each | µs each, processor | µs each | longest commit, s "
    "| 512 looked up, ms, cold; median of 20 | peak of the process, MiB |\n"
)


def main(kind: str, *sizes: str) -> None:
    """Take sources, and say at each size what they cost by then."""
    sys.stdout.write(HEAD)
    rng, done = random.Random(1), 0
    with TemporaryDirectory() as directory, opened(kind, Path(directory)) as ledger:
        for size in map(int, sizes):
            begun, used = time.perf_counter(), time.process_time()
            longest = take(ledger.catalog, done, size)
            each = 1e6 / (size - done)
            seconds, used = time.perf_counter() - begun, time.process_time() - used
            done = size
            ledger.catalog.purge([])
            cold, *warm = [ask(ledger.catalog, size, rng) for _ in range(21)]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            sys.stdout.write(
                f"| {kind} | {size:,} | {ledger.size() / size:.1f} | {used * each:.0f} "
                f"| {seconds * each:.0f} | {longest:.2f} | {cold * 1e3:.0f}; "
                f"{sorted(warm)[10] * 1e3:.0f} | {peak} |\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What a source costs a SQLite catalog that remembers it: bytes, and time at random keys.

Timed, a million sources are taken, 512 in a commit; run as a test, ten thousand.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog.sqlite import SqliteCatalog
from lakerunner.testing.values import make_commit, make_source

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from lakerunner.model.source import Source

AT_ONCE = 512


def source(number: int) -> Source:
    """An object of a collector; its digest lies anywhere."""
    folder = "otel-raw/acme/c1/year=2026/month=01/day=02/hour=03/minute=04"
    return make_source(f"{folder}/{number:08x}.binpb.gz", etag=f"{number:032x}")


@pytest.fixture
def size(request: pytest.FixtureRequest) -> int:
    option = request.config.getoption
    timed = option("benchmark_enable") or not option("benchmark_disable")
    return 1_000_000 if timed else 10_000


def test_take_and_look_up(benchmark: BenchmarkFixture, tmp_path: Path, size: int) -> None:
    """Look 512 sources up, half of them known, after all were taken and packed."""
    path = tmp_path / "catalog.db"
    rng = random.Random(1)
    with SqliteCatalog(path) as catalog:
        for start in range(0, size, AT_ONCE):
            some = [source(number) for number in range(start, min(size, start + AT_ONCE))]
            catalog.commit(make_commit(f"c{start}", take=some))
        catalog._pack(1 << 62, at_least=1)  # noqa: SLF001 - a purge would leave the newest
        asked = [source(rng.randrange(2 * size)) for _ in range(AT_ONCE)]
        known = benchmark(catalog.sources, asked)
        assert known.keys() == {one for one in asked if int(one.etag, 16) < size}
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT sum(length(digests)), count(*) FROM ledger_blocks"
        ((used, blocks),) = connection.execute(query).fetchall()
    assert used == 16 * size
    benchmark.extra_info["bytes_each"] = 4096 * blocks / size
    assert 4096 * blocks / size < 20

"""Small queries of one organization beside the worst query of another.

Timed, the lake holds a million rows for each of two organizations; run as a test, a thousand. The
small queries are the same alone, beside a cross join of all rows, and beside a cross join where
every query has a process of its own. Without processes, no small query ends before the cross join
does, which is longer than anybody waits: it is not measured.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pytest

import lakerunner
from lakerunner.errors import QueryTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from lakerunner import Lake

ROWS, QUICK_ROWS = 1_000_000, 1_000
QUERIES = 20
SMALL = "SELECT level, count(*) AS rows FROM logs WHERE attr_n % 7 = {number} GROUP BY level"
WORST = "SELECT sum(a.attr_n * b.attr_n) FROM logs a, logs b, logs c, logs d"
WORST_SECONDS, QUICK_SECONDS = 60.0, 3.0


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> int:
    option = request.config.getoption
    timed = option("benchmark_enable") or not option("benchmark_disable")
    return ROWS if timed else QUICK_ROWS


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, rows: int) -> Path:
    directory: Path = tmp_path_factory.mktemp("fairness") / "lake"
    numbers = np.arange(rows)
    times = 1_790_002_800 * 10**9 + numbers * 10**6
    table = pa.table(
        {
            "timestamp": pa.array(times, pa.timestamp("ns", "UTC")),
            "body": pa.array([f"request {number} handled" for number in range(rows)]),
            "severity_text": np.array(["INFO", "ERROR", "WARN"])[numbers % 3],
            "n": numbers,
        }
    )
    with lakerunner.open(directory) as lake:
        for name in ("loud", "quiet"):
            lake.for_organization(name).ingest(table, signal="logs")
    return directory


@pytest.fixture(params=["auto", "process"])
def lake(request: pytest.FixtureRequest, filled: Path) -> Iterator[Lake]:
    isolation: Literal["auto", "process"] = request.param
    with lakerunner.open(filled, config={"query_isolation": isolation}) as opened:
        ask(opened.for_organization("quiet"))
        yield opened


def ask(quiet: Lake) -> int:
    """The small queries, one after the other; how many rows they returned."""
    texts = [SMALL.format(number=number % 7) for number in range(QUERIES)]
    return sum(quiet.sql(text).to_arrow().num_rows for text in texts)


def test_small_queries_alone(benchmark: BenchmarkFixture, lake: Lake) -> None:
    quiet = lake.for_organization("quiet")
    assert benchmark(ask, quiet) == 3 * QUERIES


def test_small_queries_beside_the_worst(benchmark: BenchmarkFixture, lake: Lake, rows: int) -> None:
    quiet, loud = lake.for_organization("quiet"), lake.for_organization("loud")
    outcomes: list[Any] = []
    seconds = QUICK_SECONDS if rows == QUICK_ROWS else WORST_SECONDS
    result = loud.sql(WORST, timeout=seconds)

    def run() -> None:
        try:
            outcomes.append(result.to_arrow())
        except QueryTimeoutError as error:
            outcomes.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert benchmark(ask, quiet) == 3 * QUERIES
    assert not outcomes, "the worst query ran all the while"
    thread.join()
    assert isinstance(outcomes[0], QueryTimeoutError)

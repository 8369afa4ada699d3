"""Questions to lakes of logs and of spans, beside plain DataFusion and DuckDB over the same files.

Three lakes, sorted by service and time as ingestion leaves them: `logs`, 10 million rows in 20
hourly segments; `spans`, 10 million in 100; `ids`, a million logs of 463 bytes as OTLP, full of
ids, in 16 segments of one hour. Run as a test, all are small. The peers scan the directory with
their default settings and no catalog.

`python -m benchmarks.test_query` prints the tables of docs/benchmarks.md. The lakes are made once,
in the directory for temporary files, or where the first argument says; those of another layout are
made anew.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pytest

from benchmarks.query_lakes import HOUR, LAKES, Engines, hour_of_logs
from lakerunner.catalog import open_catalog
from lakerunner.model.commit import Commit
from lakerunner.publish import Origin, make_segments
from lakerunner.query import QueryEngine
from lakerunner.schema.tables import TABLES
from lakerunner.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture


class Query(NamedTuple):
    """A question: to which lake, and how many of its segments are opened, at least and at most."""

    lake: str
    text: str
    least: int
    most: int


QUERIES = {
    "one hour, service and level": Query(
        "logs",
        """SELECT * FROM logs WHERE resource_service_name = 'service-07' AND level = 'ERROR'
        AND timestamp >= '2026-09-21T18:10:00Z' AND timestamp < '2026-09-21T18:20:00Z'""",
        1,
        1,
    ),
    "one trace": Query("logs", "SELECT * FROM logs WHERE trace_id = '{trace}'", 1, 3),
    "one trace in two hours": Query(
        "logs",
        """SELECT * FROM logs WHERE trace_id = '{trace}'
        AND timestamp >= '2026-09-22T09:00:00Z' AND timestamp < '2026-09-22T11:00:00Z'""",
        1,
        3,
    ),
    "one word": Query("logs", "SELECT * FROM logs WHERE search('{word}')", 1, 4),
    "an absent word": Query("logs", "SELECT * FROM logs WHERE body LIKE '%zebra%'", 0, 2),
    "an absent trace": Query("logs", f"SELECT * FROM logs WHERE trace_id = '{7:032x}'", 0, 2),
    "one hour, count": Query(
        "logs",
        """SELECT count(*) AS n FROM logs WHERE timestamp >= '2026-09-21T18:10:00Z'
        AND timestamp < '2026-09-21T18:20:00Z'""",
        1,
        1,
    ),
    "count by service": Query(
        "logs",
        "SELECT resource_service_name, count(*) AS n FROM logs GROUP BY 1 ORDER BY 1",
        0,
        0,
    ),
    "count by service and minute": Query(
        "logs",
        """SELECT resource_service_name, date_trunc('minute', timestamp) AS minute, count(*) AS n
        FROM logs GROUP BY 1, 2 ORDER BY 1, 2""",
        20,
        20,
    ),
    "errors by service and minute": Query(
        "logs",
        """SELECT resource_service_name, date_trunc('minute', timestamp) AS minute, count(*) AS n
        FROM logs WHERE level = 'ERROR' GROUP BY 1, 2 ORDER BY 1, 2""",
        20,
        20,
    ),
    "last 100 of a service": Query(
        "logs",
        """SELECT * FROM logs WHERE resource_service_name = 'service-03'
        ORDER BY timestamp DESC LIMIT 100""",
        1,
        1,
    ),
    "last 100 errors": Query(
        "logs", "SELECT * FROM logs WHERE level = 'ERROR' ORDER BY timestamp DESC LIMIT 100", 1, 1
    ),
    "first 100 rows of an error": Query(
        "logs", "SELECT * FROM logs WHERE level = 'FATAL' LIMIT 100", 1, 5
    ),
    "substring": Query(
        "logs", "SELECT count(*) AS n FROM logs WHERE body LIKE '%theta 12345%'", 20, 20
    ),
    "substring, rows": Query(
        "logs", "SELECT * FROM logs WHERE body LIKE '%theta 1234567%'", 20, 20
    ),
    "distinct users": Query("logs", "SELECT count(DISTINCT attr_user_id) AS n FROM logs", 20, 20),
    "mean by status": Query(
        "logs",
        """SELECT attr_http_response_status_code, avg(attr_duration_ms) AS mean FROM logs
        WHERE attr_http_response_status_code >= 500 GROUP BY 1 ORDER BY 1""",
        20,
        20,
    ),
    "spans: one trace": Query("spans", "SELECT * FROM spans WHERE trace_id = '{trace}'", 1, 4),
    "spans: last 100 errors": Query(
        "spans",
        "SELECT * FROM spans WHERE status_code = 'ERROR' ORDER BY timestamp DESC LIMIT 100",
        1,
        15,
    ),
    "spans: one hour, slowest 10": Query(
        "spans",
        """SELECT name, duration_ns FROM spans WHERE resource_service_name = 'service-05'
        AND timestamp >= '2026-09-21T18:00:00Z' AND timestamp < '2026-09-21T19:00:00Z'
        ORDER BY duration_ns DESC LIMIT 10""",
        1,
        1,
    ),
    "spans: count by service": Query(
        "spans",
        "SELECT resource_service_name, count(*) AS n FROM spans GROUP BY 1 ORDER BY 1",
        0,
        0,
    ),
    "ids: one request": Query(
        "ids", "SELECT * FROM logs WHERE attr_request_id = '{request}'", 1, 3
    ),
    "ids: one trace": Query("ids", "SELECT * FROM logs WHERE trace_id = '{trace}'", 1, 3),
    "ids: an absent word": Query("ids", "SELECT * FROM logs WHERE body LIKE '%zebra%'", 0, 2),
    "ids: substring": Query(
        "ids", "SELECT count(*) AS n FROM logs WHERE body LIKE '%order 12345%'", 16, 16
    ),
    "ids: count by service and minute": Query(
        "ids",
        """SELECT resource_service_name, date_trunc('minute', timestamp) AS minute, count(*) AS n
        FROM logs GROUP BY 1, 2 ORDER BY 1, 2""",
        16,
        16,
    ),
    "ids: newest 100 errors": Query(
        "ids", "SELECT * FROM logs WHERE level = 'ERROR' ORDER BY timestamp DESC LIMIT 100", 1, 6
    ),
    "ids: distinct users": Query(
        "ids", "SELECT count(DISTINCT attr_user_id) AS n FROM logs", 16, 16
    ),
    "ids: constant": Query("ids", "SELECT 1 AS n", 0, 0),
}


@pytest.fixture(scope="module")
def lakes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Engines]]:
    timed = request.config.getoption("benchmark_enable")
    place = tmp_path_factory.mktemp("lakes")
    made = {
        name: Engines(name, place, kind.timed if timed else kind.quick)
        for name, kind in LAKES.items()
    }
    yield made
    for one in made.values():
        one.close()


@pytest.mark.parametrize("engine", ["lakerunner", "datafusion", "duckdb"])
@pytest.mark.parametrize("name", QUERIES)
def test_query(
    benchmark: BenchmarkFixture, lakes: dict[str, Engines], engine: str, name: str
) -> None:
    benchmark.group = name
    engines = lakes[QUERIES[name].lake]
    text = engines.text(QUERIES[name].text)
    engines.ask(engine, text)  # footers are cached, as in a session that goes on
    table = benchmark(engines.ask, engine, text)
    benchmark.extra_info["rows"] = table.num_rows


@pytest.mark.parametrize("name", QUERIES)
def test_only_the_needed_segments_are_opened(lakes: dict[str, Engines], name: str) -> None:
    asked = QUERIES[name]
    engines = lakes[asked.lake]
    result = engines.engine.sql(engines.text(asked.text))
    result.to_arrow()  # for first rows, only then is it known how many were opened
    scanned = result.stats.scanned
    # A filter takes what is absent for present once in a hundred times; no row is lost for it.
    assert asked.least <= scanned <= asked.most
    if scanned:
        assert scanned + result.stats.pruned == engines.kind.segments
    assert result.stats.rows_scanned <= scanned * engines.rows


@pytest.mark.parametrize("name", QUERIES)
def test_all_engines_agree(lakes: dict[str, Engines], name: str) -> None:
    engines = lakes[QUERIES[name].lake]
    text = engines.text(QUERIES[name].text)
    ours = engines.ask("lakerunner", text)
    for peer in ("datafusion", "duckdb"):
        theirs = engines.ask(peer, text)
        assert theirs.num_rows == ours.num_rows
        if "n" in ours.schema.names:
            assert theirs["n"].to_pylist() == ours["n"].to_pylist()
        if "mean" in ours.schema.names:
            assert theirs["mean"].to_pylist() == pytest.approx(ours["mean"].to_pylist())


def test_ten_thousand_candidates(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Planning alone: what the catalog knows of ten thousand segments leaves none of them."""
    timed = benchmark.enabled
    engine = many_candidates(tmp_path, 10_000 if timed else 200)
    text = "SELECT * FROM logs WHERE resource_service_name = 'nobody'"
    result = benchmark(engine.sql, text)
    assert (result.stats.scanned, result.stats.pruned) == (0, 10_000 if timed else 200)
    engine.close()


def many_candidates(directory: Path, count: int) -> QueryEngine:
    """An engine over descriptions of hours of logs; there are no files."""
    (made,) = make_segments(
        hour_of_logs(np.random.default_rng(1), 0, 2_000),
        TABLES["logs"],
        Origin("default", "c"),
        HOUR,
    )
    one = made.described
    later = [
        msgspec.structs.replace(
            one,
            id=f"{number:08d}",
            key=f"{one.key}.{number}",
            window_start_ns=one.window_start_ns + number * HOUR,
            min_timestamp_ns=one.min_timestamp_ns + number * HOUR,
            max_timestamp_ns=one.max_timestamp_ns + number * HOUR,
        )
        for number in range(count)
    ]
    catalog = open_catalog(f"sqlite:///{directory}/catalog.db")
    for start in range(0, count, 1_000):
        catalog.commit(Commit(f"c{start}", "default", 0, add=tuple(later[start : start + 1_000])))
    return QueryEngine(open_store(str(directory)), catalog)


PEERS = ("lakerunner", "datafusion", "duckdb")
ROUNDS = 5


def main(place: Path) -> None:
    """Print medians of all queries and engines in milliseconds, files opened and bytes read."""
    print("| query | lakerunner | DataFusion | DuckDB | files opened | bytes read |")  # noqa: T201 - that is what it is for
    print("|---|---|---|---|---|---|")  # noqa: T201 - as above
    for lake, kind in LAKES.items():
        engines = Engines(lake, place, kind.timed)
        for name, asked in QUERIES.items():
            if asked.lake == lake:
                print(line(engines, name, engines.text(asked.text)), flush=True)  # noqa: T201 - as above
        print(f"\n{lake}: {engines.seeds.bytes:,} bytes\n", flush=True)  # noqa: T201 - as above
        engines.close()
    with tempfile.TemporaryDirectory() as directory:
        engine = many_candidates(Path(directory), 10_000)
        for text in ("= 'nobody'", "= 'service-03' AND attr_user_id < 0"):
            query = f"SELECT * FROM logs WHERE resource_service_name {text}"
            taken = [timed(engine.sql, query) for _ in range(ROUNDS)]
            first, later = taken[0], statistics.median(taken[1:])
            print(f"10,000 candidates, {text}: {first:.1f} ms, then {later:.1f} ms")  # noqa: T201 - as above
        engine.close()


def line(engines: Engines, name: str, text: str) -> str:
    times: dict[str, list[float]] = {one: [] for one in PEERS}
    for _ in range(ROUNDS):  # one after the other, so that other work slows all alike
        for one in PEERS:
            times[one].append(timed(engines.ask, one, text))
    result = engines.engine.sql(text)
    result.to_arrow()
    shown = [f"{statistics.median(taken[1:]):.1f}" for taken in times.values()]
    stats = result.stats
    share = stats.bytes_read / engines.seeds.bytes
    return (
        f"| {name} | {' | '.join(shown)} | {stats.scanned} | {stats.bytes_read:,} ({share:.1%}) |"
    )


def timed(work: Callable[..., Any], *arguments: Any) -> float:
    started = time.perf_counter()
    work(*arguments)
    return (time.perf_counter() - started) * 1e3


if __name__ == "__main__":
    kept = Path(tempfile.gettempdir()) / "lakerunner-query-lakes"
    main(Path(sys.argv[1]) if sys.argv[1:] else kept)

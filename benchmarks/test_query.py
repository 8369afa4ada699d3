"""SQL over a lake of logs, beside plain DataFusion and DuckDB over the same files.

Timed, the lake holds 10 million rows in 20 hourly segments, sorted by service and time as ingestion
leaves them; run as a test, 40,000 rows in 20 segments. The peers scan the directory with their
default settings and no catalog. `python benchmarks/test_query.py` prints the table of
docs/benchmarks.md.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datafusion import SessionContext

from lakerunner.catalog import open_catalog
from lakerunner.model.commit import Commit
from lakerunner.model.config import Config
from lakerunner.publish import Origin, SegmentWriter, make_segments
from lakerunner.query import QueryEngine
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.tables import TABLES
from lakerunner.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z
SEGMENTS = 20
ROWS, QUICK_ROWS = 500_000, 2_000
SEARCH = re.compile(r"search\('(\w+)'\)")
"""What the peers have no word for; the words of this lake stand at the end of a body."""
SERVICES = [f"service-{number:02d}" for number in range(20)]
LEVELS = ["DEBUG", "ERROR", "FATAL", "INFO", "WARN"]
EVENTS = ["request handled in", "cache miss for key", "timeout waiting for", "user logged in as"]
PLACES = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def dictionary(codes: Any, values: list[str]) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(values))


def hexadecimal(rng: np.random.Generator, rows: int, size: int) -> Any:
    """Random ids of `size` bytes, as text."""
    raw = np.frombuffer(rng.bytes(rows * size), np.uint8)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    text = np.stack([digits[raw >> 4], digits[raw & 15]], axis=1)
    offsets = np.arange(0, (rows + 1) * 2 * size, 2 * size, dtype=np.int32)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(text.tobytes()))


def hour_of_logs(rng: np.random.Generator, number: int, rows: int) -> Any:
    """One window of logs, sorted by service and time."""
    service = np.sort(rng.integers(0, len(SERVICES), rows))
    times = START + number * HOUR + rng.integers(0, HOUR, rows)
    times = times[np.lexsort((times, service))]
    events = pa.array([f"{event} {place}" for event in EVENTS for place in PLACES])
    body = pc.binary_join_element_wise(
        events.take(pa.array(rng.integers(0, len(events), rows))),
        pa.array(rng.integers(0, 10**7, rows)).cast(pa.string()),
        " ",
    )
    host = service * 3 + rng.integers(0, 3, rows)
    return pa.table(
        {
            "timestamp": pa.array(times, TIMESTAMP),
            "observed_timestamp": pa.array(times + 1000, TIMESTAMP),
            "level": dictionary(rng.choice(5, rows, p=[0.1, 0.08, 0.02, 0.6, 0.2]), LEVELS),
            "body": body,
            "trace_id": hexadecimal(rng, rows, 16),
            "span_id": hexadecimal(rng, rows, 8),
            "resource_service_name": dictionary(service, SERVICES),
            "resource_host_name": dictionary(host, [f"host-{n:02d}" for n in range(60)]),
            "attr_duration_ms": pa.array(rng.gamma(2, 50, rows)),
            "attr_http_response_status_code": pa.array(rng.choice([200, 204, 404, 500, 503], rows)),
            "attr_user_id": pa.array(rng.integers(0, 10**6, rows)),
        }
    )


class Engines:
    """The same files, asked in three ways."""

    def __init__(self, directory: Path, rows: int) -> None:
        rng = np.random.default_rng(1)
        store, catalog = open_store(str(directory)), open_catalog("memory://")
        self.rows = rows
        writer = SegmentWriter(store, Config())
        for number in range(SEGMENTS):
            table = hour_of_logs(rng, number, rows)
            for made in make_segments(table, TABLES["logs"], Origin("default", "c"), HOUR):
                writer.add(made)
        self.segments = writer.finish()
        self.trace_id = table["trace_id"][rows // 3].as_py()
        self.word = table["body"][rows // 5].as_py().rpartition(" ")[2]
        catalog.commit(Commit("c", "default", 0, add=self.segments))
        self.engine = QueryEngine(store, catalog)
        self._datafusion = SessionContext()
        flat = directory / "flat"
        flat.mkdir()
        for file in (directory / "segments").rglob("*.parquet"):
            (flat / file.name).hardlink_to(file)
        self._datafusion.register_parquet("logs", str(flat))
        self._duckdb = duckdb.connect()
        self._duckdb.execute("SET TimeZone = 'UTC'")
        files = flat / "*.parquet"
        self._duckdb.execute(f"CREATE VIEW logs AS SELECT * FROM read_parquet('{files}')")

    def ask(self, engine: str, text: str) -> Any:
        if engine == "lakerunner":
            return self.engine.sql(text).to_arrow()
        text = SEARCH.sub(r"body LIKE '% \1'", text)
        if engine == "datafusion":
            return self._datafusion.sql(text).to_arrow_table()
        # DuckDB has no date_trunc for nanoseconds.
        text = text.replace("minute', timestamp)", "minute', timestamp::TIMESTAMPTZ)")
        return self._duckdb.sql(text).to_arrow_table()

    def close(self) -> None:
        self.engine.close()
        self._duckdb.close()


@pytest.fixture(scope="module")
def engines(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engines]:
    timed = request.config.getoption("benchmark_enable")
    made = Engines(tmp_path_factory.mktemp("lake"), ROWS if timed else QUICK_ROWS)
    yield made
    made.close()


WINDOW = "timestamp >= TIMESTAMPTZ '{}' AND timestamp < TIMESTAMPTZ '{}'"
QUERIES: dict[str, tuple[str, int]] = {
    # text, and how many of the 20 segments are opened
    "one hour, service and level": (
        """SELECT * FROM logs WHERE resource_service_name = 'service-07' AND level = 'ERROR'
        AND timestamp >= '2026-09-21T18:10:00Z' AND timestamp < '2026-09-21T18:20:00Z'""",
        1,
    ),
    "one trace": ("SELECT * FROM logs WHERE trace_id = '{trace}'", 1),
    "one trace in two hours": (
        """SELECT * FROM logs WHERE trace_id = '{trace}'
        AND timestamp >= '2026-09-22T09:00:00Z' AND timestamp < '2026-09-22T11:00:00Z'""",
        1,
    ),
    "one word": ("SELECT * FROM logs WHERE search('{word}')", 1),
    "an absent word": ("SELECT * FROM logs WHERE body LIKE '%zebra%'", 0),
    "an absent trace": (f"SELECT * FROM logs WHERE trace_id = '{7:032x}'", 0),
    "one hour, count": (
        """SELECT count(*) AS n FROM logs WHERE timestamp >= '2026-09-21T18:10:00Z'
        AND timestamp < '2026-09-21T18:20:00Z'""",
        1,
    ),
    "count by service": (
        "SELECT resource_service_name, count(*) AS n FROM logs GROUP BY 1 ORDER BY 1",
        20,
    ),
    "errors by service and minute": (
        """SELECT resource_service_name, date_trunc('minute', timestamp) AS minute, count(*) AS n
        FROM logs WHERE level = 'ERROR' GROUP BY 1, 2 ORDER BY 1, 2""",
        20,
    ),
    "last 100 of a service": (
        """SELECT * FROM logs WHERE resource_service_name = 'service-03'
        ORDER BY timestamp DESC LIMIT 100""",
        1,
    ),
    "last 100 errors": (
        "SELECT * FROM logs WHERE level = 'ERROR' ORDER BY timestamp DESC LIMIT 100",
        1,
    ),
    "substring": ("SELECT count(*) AS n FROM logs WHERE body LIKE '%theta 12345%'", 20),
    "substring, rows": ("SELECT * FROM logs WHERE body LIKE '%theta 1234567%'", 20),
    "mean by status": (
        """SELECT attr_http_response_status_code, avg(attr_duration_ms) AS mean FROM logs
        WHERE attr_http_response_status_code >= 500 GROUP BY 1 ORDER BY 1""",
        20,
    ),
}


def text_of(engines: Engines, name: str) -> str:
    return QUERIES[name][0].replace("{trace}", engines.trace_id).replace("{word}", engines.word)


@pytest.mark.parametrize("engine", ["lakerunner", "datafusion", "duckdb"])
@pytest.mark.parametrize("name", QUERIES)
def test_query(benchmark: BenchmarkFixture, engines: Engines, engine: str, name: str) -> None:
    benchmark.group = name
    text = text_of(engines, name)
    engines.ask(engine, text)  # footers are cached, as in a session that goes on
    table = benchmark(engines.ask, engine, text)
    benchmark.extra_info["rows"] = table.num_rows


@pytest.mark.parametrize("name", QUERIES)
def test_only_the_needed_segments_are_opened(engines: Engines, name: str) -> None:
    result = engines.engine.sql(text_of(engines, name))
    result.to_arrow()  # for first rows, only then is it known how many were opened
    scanned = result.stats.scanned
    # A filter takes what is absent for present once in a hundred times; no row is lost for it.
    assert QUERIES[name][1] <= scanned <= QUERIES[name][1] + 2
    assert scanned + result.stats.pruned == SEGMENTS
    assert result.stats.rows_scanned <= scanned * engines.rows


@pytest.mark.parametrize("name", QUERIES)
def test_all_engines_agree(engines: Engines, name: str) -> None:
    text = text_of(engines, name)
    ours = engines.ask("lakerunner", text)
    for peer in ("datafusion", "duckdb"):
        theirs = engines.ask(peer, text)
        assert theirs.num_rows == ours.num_rows
        if "n" in ours.schema.names:
            assert theirs["n"].to_pylist() == ours["n"].to_pylist()
        if "mean" in ours.schema.names:
            assert theirs["mean"].to_pylist() == pytest.approx(ours["mean"].to_pylist())


def main() -> None:
    """Print medians of all queries and engines in milliseconds, files opened and bytes read."""
    with tempfile.TemporaryDirectory() as place:
        engines = Engines(Path(place), ROWS)
        size = sum(segment.bytes for segment in engines.segments)
        print(f"{size:,} bytes")  # noqa: T201 - that is what it is for
        print("| query | lakerunner | DataFusion | DuckDB | files | bytes read |")  # noqa: T201 - as above
        for name in QUERIES:
            text = text_of(engines, name)
            times: dict[str, list[float]] = {"lakerunner": [], "datafusion": [], "duckdb": []}
            for _ in range(7):  # one after the other, so that other work slows all alike
                for engine, taken in times.items():
                    started = time.perf_counter()
                    engines.ask(engine, text)
                    taken.append((time.perf_counter() - started) * 1e3)
            result = engines.engine.sql(text)
            result.to_arrow()
            shown = [f"{statistics.median(taken[1:]):.1f}" for taken in times.values()]
            read = f"{result.stats.scanned} | {result.stats.bytes_read:,}"
            print(f"| {name} | {' | '.join(shown)} | {read} |", flush=True)  # noqa: T201 - as above
        engines.close()


if __name__ == "__main__":
    main()

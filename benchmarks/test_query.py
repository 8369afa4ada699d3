"""Questions to lakes of logs and of spans, beside plain DataFusion and DuckDB over the same files.

Three lakes, sorted by service and time as ingestion leaves them: `logs`, 10 million rows in 20
hourly segments; `spans`, 10 million in 100; `ids`, a million logs of 463 bytes as OTLP, full of
ids, in 16 segments of one hour. Run as a test, all are small. The peers scan the directory with
their default settings and no catalog.

`python benchmarks/test_query.py` prints the tables of docs/benchmarks.md. The lakes are made once,
in the directory for temporary files, or where the first argument says; those of another layout are
made anew.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datafusion import SessionContext

from lakerunner.catalog import open_catalog
from lakerunner.limits import SEGMENT_FORMAT_VERSION
from lakerunner.model.commit import Commit
from lakerunner.model.config import Config
from lakerunner.publish import Origin, SegmentWriter, make_segments
from lakerunner.query import QueryEngine
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.tables import TABLES
from lakerunner.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z
LAYOUT = 2
"""Counts up with the rows that are made here."""
SEARCH = re.compile(r"search\('(\w+)'\)")
"""What the peers have no word for; the words of these lakes end a body."""
SERVICES = [f"service-{number:02d}" for number in range(20)]
LEVELS = ["DEBUG", "ERROR", "FATAL", "INFO", "WARN"]
EVENTS = ["request handled in", "cache miss for key", "timeout waiting for", "user logged in as"]
PLACES = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
METHODS = ["GET", "POST", "PUT", "DELETE"]
KINDS = ["CLIENT", "CONSUMER", "INTERNAL", "PRODUCER", "SERVER"]


def dictionary(codes: Any, values: list[str]) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(values))


def hexadecimal(rng: np.random.Generator, rows: int, size: int) -> Any:
    """Random ids of `size` bytes, as text."""
    raw = np.frombuffer(rng.bytes(rows * size), np.uint8)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    text = np.stack([digits[raw >> 4], digits[raw & 15]], axis=1)
    offsets = np.arange(0, (rows + 1) * 2 * size, 2 * size, dtype=np.int32)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(text.tobytes()))


def one_of(rng: np.random.Generator, rows: int, values: list[str]) -> Any:
    return dictionary(rng.integers(0, len(values), rows), values)


def numbered(prefix: str, numbers: Any) -> Any:
    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")


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


def hour_of_spans(rng: np.random.Generator, number: int, rows: int) -> Any:
    """One window of spans: ten to a trace."""
    times = START + number * HOUR + rng.integers(0, HOUR, rows)
    lengths = rng.lognormal(15, 1.5, rows).astype(np.int64)
    trace = hexadecimal(rng, max(rows // 10, 1), 16).take(
        pa.array(np.arange(rows) // 10 % max(rows // 10, 1))
    )
    route = rng.integers(0, 40, rows)
    return pa.table(
        {
            "timestamp": pa.array(times, TIMESTAMP),
            "end_timestamp": pa.array(times + lengths, TIMESTAMP),
            "duration_ns": pa.array(lengths),
            "trace_id": trace,
            "span_id": hexadecimal(rng, rows, 8),
            "parent_span_id": hexadecimal(rng, rows, 8),
            "name": dictionary(route, [f"GET /api/v1/{n}" for n in range(40)]).cast(pa.string()),
            "kind": one_of(rng, rows, KINDS),
            "status_code": dictionary(
                rng.choice(3, rows, p=[0.1, 0.3, 0.6]), ["ERROR", "OK", "UNSET"]
            ),
            "resource_service_name": one_of(rng, rows, SERVICES),
            "attr_http_route": dictionary(route, [f"/api/v1/{n}" for n in range(40)]),
            "attr_http_response_status_code": pa.array(rng.choice([200, 200, 404, 500], rows)),
            "attr_user_id": numbered("u", rng.integers(0, 200_000, rows)),
        }
    )


def logs_of_ids(rng: np.random.Generator, number: int, rows: int) -> Any:
    """Some minutes of logs of 463 bytes as OTLP: of 50 kinds, with four attributes that are ids."""
    words = np.array(
        [
            "".join(chr(97 + one) for one in rng.integers(0, 26, rng.integers(3, 11)))
            for _ in range(400)
        ]
    )
    kinds = pa.array(
        [" ".join(np.random.default_rng(kind).choice(words, 16)) for kind in range(50)]
    )
    service = rng.integers(0, len(SERVICES), rows)
    times = START + number * 40 * 10**9 + rng.integers(0, 40 * 10**9, rows)
    user, address = (
        numbered("u", rng.integers(0, 200_000, rows)),
        numbered("10.4.", rng.integers(0, 65536, rows)),
    )
    body = pc.binary_join_element_wise(
        kinds.take(pa.array(rng.integers(0, 50, rows))),
        "user=", user, numbered("order ", rng.integers(0, 10**7, rows)), address, " ",
    )  # fmt: skip
    return pa.table(
        {
            "timestamp": pa.array(times, TIMESTAMP),
            "observed_timestamp": pa.array(times + rng.integers(0, 10**7, rows), TIMESTAMP),
            "level": dictionary(
                rng.choice(4, rows, p=[0.03, 0.05, 0.8, 0.12]), ["DEBUG", "ERROR", "INFO", "WARN"]
            ),
            "body": body,
            "trace_id": hexadecimal(rng, rows, 16),
            "span_id": hexadecimal(rng, rows, 8),
            "resource_service_name": dictionary(service, SERVICES),
            "resource_host_name": dictionary(
                service, [f"ip-10-0-{n}-17.ec2.internal" for n in range(20)]
            ),
            "attr_http_method": one_of(rng, rows, METHODS),
            "attr_http_status_code": pa.array(rng.choice([200, 200, 200, 201, 404, 500], rows)),
            "attr_http_route": one_of(rng, rows, [f"/api/v1/{word}" for word in words[:40]]),
            "attr_user_id": user,
            "attr_request_id": hexadecimal(rng, rows, 16),
            "attr_client_address": address,
            "attr_thread_name": one_of(rng, rows, [f"worker-{n}" for n in range(16)]),
        }
    )


class Kind(NamedTuple):
    """A lake: its table, how rows are made, segments, and rows of each, timed and as a test."""

    table: str
    rows: Callable[[np.random.Generator, int, int], Any]
    segments: int
    timed: int
    quick: int


KINDS_OF_LAKES = {
    "logs": Kind("logs", hour_of_logs, 20, 500_000, 2_000),
    "spans": Kind("spans", hour_of_spans, 100, 100_000, 200),
    "ids": Kind("logs", logs_of_ids, 16, 62_500, 1_000),
}


class Seeds(msgspec.Struct):
    """Of a row of a lake its trace, the last word of its body, its request; and the lake's size."""

    trace: str
    word: str
    request: str
    bytes: int


class Engines:
    """The same files, asked in three ways."""

    def __init__(self, name: str, directory: Path, rows: int) -> None:
        self.kind = KINDS_OF_LAKES[name]
        self.rows = rows
        known = directory / f"{name}.{rows}.{LAYOUT}.{SEGMENT_FORMAT_VERSION}"
        if not (known / "seeds.json").exists():
            _make(self.kind, known, rows)
        self.seeds = msgspec.json.decode((known / "seeds.json").read_bytes(), type=Seeds)
        self.engine = QueryEngine(
            open_store(str(known)), open_catalog(f"sqlite:///{known}/catalog.db")
        )
        files = [str(one) for one in sorted((known / "segments").rglob("*.parquet"))]
        self._datafusion = SessionContext()
        self._datafusion.register_parquet(self.kind.table, str(known / "flat"))
        self._duckdb = duckdb.connect()
        self._duckdb.execute("SET TimeZone = 'UTC'")
        self._duckdb.execute(
            f"CREATE VIEW {self.kind.table} AS SELECT * FROM read_parquet({files})"
        )

    def ask(self, engine: str, text: str) -> Any:
        if engine == "lakerunner":
            return self.engine.sql(text).to_arrow()
        text = SEARCH.sub(r"body LIKE '% \1'", text)
        if engine == "datafusion":
            return self._datafusion.sql(text).to_arrow_table()
        # DuckDB has no date_trunc for nanoseconds.
        text = text.replace("minute', timestamp)", "minute', timestamp::TIMESTAMPTZ)")
        return self._duckdb.sql(text).to_arrow_table()

    def text(self, query: str) -> str:
        for name, value in msgspec.structs.asdict(self.seeds).items():
            query = query.replace(f"{{{name}}}", str(value))
        return query

    def close(self) -> None:
        self.engine.close()
        self._duckdb.close()


def _make(kind: Kind, directory: Path, rows: int) -> None:
    rng = np.random.default_rng(1)
    directory.mkdir(parents=True)
    store = open_store(str(directory))
    writer = SegmentWriter(store, Config())
    for number in range(kind.segments):
        table = kind.rows(rng, number, rows)
        for made in make_segments(table, TABLES[kind.table], Origin("default", "c"), HOUR):
            writer.add(made)
    segments = writer.finish()
    with open_catalog(f"sqlite:///{directory}/catalog.db") as catalog:
        catalog.commit(Commit("c", "default", 0, add=segments))
    (directory / "flat").mkdir()
    for file in (directory / "segments").rglob("*.parquet"):
        (directory / "flat" / file.name).hardlink_to(file)
    said = {name: table[name][rows // 3].as_py() for name in table.schema.names}
    seeds = Seeds(
        said["trace_id"],
        str(said.get("body", "")).rpartition(" ")[2],
        str(said.get("attr_request_id", "")),
        sum(one.bytes for one in segments),
    )
    (directory / "seeds.json").write_bytes(msgspec.json.encode(seeds))


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
        20,
        20,
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
        100,
        100,
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
        for name, kind in KINDS_OF_LAKES.items()
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
ROUNDS = 7


def main(place: Path) -> None:
    """Print medians of all queries and engines in milliseconds, files opened and bytes read."""
    print("| query | lakerunner | DataFusion | DuckDB | files opened | bytes read |")  # noqa: T201 - that is what it is for
    print("|---|---|---|---|---|---|")  # noqa: T201 - as above
    for lake, kind in KINDS_OF_LAKES.items():
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

"""Lakes of logs and of spans to be asked questions, and the engines that are asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
    from collections.abc import Callable
    from pathlib import Path

HOUR = 3600 * 10**9
START = 1_790_002_800 * 10**9  # 2026-09-21T15:00:00Z
LAYOUT = 3
"""Counts up with the rows that are made here."""
SEARCH = re.compile(r"search\('(\w+)'\)")
"""What the peers have no word for; the words of these lakes end a body."""
SERVICES = [f"service-{number:02d}" for number in range(20)]
LEVELS = ["DEBUG", "ERROR", "FATAL", "INFO", "WARN"]
EVENTS = ["request handled in", "cache miss for key", "timeout waiting for", "user logged in as"]
PLACES = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
METHODS = ["GET", "POST", "PUT", "DELETE"]
SPAN_KINDS = ["CLIENT", "CONSUMER", "INTERNAL", "PRODUCER", "SERVER"]


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
            "kind": one_of(rng, rows, SPAN_KINDS),
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


LAKES = {
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
        self.kind = LAKES[name]
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

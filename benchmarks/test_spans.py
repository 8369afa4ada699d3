"""Gzipped OTLP spans to a committed segment: our road and the naive road, on the same objects.

The naive road is what a straightforward Python program does: parse with the official protobuf
classes, walk every span, attribute, event and link in Python, build columns from lists, sort and
write.
"""

from __future__ import annotations

import gzip
import json
import random
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import lakerunner

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

SPANS = 5000
SERVICES = 20
START = 1_767_225_600 * 10**9
ROUNDS = count()
METHODS = ["GET", "POST", "PUT", "DELETE"]


def attributes(**values: str | int) -> list[dict[str, Any]]:
    return [
        {
            "key": key.replace("__", "."),
            "value": {"int_value" if isinstance(value, int) else "string_value": value},
        }
        for key, value in values.items()
    ]


def spans_request(spans: int, seed: int) -> bytes:
    """Spans of HTTP calls: five attributes each, every tenth with an exception as its event."""
    rng = random.Random(seed)
    request = ExportTraceServiceRequest()
    traces = [rng.randbytes(16) for _ in range(spans // 10)]
    for service in range(SERVICES):
        by_resource = request.resource_spans.add()
        for attribute in attributes(
            service__name=f"service-{service}",
            service__version=f"1.{service}.3",
            k8s__namespace__name="prod",
            k8s__pod__name=f"service-{service}-7d9f8b6c5-{service:05x}",
            host__name=f"ip-10-0-{service}-17.ec2.internal",
        ):
            by_resource.resource.attributes.add(**attribute)
        scope = by_resource.scope_spans.add(scope={"name": f"io.otel.service{service}"})
        for _ in range(spans // SERVICES):
            start = START + rng.randrange(3 * 10**9)
            method, route = rng.choice(METHODS), f"/api/v1/word{rng.randrange(40)}"
            failed = rng.random() < 0.1
            scope.spans.add(
                trace_id=rng.choice(traces),
                span_id=rng.randbytes(8),
                parent_span_id=rng.randbytes(8),
                name=f"{method} {route}",
                kind=rng.randrange(1, 6),
                start_time_unix_nano=start,
                end_time_unix_nano=start + int(rng.lognormvariate(15, 1.5)),
                flags=1,
                status={"code": 2, "message": "it broke"} if failed else {},
                attributes=attributes(
                    http__request__method=method,
                    http__route=route,
                    http__response__status_code=rng.choice((200, 200, 404, 500)),
                    user__id=f"u{rng.randrange(200_000):06d}",
                    server__address=f"10.{rng.randrange(256)}.{rng.randrange(256)}.7",
                ),
                events=[
                    {
                        "time_unix_nano": start,
                        "name": "exception",
                        "attributes": attributes(
                            exception__type="OSError", exception__message=f"no {start}"
                        ),
                    }
                ]
                if failed
                else [],
            )
    return request.SerializeToString()


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder of gzipped objects of 5,000 spans each."""
    timed = request.config.getoption("benchmark_enable", default=False)
    folder = tmp_path_factory.mktemp("raw")
    for number in range(40 if timed else 2):
        data = gzip.compress(spans_request(SPANS, seed=number), 6)
        (folder / f"traces_{number:03d}.binpb.gz").write_bytes(data)
    return folder


def rows_of(folder: Path) -> int:
    return SPANS * len(list(folder.iterdir()))


def plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def span_row(span: Any, shared: dict[str, Any]) -> dict[str, Any]:
    return {
        "timestamp": span.start_time_unix_nano,
        "end_timestamp": span.end_time_unix_nano,
        "duration_ns": span.end_time_unix_nano - span.start_time_unix_nano,
        "name": span.name,
        "kind": span.kind,
        "status_code": span.status.code,
        "status_message": span.status.message,
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_span_id.hex(),
        "events": [
            {
                "timestamp": event.time_unix_nano,
                "name": event.name,
                "attributes": json.dumps({a.key: plain(a.value) for a in event.attributes}),
            }
            for event in span.events
        ],
        **shared,
        **{f"attr_{a.key}": plain(a.value) for a in span.attributes},
    }


def naive(folder: Path, target: Path) -> int:
    """Every span and attribute becomes a Python object."""
    columns: dict[str, list[Any]] = {}
    rows = 0
    for path in sorted(folder.iterdir()):
        request = ExportTraceServiceRequest.FromString(gzip.decompress(path.read_bytes()))
        for resource in request.resource_spans:
            shared = {f"resource_{a.key}": plain(a.value) for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    for name, value in span_row(span, shared).items():
                        column = columns.setdefault(name, [])
                        column.extend([None] * (rows - len(column)))
                        column.append(value)
                    rows += 1
    for column in columns.values():
        column.extend([None] * (rows - len(column)))
    table = pa.table(columns)
    order = [("resource_service.name", "ascending"), ("timestamp", "ascending")]
    pq.write_table(table.sort_by(order), target, compression="zstd", compression_level=1)
    return rows


def timed(benchmark: BenchmarkFixture) -> Any:
    """The fixture's `pedantic`, which has no types."""
    return benchmark.pedantic


def report_rate(benchmark: BenchmarkFixture, folder: Path) -> None:
    benchmark.extra_info["spans"] = rows_of(folder)
    if benchmark.stats is not None:
        rate = rows_of(folder) / benchmark.stats.stats.median
        benchmark.extra_info["spans_per_second"] = round(rate)


@pytest.mark.benchmark(group="spans")
def test_lakerunner_one_process(benchmark: BenchmarkFixture, objects: Path, tmp_path: Path) -> None:
    def ingest(target: Path) -> int:
        with lakerunner.open(target) as lake:
            return lake.ingest(objects).rows

    def fresh() -> Any:
        return (tmp_path / f"lake-{next(ROUNDS)}",), {}

    rows = timed(benchmark)(ingest, setup=fresh, rounds=5)
    assert rows == rows_of(objects)
    report_rate(benchmark, objects)


@pytest.mark.benchmark(group="spans")
def test_naive_python_loops(benchmark: BenchmarkFixture, objects: Path, tmp_path: Path) -> None:
    rows = timed(benchmark)(
        lambda: naive(objects, tmp_path / "naive.parquet"), rounds=2, iterations=1
    )
    assert rows == rows_of(objects)
    report_rate(benchmark, objects)

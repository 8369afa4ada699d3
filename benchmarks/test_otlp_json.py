"""OTLP JSON of about 900 bytes a record: to a table, and to a committed segment.

The peers are what one writes without a columnar JSON reader: typed structs by msgspec and columns
by a loop, and the standard library's dictionaries and the same loop.
"""

from __future__ import annotations

import base64
import json
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

import lakerunner
from lakerunner.formats.otlp.json import OtlpJson
from lakerunner.formats.otlp.protobuf import OtlpProtobuf
from lakerunner.generate import logs_request
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = count()


class Value(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    int_value: str | int | None = None
    double_value: float | str | None = None
    bool_value: bool | None = None


class Pair(msgspec.Struct):
    key: str = ""
    value: Value = msgspec.field(default_factory=Value)


class Record(msgspec.Struct, rename="camel"):
    time_unix_nano: str | int = 0
    observed_time_unix_nano: str | int = 0
    severity_number: int = 0
    severity_text: str = ""
    body: Value = msgspec.field(default_factory=Value)
    attributes: list[Pair] = []
    trace_id: str = ""
    span_id: str = ""


class Scope(msgspec.Struct, rename="camel"):
    log_records: list[Record] = []


class Resource(msgspec.Struct):
    attributes: list[Pair] = []


class ResourceLogs(msgspec.Struct, rename="camel"):
    resource: Resource = msgspec.field(default_factory=Resource)
    scope_logs: list[Scope] = []


class Request(msgspec.Struct, rename="camel"):
    resource_logs: list[ResourceLogs] = []


def plain(value: Value) -> Any:
    if value.string_value is not None:
        return value.string_value
    if value.int_value is not None:
        return int(value.int_value)
    return value.double_value if value.double_value is not None else value.bool_value


def with_msgspec(data: bytes) -> Any:
    rows = []
    for resource in msgspec.json.decode(data, type=Request).resource_logs:
        shared = {
            f"resource_{pair.key}": plain(pair.value) for pair in resource.resource.attributes
        }
        for scope in resource.scope_logs:
            for record in scope.log_records:
                row = {
                    "timestamp": int(record.time_unix_nano),
                    "severity_text": record.severity_text,
                    "body": plain(record.body),
                    "trace_id": record.trace_id,
                    "span_id": record.span_id,
                    **shared,
                }
                for pair in record.attributes:
                    row[f"attr_{pair.key}"] = plain(pair.value)
                rows.append(row)
    return as_table(rows)


def any_of(value: dict[str, Any]) -> Any:
    ((kind, held),) = value.items()
    return int(held) if kind == "intValue" else held


def with_the_standard_library(data: bytes) -> Any:
    rows = []
    for resource in json.loads(data)["resourceLogs"]:
        shared = {
            f"resource_{pair['key']}": any_of(pair["value"])
            for pair in resource["resource"]["attributes"]
        }
        for scope in resource["scopeLogs"]:
            for record in scope["logRecords"]:
                row = {
                    "timestamp": int(record["timeUnixNano"]),
                    "severity_text": record.get("severityText"),
                    "body": any_of(record["body"]),
                    "trace_id": record.get("traceId"),
                    "span_id": record.get("spanId"),
                    **shared,
                }
                for pair in record.get("attributes", []):
                    row[f"attr_{pair['key']}"] = any_of(pair["value"])
                rows.append(row)
    return as_table(rows)


def as_table(rows: list[dict[str, Any]]) -> Any:
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def as_json(request: bytes) -> bytes:
    """A request in OTLP JSON, ids in hex."""
    message = ExportLogsServiceRequest.FromString(request)
    document = json_format.MessageToDict(message, use_integers_for_enums=True)
    for resource in document["resourceLogs"]:
        for scope in resource["scopeLogs"]:
            for record in scope["logRecords"]:
                for name in ("traceId", "spanId"):
                    if name in record:
                        record[name] = base64.b64decode(record[name]).hex()
    return json.dumps(document, separators=(",", ":")).encode()


@pytest.fixture(scope="module")
def protobuf(request: pytest.FixtureRequest) -> bytes:
    timed = request.config.getoption("benchmark_enable", default=False)
    return logs_request(20_000 if timed else 200)


@pytest.fixture(scope="module")
def document(protobuf: bytes) -> bytes:
    return as_json(protobuf)


def ours(data: bytes) -> Any:
    return OtlpJson().decode([data], Signal.LOGS, [0]).table


@pytest.mark.benchmark(group="otlp-json-decode")
@pytest.mark.parametrize("read", [ours, with_msgspec, with_the_standard_library])
def test_decode(
    benchmark: BenchmarkFixture, document: bytes, protobuf: bytes, read: Callable[[bytes], Any]
) -> None:
    measure: Any = benchmark.pedantic
    table = measure(read, args=(document,), rounds=5, warmup_rounds=1)
    wanted = OtlpProtobuf().decode([protobuf], Signal.LOGS, [0]).table
    assert table.num_rows == wanted.num_rows
    if read is ours:
        assert table.equals(wanted)
    report_rate(benchmark, len(document))


VARIANTS: dict[str, Callable[[bytes], bytes]] = {
    "numbers": lambda data: data.replace(b'"severityNumber":9', b'"severityNumber":"9"'),
    "snake-case": lambda data: data.replace(b'"timeUnixNano":', b'"time_unix_nano":'),
    "broken-line": lambda data: b"{oops\n" + data,
}


@pytest.mark.benchmark(group="otlp-json-variants")
@pytest.mark.parametrize("variant", VARIANTS)
def test_decode_what_is_unusual(benchmark: BenchmarkFixture, document: bytes, variant: str) -> None:
    data = VARIANTS[variant](document)
    measure: Any = benchmark.pedantic
    table = measure(ours, args=(data,), rounds=3, warmup_rounds=1)
    assert table.equals(ours(document))
    report_rate(benchmark, len(data))


@pytest.mark.benchmark(group="otlp-json-ingest")
def test_end_to_end(benchmark: BenchmarkFixture, document: bytes, tmp_path: Path) -> None:
    """Objects to a committed segment in one process."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(3):
        (folder / f"logs_{number}.json").write_bytes(document)

    def ingest(target: Path) -> int:
        with lakerunner.open(target) as lake:
            return lake.ingest(folder, format="otlp-json").rows

    measure: Any = benchmark.pedantic
    rows = measure(
        ingest, setup=lambda: ((tmp_path / f"lake-{next(ROUNDS)}",), {}), rounds=3, warmup_rounds=1
    )
    assert rows == 3 * ours(document).num_rows
    report_rate(benchmark, 3 * len(document))


def report_rate(benchmark: BenchmarkFixture, size: int) -> None:
    if benchmark.stats is not None:
        rate = size / benchmark.stats.stats.median
        benchmark.extra_info["megabytes_per_second"] = round(rate / 1e6, 1)

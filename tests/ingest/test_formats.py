"""Every format and every signal, from files of a directory to the rows of a query."""

from __future__ import annotations

import csv
import gzip
import io
import json
from itertools import product
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import lakerunner
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOON = 1_790_078_400 * 10**9
TIMES = [NOON, NOON + 10**9, NOON + 2 * 10**9]
TRACE, SPAN = "d4cda95b652f4a1592b449d5929fda1b", "6e0c63257de34c92"

RECORDS: dict[Signal, list[dict[str, Any]]] = {
    Signal.LOGS: [
        {"timestamp": at, "level": "ERROR", "message": f"text {n}", "code": 500 + n}
        for n, at in enumerate(TIMES)
    ],
    Signal.SPANS: [
        {
            "trace_id": TRACE,
            "span_id": f"{n + 1:016x}",
            "name": f"span {n}",
            "start_time": at,
            "end_time": at + 5,
            "code": 500 + n,
        }
        for n, at in enumerate(TIMES)
    ],
    Signal.METRICS: [
        {"timestamp": at, "metric_name": "requests", "value": n + 0.5, "code": 500 + n}
        for n, at in enumerate(TIMES)
    ],
}
COLUMN = {Signal.LOGS: "body", Signal.SPANS: "name", Signal.METRICS: "value"}
EXPECTED: dict[Signal, list[object]] = {
    Signal.LOGS: ["text 0", "text 1", "text 2"],
    Signal.SPANS: ["span 0", "span 1", "span 2"],
    Signal.METRICS: [0.5, 1.5, 2.5],
}


def _request(signal: Signal) -> Any:
    """The records as a request of OTLP."""
    if signal is Signal.LOGS:
        logs = ExportLogsServiceRequest()
        logged = logs.resource_logs.add().scope_logs.add().log_records
        for record in RECORDS[signal]:
            one = logged.add(time_unix_nano=record["timestamp"], severity_text=record["level"])
            one.body.string_value = record["message"]
            one.attributes.add(key="code").value.int_value = record["code"]
        return logs
    if signal is Signal.SPANS:
        traces = ExportTraceServiceRequest()
        spans = traces.resource_spans.add().scope_spans.add().spans
        for record in RECORDS[signal]:
            span = spans.add(
                trace_id=bytes.fromhex(record["trace_id"]),
                span_id=bytes.fromhex(record["span_id"]),
                name=record["name"],
                start_time_unix_nano=record["start_time"],
                end_time_unix_nano=record["end_time"],
            )
            span.attributes.add(key="code").value.int_value = record["code"]
        return traces
    metrics = ExportMetricsServiceRequest()
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="requests")
    for record in RECORDS[signal]:
        point = metric.gauge.data_points.add(
            time_unix_nano=record["timestamp"], as_double=record["value"]
        )
        point.attributes.add(key="code").value.int_value = record["code"]
    return metrics


def _otlp_json(signal: Signal) -> bytes:
    told = json.loads(MessageToJson(_request(signal)))
    for resource in told.get("resourceSpans", ()):  # OTLP writes ids in hex, protobuf in base64
        for span, record in zip(resource["scopeSpans"][0]["spans"], RECORDS[signal], strict=True):
            span["traceId"], span["spanId"] = record["trace_id"], record["span_id"]
    return json.dumps(told).encode()


def _delimited(signal: Signal, delimiter: str) -> bytes:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(RECORDS[signal][0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(RECORDS[signal])
    return sink.getvalue().encode()


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _logfmt(signal: Signal) -> bytes:
    lines = (
        " ".join(f"{key}={json.dumps(value)}" for key, value in record.items())
        for record in RECORDS[signal]
    )
    return "\n".join(lines).encode()


WRITERS: dict[str, Callable[[Signal], bytes]] = {
    "otlp-protobuf": lambda signal: _request(signal).SerializeToString(),
    "otlp-json": _otlp_json,
    "json": lambda signal: "\n".join(map(json.dumps, RECORDS[signal])).encode(),
    "csv": lambda signal: _delimited(signal, ","),
    "tsv": lambda signal: _delimited(signal, "\t"),
    "parquet": lambda signal: _parquet(pa.Table.from_pylist(RECORDS[signal])),
    "logfmt": _logfmt,
}
NAMES = {
    "otlp-protobuf": ["a.binpb", "a.pb", "a.proto", "a.otlp", "a.binpb.gz", "a.otlp.zst"],
    "otlp-json": ["a.json", "a.jsonl", "a.otlp", "a.json.gz"],
    "json": ["a.json", "a.jsonl", "a.ndjson", "a.jsonl.gz", "a.ndjson.zst"],
    "csv": ["a.csv", "a.csv.gz", "a.csv.zst"],
    "tsv": ["a.tsv", "a.tab", "a.tsv.gz"],
    "parquet": ["a.parquet"],
    "logfmt": ["a.logfmt", "a.logfmt.zst"],
}
SQUEEZE: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[lakerunner.Lake]:
    with lakerunner.open(tmp_path / "lake") as made:
        yield made


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    made = tmp_path / "raw"
    made.mkdir()
    return made


def column(lake: lakerunner.Lake, text: str) -> list[Any]:
    """The only column of an answer."""
    table = lake.sql(text).to_arrow()
    (values,) = (one.to_pylist() for one in table.columns)
    return list(values)


def check_rows(lake: lakerunner.Lake, signal: Signal, copies: int) -> None:
    name = COLUMN[signal]
    found = column(lake, f"SELECT {name} FROM {signal} ORDER BY timestamp, {name}")
    assert found == [value for value in EXPECTED[signal] for _ in range(copies)]
    times = column(lake, f"SELECT DISTINCT timestamp FROM {signal} ORDER BY 1")
    assert [time.value for time in times] == TIMES
    codes = column(lake, f"SELECT attr_code FROM {signal} WHERE attr_code >= 501 ORDER BY 1")
    assert codes == [501] * copies + [502] * copies


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize("written", WRITERS)
def test_formats_are_known_by_name(
    lake: lakerunner.Lake, raw: Path, written: str, signal: Signal
) -> None:
    for number, name in enumerate(NAMES[written]):
        squeeze = SQUEEZE.get(name.rpartition(".")[2], bytes)
        (raw / f"{number}{name}").write_bytes(squeeze(WRITERS[written](signal)))
    report = lake.ingest(f"{raw}/", signal=signal if written == "logfmt" else None)
    copies = len(NAMES[written])
    assert (report.objects, report.rows, report.rejected) == (copies, 3 * copies, ())
    check_rows(lake, signal, copies)


@pytest.mark.parametrize(("written", "signal"), [*product(WRITERS, Signal)])
@pytest.mark.parametrize("suffix", ["", ".unknown.zst"])
def test_formats_are_known_by_content(
    lake: lakerunner.Lake, raw: Path, written: str, signal: Signal, suffix: str
) -> None:
    squeeze = SQUEEZE.get(suffix.rpartition(".")[2], bytes)
    (raw / f"object{suffix}").write_bytes(squeeze(WRITERS[written](signal)))
    report = lake.ingest(f"{raw}/", signal=signal if written == "logfmt" else None)
    assert (report.objects, report.rows, report.rejected) == (1, 3, ())
    check_rows(lake, signal, 1)


@pytest.mark.parametrize(("written", "signal"), [*product([*WRITERS, "arrow"], Signal)])
def test_formats_can_be_named(
    lake: lakerunner.Lake, raw: Path, written: str, signal: Signal
) -> None:
    table = pa.Table.from_pylist(RECORDS[signal])
    data = _arrow(table) if written == "arrow" else WRITERS[written](signal)
    (raw / "misleading.txt").write_bytes(data)
    report = lake.ingest(f"{raw}/", format=written, signal=signal)
    assert (report.objects, report.rows, report.rejected) == (1, 3, ())
    check_rows(lake, signal, 1)


@pytest.mark.parametrize("name", ["app.log", "app.txt", "app", "app.log.gz"])
def test_lines_of_text(lake: lakerunner.Lake, raw: Path, name: str) -> None:
    text = b"".join(b"2026-09-22 12:00:0%d,000 ERROR text %d\n" % (n, n) for n in range(3))
    (raw / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert lake.ingest(f"{raw}/").rows == 3
    assert [len(body) > 5 for body in column(lake, "SELECT body FROM logs")] == [True] * 3
    assert column(lake, "SELECT DISTINCT level FROM logs") == ["ERROR"]
    times = column(lake, "SELECT timestamp FROM logs ORDER BY 1")
    assert [time.value for time in times] == TIMES


@pytest.mark.parametrize("kind", ["table", "reader", "batch", "pandas", "polars"])
@pytest.mark.parametrize("signal", Signal)
def test_tables_in_memory(lake: lakerunner.Lake, kind: str, signal: Signal) -> None:
    table = pa.Table.from_pylist(RECORDS[signal])
    given: Any = table
    if kind == "reader":
        given = table.to_reader(max_chunksize=2)
    elif kind == "batch":
        given = table.combine_chunks().to_batches()[0]
    elif kind == "pandas":
        given = pytest.importorskip("pandas").DataFrame(RECORDS[signal])
    elif kind == "polars":
        given = pytest.importorskip("polars").DataFrame(RECORDS[signal])
    assert lake.ingest(given).rows == 3
    check_rows(lake, signal, 1)

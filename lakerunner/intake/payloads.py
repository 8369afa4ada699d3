"""What callers hand to a writer, as bytes that ingestion reads: OTLP, JSON lines, Arrow."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pyarrow as pa
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lakerunner.errors import ConfigurationError, CorruptObjectError
from lakerunner.model.signal import Signal, read_signal
from lakerunner.model.times import isoformat

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS: dict[Signal, type[Message]] = {
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.SPANS: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
}
"""The export request of OTLP for each signal."""

_NAMES = {Signal.LOGS: "logs", Signal.SPANS: "traces", Signal.METRICS: "metrics"}
_LENGTH_BYTES = 4
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OBJECTS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_TEXTS = msgspec.json.Decoder(list[msgspec.Raw])
# What is inside what, under both spellings; metrics are counted as such, not by their points.
_JSON_LEVELS = {
    Signal.LOGS: (
        ("resourceLogs", "resource_logs"),
        ("scopeLogs", "scope_logs"),
        ("logRecords", "log_records"),
    ),
    Signal.SPANS: (
        ("resourceSpans", "resource_spans"),
        ("scopeSpans", "scope_spans"),
        ("spans",),
    ),
    Signal.METRICS: (
        ("resourceMetrics", "resource_metrics"),
        ("scopeMetrics", "scope_metrics"),
        ("metrics",),
    ),
}
_ENCODER = msgspec.json.Encoder(enc_hook=str)


class Payload(NamedTuple):
    """Some telemetry in a form that ingestion knows.

    Attributes:
        kind: Such payloads of one kind may lie one after the other in one object; empty for one
            that is an object of its own.
        name: Of the object, as far as it tells signal and format: `logs_{}.binpb`.
        data: The bytes, ready to be put behind others of its kind.
        records: How many records it holds, as far as that is known; else 0.
    """

    kind: str
    name: str
    data: bytes
    records: int


def payload_of(data: Any, signal: Signal | str | None = None) -> Payload:
    r"""Make a payload of what a caller has.

    Args:
        data: An OTLP export request, as a message of `opentelemetry-proto` or as its bytes; a table
            or reader of Arrow, Polars or pandas; a mapping, a `logging.LogRecord`, or a list of
            these; a payload that was made before.
        signal: What it is. Messages tell by their type; bytes have to be said, or ingestion looks
            at them; everything else is `logs` unless it is said.

    Raises:
        ConfigurationError: It is of no kind that can be taken.
        CorruptObjectError: Bytes are not the export request that they are said to be.

    Example:
        >>> payload_of({"message": "hello"})
        Payload(kind='logs.jsonl', name='logs_{}.jsonl', data=b'{"message":"hello"}\n', records=1)
    """
    if isinstance(data, Payload):
        return data
    wanted = None if signal is None else read_signal(signal)
    if isinstance(data, Message):
        return _of_message(data, wanted)
    if isinstance(data, bytes | bytearray | memoryview):
        return _of_bytes(bytes(data), wanted)
    if isinstance(data, dict | logging.LogRecord):
        return _of_records([data], wanted)
    if isinstance(data, list | tuple):
        return _of_records(data, wanted)
    return _of_arrow(data, wanted)


def _of_message(message: Message, wanted: Signal | None) -> Payload:
    for signal, kind in REQUESTS.items():
        if isinstance(message, kind):
            if wanted not in (None, signal):
                raise ConfigurationError(f"this is an export request of {signal}, not of {wanted}")
            return _framed(message.SerializeToString(), signal, count_records(message))
    raise ConfigurationError(
        f"a {type(message).__name__} is no export request of OTLP, which has its resources in it"
    )


def _of_bytes(data: bytes, wanted: Signal | None) -> Payload:
    if wanted is None:
        # Whatever it is: ingestion looks at it, and nothing else lies beside it.
        return Payload("", "{}", data, 0)
    if data.lstrip()[:1] == b"{":
        members = _checked_json(data, wanted)
        name = f"{_NAMES[wanted]}_{{}}.json"
        return Payload("", name, data if members else b"", _count_json(members, wanted))
    try:
        records = count_records(REQUESTS[wanted].FromString(data))
    except DecodeError as error:
        raise CorruptObjectError(
            f"these bytes are no export request of {wanted}: {error}"
        ) from error
    return _framed(data, wanted, records)


def _checked_json(data: bytes, wanted: Signal) -> dict[str, msgspec.Raw]:
    """The members of an export request in JSON; none if there is nothing in it."""
    try:
        members = _MEMBERS.decode(data)
    except msgspec.DecodeError as error:
        raise CorruptObjectError(f"this is no JSON: {error}") from error
    if members and not members.keys() & set(_JSON_LEVELS[wanted][0]):
        raise CorruptObjectError(f"this JSON is no export request of {wanted}")
    return members


def _count_json(members: dict[str, msgspec.Raw], wanted: Signal) -> int:
    """How many records a request in JSON holds; 0 where it is written in a way of its own."""
    found = [members]
    try:
        for names in _JSON_LEVELS[wanted][:-1]:
            found = [one for each in found for one in _OBJECTS.decode(_member(each, names))]
        counts = (len(_TEXTS.decode(_member(each, _JSON_LEVELS[wanted][-1]))) for each in found)
        return sum(counts)
    except (msgspec.DecodeError, RecursionError):
        return 0


def _member(members: dict[str, msgspec.Raw], names: tuple[str, ...]) -> msgspec.Raw | bytes:
    return next((members[name] for name in names if name in members), b"[]")


def _framed(data: bytes, signal: Signal, records: int) -> Payload:
    # With its length before it: the framing of the collector's file exporter.
    whole = len(data).to_bytes(_LENGTH_BYTES, "big") + data
    name = _NAMES[signal]
    return Payload(f"{name}.binpb", f"{name}_{{}}.binpb", whole if data else b"", records)


def count_records(message: Any) -> int:
    """How many log records, spans or metric points an export request holds."""
    if isinstance(message, ExportLogsServiceRequest):
        return sum(len(s.log_records) for r in message.resource_logs for s in r.scope_logs)
    if isinstance(message, ExportTraceServiceRequest):
        return sum(len(s.spans) for r in message.resource_spans for s in r.scope_spans)
    return sum(
        len(getattr(metric, kind).data_points)
        for resource in message.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if (kind := metric.WhichOneof("data"))
    )


def _of_records(records: Any, wanted: Signal | None) -> Payload:
    # What is given one by one is written one by one: a convenience, and no way for bulk.
    lines = list(_lines(records))
    return lines_payload(b"".join(lines), wanted or Signal.LOGS, len(lines))


def _lines(records: Any) -> Iterator[bytes]:
    for record in records:
        fields = fields_of(record) if isinstance(record, logging.LogRecord) else record
        if not isinstance(fields, dict):
            raise ConfigurationError(f"a {type(record).__name__} is no record: give mappings")
        try:
            yield _ENCODER.encode(fields) + b"\n"
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"a record cannot be written as JSON: {error}") from error


_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a record of `logging` says, under OpenTelemetry's names.

    Example:
        >>> record = logging.makeLogRecord({"msg": "%d items", "args": (3,), "levelname": "INFO"})
        >>> fields_of(record)["body"]
        '3 items'
    """
    fields: dict[str, Any] = {
        "timestamp": isoformat(round(record.created * 1e6) * 1000),
        "severity_text": record.levelname,
        "body": record.getMessage(),
        "logger.name": record.name,
        "code.function.name": record.funcName,
        "code.file.path": record.pathname,
        "code.line.number": record.lineno,
        "thread.name": record.threadName,
    }
    if record.exc_info and record.exc_info[0] is not None:
        kind, error, _ = record.exc_info
        fields["exception.type"] = f"{kind.__module__}.{kind.__qualname__}"
        fields["exception.message"] = str(error)
        fields["exception.stacktrace"] = "".join(traceback.format_exception(*record.exc_info))
    own = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
    return {name: value for name, value in {**fields, **own}.items() if value is not None}


def _of_arrow(data: Any, wanted: Signal | None) -> Payload:
    try:
        if isinstance(data, pa.RecordBatch):
            table = pa.Table.from_batches([data])
        else:
            table = pa.RecordBatchReader.from_stream(data).read_all()
    except TypeError:
        raise ConfigurationError(
            f"a {type(data).__name__} cannot be written; give an export request of OTLP, a table "
            "of Arrow, Polars or pandas, a mapping, a logging.LogRecord, or a list of these"
        ) from None
    return arrow_payload(table, wanted or Signal.LOGS)


def arrow_payload(table: pa.Table, signal: Signal) -> Payload:
    """Make a payload of a table; any number of them may lie one after the other.

    Args:
        table: Records, named as `Lake.ingest` takes them.
        signal: What they are.

    Example:
        >>> arrow_payload(pa.table({"body": ["hello"]}), Signal.LOGS)[0::3]
        ('logs.arrows', 1)
    """
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    name = _NAMES[signal]
    data = sink.getvalue().to_pybytes() if table.num_rows else b""
    return Payload(f"{name}.arrows", f"{name}_{{}}.arrows", data, table.num_rows)


def lines_payload(lines: bytes, signal: Signal, records: int) -> Payload:
    r"""Make a payload of JSON, a record a line; any number of them may lie one after the other.

    Args:
        lines: The records, each of them one line.
        signal: What they are.
        records: How many.

    Example:
        >>> lines_payload(b'{"body":"hello"}', Signal.LOGS, 1).data
        b'{"body":"hello"}\n'
    """
    name = _NAMES[signal]
    data = lines if lines.endswith(b"\n") or not lines else lines + b"\n"
    return Payload(f"{name}.jsonl", f"{name}_{{}}.jsonl", data, records)

"""The protobuf messages of protocols other than OTLP, and their columnar decoders.

Each layout is written here as its publisher documents it, with the fields that are read:

- Loki's push API: https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs
- Prometheus remote write: https://prometheus.io/docs/specs/prw/remote_write_spec/ and
  https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/
- lakerunner's own log service, for clients of log platforms.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import ptars
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from lakerunner.errors import CorruptObjectError

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "sint32": _Field.TYPE_SINT32,
    "sint64": _Field.TYPE_SINT64,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}

# One line a field: number, type, name; `*` before a type repeats it, `?` says whether it is there.
_TIME = {"Timestamp": "1 int64 seconds, 2 int32 nanos"}
_LOKI = {
    **_TIME,
    "Label": "1 string name, 2 string value",
    "Entry": "1 Timestamp timestamp, 2 string line, 3 *Label metadata",
    "Stream": "1 string labels, 2 *Entry entries",
    "Push": "1 *Stream streams",
}
_HISTOGRAM = {
    "Span": "1 sint32 offset, 2 uint32 length",
    "Histogram": (
        "1 ?uint64 count_int, 2 ?double count_float, 3 double sum, 4 sint32 schema, "
        "5 double zero_threshold, 6 ?uint64 zero_int, 7 ?double zero_float, "
        "8 *Span negative_spans, 9 *sint64 negative_deltas, 10 *double negative_counts, "
        "11 *Span positive_spans, 12 *sint64 positive_deltas, 13 *double positive_counts, "
        "14 int32 reset_hint, 15 int64 timestamp, 16 *double custom_values"
    ),
}
_PROMETHEUS = {
    **_HISTOGRAM,
    "Label": "1 string name, 2 string value",
    "Sample": "1 double value, 2 int64 timestamp",
    "Exemplar": "1 *Label labels, 2 double value, 3 int64 timestamp",
    "Series": "1 *Label labels, 2 *Sample samples, 3 *Exemplar exemplars, 4 *Histogram histograms",
    "Metadata": "1 int32 type, 2 string name, 4 string help, 5 string unit",
    "Write": "1 *Series series, 3 *Metadata metadata",
}
_PROMETHEUS_2 = {
    **_HISTOGRAM,
    "Sample": "1 double value, 2 int64 timestamp, 3 int64 start_timestamp",
    "Exemplar": "1 *uint32 labels, 2 double value, 3 int64 timestamp",
    "Metadata": "1 int32 type, 3 uint32 help, 4 uint32 unit",
    "Series": (
        "1 *uint32 labels, 2 *Sample samples, 3 *Histogram histograms, 4 *Exemplar exemplars, "
        "5 Metadata metadata, 6 int64 created"
    ),
    "Write": "4 *string symbols, 5 *Series series",
}
_LOG_SERVICE = {
    "Pair": "1 string key, 2 string value",
    "Entry": (
        "1 string service, 2 string level, 3 string message, 4 string host, 5 *string tags, "
        "6 *Pair metadata, 7 string trace_id, 8 string span_id, 9 int64 timestamp_ns"
    ),
    "SendLogsRequest": "1 *Entry entries",
    "SendLogsResponse": "1 int64 accepted, 2 int64 rejected, 3 string message",
}
_RPC = {
    "Duration": "1 int64 seconds, 2 int32 nanos",
    "RetryInfo": "1 Duration retry_delay",
    "Any": "1 string type_url, 2 bytes value",
    "Status": "1 int32 code, 2 string message, 3 *Any details",
}
_FAMILIES = {
    "google.rpc": _RPC,
    "loki": _LOKI,
    "prometheus": _PROMETHEUS,
    "prometheus2": _PROMETHEUS_2,
    "lakerunner.logs.v1": _LOG_SERVICE,
}
PUSH, WRITE, WRITE_2 = ("loki", "Push"), ("prometheus", "Write"), ("prometheus2", "Write")
SEND_LOGS = ("lakerunner.logs.v1", "SendLogsRequest")
RPC_STATUS, _RETRY_INFO = ("google.rpc", "Status"), ("google.rpc", "RetryInfo")


@cache
def _file(family: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{family}.proto", package=family, syntax="proto3"
    )
    for name, fields in _FAMILIES[family].items():
        message = file.message_type.add(name=name)
        for written in fields.split(", "):
            _add_field(message, family, *written.split(" "))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add_field(message: Any, family: str, number: str, kind: str, name: str) -> None:
    repeated, optional = kind.startswith("*"), kind.startswith("?")
    field = message.field.add(name=name, number=int(number))
    kind = kind.lstrip("*?")
    field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{family}.{kind}"
    if optional:  # as the compiler writes it: alone in a choice of its own
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")


def message_descriptor(message: tuple[str, str]) -> Any:
    """The descriptor of a message."""
    family, name = message
    return _file(family).FindMessageTypeByName(f"{family}.{name}")


def new_message(message: tuple[str, str]) -> Any:
    r"""An empty message, to be filled and serialized.

    Example:
        >>> status = new_message(RPC_STATUS)
        >>> status.code = 3
        >>> status.SerializeToString()
        b'\x08\x03'
    """
    return message_factory.GetMessageClass(message_descriptor(message))()


def rpc_status(code: int, message: str, retry_seconds: float = 0.0) -> bytes:
    """A `google.rpc.Status`, which is what failures of OTLP say.

    Args:
        code: Of gRPC.
        message: For a person.
        retry_seconds: After how long it may be worth trying again; 0 to say nothing of it.
    """
    status = new_message(RPC_STATUS)
    status.code, status.message = code, message
    if retry_seconds:
        retry = new_message(_RETRY_INFO)
        whole = math.floor(retry_seconds)
        retry.retry_delay.seconds = whole
        retry.retry_delay.nanos = round((retry_seconds - whole) * 1e9)
        packed = retry.SerializeToString()
        status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=packed)
    data: bytes = status.SerializeToString()
    return data


@cache
def _decoder(message: tuple[str, str]) -> Any:
    descriptor = message_descriptor(message)
    return ptars.HandlerPool([descriptor.file]).get_for_message(descriptor)


def read_message(data: bytes, message: tuple[str, str]) -> Any:
    """Decode one message into a record batch of one row.

    Args:
        data: Its bytes.
        message: One of the messages above.

    Raises:
        CorruptObjectError: It is no such message, or has text that is not UTF-8.

    Example:
        >>> read_message(b"", SEND_LOGS).column_names
        ['entries']
    """
    try:
        return _decoder(message).list_to_record_batch([data])
    except ValueError as error:
        raise CorruptObjectError(f"the body is no {message[1]} message: {error}") from error

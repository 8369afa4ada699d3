"""Message layouts for the columnar decoder: OpenTelemetry's own, made flat.

The protocol's `AnyValue` contains itself, which no Arrow type can. Its two recursive fields are
retyped as `bytes`, which is the same on the wire; `lakerunner.formats.otlp.values` decodes those
bytes level by level. Fields that only the profiles signal uses are left out.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import ptars
from google.protobuf import descriptor_pb2, descriptor_pool
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from lakerunner.model.signal import Signal

_FILES = (
    common_pb2,
    resource_pb2,
    logs_pb2,
    trace_pb2,
    metrics_pb2,
    logs_service_pb2,
    trace_service_pb2,
    metrics_service_pb2,
)
_PREFIX = "opentelemetry.proto"
_REQUESTS = {
    Signal.LOGS: f"{_PREFIX}.collector.logs.v1.ExportLogsServiceRequest",
    Signal.SPANS: f"{_PREFIX}.collector.trace.v1.ExportTraceServiceRequest",
    Signal.METRICS: f"{_PREFIX}.collector.metrics.v1.ExportMetricsServiceRequest",
}
_RECURSIVE = frozenset({"array_value", "kvlist_value"})
_PROFILES_ONLY = frozenset({"string_value_strindex", "key_strindex"})
_Field = descriptor_pb2.FieldDescriptorProto


@cache
def _pool(*, text_as_bytes: bool) -> Any:
    pool = descriptor_pool.DescriptorPool()
    for module in _FILES:
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        file.ClearField("service")
        for message in file.message_type:
            _flatten(message, text_as_bytes=text_as_bytes)
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _flatten(message: Any, *, text_as_bytes: bool) -> None:
    kept = [field for field in message.field if field.name not in _PROFILES_ONLY]
    for field in kept:
        if message.name == "AnyValue" and field.name in _RECURSIVE:
            field.type = _Field.TYPE_BYTES
            field.ClearField("type_name")
        elif text_as_bytes and field.type == _Field.TYPE_STRING:
            field.type = _Field.TYPE_BYTES
    fields = [_Field.FromString(field.SerializeToString()) for field in kept]
    del message.field[:]
    message.field.extend(fields)
    for nested in message.nested_type:
        _flatten(nested, text_as_bytes=text_as_bytes)


@cache
def _handler(message: str, *, text_as_bytes: bool) -> Any:
    descriptor = _pool(text_as_bytes=text_as_bytes).FindMessageTypeByName(message)
    return ptars.HandlerPool([descriptor.file]).get_for_message(descriptor)


def request_handler(signal: Signal, *, text_as_bytes: bool = False) -> Any:
    """The decoder of one export request per row: `list_to_record_batch(list[bytes])`.

    Args:
        signal: Which request.
        text_as_bytes: Decode text fields as binary, for input that is not valid UTF-8.
    """
    return _handler(_REQUESTS[signal], text_as_bytes=text_as_bytes)


def value_handler(kind: str, *, text_as_bytes: bool = False) -> Any:
    """The decoder of nested values: `array_to_record_batch(pa.BinaryArray)`.

    Args:
        kind: `ArrayValue` or `KeyValueList`.
        text_as_bytes: As in `request_handler`.
    """
    return _handler(f"{_PREFIX}.common.v1.{kind}", text_as_bytes=text_as_bytes)

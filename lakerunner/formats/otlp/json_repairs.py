"""Rewrite OTLP JSON that is right but not as most producers write it, as bytes, in one go.

Every rule looks for the name of a field in quotes with a colon behind it. That cannot stand inside
a JSON text, where the closing quote would have a backslash before it. No rule adds or takes away
a line.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pyarrow as pa
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from lakerunner.formats.otlp.json_types import batch_type, lower_camel
from lakerunner.model.signal import Signal

_ENUMS = (
    logs_pb2.SeverityNumber,
    metrics_pb2.AggregationTemporality,
    trace_pb2.Span.SpanKind,
    trace_pb2.Status.StatusCode,
)
_SNAKE_KEY = re.compile(rb'_[a-z]+"[ \t]*:')
_NUMBER = rb"-?(?:[0-9][0-9.eE+-]*|NaN|Infinity)"
_ESCAPE = re.compile(
    rb"(\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_ESCAPED_REPLACEMENT = rb"\ufffd"


@cache
def enum_numbers() -> dict[str, int]:
    """The number of every enum name of the protocol.

    Example:
        >>> enum_numbers()["SPAN_KIND_SERVER"]
        2
    """
    return {name: number for enum in _ENUMS for name, number in enum.items()}


@cache
def _names() -> frozenset[str]:
    """All field names of the three signals, as in the protocol's definition."""
    return frozenset(
        name for signal in Signal for name, _ in _fields(batch_type(signal))
    ) | frozenset({"values", *(f"resource_{kind}" for kind in ("logs", "spans", "metrics"))})


@cache
def _double_names() -> frozenset[str]:
    return frozenset(
        lower_camel(name)
        for signal in Signal
        for name, dtype in _fields(batch_type(signal))
        if pa.types.is_floating(dtype)
    )


def _fields(dtype: Any) -> list[tuple[str, Any]]:
    if pa.types.is_list(dtype):
        return _fields(dtype.value_type)
    if not pa.types.is_struct(dtype):
        return []
    return [found for each in dtype for found in ((each.name, each.type), *_fields(each.type))]


def _any_of(names: Any) -> bytes:
    return b"|".join(sorted(name.encode() for name in names))


@cache
def _snake_names() -> re.Pattern[bytes]:
    snake = [name for name in _names() if "_" in name]
    return re.compile(rb'"(' + _any_of(snake) + rb')"(?=[ \t]*:)')


@cache
def _plain_doubles() -> re.Pattern[bytes]:
    return re.compile(
        rb'("(?:' + _any_of(_double_names()) + rb')"[ \t]*:[ \t]*)(' + _NUMBER + rb")"
    )


@cache
def _named_enums() -> re.Pattern[bytes]:
    return re.compile(
        rb'("(?:severityNumber|kind|code|aggregationTemporality)"[ \t]*:[ \t]*)"('
        + _any_of(enum_numbers())
        + rb')"'
    )


def camel_case_keys(data: bytes) -> bytes:
    """Give fields their JSON names; a document may use the names of the protocol's definition.

    Example:
        >>> camel_case_keys(b'{"resource_logs":[],"user_id":"trace_id"}')
        b'{"resourceLogs":[],"user_id":"trace_id"}'
    """
    if _SNAKE_KEY.search(data) is None:
        return data
    return _snake_names().sub(
        lambda match: b'"' + lower_camel(match[1].decode()).encode() + b'"', data
    )


def lenient_bytes(data: bytes) -> bytes:
    """Make everything that may be written in several ways readable by a `LENIENT` schema.

    Doubles become text, enum names numbers, bytes that are not UTF-8 and halves of surrogate pairs
    U+FFFD, each.

    Example:
        >>> lenient_bytes(b'{"kind":"SPAN_KIND_SERVER","doubleValue":NaN}')
        b'{"kind":2,"doubleValue":"NaN"}'
    """
    data = _repaired_utf8(data)
    if b"\\ud" in data or b"\\uD" in data:
        data = _ESCAPE.sub(lambda match: match[1] or _ESCAPED_REPLACEMENT, data)
    data = _plain_doubles().sub(rb'\1"\2"', data)
    numbers = enum_numbers()
    return _named_enums().sub(
        lambda match: match[1] + str(numbers[match[2].decode()]).encode(), data
    )


def _repaired_utf8(data: bytes) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError:
        escaped = data.decode("utf-8", "surrogateescape")
        return re.sub("[\udc80-\udcff]", "\ufffd", escaped).encode()
    return data

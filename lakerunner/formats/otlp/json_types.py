"""Arrow types for OTLP JSON: of what the JSON reader yields, and of the batch made from it.

Both are derived from the layout the protobuf decoder has, so a new field of the protocol is known
to both at once. The batch differs in three places, where JSON carries text: ids (hex), bytes
(base64), and nested values, which are JSON text already. `lakerunner.schema.ids` and
`lakerunner.formats.otlp.attributes` take either.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import Any, NamedTuple

import pyarrow as pa

from lakerunner.formats.otlp.wire import request_handler
from lakerunner.model.signal import Signal

CONTAINERS = {"array_value": "ArrayValue", "kvlist_value": "KeyValueList"}
"""The recursive fields of `AnyValue`, and the message each holds."""

ROOTS = {
    Signal.LOGS: "resourceLogs",
    Signal.SPANS: "resourceSpans",
    Signal.METRICS: "resourceMetrics",
}
"""The one field of the export request of each signal."""

_WIDE = pa.decimal128(20, 0)  # read from a number as well as from a text; holds all 64-bit integers


class Numbers(Enum):
    """How numbers may be written.

    Attributes:
        STRICT: 64-bit integers as numbers or text, all others as numbers.
        LENIENT: Integers as numbers or text, doubles as text.
        EXACT: As the types of the batch, for values that are Python objects already.
    """

    STRICT = "strict"
    LENIENT = "lenient"
    EXACT = "exact"


class Shape(NamedTuple):
    """What a document is expected to look like.

    Attributes:
        numbers: How numbers may be written.
        levels: Levels of nested values to read; None if they are protobuf bytes.
    """

    numbers: Numbers
    levels: int | None


ENCODED = Shape(Numbers.EXACT, None)
"""The shape of documents made by `lakerunner.formats.otlp.json_lenient`."""


def lower_camel(name: str) -> str:
    """The JSON name of a field.

    Example:
        >>> lower_camel("time_unix_nano"), lower_camel("key")
        ('timeUnixNano', 'key')
    """
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def is_value(dtype: Any) -> bool:
    """Whether a type is that of `AnyValue`."""
    return bool(pa.types.is_struct(dtype) and dtype.get_field_index("array_value") >= 0)


@cache
def batch_type(signal: Signal) -> Any:
    """The type of a request's one column: a list of resources with their records."""
    return _with_text(_wire_type(signal))


@cache
def request_schema(signal: Signal) -> Any:
    """The schema of a batch of requests."""
    name = request_handler(signal).list_to_record_batch([]).schema.field(0).name
    return pa.schema([(name, batch_type(signal))])


@cache
def reading_schema(signal: Signal, shape: Shape) -> Any:
    """The schema with which the JSON reader reads documents.

    The fields of the other signals are in it too, without their content, so that a document that
    carries them is found out.
    """
    others = (root for root in ROOTS.values() if root != ROOTS[signal])
    return pa.schema(
        [
            (ROOTS[signal], reading_type(signal, shape)),
            *((root, pa.list_(pa.struct([]))) for root in others),
        ]
    )


@cache
def reading_type(signal: Signal, shape: Shape) -> Any:
    """The type of the list of resources as the JSON reader yields it."""
    return _reading(batch_type(signal), shape)


def _wire_type(signal: Signal) -> Any:
    return request_handler(signal).list_to_record_batch([]).schema.field(0).type


def _with_text(dtype: Any) -> Any:
    if pa.types.is_list(dtype):
        return pa.list_(dtype.value_field.with_type(_with_text(dtype.value_type)))
    if pa.types.is_struct(dtype):
        return pa.struct([field.with_type(_with_text(field.type)) for field in dtype])
    return pa.string() if pa.types.is_binary(dtype) else dtype


def _reading(dtype: Any, shape: Shape) -> Any:
    if pa.types.is_list(dtype):
        return pa.list_(_reading(dtype.value_type, shape))
    if is_value(dtype):
        return _reading_value(dtype, shape)
    if pa.types.is_struct(dtype):
        return pa.struct(
            [(lower_camel(field.name), _reading(field.type, shape)) for field in dtype]
        )
    if pa.types.is_integer(dtype) and shape.numbers is not Numbers.EXACT:
        wide = shape.numbers is Numbers.LENIENT or dtype.bit_width > _NARROW_BITS
        return _WIDE if wide else pa.int64()
    if pa.types.is_floating(dtype) and shape.numbers is Numbers.LENIENT:
        return pa.string()
    return dtype


_NARROW_BITS = 32


def _reading_value(dtype: Any, shape: Shape) -> Any:
    fields = [
        (lower_camel(field.name), _reading(field.type, shape))
        for field in dtype
        if field.name not in CONTAINERS
    ]
    for name in CONTAINERS:
        if shape.levels is None:
            fields.append((lower_camel(name), pa.binary()))
        elif shape.levels:
            fields.append((lower_camel(name), _reading_container(dtype, name, shape)))
    return pa.struct(fields)


def _reading_container(dtype: Any, name: str, shape: Shape) -> Any:
    """One level more; below the last one, a struct without fields tells that there was one."""
    if shape.levels == 1:
        return pa.struct([])
    inside = _reading_value(dtype, shape._replace(levels=(shape.levels or 0) - 1))
    if name == "kvlist_value":
        inside = pa.struct([("key", pa.string()), ("value", inside)])
    return pa.struct([("values", pa.list_(inside))])

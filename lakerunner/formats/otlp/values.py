"""`AnyValue`: the one value of many types, as typed columns and as JSON text.

Nested values are written as JSON one level at a time: all arrays and maps of one depth, of all
rows, are decoded in one call, and their texts are joined in one call. A loop here runs over depths.

Mapping to JSON follows ProtoJSON (https://protobuf.dev/programming-guides/json/) with two changes
for readers: 64-bit integers stay numbers, and maps are objects. NaN and the infinities are text,
bytes are base64 text, and an empty value is `null`. A key that stands twice in a map is written
twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.otlp.descriptors import value_handler
from lakerunner.formats.otlp.nesting import children, text
from lakerunner.limits import NESTING_DEPTH
from lakerunner.schema.base64 import base64_text
from lakerunner.schema.json_text import quote
from lakerunner.schema.number_text import double_text

SCALARS = {
    "string_value": "string",
    "bool_value": "bool",
    "int_value": "int64",
    "double_value": "double",
}
"""Fields of `AnyValue` that become a typed column, and the type."""

NESTED = {"array_value": "array", "kvlist_value": "map", "bytes_value": "bytes"}
"""Fields of `AnyValue` that become JSON text, and the name of their type in field metadata."""


def scalar_text(values: Any, field: str) -> Any:
    """The text of one scalar field of `AnyValue`; NULL where another field is set."""
    column = values.field(field)
    if field == "string_value":
        return text(column)
    return double_text(column) if field == "double_value" else column.cast(pa.string())


def nested_json(values: Any, depth: int = 0) -> Any:
    """JSON text of arrays, maps and bytes; NULL where the value is a scalar or empty.

    Args:
        values: Struct array of `AnyValue`. Bytes may be given as base64 text, arrays and maps as
            JSON text.
        depth: How many levels lie above.

    Raises:
        CorruptObjectError: A nested value is broken, or deeper than `limits.NESTING_DEPTH`.
    """
    if depth > NESTING_DEPTH:
        raise CorruptObjectError(f"a value is nested deeper than {NESTING_DEPTH} levels")
    parts = []
    raw = values.field("bytes_value")
    if raw.null_count < len(raw):
        parts.append(quote(raw if pa.types.is_string(raw.type) else base64_text(raw)))
    for field, kind in (("array_value", "ArrayValue"), ("kvlist_value", "KeyValueList")):
        encoded = values.field(field)
        if encoded.null_count < len(encoded):
            ready = pa.types.is_string(encoded.type)
            parts.append(encoded if ready else _container(encoded, kind, depth))
    if not parts:
        return pa.nulls(len(values), pa.string())
    return parts[0] if len(parts) == 1 else pc.coalesce(*parts)


def _container(encoded: Any, kind: str, depth: int) -> Any:
    """Arrays or maps of one depth: decode all, and write those that are there."""
    positions = pc.indices_nonzero(encoded.is_valid())
    whole = container_text(_decode_containers(encoded.take(positions), kind), kind, depth)
    rows = np.full(len(encoded), -1, np.int64)
    rows[positions.to_numpy()] = np.arange(len(positions))
    return whole.take(pa.array(rows, mask=rows < 0))


def container_text(lists: Any, kind: str, depth: int) -> Any:
    """JSON text of arrays or maps: write each element, join the elements.

    Args:
        lists: List array of `AnyValue` or `KeyValue`, without NULLs.
        kind: `ArrayValue` or `KeyValueList`.
        depth: How many levels lie above.
    """
    elements = children(lists)
    if kind == "KeyValueList":
        written = json_text(elements.values.field("value"), depth + 1)
        keys = quote(text(elements.values.field("key")))
        written = pc.binary_join_element_wise(keys, written, ":")
    else:
        written = json_text(elements.values, depth + 1)
    counts = np.bincount(elements.parents, minlength=len(lists))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), written), ",")
    opening, closing = ("{", "}") if kind == "KeyValueList" else ("[", "]")
    return pc.binary_join_element_wise(opening, joined, closing, "")


def _decode_containers(present: Any, kind: str) -> Any:
    try:
        return value_handler(kind).array_to_record_batch(present).column(0)
    except ValueError:  # most likely text that is not UTF-8
        try:
            handler = value_handler(kind, text_as_bytes=True)
            return handler.array_to_record_batch(present).column(0)
        except ValueError as error:
            raise CorruptObjectError(f"a nested value cannot be decoded: {error}") from error


def json_text(values: Any, depth: int = 0) -> Any:
    """JSON text of every value, scalars included; `null` for an empty one.

    Args:
        values: Struct array of `AnyValue`.
        depth: How many levels lie above.
    """
    parts = []
    for field in SCALARS:
        column = values.field(field)
        if column.null_count == len(column):
            continue
        written = scalar_text(values, field)
        if field == "string_value":
            written = quote(written)
        elif field == "double_value":
            finite = pc.is_finite(column)
            written = pc.if_else(finite, written, quote(written))
        parts.append(written)
    return pc.coalesce(*parts, nested_json(values, depth), "null")

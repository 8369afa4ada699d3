"""From what the JSON reader yields to the batch that all OTLP decoders take.

Fields get their protocol names, absent ones their defaults, texts of numbers become numbers, and
nested values become JSON text, from the innermost level outwards. A loop here runs over fields.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.otlp.attributes import container_text, nested_json
from lakerunner.formats.otlp.json_types import CONTAINERS, is_value, lower_camel

_BASE64 = "^[A-Za-z0-9+/]*$"
_PADS = pa.array(["", None, "==", "="])  # no base64 text has one character more than a whole group
_DEFAULTS = {pa.string(): "", pa.bool_(): False}


class UnreadableError(ValueError):
    """The JSON reader cannot take the documents as they are; a more patient way may."""


class TooDeepError(UnreadableError):
    """A value is nested deeper than it was read."""


def to_batch(values: Any, wanted: Any) -> Any:
    """Bring an array into the type of the batch.

    Args:
        values: As it was read by a `reading_type`.
        wanted: The matching part of `batch_type`.

    Raises:
        UnreadableError: A value is out of range, of the wrong kind, or nested too deep.
    """
    if pa.types.is_list(wanted):
        return _list(values, wanted)
    if is_value(wanted):
        return _value(values, wanted)
    if pa.types.is_struct(wanted):
        return _struct(values, [_field(values, field) for field in wanted], wanted)
    return _number(values, wanted)


def _list(values: Any, wanted: Any) -> Any:
    inside = values.values
    if inside.null_count:
        raise UnreadableError("a list holds a null")
    return pa.ListArray.from_arrays(
        values.offsets, to_batch(inside, wanted.value_type), type=wanted
    )


def _field(values: Any, field: Any) -> Any:
    found = to_batch(_child(values, lower_camel(field.name)), field.type)
    if field.nullable or not found.null_count:
        return found
    return found.fill_null(pa.scalar(_DEFAULTS.get(field.type, 0), field.type))


def _child(values: Any, name: str) -> Any:
    """A field of a struct, NULL where the struct is: what lies below is no one's, such as ''."""
    return pc.struct_field(values, name) if values.null_count else values.field(name)


def _struct(values: Any, fields: list[Any], wanted: Any) -> Any:
    absent = values.is_null() if values.null_count else None
    return pa.StructArray.from_arrays(fields, fields=list(wanted), mask=absent)


def _number(values: Any, wanted: Any) -> Any:
    if values.type == wanted:
        return values
    try:
        return values.cast(wanted)
    except pa.ArrowInvalid as error:
        raise UnreadableError(str(error)) from error


def _value(values: Any, wanted: Any) -> Any:
    fields = []
    for field in wanted:
        name = lower_camel(field.name)
        if values.type.get_field_index(name) < 0:
            fields.append(pa.nulls(len(values), field.type))
        elif field.name in CONTAINERS:
            fields.append(_container(_child(values, name), field, wanted))
        elif field.name == "bytes_value":
            fields.append(_padded_base64(_child(values, name)))
        else:
            fields.append(_number(_child(values, name), field.type))
    return _struct(values, fields, wanted)


def _container(values: Any, field: Any, wanted: Any) -> Any:
    """JSON text of the arrays or maps among values."""
    if values.null_count == len(values):
        return pa.nulls(len(values), field.type)
    if pa.types.is_binary(values.type):
        return _encoded(values, field, wanted)
    if not values.type.num_fields:
        raise TooDeepError("a value is nested deeper than it was read")
    positions = pc.indices_nonzero(values.is_valid())
    inside = wanted
    if field.name == "kvlist_value":
        inside = pa.struct([pa.field("key", pa.string(), nullable=False), ("value", wanted)])
    lists = _list(values.take(positions).field("values"), pa.list_(inside))
    written = container_text(lists, CONTAINERS[field.name], 0)
    rows = np.full(len(values), -1, np.int64)
    rows[positions.to_numpy()] = np.arange(len(positions))
    return written.take(pa.array(rows, mask=rows < 0))


def _encoded(values: Any, field: Any, wanted: Any) -> Any:
    """JSON text of values that are protobuf bytes."""
    alone = [
        values if each.name == field.name else pa.nulls(len(values), each.type) for each in wanted
    ]
    try:
        return nested_json(pa.StructArray.from_arrays(alone, [each.name for each in wanted]))
    except CorruptObjectError as error:
        raise UnreadableError(error.message) from error


def _padded_base64(texts: Any) -> Any:
    """Base64 in the standard alphabet with padding, from either alphabet with or without it."""
    if texts.null_count == len(texts):
        return texts
    for found, meant in (("-", "+"), ("_", "/")):
        texts = pc.replace_substring(texts, found, meant)
    texts = pc.ascii_rtrim(texts, "=")
    surplus = pc.bit_wise_and(pc.binary_length(texts), 3)
    padded = pc.binary_join_element_wise(texts, _PADS.take(surplus), "")
    if (
        padded.null_count > texts.null_count
        or not pc.all(pc.match_substring_regex(texts, _BASE64)).as_py()
    ):
        raise UnreadableError("a bytesValue is not base64")
    return padded

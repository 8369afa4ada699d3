"""Read one OTLP JSON document with all the patience that ProtoJSON asks for, and slowly.

This is for the few documents that the columnar reader refuses: duplicate keys (the last one
counts), nulls in lists, numbers in odd notations, values nested deeper than a few levels. The
result is plain Python data for `pyarrow.array`; nested values are written as protobuf bytes, which
the protobuf decoder's own code then turns into JSON text.

https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.otlp.json_batch import to_batch
from lakerunner.formats.otlp.json_repairs import enum_numbers
from lakerunner.formats.otlp.json_types import (
    ENCODED,
    ROOTS,
    batch_type,
    is_value,
    lower_camel,
    reading_type,
)
from lakerunner.limits import NESTING_DEPTH

if TYPE_CHECKING:
    from lakerunner.model.signal import Signal

_ARRAY, _MAP = 5, 6  # field numbers of `AnyValue`
_SEVEN_BITS, _MORE, _LENGTH = 0x7F, 0x80, 2


def read_patiently(line: bytes, signal: Signal) -> Any:
    """Read one document.

    Returns:
        Array of `batch_type` with one element: the document's resources.

    Raises:
        CorruptObjectError: It is not OTLP JSON; the message says where.
    """
    try:
        document = msgspec.json.decode(line)
        resources = _list(document.get(ROOTS[signal]), batch_type(signal), ROOTS[signal])
        return to_batch(pa.array([resources], reading_type(signal, ENCODED)), batch_type(signal))
    except CorruptObjectError:
        raise
    except RecursionError as error:
        raise CorruptObjectError("it is nested too deep") from error
    except (ValueError, OverflowError, AttributeError) as error:
        raise CorruptObjectError(f"not OTLP JSON: {error}") from error


def _list(value: Any, wanted: Any, name: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong(name, "a list", value)
    return [_read(item, wanted.value_type, name) for item in value if item is not None]


def _read(value: Any, wanted: Any, name: str) -> Any:
    if value is None:
        return None
    if pa.types.is_list(wanted):
        return _list(value, wanted, name)
    if is_value(wanted):
        return _any_value(value, name)
    if pa.types.is_struct(wanted):
        fields = _object(value, name)
        names = ((lower_camel(field.name), field) for field in wanted)
        return {camel: _read(fields.get(camel), field.type, camel) for camel, field in names}
    return _scalar(value, wanted, name)


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(name, "an object", value)
    return value


def _scalar(value: Any, wanted: Any, name: str) -> Any:
    if pa.types.is_integer(wanted):
        return _integer(value, name)
    if pa.types.is_floating(wanted):
        return _double(value, name)
    if pa.types.is_boolean(wanted) and not isinstance(value, bool):
        raise _wrong(name, "true or false", value)
    if pa.types.is_string(wanted) and not isinstance(value, str):
        raise _wrong(name, "a text", value)
    return value


def _integer(value: Any, name: str) -> int:
    if isinstance(value, str):
        if value in enum_numbers():
            return enum_numbers()[value]
        try:
            return int(value)
        except ValueError:
            value = _double(value, name)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(name, "a whole number", value)
    return value


def _double(value: Any, name: str) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise _wrong(name, "a number", value) from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(name, "a number", value)
    return float(value)


def _wrong(name: str, wanted: str, found: Any) -> CorruptObjectError:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    return CorruptObjectError(
        f"'{name}' must be {wanted}, and is {kinds.get(type(found), 'a number')}", field=name
    )


def _any_value(value: Any, name: str) -> dict[str, Any]:
    fields = {key: field for key, field in _object(value, name).items() if field is not None}
    found: dict[str, Any] = {}
    for key, dtype in _SCALARS.items():
        if key in fields:
            found[key] = _scalar(fields[key], dtype, key)
    if "bytesValue" in fields:
        found["bytesValue"] = _scalar(fields["bytesValue"], pa.string(), "bytesValue")
    if "arrayValue" in fields:
        found["arrayValue"] = _encoded_array(fields["arrayValue"], 1)
    if "kvlistValue" in fields:
        found["kvlistValue"] = _encoded_map(fields["kvlistValue"], 1)
    return found


_SCALARS = {
    "stringValue": pa.string(),
    "boolValue": pa.bool_(),
    "intValue": pa.int64(),
    "doubleValue": pa.float64(),
}


def _elements(value: Any, name: str, depth: int) -> list[Any]:
    if depth > NESTING_DEPTH:
        raise CorruptObjectError(f"a value is nested deeper than {NESTING_DEPTH} levels")
    values = _object(value, name).get("values")
    if values is not None and not isinstance(values, list):
        raise _wrong("values", "a list", values)
    return [item for item in values or () if item is not None]


def _encoded_array(value: Any, depth: int) -> bytes:
    items = _elements(value, "arrayValue", depth)
    return b"".join(_delimited(1, _encoded(item, "values", depth)) for item in items)


def _encoded_map(value: Any, depth: int) -> bytes:
    pairs = []
    for item in _elements(value, "kvlistValue", depth):
        pair = _object(item, "values")
        key = _scalar(pair.get("key") or "", pa.string(), "key")
        encoded = _delimited(1, key.encode())
        if pair.get("value") is not None:
            encoded += _delimited(2, _encoded(pair["value"], "value", depth))
        pairs.append(_delimited(1, encoded))
    return b"".join(pairs)


def _encoded(value: Any, name: str, depth: int) -> bytes:
    """One `AnyValue` as protobuf."""
    fields = {key: field for key, field in _object(value, name).items() if field is not None}
    if "arrayValue" in fields:
        return _delimited(_ARRAY, _encoded_array(fields["arrayValue"], depth + 1))
    if "kvlistValue" in fields:
        return _delimited(_MAP, _encoded_map(fields["kvlistValue"], depth + 1))
    message = AnyValue()
    if "bytesValue" in fields:
        message.bytes_value = _bytes(_scalar(fields["bytesValue"], pa.string(), "bytesValue"))
    if "stringValue" in fields:
        message.string_value = _scalar(fields["stringValue"], pa.string(), "stringValue")
    elif "boolValue" in fields:
        message.bool_value = _scalar(fields["boolValue"], pa.bool_(), "boolValue")
    elif "intValue" in fields:
        message.int_value = _integer(fields["intValue"], "intValue")
    elif "doubleValue" in fields:
        message.double_value = _double(fields["doubleValue"], "doubleValue")
    return message.SerializeToString()


def _bytes(text: str) -> bytes:
    plain = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        raise CorruptObjectError("a bytesValue is not base64", field="bytesValue") from None


def _delimited(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    head, length = bytearray([number << 3 | _LENGTH]), len(content)
    while length > _SEVEN_BITS:
        head.append(length & _SEVEN_BITS | _MORE)
        length >>= 7
    head.append(length)
    return bytes(head) + content

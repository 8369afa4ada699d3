"""Convert the values of a field to the type of a table column, saying which could be converted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.records.fields import Converted
from lakerunner.schema.arrays import absent_if_empty
from lakerunner.schema.ids import hex_ids
from lakerunner.schema.text import double_text, json_text

if TYPE_CHECKING:
    from collections.abc import Callable

_INTEGER = r"^\s*[+-]?\d{1,18}\s*$"
_NUMBER = (
    r"^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*$|^\s*[+-]?(?:NaN|Infinity|Inf|inf|nan)\s*$"
)
_UUID_CHARACTERS = 36
_UUID = "^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_PER_UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_BEYOND = 2.0**63
_EXACT = 2.0**53  # what is rounded comes to it at least


def valid(values: Any) -> Any:
    """Which rows have a value, as a numpy array of bool."""
    return np.asarray(values.is_valid())


def plain_text(values: Any) -> Any:
    """Any values as text: JSON for lists, the shortest exact form for numbers."""
    dtype = values.type
    if pa.types.is_dictionary(dtype):
        return plain_text(values.cast(dtype.value_type))
    if pa.types.is_string(dtype):
        return values
    if pa.types.is_floating(dtype):
        return double_text(values.cast(pa.float64()))
    if pa.types.is_nested(dtype) or pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype):
        return json_text(values)
    return values.cast(pa.string())


def to_text(values: Any) -> Converted:
    """Text as it is; NULL is not usable."""
    return Converted(plain_text(values), valid(values))


def to_word(values: Any) -> Converted:
    """Text of which an empty one is as good as none."""
    text = absent_if_empty(plain_text(values))
    return Converted(text, valid(text))


def to_string_only(values: Any) -> Converted:
    """Text, but only where it was text: for names that mean text only sometimes."""
    plain = values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
    if pa.types.is_string(plain.type) or pa.types.is_large_string(plain.type):
        return to_text(plain)
    return Converted(pa.nulls(len(values), pa.string()), np.zeros(len(values), bool))


def to_id(values: Any) -> Converted:
    """Trace and span ids: lower-case hex of text, UUIDs or bytes; see `hex_ids`."""
    dtype = values.type
    if pa.types.is_binary(dtype) or pa.types.is_fixed_size_binary(dtype):
        text = hex_ids(values.cast(pa.binary()))
    else:
        text = plain_text(values)
        if pc.any(pc.equal(pc.binary_length(text), _UUID_CHARACTERS)).as_py():
            uuids = pc.match_substring_regex(text, _UUID)
            text = pc.if_else(uuids, pc.replace_substring(text, "-", ""), text)
        text = hex_ids(text)
    return Converted(text, valid(text))


def to_integer(dtype: pa.DataType) -> Callable[[Any], Converted]:
    """A converter of whole numbers, also where they are written as text or as doubles."""

    def convert(values: Any) -> Converted:
        numbers = _whole_numbers(values)
        low, high = (0, 2**63 - 1) if pa.types.is_unsigned_integer(dtype) else _bounds(dtype)
        high = min(high, _bounds(dtype)[1])
        if numbers.type != dtype:
            fits = pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high))
            numbers = pc.if_else(fits, numbers, pa.scalar(None, numbers.type)).cast(dtype)
        return Converted(numbers, valid(numbers))

    return convert


def _bounds(dtype: pa.DataType) -> tuple[int, int]:
    information = np.iinfo(dtype.to_pandas_dtype())
    return int(information.min), int(information.max)


def _whole_numbers(values: Any) -> Any:
    """int64, or uint64 where that is what came; NULL where it is no whole number."""
    dtype = values.type
    if pa.types.is_dictionary(dtype):
        return _whole_numbers(values.cast(dtype.value_type))
    if pa.types.is_uint64(dtype):
        return values
    if pa.types.is_integer(dtype):
        return values.cast(pa.int64())
    if pa.types.is_floating(dtype):
        double = values.cast(pa.float64())
        whole = pc.and_(pc.equal(pc.floor(double), double), pc.less(pc.abs(double), 2.0**53))
        return pc.if_else(whole, double, pa.scalar(None, pa.float64())).cast(pa.int64())
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        text = pc.utf8_trim_whitespace(values.cast(pa.string()))
        matching = pc.match_substring_regex(text, _INTEGER)
        digits = pc.utf8_ltrim(pc.if_else(matching, text, pa.scalar(None, pa.string())), "+")
        return digits.cast(pa.int64())
    return pa.nulls(len(values), pa.int64())


def to_double(values: Any, *, rounded: bool = False) -> Converted:
    """Numbers, also where they are written as text.

    Args:
        values: Array of any type.
        rounded: Whether integers beyond 2^53, which no double holds exactly, are usable.
    """
    dtype = values.type
    if pa.types.is_dictionary(dtype):
        return to_double(values.cast(dtype.value_type), rounded=rounded)
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        text = pc.utf8_trim_whitespace(values.cast(pa.string()))
        matching = pc.match_substring_regex(text, _NUMBER)
        digits = pc.utf8_ltrim(pc.if_else(matching, text, pa.scalar(None, pa.string())), "+")
        numbers = digits.cast(pa.float64())
    elif pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_decimal(dtype):
        numbers = values.cast(pa.float64(), safe=False)
        if pa.types.is_integer(dtype) and not rounded:
            exact = pc.less(pc.abs(numbers), _EXACT)
            numbers = pc.if_else(exact, numbers, pa.scalar(None, pa.float64()))
    else:
        numbers = pa.nulls(len(values), pa.float64())
    return Converted(numbers, valid(numbers))


def to_duration(scale: int, taken: Any) -> Callable[[Any], Converted]:
    """A converter of durations to nanoseconds; what has more than 64 bits is not usable.

    Args:
        scale: Nanoseconds in a unit, where the type of the values does not say it.
        taken: bool per row: rows that have a duration already; None where none has.
    """

    def convert(values: Any) -> Converted:
        if pa.types.is_duration(values.type):
            unit = _PER_UNIT[values.type.unit]
            nanoseconds = _scaled(values.cast(pa.int64()), unit)
        else:
            nanoseconds = pc.coalesce(
                _scaled(to_integer(pa.int64())(values).values, scale),
                _rounded(to_double(values).values, scale),
            )
        usable = valid(nanoseconds)
        return Converted(nanoseconds, usable if taken is None else usable & ~taken)

    return convert


def _scaled(whole: Any, scale: int) -> Any:
    fits = pc.less_equal(pc.abs(whole), (2**63 - 1) // scale)
    return pc.if_else(fits, pc.multiply(whole, scale), pa.scalar(None, pa.int64()))


def _rounded(doubles: Any, scale: int) -> Any:
    nanoseconds = pc.round(pc.multiply(doubles, float(scale)))
    fits = pc.less(pc.abs(nanoseconds), _BEYOND)  # false for NaN
    return pc.if_else(fits, nanoseconds, pa.scalar(None, pa.float64())).cast(pa.int64())


def to_bool(values: Any) -> Converted:
    """Truth values, also where they are written as text or as 0 and 1."""
    if pa.types.is_boolean(values.type):
        return Converted(values, valid(values))
    text = pc.utf8_lower(plain_text(values))
    positive = pc.is_in(text, pa.array(["true", "1", "yes"]))
    negative = pc.is_in(text, pa.array(["false", "0", "no"]))
    known = pc.or_(positive, negative)
    return Converted(pc.if_else(known, positive, pa.scalar(None, pa.bool_())), np.asarray(known))


def to_enumeration(names: tuple[str, ...], prefix: str) -> Callable[[Any], Converted]:
    """A converter of enumerations, written as names, with or without prefix, or as numbers.

    A name that is not known stays as it was written, in upper case.
    """

    def convert(values: Any) -> Converted:
        text = pc.utf8_upper(pc.utf8_trim_whitespace(plain_text(values)))
        text = absent_if_empty(pc.replace_substring_regex(text, f"^{prefix}", ""))
        numbers = pa.array([str(number) for number in range(len(names))])
        named = pa.array(names).take(pc.index_in(text, numbers))
        text = pc.coalesce(named, text)
        return Converted(text, valid(text))

    return convert

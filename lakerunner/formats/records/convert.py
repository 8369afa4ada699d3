"""Convert the values of a field to the type of a table column, saying which could be converted."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.records.fields import Converted, squash
from lakerunner.formats.records.json_lines import suspicious_lines
from lakerunner.formats.records.json_read import UnevenError, as_lines, read_lines
from lakerunner.formats.records.lines import join_lines
from lakerunner.schema.arrays import TIMESTAMP, absent_if_empty
from lakerunner.schema.ids import hex_ids
from lakerunner.schema.text import double_text, json_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakerunner.formats.records.times import Written

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


# Convert lists to the list columns of a table: buckets and bounds, events, links, exemplars.
#
# A list is taken whole or not at all: where one of its elements holds something that the column has
# no place for, or cannot be converted, the list stays the field it was.

_NAMES = {
    "time": "timestamp",
    "timeunixnano": "timestamp",
    "ts": "timestamp",
    "filteredattributes": "attributes",
    "asdouble": "value",
    "asint": "value_int",
}
"""Names of the parts of elements, squashed, besides those of the columns."""

_IDS = frozenset({"trace_id", "span_id"})


def to_list(dtype: pa.ListType, written: Written) -> Callable[[Any], Converted]:
    """A converter of lists, also where they are written as JSON text.

    Args:
        dtype: A list of numbers, or of structs of scalars.
        written: When and where the rows were written.
    """

    def convert(values: Any) -> Converted:
        return _converted(values, dtype, written)

    return convert


def _converted(values: Any, dtype: pa.ListType, written: Written) -> Converted:
    lists = values
    if pa.types.is_string(values.type):
        lists = _parsed(values)
        firsts = np.flatnonzero(np.diff(written.objects, prepend=-1))
        if len(firsts) > 1 and not (lists is not None and _types_stay(lists)):
            return _one_by_one(values, dtype, written, [*firsts.tolist(), len(values)])
    if lists is None or not pa.types.is_list(lists.type):
        return Converted(pa.nulls(len(values), dtype), np.zeros(len(values), bool))
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    owners = np.repeat(np.arange(len(lists)), lengths)
    elements = _elements(lists.flatten(), dtype.value_type, written.of(owners))
    if elements is None:
        return Converted(pa.nulls(len(values), dtype), np.zeros(len(values), bool))
    wrong = np.bincount(owners[~elements.usable], minlength=len(lists)) > 0
    usable = valid(lists) & ~wrong
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    converted = pa.ListArray.from_arrays(
        offsets, elements.values, type=dtype, mask=pa.array(~usable)
    )
    return Converted(converted, usable)


def _one_by_one(
    values: Any, dtype: pa.ListType, written: Written, bounds: Sequence[int]
) -> Converted:
    """Lists of each object by itself: what is odd in one does not change how another is read."""
    parts = [
        _converted(values[start:end], dtype, written.of(slice(start, end)))
        for start, end in pairwise(bounds)
    ]
    return Converted(
        pa.concat_arrays([part.values for part in parts]),
        np.concatenate([part.usable for part in parts]),
    )


def _types_stay(values: Any) -> bool:
    """Whether each list alone would be of this type: whole numbers among others would not."""
    if pa.types.is_floating(values.type):
        return not pc.any(pc.equal(pc.floor(values), values)).as_py()
    if pa.types.is_list(values.type):
        return _types_stay(values.flatten())
    if pa.types.is_struct(values.type):
        return all(map(_types_stay, values.flatten()))
    return True


def _parsed(texts: Any) -> Any:
    """JSON arrays of text as lists, NULL where there is none; None if one is broken."""
    arrays = pc.match_substring_regex(texts, r"^\s*\[(?s:.*)\]\s*$")
    rows = pc.indices_nonzero(pc.fill_null(arrays, False)).to_numpy()  # noqa: FBT003 - Arrow's
    if not len(rows):
        return pa.nulls(len(texts))
    written = pc.replace_substring_regex(texts.take(pa.array(rows)), "[\r\n]", " ")
    data = as_lines(written, '{"v":', "}\n")
    if suspicious_lines(join_lines([data])):
        return None
    try:
        read = read_lines(data, len(rows)).column(0).combine_chunks()
    except UnevenError:
        return None
    places = np.full(len(texts), -1, np.int64)
    places[rows] = np.arange(len(rows))
    return read.take(pa.array(places, mask=places < 0))


def _elements(values: Any, dtype: pa.DataType, written: Written) -> Converted | None:
    """Elements as those of the column; NULL ones are usable. None if the type says they are not."""
    if pa.types.is_null(values.type):
        return Converted(pa.nulls(len(values), dtype), np.ones(len(values), bool))
    if not pa.types.is_struct(dtype):
        return _part(values, "", dtype, written)
    if not pa.types.is_struct(values.type):
        return None
    usable = np.ones(len(values), bool)
    parts: dict[str, Any] = {}
    for field, child in zip(values.type, values.flatten(), strict=True):
        name = next((known.name for known in dtype if squash(known.name) == squash(field.name)), "")
        name = name or _NAMES.get(squash(field.name), "")
        place = dtype.get_field_index(name)
        if place < 0 or name in parts:
            usable &= ~valid(child)
            continue
        found = _part(child, name, dtype.field(place).type, written)
        parts[name] = found.values
        usable &= found.usable
    arrays = [
        parts[field.name] if field.name in parts else pa.nulls(len(values), field.type)
        for field in dtype
    ]
    structs = pa.StructArray.from_arrays(arrays, fields=list(dtype), mask=values.is_null())
    return Converted(structs, usable)


def _part(values: Any, name: str, dtype: pa.DataType, written: Written) -> Converted:
    """Scalars under the type of a column; usable is also what was NULL, or an empty text."""
    if pa.types.is_null(values.type):
        return Converted(pa.nulls(len(values), dtype), np.ones(len(values), bool))
    if dtype == TIMESTAMP:
        read = written.times(values)
        nanoseconds = pa.array(read.nanoseconds, mask=~read.usable)
        found = Converted(nanoseconds.cast(TIMESTAMP), read.usable)
    elif name in _IDS:
        found = to_id(values)
    elif pa.types.is_string(dtype):
        found = to_text(values)
    else:
        found = to_integer(dtype)(values) if pa.types.is_integer(dtype) else to_double(values)
    absent = ~valid(values)
    if pa.types.is_string(values.type):
        empty = pc.equal(plain_text(values), "")
        absent |= np.asarray(pc.fill_null(empty, fill_value=False))
    return Converted(found.values, found.usable | absent)

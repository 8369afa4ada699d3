"""`AnyValue` messages read straight from the wire: columns of bytes that become typed columns.

A value is nearly always one field: a byte that says which, and what it holds. So the decoder hands
values on as bytes, and what they are is found by looking at their first bytes, all at once. Text is
not copied before it is known into which column it goes. What is not written in the usual way, as a
message that another one overwrites, is left to a decoder of protobuf.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.otlp.wire import value_handler

_STRING, _BOOL, _INT, _DOUBLE, _ARRAY, _MAP, _BYTES = range(1, 8)
_FIELDS = {
    "string_value": _STRING,
    "bool_value": _BOOL,
    "int_value": _INT,
    "double_value": _DOUBLE,
    "array_value": _ARRAY,
    "kvlist_value": _MAP,
    "bytes_value": _BYTES,
}
_UNUSUAL = 255
_TEXT_TAG, _HEAD = 0x0A, 2  # the tag of a text, and its bytes with those of a length below 128
_SHORT = 129  # bytes of the longest value whose length takes one byte
_SEVEN_BITS = 127
_LONGEST_NUMBER = 10
_DOUBLE_BYTES = 9


def _kinds() -> Any:
    """Which field begins with a byte."""
    kinds = np.full(256, _UNUSUAL, np.uint8)
    for number in _FIELDS.values():
        wire = 0 if number in (_BOOL, _INT) else 1 if number == _DOUBLE else 2
        kinds[number << 3 | wire] = number
    return kinds


_KIND_OF_TAG = _kinds()


class WireValues:
    """Values as bytes, of which fields can be asked for as of a struct array of `AnyValue`.

    Attributes:
        kinds: uint8: the number of the field of each value; 0 for an empty one.
        counts: By number, how many there are.
    """

    def __init__(self, kinds: Any, slices: Any, numbers: dict[int, Any]) -> None:
        self.kinds = kinds
        self.counts = np.bincount(kinds, minlength=len(_FIELDS) + 1)
        self._slices = slices
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self.kinds)

    def count(self, name: str) -> int:
        """How many values are of a field."""
        return int(self.counts[_FIELDS[name]])

    def holds(self, name: str) -> Any:
        """Bool array: which values are of a field."""
        return self.kinds == _FIELDS[name]

    def occurs(self, name: str, places: Any) -> bool:
        """Whether any of some values is of a field."""
        number = _FIELDS[name]
        count = self.counts[number]
        return bool(count == len(self) or (count and (self.kinds[places] == number).any()))

    def field(self, name: str) -> Any:
        """One field of every value; NULL where another one is set. Text is binary."""
        return self.take(name, np.arange(len(self)))

    def take(self, name: str, places: Any, absent: Any = None) -> Any:
        """One field of some values.

        Args:
            name: Of the field.
            places: Integer array: which values.
            absent: Bool array: where there is none, whatever `places` says.

        Returns:
            Array of as many rows; NULL where another field is set. Text is binary.
        """
        number = _FIELDS[name]
        if self.counts[number] < len(self):
            other = self.kinds[places] != number
            if other.any():
                absent = other if absent is None else other | absent
        if number in (_BOOL, _INT, _DOUBLE):
            taken = self._numbers[number][places] if number in self._numbers else None
            if taken is None:
                return pa.nulls(len(places), _TYPES[number])
            return pa.array(taken, mask=absent)
        return self._slices.take(pa.array(places * 2, mask=absent))


_TYPES = {_BOOL: pa.bool_(), _INT: pa.int64(), _DOUBLE: pa.float64()}


def any_values(column: Any) -> Any:
    """Values, of which fields can be asked for: `len`, `field`.

    Args:
        column: A struct array of `AnyValue`, which is returned as it is; or a list array of their
            bytes, where several count as one: in protobuf, to write one behind the other is to
            merge them.

    Returns:
        `WireValues` or a struct array.

    Raises:
        CorruptObjectError: A value is broken.
    """
    if pa.types.is_struct(column.type):
        return column
    encoded = _merged(column)
    values = _read(encoded)
    if values is not None:
        return values
    try:
        batch = value_handler("AnyValue").array_to_record_batch(encoded)
    except ValueError:  # most likely text that is not UTF-8
        try:
            batch = value_handler("AnyValue", text_as_bytes=True).array_to_record_batch(encoded)
        except ValueError as error:
            raise CorruptObjectError(f"a value cannot be decoded: {error}") from error
    return batch.to_struct_array()


def fields_that_occur(values: Any) -> frozenset[str]:
    """Fields of which some value is, of what `any_values` returned."""
    if isinstance(values, WireValues):
        return frozenset(name for name in _FIELDS if values.count(name))
    return frozenset(name for name in _FIELDS if values.field(name).null_count < len(values))


def _merged(lists: Any) -> Any:
    """The bytes of each list of messages, one behind the other: no byte is copied."""
    offsets = lists.offsets.to_numpy()
    parts = lists.values
    inner = np.frombuffer(parts.buffers()[1], np.int32)[parts.offset :] if len(parts) else None
    bounds = np.zeros(len(lists) + 1, np.int32) if inner is None else inner[offsets]
    return pa.BinaryArray.from_buffers(
        pa.binary(), len(lists), [None, pa.py_buffer(bounds), parts.buffers()[2]]
    )


def _read(encoded: Any) -> WireValues | None:
    """Tell what each value is; None if one is not written in the usual way."""
    offsets = np.frombuffer(encoded.buffers()[1], np.int32)[: len(encoded) + 1]
    data = np.frombuffer(encoded.buffers()[2] or b"", np.uint8)[: offsets[-1]]
    starts, ends = offsets[:-1], offsets[1:]
    sizes = ends - starts
    kinds = np.full(len(encoded), _STRING, np.uint8)
    begins = starts + np.int32(_HEAD)
    numbers: dict[int, Any] = {}
    rest = np.flatnonzero(~_are_short_texts(data, starts, sizes))
    if len(rest):
        filled = rest[sizes[rest] > 0]
        kinds[rest] = 0
        kinds[filled] = _KIND_OF_TAG[data[starts[filled]]]
        begins[rest] = ends[rest]
        if not _read_numbers(data, rest, kinds, offsets, numbers):
            return None
        delimited = rest[(kinds[rest] == _STRING) | (kinds[rest] >= _ARRAY)]
        if (kinds[rest] == _UNUSUAL).any() or not _read_lengths(data, delimited, offsets, begins):
            return None
    bounds = np.empty(2 * len(encoded) + 1, np.int32)
    bounds[0:-1:2], bounds[1::2], bounds[-1] = begins, ends, offsets[-1]
    slices = pa.BinaryArray.from_buffers(
        pa.binary(), 2 * len(encoded), [None, pa.py_buffer(bounds), encoded.buffers()[2]]
    )
    return WireValues(kinds, slices, numbers)


def _are_short_texts(data: Any, starts: Any, sizes: Any) -> Any:
    """Which values are a text of less than 128 bytes, whose head is two bytes."""
    if len(data) < _HEAD:
        return np.zeros(len(starts), bool)
    heads = np.ndarray((len(data) - 1,), "<u2", data.data, strides=(1,))
    last = np.int32(len(heads) - 1)
    places = starts if starts[-1] <= last else np.minimum(starts, last)
    expected = (sizes - np.int32(_HEAD)) << np.int32(8) | np.int32(_TEXT_TAG)
    short = heads[places] == expected
    if int(sizes.max()) > _SHORT:
        short &= sizes <= _SHORT
    return short


def _read_lengths(data: Any, delimited: Any, offsets: Any, begins: Any) -> bool:
    """Set where texts and messages begin; whether each goes to the end of its value."""
    begin, end = offsets[delimited] + 1, offsets[delimited + 1]
    length = np.zeros(len(delimited), np.int64)
    open_ = np.arange(len(delimited))
    for turn in range(5):
        if not len(open_):
            break
        if (begin[open_] >= end[open_]).any():
            return False
        byte = data[begin[open_]].astype(np.int64)
        length[open_] |= (byte & _SEVEN_BITS) << (7 * turn)
        begin[open_] += 1
        open_ = open_[byte > _SEVEN_BITS]
    begins[delimited] = begin
    return not len(open_) and bool((begin + length == end).all())


def _read_numbers(data: Any, rest: Any, kinds: Any, offsets: Any, numbers: dict[int, Any]) -> bool:
    """Read numbers and truth values; whether each is written as usual."""
    doubles = rest[kinds[rest] == _DOUBLE]
    if len(doubles):
        begin = offsets[doubles]
        if (offsets[doubles + 1] - begin != _DOUBLE_BYTES).any():
            return False
        found = np.zeros(len(kinds))
        words = np.ndarray((len(data) - 7,), "<f8", data.data, strides=(1,))
        found[doubles] = words[begin + 1]
        numbers[_DOUBLE] = found
    for kind in (_BOOL, _INT):
        places = rest[kinds[rest] == kind]
        if not len(places):
            continue
        value = _varints(data, offsets[places] + 1, offsets[places + 1])
        if value is None or (kind == _BOOL and (value > 1).any()):
            return False
        full: Any = np.zeros(len(kinds), np.bool_ if kind == _BOOL else np.int64)
        full[places] = value if kind == _INT else value == 1
        numbers[kind] = full
    return True


def _varints(data: Any, begin: Any, end: Any) -> Any:
    """Numbers in groups of seven bits, each from place to place; None if one ends elsewhere."""
    sizes = end - begin
    if (sizes < 1).any() or (sizes > _LONGEST_NUMBER).any():
        return None
    value = np.zeros(len(begin), np.uint64)
    for turn in range(int(sizes.max())):
        there = np.flatnonzero(sizes > turn)
        byte = data[begin[there] + turn]
        if ((byte > _SEVEN_BITS) != (sizes[there] > turn + 1)).any():
            return None
        value[there] |= (byte & _SEVEN_BITS).astype(np.uint64) << np.uint64(7 * turn)
    return value.view(np.int64)

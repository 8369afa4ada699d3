"""Attributes: from lists of key-value pairs to one typed column per key.

All pairs of a batch are grouped by key with one stable sort; each key then becomes a column by one
`take`. A loop here runs over distinct keys.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.otlp.wire import value_handler
from lakerunner.formats.otlp.wire_values import WireValues, any_values
from lakerunner.limits import NESTING_DEPTH
from lakerunner.schema.arrays import common_type
from lakerunner.schema.attribute import AttributeColumn, AttributeTable, OverflowPairs, assign_names
from lakerunner.schema.text import base64_text, double_text, quote, repair_utf8

# Take lists of messages apart: the parent of each child, and the children in one array.


class Children(NamedTuple):
    """All children of a column of lists.

    Attributes:
        parents: int32; the row of the parent of each child, ascending.
        values: The children, in order.
    """

    parents: Any
    values: Any


def children(lists: Any) -> Children:
    """Flatten a list array without NULLs.

    Example:
        >>> parents, values = children(pa.array([["a"], [], ["b", "c"]]))
        >>> parents.tolist(), values.to_pylist()
        ([0, 2, 2], ['a', 'b', 'c'])
    """
    offsets = lists.offsets.to_numpy()
    parents = np.repeat(np.arange(len(lists), dtype=np.int32), np.diff(offsets))
    return Children(parents, lists.values.slice(offsets[0], offsets[-1] - offsets[0]))


def text(values: Any) -> Any:
    """A text column as strings, whichever way it was decoded."""
    if pa.types.is_binary(values.type):
        return repair_utf8(values).text
    return values


def list_offsets(counts: Any) -> Any:
    """Offsets of lists of given lengths.

    Args:
        counts: Integer array: the length of each list.

    Example:
        >>> list_offsets(np.array([2, 0, 1])).to_pylist()
        [0, 2, 2, 3]
    """
    return pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))


# `AnyValue`: the one value of many types, as typed columns and as JSON text.
#
# Nested values are written as JSON one level at a time: all arrays and maps of one depth, of all
# rows, are decoded in one call, and their texts are joined in one call. A loop here runs over
# depths.
#
# Mapping to JSON follows ProtoJSON (https://protobuf.dev/programming-guides/json/) with two changes
# for readers: 64-bit integers stay numbers, and maps are objects. NaN and the infinities are text,
# bytes are base64 text, and an empty value is `null`. A key that stands twice in a map is written
# twice.

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


_LARGEST_EXACT = 2**53  # beyond it a double cannot hold every integer


class _Pairs(NamedTuple):
    """Pairs of one batch.

    Attributes:
        rows: int32; the row each pair belongs to, ascending.
        fields: `AnyValue` fields that occur, the usual one first, with their column; nested ones as
            JSON text. None for those that are still bytes.
        wire: The values, if they are bytes.
    """

    rows: Any
    fields: dict[str, Any]
    wire: WireValues | None

    def take(self, field: str, places: Any, absent: Any = None) -> Any:
        """One field of some pairs; NULL where `absent`."""
        column = self.fields[field]
        if column is None and self.wire is not None:
            return text(self.wire.take(field, places, absent))
        return column.take(pa.array(places, mask=absent))

    def present(self) -> Any:
        """Which pairs have a value."""
        if self.wire is not None:
            return self.wire.kinds != 0
        found = np.zeros(len(self.rows), bool)
        for column in self.fields.values():
            found |= np.asarray(column.is_valid())
        return found

    def fields_at(self, places: Any) -> list[str]:
        """Fields that may occur in some pairs."""
        if self.wire is None:
            return list(self.fields)
        return [field for field in self.fields if self.wire.occurs(field, places)]


def pivot(lists: Any, prefix: str, *, cap: int, reserved: frozenset[str]) -> AttributeTable:
    """Turn a list array of `KeyValue` into columns.

    A key that stands twice in one record keeps its first value in the column; the others go to the
    overflow. A key whose values have several types in this batch becomes a column of their
    common type.

    Args:
        lists: List array of struct<key, value>; one row per record, no NULLs.
        prefix: Of the column names.
        cap: Columns at most; the rarest keys (by number of values, then name) go to the overflow.
        reserved: Column names that are taken.

    Returns:
        Columns with as many rows as `lists`, by name in name order, and the overflow.
    """
    rows, pairs = children(lists)
    held = _held(rows, any_values(pairs.field("value")))
    keys, there = pairs.field("key"), held.present()
    if not there.all():  # a key without a value is none, and takes no name from another
        keys = keys.filter(pa.array(there))
    if not len(keys):
        return AttributeTable({}, None)
    keys = _encoded_keys(keys)
    dictionary = keys.dictionary.to_pylist()
    names = assign_names(prefix, dictionary, reserved)
    codes = keys.indices.to_numpy()
    counts = np.bincount(codes, minlength=len(dictionary))
    order = _stable_order(codes, len(dictionary))
    if len(codes) < len(there):
        order = np.flatnonzero(there)[order]
    bounds = np.concatenate([[0], np.cumsum(counts)])
    by_rank = sorted(range(len(dictionary)), key=lambda code: (-counts[code], dictionary[code]))
    columns: dict[str, AttributeColumn] = {}
    spilled: list[tuple[str, Any]] = []
    for code in sorted(by_rank[:cap], key=lambda code: names[dictionary[code]]):
        key = dictionary[code]
        positions = order[bounds[code] : bounds[code + 1]]
        positions, repeated = _first_of_each_row(positions, rows)
        if len(repeated):
            spilled.append((key, repeated))
        column = _column(held, positions, len(lists), key)
        if column is not None:
            columns[names[key]] = column
    spilled.extend(
        (dictionary[code], order[bounds[code] : bounds[code + 1]]) for code in by_rank[cap:]
    )
    return AttributeTable(columns, _overflow(held, spilled, names) if spilled else None)


def _stable_order(codes: Any, count: int) -> Any:
    # numpy sorts small unsigned integers by radix: linear, and stable.
    narrow = np.uint8 if count <= 2**8 else np.uint16 if count <= 2**16 else np.uint32
    return np.argsort(codes.astype(narrow), kind="stable").astype(np.int32)


def _encoded_keys(keys: Any) -> Any:
    """Keys as a dictionary of text, each once."""
    if not pa.types.is_binary(keys.type):
        return keys.dictionary_encode()
    encoded = keys.dictionary_encode()
    written = repair_utf8(encoded.dictionary)
    if written.invalid_bytes:  # keys that differ there may be one now
        return text(keys).dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices, written.text)


def _held(rows: Any, values: Any) -> _Pairs:
    if isinstance(values, WireValues):
        return _Pairs(rows, _present_on_wire(values), values)
    return _Pairs(rows, _present_fields(values), None)


def _present_fields(values: Any) -> dict[str, Any]:
    fields = {
        field: text(values.field(field))
        for field in SCALARS
        if values.field(field).null_count < len(values)
    }
    if any(values.field(field).null_count < len(values) for field in NESTED):
        written = nested_json(values)
        for field in NESTED:
            column = values.field(field)
            if column.null_count < len(column):
                fields[field] = pc.if_else(column.is_valid(), written, pa.scalar(None, pa.string()))
    return dict(sorted(fields.items(), key=lambda item: item[1].null_count))  # the usual one first


def _present_on_wire(values: WireValues) -> dict[str, Any]:
    counts = {field: values.count(field) for field in (*SCALARS, *NESTED)}
    fields: dict[str, Any] = {field: None for field, count in counts.items() if count}
    if any(field in fields for field in NESTED):
        written = nested_json(values)
        for field in NESTED:
            if field in fields:
                held = pa.array(values.holds(field))
                fields[field] = pc.if_else(held, written, pa.scalar(None, pa.string()))
    return dict(sorted(fields.items(), key=lambda item: -counts[item[0]]))


def _first_of_each_row(positions: Any, rows: Any) -> tuple[Any, Any]:
    """Split positions of one key into the first of each row and the repeated ones."""
    owners = rows[positions]
    again = np.concatenate([[False], owners[1:] == owners[:-1]])
    if not again.any():
        return positions, positions[:0]
    return positions[~again], positions[again]


def _column(pairs: _Pairs, positions: Any, count: int, key: str) -> AttributeColumn | None:
    """One column of `count` rows, or None when every value of the key is empty."""
    rows = pairs.rows[positions]
    places, absent = positions, None
    if len(positions) < count:  # else one in each row, and rows ascend
        places, absent = np.zeros(count, np.int32), np.ones(count, np.bool_)
        places[rows], absent[rows] = positions, False
    kept: dict[str, Any] = {}
    left = len(positions)  # a pair has one value at most, so the fields behind the last have none
    for field in pairs.fields_at(positions):
        if not left:
            break
        taken = pairs.take(field, places, absent)
        if taken.null_count < count:
            kept[field] = taken
            left -= count - taken.null_count
    if not kept:
        return None
    types = tuple(SCALARS.get(field) or NESTED[field] for field in kept)
    return AttributeColumn(_merge(kept), key, types)


def _merge(fields: dict[str, Any]) -> Any:
    """One array of the common type of several fields, of which each row has at most one."""
    if len(fields) == 1:
        return next(iter(fields.values()))
    common = common_type(SCALARS.get(field, "string") for field in fields)
    if common == "double" and _fits_double(fields["int_value"]):
        return pc.coalesce(*(column.cast(pa.float64()) for column in fields.values()))
    return pc.coalesce(*(_as_text(column, field) for field, column in fields.items()))


def _fits_double(integers: Any) -> bool:
    bounds = pc.min_max(integers)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    return bool(low >= -_LARGEST_EXACT and high <= _LARGEST_EXACT)


def _as_text(column: Any, field: str) -> Any:
    if field in NESTED:
        return column  # JSON text already
    return scalar_text(pa.StructArray.from_arrays([column], [field]), field)


def _overflow(
    pairs: _Pairs, spilled: list[tuple[str, Any]], names: dict[str, str]
) -> OverflowPairs:
    """Collect the pairs that have no column of their own, ordered by row."""
    positions = np.concatenate([part for _, part in spilled])
    owners = np.repeat(np.arange(len(spilled)), [len(part) for _, part in spilled])
    order = np.argsort(pairs.rows[positions], kind="stable")
    places = positions[order]
    parts = [_as_text(pairs.take(field, places), field) for field in pairs.fields_at(places)]
    column_names = pa.array([names[key] for key, _ in spilled])
    types = {names[key]: (key, tuple(_types_at(pairs, part))) for key, part in spilled}
    written = pc.coalesce(*parts) if parts else pa.nulls(len(places), pa.string())
    return OverflowPairs(
        rows=pairs.rows[positions[order]],
        names=column_names.take(pa.array(owners[order])),
        values=written,
        types=types,
    )


def _types_at(pairs: _Pairs, positions: Any) -> list[str]:
    return [
        SCALARS.get(field) or NESTED[field]
        for field in pairs.fields_at(positions)
        if pairs.take(field, positions).null_count < len(positions)
    ]


# Lists of attributes as JSON objects, for messages that are no rows of their own.


def attribute_objects(lists: Any) -> Any:
    """Write lists of attributes as JSON objects; NULL for an empty list.

    A key that stands twice is written twice, and an empty value is `null`.

    Args:
        lists: List array of `KeyValue`, without NULLs.

    Returns:
        String array of as many rows.

    Raises:
        CorruptObjectError: A nested value cannot be decoded.
    """
    owners, pairs = children(lists)
    if not len(pairs):
        return pa.nulls(len(lists), pa.string())
    keys = quote(text(pairs.field("key")))
    written = pc.binary_join_element_wise(keys, json_text(any_values(pairs.field("value"))), ":")
    counts = np.bincount(owners, minlength=len(lists))
    joined = pc.binary_join(pa.ListArray.from_arrays(list_offsets(counts), written), ",")
    objects = pc.binary_join_element_wise("{", joined, "}", "")
    return pc.if_else(pa.array(counts > 0), objects, pa.scalar(None, pa.string()))

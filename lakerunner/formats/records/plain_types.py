"""Bring columns of any Arrow type to the few types that the rest of the formats knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.records.convert import plain_text
from lakerunner.formats.records.lake_rows import distinct
from lakerunner.formats.records.text_types import exact_doubles
from lakerunner.schema.arrays import compact_strings
from lakerunner.schema.text import repair_utf8

if TYPE_CHECKING:
    from collections.abc import Sequence

# Put columns of several tables together, under a type that holds the values of all exactly.


def tables_together(tables: Sequence[pa.Table]) -> pa.Table:
    """Append tables whose columns may differ; a column that one lacks is NULL there.

    Args:
        tables: Tables with each column name once.

    Returns:
        One chunk per column, in order of appearance.

    Example:
        >>> first, second = pa.table({"a": [1]}), pa.table({"b": ["x"], "a": ["y"]})
        >>> tables_together([first, second]).to_pylist()
        [{'a': '1', 'b': None}, {'a': 'y', 'b': 'x'}]
    """
    names = dict.fromkeys(name for table in tables for name in table.column_names)
    columns = {
        name: arrays_together(
            [
                one_chunk(table.column(name))
                if name in table.column_names
                else pa.nulls(table.num_rows)
                for table in tables
            ]
        )
        for name in names
    }
    if not columns:  # records without any field
        return pa.table({"": pa.nulls(sum(table.num_rows for table in tables))}).select([])
    return pa.table(columns)


def one_chunk(column: Any) -> Any:
    """A column as one array."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def arrays_together(arrays: Sequence[Any]) -> Any:
    """Append arrays of any types.

    Integers meet in int64 where it holds them, numbers in double where none is rounded, times in
    nanoseconds, objects field by field, and everything else in text.

    Example:
        >>> arrays_together([pa.array([1, None]), pa.array([0.5])]).to_pylist()
        [1.0, None, 0.5]
    """
    types = {values.type for values in arrays if not pa.types.is_null(values.type)}
    if not types:
        return pa.nulls(sum(map(len, arrays)))
    if all(map(pa.types.is_struct, types)) and len(types) > 1:
        return _objects([_or_nulls(values, pa.struct([])) for values in arrays])
    for common in _candidates(types):
        try:
            return pa.concat_arrays([_exact_cast(values, common) for values in arrays])
        except pa.ArrowInvalid:
            continue
    return pa.concat_arrays([plain_text(_or_nulls(values, pa.string())) for values in arrays])


def columns_together(parts: Sequence[Any], counts: Sequence[int]) -> Any:
    """Columns of several groups of rows one after the other, NULL where a group lacks it.

    Args:
        parts: The column of each group, or None.
        counts: Rows of each group.

    Example:
        >>> columns_together([None, pa.array(["a"]).dictionary_encode()], [1, 1]).to_pylist()
        [None, 'a']
    """
    plain = [
        pa.nulls(count) if part is None else _undone(part)
        for part, count in zip(parts, counts, strict=True)
    ]
    return compact_strings(arrays_together(plain))


def _undone(values: Any) -> Any:
    """A dictionary array as what it stands for."""
    dtype = values.type
    return values.cast(dtype.value_type) if pa.types.is_dictionary(dtype) else values


def _or_nulls(values: Any, dtype: pa.DataType) -> Any:
    return pa.nulls(len(values), dtype) if pa.types.is_null(values.type) else values


def _candidates(types: set[pa.DataType]) -> list[pa.DataType]:
    """Types to try, best first."""
    if len(types) == 1:
        return list(types)
    if all(map(pa.types.is_integer, types)):
        return [pa.int64()]
    if all(pa.types.is_integer(each) or pa.types.is_floating(each) for each in types):
        return [pa.float64()]
    if all(map(pa.types.is_timestamp, types)) and len({each.tz for each in types}) == 1:
        return [pa.timestamp("ns", next(iter(types)).tz)]
    return []


def _exact_cast(values: Any, dtype: pa.DataType) -> Any:
    if pa.types.is_floating(dtype) and pa.types.is_integer(values.type):
        if not exact_doubles(values):
            raise pa.ArrowInvalid("an integer would be rounded")
        return values.cast(dtype, safe=False)
    return values.cast(dtype)


def _objects(arrays: Sequence[Any]) -> Any:
    names = dict.fromkeys(field.name for values in arrays for field in values.type)
    fields = []
    for name in names:
        places = [values.type.get_field_index(name) for values in arrays]
        fields.append(
            arrays_together(
                [
                    values.flatten()[place] if place >= 0 else pa.nulls(len(values))
                    for values, place in zip(arrays, places, strict=True)
                ]
            )
        )
    absent = pa.concat_arrays([values.is_null() for values in arrays])
    return pa.StructArray.from_arrays(fields, names=list(names), mask=absent)


_INTERVAL = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])


def plain_types(table: pa.Table) -> pa.Table:
    """Bring the columns of a table to the usual types, and their names apart.

    Example:
        >>> plain_types(pa.table({"a": pa.array(["x"], pa.large_string())})).schema
        a: string
    """
    columns = [
        arrays_together(list(map(plain_array, column.chunks or [_empty(column.type)])))
        for column in table.columns
    ]
    return pa.table(columns, names=distinct(table.column_names))


def columns_of(schema: pa.Schema) -> pa.Table:
    """No rows of a schema, with the types that columns of it come to.

    Example:
        >>> columns_of(pa.schema([("a", pa.large_string())])).schema
        a: string
    """
    return plain_types(pa.table([_empty(field.type) for field in schema], names=schema.names))


def check_layout(table: pa.Table) -> None:
    """Check that no offset or index of a table that came from outside points out of its buffers.

    Raises:
        pa.ArrowInvalid: One does. Text that is no UTF-8 is none of this function's business.
    """
    for column in table.columns:
        for chunk in column.chunks:
            try:
                chunk.validate(full=True)
            except pa.ArrowInvalid:
                chunk.view(_text_as_bytes(chunk.type)).validate(full=True)


def _text_as_bytes(dtype: pa.DataType) -> pa.DataType:
    """The type of the same layout in which text may be any bytes."""
    if pa.types.is_struct(dtype):
        return pa.struct([field.with_type(_text_as_bytes(field.type)) for field in dtype])
    if pa.types.is_map(dtype):
        return pa.map_(_text_as_bytes(dtype.key_type), _text_as_bytes(dtype.item_type))
    if pa.types.is_list(dtype):
        return pa.list_(dtype.value_field.with_type(_text_as_bytes(dtype.value_type)))
    if pa.types.is_large_list(dtype):
        return pa.large_list(dtype.value_field.with_type(_text_as_bytes(dtype.value_type)))
    return _BYTES.get(dtype, dtype)


_BYTES = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}


def _empty(dtype: pa.DataType) -> Any:
    try:
        return pa.array([], dtype)
    except pa.ArrowNotImplementedError:  # unions and runs
        return pa.nulls(0)


def plain_array(values: Any) -> Any:
    r"""The same values under one of the usual types.

    All text becomes string, with U+FFFD for bytes that are no UTF-8, and all bytes binary; lists
    of every kind become list; signed and small integers int64, and floats double. Dictionaries and
    runs are written out, extensions are what they are stored as, intervals objects of months, days
    and nanoseconds, and of a union each value counts as what it is, see `arrays_together`. Times,
    dates, durations and decimals stay as they are.

    Args:
        values: A valid array of any type.

    Example:
        >>> plain_array(pa.array([b"a\xff"]).view(pa.string())).to_pylist()
        ['a\ufffd']
        >>> plain_array(pa.array([[1], None], pa.list_view(pa.int8()))).type
        ListType(list<item: int64>)
    """
    dtype = values.type
    for belongs, plain in _KINDS:
        if belongs(dtype):
            return plain(values)
    return values


def _is_text(dtype: pa.DataType) -> bool:
    return dtype in {pa.string(), pa.large_string(), pa.string_view()}


def _is_bytes(dtype: pa.DataType) -> bool:
    views = {pa.large_binary(), pa.binary_view()}
    return dtype in views or pa.types.is_fixed_size_binary(dtype) is True


def _is_signed(dtype: pa.DataType) -> bool:
    return dtype in {
        pa.int8(),
        pa.int16(),
        pa.int32(),
        pa.int64(),
        pa.uint8(),
        pa.uint16(),
        pa.uint32(),
    }


def _text(values: Any) -> Any:
    return repair_utf8(values.cast(pa.binary())).text


def _dictionary(values: Any) -> Any:
    return plain_array(values.dictionary).take(values.indices)


def _union(values: Any) -> Any:
    codes = np.asarray(values.type_codes)
    dense = values.type.mode == "dense"
    places = np.asarray(values.offsets) if dense else np.arange(len(codes))
    parts, owners = [], []
    for position, code in enumerate(values.type.type_codes):
        rows = np.flatnonzero(codes == code)
        parts.append(plain_array(values.field(position).take(pa.array(places[rows]))))
        owners.append(rows)
    if not parts:
        return pa.nulls(len(values))
    order = np.empty(len(codes), np.int64)
    order[np.concatenate(owners)] = np.arange(len(codes))
    return arrays_together(parts).take(pa.array(order))


def _interval(values: Any) -> Any:
    values = pa.concat_arrays([values, values.slice(0, 0)])
    data = values.buffers()[1]
    start, count = values.offset, len(values)
    parts = (
        np.frombuffer(data, _INTERVAL)[start : start + count] if count else np.zeros(0, _INTERVAL)
    )
    names = list(_INTERVAL.names or ())
    arrays = [pa.array(parts[name].astype(np.int64)) for name in names]
    return pa.StructArray.from_arrays(arrays, names=names, mask=values.is_null())


def _struct(values: Any) -> Any:
    names = [field.name for field in values.type]
    if not names:
        return values
    arrays = list(map(plain_array, values.flatten()))
    return pa.StructArray.from_arrays(arrays, names=names, mask=values.is_null())


def _list(values: Any) -> Any:
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    elements = plain_array(values.flatten())
    return pa.ListArray.from_arrays(_offsets(offsets), elements, mask=values.is_null())


def _map(values: Any) -> Any:
    starts = values.offsets.to_numpy()[:-1].astype(np.int64)
    lengths = np.where(np.asarray(values.is_valid()), np.diff(values.offsets.to_numpy()), 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    return pa.MapArray.from_arrays(
        _offsets(offsets),
        plain_array(values.keys.take(pa.array(places))),
        plain_array(values.items.take(pa.array(places))),
        mask=values.is_null(),
    )


def _offsets(offsets: Any) -> Any:
    return pa.array(offsets.astype(np.int64)).cast(pa.int32())  # checked, unlike numpy's


def _timestamps(values: Any) -> Any:
    """The same instants, in UTC where nobody knows the zone."""
    if values.type.tz is None:
        return values
    try:
        pc.hour(pa.array([0], values.type))
    except pa.ArrowInvalid:
        return values.cast(pa.timestamp(values.type.unit, "UTC"))
    return values


_KINDS: tuple[tuple[Any, Any], ...] = (
    (lambda dtype: isinstance(dtype, pa.BaseExtensionType), lambda v: plain_array(v.storage)),
    (pa.types.is_dictionary, _dictionary),
    (pa.types.is_run_end_encoded, lambda values: plain_array(pc.run_end_decode(values))),
    (pa.types.is_union, _union),
    (pa.types.is_interval, _interval),
    (pa.types.is_struct, _struct),
    (pa.types.is_map, _map),
    (pa.types.is_nested, _list),
    (_is_text, _text),
    (_is_bytes, lambda values: values.cast(pa.binary())),
    (pa.types.is_floating, lambda values: values.cast(pa.float64())),
    (_is_signed, lambda values: values.cast(pa.int64())),
    (pa.types.is_timestamp, _timestamps),
)

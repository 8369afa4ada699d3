"""Put columns of several tables together, under a type that holds the values of all exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakerunner.formats.records.convert import plain_text
from lakerunner.formats.records.numbers import exact_doubles
from lakerunner.schema.arrays import compact_strings

if TYPE_CHECKING:
    from collections.abc import Sequence


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

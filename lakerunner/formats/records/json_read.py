"""Read JSON lines with Arrow's reader, kept from what it does wrong.

Arrow's reader (26) takes text that looks like a time for one, makes doubles of integers beyond 64
bits, and loses NULLs at the head of lists (https://github.com/apache/arrow/issues/51305). Each is
noticed in what it returns; the first and the last are mended by reading again with a schema.
A line that holds `null` alone, or thousands of nested values, ends the process, so a caller
must keep such lines away.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from lakerunner.formats.records.rare_keys import DENSE_COLUMNS, JSON_KEY, too_sparse
from lakerunner.limits import NESTING_DEPTH

_SAMPLE = 32 * 1024  # of keys that are all different this is a table of a million cells
_EXACT = float(2**53)


class UnevenError(Exception):
    """Arrow's reader cannot read these lines as they are."""


def read_lines(data: bytes, rows: int, schema: pa.Schema | None = None) -> pa.Table:
    r"""Read objects, one per line; blank lines are passed over.

    Args:
        data: Lines that begin and end with a brace.
        rows: How many they are.
        schema: Types of some keys that are known beforehand.

    Returns:
        A table of one chunk per column.

    Raises:
        UnevenError: A line is broken, a key has values of several types or stands twice in an
            object, there are very many keys, or a number would be rounded.

    Example:
        >>> read_lines(b'{"a": "2024-01-01"}\n{"b": [null, 1]}\n', 2).to_pylist()
        [{'a': '2024-01-01', 'b': None}, {'a': None, 'b': [None, 1]}]
    """
    if rows == 0:
        return pa.table({})
    if data.count(b'":') > DENSE_COLUMNS * rows:
        raise UnevenError("very many keys")
    head = data.rfind(b"\n", 0, _SAMPLE) if len(data) > _SAMPLE else 0
    sample = _sample(data[:head]) if head > 0 else pa.schema([])
    if head > 0:
        _sample(data[data.find(b"\n", len(data) - _SAMPLE) :])
    table = _read(data, schema or pa.schema([field for field in map(_times, sample) if field]))
    if too_sparse(_leaves(table.schema), rows, len(data)):
        raise UnevenError("very many keys")
    if any(map(_times, table.schema)) or not _valid_lists(table):
        table = _read(data, _schema_of_text(table.schema))
    if _depth(table.schema) > NESTING_DEPTH:
        raise UnevenError("nested too deep")
    if table.num_rows != rows:
        raise UnevenError("rows are not lines")
    if any(map(_rounded, table.columns)):
        raise UnevenError("a number beyond 64 bits")
    order = [name for name in sample.names if name in table.schema.names]
    order += [name for name in table.schema.names if name not in set(order)]
    return table.select(order).combine_chunks()


def _sample(data: bytes) -> pa.Schema:
    """Types of some lines; very many keys are noticed before they take their memory."""
    keys = len(set(JSON_KEY.findall(data)))
    if too_sparse(keys, data.count(b"\n") + 1, len(data)):
        raise UnevenError("very many keys")  # a table of them would take seconds
    table = _read(data)
    if too_sparse(_leaves(table.schema), table.num_rows, len(data)):
        raise UnevenError("very many keys")
    schema: pa.Schema = table.schema
    return schema


def _read(data: bytes, schema: pa.Schema | None = None) -> pa.Table:
    try:
        return pj.read_json(
            pa.BufferReader(data),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pj.ParseOptions(explicit_schema=schema or None),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
        raise UnevenError(str(error)) from error


def _leaves(schema: Any) -> int:
    """Scalars in a schema or a nested type."""
    return sum(
        _leaves(_fields(field.type)) if pa.types.is_nested(field.type) else 1 for field in schema
    )


def _depth(fields: Any) -> int:
    return max((1 + _depth(_fields(field.type)) for field in fields), default=0)


def _fields(dtype: pa.DataType) -> list[pa.Field]:
    return [dtype.field(place) for place in range(dtype.num_fields)]


def _times(field: pa.Field) -> pa.Field | None:
    """The field with text where Arrow found times, without the rest; None if it found none."""
    dtype = field.type
    if pa.types.is_temporal(dtype):
        return field.with_type(pa.string())
    found = [part for part in map(_times, _fields(dtype)) if part]
    if not found:
        return None
    return field.with_type(pa.struct(found) if pa.types.is_struct(dtype) else pa.list_(found[0]))


def _schema_of_text(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        [f if pa.types.is_null(f.type) else f.with_type(_as_text(f.type)) for f in schema]
    )


def _as_text(dtype: pa.DataType) -> pa.DataType:
    """The same type with text where Arrow found times, or nothing but NULL."""
    if pa.types.is_temporal(dtype) or pa.types.is_null(dtype):
        return pa.string()
    if pa.types.is_struct(dtype):
        return pa.struct([field.with_type(_as_text(field.type)) for field in _fields(dtype)])
    if pa.types.is_list(dtype):
        return pa.list_(dtype.value_field.with_type(_as_text(dtype.value_type)))
    return dtype


def _valid_lists(table: pa.Table) -> bool:
    nested = [name for name in table.schema.names if _has_list(table.schema.field(name).type)]
    try:
        table.select(nested).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _has_list(dtype: pa.DataType) -> bool:
    return pa.types.is_list(dtype) or any(_has_list(field.type) for field in _fields(dtype))


def _rounded(values: Any) -> bool:
    """Whether doubles are so large that they may have been written as integers."""
    if isinstance(values, pa.ChunkedArray):
        return any(map(_rounded, values.chunks))
    if pa.types.is_floating(values.type):
        largest = pc.max(pc.if_else(pc.is_finite(values), pc.abs(values), 0)).as_py()
        return bool(largest is not None and largest >= _EXACT)
    if pa.types.is_list(values.type):
        return _rounded(values.flatten())
    return any(
        _rounded(values.field(place))
        for place in range(values.type.num_fields)
        if pa.types.is_struct(values.type)
    )

"""Read JSON lines with Arrow's reader, kept from what it does wrong.

Arrow's reader (26) takes text that looks like a time for one, makes doubles of integers beyond 64
bits, and loses NULLs at the head of lists (https://github.com/apache/arrow/issues/51305). Each is
noticed in what it returns; the first and the last are mended by reading again with a schema.
A line that holds `null` alone, or thousands of nested values, ends the process, so a caller
must keep such lines away.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from lakerunner.formats.records.json_pairs import by_column, free_name, pairs_of, values_of
from lakerunner.formats.records.lines import slices
from lakerunner.formats.records.text_types import number_column
from lakerunner.limits import NESTING_DEPTH

if TYPE_CHECKING:
    from lakerunner.formats.records.json_pairs import Pairs

# Keep keys that stand in few records from taking a column each, where there are very many.
#
# A column costs memory for each record, so keys that are made up as they go, such as user ids,
# would
# take the product of the two. Records whose keys repeat never come near the limit here.

REST = "other_keys"
"""The column of JSON objects that holds the pairs of rare keys."""

MOST_COLUMNS = 512
"""Columns that keys may have for themselves in records most of which lack most of them."""

DENSE_COLUMNS = 4096
"""The same in records that have nearly all of them."""

RARITY = 256
"""Where not all keys have columns, one that fewer than one in so many records has gets none."""

JSON_KEY = re.compile(rb'"([^"\\]{0,256})"\s*:')
"""What looks like a key in JSON; text within values may do so, too."""

_CELLS_PER_BYTE = 1  # a pair takes six bytes or more, so full columns have a sixth of a cell each


def too_sparse(columns: int, rows: int, size: int) -> bool:
    """Whether columns would be nearly empty and many, or very many.

    Args:
        columns: How many columns.
        rows: How many records.
        size: Bytes the records take as text.
    """
    sparse = columns * rows > _CELLS_PER_BYTE * size
    return columns > (MOST_COLUMNS if sparse else DENSE_COLUMNS)


def rare_pairs(pairs: Pairs, rows: int, size: int) -> Any:
    """Which pairs have a key too rare for a column; None if there are columns for all.

    Args:
        pairs: The pairs of some records.
        rows: How many records.
        size: Bytes they take as text.

    Returns:
        A bool per pair, or None.
    """
    if not too_sparse(len(pairs.keys), rows, size):
        return None
    counts = np.bincount(pairs.codes, minlength=len(pairs.keys))
    rare = np.ones(len(pairs.keys), bool)
    common = np.argsort(-counts, kind="stable")[:MOST_COLUMNS]
    rare[common[counts[common] * RARITY >= rows]] = False
    return rare[pairs.codes]


def without(pairs: Pairs, dropped: Any) -> Pairs:
    """The pairs without some of them, and without keys that no pair has any more."""
    keep = ~dropped
    used, codes = np.unique(pairs.codes[keep], return_inverse=True)
    return pairs._replace(
        rows=pairs.rows[keep],
        codes=codes,
        starts=pairs.starts[keep],
        ends=pairs.ends[keep],
        keys=[pairs.keys[place] for place in used],
    )


def rest_as_json(data: bytes, pairs: Pairs, chosen: Any, rows: int) -> Any:
    """Some pairs of each object as one JSON object; NULL where an object has none of them.

    Args:
        data: Where the values lie, as JSON.
        pairs: All pairs.
        chosen: Which pairs: a bool each.
        rows: How many objects.
    """
    which = np.flatnonzero(chosen)
    keys = pa.array([json.dumps(key) for key in pairs.keys], pa.string())
    written = pc.binary_join_element_wise(
        keys.take(pa.array(pairs.codes[which])),
        slices(data, pairs.starts[which], pairs.ends[which]),
        ":",
    )
    counts = np.bincount(pairs.rows[which], minlength=rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), written), ",")
    whole = pc.binary_join_element_wise("{", joined, "}", "")
    return pc.if_else(pa.array(counts > 0), whole, None)


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


# Make columns of objects whose keys have values of several types, key by key.
#
# The values of a key are sorted into classes by how they begin, each class is read by itself, and
# what was read is put back in order under one type.

_FIRST = np.full(256, 3, np.uint8)
_NULL, _TEXT, _BOOL, _NUMBER, _OBJECT, _ARRAY = range(6)
for _kind, _characters in (
    (_NULL, b"n"),
    (_TEXT, b'"'),
    (_BOOL, b"tf"),
    (_OBJECT, b"{"),
    (_ARRAY, b"["),
):
    _FIRST[list(_characters)] = _kind


def columns_by_key(data: bytes, starts: Any, ends: Any) -> pa.Table:
    """Read objects into a table, whatever the types of their values.

    Where very many keys are rare, their pairs stand in one more column, `other_keys`, as JSON.

    Args:
        data: A buffer of valid JSON objects.
        starts: int64 array, ascending: where each begins.
        ends: int64 array: where it ends.

    Returns:
        One chunk per column.

    Example:
        >>> data = b'{"a": 1}{"a": "x", "b": {"c": 1, "c": 2}}'
        >>> columns_by_key(data, np.array([0, 8]), np.array([8, len(data)])).to_pylist()
        [{'a': '1', 'b': None}, {'a': 'x', 'b': {'c': 1, 'c#2': 2}}]
    """
    pairs = pairs_of(data, starts, ends)
    columns: dict[str, Any] = {}
    rare = rare_pairs(pairs, len(starts), int((ends - starts).sum()))
    rest = None
    if rare is not None:
        rest = rest_as_json(data, pairs, rare, len(starts))
        pairs = without(pairs, rare)
    for name, which in by_column(pairs):
        values = column_of(values_of(data, pairs, which))
        rows = np.full(len(starts), -1, np.int64)
        rows[pairs.rows[which]] = np.arange(len(which))
        columns[name] = values.take(pa.array(rows, mask=rows < 0))
    if rest is not None:
        columns[free_name(REST, columns)] = rest
    if not columns:  # objects without any pair
        return pa.table({"": pa.nulls(len(starts))}).select([])
    return pa.table(columns)


def column_of(written: Any) -> Any:
    r"""Read JSON values under one type.

    Args:
        written: `pa.StringArray` of valid JSON, without NULLs.

    Returns:
        An array of the same length; text if the values have no other type in common.

    Example:
        >>> column_of(pa.array(["1", "2.5", "null"])).to_pylist()
        [1.0, 2.5, None]
        >>> column_of(pa.array(["1.50", '"a\\n"', '{"b": 1}'])).to_pylist()
        ['1.50', 'a\n', '{"b": 1}']
    """
    classes = _classes(written)
    present = [int(kind) for kind in np.unique(classes) if kind != _NULL]
    if not present:
        return pa.nulls(len(written))
    if len(present) > 1:
        texts = np.flatnonzero(classes == _TEXT)
        merged = written
        if len(texts):
            decoded = _texts(written.take(pa.array(texts)))
            merged = pc.replace_with_mask(written, pa.array(classes == _TEXT), decoded)
        return pc.if_else(pa.array(classes == _NULL), None, merged)
    filled = np.flatnonzero(classes != _NULL)
    if len(filled) == len(classes):
        return _read_kind(written, present[0])
    rows = np.full(len(classes), -1, np.int64)
    rows[filled] = np.arange(len(filled))
    return _read_kind(written.take(pa.array(filled)), present[0]).take(
        pa.array(rows, mask=rows < 0)
    )


def _classes(written: Any) -> Any:
    _, offsets, data = written.buffers()
    begins = np.frombuffer(offsets, np.int32)[written.offset : written.offset + len(written)]
    return _FIRST[np.frombuffer(data or b"\0", np.uint8)[begins]]


def _read_kind(written: Any, kind: int) -> Any:
    if kind == _TEXT:
        return _texts(written)
    if kind == _BOOL:
        return pc.equal(written, "true")
    if kind == _NUMBER:
        return number_column(written)
    return _objects(written) if kind == _OBJECT else _arrays(written)


def _texts(written: Any) -> Any:
    """Decode JSON strings."""
    if pc.any(pc.match_substring(written, "\\")).as_py():
        schema = pa.schema([pa.field("v", pa.string())])
        return (
            read_lines(as_lines(written, '{"v":', "}\n"), len(written), schema).column(0).chunk(0)
        )
    _, offsets, data = pa.concat_arrays([written, pa.array([], pa.string())]).buffers()
    bounds = np.frombuffer(offsets, np.int32)[: len(written) + 1].astype(np.int64)
    return slices(data, bounds[:-1] + 1, bounds[1:] - 1)


def _objects(written: Any) -> Any:
    lines = as_lines(written, "", "\n")
    try:
        table = read_lines(lines, len(written))
    except UnevenError:
        ends = np.cumsum(pc.binary_length(written).to_numpy() + 1) - 1
        starts = np.concatenate([[0], ends[:-1] + 1])
        table = columns_by_key(lines, starts, ends)
    if not table.num_columns:
        return pa.array([{}] * len(written), pa.struct([]))
    return pa.StructArray.from_arrays(
        [column.combine_chunks() for column in table.columns], fields=list(table.schema)
    )


def _arrays(written: Any) -> Any:
    """Read arrays as lists; as they were written if their values have several types."""
    try:
        table = read_lines(as_lines(written, '{"v":', "}\n"), len(written))
    except UnevenError:
        return written
    return table.column(0).combine_chunks()


def as_lines(written: Any, before: str, after: str) -> bytes:
    """Values one after the other, each between two texts."""
    joined = pc.binary_join_element_wise(before, written, after, "")
    start, end = (int(bound) for bound in np.frombuffer(joined.buffers()[1], np.int32)[[0, -1]])
    data: bytes = joined.buffers()[2].slice(start, end - start).to_pybytes()
    return data

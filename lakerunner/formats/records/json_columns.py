"""Make columns of objects whose keys have values of several types, key by key.

The values of a key are sorted into classes by how they begin, each class is read by itself, and
what was read is put back in order under one type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.records.json_pairs import by_column, free_name, pairs_of, values_of
from lakerunner.formats.records.json_read import UnevenError, read_lines
from lakerunner.formats.records.numbers import number_column
from lakerunner.formats.records.payload_lines import slices
from lakerunner.formats.records.rare_keys import REST, rare_pairs, rest_as_json, without

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
        return _read(written, present[0])
    rows = np.full(len(classes), -1, np.int64)
    rows[filled] = np.arange(len(filled))
    return _read(written.take(pa.array(filled)), present[0]).take(pa.array(rows, mask=rows < 0))


def _classes(written: Any) -> Any:
    _, offsets, data = written.buffers()
    begins = np.frombuffer(offsets, np.int32)[written.offset : written.offset + len(written)]
    return _FIRST[np.frombuffer(data or b"\0", np.uint8)[begins]]


def _read(written: Any, kind: int) -> Any:
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

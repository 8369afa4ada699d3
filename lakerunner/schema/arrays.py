"""Columns as arrays and as text, whole columns at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


def one_chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column as one array."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.chunks else pa.array([], column.type)
    return column


def numbers(column: pa.ChunkedArray | pa.Array, dtype: type, missing: float = 0) -> NDArray[Any]:
    """A column of numbers or booleans as an array of a type, with something for NULL."""
    array = one_chunk(column)
    if array.null_count:
        array = array.fill_null(pa.scalar(missing, array.type))
    result: NDArray[Any] = array.to_numpy(zero_copy_only=False).astype(dtype, copy=False)
    return result


def used_values(column: pa.DictionaryArray) -> pa.Array:
    """Those values of a dictionary that a row has, each once.

    Example:
        >>> column = pa.DictionaryArray.from_arrays(pa.array([2, None, 2, 0]), ["a", "b", "c"])
        >>> used_values(column).to_pylist()
        ['a', 'c']
    """
    missing = len(column.dictionary)
    used = np.zeros(missing + 1, np.bool_)
    used[numbers(column.indices, np.int64, missing)] = True
    if used[:missing].all():
        return column.dictionary
    return column.dictionary.take(pa.array(np.flatnonzero(used[:missing])))


def counted_values(column: pa.DictionaryArray) -> tuple[pa.Array, NDArray[np.int64]]:
    """The values of `used_values`, and how many rows have each.

    Returns:
        Values, which may repeat if those of the dictionary do, and as many numbers.

    Example:
        >>> column = pa.DictionaryArray.from_arrays(pa.array([2, None, 2, 0]), ["a", "b", "c"])
        >>> values, rows = counted_values(column)
        >>> values.to_pylist(), rows.tolist()
        (['a', 'c'], [1, 2])
    """
    missing = len(column.dictionary)
    rows = np.bincount(numbers(column.indices, np.int64, missing), minlength=missing + 1)[:missing]
    used = np.flatnonzero(rows)
    return column.dictionary.take(pa.array(used)), rows[used]


def expand(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers `start, start + 1, …` of each run, one run after the other.

    Example:
        >>> import numpy as np
        >>> expand(np.array([5, 0]), np.array([2, 3])).tolist()
        [5, 6, 0, 1, 2]
    """
    total = int(lengths.sum())
    ends = np.cumsum(lengths)
    result: NDArray[np.int64] = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return result


def list_lengths(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """How many elements each list has; 0 for NULL."""
    lengths = pc.list_value_length(one_chunk(column)).fill_null(0)
    result: NDArray[np.int64] = lengths.to_numpy(zero_copy_only=False).astype(np.int64)
    return result


def list_values(column: pa.ChunkedArray, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """The elements of all lists whose length here is not 0."""
    array = one_chunk(column)
    kept = pa.array(lengths > 0)
    values = array.filter(kept).flatten()
    result: NDArray[np.float64] = numbers(values, np.float64)
    return result


def layouts(
    column: pa.ChunkedArray,
) -> tuple[NDArray[np.int64], tuple[NDArray[np.float64], ...]]:
    """Which of the distinct lists of bounds each row has."""
    lengths = list_lengths(column)
    values = list_values(column, lengths)
    ends = np.cumsum(lengths)
    bits = values.view(np.uint64)
    place = expand(np.zeros(len(lengths), dtype=np.int64), lengths).astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed = (bits ^ (place * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(31)
        summed = np.concatenate([[np.uint64(0)], np.cumsum(mixed, dtype=np.uint64)])
        key = summed[ends] - summed[ends - lengths] + lengths.astype(np.uint64)
    _, first, layout = np.unique(key, return_index=True, return_inverse=True)
    bounds = tuple(values[ends[at] - lengths[at] : ends[at]] for at in first)
    return layout.astype(np.int64), bounds


# Small rules that turn protocol fields into table columns.

_SAMPLE = 4096
_DISTINCT_SHARE = 0.4


def absent_if_empty(strings: Any) -> Any:
    """Read an empty text as NULL: proto3 does not tell it from an absent one.

    Example:
        >>> absent_if_empty(pa.array(["", "a"])).to_pylist()
        [None, 'a']
    """
    return pc.if_else(pc.equal(strings, ""), pa.scalar(None, pa.string()), strings)


def absent_if_zero(numbers: Any) -> Any:
    """Read zero as NULL, for fields whose zero means that nothing was said.

    Example:
        >>> absent_if_zero(pa.array([0, 3], pa.int32())).to_pylist()
        [None, 3]
    """
    return pc.if_else(pc.equal(numbers, 0), pa.scalar(None, numbers.type), numbers)


def compact_strings(values: Any) -> Any:
    """Dictionary-encode a text column that repeats itself; leave any other column alone.

    Judged by a sample from its start, middle and end: sorting and writing a dictionary costs a
    fraction, but a dictionary of a column of unique values costs more than the column.
    """
    if not pa.types.is_string(values.type) or len(values) == 0:
        return values
    sample = values
    if len(values) > 3 * _SAMPLE:
        starts = (0, len(values) // 2, len(values) - _SAMPLE)
        sample = pa.concat_arrays([values.slice(start, _SAMPLE) for start in starts])
    present = len(sample) - sample.null_count
    distinct = pc.count_distinct(sample, mode="only_valid").as_py()
    if distinct > max(1, present * _DISTINCT_SHARE):
        return values
    return values.dictionary_encode()


# Column types by name, and the type under which columns of several types are read together.

TIMESTAMP = pa.timestamp("ns", "UTC")

TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": TIMESTAMP,
    "int32": pa.int32(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
}
"""The types an attribute or a scalar column may have, by the name catalogs keep."""

_NAMES = {dtype: name for name, dtype in TYPES.items()}
_INTEGERS = frozenset({"int32", "int64", "uint32"})


def type_name(dtype: pa.DataType) -> str:
    """Name of an Arrow type; a dictionary has the name of its values, a nested type Arrow's own.

    Example:
        >>> type_name(pa.dictionary(pa.int32(), pa.string())), type_name(pa.list_(pa.int64()))
        ('string', 'list<item: int64>')
    """
    if pa.types.is_dictionary(dtype):
        return type_name(dtype.value_type)
    if pa.types.is_large_string(dtype):
        return "string"
    return _NAMES.get(dtype) or str(dtype)


def common_type(names: Iterable[str]) -> str:
    """The type that can hold values of all given types.

    One type is itself, integers meet in `int64`, numbers in `double`, and anything else in
    `string`, where numbers and booleans read as they would be written in JSON.

    Example:
        >>> common_type(["int64", "double"]), common_type(["int64", "bool"])
        ('double', 'string')
    """
    distinct = set(names)
    if len(distinct) == 1:
        return distinct.pop()
    if distinct <= _INTEGERS:
        return "int64"
    if distinct <= _INTEGERS | {"double", "uint64"}:
        return "double"
    return "string"

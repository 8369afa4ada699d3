"""Arrow columns as NumPy arrays: numbers, lists end to end, and lists that are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
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

"""Columns of metric points as NumPy arrays: numbers, times, lists, histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.query.promql.histograms import (
    CUSTOM_SCHEMA,
    MAX_SCHEMA,
    Buckets,
    Histograms,
    expand,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NS_PER_MS = 1_000_000


def histograms_of(table: pa.Table) -> Histograms:
    """Points of histograms, explicit and exponential, as native histograms, row by row."""
    size = table.num_rows
    rows = np.arange(size)
    exponential = pc.equal(table["metric_type"], "exponential_histogram").to_numpy()
    schema = np.where(exponential, numbers(table["scale"], np.int64), CUSTOM_SCHEMA)
    shift = np.where(exponential, np.maximum(schema - MAX_SCHEMA, 0), 0)
    sides = []
    for sign in ("positive", "negative"):
        counts = table[f"{sign}_bucket_counts"]
        lengths = np.where(exponential, list_lengths(counts), 0)
        row = np.repeat(rows, lengths)
        values = list_values(counts, lengths)
        offsets = numbers(table[f"{sign}_offset"], np.int64)
        # The first bucket of OpenTelemetry ends where the second one of Prometheus begins.
        index = offsets[row] + expand(np.zeros(size, dtype=np.int64), lengths) + 1
        sides.append((row, ((index - 1) >> shift[row]) + 1, values))
    lengths = np.where(exponential, 0, list_lengths(table["bucket_counts"]))
    custom_row = np.repeat(rows, lengths)
    custom_index = expand(np.zeros(size, dtype=np.int64), lengths)
    row, index, count = (
        np.concatenate([one, other])
        for one, other in zip(
            sides[0],
            (custom_row, custom_index, list_values(table["bucket_counts"], lengths)),
            strict=True,
        )
    )
    layout, bounds = layouts(table["explicit_bounds"])
    return Histograms(
        schema - shift,
        numbers(table["count"], np.float64),
        numbers(table["sum"], np.float64, np.nan),
        np.where(exponential, numbers(table["zero_count"], np.float64), 0.0),
        np.where(exponential, numbers(table["zero_threshold"], np.float64), 0.0),
        np.zeros(size, dtype=np.int64),
        layout,
        Buckets.gather(row, index, count),
        Buckets.gather(*sides[1]),
        bounds,
    )


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


def milliseconds(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Milliseconds since the epoch; 0 for NULL. Prometheus knows no finer times."""
    array = one_chunk(column).cast(pa.int64())
    result: NDArray[np.int64] = numbers(array, np.int64) // _NS_PER_MS
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

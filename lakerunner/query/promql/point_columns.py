"""Columns of metric points as NumPy arrays: numbers, times, lists, histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.query.promql.histograms import (
    CUSTOM_SCHEMA,
    MAX_SCHEMA,
    Buckets,
    Histograms,
)
from lakerunner.schema.arrays import expand, layouts, list_lengths, list_values, numbers, one_chunk

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


def milliseconds(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Milliseconds since the epoch; 0 for NULL. Prometheus knows no finer times."""
    array = one_chunk(column).cast(pa.int64())
    result: NDArray[np.int64] = numbers(array, np.int64) // _NS_PER_MS
    return result

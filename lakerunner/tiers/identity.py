"""Order points and buckets by series and time, and say of each bucket whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.schema.arrays import TIMESTAMP, numbers, one_chunk
from lakerunner.schema.tables import METRICS, METRICS_ROLLUP
from lakerunner.tiers.numbers import run_starts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_MEASURED = (frozenset(METRICS.names) | frozenset(METRICS_ROLLUP.names)) - {
    *("metric_name", "metric_type", "unit", "description", "temporality", "is_monotonic"),
    *("series_id", "scope_name", "scope_version", "scope_schema_url", "resource_schema_url"),
    *("resource_service_name", "attribute_overflow", "metadata"),
}
"""Columns of which a bucket does not simply have that of its first point."""


class SeriesOrder(NamedTuple):
    """Rows in order of metric, series and time.

    A series that changes its temporality is two, for what one adds the other holds.

    Attributes:
        rows: int64: the row that comes first, and so on.
        classes: int64: the class of each of `rows`.
        series: int64, by row: its place in the order of series.
        time: int64, by row: nanoseconds.
        delta: bool, by row.
        monotonic: bool, by row.
    """

    rows: NDArray[np.int64]
    classes: NDArray[np.int64]
    series: NDArray[np.int64]
    time: NDArray[np.int64]
    delta: NDArray[np.bool_]
    monotonic: NDArray[np.bool_]


def order_of(table: pa.Table, classes: NDArray[np.int64] | None = None) -> SeriesOrder:
    """Order rows by metric, series and time; rows of one time by value.

    Args:
        table: Has `metric_name`, `series_id` and `timestamp`.
        classes: Of each row.
    """
    size = table.num_rows
    time = numbers(one_chunk(table["timestamp"]).cast(pa.int64()), np.int64)
    delta = _equals(table, "temporality", "delta")
    monotonic = _flags(table, "is_monotonic")
    name, kind = _rank(table["metric_name"]), delta * 2 + monotonic
    identity = numbers(table["series_id"], np.int64)
    starts = run_starts(name, identity, kind)
    series = np.repeat(
        _dense(name[starts], identity[starts], kind[starts]), np.diff(np.append(starts, size))
    )
    rows = _sorted(series, time, table)
    classes = np.zeros(size, np.int64) if classes is None else classes
    return SeriesOrder(rows, classes[rows], series, time, delta, monotonic)


def _dense(*keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers that sort as the keys do, the first one first, and are equal where all are."""
    place = np.zeros(len(keys[0]), np.int64)
    if not len(place):
        return place
    order = np.lexsort(keys[::-1])
    number = np.zeros(len(order), np.int64)
    number[run_starts(*(key[order] for key in keys))] = 1
    place[order] = np.cumsum(number) - 1
    return place


def _sorted(
    series: NDArray[np.int64], time: NDArray[np.int64], table: pa.Table
) -> NDArray[np.int64]:
    if not len(series):
        return series
    base = int(time.min())
    width = int(time.max()) - base + 1
    if width * (int(series.max()) + 1) >= 2**63:
        return np.lexsort((_tiebreak(table), time, series))
    key = series * width + (time - base)
    if (key[1:] > key[:-1]).all():
        return np.arange(len(key))
    order = np.argsort(key, kind="stable")  # mostly runs in order, one a file
    placed = key[order]
    if (placed[1:] == placed[:-1]).any():
        # Otherwise the order of files would decide which of two points of one time is the last.
        order = np.lexsort((_tiebreak(table), key))
    return order


def _tiebreak(table: pa.Table) -> NDArray[np.float64]:
    for name in ("value", "value_first"):
        if name in table.schema.names:
            values = numbers(table[name], np.float64, np.nan)
            if "count" in table.schema.names:
                values = np.where(np.isnan(values), numbers(table["count"], np.float64), values)
            return values
    return np.zeros(table.num_rows)


def _rank(column: Any) -> NDArray[np.int64]:
    """Numbers that sort as texts do."""
    values = one_chunk(column)
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    rank = pc.rank(values.dictionary.cast(pa.string()), tiebreaker="dense").to_numpy()
    by_code = np.append(rank, len(rank) + 1).astype(np.int64)
    result: NDArray[np.int64] = by_code[numbers(values.indices, np.int64, len(rank))]
    return result


def _equals(table: pa.Table, name: str, text: str) -> NDArray[np.bool_]:
    if name not in table.schema.names:
        return np.zeros(table.num_rows, np.bool_)
    values = one_chunk(table[name])
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    codes = np.array([each == text for each in values.dictionary.to_pylist()] + [False])
    result: NDArray[np.bool_] = codes[numbers(values.indices, np.int64, len(codes) - 1)]
    return result


def _flags(table: pa.Table, name: str) -> NDArray[np.bool_]:
    if name not in table.schema.names:
        return np.zeros(table.num_rows, np.bool_)
    return numbers(table[name], np.bool_, missing=False)


def with_identity(
    table: pa.Table,
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.int64], dict[str, Any]]],
    resolution_ns: int,
) -> pa.Table:
    """Put what was summed up beside what tells whose it is.

    Args:
        table: What was summed up.
        parts: Of each class of rows: the first row of each bucket, its series, and its columns.
        resolution_ns: Length of a bucket.

    Returns:
        The buckets in order of metric, series and time.
    """
    if not parts:
        return METRICS_ROLLUP.empty_table()
    rows = np.concatenate([part[0] for part in parts])
    time = numbers(one_chunk(table["timestamp"]).cast(pa.int64()), np.int64)[rows]
    start = time // resolution_ns * resolution_ns
    kept = [name for name in table.schema.names if name not in _MEASURED]
    whole = table.select(kept).take(pa.array(rows))
    whole = whole.append_column("timestamp", pa.array(start).cast(TIMESTAMP))
    whole = whole.append_column("resolution_ns", pa.array(np.full(len(rows), resolution_ns)))
    summed = pa.concat_tables(
        [pa.table(columns) for _, _, columns in parts], promote_options="default"
    )
    for name in summed.schema.names:
        whole = whole.append_column(name, summed[name])
    if len(parts) > 1:
        series = np.concatenate([part[1] for part in parts])
        whole = whole.take(pa.array(np.lexsort((start, series))))
    return whole.combine_chunks()

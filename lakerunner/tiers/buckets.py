"""From the buckets of one tier to those of a coarser one, or of several tables to those of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lakerunner.schema.arrays import TIMESTAMP, numbers, one_chunk
from lakerunner.schema.sketch import merge_sketches, read_sketches, sketch_column
from lakerunner.tiers.exact import Ends, exact_of_buckets, read_exact
from lakerunner.tiers.explicit import EXPLICIT_COLUMNS, Entries, add_explicit
from lakerunner.tiers.exponential import EXPONENTIAL_COLUMNS, add_exponential
from lakerunner.tiers.identity import order_of, with_identity
from lakerunner.tiers.numbers import run_starts

if TYPE_CHECKING:
    from numpy.typing import NDArray


def roll_buckets(buckets: pa.Table, resolution_ns: int) -> pa.Table:
    """Sum buckets up, for each series and longer bucket of time.

    Counts, increases, sketches and histograms are added; each bucket says what was added within
    it, so that nothing is counted twice or left out, wherever one bucket ends.

    Args:
        buckets: Rows of `metrics_rollup` of finer resolutions, in any order; or of this one,
            several of one bucket, to make one of them.
        resolution_ns: Length of the buckets that are made, in nanoseconds.

    Returns:
        As `roll_points`.
    """
    buckets = buckets.combine_chunks()
    order = order_of(buckets)
    ordered = bool((order.rows[1:] > order.rows[:-1]).all())
    table = buckets if ordered else buckets.take(pa.array(order.rows))
    series, time = order.series[order.rows], order.time[order.rows]
    if not len(series):
        return buckets
    starts = run_starts(series, time // resolution_ns)
    ends = np.append(starts[1:], len(series)) - 1
    group = np.repeat(np.arange(len(starts)), ends - starts + 1)
    columns: dict[str, Any] = {"point_count": pa.array(_sum(table, "point_count", starts))}
    first, last = _nanoseconds(table, "first_timestamp"), _nanoseconds(table, "last_timestamp")
    columns["first_timestamp"] = pa.array(np.minimum.reduceat(first, starts)).cast(TIMESTAMP)
    columns["last_timestamp"] = pa.array(np.maximum.reduceat(last, starts)).cast(TIMESTAMP)
    names = table.schema.names
    if "value_sum" in names and table["value_sum"].null_count < table.num_rows:
        ends = _latest(last, starts, ends)
        starts_at = _earliest(first, starts)
        columns |= _numbers(table, starts, starts_at, ends) | {"sketch": _sketch(table, group)}
        if "exact" in names:
            columns["exact"] = _exact(table, (time, first, last), starts, resolution_ns)
    if "count" in names and table["count"].null_count < table.num_rows:
        columns |= _histograms(table, starts, group)
    return with_identity(table, [(starts, series[starts], columns)], resolution_ns)


def _nanoseconds(table: pa.Table, name: str) -> NDArray[np.int64]:
    return numbers(one_chunk(table[name]).cast(pa.int64()), np.int64)


def _sum(table: pa.Table, name: str, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    result: NDArray[np.int64] = np.add.reduceat(numbers(table[name], np.int64), starts)
    return result


def _earliest(first: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each group, the row whose first point is the earliest."""
    least = np.minimum.reduceat(first, starts)
    if (least == first[starts]).all():
        return starts
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(first))))
    hits = np.flatnonzero(first == least[group])
    return hits[run_starts(group[hits])]


def _latest(
    last: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Of each group, the row whose last point is the latest."""
    most = np.maximum.reduceat(last, starts)
    if (most == last[ends]).all():
        return ends
    group = np.repeat(np.arange(len(starts)), ends - starts + 1)
    hits = np.flatnonzero(last == most[group])
    rows: NDArray[np.int64] = hits[np.append(run_starts(group[hits])[1:], len(hits)) - 1]
    return rows


def _numbers(
    table: pa.Table,
    starts: NDArray[np.int64],
    earliest: NDArray[np.int64],
    latest: NDArray[np.int64],
) -> dict[str, Any]:
    missing = _all_null(table, "value_sum", starts)
    first, last = (
        numbers(table[name], np.float64, np.nan)[rows]
        for name, rows in (("value_first", earliest), ("value_last", latest))
    )
    columns: dict[str, Any] = {
        "value_first": pa.array(first, mask=missing),
        "value_last": pa.array(last, mask=missing),
    }
    for name, summed in (
        *(("value_sum", np.add), ("value_increase", np.add)),
        *(("value_min", np.fmin), ("value_max", np.fmax)),
    ):
        if name in table.schema.names:
            absent = _all_null(table, name, starts)
            values = numbers(table[name], np.float64, 0.0 if summed is np.add else np.nan)
            columns[name] = pa.array(summed.reduceat(values, starts), mask=absent)
    return columns


def _exact(
    table: pa.Table,
    times: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    starts: NDArray[np.int64],
    resolution_ns: int,
) -> pa.StructArray:
    names = ("value_first", "value_last", "value_min", "value_max")
    values = [numbers(table[name], np.float64, np.nan) for name in names]
    points = numbers(table["point_count"], np.int64)
    bucket, first, last = times
    ends = Ends(bucket, first, last, values[0], values[1], values[2], values[3], points)
    return exact_of_buckets(read_exact(table["exact"]), ends, starts, resolution_ns).column()


def _all_null(table: pa.Table, name: str, starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Groups of which no row has a value; the rows of a series all have one, or none has."""
    column = one_chunk(table[name])
    if not column.null_count:
        return np.zeros(len(starts), np.bool_)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    result: NDArray[np.bool_] = ~np.logical_or.reduceat(valid, starts)
    return result


def _some_null(table: pa.Table, name: str, starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    column = one_chunk(table[name])
    if not column.null_count:
        return np.zeros(len(starts), np.bool_)
    result: NDArray[np.bool_] = np.logical_or.reduceat(
        column.is_null().to_numpy(zero_copy_only=False), starts
    )
    return result


def _sketch(table: pa.Table, group: NDArray[np.int64]) -> pa.StructArray:
    sketches = read_sketches(table["sketch"])
    return sketch_column(merge_sketches(sketches, group, int(group[-1]) + 1))


def _histograms(
    table: pa.Table, starts: NDArray[np.int64], group: NDArray[np.int64]
) -> dict[str, Any]:
    """Add histograms up; a bucket that is not known of one part is not known of the whole.

    A bucket without any count, such as the first one of a counter, adds nothing.
    """
    absent = _all_null(table, "count", starts)
    counted = one_chunk(table["count"]).is_valid().to_numpy(zero_copy_only=False)
    columns: dict[str, Any] = {
        "count": pa.array(_sum(table, "count", starts).astype(np.uint64), mask=absent)
    }
    if "sum" in table.schema.names:
        sums = numbers(table["sum"], np.float64, np.nan)
        total = np.add.reduceat(np.where(counted, sums, 0.0), starts)
        columns["sum"] = pa.array(total, mask=absent | np.isnan(total))
    for name, summed in (("min", np.minimum), ("max", np.maximum)):
        if name in table.schema.names:
            unknown = absent | _some_null(table, name, starts)
            values = numbers(table[name], np.float64, np.nan)
            columns[name] = pa.array(summed.reduceat(values, starts), mask=unknown)
    for marker, wanted in (("bucket_counts", EXPLICIT_COLUMNS), ("scale", EXPONENTIAL_COLUMNS)):
        if marker in table.schema.names:
            columns |= _lists(table.select(wanted), marker, counted, group)
    return columns


def _lists(
    table: pa.Table, marker: str, counted: NDArray[np.bool_], group: NDArray[np.int64]
) -> dict[str, Any]:
    known = one_chunk(table[marker]).is_valid().to_numpy(zero_copy_only=False)
    groups = int(group[-1]) + 1
    lost = np.zeros(groups, np.bool_)
    lost[group[counted & ~known]] = True
    rows = np.flatnonzero(known & ~lost[group])
    entries = Entries(rows, group[rows], np.ones(len(rows), np.int64), groups)
    if marker == "scale":
        return dict(add_exponential(table, entries))
    counts, bounds = add_explicit(table, entries)
    return {"bucket_counts": counts, "explicit_bounds": bounds}

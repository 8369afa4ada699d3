"""From points, as they were sent, to the buckets of the finest tier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.schema.arrays import TIMESTAMP, list_lengths, list_values, numbers, one_chunk
from lakerunner.schema.sketch import sketch_column, sketch_values
from lakerunner.tiers.exact import exact_of_points
from lakerunner.tiers.explicit import EXPLICIT_COLUMNS, Entries, add_explicit
from lakerunner.tiers.exponential import EXPONENTIAL_COLUMNS, add_exponential
from lakerunner.tiers.identity import SeriesOrder, order_of, with_identity
from lakerunner.tiers.numbers import Chain, Times, added, chain, run_starts, sum_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

POINT_COLUMNS = (
    *("timestamp", "start_timestamp", "value", "flags", "count", "sum", "min", "max"),
    *EXPLICIT_COLUMNS,
    *EXPONENTIAL_COLUMNS,
)
"""What is read of points beside what tells one series from another."""

_CLASSES = {"histogram": 1, "exponential_histogram": 2, "summary": 3}


class Span(NamedTuple):
    """Which points make buckets, and how far back is known what came before them.

    Attributes:
        start_ns: Earlier points make no buckets; counters go on from them.
        lookback_ns: Since when all points are known.
        late: What came before and after them was counted already: a point of a counter adds
            nothing, for the next one after it has told all that was added until then.
    """

    start_ns: int
    lookback_ns: int
    late: bool = False


class _Part(NamedTuple):
    """The points of one class in order.

    Attributes:
        rows: int64: the row of each in the table.
        times: Series, time and start of each.
        delta: bool: it is what was added.
        monotonic: bool.
        own: int64: places of those that make buckets.
        starts: int64: where the groups of these begin, as places in `own`.
        group: int64: the group of each point; -1 for those that make none.
    """

    rows: NDArray[np.int64]
    times: Times
    delta: NDArray[np.bool_]
    monotonic: NDArray[np.bool_]
    own: NDArray[np.int64]
    starts: NDArray[np.int64]
    group: NDArray[np.int64]


def roll_points(points: pa.Table, resolution_ns: int, span: Span) -> pa.Table:
    """Sum points up, for each series and bucket of time.

    A bucket begins at a multiple of its length. What a counter has more than the point before it is
    added in the bucket of the later one. Points without a value, and those that only say that a
    series ended, are left out.

    Args:
        points: Rows of the metrics table in any order; they need not have all columns.
        resolution_ns: Length of a bucket, in nanoseconds.
        span: Which of them make buckets.

    Returns:
        Rows of `metrics_rollup`, in its order, without `organization`. A column that would be NULL
        in every row may be missing.
    """
    order = order_of(points, _class_of(points))
    parts = []
    for kind in range(4):
        rows = order.rows[order.classes == kind]
        if len(rows):
            part = _part(points, order, rows, resolution_ns, span)
            if len(part.own):
                parts.append((part, _rolled(points, part, kind, span, resolution_ns)))
    return with_identity(
        points,
        [
            (part.rows[part.own[part.starts]], part.times.series[part.own[part.starts]], columns)
            for part, columns in parts
        ],
        resolution_ns,
    )


def _class_of(points: pa.Table) -> NDArray[np.int64]:
    """Of each point: 0 for a number, and so on; -1 for what has no value."""
    names = points.schema.names
    types = one_chunk(points["metric_type"])
    if not pa.types.is_dictionary(types.type):
        types = types.dictionary_encode()
    codes = np.array([_CLASSES.get(each, 0) for each in types.dictionary.to_pylist()] + [0])
    indices = numbers(types.indices, np.int64, len(codes) - 1)
    kind: NDArray[np.int64] = codes[indices]
    has_value = _valid(points, "value")
    kind[(kind == 0) & ~has_value] = -1
    if "count" in names:
        kind[(kind > 0) & ~_valid(points, "count")] = -1
    if "flags" in names:
        kind[(numbers(points["flags"], np.int64) & 1) == 1] = -1
    return kind


def _valid(points: pa.Table, name: str) -> NDArray[np.bool_]:
    if name not in points.schema.names:
        return np.zeros(points.num_rows, np.bool_)
    column = one_chunk(points[name])
    if not column.null_count:
        return np.ones(points.num_rows, np.bool_)
    result: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return result


def _part(
    points: pa.Table,
    order: SeriesOrder,
    rows: NDArray[np.int64],
    resolution_ns: int,
    span: Span,
) -> _Part:
    series, time = order.series[rows], order.time[rows]
    start = _taken(points, "start_timestamp", rows, np.int64, 0)
    bucket = time // resolution_ns
    own = np.flatnonzero(time >= span.start_ns)
    starts = run_starts(series[own], bucket[own])
    group = np.full(len(rows), -1)
    group[own] = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(own))))
    return _Part(
        rows,
        Times(series, time, start),
        order.delta[rows],
        order.monotonic[rows],
        own,
        starts,
        group,
    )


def _taken(
    points: pa.Table, name: str, rows: NDArray[np.int64], dtype: type, missing: float
) -> NDArray[Any]:
    """A column of numbers in the order of some rows."""
    if name not in points.schema.names:
        return np.full(len(rows), missing, dtype)
    column = one_chunk(points[name])
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: NDArray[Any] = numbers(column, dtype, missing)[rows]
    return values


def _rolled(
    points: pa.Table, part: _Part, kind: int, span: Span, resolution_ns: int
) -> dict[str, Any]:
    time = part.times.time[part.own]
    ends = np.append(part.starts[1:], len(part.own)) - 1
    columns = {
        "point_count": pa.array(ends - part.starts + 1),
        "first_timestamp": pa.array(time[part.starts]).cast(TIMESTAMP),
        "last_timestamp": pa.array(time[ends]).cast(TIMESTAMP),
    }
    if kind == 0:
        return columns | _rolled_numbers(points, part, ends, span, resolution_ns)
    return columns | _rolled_histograms(points, part, kind, span)


def _rolled_numbers(
    points: pa.Table,
    part: _Part,
    ends: NDArray[np.int64],
    span: Span,
    resolution_ns: int,
) -> dict[str, Any]:
    values = _taken(points, "value", part.rows, np.float64, np.nan)
    mine = values if len(part.own) == len(values) else values[part.own]
    sums = sum_runs(mine, part.starts)
    sketches = sketch_values(mine, part.group[part.own], len(part.starts))
    times = Times(*(each[part.own] for each in part.times))
    columns = {
        "exact": exact_of_points(times, mine, part.starts, resolution_ns).column(),
        "value_sum": pa.array(sums.total),
        "value_min": pa.array(sums.least),
        "value_max": pa.array(sums.most),
        "value_first": pa.array(mine[part.starts]),
        "value_last": pa.array(mine[ends]),
        "sketch": sketch_column(sketches),
    }
    if part.monotonic.any():
        links = _links(part, _fell(part.times.series, values), span)
        more = added(values, links, part.monotonic)[part.own]
        gauge = ~part.monotonic[part.own[part.starts]]
        columns["value_increase"] = pa.array(np.add.reduceat(more, part.starts), mask=gauge)
    return columns


def _links(part: _Part, fell: NDArray[np.bool_], span: Span) -> Chain:
    if span.late:
        return Chain(np.zeros_like(part.delta), part.delta)
    return chain(part.times, fell, part.delta, span.lookback_ns)


def _fell(series: NDArray[np.int64], *amounts: NDArray[Any]) -> NDArray[np.bool_]:
    """Where an amount is below that of the point before it, which is of the same series."""
    fell = np.zeros(len(series), np.bool_)
    for amount in amounts:
        fell[1:] |= amount[1:] < amount[:-1]
    fell[1:] &= series[1:] == series[:-1]
    return fell


def _rolled_histograms(points: pa.Table, part: _Part, kind: int, span: Span) -> dict[str, Any]:
    """What was added within each bucket: sums of points of which some are taken away."""
    count = _taken(points, "count", part.rows, np.int64, 0)
    fell = _fell(part.times.series, count)
    if kind == 1:
        fell |= _bucket_fell(points, part)
    elif kind == 2:  # noqa: PLR2004 - the class of exponential histograms
        fell |= _fell(part.times.series, _taken(points, "zero_count", part.rows, np.int64, 0))
    links = _links(part, fell, span)
    entries = _entries(part, links)
    of, sign = entries.row, entries.sign
    total = np.zeros(entries.groups, np.int64)
    np.add.at(total, entries.group, count[of] * sign)
    unknown = np.bincount(entries.group, minlength=entries.groups) == 0
    sums = _taken(points, "sum", part.rows, np.float64, np.nan)
    summed = np.zeros(entries.groups)
    np.add.at(summed, entries.group, sums[of] * sign)
    columns: dict[str, Any] = {
        "count": pa.array(total.astype(np.uint64), mask=unknown),
        "sum": pa.array(summed, mask=unknown | np.isnan(summed)),
        **_extremes(points, part),
    }
    in_table = entries._replace(row=part.rows[of])
    if kind == 1:
        lists = add_explicit(points, in_table)
        columns["bucket_counts"], columns["explicit_bounds"] = lists
    elif kind == 2:  # noqa: PLR2004 - the class of exponential histograms
        columns |= add_exponential(points, in_table)
    return columns


def _entries(part: _Part, links: Chain) -> Entries:
    """Which points are added to which group, and which are taken away from it.

    A group adds, for each of its points, what it holds, less what the one before it held. What is
    added and taken away in one group is not looked at, so that of a counter two points a group are.
    """
    group = part.group
    plus = (group >= 0) & (links.goes_on | links.begins)
    minus = (group >= 0) & links.goes_on
    both = np.zeros(len(group), np.bool_)
    both[:-1] = plus[:-1] & minus[1:] & (group[:-1] == group[1:])
    plus &= ~both
    minus[1:] &= ~both[:-1]
    more, less = np.flatnonzero(plus), np.flatnonzero(minus)
    return Entries(
        np.concatenate([more, less - 1]),
        np.concatenate([group[more], group[less]]),
        np.repeat([1, -1], [len(more), len(less)]),
        len(part.starts),
    )


def _bucket_fell(points: pa.Table, part: _Part) -> NDArray[np.bool_]:
    """Where some bucket is below that of the point before it, of as many buckets."""
    table = points.select(["bucket_counts"]).take(pa.array(part.rows))
    lengths = list_lengths(table["bucket_counts"])
    counts = list_values(table["bucket_counts"], lengths)
    fell = np.zeros(len(lengths), np.bool_)
    series = part.times.series
    alike = (lengths[1:] == lengths[:-1]) & (series[1:] == series[:-1])
    after = np.flatnonzero(alike) + 1
    if len(after):
        begin = np.cumsum(lengths) - lengths
        size = lengths[after]
        owner = np.repeat(after, size)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(size) - size, size)
        less = counts[begin[owner] + place] < counts[begin[owner - 1] + place]
        fell[owner[less]] = True
    return fell


def _extremes(points: pa.Table, part: _Part) -> dict[str, Any]:
    """Smallest and largest value, where all points say them of what they added themselves."""
    columns = {}
    whole = part.delta[part.own[part.starts]]
    for name, smallest in (("min", np.minimum), ("max", np.maximum)):
        values = _taken(points, name, part.rows, np.float64, np.nan)[part.own]
        found = smallest.reduceat(values, part.starts)
        columns[name] = pa.array(found, mask=~whole | np.isnan(found))
    return columns


def last_points(points: pa.Table) -> pa.Table:
    """The last point of each series: what counters go on from in the next window."""
    order = order_of(points, _class_of(points))
    rows = order.rows[order.classes >= 0]
    series = order.series[rows]
    last = np.ones(len(rows), np.bool_)
    np.not_equal(series[1:], series[:-1], out=last[:-1])
    kept = np.sort(rows[last & ~order.delta[rows]])
    return points.take(pa.array(kept))

"""An answer as a table: one row a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lakerunner.query.promql.histograms import CUSTOM_SCHEMA, Buckets, Histograms
from lakerunner.query.promql.labels import NAME, Labels
from lakerunner.query.promql.series import NO_HISTOGRAM
from lakerunner.schema.arrays import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lakerunner.query.promql.evaluate import Answer
    from lakerunner.query.promql.series import Samples, Vector

_NS_PER_MS = 1_000_000

HISTOGRAM_TYPE = pa.struct(
    [
        ("count", pa.float64()),
        ("sum", pa.float64()),
        ("scale", pa.int32()),
        ("zero_count", pa.float64()),
        ("zero_threshold", pa.float64()),
        ("positive_offset", pa.int32()),
        ("positive_bucket_counts", pa.list_(pa.float64())),
        ("negative_offset", pa.int32()),
        ("negative_bucket_counts", pa.list_(pa.float64())),
        ("custom_bounds", pa.list_(pa.float64())),
        ("counter_reset_hint", pa.int8()),
    ]
)
"""A native histogram: exponential buckets, or custom ones, whose counts are the positive ones.

`counter_reset_hint`: 0 where nothing is known, 1 after a reset, 2 if there was none, 3 of a gauge.
"""

_RESERVED = ("timestamp", "value", "histogram")


def answer_table(answer: Answer) -> pa.Table:
    """The samples of an answer, series after series in the order of labels, each in order of time.

    Columns: the labels that occur as `string` (`__name__` first, the rest in order; one called like
    another column gets a trailing `_`), `timestamp` as `timestamp[ns, UTC]`, `value` as `double`
    (NULL where the sample is a histogram; text of a string), and `histogram` where there are any.
    """
    if answer.text is not None:
        return _table(Labels(1), answer.times[:1], pa.array([answer.text]), None)
    if answer.scalar is not None:
        labels = Labels(len(answer.times))
        return _table(labels, answer.times, pa.array(answer.scalar), None)
    if answer.samples is not None:
        return _samples_table(answer.samples)
    if answer.vector is not None:
        return _vector_table(answer.vector, answer.times)
    return _table(Labels(0), answer.times[:0], pa.array([], pa.float64()), None)


def joined_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """The answers of several parts of a query, one after the other in time, as one."""
    if len(tables) == 1:
        return tables[0]
    names = {name for table in tables for name in table.schema.names}
    tail = [name for name in _RESERVED if name in names]
    labels = sorted(names - set(tail), key=lambda one: (one != NAME, one))
    whole = pa.concat_tables(tables, promote_options="default").select([*labels, *tail])
    columns = {name: whole[name].combine_chunks() for name in labels}
    keyed = Labels.from_texts(whole.num_rows, columns)
    # What one part tells in order of labels and time, all of them must.
    return whole.take(pa.array(keyed.order()))


def _vector_table(vector: Vector, times: NDArray[np.int64]) -> pa.Table:
    if not vector.ordered:
        vector = vector.take(vector.labels.order())
    row, step = np.nonzero(vector.present)
    number = None if vector.histogram is None else vector.histogram[row, step]
    return _cells_table(
        vector.labels.take(row), times[step], vector.value[row, step], number, vector.histograms
    )


def _samples_table(samples: Samples) -> pa.Table:
    series = samples.series
    place = np.empty(len(samples.labels), dtype=np.int64)
    place[samples.labels.order()] = np.arange(len(samples.labels))
    order = np.argsort(place[series], kind="stable")
    return _cells_table(
        samples.labels.take(series[order]),
        samples.time[order],
        samples.value[order],
        samples.histogram[order],
        samples.histograms,
    )


def _cells_table(
    labels: Labels,
    times: NDArray[np.int64],
    value: NDArray[np.float64],
    number: NDArray[np.int64] | None,
    histograms: Histograms,
) -> pa.Table:
    if number is None or (number == NO_HISTOGRAM).all():
        return _table(labels, times, pa.array(value), None)
    is_histogram = number != NO_HISTOGRAM
    described = histogram_structs(histograms.take(number[is_histogram]))
    place = np.zeros(len(number), dtype=np.int64)
    place[is_histogram] = np.arange(len(described))
    column = described.take(pa.array(place, mask=~is_histogram))
    return _table(labels, times, pa.array(value, mask=is_histogram), column)


def _table(
    labels: Labels, times: NDArray[np.int64], value: pa.Array, histogram: pa.Array | None
) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for name in sorted(labels.columns, key=lambda one: (one != NAME, one)):
        shown = name
        while shown in _RESERVED or shown in columns:
            shown += "_"
        columns[shown] = labels.columns[name].texts()
    stamps = pa.array(times * _NS_PER_MS).cast(TIMESTAMP)
    columns["timestamp"] = stamps
    columns["value"] = value
    if histogram is not None:
        columns["histogram"] = histogram
    return pa.table(columns)


def histogram_structs(source: Histograms) -> pa.StructArray:
    """Histograms as `HISTOGRAM_TYPE`: buckets without gaps from the first that holds anything."""
    positive = _filled(source.positive, source.size)
    negative = _filled(source.negative, source.size)
    custom = source.custom
    lengths = np.zeros(source.size, dtype=np.int64)
    parts = []
    for number, bounds in enumerate(source.bounds):
        here = custom & (source.layout == number)
        lengths[here] = len(bounds)
        parts.append(bounds)
    flat = [parts[at] for at in source.layout[custom]] if parts else []
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    bounds_list = pa.ListArray.from_arrays(
        pa.array(offsets),
        pa.array(np.concatenate(flat) if flat else np.zeros(0)),
        mask=pa.array(~custom),
    )
    # OpenTelemetry counts buckets from where they begin, Prometheus from where they end.
    shift = np.where(custom, 0, 1)
    return pa.StructArray.from_arrays(
        [
            pa.array(source.amount),
            pa.array(source.sum),
            pa.array(source.schema.astype(np.int32), mask=source.schema == CUSTOM_SCHEMA),
            pa.array(source.zero_count),
            pa.array(source.zero_threshold),
            pa.array((positive[0] - shift).astype(np.int32)),
            positive[1],
            pa.array((negative[0] - shift).astype(np.int32)),
            negative[1],
            bounds_list,
            pa.array(source.hint.astype(np.int8)),
        ],
        fields=list(HISTOGRAM_TYPE),
    )


def _filled(buckets: Buckets, size: int) -> tuple[NDArray[np.int64], pa.ListArray]:
    """The number of the first bucket of each histogram, and all counts from there to the last."""
    first = np.full(size, np.iinfo(np.int64).max)
    last = np.full(size, -1)
    np.minimum.at(first, buckets.row, buckets.number)
    np.maximum.at(last, buckets.row, buckets.number)
    empty = np.bincount(buckets.row, minlength=size) == 0
    first = np.where(empty, 1, first)
    lengths = np.where(empty, 0, last - first + 1)
    ends = np.cumsum(lengths)
    counts = np.zeros(int(lengths.sum()))
    counts[(ends - lengths)[buckets.row] + buckets.number - first[buckets.row]] = buckets.amount
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    return first, pa.ListArray.from_arrays(pa.array(offsets), pa.array(counts))

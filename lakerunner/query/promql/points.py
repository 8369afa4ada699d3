"""From the points of metrics, as Arrow columns, to samples in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.query.promql.aggregate import decimal
from lakerunner.query.promql.combining import detect_resets
from lakerunner.query.promql.histograms import (
    Hint,
    Histograms,
    concat,
)
from lakerunner.query.promql.labels import LabelColumn, Labels
from lakerunner.query.promql.point_columns import Points, Target, histograms_of, milliseconds
from lakerunner.query.promql.series import NO_HISTOGRAM, Samples, constant, picked
from lakerunner.schema.arrays import expand, layouts, list_lengths, list_values, numbers, one_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lakerunner.query.promql.streams import Selected
    from lakerunner.query.promql.syntax import Matcher

HINT_SHIFT = 8
"""Where in `flags` the `Hint` of a native histogram lies that came from Prometheus: two bits."""

_HINT_MASK = 3
_KEY_BITS = 62

NUMBER_COLUMNS = ("series_id", "timestamp", "start_timestamp", "value", "flags")
"""What is read of points that are numbers."""

CLASSIC_COLUMNS = ("count", "sum", "bucket_counts", "explicit_bounds")
NATIVE_COLUMNS = (
    *CLASSIC_COLUMNS,
    "metric_type",
    "scale",
    "zero_count",
    "zero_threshold",
    "positive_offset",
    "positive_bucket_counts",
    "negative_offset",
    "negative_bucket_counts",
)
COLUMNS_OF: dict[str, tuple[str, ...]] = {
    "value": (),
    "info": (),
    "native": NATIVE_COLUMNS,
    "bucket": CLASSIC_COLUMNS,
    "sum": ("count", "sum"),
    "count": ("count", "sum"),
    "quantile": ("quantiles",),
}
"""What is read of points in addition, for each kind of series."""


class _Cells(NamedTuple):
    """Samples in no order, of one kind of series.

    Attributes:
        series: int64: the series of each, from 0.
        time: int64, milliseconds.
        value: float64.
        histogram: int64.
        stale: bool.
        start: int64, milliseconds.
    """

    series: NDArray[np.int64]
    time: NDArray[np.int64]
    value: NDArray[np.float64]
    histogram: NDArray[np.int64]
    stale: NDArray[np.bool_]
    start: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> _Cells:
        """Other samples, by number."""
        return _Cells(
            self.series[rows],
            self.time[rows],
            self.value[rows],
            picked(self.histogram, rows),
            picked(self.stale, rows),
            picked(self.start, rows),
        )


def to_samples(
    points: Points,
    selected: Selected,
    delta: NDArray[np.bool_],
    matchers: Sequence[Matcher],
) -> Samples:
    """The samples of series of one kind, in order of series and time.

    Of several points of one series at one time the largest stays, whatever segments they are in.

    Args:
        points: What was read.
        selected: The series.
        delta: bool, one for each stream: a point is what was added since the one before.
        matchers: Conditions on the bounds of buckets and quantiles.
    """
    place = np.full(len(delta), -1, dtype=np.int64)
    place[selected.rows] = np.arange(len(selected.rows))
    points = points.where(place[points.stream] >= 0)
    if selected.kind == "value":
        points = points.with_values()
    table, labels = points.table, selected.labels
    if selected.kind in ("value", "sum", "count"):
        found = _merged(points, place[points.stream], selected, delta[selected.rows])
        if found is not None:
            return found
    series = np.repeat(place[points.stream], points.lengths)
    histograms = Histograms.empty()
    cells, flags = _without_values(table, series)
    match selected.kind:
        case "value":
            cells = cells._replace(value=numbers(table["value"], np.float64, np.nan))
        case "info":
            start = constant(0, table.num_rows, np.int64)
            cells = cells._replace(value=np.ones(table.num_rows), start=start)
        case "sum" | "count" as name:
            cells = cells._replace(value=numbers(table[name], np.float64, np.nan))
        case "native":
            histograms = histograms_of(table)
            number = np.where(cells.stale, NO_HISTOGRAM, np.arange(table.num_rows))
            histograms = histograms._replace(hint=(flags >> HINT_SHIFT) & _HINT_MASK)
            cells = cells._replace(histogram=number)
        case "bucket":
            cells, labels = _buckets(table, cells, labels)
        case _:
            cells, labels = _quantiles(table, cells, labels)
    is_delta = delta[selected.rows] if selected.kind != "info" else np.zeros(len(labels), bool)
    if selected.kind in ("bucket", "quantile"):
        origin = np.zeros(len(labels), dtype=np.int64)
        origin[cells.series] = series[_origin_of(table, selected.kind)]
        is_delta = is_delta[origin]
        fits = labels.matching([one for one in matchers if one.name in ("le", "quantile")])
        renumbered = np.cumsum(fits) - 1
        cells = cells.take(np.flatnonzero(fits[cells.series]))
        cells = cells._replace(series=renumbered[cells.series])
        labels, is_delta = labels.take(np.flatnonzero(fits)), is_delta[fits]
    return _ordered(cells, labels, is_delta, histograms)


def _merged(
    points: Points, series: NDArray[np.int64], selected: Selected, delta: NDArray[np.bool_]
) -> Samples | None:
    """Samples that are numbers, put in order run by run; None where that is not enough.

    Segments are in order of series and time themselves, so there are long runs that only have to be
    put one after the other, unless two of one series have times in common.

    Args:
        points: What was read.
        series: int64: that of each run.
        selected: The series.
        delta: bool, one a series.
    """
    table, labels = points.table, selected.labels
    group, first = labels.groups()
    if len(first) < len(labels):
        series, labels, delta = group[series], labels.take(first), delta[first]
    time = np.empty(table.num_rows, dtype=np.int64)
    end = 0
    for chunk in table["timestamp"].chunks:
        begin, end = end, end + len(chunk)
        time[begin:end] = milliseconds(chunk)
    starts, lengths = points.starts, points.lengths
    turns = time[1:] <= time[:-1]
    turns[starts[1:] - 1] = False
    if turns.any():
        return None
    order = _order_of_runs(series, time[starts])
    its, begins, ends = series[order], time[starts[order]], time[(starts + lengths - 1)[order]]
    if not ((its[1:] > its[:-1]) | (begins[1:] > ends[:-1])).all():
        return None
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.cumsum(lengths[order]) - lengths[order]
    target = Target(starts, lengths, places)
    flags = _filled(table["flags"], lambda column: numbers(column, np.int64))
    stale = (flags & 1) == 1 if flags.any() else constant(0, table.num_rows, bool)
    name = "value" if selected.kind == "value" else selected.kind
    value = target.moved([numbers(one, np.float64, np.nan) for one in table[name].chunks])
    counts = np.bincount(series, lengths, len(labels)).astype(np.int64)
    return Samples(
        labels,
        np.zeros(len(labels), dtype=bool),
        np.concatenate([[0], np.cumsum(counts)]),
        target.moved([time]),
        value,
        constant(NO_HISTOGRAM, table.num_rows, np.int64),
        target.moved([stale]),
        target.moved([_filled(table["start_timestamp"], milliseconds)]),
        Histograms.empty(),
        delta,
    )


def _order_of_runs(series: NDArray[np.int64], begin: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which run comes first in order of series and time, and so on."""
    base = int(begin.min(initial=0))
    bits = (int(begin.max(initial=0)) - base).bit_length()
    if bits + int(series.max(initial=0)).bit_length() > _KEY_BITS:
        return np.lexsort((begin, series))
    # What is in order for the most part is put in order faster by one key.
    return np.argsort(series << bits | (begin - base), stable=True)


def _without_values(table: pa.Table, series: NDArray[np.int64]) -> tuple[_Cells, NDArray[np.int64]]:
    """A cell for each point, and its flags; the value is still to be told."""
    flags = _filled(table["flags"], lambda column: numbers(column, np.int64))
    stale = (flags & 1) == 1 if flags.any() else constant(0, table.num_rows, bool)
    cells = _Cells(
        series,
        milliseconds(table["timestamp"]),
        constant(0, table.num_rows, np.float64),
        constant(NO_HISTOGRAM, table.num_rows, np.int64),
        stale,
        _filled(table["start_timestamp"], milliseconds),
    )
    return cells, flags


def _filled(
    column: pa.ChunkedArray, read: Callable[[pa.ChunkedArray], NDArray[np.int64]]
) -> NDArray[np.int64]:
    """A column as numbers; one that is NULL throughout is not looked at."""
    if column.null_count == len(column):
        return constant(0, len(column), np.int64)
    return read(column)


def _origin_of(table: pa.Table, kind: str) -> NDArray[np.int64]:
    """The row that each exploded cell comes from."""
    if kind == "bucket":
        lengths = np.maximum(list_lengths(table["bucket_counts"]), 1)
    else:
        lengths = list_lengths(table["quantiles"])
    result: NDArray[np.int64] = np.repeat(np.arange(table.num_rows), lengths)
    return result


def _ordered(
    cells: _Cells, labels: Labels, delta: NDArray[np.bool_], histograms: Histograms
) -> Samples:
    """Bring cells in order of series and time; series with equal labels become one."""
    group, first = labels.groups()
    if len(first) < len(labels):
        cells = cells._replace(series=group[cells.series])
        labels, delta = labels.take(first), delta[first]
    if len(cells.time):
        order = _order(cells.series, cells.time)
        if order is not None:
            cells = cells.take(order)
        same = (cells.series[1:] == cells.series[:-1]) & (cells.time[1:] == cells.time[:-1])
        if same.any():
            cells = _largest_of_each(cells, histograms)
    counts = np.bincount(cells.series, minlength=len(labels))
    samples = Samples(
        labels,
        np.zeros(len(labels), dtype=bool),
        np.concatenate([[0], np.cumsum(counts)]),
        cells.time,
        cells.value,
        cells.histogram,
        cells.stale,
        cells.start,
        histograms,
        delta,
    )
    return _with_hints(samples) if histograms.size else samples


def _order(series: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Which sample comes first in order of series and time, and so on; None if they are in order.

    Segments are in that order themselves. So there are long runs that only have to be put one after
    the other, unless two of one series have times in common.
    """
    ascends = (series[1:] == series[:-1]) & (time[1:] > time[:-1])
    starts = np.concatenate([[0], np.flatnonzero(~ascends) + 1])
    if (series[starts][1:] > series[starts][:-1]).all():
        return None
    ends = np.append(starts[1:], len(series))
    runs = _order_of_runs(series[starts], time[starts])
    its, begin, end = series[starts[runs]], time[starts[runs]], time[ends[runs] - 1]
    if ((its[1:] > its[:-1]) | (begin[1:] > end[:-1])).all():
        return expand(starts[runs], (ends - starts)[runs])
    return np.lexsort((time, series))


def _largest_of_each(cells: _Cells, histograms: Histograms) -> _Cells:
    """Of several samples of one series at one time, the largest: whichever was read first.

    NaN counts as larger than all numbers, a marker of the end as smaller; of histograms the number
    of observations is compared.
    """
    size = cells.value
    if histograms.size:
        size = np.where(cells.histogram != NO_HISTOGRAM, histograms.amount[cells.histogram], size)
    order = np.lexsort((size, ~cells.stale, cells.time, cells.series))  # NaN comes last
    cells = cells.take(order)
    same = (cells.series[1:] == cells.series[:-1]) & (cells.time[1:] == cells.time[:-1])
    return cells.take(np.flatnonzero(np.append(~same, True)))


def _with_hints(samples: Samples) -> Samples:
    """Say of each histogram after another one of its series whether the counter was reset."""
    is_histogram = samples.histogram != NO_HISTOGRAM
    both = is_histogram & np.roll(is_histogram, 1)
    starts = samples.offsets[:-1]
    both[starts[starts < len(both)]] = False
    both &= ~samples.delta[samples.series]
    at = np.flatnonzero(both)
    number = samples.histogram
    hints = samples.histograms.hint.copy()
    at = at[hints[number[at]] == Hint.UNKNOWN]
    fell = detect_resets(samples.histograms, number[at - 1], number[at])
    hints[number[at]] = np.where(fell, int(Hint.RESET), int(Hint.NOT_RESET))
    return samples._replace(histograms=samples.histograms._replace(hint=hints))


def _buckets(table: pa.Table, cells: _Cells, labels: Labels) -> tuple[_Cells, Labels]:
    """The cumulated buckets of explicit histograms, a series for each bound."""
    filled = list_lengths(table["bucket_counts"])
    # The last bucket holds all observations, also where none of the others was sent.
    lengths = np.maximum(filled, 1)
    layout, bounds = layouts(table["explicit_bounds"])
    row = np.repeat(np.arange(table.num_rows), lengths)
    index = expand(np.zeros(len(lengths), dtype=np.int64), lengths)
    ends = np.cumsum(lengths)
    counts = np.zeros(len(row))
    counts[expand((ends - lengths)[filled > 0], filled[filled > 0])] = list_values(
        table["bucket_counts"], filled
    )
    summed = np.concatenate([[0.0], np.cumsum(counts)])
    value = summed[1:] - summed[(ends - lengths)[row]]
    value[ends - 1] = numbers(table["count"], np.float64)
    index = np.where(filled[row] > 0, index, list_lengths(table["explicit_bounds"])[row])
    texts = [[*(decimal(float(one)) for one in bound), "+Inf"] for bound in bounds]
    words = sorted({word for part in texts for word in part})
    number = {word: place for place, word in enumerate(words)}
    widest = max((len(part) for part in texts), default=1)
    grid = np.zeros((len(texts), widest), dtype=np.int64)
    for place, part in enumerate(texts):
        grid[place, : len(part)] = [number[word] for word in part]
    word = grid[layout[row], np.minimum(index, widest - 1)]
    return _exploded(cells, labels, row, word, ("le", words), value)


def _quantiles(table: pa.Table, cells: _Cells, labels: Labels) -> tuple[_Cells, Labels]:
    """The quantiles of summaries, a series for each."""
    column = one_chunk(table["quantiles"])
    lengths = list_lengths(table["quantiles"])
    row = np.repeat(np.arange(table.num_rows), lengths)
    flat = column.flatten()
    quantile = numbers(flat.field("quantile"), np.float64, np.nan)
    distinct, word = np.unique(quantile, return_inverse=True)
    words = [decimal(float(one)) for one in distinct]
    value = numbers(flat.field("value"), np.float64, np.nan)
    return _exploded(cells, labels, row, word, ("quantile", words), value)


def _exploded(
    cells: _Cells,
    labels: Labels,
    row: NDArray[np.int64],
    word: NDArray[np.int64],
    label: tuple[str, Sequence[str]],
    value: NDArray[np.float64],
) -> tuple[_Cells, Labels]:
    name, words = label
    key = cells.series[row] * max(len(words), 1) + word
    distinct, series = np.unique(key, return_inverse=True)
    owner, its_word = distinct // max(len(words), 1), distinct % max(len(words), 1)
    column = LabelColumn.from_texts(pa.array(words, pa.string()).take(pa.array(its_word)))
    exploded = _Cells(
        series.astype(np.int64),
        cells.time[row],
        value,
        picked(cells.histogram, row),
        picked(cells.stale, row),
        picked(cells.start, row),
    )
    return exploded, labels.take(owner).replace(name, column)


def cut(samples: Samples, after_ms: int) -> Samples:
    """Only the samples after a time; series that have none left stay."""
    kept = samples.time > after_ms
    return samples if kept.all() else samples.where(kept)


def concat_samples(parts: Sequence[Samples]) -> Samples:
    """The samples of several selections as one; series with equal labels become one."""
    if not parts:
        return Samples.empty()
    whole = parts[0]
    for part in parts[1:]:
        shift = whole.histograms.size
        number = np.where(part.histogram == NO_HISTOGRAM, NO_HISTOGRAM, part.histogram + shift)
        whole = Samples(
            whole.labels.concat(part.labels),
            np.concatenate([whole.dropped, part.dropped]),
            np.concatenate([whole.offsets, part.offsets[1:] + whole.offsets[-1]]),
            np.concatenate([whole.time, part.time]),
            np.concatenate([whole.value, part.value]),
            np.concatenate([whole.histogram, number]),
            np.concatenate([whole.stale, part.stale]),
            np.concatenate([whole.start, part.start]),
            concat([whole.histograms, part.histograms]),
            np.concatenate([whole.delta, part.delta]),
        )
    if len(parts) == 1 or len(whole.labels.groups()[1]) == len(whole.labels):
        return whole
    cells = _Cells(whole.series, whole.time, whole.value, whole.histogram, whole.stale, whole.start)
    return _ordered(cells, whole.labels, whole.delta, whole.histograms)

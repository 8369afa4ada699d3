"""Ranges that are answered from what their samples were summed up to, and exactly as from these.

A bucket of a tier is a run of samples of which is known what a range needs: how many, the first and
the last, the sum, the extremes, how often the counter began again. Runs are told apart where ranges
may end: a sample on the very edge of a bucket, which belongs to the range before, is one by itself.
What depends on the order of additions is answered only where that order cannot matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lakerunner.query.promql.histograms import Histograms
from lakerunner.query.promql.over_time import run_reduce, run_sums
from lakerunner.query.promql.point_columns import Points, milliseconds
from lakerunner.query.promql.rates import Growth, note_counters
from lakerunner.query.promql.series import (
    NO_HISTOGRAM,
    Samples,
    Vector,
    Windows,
    by_series,
    constant,
)
from lakerunner.schema.arrays import numbers
from lakerunner.tiers.exact import began_again, read_exact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from lakerunner.query.promql.labels import Labels
    from lakerunner.query.promql.rates import Notes
    from lakerunner.query.promql.streams import Streams

BUCKET_COLUMNS = (
    *("series_id", "timestamp", "point_count", "first_timestamp", "last_timestamp", "value_sum"),
    *("value_min", "value_max", "value_first", "value_last", "exact"),
)
"""What is read of buckets."""

_NS_PER_MS = 1_000_000
_WHOLE_BELOW = 2.0**53
_ANY_ORDER = 2
"""So many numbers have the same sum in whatever order they are added up."""


class Runs(NamedTuple):
    """Runs of samples of some series, each by itself or several together.

    Attributes:
        series: int64: the series of each run.
        key: int64, milliseconds: where it stands; ranges end before or behind all of its samples.
        size: int64: how many samples it has.
        first_time: int64, milliseconds.
        last_time: int64, milliseconds.
        first: float64: the value of its first sample.
        last: float64.
        start: int64, nanoseconds: since when its first sample counts; 0 if it does not say.
        resets: int64: how often the counter began again within it.
        reset_sum: float64: what it had reached before, summed up.
        total: float64: the sum of its values.
        least: float64.
        most: float64.
        whole: bool: its values are whole numbers.
    """

    series: NDArray[np.int64]
    key: NDArray[np.int64]
    size: NDArray[np.int64]
    first_time: NDArray[np.int64]
    last_time: NDArray[np.int64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    start: NDArray[np.int64]
    resets: NDArray[np.int64]
    reset_sum: NDArray[np.float64]
    total: NDArray[np.float64]
    least: NDArray[np.float64]
    most: NDArray[np.float64]
    whole: NDArray[np.bool_]

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Runs:
        """Some of them, or all in another order."""
        return Runs._make(each[chosen] for each in self)


def bucket_runs(buckets: pa.Table, series: NDArray[np.int64]) -> Runs | None:
    """The runs of buckets: one or two each; None if not all is known of one.

    Args:
        buckets: `BUCKET_COLUMNS`.
        series: int64: that of each.
    """
    told = read_exact(buckets["exact"])
    if not told.known.all():
        return None
    key = milliseconds(buckets["timestamp"])
    first_time, last_time = (milliseconds(buckets[f"{one}_timestamp"]) for one in ("first", "last"))
    names = ("value_sum", "value_min", "value_max", "value_first", "value_last")
    total, least, most, first, last = (numbers(buckets[one], np.float64, np.nan) for one in names)
    count = numbers(buckets["point_count"], np.int64)
    on_edge, apart = first_time == key, told.next_time > 0
    none, nothing = np.zeros(len(key), dtype=np.int64), np.zeros(len(key))
    alone = Runs(
        *(series, key, none + 1, first_time, first_time, first, first, told.first_start),
        *(none, nothing, first, first, first, told.whole),
    ).where(on_edge)
    with np.errstate(invalid="ignore"):
        others = Runs(
            series,
            key + 1,
            count - apart,
            np.where(apart, told.next_time // _NS_PER_MS, first_time),
            last_time,
            np.where(apart, told.next_value, first),
            last,
            np.where(apart, told.next_start, told.first_start),
            told.resets,
            told.reset_sum,
            np.where(apart, total - first, total),
            np.where(apart, told.next_min, least),
            np.where(apart, told.next_max, most),
            told.whole,
        ).where(~on_edge | apart)
    return Runs._make(np.concatenate(both) for both in zip(alone, others, strict=True))


def sample_runs(points: pa.Table, series: NDArray[np.int64]) -> Runs:
    """The runs of points: one each; markers of the end and points without a value are left out."""
    flags, value = numbers(points["flags"], np.int64), numbers(points["value"], np.float64, np.nan)
    valid = np.concatenate([np.zeros(0, bool), *map(np.asarray, points["value"].is_valid().chunks)])
    kept = np.flatnonzero(((flags & 1) == 0) & valid)
    time, value = milliseconds(points["timestamp"])[kept], value[kept]
    start = points["start_timestamp"].cast("int64")
    none, ones = np.zeros(len(kept), dtype=np.int64), np.ones(len(kept), dtype=np.int64)
    return Runs(
        *(series[kept], time, ones, time, time, value, value, numbers(start, np.int64)[kept]),
        *(none, np.zeros(len(kept)), value, value, value, value == np.trunc(value)),
    )


class Summed(NamedTuple):
    """Runs in order of series and time.

    Attributes:
        samples: Each run as a sample: where it stands, and its last value.
        runs: All that is known of them.
        again: bool: the counter began again between the run before, of that series, and this one.
        lost: float64: what it had reached before.
        whole: All values are whole numbers, and all sums of them exact.
    """

    samples: Samples
    runs: Runs
    again: NDArray[np.bool_]
    lost: NDArray[np.float64]
    whole: bool

    @classmethod
    def of(cls, parts: Sequence[Runs], labels: Labels, delta: NDArray[np.bool_]) -> Summed | None:
        """All runs of some series; None if two of one series have a moment in common."""
        runs = Runs._make(np.concatenate(each) for each in zip(*parts, strict=True))
        runs = runs.where(np.lexsort((runs.key, runs.series)))
        follows = np.zeros(len(runs.key), dtype=bool)
        follows[1:] = runs.series[1:] == runs.series[:-1]
        if (follows[1:] & (runs.first_time[1:] <= runs.last_time[:-1])).any():
            return None
        before = np.roll(runs.last, 1)
        again = follows & began_again(before, runs.first, np.roll(runs.last_time, 1), runs.start)
        reach = np.fmax(np.abs(runs.least), np.abs(runs.most)) * runs.size
        counts = np.bincount(runs.series, minlength=len(labels))
        rows = len(runs.key)
        samples = Samples(
            labels,
            np.zeros(len(labels), dtype=bool),
            np.concatenate([[0], np.cumsum(counts)]),
            runs.key,
            runs.last,
            constant(NO_HISTOGRAM, rows, np.int64),
            constant(0, rows, bool),
            constant(0, rows, np.int64),
            Histograms.empty(),
            delta,
        )
        whole = bool(runs.whole.all()) and float(reach.sum()) < _WHOLE_BELOW
        return cls(samples, runs, again, np.where(again, before, 0.0), whole)

    def answer(
        self, name: str, ends: NDArray[np.int64], length_ms: int, notes: Notes
    ) -> Vector | None:
        """What a function of `SUMMED` gives for ranges; None where only the samples can tell.

        Args:
            name: The function.
            ends: int64, milliseconds: where each range ends.
            length_ms: How long they are.
            notes: Where it is said what is odd.
        """
        windows = Windows.over(self.samples, ends, length_ms)
        runs, filled = self.runs, windows.lengths > 0
        if name in ("rate", "increase", "delta"):
            return self._grown(windows, notes, name)
        if name in ("first_over_time", "last_over_time"):
            value = _at(runs.first, windows.lo, filled)
            if name == "last_over_time":
                value = _at(runs.last, windows.hi - 1, filled)
            return Vector(self.samples.labels, self.samples.dropped, filled, value)
        if name in ("sum_over_time", "avg_over_time") and not self.whole:
            return None
        return windows.vector(filled, _OF_RUNS[name](self, windows)).drop_names()

    def counted(self, windows: Windows) -> NDArray[np.int64]:
        """int64, series by steps: how many samples."""
        before = np.concatenate([[0], np.cumsum(self.runs.size)])
        result: NDArray[np.int64] = before[windows.hi] - before[windows.lo]
        return result

    def resets(self, windows: Windows) -> NDArray[np.int64]:
        """int64, series by steps: how often the counter began again."""
        inside = np.concatenate([[0], np.cumsum(self.runs.resets)])
        between = np.concatenate([[0], np.cumsum(self.again)])
        second = np.minimum(windows.lo + 1, windows.hi)
        result: NDArray[np.int64] = (
            inside[windows.hi] - inside[windows.lo] + between[windows.hi] - between[second]
        )
        return result

    def _grown(self, windows: Windows, notes: Notes, name: str) -> Vector | None:
        runs, delta, counter = self.runs, self.samples.delta, name != "delta"
        again = self.resets(windows)
        if not self.whole and (delta.any() or (counter and (again > _ANY_ORDER).any())):
            return None
        count, filled = self.counted(windows), windows.lengths > 0
        plain = count > np.where(delta[:, None], 0, 1)
        first, last = windows.lo, windows.hi - 1
        grown = Growth(
            _at(runs.first_time, first, filled),
            _at(runs.last_time, last, filled),
            _at(runs.first, first, filled),
            _at(runs.last, last, filled),
            count,
            windows.ends,
            windows.length_ms,
        )
        lost = None
        if counter and (again > 0).any():
            second = np.minimum(windows.lo + 1, windows.hi)
            lost = run_sums(runs.reset_sum, windows.lo, windows.hi)
            lost = lost + run_sums(self.lost, second, windows.hi)
        value = grown.extrapolated(lost, counter=counter)
        if delta.any():
            added = run_sums(runs.total, windows.lo, windows.hi)
            value = np.where(delta[:, None], added, value)
        value = np.where(plain, value, 0.0) / (windows.length_ms / 1000 if name == "rate" else 1.0)
        if counter and plain.any():
            note_counters(self.samples, by_series(plain), notes)
        return windows.vector(plain, value).drop_names()


def _at(values: NDArray[Any], places: NDArray[np.int64], filled: NDArray[np.bool_]) -> NDArray[Any]:
    """The values at some places; 0 where nothing is."""
    if not len(values):
        return np.zeros(places.shape, dtype=values.dtype)
    result: NDArray[Any] = np.where(filled, values[np.where(filled, places, 0)], 0)
    return result


def _moments(
    times: NDArray[np.int64], at: NDArray[np.int64], windows: Windows
) -> NDArray[np.float64]:
    result: NDArray[np.float64] = _at(times, at, windows.lengths > 0) / 1000
    return result


_OF_RUNS: dict[str, Callable[[Summed, Windows], NDArray[np.float64]]] = {
    "avg_over_time": lambda one, windows: (
        run_sums(one.runs.total, windows.lo, windows.hi) / np.maximum(one.counted(windows), 1)
    ),
    "count_over_time": lambda one, windows: one.counted(windows).astype(np.float64),
    "max_over_time": lambda one, windows: run_reduce(
        np.fmax, one.runs.most, windows.lo, windows.hi
    ),
    "min_over_time": lambda one, windows: run_reduce(
        np.fmin, one.runs.least, windows.lo, windows.hi
    ),
    "present_over_time": lambda _, windows: np.ones(windows.lo.shape),
    "resets": lambda one, windows: one.resets(windows).astype(np.float64),
    "sum_over_time": lambda one, windows: run_sums(one.runs.total, windows.lo, windows.hi),
    "ts_of_first_over_time": lambda one, windows: _moments(
        one.runs.first_time, windows.lo, windows
    ),
    "ts_of_last_over_time": lambda one, windows: _moments(
        one.runs.last_time, windows.hi - 1, windows
    ),
}


def read_sums(streams: Streams, measured: Mapping[str, pa.Table]) -> Summed | None:
    """What was read of tiers and of points, brought together; None where these cannot answer.

    Args:
        streams: Those of all of it.
        measured: By table, `BUCKET_COLUMNS` or columns of points.
    """
    if [one.kind for one in streams.selected] != ["value"] or not streams.lasting:
        return None
    rows, labels = streams.selected[0].rows, streams.selected[0].labels
    if len(labels.groups()[1]) < len(labels):
        return None  # several series have these labels: which of their points counts?
    place = np.full(len(streams.ids), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    parts: list[Runs] = []
    for table, columns in measured.items():
        points = Points.of(columns, streams.ids)
        points = points.where(place[points.stream] >= 0)
        series = np.repeat(place[points.stream], points.lengths)
        make = bucket_runs if table == "metrics_rollup" else sample_runs
        runs = make(points.table, series)
        if runs is None:
            return None
        parts.append(runs)
    return Summed.of(parts, labels, streams.delta[rows])

"""What expressions evaluate to: samples of many series, as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lakerunner.compute.turns import refuse_stopped
from lakerunner.errors import QueryExecutionError
from lakerunner.query.promql.histograms import Hint, Histograms, concat
from lakerunner.query.promql.labels import NAME, Labels
from lakerunner.schema.arrays import expand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

NO_HISTOGRAM = -1


def constant(value: float, size: int, dtype: type) -> NDArray[Any]:
    """An array of the same number everywhere, which takes no memory; to be read only."""
    return np.broadcast_to(np.array(value, dtype=dtype), (size,))


def picked(array: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Elements of an array by number; those of a constant one are not looked at."""
    if array.strides == (0,) and len(array):
        return np.broadcast_to(array[0], rows.shape)
    return array[rows]


class Samples(NamedTuple):
    """The samples of a selector: those of a series in order of time, series after series.

    Attributes:
        labels: Of each series.
        dropped: bool, one a series: its name is dropped from the result; see `Vector`.
        offsets: int64, one more than series: where the samples of each begin.
        time: int64, milliseconds since the epoch, ascending within a series.
        value: float64; means nothing where there is a histogram.
        histogram: int64: number of the histogram, or `NO_HISTOGRAM`.
        stale: bool: a marker that the series ends here, which is no sample.
        start: int64: when the count began, in milliseconds; 0 where it is not known.
        histograms: All histograms.
        delta: bool, one a series: a sample is what was added since the one before.
    """

    labels: Labels
    dropped: NDArray[np.bool_]
    offsets: NDArray[np.int64]
    time: NDArray[np.int64]
    value: NDArray[np.float64]
    histogram: NDArray[np.int64]
    stale: NDArray[np.bool_]
    start: NDArray[np.int64]
    histograms: Histograms
    delta: NDArray[np.bool_]

    @classmethod
    def empty(cls) -> Samples:
        """No series."""
        ints = np.zeros(0, dtype=np.int64)
        bools = np.zeros(0, dtype=bool)
        offsets = np.zeros(1, dtype=np.int64)
        empty = Histograms.empty()
        return cls(Labels(0), bools, offsets, ints, np.zeros(0), ints, bools, ints, empty, bools)

    @property
    def series(self) -> NDArray[np.int64]:
        """The series of each sample."""
        return np.repeat(np.arange(len(self.labels)), np.diff(self.offsets))

    def without_stale(self) -> Samples:
        """The same without markers of the end."""
        return self.where(~self.stale) if self.stale.any() else self

    def where(self, kept: NDArray[np.bool_]) -> Samples:
        """Some of the samples; series that have none left stay."""
        rows = np.flatnonzero(kept)
        return self._replace(
            offsets=np.searchsorted(rows, self.offsets),
            time=self.time[rows],
            value=self.value[rows],
            histogram=picked(self.histogram, rows),
            stale=picked(self.stale, rows),
            start=picked(self.start, rows),
        )


class Vector(NamedTuple):
    """At most one sample for each series at each step.

    Attributes:
        labels: Of each series. Two series may have equal labels if no step has both.
        dropped: bool, one a series: its name is dropped from the result, though the expression may
            still see it (Prometheus' delayed removal of names).
        present: bool, series by steps.
        value: float64, series by steps; means nothing where nothing is present.
        histogram: int64, series by steps: number of the histogram or `NO_HISTOGRAM`; None where all
            samples are numbers.
        histograms: All histograms.
        ordered: The order of the series is part of the answer, as after `sort`.
    """

    labels: Labels
    dropped: NDArray[np.bool_]
    present: NDArray[np.bool_]
    value: NDArray[np.float64]
    histogram: NDArray[np.int64] | None = None
    histograms: Histograms = Histograms.empty()
    ordered: bool = False

    @classmethod
    def of(cls, labels: Labels, present: NDArray[np.bool_], value: NDArray[np.float64]) -> Vector:
        """Numbers of series that keep their names."""
        return cls(labels, np.zeros(len(labels), dtype=bool), present, value)

    @property
    def is_histogram(self) -> NDArray[np.bool_]:
        """Which samples are histograms."""
        if self.histogram is None:
            return np.zeros(self.present.shape, dtype=bool)
        result: NDArray[np.bool_] = self.present & (self.histogram != NO_HISTOGRAM)
        return result

    @property
    def is_float(self) -> NDArray[np.bool_]:
        """Which samples are numbers."""
        if self.histogram is None:
            return self.present
        result: NDArray[np.bool_] = self.present & (self.histogram == NO_HISTOGRAM)
        return result

    def take(self, rows: NDArray[np.int64]) -> Vector:
        """Other series, by number."""
        return self._replace(
            labels=self.labels.take(rows),
            dropped=self.dropped[rows],
            present=self.present[rows],
            value=self.value[rows],
            histogram=None if self.histogram is None else self.histogram[rows],
        )

    def floats(self) -> Vector:
        """Only samples that are numbers."""
        return self._replace(present=self.is_float, histogram=None, histograms=Histograms.empty())

    def compact(self) -> Vector:
        """Only series that have a sample."""
        some = by_series(self.present)
        return self if some.all() else self.take(np.flatnonzero(some))

    def drop_names(self) -> Vector:
        """The same, whose names are dropped from the result."""
        return self._replace(dropped=np.ones(len(self.labels), dtype=bool))

    def without_dropped(self) -> Vector:
        """The same, with the names that are dropped really gone."""
        labels = self.labels.blank(NAME, self.dropped)
        return self._replace(labels=labels, dropped=np.zeros(len(labels), dtype=bool))

    def concat(self, other: Vector) -> Vector:
        """The series of both, these first."""
        histogram, histograms = None, self.histograms
        if self.histogram is not None or other.histogram is not None:
            shift = self.histograms.size
            mine = _numbers(self)
            its = _numbers(other)
            histogram = np.concatenate([mine, np.where(its == NO_HISTOGRAM, its, its + shift)])
            histograms = concat([self.histograms, other.histograms])
        return Vector(
            self.labels.concat(other.labels),
            np.concatenate([self.dropped, other.dropped]),
            np.concatenate([self.present, other.present]),
            np.concatenate([self.value, other.value]),
            histogram,
            histograms,
        )

    def merged(self) -> tuple[Vector, int]:
        """Series with equal labels made one.

        Returns:
            The series, and a series of which two of equal labels have a sample at one step; -1 if
            there is none. In that case the series are as they were.
        """
        group, first = self.labels.groups()
        if len(first) == len(self.labels):
            return self, -1
        order = np.argsort(group, kind="stable")
        starts = np.searchsorted(group[order], np.arange(len(first)))
        count = np.add.reduceat(self.present[order].astype(np.int32), starts, axis=0)
        if (count > 1).any():
            return self, int(first[np.flatnonzero(by_series(count > 1))[0]])
        number = np.where(self.present, np.arange(1, len(self.labels) + 1)[:, None], 0)[order]
        chosen = np.maximum.reduceat(number, starts, axis=0) - 1
        present = chosen >= 0
        steps = np.arange(self.present.shape[1])[None, :]
        rows = np.where(present, chosen, 0)
        dropped = np.logical_or.reduceat(self.dropped[order], starts)
        merged = self._replace(
            labels=self.labels.take(first),
            dropped=dropped,
            present=present,
            value=self.value[rows, steps],
            histogram=None if self.histogram is None else self.histogram[rows, steps],
        )
        return merged, -1

    def unique(self) -> Vector:
        """Series with equal labels made one.

        Raises:
            QueryExecutionError: Two of them have a sample at one step.
        """
        merged, clash = self.merged()
        if clash >= 0:
            raise QueryExecutionError("vector cannot contain metrics with the same labelset")
        return merged

    def samples(self, times: NDArray[np.int64]) -> Samples:
        """The samples as those of a range, at the times of the steps."""
        counts = self.present.sum(axis=1)
        number = _numbers(self)[self.present]
        # What a histogram knows of a reset is about the sample before it, which may not be here.
        hint = self.histograms.hint
        unknown = np.where(hint == Hint.GAUGE, hint, int(Hint.UNKNOWN))
        total = int(counts.sum())
        return Samples(
            self.labels,
            self.dropped,
            np.concatenate([[0], np.cumsum(counts)]),
            np.broadcast_to(times[None, :], self.present.shape)[self.present],
            self.value[self.present],
            number,
            np.zeros(total, dtype=bool),
            np.zeros(total, dtype=np.int64),
            self.histograms._replace(hint=unknown),
            np.zeros(len(self.labels), dtype=bool),
        )


def _numbers(vector: Vector) -> NDArray[np.int64]:
    if vector.histogram is None:
        return np.full(vector.present.shape, NO_HISTOGRAM, dtype=np.int64)
    return vector.histogram


def by_series(matrix: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which series have it at any step."""
    result: NDArray[np.bool_] = np.logical_or.reduce(matrix, axis=1)
    return result


def by_step(matrix: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which steps have it in any series."""
    result: NDArray[np.bool_] = np.logical_or.reduce(matrix, axis=0)
    return result


# Which samples each step sees: the last one for an instant, a run of them for a range.

_KEY_BITS = 62
_CHUNK = 1 << 20
"""What is looked up or laid out at once; between two of them a query can be stopped."""


def positions(samples: Samples, times: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each series and time, the place behind its last sample at or before that time.

    Args:
        samples: Of all series.
        times: Milliseconds since the epoch, ascending.

    Returns:
        int64, series by times: places in `samples.time`.
    """
    series = len(samples.labels)
    if not len(samples.time) or not len(times):
        return np.broadcast_to(samples.offsets[:-1, None], (series, len(times)))
    if len(samples.time) == series and (np.diff(samples.offsets) == 1).all():
        # One sample each, as where only the last one was read.
        return samples.offsets[:-1, None] + (samples.time[:, None] <= times[None, :])
    base = int(samples.time.min())
    span = int(samples.time.max()) - base + 1
    bits = span.bit_length() + 1
    offsets = np.clip(times - base, -1, span) + 1
    found = np.empty((series, len(times)), dtype=np.int64)
    block = max(1, (1 << (_KEY_BITS - bits)) - 1) if bits < _KEY_BITS else 1
    block = min(block, max(1, _CHUNK // len(times)))
    for first in range(0, series, block):
        refuse_stopped()
        last = min(series, first + block)
        begin, end = samples.offsets[first], samples.offsets[last]
        within = samples.series[begin:end] - first if first else samples.series[begin:end]
        keys = (within << bits) | (samples.time[begin:end] - base + 1)
        grid = (np.arange(last - first, dtype=np.int64) << bits)[:, None] | offsets[None, :]
        found[first:last] = np.searchsorted(keys, grid.ravel(), side="right").reshape(grid.shape)
        found[first:last] += begin
    return found


def instant(samples: Samples, times: NDArray[np.int64], lookback_ms: int) -> NDArray[np.int64]:
    """The sample that each step sees: the last one of `(t - lookback, t]`; -1 for none."""
    distinct, back = np.unique(times, return_inverse=True)
    at = positions(samples, distinct) - 1
    found = at >= samples.offsets[:-1, None]
    at = np.where(found, at, 0)
    if len(samples.time):
        found &= samples.time[at] > (distinct - lookback_ms)[None, :]
        found &= ~samples.stale[at]
    result: NDArray[np.int64] = np.where(found, at, -1)
    return result if len(distinct) == len(times) else result[:, back]


class Windows(NamedTuple):
    """The samples of a range at each step.

    Attributes:
        samples: All samples; none is a marker of the end.
        lo: int64, series by steps: where the run of a step begins.
        hi: Where it ends.
        ends: int64: the last moment of each step's range, in milliseconds.
        length_ms: How long the range is.
    """

    samples: Samples
    lo: NDArray[np.int64]
    hi: NDArray[np.int64]
    ends: NDArray[np.int64]
    length_ms: int

    @classmethod
    def over(cls, samples: Samples, ends: NDArray[np.int64], length_ms: int) -> Windows:
        """The runs of `(end - length, end]`."""
        kept = samples.without_stale()
        edges, back = np.unique(np.concatenate([ends - length_ms, ends]), return_inverse=True)
        found = positions(kept, edges)
        return cls(kept, found[:, back[: len(ends)]], found[:, back[len(ends) :]], ends, length_ms)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64, series by steps: how many samples."""
        return self.hi - self.lo

    def histogram_count(self) -> NDArray[np.int64]:
        """int64, series by steps: how many of the samples are histograms."""
        if not self.samples.histograms.size:
            return np.zeros(self.lo.shape, dtype=np.int64)
        before = np.concatenate([[0], np.cumsum(self.samples.histogram != NO_HISTOGRAM)])
        result: NDArray[np.int64] = before[self.hi] - before[self.lo]
        return result

    def floats(self) -> Windows:
        """The same without histograms."""
        samples = self.samples
        kept = samples.histogram == NO_HISTOGRAM
        if kept.all():
            return self
        before = np.concatenate([[0], np.cumsum(kept)])
        only = samples._replace(
            offsets=before[samples.offsets],
            time=samples.time[kept],
            value=samples.value[kept],
            histogram=samples.histogram[kept],
            stale=samples.stale[kept],
            start=samples.start[kept],
        )
        return self._replace(samples=only, lo=before[self.lo], hi=before[self.hi])

    def first(self) -> NDArray[np.int64]:
        """The first sample of each run; 0 where there is none."""
        return np.where(self.hi > self.lo, self.lo, 0)

    def last(self) -> NDArray[np.int64]:
        """The last sample of each run; 0 where there is none."""
        return np.where(self.hi > self.lo, self.hi - 1, 0)

    def vector(self, present: NDArray[np.bool_], value: NDArray[np.float64]) -> Vector:
        """A vector of numbers, one for each run."""
        return Vector(self.samples.labels, self.samples.dropped, present, value)

    def chunks(self) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.int64]]]:
        """The runs laid out one after the other, some at a time so that memory is bounded.

        Yields:
            Which runs (of the flattened matrix), the places of their samples, and their lengths.
        """
        lo = self.lo.ravel()
        lengths = self.lengths.ravel()
        ends = np.cumsum(lengths)
        begin = 0
        while begin < len(lo):
            base = ends[begin] - lengths[begin]
            stop = max(begin + 1, int(np.searchsorted(ends, base + _CHUNK, side="right")))
            part = slice(begin, stop)
            refuse_stopped()  # so much at once may take seconds
            yield part, expand(lo[part], lengths[part]), lengths[part]
            begin = stop


def pick(samples: Samples, at: NDArray[np.int64]) -> Vector:
    """The vector of chosen samples: series by steps, -1 for none."""
    present = at >= 0
    if not len(samples.time):
        return Vector(samples.labels, samples.dropped, present, np.zeros(at.shape))
    chosen = np.where(present, at, 0)
    histogram = None
    if samples.histograms.size:
        histogram = np.where(present, samples.histogram[chosen], NO_HISTOGRAM)
        if (histogram == NO_HISTOGRAM).all():
            histogram = None
    return Vector(
        samples.labels,
        samples.dropped,
        present,
        samples.value[chosen],
        histogram,
        samples.histograms,
    )

"""What expressions evaluate to: samples of many series, as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lakerunner.errors import QueryExecutionError
from lakerunner.query.promql.histograms import Hint, Histograms, concat
from lakerunner.query.promql.labels import NAME, Labels

if TYPE_CHECKING:
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

"""Selectors that look beyond their range: `anchored` and `smoothed`, as Prometheus documents them.

An anchored range begins with the last sample at or before it, as far as the lookback reaches, and
with its own first one where there is none; it ends with its own last one. A smoothed range begins
and ends with values between the samples before and after its ends. Nothing is extrapolated. Of a
smoothed instant the value lies between the samples before and after it; where none comes after, it
is that of the last one. Markers of the end are passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lakerunner.errors import QueryExecutionError
from lakerunner.query.promql.rates import float_resets
from lakerunner.query.promql.series import NO_HISTOGRAM, Samples, Vector
from lakerunner.query.promql.sums import run_sums
from lakerunner.query.promql.windows import Windows, positions

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Extended(NamedTuple):
    """The samples that an extended range is made of, at each step.

    Attributes:
        samples: All samples, without markers of the end.
        present: bool, series by steps: whether there is anything to tell.
        first: int64, series by steps: the sample at or before the beginning, or the first one.
        last: The sample at or behind the end if the range is smoothed, or the last one.
        within: Where the samples of the range itself begin …
        behind: … and where they end.
        ends: int64: the last moment of each step's range, in milliseconds.
        length_ms: How long the range is.
        smoothed: Whether values are taken between samples at both ends.
    """

    samples: Samples
    present: NDArray[np.bool_]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    within: NDArray[np.int64]
    behind: NDArray[np.int64]
    ends: NDArray[np.int64]
    length_ms: int
    smoothed: bool

    @classmethod
    def over(
        cls,
        samples: Samples,
        ends: NDArray[np.int64],
        length_ms: int,
        lookback_ms: int,
        *,
        smoothed: bool,
    ) -> Extended:
        """The ranges `(end - length, end]`, and what is looked at beside them.

        Raises:
            QueryExecutionError: There are native histograms, of which this is not defined; or, for
                a smoothed range, samples of delta temporality.
        """
        kept = _numbers(samples)
        if smoothed and kept.delta.any():
            raise QueryExecutionError(
                "smoothed ranges of delta temporality are not defined: leave the modifier out"
            )
        starts = ends - length_ms
        bounds = [starts - lookback_ms, starts, ends, ends + lookback_ms]
        edges, back = np.unique(np.concatenate(bounds), return_inverse=True)
        found = positions(kept, edges)
        oldest, within, behind, newest = (found[:, part] for part in np.split(back, len(bounds)))
        first = np.where(within > oldest, within - 1, within)
        last = behind - 1
        if smoothed:
            exact = _time(kept, last) == ends[None, :]
            last = np.where(exact | (behind >= newest), last, behind)
        begun = behind > (oldest if smoothed else within)
        present = begun & (last >= within)
        first, last = np.where(present, first, 0), np.where(present, last, 0)
        return cls(kept, present, first, last, within, behind, ends, length_ms, smoothed)

    def windows(self) -> Windows:
        """The samples as those of a plain range, for functions that count what happens in it."""
        behind = np.where(self.present, self.last + 1, self.first)
        return Windows(self.samples, self.first, behind, self.ends, self.length_ms)

    def grown(self, *, counter: bool, per_second: bool) -> Vector:
        """`rate` (counter, per second), `increase` (counter) and `delta` (neither)."""
        samples, first, last = self.samples, self.first, self.last
        value = samples.value
        if not len(value):
            return self._vector(np.zeros(first.shape))
        with np.errstate(invalid="ignore", over="ignore"):
            rise = value - np.roll(value, 1)
            grown = value[last] - value[first]
            if counter:
                lost = np.where(float_resets(samples), np.roll(value, 1), 0.0)
                rise = rise + lost
                if lost.any():
                    grown = grown + run_sums(lost, first + 1, last + 1)
            if self.smoothed:
                grown = grown - self._outside(rise)
        if samples.delta.any():
            added = run_sums(value, self.within, self.behind)
            grown = np.where(samples.delta[:, None], added, grown)
        return self._vector(grown / (self.length_ms / 1000 if per_second else 1.0))

    def _outside(self, rise: NDArray[np.float64]) -> NDArray[np.float64]:
        """What of the growth from the first to the last sample lies before and behind the range."""
        starts = self.ends - self.length_ms
        after = np.minimum(self.first + 1, len(rise) - 1)
        before = np.maximum(self.last - 1, 0)
        early = _share(self.samples, self.first, after, starts)
        late = 1 - _share(self.samples, before, self.last, self.ends)
        several = self.last > self.first
        result: NDArray[np.float64] = np.where(several & (early > 0), early * rise[after], 0.0)
        return result + np.where(several & (late > 0), late * rise[self.last], 0.0)

    def _vector(self, value: NDArray[np.float64]) -> Vector:
        return Vector(self.samples.labels, self.samples.dropped, self.present, value).drop_names()


def smoothed_instant(samples: Samples, times: NDArray[np.int64], lookback_ms: int) -> Vector:
    """The value of each series at each time, between the samples before and after it.

    Raises:
        QueryExecutionError: There are native histograms, of which this is not defined.
    """
    kept = _numbers(samples)
    edges, back = np.unique(
        np.concatenate([times - lookback_ms, times, times + lookback_ms]), return_inverse=True
    )
    found = positions(kept, edges)
    oldest, behind, newest = (found[:, part] for part in np.split(back, 3))
    present = behind > oldest
    before = np.where(present, behind - 1, 0)
    after = np.where(present & (behind < newest), behind, before)
    value = kept.value
    if not len(value):
        return Vector(kept.labels, kept.dropped, present, np.zeros(present.shape))
    with np.errstate(invalid="ignore", over="ignore"):
        share = _share(kept, before, after, times)
        between = value[before] + np.where(share > 0, (value[after] - value[before]) * share, 0.0)
    return Vector(kept.labels, kept.dropped, present, between)


def _numbers(samples: Samples) -> Samples:
    kept = samples.without_stale()
    if (kept.histogram != NO_HISTOGRAM).any():
        raise QueryExecutionError(
            "anchored and smoothed selectors of native histograms are not defined: leave the "
            "modifier out"
        )
    return kept


def _time(samples: Samples, at: NDArray[np.int64]) -> NDArray[np.int64]:
    if not len(samples.time):
        return np.zeros(at.shape, dtype=np.int64)
    return samples.time[np.clip(at, 0, len(samples.time) - 1)]


def _share(
    samples: Samples, before: NDArray[np.int64], after: NDArray[np.int64], at: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How far a time is on the way from one sample to another, from 0 to 1."""
    begin, end = _time(samples, before), _time(samples, after)
    result: NDArray[np.float64] = (at[None, :] - begin) / np.maximum(end - begin, 1)
    return np.clip(result, 0.0, 1.0)

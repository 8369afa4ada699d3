"""Which samples each step sees: the last one for an instant, a run of them for a range."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lakerunner.compute.turns import refuse_stopped
from lakerunner.query.promql.series import NO_HISTOGRAM, Samples, Vector
from lakerunner.schema.arrays import expand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_KEY_BITS = 62
_CHUNK = 1 << 22


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
    base = int(samples.time.min())
    span = int(samples.time.max()) - base + 1
    bits = span.bit_length() + 1
    offsets = np.clip(times - base, -1, span) + 1
    found = np.empty((series, len(times)), dtype=np.int64)
    block = max(1, (1 << (_KEY_BITS - bits)) - 1) if bits < _KEY_BITS else 1
    for first in range(0, series, block):
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

"""Functions of range vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lakerunner.errors import QueryExecutionError
from lakerunner.query.promql import over_time, rates
from lakerunner.query.promql.calls import absence
from lakerunner.query.promql.combining import combine
from lakerunner.query.promql.instants import check_quantiles
from lakerunner.query.promql.over_time import run_sums
from lakerunner.query.promql.rates import float_resets, with_histograms
from lakerunner.query.promql.series import (
    NO_HISTOGRAM,
    Samples,
    Vector,
    Windows,
    by_series,
    by_step,
    pick,
    positions,
)
from lakerunner.schema.arrays import expand

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lakerunner.query.promql.calls import FunctionCall
    from lakerunner.query.promql.evaluate import Evaluator, Value
    from lakerunner.query.promql.syntax import Call, Node


def _rate(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    counter, per_second = node.name != "delta", node.name == "rate"
    extended = run.extended(node.args[0], times)
    if extended is not None:
        return extended.grown(counter=counter, per_second=per_second)
    windows = run.windows(node.args[0], times)
    notes = run.notes_at(node.args[0])
    return rates.extrapolated(windows, notes, counter=counter, per_second=per_second)


def _last_change(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    windows = run.windows(node.args[0], times)
    notes = run.notes_at(node.args[0])
    return rates.last_change(windows, notes, counter=node.name == "irate")


def _counted(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    """Functions of all samples, numbers and histograms alike."""
    extended = run.extended(node.args[0], times)
    windows = run.windows(node.args[0], times) if extended is None else extended.windows()
    value = _OF_ALL[node.name](windows)
    return windows.vector(windows.lengths > 0, value).drop_names()


def _absent_over_time(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    windows = run.windows(node.args[0], times)
    return absence(node.args[0], ~by_step(windows.lengths > 0))


def _one_sample(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    windows = run.windows(node.args[0], times)
    at = windows.first() if node.name == "first_over_time" else windows.last()
    return pick(windows.samples, np.where(windows.lengths > 0, at, -1))


def _summed(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Vector:
    average = node.name == "avg_over_time"
    windows = run.windows(node.args[0], times)
    count, native = windows.lengths, windows.histogram_count()
    notes = run.notes_at(node.args[0])
    mixed = (native > 0) & (native < count)
    notes.for_series(windows.samples, by_series(mixed), "mixed_floats_histograms")
    value = over_time.mean(windows) if average else over_time.total(windows)
    vector = windows.vector((count > 0) & (native == 0), value).drop_names()
    wanted = (native > 0) & (native == count)
    if not wanted.any():
        return vector
    row, step = np.nonzero(wanted)
    lengths = count[row, step]
    members = expand(windows.lo[row, step], lengths)
    group = np.repeat(np.arange(len(row)), lengths)
    number = windows.samples.histogram[members]
    combined = combine(windows.samples.histograms.take(number), group, len(row))
    clash = np.zeros(len(windows.samples.labels), dtype=bool)
    clash[row[combined.mixed]] = True
    notes.for_series(windows.samples, clash, "mixed_exponential_custom")
    if (combined.reconciled & ~combined.mixed).any():
        run.annotations.mismatched_bounds("aggregation", node.args[0].place)
    made = combined.histograms
    if average:
        made = made.divide(lengths.astype(np.float64))
    good = ~combined.mixed
    found = np.zeros(wanted.shape, dtype=bool)
    found[row[good], step[good]] = True
    return with_histograms(vector, found, made.take(np.flatnonzero(good)))


def _float_windows(run: Evaluator, node: Node, times: NDArray[np.int64]) -> Windows:
    """The numbers of a range; says if there are histograms beside them."""
    windows = run.windows(node, times)
    native = windows.histogram_count()
    mixed = (native > 0) & (native < windows.lengths)
    run.notes_at(node).for_series(windows.samples, by_series(mixed), "ignored_in_range")
    return windows.floats()


def _quantile_over_time(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    q = run.scalar(node.args[0], times)
    windows = _float_windows(run, node.args[1], times)
    if (windows.lengths > 0).any():
        check_quantiles(run, q, node.args[0].place)
    value = over_time.quantile(windows, q)
    return windows.vector(windows.lengths > 0, value).drop_names()


def _deriv(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    windows = _float_windows(run, node.args[0], times)
    time = windows.samples.time
    first = time[windows.first()] if len(time) else windows.lo
    slope, _ = over_time.regression(windows, first)
    return windows.vector(windows.lengths > 1, slope).drop_names()


def _predict_linear(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    windows = _float_windows(run, node.args[0], times)
    ahead = run.scalar(node.args[1], times)
    origin = np.broadcast_to(times[None, :], windows.lo.shape)
    slope, intercept = over_time.regression(windows, origin)
    with np.errstate(invalid="ignore"):
        value = slope * ahead[None, :] + intercept
    return windows.vector(windows.lengths > 1, value).drop_names()


def _double_exponential_smoothing(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    factor, trend = run.scalar(node.args[1], times), run.scalar(node.args[2], times)
    for name, given in (("smoothing", factor), ("trend", trend)):
        bad = given[(given <= 0) | (given >= 1)]
        if len(bad):
            letters = "sf" if name == "smoothing" else "tf"
            message = f"invalid {name} factor. Expected: 0 < {letters} < 1, got: {bad[0]:f}"
            raise QueryExecutionError(message)
    windows = _float_windows(run, node.args[0], times)
    value = over_time.smoothed(windows, factor, trend)
    return windows.vector(windows.lengths > 1, value).drop_names()


def _over_floats(run: Evaluator, node: Call, times: NDArray[np.int64]) -> Value:
    windows = _float_windows(run, node.args[0], times)
    return windows.vector(windows.lengths > 0, _OF_FLOATS[node.name](windows)).drop_names()


def _seconds(windows: Windows, at: NDArray[np.int64]) -> NDArray[np.float64]:
    time = windows.samples.time
    return time[at] / 1000 if len(time) else np.zeros(at.shape)


def _time_of_extreme(windows: Windows, *, smallest: bool) -> NDArray[np.float64]:
    return _seconds(windows, over_time.place_of_extreme(windows, smallest_wins=smallest))


_OF_ALL: dict[str, Callable[[Windows], NDArray[np.float64]]] = {
    "changes": rates.changes,
    "count_over_time": lambda windows: windows.lengths.astype(np.float64),
    "present_over_time": lambda windows: np.ones(windows.lo.shape),
    "resets": rates.resets,
    "ts_of_first_over_time": lambda windows: _seconds(windows, windows.first()),
    "ts_of_last_over_time": lambda windows: _seconds(windows, windows.last()),
}

_OF_FLOATS: dict[str, Callable[[Windows], NDArray[np.float64]]] = {
    "mad_over_time": over_time.median_deviation,
    "max_over_time": over_time.largest,
    "min_over_time": over_time.smallest,
    "stddev_over_time": lambda windows: np.sqrt(over_time.variance(windows)),
    "stdvar_over_time": over_time.variance,
    "ts_of_max_over_time": lambda windows: _time_of_extreme(windows, smallest=False),
    "ts_of_min_over_time": lambda windows: _time_of_extreme(windows, smallest=True),
}

RANGE_CALLS: dict[str, FunctionCall] = {
    **dict.fromkeys(("rate", "increase", "delta"), _rate),
    **dict.fromkeys(("irate", "idelta"), _last_change),
    **dict.fromkeys(_OF_ALL, _counted),
    **dict.fromkeys(_OF_FLOATS, _over_floats),
    **dict.fromkeys(("first_over_time", "last_over_time"), _one_sample),
    **dict.fromkeys(("sum_over_time", "avg_over_time"), _summed),
    "absent_over_time": _absent_over_time,
    "deriv": _deriv,
    "double_exponential_smoothing": _double_exponential_smoothing,
    "predict_linear": _predict_linear,
    "quantile_over_time": _quantile_over_time,
}
"""How each function of ranges is evaluated, by name."""


# Selectors that look beyond their range: `anchored` and `smoothed`, as Prometheus documents them.
#
# An anchored range begins with the last sample at or before it, as far as the lookback reaches, and
# with its own first one where there is none; it ends with its own last one. A smoothed range begins
# and ends with values between the samples before and after its ends. Nothing is extrapolated. Of a
# smoothed instant the value lies between the samples before and after it; where none comes after,
# it
# is that of the last one. Markers of the end are passed over.


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

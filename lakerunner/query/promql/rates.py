"""How counters grow and gauges change over a range: `rate` and its family, `resets`, `changes`.

Extrapolation to the ends of the range follows Prometheus: half the usual distance between samples
at most, and never below zero for a counter. Samples of delta temporality are what was added since
the one before; they are summed up as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lakerunner.query.promql.combining import Combined, combine, detect_resets, equal
from lakerunner.query.promql.histograms import Hint, Histograms
from lakerunner.query.promql.labels import NAME
from lakerunner.query.promql.over_time import run_sums
from lakerunner.query.promql.series import NO_HISTOGRAM, Samples, Vector, by_series
from lakerunner.schema.arrays import expand

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakerunner.query.promql.annotations import Annotations
    from lakerunner.query.promql.series import Windows
    from lakerunner.query.promql.syntax import Place

_THRESHOLD = 1.1
"""A gap of more than this many usual distances is taken for the end of the series."""


class Notes(NamedTuple):
    """Where a function says what is odd about its input.

    Attributes:
        annotations: All notes of the query.
        place: Of the argument.
    """

    annotations: Annotations
    place: Place

    def for_series(self, samples: Samples, series: NDArray[np.bool_], kind: str) -> None:
        """Note something of some series, once for each name.

        Args:
            samples: What was read.
            series: Which series.
            kind: The method of `Annotations` that says it.
        """
        if not series.any():
            return
        names = samples.labels.take(np.flatnonzero(series)).texts(NAME).fill_null("")
        for name in names.unique().to_pylist():
            getattr(self.annotations, kind)(name, self.place)


def extrapolated(windows: Windows, notes: Notes, *, counter: bool, per_second: bool) -> Vector:
    """`rate` (counter, per second), `increase` (counter) and `delta` (neither)."""
    count = windows.lengths
    histograms = windows.histogram_count()
    several = count > 1
    mixed = several & (histograms > 0) & (histograms < count)
    notes.for_series(windows.samples, by_series(mixed), "mixed_floats_histograms")
    seconds = windows.length_ms / 1000 if per_second else 1.0
    plain = several & (histograms == 0)
    delta = windows.samples.delta
    if delta.any():
        plain |= delta[:, None] & (count == 1) & (histograms == 0)
    value = _grown(windows, plain, counter=counter) / seconds
    if counter and plain.any():
        note_counters(windows.samples, by_series(plain), notes)
    native = (histograms == count) & (several | (delta[:, None] & (count > 0)))
    vector = windows.vector(plain, value).drop_names()
    if not native.any():
        return vector
    found, made = _grown_histograms(windows, native, notes, counter=counter)
    made = made.scale(np.full(made.size, 1 / seconds))
    return with_histograms(vector, found, made)


def with_histograms(vector: Vector, where: NDArray[np.bool_], made: Histograms) -> Vector:
    """Put histograms, in order of series and step, beside the numbers of a vector."""
    number = np.full(vector.present.shape, NO_HISTOGRAM, dtype=np.int64)
    number[where] = np.arange(made.size)
    return vector._replace(present=vector.present | where, histogram=number, histograms=made)


def note_counters(samples: Samples, series: NDArray[np.bool_], notes: Notes) -> None:
    """Note of some series that their names are not those of counters."""
    names = samples.labels.take(np.flatnonzero(series)).texts(NAME).fill_null("")
    for name in names.unique().to_pylist():
        if name and not name.endswith(("_total", "_sum", "_count", "_bucket")):
            notes.annotations.maybe_no_counter(name, notes.place)


class Growth(NamedTuple):
    """What is known of the samples of each range, to tell by how much they grew.

    Attributes:
        begin: int64, milliseconds, series by steps: the time of the first.
        end: int64, milliseconds: of the last.
        first: float64: the value of the first.
        last: float64.
        size: int64: how many.
        ends: int64, milliseconds, by step: where the range ends.
        length_ms: How long it is.
    """

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    size: NDArray[np.int64]
    ends: NDArray[np.int64]
    length_ms: int

    @classmethod
    def of(cls, windows: Windows) -> Growth:
        """Of the samples of ranges; there must be some."""
        samples, first, last = windows.samples, windows.first(), windows.last()
        time, value = samples.time, samples.value
        return cls(
            *(time[first], time[last], value[first], value[last]),
            *(windows.lengths, windows.ends, windows.length_ms),
        )

    def extrapolated(
        self, lost: NDArray[np.float64] | None, *, counter: bool
    ) -> NDArray[np.float64]:
        """What numbers grew by, extrapolated to the ends of the range.

        Args:
            lost: float64, series by steps: what a counter had reached before it began again; None
                for nothing.
            counter: It never falls below 0.
        """
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            grown = self.last - self.first
            if lost is not None:
                grown = grown + lost
            return grown * self.reach(grown, self.first, counter=counter)

    def reach(
        self, grown: NDArray[np.float64], first_value: NDArray[np.float64], *, counter: bool
    ) -> NDArray[np.float64]:
        """How much longer the range is, as far as it counts, than from first to last sample."""
        ends = self.ends[None, :]
        to_start = (self.begin - (ends - self.length_ms)) / 1000
        to_end = (ends - self.end) / 1000
        sampled = (self.end - self.begin) / 1000
        usual = sampled / np.maximum(self.size - 1, 1)
        far = usual * _THRESHOLD
        to_start = np.where(to_start >= far, usual / 2, to_start)
        if counter:
            until_zero = np.where(
                (grown > 0) & (first_value >= 0), sampled * (first_value / grown), to_start
            )
            to_start = np.minimum(to_start, until_zero)
        to_end = np.where(to_end >= far, usual / 2, to_end)
        result: NDArray[np.float64] = (sampled + to_start + to_end) / sampled
        return result


def _grown(windows: Windows, wanted: NDArray[np.bool_], *, counter: bool) -> NDArray[np.float64]:
    """What numbers grew by over the range."""
    samples = windows.samples
    if not len(samples.time):
        return np.zeros(windows.lo.shape)
    value, lost = samples.value, None
    if counter:
        fallen = np.where(float_resets(samples), np.roll(value, 1), 0.0)
        if fallen.any():
            lost = run_sums(fallen, np.minimum(windows.lo + 1, windows.hi), windows.hi)
    result = Growth.of(windows).extrapolated(lost, counter=counter)
    if samples.delta.any():
        added = run_sums(value, windows.lo, windows.hi)
        result = np.where(samples.delta[:, None], added, result)
    return np.where(wanted, result, 0.0)


def float_resets(samples: Samples) -> NDArray[np.bool_]:
    """Before which samples the counter began again: it fell, or says that it began since."""
    found = samples.value < np.roll(samples.value, 1)
    if samples.start.any():
        found |= _restarted(samples)
    found &= _follows(samples)
    if samples.histograms.size:
        found &= samples.histogram == NO_HISTOGRAM
        found &= np.roll(samples.histogram, 1) == NO_HISTOGRAM
    return found


def _restarted(samples: Samples) -> NDArray[np.bool_]:
    """Which samples count from a time after the sample before them."""
    return (samples.start > 0) & (samples.start > np.roll(samples.time, 1))


def _follows(samples: Samples) -> NDArray[np.bool_]:
    """Which samples have another one of their series before them."""
    follows = np.ones(len(samples.time), dtype=bool)
    starts = samples.offsets[:-1]
    follows[starts[starts < len(follows)]] = False
    return follows


def _histogram_resets(samples: Samples) -> NDArray[np.bool_]:
    """Before which histograms the counter began again."""
    both = _follows(samples) & (samples.histogram != NO_HISTOGRAM)
    both &= np.roll(samples.histogram, 1) != NO_HISTOGRAM
    at = np.flatnonzero(both)
    result = np.zeros(len(samples.time), dtype=bool)
    result[at] = detect_resets(samples.histograms, samples.histogram[at - 1], samples.histogram[at])
    result[at] |= _restarted(samples)[at]
    return result


def _grown_histograms(
    windows: Windows, wanted: NDArray[np.bool_], notes: Notes, *, counter: bool
) -> tuple[NDArray[np.bool_], Histograms]:
    """What histograms grew by over the range, extrapolated."""
    samples = windows.samples
    number, hints = samples.histogram, samples.histograms.hint
    row, step = np.nonzero(wanted)
    lo, hi = windows.lo[row, step], windows.hi[row, step]
    delta = samples.delta[row]
    gauge = np.concatenate([[0], np.cumsum(_hint_of(samples) == Hint.GAUGE)])
    gauges = gauge[hi] - gauge[lo]
    ends_gauge = (hints[number[lo]] == Hint.GAUGE) & (hints[number[hi - 1]] == Hint.GAUGE)
    if counter:
        _note_rows(windows, row[(gauges > 0) & ~delta], notes, "not_a_counter")
    else:
        _note_rows(windows, row[~ends_gauge], notes, "not_a_gauge")

    members, group, sign = _terms(windows, lo, hi, delta, counter=counter)
    custom = np.concatenate([[0], np.cumsum(_custom(samples))])
    customs = custom[hi] - custom[lo]
    layouts = (customs > 0) & (customs < hi - lo)
    picked = samples.histograms.take(number[members])
    combined = combine(picked, group, len(row), sign)
    bad = combined.mixed | (layouts & ~delta)
    _note_rows(windows, row[bad], notes, "mixed_exponential_custom")
    if (combined.reconciled & ~bad).any():
        notes.annotations.mismatched_bounds("subtraction", notes.place)
    made = combined.histograms
    with np.errstate(invalid="ignore", divide="ignore"):
        cells = (row, step)
        grown = np.zeros(wanted.shape)
        grown[cells] = made.amount
        first_count = np.zeros(wanted.shape)
        first_count[cells] = samples.histograms.amount[number[lo]]
        factor = Growth.of(windows).reach(grown, first_count, counter=counter)[cells]
    made = made.scale(np.where(delta, 1.0, factor)).with_hint(Hint.GAUGE)
    found = np.zeros(wanted.shape, dtype=bool)
    found[row[~bad], step[~bad]] = True
    return found, made.take(np.flatnonzero(~bad))


def _hint_of(samples: Samples) -> NDArray[np.int64]:
    if not samples.histograms.size:
        return np.zeros(len(samples.time), dtype=np.int64)
    has = samples.histogram != NO_HISTOGRAM
    return np.where(has, samples.histograms.hint[samples.histogram], -1)


def _custom(samples: Samples) -> NDArray[np.bool_]:
    return samples.histograms.custom[samples.histogram]


def _note_rows(windows: Windows, rows: NDArray[np.int64], notes: Notes, kind: str) -> None:
    series = np.zeros(len(windows.samples.labels), dtype=bool)
    series[rows] = True
    notes.for_series(windows.samples, series, kind)


def _terms(
    windows: Windows,
    lo: NDArray[np.int64],
    hi: NDArray[np.int64],
    delta: NDArray[np.bool_],
    *,
    counter: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Which samples make up the growth of each range, the range of each, and its sign.

    The last sample less the first, and, of a counter, each one before a reset once more. Where the
    reset comes right after the first sample, that one counts neither way. Of deltas, all samples.
    """
    runs = np.arange(len(lo))
    whole = np.flatnonzero(delta)
    lengths = (hi - lo)[whole]
    members = [expand(lo[whole], lengths), hi[~delta] - 1, lo[~delta]]
    groups = [np.repeat(whole, lengths), runs[~delta], runs[~delta]]
    signs = [np.ones(len(members[0])), np.ones(len(members[1])), -np.ones(len(members[2]))]
    if counter:
        resets = np.flatnonzero(_histogram_resets(windows.samples))
        first = np.searchsorted(resets, lo + 1)
        behind = np.searchsorted(resets, hi)
        lengths = np.where(delta, 0, np.maximum(behind - first, 0))
        again = resets[expand(first, lengths)] - 1
        members.append(again)
        groups.append(np.repeat(runs, lengths))
        signs.append(np.ones(len(again)))
    member, group, sign = np.concatenate(members), np.concatenate(groups), np.concatenate(signs)
    if counter:
        # The first sample, taken away and added again, leaves nothing, not even its layout.
        is_first = (member == lo[group]) & ~delta[group]
        twice = np.bincount(group, is_first * sign, len(lo)) == 0
        kept = ~(is_first & twice[group])
        member, group, sign = member[kept], group[kept], sign[kept]
    return member, group, sign


def last_change(windows: Windows, notes: Notes, *, counter: bool) -> Vector:
    """`irate` (counter, per second) and `idelta`: from the last but one sample to the last."""
    samples = windows.samples
    several = windows.lengths > 1
    last = windows.last()
    before = np.maximum(last - 1, 0)
    if not len(samples.time):
        return windows.vector(several, np.zeros(windows.lo.shape)).drop_names()
    is_histogram = samples.histogram != NO_HISTOGRAM
    mixed = several & (is_histogram[last] != is_histogram[before])
    notes.for_series(samples, by_series(mixed), "mixed_floats_histograms")
    seconds = (samples.time[last] - samples.time[before]) / 1000 if counter else np.ones(last.shape)
    several &= (seconds > 0) & ~mixed
    value = samples.value
    with np.errstate(invalid="ignore", divide="ignore"):
        grown = value[last] - value[before]
        if counter:
            fell = float_resets(samples)[last]
            grown = np.where(fell | samples.delta[:, None], value[last], grown)
        grown = grown / np.where(seconds > 0, seconds, 1)
    plain = several & ~is_histogram[last]
    vector = windows.vector(plain, grown).drop_names()
    native = several & is_histogram[last]
    if not native.any():
        return vector
    row, step = np.nonzero(native)
    ends, starts = last[row, step], before[row, step]
    hints = _hint_of(samples)
    gauges = (hints[ends] == Hint.GAUGE).astype(int) + (hints[starts] == Hint.GAUGE)
    if counter:
        _note_rows(windows, row[gauges > 0], notes, "not_a_counter")
        # Of a counter that began again, all of the last histogram is new.
        alone = _histogram_resets(samples)[ends] & (gauges == 0)
        alone |= samples.delta[row]
    else:
        _note_rows(windows, row[gauges < 2], notes, "not_a_gauge")  # noqa: PLR2004 - both
        alone = np.zeros(len(row), dtype=bool)
    runs = np.arange(len(row))
    members = np.concatenate([ends, starts[~alone]])
    group = np.concatenate([runs, runs[~alone]])
    sign = np.concatenate([np.ones(len(ends)), -np.ones(int((~alone).sum()))])
    picked = samples.histograms.take(samples.histogram[members])
    combined = combine(picked, group, len(row), sign)
    _note_rows(windows, row[combined.mixed], notes, "mixed_exponential_custom")
    _note_combined(combined, notes)
    made = combined.histograms.divide(seconds[row, step]).with_hint(Hint.GAUGE)
    good = ~combined.mixed
    found = np.zeros(native.shape, dtype=bool)
    found[row[good], step[good]] = True
    return with_histograms(vector, found, made.take(np.flatnonzero(good)))


def _note_combined(combined: Combined, notes: Notes) -> None:
    if (combined.reconciled & ~combined.mixed).any():
        notes.annotations.mismatched_bounds("subtraction", notes.place)


def resets(windows: Windows) -> NDArray[np.float64]:
    """How often the counter began again within each range; a change of kind counts as well."""
    samples = windows.samples
    again = float_resets(samples) | _histogram_resets(samples) | _kind_changes(samples)
    return _events(windows, again)


def changes(windows: Windows) -> NDArray[np.float64]:
    """How often the value changed within each range; NaN after NaN is no change."""
    samples = windows.samples
    follows = _follows(samples)
    before = np.roll(samples.value, 1)
    unlike = (samples.value != before) & ~(np.isnan(samples.value) & np.isnan(before))
    is_histogram = samples.histogram != NO_HISTOGRAM
    changed = follows & unlike & ~is_histogram & ~np.roll(is_histogram, 1)
    at = np.flatnonzero(follows & is_histogram & np.roll(is_histogram, 1))
    changed[at] = ~equal(samples.histograms, samples.histogram[at - 1], samples.histogram[at])
    return _events(windows, changed | _kind_changes(samples))


def _kind_changes(samples: Samples) -> NDArray[np.bool_]:
    is_histogram = samples.histogram != NO_HISTOGRAM
    result: NDArray[np.bool_] = _follows(samples) & (is_histogram != np.roll(is_histogram, 1))
    return result


def _events(windows: Windows, happens: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How many samples of each range, without its first, have something happen before them."""
    before = np.concatenate([[0], np.cumsum(happens)])
    first = np.minimum(windows.lo + 1, windows.hi)
    result: NDArray[np.float64] = (before[windows.hi] - before[first]).astype(np.float64)
    return result

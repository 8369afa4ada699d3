"""Functions of the samples of a range that are numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakerunner.schema.arrays import expand

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakerunner.query.promql.series import Windows

# Sums of many runs of numbers, as exact as compensated summation.

_CHUNK = 1 << 22
"""Numbers that are laid out at once where runs overlap: 32 MiB."""


def run_reduce(
    ufunc: np.ufunc, values: NDArray[np.float64], lo: NDArray[np.int64], hi: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Reduce `values[lo:hi]` for many runs; what it gives for an empty run means nothing.

    Args:
        ufunc: `np.add`, `np.minimum`, …
        values: All numbers.
        lo: Where each run begins, of any shape.
        hi: Where it ends; the same shape.
    """
    if not lo.size:
        return np.zeros(lo.shape)
    padded = np.append(values, values[-1:] if len(values) else 0.0)
    at = np.empty(lo.size * 2, dtype=np.int64)
    at[0::2] = lo.ravel()
    at[1::2] = hi.ravel()
    with np.errstate(invalid="ignore", over="ignore"):
        return ufunc.reduceat(padded, at)[::2].reshape(lo.shape)


def run_sums(
    values: NDArray[np.float64], lo: NDArray[np.int64], hi: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum `values[lo:hi]` for many runs; 0 for an empty run.

    Plain summation is as exact as anything where all numbers have one sign or are whole and small;
    elsewhere errors are carried along, as Kahan and Neumaier do.
    """
    empty = lo >= hi
    plain = np.where(empty, 0.0, run_reduce(np.add, values, lo, np.maximum(hi, lo)))
    if not len(values) or _is_benign(values):
        return plain
    flat_lo = lo.ravel()
    lengths = np.where(empty, 0, hi - lo).ravel()
    result = np.empty(lo.size)
    ends = np.cumsum(lengths)
    begin = 0
    while begin < lo.size:
        base = ends[begin] - lengths[begin]
        stop = max(begin + 1, int(np.searchsorted(ends, base + _CHUNK, side="right")))
        part = slice(begin, stop)
        result[part] = _compensated(values[expand(flat_lo[part], lengths[part])], lengths[part])
        begin = stop
    exact = result.reshape(lo.shape)
    # What is infinite or no number is right as it is.
    return np.where(np.isfinite(exact), exact, plain)


def _is_benign(values: NDArray[np.float64]) -> bool:
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return False
    if low >= 0 or high <= 0:
        return True
    largest = max(-low, high)
    return bool(largest < 2.0**53 / len(values) and (values == np.trunc(values)).all())


def _compensated(values: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum consecutive runs by halving them, with the error of every addition carried along."""
    total, error = values, np.zeros(len(values))
    lengths = lengths.copy()
    with np.errstate(invalid="ignore", over="ignore"):
        while (lengths > 1).any():
            starts = np.cumsum(lengths) - lengths
            halves = (lengths + 1) // 2
            within = expand(np.zeros(len(lengths), dtype=np.int64), halves)
            first = np.repeat(starts, halves) + 2 * within
            paired = 2 * within + 1 < np.repeat(lengths, halves)
            second = np.where(paired, first + 1, first)
            a, b = total[first], np.where(paired, total[second], 0.0)
            both = a + b
            back = both - a
            lost = (a - (both - back)) + (b - back)
            error = error[first] + np.where(paired, error[second], 0.0) + lost
            total = both
            lengths = halves
        sums = np.zeros(len(lengths))
        sums[lengths > 0] = total + error
    return sums


def group_sums(
    values: NDArray[np.float64], group: NDArray[np.int64], groups: int
) -> NDArray[np.float64]:
    """Sum the rows of a matrix by group, each column for itself.

    Args:
        values: float64, rows by columns; what does not count is 0.
        group: The group of each row.
        groups: How many there are; each has a row.
    """
    columns = values.shape[1]
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(groups + 1))
    if not values.size or _is_benign(values.ravel()):
        with np.errstate(over="ignore"):
            return np.add.reduceat(values[order], starts[:-1], axis=0).reshape(groups, columns)
    by_column = np.ascontiguousarray(values[order].T).ravel()
    shift = (np.arange(columns) * len(group))[None, :]
    return run_sums(by_column, starts[:-1, None] + shift, starts[1:, None] + shift)


def total(windows: Windows) -> NDArray[np.float64]:
    """`sum_over_time`."""
    return run_sums(windows.samples.value, windows.lo, windows.hi)


def mean(windows: Windows) -> NDArray[np.float64]:
    """`avg_over_time`."""
    value = windows.samples.value
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        result = total(windows) / windows.lengths
        over = np.isinf(result)
        if over.any() and np.isfinite(value).any():
            # The sum may be too large though the mean is not.
            finite = run_reduce(np.logical_and, np.isfinite(value), windows.lo, windows.hi)
            again = run_sums(value / 2.0**12, windows.lo, windows.hi) / windows.lengths * 2.0**12
            result = np.where(over & finite.astype(bool), again, result)
    return result


def smallest(windows: Windows) -> NDArray[np.float64]:
    """`min_over_time`: NaN only where there is nothing else."""
    return run_reduce(np.fmin, windows.samples.value, windows.lo, windows.hi)


def largest(windows: Windows) -> NDArray[np.float64]:
    """`max_over_time`: NaN only where there is nothing else."""
    return run_reduce(np.fmax, windows.samples.value, windows.lo, windows.hi)


def place_of_extreme(windows: Windows, *, smallest_wins: bool) -> NDArray[np.int64]:
    """Where the smallest or largest sample of each run is; of equal ones, the last."""
    extreme = smallest(windows) if smallest_wins else largest(windows)
    result = np.zeros(windows.lo.size, dtype=np.int64)
    flat = extreme.ravel()
    for part, at, lengths in windows.chunks():
        value = windows.samples.value[at]
        wanted = np.repeat(flat[part], lengths)
        hit = (value == wanted) | np.isnan(wanted)
        place = np.where(hit, at, -1)
        filled = lengths > 0
        starts = (np.cumsum(lengths) - lengths)[filled]
        best = np.zeros(len(lengths), dtype=np.int64)
        if len(starts):
            best[filled] = np.maximum.reduceat(place, starts)
        result[part] = best
    return result.reshape(windows.lo.shape)


def variance(windows: Windows) -> NDArray[np.float64]:
    """`stdvar_over_time`: of the whole population."""
    means = mean(windows).ravel()
    result = np.zeros(windows.lo.size)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for part, at, lengths in windows.chunks():
            off = windows.samples.value[at] - np.repeat(means[part], lengths)
            # What the mean was off by, so that equal samples have no variance at all.
            off -= np.repeat(_run_totals(off, lengths) / lengths, lengths)
            result[part] = _run_totals(off * off, lengths) / lengths
    return result.reshape(windows.lo.shape)


def quantile(windows: Windows, q: NDArray[np.float64]) -> NDArray[np.float64]:
    """`quantile_over_time`; `q` by step."""
    wanted = np.broadcast_to(q[None, :], windows.lo.shape).ravel()
    result = np.zeros(windows.lo.size)
    for part, at, lengths in windows.chunks():
        result[part] = run_quantiles(windows.samples.value[at], lengths, wanted[part])
    return result.reshape(windows.lo.shape)


def run_quantiles(
    value: NDArray[np.float64], lengths: NDArray[np.int64], q: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The q-quantile of consecutive runs, between the two nearest samples; NaN counts as smallest.

    NaN for an empty run or a `q` that is NaN, infinite for a `q` outside [0, 1].
    """
    run = np.repeat(np.arange(len(lengths)), lengths)
    ordered = value[np.lexsort((value, ~np.isnan(value), run))]
    starts = np.cumsum(lengths) - lengths
    if not len(ordered):
        ordered = np.full(1, np.nan)
        starts = np.zeros_like(starts)
    with np.errstate(invalid="ignore"):
        rank = np.where((q >= 0) & (q <= 1), q, 0.0) * np.maximum(lengths - 1, 0)
        below = np.floor(rank).astype(np.int64)
        above = np.minimum(below + 1, np.maximum(lengths - 1, 0))
        weight = rank - below
        top = len(ordered) - 1
        low = ordered[np.minimum(starts + below, top)]
        high = ordered[np.minimum(starts + above, top)]
        result = low * (1 - weight) + high * weight
    result = np.where(q < 0, -np.inf, np.where(q > 1, np.inf, result))
    return np.where(np.isnan(q) | (lengths == 0), np.nan, result)


def median_deviation(windows: Windows) -> NDArray[np.float64]:
    """`mad_over_time`: the median of the distances from the median; NaN if a sample is."""
    result = np.zeros(windows.lo.size)
    for part, at, lengths in windows.chunks():
        value = windows.samples.value[at]
        half = np.full(len(lengths), 0.5)
        middle = run_quantiles(value, lengths, half)
        with np.errstate(invalid="ignore"):
            distance = np.abs(value - np.repeat(middle, lengths))
        found = run_quantiles(distance, lengths, half)
        unknown = _run_totals(np.isnan(value).astype(np.float64), lengths) > 0
        result[part] = np.where(unknown, np.nan, found)
    return result.reshape(windows.lo.shape)


def regression(
    windows: Windows, origin: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a line to each run by least squares.

    Args:
        windows: The runs.
        origin: Milliseconds, series by steps: the time at which the line is read.

    Returns:
        Slope per second, and value at the origin.
    """
    slope, intercept = np.zeros(windows.lo.size), np.zeros(windows.lo.size)
    if not len(windows.samples.time):
        return slope.reshape(windows.lo.shape), intercept.reshape(windows.lo.shape)
    origins = origin.ravel()
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for part, at, lengths in windows.chunks():
            x = (windows.samples.time[at] - np.repeat(origins[part], lengths)) / 1000
            y = windows.samples.value[at]
            n = lengths.astype(np.float64)
            # Around the means, so that far times cost no digits.
            mean_x, mean_y = _run_totals(x, lengths) / n, _run_totals(y, lengths) / n
            off_x, off_y = x - np.repeat(mean_x, lengths), y - np.repeat(mean_y, lengths)
            found = _run_totals(off_x * off_y, lengths) / _run_totals(off_x * off_x, lengths)
            at_origin = mean_y - found * mean_x
            first = np.append(y, 0.0)[np.cumsum(lengths) - lengths]
            level = _run_totals((y != np.repeat(first, lengths)).astype(np.float64), lengths) == 0
            endless = level & np.isinf(first)
            slope[part] = np.where(level, np.where(endless, np.nan, 0.0), found)
            intercept[part] = np.where(level, np.where(endless, np.nan, first), at_origin)
    return slope.reshape(windows.lo.shape), intercept.reshape(windows.lo.shape)


def smoothed(
    windows: Windows, factor: NDArray[np.float64], trend: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`double_exponential_smoothing` (Holt's linear method); both factors by step."""
    count = windows.lengths
    weight, bend = factor[None, :], trend[None, :]
    value = windows.samples.value
    lo = windows.first()
    level = value[lo] if len(value) else np.zeros(lo.shape)
    if not len(value):
        return level
    before = level
    with np.errstate(invalid="ignore", over="ignore"):
        slope = value[np.minimum(lo + 1, len(value) - 1)] - level
        # Each value depends on the one before it: one round for each place within the runs.
        for place in range(1, int(count.max(initial=0))):
            active = place < count
            x = weight * value[np.minimum(lo + place, len(value) - 1)]
            new = slope if place == 1 else bend * (level - before) + (1 - bend) * slope
            next_level = x + (1 - weight) * (level + new)
            slope = np.where(active, new, slope)
            before = np.where(active, level, before)
            level = np.where(active, next_level, level)
    return level


def _run_totals(value: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of consecutive runs."""
    ends = np.cumsum(lengths)
    return run_sums(value, ends - lengths, ends)

"""Functions of the samples of a range that are numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakerunner.query.promql.sums import run_reduce, run_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakerunner.query.promql.windows import Windows


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

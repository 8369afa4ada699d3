"""What histograms tell of their observations: quantiles, fractions, averages, spread.

Classic histograms are series of cumulated buckets with a label `le`; native ones are samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.query.promql.histograms import AllBuckets, Histograms, all_buckets
from lakerunner.query.promql.labels import NAME, Labels
from lakerunner.query.promql.series import by_series

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakerunner.query.promql.annotations import Annotations
    from lakerunner.query.promql.series import Vector
    from lakerunner.query.promql.syntax import Place

_SMALL_DELTA = 1e-12
"""Counts that fall by less than this share are taken for the noise of floating point."""


class Classic(NamedTuple):
    """The classic buckets of many histograms at many steps.

    Attributes:
        labels: Of each histogram, without `le`.
        dropped: Whether its name is dropped.
        bound: float64: the upper bound of each bucket column.
        amount: float64, histograms by bounds by steps: cumulated; NaN where there is no bucket.
        present: bool, of the same shape.
    """

    labels: Labels
    dropped: NDArray[np.bool_]
    bound: NDArray[np.float64]
    amount: NDArray[np.float64]
    present: NDArray[np.bool_]


def bucket_bounds(vector: Vector) -> NDArray[np.float64]:
    """The upper bound that the label `le` of each series names; NaN where it names none."""
    column = vector.labels.columns.get("le")
    if column is None:
        return np.full(len(vector.labels), np.nan)
    words = column.words
    plain = pc.replace_substring_regex(
        words, r"^([+-]?)[iI][nN][fF](?:[iI][nN][iI][tT][yY])?$", r"\1inf"
    )
    pattern = r"^[+-]?(?:inf|[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)$"
    usable = pc.match_substring_regex(plain, pattern)
    numbers = pc.if_else(usable, pc.replace_substring_regex(plain, r"^\+", ""), None)
    found = numbers.cast(pa.float64()).to_numpy(zero_copy_only=False)
    result: NDArray[np.float64] = found[column.codes]
    return result


def classic(vector: Vector, annotations: Annotations, place: Place) -> Classic:
    """Collect the series of classic histograms by their labels without `le`."""
    bound = bucket_bounds(vector)
    bad = np.isnan(bound)
    if bad.any():
        names = vector.labels.texts(NAME).fill_null("").take(pa.array(np.flatnonzero(bad)))
        values = vector.labels.texts("le").fill_null("").take(pa.array(np.flatnonzero(bad)))
        for name, value in dict.fromkeys(zip(names.to_pylist(), values.to_pylist(), strict=True)):
            annotations.bad_bucket_label("le", value, name, place)
    vector = vector.take(np.flatnonzero(~bad))
    bound = bound[~bad]
    without = vector.labels.drop(["le"])
    # Histograms of one name whose bounds differ stay apart only by their labels.
    group, first = without.groups()
    distinct, column = np.unique(bound, return_inverse=True)
    steps = vector.present.shape[1]
    count = np.zeros((len(first), len(distinct), steps))
    present = np.zeros(count.shape, dtype=bool)
    # Two series of one bound (`le="1"` and `le="1.0"`) count together.
    np.add.at(count, (group, column), np.where(vector.present, vector.value, 0.0))
    np.logical_or.at(present, (group, column), vector.present)
    dropped = np.zeros(len(first), dtype=bool)
    np.logical_or.at(dropped, group, vector.dropped)
    return Classic(without.take(first), dropped, distinct, count, present)


def classic_quantile(
    source: Classic, q: NDArray[np.float64], annotations: Annotations, place: Place
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """The q-quantile of each classic histogram at each step.

    Returns:
        Where there is a histogram, and the quantiles; `q` is by step.
    """
    some = _any_bucket(source.present)
    bounds = source.bound
    if not len(bounds) or not len(source.labels):
        return some, np.full(some.shape, np.nan)
    quantile = np.broadcast_to(q[None, :], some.shape)
    count, forced = _monotonic(source)
    _note_forced(source, forced & some, annotations, place)
    has_inf = bool(np.isinf(bounds[-1])) and bounds[-1] > 0
    total = count[:, -1, :]
    ended = source.present[:, -1, :] if has_inf else np.zeros(some.shape, dtype=bool)
    several = source.present.sum(axis=1) > 1
    with np.errstate(invalid="ignore", divide="ignore"):
        rank = quantile * total
        reached = (count >= rank[:, None, :]) & source.present
        at = np.where(_any_bucket(reached), reached.argmax(axis=1), len(bounds) - 1)
        finite = source.present.copy()
        if has_inf:
            finite[:, -1, :] = False
        last_finite = len(bounds) - 1 - finite[:, ::-1, :].argmax(axis=1)
        first = source.present.argmax(axis=1)
        before = _previous(source.present, at)
        row, step = np.indices(some.shape)
        end = bounds[at]
        here = count[row, at, step]
        below = np.where(before >= 0, count[row, np.maximum(before, 0), step], 0.0)
        start = np.where(before >= 0, bounds[np.maximum(before, 0)], 0.0)
        result = start + (end - start) * ((rank - below) / (here - below))
        result = np.where((at == first) & (end <= 0), end, result)
        result = np.where(np.isinf(end) & (end > 0), bounds[last_finite], result)
        result = np.where(~ended | ~several | (total == 0) | np.isnan(quantile), np.nan, result)
        result = np.where(quantile < 0, -np.inf, np.where(quantile > 1, np.inf, result))
        usable = ended & several & (total != 0)
        result = np.where(usable | (quantile < 0) | (quantile > 1), result, np.nan)
    return some, result


def _any_bucket(buckets: NDArray[np.bool_]) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = np.logical_or.reduce(buckets, axis=1)
    return result


def _previous(present: NDArray[np.bool_], at: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bucket before each one that is there; -1 for none."""
    number = np.where(present, np.arange(present.shape[1])[None, :, None], -1)
    last = np.maximum.accumulate(number, axis=1)
    row, step = np.indices(at.shape)
    result: NDArray[np.int64] = np.where(at > 0, last[row, np.maximum(at - 1, 0), step], -1)
    return result


def _monotonic(source: Classic) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Counts that never fall as bounds grow, and where they had to be changed by much."""
    filled = np.where(source.present, source.amount, -np.inf)
    highest = np.maximum.accumulate(filled, axis=1)
    with np.errstate(invalid="ignore"):
        fell = source.present & (highest > source.amount)
        scale = np.maximum(np.abs(highest), np.abs(source.amount)) * _SMALL_DELTA
        much = fell & (highest - source.amount > scale)
    return np.where(np.isinf(highest), 0.0, highest), _any_bucket(much)


def _note_forced(
    source: Classic, forced: NDArray[np.bool_], annotations: Annotations, place: Place
) -> None:
    rows = np.flatnonzero(by_series(forced))
    if len(rows):
        names = source.labels.take(rows).texts(NAME).fill_null("")
        for name in names.unique().to_pylist():
            annotations.forced_monotonic(name, place)


def classic_fraction(
    source: Classic, lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which share of observations lies between two values; both by step."""
    some = _any_bucket(source.present)
    bounds = source.bound
    if not len(bounds) or not len(source.labels):
        return some, np.full(some.shape, np.nan)
    count, _ = _monotonic(source)
    ended = source.present[:, -1, :] & np.isinf(bounds[-1])
    total = count[:, -1, :]
    low, high = (np.broadcast_to(one[None, :], some.shape) for one in (lower, upper))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = _rank_of(source, count, high) - _rank_of(source, count, low)
        result = np.where(low >= high, 0.0, share / total)
    bad = ~ended | (total == 0) | np.isnan(low) | np.isnan(high)
    return some, np.where(bad, np.nan, result)


def _rank_of(
    source: Classic, count: NDArray[np.float64], value: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How many observations are at most a value, going up evenly within a bucket."""
    bounds = source.bound
    at = source.present & (bounds[None, :, None] >= value[:, None, :])
    found = _any_bucket(at)
    here = np.where(found, at.argmax(axis=1), len(bounds) - 1)
    before = _previous(source.present, here)
    row, step = np.indices(value.shape)
    below = np.where(before >= 0, count[row, np.maximum(before, 0), step], 0.0)
    end = bounds[here]
    first_start = np.where(end > 0, 0.0, -np.inf)
    start = np.where(before >= 0, bounds[np.maximum(before, 0)], first_start)
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.clip((value - start) / (end - start), 0.0, 1.0)
        part = np.where(np.isinf(end) & (value < np.inf), 0.0, part)
        part = np.where(np.isinf(value), np.where(value > 0, 1.0, 0.0), part)
        part = np.where(np.isinf(start) & (value < end), 0.0, part)
        part = np.where(value == end, 1.0, part)
    result: NDArray[np.float64] = below + (count[row, here, step] - below) * part
    return result


def native_quantile(source: Histograms, q: NDArray[np.float64]) -> NDArray[np.float64]:
    """The q-quantile of each native histogram; `q` by histogram."""
    buckets = all_buckets(source)
    size = source.size
    has_nan = np.isnan(source.sum)
    start, stop = _extent(buckets, size)
    filled = stop > start
    cumulated = np.concatenate([[0.0], np.cumsum(buckets.amount)])
    # Within a histogram; the difference of two sums over all of them would lose digits.
    within = _within(buckets, start)
    total = (
        np.where(filled, within[np.maximum(stop - 1, 0)], 0.0) if len(within) else np.zeros(size)
    )
    del cumulated
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        forward = has_nan | (q < 0.5)  # noqa: PLR2004 - the half
        rank = np.where(forward, q * source.amount, (1 - q) * source.amount)
        at = _reached(buckets, within, start, stop, total, rank, forward)
        at = np.clip(at, 0, max(len(buckets.row) - 1, 0))
        if not len(buckets.row):
            return _outside(q, np.full(size, np.nan))
        lower, upper = _edges(source, buckets, at)
        here = buckets.amount[at]
        up_to = np.where(forward, within[at], total - within[at] + here)
        up_to = np.minimum(up_to, source.amount)
        short = up_to < rank
        into = np.where(forward, rank - (up_to - here), up_to - rank)
        result = _interpolated(source, lower, upper, into / here)
        custom = source.custom
        first = custom & np.isneginf(buckets.lower[at])
        result = np.where(first & (buckets.upper[at] <= 0), buckets.upper[at], result)
        result = np.where(custom & np.isposinf(buckets.upper[at]), buckets.lower[at], result)
        result = np.where(short, np.where(has_nan, np.nan, upper), result)
        result = np.where((source.amount == 0) | np.isnan(q) | ~filled, np.nan, result)
    return _outside(q, result)


def _outside(q: NDArray[np.float64], result: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(q < 0, -np.inf, np.where(q > 1, np.inf, result))


def _extent(buckets: AllBuckets, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows = np.arange(size)
    return np.searchsorted(buckets.row, rows), np.searchsorted(buckets.row, rows, side="right")


def _within(buckets: AllBuckets, start: NDArray[np.int64]) -> NDArray[np.float64]:
    """Observations up to and with each bucket of its own histogram."""
    summed = np.cumsum(buckets.amount)
    before = np.concatenate([[0.0], summed])[start]
    result: NDArray[np.float64] = summed - before[buckets.row]
    return result


def _reached(
    buckets: AllBuckets,
    within: NDArray[np.float64],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    total: NDArray[np.float64],
    rank: NDArray[np.float64],
    forward: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """The bucket of each histogram in which a rank falls, counted from either end."""
    row = buckets.row
    up = within >= rank[row]
    down = (total[row] - within + buckets.amount) >= rank[row]
    at = np.arange(len(row))
    first = np.full(len(start), np.iinfo(np.int64).max)
    np.minimum.at(first, row[up], at[up])
    last = np.full(len(start), -1)
    np.maximum.at(last, row[down], at[down])
    first = np.where(first > stop, stop - 1, first)
    last = np.where(last < 0, start, last)
    return np.where(forward, first, last)


def _edges(
    source: Histograms, buckets: AllBuckets, at: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The bounds of one bucket of each histogram; of the zero bucket only the half that is used."""
    lower, upper = buckets.lower[at], buckets.upper[at]
    size = source.size
    positive = np.bincount(source.positive.row, minlength=size) > 0
    negative = np.bincount(source.negative.row, minlength=size) > 0
    spans = ~source.custom & (lower < 0) & (upper > 0)
    lower = np.where(spans & positive & ~negative, 0.0, lower)
    upper = np.where(spans & negative & ~positive, 0.0, upper)
    return np.where(source.custom & np.isneginf(lower), 0.0, lower), upper


def _interpolated(
    source: Histograms,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    part: NDArray[np.float64],
) -> NDArray[np.float64]:
    linear = source.custom | ((lower <= 0) & (upper >= 0))
    low, high = np.log2(np.abs(lower)), np.log2(np.abs(upper))
    up = np.exp2(low + (high - low) * part)
    down = -np.exp2(high + (low - high) * (1 - part))
    curved = np.where(lower > 0, up, down)
    return np.where(linear, lower + (upper - lower) * part, curved)


def native_fraction(
    source: Histograms, lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Which share of the observations of each histogram lies between two values."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = _observed_up_to(source, upper) - _observed_up_to(source, lower)
        result = np.where(lower >= upper, 0.0, share / source.amount)
    bad = (source.amount == 0) | np.isnan(lower) | np.isnan(upper)
    return np.where(bad, np.nan, result)


def _observed_up_to(source: Histograms, value: NDArray[np.float64]) -> NDArray[np.float64]:
    buckets = all_buckets(source)
    row = buckets.row
    if not len(row):
        return np.zeros(source.size)
    each = source.take(row)._replace(positive=source.positive, negative=source.negative)
    size = source.size
    positive = (np.bincount(source.positive.row, minlength=size) > 0)[row]
    negative = (np.bincount(source.negative.row, minlength=size) > 0)[row]
    lower, upper = buckets.lower, buckets.upper
    custom = each.custom
    spans = ~custom & (lower < 0) & (upper > 0)
    lower = np.where(spans & positive & ~negative, 0.0, lower)
    upper = np.where(spans & negative & ~positive, 0.0, upper)
    lower = np.where(custom & np.isneginf(lower) & (upper > 0), 0.0, lower)
    v = value[row]
    with np.errstate(invalid="ignore", divide="ignore"):
        linear = custom | ((lower <= 0) & (upper >= 0))
        even = (v - lower) / (upper - lower)
        low, high, at = np.log2(np.abs(lower)), np.log2(np.abs(upper)), np.log2(np.abs(v))
        curved = np.where(v > 0, (at - low) / (high - low), 1 - (at - high) / (low - high))
        part = np.where(linear, even, curved)
        part = np.where(np.isinf(lower) | np.isinf(upper), 0.0, part)
        part = np.where(v >= upper, 1.0, np.where(v <= lower, 0.0, part))
    return np.bincount(row, buckets.amount * part, size).astype(np.float64, copy=False)


def native_variance(source: Histograms) -> NDArray[np.float64]:
    """The variance of the observations, each taken to be at the middle of its bucket."""
    buckets = all_buckets(source)
    row = buckets.row
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = source.sum / source.amount
        lower, upper = buckets.lower, buckets.upper
        custom = source.custom[row]
        middle = np.sqrt(upper * lower)
        middle = np.where(upper < 0, -middle, middle)
        middle = np.where((lower <= 0) & (upper >= 0), 0.0, middle)
        middle = np.where(custom, (lower + upper) / 2, middle)
        off = middle - mean[row]
        return np.bincount(row, buckets.amount * off * off, source.size) / source.amount

"""Adding native histograms up and telling them apart, many at once.

What the operations do is specified by Prometheus' documentation of native histograms:
https://prometheus.io/docs/specs/native_histograms/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lakerunner.query.promql.histograms import (
    CUSTOM_SCHEMA,
    Buckets,
    Hint,
    Histograms,
    exponential_bounds,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Combined(NamedTuple):
    """What `combine` made.

    Attributes:
        histograms: One for each group; of a group that is `mixed` it means nothing.
        mixed: Groups with both exponential and custom buckets, which cannot be combined.
        reconciled: Groups of custom buckets with different bounds, brought to their common ones.
    """

    histograms: Histograms
    mixed: NDArray[np.bool_]
    reconciled: NDArray[np.bool_]


def combine(
    source: Histograms,
    group: NDArray[np.int64],
    groups: int,
    sign: NDArray[np.float64] | None = None,
) -> Combined:
    """Add up histograms by group.

    Buckets are brought to the coarsest schema of the group, the zero bucket to the widest, grown
    until it ends in no bucket that holds anything; custom buckets to the bounds all have in common.

    Args:
        source: The histograms.
        group: The group of each, from 0.
        groups: How many groups there are; each has at least one histogram.
        sign: 1 to add one, -1 to subtract it; None adds all.
    """
    signs = np.ones(source.size) if sign is None else sign
    custom = source.custom
    has_custom = np.bincount(group, custom, groups) > 0
    has_exponential = np.bincount(group, ~custom, groups) > 0
    schema = np.full(groups, np.iinfo(np.int64).max)
    np.minimum.at(schema, group, source.schema)
    schema[has_custom] = CUSTOM_SCHEMA
    threshold = _common_threshold(source, group, groups)
    layout, bounds, reconciled = _common_bounds(source, group, groups)

    zero = _weighed(group, source.zero_count * signs, groups)
    sides = []
    for buckets in (source.positive, source.negative):
        inside = ~custom[buckets.row]
        inside &= _is_inside_zero(source, buckets, threshold[group[buckets.row]])
        taken = buckets.row[inside]
        zero += _weighed(group[taken], buckets.amount[inside] * signs[taken], groups)
        row = buckets.row[~inside]
        shift = np.where(custom[row], 0, source.schema[row] - schema[group[row]])
        number = buckets.number[~inside]
        moved = ((number - 1) >> np.clip(shift, 0, 63)) + 1
        number = np.where(custom[row], number, moved)
        if reconciled.any():
            number = _number_in_common(source, row, number, layout[group[row]], bounds)
        sides.append(Buckets.gather(group[row], number, buckets.amount[~inside] * signs[row]))
    return Combined(
        Histograms(
            schema,
            _weighed(group, source.amount * signs, groups),
            _weighed(group, source.sum * signs, groups),
            zero,
            threshold,
            np.full(groups, int(Hint.UNKNOWN)),
            layout,
            sides[0],
            sides[1],
            bounds,
        ),
        has_custom & has_exponential,
        reconciled,
    )


def _weighed(
    group: NDArray[np.int64], amount: NDArray[np.float64], groups: int
) -> NDArray[np.float64]:
    return np.bincount(group, amount, groups).astype(np.float64, copy=False)


def _common_threshold(
    source: Histograms, group: NDArray[np.int64], groups: int
) -> NDArray[np.float64]:
    """The widest zero bucket of each group, grown until it cuts no bucket that holds anything."""
    threshold = np.zeros(groups)
    np.maximum.at(threshold, group, np.where(source.custom, 0.0, source.zero_threshold))
    uneven = source.zero_threshold[:] != threshold[group]
    uneven &= ~source.custom
    while uneven.any():
        before = threshold.copy()
        for buckets in (source.positive, source.negative):
            lower, upper = exponential_bounds(source.schema[buckets.row], buckets.number)
            limit = threshold[group[buckets.row]]
            cut = uneven[buckets.row] & (lower < limit) & (upper > limit)
            np.maximum.at(threshold, group[buckets.row[cut]], upper[cut])
        if (before == threshold).all():
            break
        uneven = (source.zero_threshold != threshold[group]) & ~source.custom
    return threshold


def _is_inside_zero(
    source: Histograms, buckets: Buckets, threshold: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which buckets lie in a zero bucket that is wider than their own histogram's."""
    _, upper = exponential_bounds(source.schema[buckets.row], buckets.number)
    wider = source.zero_threshold[buckets.row] != threshold
    result: NDArray[np.bool_] = wider & (upper <= threshold)
    return result


def _common_bounds(
    source: Histograms, group: NDArray[np.int64], groups: int
) -> tuple[NDArray[np.int64], tuple[NDArray[np.float64], ...], NDArray[np.bool_]]:
    """The bounds that all custom buckets of a group share, and where they are not those of all."""
    custom = source.custom
    layout = np.zeros(groups, dtype=np.int64)
    differs = np.zeros(groups, dtype=bool)
    if not custom.any():
        return layout, source.bounds, differs
    layout[group[custom]] = source.layout[custom]
    unlike = custom & (source.layout != layout[group])
    differs[group[unlike]] = True
    if not differs.any():
        return layout, source.bounds, differs
    # Few layouts differ within a group, however many histograms there are: one round for each.
    bounds = list(source.bounds)
    common: dict[tuple[int, int], int] = {}
    for number in range(len(source.bounds)):
        holds = np.zeros(groups, dtype=bool)
        holds[group[custom & (source.layout == number)]] = True
        for other in np.unique(layout[holds]):
            pair = (int(other), number)
            if other == number:
                continue
            if pair not in common:
                shared = np.intersect1d(bounds[other], bounds[number])
                common[pair] = len(bounds)
                bounds.append(shared)
            layout[holds & (layout == other)] = common[pair]
    return layout, tuple(bounds), differs


def _number_in_common(
    source: Histograms,
    rows: NDArray[np.int64],
    index: NDArray[np.int64],
    target: NDArray[np.int64],
    bounds: tuple[NDArray[np.float64], ...],
) -> NDArray[np.int64]:
    """The indices of custom buckets under other bounds: the bucket that ends at or after theirs."""
    result = index.copy()
    own = source.layout[rows]
    pairs = np.unique(np.stack([own, target], axis=1)[source.custom[rows]], axis=0)
    for mine, its in pairs:
        if mine == its:
            continue
        ends = np.append(bounds[mine], np.inf)
        moved = np.searchsorted(bounds[its], ends, side="left")
        here = (own == mine) & (target == its) & source.custom[rows]
        result[here] = moved[index[here]]
    return result


def detect_resets(
    source: Histograms, before: NDArray[np.int64], after: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether the counter was reset between two histograms of a series, for many pairs.

    Args:
        source: All histograms.
        before: The earlier one of each pair.
        after: The later one.
    """
    size = len(before)
    if not size:
        return np.zeros(0, dtype=bool)
    hint = source.hint[after]
    pairs = source.take(np.concatenate([after, before]))
    group = np.tile(np.arange(size), 2)
    sign = np.repeat([1.0, -1.0], size)
    difference, mixed, _ = combine(pairs, group, size, sign)
    fell = (difference.amount < 0) | (difference.zero_count < 0) | mixed
    for buckets in (difference.positive, difference.negative):
        fell[buckets.row[buckets.amount < 0]] = True
    exponential = ~source.custom[after]
    fell |= exponential & (source.schema[after] > source.schema[before])
    fell |= exponential & (source.zero_threshold[after] < difference.zero_threshold)
    result: NDArray[np.bool_] = (hint == Hint.RESET) | (fell & (hint != Hint.NOT_RESET))
    return result


def equal(
    source: Histograms, left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether two histograms are the same in everything but the hint, for many pairs."""
    size = len(left)
    if not size:
        return np.zeros(0, dtype=bool)
    same: NDArray[np.bool_] = source.schema[left] == source.schema[right]
    same &= ~source.custom[left] | (source.layout[left] == source.layout[right])
    for field in (source.amount, source.sum, source.zero_count):
        same &= _same_numbers(field[left], field[right])
    same &= source.zero_threshold[left] == source.zero_threshold[right]
    pairs = source.take(np.concatenate([left, right]))
    for buckets in (pairs.positive, pairs.negative):
        second = buckets.row >= size
        count = np.where(second, -buckets.amount, buckets.amount)
        left_over = Buckets.gather(buckets.row % size, buckets.number, count)
        same[left_over.row] = False
    return same


def _same_numbers(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = (a == b) | (np.isnan(a) & np.isnan(b))
    return result

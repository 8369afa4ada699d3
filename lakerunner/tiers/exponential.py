"""Add exponential histograms up, by bucket: the finer ones are brought to the coarsest scale.

Two buckets of one scale are one bucket of the next, so that is exact. Where the thresholds of the
zero buckets differ, the widest counts; a bucket that it cuts becomes part of the zero bucket as a
whole, whose threshold then is that bucket's end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.schema.arrays import expand, list_lengths, list_values, numbers
from lakerunner.tiers.explicit import list_column

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakerunner.tiers.explicit import Entries

EXPONENTIAL_COLUMNS = (
    *("scale", "zero_count", "zero_threshold"),
    *("positive_offset", "positive_bucket_counts"),
    *("negative_offset", "negative_bucket_counts"),
)

_SPAN = 1024
"""Buckets that a sum has on each side at most, from the first to the last that is not empty."""

_LEAST_SCALE = -10  # one bucket of it holds all numbers above 1 that there are


class Buckets(NamedTuple):
    """Buckets, one after the other.

    Attributes:
        owner: int64: two for each group: the positive side, and the negative one behind it.
        place: int64: of the bucket `(base**place, base**(place + 1)]`.
        amount: int64.
    """

    owner: NDArray[np.int64]
    place: NDArray[np.int64]
    amount: NDArray[np.int64]

    def summed(self) -> Buckets:
        """In order, each once, without those that hold nothing."""
        order = np.lexsort((self.place, self.owner))
        owner, index, amount = (each[order] for each in self)
        starts = np.flatnonzero(
            np.concatenate([[True], (np.diff(owner) != 0) | (np.diff(index) != 0)])[: len(owner)]
        )
        total = np.add.reduceat(amount, starts) if len(starts) else amount
        kept = total != 0
        return Buckets(owner[starts][kept], index[starts][kept], total[kept])


def add_exponential(points: pa.Table, entries: Entries) -> dict[str, pa.Array]:
    """Add up the buckets of each group.

    Args:
        points: Has `EXPONENTIAL_COLUMNS`.
        entries: What is added.

    Returns:
        `EXPONENTIAL_COLUMNS` of each group, all NULL for a group without entries, and for one from
        which more is taken away than was there.
    """
    table = points.select(EXPONENTIAL_COLUMNS).take(pa.array(entries.row))
    group, groups = entries.group, entries.groups
    scale = numbers(table["scale"], np.int64)
    least = np.full(groups, np.iinfo(np.int64).max)
    np.minimum.at(least, group, scale)
    unknown = least == np.iinfo(np.int64).max
    least[unknown] = 0
    buckets = _gathered(table, entries, scale - least[group]).summed()
    buckets, least = _narrowed(buckets, least)
    zero = np.zeros(groups, np.int64)
    np.add.at(zero, group, numbers(table["zero_count"], np.int64) * entries.sign)
    threshold = numbers(table["zero_threshold"], np.float64)
    widest, narrowest = np.zeros(groups), np.full(groups, np.inf)
    np.maximum.at(widest, group, threshold)
    np.minimum.at(narrowest, group, threshold)
    mixed = ~unknown & (widest > narrowest)
    if mixed.any():
        buckets, zero, widest = _swallowed(buckets, zero, widest, least, mixed)
    unknown[buckets.owner[buckets.amount < 0] // 2] = True
    unknown |= zero < 0
    return exponential_columns(buckets, least, zero, widest, unknown)


def _gathered(table: pa.Table, entries: Entries, shift: NDArray[np.int64]) -> Buckets:
    parts = []
    for side, name in enumerate(("positive", "negative")):
        lengths = list_lengths(table[f"{name}_bucket_counts"])
        amount = list_values(table[f"{name}_bucket_counts"], lengths).astype(np.int64)
        first = numbers(table[f"{name}_offset"], np.int64)
        index = expand(first, lengths) >> np.repeat(np.minimum(shift, 62), lengths)
        owner = np.repeat(entries.group * 2 + side, lengths)
        parts.append(Buckets(owner, index, amount * np.repeat(entries.sign, lengths)))
    return Buckets(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _narrowed(buckets: Buckets, scale: NDArray[np.int64]) -> tuple[Buckets, NDArray[np.int64]]:
    """Bring what spans too many buckets down to a scale at which it does not.

    The loop is over scales: each turn halves what is left.
    """
    while len(buckets.owner):
        starts = np.flatnonzero(np.concatenate([[True], np.diff(buckets.owner) != 0]))
        ends = np.append(starts[1:], len(buckets.owner)) - 1
        wide = buckets.place[ends] - buckets.place[starts] >= _SPAN
        down = np.zeros(len(scale), np.bool_)
        down[buckets.owner[starts[wide]] // 2] = True
        down &= scale > _LEAST_SCALE
        if not down.any():
            break
        moved = buckets.place >> down[buckets.owner // 2]
        buckets = buckets._replace(place=moved).summed()
        scale = scale - down
    return buckets, scale


def _swallowed(
    buckets: Buckets,
    zero: NDArray[np.int64],
    threshold: NDArray[np.float64],
    scale: NDArray[np.int64],
    mixed: NDArray[np.bool_],
) -> tuple[Buckets, NDArray[np.int64], NDArray[np.float64]]:
    """Move what lies within a wider zero bucket into it, in the groups that are mixed."""
    steps = np.exp2(scale.astype(np.float64))
    with np.errstate(divide="ignore"):
        last = np.where(mixed, np.ceil(np.log2(threshold) * steps) - 1, -np.inf)
    owner = buckets.owner // 2
    within = buckets.place <= last[owner]
    zero = zero.copy()
    np.add.at(zero, owner[within], buckets.amount[within])
    cut = owner[within & (buckets.place == last[owner])]
    end = np.exp2((np.where(mixed, last, 0.0) + 1) / steps)
    threshold = threshold.copy()
    threshold[cut] = np.maximum(threshold[cut], end[cut])
    return Buckets(*(each[~within] for each in buckets)), zero, threshold


def exponential_columns(
    buckets: Buckets,
    scale: NDArray[np.int64],
    zero: NDArray[np.int64],
    threshold: NDArray[np.float64],
    unknown: NDArray[np.bool_],
) -> dict[str, pa.Array]:
    """Buckets as columns of histograms.

    Args:
        buckets: In order, each once.
        scale: int64: of each histogram.
        zero: int64: what its zero bucket holds.
        threshold: float64: up to where that reaches.
        unknown: bool: all its columns are NULL.

    Returns:
        `EXPONENTIAL_COLUMNS`.
    """
    columns: dict[str, Any] = {
        "scale": pa.array(scale.astype(np.int32), mask=unknown),
        "zero_count": pa.array(np.maximum(zero, 0).astype(np.uint64), mask=unknown),
        "zero_threshold": pa.array(threshold, mask=unknown),
    }
    groups = len(scale)
    for side, name in enumerate(("positive", "negative")):
        mine = (buckets.owner % 2 == side) & ~unknown[buckets.owner // 2]
        group, index, amount = buckets.owner[mine] // 2, buckets.place[mine], buckets.amount[mine]
        starts = np.flatnonzero(np.concatenate([[True], np.diff(group) != 0])[: len(group)])
        ends = np.append(starts[1:], len(group))[: len(starts)] - 1
        first, length = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
        first[group[starts]] = index[starts]
        length[group[starts]] = index[ends] - index[starts] + 1
        begin = np.cumsum(length) - length
        dense = np.zeros(int(length.sum()), np.int64)
        dense[begin[group] + index - first[group]] = amount
        columns[f"{name}_offset"] = pa.array(first.astype(np.int32), mask=unknown)
        columns[f"{name}_bucket_counts"] = list_column(dense, length, unknown, pa.uint64())
    return columns

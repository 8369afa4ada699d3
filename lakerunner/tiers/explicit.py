"""Add explicit histograms up: by bucket where bounds agree, and by the bounds they share elsewhere.

Two histograms of different bounds are added exactly by the bounds that both have: every bucket of
one lies within one bucket of the result. What no bound divides in all of them, nothing divides in
the sum. So a sum may be coarser than what it is made of, and never says what nobody counted.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.schema.arrays import expand, layouts, list_lengths, list_values, numbers
from lakerunner.schema.ids import mix64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

EXPLICIT_COLUMNS = ("count", "bucket_counts", "explicit_bounds")


class Entries(NamedTuple):
    """Which points are added to which groups.

    Attributes:
        row: int64: the row of each in the table of points.
        group: int64: where it is added.
        sign: int64: 1, or -1 for what is taken away.
        groups: How many groups there are.
    """

    row: NDArray[np.int64]
    group: NDArray[np.int64]
    sign: NDArray[np.int64]
    groups: int


def add_explicit(points: pa.Table, entries: Entries) -> tuple[pa.Array, pa.Array]:
    """Add up the buckets of each group.

    A histogram without buckets counts as one whose only bucket has no bounds.

    Args:
        points: Has `EXPLICIT_COLUMNS`.
        entries: What is added.

    Returns:
        `bucket_counts` and `explicit_bounds` of each group; both are NULL for a group of which
        nothing is known: one without entries, one with a point whose lists do not fit each other,
        and one from which more is taken away than was there.
    """
    table = points.select(EXPLICIT_COLUMNS).take(pa.array(entries.row))
    lengths = list_lengths(table["bucket_counts"])
    given = list_values(table["bucket_counts"], lengths).astype(np.int64)
    layout, bounds = layouts(table["explicit_bounds"])
    sizes = np.array([len(one) for one in bounds], np.int64)[layout]
    whole = (lengths == 0) & (sizes == 0)
    misfit = ~whole & (lengths != sizes + 1)
    counts, lengths = _with_whole(given, lengths, whole, numbers(table["count"], np.int64))
    target, bounds = _targets(entries.group, layout, bounds, entries.groups)
    width = np.array([len(one) + 1 for one in bounds], np.int64)[target]
    unknown = np.bincount(entries.group, minlength=entries.groups) == 0
    unknown[entries.group[misfit]] = True
    kept = np.repeat(~misfit, lengths)
    lengths = np.where(misfit, 0, lengths)
    places = _places(layout, target[entries.group], bounds, lengths)
    starts = np.concatenate([[0], np.cumsum(width)])
    summed = np.zeros(starts[-1], np.int64)
    where = np.repeat(starts[entries.group], lengths) + places
    np.add.at(summed, where, counts[kept] * np.repeat(entries.sign, lengths))
    group_of = np.repeat(np.arange(entries.groups), width)
    unknown[group_of[summed < 0]] = True
    return _lists(summed, starts, unknown), _bounds_lists(bounds, target, unknown)


def _with_whole(
    counts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    whole: NDArray[np.bool_],
    count: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same lists, where those of `whole`, which are empty, hold one bucket with all."""
    if not whole.any():
        return counts, lengths
    ends = np.cumsum(lengths)
    return np.insert(counts, ends[whole], count[whole]), np.where(whole, 1, lengths)


def _targets(
    group: NDArray[np.int64],
    layout: NDArray[np.int64],
    bounds: tuple[NDArray[np.float64], ...],
    groups: int,
) -> tuple[NDArray[np.int64], tuple[NDArray[np.float64], ...]]:
    """The bounds of the sum of each group, as a number, and all bounds by number.

    The loop is over the sets of layouts that come together anywhere, which are few.
    """
    pairs = np.unique(group * len(bounds) + layout) if len(group) else np.zeros(0, np.int64)
    owner, kind = np.divmod(pairs, max(len(bounds), 1))
    target = np.zeros(groups, np.int64)
    if not len(bounds):
        return target, (np.zeros(0),)
    target[owner] = kind
    together = np.bincount(owner, minlength=groups)
    mixed = np.flatnonzero(together > 1)
    if not len(mixed):
        return target, bounds
    marks = np.zeros(groups, np.uint64)
    np.add.at(marks, owner, mix64(kind.astype(np.uint64) + np.uint64(1)))
    _, first, number = np.unique(marks[mixed], return_index=True, return_inverse=True)
    begin = np.searchsorted(owner, mixed[first])
    size = together[mixed[first]]
    shared = [
        _shared([bounds[each] for each in kind[at : at + length]])
        for at, length in zip(begin.tolist(), size.tolist(), strict=True)
    ]
    target[mixed] = len(bounds) + number
    return target, (*bounds, *shared)


def _shared(several: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return reduce(np.intersect1d, several)


def _places(
    layout: NDArray[np.int64],
    target: NDArray[np.int64],
    bounds: tuple[NDArray[np.float64], ...],
    lengths: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The bucket of the sum into which each bucket falls; the loop is over pairs of layouts."""
    pair = layout * len(bounds) + target
    distinct, number = np.unique(pair, return_inverse=True)
    maps = [
        np.searchsorted(bounds[one % len(bounds)], np.append(bounds[one // len(bounds)], np.inf))
        for one in distinct.tolist()
    ]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in maps], dtype=np.int64)])
    flat = np.concatenate(maps) if maps else np.zeros(0, np.int64)
    result: NDArray[np.int64] = flat[expand(starts[number], lengths)]
    return result


def _lists(
    values: NDArray[np.int64], starts: NDArray[np.int64], unknown: NDArray[np.bool_]
) -> pa.Array:
    kept = ~np.repeat(unknown, np.diff(starts))
    return list_column(values[kept], np.where(unknown, 0, np.diff(starts)), unknown, pa.uint64())


def list_column(
    values: NDArray[np.int64] | NDArray[np.float64],
    lengths: NDArray[np.int64],
    missing: NDArray[np.bool_],
    dtype: pa.DataType,
) -> pa.Array:
    """Lists whose elements stand end to end; those that are missing have none, and are NULL."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(values, dtype), mask=pa.array(missing)
    )


def _bounds_lists(
    bounds: tuple[NDArray[np.float64], ...],
    target: NDArray[np.int64],
    unknown: NDArray[np.bool_],
) -> pa.Array:
    sizes = np.array([len(one) for one in bounds], np.int64)
    starts = np.cumsum(sizes) - sizes
    lengths = np.where(unknown, 0, sizes[target])
    values = np.concatenate(bounds)[expand(starts[target], lengths)]
    return list_column(values, lengths, unknown, pa.float64())

"""Quantile sketches as an Arrow column: DDSketch, for many groups at once.

A value falls into the bin `floor(log(value) / log(GAMMA))`, and a bin stands for the value in its
middle, so that what a quantile is read as lies within `RELATIVE_ERROR` of a value that was there,
above as often as below. Sketches are added by adding the counts of equal bins: nothing is lost,
whatever the order. Bins are numbered so that they sort as their values do: those of positive
values lie above 0, zero is bin 0, and those of negative values are the same with a minus.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.schema.arrays import list_lengths, numbers, one_chunk
from lakerunner.schema.tables import SKETCH_TYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RELATIVE_ERROR = 0.01
"""By how much a quantile may lie beside a true value, as a share of it."""

GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
"""How much larger each bin is than the one below."""

ORIGIN = 40_000
"""Added to a bin's number, so that those of the smallest numbers there are lie above 0."""

_LOG_GAMMA = math.log(GAMMA)
_LARGEST = np.finfo(np.float64).max
_INFINITE = math.floor(math.log(_LARGEST) / _LOG_GAMMA) + 1  # the bin of what has no end
_BITS = 18
_MIDDLE = 1 << (_BITS - 1)


class Sketches(NamedTuple):
    """Sketches end to end.

    Attributes:
        offsets: int64: where the bins of each begin, and where those of the last one end.
        bins: int64, ascending within each sketch.
        counts: int64: how many values each bin holds.
    """

    offsets: NDArray[np.int64]
    bins: NDArray[np.int64]
    counts: NDArray[np.int64]

    def totals(self) -> NDArray[np.int64]:
        """How many values each holds."""
        before = np.concatenate([[0], np.cumsum(self.counts)])
        result: NDArray[np.int64] = before[self.offsets[1:]] - before[self.offsets[:-1]]
        return result


def bins_of(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of each value; there is none for NaN.

    Example:
        >>> low, zero, one, infinite = bins_of(np.array([-1.0, 0.0, 1.0, np.inf])).tolist()
        >>> low, zero, one, infinite > one
        (-40000, 0, 40000, True)
    """
    size = np.abs(values)
    with np.errstate(divide="ignore"):
        place = np.log(size) / _LOG_GAMMA
    place = np.floor(np.minimum(place, _INFINITE, out=place), out=place) + ORIGIN
    result: NDArray[np.int64] = np.where(size == 0, 0.0, np.copysign(place, values)).astype(
        np.int64
    )
    return result


def bin_values(bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """The value that each bin stands for: the one that is off by the same share from both ends."""
    place = np.abs(bins) - ORIGIN
    with np.errstate(over="ignore", under="ignore"):
        middle = np.exp(place * _LOG_GAMMA) * (2 * GAMMA / (GAMMA + 1))
    size = np.where(place >= _INFINITE, np.inf, np.minimum(middle, _LARGEST))
    result: NDArray[np.float64] = np.where(bins == 0, 0.0, np.copysign(size, bins))
    return result


def sketch_values(values: NDArray[np.float64], group: NDArray[np.int64], groups: int) -> Sketches:
    """Sketch the values of each group; those that are NaN are left out.

    Args:
        values: float64.
        group: int64: the group of each value, from 0.
        groups: How many there are, those without a value included.

    Example:
        >>> sketches = sketch_values(np.array([1.0, 5.0, 1.0]), np.array([1, 0, 1]), 3)
        >>> sketches.offsets.tolist(), sketches.counts.tolist()
        ([0, 1, 2, 2], [1, 2])
    """
    missing = np.isnan(values)
    if missing.any():
        values, group = values[~missing], group[~missing]
    key = _keys(group, bins_of(values))
    key.sort()
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])[: len(key)])
    return _sketches(key[starts], np.diff(np.append(starts, len(key))), groups)


def merge_sketches(sketches: Sketches, group: NDArray[np.int64], groups: int) -> Sketches:
    """Add the sketches of each group up.

    Args:
        sketches: Any.
        group: int64: the group of each sketch, from 0.
        groups: How many there are.
    """
    key = _keys(np.repeat(group, np.diff(sketches.offsets)), sketches.bins)
    counts = sketches.counts
    if (key[1:] < key[:-1]).any():
        order = np.argsort(key, kind="stable")  # runs in order, one a sketch
        key, counts = key[order], counts[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])[: len(key)])
    added = np.add.reduceat(counts, starts) if len(starts) else counts
    return _sketches(key[starts], added, groups)


def _keys(group: NDArray[np.int64], bins: NDArray[np.int64]) -> NDArray[np.int64]:
    return (group << _BITS) + (bins + _MIDDLE)


def _sketches(key: NDArray[np.int64], counts: NDArray[np.int64], groups: int) -> Sketches:
    sizes = np.bincount(key >> _BITS, minlength=groups)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return Sketches(offsets, (key & ((1 << _BITS) - 1)) - _MIDDLE, counts)


def quantiles(sketches: Sketches, shares: Sequence[float]) -> NDArray[np.float64]:
    """Read quantiles from each sketch.

    Args:
        sketches: Any.
        shares: Which: from 0, the smallest value, to 1, the largest.

    Returns:
        float64, a row for each sketch and a column for each share; NaN for an empty sketch. Off by
        `RELATIVE_ERROR` at most from the value at `floor(share * (n - 1))`, from 0, of all `n` in
        order.

    Example:
        >>> sketches = sketch_values(np.arange(-100.0, 101.0), np.zeros(201, np.int64), 1)
        >>> quantiles(sketches, [0, 0.5, 1]).round().tolist()
        [[-100.0, 0.0, 100.0]]
    """
    result = np.full((len(sketches.offsets) - 1, len(shares)), np.nan)
    total = sketches.totals()
    filled = np.flatnonzero(total)
    if not len(filled):
        return result
    reached = np.cumsum(sketches.counts)
    below = np.concatenate([[0], reached])[sketches.offsets[filled]]
    for column, share in enumerate(shares):
        rank = np.floor(share * (total[filled] - 1)).astype(np.int64)
        place = np.searchsorted(reached, below + rank, side="right")
        result[filled, column] = bin_values(sketches.bins[place])
    return result


def sketch_column(sketches: Sketches) -> pa.StructArray:
    """Sketches as a column of `SKETCH_TYPE`; an empty one is NULL."""
    offsets = pa.array(sketches.offsets.astype(np.int32))
    lists = [
        pa.ListArray.from_arrays(offsets, pa.array(values, dtype))
        for values, dtype in ((sketches.bins, pa.int32()), (sketches.counts, pa.int64()))
    ]
    empty = pa.array(np.diff(sketches.offsets) == 0)
    return pa.StructArray.from_arrays(lists, fields=list(SKETCH_TYPE), mask=empty)


def read_sketches(column: Any) -> Sketches:
    """Sketches from a column of `SKETCH_TYPE`; NULL is an empty one.

    Args:
        column: `pa.StructArray`, or chunks of it.

    Example:
        >>> sketches = sketch_values(np.array([1.0, 5.0]), np.array([0, 2]), 3)
        >>> read_sketches(sketch_column(sketches)).offsets.tolist()
        [0, 1, 1, 2]
    """
    array = one_chunk(column)
    bins, counts = array.flatten()  # with the NULLs of the whole
    offsets = np.concatenate([[0], np.cumsum(list_lengths(bins))])
    return Sketches(offsets, numbers(bins.flatten(), np.int64), numbers(counts.flatten(), np.int64))

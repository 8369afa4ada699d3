"""Sum numbers up over runs of rows, and tell counters that went on from those that began anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Chain(NamedTuple):
    """What each point of a counter adds, told from the point before it.

    Attributes:
        goes_on: bool: it adds what it has more than the point before.
        begins: bool: it adds all of its value, for it counts from zero.
    """

    goes_on: NDArray[np.bool_]
    begins: NDArray[np.bool_]


class Times(NamedTuple):
    """Points in order of series and time.

    Attributes:
        series: int64: which series each belongs to.
        time: int64: when, in nanoseconds.
        start: int64: since when it counts; 0 if it does not say.
    """

    series: NDArray[np.int64]
    time: NDArray[np.int64]
    start: NDArray[np.int64]


def chain(
    points: Times, fell: NDArray[np.bool_], delta: NDArray[np.bool_], lookback_ns: int
) -> Chain:
    """Tell what each point of a counter adds.

    A counter begins anew where it falls, and where it says that it counts from a later time than
    the point before it. The first point that is known of a series adds what it holds only if it
    says that it counts from a time since which all points would be known; otherwise nobody can
    tell how much of it is new. One that says it counts from its own time is a mark to count from.

    Args:
        points: In order of series and time.
        fell: bool: the point is below the one before it.
        delta: bool: the point is what was added, whatever came before.
        lookback_ns: Since when all points are known.
    """
    first = np.ones(len(points.series), np.bool_)
    np.not_equal(points.series[1:], points.series[:-1], out=first[1:])
    anew = fell.copy()
    said = points.start
    if said.any():
        later = (said[1:] >= points.time[:-1]) & (said[1:] != said[:-1])
        anew[1:] |= later
    known = (said > 0) & (said >= lookback_ns) & (said < points.time)
    begins = delta | np.where(first, known, anew)
    return Chain(~first & ~begins, begins)


class Sums(NamedTuple):
    """What is known of the values of each group.

    Attributes:
        sizes: int64: how many.
        total: float64.
        least: float64; NaN only where all values are.
        most: float64; likewise.
    """

    sizes: NDArray[np.int64]
    total: NDArray[np.float64]
    least: NDArray[np.float64]
    most: NDArray[np.float64]


def run_starts(*keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where runs begin of rows that agree in all keys.

    Example:
        >>> run_starts(np.array([1, 1, 2, 2]), np.array([7, 7, 7, 8])).tolist()
        [0, 2, 3]
    """
    size = len(keys[0])
    edge = np.zeros(size, np.bool_)
    edge[:1] = True
    for key in keys:
        edge[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(edge)


def sum_runs(values: NDArray[np.float64], starts: NDArray[np.int64]) -> Sums:
    """Sum the values of each run up."""
    if not len(starts):
        empty = np.zeros(0)
        return Sums(np.zeros(0, np.int64), empty, empty, empty)
    return Sums(
        np.diff(np.append(starts, len(values))),
        np.add.reduceat(values, starts),
        np.fmin.reduceat(values, starts),
        np.fmax.reduceat(values, starts),
    )


def added(
    values: NDArray[np.float64], links: Chain, monotonic: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """What each point of a counter adds; 0 for one that no other leads to, or that is no counter.

    Example:
        >>> values = np.array([5.0, 7.0, 1.0])
        >>> times = Times(np.zeros(3, np.int64), np.arange(3), np.zeros(3, np.int64))
        >>> fell = np.array([False, False, True])
        >>> links = chain(times, fell, np.zeros(3, bool), 0)
        >>> added(values, links, np.ones(3, bool)).tolist()
        [0.0, 2.0, 1.0]
    """
    more = np.where(links.begins, values, 0.0)
    with np.errstate(invalid="ignore"):  # from one infinity to another
        more[1:] += np.where(links.goes_on[1:], values[1:] - values[:-1], 0.0)
    more[~monotonic] = 0.0
    return more

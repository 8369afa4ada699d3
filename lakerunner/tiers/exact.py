"""What a bucket of numbers must say so that PromQL answers from it as from its points.

Ranges of PromQL are `(start, end]` in milliseconds, and buckets `[start, end)`. So of a bucket
whose first point lies in its first millisecond it is told, too, what its points are without that
one. And how often the counter fell from one point to the next is told apart from what it grew by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.schema.arrays import TIMESTAMP, numbers, one_chunk
from lakerunner.schema.tables import EXACT_TYPE

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from lakerunner.tiers.numbers import Times

_NS_PER_MS = 1_000_000
_WHOLE_BELOW = 2.0**53
"""Sums of whole numbers below it are exact in whatever order they are added up."""


class Exact(NamedTuple):
    """Of each bucket; arrays of one length.

    Attributes:
        known: bool: all of this is known. It is not where two points share a millisecond, or some
            came too late to be told in order.
        resets: int64: how often the counter began again between two points. Between the first and
            the second one, where `next_time` is told, is not counted.
        reset_sum: float64: the sum of what it had reached before.
        whole: bool: all values are whole numbers, and their sum is exact.
        first_start: int64, nanoseconds: since when the first point counts; 0 if it does not say.
        next_time: int64, nanoseconds: the second point, where the first is on the very edge; 0
            where it is not, or is alone.
        next_start: int64: since when that one counts.
        next_value: float64.
        next_min: float64: the smallest value without the first.
        next_max: float64: the largest.
    """

    known: NDArray[np.bool_]
    resets: NDArray[np.int64]
    reset_sum: NDArray[np.float64]
    whole: NDArray[np.bool_]
    first_start: NDArray[np.int64]
    next_time: NDArray[np.int64]
    next_start: NDArray[np.int64]
    next_value: NDArray[np.float64]
    next_min: NDArray[np.float64]
    next_max: NDArray[np.float64]

    def column(self) -> pa.StructArray:
        """As it is stored."""
        absent = self.next_time == 0
        unsaid = self.first_start == 0
        return pa.StructArray.from_arrays(
            [
                pa.array(self.resets),
                pa.array(self.reset_sum),
                pa.array(self.whole),
                pa.array(self.first_start, mask=unsaid).cast(TIMESTAMP),
                pa.array(self.next_time, mask=absent).cast(TIMESTAMP),
                pa.array(self.next_start, mask=self.next_start == 0).cast(TIMESTAMP),
                pa.array(self.next_value, mask=absent),
                pa.array(self.next_min, mask=absent),
                pa.array(self.next_max, mask=absent),
            ],
            fields=list(EXACT_TYPE),
            mask=pa.array(~self.known),
        )


def read_exact(column: Any) -> Exact:
    """What is stored."""
    array = one_chunk(column)
    known = array.is_valid().to_numpy(zero_copy_only=False)
    fields = dict(zip((one.name for one in EXACT_TYPE), array.flatten(), strict=True))

    def times(name: str) -> NDArray[np.int64]:
        return numbers(fields[name].cast(pa.int64()), np.int64)

    def amounts(name: str) -> NDArray[np.float64]:
        return numbers(fields[name], np.float64, np.nan)

    return Exact(
        known,
        numbers(fields["resets"], np.int64),
        numbers(fields["reset_sum"], np.float64),
        numbers(fields["whole"], np.bool_, missing=False),
        times("first_start_timestamp"),
        times("next_timestamp"),
        times("next_start_timestamp"),
        amounts("next_value"),
        amounts("next_min"),
        amounts("next_max"),
    )


def exact_of_points(
    points: Times, values: NDArray[np.float64], starts: NDArray[np.int64], resolution_ns: int
) -> Exact:
    """Of the points of each bucket.

    Args:
        points: Series, time and start of each, in order.
        values: float64: theirs.
        starts: int64: where the points of each bucket begin.
        resolution_ns: Length of a bucket.
    """
    time, size = points.time // _NS_PER_MS, len(values)
    inner = np.ones(size, np.bool_)
    inner[starts] = False
    fell, twice, before = np.zeros(size, np.bool_), np.zeros(size, np.bool_), np.zeros(size)
    before[1:] = values[:-1]
    fell[1:] = began_again(values[:-1], values[1:], time[:-1], points.start[1:])
    twice[1:] = time[1:] == time[:-1]
    ends = np.append(starts[1:], size)
    fell &= inner
    on_edge = points.time[starts] // resolution_ns * (resolution_ns // _NS_PER_MS) == time[starts]
    second = np.minimum(starts + 1, size - 1)
    has_next = on_edge & (ends - starts > 1)
    fell[starts[has_next] + 1] = False
    rest = values.copy()
    rest[starts[has_next]] = np.nan
    with np.errstate(invalid="ignore", over="ignore"):
        whole = np.logical_and.reduceat(values == np.trunc(values), starts)
        whole &= np.add.reduceat(np.abs(values), starts) < _WHOLE_BELOW
    return Exact(
        ~np.logical_or.reduceat(twice & inner, starts),
        np.add.reduceat(fell.astype(np.int64), starts),
        np.add.reduceat(np.where(fell, before, 0.0), starts),
        whole,
        points.start[starts],
        np.where(has_next, points.time[second], 0),
        np.where(has_next, points.start[second], 0),
        np.where(has_next, values[second], np.nan),
        np.where(has_next, np.fmin.reduceat(rest, starts), np.nan),
        np.where(has_next, np.fmax.reduceat(rest, starts), np.nan),
    )


def began_again(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    before_ms: NDArray[np.int64],
    start_ns: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether a counter began again between two points: it fell, or says that it began since.

    Args:
        before: float64: the value of the earlier one of each pair.
        after: float64: that of the later one.
        before_ms: int64: when the earlier one was, in milliseconds.
        start_ns: int64: since when the later one counts, in nanoseconds; 0 if it does not say.
    """
    start = start_ns // _NS_PER_MS
    result: NDArray[np.bool_] = (after < before) | ((start > 0) & (start > before_ms))
    return result


class Ends(NamedTuple):
    """What is told of the buckets that are summed up, each.

    Attributes:
        bucket: int64, nanoseconds: where it begins.
        first_time: int64, nanoseconds: of its first point.
        last_time: int64: of its last point.
        first: float64: the value of its first point.
        last: float64.
        least: float64: the smallest of its values.
        most: float64.
        points: int64: how many.
    """

    bucket: NDArray[np.int64]
    first_time: NDArray[np.int64]
    last_time: NDArray[np.int64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    least: NDArray[np.float64]
    most: NDArray[np.float64]
    points: NDArray[np.int64]


def exact_of_buckets(
    told: Exact, ends: Ends, starts: NDArray[np.int64], resolution_ns: int
) -> Exact:
    """Of buckets that are summed up to longer ones.

    Args:
        told: Of each.
        ends: Of each.
        starts: int64: where those of each longer bucket begin; they are in order.
        resolution_ns: Length of a longer bucket.
    """
    size = len(ends.bucket)
    inner = np.ones(size, np.bool_)
    inner[starts] = False
    last_ms = ends.last_time // _NS_PER_MS
    fell, mixed, before = np.zeros(size, np.bool_), np.zeros(size, np.bool_), np.zeros(size)
    before[1:] = ends.last[:-1]
    fell[1:] = began_again(ends.last[:-1], ends.first[1:], last_ms[:-1], told.first_start[1:])
    mixed[1:] = ends.first_time[1:] // _NS_PER_MS <= last_ms[:-1]
    fell &= inner
    begin = ends.bucket[starts] // resolution_ns * resolution_ns
    on_edge = ends.first_time[starts] // _NS_PER_MS == begin // _NS_PER_MS
    alone = ends.points[starts] == 1
    several = np.diff(np.append(starts, size)) > 1
    second = np.minimum(starts + 1, size - 1)
    has_next = on_edge & (~alone | several)
    own = on_edge & ~alone
    fell[starts[has_next & alone] + 1] = False
    # What a bucket says of its first point apart is told of the longer one only at its own edge.
    told_apart = told.next_time > 0
    told_apart[starts[own]] = False
    first_ms = ends.first_time // _NS_PER_MS
    inside = told_apart & began_again(ends.first, told.next_value, first_ms, told.next_start)
    resets = told.resets + fell + inside
    lost = np.where(fell, before, 0.0) + np.where(inside, ends.first, 0.0)
    rest_min, rest_max = ends.least.copy(), ends.most.copy()
    at = starts[on_edge]
    rest_min[at], rest_max[at] = told.next_min[at], told.next_max[at]
    with np.errstate(invalid="ignore", over="ignore"):
        size_of = np.fmax(np.abs(ends.least), np.abs(ends.most)) * ends.points
        whole = np.logical_and.reduceat(told.whole, starts)
        whole &= np.add.reduceat(size_of, starts) < _WHOLE_BELOW
    return Exact(
        np.logical_and.reduceat(told.known & ~(mixed & inner), starts),
        np.add.reduceat(resets, starts),
        np.add.reduceat(told.reset_sum + lost, starts),
        whole,
        told.first_start[starts],
        np.where(has_next, np.where(own, told.next_time[starts], ends.first_time[second]), 0),
        np.where(has_next, np.where(own, told.next_start[starts], told.first_start[second]), 0),
        np.where(has_next, np.where(own, told.next_value[starts], ends.first[second]), np.nan),
        np.where(has_next, np.fmin.reduceat(rest_min, starts), np.nan),
        np.where(has_next, np.fmax.reduceat(rest_max, starts), np.nan),
    )

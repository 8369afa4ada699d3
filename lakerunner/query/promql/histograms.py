"""Native histograms, many at once: their buckets lie in flat arrays, with offsets for each.

Exponential buckets have a schema from -4 to 20; bucket `i` holds the values of
`(2**((i - 1) / 2**schema), 2**(i / 2**schema)]`. Custom buckets have the schema -53; bucket `i`
ends at the i-th of the histogram's bounds (from 0), and the last has no end.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lakerunner.query.promql.annotations import go_number
from lakerunner.schema.arrays import expand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CUSTOM_SCHEMA = -53
MAX_SCHEMA = 8
"""The finest schema that Prometheus keeps; finer ones are brought down to it."""

_MAX_FLOAT = np.finfo(np.float64).max
_MAX_EXPONENT = 1024


class Hint(IntEnum):
    """What is known of resets of the counter before a histogram."""

    UNKNOWN = 0
    RESET = 1
    NOT_RESET = 2
    GAUGE = 3


class Buckets(NamedTuple):
    """The buckets of one sign of many histograms.

    Attributes:
        row: int64: which histogram each bucket belongs to, ascending.
        number: int64: its index, ascending within a histogram.
        amount: float64: its observations, never 0.
    """

    row: NDArray[np.int64]
    number: NDArray[np.int64]
    amount: NDArray[np.float64]

    @classmethod
    def empty(cls) -> Buckets:
        """No buckets at all."""
        nothing = np.zeros(0, dtype=np.int64)
        return cls(nothing, nothing, np.zeros(0))

    @classmethod
    def gather(
        cls, row: NDArray[np.int64], index: NDArray[np.int64], count: NDArray[np.float64]
    ) -> Buckets:
        """Sum up the observations of equal buckets and leave out what is empty."""
        if not len(row):
            return cls.empty()
        order = np.lexsort((index, row))
        row, index, count = row[order], index[order], count[order]
        first = np.ones(len(row), dtype=bool)
        first[1:] = (row[1:] != row[:-1]) | (index[1:] != index[:-1])
        starts = np.flatnonzero(first)
        summed = np.add.reduceat(count, starts)
        filled = summed != 0
        return cls(row[starts][filled], index[starts][filled], summed[filled])

    def take(self, rows: NDArray[np.int64], size: int) -> Buckets:
        """The buckets of other histograms, by number; `size` is how many there are now."""
        counts = np.bincount(self.row, minlength=size)
        ends = np.cumsum(counts)
        starts = ends - counts
        lengths = counts[rows]
        at = expand(starts[rows], lengths)
        row = np.repeat(np.arange(len(rows)), lengths)
        return Buckets(row, self.number[at], self.amount[at])


class Histograms(NamedTuple):
    """A column of histograms.

    Attributes:
        schema: int64.
        amount: float64, observations.
        sum: float64, of all observations.
        zero_count: float64, observations in the zero bucket.
        zero_threshold: float64, where the zero bucket ends.
        hint: int64, values of `Hint`.
        layout: int64: which of `bounds` a histogram of custom buckets has.
        positive: Buckets above zero, or custom buckets.
        negative: Buckets below zero, by their distance from it.
        bounds: Distinct bounds of custom buckets.
    """

    schema: NDArray[np.int64]
    amount: NDArray[np.float64]
    sum: NDArray[np.float64]
    zero_count: NDArray[np.float64]
    zero_threshold: NDArray[np.float64]
    hint: NDArray[np.int64]
    layout: NDArray[np.int64]
    positive: Buckets
    negative: Buckets
    bounds: tuple[NDArray[np.float64], ...] = ()

    @classmethod
    def empty(cls) -> Histograms:
        """No histograms."""
        ints, floats = np.zeros(0, dtype=np.int64), np.zeros(0)
        nothing = Buckets.empty()
        return cls(ints, floats, floats, floats, floats, ints, ints, nothing, nothing)

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.schema)

    @property
    def custom(self) -> NDArray[np.bool_]:
        """Which have custom buckets."""
        result: NDArray[np.bool_] = self.schema == CUSTOM_SCHEMA
        return result

    def take(self, rows: NDArray[np.int64]) -> Histograms:
        """Other histograms, by number; one may come several times."""
        return self._replace(
            schema=self.schema[rows],
            amount=self.amount[rows],
            sum=self.sum[rows],
            zero_count=self.zero_count[rows],
            zero_threshold=self.zero_threshold[rows],
            hint=self.hint[rows],
            layout=self.layout[rows],
            positive=self.positive.take(rows, self.size),
            negative=self.negative.take(rows, self.size),
        )

    def scale(self, factor: NDArray[np.float64]) -> Histograms:
        """Multiply all observations, each histogram by its own factor."""
        return self._replace(
            amount=self.amount * factor,
            sum=self.sum * factor,
            zero_count=self.zero_count * factor,
            positive=_scaled(self.positive, factor),
            negative=_scaled(self.negative, factor),
        )

    def divide(self, divisor: NDArray[np.float64]) -> Histograms:
        """Divide all observations; by zero, buckets vanish and the rest becomes NaN or infinite."""
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = self._replace(
                amount=self.amount / divisor,
                sum=self.sum / divisor,
                zero_count=self.zero_count / divisor,
            )
        gone = divisor == 0
        return scaled._replace(
            positive=_divided(self.positive, divisor, gone),
            negative=_divided(self.negative, divisor, gone),
        )

    def with_hint(self, hint: Hint) -> Histograms:
        """The same with one hint for all."""
        return self._replace(hint=np.full(self.size, int(hint), dtype=np.int64))


def concat(parts: Sequence[Histograms]) -> Histograms:
    """Several columns of histograms, one after the other."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Histograms.empty()
    bounds: dict[bytes, int] = {}
    distinct: list[NDArray[np.float64]] = []
    layouts = []
    for part in parts:
        numbers = []
        for one in part.bounds:
            key = one.tobytes()
            if key not in bounds:
                bounds[key] = len(distinct)
                distinct.append(one)
            numbers.append(bounds[key])
        table = np.array([*numbers, 0], dtype=np.int64)
        layouts.append(table[np.where(part.custom, part.layout, -1)])
    offsets = np.cumsum([0, *(part.size for part in parts)])

    def joined(buckets: Sequence[Buckets]) -> Buckets:
        rows = [one.row + start for one, start in zip(buckets, offsets, strict=False)]
        return Buckets(
            np.concatenate(rows),
            np.concatenate([one.number for one in buckets]),
            np.concatenate([one.amount for one in buckets]),
        )

    return Histograms(
        np.concatenate([part.schema for part in parts]),
        np.concatenate([part.amount for part in parts]),
        np.concatenate([part.sum for part in parts]),
        np.concatenate([part.zero_count for part in parts]),
        np.concatenate([part.zero_threshold for part in parts]),
        np.concatenate([part.hint for part in parts]),
        np.concatenate(layouts),
        joined([part.positive for part in parts]),
        joined([part.negative for part in parts]),
        tuple(distinct),
    )


def exponential_bounds(
    schema: NDArray[np.int64], index: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where exponential buckets begin and end: exclusive, inclusive."""
    return _bound(schema, index - 1), _bound(schema, index)


def _bound(schema: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.float64]:
    fine = np.clip(schema, 0, 62)
    whole = np.where(schema < 0, index << np.clip(-schema, 0, 62), index >> fine)
    part = np.where(schema > 0, (index & ((1 << fine) - 1)) / (1 << fine), 0.0)
    exponent = np.clip(whole, -5000, 5000).astype(np.int32)
    with np.errstate(over="ignore"):
        bound = np.ldexp(np.exp2(part), exponent)
    # One past the largest exponent is the largest number, so that the bucket below has an end.
    result: NDArray[np.float64] = np.where(
        (whole == _MAX_EXPONENT) & (part == 0), _MAX_FLOAT, bound
    )
    return result


class AllBuckets(NamedTuple):
    """All buckets of all histograms that hold anything, from the smallest values to the largest.

    Attributes:
        row: Which histogram, ascending.
        lower: Where the bucket begins.
        upper: Where it ends.
        amount: Its observations.
    """

    row: NDArray[np.int64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    amount: NDArray[np.float64]


def all_buckets(source: Histograms) -> AllBuckets:
    """The buckets of both signs and the zero buckets, in order of value."""
    rows, lowers, uppers, counts = [], [], [], []
    schema = source.schema
    lower, upper = exponential_bounds(schema[source.negative.row], source.negative.number)
    rows.append(source.negative.row)
    lowers.append(-upper)
    uppers.append(-lower)
    counts.append(source.negative.amount)
    zero = np.flatnonzero((source.zero_count != 0) & ~source.custom)
    rows.append(zero)
    lowers.append(-source.zero_threshold[zero])
    uppers.append(source.zero_threshold[zero])
    counts.append(source.zero_count[zero])
    positive = source.positive
    lower, upper = exponential_bounds(schema[positive.row], positive.number)
    for number, bounds in enumerate(source.bounds):
        here = source.custom[positive.row] & (source.layout[positive.row] == number)
        ends = np.concatenate([[-np.inf], bounds, [np.inf]])
        lower[here] = ends[positive.number[here]]
        upper[here] = ends[positive.number[here] + 1]
    rows.append(positive.row)
    lowers.append(lower)
    uppers.append(upper)
    counts.append(positive.amount)
    row, start = np.concatenate(rows), np.concatenate(lowers)
    order = np.lexsort((start, row))
    return AllBuckets(
        row[order], start[order], np.concatenate(uppers)[order], np.concatenate(counts)[order]
    )


def _scaled(buckets: Buckets, factor: NDArray[np.float64]) -> Buckets:
    count = buckets.amount * factor[buckets.row]
    filled = count != 0
    return Buckets(buckets.row[filled], buckets.number[filled], count[filled])


def _divided(buckets: Buckets, divisor: NDArray[np.float64], gone: NDArray[np.bool_]) -> Buckets:
    kept = ~gone[buckets.row]
    row = buckets.row[kept]
    return Buckets(row, buckets.number[kept], buckets.amount[kept] / divisor[row])


# Native histograms as Prometheus writes them in text.


def texts_of(source: Histograms) -> Sequence[str]:
    """Each histogram with its count, its sum and all buckets that hold anything."""
    buckets = all_buckets(source)
    ends = np.searchsorted(buckets.row, np.arange(source.size + 1))
    texts = []
    for number in range(source.size):
        parts = [
            f"count:{go_number(float(source.amount[number]))}",
            f"sum:{go_number(float(source.sum[number]))}",
        ]
        for at in range(ends[number], ends[number + 1]):
            lower, upper = float(buckets.lower[at]), float(buckets.upper[at])
            opening = "[" if lower < 0 else "("
            closing = ")" if upper < 0 else "]"
            span = f"{opening}{go_number(lower)},{go_number(upper)}{closing}"
            parts.append(f"{span}:{go_number(float(buckets.amount[at]))}")
        texts.append("{" + ", ".join(parts) + "}")
    return texts

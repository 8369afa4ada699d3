"""SQL functions over histograms and counters: quantiles of buckets, sums of them, increases.

`histogram_quantile` takes explicit buckets, `exponential_histogram_quantile` those of a scale;
`sum_buckets` adds lists up, element by element, so that both can be asked of many points at once.
`increase` and `rate` are window functions, which go from one point of a counter to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datafusion import Accumulator, udaf, udf, udwf
from datafusion.user_defined import WindowEvaluator

from lakerunner.compute.expressions import constant, kind_of, operands_of, operator_of
from lakerunner.model.predicate import Compare
from lakerunner.model.times import MAX_NS, MIN_NS, NANOS
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.sketch import (
    Sketches,
    merge_sketches,
    quantiles,
    read_sketches,
    sketch_values,
)
from lakerunner.schema.tables import SKETCH_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datafusion import AggregateUDF, Expr, ScalarUDF, WindowUDF

    from lakerunner.model.predicate import Operator, Predicate

_COUNTS, _BOUNDS = pa.list_(pa.uint64()), pa.list_(pa.float64())
_SECOND = 1e9


def histogram_functions() -> list[ScalarUDF]:
    """The functions of single values, to be registered with a session."""
    return [
        udf(
            _explicit, [pa.float64(), _COUNTS, _BOUNDS], pa.float64(), "immutable",
            "histogram_quantile",
        ),
        udf(
            _exponential,
            [
                *(pa.float64(), pa.int32(), pa.uint64(), pa.int32(), _COUNTS),
                *(pa.int32(), _COUNTS),
            ],
            pa.float64(), "immutable", "exponential_histogram_quantile",
        ),
    ]  # fmt: skip


def bucket_aggregates() -> list[AggregateUDF]:
    """The aggregates, likewise."""
    return [udaf(SumBuckets, [_COUNTS], _COUNTS, [_COUNTS], "immutable", "sum_buckets")]


def counter_functions() -> list[WindowUDF]:
    """The window functions, likewise."""
    return [
        udwf(Increase, [pa.float64()], pa.float64(), "immutable", "increase"),
        udwf(Rate, [pa.float64(), TIMESTAMP], pa.float64(), "immutable", "rate"),
    ]


class _Buckets:
    """Lists of counts, searched all at once.

    Args:
        lists: Arrow lists of counts; NULL is an empty one.
    """

    def __init__(self, lists: Any) -> None:
        lengths = pc.fill_null(pc.list_value_length(lists), 0)
        self.lengths = lengths.to_numpy(zero_copy_only=False).astype(np.int64)
        flat = pc.list_flatten(lists).fill_null(0)
        self.counts = flat.to_numpy(zero_copy_only=False).astype(np.float64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        sums = np.append(0.0, np.cumsum(self.counts))
        self._before = sums[:-1] - np.repeat(sums[self.starts], self.lengths)
        self.totals = sums[self.starts + self.lengths] - sums[self.starts]

    def find(self, ranks: Any) -> tuple[Any, Any]:
        """In which bucket of each list the value of a rank lies, and how far within it, 0 to 1.

        Of a list without any such bucket the place is -1.
        """
        reached = self._before + self.counts >= np.repeat(ranks, self.lengths)
        hits = np.flatnonzero(reached & (self.counts > 0))
        first = np.searchsorted(hits, self.starts)
        hit = np.append(hits, -1)[first]
        found = (hit >= self.starts) & (hit < self.starts + self.lengths)
        at = np.where(found, hit, 0)
        if not len(self.counts):
            return np.full(len(ranks), -1), np.zeros(len(ranks))
        share = (ranks - self._before[at]) / np.where(found, self.counts[at], 1)
        return np.where(found, hit - self.starts, -1), np.clip(share, 0, 1)


def _explicit(q: Any, counts: Any, bounds: Any) -> Any:
    buckets, limits = _Buckets(counts), _Buckets(bounds)
    edges = limits.counts
    wanted = _numbers(q)
    fit = (buckets.lengths == limits.lengths + 1) & (buckets.totals > 0)
    place, share = buckets.find(np.clip(np.nan_to_num(wanted), 0, 1) * buckets.totals)
    fit &= place >= 0
    if not len(edges):
        return _result(np.full(len(wanted), np.nan), wanted, fit & (limits.lengths > 0))
    last = limits.lengths - 1
    upper = edges[np.clip(limits.starts + np.clip(place, 0, last), 0, len(edges) - 1)]
    lower = edges[np.clip(limits.starts + place - 1, 0, len(edges) - 1)]
    # As Prometheus has it: the first bucket begins at 0, if it ends above, and else has no width;
    # of what lies beyond the last bound nothing is known but that.
    lower = np.where(place == 0, np.where(upper > 0, 0.0, upper), lower)
    value = np.where(place > last, upper, lower + (upper - lower) * share)
    return _result(value, wanted, fit & (limits.lengths > 0))


def _exponential(
    q: Any, scale: Any, zeros: Any, over: Any, positive: Any, under: Any, negative: Any
) -> Any:
    above, below = _Buckets(positive), _Buckets(negative)
    none = _numbers(zeros, 0)
    totals = below.totals + none + above.totals
    wanted = _numbers(q)
    rank = np.clip(np.nan_to_num(wanted), 0, 1) * totals
    width = np.exp2(-_numbers(scale))
    # The rank from zero outwards, on either side.
    outer, share = above.find(rank - below.totals - none)
    up = np.exp2((_numbers(over, 0) + outer + share) * width)
    inner, rest = below.find(below.totals - rank)
    down = -np.exp2((_numbers(under, 0) + inner + rest) * width)
    value = np.where(rank < below.totals, down, np.where(rank <= below.totals + none, 0.0, up))
    at_zero = (none == 0) & (below.totals == 0) & (rank == 0)
    value = np.where(at_zero, up, value)
    return _result(value, wanted, (totals > 0) & ~np.isnan(width))


def _numbers(values: Any, missing: float = np.nan) -> Any:
    return pc.fill_null(values.cast(pa.float64()), missing).to_numpy(zero_copy_only=False)


def _result(values: Any, wanted: Any, known: Any) -> Any:
    values = np.where(wanted < 0, -np.inf, np.where(wanted > 1, np.inf, values))
    return pa.array(values, pa.float64(), mask=~known | np.isnan(wanted))


class SumBuckets(Accumulator):
    """Adds lists of counts up, element by element; a shorter one counts as filled with zeros."""

    def __init__(self) -> None:
        self._sums: Any = None

    def update(self, *values: Any) -> None:
        """Add the lists of a batch."""
        (lists,) = values
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
        flat = pc.list_flatten(lists).fill_null(0).to_numpy(zero_copy_only=False)
        if lists.null_count < len(lists):
            starts = np.cumsum(lengths) - lengths
            places = np.arange(len(flat)) - np.repeat(starts, lengths)
            size = max(int(lengths.max(initial=0)), 0 if self._sums is None else len(self._sums))
            sums = np.zeros(size, np.uint64)
            np.add.at(sums, places, flat.astype(np.uint64))
            if self._sums is not None:
                sums[: len(self._sums)] += self._sums
            self._sums = sums

    def merge(self, states: list[Any]) -> None:
        """Add what other accumulators have."""
        self.update(states[0])

    def state(self) -> list[Any]:
        """The sums."""
        return [self.evaluate()]

    def evaluate(self) -> Any:
        """The sums; empty if there was no list, for DataFusion takes no NULL here."""
        return pa.scalar([] if self._sums is None else self._sums.tolist(), _COUNTS)


class Increase(WindowEvaluator):
    """By how much a counter grew since the point before; after a reset, from zero."""

    def evaluate_all(self, values: list[Any], num_rows: int) -> Any:
        """The increases of one partition, in its order; NULL for the first point."""
        counters = _numbers(values[0])
        grown, known = np.full(num_rows, np.nan), np.flatnonzero(~np.isnan(counters))
        grown[known[1:]] = _grown(counters[known])
        return pa.array(grown, pa.float64(), from_pandas=True)


class Rate(WindowEvaluator):
    """The same for each second between the two points."""

    def evaluate_all(self, values: list[Any], num_rows: int) -> Any:
        """The rates of one partition, in its order; NULL for the first point."""
        counters, times = _numbers(values[0]), values[1].cast(pa.int64()).to_numpy()
        rates, known = np.full(num_rows, np.nan), np.flatnonzero(~np.isnan(counters))
        seconds = np.diff(times[known]) / _SECOND
        with np.errstate(divide="ignore", invalid="ignore"):
            rates[known[1:]] = np.where(seconds > 0, _grown(counters[known]) / seconds, np.nan)
        return pa.array(rates, pa.float64(), from_pandas=True)


def _grown(counters: Any) -> Any:
    change = np.diff(counters)
    return np.where(change < 0, counters[1:], change)


# SQL functions over quantile sketches: made of numbers, merged, and asked.
#
# They are the sketches of the rollups (`lakerunner.schema.sketch`), so those of a tier and of raw
# values can be merged with each other.

_STATE = [field.type for field in SKETCH_TYPE]


def sketch_functions() -> list[ScalarUDF]:
    """The functions of single values, to be registered with a session."""
    kinds = [pa.float64(), SKETCH_TYPE]
    return [udf(_quantile, kinds, pa.float64(), "immutable", "sketch_quantile")]


def sketch_aggregates() -> list[AggregateUDF]:
    """The aggregates, likewise."""
    return [
        udaf(Sketched, [pa.float64()], SKETCH_TYPE, _STATE, "immutable", "sketch"),
        udaf(Merged, [SKETCH_TYPE], SKETCH_TYPE, _STATE, "immutable", "merge_sketches"),
    ]


def _quantile(shares: Any, sketches: Any) -> Any:
    """One quantile of each sketch; NULL for an empty one, and for a share outside of 0 to 1."""
    wanted = pc.fill_null(shares, np.nan).to_numpy(zero_copy_only=False)
    read = read_sketches(sketches)
    found = np.full(len(wanted), np.nan)
    for share in np.unique(wanted[(wanted >= 0) & (wanted <= 1)]):  # nearly always one
        rows = wanted == share
        found[rows] = quantiles(read, [float(share)])[rows, 0]
    return pa.array(found, pa.float64(), from_pandas=True)


class Merged(Accumulator):
    """Merges sketches; nothing is lost, whatever the order."""

    def __init__(self) -> None:
        none = np.zeros(0, np.int64)
        self._held = Sketches(np.zeros(2, np.int64), none, none)

    def update(self, *values: Any) -> None:
        """Merge the sketches of a batch."""
        self._merge(read_sketches(values[0]))

    def merge(self, states: list[Any]) -> None:
        """Merge what other accumulators have."""
        bins, counts = states
        self._merge(
            read_sketches(pa.StructArray.from_arrays([bins, counts], fields=[*SKETCH_TYPE]))
        )

    def _merge(self, more: Sketches) -> None:
        held = self._held
        both = Sketches(
            np.concatenate([held.offsets, held.offsets[-1] + more.offsets[1:]]),
            np.concatenate([held.bins, more.bins]),
            np.concatenate([held.counts, more.counts]),
        )
        self._held = merge_sketches(both, np.zeros(len(both.offsets) - 1, np.int64), 1)

    def state(self) -> list[Any]:
        """The bins and their counts."""
        return [
            pa.scalar(self._held.bins.tolist(), _STATE[0]),
            pa.scalar(self._held.counts.tolist(), _STATE[1]),
        ]

    def evaluate(self) -> Any:
        """The sketch; one of nothing has no bins."""
        bins, counts = (field.name for field in SKETCH_TYPE)
        held = {bins: self._held.bins.tolist(), counts: self._held.counts.tolist()}
        return pa.scalar(held, SKETCH_TYPE)


class Sketched(Merged):
    """Makes a sketch of numbers; NULL and NaN are left out."""

    def update(self, *values: Any) -> None:
        """See the numbers of a batch."""
        numbers = values[0].drop_null().to_numpy(zero_copy_only=False)
        self._merge(sketch_values(numbers, np.zeros(len(numbers), np.int64), 1))


# What a comparison of a rounded-down time says about the time itself.

_DAY = 86_400 * NANOS
# The longest that a step can last; a month is at most 31 days.
_STEPS = {
    "microsecond": 1000,
    "millisecond": 10**6,
    "second": NANOS,
    "minute": 60 * NANOS,
    "hour": 3600 * NANOS,
    "day": _DAY,
    "week": 7 * _DAY,
    "month": 31 * _DAY,
    "quarter": 92 * _DAY,
    "year": 366 * _DAY,
}


def step_bounds(
    expression: Expr, operator: Operator, value: Expr, types: Mapping[str, object]
) -> list[Predicate]:
    """Bounds on a column that follow from comparing its time, rounded down, with a constant.

    Understood are `date_trunc('hour', column)` and `CAST(column AS DATE)`. A rounded time lies less
    than one step before the time itself, so the bounds are too wide by up to a step, never too
    narrow.

    Args:
        expression: What is compared.
        operator: How.
        value: With what.
        types: Arrow types of the columns.
    """
    found = _rounded(expression)
    start = _nanoseconds(value)
    if found is None or start is None or types.get(found[0]) != TIMESTAMP:
        return []
    column, step_ns = found
    bounds: list[Predicate] = []
    if operator in ("=", ">", ">="):
        # Engines differ in the direction in which times before 1970 are rounded.
        first = start if start > 0 else start - step_ns
        bounds.append(Compare(column, ">=", max(first, MIN_NS)))
    if operator in ("=", "<", "<="):
        bounds.append(Compare(column, "<=", min(start + step_ns, MAX_NS)))
    return bounds


def _rounded(expression: Expr) -> tuple[str, int] | None:
    operands = operands_of(expression)
    if kind_of(expression) == "Cast" and str(expression).endswith(" AS Date32))"):
        (column,) = operands
        return (column.to_variant().name(), _DAY) if kind_of(column) == "Column" else None
    if kind_of(expression) == "ScalarFunction" and operator_of(expression) == "date_trunc":
        unit, column = operands
        step = _STEPS.get(str(constant(unit)).lower())
        if step is not None and kind_of(column) == "Column":
            return column.to_variant().name(), step
    return None


def _nanoseconds(expression: Expr) -> int | None:
    if kind_of(expression) != "Literal":
        return None
    scalar = expression.python_value()
    if not scalar.is_valid:
        return None
    if pa.types.is_date32(scalar.type):
        return int(scalar.value) * _DAY
    value = constant(expression)
    is_time = pa.types.is_timestamp(scalar.type)
    return value if is_time and isinstance(value, int) else None

"""When an expression is evaluated, and which times its selectors read for that."""

from __future__ import annotations

import math
from datetime import timedelta
from math import gcd
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lakerunner.errors import ConfigurationError, QueryExecutionError, QueryLimitError
from lakerunner.model.times import to_nanoseconds
from lakerunner.query.promql.labels import NAME
from lakerunner.query.promql.lexer import compute_duration, duration_seconds, number_value
from lakerunner.query.promql.syntax import (
    AtBound,
    Call,
    Duration,
    Matcher,
    Moment,
    Node,
    Parens,
    Range,
    Selector,
    Subquery,
    children,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lakerunner.model.times import TimeLike

StepLike = float | str | timedelta
"""A length of time: seconds, a `timedelta`, or text such as `"30s"`."""

MAX_STEPS = 11_000
"""More steps than any screen has columns; what Prometheus allows."""

_NS_PER_MS = 1_000_000

SUMMED = frozenset(
    {"rate", "increase", "delta", "resets", "avg_over_time", "count_over_time", "sum_over_time"}
    | {"first_over_time", "last_over_time", "max_over_time", "min_over_time", "present_over_time"}
    | {"ts_of_first_over_time", "ts_of_last_over_time"}
)
"""Functions of ranges that need not see every sample, but what is told of several together."""

DEFAULT_LOOKBACK_MS = 300_000
DEFAULT_SUBQUERY_STEP_MS = 60_000


class Grid(NamedTuple):
    """When a query is evaluated, in milliseconds since the epoch.

    Attributes:
        start_ms: The first time.
        end_ms: The last one may not lie after it.
        step_ms: From one to the next; 0 for a single time.
        lookback_ms: How old a sample may be that an instant selector still sees.
        subquery_step_ms: The step of subqueries that name none.
        part: The first and the last step of those that are evaluated now; None for all.
    """

    start_ms: int
    end_ms: int
    step_ms: int = 0
    lookback_ms: int = DEFAULT_LOOKBACK_MS
    subquery_step_ms: int = DEFAULT_SUBQUERY_STEP_MS
    part: tuple[int, int] | None = None

    @property
    def times(self) -> NDArray[np.int64]:
        """int64, ascending."""
        if not self.step_ms:
            return np.array([self.start_ms], dtype=np.int64)
        every = np.arange(self.start_ms, self.end_ms + 1, self.step_ms, dtype=np.int64)
        return every if self.part is None else every[self.part[0] : self.part[1] + 1]

    def parts(self, steps: int) -> list[Grid]:
        """The same times in parts of so many steps at most, one after the other."""
        total = len(self.times)
        if total <= steps:
            return [self]
        firsts = range(0, total, steps)
        return [self._replace(part=(at, min(at + steps, total) - 1)) for at in firsts]


class Read(NamedTuple):
    """What selectors with the same conditions read together.

    Attributes:
        matchers: The conditions.
        after_ms: Samples must lie after this time.
        until_ms: And not after this one.
        latest: Of each series only the last sample counts, and all are evaluated at one time.
        every_ms: All that is asked for are ranges that begin and end at multiples of it, of
            functions of `SUMMED`; 0 where that is not so.
    """

    matchers: tuple[Matcher, ...]
    after_ms: int
    until_ms: int
    latest: bool = False
    every_ms: int = 0


def reads(node: Node, grid: Grid) -> list[Read]:
    """What an expression reads: one for each distinct set of conditions."""
    found: dict[tuple[Matcher, ...], Read] = {}
    scope = Scope(grid)
    for one in _spans(node, grid.times[[0, -1]], scope, grid.step_ms):
        known = found.get(one.matchers, one)
        found[one.matchers] = Read(
            one.matchers,
            min(known.after_ms, one.after_ms),
            max(known.until_ms, one.until_ms),
            known.latest and one.latest and known.until_ms == one.until_ms,
            gcd(known.every_ms, one.every_ms) if known.every_ms and one.every_ms else 0,
        )
    return list(found.values())


class Scope:
    """Durations and times of one query, in milliseconds."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def duration_ms(self, duration: Duration) -> int:
        """A duration in milliseconds, negative for one that goes ahead."""
        grid = self.grid
        seconds = compute_duration(
            duration, step=grid.step_ms / 1000, length=(grid.end_ms - grid.start_ms) / 1000
        )
        if seconds is None:
            raise QueryExecutionError("a duration divides by zero")
        return round(seconds * 1000)

    def length_ms(self, duration: Duration) -> int:
        """The length of a range or a step in milliseconds."""
        length = self.duration_ms(duration)
        if length <= 0:
            raise QueryExecutionError("duration must be greater than 0")
        return length

    def moved(self, times: NDArray[np.int64], moment: Moment) -> NDArray[np.int64]:
        """When a selector or subquery is read, for each time of evaluation."""
        offset = self.duration_ms(moment.offset)
        if moment.at is None:
            return times - offset
        if moment.at is AtBound.START:
            at = self.grid.start_ms
        elif moment.at is AtBound.END:
            at = self.grid.end_ms
        else:
            at = round(float(moment.at) * 1000)
        return np.full(len(times), at - offset, dtype=np.int64)

    def inner_times(self, node: Subquery, times: NDArray[np.int64]) -> range:
        """When the expression of a subquery is evaluated: at multiples of its step.

        There may be more than fit in memory.
        """
        length = self.length_ms(node.length)
        step = self.grid.subquery_step_ms
        if node.step is not None:
            step = self.length_ms(node.step)
        ends = self.moved(times, node.moment)
        first = (int(ends.min()) - length) // step * step + step
        return range(first, int(ends.max()) + 1, step)


def _spans(
    node: Node, ends: NDArray[np.int64], scope: Scope, step_ms: int, *, summed: bool = False
) -> Iterator[Read]:
    """What each selector reads.

    Args:
        node: An expression.
        ends: int64: the first and the last time of evaluation.
        scope: Durations and times of the query.
        step_ms: From one time of evaluation to the next.
        summed: It is the range of a function of `SUMMED`.
    """
    match node:
        case Selector():
            moved = scope.moved(ends, node.moment)
            reach = scope.grid.lookback_ms
            ahead = reach if node.mode == "smoothed" else 0
            low, high = int(moved.min()), int(moved.max())
            latest = low == high and not node.mode
            yield Read(node.matchers, low - reach, high + ahead, latest)
        case Range(selector=selector):
            moved = scope.moved(ends, selector.moment)
            length = scope.length_ms(node.length)
            reach = scope.grid.lookback_ms if selector.mode else 0
            ahead = reach if selector.mode == "smoothed" else 0
            low, high = int(moved.min()), int(moved.max())
            step = step_ms if selector.moment.at is None else 0
            every = 0 if selector.mode or not summed else gcd(low, step, length)
            yield Read(selector.matchers, low - length - reach, high + ahead, every_ms=every)
        case Subquery():
            inner = scope.inner_times(node, ends)
            if len(inner):
                step = inner.step if len(inner) > 1 else 0
                both = np.array([inner[0], inner[-1]], dtype=np.int64)
                yield from _spans(node.expr, both, scope, step)
        case Call(name="info"):
            yield from _spans(node.args[0], ends, scope, step_ms)
            first = int(ends.min()) - scope.grid.lookback_ms
            yield Read(info_matchers(node), first, int(ends.max()))
        case _:
            inside = isinstance(node, Parens) and summed
            inside |= isinstance(node, Call) and node.name in SUMMED
            for child in children(node):
                yield from _spans(child, ends, scope, step_ms, summed=inside)


def info_matchers(node: Call) -> tuple[Matcher, ...]:
    """Which series `info` takes labels from: `target_info` unless its second argument says else."""
    named = tuple(one for one in data_matchers(node) if one.name == NAME)
    return named or (Matcher(NAME, "=", "target_info"),)


def data_matchers(node: Call) -> tuple[Matcher, ...]:
    """What the second argument of `info` asks for."""
    if len(node.args) < 2 or not isinstance(node.args[1], Selector):  # noqa: PLR2004 - optional
        return ()
    return node.args[1].matchers


def read_grid(
    at: TimeLike | None,
    start: TimeLike | None,
    end: TimeLike | None,
    step: StepLike | None,
    lookback: StepLike | None,
    now_ns: int,
) -> Grid:
    """The times of a query: a single one, or a range with a step.

    Raises:
        ConfigurationError: They contradict each other, or a step is not above 0.
        QueryLimitError: There are more than 11,000 steps.
        InvalidTimeError: One cannot be read.
    """
    lookback_ms = DEFAULT_LOOKBACK_MS if lookback is None else _milliseconds(lookback, "lookback")
    if start is None and end is None and step is None:
        moment = to_nanoseconds("now" if at is None else at, now_ns=now_ns) // _NS_PER_MS
        return Grid(moment, moment, lookback_ms=lookback_ms)
    if at is not None or start is None or end is None or step is None:
        raise ConfigurationError("give either time=, or start=, end= and step= together")
    first, last = (to_nanoseconds(one, now_ns=now_ns) // _NS_PER_MS for one in (start, end))
    step_ms = _milliseconds(step, "step")
    if last < first:
        raise ConfigurationError("end must not lie before start")
    if (last - first) // step_ms >= MAX_STEPS:
        raise QueryLimitError(
            f"exceeded maximum resolution of {MAX_STEPS:,} points per series: "
            "make the step longer or the range shorter"
        )
    return Grid(first, last, step_ms, lookback_ms)


def _milliseconds(length: StepLike, name: str) -> int:
    seconds: float | None
    if isinstance(length, timedelta):
        seconds = length.total_seconds()
    elif isinstance(length, str):
        seconds = duration_seconds(length) if length[-1:].isalpha() else number_value(length)
    else:
        seconds = float(length)
    if seconds is None or not seconds > 0 or not math.isfinite(seconds):
        raise ConfigurationError(
            f"{name} must be seconds above 0, a timedelta, or text such as '30s': {length!r}",
            setting=name,
        )
    return max(1, round(seconds * 1000))

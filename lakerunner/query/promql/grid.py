"""When an expression is evaluated, and which times its selectors read for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lakerunner.errors import QueryExecutionError
from lakerunner.query.promql.durations import compute_duration
from lakerunner.query.promql.labels import NAME
from lakerunner.query.promql.syntax import (
    AtBound,
    Call,
    Duration,
    Matcher,
    Moment,
    Node,
    Range,
    Selector,
    Subquery,
    children,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

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
    """

    start_ms: int
    end_ms: int
    step_ms: int = 0
    lookback_ms: int = DEFAULT_LOOKBACK_MS
    subquery_step_ms: int = DEFAULT_SUBQUERY_STEP_MS

    @property
    def times(self) -> NDArray[np.int64]:
        """int64, ascending."""
        if not self.step_ms:
            return np.array([self.start_ms], dtype=np.int64)
        return np.arange(self.start_ms, self.end_ms + 1, self.step_ms, dtype=np.int64)


class Read(NamedTuple):
    """What selectors with the same conditions read together.

    Attributes:
        matchers: The conditions.
        after_ms: Samples must lie after this time.
        until_ms: And not after this one.
    """

    matchers: tuple[Matcher, ...]
    after_ms: int
    until_ms: int


def reads(node: Node, grid: Grid) -> list[Read]:
    """What an expression reads: one for each distinct set of conditions."""
    ranges: dict[tuple[Matcher, ...], tuple[int, int]] = {}
    scope = Scope(grid)
    for matchers, after, until in _spans(node, grid.times[[0, -1]], scope):
        low, high = ranges.get(matchers, (after, until))
        ranges[matchers] = (min(low, after), max(high, until))
    return [Read(matchers, after, until) for matchers, (after, until) in ranges.items()]


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

    def inner_times(self, node: Subquery, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """When the expression of a subquery is evaluated: at multiples of its step."""
        length = self.length_ms(node.length)
        step = self.grid.subquery_step_ms
        if node.step is not None:
            step = self.length_ms(node.step)
        ends = self.moved(times, node.moment)
        first = (int(ends.min()) - length) // step * step + step
        return np.arange(first, int(ends.max()) + 1, step, dtype=np.int64)


def _spans(
    node: Node, ends: NDArray[np.int64], scope: Scope
) -> Iterator[tuple[tuple[Matcher, ...], int, int]]:
    """Which times each selector reads: `ends` are the first and last time of evaluation."""
    match node:
        case Selector():
            moved = scope.moved(ends, node.moment)
            yield node.matchers, int(moved.min()) - scope.grid.lookback_ms, int(moved.max())
        case Range(selector=selector):
            moved = scope.moved(ends, selector.moment)
            length = scope.length_ms(node.length)
            yield selector.matchers, int(moved.min()) - length, int(moved.max())
        case Subquery():
            inner = scope.inner_times(node, ends)
            if len(inner):
                yield from _spans(node.expr, inner[[0, -1]], scope)
        case Call(name="info"):
            yield from _spans(node.args[0], ends, scope)
            first = int(ends.min()) - scope.grid.lookback_ms
            yield info_matchers(node), first, int(ends.max())
        case _:
            for child in children(node):
                yield from _spans(child, ends, scope)


def info_matchers(node: Call) -> tuple[Matcher, ...]:
    """Which series `info` takes labels from: `target_info` unless its second argument says else."""
    named = tuple(one for one in data_matchers(node) if one.name == NAME)
    return named or (Matcher(NAME, "=", "target_info"),)


def data_matchers(node: Call) -> tuple[Matcher, ...]:
    """What the second argument of `info` asks for."""
    if len(node.args) < 2 or not isinstance(node.args[1], Selector):  # noqa: PLR2004 - optional
        return ()
    return node.args[1].matchers

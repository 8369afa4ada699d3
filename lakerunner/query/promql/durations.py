"""Durations that are computed: `[2 * step()]`, `offset (1h - 5m)`."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING

from lakerunner.query.promql.lexer import TokenReader
from lakerunner.query.promql.syntax import PRECEDENCE, SIGN_BINDS, DurationCall, Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakerunner.query.promql.syntax import Duration


class DurationParser(TokenReader):
    """Reads durations."""

    def _duration(self, what: str, closers: tuple[str, ...]) -> Duration:
        start = self._next.place.start
        value = self._duration_expression(0)
        if self._next.kind not in closers:
            self._unexpected(what, closers[0])
        if isinstance(value, float) and value <= 0:
            place = Place(start, self._tokens[self._at - 1].place.end)
            self._fail(place, "duration must be greater than 0")
        return value

    def _duration_expression(self, binds: int) -> Duration:
        left = self._duration_operand("duration")
        while True:
            op = self._next.kind
            level = PRECEDENCE.get(op, 0) if op in "+-*/%^" else 0
            if level <= binds:
                return left
            self._take()
            right = self._duration_expression(level - (op == "^"))
            left = DurationCall(op, (left, right))
            if isinstance(left.operands[0], float) and isinstance(right, float):
                folded = compute_duration(left, step=0.0, length=0.0)
                if folded is None:
                    self._fail(self._tokens[self._at - 1].place, "division by zero")
                left = folded

    def _duration_operand(self, context: str) -> Duration:
        token = self._next
        if token.kind in ("+", "-"):
            self._take()
            inner = self._duration_expression(SIGN_BINDS)
            if token.kind == "+":
                return inner
            return -inner if isinstance(inner, float) else DurationCall("neg", (inner,))
        if token.kind == "(":
            self._take()
            inner = self._duration_expression(0)
            self._expect(")", context)
            return inner
        word = self._keyword("step", "range", "min", "max", "min_of", "max_of")
        if word in ("step", "range"):
            self._take()
            self._expect("(", context)
            self._expect(")", context)
            return DurationCall(word)
        if word:
            self._take()
            self._expect("(", context)
            first = self._duration_expression(0)
            self._expect(",", context)
            second = self._duration_expression(0)
            self._expect(")", context)
            return DurationCall(word[:3], (first, second))
        value = self._literal() if token.kind in ("number", "duration") else None
        if value is None:
            self._unexpected(context, "number or duration")
        return value


_OPERATIONS: dict[str, Callable[[float, float], float | None]] = {
    "min": min,
    "max": max,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: a / b if b else None,
    "%": lambda a, b: math.fmod(a, b) if b else None,
    "^": lambda a, b: float(a**b),
}


def compute_duration(duration: Duration, *, step: float, length: float) -> float | None:
    """A duration in seconds; None if it divides by zero.

    Args:
        duration: The duration.
        step: Seconds of the query's step.
        length: Seconds from the query's start to its end.
    """
    if not isinstance(duration, DurationCall):
        return duration
    values = [compute_duration(one, step=step, length=length) for one in duration.operands]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    if duration.op in ("step", "range"):
        return step if duration.op == "step" else length
    if duration.op == "neg":
        return -known[0]
    return _OPERATIONS[duration.op](*known)

"""The syntax tree of PromQL: what a text says, with the places it says it at."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec


class ValueType(StrEnum):
    """What an expression evaluates to."""

    SCALAR = "scalar"
    VECTOR = "instant vector"
    MATRIX = "range vector"
    STRING = "string"


class Place(NamedTuple):
    """Where something stands in the text, in characters: `[start, end)`."""

    start: int
    end: int


class Matcher(NamedTuple):
    """A condition on a label: `op` is `=`, `!=`, `=~` or `!~`; patterns match the whole value."""

    name: str
    op: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}{self.op}{quote(self.value)}"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """Any part of the tree.

    Attributes:
        place: Where it stands.
    """

    place: Place


class Number(Node, frozen=True, kw_only=True):
    """A number, or a duration in seconds."""

    value: float


class Text(Node, frozen=True, kw_only=True):
    """A string literal, without its quotes."""

    value: str


class DurationCall(msgspec.Struct, frozen=True):
    """A duration that depends on the query: `step()`, `range()`, or an operator over durations.

    Attributes:
        op: `step`, `range`, `+`, `-`, `*`, `/`, `%`, `^`, `min`, `max` or `neg`.
        operands: Seconds, or calls.
    """

    op: str
    operands: tuple[Duration, ...] = ()


Duration = float | DurationCall
"""Seconds, or how to find them once the step and the range of the query are known."""


class AtBound(StrEnum):
    """The ends of the query that `@` may name."""

    START = "start"
    END = "end"


class Moment(msgspec.Struct, frozen=True):
    """When a selector or a subquery is read instead of at the time of evaluation.

    Attributes:
        offset: How long before; negative for later.
        at: The time `@` names, in seconds, or an end of the query; None without `@`.
    """

    offset: Duration = 0.0
    at: float | AtBound | None = None


NOW = Moment()


class Selector(Node, frozen=True, kw_only=True):
    """An instant vector selector, or the inner part of a range.

    Attributes:
        name: The metric's name if it stands before the braces; also one of the matchers.
        matchers: All conditions, in the order of the text.
        moment: When.
        mode: `anchored`, `smoothed` or empty.
    """

    name: str
    matchers: tuple[Matcher, ...]
    moment: Moment = NOW
    mode: str = ""


class Range(Node, frozen=True, kw_only=True):
    """A range vector selector: the samples of `(t - length, t]`."""

    selector: Selector
    length: Duration


class Subquery(Node, frozen=True, kw_only=True):
    """An expression evaluated every `step` over `(t - length, t]`; no step means the default."""

    expr: Node
    length: Duration
    step: Duration | None
    moment: Moment = NOW
    mode: str = ""


class Parens(Node, frozen=True, kw_only=True):
    """An expression in parentheses."""

    expr: Node


class Unary(Node, frozen=True, kw_only=True):
    """A sign before an expression."""

    op: str
    expr: Node


class Cardinality(StrEnum):
    """Which side of a binary operator may have several series for one of the other."""

    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "many-to-one"
    ONE_TO_MANY = "one-to-many"
    MANY_TO_MANY = "many-to-many"


class Matching(msgspec.Struct, frozen=True):
    """How series of two vectors find each other.

    Attributes:
        on: Compare only `labels`, instead of all but these.
        labels: What `on` or `ignoring` names.
        cardinality: See `Cardinality`.
        include: Labels that `group_left` or `group_right` copies from the one side.
        fill_left: The value of a missing sample on the left; None for none.
        fill_right: Likewise on the right.
    """

    on: bool = False
    labels: tuple[str, ...] = ()
    cardinality: Cardinality = Cardinality.ONE_TO_ONE
    include: tuple[str, ...] = ()
    fill_left: float | None = None
    fill_right: float | None = None


class Binary(Node, frozen=True, kw_only=True):
    """Two expressions and an operator between them.

    Attributes:
        op: In lower case.
        left: The one before it.
        right: The one after it.
        bool_modifier: A comparison gives 0 or 1 instead of dropping samples.
        matching: For two vectors.
    """

    op: str
    left: Node
    right: Node
    bool_modifier: bool = False
    matching: Matching = Matching()


class Aggregation(Node, frozen=True, kw_only=True):
    """An aggregation over the series of a vector.

    Attributes:
        op: `sum`, `topk`, …
        expr: What is aggregated.
        parameter: The first argument of `topk`, `quantile`, `count_values` and their like.
        labels: What `by` or `without` names.
        without: Group by all but these.
    """

    op: str
    expr: Node
    parameter: Node | None = None
    labels: tuple[str, ...] = ()
    without: bool = False


class Call(Node, frozen=True, kw_only=True):
    """A call of a function."""

    name: str
    args: tuple[Node, ...]


def unwrap(node: Node) -> Node:
    """The expression inside any parentheses."""
    while isinstance(node, Parens):
        node = node.expr
    return node


def children(node: Node) -> tuple[Node, ...]:
    """The expressions directly inside one, in the order of the text."""
    match node:
        case Parens(expr=expr) | Unary(expr=expr) | Subquery(expr=expr):
            return (expr,)
        case Binary(left=left, right=right):
            return (left, right)
        case Aggregation(expr=expr, parameter=parameter):
            return (expr,) if parameter is None else (parameter, expr)
        case Call(args=args):
            return args
        case Range(selector=selector):
            return (selector,)
    return ()


def quote(text: str) -> str:
    r"""A string as PromQL writes it, in double quotes.

    Example:
        >>> quote('say "hi"')
        '"say \\"hi\\""'
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r") + '"'


PRECEDENCE = {
    "or": 1,
    "and": 2,
    "unless": 2,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), 3),
    **dict.fromkeys("+-", 4),
    **dict.fromkeys(("*", "/", "%", "atan2"), 5),
    "^": 6,
}
"""How tightly a binary operator binds; `^` from the right, all others from the left."""

COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
SETS = frozenset({"and", "or", "unless"})

SIGN_BINDS = 5
"""How tightly a sign binds: like `*`, so `-2 ^ 2` is `-(2 ^ 2)`."""

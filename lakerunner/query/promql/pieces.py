"""Which parts of an expression can be evaluated for some series after the others.

That is so where each series of the result comes of one series of one selector alone. An aggregation
needs all of them, and so does what looks for partners or pairs; but what it aggregates may do with
less. So the samples of a million series never are in memory at once: only the values at the steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.query.promql.checks import type_of
from lakerunner.query.promql.functions import FUNCTIONS
from lakerunner.query.promql.instants import MATH
from lakerunner.query.promql.syntax import (
    Binary,
    Call,
    Matcher,
    Node,
    Parens,
    Range,
    Selector,
    Unary,
    ValueType,
    children,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_ONE_SERIES = frozenset(MATH) | {"clamp", "clamp_max", "clamp_min", "round", "timestamp"}
_OF_ONE_RANGE = frozenset(
    name for name, one in FUNCTIONS.items() if ValueType.MATRIX in one.args
) - {"absent_over_time"}


def lone_selector(node: Node) -> tuple[Matcher, ...] | None:
    """The conditions of the only selector of a node that takes each series by itself; else None.

    Example:
        >>> from lakerunner.query.promql.parser import parse
        >>> [str(one) for one in lone_selector(parse("-(rate(m[5m]) * 2)"))]
        ['__name__="m"']
        >>> lone_selector(parse("sum(m)")), lone_selector(parse("m / m"))
        (None, None)
    """
    match node:
        case Selector() | Range(selector=Selector()):
            selector = node.selector if isinstance(node, Range) else node
            return selector.matchers
        case Parens(expr=expr) | Unary(expr=expr):
            return lone_selector(expr)
        case Binary() if ValueType.SCALAR in (type_of(node.left), type_of(node.right)):
            return _only(node)
        case Call(name=name) if name in _OF_ONE_SERIES | _OF_ONE_RANGE:
            return _only(node)
    return None


def _only(node: Node) -> tuple[Matcher, ...] | None:
    """Of the parts of a node, one has a selector, and takes each series by itself."""
    parts = [child for child in children(node) if any(selectors(child))]
    return lone_selector(parts[0]) if len(parts) == 1 else None


def selectors(node: Node) -> Iterator[Selector]:
    """All selectors of an expression, in the order of the text."""
    if isinstance(node, Selector):
        yield node
    for child in children(node):
        yield from selectors(child)


def undivided(node: Node) -> bool:
    """Whether some selector of an expression is read as a whole, all of its series at once."""
    if isinstance(node, Range) or (isinstance(node, Call) and node.name == "info"):
        return True  # what `info` adds is looked for among all series that have it
    return lone_selector(node) is None and any(map(undivided, children(node)))

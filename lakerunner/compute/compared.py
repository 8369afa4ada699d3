"""Columns whose values a plan compares with each other: by groups, joins, DISTINCT, partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lakerunner.compute.expressions import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from datafusion import Expr, LogicalPlan


def compared_columns(plan: LogicalPlan) -> frozenset[str]:
    """Names of the columns that rows are grouped, joined or partitioned by as they stand.

    A column goes by all names that it has on its way from a table; one that is computed of others
    is not followed to these. Sets and subqueries in conditions are joins, DISTINCT is a group.

    Args:
        plan: An optimized plan.
    """
    return frozenset(_compared(plan))


def _compared(plan: LogicalPlan) -> Iterator[str]:
    node: Any = plan.to_variant()
    inputs = plan.inputs()
    for name in _names(_keys(type(node).__name__, node)):
        yield name
        for child in inputs:
            yield from _sources(child, name)
    for child in inputs:
        yield from _compared(child)


def _keys(kind: str, node: Any) -> Iterator[Expr]:
    if kind == "Join":
        for pair in node.on():
            yield from pair
    elif kind == "WindowExpr":
        for call in node.get_window_expr():
            yield from node.get_partition_exprs(call)
    elif kind == "Aggregate":
        yield from node.group_by_exprs()
        for one in node.aggregate_exprs():
            inner = one
            while kind_of(inner) == "Alias":
                inner = inner.to_variant().expr()
            call = inner.to_variant()
            if kind_of(inner) == "AggregateFunction" and call.is_distinct():
                yield from call.args()


def _names(expressions: Iterable[Expr]) -> set[str]:
    return {one.to_variant().name() for one in expressions if kind_of(one) == "Column"}


def _sources(plan: LogicalPlan, name: str) -> Iterator[str]:
    """What a column is called further down."""
    node: Any = plan.to_variant()
    names = {name}
    if type(node).__name__ == "Projection":
        names = {source for one in node.projections() if (source := _source(one, name))}
    for below in names:
        if below != name:
            yield below
        for child in plan.inputs():
            yield from _sources(child, below)


def _source(projected: Expr, name: str) -> str:
    if kind_of(projected) == "Alias":
        alias = projected.to_variant()
        return next(iter(_names([alias.expr()])), "") if alias.alias() == name else ""
    return name if name in _names([projected]) else ""

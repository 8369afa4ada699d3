"""What an optimized plan asks of each table: condition, columns, and what becomes of the rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from lakerunner.compute.expressions import kind_of, operands_of
from lakerunner.compute.predicates import PredicateReader
from lakerunner.model.predicate import EVERYTHING, And, Predicate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from datafusion import Expr, LogicalPlan

    from lakerunner.compute.table import Table


class Scan(msgspec.Struct, frozen=True):
    """One reading of one table.

    Attributes:
        table: Its name.
        predicate: True for every row that the query can need from this scan.
        columns: Columns that are read, those of the predicate included.
        filtered: Those of the columns that the predicate speaks of.
        limited: The query stops after some rows of it, or keeps only the first by some order.
        aggregated: Rows are folded into groups before they are returned.
    """

    table: str
    predicate: Predicate = EVERYTHING
    columns: tuple[str, ...] = ()
    filtered: tuple[str, ...] = ()
    limited: bool = False
    aggregated: bool = False


class _Place(msgspec.Struct, frozen=True):
    """Where a node stands in the plan: what happens above it.

    Attributes:
        alias: Name of the innermost table or subquery it belongs to.
        condition: Of a filter right above it. A scan was offered it, but may have declined.
    """

    alias: str = ""
    limited: bool = False
    aggregated: bool = False
    condition: Any = None


# Nodes that pass rows on one by one: a limit above them is a limit below them.
_TRANSPARENT = frozenset({"Projection", "SubqueryAlias", "Filter", "Union"})
_UNNAMED = "?table?"
_SCAN_LINE = re.compile(r"^\s*TableScan: (\S+)", re.MULTILINE)
_MAX_DEPTH = 100
"""Expressions are not looked into any deeper: each look copies them."""


def find_scans(
    plan: LogicalPlan, tables: Sequence[Table], computed: Mapping[str, Mapping[str, str]]
) -> list[Scan]:
    """All scans in an optimized plan.

    Args:
        plan: The plan.
        tables: The tables it was made from.
        computed: By table, the names of computed columns by the text of their expression.

    Returns:
        One entry for each scan that DataFusion itself shows. Where one of them stands at a place
        that cannot be looked into, every table is said to be needed whole.
    """
    readers = {table.name: PredicateReader(table, computed.get(table.name, {})) for table in tables}
    known = {*readers, _UNNAMED}
    shown = sum(name in known for name in _SCAN_LINE.findall(plan.display_indent()))
    found = list(_walk(plan, _Place(), readers))
    if len(found) != shown or any(scan.table not in readers for scan in found):
        return [Scan(table.name, columns=tuple(table.schema.names)) for table in tables]
    return found


def _walk(
    plan: LogicalPlan, place: _Place, readers: Mapping[str, PredicateReader]
) -> Iterator[Scan]:
    node = plan.to_variant()
    kind = type(node).__name__
    if kind == "TableScan":
        if node.table_name() in readers or node.table_name() == _UNNAMED:
            yield _scan(node, place, readers)
        return
    below = _below(kind, node, place)
    for child in plan.inputs():
        yield from _walk(child, below, readers)


def _below(kind: str, node: Any, place: _Place) -> _Place:
    alias = node.alias() if kind == "SubqueryAlias" else place.alias
    if kind == "Aggregate":
        return _Place(alias, limited=False, aggregated=True)
    if kind == "Limit":
        return _Place(alias, limited=True, aggregated=place.aggregated)
    if kind == "Sort":
        top = node.get_fetch_val() is not None
        return _Place(alias, limited=top, aggregated=place.aggregated)
    condition = node.predicate() if kind == "Filter" else None
    limited = place.limited and kind in _TRANSPARENT
    return _Place(alias, limited, place.aggregated, condition)


def _scan(node: Any, place: _Place, readers: Mapping[str, PredicateReader]) -> Scan:
    name = node.table_name()
    table = name if name in readers else place.alias
    if table not in readers:
        return Scan(table)
    filters = [*node.filters(), *([] if place.condition is None else [place.condition])]
    parts = dict.fromkeys(readers[table].read(expression) for expression in filters)
    filtered = {column for expression in filters for column in _columns(expression)}
    return Scan(
        table,
        And(tuple(parts)),
        tuple(column for _, column in node.projection()),
        tuple(sorted(filtered)),
        limited=place.limited or node.fetch() is not None,
        aggregated=place.aggregated,
    )


def _columns(expression: Expr, depth: int = 0) -> Iterator[str]:
    if kind_of(expression) == "Column":
        yield expression.to_variant().name()
    for operand in operands_of(expression) if depth < _MAX_DEPTH else ():
        yield from _columns(operand, depth + 1)

"""Queries that DataFusion 55 answers wrongly: they are refused, with a way to write them rightly.

Each is shown to be wrong by a test, which fails when a release of DataFusion has mended it; then
its refusal can go.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lakerunner.compute.expressions import is_text, kind_of, operands_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datafusion import Expr, LogicalPlan

    from lakerunner.compute.table import Table

_QUANTIFIED = re.compile(r"\b(ALL|ANY) \(<subquery>\)")
_BOUNDS = re.compile(r"\b(?:min|max)\(")
_CAST_TO = re.compile(r" AS (\w+)[^ ]*\)\)$")
# What is below one of these is known inexactly, and bounds of it are never taken for an answer.
_INEXACT = frozenset({"Filter", "Aggregate"})


def quantified_fault(plan: LogicalPlan) -> str | None:
    """A comparison with all or any rows of a subquery.

    Where the subquery reads the same table as the query around it, the two are taken for one.

    Args:
        plan: As it was parsed, not optimized.
    """
    if match := _QUANTIFIED.search(plan.display_indent()):
        return f"{match[1]} (SELECT …) is refused: compare with its max() or min(), or use IN"
    return None


def cast_bounds_fault(plan: LogicalPlan, tables: Sequence[Table]) -> str | None:
    """The min() or max() of a column that a subquery has cast between text and numbers.

    It is answered from the bounds of the files, which are cast: but as text, 100 < 96.

    Args:
        plan: An optimized plan.
        tables: What it reads.
    """
    if not _BOUNDS.search(plan.display_indent()):
        return None
    types = {field.name: field.type for table in tables for field in table.schema}
    return _cast_bounds_fault(plan, types)


def _cast_bounds_fault(plan: LogicalPlan, types: Mapping[str, Any]) -> str | None:
    node: Any = plan.to_variant()
    if type(node).__name__ == "Aggregate" and not node.group_by_exprs():
        wanted = any(_BOUNDS.search(str(one)) for one in node.aggregate_exprs())
        cast = next((found for one in plan.inputs() if (found := _cast_below(one, types))), None)
        if wanted and cast is not None:
            return (
                f"min() or max() of {cast}, cast in a subquery, is refused: "
                "cast inside min() or max(), or use TRY_CAST"
            )
    return next((why for one in plan.inputs() if (why := _cast_bounds_fault(one, types))), None)


def _cast_below(plan: LogicalPlan, types: Mapping[str, Any]) -> str | None:
    node: Any = plan.to_variant()
    kind = type(node).__name__
    if kind == "Projection":
        cast = next((one for one in node.projections() if _reorders(one, types)), None)
        if cast is not None and _is_bare(plan):
            return str(cast).removeprefix("Expr(").removesuffix(")")
    if kind in _INEXACT:
        return None
    return next((found for one in plan.inputs() if (found := _cast_below(one, types))), None)


def _is_bare(plan: LogicalPlan) -> bool:
    """Whether all rows of whole tables arrive: only then are their bounds known exactly."""
    kind = type(plan.to_variant()).__name__
    return kind not in _INEXACT and all(map(_is_bare, plan.inputs()))


def _reorders(expression: Expr, types: Mapping[str, Any]) -> bool:
    """Whether an expression is a column cast between text and something else."""
    if kind_of(expression) == "Alias":
        return _reorders(expression.to_variant().expr(), types)
    match = _CAST_TO.search(str(expression))
    if kind_of(expression) != "Cast" or match is None:
        return False
    (operand,) = operands_of(expression)
    source = types.get(operand.to_variant().name()) if kind_of(operand) == "Column" else None
    return source is not None and is_text(source) is not ("Utf8" in match[1])

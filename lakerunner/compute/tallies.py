"""Queries that count the rows of a table by the values of one column, and do nothing else to them.

How many rows of a segment have which value is known to the catalog for columns of few values. A sum
of these numbers is the same count, so the text is planned over a table of them, where it says
`sum("__rows")` for `count(*)`, and only segments of which it is not known are read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from datafusion import lit

from lakerunner.compute.expressions import kind_of
from lakerunner.compute.table import TALLY_ROWS

if TYPE_CHECKING:
    from datafusion import DataFrame, LogicalPlan, SessionContext

    from lakerunner.compute.table import Table, Tally

_ABOVE = frozenset({"Filter", "Limit", "Projection", "Sort", "SubqueryAlias"})
"""Nodes that see only what an aggregation below them puts out."""
_COUNT = re.compile(r"Expr\(count\(Int64\(1\)\)\)")
_SUM = re.compile(rf"Expr\(sum\((?:\w+\.)?{TALLY_ROWS}\)\)")


def tallied_column(plan: LogicalPlan) -> str | None:
    """The column by whose values an optimized plan counts all rows of a table; else None.

    Args:
        plan: Of a query over one table.
    """
    found = _aggregation(plan, _COUNT)
    if found is None:
        return None
    column, node = found
    while True:
        said: Any = node.to_variant()
        kind = type(said).__name__
        if kind == "TableScan":
            return None if said.filters() or said.fetch() is not None else column
        plain = kind == "SubqueryAlias" or (
            kind == "Projection" and all(kind_of(one) == "Column" for one in said.projections())
        )
        if not plain:
            return None
        (node,) = node.inputs()


def sums_tallies(plan: LogicalPlan, column: str) -> bool:
    """Whether an optimized plan sums the rows of tallies by a column, and nothing else."""
    found = _aggregation(plan, _SUM)
    return found is not None and found[0] == column


def _aggregation(plan: LogicalPlan, wanted: re.Pattern[str]) -> tuple[str, LogicalPlan] | None:
    """What the one aggregation of a plan groups by, and what is below it; of wanted aggregates."""
    node = plan
    while True:
        said: Any = node.to_variant()
        kind = type(said).__name__
        if kind not in (*_ABOVE, "Aggregate") or len(node.inputs()) != 1:
            return None
        if kind == "Aggregate":
            break
        (node,) = node.inputs()
    groups, aggregates = said.group_by_exprs(), said.aggregate_exprs()
    if len(groups) != 1 or kind_of(groups[0]) != "Column":
        return None
    if not all(wanted.fullmatch(str(one)) for one in aggregates):
        return None
    return groups[0].to_variant().name(), node.inputs()[0]


def with_tally(context: SessionContext, rows: DataFrame | None, table: Table) -> DataFrame:
    """A table of the values of one column, and how many rows have each.

    Args:
        context: The session.
        rows: Rows that are counted one by one.
        table: The table, with its tally.
    """
    tally: Tally | None = table.tally
    if tally is None:
        raise ValueError(f"{table.name} has no tally")
    values = pa.array([value for value, _ in tally.rows], pa.string())
    dtype = table.schema.field(tally.column).type
    batch = pa.record_batch(
        {
            tally.column: values.dictionary_encode() if pa.types.is_dictionary(dtype)
            else values.cast(dtype),
            TALLY_ROWS: pa.array([count for _, count in tally.rows], pa.int64()),
        }
    )  # fmt: skip
    known = context.read_batches([batch])
    if rows is None:
        return known
    escaped = tally.column.replace('"', '""')
    one = lit(pa.scalar(1, pa.int64())).alias(TALLY_ROWS)
    return known.union(rows.select(f'"{escaped}"', one))

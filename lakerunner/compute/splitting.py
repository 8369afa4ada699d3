"""An optimized plan in two: what each part of the files does by itself, and what is done with all.

What is below the lowest node that needs all rows - an aggregation, an order, a limit - looks at
each row alone, so it may be done with some of the files at a time. Of that node itself a part does
as much as it can: it counts its own rows, or takes the first of its own. What is above is put
together anew over what all parts have found.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from datafusion import Expr, col, functions

from lakerunner.compute.expressions import constant, kind_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from datafusion import DataFrame, LogicalPlan, SessionContext
    from datafusion.expr import SortExpr

_BY_ROW = frozenset({"Projection", "Filter", "SubqueryAlias", "Union"})
_REBUILT = frozenset({"Projection", "Filter", "SubqueryAlias", "Sort", "Limit", "Aggregate"})
_SUMS = frozenset({pa.int64(), pa.uint64(), pa.float64()})
_SAME = {
    "min": functions.min,
    "max": functions.max,
    "bool_and": functions.bool_and,
    "bool_or": functions.bool_or,
    "bit_and": functions.bit_and,
    "bit_or": functions.bit_or,
}
"""Aggregates of which the same is asked again of what parts have found."""
_SCAN_LINE = re.compile(r"^\s*TableScan: (\S+)", re.MULTILINE)
_UNNAMED = "?table?"


class NoSplitError(Exception):
    """A plan cannot be done in parts; the text says why."""


class Split:
    """A plan in two.

    Args:
        context: The session it was planned in.
        plan: The optimized plan.
        tables: Names of the tables whose files are dealt out.

    Raises:
        NoSplitError: It cannot be done in parts.

    Attributes:
        merges: Whether anything is left to be done with what parts have found.
        how: What parts do, for a person to read.
    """

    def __init__(self, context: SessionContext, plan: LogicalPlan, tables: Collection[str]) -> None:
        self._context = context
        self._plan = plan
        self._above, self._below = _cut(plan, tables)
        self._first = self._above[-1] if self._above else None
        self._fold: _Fold | None = None
        self.merges = self._first is not None
        self.how = "filtered and computed in parts"
        if self._first is not None and _kind(self._first) == "Aggregate":
            self._fold = _Fold(context, self._above.pop())
            self.how = "aggregated in parts, and the parts merged here"
        elif self.merges:
            self.how = "ordered and limited in parts, and the parts merged here"
        if self.merges:
            self._refuse_other()

    def part(self) -> DataFrame:
        """What is done with some of the files."""
        frame = _frame(self._context, self._below)
        if self._fold is not None:
            return self._fold.part(frame)
        if self._first is None:
            return frame
        said: Any = self._first.to_variant()
        if _kind(self._first) == "Sort":
            most = said.get_fetch_val()
            return frame if most is None else frame.sort(*_order(said)).limit(most)
        skip, most = _bounds(said)
        return frame if most is None else frame.limit(skip + most)

    def whole(self, rows: pa.Table) -> DataFrame:
        """What is done with the rows of all parts."""
        name = f"parts_{uuid.uuid4().hex}"
        frame = self._context.from_arrow(rows, name=name)
        self._context.deregister_table(name)  # the plan keeps the rows
        if self._fold is None:
            plain = (col(_quoted(name)).alias(name) for name in rows.schema.names)
            frame = _qualified(frame.select(*plain), _one(_qualifiers(self._below)))
        else:
            frame = self._fold.whole(frame)
        for node in reversed(self._above):
            frame = _again(frame, node)
        return frame

    def _refuse_other(self) -> None:
        """Try what will be done with all parts: it must put out what the plan does."""
        wanted, rows = _frame(self._context, self._plan).schema(), self.part().schema()
        if not rows.names:
            raise NoSplitError("its rows have no columns")
        try:
            found = self.whole(pa.Table.from_batches([], rows)).schema()
        except NoSplitError:
            raise
        except Exception as error:
            raise NoSplitError(f"it cannot be put together: {error}") from error
        if (found.names, found.types) != (wanted.names, wanted.types):
            raise NoSplitError("it would put out other columns")


class _Fold:
    """One aggregation: of a part, and of all parts.

    Args:
        context: The session.
        node: The aggregation.

    Raises:
        NoSplitError: One of its aggregates cannot be merged.
    """

    def __init__(self, context: SessionContext, node: LogicalPlan) -> None:
        said: Any = node.to_variant()
        (below,) = node.inputs()
        groups, aggregates = _wrapped(said.group_by_exprs()), said.aggregate_exprs()
        schema = _frame(context, node).schema()
        if len(schema) != len(groups) + len(aggregates):
            raise NoSplitError("it groups by several sets")
        self._names = schema.names
        self._qualifier = _one(
            one.to_variant().relation() for one in groups if kind_of(one) == "Column"
        )
        self._keys = [group.alias(f"__g{place}") for place, group in enumerate(groups)]
        self._groups = [col(f"__g{place}") for place in range(len(groups))]
        self._parts: list[Expr] = []
        self._merges: list[Expr] = []
        self._shown = list(self._groups)
        self._distinct: dict[str, Expr] = {}
        self._below = _frame(context, below)
        for aggregate, field in zip(aggregates, list(schema)[len(groups) :], strict=True):
            self._add(said.agg_func_name(aggregate), Expr(aggregate), field.type)

    def part(self, frame: DataFrame) -> DataFrame:
        return frame.aggregate(self._keys, self._parts)

    def whole(self, frame: DataFrame) -> DataFrame:
        merged = frame.aggregate(self._groups, self._merges)
        shown = zip(self._shown, self._names, strict=True)
        frame = merged.select(*(value.alias(name) for value, name in shown))
        return _qualified(frame, self._qualifier)

    def _add(self, name: str, aggregate: Expr, dtype: Any) -> None:
        inner = aggregate
        if kind_of(aggregate) == "Alias":
            inner = Expr(aggregate.to_variant().expr())
        said: Any = inner.to_variant()
        if said.is_distinct() and name not in _SAME:
            self._add_distinct(name, inner, _wrapped(said.args()))
        elif name in _SAME:
            self._shown.append(self._merged(aggregate, _SAME[name]))
        elif name == "count" or (name == "sum" and dtype in _SUMS):
            self._shown.append(self._merged(aggregate, functions.sum))
        elif name == "avg" and dtype == pa.float64() and " FILTER (" not in inner.canonical_name():
            (argument,) = _wrapped(said.args())
            if self._below.select(argument.alias("value")).schema().types != [dtype]:
                raise NoSplitError("avg() of other than doubles cannot be merged")
            total = self._merged(functions.sum(argument), functions.sum)
            count = self._merged(functions.count(argument), functions.sum)
            self._shown.append(total / count.cast(dtype))
        else:
            raise NoSplitError(f"{name}() cannot be merged")

    def _add_distinct(self, name: str, inner: Expr, arguments: Sequence[Expr]) -> None:
        if name != "count" or len(arguments) != 1 or " FILTER (" in inner.canonical_name():
            raise NoSplitError(f"{name}(DISTINCT …) cannot be merged")
        (argument,) = arguments
        text = argument.canonical_name()
        if text not in self._distinct:
            self._distinct[text] = col(f"__d{len(self._distinct)}")
            self._keys.append(argument.alias(f"__d{len(self._distinct) - 1}"))
        self._merges.append(
            functions.count(self._distinct[text], distinct=True).alias(f"__m{len(self._merges)}")
        )
        self._shown.append(col(f"__m{len(self._merges) - 1}"))

    def _merged(self, part: Expr, merge: Any) -> Expr:
        """Have parts reckon something, and merge it; what is merged, as a column."""
        self._parts.append(part.alias(f"__a{len(self._parts)}"))
        found = f"__m{len(self._merges)}"
        self._merges.append(merge(col(f"__a{len(self._parts) - 1}")).alias(found))
        return col(found)


def _cut(plan: LogicalPlan, tables: Collection[str]) -> tuple[list[LogicalPlan], LogicalPlan]:
    """The nodes that need all rows, from the root on, and what is below the last of them."""
    above, node = [], plan
    while not _is_by_row(node, tables):
        if _kind(node) not in _REBUILT or len(node.inputs()) != 1:
            raise NoSplitError(f"{_kind(node)} needs all rows")
        above.append(node)
        (node,) = node.inputs()
    scans = sum(1 for _ in _leaves(node))
    if scans != len(_SCAN_LINE.findall(plan.display_indent())):
        raise NoSplitError("it reads a table at a place that cannot be looked into")
    return above, node


def _is_by_row(plan: LogicalPlan, tables: Collection[str]) -> bool:
    """Whether each row that comes out depends on one row of a file."""
    kind = _kind(plan)
    if kind == "TableScan":
        said: Any = plan.to_variant()
        return said.table_name() in tables or said.table_name() == _UNNAMED
    below = plan.inputs()
    return kind in _BY_ROW and bool(below) and all(_is_by_row(one, tables) for one in below)


def _leaves(plan: LogicalPlan) -> Iterator[LogicalPlan]:
    below = plan.inputs()
    if not below:
        yield plan
    for one in below:
        yield from _leaves(one)


def _again(frame: DataFrame, node: LogicalPlan) -> DataFrame:
    """The same node over other rows."""
    said: Any = node.to_variant()
    match _kind(node):
        case "Projection":
            shown = _named(said.projections())
            return frame.select(*shown) if shown else frame  # rows that are only counted
        case "Filter":
            return frame.filter(Expr(said.predicate()))
        case "SubqueryAlias":
            return frame.alias(said.alias())
        case "Aggregate":
            groups, aggregates = _named(said.group_by_exprs()), _named(said.aggregate_exprs())
            return frame.aggregate(groups, aggregates)
        case "Sort":
            frame = frame.sort(*_order(said))
            most = said.get_fetch_val()
            return frame if most is None else frame.limit(most)
        case "Limit":
            skip, most = _bounds(said)
            return frame.limit(most if most is not None else _MOST, skip)
        case kind:
            raise NoSplitError(f"{kind} needs all rows")


_MOST = 2**62


def _wrapped(expressions: Sequence[Any]) -> list[Expr]:
    """Expressions of a node as the functions that make frames take them."""
    return [Expr(one) for one in expressions]


def _named(expressions: Sequence[Any]) -> list[Expr]:
    """The same under the names they have, whatever columns are qualified by below them now."""
    found = _wrapped(expressions)
    return [one if kind_of(one) == "Column" else one.alias(one.schema_name()) for one in found]


def _order(sort: Any) -> list[SortExpr]:
    return [
        Expr(key.expr()).sort(ascending=key.ascending(), nulls_first=key.nulls_first())
        for key in sort.sort_exprs()
    ]


def _bounds(limit: Any) -> tuple[int, int | None]:
    """How many rows a limit passes over, and how many it takes then."""
    said = (limit.skip(), limit.fetch())
    skip, most = (None if one is None else constant(one) for one in said)
    if not isinstance(skip, int | None) or not isinstance(most, int | None):
        raise NoSplitError("its limit is not a number")
    return skip or 0, most


def _qualifiers(plan: LogicalPlan) -> Iterator[str | None]:
    """By what the columns that a plan puts out are qualified."""
    said: Any = plan.to_variant()
    match _kind(plan):
        case "SubqueryAlias":
            yield said.alias()
        case "TableScan":
            yield said.table_name()
        case "Filter":
            yield from _qualifiers(*plan.inputs())
        case "Projection":
            for one in said.projections():
                if kind_of(one) == "Column":
                    yield one.to_variant().relation()


def _one(qualifiers: Iterator[str | None]) -> str | None:
    found = {one for one in qualifiers if one}
    if len(found) > 1:
        raise NoSplitError("columns of several tables stand side by side")
    return found.pop() if found else None


def _qualified(frame: DataFrame, name: str | None) -> DataFrame:
    return frame if name is None else frame.alias(name)


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _kind(plan: LogicalPlan) -> str:
    try:
        return type(plan.to_variant()).__name__
    except Exception:  # noqa: BLE001 - a node that Python has no words for
        return "a node"


def _frame(context: SessionContext, plan: LogicalPlan) -> DataFrame:
    return context.create_dataframe_from_logical_plan(plan)

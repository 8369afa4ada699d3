"""Places in an optimized plan where DataFusion 55 would go wrong: found here, put right elsewhere.

Each is shown by a test of `tests/compute/test_defects.py` to be wrong without our doing; the page
"What the engine gets wrong" of the documentation lists them all.
"""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pyarrow as pa

from lakerunner.compute.expressions import is_text, kind_of, operands_of
from lakerunner.limits import INLINE_DOUBLINGS, INLINE_TABLES, INLINE_TEXT_CHARS
from lakerunner.schema.attribute import OVERFLOW

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from datafusion import Expr, LogicalPlan

    from lakerunner.compute.table import Table

    Schema: TypeAlias = Callable[[LogicalPlan], Any]

Path: TypeAlias = tuple[int, ...]
"""A node of a plan: which input to take at each step from the root."""


class Remedy(StrEnum):
    """How a min() or max() is put right.

    `ORDERED`: as the first value by an order, for what sorts knows the place of NaN; the one that
    compares values for a group does not. `ONE_NAN`: of values whose NaN is always of one sign.
    `SCANNED`: of rows, not of the bounds of files. These are compared wrongly where one file has
    text as a dictionary and another has it plain.
    """

    ORDERED = "ordered"
    ONE_NAN = "one NaN"
    SCANNED = "scanned"


class Extreme(NamedTuple):
    """One min() or max() of an aggregation.

    Attributes:
        name: Of its result.
        remedy: What becomes of it.
    """

    name: str
    remedy: Remedy


class Hazards(NamedTuple):
    """What must be put right in a plan.

    Attributes:
        filters: Filters that must stay where they are. DataFusion pushes them further down by the
            name of their columns, and finds the wrong one where a join has two of one name; and
            what they say of a computed column lets it leave out a sort that it misses later.
        dynamic: Filters that operators make as they run must not be pushed down, for that reason.
        extremes: For an aggregation, by position, what needs a remedy among its aggregates.
    """

    filters: frozenset[Path]
    dynamic: bool
    extremes: Mapping[Path, Mapping[int, Extreme]]

    def __bool__(self) -> bool:
        return bool(self.filters or self.dynamic or self.extremes)

    @property
    def by_part(self) -> bool:
        """Whether what is put right is so over some of the files, too."""
        remedies = {one.remedy for told in self.extremes.values() for one in told.values()}
        return not self.filters and not self.dynamic and remedies <= {Remedy.SCANNED}


def find_hazards(plan: LogicalPlan, tables: Sequence[Table], schema: Schema) -> Hazards:
    """Look for what must be put right in a plan.

    Args:
        plan: An optimized plan.
        tables: What it reads.
        schema: Gives the Arrow schema of what a plan puts out.
    """
    found = _Search(tables, schema)
    found.look(plan, (), _Above())
    return Hazards(frozenset(found.filters), found.dynamic, found.extremes)


class _Above(NamedTuple):
    """What stands above a node, up to the root."""

    filters: tuple[Path, ...] = ()
    makes_filters: bool = False
    window: bool = False


class _Search:
    def __init__(self, tables: Sequence[Table], schema: Schema) -> None:
        self._schema = schema
        self._computes = any(table.computed for table in tables)
        # Columns of doubles without NaN; a name must be one in every table that has it.
        with_nan = {
            field.name
            for table in tables
            for field in table.schema
            if pa.types.is_floating(field.type) and field.name not in table.numbers
        }
        self._numbers = {name for table in tables for name in table.numbers} - with_nan
        self.filters: set[Path] = set()
        self.dynamic = False
        self.extremes: dict[Path, dict[int, Extreme]] = {}

    def look(self, plan: LogicalPlan, path: Path, above: _Above) -> None:
        node: Any = plan.to_variant()
        kind = type(node).__name__
        below = above
        if kind == "Join":
            if (above.filters or above.makes_filters) and self._repeats_a_name(plan):
                self.filters.update(above.filters)
                self.dynamic |= above.makes_filters
            below = above._replace(makes_filters=True)
        elif kind == "Filter":
            below = above._replace(filters=(*above.filters, path))
            if above.window and self._computes and OVERFLOW in str(node.predicate()):
                self.filters.add(path)
        elif kind == "Sort":
            below = above._replace(makes_filters=above.makes_filters or _is_top(node))
        elif kind == "WindowExpr":
            below = above._replace(window=True)
        elif kind == "Aggregate":
            grouped = bool(node.group_by_exprs())
            below = above._replace(makes_filters=above.makes_filters or not grouped)
            if extremes := self._extremes(plan, node, grouped=grouped):
                self.extremes[path] = extremes
        for index, child in enumerate(plan.inputs()):
            self.look(child, (*path, index), below)

    def _repeats_a_name(self, plan: LogicalPlan) -> bool:
        names = self._schema(plan).names
        return len(set(names)) < len(names)

    def _extremes(self, plan: LogicalPlan, node: Any, *, grouped: bool) -> dict[int, Extreme]:
        aggregates = node.aggregate_exprs()
        if not aggregates:
            return {}
        fields = list(self._schema(plan))[-len(aggregates) :]
        (child,) = plan.inputs()
        found = {}
        for index, (one, field) in enumerate(zip(aggregates, fields, strict=True)):
            if (values := _extreme_of(one)) is None:
                continue
            if pa.types.is_floating(field.type):
                remedy = self._of_numbers(values, child, grouped=grouped)
            else:
                remedy = None if grouped or not is_text(field.type) else Remedy.SCANNED
            if remedy is not None:
                found[index] = Extreme(field.name, remedy)
        return found

    def _of_numbers(self, values: Expr, child: LogicalPlan, *, grouped: bool) -> Remedy | None:
        name = _column_of(values)
        # Of the lake's own columns NaN has one sign, which only groups get wrong.
        if name and self._is_stored(child, name, self._numbers if grouped else None):
            return None
        return Remedy.ORDERED if grouped else Remedy.ONE_NAN

    def _is_stored(self, plan: LogicalPlan, name: str, numbers: set[str] | None) -> bool:
        """Whether a column is one of a table, and of the given ones, not computed on its way."""
        node: Any = plan.to_variant()
        kind = type(node).__name__
        inputs = [one for one in plan.inputs() if name in self._schema(one).names]
        if kind == "TableScan":
            return numbers is None or name in numbers
        if kind == "Projection":
            sources = {_source(one, name) for one in node.projections()} - {""}
            source = sources.pop() if len(sources) == 1 else None
            return source is not None and self._is_stored(plan.inputs()[0], source, numbers)
        if kind == "Union" and len(inputs) < len(plan.inputs()):
            return False
        if kind not in ("Filter", "Join", "Limit", "Sort", "SubqueryAlias", "Union"):
            return False
        return bool(inputs) and all(self._is_stored(one, name, numbers) for one in inputs)


def _is_top(sort: Any) -> bool:
    return sort.get_fetch_val() is not None


def _extreme_of(aggregate: Expr) -> Expr | None:
    """What min() or max() is taken of, if the aggregate is one of these."""
    while kind_of(aggregate) == "Alias":
        aggregate = aggregate.to_variant().expr()
    if kind_of(aggregate) != "AggregateFunction":
        return None
    node: Any = aggregate.to_variant()
    if node.aggregate_type() not in ("min", "max"):
        return None
    values: Expr = next(iter(node.args()))
    return values


def _column_of(expression: Expr) -> str | None:
    """The column that an expression is, perhaps cast; no cast makes NaN of a number."""
    while kind_of(expression) in ("Cast", "TryCast"):
        (expression,) = operands_of(expression)
    if kind_of(expression) != "Column":
        return None
    name: str = expression.to_variant().name()
    return name


def _source(projected: Expr, name: str) -> str | None:
    """Which column stands behind a name: empty if the projection makes another name."""
    node: Any = projected.to_variant()
    if kind_of(projected) == "Alias":
        return _column_of(node.expr()) if node.alias() == name else ""
    if kind_of(projected) == "Column":
        return name if node.name() == name else ""
    return ""


# How much a query can make of little: what may run beside others, and what gets its own process.
#
# In our own process, queries share a few threads. They take turns wherever rows come from a file:
# so
# a scan, an aggregation or a sort stops nobody. What makes many rows of a few, or a large value of
# a
# small one, does not: its work is between two rows of a file. Whether a query can do that is told
# from its words, before anything is computed, and from its plan. Both err on the side of a process
# of
# its own, where whatever it does can be ended.

EXPANDING = frozenset(
    {"array_pad", "array_repeat", "array_resize", "fixedsizebinary", "fixedsizelist", "gen_series"}
    | {
        "generate_series",
        "levenshtein",
        "list_pad",
        "list_repeat",
        "list_resize",
        "lpad",
        "overlay",
    }
    | {"range", "regexp_replace", "repeat", "replace", "rpad", "space", "unnest"}
)
"""Functions whose value can be larger than what they are given, by more than a little, or that take
more time than the length of what they are given."""

_SHAPES = frozenset({"cube", "grouping", "recursive", "rollup"})
_FRAMES = frozenset({"groups", "rows"})
_ADDING = frozenset(
    {"array_append", "array_concat", "array_prepend", "array_to_string", "concat", "concat_ws"}
    | {"array_cat", "array_join", "list_append", "list_cat", "list_concat", "list_join"}
    | {"list_prepend", "list_to_string", "make_array", "make_list", "struct", "named_struct", "map"}
)
_NAMED = re.compile(
    r"(\w+)\"?\s*(?:\([^()]*\)\s*)?AS\s*(?:(?:NOT\s+)?MATERIALIZED\s*)?\(", re.IGNORECASE
)
_WORD = re.compile(r"\w+")


def is_heavy_text(text: str, words: Collection[str], tables: Collection[str]) -> bool:
    """Whether planning a query could already take much time or memory, or running it in any plan.

    Args:
        text: The query.
        words: All words in it, in lower case, with those in literals and comments.
        tables: Names of tables.

    Example:
        >>> is_heavy_text("SELECT repeat(body, 9) FROM logs", {"repeat", "from", "logs"}, {"logs"})
        True
    """
    if len(text) > INLINE_TEXT_CHARS or not EXPANDING.isdisjoint(words):
        return True
    if not _SHAPES.isdisjoint(words) or ("over" in words and not _FRAMES.isdisjoint(words)):
        return True
    every = [word.lower() for word in _WORD.findall(text)]
    named = {*tables, *(name.lower() for name in _NAMED.findall(text))}
    if sum(word in named for word in every) > INLINE_TABLES:
        return True
    adding = text.count("||") + (text.count(",") if not _ADDING.isdisjoint(words) else 0)
    # What is put together at one level is put together again at the next.
    return adding > INLINE_DOUBLINGS and every.count("select") > 1


def pairs(plan: LogicalPlan, rows: Mapping[str, int]) -> float:
    """How many pairs of rows the joins of a plan can meet at most; infinite if nobody can tell.

    Args:
        plan: An optimized plan.
        rows: Rows by table.
    """
    return _Pairs(rows).of(plan)[1]


class _Pairs:
    def __init__(self, rows: Mapping[str, int]) -> None:
        self._rows = rows

    def of(self, plan: LogicalPlan) -> tuple[float, float]:
        """Rows that come out of a plan at most, and pairs met in it."""
        node = plan.to_variant()
        kind = type(node).__name__
        below = [self.of(child) for child in plan.inputs()]
        came = sum(one[0] for one in below)
        met = sum(one[1] for one in below)
        match kind:
            case "TableScan":
                came = self._rows.get(node.table_name(), max(self._rows.values(), default=1))
            case "Values":
                came = INLINE_TEXT_CHARS
            case "EmptyRelation":
                came = 1
            case "Join":
                came = math.prod(max(one[0], 1) for one in below)
                met += 0 if min(one[0] for one in below) <= 1 else came
            case "Unnest" | "RecursiveQuery" | "Extension":
                came = met = math.inf
            case "Aggregate" if not node.group_by_exprs():
                came = 1
            case "Limit":
                came = min(came, _fetch(node))
        return came, met


def _fetch(node: Any) -> float:
    try:
        text = str(node.fetch())
    except (AttributeError, RuntimeError, TypeError):
        return math.inf
    match = re.search(r"\((\d+)\)", text)
    return float(match[1]) if match else math.inf

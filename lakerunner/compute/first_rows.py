"""Plans that return the first rows of one table: by time, or just any of them.

Such a plan can be answered from a few segments, if these are taken in order of time: what it does
to a row depends on no other row but for the order and the limit at its top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from datafusion import col

from lakerunner.compute.expressions import Constant, constant, kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datafusion import DataFrame, LogicalPlan, SessionContext

_TIME = "timestamp"


class FirstRows(NamedTuple):
    """What a plan returns the first rows of, and by which order.

    Attributes:
        rows: How many, those that are passed over included.
        skip: How many of them are passed over.
        descending: Whether the last come first.
        time: Among the columns below the order, which is the time of a row; -1 if there is no
            order.
        places: Which of these columns the plan returns, in its order.
        only_time: Nothing but the time orders them.
    """

    rows: int
    skip: int = 0
    descending: bool = False
    time: int = -1
    places: tuple[int, ...] = ()
    only_time: bool = True

    @property
    def ordered(self) -> bool:
        """Whether rows come in order of time."""
        return self.time >= 0


class _Top(NamedTuple):
    """The upper end of a plan.

    Attributes:
        below: What the limit, or the order, is put upon.
        first: What is wanted of it.
        keys: By what it is ordered: name, ascending, NULLs first.
    """

    below: LogicalPlan
    first: FirstRows
    keys: tuple[tuple[str, bool, bool], ...] = ()


class FirstRowsPlan:
    """A plan of first rows, taken apart.

    Args:
        context: The session it was planned in.
        plan: The optimized plan.
        top: Its upper end.

    Attributes:
        first: What it returns.
    """

    def __init__(self, context: SessionContext, plan: LogicalPlan, top: _Top) -> None:
        self._context = context
        self._plan = plan
        self._top = top
        self.first = top.first

    def ranked(self) -> DataFrame:
        """The first rows in order, with all columns that are below the order.

        If time alone orders them, one more than wanted: whether it has the time of the one before
        says whether there may be more of that time.
        """
        if not self.first.ordered:
            return self._context.create_dataframe_from_logical_plan(self._plan)
        keys = [
            col(_quoted(name)).sort(ascending=ascending, nulls_first=nulls_first)
            for name, ascending, nulls_first in self._top.keys
        ]
        return self.whole().sort(*keys).limit(self.first.rows + self.first.only_time)

    def whole(self) -> DataFrame:
        """All rows without an order, with the same columns."""
        return self._context.create_dataframe_from_logical_plan(self._top.below)


def find_first_rows(context: SessionContext, plan: LogicalPlan) -> FirstRowsPlan | None:
    """Take a plan apart, if it returns the first rows of one table.

    Args:
        context: The session it was planned in.
        plan: An optimized plan.
    """
    top = _top(context, plan)
    return None if top is None else FirstRowsPlan(context, plan, top)


def _top(context: SessionContext, plan: LogicalPlan) -> _Top | None:
    names = list(_names(context, plan))
    chosen = names  # of what is below, by name, what the plan returns
    skip, fetch = 0, -1
    node = plan
    while True:
        said = node.to_variant()
        kind = type(said).__name__
        if kind == "Projection" and (below := _renamed(said.projections())) is not None:
            chosen = [below[name] for name in chosen if name in below]
        elif kind == "Limit" and fetch < 0:
            first, last = _count(said.skip(), 0), _count(said.fetch(), None)
            if not isinstance(first, int) or not isinstance(last, int):
                return None
            skip, fetch = first, last
        elif kind == "Sort":
            return _sorted(context, node, chosen, skip) if len(chosen) == len(names) else None
        elif kind != "SubqueryAlias":
            break
        (node,) = node.inputs()
    if fetch < 0 or skip or not _plain_limit(plan, fetch):
        return None
    return _Top(plan, FirstRows(fetch, places=tuple(range(len(names)))))


def _count(said: Any, missing: int | None) -> Constant:
    """A number of rows of a limit, which may have none."""
    return missing if said is None else constant(said)


def _sorted(
    context: SessionContext, plan: LogicalPlan, chosen: Sequence[str], skip: int
) -> _Top | None:
    said = plan.to_variant()
    (below,) = plan.inputs()
    keys = said.sort_exprs()
    if said.get_fetch_val() is None or any(kind_of(key.expr()) != "Column" for key in keys):
        return None
    named = tuple(
        (key.expr().to_variant().name(), key.ascending(), key.nulls_first()) for key in keys
    )
    names = list(_names(context, below))
    time = named[0][0]
    if len(set(names)) < len(names) or not set(chosen) <= set(names) or not _is_time(below, time):
        return None
    first = FirstRows(
        said.get_fetch_val(),
        skip,
        not named[0][1],
        names.index(time),
        tuple(names.index(name) for name in chosen),
        only_time=len(named) == 1,
    )
    return _Top(below, first, named)


def _names(context: SessionContext, plan: LogicalPlan) -> Sequence[str]:
    names: list[str] = context.create_dataframe_from_logical_plan(plan).schema().names
    return names


def _renamed(expressions: Sequence[Any]) -> dict[str, str] | None:
    """By the name of what a projection returns, the name of what it takes; None if it computes."""
    found = {name: column for name, column in map(_column, expressions) if column}
    return found if len(found) == len(expressions) else None


def _column(expression: Any) -> tuple[str, str]:
    """What an expression is called, and the column that it is; nothing if it is none."""
    if kind_of(expression) == "Column":
        name = expression.to_variant().name()
        return name, name
    if kind_of(expression) == "Alias":
        said = expression.to_variant()
        return said.alias(), _column(said.expr())[1]
    return "", ""


def _is_time(plan: LogicalPlan, name: str) -> bool:
    """Whether a column is the time of the rows of a table, and a row depends on no other row."""
    said = plan.to_variant()
    kind = type(said).__name__
    if kind == "TableScan":
        return name == _TIME and said.fetch() is None
    if kind == "Projection":
        columns = dict(map(_column, said.projections()))
        return name in columns and all(_is_time(one, columns[name]) for one in plan.inputs())
    if kind in ("Filter", "SubqueryAlias", "Union"):
        return bool(plan.inputs()) and all(_is_time(one, name) for one in plan.inputs())
    return False


def _plain_limit(plan: LogicalPlan, fetch: int, *, filtered: bool = False) -> bool:
    """Whether a plan is a limit over rows that depend on no other row, pushed down or not."""
    said = plan.to_variant()
    kind = type(said).__name__
    if kind == "TableScan":
        return said.fetch() is None or (said.fetch() == fetch and not filtered)
    if kind == "Limit":
        same = _count(said.skip(), 0) == 0 and _count(said.fetch(), None) == fetch
        return same and not filtered and _all_plain(plan, fetch, filtered=filtered)
    if kind in ("Projection", "SubqueryAlias", "Union"):
        return _all_plain(plan, fetch, filtered=filtered)
    return kind == "Filter" and _all_plain(plan, fetch, filtered=True)


def _all_plain(plan: LogicalPlan, fetch: int, *, filtered: bool) -> bool:
    below = plan.inputs()
    return bool(below) and all(_plain_limit(one, fetch, filtered=filtered) for one in below)


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'

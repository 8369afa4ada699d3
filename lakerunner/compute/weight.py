"""How much a query can make of little: what may run beside others, and what gets its own process.

In our own process, queries share a few threads. They take turns wherever rows come from a file: so
a scan, an aggregation or a sort stops nobody. What makes many rows of a few, or a large value of a
small one, does not: its work is between two rows of a file. Whether a query can do that is told
from its words, before anything is computed, and from its plan. Both err on the side of a process of
its own, where whatever it does can be ended.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from lakerunner.limits import INLINE_DOUBLINGS, INLINE_TABLES, INLINE_TEXT_CHARS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from datafusion import LogicalPlan

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

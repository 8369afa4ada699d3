"""Long lists in `IN (…)`: read as a table, because DataFusion plans each value by itself.

That takes 50 to 100 microseconds a value, while nothing else of the query moves. So values are
taken out of the text, and what is left of it must be short enough to plan.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import QueryLimitError
from lakerunner.limits import QUERY_LISTED_VALUES, QUERY_PLANNED_CHARS

if TYPE_CHECKING:
    from collections.abc import Iterator

_FEW = QUERY_LISTED_VALUES
_NUMBERS = r"\s*-?\d{1,18}\s*(?:,\s*-?\d{1,18}\s*)"
_TEXTS = r"\s*'[^']*'\s*(?:,\s*'[^']*'\s*)"
_LIST = re.compile(
    rf"\bIN\s*\((?:(?P<numbers>{_NUMBERS}{{{_FEW},}}+)|(?P<texts>{_TEXTS}{{{_FEW},}}+))\)",
    re.IGNORECASE,
)
_ITEM = re.compile(r"'([^']*)'")
_AFTER = re.compile(
    r"[\s)]*(?:$|;|(?:AND|OR|GROUP|ORDER|LIMIT|HAVING|UNION|EXCEPT|INTERSECT)\b)", re.IGNORECASE
)
_TABLE = 'IN (SELECT "value" FROM "${}")'
_OR = re.compile(r"\bOR\b", re.IGNORECASE)
_UNSURE = ("--", "/*", "$", "`")


class ShortText(NamedTuple):
    """A query without its long lists.

    Attributes:
        text: What is left.
        values: The lists, by the names that stand for them in the text, without the `$`.
    """

    text: str
    values: dict[str, Any]


def without_long_lists(text: str) -> ShortText:
    """Take long lists of integers or texts out of a query.

    A list is left where it is if it may be part of a text or a comment, or where a table would mean
    something else than a list: in what is selected, and before IS. So are all of a query with an OR
    in it, of which DataFusion makes joins that are not known to be right.

    Args:
        text: One SQL statement.

    Raises:
        QueryLimitError: What is left is longer than `limits.QUERY_PLANNED_CHARS`.

    Example:
        >>> numbers = ", ".join(map(str, range(3000)))
        >>> short = without_long_lists(f"SELECT * FROM logs WHERE attr_n IN ({numbers})")
        >>> short.text
        'SELECT * FROM logs WHERE attr_n IN (SELECT "value" FROM "$list_0")'
        >>> len(short.values["list_0"])
        3000
    """
    if len(text) <= 2 * _FEW:
        return ShortText(text, {})
    pieces: list[str] = []
    values: dict[str, Any] = {}
    position = 0
    for match in _lists(text):
        name = f"list_{len(values)}"
        values[name] = _values(match)
        pieces += [text[position : match.start()], _TABLE.format(name)]
        position = match.end()
    short = "".join([*pieces, text[position:]])
    if values and _OR.search(short):
        short, values = text, {}
    if len(short) > QUERY_PLANNED_CHARS:
        raise QueryLimitError(
            f"the query has {len(short):,} characters beside long lists, and at most "
            f"{QUERY_PLANNED_CHARS:,} are planned: bind lists by params, or ingest them as rows",
            limit="QUERY_PLANNED_CHARS",
        )
    return ShortText(short, values)


def _lists(text: str) -> Iterator[re.Match[str]]:
    quotes = {"'": 0, '"': 0}
    position = 0
    for match in _LIST.finditer(text):
        before = text[position : match.start()]
        position = match.end()
        if any(one in before for one in _UNSURE):
            return
        for quote in quotes:
            quotes[quote] += before.count(quote)
        outside = not any(count % 2 for count in quotes.values())
        if outside and _AFTER.match(text, match.end()):
            yield match


def _values(match: re.Match[str]) -> Any:
    if match["numbers"] is not None:
        return pc.utf8_trim_whitespace(pa.array(match["numbers"].split(","))).cast(pa.int64())
    return pa.array(_ITEM.findall(match["texts"]), pa.string())

"""Columns of one SELECT that would have the same name: DataFusion refuses them unless one is named.

It leaves casts out of the names that it makes, so `min(a)` and `min(CAST(a AS DOUBLE))` are the
same to it, even behind `AS`. Where it refuses, each column without a name is named by its own text,
and each cast is put into a condition that is true, whose number keeps it apart.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lakerunner.query.sql.tokens import Edit, Kind, Rewritten, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.query.sql.tokens import Token

_SAME = re.compile(r"unique expression names|duplicate (?:un)?qualified field name")
_ENDS = frozenset(
    {"from", "where", "group", "having", "union", "intersect", "except", "order", "limit"}
    | {"offset", "fetch", "qualify", "window", "into"}
)
_VALUES = frozenset({"end", "null", "true", "false"})
"""Words that end an expression and are no name for it."""


def is_about_names(message: str) -> bool:
    """Whether DataFusion refuses a query for two columns of the same name."""
    return _SAME.search(message) is not None


def name_edits(query: Rewritten) -> list[Edit]:
    """Names for the columns of all SELECTs that have none, each another in its SELECT.

    Args:
        query: The query; its `text` is edited, and the names are as it was written.

    Example:
        >>> query = Rewritten(text := "SELECT min(a), min(a::INT), min(a), b, c d FROM t", text)
        >>> [edit.text for edit in name_edits(query)]
        [' AS "min(a)"', ' AS "min(a::INT)"', ' AS "min(a)_1"']
    """
    found = tokens(query.text)
    depths = list(_depths(found))
    edits: list[Edit] = []
    for place, token in enumerate(found):
        if token.is_word("select"):
            taken: set[str] = set()
            for item in _items(found, depths, place):
                edits += _named(query, item, taken)
    return edits


def cast_edits(text: str) -> list[Edit]:
    """Conditions around all casts, so that no two expressions have the same name for them.

    Args:
        text: The query.

    Example:
        >>> from lakerunner.query.sql.tokens import rewrite
        >>> rewrite(text := "SELECT CAST(a AS INT), t.b::INT", cast_edits(text)).text
        'SELECT CASE WHEN 1=1 THEN CAST(a AS INT) END, CASE WHEN 2=2 THEN t.b::INT END'
    """
    found = tokens(text)
    depths = list(_depths(found))
    edits: list[Edit] = []
    end = number = 0
    for place, token in enumerate(found):
        cast = _cast(found, depths, place)
        if cast is None or token.start < end:
            continue
        number += 1
        start, end = cast
        edits += [
            Edit(start, start, f"CASE WHEN {number}={number} THEN "),
            Edit(end, end, " END"),
        ]
    return edits


def _cast(found: Sequence[Token], depths: Sequence[int], place: int) -> tuple[int, int] | None:
    """Where the cast begins and ends that this token makes: `CAST(…)`, or the `::` of a name."""
    token, behind = found[place], found[place + 1 : place + 2]
    if token.kind is Kind.WORD and token.name in {"cast", "try_cast"}:
        if behind and behind[0].is_symbol("("):
            close = (at for at in range(place + 2, len(found)) if depths[at] == depths[place])
            return next(((token.start, found[at].end) for at in close), None)
    elif token.is_symbol("::") and behind and behind[0].kind is Kind.WORD and place:
        first = place - 1
        while first >= 2 and found[first - 1].is_symbol("."):  # noqa: PLR2004 - a name and a dot
            first -= 2
        parametric = found[place + 2 : place + 3]
        if found[first].name and not (parametric and parametric[0].is_symbol("(", "[", "::")):
            return found[first].start, behind[0].end
    return None


def _depths(found: Sequence[Token]) -> Iterator[int]:
    """How many brackets each token is in; a bracket is outside of what it holds."""
    depth = 0
    for token in found:
        closing = token.is_symbol(")", "]")
        depth -= closing
        yield depth
        depth += token.is_symbol("(", "[")


def _items(found: Sequence[Token], depths: Sequence[int], select: int) -> Iterator[Sequence[Token]]:
    depth, begin = depths[select], select + 1
    if begin < len(found) and found[begin].name in {"all", "distinct"}:
        begin += 1
    for place in range(begin, len(found) + 1):
        token = found[place] if place < len(found) else None
        inside = token is not None and depths[place] > depth
        if inside or (token is not None and not _separates(token) and depths[place] == depth):
            continue
        yield found[begin:place]
        if token is None or not token.is_symbol(",") or depths[place] < depth:
            return
        begin = place + 1


def _separates(token: Token) -> bool:
    return token.is_symbol(",", ";") or (token.kind is Kind.WORD and token.name in _ENDS)


def _named(query: Rewritten, item: Sequence[Token], taken: set[str]) -> Iterator[Edit]:
    """The edit that names one column, if it has no name that is its own."""
    if not item or any(one.is_symbol("*") for one in item[-1:]) or item[0].is_symbol("*"):
        return
    plain = all(one.kind in (Kind.WORD, Kind.QUOTED) or one.is_symbol(".") for one in item)
    simple = plain and len(item) % 2 == 1 and all(one.is_symbol(".") for one in item[1::2])
    if not simple and _has_alias(item):
        taken.add(item[-1].name)
        return
    written = query.said[query.origin(item[0].start) : query.origin(item[-1].end)]
    said = item[-1].name if simple else " ".join(written.split())
    name, number = said, 0
    while name in taken:
        number += 1
        name = f"{said}_{number}"
    taken.add(name)
    if not simple or number:
        quoted = name.replace('"', '""')
        yield Edit(item[-1].end, item[-1].end, f' AS "{quoted}"')


def _has_alias(item: Sequence[Token]) -> bool:
    if len(item) == 1 or item[-1].kind not in (Kind.WORD, Kind.QUOTED):
        return False
    before, last = item[-2], item[-1]
    ends = before.is_word("as") or before.is_symbol(")", "]") or before.kind is not Kind.SYMBOL
    return ends and not (last.kind is Kind.WORD and last.name in _VALUES)

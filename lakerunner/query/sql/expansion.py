"""Refuse what would make too much of little, where the text alone says so.

What it does not say is for the process that runs the query; see `lakerunner.compute.weight`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import QueryLimitError
from lakerunner.limits import QUERY_GROUPING_SETS, QUERY_SCANS, QUERY_VALUE_SIZE
from lakerunner.query.sql.tokens import Kind
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.query.sql.tokens import Token

_SIZED = frozenset(
    {"array_repeat", "array_resize", "list_repeat", "list_resize", "lpad", "repeat", "rpad"}
)
_LOOKED_AT = _SIZED | {"cube", "rollup", "sets"}
_MOST_SETS = 63
"""Beyond so many columns a cube is too large, whatever the limit is."""


class _Definition(NamedTuple):
    name: str
    start: int  # of its body, in tokens
    end: int


def refuse_expansion(said: Sequence[Token]) -> None:
    """Refuse sizes, groupings and repeated tables beyond their limits.

    Args:
        said: Tokens of a query.

    Raises:
        QueryLimitError: There is one; `context["limit"]` says which.

    Example:
        >>> from lakerunner.query.sql.tokens import tokens
        >>> refuse_expansion(tokens("SELECT repeat(body, 1e9) FROM logs"))
        Traceback (most recent call last):
        ...
        lakerunner.errors.QueryLimitError: repeat() is told to make 1e9; at most 100,000 are made
    """
    sets = 1
    for place, token in enumerate(said):
        if token.name not in _LOOKED_AT:
            continue
        arguments = _arguments(said, place + 1)
        if token.name in _SIZED:
            _refuse_size(token.name, arguments)
        grouped = _sets(said, place, arguments)
        if grouped:
            joined = place > 0 and said[place - 1].is_symbol(",") and sets > 1
            sets = grouped * (sets if joined else 1)
            if sets > QUERY_GROUPING_SETS:
                raise QueryLimitError(
                    f"the query groups rows in more than {QUERY_GROUPING_SETS} ways: name fewer "
                    f"columns in {token.text.upper()}",
                    limit="QUERY_GROUPING_SETS",
                )
    if _scans(said) > QUERY_SCANS:
        raise QueryLimitError(
            f"the query reads its tables more than {QUERY_SCANS} times, with what WITH defines put "
            "in wherever it is named: name it less often",
            limit="QUERY_SCANS",
        )


def _arguments(said: Sequence[Token], start: int) -> list[Sequence[Token]]:
    """The arguments of a call whose parenthesis opens at a token; none where it does not."""
    if start >= len(said) or not said[start].is_symbol("("):
        return []
    found: list[Sequence[Token]] = []
    depth, begin = 1, start + 1
    for place in range(start + 1, len(said)):
        token = said[place]
        if token.is_symbol("(", "["):
            depth += 1
        elif token.is_symbol(")", "]"):
            depth -= 1
        if not depth or (depth == 1 and token.is_symbol(",")):
            found.append(said[begin:place])
            begin = place + 1
        if not depth:
            break
    return found


def _refuse_size(name: str, arguments: Sequence[Sequence[Token]]) -> None:
    for tokens in arguments[1:2]:
        if len(tokens) == 1 and tokens[0].kind is Kind.NUMBER:
            try:
                size = float(tokens[0].text.replace("_", ""))
            except ValueError:
                continue
            if size > QUERY_VALUE_SIZE:
                raise QueryLimitError(
                    f"{name}() is told to make {tokens[0].text}; at most {QUERY_VALUE_SIZE:,} "
                    "are made",
                    limit="QUERY_VALUE_SIZE",
                )


def _sets(said: Sequence[Token], place: int, arguments: Sequence[Sequence[Token]]) -> int:
    """How many groupings begin at a token; 0 for none."""
    count = len(arguments)
    if not count:
        return 0
    if said[place].is_word("cube"):
        return int(2 ** min(count, _MOST_SETS))
    if said[place].is_word("rollup"):
        return count + 1
    if said[place].is_word("sets") and place and said[place - 1].is_word("grouping"):
        return count
    return 0


def _scans(said: Sequence[Token]) -> int:
    """How often tables are read; counts what may be one."""
    reads = {name: 1 for spec in TABLES.values() for name in (spec.name, *spec.aliases)}
    definitions = _definitions(said)
    for one in definitions:
        reads[one.name] = max(_named(said[one.start : one.end], reads), 1)
        if reads[one.name] > QUERY_SCANS:
            return reads[one.name]
    inside = {place for one in definitions for place in range(one.start, one.end)}
    return _named([token for place, token in enumerate(said) if place not in inside], reads)


def _named(tokens: Sequence[Token], reads: dict[str, int]) -> int:
    total = 0
    for place, token in enumerate(tokens):
        before = tokens[place - 1] if place else None
        if before is not None and (before.is_word("from", "join") or before.is_symbol(",", "(")):
            follows = tokens[place + 1] if place + 1 < len(tokens) else None
            if follows is None or not follows.is_symbol(".", "("):
                total += reads.get(token.name, 0)
    return total


def _definitions(said: Sequence[Token]) -> list[_Definition]:
    """What `name AS (…)` defines, in order."""
    if not any(token.is_word("with") for token in said):
        return []
    found = []
    for place, token in enumerate(said):
        if not token.is_word("as") or place == 0:
            continue
        start = place + 1
        while start < len(said) and said[start].is_word("not", "materialized"):
            start += 1
        arguments = _arguments(said, start)
        if arguments:
            length = sum(map(len, arguments)) + len(arguments) - 1
            found.append(_Definition(said[place - 1].name, start + 1, start + 1 + length))
    return found

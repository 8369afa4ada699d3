"""Attributes by their own names in SQL text: `attributes['http.route']`, `http.route`.

Each becomes one quoted name, `"attributes['http.route']"`, that a view has a column of. So the
engine's own rules say what it means: aliases, subqueries, common table expressions.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from lakerunner.query.own_columns import ACCESSORS
from lakerunner.query.sql.rewriting import Edit
from lakerunner.query.sql.tokens import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from lakerunner.query.sql.tokens import Token

_SCHEMAS = frozenset({"datafusion", "public", "information_schema"})
_INTO_TABLES = ("from", "join", "into", "table", "update", "describe", "desc")


def accessor_edits(tokens: Sequence[Token]) -> Iterator[Edit]:
    """Edits that make one quoted name of each attribute that is written in several tokens.

    A word that a query uses for something of its own, as an alias of a table say, is left alone:
    `resource.service.name` is an attribute only where `resource` is nothing else.
    """
    own = _standing_alone(tokens)
    place = 0
    while place < len(tokens):
        end = _chain_end(tokens, place)
        edit = _edit(tokens, place, end, own)
        if edit is not None:
            yield edit
        place = max(end, place + 1)


def _standing_alone(tokens: Sequence[Token]) -> Collection[str]:
    """Words that are somewhere not followed by a dot or a bracket: tables, aliases, columns."""
    return {
        token.name
        for token, after in zip_longest(tokens, tokens[1:])
        if token.name and (after is None or not after.is_symbol(".", "["))
    }


def _chain_end(tokens: Sequence[Token], start: int) -> int:
    """Behind the last token of a chain `a.b.c['d']` that begins at a place."""
    if not tokens[start].name:
        return start
    end = start + 1
    while end + 1 < len(tokens) and tokens[end].is_symbol(".") and tokens[end + 1].name:
        end += 2
    if _is_subscript(tokens, end):
        end += 3
    return end


def _is_subscript(tokens: Sequence[Token], place: int) -> bool:
    return (
        place + 2 < len(tokens)
        and tokens[place].is_symbol("[")
        and tokens[place + 1].value is not None
        and tokens[place + 2].is_symbol("]")
    )


def _edit(tokens: Sequence[Token], start: int, end: int, own: Collection[str]) -> Edit | None:
    chain = tokens[start:end]
    if len(chain) < 3:  # noqa: PLR2004 - a name, a dot, and a name
        return None
    before = tokens[start - 1] if start else None
    after = tokens[end] if end < len(tokens) else None
    if (before is not None and before.is_word(*_INTO_TABLES)) or (
        after is not None and after.is_symbol("(", ".")
    ):
        return None
    if chain[-1].is_symbol("]"):
        return _subscript_edit(chain, own)
    first = chain[0]
    if first.kind is not Kind.WORD or first.name in own or first.name in _SCHEMAS:
        return None
    # Quoted parts keep their case, and words are keys, which have one too.
    key = ".".join(one.name if one.kind is Kind.QUOTED else one.text for one in chain[::2])
    word, _, rest = key.partition(".")
    name = f"{word.lower()}['{rest}']" if word.lower() in ACCESSORS else key
    return Edit(first.start, chain[-1].end, _quoted(name))


def _subscript_edit(chain: Sequence[Token], own: Collection[str]) -> Edit | None:
    word, key = chain[-4], chain[-2].value or ""
    if word.name not in ACCESSORS or word.name in own:
        return None
    return Edit(word.start, chain[-1].end, _quoted(f"{word.name}['{key}']"))


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'

"""Attributes by their own names in SQL text: `attributes['http.route']`, `http.route`.

Each becomes one quoted name, `"attributes['http.route']"`, that a view has a column of. So the
engine's own rules say what it means: aliases, subqueries, common table expressions.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.query.rewriting import Edit
from lakerunner.query.tokens import Kind
from lakerunner.schema.names import RECORD, RESOURCE, SCOPE, column_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from lakerunner.query.tokens import Token

_RECORD_WORDS = ("attributes", "attribute", "attr", "attrs", "log_attributes", "span_attributes")
_RESOURCE_WORDS = ("resource", "resource_attributes", "resourceattributes")
_SCOPE_WORDS = ("scope", "scope_attributes", "scopeattributes")
ACCESSORS = {
    **dict.fromkeys(_RECORD_WORDS, RECORD),
    **dict.fromkeys(("logattributes", "spanattributes", "metric_attributes"), RECORD),
    **dict.fromkeys(_RESOURCE_WORDS, RESOURCE),
    **dict.fromkeys(_SCOPE_WORDS, SCOPE),
}
"""Words that stand for all attributes of one kind, and the prefix of their columns."""

_SCHEMAS = frozenset({"datafusion", "public", "information_schema"})
_INTO_TABLES = ("from", "join", "into", "table", "update", "describe", "desc")


class OwnName(NamedTuple):
    """A name of an attribute as a query writes it.

    Attributes:
        name: What the column is called: `http.route` or `attributes['http.route']`.
        key: The key as it was sent.
        prefixes: Whose attribute it is; several where the name does not say, the nearest first.
    """

    name: str
    key: str
    prefixes: tuple[str, ...] = (RECORD, RESOURCE, SCOPE)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that hold it unless another key folds to the same name."""
        return tuple(column_name(prefix, self.key) for prefix in self.prefixes)


def read_own_name(name: str) -> OwnName:
    """What a quoted name means, if it is that of an attribute.

    Example:
        >>> read_own_name("resource['service.name']").columns
        ('resource_service_name',)
        >>> read_own_name("http.route").columns
        ('attr_http_route', 'resource_http_route', 'scope_http_route')
    """
    word, bracket, rest = name.partition("['")
    if bracket and rest.endswith("']") and word in ACCESSORS:
        return OwnName(name, rest[:-2], (ACCESSORS[word],))
    return OwnName(name, name)


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

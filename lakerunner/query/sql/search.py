"""`search('words')` in SQL text: texts that have all of some words, whatever stands around them.

It becomes a regular expression for each word. Pruning knows these again, so the token filters of
segments are asked, and the engine finds the same rows in what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lakerunner.errors import QuerySyntaxError
from lakerunner.query.sql.foreign import CallReader
from lakerunner.query.sql.rewriting import Edit, rewrite
from lakerunner.query.sql.tokens import Kind
from lakerunner.schema.tables import TABLES
from lakerunner.schema.words import word_pattern, words_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lakerunner.query.sql.foreign import Call
    from lakerunner.query.sql.tokens import Token

_NAME = "search"


def with_searches(
    said: Sequence[Token], text: str, edits: Sequence[Edit], values: Mapping[str, Any]
) -> list[Edit]:
    """Edits of a text, and further ones in place of its searches.

    Words that stand in double quotes must follow one another; of all others each may stand
    anywhere. Each must be in one of the columns that stand before the text; without any, in those
    of prose of the one table that the query names.

    Args:
        said: Tokens of the text.
        text: The query.
        edits: Those made so far.
        values: What its placeholders stand for.

    Raises:
        QuerySyntaxError: A search has no words, no text, or nobody knows where to look.

    Example:
        >>> from lakerunner.query.sql.tokens import tokens
        >>> text = "SELECT 1 FROM logs WHERE search('timeout')"
        >>> rewrite(text, with_searches(tokens(text), text, [], {})).text[25:42]
        "(((body) ~ '(?:^|"
    """
    if not any(token.is_word(_NAME) for token in said):
        return list(edits)
    reader = CallReader(said)
    found: list[Edit] = []
    for place, token in enumerate(said):
        call = reader.call(place) if token.is_word(_NAME) else None
        if call is None:
            continue
        phrases = _phrases(_sought(call, said, values), text)
        columns = [_slice(one, text, edits) for one in call.arguments[:-1]]
        columns = columns or _prose(said, text)
        found.append(Edit(token.start, call.closing.end, _condition(columns, phrases)))
    outside = [
        edit
        for edit in edits
        if not any(one.start <= edit.start and edit.end <= one.end for one in found)
    ]
    return [*outside, *found]


def _sought(call: Call, said: Sequence[Token], values: Mapping[str, Any]) -> str:
    """The text that a search is for."""
    last = call.arguments[-1] if call.arguments else ()
    sought: Any = None
    if len(last) == 1:
        (token,) = last
        sought = token.value
        if token.kind is Kind.PLACEHOLDER:
            marks = [one for one in said if one.kind is Kind.PLACEHOLDER]
            number = 1 + next(place for place, one in enumerate(marks) if one is token)
            sought = values.get(str(number) if token.text == "?" else token.text[1:])
    if not isinstance(sought, str) or not all(call.arguments):
        raise QuerySyntaxError(
            "search() ends with the words that it looks for, as a text or a placeholder: "
            "search('connection refused') or search(body, 'connection refused')"
        )
    return sought


def _phrases(sought: str, text: str) -> list[str]:
    """Words of a search, and what stands in double quotes as a whole."""
    parts = sought.split('"')
    phrases = [phrase for quoted in parts[1::2] if words_in(phrase := quoted)]
    phrases += [word for part in parts[::2] for word in words_in(part)]
    if not phrases:
        raise QuerySyntaxError(
            f"search() looks for words, and there is none in {sought!r}: letters and digits are "
            "words; use LIKE for anything else",
            query=text,
        )
    return phrases


def _slice(argument: Sequence[Token], text: str, edits: Iterable[Edit]) -> str:
    """An argument as it is planned."""
    start, end = argument[0].start, argument[-1].end
    inside = [
        Edit(edit.start - start, edit.end - start, edit.text)
        for edit in edits
        if start <= edit.start and edit.end <= end
    ]
    return rewrite(text[start:end], inside).text


def _prose(said: Sequence[Token], text: str) -> list[str]:
    """Where a search looks that names no column."""
    names = {token.name for token in said}
    named = [spec for spec in TABLES.values() if not names.isdisjoint((spec.name, *spec.aliases))]
    columns = [column for spec in named for column in spec.texts]
    if len(named) != 1 or not columns:
        raise QuerySyntaxError(
            "search() does not know where to look: name the columns, as in "
            "search(body, 'connection refused')",
            query=text,
        )
    return columns


def _condition(columns: Iterable[str], phrases: Iterable[str]) -> str:
    every = (
        " OR ".join(f"({column}) ~ '{word_pattern(phrase)}'" for column in columns)
        for phrase in phrases
    )
    return f"({' AND '.join(f'({one})' for one in every)})"

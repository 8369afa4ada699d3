"""Refuse what would make too much of little, where the text alone says so.

What it does not say is for the process that runs the query; see `lakerunner.compute.hazards`.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from lakerunner.errors import QueryLimitError, QuerySyntaxError
from lakerunner.limits import QUERY_GROUPING_SETS, QUERY_SCANS, QUERY_VALUE_SIZE
from lakerunner.query.query import ACCESSORS
from lakerunner.query.sql.foreign import CallReader
from lakerunner.query.sql.tokens import Edit, Kind, rewrite
from lakerunner.schema.tables import TABLES
from lakerunner.schema.words import word_pattern, words_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from lakerunner.query.sql.foreign import Call
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


# Attributes by their own names in SQL text: `attributes['http.route']`, `http.route`.
#
# Each becomes one quoted name, `"attributes['http.route']"`, that a view has a column of. So the
# engine's own rules say what it means: aliases, subqueries, common table expressions.

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


# `search('words')` in SQL text: texts that have all of some words, whatever stands around them.
#
# It becomes a regular expression for each word. Pruning knows these again, so the token filters of
# segments are asked, and the engine finds the same rows in what is left.

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

"""Clauses that DataFusion reads and then passes over, or reads otherwise than they are meant.

An answer that leaves a part of the question out looks right. So these are refused before anything
is planned, each with what to write in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.errors import UnsupportedQueryError
from lakerunner.query.sql.rewriting import Edit
from lakerunner.query.sql.tokens import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.query.sql.tokens import Token

_ANYTHING = "?"
# Words and symbols that follow one another, and what to do instead. `?` is anything that ends a
# name: without it, a column called so would be refused as well.
_IGNORED: tuple[tuple[tuple[str, ...], str], ...] = (
    (("tablesample",), "TABLESAMPLE is refused: write WHERE random() < 0.1"),
    (("sample", "("), "SAMPLE is refused: write WHERE random() < 0.1"),
    (("*", "ilike"), "* ILIKE is refused: name the columns, or write * EXCLUDE (…)"),
    (("with", "rollup"), "WITH ROLLUP is refused: write GROUP BY ROLLUP (…)"),
    (("with", "cube"), "WITH CUBE is refused: write GROUP BY CUBE (…)"),
    (("with", "totals"), "WITH TOTALS is refused: write GROUP BY GROUPING SETS ((…), ())"),
    (("with", "ordinality"), "WITH ORDINALITY is refused: write row_number() OVER (…)"),
    (("with", "("), "hints in WITH (…) are refused: leave them out"),
    (("prewhere",), "PREWHERE is refused: write WHERE"),
    (("connect", "by"), "CONNECT BY is refused: write WITH RECURSIVE"),
    (("for", "update"), "FOR UPDATE is refused: a query may only read"),
    (("for", "share"), "FOR SHARE is refused: a query may only read"),
    (("settings", _ANYTHING, "="), "SETTINGS is refused: settings are those of the lake"),
)
_LENGTHS = sorted({len(words) for words, _ in _IGNORED}, reverse=True)

_ENDS = frozenset(
    {"group", "order", "having", "limit", "offset", "union", "except", "intersect", "qualify"}
    | {"window", "where", "fetch", "on", "as", "asc", "desc", "nulls", "join", "inner", "cross"}
    | {"natural", "left", "right", "full", "then", "when", "else", "end", "filter", "over"}
)
"""Words that end an expression, where they do not begin a call."""


def refuse_ignored(found: Sequence[Token], text: str) -> None:
    """Refuse a text with a clause that would not be honoured.

    Args:
        found: Its tokens.
        text: The text, for the message.

    Raises:
        UnsupportedQueryError: There is one; the message names it, and what to write instead.

    Example:
        >>> from lakerunner.query.sql.tokens import tokens
        >>> refuse_ignored(tokens("SELECT 'TABLESAMPLE' FROM logs -- PREWHERE"), "…")
        >>> refuse_ignored(tokens("SELECT count(*) FROM logs TABLESAMPLE (10)"), "…")
        Traceback (most recent call last):
        ...
        lakerunner.errors.UnsupportedQueryError: TABLESAMPLE is refused: write WHERE random() < 0.1
    """
    words = [one.text.lower() if one.kind in (Kind.WORD, Kind.SYMBOL) else "" for one in found]
    for place, word in enumerate(words):
        for pattern, why in _IGNORED:
            if word == pattern[0] and _follows(words, place, pattern):
                raise UnsupportedQueryError(why, query=text)
        if words[place : place + 2] == ["distinct", "from"]:
            _refuse_loose(text, found, words, place + 2)


def _follows(words: Sequence[str], place: int, pattern: Sequence[str]) -> bool:
    there = words[place : place + len(pattern)]
    return len(there) == len(pattern) and all(
        expected in (_ANYTHING, one) for one, expected in zip(there, pattern, strict=True)
    )


def _refuse_loose(text: str, found: Sequence[Token], words: Sequence[str], start: int) -> None:
    """Refuse `a IS DISTINCT FROM b AND c`, which would be read as `a IS DISTINCT FROM (b AND c)`.

    Looked at is what follows, up to the end of the expression at the same depth.
    """
    depth = between = 0
    for place in range(start, len(words)):
        word = words[place]
        calls = words[place + 1 : place + 2] == ["("]
        if word in ("(", "[", "case"):
            depth += 1
        elif word in (")", "]") or (word == "end" and depth):
            depth -= 1
            if depth < 0:
                return
        elif depth:
            continue
        elif word == "between":
            between += 1
        elif word == "and" and between:
            between -= 1
        elif word in ("and", "or", "is"):
            shown = text[found[start].start : found[place - 1].end]
            raise UnsupportedQueryError(
                f"IS DISTINCT FROM binds loosely: put it into parentheses, as in "
                f"(… IS DISTINCT FROM {shown}) {word.upper()} …",
                query=text,
            )
        elif word in (",", ";") or (word in _ENDS and not calls):
            return


def cast_edits(found: Sequence[Token]) -> Iterator[Edit]:
    """Keep `TRY_CAST(…)` from being taken out of comparisons.

    DataFusion turns `TRY_CAST(n AS INT) >= 0` into `n >= 0`, which holds for numbers that are no
    INT. Inside of a function it stays what it is; `nullif(x, NULL)` is x.

    Args:
        found: The tokens of a text.

    Example:
        >>> from lakerunner.query.sql.rewriting import rewrite
        >>> from lakerunner.query.sql.tokens import tokens
        >>> text = "TRY_CAST(n AS INT) >= 0"
        >>> rewrite(text, cast_edits(tokens(text))).text
        'nullif(TRY_CAST(n AS INT), NULL) >= 0'
    """
    open_calls: list[bool] = []
    for before, token in zip([None, *found], found, strict=False):
        if token.is_symbol("("):
            cast = before is not None and before.is_word("try_cast", "arrow_try_cast")
            open_calls.append(cast)
            if cast and before is not None:
                yield Edit(before.start, before.start, "nullif(")
        elif token.is_symbol(")") and open_calls and open_calls.pop():
            yield Edit(token.end, token.end, ", NULL)")

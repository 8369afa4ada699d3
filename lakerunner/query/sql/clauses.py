"""Clauses that DataFusion reads and then passes over, or reads otherwise than they are meant.

An answer that leaves a part of the question out looks right. So these are refused before anything
is planned, each with what to write in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import UnsupportedQueryError
from lakerunner.model.times import isoformat
from lakerunner.query.sql.tokens import Edit, Kind

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
        >>> from lakerunner.query.sql.tokens import rewrite
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


_STOPS = frozenset(
    {"where", "and", "or", "not", "when", "then", "else", "on", "having", "select", "distinct"}
    | {"by", "qualify", "all", "between", "is", "from", "xor"}
)
"""Words that cannot be part of what stands before IN, at its depth."""

_STOP_SYMBOLS = ("(", "[", ",", ";", "=", "<", ">", "<=", ">=", "<>", "!=", "==", "~", "!~")


class _Listed(NamedTuple):
    """`operand IN (list)`: where the operand lies among the tokens, what it is, and the list."""

    first: int
    last: int
    operand: str
    values: str


def list_edits(found: Sequence[Token]) -> Iterator[Edit]:
    """Keep lists of one operand from being put together.

    DataFusion takes `x NOT IN (1, 2) OR x NOT IN (3, 4)` for true, and `x IN (1, 2) AND x IN (3)`
    for false, where x is NULL, too. It knows them to be of one operand by their being equal, so
    each further list gets another operand that means the same.

    Args:
        found: The tokens of a text.

    Example:
        >>> from lakerunner.query.sql.tokens import rewrite
        >>> from lakerunner.query.sql.tokens import tokens
        >>> text = "x NOT IN (1, 2) OR x NOT IN (3, 4) OR y IN (5, 6)"
        >>> rewrite(text, list_edits(tokens(text))).text
        'x NOT IN (1, 2) OR nullif(x, NULL) NOT IN (3, 4) OR y IN (5, 6)'
    """
    listed = list(_lists(found))
    # What a query within the query calls otherwise may be the same all the same.
    several = sum(token.is_word("select") for token in found) > 1
    known: dict[str, list[str]] = {}
    for one in listed:
        lists = known.setdefault("" if several else one.operand, [])
        if one.values not in lists:
            lists.append(one.values)
        # Equal conditions stay equal: they may stand in SELECT and in GROUP BY.
        depth = lists.index(one.values)
        if depth:
            start, end = found[one.first].start, found[one.last].end
            yield Edit(start, start, "nullif(" * depth)
            yield Edit(end, end, ", NULL)" * depth)


def _lists(found: Sequence[Token]) -> Iterator[_Listed]:
    for place, token in enumerate(found[:-1]):
        if not token.is_word("in") or not found[place + 1].is_symbol("("):
            continue
        if place + 2 < len(found) and found[place + 2].is_word("select", "with", "values"):
            continue
        last = place - (2 if place and found[place - 1].is_word("not") else 1)
        first = _operand_start(found, last)
        if first is None:
            continue
        end = _closing(found, place + 1)
        operand = [
            one.text.lower()
            for at, one in enumerate(found[first : last + 1], first)
            if not _qualifies(found, at)
        ]
        values = " ".join(one.text for one in found[place + 1 : end])
        yield _Listed(first, last, " ".join(operand), values)


def _operand_start(found: Sequence[Token], last: int) -> int | None:
    """Where the expression before IN begins; None if there is none, or a CASE."""
    depth, place = 0, last
    while place >= 0:
        token = found[place]
        if token.is_symbol(")", "]"):
            depth += 1
        elif depth:
            depth -= token.is_symbol("(", "[")
        elif token.is_symbol(*_STOP_SYMBOLS) or token.is_word(*_STOPS):
            break
        elif token.is_word("end", "case"):
            return None
        place -= 1
    return place + 1 if place < last else None


def _closing(found: Sequence[Token], opening: int) -> int:
    depth = 0
    for place in range(opening, len(found)):
        depth += found[place].is_symbol("(") - found[place].is_symbol(")")
        if not depth:
            return place
    return len(found)


def _qualifies(found: Sequence[Token], place: int) -> bool:
    """Whether a token is part of the `l.` of `l.name`."""
    dot = found[place].is_symbol(".")
    return dot or (place + 1 < len(found) and found[place + 1].is_symbol("."))


# The current time in a query, written out, so that it stands still while the query is planned.
#
# A query that asks for the time is another one each time it is planned. Where the time only says
# which rows are wanted, in a WHERE, it is written as a constant. Elsewhere it would be part of the
# name of a column, and stays as it is.

_MOMENTS = frozenset({"now", "current_timestamp"})
_DAYS = frozenset({"current_date", "today"})
_CALLED = frozenset({"now", "today"})  # the others are also written without parentheses
_CLAUSES = frozenset(
    {"select", "from", "group", "having", "order", "limit", "offset", "on", "qualify", "window"}
    | {"union", "intersect", "except", "with", "values", "join", "using"}
)


def clock_edits(said: Sequence[Token], now_ns: int) -> list[Edit]:
    """Edits that write the time out.

    Args:
        said: The tokens of a query.
        now_ns: The time, in nanoseconds since the epoch.

    Example:
        >>> from lakerunner.query.sql.tokens import rewrite
        >>> from lakerunner.query.sql.tokens import tokens
        >>> text = "SELECT now() FROM logs WHERE timestamp < now()"
        >>> rewrite(text, clock_edits(tokens(text), 5)).text
        "SELECT now() FROM logs WHERE timestamp < arrow_cast(5, 'Timestamp(Nanosecond, None)')"
    """
    return [
        Edit(said[first].start, said[last].end, _constant(said[first], now_ns))
        for first, last in _calls(said)
    ]


def _calls(said: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """The first and the last token of each call within a WHERE."""
    within = False
    for place, token in enumerate(said):
        if token.is_word("where"):
            before = said[max(place - 2, 0) : place]
            within = not (before and before[0].is_word("filter"))
        elif token.is_word(*_CLAUSES):
            within = False
        elif within and token.is_word(*_MOMENTS, *_DAYS) and not _is_part(said, place):
            called = [one.text for one in said[place + 1 : place + 3]] == ["(", ")"]
            if called or not token.is_word(*_CALLED):
                yield place, place + 2 if called else place


def _is_part(said: Sequence[Token], place: int) -> bool:
    """Whether a word is one part of a name of several."""
    around = [*said[max(place - 1, 0) : place], *said[place + 1 : place + 2]]
    return any(one.is_symbol(".") for one in around)


def _constant(token: Token, now_ns: int) -> str:
    if token.is_word(*_DAYS):
        return f"CAST('{isoformat(now_ns)[:10]}' AS DATE)"
    return f"arrow_cast({now_ns}, 'Timestamp(Nanosecond, None)')"

"""The current time in a query, written out, so that it stands still while the query is planned.

A query that asks for the time is another one each time it is planned. Where the time only says
which rows are wanted, in a WHERE, it is written as a constant. Elsewhere it would be part of the
name of a column, and stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.model.times import isoformat
from lakerunner.query.sql.rewriting import Edit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.query.sql.tokens import Token

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
        >>> from lakerunner.query.sql.rewriting import rewrite
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

"""Edits of a query text, and where each place of the edited text came from."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakerunner.errors import QueryError

_PLACE = re.compile(r"\bLine: (\d+), Column: (\d+)")


class Edit(NamedTuple):
    """A piece of the text that is replaced; one of no length is an insertion.

    Attributes:
        start: Where it begins, in characters.
        end: Where it ends.
        text: What stands there instead.
    """

    start: int
    end: int
    text: str


class Rewritten(NamedTuple):
    """A query text as it was written and as it is planned.

    Attributes:
        said: As it was written.
        text: As it is planned.
        starts: Where pieces of `text` begin, in ascending order.
        origins: Where in `said` each of these pieces comes from.
    """

    said: str
    text: str
    starts: tuple[int, ...] = (0,)
    origins: tuple[int, ...] = (0,)

    def restored(self, error: QueryError) -> QueryError:
        """The error as it would be for the text as it was written: its places are mapped back."""
        message = _PLACE.sub(self._restored_place, error.message)
        context = {**error.context, "query": self.said}
        return type(error)(message, **context)

    def _restored_place(self, match: re.Match[str]) -> str:
        line, column = (int(number) for number in match.groups())
        before = self.text.split("\n")[: line - 1]
        there = self.origin(sum(map(len, before)) + len(before) + column - 1)
        head = self.said[:there]
        line = head.count("\n") + 1
        return f"Line: {line}, Column: {there - (head.rfind(chr(10)) + 1) + 1}"

    def origin(self, position: int) -> int:
        """The place in `said` that a place in `text` comes from."""
        piece = max(bisect_right(self.starts, position) - 1, 0)
        following = self.origins[piece + 1] if piece + 1 < len(self.origins) else len(self.said)
        return min(self.origins[piece] + position - self.starts[piece], following)


def rewrite(said: str, edits: Iterable[Edit]) -> Rewritten:
    """Apply edits to a text.

    Args:
        said: The text.
        edits: In the order in which they shall stand; those of one place in that order too. They
            must not overlap.

    Example:
        >>> rewritten = rewrite("a ->> 'k' FROM", [Edit(0, 0, "f("), Edit(2, 5, ","),
        ...                                         Edit(9, 9, ")")])
        >>> rewritten.text
        "f(a , 'k') FROM"
        >>> from lakerunner.errors import QuerySyntaxError
        >>> error = QuerySyntaxError("bad at Line: 1, Column: 12")
        >>> rewritten.restored(error).message
        'bad at Line: 1, Column: 11'
    """
    parts, starts, origins = [], [0], [0]
    position = length = 0
    for edit in sorted(edits, key=lambda one: one.start):
        parts += [said[position : edit.start], edit.text]
        length += edit.start - position
        # What an edit put there comes from where it stands.
        starts += [length, length + len(edit.text)]
        origins += [edit.start, edit.end]
        length += len(edit.text)
        position = edit.end
    parts.append(said[position:])
    return Rewritten(said, "".join(parts), tuple(starts), tuple(origins))

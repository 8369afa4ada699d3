"""What the text of a query speaks of, read before it is parsed."""

from __future__ import annotations

from typing import NamedTuple


class Mention(NamedTuple):
    """The words of a query: every name in it, and perhaps more.

    Attributes:
        words: Lower-case words, whatever they are: keywords, names, parts of literals and comments.
            All tables and columns of the query are among them.
        clock: The query may depend on the current time.
        describes: It asks for the columns of a table and not for its rows.
        names: What stands in double quotes, in order: perhaps attributes by their own names.
        aliases: Those of `names` that the query defines itself.
    """

    words: frozenset[str]
    clock: bool
    describes: bool
    names: tuple[str, ...] = ()
    aliases: frozenset[str] = frozenset()

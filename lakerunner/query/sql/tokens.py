"""SQL text as tokens: what is a name, what a text, what a comment. Nothing is parsed here.

The rules are those of the parser that reads the text afterwards: comments nest, a quote inside of
quotes is doubled, a backslash means nothing but in `E'…'`, and `$tag$…$tag$` is a text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from lakerunner.errors import ConfigurationError
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from lakerunner.errors import QueryError

_TOKEN = re.compile(
    r"""
      (?P<blank>\s+|--[^\n]*)
    | (?P<comment>/\*)
    | (?P<text>[eE]'(?:[^'\\]|\\.|'')*'
        |(?:[nNxXbBrR]|[uU]&)?'[^']*(?:''[^']*)*')
    | (?P<dollar>\$\w*\$)
    | (?P<quoted>"[^"]*(?:""[^"]*)*"|`[^`]*(?:``[^`]*)*`)
    | (?P<placeholder>\$\w+|\?)
    | (?P<number>\d[\w.]*)
    | (?P<word>[^\W\d][\w$@\#]*)
    | (?P<symbol>->>|->|::|<=|>=|<>|!=|\|\||.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"/\*|\*/")
_QUOTES = frozenset("'\"`")


class Kind(StrEnum):
    """What a token is."""

    WORD = "word"
    QUOTED = "quoted"
    TEXT = "text"
    NUMBER = "number"
    PLACEHOLDER = "placeholder"
    SYMBOL = "symbol"


class Token(NamedTuple):
    """One token.

    Attributes:
        kind: What it is: a word (a keyword or a name), a name in double quotes, a text, …
        text: As it stands in the query.
        start: Its position in the query, in characters.
    """

    kind: Kind
    text: str
    start: int

    @property
    def end(self) -> int:
        """Position behind it."""
        return self.start + len(self.text)

    @property
    def name(self) -> str:
        r"""What it names: a word in lower case, a quoted name as it is; empty for all others.

        Example:
            >>> [token.name for token in tokens("SELECT \"Http.Route\", 'x'")]
            ['select', 'Http.Route', '', '']
        """
        if self.kind is Kind.WORD:
            return self.text.lower()
        if self.kind is Kind.QUOTED:
            quote = self.text[0]
            return self.text[1:-1].replace(quote * 2, quote)
        return ""

    @property
    def value(self) -> str | None:
        """The text that a plain literal `'…'` means; None for any other token."""
        if self.kind is Kind.TEXT and self.text[0] == "'":
            return self.text[1:-1].replace("''", "'")
        return None

    def is_word(self, *words: str) -> bool:
        """Whether it is one of some words, in any case."""
        return self.kind is Kind.WORD and self.text.lower() in words

    def is_symbol(self, *symbols: str) -> bool:
        """Whether it is one of some symbols."""
        return self.kind is Kind.SYMBOL and self.text in symbols


def tokens(text: str) -> list[Token]:
    r"""All tokens of a text, in order, without blanks and comments.

    A text, a name or a comment that never ends makes no error here, because the parser says it
    better: there are no tokens from there on.

    Example:
        >>> [token.text for token in tokens("SELECT a->>'b' /* x /* y */ */ FROM \"t\" -- end")]
        ['SELECT', 'a', '->>', "'b'", 'FROM', '"t"']
    """
    return list(_scan(text))


def _scan(text: str) -> Iterator[Token]:
    position = 0
    while match := _TOKEN.match(text, position):
        kind, start, position = match.lastgroup, position, match.end()
        if kind == "comment":
            position = _behind_comment(text, position)
        elif kind == "dollar":
            end = text.find(match[0], position)
            if end < 0:
                return
            position = end + len(match[0])
            yield Token(Kind.TEXT, text[start:position], start)
        elif kind == "symbol" and match[0] in _QUOTES:
            return
        elif kind is not None and kind != "blank":
            yield Token(Kind(kind), match[0], start)


def _behind_comment(text: str, position: int) -> int:
    depth = 1
    for match in _COMMENT.finditer(text, position):
        depth += 1 if match[0] == "/*" else -1
        if not depth:
            return match.end()
    return len(text)


# Edits of a query text, and where each place of the edited text came from.

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


# Tables that the caller brings along, to be joined with those of the lake.

_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_TAKEN = frozenset(name for spec in TABLES.values() for name in (spec.name, *spec.aliases))


def read_tables(tables: Mapping[str, Any] | None) -> dict[str, Any]:
    """The caller's tables as `pyarrow.Table`, by name.

    Args:
        tables: Data frames of pandas or Polars, Arrow tables, batches or readers, results of other
            queries, or whatever else is an Arrow stream; or mappings of columns.

    Raises:
        ConfigurationError: One cannot be read, or its name is taken or not plain.

    Example:
        >>> read_tables({"owners": {"service": ["cart"], "team": ["shop"]}})["owners"].num_rows
        1
    """
    return {name: _table(name, value) for name, value in (tables or {}).items()}


def _table(name: str, value: Any) -> Any:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"tables: {name!r} is no plain name: use lower-case letters, digits and underscores",
            setting="tables",
        )
    if name in _TAKEN:
        raise ConfigurationError(
            f"tables: {name!r} is a table of the lake: give yours another name", setting="tables"
        )
    try:
        return pa.table(value)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"tables: {name!r} is no table: {error}; give a data frame, or anything that is an "
            "Arrow stream",
            setting="tables",
        ) from error

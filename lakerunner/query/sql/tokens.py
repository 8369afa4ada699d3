"""SQL text as tokens: what is a name, what a text, what a comment. Nothing is parsed here.

The rules are those of the parser that reads the text afterwards: comments nest, a quote inside of
quotes is doubled, a backslash means nothing but in `E'…'`, and `$tag$…$tag$` is a text.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

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

"""Refuse texts whose parse tree is so deep that to walk it would exhaust the stack.

DataFusion bounds how deep parentheses may nest, but a chain such as `a AND b AND c …` is a tree as
deep as the chain is long, and some thousands of links end the process.
"""

from __future__ import annotations

import re

from lakerunner.errors import UnsupportedQueryError
from lakerunner.limits import QUERY_CHAIN, QUERY_TEXT_CHARS

_DEEPER, _DEEP = frozenset({"interval", "explain"}), 10
"""Words whose repetition costs the parser more stack than others, and how many they count for."""

# Literals, quoted names and comments are passed over; a comment that is not closed counts as words.
_TOKEN = re.compile(
    r"'[^']*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<comma>,)"
    r"|(?P<link>\w+|[^\w\s'\"(\[{)\]},]+)",
    re.DOTALL,
)


def refuse_deep(text: str) -> None:
    """Refuse a text that is longer, or chains more words, than any query needs.

    Words and operators are counted between the commas of one list. Lists themselves may be long:
    they are no deeper for it.

    Raises:
        UnsupportedQueryError: It is too long, or chains more than `limits.QUERY_CHAIN` words.

    Example:
        >>> refuse_deep("SELECT " + ", ".join(["1"] * 50_000))
        >>> refuse_deep("SELECT " + " + ".join(["1"] * 50_000))
        Traceback (most recent call last):
        ...
        lakerunner.errors.UnsupportedQueryError: the query chains more than 5,000 words
    """
    if len(text) <= QUERY_CHAIN:
        return  # a word is at least a character
    if len(text) > QUERY_TEXT_CHARS:
        raise UnsupportedQueryError(f"the query has more than {QUERY_TEXT_CHARS:,} characters")
    links = [0]
    for token in _TOKEN.finditer(text):
        match token.lastgroup:
            case "link":
                links[-1] += _DEEP if token["link"].lower() in _DEEPER else 1
                if links[-1] > QUERY_CHAIN:
                    raise UnsupportedQueryError(
                        f"the query chains more than {QUERY_CHAIN:,} words", query=text
                    )
            case "comma":
                links[-1] = 0
            case "open":
                links[-1] += 1
                links.append(0)
            case "close" if len(links) > 1:
                links.pop()

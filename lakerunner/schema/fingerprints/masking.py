"""The rules that tell the variable parts of a message from its constant text, in their order.

They run as RE2 over whole columns. Each rule says what it is for; none of them counts or compares
messages. `VARIABLE` stands for a variable part until the template is written out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pyarrow.compute as pc

VARIABLE = "\x01"
"""A body that holds this byte itself has a variable there."""

_OPEN, _CLOSE = "\x02", "\x03"  # quotes that later rules must leave alone


class Rule(NamedTuple):
    r"""A rewriting of the text.

    Attributes:
        pattern: RE2; every match is rewritten.
        replacement: What the match becomes; `\1` is its first group.
    """

    pattern: str
    replacement: str = VARIABLE


# Letters, digits and everything beyond ASCII: the words of `shapes`, which must agree.
_LETTERS = r"0-9A-Za-z_\x{80}-\x{10FFFF}"
_BEFORE = r"(^|[\s\"'`(\[{=:,;|>\x02])"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)"
_MONTH = (
    r"(?:Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sept?|Oct|Nov|Dec|"
    r"January|February|March|April|August|(?:Septem|Octo|Novem|Decem)ber)"
)
_METHOD = "(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH)"
_LABELS = r"[a-z\x01](?:[a-z\x01_-]*)"
_GENERIC = "com|net|org|edu|gov|mil|int|info|biz|io|dev|app|cloud|local|internal|lan|arpa"
_PART = rf"[{_LETTERS}\x01-]"

DIGITS = Rule(rf"[{_LETTERS}]*[0-9][{_LETTERS}]*")
"""A word with a digit in it: numbers, ids, hex, parts of addresses and times. Always the first."""

_QUOTES = (
    # The request line of an access log says what happened; other quoted text is a value.
    Rule(rf'"({_METHOD}\s[^"]*)"', rf"{_OPEN}\1{_CLOSE}"),
    # The message of a logfmt line, too.
    Rule(r'\b(msg|message)="((?:[^"\\]|\\.)*)"', rf"\1={_OPEN}\2{_CLOSE}"),
)
_DATES = (
    Rule(rf"(?:\b{_DAY},?\s+)?(?:\b{_MONTH}\.?\s+\x01|\x01[\s/-]{_MONTH}[\s/-]\x01)"),
    Rule(rf"\b{_DAY},?\s+\x01"),
)
_ADDRESSES = (
    Rule(rf"\b({_METHOD}\s)/[^\s\"\x03]*", rf"\1{VARIABLE}"),  # what a request asks for
    Rule(
        _BEFORE
        + "(?:"
        + "|".join(
            [
                r"[A-Za-z\x01][\w+.\x01-]*://[^\s\"'<>\x03]*",  # a URL
                rf"[{_LETTERS}.+\x01-]+@[\w\x01-]+\.[\w.\x01-]+",  # an e-mail address
                r"[A-Za-z]:\\[^\s\"'<>|]*",  # a path on Windows
                r"(?:~|\.\.?)?/[^\s\"'<>,;:()\[\]{}=|/\x03][^\s\"'<>,;()\[\]{}\x03]*",  # a path
                r"'[^']*'\B|\"(?:[^\"\\]|\\.)*\"|`[^`]*`",  # quoted text
            ]
        )
        + ")",
        rf"\1{VARIABLE}",
    ),
    # Host names end in a top-level domain; package and file names do not. A country's needs a name
    # of three parts, because file names end in two letters as well.
    Rule(
        rf"\b(?:(?:{_LABELS}\.)+(?:{_GENERIC})|(?:{_LABELS}\.){{2,}}[a-z]{{2}})"
        r"(\.?(?:[\s\"'`()\[\]{}<>=:,;|/\x03]|$))",
        rf"{VARIABLE}\1",
    ),
)
_WORDS = (
    # No words of a language: encoded data, and ids in hex that happen to have no digit.
    Rule(rf"[{_LETTERS}]{{64,}}|\b(?:[a-f]{{8,}}|[A-F]{{8,}})\b"),
    # Hardware and IPv6 addresses, of which some groups may have no digit.
    Rule(r"(?:(?:\x01|\b[A-Fa-f]{1,4})::?){2,7}(?:\x01|[A-Fa-f]{1,4}\b)"),
    Rule(rf"(?:{_PART}+\.)*{_PART}*\x01{_PART}*(?:\.{_PART}+)*"),  # all of worker-<*>, of <*>.log
    Rule(r"([\w\]])=[^\s,;&()\[\]{}\x02\x03]+", rf"\1={VARIABLE}"),  # the value of key=value
)
# The one kind of variable that looks like any word and is in every authentication log.
_NAMES = (
    Rule(
        r"(?i)\b((?:for|of|by|as|to|invalid|illegal|unknown) user |"
        r"(?:password|publickey) for (?:(?:(?:invalid|illegal|unknown) )?user )?)"
        rf"[{_LETTERS}.$@-]*",
        rf"\1{VARIABLE}",
    ),
)
_RUNS = (
    Rule(r"\s\s+|[\t\r\n\f\v]", " "),
    Rule(r"\x01 ?[(\[{] ?\x01? ?[)\]}]"),  # <*> (<*>) and <*> (): a detail that may be missing
    # A list of variables is one variable, however long it is. A colon and a space end a label.
    Rule(r"\x01(?:(?::|[\s,.;/|*+#@&%~_!?'\"<>=-]*)\x01)+"),
)

RULES: tuple[Rule, ...] = (
    *_QUOTES, *_DATES, *_ADDRESSES, *_WORDS, *_NAMES, *_RUNS,
)  # fmt: skip
"""What follows `DIGITS`. The order matters: a rule reads what the earlier ones wrote."""


def rewrite(texts: Any, rules: tuple[Rule, ...]) -> Any:
    """Apply rules one after the other to an array of texts."""
    for rule in rules:
        texts = pc.replace_substring_regex(texts, rule.pattern, rule.replacement)
    return texts


def masked(texts: Any) -> Any:
    r"""Put `VARIABLE` for the variable parts of plain text in which `DIGITS` are masked already.

    Args:
        texts: `pa.StringArray`.

    Example:
        >>> import pyarrow as pa
        >>> masked(pa.array(["session closed for user cyrus"])).to_pylist()
        ['session closed for user \x01']
    """
    texts = rewrite(texts, RULES)
    for held in (_OPEN, _CLOSE):
        texts = pc.replace_substring(texts, held, '"')
    return pc.ascii_trim_whitespace(texts)

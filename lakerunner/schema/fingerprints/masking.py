"""The rules that tell the variable parts of a message from its constant text, in their order.

They run as RE2 over whole columns. Each rule says what it is for; none of them counts or compares
messages. `VARIABLE` stands for a variable part until the template is written out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

VARIABLE = "\x01"
"""A body that holds this byte itself has a variable there."""

_LONG_WORD = 64
_OPEN, _CLOSE = "\x02", "\x03"  # quotes that later rules must leave alone


class Rule(NamedTuple):
    r"""A rewriting of the text.

    Attributes:
        pattern: RE2; every match is rewritten.
        replacement: What the match becomes; `\1` is its first group.
        needs: Kinds of bytes of which every match has one; 0 if nothing is known of them. Texts
            without are not looked at.
    """

    pattern: str
    replacement: str = VARIABLE
    needs: int = 0


_MASKED, _QUOTE, _SLASH, _DOT, _EQUALS, _BREAK, _DIGIT, _LONG = (1 << bit for bit in range(8))
_BYTES = {
    _MASKED: b"\x01\x02\x03",
    _QUOTE: b"\"'`\xe2\xc2",  # the first bytes of quotes beyond ASCII, too
    _SLASH: b"/\\@",
    _DOT: b".",
    _EQUALS: b"=",
    _BREAK: b"\t\r\n\f\v",
    _DIGIT: b"0123456789",
}
_KINDS = bytes(sum(kind for kind, held in _BYTES.items() if byte in held) for byte in range(256))

# Letters, digits and everything beyond ASCII: the words of `shapes`, which must agree.
_LETTERS = r"0-9A-Za-z_\x{80}-\x{10FFFF}"
_BEFORE = r"(^|[\s\"'`(\[{=:,;|>\x02])"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)"
_MONTH = (
    r"(?:Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sept?|Oct|Nov|Dec|"
    r"January|February|March|April|August|(?:Septem|Octo|Novem|Decem)ber)"
)
_METHOD = "(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH)"
_ANY_LABELS = r"[A-Za-z\x01][A-Za-z\x01_-]*"
_LABELS = r"[a-z\x01](?:[a-z\x01_-]*)"
_GENERIC = (
    "com|net|org|edu|gov|mil|int|info|biz|io|dev|app|ai|me|cloud|local|localdomain|internal|intranet|"
    "lan|corp|svc|arpa"
)
# Countries whose letters end the names of no files.
_COUNTRIES = (
    "ar|at|au|be|ch|cl|cn|cz|de|dk|es|eu|fi|fr|gr|hk|hu|ie|it|jp|kr|mx|nl|nz|ro|ru|se|sg|tr|tw|ua|uk|"
    "us|za"
)
# Quotes as books have them; a German one closes with what opens an English one.
_OPENING = r"\x{AB}\x{2039}\x{2018}\x{201A}\x{201C}\x{201E}"
_CLOSING = r"\x{BB}\x{203A}\x{2019}\x{201C}\x{201D}"
_PART = rf"[{_LETTERS}\x01-]"

DIGITS = Rule(rf"[{_LETTERS}]*[0-9][{_LETTERS}]*", needs=_DIGIT)
"""A word with a digit in it: numbers, ids, hex, parts of addresses and times. Always the first."""

_QUOTES = (
    # The request line of an access log says what happened; other quoted text is a value.
    Rule(rf'"({_METHOD}\s[^"]*)"', rf"{_OPEN}\1{_CLOSE}", _QUOTE),
    # The message of a logfmt line, too.
    Rule(r'\b(msg|message)="((?:[^"\\]|\\.)*)"', rf"\1={_OPEN}\2{_CLOSE}", _EQUALS),
)
_DATES = (
    Rule(
        rf"(?:\b{_DAY},?\s+)?(?:\b{_MONTH}\.?\s+\x01|\x01[\s/-]{_MONTH}[\s/-]\x01)",
        needs=_MASKED,
    ),
    Rule(rf"\b{_DAY},?\s+\x01", needs=_MASKED),
)
_ADDRESSES = (
    # What a request asks for.
    Rule(rf"\b({_METHOD}\s)/[^\s\"\x03]*", rf"\1{VARIABLE}", _SLASH),
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
                # A closing quote is part of a word with a digit before it.
                rf"[{_OPENING}][^{_CLOSING}\x01]*[{_CLOSING}\x01]",
            ]
        )
        + ")",
        rf"\1{VARIABLE}",
        _SLASH | _QUOTE,
    ),
    # Host names end in a top-level domain; package and file names do not. One of two letters
    # needs a name of three parts, or to be of a country whose letters end the names of no files.
    Rule(
        rf"\b(?:(?:{_ANY_LABELS}\.)+(?:{_GENERIC})|(?:{_LABELS}\.){{2,}}[a-z]{{2}}|"
        rf"(?:{_LABELS}\.)+(?:{_COUNTRIES}))"
        r"(\.?(?:[\s\"'`()\[\]{}<>=:,;|/\x03]|$))",
        rf"{VARIABLE}\1",
        _DOT,
    ),
)
_WORDS = (
    # No words of a language: encoded data, and ids in hex that happen to have no digit.
    Rule(rf"[{_LETTERS}]{{64,}}", needs=_LONG),
    Rule(r"\b(?:[a-f]{8,}|[A-F]{8,}|localhost)\b"),
    # A path behind a host, and behind the number of its port.
    Rule(r"\x01/[^\s\"'<>,;()\[\]{}\x02\x03]*[^\s\"'<>,;:.()\[\]{}\x02\x03]", needs=_SLASH),
    # Hardware and IPv6 addresses, of which some groups may have no digit.
    Rule(r"(?:(?:\x01|\b[A-Fa-f]{1,4})::?){2,7}(?:\x01|[A-Fa-f]{1,4}\b)", needs=_MASKED),
    Rule(
        rf"{_BEFORE}(?:\x01?::(?:[A-Fa-f]{{1,4}}:)*\x01|\x01::[A-Fa-f]{{1,4}}\b)",
        rf"\1{VARIABLE}",
        _MASKED,
    ),
    Rule(r"#\x01#?|\b[A-Z]{3,}\(\x01\)", needs=_MASKED),  # the fifth, and a source of time
    Rule(r"<\s?\x01 ?(?:m?s|m?sec|min|(?:second|minute|hour)s?)\b", needs=_MASKED),  # less than 5 s
    # All of worker-<*>, of <*>.log.
    Rule(rf"(?:{_PART}+\.)*{_PART}*\x01{_PART}*(?:\.{_PART}+)*", needs=_MASKED),
    # The value of key=value.
    Rule(r"([\w\]])=[^\s,;&()\[\]{}\x02\x03]+", rf"\1={VARIABLE}", _EQUALS),
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
    Rule(r"\s\s+|[\t\r\n\f\v]", " ", _BREAK),
    # <*> (<*>) and <*> (): a detail that may be missing.
    Rule(r"\x01 ?[(\[{] ?\x01? ?[)\]}]", needs=_MASKED),
    # A list of variables is one variable, however long it is. A colon and a space end a label.
    Rule(r"\x01(?:(?::|[\s,.;/|*+#@&%~_!?'\"<>=-]*)\x01)+", needs=_MASKED),
)

RULES: tuple[Rule, ...] = (
    *_QUOTES, *_DATES, *_ADDRESSES, *_WORDS, *_NAMES, *_RUNS,
)  # fmt: skip
"""What follows `DIGITS`. The order matters: a rule reads what the earlier ones wrote."""


def rewrite(texts: Any, rules: tuple[Rule, ...]) -> Any:
    """Apply rules one after the other to an array of texts."""
    if not len(texts):
        return texts
    kinds = _kinds(texts)
    for rule in rules:
        rows = kinds & rule.needs != 0 if rule.needs else np.ones(len(texts), np.bool_)
        count = np.count_nonzero(rows)
        if not count:
            continue
        if count > len(texts) // 2:
            changed = pc.replace_substring_regex(texts, rule.pattern, rule.replacement)
            if not changed.equals(texts):
                texts, kinds = changed, _kinds(changed)
            continue
        mask = pa.array(rows)
        some = pc.replace_substring_regex(texts.filter(mask), rule.pattern, rule.replacement)
        texts = pc.replace_with_mask(texts, mask, some)
        kinds[rows] = _kinds(some)
    return texts


def _kinds(texts: Any) -> Any:
    """Which kinds of bytes each text has."""
    texts = pa.concat_arrays([texts, pa.array([], texts.type)])
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[: len(texts) + 1]
    raw = texts.buffers()[2]
    data = (b"" if raw is None else raw.slice(0, int(offsets[-1])).to_pybytes()) + b"\0"
    kinds = np.frombuffer(bytearray(data.translate(_KINDS)), np.uint8)
    blank = np.frombuffer(data, np.uint8) == ord(" ")
    kinds[1:][blank[1:] & blank[:-1]] |= _BREAK
    found = np.bitwise_or.reduceat(kinds, offsets[:-1])
    sizes = np.diff(offsets)
    found[sizes == 0] = 0
    found[sizes >= _LONG_WORD] |= _LONG
    return found


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

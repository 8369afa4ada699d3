"""Read logfmt: lines of `key=value` pairs, values in quotes where they hold spaces."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.formats.json_scan import unescaped_quotes
from lakerunner.formats.records.json_pairs import Pairs, by_column
from lakerunner.formats.records.json_read import rare_pairs, without
from lakerunner.formats.records.lines import Records, compact, join_lines, slices
from lakerunner.formats.records.text_types import typed_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.formats.records.lines import Lines

_MESSAGE = "message"
_EQUALS, _QUOTE, _NEWLINE = ord("="), ord('"'), ord("\n")
_SPACES = np.zeros(256, bool)
_SPACES[list(b" \t\n\r")] = True
_WORD = r"^[A-Za-z_][\w./-]*$"
_LOOKED_AT = 20
_ENOUGH = 0.8
_PAIR = re.compile(r'(?:^|\s)[A-Za-z_@][\w.@/-]*=(?:"(?:[^"\\]|\\.)*"|[^\s"]*)(?=\s|$)')
_HELD = "\ufdd0"  # no character: stands for a backslash while the other escapes are undone
_ESCAPES = (
    ("\\\\", _HELD),
    ('\\"', '"'),
    ("\\n", "\n"),
    ("\\t", "\t"),
    ("\\r", "\r"),
    (_HELD, "\\"),
)


def looks_like_logfmt(head: bytes) -> bool:
    r"""Whether most of the first lines are made of pairs.

    Args:
        head: The first bytes of an object.

    Example:
        >>> looks_like_logfmt(b'level=info msg="it is up"\n'), looks_like_logfmt(b"port=80 is up")
        (True, False)
    """
    text = head.decode(errors="replace")
    lines = [line for line in text.split("\n", _LOOKED_AT)[:_LOOKED_AT] if line.strip()]
    if len(lines) > 1 and len(text) > 1 and not text.endswith("\n"):
        lines.pop()  # it may be cut off
    return bool(lines) and sum(map(_is_pairs, lines)) >= _ENOUGH * len(lines)


def _is_pairs(line: str) -> bool:
    pairs = _PAIR.findall(line)
    words = _PAIR.sub("", line).split()
    return len(pairs) > 1 and len(words) < len(pairs)


def read_logfmt(payloads: Sequence[bytes]) -> Records:
    r"""Read lines of pairs, one column per key.

    Words without a value are `true`. A line that is no logfmt, because it has no pair, more words
    than pairs, words that are no names, or one of very many rare keys, is kept whole as `message`,
    unless it has a pair of that key. A quote that does not enclose a value is plain text. Columns
    are int64, double or bool where all their values are written as these are, and text otherwise;
    what stands in quotes is text. The second pair of a key in one line goes to `key#2`.

    Args:
        payloads: Lines of text; blank lines are passed over.

    Returns:
        The lines; nothing is ever set aside.

    Raises:
        ObjectTooLargeError: The payloads take more than 2 GiB.

    Example:
        >>> records = read_logfmt([b'n=1 msg="a \\"b\\"" ok\nplain text'])
        >>> records.table.to_pylist()[0]
        {'n': 1, 'msg': 'a "b"', 'ok': True, 'message': None}
        >>> records.table.to_pylist()[1]
        {'n': None, 'msg': None, 'ok': None, 'message': 'plain text'}
    """
    lines = compact(join_lines(payloads))
    pairs, prose, rare = _pairs(lines)
    count = len(lines.starts)
    columns: dict[str, Any] = {}
    quoted = set()
    for name, which in by_column(pairs):
        rows = np.full(count, -1, np.int64)
        rows[pairs.rows[which]] = np.arange(len(which))
        values, in_quotes = _values(lines.data, pairs.starts[which], pairs.ends[which])
        columns[name] = values.take(pa.array(rows, mask=rows < 0))
        if in_quotes:
            quoted.add(name)
    if len(prose):
        whole = slices(lines.data, lines.starts[prose], lines.ends[prose])
        rows = np.full(count, -1, np.int64)
        rows[prose] = np.arange(len(prose))
        text = whole.take(pa.array(rows, mask=rows < 0))
        columns[_MESSAGE] = pc.coalesce(columns[_MESSAGE], text) if _MESSAGE in columns else text
    table, alike = typed_columns(columns, lines.payload, quoted, empty=True)
    return Records(table, lines.payload, (), alike and not rare)


def _pairs(lines: Lines) -> tuple[Pairs, Any, bool]:
    """The pairs of all lines, words among them with an empty place; and the lines to keep whole.

    Third, whether some are kept whole for their rare keys.
    """
    values = np.frombuffer(lines.data, np.uint8)
    quotes = _enclosing(values, lines)
    spaces = np.flatnonzero(_SPACES[values])
    spaces = spaces[np.searchsorted(quotes, spaces) % 2 == 0]
    starts = np.concatenate([[0], spaces + 1])[: len(spaces)]
    ends = spaces  # a newline stands behind the last line
    filled = starts < ends
    starts, ends = starts[filled], ends[filled]
    rows = np.searchsorted(lines.starts, starts, "right") - 1
    equals = np.append(np.flatnonzero(values == _EQUALS), len(values))
    first = equals[np.searchsorted(equals, starts)]
    is_pair = (first < ends) & (first > starts)
    key_ends = np.where(is_pair, first, ends)
    keys = slices(lines.data, starts, key_ends).dictionary_encode()
    codes = keys.indices.to_numpy()
    named = pc.match_substring_regex(keys.dictionary, _WORD).to_numpy(zero_copy_only=False)
    count = len(lines.starts)
    words = np.bincount(rows[~is_pair], minlength=count)
    odd = np.bincount(rows[~is_pair & ~named[codes]], minlength=count) if len(codes) else words
    prose = (odd > 0) | (words > np.bincount(rows[is_pair], minlength=count))
    kept = is_pair | ~prose[rows]
    value_starts = np.where(is_pair, first + 1, ends)
    # The place of a word begins behind its end, which no pair's can.
    value_ends = np.where(is_pair, ends, ends - 1)
    pairs = Pairs(
        rows[kept],
        codes[kept].astype(np.int64),
        value_starts[kept],
        value_ends[kept],
        keys.dictionary.to_pylist(),
    )
    pairs = without(pairs, np.zeros(len(pairs.codes), bool))  # keys that only prose had are gone
    rare = rare_pairs(pairs, count, len(lines.data))
    if rare is not None:
        prose[pairs.rows[rare]] = True
        pairs = without(pairs, rare)
    return pairs, np.flatnonzero(prose), rare is not None


def _enclosing(values: Any, lines: Lines) -> Any:
    """Quotes that enclose values: those of lines where each quote stands at an end of a value."""
    quotes = unescaped_quotes(values)
    if not len(quotes):
        return quotes
    rows = np.searchsorted(lines.starts, quotes, "right") - 1
    firsts = np.searchsorted(rows, rows)  # the first quote of the same line
    opens = (np.arange(len(quotes)) - firsts) % 2 == 0
    before, behind = values[np.maximum(quotes - 1, 0)], values[quotes + 1]
    good = np.where(opens, before == _EQUALS, _SPACES[behind])
    count = len(lines.starts)
    even = np.bincount(rows, minlength=count) % 2 == 0
    wrong = np.bincount(rows[~good], minlength=count) > 0
    return quotes[(even & ~wrong)[rows]]


def _values(data: bytes, starts: Any, ends: Any) -> tuple[Any, bool]:
    """Values as text, without their quotes; `true` for words. Second, whether some had quotes."""
    is_word = ends < starts
    values = np.frombuffer(data, np.uint8)
    quoted = (ends - starts > 1) & (values[np.minimum(starts, len(values) - 1)] == _QUOTE)
    quoted &= values[ends - 1] == _QUOTE
    text = slices(data, starts + quoted, np.where(is_word, starts, ends - quoted))
    if pc.any(pc.match_substring(text, "\\"), min_count=0).as_py():
        plain = text
        for escape, character in _ESCAPES:
            plain = pc.replace_substring(plain, escape, character)
        text = pc.if_else(pa.array(quoted), plain, text)
    text = pc.if_else(pa.array(is_word), "true", text) if is_word.any() else text
    return text, bool(quoted.any())

"""Where the rows of delimited text end, with newlines inside of quotes passed over."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

_QUOTE, _NEWLINE = ord('"'), ord("\n")


class RowEnds(NamedTuple):
    """The rows of some delimited text.

    Attributes:
        places: int64: where the newlines behind the rows are.
        unclosed: Where the quotes are that nothing closes; the rest of their line counts as plain.
    """

    places: Any
    unclosed: list[int]


def row_ends(data: bytes | bytearray, delimiter: str, *, whole: bool = True) -> RowEnds:
    r"""Find the newlines that end rows.

    A quote opens a field only at its head; `5" disk` is plain text. It is closed by a quote before
    a delimiter or a newline, or anywhere on the same line.

    Args:
        data: Delimited text that begins with a row.
        delimiter: One ASCII character.
        whole: Whether no text follows that may close a quote.

    Example:
        >>> row_ends(b'a,"x\ny"\nb,5" disk\n', ",").places.tolist()
        [7, 17]
        >>> row_ends(b'a,"x\nb,"y"\n', ",")
        RowEnds(places=array([ 4, 10]), unclosed=[2])
    """
    values = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(values == _NEWLINE)
    quotes = np.flatnonzero(values == _QUOTE)
    if not len(quotes):
        return RowEnds(newlines, [])
    if (whole and len(quotes) % 2) or not _well_formed(values, quotes, ord(delimiter)):
        return _field_by_field(bytes(data), newlines, delimiter, whole=whole)
    inside = np.searchsorted(quotes, newlines) % 2 == 1
    return RowEnds(newlines[~inside], [])


def _well_formed(values: Any, quotes: Any, delimiter: int) -> bool:
    """Whether every quote stands at an end of its field, or beside another that it escapes."""
    beside = np.zeros(256, bool)
    beside[[delimiter, _NEWLINE, _QUOTE]] = True
    opening, closing = quotes[::2], quotes[1::2]
    before = values[opening[opening > 0] - 1]
    beside_closing = beside.copy()
    beside_closing[ord("\r")] = True
    behind = values[closing[closing < len(values) - 1] + 1]
    return bool(beside[before].all() and beside_closing[behind].all())


def _field_by_field(data: bytes, newlines: Any, delimiter: str, *, whole: bool) -> RowEnds:
    """The same where quotes stand within fields: go from quoted field to quoted field."""
    mark = re.escape(delimiter.encode())
    field = re.compile(
        rb"(?:(?<=[\n" + mark + rb'])|\A)"(?:[^"]+|"")*+("?)(?=([\r\n' + mark + rb"])?)"
    )
    bounds: list[int] = []
    unclosed = []
    match = field.search(data)
    while match:
        start, end = match.span()
        line_end = data.find(b"\n", start, end)
        good = match[1] and (match[2] or end == len(data) or line_end < 0)
        if good or (not whole and end == len(data)):
            bounds += (start, end)
            match = field.search(data, end)
        else:
            unclosed.append(start)
            line_end = data.find(b"\n", start)
            match = field.search(data, line_end + 1) if line_end >= 0 else None
    inside = np.searchsorted(np.array(bounds, np.int64), newlines, "right") % 2 == 1
    return RowEnds(newlines[~inside], unclosed)

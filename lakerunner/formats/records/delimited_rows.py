"""Where the rows of delimited text end, with newlines inside of quotes passed over."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

_QUOTE, _NEWLINE, _RETURN = b'"\n\r'


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
    found = _quoted(values, data, delimiter, whole=whole)
    inside = np.searchsorted(found.bounds, newlines, "right") % 2 == 1
    return RowEnds(newlines[~inside], found.unclosed)


def quoted_columns(data: bytes, delimiter: str, columns: int) -> list[int]:
    r"""Positions of the columns in which some field stands in quotes.

    Args:
        data: Rows; every quote that opens a field is closed.
        delimiter: One ASCII character.
        columns: How many there are.

    Example:
        >>> quoted_columns(b'a,"1"\n"b,c",2\nd,3\n', ",", 2), quoted_columns(b'5" disk,1', ",", 2)
        ([0, 1], [])
    """
    values = np.frombuffer(data, np.uint8)
    bounds = _quoted(values, data, delimiter, whole=True).bounds
    opening = bounds[::2]
    before = values[np.maximum(opening - 1, 0)]
    heads = (opening == 0) | (before == ord(delimiter)) | (before == _NEWLINE) | (before == _RETURN)
    opening = opening[heads]
    outside = [np.flatnonzero(values == mark) for mark in (ord(delimiter), _NEWLINE)]
    outside = [at[np.searchsorted(bounds, at, "right") % 2 == 0] for at in outside]
    delimiters, ends = outside
    starts = np.concatenate([[0], ends + 1])[np.searchsorted(ends, opening)]
    found = np.searchsorted(delimiters, opening) - np.searchsorted(delimiters, starts)
    return [place for place in np.unique(found).tolist() if place < columns]


class _Quoted(NamedTuple):
    bounds: Any
    """int64: where quoted text begins and ends, in turns."""

    unclosed: list[int]


def _quoted(values: Any, data: bytes | bytearray, delimiter: str, *, whole: bool) -> _Quoted:
    quotes = np.flatnonzero(values == _QUOTE)
    if not len(quotes):
        return _Quoted(quotes, [])
    if (whole and len(quotes) % 2) or not _well_formed(values, quotes, ord(delimiter)):
        return _field_by_field(bytes(data), delimiter, whole=whole)
    return _Quoted(quotes, [])


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


def _field_by_field(data: bytes, delimiter: str, *, whole: bool) -> _Quoted:
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
    return _Quoted(np.array(bounds, np.int64), unclosed)

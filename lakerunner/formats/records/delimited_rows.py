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
        unclosed: Whether the text ends inside of quotes.
    """

    places: Any
    unclosed: bool


def row_ends(data: bytes | bytearray, delimiter: str) -> RowEnds:
    r"""Find the newlines that end rows.

    A quote counts only at the head of a field; `5" disk` is plain text.

    Args:
        data: Delimited text that begins with a row.
        delimiter: One ASCII character.

    Example:
        >>> row_ends(b'a,"x\ny"\nb,5" disk\n', ",").places.tolist()
        [8, 18]
    """
    values = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(values == _NEWLINE)
    quotes = np.flatnonzero(values == _QUOTE)
    if not len(quotes):
        return RowEnds(newlines, unclosed=False)
    opening = quotes[::2]
    before = np.where(opening > 0, values[opening - 1], _NEWLINE)
    # The second of two quotes in a row stands for a quote, and opens again what the first closed.
    heads = (before == ord(delimiter)) | (before == _NEWLINE) | (before == _QUOTE)
    if not heads.all():
        return _with_stray_quotes(bytes(data), newlines, delimiter)
    inside = np.searchsorted(quotes, newlines) % 2 == 1
    return RowEnds(newlines[~inside], unclosed=len(quotes) % 2 == 1)


def _with_stray_quotes(data: bytes, newlines: Any, delimiter: str) -> RowEnds:
    """The same where quotes stand within fields: go from quoted field to quoted field."""
    mark = re.escape(delimiter.encode())
    field = re.compile(rb"(?:(?<=[\n" + mark + rb'])|\A)"(?:[^"]+|"")*+("?)')
    spans, unclosed = [], False
    for match in field.finditer(data):
        spans.append(match.span())
        unclosed = not match[1]
    bounds = np.array(spans, np.int64).reshape(-1)
    inside = np.searchsorted(bounds, newlines, "right") % 2 == 1
    return RowEnds(newlines[~inside], unclosed)

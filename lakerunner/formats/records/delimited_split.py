"""Cut text in rows of delimited fields into parts that each begin with its header."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lakerunner.errors import ObjectTooLargeError
from lakerunner.formats.base import Part, too_long
from lakerunner.formats.records.lines import valid_text
from lakerunner.limits import OBJECT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Where the rows of delimited text end, with newlines inside of quotes passed over.

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


PREAMBLE = re.compile(rb"\s*(?:(?:#[^\n]*|sep=.\r?)(?:\n\s*|$))*+")
"""Blank lines, comments, and a line that names the delimiter."""

_LONGEST_QUOTED = 8  # parts; what is longer is a quote that nothing closes
_HEAD = 4096


def split_delimited(
    blocks: Iterable[bytes], limit: int, delimiter: str = ",", longest: int = OBJECT_BYTES
) -> Iterator[Part]:
    r"""Cut delimited text between rows; each part begins with the header.

    Args:
        blocks: The object's bytes, in order.
        limit: Bytes of rows a part should not exceed. A longer row stays whole. A quote that
            nothing closes within eight times as many is taken for plain text.
        delimiter: What separates fields; quotes count at the head of a field only.
        longest: Bytes that a row may have; longer ones are set aside.

    Yields:
        Parts; at least one. `line` counts as if the header were the line before the part's first
        row, so that numbers within a part are added to it as for any other format.

    Raises:
        ObjectTooLargeError: The header is longer than `longest`.

    Example:
        >>> [tuple(part)[:2] for part in split_delimited([b'a\n1\n"2\n', b'3"\n4\n'], 5)]
        [(b'a\n1\n', 1), (b'a\n"2\n3"\n', 2), (b'a\n4\n', 4)]
    """
    source, limit = iter(blocks), min(limit, longest)
    quoted = min(_LONGEST_QUOTED * limit, longest)
    buffer = bytearray()
    header = _take_header(source, buffer, delimiter, (limit, quoted, longest))
    above = header.count(b"\n")
    line, begun, wanted = 1 + above, False, limit
    dropping, dropped = False, list[int]()  # a row that is too long; where such rows began
    for block in chain([b""], source):
        buffer += block
        if dropping:  # up to the end of its line
            end = buffer.find(b"\n") + 1
            dropping, line = not end, line + bool(end)
            del buffer[: end or len(buffer)]
        while len(buffer) > wanted and not dropping:
            cut = _cut(buffer, limit, delimiter, whole=len(buffer) > quoted)
            if (cut or len(buffer)) > longest:
                dropped.append(line)
                dropping = not cut
            elif not cut:
                wanted = min(2 * len(buffer), longest)
                break
            else:
                rows = header + bytes(memoryview(buffer)[:cut])
                yield Part(valid_text(rows), line - above, too_long(dropped, longest))
                begun, wanted, dropped = True, limit, []
            line += buffer.count(b"\n", 0, cut or len(buffer))
            del buffer[: cut or len(buffer)]
    if buffer or dropped or not begun:
        rows = header + bytes(buffer)
        yield Part(valid_text(rows), line - above, too_long(dropped, longest))


def _take_header(
    source: Iterator[bytes], buffer: bytearray, delimiter: str, limits: tuple[int, int, int]
) -> bytes:
    """Read an object until its header is there, and leave what follows that in the buffer.

    Empty for an object of no more bytes than a part, which stays whole.

    Args:
        source: Blocks of the object.
        buffer: Is filled from them.
        delimiter: What separates fields.
        limits: Bytes of a part, of what a quote may span, and of a row.

    Raises:
        ObjectTooLargeError: The header is longer than a row may be.
    """
    limit, quoted, longest = limits
    for block in source:
        buffer += block
        if len(buffer) <= limit:
            continue
        header = header_of(buffer, delimiter, whole=len(buffer) > quoted)
        if (len(header) or len(buffer)) > longest:
            raise ObjectTooLargeError(
                f"the header takes more than {longest:,} bytes, which is the limit with this "
                "setting of memory_bytes",
                limit=longest,
            )
        if header:
            del buffer[: len(header)]
            return header
    return b""


def header_of(text: bytes | bytearray, delimiter: str, *, whole: bool) -> bytes:
    """The row of names and all lines before it, with its newline.

    Empty if the row is cut off. Where the text is `whole`, a quote that nothing closes ends with
    its line.
    """
    start = above_header(text, delimiter)
    size = _HEAD
    while True:
        ends = row_ends(text[start : start + size], delimiter, whole=False).places
        if len(ends):
            return bytes(text[: start + int(ends[0]) + 1])
        if start + size >= len(text):
            ends = row_ends(text[start:], delimiter).places if whole else ends
            return bytes(text[: start + int(ends[0]) + 1]) if len(ends) else b""
        size *= 2


def above_header(text: bytes | bytearray, delimiter: str) -> int:
    """Where the header begins: below blank lines, comments and a line that names the delimiter.

    A line that begins with `#` is the header itself if it has as many fields as the line below.
    """
    found = PREAMBLE.match(text)
    end = found.end() if found else 0
    start = text.rfind(b"\n", 0, end) + 1
    mark = delimiter.encode()
    below = bytes(text[start : text.find(b"\n", start) % (len(text) + 1)])
    above = bytes(text[:start]).rstrip()
    last = above[above.rfind(b"\n") + 1 :]
    if last.startswith(b"#") and mark in last and last.count(mark) == below.count(mark):
        return len(above) - len(last)
    return start


def _cut(buffer: bytearray, limit: int, delimiter: str, *, whole: bool) -> int:
    """End of the last row that ends within the limit, or of the first one; 0 if that is cut off."""
    if b'"' not in buffer:
        cut = buffer.rfind(b"\n", 0, limit) + 1
        return cut or buffer.find(b"\n", limit) + 1
    ends = row_ends(buffer[:limit], delimiter, whole=False).places + 1
    if len(ends):
        return int(ends[-1])
    ends = row_ends(buffer, delimiter, whole=whole).places + 1
    return int(ends[0]) if len(ends) else 0

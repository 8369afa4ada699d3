"""Cut an object of lines into payloads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.formats.base import Part
from lakerunner.formats.records.payload_lines import valid_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def split_lines(blocks: Iterable[bytes], limit: int) -> Iterator[Part]:
    r"""Cut an object at newlines.

    A byte order mark is dropped, and bytes that are no UTF-8 become U+FFFD.

    Args:
        blocks: The object's bytes, in order.
        limit: Bytes a part should not exceed, before repairs. A longer line stays whole.

    Yields:
        Parts that end with a newline, except perhaps the last; at least one.

    Example:
        >>> [tuple(part) for part in split_lines([b"a\nbb", b"b\nc"], 4)]
        [(b'a\n', 1), (b'bbb\n', 2), (b'c', 3)]
    """
    buffer, begun, line = bytearray(), False, 1
    searched = 0  # no newline lies between the limit and here
    for block in blocks:
        buffer += block
        while len(buffer) > limit:
            cut = buffer.rfind(b"\n", 0, limit) + 1
            if not cut:
                cut = buffer.find(b"\n", max(limit, searched)) + 1
                if not cut:
                    searched = len(buffer)
                    break
            begun = True
            yield Part(valid_text(bytes(buffer[:cut])), line)
            line += buffer.count(b"\n", 0, cut)
            del buffer[:cut]
            searched = 0
    if buffer or not begun:
        yield Part(valid_text(bytes(buffer)), line)

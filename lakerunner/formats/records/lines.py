"""Cut an object of lines into payloads, and leave out lines that are too long to be decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.formats.base import Part, too_long
from lakerunner.formats.records.payload_lines import valid_text
from lakerunner.limits import OBJECT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lakerunner.schema.tables import SetAside


class LongLines:
    r"""Takes lines that are too long out of a stream; their newlines stay, so numbers hold.

    Args:
        blocks: Bytes of an object, in order.
        longest: Bytes that a line may have, without its newline.

    Example:
        >>> stream = LongLines([b"ab\nabc", b"defghi\nc"], 4)
        >>> b"".join(stream), stream.take()[0].lines
        (b'ab\n\nc', (2,))
    """

    def __init__(self, blocks: Iterable[bytes], longest: int) -> None:
        self._blocks = iter(blocks)
        self._longest = longest
        self._line = 1
        self._begun = bytearray()  # the line at the end, as far as it has arrived
        self._dropping = False
        self._found: list[int] = []

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            yield from self._lines(block)
        if self._begun:
            yield bytes(self._begun)

    def take(self) -> tuple[SetAside, ...]:
        """What was taken out since this was last asked."""
        found, self._found = self._found, []
        return too_long(found, self._longest)

    def _lines(self, block: bytes) -> Iterator[bytes]:
        """Hand on the lines that end in a block."""
        start = 0
        while True:
            if self._dropping:
                start = block.find(b"\n", start)
                if start < 0:
                    return
                self._dropping = False
            room = self._longest - len(self._begun)
            # All lines are short enough if each step from newline to newline is.
            end = block.rfind(b"\n", start, start + room + 1) + 1
            if not end and len(block) - start > room:
                self._found.append(self._line)
                self._begun.clear()
                self._dropping = True
                continue
            if not end:
                break
            whole = bytes(self._begun) + block[start:end] if self._begun else block[start:end]
            self._begun.clear()
            self._line += whole.count(b"\n")
            yield whole
            start = end
        self._begun += block[start:]


def split_lines(
    blocks: Iterable[bytes],
    limit: int,
    longest: int = OBJECT_BYTES,
    cut: Callable[[bytearray, int], int] | None = None,
) -> Iterator[Part]:
    r"""Cut an object at newlines.

    A byte order mark is dropped, and bytes that are no UTF-8 become U+FFFD.

    Args:
        blocks: The object's bytes, in order.
        limit: Bytes a part should not exceed, before repairs. A longer line stays whole.
        longest: Bytes that a line may have; longer ones are set aside.
        cut: Where to cut a buffer within a limit; at its last newline if not given. 0 if its first
            line is longer.

    Yields:
        Parts that end with a newline, except perhaps the last; at least one.

    Example:
        >>> [tuple(part)[:2] for part in split_lines([b"a\nbb", b"b\nc"], 4)]
        [(b'a\n', 1), (b'bbb\n', 2), (b'c', 3)]
    """
    cut = cut or last_newline
    stream = LongLines(blocks, longest)
    buffer, begun, line = bytearray(), False, 1
    searched = 0  # no newline lies between the limit and here
    for block in stream:
        buffer += block
        while len(buffer) > limit:
            end = cut(buffer, limit) or buffer.find(b"\n", max(limit, searched)) + 1
            if not end:
                searched = len(buffer)
                break
            begun = True
            yield Part(valid_text(bytes(memoryview(buffer)[:end])), line, stream.take())
            line += buffer.count(b"\n", 0, end)
            del buffer[:end]
            searched = 0
    set_aside = stream.take()
    if buffer or set_aside or not begun:
        yield Part(valid_text(bytes(buffer)), line, set_aside)


def last_newline(buffer: bytearray, limit: int) -> int:
    """End of the last line that ends within the limit; 0 if the first one is longer."""
    return buffer.rfind(b"\n", 0, limit) + 1

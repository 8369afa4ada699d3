"""Cut OTLP JSON into parts in which every document stands on a line of its own.

An object holds either one document a line, or documents that go over many lines, which are folded
to one. A document larger than a part is cut between the resources in it: each part is a document
again, with the same one field, and whatever else stood beside that field is left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from lakerunner.errors import ObjectTooLargeError
from lakerunner.formats.base import Part, too_long
from lakerunner.formats.json_scan import Scanner
from lakerunner.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

_MAX_BYTES = 1024 * MIB  # Arrow's 32-bit offsets hold no more text than twice this
_WINDOW = 4 * MIB
_HEAD_BYTES = MIB  # of which the layout is judged
_BOM = b"\xef\xbb\xbf"
_ROOTS = rb'"(resource(?:_l|L)ogs|resource(?:_s|S)pans|resource(?:_m|M)etrics)"'
_DOCUMENT_LINE = re.compile(rb"^[ \t]*\{[^\n]*" + _ROOTS + rb"[ \t]*:[^\n]*", re.MULTILINE)
_OPENS_ROOT = re.compile(_ROOTS + rb"\s*:\s*$")
_NAME_BYTES = 200  # more than a name, a colon and sensible white space
_ELEMENTS = 2  # brackets that are open between the elements of a field
_BETWEEN = b", \t\r\n"
_NEWLINES = bytes.maketrans(b"\r\n", b"  ")
_TRUNCATED = "Input data was truncated"


def split_documents(
    blocks: Iterable[bytes], limit: int, longest: int = _MAX_BYTES
) -> Iterator[Part]:
    """Cut an object into parts; see `lakerunner.formats.base.Format.split`.

    A line of which one resource is larger than `longest` is set aside.

    Raises:
        ObjectTooLargeError: One resource of a document in several lines is larger than `longest`.
    """
    longest = min(longest, _MAX_BYTES)
    source = _Source(blocks)
    source.fill(len(_BOM))
    if source.buffer.startswith(_BOM):
        source.drop(len(_BOM))
    source.fill(max(limit, _HEAD_BYTES))
    split = _folded if _goes_over_lines(source.buffer) else _lines
    parts = split(source, limit, longest)
    empty = True
    for part in parts:
        empty = False
        yield part
    if empty:
        yield Part(b"", 1)


class _Source:
    """The part of an object that has arrived and was not handed on.

    Attributes:
        buffer: Its bytes.
        line: Number of the line that its first byte is in.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self.buffer = bytearray()
        self.line = 1

    def fill(self, size: int) -> bool:
        """Read until that many bytes are there; False if the object ends before."""
        while len(self.buffer) < size:
            block = next(self._blocks, None)
            if block is None:
                return False
            self.buffer += block
        return True

    def drop(self, count: int) -> None:
        """Let go of bytes from the beginning."""
        self.line += self.buffer.count(b"\n", 0, count)
        del self.buffer[:count]

    def drop_line(self) -> None:
        """Let go of everything up to the next newline."""
        while (end := self.buffer.find(b"\n")) < 0:
            self.buffer.clear()
            if not self.fill(1):
                return
        self.drop(end + 1)


def _goes_over_lines(head: bytearray) -> bool:
    """Whether the first document ends on another line than it begins.

    It does if its first line is the beginning of a document and no later line is one: no document
    stands inside another. A first line that is cut off is so told from a document in many lines.
    """
    start = len(head) - len(head.lstrip())
    end = head.find(b"\n", start)
    if end < 0:
        return False
    if _broken(head[start:end]) != _TRUNCATED:
        return False
    return all(_broken(match[0]) for match in _DOCUMENT_LINE.finditer(head, end + 1))


def _broken(text: bytes | bytearray) -> str | None:
    """What is wrong with a JSON text; None if nothing is."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (ValueError, RecursionError) as error:
        return str(error)
    return None


def _lines(source: _Source, limit: int, longest: int) -> Iterator[Part]:
    dropped: list[int] = []  # lines that are too long
    while True:
        more = source.fill(limit + 1)
        cut = source.buffer.rfind(b"\n", 0, limit) + 1 if more else len(source.buffer)
        if cut:
            data = bytes(memoryview(source.buffer)[:cut])
            yield Part(data, source.line, too_long(dropped, longest))
            dropped = []
            source.drop(cut)
        elif more:
            line = source.line
            try:
                yield from _Document(source, limit, longest, one_line=True).parts()
            except ObjectTooLargeError:
                dropped.append(line)
                source.drop_line()
        else:
            break
    if dropped:
        yield Part(b"", source.line, too_long(dropped, longest))


def _folded(source: _Source, limit: int, longest: int) -> Iterator[Part]:
    """Documents that go over lines, each folded to its first line; its other lines become blank."""
    folded, first, last = bytearray(), source.line, source.line
    while source.fill(1):
        source.drop(len(source.buffer) - len(source.buffer.lstrip()))
        if not source.buffer:
            continue
        for part in _Document(source, limit, longest, one_line=False).parts():
            if folded and len(folded) + len(part.data) > limit:
                yield Part(bytes(folded), first)
                folded.clear()
            if folded:
                folded += b"\n" * max(1, part.line - last)
            else:
                first = part.line
            last = part.line
            folded += part.data
    if folded:
        yield Part(bytes(folded), first)


class _Document:
    """One document at the beginning of a source, which may be too large to be handed on at once.

    Args:
        source: Where it is read from; when all parts are read, the document is gone from it.
        limit: Bytes of a part.
        longest: Bytes of a resource.
        one_line: Whether the document ends where the line does, complete or not.
    """

    def __init__(self, source: _Source, limit: int, longest: int, *, one_line: bool) -> None:
        self._source = source
        self._limit = limit
        self._longest = longest
        self._one_line = one_line
        self._scanner = Scanner()
        self._scanned = 0  # bytes of the buffer that the scanner has seen
        self._root = b""  # name of the field whose elements are being read
        self._start = 0  # where the first element begins that was not handed on
        self._cut = 0  # where the last complete one ends
        self._between = False  # whether the scanner is in that field's array
        self._large = False  # whether something was handed on

    def parts(self) -> Iterator[Part]:
        """Read it to its end.

        Raises:
            ObjectTooLargeError: One element is larger than `longest`.
        """
        while True:
            if self._scanned > max(self._longest, self._limit + _WINDOW):
                raise ObjectTooLargeError(
                    f"the records of one resource take more than {self._longest:,} bytes, which is "
                    "the limit with this setting of memory_bytes; send less at once",
                    limit=self._longest,
                )
            size = min(_WINDOW, max(self._limit, 1))
            self._source.fill(self._scanned + size)
            window = bytes(memoryview(self._source.buffer)[self._scanned : self._scanned + size])
            stop = window.find(b"\n") if self._one_line else -1
            if stop >= 0:
                window = window[:stop]
            if (yield from self._read(window)):
                return
            self._scanned += len(window)
            if stop >= 0 or not window:  # it ends in the middle
                yield from self._rest()
                return

    def _read(self, window: bytes) -> Generator[Part, None, bool]:
        """Hand on what the window completes; returns whether the document ends in it."""
        brackets = self._scanner.feed(window)
        outer = brackets.depths <= _ELEMENTS  # few: what happens inside elements is left out
        for position, depth, opens in zip(
            brackets.positions[outer].tolist(),
            brackets.depths[outer].tolist(),
            brackets.opens[outer].tolist(),
            strict=True,
        ):
            here = self._scanned + position
            if opens:
                if depth == _ELEMENTS and (root := self._root_before(here)):
                    yield from self._hand_on()  # of another root, earlier in the same document
                    here = self._scanned + position
                    self._root, self._start, self._cut = root, here + 1, here + 1
                    self._between = True
            elif depth == _ELEMENTS and self._between:
                if here + 1 - self._start > self._limit:
                    yield from self._hand_on()
                self._cut = self._scanned + position + 1
            elif depth == _ELEMENTS - 1:
                self._between = False
            elif depth <= 0:
                yield from self._last(here + 1)
                return True
        return False

    def _root_before(self, position: int) -> bytes:
        """Name of the field whose array opens here, if it is one with telemetry."""
        buffer = self._source.buffer
        if buffer[position] != ord("["):
            return b""
        found = _OPENS_ROOT.search(buffer[max(0, position - _NAME_BYTES) : position])
        return bytes(found[1]) if found else b""

    def _hand_on(self) -> Iterator[Part]:
        """Make a document of the complete elements."""
        if not self._root or self._cut <= self._start:
            return
        self._large = True
        elements = self._source.buffer[self._start : self._cut]
        begin = self._start + len(elements) - len(elements.lstrip(_BETWEEN))
        self._source.drop(begin)
        data = b'{"%b":[%b]}' % (self._root, bytes(self._source.buffer[: self._cut - begin]))
        yield Part(data.translate(_NEWLINES), self._source.line)
        self._source.drop(self._cut - begin)
        self._scanned -= self._cut
        self._start = self._cut = 0

    def _last(self, end: int) -> Iterator[Part]:
        """Hand on what is left of a document that ends here, and drop it."""
        before = self._scanned
        if self._large:
            yield from self._hand_on()
            end -= before - self._scanned
        else:
            data = bytes(memoryview(self._source.buffer)[:end])
            yield Part(data.translate(_NEWLINES), self._source.line)
        self._source.drop(end)

    def _rest(self) -> Iterator[Part]:
        """Hand on a document that is cut off: what is complete, and then the broken rest of it."""
        if self._large:
            yield from self._hand_on()
        data = bytes(
            memoryview(self._source.buffer)[self._cut if self._large else 0 : self._scanned]
        )
        if self._large:
            data = b'{"%b":[%b' % (self._root, data.lstrip(_BETWEEN))
        if data.strip():
            yield Part(data.translate(_NEWLINES), self._source.line)
        self._source.drop(self._scanned)

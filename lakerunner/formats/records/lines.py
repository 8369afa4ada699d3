"""Cut an object of lines into payloads, and leave out lines that are too long to be decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.errors import ErrorCode, ObjectTooLargeError
from lakerunner.formats.base import Part, too_long
from lakerunner.limits import MIB, OBJECT_BYTES
from lakerunner.schema.tables import SetAside
from lakerunner.schema.text import repair_utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

# The lines of a batch of payloads in one buffer: where each lies, and where it came from.

BOM = b"\xef\xbb\xbf"
_MAX_BYTES = 2**31 - 64  # Arrow's readers and 32-bit offsets hold no more at once
_NEWLINE, _SPACES = 10, (32, 9, 13)
_SPACE_BYTES = bytes(_SPACES)
_ROUNDS = 64


class Lines(NamedTuple):
    """Lines that are not blank, with white space cut off both ends.

    Attributes:
        data: The buffer they lie in, valid UTF-8.
        starts: int64: where each begins.
        ends: int64: where each ends, without its newline.
        payload: int32: position of its payload in the batch, ascending.
        number: int64: its number within the payload, from 1, blank lines counted.
    """

    data: bytes
    starts: Any
    ends: Any
    payload: Any
    number: Any

    def pick(self, which: Any) -> Lines:
        """Keep some lines, chosen by a mask or by positions."""
        return Lines(self.data, *(column[which] for column in self[1:]))


def valid_text(data: bytes) -> bytes:
    r"""Replace bytes that are not UTF-8 by U+FFFD and drop a byte order mark.

    Example:
        >>> valid_text(b"\xef\xbb\xbfcaf\xc3\xa9"), valid_text(b"a\xffb")
        (b'caf\xc3\xa9', b'a\xef\xbf\xbdb')
    """
    if len(data) > _MAX_BYTES:
        raise ObjectTooLargeError("one record is larger than 2 GiB")
    repaired = repair_utf8(one_value(data)).text.buffers()[2]
    data = data if repaired is None or repaired.size == len(data) else repaired.to_pybytes()
    return data.removeprefix(BOM)


def one_value(data: bytes) -> Any:
    """A binary array of one value, made without a copy."""
    offsets = np.array([0, len(data)], np.int32)
    return pa.BinaryArray.from_buffers(
        pa.binary(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )


def join_lines(payloads: Sequence[bytes]) -> Lines:
    r"""Put payloads into one buffer and find their lines.

    Args:
        payloads: Text; what is no UTF-8 is repaired.

    Raises:
        ObjectTooLargeError: They take more than 2 GiB together.

    Example:
        >>> lines = join_lines([b"a\r\n\n  b", b"c\n"])
        >>> [lines.data[start:end] for start, end in zip(lines.starts, lines.ends)]
        [b'a', b'b', b'c']
        >>> lines.payload.tolist(), lines.number.tolist()
        ([0, 0, 1], [1, 3, 1])
    """
    texts = [valid_text(payload) for payload in payloads] or [b""]
    if sum(map(len, texts)) + len(texts) > _MAX_BYTES:
        raise ObjectTooLargeError("payloads of one batch take more than 2 GiB")
    data = texts[0] if len(texts) == 1 else b"\n".join(texts)
    values = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(values == _NEWLINE)
    starts = np.concatenate([[0], newlines + 1])
    ends = np.concatenate([newlines, [len(data)]])
    begins = np.cumsum([0, *(len(text) + 1 for text in texts[:-1])])  # of the payloads
    firsts = np.searchsorted(starts, begins)
    counts = np.diff(np.append(firsts, len(starts)))
    payload = np.repeat(np.arange(len(texts), dtype=np.int32), counts)
    number = np.arange(1, len(starts) + 1) - np.repeat(firsts, counts)
    return _stripped(values, Lines(data, starts, ends, payload, number))


def _stripped(values: Any, lines: Lines) -> Lines:
    starts, ends = trim(values, lines.starts, lines.ends)
    filled = starts < ends
    trimmed = lines._replace(starts=starts, ends=ends)
    return trimmed if filled.all() else trimmed.pick(filled)


def trim(values: Any, starts: Any, ends: Any) -> tuple[Any, Any]:
    """Move the bounds of slices inwards over spaces, tabs and carriage returns.

    Args:
        values: uint8 array.
        starts: int64 array.
        ends: int64 array.

    Returns:
        New starts and ends; a slice of white space alone becomes empty.
    """
    starts, ends = starts.copy(), ends.copy()
    for moving, offset, step in ((starts, 0, 1), (ends, -1, -1)):
        active = np.flatnonzero(starts < ends)
        for _ in range(_ROUNDS):
            seen = values[moving[active] + offset]
            active = active[(seen == _SPACES[0]) | (seen == _SPACES[1]) | (seen == _SPACES[2])]
            if not len(active):
                break
            moving[active] += step
            active = active[starts[active] < ends[active]]
        for place in active:  # few slices have so much white space
            rest = values[starts[place] : ends[place]].tobytes()
            if step > 0:
                starts[place] += len(rest) - len(rest.lstrip(_SPACE_BYTES))
            else:
                ends[place] -= len(rest) - len(rest.rstrip(_SPACE_BYTES))
    return starts, ends


def slices(data: Any, starts: Any, ends: Any, dtype: Any = None) -> Any:
    """Take slices of a buffer as an Arrow array, without a copy per value.

    Args:
        data: Bytes or an Arrow buffer.
        starts: int64 array, ascending; slices do not overlap.
        ends: int64 array.
        dtype: The Arrow type; text unless given.

    Example:
        >>> slices(b"hello world", np.array([0, 6]), np.array([5, 11])).to_pylist()
        ['hello', 'world']
    """
    bounds = np.empty(2 * len(starts) + 1, np.int32)
    bounds[0:-1:2], bounds[1:-1:2] = starts, ends
    bounds[-1] = bounds[-2] if len(starts) else 0
    kind = dtype or pa.string()
    # Every second value is what lies between two slices.
    both = pa.Array.from_buffers(
        kind, 2 * len(starts), [None, pa.py_buffer(bounds), pa.py_buffer(data)]
    )
    return both.take(pa.array(np.arange(0, 2 * len(starts), 2)))


def compact(lines: Lines) -> Lines:
    r"""Copy lines into a buffer of their own, each followed by a newline.

    Example:
        >>> lines = join_lines([b"a \nb\nc"])
        >>> compact(lines.pick([0, 2])).data
        b'a\nc\n'
    """
    kept = slices(lines.data + b"\n", lines.starts, lines.ends + 1, pa.binary())
    ends = np.cumsum(lines.ends - lines.starts + 1) - 1
    starts = ends - (lines.ends - lines.starts)
    data = np.frombuffer(kept.buffers()[2] or b"", np.uint8).copy()
    data[ends] = _NEWLINE
    return lines._replace(data=data.tobytes(), starts=starts, ends=ends)


def set_aside(lines: Lines, reasons: Iterable[tuple[int, str]]) -> tuple[SetAside, ...]:
    """Name lines that are no record.

    Args:
        lines: Lines of the batch.
        reasons: Position of a line in `lines`, and why; in order.
    """
    found: dict[tuple[int, str], list[int]] = {}
    for position, reason in sorted(reasons):
        found.setdefault((int(lines.payload[position]), reason), []).append(
            int(lines.number[position])
        )
    return tuple(
        SetAside(payload, tuple(numbers), len(numbers), ErrorCode.CORRUPT_OBJECT, reason)
        for (payload, reason), numbers in found.items()
    )


_STEP_BYTES = MIB


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
            # All lines are short enough if each step from newline to newline is. Steps are small
            # where lines allow it: a block may be a whole object, and is not to be held twice.
            step = min(room, _STEP_BYTES)
            end = block.rfind(b"\n", start, start + step + 1) + 1
            end = end or block.rfind(b"\n", start + step, start + room + 1) + 1
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


# What a reader of records hands over: columns as they were written, and where each row stood.


class Between(NamedTuple):
    """Lines of text between records of another kind.

    Attributes:
        lines: The lines.
        reasons: Why each is no record of that kind.
        after: int64 per line: how many records of its payload stand before it.
    """

    lines: Lines
    reasons: tuple[str, ...]
    after: Any


class Records(NamedTuple):
    """Rows of a batch of payloads, before anything is known of what their columns mean.

    Attributes:
        table: One chunk per column. Names are the keys as they were written, in order of
            appearance, each once; values may be nested. Columns of type null are allowed.
        payload: int32 per row: position of its payload in the batch, ascending.
        set_aside: Lines that are no record.
        between: Text among the records, each line of which may be a record of its own.
        alike: Whether the types of columns are what each payload alone would have; see `grouping`.
    """

    table: pa.Table
    payload: Any
    set_aside: tuple[SetAside, ...] = ()
    alike: bool = True
    between: Between | None = None

"""The lines of a batch of payloads in one buffer: where each lies, and where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from lakerunner.errors import ErrorCode, ObjectTooLargeError
from lakerunner.schema.tables import SetAside
from lakerunner.schema.text import repair_utf8

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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

"""Streams of protobuf messages, each with its length before it.

The collector's file exporter writes them with `format: proto`: the length in four bytes, most
significant first, then the message. `writeDelimitedTo` and its likes write the length as a varint.

Which of them an object is, if it is not one bare message, shows in its first bytes. An export
request has nothing but fields of number 1, so every message, bare or framed, is a chain of fields
that begin with the byte 0A, and ends where its length says. A stream with varints whose first
message has 0 or 10 bytes cannot always be told from the others; no message with a record in it is
so short.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.otlp.wire import LENGTH, read_field, read_varint
from lakerunner.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_HEAD_BYTES = 64 * 1024
_LENGTH_BYTES = 4
_MESSAGE_BYTES = 1024 * MIB
_LOOKED_AT = 16


class _Header(NamedTuple):
    """The length of a message.

    Attributes:
        start: Where the message begins.
        end: Where it ends.
    """

    start: int
    end: int


def unframed(blocks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Take the lengths out of a stream of messages; leave a bare message as it is.

    What is left is one message again: protobuf messages are merged by concatenation.

    Raises:
        CorruptObjectError: The stream ends within a message.

    Example:
        >>> b"".join(unframed([b"\x00\x00\x00\x02\x0a\x00", b"\x00\x00\x00\x02\x0a\x00"]))
        b'\n\x00\n\x00'
    """
    source = iter(blocks)
    head = bytearray()
    for block in source:
        head += block
        if len(head) >= _HEAD_BYTES:
            break
    header = _framing(bytes(head[:_HEAD_BYTES]), whole=len(head) < _HEAD_BYTES)
    if header is None:
        return chain([bytes(head)], source)
    return _messages(chain([bytes(head)], source), header)


def first_message(data: bytes) -> bytes:
    """The first message of a stream, as far as it is there; a bare message as it is."""
    header = _framing(data[:_HEAD_BYTES], whole=len(data) < _HEAD_BYTES)
    found = header(data, 0) if header is not None else None
    while header is not None and found is not None and found.start == found.end < len(data):
        found = header(data, found.end)  # an empty message says nothing
    return data if found is None else data[found.start : found.end]


def _messages(
    blocks: Iterable[bytes], header: Callable[[bytes, int], _Header | None]
) -> Iterator[bytes]:
    buffer, missing = b"", 0
    for block in blocks:
        buffer += block
        position = 0
        while True:
            taken = min(missing, len(buffer) - position)
            if taken:
                yield buffer[position : position + taken]
            position, missing = position + taken, missing - taken
            found = None if missing else header(buffer, position)
            if found is None:
                break
            position, missing = found.start, found.end - found.start
        buffer = buffer[position:]
    if missing or buffer:
        raise CorruptObjectError("the stream ends in the middle of a message")


def _framing(head: bytes, *, whole: bool) -> Callable[[bytes, int], _Header | None] | None:
    """How the messages of an object are framed; None if it is one bare message, or unknown."""
    if not head or _is_request(head, 0, len(head), whole=whole):
        return None
    # Fixed lengths begin with a zero unless a message has 16 MiB. Other bytes begin a varint, which
    # is the stronger guess: a single one is the length of a message that is in the head.
    order = (_fixed, _varint) if head[0] == 0 else (_varint, _fixed)
    guesses = ((header, cut_off) for cut_off in (False, True) for header in order)
    return next(
        (each for each, cut_off in guesses if _is_stream(head, each, cut_off=cut_off)), None
    )


def _is_stream(
    head: bytes, header: Callable[[bytes, int], _Header | None], *, cut_off: bool
) -> bool:
    """Whether the head is read so: with a complete message, or one that is larger than the head."""
    position, complete = 0, False
    for _ in range(_LOOKED_AT):
        found = header(head, position)
        if found is None:
            return complete
        if found.end - found.start > _MESSAGE_BYTES:
            return False
        if found.end > len(head):  # it goes on behind the head, or is cut off
            begins = _is_request(head, found.start, len(head), whole=False)
            return begins and (complete or cut_off)
        if not _is_request(head, found.start, found.end, whole=True):
            return False
        position, complete = found.end, complete or found.end > found.start
        if position == len(head):
            return True
    return complete  # a long run of zeros is not empty messages, but an object never written


def _is_request(data: bytes, start: int, end: int, *, whole: bool) -> bool:
    """Whether these bytes are a chain of fields of number 1, or the beginning of one."""
    position = start
    for _ in range(_LOOKED_AT):
        if position == end:
            return True
        try:
            field = read_field(data, position)
        except CorruptObjectError:
            return False
        if field is None:
            return not whole
        if (field.number, field.wire) != (1, LENGTH) or (whole and field.end > end):
            return False
        if field.end > end:
            return True
        position = field.end
    return True


def _fixed(data: bytes, position: int) -> _Header | None:
    start = position + _LENGTH_BYTES
    if start > len(data):
        return None
    return _Header(start, start + int.from_bytes(data[position:start], "big"))


def _varint(data: bytes, position: int) -> _Header | None:
    try:
        length, start = read_varint(data, position)
    except IndexError:
        return None
    return _Header(start, start + length)

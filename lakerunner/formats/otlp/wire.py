"""Read the protobuf wire format just far enough to cut a message and to recognise it.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import CorruptObjectError, ObjectTooLargeError
from lakerunner.limits import MIB
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_SEVEN_BITS, _NUMBER_BITS = 127, 64
MAX_FIELD_BYTES = 1024 * MIB  # Arrow's 32-bit offsets hold no more text than twice this


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: Field number.
        wire: Wire type.
        start: Where its value begins.
        end: Where the next field begins; past the end of the data if the field is cut off.
    """

    number: int
    wire: int
    start: int
    end: int


def read_varint(data: bytes | bytearray, position: int) -> tuple[int, int]:
    """Read a number in groups of seven bits: it, and where it ends.

    Raises:
        IndexError: It is cut off.
        CorruptObjectError: It has more than 64 bits.
    """
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & _SEVEN_BITS) << shift
        position += 1
        if byte <= _SEVEN_BITS:
            return value, position
        shift += 7
        if shift >= _NUMBER_BITS:
            raise CorruptObjectError(f"not protobuf: a number at byte {position} is too long")


def read_field(data: bytes | bytearray, position: int) -> Field | None:
    """Read the head of the field at a position; None if even that is cut off.

    Raises:
        CorruptObjectError: No field can begin like this.
    """
    try:
        tag, start = read_varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            end = read_varint(data, start)[1]
        elif wire == LENGTH:
            length, start = read_varint(data, start)
            end = start + length
        elif wire in (FIXED64, FIXED32):
            end = start + (8 if wire == FIXED64 else 4)
        else:
            raise CorruptObjectError(f"not protobuf: wire type {wire} at byte {position}")
    except IndexError:
        return None
    if number == 0:
        raise CorruptObjectError(f"not protobuf: field number 0 at byte {position}")
    return Field(number, wire, start, end)


def split_message(
    blocks: Iterable[bytes], limit: int, longest: int = MAX_FIELD_BYTES
) -> Iterator[bytes]:
    """Cut one message, arriving in blocks, into messages that merge to it again.

    To concatenate protobuf messages is to merge them, so a message may be cut between any two of
    its fields. A message of at most `limit` bytes is handed on whole and unread.

    Args:
        blocks: The message, in order.
        limit: Bytes of a part, unless it is a single field.
        longest: Bytes of a field.

    Raises:
        CorruptObjectError: The message is broken where it has to be cut, or is cut off.
        ObjectTooLargeError: One field alone is larger than `longest`.
    """
    buffer, large = bytearray(), False
    for block in blocks:
        buffer += block
        # A block may be larger than the limit, so it is cut until what is left begins a field that
        # has not arrived in full.
        while len(buffer) > limit and (cut := _last_boundary(buffer, limit, longest)):
            large = True
            yield bytes(memoryview(buffer)[:cut])
            del buffer[:cut]
    if buffer or not large:
        rest = bytes(buffer)
        buffer.clear()
        yield rest


def _last_boundary(data: bytes | bytearray, limit: int, longest: int) -> int:
    """End of the last field that ends within `limit`, or of the first one; 0 if that is cut off."""
    position = 0
    while position < len(data):
        field = read_field(data, position)
        if field is not None and field.end - field.start > longest:
            raise ObjectTooLargeError(
                f"the records of one resource take more than {longest:,} bytes, which is the limit "
                "with this setting of memory_bytes; send less at once",
                limit=longest,
            )
        if field is None or field.end > len(data) or (field.end > limit and position):
            break
        position = field.end
    return position


_RESOURCE_FIELD, _SCOPE_FIELD, _RECORD_FIELD = 1, 2, 2
# Field number and wire type that only one kind of record has, most telling first.
_SHAPES = (
    ({(1, FIXED64), (11, FIXED64), (6, LENGTH), (2, VARINT), (8, FIXED32)}, Signal.LOGS),
    ({(7, FIXED64), (8, FIXED64), (6, VARINT), (16, FIXED32), (10, VARINT)}, Signal.SPANS),
    ({(4, LENGTH), (12, VARINT), (13, LENGTH), (14, VARINT), (15, LENGTH)}, Signal.SPANS),
    ({(7, LENGTH)}, Signal.METRICS),
    # A span's trace and span id, or a metric's name and description.
    ({(1, LENGTH), (2, LENGTH)}, None),
    ({(3, LENGTH), (5, LENGTH), (9, LENGTH), (10, LENGTH), (12, LENGTH)}, Signal.LOGS),
)
_LOOKED_AT = 16
_ID_BYTES = {1: 16, 2: 8}
_GAUGE_FIELD, _DATA_POINTS_TAG = 5, 0x0A
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def recognise_signal(data: bytes) -> Signal | None:
    """Tell by the first record which signal an export request carries.

    The three requests differ only in their records: a log record has fixed-width times in fields 1
    and 11, a span in 7 and 8, and a metric begins with a text. None if no record tells.

    Raises:
        CorruptObjectError: The data is no protobuf message.
    """
    for resource in _messages(data, 0, len(data), _RESOURCE_FIELD):
        for scope in _messages(data, resource.start, resource.end, _SCOPE_FIELD):
            for record in _messages(data, scope.start, scope.end, _RECORD_FIELD):
                fields = list(_fields(data, record.start, record.end))
                shapes = {(field.number, field.wire) for field in fields}
                for shape, signal in _SHAPES:
                    if shape & shapes:
                        return signal or _span_or_metric(data, fields)
    return None


def _span_or_metric(data: bytes, fields: list[Field]) -> Signal:
    """Tell a span without times, kind and status from a metric: both begin with two texts or ids.

    Ids have a fixed length and are hardly ever text; field 5 is the text of a span's name or the
    message of a gauge, which begins with its data points.
    """
    for field in fields:
        value = data[field.start : field.end]
        if field.wire != LENGTH or not value:
            continue
        if len(value) == _ID_BYTES.get(field.number) and not _is_text(value):
            return Signal.SPANS
        if field.number == _GAUGE_FIELD and value[0] != _DATA_POINTS_TAG:
            return Signal.SPANS
    return Signal.METRICS


def _is_text(value: bytes) -> bool:
    try:
        return not _CONTROL.search(value.decode())
    except UnicodeDecodeError:
        return False


def _fields(data: bytes, start: int, end: int) -> Iterator[Field]:
    position = start
    while position < end:
        field = read_field(data, position)
        if field is None or field.end > end:
            raise CorruptObjectError(f"not protobuf: the field at byte {position} is cut off")
        yield field
        position = field.end


def _messages(data: bytes, start: int, end: int, number: int) -> Iterator[Field]:
    for count, field in enumerate(_fields(data, start, end)):
        if count >= _LOOKED_AT:
            return
        if field.number == number and field.wire == LENGTH:
            yield field

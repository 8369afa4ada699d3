"""Read the protobuf wire format just far enough to cut a message and to recognise it.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import re
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import ptars
from google.protobuf import descriptor_pb2, descriptor_pool
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from lakerunner.errors import CorruptObjectError, ObjectTooLargeError
from lakerunner.limits import MIB
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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


# Streams of protobuf messages, each with its length before it.
#
# The collector's file exporter writes them with `format: proto`: the length in four bytes, most
# significant first, then the message. `writeDelimitedTo` and its likes write the length as a
# varint.
#
# Which of them an object is, if it is not one bare message, shows in its first bytes. An export
# request has nothing but fields of number 1, so every message, bare or framed, is a chain of fields
# that begin with the byte 0A, and ends where its length says. A stream with varints whose first
# message has 0 or 10 bytes cannot always be told from the others; no message with a record in it is
# so short.

_HEAD_BYTES = 64 * 1024
_LENGTH_BYTES = 4
_MESSAGE_BYTES = 1024 * MIB


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
    return _framed_messages(chain([bytes(head)], source), header)


def first_message(data: bytes) -> bytes:
    """The first message of a stream, as far as it is there; a bare message as it is."""
    header = _framing(data[:_HEAD_BYTES], whole=len(data) < _HEAD_BYTES)
    found = header(data, 0) if header is not None else None
    while header is not None and found is not None and found.start == found.end < len(data):
        found = header(data, found.end)  # an empty message says nothing
    return data if found is None else data[found.start : found.end]


def _framed_messages(
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


# Message layouts for the columnar decoder: OpenTelemetry's own, made flat.
#
# The protocol's `AnyValue` contains itself, which no Arrow type can. Its two recursive fields are
# retyped as `bytes`, which is the same on the wire; `lakerunner.formats.otlp.attributes` decodes
# those
# bytes level by level. Fields that only the profiles signal uses are left out.

_FILES = (
    common_pb2,
    resource_pb2,
    logs_pb2,
    trace_pb2,
    metrics_pb2,
    logs_service_pb2,
    trace_service_pb2,
    metrics_service_pb2,
)
_PREFIX = "opentelemetry.proto"
_REQUESTS = {
    Signal.LOGS: f"{_PREFIX}.collector.logs.v1.ExportLogsServiceRequest",
    Signal.SPANS: f"{_PREFIX}.collector.trace.v1.ExportTraceServiceRequest",
    Signal.METRICS: f"{_PREFIX}.collector.metrics.v1.ExportMetricsServiceRequest",
}
_RECURSIVE = frozenset({"array_value", "kvlist_value"})
_PROFILES_ONLY = frozenset({"string_value_strindex", "key_strindex"})
_Field = descriptor_pb2.FieldDescriptorProto


@cache
def _pool(*, text_as_bytes: bool, raw: bool) -> Any:
    pool = descriptor_pool.DescriptorPool()
    for module in _FILES:
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        file.ClearField("service")
        for message in file.message_type:
            _flatten(message, text_as_bytes=text_as_bytes)
            if raw:
                _leave_values(message)
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _flatten(message: Any, *, text_as_bytes: bool) -> None:
    kept = [field for field in message.field if field.name not in _PROFILES_ONLY]
    for field in kept:
        if message.name == "AnyValue" and field.name in _RECURSIVE:
            field.type = _Field.TYPE_BYTES
            field.ClearField("type_name")
        elif text_as_bytes and field.type == _Field.TYPE_STRING:
            field.type = _Field.TYPE_BYTES
    fields = [_Field.FromString(field.SerializeToString()) for field in kept]
    del message.field[:]
    message.field.extend(fields)
    for nested in message.nested_type:
        _flatten(nested, text_as_bytes=text_as_bytes)


def _leave_values(message: Any) -> None:
    """Leave keys and values of attributes, and bodies, as bytes.

    Values are lists of bytes: where one is sent twice, both are to be merged.
    """
    for field in message.field:
        if field.type_name == f".{_PREFIX}.common.v1.AnyValue":
            field.type, field.label = _Field.TYPE_BYTES, _Field.LABEL_REPEATED
            field.ClearField("type_name")
        elif message.name == "KeyValue" and field.name == "key":
            field.type = _Field.TYPE_BYTES


@cache
def _handler(message: str, *, text_as_bytes: bool, raw: bool = False) -> Any:
    descriptor = _pool(text_as_bytes=text_as_bytes, raw=raw).FindMessageTypeByName(message)
    return ptars.HandlerPool([descriptor.file]).get_for_message(descriptor)


def request_handler(signal: Signal, *, text_as_bytes: bool = False, raw: bool = False) -> Any:
    """The decoder of one export request per row: `list_to_record_batch(list[bytes])`.

    Args:
        signal: Which request.
        text_as_bytes: Decode text fields as binary, for input that is not valid UTF-8.
        raw: Leave values as lists of bytes, for `wire_values`, and keys as bytes.
    """
    return _handler(_REQUESTS[signal], text_as_bytes=text_as_bytes, raw=raw)


def value_handler(kind: str, *, text_as_bytes: bool = False) -> Any:
    """The decoder of nested values: `array_to_record_batch(pa.BinaryArray)`.

    Args:
        kind: `ArrayValue`, `KeyValueList` or `AnyValue`.
        text_as_bytes: As in `request_handler`.
    """
    return _handler(f"{_PREFIX}.common.v1.{kind}", text_as_bytes=text_as_bytes)

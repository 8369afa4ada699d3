"""Fluent's forward protocol: events in MessagePack over a connection.

https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1
"""

from __future__ import annotations

import zlib
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import CorruptObjectError, ObjectTooLargeError
from lakerunner.intake.payloads import lines_payload
from lakerunner.intake.protocols.protocol import with_members
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.intake.payloads import Payload

_ENCODER = msgspec.json.Encoder(enc_hook=str)
_NANOS = 10**9
_EVENT_TIME_BYTES = 8
_SHORTEST = 2
_TAG = "fluent.tag"


class Forwarded(NamedTuple):
    """What came over a connection.

    Attributes:
        payloads: For the writer.
        acknowledge: What to send once they are as safe as they have to be.
        records: How many events they hold.
    """

    payloads: tuple[Payload, ...]
    acknowledge: bytes
    records: int


def unpacker(most_bytes: int) -> Any:
    """What cuts a connection into messages: feed it, and iterate.

    Args:
        most_bytes: How long a message may be.
    """
    return msgpack.Unpacker(
        raw=False, unicode_errors="replace", strict_map_key=False, max_buffer_size=most_bytes
    )


def read_forwarded(messages: Sequence[Any], most_bytes: int) -> Forwarded:
    """Messages of a connection as payloads: batches of events, or single ones.

    Args:
        messages: As `unpacker` gives them.
        most_bytes: How long a compressed batch may become.

    Raises:
        CorruptObjectError: One is no message.
        ObjectTooLargeError: One becomes longer.
    """
    payloads, chunks, count = list[Any](), list[bytes](), 0
    single: dict[str, list[Any]] = {}
    for message in messages:  # a batch each, but for clients that send events one by one
        if not isinstance(message, list) or len(message) < _SHORTEST:
            raise CorruptObjectError("a message of Fluent is a list of a tag and its events")
        tag, events, option = str(message[0]), message[1], message[-1]
        if isinstance(events, list | bytes | str):
            option = message[2] if len(message) > _SHORTEST else None
            entries = _entries(events, option, most_bytes)
            payloads.append(_payload(tag, entries))
            count += len(entries)
        else:
            option = message[3] if len(message) > _SHORTEST + 1 else None
            single.setdefault(tag, []).append(message[1:3])
        if isinstance(option, dict) and "chunk" in option:
            chunks.append(msgpack.packb({"ack": option["chunk"]}))
    payloads += [_payload(tag, entries) for tag, entries in single.items()]
    count += sum(map(len, single.values()))
    return Forwarded(tuple(payloads), b"".join(chunks), count)


def _entries(events: Any, option: Any, most_bytes: int) -> list[Any]:
    """The events of a batch: a list, or packed one after the other, compressed or not."""
    if isinstance(events, list):
        return events
    packed = events if isinstance(events, bytes) else events.encode("utf-8", "surrogateescape")
    if isinstance(option, dict) and option.get("compressed") == "gzip":
        packed = _unzipped(packed, most_bytes)
    machine = unpacker(most_bytes)
    machine.feed(packed)
    try:
        return list(machine)
    except (ValueError, msgpack.UnpackException) as error:
        raise CorruptObjectError(f"packed events cannot be read: {error}") from error


def _unzipped(packed: bytes, most_bytes: int) -> bytes:
    parts, left = list[bytes](), most_bytes + 1
    try:
        while packed and left > 0:
            machine = zlib.decompressobj(zlib.MAX_WBITS | 16)
            parts.append(machine.decompress(packed, left))
            left -= len(parts[-1])
            packed = machine.unused_data
    except zlib.error as error:
        raise CorruptObjectError(f"packed events are no gzip: {error}") from error
    if left <= 0:
        raise ObjectTooLargeError(f"packed events inflate to more than {most_bytes:,} bytes")
    return b"".join(parts)


def _payload(tag: str, entries: Sequence[Any]) -> Payload:
    """Events of one tag as JSON lines, each with its time."""
    try:
        times, records = tuple(zip(*map(itemgetter(0, 1), entries), strict=True)) or ((), ())
        if not all(map(dict.__instancecheck__, records)):
            raise CorruptObjectError("the record of an event is a map")
        lines = _ENCODER.encode_lines(records)
    except (TypeError, IndexError, KeyError, ValueError) as error:
        raise CorruptObjectError(f"an event is a time and a record: {error}") from error
    timed = _with_times(lines, _nanoseconds(times))
    return lines_payload(with_members(timed, {_TAG: tag}), Signal.LOGS, len(records))


def _nanoseconds(times: Sequence[Any]) -> Any:
    """Times as int64: seconds, or the protocol's own eight bytes of seconds and nanoseconds."""
    try:
        if all(map(int.__instancecheck__, times)):
            return np.asarray(times, np.int64) * _NANOS
        data = b"".join(map(itemgetter(1), times))
        pairs = np.frombuffer(data, ">u4").reshape(-1, 2).astype(np.int64)
        if len(pairs) == len(times):
            return pairs[:, 0] * _NANOS + pairs[:, 1]
    except (TypeError, ValueError, OverflowError):
        pass
    return np.fromiter(chain(map(_one_time, times)), np.int64, len(times))


def _one_time(time: Any) -> int:
    """A time of a batch whose times are of several kinds."""
    if isinstance(time, msgpack.ExtType) and len(time.data) == _EVENT_TIME_BYTES:
        seconds, nanos = time.data[:4], time.data[4:]
        return int.from_bytes(seconds, "big") * _NANOS + int.from_bytes(nanos, "big")
    if isinstance(time, int | float):
        return round(time * _NANOS)
    raise CorruptObjectError(f"{time!r} is no time of an event")


def _with_times(lines: bytes, times: Any) -> bytes:
    split = pc.split_pattern(pa.scalar(lines.removesuffix(b"\n")), b"\n").values
    if not len(times):
        return b""
    rest = pc.replace_substring(split, b"{", b"", max_replacements=1)  # each begins with it
    text = pa.array(times).cast(pa.string()).cast(pa.binary())
    comma = pc.if_else(pc.equal(rest, b"}"), b"", b",")
    head = pa.scalar(b'{"time_unix_nano":')
    joined = pc.binary_join_element_wise(head, text, comma, rest, pa.scalar(b"\n"), b"")
    whole = pc.binary_join(pa.ListArray.from_arrays([0, len(joined)], joined), b"")
    data: bytes = whole[0].as_py()
    return data.removesuffix(b"\n")

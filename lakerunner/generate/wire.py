"""Protobuf wire bytes: constant pieces built once, and columns of pieces joined by Arrow.

A column is an Arrow binary array with one piece per record. Records are never touched one by one:
constant pieces are taken from small tables, varying ones are cut from fixed-width buffers.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types."""

_SEVEN_BITS, _MORE = 0x7F, 0x80

AttributeValue = str | int | float | bool
Bytes2D = npt.NDArray[np.uint8]


def varint(value: int) -> bytes:
    r"""Write a non-negative integer in groups of seven bits.

    Example:
        >>> varint(1), varint(300)
        (b'\x01', b'\xac\x02')
    """
    out = bytearray()
    while value > _SEVEN_BITS:
        out.append(value & _SEVEN_BITS | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, wire_type: int) -> bytes:
    """The bytes before a field's value."""
    return varint(number << 3 | wire_type)


def nested(number: int, data: bytes) -> bytes:
    r"""A length-delimited field: text, bytes or a message.

    Example:
        >>> nested(1, b"ab")
        b'\n\x02ab'
    """
    return tag(number, LENGTH) + varint(len(data)) + data


def any_value(value: AttributeValue) -> bytes:
    """The content of an OTLP `AnyValue`; integers must not be negative."""
    if isinstance(value, bool):
        return tag(2, VARINT) + varint(value)
    if isinstance(value, int):
        return tag(3, VARINT) + varint(value)
    if isinstance(value, float):
        return tag(4, FIXED64) + struct.pack("<d", value)
    return nested(1, value.encode())


def key_value(number: int, key: str, value: AttributeValue) -> bytes:
    """An OTLP `KeyValue` as the field `number` of the message around it."""
    return nested(number, nested(1, key.encode()) + nested(2, any_value(value)))


def key_values(number: int, attributes: Mapping[str, AttributeValue]) -> bytes:
    """Many `KeyValue`s one after the other."""
    return b"".join(key_value(number, key, value) for key, value in attributes.items())


def table(pieces: Iterable[bytes]) -> Any:
    """Constant pieces to `take` from, as an Arrow binary array."""
    return pa.array(list(pieces), pa.binary())


def fixed(rows: Bytes2D, present: npt.NDArray[np.bool_] | None = None) -> Any:
    """A column of pieces of one width; where `present` is false the piece is empty."""
    count, width = rows.shape
    if present is None:
        offsets = np.arange(count + 1, dtype=np.int32) * np.int32(width)
    else:
        offsets = np.zeros(count + 1, np.int32)
        np.cumsum(present, out=offsets[1:])
        offsets *= width
        rows = rows[present]
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(rows))]
    return pa.Array.from_buffers(pa.binary(), count, buffers)


def beside(*parts: bytes | npt.NDArray[Any]) -> Bytes2D:
    """Put constant bytes and fixed-width values side by side, one row per record.

    Values are written in little-endian order, as OTLP's fixed fields and doubles are.
    """
    count = next(len(part) for part in parts if isinstance(part, np.ndarray))
    widths = [len(part) if isinstance(part, bytes) else _width(part) for part in parts]
    rows = np.empty((count, sum(widths)), np.uint8)
    at = 0
    for part, width in zip(parts, widths, strict=True):
        rows[:, at : at + width] = (
            np.frombuffer(part, np.uint8) if isinstance(part, bytes) else _as_bytes(part)
        )
        at += width
    return rows


def _width(values: npt.NDArray[Any]) -> int:
    return values.shape[1] if values.ndim > 1 else values.dtype.itemsize


def _as_bytes(values: npt.NDArray[Any]) -> Bytes2D:
    if values.ndim > 1:
        return values
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(len(values), values.dtype.itemsize)


_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint16)


def hexadecimal(values: Bytes2D) -> Bytes2D:
    """Lower-case hex digits of each row, twice as wide."""
    digits: Bytes2D = _HEX[values].view(np.uint8)
    return digits


def decimal(values: npt.NDArray[np.integer[Any]]) -> Any:
    """A column of decimal numbers as text."""
    return pa.array(values).cast(pa.string()).cast(pa.binary())


def varints(values: npt.NDArray[Any]) -> Any:
    """A column of non-negative integers, each in groups of seven bits.

    Example:
        >>> varints(np.array([1, 300])).to_pylist() == [varint(1), varint(300)]
        True
    """
    numbers = values.astype(np.uint64)[:, None]
    shifts = np.arange(0, 70, 7, dtype=np.uint64)
    groups = (numbers >> shifts).astype(np.uint8) & _SEVEN_BITS
    used = (numbers >> shifts) > 0
    used[:, 0] = True
    groups[:, :-1] |= np.where(used[:, 1:], np.uint8(_MORE), np.uint8(0))
    offsets = np.zeros(len(numbers) + 1, np.int32)
    np.cumsum(used.sum(axis=1), out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(groups[used])]
    return pa.Array.from_buffers(pa.binary(), len(numbers), buffers)


def strung(pieces: Any, counts: npt.NDArray[Any]) -> Any:
    """Put runs of pieces together: as many as each count says become one piece.

    Example:
        >>> strung(table([b"a", b"b", b"c"]), np.array([2, 0, 1])).to_pylist()
        [b'ab', b'', b'c']
    """
    offsets, data = contiguous(pieces)
    ends = np.concatenate([[0], np.cumsum(counts)])
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets[ends])), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(counts), buffers)


def join(*columns: Any) -> Any:
    """Put columns together, piece by piece."""
    return pc.binary_join_element_wise(*columns, b"")


class Prefixes:
    """Bytes that announce a length: one row for each length up to a bound."""

    def __init__(self, number: int, *, inner: int | None = None, longest: int) -> None:
        """Prepare the announcements.

        Args:
            number: The field to announce.
            inner: A field inside it that fills it completely, such as the text of an `AnyValue`.
            longest: The greatest length that will be asked for, in bytes.
        """
        self._table = table(_announce(number, inner, size) for size in range(longest + 1))

    def before(self, pieces: Any) -> Any:
        """The column to put before a column of pieces."""
        return self._table.take(pc.binary_length(pieces))


def _announce(number: int, inner: int | None, size: int) -> bytes:
    if inner is None:
        return tag(number, LENGTH) + varint(size)
    head = tag(inner, LENGTH) + varint(size)
    return tag(number, LENGTH) + varint(len(head) + size) + head


def contiguous(column: Any) -> tuple[npt.NDArray[np.int32], bytes]:
    """Offsets of each piece, and all pieces in one block of bytes."""
    offsets = np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, column.offset * 4)
    return offsets, column.buffers()[2].to_pybytes()

"""Zip and snappy as streams: one file in an archive, and the framing of snappy."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_FILE, _DESCRIBED = b"PK\x03\x04", 0x08
_ENCRYPTED, _STORED, _DEFLATED = 0x01, 0, 8
_STEP = 8 * 1024 * 1024

_CHUNK = struct.Struct("<I")
_COMPRESSED, _PLAIN, _SKIPPED, _CRC = 0x00, 0x01, 0x80, 4
_LARGEST = 65536
"""Bytes that a chunk of snappy may hold."""


class _Bytes:
    """Bytes that come in pieces, to be taken in other pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def some(self) -> bytes:
        """What is there, or the next piece; empty at the end."""
        held, self._held = self._held, b""
        return held or next(self._pieces, b"")

    def back(self, data: bytes) -> None:
        """Give back what was too much."""
        self._held = data + self._held

    def exactly(self, size: int) -> bytes:
        """So many bytes, or fewer at the end."""
        parts, missing = [], size
        while missing and (block := self.some()):
            parts.append(block[:missing])
            self.back(block[missing:])
            missing -= len(parts[-1])
        return b"".join(parts)


def unzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The only file in a zip archive; what stands behind it is its table of contents.

    Raises:
        EOFError: The archive is cut off.
        OSError: It holds several files, or one that is encrypted or compressed in another way.
        zlib.error: The file is broken.
    """
    source = _Bytes(pieces)
    header = source.exactly(_LOCAL.size)
    if len(header) < _LOCAL.size:
        raise EOFError("it ends within its first header")
    _, _, flags, method, _, _, crc, size, _, name, extra = _LOCAL.unpack(header)
    source.exactly(name + extra)
    if flags & _ENCRYPTED:
        raise OSError("its file is encrypted")
    if method == _DEFLATED:
        yield from _deflated(source)
        if flags & _DESCRIBED:
            _pass_description(source)
    elif method == _STORED and not flags & _DESCRIBED:
        seen = 0
        while size and (block := source.exactly(min(size, _STEP))):
            seen, size = zlib.crc32(block, seen), size - len(block)
            yield block
        if size:
            raise EOFError("it ends within its file")
        if seen != crc:
            raise OSError("its checksum is wrong")
    else:
        raise OSError("its file is compressed in a way that streams do not have")
    if source.exactly(4) == _FILE:
        raise OSError("it holds several files: unpack it")


def _deflated(source: _Bytes) -> Iterator[bytes]:
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    while not decoder.eof:
        data = decoder.unconsumed_tail or source.some()
        if not data:
            raise EOFError("it ends within its file")
        yield decoder.decompress(data, _STEP)
    source.back(decoder.unused_data)


def _pass_description(source: _Bytes) -> None:
    """Pass over what says the sizes behind a file, with or without a mark of its own."""
    mark = source.exactly(4)
    source.exactly(12 if mark == b"PK\x07\x08" else 8)


def unframe(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The content of chunks of snappy, each of at most 64 KiB.

    Raises:
        EOFError: The stream is cut off.
        OSError: It is broken.
    """
    source, codec = _Bytes(pieces), pa.Codec("snappy")
    while head := source.exactly(4):
        if len(head) < _CHUNK.size:
            raise EOFError("it ends within a chunk")
        (packed,) = _CHUNK.unpack(head)
        kind, size = packed & 0xFF, packed >> 8
        data = source.exactly(size)
        if len(data) < size:
            raise EOFError("it ends within a chunk")
        if kind == _PLAIN:
            yield data[_CRC:]
        elif kind == _COMPRESSED:
            yield codec.decompress(data[_CRC:], _length(data[_CRC:]), asbytes=True)
        elif kind < _SKIPPED:
            raise OSError("it has a chunk of an unknown kind")


def _length(data: bytes) -> int:
    """How much a block of snappy holds: it begins with it, seven bits a byte."""
    length = 0
    for place, byte in enumerate(data[:5]):
        length |= (byte & 0x7F) << (7 * place)
        if byte < _SKIPPED:
            break
    if length > _LARGEST:
        raise OSError("it has a chunk that is too large")
    return length

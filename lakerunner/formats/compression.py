"""Undo the compression of an object, told by its first bytes, as a stream with bounded memory."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakerunner.errors import CorruptObjectError, ObjectTooLargeError, StoreError
from lakerunner.formats.unpacking import unframe, unzip
from lakerunner.limits import COMPRESSION_BYTES, COMPRESSION_RATIO, MIB, OBJECT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def _load_isal() -> Any:
    try:
        from isal import igzip_lib  # noqa: PLC0415 - some platforms have no wheel of it
    except ImportError:  # the standard library is 2.3 times slower
        return None
    return igzip_lib


_MARKS = (
    ("gzip", b"\x1f\x8b"),
    ("zstd", b"\x28\xb5\x2f\xfd"),
    *(("zstd", bytes([0x50 + number]) + b"\x2a\x4d\x18") for number in range(16)),  # passed over
    ("xz", b"\xfd7zXZ\x00"),
    ("lz4", b"\x04\x22\x4d\x18"),
    ("zip", b"PK\x03\x04"),
    ("snappy", b"\xff\x06\x00\x00sNaPpY"),
    *(("bzip2", b"BZh%d1AY&SY" % level) for level in range(1, 10)),
    *(("bzip2", b"BZh%d\x17rE8P\x90" % level) for level in range(1, 10)),  # of nothing
)
_MARK_BYTES = max(len(mark) for _, mark in _MARKS)
_MEMBERS = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ\x00"}  # what each begins with
_STREAMS = {"zip": unzip, "snappy": unframe}
_LAYERS = 3  # a file that was compressed, by a shipper that compresses, behind a proxy that does
_XZ_MEMORY = 128 * MIB  # the largest preset of xz takes 65 MiB to decode
_PIECE = 256 * 1024  # input of one step
_STEP = 8 * MIB  # output of one step: keeps a decompression bomb from filling memory
_ISAL = _load_isal()
_BROKEN: tuple[type[Exception], ...] = (zlib.error, lzma.LZMAError, OSError, EOFError)
if _ISAL:
    _BROKEN = (*_BROKEN, _ISAL.error)
_GZIP_WINDOW = 31  # zlib's word for "a gzip header, and the largest window"


def compression_of(head: bytes) -> str:
    r"""Name the compression an object starts with: `gzip`, `zstd`, `bzip2`, `xz`, …, or none.

    Args:
        head: Its first 10 bytes or more.

    Example:
        >>> compression_of(b"\x1f\x8b\x08"), compression_of(b"BZh is the mark of bzip2")
        ('gzip', '')
    """
    return next((kind for kind, mark in _MARKS if head.startswith(mark)), "")


def decompress(
    blocks: Iterable[bytes],
    *,
    limit: int = OBJECT_BYTES,
    left_over: Callable[[str], None] | None = None,
) -> Iterator[bytes]:
    """Decompress an object that arrives in blocks; plain objects pass through.

    Several members or frames in a row are one object, as the formats define. What was compressed
    more than once is decompressed as often, up to three times; what is below that comes out as it
    is.

    Args:
        blocks: The object's bytes in order.
        limit: Bytes of output at most, of each layer.
        left_over: Told of bytes behind a member of gzip, bzip2 or xz that begin no other. Without
            it, they make the stream a broken one.

    Yields:
        Non-empty blocks of at most 8 MiB, or the plain blocks as they came.

    Raises:
        CorruptObjectError: The stream is broken or cut off.
        ObjectTooLargeError: There is more output than `limit`, or so much more than there was
            input that it is no telemetry (`limits.COMPRESSION_RATIO`).
    """
    kind, source = _looked_at(iter(blocks))
    raw = _Pieces(source)
    if not kind:
        yield from _bounded(source, limit, None)
        return
    pieces = raw
    for _ in range(_LAYERS):
        unpacked = _bounded(_inflate(kind, pieces, left_over), limit, raw)
        kind, source = _looked_at(unpacked)
        if not kind:
            break
        pieces = _Pieces(source)
    yield from source


def _looked_at(blocks: Iterator[bytes]) -> tuple[str, Iterator[bytes]]:
    """The compression of what blocks hold, and the same blocks."""
    seen: list[bytes] = []
    head = b""
    for block in blocks:
        seen.append(block)
        head += block[:_MARK_BYTES]
        if len(head) >= _MARK_BYTES:
            break

    def again() -> Iterator[bytes]:
        while seen:  # no block is held longer than it is needed
            yield seen.pop(0)
        yield from blocks

    return compression_of(head), again()


def _bounded(blocks: Iterator[bytes], limit: int, raw: _Pieces | None) -> Iterator[bytes]:
    """Pass non-empty blocks on, as long as they are not too many for what they were made of."""
    total = 0
    for block in blocks:
        total += len(block)
        if total > limit:
            raise ObjectTooLargeError(
                f"the object holds more than {limit} bytes after decompression", limit=limit
            )
        if raw is not None and total > COMPRESSION_BYTES and total > COMPRESSION_RATIO * raw.taken:
            raise ObjectTooLargeError(
                f"the object is compressed to less than one part in {COMPRESSION_RATIO}, "
                "as no telemetry is",
                limit=COMPRESSION_RATIO,
            )
        if block:
            yield block


class _Pieces:
    """Compressed blocks in pieces, so that it is known how much of them a decoder has seen.

    Attributes:
        taken: Bytes handed out.
    """

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._block, self._rest, self._start = b"", blocks, 0
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while self._start >= len(self._block):
            self._block, self._start = next(self._rest), 0
        piece = self._block[self._start : self._start + _PIECE]
        self._start += len(piece)
        self.taken += len(piece)
        return piece


def _inflate(
    kind: str, pieces: Iterator[bytes], left_over: Callable[[str], None] | None
) -> Iterator[bytes]:
    try:
        if kind in _STREAMS:
            yield from _STREAMS[kind](pieces)
        elif kind in _MEMBERS:
            yield from _members(kind, pieces, left_over)
        else:
            yield from _frames(kind, pieces)
    except StoreError:  # an OSError too, but it says nothing of the bytes
        raise
    except _BROKEN as error:
        raise CorruptObjectError(f"the {kind} stream is broken: {error}") from error


def _decoder(kind: str) -> Any:
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    if kind == "xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    return _ISAL.IgzipDecompressor(_ISAL.DECOMP_GZIP) if _ISAL else _StdlibDecoder()


class _StdlibDecoder:
    """zlib's decompressor under the interface of `IgzipDecompressor`."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(_GZIP_WINDOW)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail and not self._inner.eof

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _members(
    kind: str,
    pieces: Iterator[bytes],
    left_over: Callable[[str], None] | None,
) -> Iterator[bytes]:
    """Decode members one after the other; zero bytes between them are padding."""
    decoder, started, data = _decoder(kind), False, next(pieces, b"")
    whole, mark = False, _MEMBERS[kind]
    while True:
        if whole and data and left_over is not None:
            data = _at_least(len(mark), data, pieces)
            if not data.startswith(mark):
                size = len(data) + sum(map(len, pieces))
                left_over(f"{size:,} bytes behind the last {kind} member are none themselves")
                return
        if data:
            started = True
        yield decoder.decompress(data, _STEP)
        while not decoder.eof and not decoder.needs_input:
            yield decoder.decompress(b"", _STEP)
        if decoder.eof:
            data = decoder.unused_data.lstrip(b"\0")
            decoder, started, whole = _decoder(kind), False, True
            if data:
                continue
        more = next(pieces, None)
        if more is None:
            break
        data = more if started else more.lstrip(b"\0")
    if started:
        raise EOFError("it ends before its end-of-stream marker")


def _at_least(size: int, data: bytes, pieces: Iterator[bytes]) -> bytes:
    """Data with what comes next, where it is shorter than `size`."""
    while len(data) < size and (more := next(pieces, b"")):
        data += more
    return data


class _Source(io.RawIOBase):
    """Blocks as a file that can be read once."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._block, self._rest = memoryview(b""), pieces

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._block:
            following = next(self._rest, None)
            if following is None:
                return b""
            self._block = memoryview(following)
        end = size if size >= 0 else len(self._block)
        taken, self._block = self._block[:end], self._block[end:]
        return bytes(taken)


def _frames(kind: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Decode frames one after the other; those made to be skipped are.

    Arrow's reader bounds its output whatever the input says: one mebibyte of zstd may hold 32 GiB.
    """
    reader = pa.CompressedInputStream(pa.PythonFile(_Source(pieces), mode="r"), kind)
    while block := reader.read(_STEP):
        yield block

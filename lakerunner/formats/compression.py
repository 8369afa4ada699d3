"""Undo the compression of an object, told by its first bytes, as a stream with bounded memory."""

from __future__ import annotations

import io
import zlib
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakerunner.errors import CorruptObjectError, ObjectTooLargeError, StoreError
from lakerunner.limits import COMPRESSION_BYTES, COMPRESSION_RATIO, MIB, OBJECT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def _load_isal() -> Any:
    try:
        from isal import igzip_lib  # noqa: PLC0415 - some platforms have no wheel of it
    except ImportError:  # the standard library is 2.3 times slower
        return None
    return igzip_lib


_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_PIECE = 256 * 1024  # input of one step
_STEP = 8 * MIB  # output of one step: keeps a decompression bomb from filling memory
_ISAL = _load_isal()
_BROKEN: tuple[type[Exception], ...] = (zlib.error, OSError, EOFError)
if _ISAL:
    _BROKEN = (*_BROKEN, _ISAL.error)
_GZIP_WINDOW = 31  # zlib's word for "a gzip header, and the largest window"


def compression_of(head: bytes) -> str:
    r"""Name the compression an object starts with: `gzip`, `zstd` or an empty text.

    Example:
        >>> compression_of(b"\x1f\x8b\x08"), compression_of(b"plain")
        ('gzip', '')
    """
    return "gzip" if head.startswith(_GZIP) else "zstd" if head.startswith(_ZSTD) else ""


def decompress(
    blocks: Iterable[bytes],
    *,
    limit: int = OBJECT_BYTES,
    left_over: Callable[[str], None] | None = None,
) -> Iterator[bytes]:
    """Decompress an object that arrives in blocks; plain objects pass through.

    Several gzip members or zstd frames in a row are one object, as the formats define.

    Args:
        blocks: The object's bytes in order; the first block holds at least 4 bytes if the
            object does.
        limit: Bytes of output at most.
        left_over: Told of bytes behind a gzip member that begin no other. Without it, they make the
            stream a broken one.

    Yields:
        Non-empty blocks of at most 8 MiB, or the plain blocks as they came.

    Raises:
        CorruptObjectError: The stream is broken or cut off.
        ObjectTooLargeError: There is more output than `limit`, or so much more than there was
            input that it is no telemetry (`limits.COMPRESSION_RATIO`).
    """
    source = iter(blocks)
    first = next(source, b"")
    kind = compression_of(first)
    pieces = _Pieces(first, source)
    total = 0
    for block in _inflate(kind, pieces, left_over) if kind else chain([first], source):
        total += len(block)
        if total > limit:
            raise ObjectTooLargeError(
                f"the object holds more than {limit} bytes after decompression", limit=limit
            )
        if kind and total > COMPRESSION_BYTES and total > COMPRESSION_RATIO * pieces.taken:
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

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self._block, self._rest, self._start = first, rest, 0
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
        if kind == "gzip":
            yield from _members(_gzip_decoder, pieces, left_over)
        else:
            yield from _frames(pieces)
    except StoreError:  # an OSError too, but it says nothing of the bytes
        raise
    except _BROKEN as error:
        raise CorruptObjectError(f"the {kind} stream is broken: {error}") from error


def _gzip_decoder() -> Any:
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
    make: Callable[[], Any],
    pieces: Iterator[bytes],
    left_over: Callable[[str], None] | None,
) -> Iterator[bytes]:
    """Decode members one after the other; zero bytes between them are padding."""
    decoder, started, data = make(), False, next(pieces, b"")
    whole = False
    while True:
        if whole and data and left_over is not None:
            data += next(pieces, b"") if len(data) < len(_GZIP) else b""
            if not data.startswith(_GZIP):
                size = len(data) + sum(map(len, pieces))
                left_over(f"{size:,} bytes behind the last gzip member are none themselves")
                return
        if data:
            started = True
        yield decoder.decompress(data, _STEP)
        while not decoder.eof and not decoder.needs_input:
            yield decoder.decompress(b"", _STEP)
        if decoder.eof:
            data = decoder.unused_data.lstrip(b"\0")
            decoder, started, whole = make(), False, True
            if data:
                continue
        more = next(pieces, None)
        if more is None:
            break
        data = more if started else more.lstrip(b"\0")
    if started:
        raise EOFError("it ends before its end-of-stream marker")


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


def _frames(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Decode frames one after the other.

    Arrow's reader bounds its output whatever the input says: one mebibyte of zstd may hold 32 GiB.
    """
    reader = pa.CompressedInputStream(pa.PythonFile(_Source(pieces), mode="r"), "zstd")
    while block := reader.read(_STEP):
        yield block

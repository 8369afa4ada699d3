"""Bodies of requests decompressed, as far as they may be long."""

from __future__ import annotations

import io
import zlib

import pyarrow as pa
import zstandard
from starlette.exceptions import HTTPException

# Frames say how large a window they need; one of 8 MiB is what RFC 8878 asks of everybody.
_ZSTD = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024)
_SNAPPY = pa.Codec("snappy")
_LENGTH_BYTES = 5


def inflated(body: bytes, encoding: str, most_bytes: int) -> bytes:
    """The body of a request decompressed, as far as it may be long.

    Args:
        body: As it was sent.
        encoding: `identity`, `gzip`, `deflate`, `zstd`, or `snappy`, which is one block without
            frames.
        most_bytes: How long it may become. No more than that is ever decompressed.

    Raises:
        HTTPException: It is longer, compressed in a way that is not known, or broken.

    Example:
        >>> inflated(zlib.compress(b"hello"), "deflate", 100)
        b'hello'
    """
    try:
        match encoding:
            case "identity" | "":
                found = body
            case "gzip" | "x-gzip" | "deflate":
                found = _unzipped(body, encoding, most_bytes + 1)
            case "zstd":
                with _ZSTD.stream_reader(io.BytesIO(body), read_across_frames=True) as reader:
                    found = reader.read(most_bytes + 1)
            case "snappy":
                found = _unsnapped(body, most_bytes)
            case _:
                raise HTTPException(
                    415,
                    f"Content-Encoding {encoding!r} is not known; "
                    "gzip, deflate, zstd and snappy are",
                )
    except (zlib.error, zstandard.ZstdError, EOFError, OSError) as error:
        raise HTTPException(400, f"the body is no {encoding}: {error}") from error
    if len(found) > most_bytes:
        raise HTTPException(413, f"the body inflates to more than {most_bytes:,} bytes")
    return found


def _unzipped(body: bytes, encoding: str, most_bytes: int) -> bytes:
    bits = zlib.MAX_WBITS if encoding == "deflate" else zlib.MAX_WBITS | 16
    parts: list[bytes] = []
    left = most_bytes
    while body and left > 0:  # one after the other, as gzip may have several members
        machine = zlib.decompressobj(bits)
        parts.append(machine.decompress(body, left))
        left -= len(parts[-1])
        if not machine.eof and left > 0:
            raise EOFError("it ends too early")
        body = machine.unused_data
    return b"".join(parts)


def _unsnapped(body: bytes, most_bytes: int) -> bytes:
    """A block, which says at its beginning how long it becomes, and becomes no longer."""
    length = shift = 0
    for byte in body[:_LENGTH_BYTES]:
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:  # noqa: PLR2004 - seven bits at a time
            break
    else:
        raise EOFError("it does not say how long it is")
    if length > most_bytes:
        raise HTTPException(413, f"the body inflates to more than {most_bytes:,} bytes")
    return bytes(_SNAPPY.decompress(body, length, asbytes=True)) if length else b""

"""Zip and snappy as streams."""

from __future__ import annotations

import io
import random
import zipfile
import zlib

import pyarrow as pa
import pytest

from lakerunner.errors import CorruptObjectError, ObjectTooLargeError
from lakerunner.formats.compression import decompress

TEXT = bytes(random.Random(1).choices(b"abc \n", k=300_000))  # noqa: S311 - for a test


def zipped(*files: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for number, data in enumerate(files):
            archive.writestr(f"{number}.log", data)
    return target.getvalue()


def streamed(data: bytes) -> bytes:
    """As `zip -` writes it: the sizes stand behind the file."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        def writable(self) -> bool:
            return True

        def write(self, piece: object, /) -> int:
            self.parts.append(bytes(piece))  # type: ignore[call-overload] # a buffer
            return len(self.parts[-1])

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.log", data)
    return b"".join(pipe.parts)


def framed(data: bytes) -> bytes:
    parts = [b"\xff\x06\x00\x00sNaPpY", b"\xfe\x03\x00\x00pad"]
    for at in range(0, len(data), 65536):
        block = data[at : at + 65536]
        packed = pa.Codec("snappy").compress(block, asbytes=True)
        kind, packed = (0, packed) if at % 131072 == 0 else (1, block)
        parts.append((((len(packed) + 4) << 8) | kind).to_bytes(4, "little") + b"\0" * 4 + packed)
    return b"".join(parts)


def unpacked(data: bytes, size: int) -> bytes:
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(decompress(blocks))


@pytest.mark.parametrize("size", [7, 1000, 10_000_000])
@pytest.mark.parametrize(
    "packed",
    [zipped(TEXT), zipped(TEXT, method=zipfile.ZIP_STORED), streamed(TEXT), framed(TEXT)],
    ids=["deflated", "stored", "streamed", "snappy"],
)
def test_whatever_the_pieces_are(packed: bytes, size: int) -> None:
    assert unpacked(packed, size) == TEXT


@pytest.mark.parametrize("packed", [zipped(TEXT), streamed(TEXT), framed(TEXT)])
def test_what_is_cut_off_is_broken(packed: bytes) -> None:
    with pytest.raises(CorruptObjectError, match="it ends within"):
        unpacked(packed[: len(packed) // 3], 1000)


def test_several_files_are_several_objects() -> None:
    with pytest.raises(CorruptObjectError, match="it holds several files: unpack it"):
        unpacked(zipped(b"one", b"two"), 1000)


def test_a_bomb_is_refused() -> None:
    with pytest.raises(ObjectTooLargeError):
        for _ in decompress([zipped(bytes(400 * 1024 * 1024))]):
            pass


def test_noise_behind_a_mark_is_broken() -> None:
    noise = bytes(random.Random(2).choices(range(256), k=4000))  # noqa: S311 - for a test
    for mark in (zipped(TEXT)[:36], b"\xff\x06\x00\x00sNaPpY"):
        with pytest.raises(CorruptObjectError):
            unpacked(mark + noise, 1000)
    assert zlib.crc32(noise)

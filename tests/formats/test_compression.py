"""Compressed objects: every way a stream can be put together, cut off, or turned against us."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given

from lakerunner.errors import CorruptObjectError, ObjectTooLargeError, StoreUnavailableError
from lakerunner.formats import compression
from lakerunner.formats.compression import decompress
from lakerunner.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TEXT = b"the quick brown fox jumps over the lazy dog. " * 3


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def lz4(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def skipped(data: bytes, number: int = 0) -> bytes:
    """A frame that decoders of zstd and lz4 pass over."""
    return struct.pack("<II", 0x184D2A50 + number, len(data)) + data


CHECKED: list[Callable[[bytes], bytes]] = [gzip.compress, zstd, bz2.compress, lzma.compress]
PACK: list[Callable[[bytes], bytes]] = [*CHECKED, lz4]


@pytest.fixture(params=["isal", "zlib"])
def _decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to inflate gzip: the fast one, and the one where it has no wheel."""
    if request.param == "zlib":
        monkeypatch.setattr(compression, "_ISAL", None)


def read(data: bytes, sizes: tuple[int, ...] = (), limit: int = 2**40) -> bytes:
    """Decompress data that comes in blocks, of which the first has at least four bytes."""
    blocks, position = [], 0
    for size in sizes:
        blocks.append(data[position : position + size])
        position += size
    return b"".join(decompress([*blocks, data[position:]], limit=limit))


@pytest.mark.usefixtures("_decoder")
@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("second", [0, 1, 7, 40])
def test_several_members_are_one_object(pack: Callable[[bytes], bytes], second: int) -> None:
    data = pack(TEXT) + pack(b"") + pack(TEXT[::-1])
    assert read(data) == TEXT + TEXT[::-1]
    for first in range(4, len(data)):
        assert read(data, (first, second)) == TEXT + TEXT[::-1]


@given(
    parts=st.lists(st.binary(max_size=50), min_size=1, max_size=4),
    sizes=st.lists(st.integers(0, 60), max_size=5),
    pack=st.sampled_from(PACK),
)
def test_any_parts_in_any_blocks(
    parts: list[bytes], sizes: list[int], pack: Callable[[bytes], bytes]
) -> None:
    assert read(b"".join(map(pack, parts)), (4, *sizes)) == b"".join(parts)


@pytest.mark.usefixtures("_decoder")
@pytest.mark.parametrize("sizes", [(), (4, 9), (60, 1, 1, 1)])
def test_zero_bytes_after_a_gzip_member_are_padding(sizes: tuple[int, ...]) -> None:
    member = gzip.compress(TEXT)
    assert read(member + bytes(512), sizes) == TEXT
    assert read(member + bytes(5) + member + bytes(1), sizes) == TEXT * 2


@pytest.mark.usefixtures("_decoder")
@pytest.mark.parametrize("pack", PACK)
def test_a_stream_cut_off_anywhere_is_corrupt(pack: Callable[[bytes], bytes]) -> None:
    first = pack(TEXT)
    data = first + pack(TEXT[:40])
    for length in range(10, len(data)):  # it takes as much to tell bzip2
        if length == len(first):
            assert read(data[:length]) == TEXT
            continue
        with pytest.raises(CorruptObjectError):
            read(data[:length])
        with pytest.raises(CorruptObjectError):
            read(data[:length], (length // 2 + 2,))


@pytest.mark.usefixtures("_decoder")
@pytest.mark.parametrize("pack", CHECKED)
def test_a_broken_stream_is_corrupt(pack: Callable[[bytes], bytes]) -> None:
    data = bytearray(pack(TEXT))
    data[len(data) - 3] ^= 255  # in the checksum of both formats
    with pytest.raises(CorruptObjectError):
        read(bytes(data))
    with pytest.raises(CorruptObjectError):
        read(pack(TEXT) + b"trailing rubbish")


@pytest.mark.usefixtures("_decoder")
@pytest.mark.parametrize("pack", PACK)
def test_the_limit_counts_all_members(pack: Callable[[bytes], bytes]) -> None:
    data = pack(bytes(100)) * 10
    assert len(read(data, limit=1000)) == 1000
    with pytest.raises(ObjectTooLargeError):
        read(data, limit=999)


@pytest.mark.usefixtures("_decoder")
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_is_stopped_in_bounded_memory(kind: str) -> None:
    size = 256 * MIB
    if kind == "gzip":
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        step = b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.flush()
    else:
        writer = zstandard.ZstdCompressor().compressobj()
        step = b"".join(writer.compress(bytes(MIB)) for _ in range(size // MIB)) + writer.flush()
    blocks: list[int] = []
    tracemalloc.start()
    try:
        with pytest.raises(ObjectTooLargeError):
            blocks.extend(len(block) for block in decompress([step], limit=64 * MIB))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(blocks) <= 64 * MIB
    assert max(blocks) <= 8 * MIB
    assert peak < 64 * MIB


@pytest.mark.parametrize("number", [0, 15])
def test_skippable_frames_are_passed_over(number: int) -> None:
    skip = skipped(b"index", number)
    assert read(skip + zstd(TEXT) + skip + zstd(TEXT) + skipped(b"", number)) == TEXT * 2
    assert read(lz4(TEXT) + skip + lz4(TEXT)) == TEXT * 2


@pytest.mark.usefixtures("_decoder")
@pytest.mark.parametrize("outer", PACK)
@pytest.mark.parametrize("inner", PACK)
def test_what_was_compressed_twice_is_decompressed_twice(
    inner: Callable[[bytes], bytes], outer: Callable[[bytes], bytes]
) -> None:
    data = outer(inner(TEXT) + inner(TEXT))
    assert read(data) == TEXT * 2
    assert read(data, (4, 1, 1, 7)) == TEXT * 2
    assert read(outer(data)) == TEXT * 2
    with pytest.raises(CorruptObjectError):
        read(outer(inner(TEXT)[:-3]))
    with pytest.raises(CorruptObjectError):
        read(outer(inner(TEXT))[:-3])


def test_the_fourth_layer_comes_out_as_it_is() -> None:
    data = gzip.compress(TEXT)
    assert read(gzip.compress(zstd(bz2.compress(data)))) == data


@pytest.mark.parametrize("pack", [gzip.compress, zstd, bz2.compress, lz4])
def test_a_bomb_in_a_bomb_is_held_against_what_was_read(pack: Callable[[bytes], bytes]) -> None:
    size = 96 * MIB
    data = pack(pack(bytes(size)))
    sizes: list[int] = []
    with pytest.raises(ObjectTooLargeError, match="one part in"):
        sizes.extend(len(block) for block in decompress([data]))
    assert max(sizes, default=0) <= 8 * MIB
    assert sum(sizes) < size


def test_a_store_that_fails_below_two_layers_is_no_broken_stream() -> None:
    def blocks() -> Iterator[bytes]:
        yield zstd(gzip.compress(TEXT))[:40]
        raise StoreUnavailableError("try again", key="k")

    with pytest.raises(StoreUnavailableError, match="try again"):
        list(decompress(blocks()))


@pytest.mark.parametrize("text", [b"BZh is the mark", b"BZh91AY&S no", b"P*M\x19", b"\x1f"])
def test_text_that_begins_like_a_mark_passes(text: bytes) -> None:
    assert read(text) == text
    assert read(gzip.compress(text)) == text


def test_plain_objects_pass_unchanged() -> None:
    assert list(decompress([b"plain", b"", b"text"])) == [b"plain", b"text"]
    assert list(decompress([])) == []
    assert list(decompress([b""])) == []
    with pytest.raises(ObjectTooLargeError):
        list(decompress([b"plain", b"text"], limit=8))


@pytest.mark.parametrize("pack", PACK)
def test_a_failing_store_is_not_a_broken_stream(pack: Callable[[bytes], bytes]) -> None:
    def blocks() -> Iterator[bytes]:
        yield pack(TEXT)[:20]
        raise StoreUnavailableError("try again", key="k")

    with pytest.raises(StoreUnavailableError, match="try again"):
        list(decompress(blocks()))

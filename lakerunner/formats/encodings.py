"""Text in UTF-16 and UTF-32, told by its byte order mark, as the UTF-8 that every format reads."""

from __future__ import annotations

import codecs
from itertools import chain
from typing import TYPE_CHECKING

from lakerunner.errors import CorruptObjectError
from lakerunner.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MARKS = (  # that of UTF-32 first: it begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_MARK_BYTES = 4
_STEP = 4 * MIB  # of UTF-16, whose text takes half as much again in UTF-8 at most
_REPLACED, _SPARED = 100, 4  # of bytes at random, 3 in 100 are half a surrogate pair


def encoding_of(head: bytes) -> str:
    r"""Name the encoding that a byte order mark tells: `UTF-16`, `UTF-32` or an empty text.

    Example:
        >>> encoding_of("é".encode("utf-16")), encoding_of("é".encode("utf-8-sig"))
        ('UTF-16', '')
    """
    return next((name for mark, name in _MARKS if head.startswith(mark)), "")


def to_utf8(blocks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Pass blocks on, as UTF-8 where they begin with a byte order mark of UTF-16 or UTF-32.

    Half of a surrogate pair becomes U+FFFD, as bytes that are no UTF-8 do.

    Args:
        blocks: Non-empty blocks of one object, in order.

    Yields:
        The blocks as they came, or non-empty blocks of at most 8 MiB.

    Raises:
        CorruptObjectError: It begins like UTF-16 or UTF-32, and is no text.

    Example:
        >>> b"".join(to_utf8([b"\xff\xfeh", b"\x00i\x00"]))
        b'hi'
    """
    source = iter(blocks)
    seen: list[bytes] = []
    while sum(map(len, seen)) < _MARK_BYTES and (block := next(source, b"")):
        seen.append(block)
    name = encoding_of(b"".join(block[:_MARK_BYTES] for block in seen))
    first = iter(seen)
    del seen
    all_blocks = chain(first, source)
    yield from _decoded(name, all_blocks) if name else all_blocks


def _decoded(name: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(name)("replace")
    for block in blocks:
        for start in range(0, len(block), _STEP):
            if text := _require_text(name, decoder.decode(block[start : start + _STEP])):
                yield text.encode()
    if text := decoder.decode(b"", final=True):
        yield text.encode()


def _require_text(name: str, text: str) -> str:
    wrong = text.count("\ufffd") + text.count("\0")
    if wrong > _SPARED and wrong * _REPLACED > len(text):
        raise CorruptObjectError(f"it begins with the byte order mark of {name}, and is no text")
    return text

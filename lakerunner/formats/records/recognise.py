"""Whether the beginning of an object looks like a format of records."""

from __future__ import annotations

import codecs
import re

import msgspec

from lakerunner.formats.records.delimited import sniff_delimiter

_LINES = 20
_UTF8 = codecs.getincrementaldecoder("utf-8")
_PARQUET_MAGIC, _ARROW_MAGIC = b"PAR1", b"ARROW1"
_JSON_START = re.compile(rb"^(?:\xef\xbb\xbf)?\s*(?:\[\s*)?[{\]]")
_JSON_OBJECT = re.compile(rb'\{\s*"(?:[^"\\]|\\.)*"\s*:.*\}\s*\Z')
_INDENTED = {b"", b" ", b"\t", b"\r"}
_HEAD_BYTES = 64 * 1024
_BANNER = 20  # lines of text before the first object, for each object in the head
# Control characters other than white space and the escape of terminal colours.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def looks_like_parquet(head: bytes) -> bool:
    """Parquet files begin with a magic number.

    Example:
        >>> looks_like_parquet(b"PAR1..."), looks_like_parquet(b"{}")
        (True, False)
    """
    return head.startswith((_PARQUET_MAGIC, _ARROW_MAGIC))


def looks_like_json(head: bytes) -> bool:
    r"""JSON records begin with an object, or an array of objects; text may stand among their lines.

    Text counts as JSON with something before it if a third of the lines are objects from the
    first object on, and not many stand before that.

    Example:
        >>> looks_like_json(b' [{"a": 1}]'), looks_like_json(b"[Sun Dec 04] error")
        (True, False)
        >>> looks_like_json(b'starting\n{"a": 1}\n{"a": 2}\n'), looks_like_json(b"in {} of {}\n")
        (True, False)
    """
    if _JSON_START.match(head) is not None:
        return True
    if b"\n{" not in head[:_HEAD_BYTES]:
        return False
    lines = [line for line in head[:_HEAD_BYTES].split(b"\n") if line[:1] not in _INDENTED]
    objects = [place for place, line in enumerate(lines) if _JSON_OBJECT.match(line)]
    if not objects:
        return False
    behind = len(lines) - objects[0] - (len(head) > _HEAD_BYTES)  # the last one is cut
    return 3 * len(objects) >= behind and _BANNER * len(objects) >= objects[0]


def looks_like_text(head: bytes) -> bool:
    r"""Text is UTF-8 without control characters. The head may end within a character.

    Example:
        >>> looks_like_text(b"a line"), looks_like_text(bytes(range(32))), looks_like_text(b"\xff")
        (True, False, False)
    """
    try:
        _UTF8(errors="strict").decode(head)
    except UnicodeDecodeError:
        return False
    return _BINARY.search(head) is None


def looks_like_tsv(head: bytes) -> bool:
    """Several lines, each with as many tabs."""
    return _delimiter(head) == "\t"


def looks_like_csv(head: bytes) -> bool:
    r"""Several lines, each with as many commas, semicolons or bars, below a header of names.

    Example:
        >>> looks_like_csv(b"time,level\n1,info\n"), looks_like_csv(b"Hello, world.\n")
        (True, False)
    """
    return _delimiter(head) not in {None, "\t"}


def _delimiter(head: bytes) -> str | None:
    lines = [line for line in head.splitlines()[:_LINES] if line.strip()]
    if not looks_like_text(head) or len(lines) < 2:  # noqa: PLR2004 - a header and a row
        return None
    delimiter = sniff_delimiter(head)
    return delimiter if _is_header(lines[0], delimiter) else None


def _is_header(line: bytes, delimiter: str) -> bool:
    """Names, of which none is a number, empty or a sentence."""
    cells = [cell.strip().strip(b'"') for cell in line.split(delimiter.encode())]
    return len(cells) > 1 and all(_is_name(cell) for cell in cells)


def _is_name(cell: bytes) -> bool:
    try:
        msgspec.json.decode(cell)
    except msgspec.DecodeError:
        return 0 < len(cell) <= 64 and cell.count(b" ") <= 2  # noqa: PLR2004 - names are short
    return False

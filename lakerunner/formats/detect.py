"""Which format an object has, and which signal: by its name first, then by its content."""

from __future__ import annotations

import codecs
import re
from itertools import chain
from typing import TYPE_CHECKING

from lakerunner.errors import (
    ConfigurationError,
    CorruptObjectError,
    UnknownFormatError,
    did_you_mean,
)
from lakerunner.formats.compression import compression_of
from lakerunner.formats.table import BY_CONTENT_TYPE, BY_SUFFIX, FORMATS
from lakerunner.limits import MIB
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lakerunner.formats.base import Format

_COMPRESSIONS = frozenset({"gz", "gzip", "zst", "zstd", "bz2", "xz", "lz4", "zip", "sz", "snappy"})
_WORDS = {
    "log": Signal.LOGS,
    "logs": Signal.LOGS,
    "trace": Signal.SPANS,
    "traces": Signal.SPANS,
    "span": Signal.SPANS,
    "spans": Signal.SPANS,
    "metric": Signal.METRICS,
    "metrics": Signal.METRICS,
}


_CONTAINERS = (
    (b"\x02\x21\x4c\x18", "lz4 of the legacy format"),
    (b"\x1f\x9d", "compress"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF-", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"ElfFile\x00", "a Windows event log"),
    (b"LPKSHHRH", "a journal of systemd"),
    (b"\xd4\xc3\xb2\xa1", "a packet capture"),
    (b"Obj\x01", "Avro"),
)
_ORC = re.compile(rb"ORC[\x00-\x1f]")  # text may begin with the letters
_TAR, _TAR_AT = b"ustar", 257
_PARQUET = b"PAR1"
_BINARY = frozenset({"parquet", "arrow", "otlp-protobuf"})  # they tell by themselves


def container_of(head: bytes) -> str:
    r"""Name what an object is whose content is none of the formats; empty if nothing tells.

    Args:
        head: Its first bytes, decompressed as far as that is done.

    Example:
        >>> container_of(b"7z\xbc\xaf'\x1c"), container_of(b"ORC is the mark of ORC")
        ('a 7z archive', '')
    """
    if head.startswith(_TAR, _TAR_AT):
        return "a tar archive"
    for mark, name in _CONTAINERS:
        if head.startswith(mark):
            return name
    if _ORC.match(head):
        return "ORC"
    kind = compression_of(head)
    return f"{kind} within one compression after another" if kind else ""


def formats_by_name(key: str) -> tuple[str, ...]:
    """The formats that an object's name promises.

    Example:
        >>> formats_by_name("otel-raw/acme/c1/logs_17.binpb.gz"), formats_by_name("logs_17")
        (('otlp-protobuf',), ())
    """
    suffixes = key.rpartition("/")[2].lower().split(".")[1:]
    while suffixes and suffixes[-1] in _COMPRESSIONS:
        suffixes.pop()
    return BY_SUFFIX.get(suffixes[-1], ()) if suffixes else ()


def signal_by_name(key: str) -> Signal | None:
    """The signal that an object's name or, failing that, its nearest folder speaks of, or None.

    Example:
        >>> signal_by_name("otel-raw/acme/c1/metrics_17.binpb"), signal_by_name("logs-raw/a.json")
        (<Signal.METRICS: 'metrics'>, <Signal.LOGS: 'logs'>)
    """
    for part in reversed(key.lower().split("/")):
        for word in re.split(r"[^a-z]+", part):
            if word in _WORDS:
                return _WORDS[word]
    return None


def require_format(name: str) -> Format:
    """The format of a name.

    Raises:
        ConfigurationError: There is none; the message names the nearest.

    Example:
        >>> require_format("cvs")
        Traceback (most recent call last):
        lakerunner.errors.ConfigurationError: no format 'cvs'; did you mean 'csv'?
    """
    if name not in FORMATS:
        raise ConfigurationError(
            f"no format {name!r}{did_you_mean(name, FORMATS, 'known are')}", format=name
        )
    return FORMATS[name]


def choose_format(key: str, head: bytes, name: str | None = None, content_type: str = "") -> Format:
    """Choose the format of an object.

    Args:
        key: Its key.
        head: Its first bytes, decompressed.
        name: A format the user named; it is taken without looking.
        content_type: Its media type, if it has one.

    Raises:
        ConfigurationError: `name` is no format.
        UnknownFormatError: Neither name nor content is known, or the content is known to be of
            another kind than everything else tells.
    """
    chosen = _choose_format(key, head, name, content_type)
    found = container_of(head)
    if found and chosen.name not in _BINARY:
        raise UnknownFormatError(
            f"this is {found}, and not {chosen.name}: unpack it first", key=key
        )
    if head.startswith(_PARQUET) and chosen.name not in _BINARY:
        raise UnknownFormatError(
            f"this is Parquet, and not {chosen.name}: name it with format='parquet'", key=key
        )
    return chosen


def _choose_format(key: str, head: bytes, name: str | None, content_type: str) -> Format:
    if name is not None:
        return require_format(name)
    media_type = content_type.partition(";")[0].strip().lower()
    promised = formats_by_name(key) or BY_CONTENT_TYPE.get(media_type, ())
    for candidate in promised or FORMATS:
        if FORMATS[candidate].recognises(head):
            return FORMATS[candidate]
    if promised:
        return FORMATS[promised[-1]]
    found = container_of(head)
    raise UnknownFormatError(
        f"this is {found}, which is no format of telemetry: unpack it first"
        if found
        else "neither its name nor its content is a known format; name one with format=…",
        key=key,
    )


def choose_signal(
    chosen: Format,
    key: str,
    payload: bytes,
    wanted: Signal | None = None,
    hint: Signal | None = None,
) -> Signal:
    """Choose the signal of an object: what it holds decides, its name only where that is silent.

    Records of named fields tell their signal by the names alone, so there the user's word counts
    more, and so does that of a rule of ownership; records of which nothing is known are logs.

    Args:
        chosen: The format.
        key: The object's key.
        payload: Its first part.
        wanted: The signal the user named.
        hint: The signal that a rule of ownership tells for the object's place.

    Raises:
        CorruptObjectError: The payload is broken, or holds another signal than `wanted`.
        UnknownFormatError: Nothing tells.
    """
    found = chosen.signal(payload) if payload else None
    said = wanted or hint
    if said is not None and not chosen.certain:
        return said
    if found is not None and wanted is not None and found is not wanted:
        raise CorruptObjectError(f"it holds {found}, not {wanted}", key=key)
    signal = found or said or signal_by_name(key)
    if signal is not None:
        return signal
    if not chosen.certain:
        return Signal.LOGS
    raise UnknownFormatError(
        "it holds no record, and its name does not tell a signal; name one with signal=…", key=key
    )


# Text in UTF-16 and UTF-32, told by its byte order mark, as the UTF-8 that every format reads.

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

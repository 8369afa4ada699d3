"""What callers hand to an ingest, taken apart: sources one by one, and records as JSON lines."""

from __future__ import annotations

import logging
import os
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias

from lakerunner.errors import ConfigurationError, ObjectTooLargeError
from lakerunner.intake.payloads import payload_of
from lakerunner.limits import MIB, OBJECT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lakerunner.ingest.arrow import ArrowStream

Offered: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[Any] | ArrowStream "
    "| logging.LogRecord | Iterable[Any]"
)
"""A source, or several: see `offers`. A mapping is a record, and a LazyFrame is collected."""

_RECORDS = 10_000
"""Records that are written as lines and taken at once."""

_BLOCK = 8 * MIB


class Offer(NamedTuple):
    """One thing to be taken.

    Attributes:
        source: A URL or path, bytes, or a table or reader of Arrow.
        lines: These bytes are JSON lines that were made of records.
    """

    source: Any
    lines: bool = False


def offers(*given: Any) -> Iterator[Offer]:
    r"""Take apart what a caller offers, in its order.

    Args:
        given: Sources; lists and iterators of sources; mappings and `logging.LogRecord`s, alone, in
            lists or from an iterator; open files; lazy frames of Polars.

    Raises:
        ConfigurationError: Something is none of these.
        ObjectTooLargeError: An open file holds more than an object may.

    Example:
        >>> [one.source for one in offers("a/", [{"body": "x"}, {"body": "y"}, "b/"])]
        ['a/', b'{"body":"x"}\n{"body":"y"}\n', 'b/']
    """
    records: list[Any] = []
    for each in _flat(given):
        if isinstance(each, dict | logging.LogRecord):
            records.append(each)
            if len(records) >= _RECORDS:
                yield _lines(records)
            continue
        if records:
            yield _lines(records)
        yield Offer(_source(each))
    if records:
        yield _lines(records)


def _lines(records: list[Any]) -> Offer:
    data = payload_of(records).data
    records.clear()
    return Offer(data, lines=True)


def _flat(given: Iterable[Any]) -> Iterator[Any]:
    for each in given:
        if _is_several(each):
            yield from _flat(each)
        else:
            yield each


def _is_several(each: Any) -> bool:
    if isinstance(each, str | bytes | bytearray | memoryview | dict | os.PathLike):
        return False
    ways = ("__arrow_c_stream__", "__arrow_c_array__", "read", "read_next_batch", "collect")
    return hasattr(each, "__iter__") and not any(hasattr(each, way) for way in ways)


def _source(each: Any) -> Any:
    if hasattr(each, "__arrow_c_stream__") or isinstance(each, str | bytes | os.PathLike):
        return each
    if hasattr(each, "collect_schema") and hasattr(each, "collect"):
        return each.collect()  # of Polars; it is lazy no more
    if hasattr(each, "read") and not hasattr(each, "read_next_batch"):
        return _read(each)
    known = (bytearray, memoryview)
    if isinstance(each, known) or any(
        hasattr(each, way) for way in ("__arrow_c_array__", "read_next_batch")
    ):
        return each
    raise ConfigurationError(
        f"a {type(each).__name__} is nothing to be taken: give a URL, a path, bytes, an open file, "
        "a table or reader of Arrow, Polars or pandas, a mapping, a logging.LogRecord, or several "
        "of these"
    )


def _read(file: Any) -> bytes:
    """All that an open file still has."""
    blocks: list[bytes] = []
    total = 0
    while block := file.read(_BLOCK):
        blocks.append(block.encode() if isinstance(block, str) else bytes(block))
        total += len(blocks[-1])
        if total > OBJECT_BYTES:
            raise ObjectTooLargeError(
                f"the open file has more than {OBJECT_BYTES:,} bytes: store it, and name its path",
                limit=OBJECT_BYTES,
            )
    return b"".join(blocks)

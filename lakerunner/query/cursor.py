"""Cursors: where a page of rows ended, as text that goes on from there.

Rows have one order for ever: their time, and where times are the same, a digest of what the query
shows of them. Neither depends on where a row lies, so compaction does not move it. Rows that show
the same are told apart by nothing but their number: a cursor says how many of them were shown.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from lakerunner.errors import CursorError
from lakerunner.query.writing import text
from lakerunner.schema.ids import hash_text, mix64

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION = 1


class Position(NamedTuple):
    """Behind which row a page ended.

    Attributes:
        time_ns: Its time; None for the very beginning.
        digest: Of what the query shows of it; see `row_digests`.
        shown: How many rows of this time and digest were shown.
    """

    time_ns: int | None = None
    digest: int = 0
    shown: int = 0


class _Cursor(NamedTuple):
    version: int
    query: str
    position: Position


_DECODER = msgspec.msgpack.Decoder(_Cursor)


def write_cursor(query: str, position: Position) -> str:
    """A cursor as text.

    Args:
        query: Of which query; see `query_digest`.
        position: Where it ended.
    """
    data = msgspec.msgpack.encode(_Cursor(_VERSION, query, position))
    return urlsafe_b64encode(data).decode().rstrip("=")


def read_cursor(written: str, query: str) -> Position:
    """What `write_cursor` wrote of the same query.

    Raises:
        CursorError: It is no cursor, of another query, or of another version.

    Example:
        >>> read_cursor(write_cursor("q", Position(5, 7, 1)), "q")
        Position(time_ns=5, digest=7, shown=1)
    """
    try:
        padded = written + "=" * (-len(written) % 4)
        cursor = _DECODER.decode(urlsafe_b64decode(padded.encode("ascii")))
    except (ValueError, msgspec.MsgspecError):
        raise CursorError("this is no cursor: give what Result.cursor said, as it is") from None
    if cursor.version != _VERSION:
        raise CursorError(
            f"the cursor is of version {cursor.version}, and this lakerunner writes {_VERSION}: "
            "begin anew",
            version=cursor.version,
        )
    if cursor.query != query:
        raise CursorError(
            "the cursor is of another query: give it back with the same text, parameters and "
            "organization"
        )
    return cursor.position


def query_digest(organization: str, said: str, values: Mapping[str, Any]) -> str:
    """What tells one query from another.

    Args:
        organization: Whose rows it asks for.
        said: Its text.
        values: Of its placeholders.
    """
    shown = {name: _shown(value) for name, value in sorted(values.items())}
    said = "\0".join([organization, said, str(shown)])
    return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=9).hexdigest()


def _shown(value: Any) -> object:
    if isinstance(value, pa.Array):
        return value.to_pylist()
    return str(value.schema) if isinstance(value, pa.Table) else str(value)


def row_digests(rows: Any) -> Any:
    """A digest of each row: of its values by the names of their columns, as text.

    It depends on neither the order of columns nor on columns that are NULL, so a column that is
    sent for the first time changes nothing.

    Args:
        rows: An Arrow table.

    Returns:
        int64 array.

    Example:
        >>> one = row_digests(pa.table({"a": [1, 2], "b": [None, "x"]}))
        >>> bool(row_digests(pa.table({"a": ["1"]}))[0] == one[0])
        True
    """
    sums = np.zeros(rows.num_rows, np.uint64)
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        (named,) = hash_text(pa.array([name]))
        values = text(pa.chunked_array(column.chunks, column.type).combine_chunks())
        mixed = mix64(hash_text(values.cast(pa.string())) + named)
        sums += np.where(np.asarray(values.is_valid()), mixed, np.uint64(0))
    return mix64(sums).view(np.int64)

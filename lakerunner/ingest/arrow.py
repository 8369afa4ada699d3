"""Arrow tables and streams as input: cut into pieces of a batch's size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from lakerunner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

ARROW = "arrow"
"""Name of the format of the pieces: Arrow's stream format."""


class ArrowStream(Protocol):
    """Anything that hands out Arrow data: tables and readers of pyarrow, Polars, pandas, DuckDB.

    https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html
    """

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A capsule with an Arrow C stream."""


def stream_pieces(source: Any, limit: int) -> Iterator[bytes]:
    """Cut a table or stream into Arrow streams.

    Args:
        source: A table, record batch or reader of pyarrow, or whatever has `__arrow_c_stream__`.
        limit: Bytes of Arrow data that a piece should not exceed.

    Yields:
        Pieces with the rows in order; one without rows if there are none.

    Raises:
        ConfigurationError: `source` is none of these.

    Example:
        >>> len(list(stream_pieces(pa.table({"a": range(1000)}), 4000)))
        2
    """
    reader = _reader(source)
    pending: list[Any] = []
    pending_bytes, empty = 0, True
    for batch in reader:
        for part in _parts(batch, limit):
            if pending and pending_bytes + part.nbytes > limit:
                yield _encode(reader.schema, pending)
                pending, pending_bytes, empty = [], 0, False
            pending.append(part)
            pending_bytes += part.nbytes
    if pending or empty:
        yield _encode(reader.schema, pending)


def _reader(source: Any) -> Any:
    if isinstance(source, pa.RecordBatch):
        return pa.RecordBatchReader.from_batches(source.schema, [source])
    try:
        return pa.RecordBatchReader.from_stream(source)
    except TypeError:
        raise ConfigurationError(
            f"a {type(source).__name__} cannot be ingested; give a URL, a path, bytes, or a table "
            "or reader of Arrow, Polars or pandas"
        ) from None


def _parts(batch: Any, limit: int) -> Iterator[Any]:
    """Slices of a batch that are about as large as a piece may be."""
    count = max(1, -(-batch.nbytes // max(limit, 1)))
    rows = max(1, -(-batch.num_rows // count))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _encode(schema: Any, batches: list[Any]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data

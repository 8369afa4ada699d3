"""Parquet files in memory, as parts are stored: with checksums, so that damage shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from lakerunner.limits import ZSTD_LEVEL

if TYPE_CHECKING:
    from collections.abc import Iterable


def write_table(schema: pa.Schema, groups: Iterable[pa.Table]) -> bytes:
    """A Parquet file of one row group for each table."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    ) as writer:
        for group in groups:
            writer.write_table(group, row_group_size=max(1, group.num_rows))
    return bytes(sink.getvalue())


def open_file(data: bytes, schema: pa.Schema) -> pq.ParquetFile:
    """A Parquet file to read row groups from.

    Raises:
        pa.ArrowInvalid: It is damaged, or has other columns.
    """
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    if not file.schema_arrow.equals(schema):
        names = file.schema_arrow.names
        raise pa.ArrowInvalid(f"columns {names} where {schema.names} belong")
    return file

"""Read Parquet files that others wrote, whole or a run of rows at a time.

A file that is too large to decode at once is spooled to a temporary file, since Parquet is read
from its end, and handed on as Arrow streams of some rows each.
"""

from __future__ import annotations

from itertools import chain
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakerunner.errors import CorruptObjectError
from lakerunner.formats.base import Part, too_long
from lakerunner.formats.records.lake_rows import restore_keys
from lakerunner.formats.records.lines import Records
from lakerunner.formats.records.plain_types import (
    check_layout,
    columns_of,
    plain_types,
    tables_together,
)
from lakerunner.limits import OBJECT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MAGIC = b"PAR1"
_ROWS_AT_ONCE = 128 * 1024
_BUFFER_BYTES = 1024 * 1024  # of a column, of which a group of rows may have gigabytes
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "BYTE_ARRAY": 4}
_BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)


def split_parquet(
    blocks: Iterable[bytes], limit: int, longest: int = OBJECT_BYTES
) -> Iterator[Part]:
    """Cut a Parquet file into parts that can be read one by one.

    Args:
        blocks: The file's bytes, in order.
        limit: Bytes a part should not exceed, decoded. A larger row stays whole.
        longest: Bytes that a row may have, decoded; larger ones are set aside.

    Yields:
        The file itself if it is small, or Arrow streams of runs of its rows; at least one.

    Raises:
        CorruptObjectError: The file is larger than the limit, and broken.
    """
    source, head, size = iter(blocks), [], 0
    first = next(source, b"")
    if not first.startswith(MAGIC[: len(first)]) or not first:
        yield from _cut_streams(b"".join((first, *source)), limit, longest)
        return
    source = chain((first,), source)
    for block in source:
        head.append(block)
        size += len(block)
        if size > limit:
            break
    else:
        whole = b"".join(head)
        if not _unpacks_beyond(whole, limit):
            yield Part(whole)
            return
    with TemporaryFile() as spool:
        for block in chain(head, source):
            spool.write(block)
        head.clear()
        spool.seek(0)
        yield from _runs_of_rows(spool, limit, longest)


def _cut_streams(whole: bytes, limit: int, longest: int) -> Iterator[Part]:
    """Cut Arrow streams that lie one after the other, and those that hold much by their rows."""
    source, first = pa.BufferReader(whole), 1
    while True:
        start = source.tell()
        try:
            table = pa.ipc.open_stream(source).read_all()
        except _BROKEN as error:
            raise CorruptObjectError(f"not a whole Parquet file: {error}") from error
        if table.nbytes <= limit or table.num_rows <= 1:
            yield Part(whole[start : source.tell()], first)
        else:
            yield from _runs_of_table(table, first, limit, longest)
        first += table.num_rows
        if source.tell() >= len(whole):
            return


def _runs_of_table(table: pa.Table, first: int, limit: int, longest: int) -> Iterator[Part]:
    rows = max(1, table.num_rows * limit // table.nbytes)
    dropped = list[int]()
    for row in range(0, table.num_rows, rows):
        piece = table.slice(row, rows)
        if piece.num_rows == 1 and piece.nbytes > longest:
            dropped.append(first + row)
        else:
            yield Part(_as_stream(piece), first + row, too_long(dropped, longest))
            dropped = []
    if dropped:
        empty = _as_stream(table.slice(0, 0))
        yield Part(empty, first + table.num_rows, too_long(dropped, longest))


def _unpacks_beyond(whole: bytes, limit: int) -> bool:
    """Whether a file holds much more than its size; false if it is broken, as its reader says."""
    try:
        metadata = pq.read_metadata(pa.BufferReader(whole))
    except _BROKEN:
        return False
    size = _unpacked(metadata)
    if metadata.num_rows > _ROWS_AT_ONCE or size > limit:
        return True
    coded = _coded_texts(metadata)
    if not coded or metadata.num_rows * size <= limit:
        return False
    try:
        file = pq.ParquetFile(pa.BufferReader(whole), read_dictionary=coded)
        table = file.read(columns=coded, use_threads=False)
    except _BROKEN:
        return False
    return size + sum(map(_plain_bytes, table.to_batches())) > limit


def _unpacked(metadata: pq.FileMetaData) -> int:
    """Bytes of all columns when they are decoded, but for text that stands once for many rows."""
    total = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            width = _WIDTHS.get(column.physical_type, 8)
            total += max(column.total_uncompressed_size, column.num_values * width)
    return total


def _coded_texts(metadata: pq.FileMetaData) -> list[str]:
    """Columns of text that stands once in the file for all rows that have it."""
    found = dict[str, None]()
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            text = column.physical_type == "BYTE_ARRAY" and column.has_dictionary_page
            if text and "." not in column.path_in_schema:
                found[column.path_in_schema] = None
    return list(found)


def _plain_bytes(rows: pa.RecordBatch) -> int:
    """Bytes of some rows once each of them has its text."""
    return sum(
        int(pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0)
        if _is_coded(column.type)
        else column.nbytes
        for column in rows.columns
    )


def _is_coded(dtype: pa.DataType) -> bool:
    return bool(
        pa.types.is_dictionary(dtype)
        and (pa.types.is_string(dtype.value_type) or pa.types.is_binary(dtype.value_type))
    )


def _plain(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows each of which has its text."""
    fields, columns = [], []
    for field, column in zip(rows.schema, rows.columns, strict=True):
        coded = _is_coded(column.type)
        columns.append(column.cast(column.type.value_type) if coded else column)
        fields.append(field.with_type(columns[-1].type))
    schema = pa.schema(fields, metadata=rows.schema.metadata)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _runs_of_rows(spool: Any, limit: int, longest: int) -> Iterator[Part]:
    try:
        coded = _coded_texts(pq.read_metadata(spool))
        spool.seek(0)
        file = pq.ParquetFile(spool, read_dictionary=coded, buffer_size=_BUFFER_BYTES)
        per_row = max(_unpacked(file.metadata) // max(file.metadata.num_rows, 1), 1)
        rows = min(max(limit // per_row, 1), _ROWS_AT_ONCE)
        row, dropped = 1, list[int]()
        for batch in file.iter_batches(batch_size=rows, use_threads=False):
            for part in _small_batches(batch, limit):
                if part.num_rows == 1 and _plain_bytes(part) > longest:
                    dropped.append(row)
                else:
                    yield Part(_as_stream(_plain(part)), row, too_long(dropped, longest))
                    dropped = []
                row += part.num_rows
        if dropped or row == 1:
            empty = _as_stream(file.schema_arrow.empty_table())
            yield Part(empty, row, too_long(dropped, longest))
    except _BROKEN as error:
        raise CorruptObjectError(f"not a whole Parquet file: {error}") from error


def _small_batches(batch: pa.RecordBatch, limit: int) -> Iterator[pa.RecordBatch]:
    """Halve rows whose text turned out to be much larger than in the file, until they fit."""
    waiting = [batch]
    while waiting:
        rows = waiting.pop()
        if _plain_bytes(rows) <= limit or rows.num_rows <= 1:
            yield rows
            continue
        middle = rows.num_rows // 2
        waiting += [rows.slice(middle), rows.slice(0, middle)]


def _as_stream(rows: pa.RecordBatch | pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write(rows)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_parquet(payloads: Sequence[bytes]) -> Records:
    """Read Parquet files, and Arrow streams that were cut from them.

    Dictionaries become plain columns, and every kind of text, bytes, list and small number the
    usual one: string, binary, list, int64, double. Of columns with one name in a file the second
    is `name#2`. Files with different columns meet as `tables_together` says.

    Args:
        payloads: Whole files, or parts of `split_parquet`.

    Returns:
        The rows; nothing is ever set aside.

    Raises:
        CorruptObjectError: A file is broken.

    Example:
        >>> sink = pa.BufferOutputStream()
        >>> pq.write_table(pa.table({"a": pa.array([1], pa.int8())}), sink)
        >>> read_parquet([sink.getvalue().to_pybytes()]).table.schema
        a: int64
    """
    tables = [_read(payload) for payload in payloads]
    rows = [table.num_rows for table in tables]
    return Records(tables_together(tables), np.repeat(np.arange(len(rows), dtype=np.int32), rows))


def _read(payload: bytes) -> pa.Table:
    try:
        source = pa.BufferReader(payload)
        if payload[:4] == MAGIC:
            table = pq.ParquetFile(source).read(use_threads=False)
        else:
            table = pa.ipc.open_stream(source).read_all()
        check_layout(table)
        return plain_types(restore_keys(table))
    except _BROKEN as error:
        raise CorruptObjectError(f"not a whole Parquet file: {error}") from error


def parquet_sample(payload: bytes) -> pa.Table:
    """No rows of a file, but all of its columns; see `read_parquet`.

    Raises:
        CorruptObjectError: The file is broken.
    """
    try:
        source = pa.BufferReader(payload)
        if payload[:4] == MAGIC:
            schema = pq.read_schema(source)
        else:
            schema = pa.ipc.open_stream(source).schema
        return columns_of(schema)
    except _BROKEN as error:
        raise CorruptObjectError(f"not a whole Parquet file: {error}") from error

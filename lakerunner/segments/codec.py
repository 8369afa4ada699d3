"""A segment as Parquet bytes, and its description in the footer.

The file is ordinary Parquet: any reader opens it. The footer's key-value metadata holds the
segment's description as JSON under `lakerunner.segment`, so that a lost catalog can be rebuilt from
the bucket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakerunner.errors import SegmentError
from lakerunner.limits import (
    BLOOM_FALSE_SHARE,
    PAGE_ROWS,
    ROW_GROUP_ROWS,
    SEGMENT_FORMAT_VERSION,
    ZSTD_LEVEL,
)
from lakerunner.model.segment import Segment, decode_segment, encode_segment
from lakerunner.schema.names import OVERFLOW
from lakerunner.schema.tables import table_spec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lakerunner.schema.tables import TableSpec

FOOTER_KEY = b"lakerunner.segment"


def order_columns(table: pa.Table, spec: TableSpec) -> pa.Table:
    """Put the columns into their documented order: canonical first, attributes by name."""
    canonical = [name for name in spec.schema.names if name in table.schema.names]
    # The overflow map stands last, behind the attributes it completes.
    last = [OVERFLOW] if OVERFLOW in canonical else []
    first = [name for name in canonical if name != OVERFLOW]
    rest = sorted(set(table.schema.names) - set(canonical))
    return table.select([*first, *rest, *last])


class OpenSegment:
    """A segment file whose rows are written, and whose description is not yet.

    It holds the rows as compressed as the file will, so one may be kept until its description is
    known.

    Args:
        table: Rows in the order that `sort` declares.
        sort: The declared order.
        ids: Columns that get Bloom filters.
    """

    def __init__(self, table: pa.Table, sort: Sequence[str], ids: Iterable[str]) -> None:
        names = table.schema.names
        dictionaries = [field.name for field in table.schema if _repeats(field)]
        self._sink = pa.BufferOutputStream()
        self._writer = pq.ParquetWriter(
            self._sink,
            table.schema,
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            use_dictionary=dictionaries,
            column_encoding=_encodings(table.schema),
            sorting_columns=[
                pq.SortingColumn(names.index(name), nulls_first=False) for name in sort
            ],
            write_page_index=True,
            max_rows_per_page=PAGE_ROWS,
            write_statistics=_bounded(table),
            bloom_filter_options=_blooms(table, ids),
            version="2.6",
        )
        self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)

    def finish(self, segment: Segment) -> pa.Buffer:
        """Write the description and return the file; to be called once."""
        self._writer.add_key_value_metadata({FOOTER_KEY.decode(): encode_segment(segment).decode()})
        self._writer.close()
        return self._sink.getvalue()


def encode(table: pa.Table, segment: Segment) -> pa.Buffer:
    """Write a sorted table as a segment file.

    Args:
        table: Rows in the order `segment.sort` declares.
        segment: Its description; `bytes` is not known yet and stays 0 in the footer.

    Returns:
        The file. Its size is what `segment.bytes` must be.
    """
    return OpenSegment(table, segment.sort, table_spec(segment.table).ids).finish(segment)


def _blooms(table: pa.Table, ids: Iterable[str]) -> dict[str, dict[str, float]]:
    """Bloom filters of the id columns, one for each row group, as large as they need to be."""
    blooms = {}
    for name in set(ids) & set(table.schema.names):
        distinct = pc.count_distinct(table[name].cast(pa.string())).as_py()
        blooms[name] = {"ndv": max(1, min(distinct, ROW_GROUP_ROWS)), "fpp": BLOOM_FALSE_SHARE}
    return blooms


def _bounded(table: pa.Table) -> list[str] | bool:
    """Columns whose Parquet bounds hold for every value.

    The bounds of a column leave NaN out, so an engine that sorts NaN above all numbers, as SQL
    does, would skip rows by them.
    """
    hiding = {
        field.name
        for field in table.schema
        if pa.types.is_floating(field.type) and pc.any(pc.is_nan(table[field.name])).as_py()
    }
    if not hiding:
        return True  # nested columns have bounds too, and a list would have to name their leaves
    return [name for name in table.schema.names if name not in hiding]


def _repeats(field: pa.Field) -> bool:
    """Whether a column has few distinct values, so that Parquet should list them once."""
    return bool(pa.types.is_dictionary(field.type)) or field.name == "fingerprint"


def _encodings(schema: pa.Schema) -> dict[str, str]:
    """Encodings for plain columns: differences for times and counts, lengths apart for text."""
    encodings = {}
    for field in schema:
        if _repeats(field):
            continue
        if pa.types.is_timestamp(field.type) or pa.types.is_integer(field.type):
            encodings[field.name] = "DELTA_BINARY_PACKED"
        elif pa.types.is_string(field.type):
            encodings[field.name] = "DELTA_LENGTH_BYTE_ARRAY"
    return encodings


def read_description(file: Any, *, key: str, size: int) -> Segment:
    """Read a segment's description from the footer of its file.

    Args:
        file: Anything `pyarrow.parquet` opens: bytes in a `pa.BufferReader`, a path.
        key: The key of the object; it becomes `Segment.key` wherever the file has been moved to.
        size: Size of the object in bytes.

    Raises:
        SegmentError: It is no Parquet file, no segment, or of a newer format version.
    """
    try:
        metadata = pq.read_metadata(file).metadata or {}
    except (pa.ArrowInvalid, OSError) as error:
        raise SegmentError(f"'{key}' is not a Parquet file: {error}", key=key) from error
    written = metadata.get(FOOTER_KEY)
    if written is None:
        raise SegmentError(f"'{key}' is Parquet, but not a segment of a lake", key=key)
    try:
        segment = decode_segment(written)
    except msgspec.ValidationError as error:
        raise SegmentError(f"the footer of '{key}' cannot be read: {error}", key=key) from error
    if segment.format_version > SEGMENT_FORMAT_VERSION:
        raise SegmentError(
            f"'{key}' has format {segment.format_version}; this version reads up to "
            f"{SEGMENT_FORMAT_VERSION}: upgrade lakerunner",
            key=key,
        )
    return msgspec.structs.replace(segment, key=key, bytes=size)

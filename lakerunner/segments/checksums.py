"""Whether the bytes of a segment are those that were written.

Parquet's own checksums of pages are written too, but DataFusion does not look at them. So the
catalog keeps one of each column chunk, and one of all that follows them: filters, page indexes and
footer. A query looks at those of the columns that it reads, which costs little: the bytes come from
the disk only once, and a processor core sums up several gigabytes a second.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from lakerunner.model.segment import Segment

try:
    from isal.isal_zlib import crc32
except ImportError:  # some platforms have no wheel of it
    crc32 = zlib.crc32

FOOTER = "the footer"
"""What the part of a file behind its columns is called in messages."""

_WIDTH = 4


class _Part(NamedTuple):
    column: str
    start: int
    end: int


def checksums_of(file: pa.Buffer) -> str:
    """The checksums of a segment: CRC-32, little-endian, in the order of the file, as Base64.

    Args:
        file: The whole file.
    """
    data = memoryview(file)
    parts = _parts(pq.read_metadata(pa.BufferReader(file)), len(data))
    sums = (crc32(data[part.start : part.end]).to_bytes(_WIDTH, "little") for part in parts)
    return b64encode(b"".join(sums)).decode()


def damaged_parts(file: Any, segment: Segment, columns: Collection[str] | None = None) -> list[str]:
    """What of a file is not as it was written.

    A segment without checksums was written before there were any, or is described by its footer
    alone. Of these Parquet's own are looked at, where the pages have some.

    Args:
        file: Something to seek and read in: `pa.BufferReader`, `pa.OSFile`.
        segment: Its description.
        columns: Columns that are looked at beside the footer; None for all.

    Returns:
        Names of columns, and `FOOTER`; nothing if all is well.
    """
    try:
        file.seek(0)
        metadata = pq.read_metadata(file)
        if not segment.checksums:
            return list(_damaged_pages(file, metadata, columns))
        file.seek(0, 2)
        parts = _parts(metadata, file.tell())
        known = b64decode(segment.checksums)
    except (pa.ArrowException, OSError, ValueError):
        return [FOOTER]
    if len(known) != _WIDTH * len(parts):
        return [FOOTER]
    found = {}
    for number, part in enumerate(parts):
        if columns is None or part.column == FOOTER or part.column in columns:
            file.seek(part.start)
            seen = crc32(file.read(part.end - part.start)).to_bytes(_WIDTH, "little")
            if seen != known[_WIDTH * number : _WIDTH * (number + 1)]:
                found[part.column] = True
    return [FOOTER] if FOOTER in found else list(found)


def _damaged_pages(
    file: Any, metadata: pq.FileMetaData, columns: Collection[str] | None
) -> Iterator[str]:
    reader = pq.ParquetFile(file, metadata=metadata, page_checksum_verification=True)
    for name in reader.schema_arrow.names:
        if columns is None or name in columns:
            try:
                for group in range(metadata.num_row_groups):
                    reader.read_row_group(group, columns=[name])
            except (pa.ArrowException, OSError):
                yield name


def _parts(metadata: pq.FileMetaData, size: int) -> list[_Part]:
    """Column chunks by where they stand, and what follows them.

    Raises:
        ValueError: They are not within the file.
    """
    chunks = []
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            starts = (chunk.dictionary_page_offset, chunk.data_page_offset)
            start = min(one for one in starts if one)
            name = chunk.path_in_schema.split(".", 1)[0]
            chunks.append(_Part(name, start, start + chunk.total_compressed_size))
    chunks.sort(key=lambda one: one.start)
    end = max((one.end for one in chunks), default=0)
    if end > size:
        raise ValueError("a column reaches past the end of the file")
    return [*chunks, _Part(FOOTER, end, size)]

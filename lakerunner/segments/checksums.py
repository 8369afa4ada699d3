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

from lakerunner.segments.token_filter import is_whole, place_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from lakerunner.model.segment import Segment

try:
    from isal.isal_zlib import crc32
except ImportError:  # some platforms have no wheel of it
    crc32 = zlib.crc32

FOOTER, FILTER = "the footer", "the token filter"
"""What the parts of a file that are no columns are called in messages."""

_PLACE, _WIDTH = 8, 4


class _Chunk(NamedTuple):
    column: str
    start: int
    end: int


def checksums_of(file: pa.Buffer) -> str:
    """The checksums of a segment, as Base64.

    They are CRC-32, little-endian: first where the columns end (8 bytes) and the checksum of all
    from there on, then one of each column chunk in the order of the file.

    Args:
        file: The whole file.
    """
    data = memoryview(file)
    chunks = _chunks(pq.read_metadata(pa.BufferReader(file)))
    end = max((one.end for one in chunks), default=0)
    ranges = [(end, len(data)), *((one.start, one.end) for one in chunks)]
    sums = (crc32(data[start:stop]).to_bytes(_WIDTH, "little") for start, stop in ranges)
    return b64encode(b"".join((end.to_bytes(_PLACE, "little"), *sums))).decode()


def damaged_parts(file: Any, segment: Segment, columns: Collection[str] | None = None) -> list[str]:
    """What of a file is not as it was written.

    A segment without checksums was written before there were any, or is described by its footer
    alone. Of these Parquet's own are looked at, where the pages have some.

    Args:
        file: Something to seek and read in: `pa.BufferReader`, `pa.OSFile`.
        segment: Its description.
        columns: Columns that are looked at beside the footer; None for all, and the token filter.

    Returns:
        Names of columns, `FOOTER` and `FILTER`; nothing if all is well.
    """
    filters = _damaged_filter(file, segment) if columns is None else []
    return [*_damaged_rows(file, segment, columns), *filters]


def _damaged_filter(file: Any, segment: Segment) -> list[str]:
    for section in segment.filters:
        for grams, (count, width, _) in enumerate((section.words, section.grams)):
            for number in range(count):
                file.seek(place_of(section, number, grams=bool(grams)))
                if not is_whole(bytes(file.read(width)), number):
                    return [FILTER]
    return []


def _damaged_rows(file: Any, segment: Segment, columns: Collection[str] | None) -> list[str]:
    if not segment.checksums:
        return _damaged_pages(file, columns)
    try:
        known = b64decode(segment.checksums, validate=True)
    except ValueError:
        return [FOOTER]
    end = int.from_bytes(known[:_PLACE], "little")
    sums = [known[place : place + _WIDTH] for place in range(_PLACE, len(known), _WIDTH)]
    file.seek(0, 2)
    size = file.tell()
    # A footer of other bytes is not even looked into: a reader of Parquet may end the process.
    if not sums or end > size or _sum(file, end, size) != sums.pop(0):
        return [FOOTER]
    chunks = _chunks(pq.read_metadata(file))
    found = {
        one.column: True
        for one, known_sum in zip(chunks, sums, strict=True)
        if (columns is None or one.column in columns)
        and _sum(file, one.start, one.end) != known_sum
    }
    return list(found)


def _sum(file: Any, start: int, end: int) -> bytes:
    file.seek(start)
    return bytes(crc32(file.read(end - start)).to_bytes(_WIDTH, "little"))


def _damaged_pages(file: Any, columns: Collection[str] | None) -> list[str]:
    try:
        reader = pq.ParquetFile(file, page_checksum_verification=True)
    except (pa.ArrowException, OSError):
        return [FOOTER]
    groups = range(reader.metadata.num_row_groups)
    wanted = [name for name in reader.schema_arrow.names if columns is None or name in columns]
    return [name for name in wanted if not all(_reads(reader, group, name) for group in groups)]


def _reads(reader: pq.ParquetFile, group: int, name: str) -> bool:
    try:
        reader.read_row_group(group, columns=[name])
    except (pa.ArrowException, OSError):
        return False
    return True


def _chunks(metadata: pq.FileMetaData) -> list[_Chunk]:
    """Column chunks by where they stand."""
    chunks = []
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            starts = (chunk.dictionary_page_offset, chunk.data_page_offset)
            start = min(one for one in starts if one)
            name = chunk.path_in_schema.split(".", 1)[0]
            chunks.append(_Chunk(name, start, start + chunk.total_compressed_size))
    return sorted(chunks, key=lambda one: one.start)

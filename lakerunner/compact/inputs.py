"""Segments as they are read for a merge: checked first, then batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from lakerunner.errors import ObjectNotFoundError, SegmentDamagedError, SegmentError
from lakerunner.limits import MIB
from lakerunner.schema.attribute import OVERFLOW
from lakerunner.segments.checksums import damaged_parts
from lakerunner.segments.codec import read_description
from lakerunner.segments.uniting import Input, spilled_in
from lakerunner.store import ByteRange

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.model.segment import Segment
    from lakerunner.store import ObjectStore

_BLOCK = 8 * MIB
_ROWS = 65_536
_FEW = 16
_GROWTH = 2  # columns in memory take about twice what their pages take before compression


class SegmentFile(NamedTuple):
    """A segment whose file is at hand and as it was written.

    Attributes:
        known: What the merge needs to know of it.
        described: What its footer says, with the sources of its rows.
        path: Its file, or a copy of it.
        bytes: About what its rows take in memory.
    """

    known: Input
    described: Segment
    path: Path
    bytes: int

    def batches(self, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        """All rows in their order, about so many bytes at a time.

        Raises:
            SegmentDamagedError: It cannot be read.
        """
        try:
            with pa.OSFile(str(self.path)) as file, _reader(file) as reader:
                for group in range(reader.metadata.num_row_groups):
                    described = reader.metadata.row_group(group)
                    width = max(1, _GROWTH * described.total_byte_size // described.num_rows)
                    rows = max(_FEW, min(_ROWS, batch_bytes // width))
                    yield from reader.iter_batches(rows, row_groups=[group], use_threads=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise damaged(self.described, str(error)) from error


def open_segment(store: ObjectStore, segment: Segment, directory: Path) -> SegmentFile:
    """Look at a segment before its rows are read: every byte of it, if it has checksums.

    Args:
        store: The lake.
        segment: As the catalog describes it.
        directory: Where a copy may lie, if it is no file of this machine.

    Raises:
        SegmentDamagedError: It is not as it was written, or missing.
        StoreError: The lake cannot be read.
    """
    path = store.local_path(segment.key)
    try:
        if path is None:
            path = _copied(store, segment, directory)
        with pa.OSFile(str(path)) as file:
            if file.size() != segment.bytes:
                raise damaged(segment, f"it has {file.size():,} bytes instead of {segment.bytes:,}")
            if parts := damaged_parts(file, segment):
                raise damaged(segment, ", ".join(parts))
            file.seek(0)
            described = read_description(file, key=segment.key, size=segment.bytes)
        with pa.OSFile(str(path)) as file, _reader(file) as reader:
            schema = reader.schema_arrow
            spilled = {}
            if OVERFLOW in schema.names:
                parts_of = reader.iter_batches(_ROWS, columns=[OVERFLOW], use_threads=False)
                maps = (one.column(OVERFLOW) for one in parts_of)
                spilled = spilled_in(maps, schema.field(OVERFLOW))
            size = _size(reader.metadata)
    except (ObjectNotFoundError, FileNotFoundError) as error:
        raise damaged(segment, "its file is missing") from error
    except SegmentDamagedError:
        raise
    except (SegmentError, pa.ArrowInvalid) as error:
        raise damaged(segment, str(error)) from error
    return SegmentFile(Input(segment, schema, spilled), described, path, size)


def damaged(segment: Segment, what: str) -> SegmentDamagedError:
    """A segment that cannot be merged, as an error that says what to do."""
    return SegmentDamagedError(
        f"segment '{segment.key}' is damaged ({what}); restore the object, or leave it out: "
        f"lake.set_aside('{segment.id}')",
        key=segment.key,
        segment=segment.id,
    )


def _size(metadata: pq.FileMetaData) -> int:
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    return _GROWTH * sum(int(group.total_byte_size) for group in groups)


def _reader(file: Any) -> pq.ParquetFile:
    # Pages are read one by one: ahead of each column stands a small buffer and no whole chunk.
    columns = max(1, pq.read_metadata(file).num_columns)
    file.seek(0)
    buffer = max(4096, min(256 * 1024, 4 * MIB // columns))
    return pq.ParquetFile(file, pre_buffer=False, buffer_size=buffer)


def _copied(store: ObjectStore, segment: Segment, directory: Path) -> Path:
    path = directory / f"{segment.id.encode().hex()}.parquet"
    with path.open("wb") as file:
        for start in range(0, segment.bytes, _BLOCK):
            end = min(start + _BLOCK, segment.bytes)
            file.write(store.get(segment.key, ByteRange(start, end)).data)
    return path

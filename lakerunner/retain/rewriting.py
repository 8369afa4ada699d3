"""One segment without some of its rows: the others stay as they were, and in their order."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from functools import cache, lru_cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakerunner.compute.hidden import deleted_in
from lakerunner.compute.session import Session
from lakerunner.compute.table import ScanMode, Table
from lakerunner.errors import SegmentDamagedError
from lakerunner.limits import MIB
from lakerunner.model.predicate import Or
from lakerunner.publish import SegmentStream
from lakerunner.query.prune import judge
from lakerunner.schema.arrays import TYPES
from lakerunner.schema.tables import table_spec
from lakerunner.segments.checksums import damaged_parts
from lakerunner.segments.codec import forecast_merge
from lakerunner.store import ByteRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.model.deletion import Deletion
    from lakerunner.model.predicate import Predicate
    from lakerunner.model.segment import Segment
    from lakerunner.publish import MadeSegment, Origin
    from lakerunner.store import ObjectStore
    from lakerunner.tasks import Hold

_BATCH_ROWS = 65_536
_MEMORY_BYTES = 128 * MIB
_PIECE_BYTES = 16 * MIB


class Judged(NamedTuple):
    """What some deletions find in a segment.

    Attributes:
        segment: Which.
        rows: How many of its rows each of them concerns.
        gone: For each row, whether any of them does: a bit each. None if none does.
    """

    segment: Segment
    rows: tuple[int, ...]
    gone: pa.BooleanArray | None

    @property
    def left(self) -> int:
        """How many rows stay."""
        return self.segment.rows - (0 if self.gone is None else self.gone.true_count)


def judge_rows(store: ObjectStore, segment: Segment, deletions: Sequence[Deletion]) -> Judged:
    """Judge every row of a segment by the conditions of deletions.

    Its file is read only if some row may satisfy one, by what the catalog knows of the segment; and
    then only the columns that conditions speak of are decoded.

    Raises:
        SegmentDamagedError: Its file is not as it was written.
        StoreError: It cannot be read.
    """
    wanted = [judge(_predicate(one), segment).keep for one in deletions]
    if not any(wanted):
        return Judged(segment, (0,) * len(deletions), None)
    hidden = [deleted_in(one, segment) for one in deletions]
    schema = table_spec(segment.table).schema
    with _as_file(store, segment) as path:
        run = _session().marks([path.as_uri()], schema, hidden).execute()
        marks = pa.Table.from_batches(list(run))
    if marks.num_rows != segment.rows:
        raise SegmentDamagedError(
            f"{segment.key!r} has {marks.num_rows:,} rows, and the catalog says {segment.rows:,}",
            key=segment.key,
        )
    columns = [one.combine_chunks() for one in marks.columns]
    rows = tuple(one.true_count for one in columns)
    return Judged(segment, rows, reduce(pc.or_, columns) if any(rows) else None)


def write_rest(
    store: ObjectStore, judged: Judged, origin: Origin, hold: Hold
) -> MadeSegment | None:
    """The rows of a segment that stay, as another segment; None if none does.

    It is read and written batch by batch: of whatever size it is, some row groups are in memory.

    Raises:
        SegmentDamagedError: Its file is not as it was written.
        StoreError: It cannot be read.
    """
    segment, gone = judged.segment, judged.gone
    if gone is None or not judged.left:
        return None
    spec = table_spec(segment.table)
    stays, done = pc.invert(gone), 0
    with _as_file(store, segment) as path, pq.ParquetFile(path) as file:
        schema = file.schema_arrow.remove_metadata()
        forecast = forecast_merge([segment], spec.ids)
        window = segment.window_start_ns, segment.window_ns
        stream = SegmentStream(schema, spec, origin, *window, forecast)
        for batch in file.iter_batches(_BATCH_ROWS):
            hold.check()
            rows = batch.filter(stays.slice(done, batch.num_rows))
            done += batch.num_rows
            if rows.num_rows:
                stream.write(pa.Table.from_batches([rows]).cast(schema))
    return stream.made()


@contextmanager
def _as_file(store: ObjectStore, segment: Segment) -> Iterator[Path]:
    """A file with the bytes of a segment, of which it is known that they are as they were written.

    Raises:
        SegmentDamagedError: They are not.
    """
    local = store.local_path(segment.key)
    with tempfile.NamedTemporaryFile(prefix="lakerunner-", suffix=".parquet") as copy:
        if local is None:
            for start in range(0, segment.bytes, _PIECE_BYTES):
                end = min(start + _PIECE_BYTES, segment.bytes)
                copy.write(store.get(segment.key, ByteRange(start, end)).data)
            copy.flush()
        path = Path(copy.name) if local is None else local
        with pa.OSFile(str(path)) as file:
            damaged = damaged_parts(file, segment)
        if damaged:
            raise SegmentDamagedError(
                f"{segment.key!r} is damaged ({', '.join(damaged)}): restore it, or leave it out "
                f"with lake.set_aside({segment.id!r})",
                key=segment.key,
            )
        yield path


@cache
def _session() -> Session:
    """One for each process, of one thread: rows come in the order of their file."""
    return Session(memory_bytes=_MEMORY_BYTES, threads=1)


def _predicate(deletion: Deletion) -> Predicate:
    """What a row must satisfy for a deletion to concern it, as far as statistics can tell."""
    return _read_predicate(deletion.table, deletion.where, tuple(sorted(deletion.columns.items())))


@lru_cache(maxsize=256)
def _read_predicate(name: str, where: str, columns: tuple[tuple[str, str], ...]) -> Predicate:
    spec = table_spec(name)
    own = [(column, TYPES[kind]) for column, kind in columns if column not in spec.schema.names]
    table = Table(name, pa.schema([*spec.schema, *own]), (), ScanMode.SWEEP, {})
    text = " ".join(["SELECT 1 FROM", name, f"WHERE ({where})"])
    scans = _session().plan(text, [table]).optimized().scans()
    return Or(tuple(one.predicate for one in scans))

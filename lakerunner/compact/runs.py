"""Rows of many segments, or of some in another order, as few sorted streams: on local disk."""

from __future__ import annotations

import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from lakerunner.errors import SegmentError
from lakerunner.limits import COMPACT_OPEN, MIB
from lakerunner.schema.arrays import type_name
from lakerunner.segments.merging import merge_sorted, sort_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator, Sequence
    from pathlib import Path

    from lakerunner.compact.inputs import SegmentFile
    from lakerunner.segments.uniting import Union

_OPEN_BYTES, _COLUMN_BYTES = 2 * MIB, 40 * 1024
"""What reading a file takes beside its rows, and what each of its columns adds."""

_OPEN_SHARE = 0.3
_HELD = 6  # times that what is held of all sources is in memory: read ahead, joined, in order
_LEAST_BYTES, _MOST_BYTES = 64 * 1024, 8 * MIB
_SORTED_PART = 5  # of the memory: rows that are sorted at once, which are held three times
_RUN_ROWS = 8192


class Merging(NamedTuple):
    """How segments are merged.

    Attributes:
        union: Their columns.
        sort: By which they are sorted: columns of the union.
        wanted: The wanted order, with columns that none of them has.
        memory_bytes: What may be held.
        directory: Where sorted runs are kept meanwhile.
        rows: Makes of rows of a file those that are wanted, under the columns of the union.
        loose: Ids of segments that are not in the order that they declare.
    """

    union: Union
    sort: tuple[str, ...]
    wanted: tuple[str, ...]
    memory_bytes: int
    directory: Path
    rows: Callable[[SegmentFile, pa.RecordBatch], pa.RecordBatch]
    loose: Collection[str] = ()


@contextmanager
def merged(files: Sequence[SegmentFile], how: Merging) -> Iterator[Iterator[pa.Table]]:
    """The rows of all segments in order.

    Of each one that is in the wanted order a batch is held. Those of another order, and the
    smallest where they are too many to be read at once, are sorted in parts that lie on local disk.

    Yields:
        Tables of one chunk per column, of any length.

    Raises:
        SegmentError: A segment is not in its declared order (`context["segment"]`).
        SegmentDamagedError: One cannot be read.
    """
    most = _most_open(files, how.memory_bytes)
    ordered = [one for one in files if in_order(one, how)]
    ordered.sort(key=lambda one: (-one.bytes, one.known.segment.id))
    if len(ordered) + (len(ordered) < len(files)) > most:
        del ordered[most // 2 :]
    direct = {one.known.segment.id for one in ordered}
    runs = list(_sorted_runs([one for one in files if one.known.segment.id not in direct], how))
    with ThreadPoolExecutor(2, thread_name_prefix="lakerunner-compact") as threads:
        while len(ordered) + len(runs) > most:
            some, runs = runs[:most], runs[most:]
            tables = merge_sorted([_read_run(one) for one in some], how.sort)
            runs.append(_write_run(tables, how, _new_run(how)))
            for path in some:
                path.unlink()
        each = how.memory_bytes // (_HELD * (len(ordered) + len(runs)))
        batch_bytes = max(_LEAST_BYTES, min(_MOST_BYTES, each))
        sources = [_conformed(one, how, batch_bytes) for one in ordered]
        sources += [_read_run(path) for path in runs]
        ahead = [_ahead(threads, source) for source in sources]
        try:
            yield _told(merge_sorted(ahead, how.sort), ordered)
        finally:
            for one in ahead:
                one.close()


def in_order(file: SegmentFile, how: Merging) -> bool:
    """Whether the rows of a segment are in the wanted order, by what it declares."""
    segment, schema = file.known.segment, file.known.schema
    expected = tuple(name for name in how.wanted if name in segment.columns)
    if segment.id in how.loose or segment.sort[: len(expected)] != expected:
        return False
    # As another type, values sort differently.
    return all(
        name in schema.names
        and type_name(schema.field(name).type) == type_name(how.union.schema.field(name).type)
        for name in expected
    )


def _most_open(files: Sequence[SegmentFile], memory_bytes: int) -> int:
    widest = max(len(one.known.schema.names) for one in files)
    room = int(memory_bytes * _OPEN_SHARE) // (_OPEN_BYTES + _COLUMN_BYTES * widest)
    return max(2, min(COMPACT_OPEN, room))


def _conformed(file: SegmentFile, how: Merging, batch_bytes: int) -> Iterator[pa.RecordBatch]:
    for rows in file.batches(batch_bytes):
        yield how.rows(file, rows)


def _sorted_runs(files: Sequence[SegmentFile], how: Merging) -> Iterator[Path]:
    """Files of sorted rows, each of as many as may be sorted in memory."""
    bound = how.memory_bytes // _SORTED_PART
    held: list[pa.RecordBatch] = []
    size = 0
    for file in files:
        for rows in _conformed(file, how, min(_MOST_BYTES, bound // 4)):
            if held and size + rows.nbytes > bound:
                yield _sorted_run(held, how)
                held, size = [], 0
            held.append(rows)
            size += rows.nbytes
    if held:
        yield _sorted_run(held, how)


def _sorted_run(held: list[pa.RecordBatch], how: Merging) -> Path:
    table = sort_rows(held, how.sort)
    held.clear()
    return _write_run(iter([table]), how, _new_run(how))


def _new_run(how: Merging) -> Path:
    return how.directory / f"{uuid.uuid4().hex}.run"


def _write_run(tables: Iterator[pa.Table], how: Merging, path: Path) -> Path:
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with (
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_stream(file, how.union.schema, options=options) as writer,
    ):
        for table in tables:
            writer.write_table(table, _RUN_ROWS)
    return path


def _read_run(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
        yield from reader


def _ahead(
    threads: ThreadPoolExecutor, source: Iterator[pa.RecordBatch]
) -> Generator[pa.RecordBatch]:
    """The same, with one batch read in advance."""
    waiting = deque([threads.submit(next, source, None)])
    try:
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(threads.submit(next, source, None))
            yield batch
    finally:
        for future in waiting:
            future.cancel()
            if not future.cancelled():
                future.exception()


def _told(tables: Iterator[pa.Table], ordered: Sequence[SegmentFile]) -> Iterator[pa.Table]:
    """The same, with the segment named that is not in order."""
    try:
        yield from tables
    except SegmentError as error:
        source = error.context.get("source")
        if isinstance(source, int) and source < len(ordered):
            raise SegmentError(str(error), segment=ordered[source].known.segment.id) from error
        raise

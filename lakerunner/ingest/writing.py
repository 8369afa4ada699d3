"""Turn decoded rows into segments and put them: of each commit, the one of the last window last."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
from msgspec.structs import replace

from lakerunner.errors import LakerunnerError, ObjectExistsError
from lakerunner.ingest.retrying import retrying
from lakerunner.ingest.task import commit_id
from lakerunner.limits import SEGMENT_FORMAT_VERSION
from lakerunner.model.segment import Segment
from lakerunner.segments.codec import OpenSegment, order_columns
from lakerunner.segments.layout import WindowTable, lay_out
from lakerunner.segments.naming import segment_id, segment_key
from lakerunner.segments.stats import column_stats
from lakerunner.store import PutMode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lakerunner.ingest.task import IngestTask
    from lakerunner.model.source import Source
    from lakerunner.schema.tables import TableSpec
    from lakerunner.store import ObjectStore


class MadeSegment(NamedTuple):
    """A segment that is encoded and not put.

    Attributes:
        described: What is known of it; `bytes` and `siblings` are not.
        file: Its rows.
    """

    described: Segment
    file: OpenSegment


class SegmentWriter:
    """Puts the segments of one batch, and of each table the one that closes the commit last.

    The closing segment names all others of its commit. It is put when all of them are durable, so
    whoever finds it in the bucket knows the whole commit; see `lakerunner.recover`. It is the one
    of the last window, and the youngest of these, so that retention removes it last. Until the end,
    one segment of each table is held back, compressed.

    Args:
        task: The batch.

    Attributes:
        segments: What was put.
    """

    def __init__(self, task: IngestTask) -> None:
        self._task = task
        self._held: dict[str, MadeSegment] = {}
        self.segments: list[Segment] = []

    def add(self, made: MadeSegment) -> None:
        """Take one more segment: put it, or hold it back and put the one held so far.

        Raises:
            StoreError: It could not be put.
        """
        table = made.described.table
        held = self._held.get(table)
        if held is None:
            self._held[table] = made
            return
        if made.described.window_start_ns >= held.described.window_start_ns:
            self._held[table], made = made, held
        self._put(made)

    def branch(self) -> SegmentWriter:
        """A writer for segments of the same commits that may yet be given up."""
        return SegmentWriter(self._task)

    def merge(self, branch: SegmentWriter) -> None:
        """Adopt the segments of a branch.

        Raises:
            StoreError: One could not be put.
        """
        self.segments += branch.segments
        for made in branch._held.values():
            self.add(made)

    def discard(self) -> None:
        """Delete what was put; what cannot be deleted now is collected later as an orphan."""
        self._held.clear()
        discard_segments(self._task.lake, self.segments)

    def finish(self) -> tuple[Segment, ...]:
        """Put what closes each commit.

        Returns:
            All segments of the batch.

        Raises:
            StoreError: One could not be put.
        """
        for table, made in self._held.items():
            ids = tuple(one.id for one in self.segments if one.table == table)
            self._put(made, siblings=(*ids, made.described.id))
        self._held.clear()
        return tuple(self.segments)

    def _put(self, made: MadeSegment, siblings: tuple[str, ...] = ()) -> None:
        described = replace(made.described, siblings=siblings)
        data = made.file.finish(described)
        self.segments.append(_put(self._task, replace(described, bytes=data.size), data))


def make_segments(
    task: IngestTask, table: pa.Table, spec: TableSpec, sources: tuple[Source, ...]
) -> Iterator[MadeSegment]:
    """Sort rows, cut them at windows, and encode one segment for each window.

    Args:
        task: The batch they belong to.
        table: Decoded rows; one chunk per column.
        spec: Where they belong.
        sources: The objects they came from.

    Yields:
        Each segment, in order of time.
    """
    owner = pa.array([task.account]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(
        pa.nulls(table.num_rows, pa.int32()).fill_null(0), owner.dictionary
    )
    whole = order_columns(table.append_column("organization", column), spec)
    window_ns = spec.window_ns or task.config.window_ns
    for window in lay_out(whole, window_ns, spec.sort):
        described = _describe(task, window, spec, sources)
        yield MadeSegment(described, OpenSegment(window.table, window.sort, spec.ids))


def discard_segments(lake: ObjectStore, segments: Iterable[Segment]) -> None:
    """Delete segments that no commit will name; what cannot be deleted is collected later.

    A segment that closes a commit goes first: without it the others count for nothing, whatever
    happens in between.
    """
    for segment in sorted(segments, key=lambda one: not one.siblings):
        try:
            lake.delete(segment.key)
        except LakerunnerError:
            continue


def _describe(
    task: IngestTask, window: WindowTable, spec: TableSpec, sources: tuple[Source, ...]
) -> Segment:
    created_ns = time.time_ns()
    identifier = segment_id(created_ns, os.urandom(8))
    columns = column_stats(window.table, spec.ids)
    bounds = columns["timestamp"]
    return Segment(
        id=identifier,
        organization=task.account,
        table=spec.name,
        key=segment_key(task.account, spec.name, window.start_ns, identifier),
        window_start_ns=window.start_ns,
        window_ns=spec.window_ns or task.config.window_ns,
        min_timestamp_ns=int(bounds.min or 0),
        max_timestamp_ns=int(bounds.max or 0),
        rows=window.table.num_rows,
        bytes=0,
        sort=window.sort,
        columns=columns,
        created_ns=created_ns,
        commit_id=commit_id(task.batch_id, spec.name),
        format_version=SEGMENT_FORMAT_VERSION,
        sources=sources,
    )


def _put(task: IngestTask, segment: Segment, data: pa.Buffer) -> Segment:
    view = memoryview(data)

    def attempt() -> None:
        try:
            task.lake.put(segment.key, view, PutMode.CREATE)
        except ObjectExistsError:
            # The key is unique to this segment, so what is there is our own put, whose reply was
            # lost; a put is whole or not there at all.
            if task.lake.head(segment.key).size != segment.bytes:
                raise

    retrying(attempt, task.config)
    return segment

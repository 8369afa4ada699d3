"""Make one segment of several, and put it in their place in one step."""

from __future__ import annotations

import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from lakerunner.compact.inputs import open_segment
from lakerunner.compact.runs import Merging, merged
from lakerunner.compute.json_functions import TextOfNumbers
from lakerunner.errors import SegmentError
from lakerunner.fencing.intents import withdraw_intent
from lakerunner.limits import MEMORY_FLOOR_BYTES, MIB
from lakerunner.model.commit import Commit
from lakerunner.model.deletion import age_of
from lakerunner.model.report import WorkReport
from lakerunner.model.signal import Signal
from lakerunner.publish.committing import announce_removal, publish_removal
from lakerunner.publish.writing import Origin, SegmentStream, SegmentWriter
from lakerunner.segments.codec import Forecast, forecast_merge
from lakerunner.segments.uniting import Union

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from lakerunner.compact.inputs import SegmentFile
    from lakerunner.fencing import Fence
    from lakerunner.model.commit import Head
    from lakerunner.model.segment import Segment
    from lakerunner.schema.tables import TableSpec
    from lakerunner.scope import Scope
    from lakerunner.tasks import Hold

KIND = "compact"
_FIRST_RULES = 1  # of fingerprints, in segments that do not say
_BESIDE_BYTES = 96 * MIB
"""What Parquet and zstd hold of a file that is written, beside its rows."""

_LEAST_BYTES = 16 * MIB
_WRITTEN_ROWS = 16_384
_WRITTEN_SHARE = 16  # of the memory: rows that are handed to the writer at once


class Place(NamedTuple):
    """Where segments are merged, as it was when that was planned.

    Attributes:
        fence: The lake and its catalog.
        head: Where the catalog stood before the segments were looked up.
        spec: Their table, with its settings.
        read_as: All types of each of its columns, by name.
        hold: The lease.
        applied: Deletions under way, of which no segment that is merged has any rows.
        filters: Whether the result gets filters of its words.
    """

    fence: Fence
    head: Head
    spec: TableSpec
    read_as: Mapping[str, Iterable[str]]
    hold: Hold
    applied: tuple[str, ...] = ()
    filters: bool = True


def rewrite(scope: Scope, place: Place, segments: Sequence[Segment]) -> WorkReport:
    """Merge segments and swap them for the result, in one commit.

    Until that commit nothing has changed: whatever breaks off before leaves a file that no one
    names, and an intent that was not carried out.

    Args:
        scope: Of the organization.
        place: Where.
        segments: Live ones that go together.

    Raises:
        SegmentDamagedError: One of them is not as it was written (`context["segment"]`).
        CommitConflictError: One of them is not live any more. What was put is deleted.
        CatalogMismatchError: The lake was recovered meanwhile.
        LeaseLostError: Others are at it.
        StoreError: The lake, or the local disk, cannot be read or written.
    """
    commit_id = uuid.uuid4().hex
    beside = MEMORY_FLOOR_BYTES + _BESIDE_BYTES * scope.config.workers
    memory_bytes = max(_LEAST_BYTES, scope.config.compact_memory_bytes - beside)
    memory_bytes //= scope.config.workers
    with tempfile.TemporaryDirectory(prefix="lakerunner-compact-") as name:
        directory = Path(name)
        files = []
        for segment in segments:
            files.append(open_segment(scope.store, segment, directory))
            place.hold.check()
        stream = _merged_stream(files, place, commit_id, directory, memory_bytes)
        pa.default_memory_pool().release_unused()  # for the whole file is mapped while it is put
        announced = announce_removal(place.fence, KIND, segments, place.head, commit_id=commit_id)
        writer = SegmentWriter(scope.store, scope.config)
        try:
            writer.add(stream.made())
            added = writer.finish()
        except Exception:
            writer.discard()
            withdraw_intent(scope.store, announced)
            raise
    commit = Commit(
        commit_id,
        scope.organization,
        time.time_ns(),
        add=added,
        remove=tuple(one.id for one in segments),
    )
    publish_removal(place.fence, commit, announced, place.head, scope.config)
    place.fence.leave_height()
    return WorkReport(
        KIND,
        removed=len(segments),
        added=len(added),
        rows_read=sum(one.rows for one in segments),
        rows_written=sum(one.rows for one in added),
        bytes_read=sum(one.bytes for one in segments),
        bytes_written=sum(one.bytes for one in added),
    )


def origin_of(files: Sequence[SegmentFile], place: Place, commit_id: str) -> Origin:
    """Where the rows of a merge come from: what its parts say, together."""
    parts = [one.described for one in files]
    first = parts[0]
    replaced = {name for one in parts for name in (one.id, *one.replaces)}
    attested = {name for one in parts for name in (*one.siblings, *one.attests)}
    return Origin(
        first.organization,
        commit_id,
        sources=tuple(dict.fromkeys(source for one in parts for source in one.sources)),
        parents=tuple(one.id for one in parts),
        level=max(one.known.segment.level for one in files) + 1,
        replaces=tuple(sorted(replaced)),
        attests=tuple(sorted(attested)),
        resolution_ns=first.resolution_ns,
        inputs=tuple(dict.fromkeys(name for one in parts for name in one.inputs)),
        made_by=first.made_by,
        kind=KIND,
        epoch=place.head.epoch,
        oldest=min(age_of(one.known.segment) for one in files),
        applied=place.applied,
        fingerprint_rules=rules_of(parts),
    )


def rules_of(parts: Sequence[Segment]) -> tuple[int, ...]:
    """By which rules the fingerprints of some segments together were made: each row keeps its own.

    Example:
        >>> from msgspec.structs import replace
        >>> from lakerunner.testing.values import make_segment
        >>> old = make_segment("old", table="logs")
        >>> rules_of([old, replace(old, fingerprint_rules=(2,))])
        (1, 2)
    """
    known = {rule for one in parts for rule in one.fingerprint_rules or (_FIRST_RULES,)}
    return tuple(sorted(known)) if parts[0].table == Signal.LOGS and known != {_FIRST_RULES} else ()


def _merged_stream(
    files: Sequence[SegmentFile],
    place: Place,
    commit_id: str,
    directory: Path,
    memory_bytes: int,
) -> SegmentStream:
    """All rows of all files, written to local disk in their order."""
    known = [one.known for one in files]
    union = Union(known, place.spec, place.read_as)
    names = union.schema.names
    text_of = TextOfNumbers()

    def rows(_: SegmentFile, batch: pa.RecordBatch) -> pa.RecordBatch:
        return union.conform(batch, text_of)

    how = Merging(
        union,
        tuple(name for name in place.spec.sort if name in names),
        place.spec.sort,
        memory_bytes,
        directory,
        rows,
    )
    segments = [one.segment for one in known]
    while True:
        try:
            return _streamed(files, how, _new_stream(segments, files, how, place, commit_id), place)
        except SegmentError as error:
            wrong = error.context.get("segment")
            if type(error) is not SegmentError or not isinstance(wrong, str) or wrong in how.loose:
                raise
            # It is in another order than it says: it is sorted like any of another order.
            how = how._replace(loose=[*how.loose, wrong])


def _new_stream(
    segments: Sequence[Segment],
    files: Sequence[SegmentFile],
    how: Merging,
    place: Place,
    commit_id: str,
) -> SegmentStream:
    schema = how.union.schema
    forecast = forecast_merge(segments, place.spec.ids)
    floats = {field.name for field in schema if pa.types.is_floating(field.type)}
    return SegmentStream(
        schema,
        place.spec,
        origin_of(files, place, commit_id),
        segments[0].window_start_ns,
        segments[0].window_ns,
        Forecast(forecast.without_nan & floats, forecast.distinct),
        filters=place.filters,
    )


def _streamed(
    files: Sequence[SegmentFile], how: Merging, stream: SegmentStream, place: Place
) -> SegmentStream:
    pool = pa.default_memory_pool()
    with merged(files, how) as tables, _written_behind(stream) as write:
        held: list[pa.RecordBatch] = []
        rows = size = 0
        for table in tables:
            held += table.to_batches()
            rows, size = rows + table.num_rows, size + table.nbytes
            if rows >= _WRITTEN_ROWS or size >= how.memory_bytes // _WRITTEN_SHARE:
                place.hold.check()
                write(pa.Table.from_batches(held).unify_dictionaries())
                held, rows, size = [], 0, 0
                pool.release_unused()  # else what one batch leaves adds up with what the next takes
        if held:
            write(pa.Table.from_batches(held).unify_dictionaries())
    return stream


@contextmanager
def _written_behind(stream: SegmentStream) -> Iterator[_Write]:
    """Write in another thread, one table behind: compression takes as long as all the rest."""
    with ThreadPoolExecutor(1, thread_name_prefix="lakerunner-compact-write") as thread:
        write = _Write(thread, stream)
        yield write
        write.finish()


class _Write:
    def __init__(self, thread: ThreadPoolExecutor, stream: SegmentStream) -> None:
        self._thread = thread
        self._stream = stream
        self._pending: Future[None] | None = None

    def __call__(self, table: pa.Table) -> None:
        self.finish()
        self._pending = self._thread.submit(self._stream.write, table)

    def finish(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

"""Turn rows into segments and put them: of each commit, the one of the last window last."""

from __future__ import annotations

import io
import mmap
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
from msgspec.structs import replace

from lakerunner.errors import ObjectExistsError, SegmentError
from lakerunner.limits import MIB, SEGMENT_FORMAT_VERSION
from lakerunner.model.segment import Segment
from lakerunner.publish.committing import delete_unnamed
from lakerunner.retrying import retrying
from lakerunner.segments.checksums import checksums_of
from lakerunner.segments.codec import Forecast, OpenSegment, forecast_table, order_columns
from lakerunner.segments.layout import lay_out, segment_id, segment_key
from lakerunner.segments.uniting import with_columns
from lakerunner.store import PutMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from typing import Self

    from lakerunner.model.config import Config
    from lakerunner.model.segment import Source
    from lakerunner.schema.tables import TableSpec
    from lakerunner.segments.codec import Later
    from lakerunner.store import ObjectStore


class Origin(NamedTuple):
    """Where the segments of one commit come from; see `Segment` for what each means.

    Attributes:
        organization: Whose rows they are.
        commit_id: The commit that they are made for.
        sources: The input objects their rows came from.
        parents: Segments that they replace.
        level: 0 as ingested.
        replaces: All that `parents` stand for, and they themselves.
        attests: What `parents` speak of as committed.
        resolution_ns: Length of the buckets that the rows sum up; 0 for rows as sent.
        inputs: Segments that they are made of and do not replace.
        beside: Segments that helped to make them and whose rows they do not hold.
        made_by: The rule that made them, with its version.
        kind: Empty as ingested, else `compact`, `rewrite` or `rollup`.
        epoch: Where the catalog stood before any of them was put, and before what they are made of
            was read: `Fence.begin` says.
        oldest: The lowest epoch of the segments whose rows they have; 0 where that is `epoch`.
        applied: Deletions of which none of the rows are any more.
        statement: What they state instead of rows.
        fingerprint_rules: Versions of the rules that made the fingerprints of their log rows.
    """

    organization: str
    commit_id: str
    sources: tuple[Source, ...] = ()
    parents: tuple[str, ...] = ()
    level: int = 0
    replaces: tuple[str, ...] = ()
    attests: tuple[str, ...] = ()
    resolution_ns: int = 0
    inputs: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    made_by: str = ""
    kind: str = ""
    epoch: int = 0
    oldest: int = 0
    applied: tuple[str, ...] = ()
    statement: str = ""
    fingerprint_rules: tuple[int, ...] = ()


class MadeSegment(NamedTuple):
    """A segment that is encoded and not put.

    Attributes:
        described: What is known of it; `bytes` and `siblings` are not.
        file: Its rows.
    """

    described: Segment
    file: OpenSegment


class SegmentWriter:
    """Puts the segments of some commits, and of each commit the one that closes it last.

    The closing segment names all others of its commit. It is put when all of them are durable, so
    whoever finds it in the bucket knows the whole commit; see `lakerunner.recover`. It is the one
    of the last window, and the youngest of these, so that retention removes it last. Until the end,
    one segment of each commit is held back, compressed. Not safe to use from
    several threads at once.

    Args:
        lake: Where segments go.
        config: How often a put is tried.

    Attributes:
        segments: What was put.
    """

    def __init__(self, lake: ObjectStore, config: Config) -> None:
        self._lake = lake
        self._config = config
        self._held: dict[str, MadeSegment] = {}
        self.segments: list[Segment] = []

    def add(self, made: MadeSegment) -> None:
        """Take one more segment: put it, or hold it back and put the one held so far.

        Raises:
            StoreError: It could not be put.
        """
        commit = made.described.commit_id
        held = self._held.get(commit)
        if held is None:
            self._held[commit] = made
            return
        if made.described.window_start_ns >= held.described.window_start_ns:
            self._held[commit], made = made, held
        self._put(made)

    def branch(self) -> SegmentWriter:
        """A writer for segments of the same commits that may yet be given up."""
        return SegmentWriter(self._lake, self._config)

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
        delete_unnamed(self._lake, self.segments)

    def finish(self) -> tuple[Segment, ...]:
        """Put what closes each commit.

        Returns:
            All segments of all commits.

        Raises:
            StoreError: One could not be put.
        """
        for commit, made in self._held.items():
            ids = tuple(one.id for one in self.segments if one.commit_id == commit)
            self._put(made, siblings=(*ids, made.described.id))
        self._held.clear()
        return tuple(self.segments)

    def _put(self, made: MadeSegment, siblings: tuple[str, ...] = ()) -> None:
        described = replace(made.described, siblings=siblings)
        data = made.file.finish(described)
        segment = replace(described, bytes=data.size, checksums=checksums_of(data))
        view = memoryview(data)

        def attempt() -> None:
            try:
                self._lake.put(segment.key, view, PutMode.CREATE)
            except ObjectExistsError:
                # The key is unique to this segment, so what is there is our own put, whose reply
                # was lost; a put is whole or not there at all.
                if self._lake.head(segment.key).size != segment.bytes:
                    raise

        retrying(attempt, self._config)
        self.segments.append(segment)


_THREAD_BYTES = 2 * MIB
"""Rows for which a thread is worth while: fewer are encoded in a few milliseconds."""


class EncodingError(Exception):
    """Rows could not be encoded in another thread; the cause says why."""


class Encoder:
    """A thread that encodes the last rows of segments while the next rows are decoded.

    Arrow encodes without Python's lock. Not safe to use from several threads at once; the context
    ends when all is encoded.

    Args:
        most: Bytes that rows which wait may take, with whatever else is asked room for.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lakerunner-encode")
        self._waiting: list[tuple[Future[None], int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._thread.shutdown()

    def make_room(self, cost: int) -> None:
        """Wait until so many bytes more may be taken."""
        self._waiting = [each for each in self._waiting if not each[0].done()]
        while self._waiting and cost + sum(held for _, held in self._waiting) > self._most:
            wait([self._waiting.pop(0)[0]])

    def begin(self, encode: Callable[[], None], held: int) -> Callable[[], None]:
        """Begin to encode rows of so many bytes.

        Returns:
            What waits for it, and raises `EncodingError`.
        """
        if held < _THREAD_BYTES:
            encode()
            return lambda: None
        future = self._thread.submit(encode)
        self._waiting.append((future, 2 * held))  # what is made of them takes memory, too

        def encoded() -> None:
            if (error := future.exception()) is not None:
                raise EncodingError from error

        return encoded


def make_segments(
    table: pa.Table,
    spec: TableSpec,
    origin: Origin,
    window_ns: int,
    *,
    filters: bool = True,
    later: Later | None = None,
) -> Iterator[MadeSegment]:
    """Sort rows, cut them at windows, and encode one segment for each window.

    Args:
        table: Rows in any order, without the column `organization`; one chunk per column.
        spec: The table they belong to.
        origin: Where they come from.
        window_ns: Length of a window in nanoseconds, unless the table has its own.
        filters: Whether they get token filters.
        later: Where their last rows may be encoded, such as `Encoder.begin`.

    Yields:
        Each segment, in order of time.
    """
    owner = pa.array([origin.organization]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(
        pa.nulls(table.num_rows, pa.int32()).fill_null(0), owner.dictionary
    )
    table = with_columns(table, spec.always)
    whole = order_columns(table.append_column("organization", column), spec)
    window_ns = spec.window_ns or window_ns
    for window in lay_out(whole, window_ns, spec.sort):
        rows = window.table
        texts = spec.texts if filters else None
        # A token filter stands in for the filters of ids, which alone ask how many there are.
        forecast = forecast_table(rows, () if filters else spec.ids)
        file = OpenSegment(rows.schema, window.sort, spec.ids, forecast, texts=texts)
        file.write(rows)
        at = window.start_ns, window_ns
        described = _describe(file, at, window.sort, spec, origin, later)
        yield MadeSegment(described, file)


class SegmentStream:
    """One segment whose rows come batch by batch, in their order: merged, summed up, or live.

    Its rows are never held as a whole: what is written lies compressed in a temporary file until
    the segment is put. Not safe to use from several threads at once.

    Args:
        schema: All columns that any of the rows has, `organization` among them; see
            `segments.codec.order_columns` for their order.
        spec: The table they belong to.
        origin: Where they come from.
        window_start_ns: Start of the window that holds all rows.
        window_ns: Its length in nanoseconds.
        forecast: What is known of the rows beforehand; nothing need be.
        filters: Whether it gets a token filter.

    Example:
        >>> from lakerunner.schema.tables import TABLES
        >>> from lakerunner.schema.arrays import TIMESTAMP
        >>> rows = pa.table({"timestamp": pa.array([5, 7]).cast(TIMESTAMP), "body": ["a", "b"]})
        >>> stream = SegmentStream(rows.schema, TABLES["logs"], Origin("acme", "c1"), 0, 3600)
        >>> stream.write(rows.slice(0, 1))
        >>> stream.write(rows.slice(1))
        >>> stream.made().described.max_timestamp_ns
        7
    """

    def __init__(
        self,
        schema: pa.Schema,
        spec: TableSpec,
        origin: Origin,
        window_start_ns: int,
        window_ns: int,
        forecast: Forecast | None = None,
        *,
        filters: bool = True,
    ) -> None:
        self._spec = spec
        self._origin = origin
        self._window = window_start_ns, window_ns
        self._sort = tuple(name for name in spec.sort if name in schema.names)
        known = Forecast() if forecast is None else forecast
        texts = spec.texts if filters else None
        self._file = OpenSegment(schema, self._sort, spec.ids, known, _Spool(), texts)

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return self._file.stats.rows

    def write(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Add rows that follow the earlier ones in the order of the table.

        Raises:
            SegmentError: The forecast does not hold for them.
        """
        if isinstance(rows, pa.RecordBatch):
            rows = pa.Table.from_batches([rows])
        self._file.write(rows)

    def made(self) -> MadeSegment:
        """The segment, for `SegmentWriter.add`; to be called once, and after a row was written.

        Raises:
            SegmentError: There is no row, or one lies outside the window.
        """
        start_ns, window_ns = self._window
        described = _describe(self._file, self._window, self._sort, self._spec, self._origin)
        first, last = described.min_timestamp_ns, described.max_timestamp_ns
        if not start_ns <= first <= last < start_ns + window_ns:
            raise SegmentError(
                f"rows from {first} to {last} lie outside the window of {described.key}",
                key=described.key,
            )
        return MadeSegment(described, self._file)


class _Spool(io.RawIOBase):
    """A temporary file without a name; its bytes are mapped when it is done, and never read in."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as its map

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def getvalue(self) -> pa.Buffer:
        self._file.flush()
        mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self.close()  # the map keeps the bytes
        return pa.py_buffer(mapped)

    def close(self) -> None:
        self._file.close()
        super().close()


def _describe(
    file: OpenSegment,
    window: tuple[int, int],
    sort: tuple[str, ...],
    spec: TableSpec,
    origin: Origin,
    later: Later | None = None,
) -> Segment:
    start_ns, window_ns = window
    created_ns = time.time_ns()
    identifier = segment_id(created_ns, origin.epoch, os.urandom(8))
    columns = file.stats.columns()
    if "timestamp" not in columns:
        raise SegmentError("a segment needs rows with a timestamp")
    bounds = columns["timestamp"]
    return Segment(
        id=identifier,
        table=spec.name,
        key=segment_key(origin.organization, spec.name, start_ns, identifier),
        window_start_ns=start_ns,
        window_ns=window_ns,
        min_timestamp_ns=int(bounds.min or 0),
        max_timestamp_ns=int(bounds.max or 0),
        rows=file.stats.rows,
        bytes=0,
        sort=sort,
        columns=columns,
        created_ns=created_ns,
        format_version=SEGMENT_FORMAT_VERSION,
        filters=file.filters(later),
        **origin._asdict(),
    )

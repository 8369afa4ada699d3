"""The segments of one table as a part: arrays to plan with, and entries read when asked for."""

from __future__ import annotations

from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import zstandard

from lakerunner.catalog.bucket.claims import (
    DigestIndex,
    numbers,
    open_file,
    segment_digest,
    split,
    table_of,
    write_table,
)
from lakerunner.catalog.bucket.delta import LIVE, PURGED
from lakerunner.catalog.bucket.records import DamagedCheckpointError
from lakerunner.limits import ZSTD_LEVEL
from lakerunner.model.segment import decode_segment, encode_segment
from lakerunner.model.times import MAX_NS, MIN_NS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from lakerunner.catalog.base import Place
    from lakerunner.catalog.bucket.delta import TableDelta
    from lakerunner.model.segment import Segment
    from lakerunner.model.times import TimeRange

FRAME_ROWS = 512
"""Segments whose entries are compressed together: to read one is to read so many."""

_NUMBERS = pa.schema(
    [
        pa.field("high", pa.uint64(), nullable=False),
        pa.field("low", pa.uint64(), nullable=False),
        pa.field("min_ns", pa.int64(), nullable=False),
        pa.field("max_ns", pa.int64(), nullable=False),
        pa.field("added", pa.int64(), nullable=False),
        pa.field("removed", pa.int64(), nullable=False),
        pa.field("removed_ns", pa.int64(), nullable=False),
    ]
)
"""Rows are in the order of `max_ns`. Those that mark a segment of an older part as removed, or as
purged, come last."""

_WITH_PAYLOAD = _NUMBERS.append(pa.field("payload", pa.binary()))
"""A whole part of before version 3. Marks have no payload."""

_NAMES = _NUMBERS.names
_STARTS = b"lakerunner.frames"
_FRAME = msgspec.msgpack.Decoder(list[bytes])
_OFFSETS = msgspec.json.Decoder(list[int])

Frames: TypeAlias = "Callable[[Sequence[tuple[int, int]]], Sequence[bytes]]"
"""Reads ranges of the object of a part."""


class Removals(NamedTuple):
    """When each row of a part was removed; a newer part may say more than the part itself."""

    sequence: NDArray[np.int64]
    time_ns: NDArray[np.int64]


class SegmentPart:
    """Segments of one table in the order of their ends, and marks on those of older parts.

    Immutable. What is planned with is held, 56 bytes a segment. The entries, as `encode_segment`
    writes them, lie before it in the same object, compressed some hundred at a time with a
    checksum: they are read when they are asked for.

    Args:
        tail: The end of the object: a Parquet file of numbers that says where each frame of entries
            begins.
        frames: Reads ranges of what comes before it.

    Attributes:
        columns: The numbers of all rows, by name.
        rows: How many of them are segments, and no marks.
        index: Where in the object the numbers begin.

    Raises:
        pa.ArrowException: It is something else, or damaged.
        msgspec.MsgspecError: Likewise.
    """

    def __init__(self, tail: bytes, frames: Frames) -> None:
        self._tail, self._frames = tail, frames
        file = open_file(tail, _NUMBERS)
        table = file.read()
        self.columns: dict[str, NDArray[Any]] = {name: numbers(table, name) for name in _NAMES}
        starts = (file.schema_arrow.metadata or {}).get(_STARTS, b"[0]")
        self._starts = _OFFSETS.decode(starts)
        self.index = self._starts[-1]
        self.rows = int(np.count_nonzero(self.columns["added"] >= 0))
        self.removals = Removals(
            self.columns["removed"][: self.rows], self.columns["removed_ns"][: self.rows]
        )
        high, low = self._digests()
        self._index = DigestIndex(high[: self.rows], low[: self.rows])
        ends, starts_ns = self.columns["max_ns"][: self.rows], self.columns["min_ns"][: self.rows]
        # Compared as unsigned numbers: the longest extent may not fit a signed one.
        extents = ends.view(np.uint64) - starts_ns.view(np.uint64)
        self._extent_ns = int(extents.max()) if self.rows else 0

    @classmethod
    def of(cls, delta: TableDelta) -> SegmentPart:
        """A part of what changed."""
        entered = sorted(delta.entered.values(), key=lambda entry: entry.segment.max_timestamp_ns)
        rows = [
            (
                entry.segment.min_timestamp_ns,
                entry.segment.max_timestamp_ns,
                entry.added,
                entry.removed,
                entry.removed_ns,
            )
            for entry in entered
        ]
        rows += [(0, 0, -1, mark.removed, mark.removed_ns) for mark in delta.marks.values()]
        ids = [*(entry.segment.id for entry in entered), *delta.marks]
        numbers = np.array(rows, dtype=np.int64).reshape(-1, 5).T
        high, low = split([segment_digest(segment_id) for segment_id in ids])
        payload = [encode_segment(entry.segment) for entry in entered]
        frames = (payload[at : at + FRAME_ROWS] for at in range(0, len(payload), FRAME_ROWS))
        return cls._made(dict(zip(_NAMES, [high, low, *numbers], strict=True)), frames)

    @classmethod
    def before_version_3(cls, data: bytes) -> SegmentPart:
        """A part as it was written before: one Parquet file, held whole."""
        table = open_file(data, _WITH_PAYLOAD).read()
        payload = [one for one in table.column("payload").to_pylist() if one is not None]
        frames = (payload[at : at + FRAME_ROWS] for at in range(0, len(payload), FRAME_ROWS))
        return cls._made({name: numbers(table, name) for name in _NAMES}, frames)

    @classmethod
    def _made(cls, columns: dict[str, NDArray[Any]], frames: Iterable[list[bytes]]) -> SegmentPart:
        """A part that was not written yet: its frames are in memory."""
        starts, data = [0], bytearray()
        compressor = zstandard.ZstdCompressor(ZSTD_LEVEL, write_checksum=True)
        for frame in frames:
            data += compressor.compress(msgspec.msgpack.encode(frame))
            starts.append(len(data))
        schema = _NUMBERS.with_metadata({_STARTS: msgspec.json.encode(starts)})
        table = table_of(schema, [columns[name] for name in _NAMES])
        return cls(
            write_table(schema, [table]),
            lambda spans: [bytes(data[start:end]) for start, end in spans],
        )

    def encode(self) -> bytes:
        """The whole object of a part that was just made."""
        entries = self._frames([(0, self.index)]) if self.index else []
        return b"".join([*entries, self._tail])

    def stored(self, frames: Frames) -> SegmentPart:
        """The part after its object was written, which is read from now on."""
        return SegmentPart(self._tail, frames)

    def __len__(self) -> int:
        return len(self.columns["added"])

    def _digests(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        return self.columns["high"], self.columns["low"]

    def find(self, segment_ids: Sequence[str]) -> NDArray[np.int64]:
        """The row of each segment, or -1."""
        return self._index.find(*split([segment_digest(name) for name in segment_ids]))

    def marked_by(self, newer: SegmentPart, removals: Removals) -> Removals:
        """Removals of this part's rows, as a newer part amends them.

        A segment that was purged and then added again is in the newer part whole; for the older
        part, that is the mark of a purge.
        """
        high, low = newer._digests()
        rows = self._index.find(high, low)
        hit = np.flatnonzero(rows >= 0)
        if not len(hit):
            return removals
        again = newer.columns["added"][hit] >= 0
        sequence, time_ns = removals.sequence.copy(), removals.time_ns.copy()
        sequence[rows[hit]] = np.where(again, PURGED, newer.columns["removed"][hit])
        time_ns[rows[hit]] = np.where(again, 0, newer.columns["removed_ns"][hit])
        return Removals(sequence, time_ns)

    def overlapping(
        self, time_range: TimeRange, removals: Removals, sequence: int | None
    ) -> NDArray[np.int64]:
        """Rows that may hold something of a range, as the table was after a commit."""
        start, end = max(time_range.start_ns, MIN_NS), min(time_range.end_ns - 1, MAX_NS)
        if start > end:
            return np.empty(0, dtype=np.int64)
        ends = self.columns["max_ns"][: self.rows]
        first = int(np.searchsorted(ends, start))
        # A segment that starts before the range ends, ends at most one longest extent later.
        last = int(np.searchsorted(ends, min(end + self._extent_ns, MAX_NS), side="right"))
        wanted = self.columns["min_ns"][first:last] <= end
        wanted &= self._live(removals, slice(first, last), sequence)
        return np.flatnonzero(wanted) + first

    def next_live(
        self, removals: Removals, after: Place | None, limit: int, sequence: int | None
    ) -> NDArray[np.int64]:
        """Rows that end at a place or later, so many of them, and what ends as the last.

        Those that were live after a commit, or are.
        """
        ends = self.columns["max_ns"][: self.rows]
        first = 0 if after is None else int(np.searchsorted(ends, after.max_timestamp_ns))
        rows = np.flatnonzero(self._live(removals, slice(first, None), sequence)) + first
        here = 0 if after is None else int(np.count_nonzero(ends[rows] == after.max_timestamp_ns))
        if limit + here >= len(rows):
            return rows
        last = ends[rows[limit + here - 1]]
        return rows[: int(np.searchsorted(ends[rows], last, side="right"))]

    def _live(self, removals: Removals, rows: slice, sequence: int | None) -> NDArray[np.bool_]:
        """Which of some rows were live after a commit, or are."""
        removed = removals.sequence[rows]
        live: NDArray[np.bool_] = removed == LIVE
        if sequence is not None:
            live = (self.columns["added"][: self.rows][rows] <= sequence) & (removed > sequence)
        return live

    def segments(self, rows: NDArray[np.int64]) -> list[Segment]:
        """Decode the entries of rows.

        Raises:
            DamagedCheckpointError: One is damaged.
        """
        try:
            return [decode_segment(payload) for payload in self.payloads(rows)]
        except msgspec.MsgspecError as error:
            raise DamagedCheckpointError(f"entries of segments are damaged: {error}") from error

    def payloads(self, rows: NDArray[np.int64]) -> list[bytes]:
        """The encoded entries of rows, in their order; only their frames are read."""
        numbers = sorted({row // FRAME_ROWS for row in rows.tolist()})
        spans = [(self._starts[number], self._starts[number + 1]) for number in numbers]
        try:
            frames = {
                number: _FRAME.decode(zstandard.ZstdDecompressor().decompress(data))
                for number, data in zip(numbers, self._frames(spans), strict=True)
            }
            return [frames[row // FRAME_ROWS][row % FRAME_ROWS] for row in rows.tolist()]
        except (zstandard.ZstdError, msgspec.MsgspecError, IndexError) as error:
            raise DamagedCheckpointError(f"entries of segments are damaged: {error}") from error

    @classmethod
    def merge(cls, parts: Sequence[SegmentPart], *, oldest: bool) -> SegmentPart:
        """One part that says what these say together.

        Args:
            parts: From old to new.
            oldest: There is no older part, so that marks which hit nothing can be dropped.
        """
        columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in _NAMES}
        own = np.concatenate([part.columns["added"] >= 0 for part in parts])
        removals = PartStack(parts).removals
        for part, amended, start in zip(parts, removals, _starts(parts), strict=True):
            columns["removed"][start : start + part.rows] = amended.sequence
            columns["removed_ns"][start : start + part.rows] = amended.time_ns
        kept = _kept_rows(columns, own, oldest=oldest)
        segments = kept[own[kept]]
        return cls._made({name: columns[name][kept] for name in _NAMES}, _frames(parts, segments))


class PartStack:
    """The parts of a table with what the newer ones say of the older ones. Immutable.

    Attributes:
        parts: From old to new.
        removals: Of the rows of each part.
    """

    def __init__(self, parts: Sequence[SegmentPart] = (), known: PartStack | None = None) -> None:
        self.parts = tuple(parts)
        before = known.removals if known else []
        pairs = zip(known.parts if known else (), self.parts, strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] is pair[1], pairs))
        # Marks of parts that were merged since hit again, and say the same again.
        self.removals: list[Removals] = [
            self._amended(
                part,
                before[number] if number < shared else part.removals,
                max(shared, number + 1),
            )
            for number, part in enumerate(self.parts)
        ]

    def _amended(self, part: SegmentPart, removals: Removals, start: int) -> Removals:
        for newer in self.parts[start:]:
            removals = part.marked_by(newer, removals)
        return removals


def _starts(parts: Sequence[SegmentPart]) -> list[int]:
    return list(accumulate(map(len, parts), initial=0))[:-1]


def _kept_rows(
    columns: dict[str, NDArray[Any]], own: NDArray[np.bool_], *, oldest: bool
) -> NDArray[np.int64]:
    """Rows of the result in its order: live and removed segments, then marks that still matter."""
    segments = np.flatnonzero(own & (columns["removed"] != PURGED))
    segments = segments[np.argsort(columns["max_ns"][segments], kind="stable")]
    if oldest:
        return segments
    # Of several rows on one segment the last one counts: the segment itself, which was added again,
    # hides what lies below as well as the mark of a purge does.
    candidates = np.concatenate([np.flatnonzero(~own), segments])
    high, low = columns["high"][candidates], columns["low"][candidates]
    order = np.lexsort((low, high))
    high, low = high[order], low[order]
    newest = np.ones(len(order), dtype=bool)
    newest[:-1] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    last = np.sort(candidates[order[newest]])
    return np.concatenate([segments, last[~own[last]]])


def _frames(parts: Sequence[SegmentPart], rows: NDArray[np.int64]) -> Iterator[list[bytes]]:
    """Encoded entries of rows of all parts, some hundred at a time, in order."""
    origin = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    row = np.concatenate([np.arange(len(part)) for part in parts])
    for start in range(0, len(rows), FRAME_ROWS):
        chosen = rows[start : start + FRAME_ROWS]
        frame: list[bytes] = [b""] * len(chosen)
        for number in np.unique(origin[chosen]).tolist():
            places = np.flatnonzero(origin[chosen] == number)
            found = parts[number].payloads(row[chosen[places]])
            for place, payload in zip(places.tolist(), found, strict=True):
                frame[place] = payload
        yield frame

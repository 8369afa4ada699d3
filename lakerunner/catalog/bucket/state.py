"""The state of the catalog: a checkpoint, loaded as far as asked for, and the log since."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lakerunner.catalog.bucket.checkpoints import Manifest, Totals
from lakerunner.catalog.bucket.claims import Claim, Kind, commit_digest, split
from lakerunner.catalog.bucket.delta import LIVE, PURGED, Delta, TableDelta
from lakerunner.catalog.bucket.segment_part import PartStack
from lakerunner.catalog.change import summarise_counts
from lakerunner.errors import SnapshotExpiredError
from lakerunner.model.commit import Snapshot
from lakerunner.model.segment import SourceState
from lakerunner.model.times import MAX_NS, isoformat

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from lakerunner.catalog.base import Place
    from lakerunner.catalog.bucket.checkpoints import TableManifest
    from lakerunner.catalog.bucket.delta import TableKey
    from lakerunner.catalog.bucket.parts import PartCache, Reasons
    from lakerunner.catalog.bucket.records import Entry
    from lakerunner.catalog.bucket.segment_part import SegmentPart
    from lakerunner.model.segment import Rejection, Segment
    from lakerunner.model.times import TimeRange

_BY_TIME = attrgetter("min_timestamp_ns", "id")


class Gone(NamedTuple):
    """A removed segment, and the time of its removal."""

    removed_ns: int
    segment: Segment


class _OlderGone(NamedTuple):
    """Removed segments of a part: their rows, and when each was removed."""

    part: SegmentPart
    rows: NDArray[np.int64]
    time_ns: NDArray[np.int64]


class State:
    """Answers questions about one moment, and moves on by entries and checkpoints.

    Not safe to use from several threads at once. Every question may load parts of the checkpoint,
    and raises `DamagedCheckpointError` if one is missing or broken.

    Args:
        cache: Loads parts.

    Attributes:
        manifest: The checkpoint it stands on.
        delta: What the log says since.
        tail: The entries that say it.
    """

    def __init__(self, cache: PartCache) -> None:
        self._cache = cache
        self.manifest = Manifest()
        self.delta = Delta()
        self.tail: list[Entry] = []
        self._tables: dict[TableKey, TableManifest] = {}
        self._stacks: dict[TableKey, PartStack] = {}

    @property
    def position(self) -> int:
        """The last position that was read."""
        return self.delta.position

    def rebase(self, manifest: Manifest, entries: Iterable[Entry] = ()) -> None:
        """Stand on another checkpoint, and keep what entries say beyond it.

        Args:
            manifest: The checkpoint.
            entries: Those that follow it without a gap; older ones are passed over.
        """
        kept = [entry for entry in entries if entry.position > manifest.position]
        if manifest.position < self.manifest.position:
            self._stacks.clear()  # they know of removals that the log is about to tell again
        self.manifest = manifest
        self._tables = {(table.organization, table.table): table for table in manifest.tables}
        self.delta = Delta(
            self._tables,
            position=manifest.position,
            sequence=manifest.sequence,
            entry_id=manifest.entry_id,
            entry_position=manifest.entry_position,
            newest_ns=manifest.newest_ns,
            head=manifest.head,
        )
        self.tail = []
        for entry in kept:
            self.apply(entry)
        self._cache.keep(manifest.parts())

    def apply(self, entry: Entry) -> None:
        """Move on by one entry: the one that follows."""
        self.delta.apply(entry)
        self.tail.append(entry)

    def claims(self, digests: Sequence[bytes]) -> dict[bytes, Claim]:
        """What is known of digests; purged segments are not."""
        found = {
            digest: self.delta.claims[digest] for digest in digests if digest in self.delta.claims
        }
        left = [digest for digest in dict.fromkeys(digests) if digest not in found]
        for name in reversed(self.manifest.claims):
            if not left:
                break
            hits = self._cache.claims(name).find(*split(left))
            found |= {digest: hit for digest, hit in zip(left, hits, strict=True) if hit}
            left = [digest for digest, hit in zip(left, hits, strict=True) if hit is None]
        return {digest: claim for digest, claim in found.items() if claim.kind is not Kind.PURGED}

    def sources(self, digests: Sequence[bytes]) -> dict[bytes, SourceState]:
        """What is known of sources."""
        taken = {
            digest: self.delta.taken[digest] for digest in digests if digest in self.delta.taken
        }
        left = [digest for digest in dict.fromkeys(digests) if digest not in taken]
        if left and self.manifest.sources:
            taken |= self._cache.sources.find(self.manifest.sources, left)
        found = {digest: SourceState.TAKEN for digest, state in taken.items() if state}
        aside = self.claims([digest for digest in digests if digest not in found])
        for digest, claim in aside.items():
            if claim.kind is Kind.REJECTED:
                found[digest] = SourceState.REJECTED
            elif digest not in taken:  # a part of before version 3 says so
                found[digest] = SourceState.TAKEN
        return found

    def knows(self, commit_ids: Sequence[str]) -> bool:
        """Whether all of these commits were applied."""
        digests = [commit_digest(commit_id) for commit_id in commit_ids]
        return len(self.claims(digests)) == len(set(digests))

    def segments(self, key: TableKey, time_range: TimeRange, sequence: int | None) -> list[Segment]:
        """Segments of a table as it was after a commit, or is, by (min timestamp, id)."""
        delta = self.delta.tables.get(key) or TableDelta()
        found = [
            segment
            for segment in delta.live(sequence)
            if time_range.overlaps(segment.min_timestamp_ns, segment.max_timestamp_ns)
        ]
        gone = delta.gone(sequence)
        stack = self._stack(key)
        for part, removals in zip(stack.parts, stack.removals, strict=True):
            older = part.segments(part.overlapping(time_range, removals, sequence))
            found += (segment for segment in older if segment.id not in gone)
        return sorted(found, key=_BY_TIME)

    def page(
        self, key: TableKey, after: Place | None, limit: int, sequence: int | None
    ) -> list[Segment]:
        """Segments of a table that come next, by (max timestamp, id), as it was or is."""
        delta = self.delta.tables.get(key) or TableDelta()
        found, gone = delta.live(sequence), delta.gone(sequence)
        stack = self._stack(key)
        for part, removals in zip(stack.parts, stack.removals, strict=True):
            # What the log removed since is still among them, and what lies at the place itself.
            rows = part.next_live(removals, after, limit + len(gone), sequence)
            found += (one for one in part.segments(rows) if one.id not in gone)
        places = sorted(((one.max_timestamp_ns, one.id), one) for one in found)
        return [one for place, one in places if after is None or place > after][:limit]

    def live(self, key: TableKey, segment_ids: Sequence[str]) -> list[Segment]:
        """The given segments, which are live in a table."""
        delta = self.delta.tables.get(key) or TableDelta()
        entered = [delta.entered[name].segment for name in segment_ids if name in delta.entered]
        left = [name for name in segment_ids if name not in delta.entered]
        stack = self._stack(key) if left else PartStack()
        for part, removals in zip(stack.parts, stack.removals, strict=True):
            rows = part.find(left)
            rows = rows[rows >= 0]
            entered += part.segments(rows[removals.sequence[rows] == LIVE])
        return entered

    def last_removal(self, key: TableKey, segment_ids: Sequence[str]) -> int:
        """The last commit that removed one of these segments of a table; 0 if none did."""
        delta = self.delta.tables.get(key) or TableDelta()
        last = [delta.entered[name].removed for name in segment_ids if name in delta.entered]
        last += [delta.marks[name].removed for name in segment_ids if name in delta.marks]
        stack = self._stack(key)
        for part, removals in zip(stack.parts, stack.removals, strict=True):
            rows = part.find(list(segment_ids))
            last += removals.sequence[rows[rows >= 0]].tolist()
        return max((one for one in last if one != LIVE), default=0)

    def snapshot(self, key: TableKey) -> Snapshot:
        """Describe a table from its totals."""
        table = self._tables.get(key)
        totals = (table.totals if table else Totals()).changed_by(self.delta.tables.get(key))
        return Snapshot(
            sequence=self.delta.sequence,
            segments=totals.segments,
            rows=totals.rows,
            bytes=totals.bytes,
            columns=summarise_counts(totals.columns),
        )

    def tables(self, *, ever: bool = False) -> list[TableKey]:
        """The tables that have live segments, or ever had any, in order."""
        live = {key: table.totals.segments for key, table in self._tables.items()}
        for key, delta in self.delta.tables.items():
            live[key] = live.get(key, 0) + delta.segments
        return sorted(key for key, segments in live.items() if ever or segments)

    def sequence_at(self, time_ns: int) -> int:
        """The commit before the first one after a time.

        Raises:
            SnapshotExpiredError: It lies before what is known.
        """
        found: int | None = None
        if self.manifest.newest_ns <= time_ns:
            later = (before for before, newest_ns in self.delta.moments if newest_ns > time_ns)
            return next(later, self.delta.sequence)
        for name in reversed(self.manifest.moments):
            part = self._cache.moments(name)
            candidate = part.first_after(time_ns)
            if candidate is None:
                break  # the first one of the part that follows
            found = candidate
            if part.newest_ns[0] <= time_ns:
                return found
        else:
            found = 0 if found == 0 else None  # before the very first, or before what is kept
        if found is not None:
            return found
        raise SnapshotExpiredError(
            f"the state at {isoformat(time_ns)} is not known any more; ask for a later one",
            time_ns=time_ns,
        )

    def rejections(self, organization: str) -> list[Rejection]:
        """What is set aside, by (time, source)."""
        entries: dict[bytes, Reasons | None] = {}
        for name in self.manifest.rejections:
            entries |= self._cache.rejections(name).entries
        entries |= self.delta.rejections
        found = [
            rejection
            for entry in entries.values()
            if entry is not None and entry[0] == organization
            for rejection in entry[1]
        ]
        return sorted(found, key=attrgetter("rejected_at_ns", "source"))

    def removed(self, before_ns: int, limit: int | None) -> list[Segment]:
        """Segments removed before a time, of all tables, by (time of removal, id)."""
        found: list[Gone] = []
        older: list[_OlderGone] = []
        for key in self.delta.numbers:
            delta = self.delta.tables.get(key) or TableDelta()
            found += [
                Gone(entry.removed_ns, entry.segment)
                for entry in delta.entered.values()
                if entry.removed != LIVE and entry.removed_ns < before_ns
            ]
            older += self._removed_of_parts(key, delta, before_ns)
        times = np.concatenate([one.time_ns for one in older]) if older else np.empty(0, np.int64)
        few = limit is not None and 0 < limit < len(times)
        last_ns = np.partition(times, limit - 1)[limit - 1] if limit and few else MAX_NS
        for part, rows, time_ns in older:  # only those are decoded that may be among the first
            first = time_ns <= last_ns
            found += map(Gone, time_ns[first].tolist(), part.segments(rows[first]))
        found.sort(key=lambda gone: (gone.removed_ns, gone.segment.id))
        return [gone.segment for gone in found[:limit]]

    def _removed_of_parts(
        self, key: TableKey, delta: TableDelta, before_ns: int
    ) -> Iterable[_OlderGone]:
        stack = self._stack(key)
        marked = list(delta.marks)
        removed = np.array([delta.marks[name].removed for name in marked], np.int64)
        removed_ns = np.array([delta.marks[name].removed_ns for name in marked], np.int64)
        for part, removals in zip(stack.parts, stack.removals, strict=True):
            sequence, time_ns = (values.copy() for values in removals)
            rows = part.find(marked)
            own = (rows >= 0) & (sequence[rows] != PURGED) if part.rows else rows >= 0
            sequence[rows[own]], time_ns[rows[own]] = removed[own], removed_ns[own]
            gone = (sequence != LIVE) & (sequence != PURGED) & (time_ns < before_ns)
            rows = np.flatnonzero(gone)
            yield _OlderGone(part, rows, time_ns[rows])

    def _stack(self, key: TableKey) -> PartStack:
        table = self._tables.get(key)
        parts = [self._cache.segments(name) for name in (table.parts if table else ())]
        stack = self._stacks.get(key)
        if stack is None or list(stack.parts) != parts:
            stack = self._stacks[key] = PartStack(parts, known=stack)
        return stack

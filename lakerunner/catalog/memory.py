"""A catalog in the memory of one process; also the reference answer in doubt."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from lakerunner.catalog.admission import (
    check_commit,
    condemnable,
    late_segments,
    refuse_conflicts,
    refuse_live,
    refuse_strangers,
    refuse_unfinished,
    require_readable,
    settled,
)
from lakerunner.catalog.base import ALL_TIME, PAGE, Catalog, Place
from lakerunner.catalog.change import commit_change, summarise_counts
from lakerunner.catalog.leases import Leases, MemoryLeases
from lakerunner.errors import ConfigurationError
from lakerunner.model.commit import Head, Snapshot, epoch_of
from lakerunner.model.segment import SourceState
from lakerunner.model.times import TimeRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.catalog.change import ColumnKey, CommitChange, TableChange
    from lakerunner.model.commit import Commit, Unchanged
    from lakerunner.model.segment import Rejection, Segment, Source

_BY_TIME = attrgetter("min_timestamp_ns", "id")


class _Live(NamedTuple):
    """A live segment, in the order of its end: the bounded search needs no other."""

    end_ns: int
    id: str
    added: int
    segment: Segment


class _Removed(NamedTuple):
    """A segment that only older sequences still see."""

    added: int
    removed: int
    removed_ns: int
    segment: Segment


class _Table:
    """One table of one organization, with the totals that keep a snapshot cheap."""

    def __init__(self, organization: str) -> None:
        self.organization = organization
        self.live: list[_Live] = []
        self.ends: dict[str, int] = {}
        self.removed: dict[str, _Removed] = {}
        self.extent_ns = 0
        self.rows = 0
        self.bytes = 0
        self.columns: Counter[ColumnKey] = Counter()

    def add(self, segment: Segment, sequence: int) -> None:
        insort(self.live, _Live(segment.max_timestamp_ns, segment.id, sequence, segment))
        self.ends[segment.id] = segment.max_timestamp_ns

    def remove(self, segment_id: str, sequence: int, removed_ns: int) -> None:
        index = bisect_left(self.live, (self.ends.pop(segment_id), segment_id))
        entry = self.live.pop(index)
        self.removed[segment_id] = _Removed(entry.added, sequence, removed_ns, entry.segment)

    def live_segment(self, segment_id: str) -> Segment:
        index = bisect_left(self.live, (self.ends[segment_id], segment_id))
        return self.live[index].segment

    def count(self, change: TableChange) -> None:
        self.extent_ns = max(self.extent_ns, change.extent_ns)
        self.rows += change.rows
        self.bytes += change.bytes
        for key, number in change.columns.items():
            self.columns[key] += number
            if not self.columns[key]:
                del self.columns[key]

    def overlapping(self, time_range: TimeRange, sequence: int | None) -> list[Segment]:
        # A segment that starts before the range ends, ends at most one longest extent later.
        first = bisect_left(self.live, (time_range.start_ns,))
        last = bisect_right(self.live, (time_range.end_ns + self.extent_ns,))
        found = [
            entry.segment
            for entry in self.live[first:last]
            if entry.segment.min_timestamp_ns < time_range.end_ns
            and (sequence is None or entry.added <= sequence)
        ]
        if sequence is not None:
            found += [
                entry.segment
                for entry in self.removed.values()
                if entry.added <= sequence < entry.removed
                and time_range.overlaps(
                    entry.segment.min_timestamp_ns, entry.segment.max_timestamp_ns
                )
            ]
        return sorted(found, key=_BY_TIME)


class _State:
    """Everything that catalogs of the same name share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.commits: dict[str, int] = {}
        self.newest_ns: list[int] = []  # the latest time up to each commit
        self.tables: dict[tuple[str, str], _Table] = {}
        self.table_of: dict[str, _Table] = {}
        self.sources: dict[Source, SourceState] = {}
        self.rejections: dict[Source, tuple[str, list[Rejection]]] = {}
        self.condemned: set[str] = set()
        self.standing = Head(0)  # all but the sequence
        self.leases = MemoryLeases()

    def head(self) -> Head:
        return replace(self.standing, sequence=len(self.commits))


_SHARED: dict[str, _State] = {}
_SHARED_LOCK = threading.Lock()


class MemoryCatalog(Catalog):
    """A catalog that ends with its process.

    Catalogs opened with the same name in one process are one catalog. It cannot be pickled: in
    another process it would be an empty one, and commits made there would be lost.

    Args:
        url: `memory://name` to share, `memory://` for a catalog of one's own.

    Example:
        >>> from lakerunner.model.commit import Commit
        >>> catalog = MemoryCatalog()
        >>> catalog.commit(Commit("c1", "acme", committed_ns=0))
        1
        >>> catalog.snapshot("acme", "logs").sequence
        1
    """

    def __init__(self, url: str = "memory://") -> None:
        name = url.removeprefix("memory://").strip("/")
        self.url = f"memory://{name}"
        with _SHARED_LOCK:
            self._state = _SHARED.setdefault(name, _State()) if name else _State()

    def commit(self, commit: Commit) -> int:
        """Apply a commit under the one lock of its name."""
        commit = check_commit(commit)
        state = self._state
        with state.lock:
            refuse_unfinished(state.standing, commit.adopts)
            if known := state.commits.get(commit.id):
                return known
            refuse_strangers(commit, state.standing)
            states = {one.source: state.sources.get(one.source) for one in commit.taken}
            wanted = (*commit.remove, *commit.require_live)
            added = [segment.id for segment in commit.add]
            refuse_conflicts(
                commit,
                taken=[one for one, known in states.items() if known is SourceState.TAKEN],
                gone=[name for name in wanted if not self._is_live(commit, name)],
                known=[name for name in added if name in state.table_of],
                condemned=[name for name in added if name in state.condemned],
                late=late_segments(commit, state.standing),
                changed=[one for one in commit.unchanged_since if self._changed(commit, one)],
            )
            return self._apply(commit)

    def _apply(self, commit: Commit) -> int:
        state = self._state
        removed = [state.table_of[name].live_segment(name) for name in commit.remove]
        sources = [*(one.source for one in commit.taken), *(r.source for r in commit.rejected)]
        states = {one: state.sources[one] for one in sources if one in state.sources}
        change = commit_change(commit, removed, states)
        sequence = state.commits[commit.id] = len(state.commits) + 1
        newest_ns = max(state.newest_ns[-1:], default=commit.committed_ns)
        state.newest_ns.append(max(newest_ns, commit.committed_ns))
        for name, part in change.tables.items():
            key = commit.organization, name
            table = state.tables.setdefault(key, _Table(commit.organization))
            for segment in part.add:
                table.add(segment, sequence)
                state.table_of[segment.id] = table
            for segment in part.remove:
                table.remove(segment.id, sequence, commit.committed_ns)
            table.count(part)
        self._record_sources(commit.organization, change)
        return sequence

    def _is_live(self, commit: Commit, segment_id: str) -> bool:
        table = self._state.table_of.get(segment_id)
        return (
            table is not None
            and table.organization == commit.organization
            and segment_id in table.ends
        )

    def _changed(self, commit: Commit, wanted: Unchanged) -> bool:
        if wanted.sequence < self._state.standing.purged:
            return True  # it cannot be told
        table = self._state.tables.get((commit.organization, wanted.table))
        if table is None:
            return False
        part = TimeRange(wanted.start_ns, wanted.end_ns)
        return table.overlapping(part, None) != table.overlapping(part, wanted.sequence)

    def _record_sources(self, organization: str, change: CommitChange) -> None:
        state = self._state
        for source in change.touched:
            state.rejections.pop(source, None)
        for rejection in change.rejected:
            state.sources[rejection.source] = SourceState.REJECTED
            _, reasons = state.rejections.setdefault(rejection.source, (organization, []))
            reasons.append(rejection)
        for source in change.taken:
            state.sources[source] = SourceState.TAKEN

    def segments(
        self,
        organization: str,
        table: str,
        time_range: TimeRange = ALL_TIME,
        *,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        """Find segments by bisection in the order of their ends."""
        with self._state.lock:
            require_readable(sequence, self._state.standing.purged)
            found = self._state.tables.get((organization, table))
            return found.overlapping(time_range, sequence) if found else []

    def page(
        self,
        organization: str,
        table: str,
        *,
        after: Place | None = None,
        limit: int = PAGE,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        """Take the next ones in the order of their ends, in which they are held."""
        with self._state.lock:
            found = self._state.tables.get((organization, table))
            if sequence is not None:
                require_readable(sequence, self._state.standing.purged)
                then = found.overlapping(ALL_TIME, sequence) if found else []
                places = sorted((Place(one.max_timestamp_ns, one.id), one) for one in then)
                return [one for place, one in places if after is None or place > after][:limit]
            live = found.live if found else []
            start = 0 if after is None else bisect_left(live, (after[0], f"{after[1]}\0"))
            return [entry.segment for entry in live[start : start + limit]]

    def known(self, segment_ids: Sequence[str]) -> set[str]:
        """Look ids up."""
        with self._state.lock:
            return self._state.table_of.keys() & set(segment_ids)

    def tables(self, *, ever: bool = False) -> Sequence[tuple[str, str]]:
        """List the tables."""
        with self._state.lock:
            return sorted(key for key, table in self._state.tables.items() if ever or table.live)

    def sources(self, sources: Sequence[Source]) -> dict[Source, SourceState]:
        """Look sources up."""
        with self._state.lock:
            known = self._state.sources
            return {source: known[source] for source in sources if source in known}

    def forget(self, sources: Sequence[Source]) -> None:
        """Delete what is known of them."""
        with self._state.lock:
            refuse_unfinished(self._state.standing)
            for source in sources:
                self._state.sources.pop(source, None)
                self._state.rejections.pop(source, None)

    def snapshot(self, organization: str, table: str) -> Snapshot:
        """Describe a table from its running totals."""
        with self._state.lock:
            found = self._state.tables.get((organization, table)) or _Table(organization)
            return Snapshot(
                sequence=len(self._state.commits),
                segments=len(found.live),
                rows=found.rows,
                bytes=found.bytes,
                columns=summarise_counts(found.columns.items()),
            )

    def sequence_at(self, time_ns: int) -> int:
        """Find the state at a time by bisection."""
        with self._state.lock:
            return bisect_right(self._state.newest_ns, time_ns)

    def rejections(self, organization: str) -> Sequence[Rejection]:
        """List what is set aside."""
        with self._state.lock:
            found = [
                rejection
                for owner, reasons in self._state.rejections.values()
                if owner == organization
                for rejection in reasons
            ]
        return sorted(found, key=attrgetter("rejected_at_ns", "source"))

    def removed(self, before_ns: int, *, limit: int | None = None) -> Sequence[Segment]:
        """List removed segments, of all organizations."""
        with self._state.lock:
            found = [
                entry
                for table in self._state.tables.values()
                for entry in table.removed.values()
                if entry.removed_ns < before_ns
            ]
        found.sort(key=lambda entry: (entry.removed_ns, entry.segment.id))
        return [entry.segment for entry in found[:limit]]

    def purge(self, segment_ids: Sequence[str]) -> None:
        """Forget removed segments."""
        with self._state.lock:
            table_of = self._state.table_of
            known = [
                segment_id for segment_id in dict.fromkeys(segment_ids) if segment_id in table_of
            ]
            refuse_live(
                [segment_id for segment_id in known if segment_id in table_of[segment_id].ends]
            )
            purged = self._state.standing.purged
            for segment_id in known:
                purged = max(purged, table_of.pop(segment_id).removed.pop(segment_id).removed)
            self._state.standing = replace(self._state.standing, purged=purged)

    def head(self) -> Head:
        """Say where the catalog stands."""
        with self._state.lock:
            return self._state.head()

    def condemn(
        self, segment_ids: Sequence[str], incarnation: int, *, floor: int = 0
    ) -> Sequence[str]:
        """Condemn what no commit has added."""
        state = self._state
        with state.lock:
            condemnable(incarnation, state.standing)
            free = [name for name in dict.fromkeys(segment_ids) if name not in state.table_of]
            floor = max(floor, state.standing.floor)
            state.standing = replace(state.standing, floor=floor)
            state.condemned = {
                name
                for name in state.condemned.union(free)
                if (epoch := epoch_of(name)) is None or epoch >= floor
            }
            return free

    def settle(self, lake: str, incarnation: int, *, whole: bool) -> None:
        """Become the catalog of an incarnation of a lake."""
        state = self._state
        with state.lock:
            settled(state.standing, lake, incarnation)
            state.standing = replace(
                state.standing, lake=lake, incarnation=incarnation, whole=whole
            )

    def leases(self) -> Leases:
        """Leases of this process, as the catalog is."""
        return self._state.leases

    def __reduce__(self) -> tuple[object, ...]:
        raise ConfigurationError(
            f"{self.url!r} exists in this process only; between processes, share a sqlite:/// one"
        )

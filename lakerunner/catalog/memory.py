"""A catalog in the memory of one process; also the reference answer in doubt."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.catalog.admission import check_commit, refuse_conflicts, refuse_live
from lakerunner.catalog.base import ALL_TIME, Catalog
from lakerunner.catalog.columns import column_changes, summarise_counts
from lakerunner.errors import ConfigurationError
from lakerunner.model.commit import Snapshot
from lakerunner.model.source import SourceState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.catalog.columns import ColumnKey
    from lakerunner.model.commit import Commit
    from lakerunner.model.segment import Segment
    from lakerunner.model.source import Rejection, Source
    from lakerunner.model.times import TimeRange

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
        extent_ns = segment.max_timestamp_ns - segment.min_timestamp_ns
        self.extent_ns = max(self.extent_ns, extent_ns)
        self.rows += segment.rows
        self.bytes += segment.bytes
        self._count_columns(column_changes([segment], []))

    def remove(self, segment_id: str, sequence: int, removed_ns: int) -> None:
        index = bisect_left(self.live, (self.ends.pop(segment_id), segment_id))
        entry = self.live.pop(index)
        self.removed[segment_id] = _Removed(entry.added, sequence, removed_ns, entry.segment)
        self.rows -= entry.segment.rows
        self.bytes -= entry.segment.bytes
        self._count_columns(column_changes([], [entry.segment]))

    def _count_columns(self, changes: dict[ColumnKey, int]) -> None:
        for key, change in changes.items():
            self.columns[key] += change
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
        check_commit(commit)
        state = self._state
        with state.lock:
            if known := state.commits.get(commit.id):
                return known
            refuse_conflicts(
                commit,
                taken=[t.source for t in commit.taken if self._is_taken(t.source)],
                gone=[name for name in commit.remove if not self._is_live(commit, name)],
                known=[segment.id for segment in commit.add if segment.id in state.table_of],
            )
            sequence = state.commits[commit.id] = len(state.commits) + 1
            newest_ns = max(state.newest_ns[-1:], default=commit.committed_ns)
            state.newest_ns.append(max(newest_ns, commit.committed_ns))
            for segment in commit.add:
                key = segment.organization, segment.table
                table = state.table_of[segment.id] = state.tables.setdefault(
                    key, _Table(commit.organization)
                )
                table.add(segment, sequence)
            for name in commit.remove:
                state.table_of[name].remove(name, sequence, commit.committed_ns)
            self._record_sources(commit)
            return sequence

    def _is_live(self, commit: Commit, segment_id: str) -> bool:
        table = self._state.table_of.get(segment_id)
        return (
            table is not None
            and table.organization == commit.organization
            and segment_id in table.ends
        )

    def _is_taken(self, source: Source) -> bool:
        return self._state.sources.get(source) is SourceState.TAKEN

    def _record_sources(self, commit: Commit) -> None:
        state = self._state
        rejected: dict[Source, list[Rejection]] = {}
        for rejection in commit.rejected:
            if not self._is_taken(rejection.source):
                rejected.setdefault(rejection.source, []).append(rejection)
        for source in [*rejected, *(taken.source for taken in commit.taken)]:
            state.rejections.pop(source, None)
        for source, reasons in rejected.items():
            state.sources[source] = SourceState.REJECTED
            state.rejections[source] = (commit.organization, reasons)
        for taken in commit.taken:
            state.sources[taken.source] = SourceState.TAKEN

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
            found = self._state.tables.get((organization, table))
            return found.overlapping(time_range, sequence) if found else []

    def tables(self) -> Sequence[tuple[str, str]]:
        """List the tables."""
        with self._state.lock:
            return sorted(key for key, table in self._state.tables.items() if table.live)

    def sources(self, sources: Sequence[Source]) -> dict[Source, SourceState]:
        """Look sources up."""
        with self._state.lock:
            known = self._state.sources
            return {source: known[source] for source in sources if source in known}

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

    def removed(self, before_ns: int) -> Sequence[Segment]:
        """List removed segments, of all organizations."""
        with self._state.lock:
            found = [
                entry
                for table in self._state.tables.values()
                for entry in table.removed.values()
                if entry.removed_ns < before_ns
            ]
        found.sort(key=lambda entry: (entry.removed_ns, entry.segment.id))
        return [entry.segment for entry in found]

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
            for segment_id in known:
                del table_of.pop(segment_id).removed[segment_id]

    def __reduce__(self) -> tuple[object, ...]:
        raise ConfigurationError(
            f"{self.url!r} exists in this process only; between processes, share a sqlite:/// one"
        )

"""A catalog so simple that it is right: a list of commits, folded anew for each question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.model.commit import Snapshot, summarise_columns
from lakerunner.model.segment import SourceState
from lakerunner.model.times import TimeRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.model.commit import Commit
    from lakerunner.model.segment import Rejection, Segment, Source


class CatalogModel:
    """What a catalog must answer after a history of commits and purges.

    Shares no code with the adapters. Not a `Catalog` itself: whoever drives it says which commits
    were applied, and asks beforehand whether they should be.
    """

    def __init__(self) -> None:
        self.history: list[tuple[int, Commit]] = []
        self.events: list[Commit | frozenset[Source]] = []  # commits, and sources to forget
        self.purged: set[str] = set()
        self.condemned: set[str] = set()
        self.floor = 0  # the last removal that was purged

    @property
    def sequence(self) -> int:
        """The number of the last commit, or 0."""
        return self.history[-1][0] if self.history else 0

    def apply(self, sequence: int, commit: Commit) -> None:
        """Note that a commit was applied under this number."""
        self.history.append((sequence, commit))
        self.events.append(commit)

    def forget(self, sources: Sequence[Source]) -> None:
        """Note that sources were forgotten."""
        self.events.append(frozenset(sources))

    def added(self) -> dict[str, tuple[int, Segment]]:
        """Every segment that is not purged, with the commit that added it."""
        return {
            segment.id: (sequence, segment)
            for sequence, commit in self.history
            for segment in commit.add
            if segment.id not in self.purged
        }

    def removals(self) -> dict[str, tuple[int, int]]:
        """By segment, the number and time of the commit that removed it."""
        return {
            segment_id: (sequence, commit.committed_ns)
            for sequence, commit in self.history
            for segment_id in commit.remove
            if segment_id not in self.purged
        }

    def live(self, organization: str, table: str) -> list[str]:
        """Ids of the segments of a table."""
        removals = self.removals()
        return [
            segment_id
            for segment_id, (_, segment) in self.added().items()
            if segment_id not in removals
            and (segment.organization, segment.table) == (organization, table)
        ]

    def tables(self, *, ever: bool = False) -> list[tuple[str, str]]:
        """Organizations and tables with segments, or that ever had some, in order."""
        if ever:
            return sorted({(one.organization, one.table) for _, c in self.history for one in c.add})
        gone = self.removals()
        return sorted(
            {
                (segment.organization, segment.table)
                for segment_id, (_, segment) in self.added().items()
                if segment_id not in gone
            }
        )

    def conflicts(self, commit: Commit) -> tuple[set[Source], set[str]]:
        """Over which sources and segments the commit must be refused."""
        states = self.sources()
        live = [
            segment_id
            for organization, table in self.tables()
            if organization == commit.organization
            for segment_id in self.live(organization, table)
        ]
        added = self.added()
        sources = {
            taken.source for taken in commit.taken if states.get(taken.source) is SourceState.TAKEN
        }
        gone = {name for name in (*commit.remove, *commit.require_live) if name not in live}
        bad = self.condemned.union(added)
        return sources, gone | {segment.id for segment in commit.add if segment.id in bad}

    def changed(self, commit: Commit) -> set[str]:
        """The tables that are not as the commit requires them to be."""
        found = set()
        for wanted in commit.unchanged_since:
            part = TimeRange(wanted.start_ns, wanted.end_ns)
            now = self.segments(commit.organization, wanted.table, part)
            then = self.segments(commit.organization, wanted.table, part, wanted.sequence)
            if now != then or wanted.sequence < self.floor:
                found.add(wanted.table)
        return found

    def purge(self, ids: set[str]) -> None:
        """Note that removed segments were forgotten."""
        removals = self.removals()
        self.floor = max([self.floor, *(removals[name][0] for name in ids if name in removals)])
        self.purged |= ids & set(self.added())

    def segments(
        self, organization: str, table: str, time_range: TimeRange, sequence: int | None = None
    ) -> list[Segment]:
        """Segments of a table that may hold rows of the range, in order."""
        at = self.sequence if sequence is None else sequence
        removals = self.removals()
        found = [
            segment
            for segment_id, (added, segment) in self.added().items()
            if added <= at
            and (segment_id not in removals or removals[segment_id][0] > at)
            and (segment.organization, segment.table) == (organization, table)
            and segment.min_timestamp_ns < time_range.end_ns
            and segment.max_timestamp_ns >= time_range.start_ns
        ]
        return sorted(found, key=lambda segment: (segment.min_timestamp_ns, segment.id))

    def snapshot(self, organization: str, table: str) -> Snapshot:
        """The state of a table."""
        added = self.added()
        live = [added[segment_id][1] for segment_id in self.live(organization, table)]
        return Snapshot(
            sequence=self.sequence,
            segments=len(live),
            rows=sum(segment.rows for segment in live),
            bytes=sum(segment.bytes for segment in live),
            columns=summarise_columns([segment.columns for segment in live]),
        )

    def sources(self) -> dict[Source, SourceState]:
        """The state of every source that was ever named."""
        states: dict[Source, SourceState] = {}
        for event in self.events:
            if isinstance(event, frozenset):
                states = {one: state for one, state in states.items() if one not in event}
                continue
            for rejection in event.rejected:
                states.setdefault(rejection.source, SourceState.REJECTED)
            for taken in event.taken:
                states[taken.source] = SourceState.TAKEN
        return states

    def sequence_at(self, time_ns: int) -> int:
        """The last commit before the first one after a time."""
        found = 0
        for sequence, commit in self.history:
            if commit.committed_ns > time_ns:
                break
            found = sequence
        return found

    def rejections(self, organization: str) -> list[Rejection]:
        """What is set aside, in order."""
        aside: dict[Source, tuple[str, Sequence[Rejection]]] = {}
        taken_before: set[Source] = set()
        for commit in self.events:
            if isinstance(commit, frozenset):
                aside = {one: reasons for one, reasons in aside.items() if one not in commit}
                taken_before -= commit
                continue
            named = {rejection.source for rejection in commit.rejected} - taken_before
            taken = {entry.source for entry in commit.taken}
            for source in taken | named:
                reasons = [entry for entry in commit.rejected if entry.source == source]
                aside[source] = (commit.organization, reasons)
            taken_before |= taken
        found = [
            rejection
            for owner, reasons in aside.values()
            if owner == organization
            for rejection in reasons
        ]
        return sorted(found, key=lambda entry: (entry.rejected_at_ns, entry.source))

    def removed(self, before_ns: int) -> list[Segment]:
        """Removed segments that are not purged, in order."""
        added = self.added()
        times = {
            segment_id: removed_ns
            for segment_id, (_, removed_ns) in self.removals().items()
            if removed_ns < before_ns
        }
        return [added[i][1] for i in sorted(times, key=lambda i: (times[i], i))]

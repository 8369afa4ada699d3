"""Which changes may be written behind a state, and what exactly is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from lakerunner.catalog.admission import (
    condemnable,
    late_segments,
    refuse_conflicts,
    refuse_live,
    refuse_strangers,
    refuse_unfinished,
    settled,
)
from lakerunner.catalog.bucket.claims import Claim, Kind, commit_digest, segment_digest
from lakerunner.catalog.bucket.delta import condemned_claims
from lakerunner.catalog.bucket.records import (
    CommitRecord,
    CondemnRecord,
    ForgetRecord,
    PurgedSegment,
    PurgeRecord,
    SettleRecord,
    TableChange,
)
from lakerunner.catalog.change import commit_change
from lakerunner.catalog.ledger import source_digest
from lakerunner.model.segment import SourceState
from lakerunner.model.times import TimeRange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakerunner.catalog.bucket.delta import TableKey
    from lakerunner.catalog.bucket.records import Record
    from lakerunner.catalog.bucket.state import State
    from lakerunner.catalog.change import CommitChange
    from lakerunner.model.commit import Commit, Unchanged
    from lakerunner.model.segment import Segment, Source

_KNOWN = (Kind.LIVE, Kind.REMOVED)


class Admission:
    """Judges changes one after the other, each as if the admitted ones before it were applied.

    Args:
        state: What is known; it is not changed.

    Attributes:
        records: What was admitted, in order.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._claims: dict[bytes, Claim] = {}
        self._sources: dict[bytes, SourceState | None] = {}
        self._added: dict[str, Segment] = {}
        self._numbers = dict(state.delta.numbers)
        self._head = state.delta.head
        self.records: list[Record] = []

    @property
    def position(self) -> int:
        """The position of the next record."""
        return self._state.position + 1 + len(self.records)

    def commit(self, commit: Commit) -> int:
        """Admit a commit and return its sequence; one that is known keeps the one it has.

        Raises:
            CommitConflictError: It may not be applied.
            CatalogMismatchError: It was begun in another incarnation of the lake.
        """
        refuse_unfinished(self._head, commit.adopts)
        added = {segment.id: segment_digest(segment.id) for segment in commit.add}
        wanted = {name: segment_digest(name) for name in (*commit.remove, *commit.require_live)}
        sources = {one.source: source_digest(one.source) for one in commit.taken}
        sources |= {one.source: source_digest(one.source) for one in commit.rejected}
        own = commit_digest(commit.id)
        claims = self._look_up([own, *added.values(), *wanted.values()])
        if known := claims.get(own):
            return known.value
        refuse_strangers(commit, self._head)
        tables = list(self._numbers)
        live = {
            name: tables[claim.value]
            for name, digest in wanted.items()
            if (claim := claims.get(digest)) and claim.kind is Kind.LIVE
        }
        states = self._states(sources)
        kinds = {name: claims[digest].kind for name, digest in added.items() if digest in claims}
        taken = [one.source for one in commit.taken]
        refuse_conflicts(
            commit,
            taken=[source for source in taken if states.get(source) is SourceState.TAKEN],
            gone=[
                name
                for name in (*commit.remove, *commit.require_live)
                if name not in live or live[name][0] != commit.organization
            ],
            known=[name for name in added if kinds.get(name) in _KNOWN],
            condemned=[name for name in added if kinds.get(name) is Kind.CONDEMNED],
            late=late_segments(commit, self._head),
            changed=[one for one in commit.unchanged_since if self._changed(commit, one)],
        )
        change = commit_change(commit, self._segments(commit.remove, live), states)
        return self._admit(commit, change)

    def purge(self, segment_ids: Sequence[str]) -> None:
        """Admit that removed segments are forgotten, if any of them is known.

        Raises:
            CommitConflictError: One of them is live.
        """
        names = list(dict.fromkeys(segment_ids))
        claims = self._look_up([segment_digest(name) for name in names])
        found = {name: claims.get(segment_digest(name)) for name in names}
        refuse_live([name for name, claim in found.items() if claim and claim.kind is Kind.LIVE])
        tables = list(self._numbers)
        purged: dict[TableKey, list[str]] = {}
        for name, claim in found.items():
            if claim and claim.kind is Kind.REMOVED:
                purged.setdefault(tables[claim.value], []).append(name)
        if purged:
            last = (self._state.last_removal(key, names) for key, names in purged.items())
            segments = (PurgedSegment(name, *key) for key in purged for name in purged[key])
            self.records.append(PurgeRecord(tuple(segments), max(last)))

    def condemn(self, segment_ids: Sequence[str], incarnation: int, floor: int) -> list[str]:
        """Admit that segments are never added, but for those that are known; returns which.

        Raises:
            CatalogMismatchError: The caller looked in another incarnation of the lake.
        """
        condemnable(incarnation, self._head)
        digests = {name: segment_digest(name) for name in segment_ids}
        claims = self._look_up(list(digests.values()))
        kinds = {name: claims[digest].kind for name, digest in digests.items() if digest in claims}
        free = [name for name in digests if kinds.get(name) not in _KNOWN]
        fresh = tuple(name for name in free if kinds.get(name) is not Kind.CONDEMNED)
        if fresh or floor > self._head.floor:
            self._claims |= condemned_claims(fresh)
            self._head = replace(self._head, floor=max(self._head.floor, floor))
            self.records.append(CondemnRecord(fresh, self._head.floor))
        return free

    def settle(self, lake: str, incarnation: int, *, whole: bool) -> None:
        """Admit that this is the catalog of an incarnation of a lake.

        Raises:
            CatalogMismatchError: It is that of another lake, or of a later incarnation.
        """
        settled(self._head, lake, incarnation)
        head = replace(self._head, lake=lake, incarnation=incarnation, whole=whole)
        if head != self._head:
            self._head = head
            self.records.append(SettleRecord(lake, incarnation, whole))

    def forget(self, sources: Sequence[Source]) -> None:
        """Admit that sources may be taken again, if any of them is known.

        Raises:
            CatalogMismatchError: The catalog is being recovered.
        """
        refuse_unfinished(self._head)
        digests = {source: source_digest(source) for source in sources}
        if known := tuple(self._states(digests)):
            self._sources |= dict.fromkeys((digests[source] for source in known), None)
            self.records.append(ForgetRecord(known))

    def _states(self, digests: Mapping[Source, bytes]) -> dict[Source, SourceState]:
        left = [digest for digest in digests.values() if digest not in self._sources]
        found = {**(self._state.sources(left) if left else {}), **self._sources}
        return {source: state for source, digest in digests.items() if (state := found.get(digest))}

    def _look_up(self, digests: Sequence[bytes]) -> dict[bytes, Claim]:
        own = {digest: self._claims[digest] for digest in digests if digest in self._claims}
        return self._state.claims([d for d in digests if d not in own]) | own

    def _changed(self, commit: Commit, wanted: Unchanged) -> bool:
        """Whether other segments are live in a part of a table than were then."""
        if wanted.sequence < self._head.purged:
            return True  # it cannot be told
        key = commit.organization, wanted.table
        part = TimeRange(wanted.start_ns, wanted.end_ns)
        then = {one.id for one in self._state.segments(key, part, wanted.sequence)}
        now = {one.id for one in self._state.segments(key, part, None)}
        for record in self.records:
            if isinstance(record, CommitRecord) and record.commit.organization == key[0]:
                now |= {
                    one.id
                    for one in record.commit.add
                    if one.table == wanted.table
                    and part.overlaps(one.min_timestamp_ns, one.max_timestamp_ns)
                }
                now.difference_update(record.commit.remove)
        return now != then

    def _segments(
        self, segment_ids: Sequence[str], tables: Mapping[str, TableKey]
    ) -> list[Segment]:
        """Live segments by their ids."""
        older: dict[TableKey, list[str]] = {}
        for name in segment_ids:
            if name not in self._added:
                older.setdefault(tables[name], []).append(name)
        found = [self._added[name] for name in segment_ids if name in self._added]
        for key, names in older.items():
            found += self._state.live(key, names)
        return found

    def _admit(self, commit: Commit, change: CommitChange) -> int:
        sequence = self.position
        if change.rejected != commit.rejected:
            commit = replace(commit, rejected=change.rejected)
        changes = {
            name: TableChange(
                removed=tuple(segment.id for segment in part.remove),
                segments=part.segments,
                rows=part.rows,
                bytes=part.bytes,
                columns=tuple(part.columns.items()),
            )
            for name, part in change.tables.items()
        }
        cleared = tuple(source for source in change.cleared if source in change.taken)
        self.records.append(CommitRecord(commit, changes, cleared))
        self._added |= {segment.id: segment for segment in commit.add}
        claims = self._claims
        claims[commit_digest(commit.id)] = Claim.commit(sequence)
        for name, part in change.tables.items():
            key = commit.organization, name
            number = self._numbers.setdefault(key, len(self._numbers))
            claims |= {segment_digest(one.id): Claim.removed(number) for one in part.remove}
            claims |= {segment_digest(one.id): Claim.live(number) for one in part.add}
        states = self._sources
        states |= {source_digest(one.source): SourceState.REJECTED for one in commit.rejected}
        states |= {source_digest(one.source): SourceState.TAKEN for one in commit.taken}
        self._head = replace(self._head, sequence=sequence)
        return sequence

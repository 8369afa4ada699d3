"""Which changes may be written behind a state, and what exactly is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from lakerunner.catalog.admission import refuse_conflicts, refuse_live
from lakerunner.catalog.bucket.claims import Claim, Kind
from lakerunner.catalog.bucket.digests import commit_digest, segment_digest, source_digest
from lakerunner.catalog.bucket.records import (
    CommitRecord,
    PurgedSegment,
    PurgeRecord,
    TableChange,
)
from lakerunner.catalog.columns import column_changes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakerunner.catalog.bucket.delta import TableKey
    from lakerunner.catalog.bucket.records import Record
    from lakerunner.catalog.bucket.state import State
    from lakerunner.model.commit import Commit
    from lakerunner.model.segment import Segment

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
        self._added: dict[str, Segment] = {}
        self._numbers = dict(state.delta.numbers)
        self.records: list[Record] = []

    @property
    def position(self) -> int:
        """The position of the next record."""
        return self._state.position + 1 + len(self.records)

    def commit(self, commit: Commit) -> int:
        """Admit a commit and return its sequence; one that is known keeps the one it has.

        Raises:
            CommitConflictError: It may not be applied.
        """
        digests = {
            "commit": [commit_digest(commit.id)],
            "taken": [source_digest(taken.source) for taken in commit.taken],
            "rejected": [source_digest(rejection.source) for rejection in commit.rejected],
            "add": [segment_digest(segment.id) for segment in commit.add],
            "remove": [segment_digest(name) for name in commit.remove],
        }
        claims = self._look_up([digest for group in digests.values() for digest in group])

        def kinds(group: str) -> list[Kind | None]:
            found = (claims.get(digest) for digest in digests[group])
            return [claim.kind if claim else None for claim in found]

        if known := claims.get(digests["commit"][0]):
            return known.value
        tables = list(self._numbers)
        removed = {
            name: tables[claim.value]
            for name, digest in zip(commit.remove, digests["remove"], strict=True)
            if (claim := claims.get(digest)) and claim.kind is Kind.LIVE
        }
        taken = list(zip(commit.taken, kinds("taken"), strict=True))
        refuse_conflicts(
            commit,
            taken=[entry.source for entry, kind in taken if kind is Kind.TAKEN],
            gone=[
                name
                for name in commit.remove
                if name not in removed or removed[name][0] != commit.organization
            ],
            known=[
                segment.id
                for segment, kind in zip(commit.add, kinds("add"), strict=True)
                if kind in _KNOWN
            ],
        )
        rejected = tuple(
            rejection
            for rejection, kind in zip(commit.rejected, kinds("rejected"), strict=True)
            if kind is not Kind.TAKEN
        )
        return self._admit(
            CommitRecord(
                commit
                if rejected == commit.rejected
                else structs.replace(commit, rejected=rejected),
                self._changes(commit, removed),
                tuple(entry.source for entry, kind in taken if kind is Kind.REJECTED),
            )
        )

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
        purged = tuple(
            PurgedSegment(name, *tables[claim.value]) for name, claim in found.items() if claim
        )
        if purged:
            self.records.append(PurgeRecord(purged))

    def _look_up(self, digests: Sequence[bytes]) -> dict[bytes, Claim]:
        own = {digest: self._claims[digest] for digest in digests if digest in self._claims}
        return self._state.claims([d for d in digests if d not in own]) | own

    def _changes(self, commit: Commit, removed: Mapping[str, TableKey]) -> dict[str, TableChange]:
        """What a commit does, by table, in the order in which it names them."""
        names = dict.fromkeys([one.table for one in commit.add])
        names |= dict.fromkeys(table for _, table in removed.values())
        changes = {}
        for table in names:
            key = commit.organization, table
            self._numbers.setdefault(key, len(self._numbers))
            gone = tuple(name for name in commit.remove if removed[name] == key)
            older = [name for name in gone if name not in self._added]
            old = [self._added[name] for name in gone if name in self._added]
            old += self._state.live(key, older) if older else []
            new = [segment for segment in commit.add if segment.table == table]
            changes[table] = TableChange(
                removed=gone,
                segments=len(new) - len(old),
                rows=sum(s.rows for s in new) - sum(s.rows for s in old),
                bytes=sum(s.bytes for s in new) - sum(s.bytes for s in old),
                columns=tuple(column_changes(new, old).items()),
            )
        return changes

    def _admit(self, record: CommitRecord) -> int:
        commit, sequence = record.commit, self.position
        self.records.append(record)
        self._added |= {segment.id: segment for segment in commit.add}
        claims = self._claims
        claims[commit_digest(commit.id)] = Claim.commit(sequence)
        for table, change in record.changes.items():
            number = self._numbers[commit.organization, table]
            claims |= {segment_digest(name): Claim.removed(number) for name in change.removed}
        for segment in commit.add:
            number = self._numbers[commit.organization, segment.table]
            claims[segment_digest(segment.id)] = Claim.live(number)
        claims |= {source_digest(r.source): Claim.source(taken=False) for r in commit.rejected}
        claims |= {source_digest(t.source): Claim.source(taken=True) for t in commit.taken}
        return sequence

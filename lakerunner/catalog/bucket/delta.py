"""What the log says since a checkpoint, folded into tables, claims and rejections."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from lakerunner.catalog.bucket.claims import Claim, commit_digest, segment_digest
from lakerunner.catalog.bucket.records import (
    CommitRecord,
    CondemnRecord,
    ForgetRecord,
    PurgeRecord,
)
from lakerunner.catalog.ledger import source_digest
from lakerunner.model.commit import Head, epoch_of
from lakerunner.model.times import MAX_NS, MIN_NS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lakerunner.catalog.bucket.claims import Moment
    from lakerunner.catalog.bucket.records import Entry, TableChange
    from lakerunner.catalog.change import ColumnKey
    from lakerunner.model.segment import Rejection, Segment

LIVE = MAX_NS
"""As the sequence of a removal: there was none."""

PURGED = -1
"""As the sequence of a removal: the segment is forgotten, and no state shows it."""

TableKey = tuple[str, str]
"""An organization and one of its tables."""


class Entered(NamedTuple):
    """A segment that was added since the checkpoint."""

    segment: Segment
    added: int
    removed: int
    removed_ns: int


class Mark(NamedTuple):
    """What became of a segment that the checkpoint has."""

    removed: int
    removed_ns: int


class TableDelta:
    """The changes of one table.

    Attributes:
        entered: Segments added since, by id; those purged since are not among them.
        marks: Removals of older segments, by id.
        segments: By how much the number of live segments has changed.
        rows: By how much their rows have.
        bytes: By how much their bytes have.
        columns: By how much the count of each column has.
    """

    def __init__(self) -> None:
        self.entered: dict[str, Entered] = {}
        self.marks: dict[str, Mark] = {}
        self.segments = self.rows = self.bytes = 0
        self.columns: Counter[ColumnKey] = Counter()

    def remove(self, segment_id: str, sequence: int, removed_ns: int) -> None:
        """A live segment is replaced or retired."""
        entered = self.entered.get(segment_id)
        if entered is None:
            self.marks[segment_id] = Mark(sequence, removed_ns)
        else:
            self.entered[segment_id] = entered._replace(removed=sequence, removed_ns=removed_ns)

    def purge(self, segment_id: str) -> None:
        """A removed segment is forgotten."""
        if self.entered.pop(segment_id, None) is None:
            self.marks[segment_id] = Mark(PURGED, 0)

    def live(self, sequence: int | None) -> list[Segment]:
        """Of the segments added since the checkpoint, those live after a commit, or now."""
        return [
            entry.segment
            for entry in self.entered.values()
            if (
                entry.removed == LIVE
                if sequence is None
                else entry.added <= sequence < entry.removed
            )
        ]

    def gone(self, sequence: int | None) -> set[str]:
        """Of the segments of the checkpoint, those removed up to a commit, or now."""
        return {
            name
            for name, mark in self.marks.items()
            if sequence is None or mark.removed <= sequence
        }

    def count(self, change: TableChange) -> None:
        """Follow the totals."""
        self.segments += change.segments
        self.rows += change.rows
        self.bytes += change.bytes
        for key, number in change.columns:
            self.columns[key] += number


class Delta:
    """Folds entries in the order of the log. Not safe to change and read at the same time.

    Args:
        tables: The tables that the checkpoint knows, by number.
        position: The last position before the first entry.
        sequence: The last commit before it.
        entry_id: The write id of the entry before it.
        entry_position: The first position of the entry before it.
        newest_ns: The latest time of a commit before it.
        head: Where the catalog stood.

    Attributes:
        tables: Changes by table.
        numbers: Number of each table, in the order in which the log first names them. All
            processes count alike, so claims may speak of tables by number.
        claims: What became of segments, commits, and sources that were set aside, by digest.
        taken: Whether a source was taken (or else forgotten), by digest.
        rejections: Owner and reasons by digest of the source; None where they were cleared.
        position: The last position it includes.
        sequence: The last commit it includes.
        entry_id: The write id of the last entry it includes.
        entry_position: The first position of that entry.
        newest_ns: The latest `committed_ns` of all commits up to it.
        moments: Commits that were later than all before them.
    """

    def __init__(
        self,
        tables: Iterable[TableKey] = (),
        *,
        position: int = 0,
        sequence: int = 0,
        entry_id: str = "",
        entry_position: int = 0,
        newest_ns: int = MIN_NS,
        head: Head = Head(0),  # noqa: B008 - immutable
    ) -> None:
        self.tables: dict[TableKey, TableDelta] = {}
        self.numbers: dict[TableKey, int] = {key: number for number, key in enumerate(tables)}
        self.claims: dict[bytes, Claim] = {}
        self.taken: dict[bytes, bool] = {}
        self.rejections: dict[bytes, tuple[str, Sequence[Rejection]] | None] = {}
        self.position = position
        self.sequence = sequence
        self.entry_id = entry_id
        self.entry_position = entry_position
        self.newest_ns = newest_ns
        self.moments: list[Moment] = []
        self._head = head

    @property
    def head(self) -> Head:
        """Where the catalog stands."""
        return replace(self._head, sequence=self.sequence)

    def apply(self, entry: Entry) -> None:
        """Add the entry that follows the last one."""
        for position, record in enumerate(entry.records, entry.position):
            if isinstance(record, CommitRecord):
                self._commit(record, position)
                if record.commit.committed_ns > self.newest_ns:
                    self.moments.append((self.sequence, record.commit.committed_ns))
                    self.newest_ns = record.commit.committed_ns
                self.sequence = position
            elif isinstance(record, PurgeRecord):
                self._purge(record)
            elif isinstance(record, CondemnRecord):
                self._condemn(record)
            elif isinstance(record, ForgetRecord):
                self._forget(record)
            else:
                self._head = replace(
                    self._head,
                    lake=record.lake,
                    incarnation=record.incarnation,
                    whole=record.whole,
                )
        self.position = entry.last
        self.entry_id = entry.id
        self.entry_position = entry.position

    def _table(self, key: TableKey) -> TableDelta:
        self.numbers.setdefault(key, len(self.numbers))
        return self.tables.setdefault(key, TableDelta())

    def _commit(self, record: CommitRecord, sequence: int) -> None:
        commit = record.commit
        for name, change in record.changes.items():
            key = commit.organization, name
            table = self._table(key)
            number = self.numbers[key]
            for segment_id in change.removed:
                table.remove(segment_id, sequence, commit.committed_ns)
                self.claims[segment_digest(segment_id)] = Claim.removed(number)
            table.count(change)
        for segment in commit.add:
            key = commit.organization, segment.table
            self._table(key).entered[segment.id] = Entered(segment, sequence, LIVE, 0)
            self.claims[segment_digest(segment.id)] = Claim.live(self.numbers[key])
        self.claims[commit_digest(commit.id)] = Claim.commit(sequence)
        self._sources(record)

    def _sources(self, record: CommitRecord) -> None:
        commit = record.commit
        reasons: dict[bytes, list[Rejection]] = {}
        for rejection in commit.rejected:
            reasons.setdefault(source_digest(rejection.source), []).append(rejection)
        for source in record.cleared:
            self.rejections[source_digest(source)] = None
            self.claims[source_digest(source)] = Claim.purged()
        for digest, rejections in reasons.items():
            self.claims[digest] = Claim.rejected()
            self.rejections[digest] = (commit.organization, rejections)
        for taken in commit.taken:
            self.taken[source_digest(taken.source)] = True

    def _forget(self, record: ForgetRecord) -> None:
        for digest in map(source_digest, record.sources):
            self.taken[digest] = False
            self.claims[digest] = Claim.purged()
            self.rejections[digest] = None

    def _purge(self, record: PurgeRecord) -> None:
        for purged in record.segments:
            self._table((purged.organization, purged.table)).purge(purged.id)
            self.claims[segment_digest(purged.id)] = Claim.purged()
        self._head = replace(self._head, purged=max(self._head.purged, record.purged))

    def _condemn(self, record: CondemnRecord) -> None:
        self.claims |= condemned_claims(record.segments)
        self._head = replace(self._head, floor=max(self._head.floor, record.floor))


def condemned_claims(segment_ids: Iterable[str]) -> dict[bytes, Claim]:
    """The claims of segments that are condemned."""
    epochs = {name: epoch_of(name) for name in segment_ids}
    return {
        segment_digest(name): Claim.condemned(MAX_NS if epoch is None else epoch)
        for name, epoch in epochs.items()
    }

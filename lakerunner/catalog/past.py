"""A catalog as it was after one commit: to read, and only while nothing of it is missing."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, NoReturn

from msgspec.structs import replace

from lakerunner.catalog.admission import require_readable
from lakerunner.catalog.base import ALL_TIME, PAGE, Catalog, Place
from lakerunner.catalog.change import ColumnKey, summarise_counts, table_change
from lakerunner.errors import ReadOnlyError, SnapshotExpiredError
from lakerunner.model.commit import LakeSnapshot, Snapshot, read_snapshot, seal, unseal
from lakerunner.model.times import isoformat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.catalog.leases import Leases
    from lakerunner.model.commit import Commit, Head
    from lakerunner.model.segment import Rejection, Segment, Source, SourceState
    from lakerunner.model.times import TimeLike, TimeRange


def present(catalog: Catalog, sealed_for: str | None = None) -> LakeSnapshot:
    """The state of a catalog now.

    Args:
        catalog: The catalog.
        sealed_for: The organization that gets to see it, if it is one of several: its number tells
            nothing then of how many commits others have made.
    """
    head = catalog.head()
    now = LakeSnapshot(head.sequence, time.time_ns(), head.incarnation)
    return sealed(catalog, now, sealed_for, head)


def sealed(
    catalog: Catalog, snapshot: LakeSnapshot, sealed_for: str | None, head: Head | None = None
) -> LakeSnapshot:
    """A state as an organization gets to see it; see `present`."""
    if sealed_for is None:
        return snapshot
    key = _keys(catalog, head or catalog.head(), sealed_for)[0]
    return replace(snapshot, sequence=seal(snapshot.sequence, key))


def _keys(catalog: Catalog, head: Head, organization: str) -> list[str]:
    """What the numbers that an organization sees are sealed with: the same in every process.

    A catalog that no lake has claimed yet has only its URL to tell it from others.
    """
    return [f"{identity} {organization}" for identity in (head.lake, catalog.url) if identity]


def open_past(
    catalog: Catalog, moment: LakeSnapshot | TimeLike, sealed_for: str | None = None
) -> PastCatalog:
    """A catalog as it was.

    Args:
        catalog: The catalog of today.
        moment: A snapshot, its text, or a time.
        sealed_for: The organization that a snapshot may be sealed for.

    Raises:
        InvalidTimeError: `moment` cannot be read.
        SnapshotExpiredError: Segments removed since have been purged, or it lies before the first
            commit, or is a state of another incarnation of the lake.
    """
    now_ns = time.time_ns()
    said = read_snapshot(moment, now_ns=now_ns)
    head = catalog.head()
    if isinstance(said, LakeSnapshot):
        shown = str(said)
        if sealed_for is not None:
            keys = _keys(catalog, head, sealed_for)
            sequence = min(unseal(said.sequence, key) for key in keys)
            said = replace(said, sequence=sequence)
        # Texts from before there were incarnations have none; no lake had been recovered then, but
        # for those whose catalog begins after the time in the text.
        same = said.incarnation in {head.incarnation, 0 if head.incarnation <= 1 else None}
        unborn = not said.incarnation and said.sequence and not catalog.sequence_at(said.time_ns)
        if not same or unborn or said.sequence > head.sequence:
            raise SnapshotExpiredError(
                f"{shown} is no state of {catalog.url}, but of another catalog, or of one that was "
                "recovered since",
                snapshot=shown,
            )
        return PastCatalog(catalog, said)
    sequence = catalog.sequence_at(said)
    if not sequence and head.sequence:
        # A recovered catalog begins with its recovery: to call the lake empty would be wrong.
        raise SnapshotExpiredError(
            f"the catalog knows of no commit before {isoformat(said)}", time_ns=said
        )
    return PastCatalog(catalog, LakeSnapshot(sequence, min(said, now_ns), head.incarnation))


class PastCatalog(Catalog):
    """Shows the segments that were live then. It is closed with the catalog it stands on.

    What it cannot know is that of today: the states of sources, and what is set aside.

    Each question is refused once a segment that was removed since is purged: an answer without it
    would be wrong and look right. No clock is asked.

    Args:
        inner: The catalog of today.
        snapshot: The state to show.

    Raises:
        SnapshotExpiredError: Segments removed since have been purged.

    Example:
        >>> from lakerunner.catalog import open_catalog
        >>> from lakerunner.model.commit import LakeSnapshot
        >>> past = PastCatalog(open_catalog("memory://"), LakeSnapshot(0, time.time_ns()))
        >>> past.snapshot("acme", "logs").segments
        0
    """

    def __init__(self, inner: Catalog, snapshot: LakeSnapshot) -> None:
        self.inner = inner
        self.url = inner.url
        self.at = snapshot
        self._snapshots: dict[tuple[str, str], Snapshot] = {}
        require_readable(snapshot.sequence, inner.head().purged)

    def segments(
        self,
        organization: str,
        table: str,
        time_range: TimeRange = ALL_TIME,
        *,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        """Find the segments that were live then, or before."""
        then = self.at.sequence if sequence is None else min(sequence, self.at.sequence)
        return self.inner.segments(organization, table, time_range, sequence=then)

    def page(
        self,
        organization: str,
        table: str,
        *,
        after: Place | None = None,
        limit: int = PAGE,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        """Find the next of the segments that were live then, or before."""
        then = self.at.sequence if sequence is None else min(sequence, self.at.sequence)
        return self.inner.page(organization, table, after=after, limit=limit, sequence=then)

    def known(self, segment_ids: Sequence[str]) -> set[str]:
        """Look segments up, as they are today."""
        return self.inner.known(segment_ids)

    def tables(self, *, ever: bool = False) -> Sequence[tuple[str, str]]:
        """List the tables that had segments then, of which some may have none today."""
        known = self.inner.tables(ever=True)
        return known if ever else [key for key in known if self.page(*key, limit=1)]

    def snapshot(self, organization: str, table: str) -> Snapshot:
        """Describe a table as it was. Its segments are looked at once, a page at a time."""
        key = organization, table
        if key not in self._snapshots:
            totals, columns = Counter[str](), Counter[ColumnKey]()
            for page in self.pages(*key):
                change = table_change(page, ())
                totals.update(segments=change.segments, rows=change.rows, bytes=change.bytes)
                columns.update(change.columns)
            self._snapshots[key] = Snapshot(
                sequence=self.at.sequence,
                segments=totals["segments"],
                rows=totals["rows"],
                bytes=totals["bytes"],
                columns=summarise_counts(columns.items()),
            )
        return self._snapshots[key]

    def sequence_at(self, time_ns: int) -> int:
        """Find an earlier state."""
        return min(self.inner.sequence_at(time_ns), self.at.sequence)

    def sources(self, sources: Sequence[Source]) -> dict[Source, SourceState]:
        """Look sources up, as they are today."""
        return self.inner.sources(sources)

    def rejections(self, organization: str) -> Sequence[Rejection]:
        """List what is set aside today."""
        return self.inner.rejections(organization)

    def removed(self, before_ns: int, *, limit: int | None = None) -> Sequence[Segment]:
        """List what is removed today."""
        return self.inner.removed(before_ns, limit=limit)

    def commit(self, commit: Commit) -> NoReturn:
        """Refuse."""
        raise ReadOnlyError(f"commit {commit.id!r}: the past cannot be changed")

    def purge(self, segment_ids: Sequence[str]) -> NoReturn:
        """Refuse."""
        raise ReadOnlyError(f"purge of {len(segment_ids)} segments: the past cannot be changed")

    def forget(self, sources: Sequence[Source]) -> NoReturn:
        """Refuse."""
        raise ReadOnlyError(f"to forget {len(sources)} sources: the past cannot be changed")

    def head(self) -> Head:
        """The state that is shown, of the incarnation of today."""
        return replace(self.inner.head(), sequence=self.at.sequence)

    def condemn(self, segment_ids: Sequence[str], incarnation: int, *, floor: int = 0) -> NoReturn:
        """Refuse."""
        del incarnation, floor
        raise ReadOnlyError(f"condemning {len(segment_ids)} segments: the past cannot be changed")

    def settle(self, lake: str, incarnation: int, *, whole: bool) -> NoReturn:
        """Refuse."""
        del incarnation, whole
        raise ReadOnlyError(f"to settle in lake {lake}: the past cannot be changed")

    def leases(self) -> Leases:
        """Those of today."""
        return self.inner.leases()

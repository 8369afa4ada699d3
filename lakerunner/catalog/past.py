"""A catalog as it was after one commit: to read, and only while nothing of it is missing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

from lakerunner.catalog.base import ALL_TIME, Catalog
from lakerunner.errors import ReadOnlyError, SnapshotExpiredError
from lakerunner.model.commit import Snapshot, summarise_columns
from lakerunner.model.snapshot import LakeSnapshot, read_snapshot
from lakerunner.model.times import MAX_NS, isoformat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.model.commit import Commit
    from lakerunner.model.segment import Segment
    from lakerunner.model.source import Rejection, Source, SourceState
    from lakerunner.model.times import TimeLike, TimeRange


def present(catalog: Catalog) -> LakeSnapshot:
    """The state of a catalog now."""
    now_ns = time.time_ns()  # read first: what is purged from now on had been removed before
    return LakeSnapshot(_sequence(catalog), now_ns)


def open_past(catalog: Catalog, moment: LakeSnapshot | TimeLike, *, kept_ns: int) -> PastCatalog:
    """A catalog as it was.

    Args:
        catalog: The catalog of today.
        moment: A snapshot, its text, or a time.
        kept_ns: How long removed segments are kept, in nanoseconds.

    Raises:
        InvalidTimeError: `moment` cannot be read.
        SnapshotExpiredError: It lies before what is kept, or before the first commit, or is a state
            of another catalog.
    """
    now_ns = time.time_ns()
    said = read_snapshot(moment, now_ns=now_ns)
    if isinstance(said, LakeSnapshot):
        past = PastCatalog(catalog, said, kept_ns)
        unborn = said.sequence and not catalog.sequence_at(said.time_ns)
        if unborn or said.sequence > _sequence(catalog):
            raise SnapshotExpiredError(
                f"{said} is no state of {catalog.url}, but of another catalog, or of one that was "
                "recovered since",
                snapshot=str(said),
            )
        return past
    past = PastCatalog(catalog, LakeSnapshot(catalog.sequence_at(said), min(said, now_ns)), kept_ns)
    if not past.at.sequence and _sequence(catalog):
        # A recovered catalog begins with its recovery: to call the lake empty would be wrong.
        raise SnapshotExpiredError(
            f"the catalog knows of no commit before {isoformat(said)}", time_ns=said
        )
    return past


def _sequence(catalog: Catalog) -> int:
    # The number is that of the whole catalog, whatever table is asked about.
    return catalog.snapshot("", "").sequence


class PastCatalog(Catalog):
    """Shows the segments that were live then. It is closed with the catalog it stands on.

    What it cannot know is that of today: the states of sources, and what is set aside.

    Each question is refused once the state is so old that segments removed since may be forgotten:
    an answer without them would be wrong and look right. The clock is read before and after the
    answer is fetched.

    Args:
        inner: The catalog of today.
        snapshot: The state to show.
        kept_ns: How long removed segments are kept, in nanoseconds.

    Example:
        >>> from lakerunner.catalog import open_catalog
        >>> from lakerunner.model.snapshot import LakeSnapshot
        >>> past = PastCatalog(open_catalog("memory://"), LakeSnapshot(0, time.time_ns()), 10**12)
        >>> past.snapshot("acme", "logs").segments
        0
    """

    def __init__(self, inner: Catalog, snapshot: LakeSnapshot, kept_ns: int) -> None:
        self.inner = inner
        self.url = inner.url
        self.at = snapshot
        self._kept_ns = kept_ns
        self._snapshots: dict[tuple[str, str], Snapshot] = {}
        self.require_kept()

    def require_kept(self) -> None:
        """Refuse to go on if segments of this state may be forgotten.

        Raises:
            SnapshotExpiredError: They may.
        """
        oldest_ns = time.time_ns() - self._kept_ns
        if self.at.time_ns < oldest_ns:
            raise SnapshotExpiredError(
                f"the state at {isoformat(self.at.time_ns)} is older than what is kept of removed "
                f"segments; the oldest that can be read is of {isoformat(oldest_ns)}",
                time_ns=self.at.time_ns,
                oldest_ns=oldest_ns,
            )

    def segments(
        self,
        organization: str,
        table: str,
        time_range: TimeRange = ALL_TIME,
        *,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        """Find the segments that were live then, or before."""
        self.require_kept()
        then = self.at.sequence if sequence is None else min(sequence, self.at.sequence)
        found = self.inner.segments(organization, table, time_range, sequence=then)
        self.require_kept()
        return found

    def tables(self) -> Sequence[tuple[str, str]]:
        """List the tables that had segments then, of which some may have none today."""
        gone = {(segment.organization, segment.table) for segment in self.inner.removed(MAX_NS)}
        return [key for key in sorted(gone.union(self.inner.tables())) if self.segments(*key)]

    def snapshot(self, organization: str, table: str) -> Snapshot:
        """Describe a table as it was. Its segments are looked at once."""
        self.require_kept()
        key = organization, table
        if key not in self._snapshots:
            found = self.segments(organization, table)
            self._snapshots[key] = Snapshot(
                sequence=self.at.sequence,
                segments=len(found),
                rows=sum(segment.rows for segment in found),
                bytes=sum(segment.bytes for segment in found),
                columns=summarise_columns([segment.columns for segment in found]),
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

    def removed(self, before_ns: int) -> Sequence[Segment]:
        """List what is removed today."""
        return self.inner.removed(before_ns)

    def commit(self, commit: Commit) -> NoReturn:
        """Refuse."""
        raise ReadOnlyError(f"commit {commit.id!r}: the past cannot be changed")

    def purge(self, segment_ids: Sequence[str]) -> NoReturn:
        """Refuse."""
        raise ReadOnlyError(f"purge of {len(segment_ids)} segments: the past cannot be changed")

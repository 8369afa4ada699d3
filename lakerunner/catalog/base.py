"""The contract of a catalog: what every adapter must promise, and what is derived from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple, Self

from lakerunner.model.times import TimeRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.catalog.leases import Leases
    from lakerunner.model.commit import Commit, Head, Snapshot
    from lakerunner.model.segment import Rejection, Segment, Source, SourceState

ALL_TIME = TimeRange()

PAGE = 1000
"""Segments in a page, unless it is said otherwise: some megabytes."""


class Place(NamedTuple):
    """A place in the order of a table's pages."""

    max_timestamp_ns: int
    id: str


class Catalog(ABC):
    """The record of all commits: which segments are live and which sources they account for.

    Every method may be called from any thread at once. Every method raises
    `CatalogUnavailableError` when the catalog cannot be reached or stays locked; this is not
    repeated below. Nothing is held locked between calls.

    Attributes:
        url: Where the catalog lives.
    """

    url: str

    @abstractmethod
    def commit(self, commit: Commit) -> int:
        """Apply a commit as one atomic, durable step, or not at all.

        To send the same commit again (same `id`) changes nothing and returns its first sequence.
        A source that was rejected before may be taken or rejected again; the newer state replaces
        the older, and taking it clears its rejections. One commit may take a source and set parts
        of it aside: it is taken, and these rejections stay. A source that an earlier commit took
        stays taken, and rejections of it are dropped: its rows are in the lake.

        Returns:
            The sequence number of the commit: greater than that of every earlier commit.

        Raises:
            CommitConflictError: A source in `taken` is already taken (`context["sources"]`), or a
                segment in `remove` or `require_live` is not live in this organization, or one in
                `add` is already there, is condemned, or has an epoch below the floor
                (`context["segments"]`), or a part of a table that should not have changed did
                (`context["tables"]`). Nothing was changed.
            CatalogMismatchError: A segment in `add` was written for another incarnation, or the
                catalog is being recovered and the commit is no part of that. Nothing was changed,
                and a catalog that is being recovered does not even say what it knows.
            CommitUnknownError: The reply was lost. Send the same commit again to find out.
            ConfigurationError: The commit contradicts itself: see `admission.check_commit`.
        """

    @abstractmethod
    def segments(
        self,
        organization: str,
        table: str,
        time_range: TimeRange = ALL_TIME,
        *,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        """Segments of one table that may hold rows in `time_range`, by (min timestamp, id).

        Cost grows with the number of segments returned, not with the number that exist. Their
        `sources` are empty: the files list them.

        Args:
            organization: Whose segments; no other's are ever returned.
            table: Which.
            time_range: Half-open; segments that only touch its end are left out.
            sequence: See the table as it was after this commit; None means now.

        Raises:
            SnapshotExpiredError: Segments that were removed after `sequence` have been purged, of
                whatever table, so that the answer might lack some.
        """

    @abstractmethod
    def page(
        self,
        organization: str,
        table: str,
        *,
        after: Place | None = None,
        limit: int = PAGE,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        """The next segments of a table in the order of (max timestamp, id), live now or once.

        To go through a table of any size in bounded memory: see `pages`. Cost grows with `limit`.

        Args:
            organization: Whose segments.
            table: Which.
            after: The place of the last segment of the page before; None begins at the first.
            limit: How many at most.
            sequence: Those that were live after this commit; None means now.

        Raises:
            SnapshotExpiredError: As for `segments`.
        """

    def pages(
        self, organization: str, table: str, *, size: int = PAGE, sequence: int | None = None
    ) -> Iterator[Sequence[Segment]]:
        """All segments of a table, some at a time, by (max timestamp, id).

        Each page of what is live now is of a state of its own: what is live all the while is in
        exactly one of them. Pages of an earlier state are of that one state.
        """
        after: Place | None = None
        while found := self.page(organization, table, after=after, limit=size, sequence=sequence):
            yield found
            if len(found) < size:
                return
            after = Place(found[-1].max_timestamp_ns, found[-1].id)

    @abstractmethod
    def known(self, segment_ids: Sequence[str]) -> set[str]:
        """Those of the ids that the catalog has, live or removed, of any organization."""

    @abstractmethod
    def tables(self, *, ever: bool = False) -> Sequence[tuple[str, str]]:
        """Every (organization, table) that has live segments, in order.

        Cost grows with the number of tables, not with that of segments.

        Args:
            ever: Those that ever had segments, as well.
        """

    @abstractmethod
    def sources(self, sources: Sequence[Source]) -> dict[Source, SourceState]:
        """The state of those of the given sources that the catalog knows, of any organization."""

    @abstractmethod
    def forget(self, sources: Sequence[Source]) -> None:
        """Forget that objects were taken or set aside; what came from them stays.

        One atomic, durable step in the order of commits. Each object costs a catalog up to 20
        bytes for as long as it is remembered. So it is for objects that are gone from where they
        are ingested from, and can never be listed there again: one that is still there is ingested
        once more. `recover` remembers all that a segment still names. Unknown ones are ignored.

        Raises:
            CatalogMismatchError: The catalog is being recovered. Nothing was changed.
        """

    @abstractmethod
    def snapshot(self, organization: str, table: str) -> Snapshot:
        """The current state of one table. Cost does not grow with the number of segments."""

    @abstractmethod
    def sequence_at(self, time_ns: int) -> int:
        """The state of the catalog at a time, as `segments` takes it: the last commit before then.

        That is the commit before the first one whose `committed_ns` lies after the given time, and
        0 if that is the very first. Writers choose `committed_ns`: one whose clock is ahead hides
        what follows its commit until that time has come.

        Args:
            time_ns: Nanoseconds since the epoch.

        Raises:
            SnapshotExpiredError: It is so long ago that the catalog does not know any more.
        """

    @abstractmethod
    def rejections(self, organization: str) -> Sequence[Rejection]:
        """Everything that is set aside and was not taken since, by (time, source)."""

    @abstractmethod
    def removed(self, before_ns: int, *, limit: int | None = None) -> Sequence[Segment]:
        """Segments removed by commits whose `committed_ns` lies before the given time.

        Those of all organizations, by (time of removal, id). They are no longer part of the current
        state, but an older sequence may still see them.

        Args:
            before_ns: Nanoseconds since the epoch.
            limit: How many at most, the first ones. What was purged makes room for the next.
        """

    @abstractmethod
    def purge(self, segment_ids: Sequence[str]) -> None:
        """Forget removed segments for good, before their objects are deleted.

        Ids that are unknown are ignored. States from before the last of these removals cannot be
        read any more, now and for ever.

        Raises:
            CommitConflictError: One of the segments is live. Nothing was changed.
        """

    @abstractmethod
    def head(self) -> Head:
        """Where the catalog stands: after every commit that was acknowledged before the call."""

    @abstractmethod
    def condemn(
        self, segment_ids: Sequence[str], incarnation: int, *, floor: int = 0
    ) -> Sequence[str]:
        """Make sure that segments are never added; only then may their files be deleted.

        One atomic, durable step in the order of commits. To condemn an id again changes nothing.
        Condemned ids are remembered until the floor is above their epoch, and those without an
        epoch for ever.

        Args:
            segment_ids: Of files that no commit is known to name.
            incarnation: The one in which the caller looked.
            floor: From now on, no segment with a lower epoch is added. The highest one ever given
                counts.

        Returns:
            Those that are condemned now, in order. The others are live, or were removed and not
            purged yet: their files must stay.

        Raises:
            CatalogMismatchError: The catalog is of another incarnation, or is being recovered.
                Nothing was changed.
        """

    @abstractmethod
    def settle(self, lake: str, incarnation: int, *, whole: bool) -> None:
        """Make this the catalog of an incarnation of a lake. To say it again changes nothing.

        Args:
            lake: Identity of the lake.
            incarnation: Number of the incarnation.
            whole: Whether all of the lake is in the catalog. Until it is, only commits with
                `Commit.adopts` are taken.

        Raises:
            CatalogMismatchError: It is the catalog of another lake, or of a later incarnation.
        """

    @abstractmethod
    def leases(self) -> Leases:
        """Leases for work, shared by all who open this catalog, wherever they run."""

    def organizations(self) -> Sequence[str]:
        """Every organization that has live segments, in order of their names."""
        return list(dict.fromkeys(organization for organization, _ in self.tables()))

    def close(self) -> None:  # noqa: B027 - a catalog in memory has nothing to release
        """Release connections and files. Further calls may fail."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

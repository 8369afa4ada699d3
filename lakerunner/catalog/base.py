"""The contract of a catalog: what every adapter must promise, and what is derived from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from lakerunner.model.times import TimeRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.model.commit import Commit, Snapshot
    from lakerunner.model.segment import Segment
    from lakerunner.model.source import Rejection, Source, SourceState

ALL_TIME = TimeRange()


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
                segment in `remove` is not live in this organization or one in `add` is already
                there (`context["segments"]`). Nothing was changed.
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

        Cost grows with the number of segments returned, not with the number that exist.

        Args:
            organization: Whose segments; no other's are ever returned.
            table: Which.
            time_range: Half-open; segments that only touch its end are left out.
            sequence: See the table as it was after this commit; None means now. Segments whose
                removal has been purged since are missing from it.
        """

    @abstractmethod
    def tables(self) -> Sequence[tuple[str, str]]:
        """Every (organization, table) that has live segments, in order.

        Cost grows with the number of tables, not with that of segments.
        """

    @abstractmethod
    def sources(self, sources: Sequence[Source]) -> dict[Source, SourceState]:
        """The state of those of the given sources that the catalog knows, of any organization."""

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
    def removed(self, before_ns: int) -> Sequence[Segment]:
        """Segments removed by commits whose `committed_ns` lies before the given time.

        Those of all organizations, by (time of removal, id). They are no longer part of the current
        state, but an older sequence may still see them.
        """

    @abstractmethod
    def purge(self, segment_ids: Sequence[str]) -> None:
        """Forget removed segments for good, once their objects are deleted.

        Ids that are unknown are ignored.

        Raises:
            CommitConflictError: One of the segments is live. Nothing was changed.
        """

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

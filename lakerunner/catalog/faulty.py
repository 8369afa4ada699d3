"""A catalog that fails on schedule, for tests of whatever stands above it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.catalog.base import ALL_TIME, PAGE, Catalog, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.catalog.leases import Leases
    from lakerunner.model.commit import Commit, Snapshot
    from lakerunner.model.faults import FaultPlan
    from lakerunner.model.head import Head
    from lakerunner.model.segment import Segment
    from lakerunner.model.source import Rejection, Source, SourceState
    from lakerunner.model.times import TimeRange


class FaultyCatalog(Catalog):
    """Passes every call on, unless its plan stops it before or loses its reply after.

    A fault with `after=True` is a lost reply: the commit is applied and the writer never hears of
    it. With `error=CommitUnknownError(...)` the writer lives and must look; with no error its
    process ends there. Calls count as `catalog.commit`, `catalog.segments` and so on; `close` is
    never counted and never fails.

    Args:
        inner: The catalog that does the work.
        plan: When to fail; may be shared with a faulty store.

    Example:
        >>> from lakerunner.catalog import open_catalog
        >>> from lakerunner.errors import CommitUnknownError
        >>> from lakerunner.model.commit import Commit
        >>> from lakerunner.model.faults import Fault, FaultPlan
        >>> lost = Fault(1, "catalog.commit", after=True, error=CommitUnknownError("no reply"))
        >>> catalog = FaultyCatalog(open_catalog("memory://"), FaultPlan(lost))
        >>> commit = Commit("c1", "acme", committed_ns=0)
        >>> try:
        ...     catalog.commit(commit)
        ... except CommitUnknownError:
        ...     print("applied as", catalog.commit(commit))
        applied as 1
    """

    def __init__(self, inner: Catalog, plan: FaultPlan) -> None:
        self.inner = inner
        self.plan = plan
        self.url = inner.url

    def commit(self, commit: Commit) -> int:
        """Apply a commit."""
        with self.plan.call("catalog.commit"):
            return self.inner.commit(commit)

    def segments(
        self,
        organization: str,
        table: str,
        time_range: TimeRange = ALL_TIME,
        *,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        """Find the segments of a time range."""
        with self.plan.call("catalog.segments"):
            return self.inner.segments(organization, table, time_range, sequence=sequence)

    def page(
        self, organization: str, table: str, *, after: Place | None = None, limit: int = PAGE
    ) -> Sequence[Segment]:
        """Find the next segments."""
        with self.plan.call("catalog.page"):
            return self.inner.page(organization, table, after=after, limit=limit)

    def known(self, segment_ids: Sequence[str]) -> set[str]:
        """Look segments up."""
        with self.plan.call("catalog.known"):
            return self.inner.known(segment_ids)

    def tables(self) -> Sequence[tuple[str, str]]:
        """List the tables."""
        with self.plan.call("catalog.tables"):
            return self.inner.tables()

    def sources(self, sources: Sequence[Source]) -> dict[Source, SourceState]:
        """Look sources up."""
        with self.plan.call("catalog.sources"):
            return self.inner.sources(sources)

    def snapshot(self, organization: str, table: str) -> Snapshot:
        """Describe a table."""
        with self.plan.call("catalog.snapshot"):
            return self.inner.snapshot(organization, table)

    def sequence_at(self, time_ns: int) -> int:
        """Find the state at a time."""
        with self.plan.call("catalog.sequence_at"):
            return self.inner.sequence_at(time_ns)

    def rejections(self, organization: str) -> Sequence[Rejection]:
        """List what is set aside."""
        with self.plan.call("catalog.rejections"):
            return self.inner.rejections(organization)

    def removed(self, before_ns: int) -> Sequence[Segment]:
        """List removed segments."""
        with self.plan.call("catalog.removed"):
            return self.inner.removed(before_ns)

    def purge(self, segment_ids: Sequence[str]) -> None:
        """Forget removed segments."""
        with self.plan.call("catalog.purge"):
            self.inner.purge(segment_ids)

    def head(self) -> Head:
        """Say where the catalog stands."""
        with self.plan.call("catalog.head"):
            return self.inner.head()

    def condemn(
        self, segment_ids: Sequence[str], incarnation: int, *, floor: int = 0
    ) -> Sequence[str]:
        """Make sure that segments are never added."""
        with self.plan.call("catalog.condemn"):
            return self.inner.condemn(segment_ids, incarnation, floor=floor)

    def settle(self, lake: str, incarnation: int, *, whole: bool) -> None:
        """Become the catalog of an incarnation of a lake."""
        with self.plan.call("catalog.settle"):
            self.inner.settle(lake, incarnation, whole=whole)

    def leases(self) -> Leases:
        """The inner catalog's; calls to them are not counted."""
        return self.inner.leases()

    def close(self) -> None:
        """Close the inner catalog."""
        self.inner.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

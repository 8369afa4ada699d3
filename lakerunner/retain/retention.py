"""Whole windows go when the last of their rows is expired; nothing is read or written for it."""

from __future__ import annotations

import time
import uuid
from functools import partial
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from lakerunner.catalog.base import PAGE
from lakerunner.errors import CatalogError, ObjectNotFoundError, ObjectRangeError, SegmentError
from lakerunner.fencing import Fence
from lakerunner.fencing.fence import heights, present_ns, reached_before, thin_out
from lakerunner.model.commit import Commit
from lakerunner.model.config import read_config
from lakerunner.model.report import WorkReport
from lakerunner.model.times import MIN_NS, TimeRange, isoformat
from lakerunner.policies.recovery import orphans, unusual
from lakerunner.policies.retention import expired, read_retention
from lakerunner.publish.committing import announce_removal, publish_removal, read_footer
from lakerunner.retain.deleting import carry_out
from lakerunner.schema.tables import TABLES
from lakerunner.scope import Scope
from lakerunner.segments.layout import SEGMENTS_PREFIX, segment_of
from lakerunner.tasks import Manner, Task, run_tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.model.config import Config
    from lakerunner.model.segment import Segment
    from lakerunner.policies.retention import RetentionRules
    from lakerunner.store import ObjectStore
    from lakerunner.tasks import Hold

_WHAT = "retain"
_ANYHOW = Manner()
_DAMAGES = (SegmentError, ObjectNotFoundError, ObjectRangeError)
_WINDOW = attrgetter("window_start_ns", "resolution_ns")


class Retention:
    """Drops what `Config.retention` does not keep, and what was deleted, of all organizations.

    Queries do not see expired rows, whether they are gone or not (`query.hiding`); this makes room.
    A window goes as a whole, in one commit, when its last row is expired; its files stay as long as
    those of any removed segment. Segments with rows that `Lake.delete` was asked to delete are
    rewritten without them. Safe to use from several threads, on several machines.

    Args:
        store: Where segments lie.
        catalog: What knows them.
        config: Settings, or a mapping of them.

    Raises:
        ConfigurationError: The settings of retention cannot be read.

    Example:
        >>> from lakerunner.catalog import open_catalog
        >>> from lakerunner.store import open_store
        >>> worker = Retention(open_store("memory://"), open_catalog("memory://"))
        >>> worker.run().tasks
        0
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        *,
        config: Config | Mapping[str, Any] | None = None,
    ) -> None:
        settings = read_config(config)
        self._rules = read_retention(settings)
        self._scope = Scope(store, catalog, "default", settings)

    @classmethod
    def within(cls, scope: Scope) -> Retention:
        """The worker of a scope: if that is bound, of one organization."""
        worker = cls(scope.store, scope.catalog, config=scope.config)
        worker._scope = scope
        return worker

    def run(self, manner: Manner = _ANYHOW, *, dry_run: bool = False) -> WorkReport:
        """Drop what is expired, and carry out deletions.

        What is expired is told by the earlier of two clocks, the store's and our own: one that is
        days ahead drops nothing too soon.

        Args:
            manner: How; see `lakerunner.tasks`.
            dry_run: Only say what would be dropped.

        Raises:
            CatalogMismatchError: The catalog is not this lake's, or not up to it.
            CatalogUnavailableError: It cannot be reached.
            StoreError: The lake cannot be read.
        """
        # Not the other way round: what has expired need not be rewritten.
        parts = [stage(manner, dry_run=dry_run) for stage in (self.drop, self.delete)]
        return WorkReport.of(_WHAT, parts)

    def drop(self, manner: Manner = _ANYHOW, *, dry_run: bool = False) -> WorkReport:
        """Drop what is expired, and nothing else; see `run`."""
        own_ns = time.time_ns()
        now_ns = own_ns if dry_run else min(own_ns, present_ns(self._scope.store))
        tasks = _tasks(self._scope, self._rules, now_ns) if self._rules.kept else ()
        if dry_run:
            return WorkReport(_WHAT, planned=tuple(map(_line, tasks)))
        return run_tasks(self._scope, _WHAT, tasks, _drop, manner)

    def delete(self, manner: Manner = _ANYHOW, *, dry_run: bool = False) -> WorkReport:
        """Carry out deletions, and nothing else; see `run`."""
        return carry_out(self._scope, manner, dry_run=dry_run)


def _tasks(scope: Scope, rules: RetentionRules, now_ns: int) -> Iterator[Task[tuple[Segment, ...]]]:
    for owner, table in scope.catalog.tables():
        # What a newer version keeps in tables of its own, and what a lake keeps for itself, stays.
        if table not in TABLES or (scope.bound and owner != scope.organization):
            continue
        latest_ns = max(rules.bounds(owner, table, now_ns=now_ns).values())
        if latest_ns <= MIN_NS:
            continue
        old = scope.catalog.segments(owner, table, TimeRange(MIN_NS, latest_ns))
        gone = sorted(expired(old, rules, now_ns), key=_WINDOW)
        for (start_ns, resolution_ns), found in groupby(gone, _WINDOW):
            part = str(resolution_ns) if resolution_ns else ""
            yield Task(_WHAT, owner, table, start_ns, tuple(found), part)


def _line(task: Task[tuple[Segment, ...]]) -> str:
    rows, size = sum(one.rows for one in task.payload), sum(one.bytes for one in task.payload)
    latest = isoformat(max(one.max_timestamp_ns for one in task.payload))
    return (
        f"{task.name}: drop {len(task.payload):,} segments, {rows:,} rows up to {latest}, "
        f"{size / 1e6:,.1f} MB"
    )


def _drop(scope: Scope, task: Task[tuple[Segment, ...]], hold: Hold) -> WorkReport:
    fence = Fence(scope.store, scope.catalog)
    head = fence.begin()
    wanted = {one.id for one in task.payload}
    first, last = (
        min(one.min_timestamp_ns for one in task.payload),
        max(one.max_timestamp_ns for one in task.payload),
    )
    near = scope.catalog.segments(task.organization, task.table, TimeRange(first, last + 1))
    gone = [one for one in near if one.id in wanted]
    if not gone:
        return WorkReport(_WHAT)  # somebody else was here since this was planned
    commit_id = uuid.uuid4().hex
    announce = partial(announce_removal, fence, _WHAT, gone, head, commit_id=commit_id)
    try:
        announced = announce()
    except _DAMAGES:  # what is expired goes all the same
        announced = announce(unreadable=_unreadable(scope.store, gone))
    hold.check()
    removed = tuple(one.id for one in gone)
    commit = Commit(commit_id, task.organization, time.time_ns(), remove=removed)
    publish_removal(fence, commit, announced, head, scope.config)
    fence.leave_height()
    return WorkReport(
        _WHAT,
        tasks=1,
        removed=len(gone),
        rows_removed=sum(one.rows for one in gone),
        bytes_removed=sum(one.bytes for one in gone),
    )


def _unreadable(store: ObjectStore, segments: Iterable[Segment]) -> Sequence[str]:
    """Ids of segments whose footers are damaged or gone."""
    found = []
    for one in segments:
        try:
            read_footer(store, one.key, one.bytes)
        except _DAMAGES:
            found.append(one.id)
    return found


# Delete what crashes left behind: files that no commit names.


def collect_orphans(
    store: ObjectStore,
    catalog: Catalog,
    config: Config,
    *,
    dry_run: bool = False,
    force: bool = False,
) -> Sequence[str]:
    """Delete segment files that no commit names and that are older than `config.orphan_grace_ns`.

    They are condemned first, so that no commit that is still on its way can name them afterwards,
    however long its writer was stopped. The age is by the clock of the store, and a courtesy: it
    keeps writers from having to begin again.

    Args:
        store: The lake.
        catalog: What names its segments; the one that all of its writers use.
        config: For the grace period.
        dry_run: Only say what would be deleted.
        force: Delete an unusual share of the lake, too, and make the catalog that of the lake even
            if it is empty, or of another one.

    Returns:
        Keys of the orphans, in key order.

    Raises:
        CatalogMismatchError: The catalog is not this lake's, or not up to it.
        CatalogError: An unusual share of the lake would go.
        StoreError: The lake cannot be listed, or an orphan cannot be deleted.
    """
    fence = Fence(store, catalog)
    head = catalog.head() if dry_run else fence.take_over() if force else fence.begin()
    now_ns = present_ns(store)
    # Listed first, and asked for afterwards: what is committed in between is known. One answer for
    # live and removed segments alike, so none can slip from the one to the other unseen.
    found, files = list[str](), 0
    listing = store.list(SEGMENTS_PREFIX)
    while page := list(islice(listing, PAGE)):
        files += len(page)
        known = catalog.known([segment_of(item.key) for item in page])
        named = {item.key for item in page if segment_of(item.key) in known}
        found += orphans(page, named, now_ns=now_ns, grace_ns=config.orphan_grace_ns)
    if dry_run:
        return found
    if not force and unusual(len(found), files):
        raise CatalogError(
            f"{len(found):,} of the {files:,} segments in {store.url} are named by no commit "
            f"of {catalog.url}: nothing was deleted. If the catalog was lost or is another lake's, "
            "recover; pass force=True to delete them all"
        )
    reached = heights(store)
    floor = reached_before(reached, now_ns - config.orphan_grace_ns)
    # Backwards: the segment that closes a batch lies in its last window and goes first, so that
    # `recover` never takes what is left for a commit.
    leftovers = {key: segment_of(key) for key in reversed(found)}
    deleted = fence.discard(leftovers, head.incarnation, floor=floor)
    # Heights tell, too, what was removed long ago.
    thin_out(store, reached, now_ns - max(config.orphan_grace_ns, config.removed_grace_ns))
    catalog.purge([])  # a catalog in a bucket deletes what it needs no more
    return sorted(deleted)

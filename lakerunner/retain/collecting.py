"""Delete what nobody needs any more: removed segments, leftovers, and old notes of the lake."""

from __future__ import annotations

import time
from functools import partial
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import SnapshotExpiredError
from lakerunner.fencing import Fence
from lakerunner.fencing.fence import heights, present_ns, reached_before
from lakerunner.fencing.intents import superseded_intents, withdraw_intent
from lakerunner.ingest.aside import organizations_of_lines, unlisted_lines
from lakerunner.ingest.local_files import forgotten_notes
from lakerunner.model.commit import EPOCH_BITS, incarnation_of
from lakerunner.model.report import WorkReport
from lakerunner.model.times import TimeRange
from lakerunner.retain.retention import collect_orphans
from lakerunner.retrying import retrying
from lakerunner.tasks import Manner, Task, run_tasks
from lakerunner.tasks.running import old_setbacks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.model.config import Config
    from lakerunner.model.segment import Segment
    from lakerunner.scope import Scope
    from lakerunner.store import ObjectStore
    from lakerunner.tasks import Hold

_WHAT = "collect"
_WINDOW = attrgetter("organization", "table", "window_start_ns")
_PAGE = 1000
"""Removed segments that are held at a time."""

_AT_ONCE = 100
"""Segments that are forgotten before their files are deleted: if that fails, so many are left to
the collection of orphans, and all others keep their entries."""


def collect(scope: Scope, manner: Manner, *, dry_run: bool = False) -> WorkReport:
    """Delete files that nobody needs; one machine at a time.

    These are segments that were removed longer ago than `Config.removed_grace_ns`, segments that no
    commit names and that are older than `Config.orphan_grace_ns`, lines that are set aside no more,
    notes of files of which nothing is known as taken, announcements of merges whose inputs are
    gone, old notes of failures, and what a catalog in a bucket needs no more. Times are those of
    the store.

    Args:
        scope: The whole lake.
        manner: How.
        dry_run: Only say what would be deleted.

    Raises:
        ConfigurationError: The lake is bound to one organization.
        CatalogMismatchError: The catalog is not this lake's, or not up to it.
        StoreError: The lake cannot be listed.
    """
    scope.require_whole(_WHAT)
    if dry_run:
        since = _past(scope.store, scope.catalog, scope.config)
        removed, _ = _gone(scope.catalog, since, None) if since else ([], 0)
        lost = collect_orphans(scope.store, scope.catalog, scope.config, dry_run=True)
        lines = [
            f"collect: delete {one.key}, removed, {one.bytes / 1e6:,.1f} MB" for one in removed
        ]
        lines += [f"collect: delete {key}, named by no commit" for key in lost]
        kept = _beside(scope.store, scope.catalog, scope.config)
        lines += [f"collect: delete {key}, which the catalog does not know" for key in kept]
        return WorkReport(_WHAT, planned=tuple(lines))
    tasks = [Task(_WHAT, "_lake", "files", 0, None)]
    return run_tasks(scope, _WHAT, tasks, _collect, manner)


def _collect(scope: Scope, task: Task[None], hold: Hold) -> WorkReport:
    del task  # there is one for all of the lake
    store, catalog, config = scope.store, scope.catalog, scope.config
    fence = Fence(store, catalog)
    head = fence.begin()
    files = bytes_ = 0
    for some in removed_long_ago(store, catalog, config):
        hold.check()
        fence.verify(head.incarnation)
        catalog.purge([one.id for one in some])
        store.delete_many([one.key for one in some])
        files += len(some)
        bytes_ += sum(one.bytes for one in some)
    lost = collect_orphans(store, catalog, config)
    hold.check()
    now_ns = present_ns(store)
    grace_ns = max(config.removed_grace_ns, config.orphan_grace_ns)
    for key in superseded_intents(store, catalog, now_ns - grace_ns):
        withdraw_intent(store, key)
    store.delete_many(list(old_setbacks(store, now_ns)))
    beside = _beside(store, catalog, config)
    fence.verify(head.incarnation)
    store.delete_many(beside)
    deleted = files + len(lost) + len(beside)
    done = 1 if deleted else 0
    return WorkReport(_WHAT, tasks=done, deleted=deleted, bytes_removed=bytes_)


def _beside(store: ObjectStore, catalog: Catalog, config: Config) -> list[str]:
    """What ingestion put beside the segments, and nothing in the catalog speaks of any more."""
    before_ns = present_ns(store) - config.orphan_grace_ns
    found = forgotten_notes(store, catalog, config, before_ns)
    for organization in organizations_of_lines(store):
        rejections = retrying(partial(catalog.rejections, organization), config)
        listed = [rejection.source for rejection in rejections]
        found += unlisted_lines(store, organization, listed, before_ns)
    return found


class _Past(NamedTuple):
    """What is over: removals before a time, up to a commit."""

    before_ns: int
    sequence: int


def removed_long_ago(
    store: ObjectStore, catalog: Catalog, config: Config
) -> Iterator[Sequence[Segment]]:
    """Removed segments whose grace period is over, in order of their removal, some at a time.

    Each of them is to be purged before the next ones are asked for.

    A removal has the time that its writer's clock said. That is believed only where a height of the
    lake says, by the store's clock, that the catalog had come past it: so nothing goes too soon
    because a writer's clock was days behind.

    Raises:
        CatalogUnavailableError: The catalog cannot be read.
        StoreError: The lake cannot be read.
    """
    since = _past(store, catalog, config)
    found, limit = True, _PAGE
    while since and found:
        gone, late = _gone(catalog, since, limit)
        yield from _some(gone)
        found = len(gone) + late == limit
        limit = _PAGE + late


def _past(store: ObjectStore, catalog: Catalog, config: Config) -> _Past | None:
    """What is over by the store's clock; None if nothing that this catalog removed is."""
    now_ns = present_ns(store)
    epoch = reached_before(heights(store), now_ns - config.removed_grace_ns)
    head = catalog.head()
    if not epoch or incarnation_of(epoch) != head.incarnation:
        return None
    sequence = min(epoch & ((1 << EPOCH_BITS) - 1), head.sequence)
    return _Past(min(now_ns, time.time_ns()) - config.removed_grace_ns, sequence)


def _gone(catalog: Catalog, since: _Past, limit: int | None) -> tuple[list[Segment], int]:
    """Of the first removed segments those that may go, and how many of them were removed later."""
    found = sorted(catalog.removed(since.before_ns, limit=limit), key=_WINDOW)
    late: set[str] = set()
    try:
        for (owner, table, _), some in groupby(found, _WINDOW):
            seen = catalog.segments(owner, table, _hull(list(some)), sequence=since.sequence)
            late |= {one.id for one in seen}
    except SnapshotExpiredError:
        return [], 0  # the store's clock was set back: wait until it has caught up
    gone = [one for one in found if one.id not in late]
    return gone, len(found) - len(gone)


def _hull(segments: Sequence[Segment]) -> TimeRange:
    return TimeRange(
        min(one.min_timestamp_ns for one in segments),
        max(one.max_timestamp_ns for one in segments) + 1,
    )


def _some(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    each = iter(segments)
    while some := list(islice(each, _AT_ONCE)):
        yield some

"""What is to be merged in one window: planned from the catalog as it is, and done."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.catalog.change import concerned, pending_deletions
from lakerunner.compact.rewriting import KIND, Place, rewrite
from lakerunner.errors import CommitConflictError, SegmentDamagedError
from lakerunner.fencing import Fence
from lakerunner.limits import COMPACT_LEVELS
from lakerunner.model.report import Setback, WorkReport
from lakerunner.model.times import TimeRange
from lakerunner.policies.compaction import CompactionSettings, plan_merges
from lakerunner.policies.retention import expired, read_retention
from lakerunner.schema.tables import configured, table_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.model.deletion import Deletion
    from lakerunner.model.segment import Segment
    from lakerunner.policies.compaction import Merge
    from lakerunner.scope import Scope
    from lakerunner.tasks import Hold, Task


class Window(NamedTuple):
    """Segments that may be merged with one another.

    Attributes:
        window_ns: Length of the window.
        resolution_ns: What their rows sum up.
        made_by: The rule that made them.
        eager: Do not wait for more.
    """

    window_ns: int
    resolution_ns: int
    made_by: str
    eager: bool


def settings_of(scope: Scope, *, eager: bool) -> CompactionSettings:
    """What the policy goes by in a lake."""
    config = scope.config
    return CompactionSettings(
        target_bytes=config.compact_target_bytes, settle_ns=config.compact_settle_ns, eager=eager
    )


def merges_of(
    scope: Scope, task: Task[Window], pending: Sequence[Deletion] | None = None
) -> list[Merge]:
    """What is to be merged in a window now.

    Segments with rows that are to be deleted are left out: they are written again without these.
    So are those of which every row has expired.

    Args:
        scope: Of the organization.
        task: The window.
        pending: Deletions that are under way, if they were read already.
    """
    if pending is None:
        pending = pending_deletions(scope.catalog, scope.organization, task.table)
    window = task.payload
    end_ns = task.window_start_ns + window.window_ns
    live = scope.catalog.segments(
        scope.organization, task.table, TimeRange(task.window_start_ns, end_ns)
    )
    now_ns = time.time_ns()
    mine = [one for one in live if _belongs(one, task) and not concerned(pending, one)]
    gone = {one.id for one in expired(mine, read_retention(scope.config), now_ns)}
    kept = [one for one in mine if one.id not in gone]
    return plan_merges(kept, now_ns, settings_of(scope, eager=window.eager))


def _belongs(segment: Segment, task: Task[Window]) -> bool:
    window = task.payload
    return (segment.window_start_ns, segment.window_ns) == (
        task.window_start_ns,
        window.window_ns,
    ) and (segment.resolution_ns, segment.made_by) == (window.resolution_ns, window.made_by)


def compact_window(
    known: dict[str, SegmentDamagedError], scope: Scope, task: Task[Window], hold: Hold
) -> WorkReport:
    """Merge what there is to merge in one window, until nothing is left to do.

    Damaged segments are reported and left where they are, and the others merged without them.

    Args:
        known: Those found to be damaged, by id; what is found is added.
        scope: Of the organization.
        task: The window.
        hold: Its lease.

    Raises:
        LeaseLostError: Others are at it.
        CatalogMismatchError: The lake was recovered meanwhile.
        StoreError: The lake cannot be read or written.
    """
    report = WorkReport(KIND)
    fence = Fence(scope.store, scope.catalog)
    spec = configured(table_spec(task.table), scope.config)
    # Who asks for it now may have restored what was damaged.
    filters = scope.config.word_filters != "never"
    found = {} if task.payload.eager else dict(known)
    for _ in range(2 * COMPACT_LEVELS):
        head = fence.begin()
        summary = scope.catalog.snapshot(scope.organization, task.table).columns
        read_as = {name: one.types for name, one in summary.items()}
        pending = pending_deletions(scope.catalog, scope.organization, task.table)
        applied = tuple(one.id for one in pending)
        place = Place(fence, head, spec, read_as, hold, applied, filters)
        merges = merges_of(scope, task, pending)
        live = {one.id for merge in merges for one in merge.segments}
        found = {name: error for name, error in found.items() if name in live}
        done = 0
        for merge in merges:
            sound = [one for one in merge.segments if one.id not in found]
            if len(sound) < 2:  # noqa: PLR2004 - one segment is merged with nothing
                continue
            hold.check()
            try:
                report += rewrite(scope, place, sound)
            except SegmentDamagedError as error:
                found[str(error.context["segment"])] = error
            except CommitConflictError:
                report += WorkReport(KIND, conflicts=1)
            done += 1
        if not done:
            break
    known.update(found)
    failed = tuple(_told(scope, task, name, error) for name, error in found.items())
    return report + WorkReport(KIND, tasks=int(report.removed > 0), failed=failed)


def _told(scope: Scope, task: Task[Window], segment_id: str, error: SegmentDamagedError) -> Setback:
    reason = scope.discretion().kept_from(error.message)
    return Setback(f"{task.name} without {segment_id}", error.code, reason)

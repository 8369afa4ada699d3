"""Make the tiers of one window, and put them in place of what was there, in one commit."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

import pyarrow as pa

from lakerunner.catalog.change import pending_deletions, proofs
from lakerunner.errors import SegmentError
from lakerunner.fencing import Fence
from lakerunner.limits import MEMORY_FLOOR_BYTES, ROLLUP_ROW_BYTES
from lakerunner.model.commit import Commit, Unchanged
from lakerunner.model.deletion import age_of
from lakerunner.model.predicate import And, Compare, Or
from lakerunner.model.report import WorkReport
from lakerunner.model.times import MIN_NS, TimeRange, isoformat
from lakerunner.policies.rollup import Way, plan_window
from lakerunner.publish import Origin, SegmentStream, SegmentWriter, publish_commit
from lakerunner.publish.committing import announce_removal, publish_removal
from lakerunner.query import QueryEngine
from lakerunner.rollup.material import Material
from lakerunner.schema.tables import TABLES
from lakerunner.tiers import Span, last_points, roll_buckets, roll_points

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakerunner.model.commit import Head
    from lakerunner.model.predicate import Predicate
    from lakerunner.model.segment import Segment
    from lakerunner.policies.rollup import TierSettings, WindowPlan
    from lakerunner.scope import Scope
    from lakerunner.tasks import Hold, Task

RULE = "rollup/2"
"""The rule by which tiers are made, and its version."""

_TABLE = TABLES["metrics_rollup"]
_COUNTING = Or((Compare("temporality", "=", "cumulative"), Compare("metric_type", "=", "summary")))


def roll_window(
    scope: Scope, task: Task[tuple[tuple[int, int], TierSettings]], hold: Hold
) -> WorkReport:
    """Bring the tiers of one window up to date: work for `lakerunner.tasks.run_tasks`.

    What is there is looked at again, in one state of the catalog. Of two who make the same window
    one is refused: nothing may have changed in its tiers since they looked.

    Raises:
        CommitConflictError: Somebody else changed the window, or removed what it is made of.
        SegmentError: Its points cannot be told apart from points that are in its tiers already.
        LeaseLostError: As `Hold.check` says.
    """
    window, settings = task.payload
    fence = Fence(scope.store, scope.catalog)
    head = fence.begin()
    plan = current_plan(scope, head, window, settings)
    if plan is None:
        return WorkReport("rollup")
    if plan.way is Way.STUCK:
        raise SegmentError(
            f"the tiers of {isoformat(plan.start_ns)} cannot take up later points: some of their "
            "points were removed, and others are in one segment with those that came since",
            window=plan.start_ns,
        )
    replaced = [one for each in plan.resolutions for one in plan.tiers.get(each, ())]
    commit_id = uuid.uuid4().hex
    announced = (
        announce_removal(fence, "rollup", replaced, head, commit_id=commit_id) if replaced else ""
    )
    writer = SegmentWriter(scope.store, scope.config)
    try:
        rows = _write(scope, plan, head, commit_id, writer, hold)
        made = writer.finish()
    except BaseException:
        writer.discard()
        raise
    hold.check()
    if made or replaced:
        _commit(scope, fence, head, plan, commit_id, made, announced)
    return WorkReport(
        "rollup",
        tasks=1,
        removed=len(replaced),
        added=len(made),
        rows_read=rows,
        rows_written=sum(one.rows for one in made),
        bytes_read=sum(one.bytes for one in plan.points),
        bytes_written=sum(one.bytes for one in made),
    )


def current_plan(
    scope: Scope, head: Head, window: tuple[int, int], settings: TierSettings
) -> WindowPlan | None:
    """What is to be done in a window in one state of the catalog."""
    start, end = window
    wide = TimeRange(max(start - settings.window_ns, MIN_NS), end)
    points, tiers = (
        scope.catalog.segments(scope.organization, table, span, sequence=head.sequence)
        for table, span in (("metrics", wide), (_TABLE.name, TimeRange(start, end)))
    )
    plan = plan_window(points, tiers, window, settings)
    if plan is None or plan.way is not Way.STUCK:
        return plan
    pending = pending_deletions(scope.catalog, scope.organization, "metrics")
    done = [one.deletion for one in proofs(scope.catalog, scope.organization)]
    deletions = [*pending, *(one for one in done if one.table == "metrics")]
    return plan_window(points, tiers, window, settings, deletions)


def _commit(
    scope: Scope,
    fence: Fence,
    head: Head,
    plan: WindowPlan,
    commit_id: str,
    made: Sequence[Segment],
    announced: str,
) -> None:
    replaced = tuple(one.id for each in plan.resolutions for one in plan.tiers.get(each, ()))
    commit = Commit(
        commit_id,
        scope.organization,
        time.time_ns(),
        add=tuple(made),
        remove=replaced,
        require_live=tuple(one.id for one in plan.points),
        unchanged_since=(Unchanged(head.sequence, _TABLE.name, plan.start_ns, plan.end_ns),),
    )
    if announced:
        publish_removal(fence, commit, announced, head, scope.config)
    else:
        publish_commit(fence, commit, scope.config)
    fence.leave_height()


def _write(
    scope: Scope,
    plan: WindowPlan,
    head: Head,
    commit_id: str,
    writer: SegmentWriter,
    hold: Hold,
) -> int:
    """Write the tiers, part by part of the metrics; the coarsest one closes the commit."""
    held = [one for several in plan.tiers.values() for one in several]
    span = TimeRange(plan.start_ns, plan.end_ns)
    budget = (scope.config.memory_bytes - MEMORY_FLOOR_BYTES) // scope.config.workers
    rows = 0
    with QueryEngine(
        scope.store, scope.catalog, scope.organization, scope.config, isolation="thread"
    ) as engine:
        material = Material(scope, engine, head, (*plan.points, *plan.before), held)
        schema = material.schema()
        streams = {
            each: SegmentStream(
                schema, _TABLE, _origin(scope, plan, each, commit_id, head), *_window(plan)
            )
            for each in plan.resolutions
        }
        read = held if plan.way is Way.AMEND else []
        parts = material.parts([*plan.points, *read], span, budget // ROLLUP_ROW_BYTES)
        for part in parts:
            hold.check()
            rows += _write_part(scope, material, plan, part.where, streams)
    for each in plan.resolutions:
        if streams[each].rows:
            writer.add(streams[each].made())
    return rows


def _window(plan: WindowPlan) -> tuple[int, int]:
    return plan.start_ns, plan.end_ns - plan.start_ns


def _origin(scope: Scope, plan: WindowPlan, resolution: int, commit_id: str, head: Head) -> Origin:
    old = plan.tiers.get(resolution, ())
    return Origin(
        scope.organization,
        commit_id,
        parents=tuple(one.id for one in old),
        level=max((one.level + 1 for one in old), default=0),
        replaces=tuple(sorted({each for one in old for each in (one.id, *one.replaces)})),
        attests=tuple(sorted({each for one in old for each in (*one.siblings, *one.attests)})),
        resolution_ns=resolution,
        inputs=plan.inputs,
        beside=plan.beside,
        made_by=RULE,
        kind="rollup",
        epoch=head.epoch,
        oldest=min(age_of(one) for one in (*plan.points, *old)),
    )


def _write_part(
    scope: Scope,
    material: Material,
    plan: WindowPlan,
    where: Predicate,
    streams: Mapping[int, SegmentStream],
) -> int:
    span = TimeRange(plan.start_ns, plan.end_ns)
    points = material.points(plan.points, span, where)
    if plan.way is Way.AMEND:
        tables = _amended(material, plan, where, points)
    else:
        tables = _afresh(material, plan, where, points)
    for resolution, table in tables.items():
        if table.num_rows:
            owner = pa.array([scope.organization]).dictionary_encode()
            column = pa.DictionaryArray.from_arrays(
                pa.nulls(table.num_rows, pa.int32()).fill_null(0), owner.dictionary
            )
            streams[resolution].write(table.append_column("organization", column))
    return int(points.num_rows)


def _afresh(
    material: Material, plan: WindowPlan, where: Predicate, points: pa.Table
) -> dict[int, pa.Table]:
    if not points.num_rows:
        return {}
    if plan.before:
        span = TimeRange(plan.lookback_ns, plan.start_ns)
        earlier = material.points(plan.before, span, And((where, _COUNTING)), attributes=False)
        if earlier.num_rows:
            together = [last_points(earlier), points]
            points = _united(together)
    return _tiers(points, plan.resolutions, Span(plan.start_ns, plan.lookback_ns))


def _tiers(points: pa.Table, resolutions: Sequence[int], span: Span) -> dict[int, pa.Table]:
    """Each tier from the coarsest of those before it whose buckets make up its own."""
    found: dict[int, pa.Table] = {}
    for each in resolutions:
        finer = [one for one in found if each % one == 0]
        found[each] = (
            roll_buckets(found[max(finer)], each) if finer else roll_points(points, each, span)
        )
    return found


def _amended(
    material: Material, plan: WindowPlan, where: Predicate, points: pa.Table
) -> dict[int, pa.Table]:
    """What the tiers hold, with what came since; or a missing tier from a finer one."""
    span = TimeRange(plan.start_ns, plan.end_ns)
    found: dict[int, pa.Table] = {}
    for each in sorted({*plan.tiers, *plan.resolutions}):
        if each in plan.tiers:
            table = material.buckets(plan.tiers[each], span, where)
            if each in plan.resolutions and points.num_rows:
                late = roll_points(points, each, Span(plan.start_ns, plan.end_ns, late=True))
                table = roll_buckets(_united([table, late]), each)
            found[each] = table
            continue
        finer = [one for one in found if each % one == 0]
        if finer:
            found[each] = roll_buckets(found[max(finer)], each)
    return {each: found[each] for each in plan.resolutions if each in found}


def _united(tables: Sequence[pa.Table]) -> pa.Table:
    whole = pa.concat_tables([one for one in tables if one.num_rows], promote_options="default")
    return whole.unify_dictionaries().combine_chunks()

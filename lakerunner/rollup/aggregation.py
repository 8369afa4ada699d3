"""Metrics made of logs and spans by rules: each window once, and again when its rows change."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from lakerunner.errors import ConfigurationError, SegmentError
from lakerunner.fencing import Fence
from lakerunner.limits import AGGREGATE_REACH_NS
from lakerunner.model.aggregate import AggregateRule
from lakerunner.model.commit import Commit, Unchanged
from lakerunner.model.deletion import age_of
from lakerunner.model.report import WorkReport
from lakerunner.model.times import MIN_NS, TimeRange, isoformat
from lakerunner.policies.rollup import TierSettings, Way, plan_aggregate, windows
from lakerunner.publish import Origin, SegmentWriter, make_segments, publish_commit
from lakerunner.publish.committing import announce_removal, publish_removal
from lakerunner.query import QueryEngine
from lakerunner.rollup.material import ChosenSegments
from lakerunner.rollup.measures import points_of, question
from lakerunner.schema.tables import TABLES, configured
from lakerunner.tasks import Manner, Task, run_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from os import PathLike

    from lakerunner.model.commit import Head
    from lakerunner.model.segment import Segment
    from lakerunner.policies.rollup import WindowPlan
    from lakerunner.scope import Scope
    from lakerunner.tasks import Hold

_DAY_SECONDS = 86_400.0
_METRICS = "metrics"
_ANYHOW = Manner()


class _Piece(NamedTuple):
    """A rule and a window, for one task."""

    rule: AggregateRule
    window: tuple[int, int]
    anew: bool


def read_rules(
    rules: Sequence[AggregateRule | Mapping[str, Any]] | str | PathLike[str],
) -> tuple[AggregateRule, ...]:
    """Rules as people give them: as they are, as mappings, or as a YAML file with a list of them.

    Raises:
        ConfigurationError: The file cannot be read, a rule is wrong, or two are of one metric.

    Example:
        >>> read_rules([{"metric": "lines", "by": ["level"]}])[0].by
        ('level',)
    """
    said: Any = rules
    try:
        if not isinstance(rules, list | tuple):
            with open(rules, "rb") as file:  # type: ignore[arg-type] # a path, as it is no list  # noqa: PTH123
                said = msgspec.yaml.decode(file.read())
        plain = [
            msgspec.structs.asdict(each) if isinstance(each, AggregateRule) else each
            for each in said
        ]
        read = msgspec.convert(plain, tuple[AggregateRule, ...])
    except OSError as error:
        raise ConfigurationError(f"aggregates: {rules} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, TypeError) as error:
        raise ConfigurationError(f"aggregates: {error}") from error
    names = [rule.metric for rule in read]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigurationError(f"aggregates: two rules make '{twice[0]}'", rule=twice[0])
    return read


def aggregate(
    scope: Scope,
    rules: Sequence[AggregateRule],
    manner: Manner = _ANYHOW,
    *,
    time_range: TimeRange | None = None,
    anew: bool = False,
    dry_run: bool = False,
) -> WorkReport:
    """Make metrics of logs and spans, of the organization of a scope.

    Each rule and window has segments of its own in the metrics table; they name in `inputs` the
    segments of which they are made, and are replaced in one commit when there are others. So no
    row counts twice, whoever runs this, and what is deleted is not counted on.

    Args:
        scope: The lake.
        rules: What to make.
        manner: Where, and how.
        time_range: Which windows. By default those of the last two days: what is older is left to
            those who ask for it, for windows in which a rule finds nothing leave no trace.
        anew: Make again what earlier versions of a rule made.
        dry_run: Only say what would be done.

    Raises:
        ConfigurationError: The steps of a rule do not divide the windows of the lake.
        CatalogMismatchError: The lake was recovered meanwhile; begin again.
    """
    if time_range is None:
        time_range = TimeRange(time.time_ns() - AGGREGATE_REACH_NS)
    for rule in rules:
        if scope.config.window_ns % rule.every_ns:
            raise ConfigurationError(
                f"aggregate '{rule.metric}': windows are {scope.config.window_ns} ns long, no "
                f"multiple of {rule.every_seconds} s",
                rule=rule.metric,
            )
    tasks = list(_tasks(scope, rules, time_range, anew=anew))
    if dry_run:
        return WorkReport("aggregate", planned=tuple(task.name for task in tasks))
    return run_tasks(scope, "aggregate", tasks, _make, manner)


def _tasks(
    scope: Scope, rules: Sequence[AggregateRule], time_range: TimeRange, *, anew: bool
) -> Iterator[Task[_Piece]]:
    settings = TierSettings((scope.config.window_ns,), scope.config.window_ns)
    made = scope.catalog.segments(scope.organization, _METRICS, time_range)
    for rule in rules:
        rows = scope.catalog.segments(scope.organization, rule.table, time_range)
        mine = [one for one in made if one.made_by.startswith(rule.family)]
        for window in windows(rows, (), settings):
            if window[0] < time_range.end_ns and window[1] > time_range.start_ns:
                near = TimeRange(*window)
                plan = plan_aggregate(
                    [one for one in rows if near.overlaps(*_extent(one))],
                    mine,
                    window,
                    rule.made_by,
                    anew=anew,
                )
                if plan is not None:
                    piece = _Piece(rule, window, anew)
                    yield Task(
                        "aggregate", scope.organization, _METRICS, window[0], piece, rule.metric
                    )


def _extent(segment: Segment) -> tuple[int, int]:
    return segment.min_timestamp_ns, segment.max_timestamp_ns


def _make(scope: Scope, task: Task[_Piece], hold: Hold) -> WorkReport:
    """Make the points of one rule and window, in place of those that there are."""
    rule, window, anew = task.payload
    fence = Fence(scope.store, scope.catalog)
    head = fence.begin()
    span = TimeRange(*window)
    rows, made = (
        scope.catalog.segments(scope.organization, table, span, sequence=head.sequence)
        for table in (rule.table, _METRICS)
    )
    mine = [one for one in made if one.made_by.startswith(rule.family)]
    plan = plan_aggregate(rows, mine, window, rule.made_by, anew=anew)
    if plan is None:
        return WorkReport("aggregate")
    if plan.way is Way.STUCK:
        raise SegmentError(
            f"'{rule.metric}' of {isoformat(plan.start_ns)} cannot take up later rows: some of "
            "those that it was made of were removed",
            rule=rule.metric,
        )
    commit_id, old = uuid.uuid4().hex, plan.tiers[0]
    announced = announce_removal(fence, "rollup", old, head, commit_id=commit_id) if old else ""
    writer = SegmentWriter(scope.store, scope.config)
    try:
        _write(scope, rule, plan, head, commit_id, writer)
        segments = writer.finish()
    except BaseException:
        writer.discard()
        raise
    hold.check()
    commit = Commit(
        commit_id,
        scope.organization,
        time.time_ns(),
        add=segments,
        remove=tuple(one.id for one in old),
        require_live=tuple(one.id for one in plan.points),
        unchanged_since=(Unchanged(head.sequence, _METRICS, *window),),
    )
    if announced:
        publish_removal(fence, commit, announced, head, scope.config)
    elif segments:
        publish_commit(fence, commit, scope.config)
    fence.leave_height()
    return WorkReport(
        "aggregate",
        tasks=1,
        removed=len(old),
        added=len(segments),
        rows_read=sum(one.rows for one in plan.points),
        rows_written=sum(one.rows for one in segments),
        bytes_read=sum(one.bytes for one in plan.points),
        bytes_written=sum(one.bytes for one in segments),
    )


def _write(
    scope: Scope,
    rule: AggregateRule,
    plan: WindowPlan,
    head: Head,
    commit_id: str,
    writer: SegmentWriter,
) -> None:
    view = ChosenSegments(scope.catalog, head, plan.points)
    within = scope.over(view)
    with QueryEngine(within.store, view, scope.organization, scope.config) as engine:
        span = TimeRange(max(plan.start_ns, MIN_NS), plan.end_ns)
        answer = engine.sql(question(rule, span), timeout=_DAY_SECONDS).to_arrow()
    keys = {name: stats.key for one in plan.points for name, stats in one.columns.items()}
    points = points_of(answer, rule, keys)
    if not points.num_rows:
        return
    old = plan.tiers[0]
    origin = Origin(
        scope.organization,
        commit_id,
        parents=tuple(one.id for one in old),
        level=max((one.level + 1 for one in old), default=0),
        replaces=tuple(sorted({each for one in old for each in (one.id, *one.replaces)})),
        attests=tuple(sorted({each for one in old for each in (*one.siblings, *one.attests)})),
        inputs=plan.inputs,
        made_by=rule.made_by,
        kind="rollup",
        epoch=head.epoch,
        oldest=min(age_of(one) for one in (*plan.points, *old)),
    )
    spec = configured(TABLES[_METRICS], scope.config)
    for made in make_segments(points, spec, origin, scope.config.window_ns):
        writer.add(made)

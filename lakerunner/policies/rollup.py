"""Which windows of metrics have to be summed up, and of what: a pure choice.

Each tier segment names in `inputs` the segments of points that are in it, with all they had
replaced, and in `beside` those of the window before, from whose last points its counters go on. So
whether a tier holds what is there, no more and no less, is a question about sets of ids. No clock
and no mark of progress is asked, and nothing is missed that a crash, a merge or a late object did
in between.
"""

from __future__ import annotations

from collections import defaultdict
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.model.times import MAX_NS, MIN_NS
from lakerunner.policies.retention import read_retention

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lakerunner.model.config import Config
    from lakerunner.model.deletion import Deletion
    from lakerunner.model.segment import Segment


class TierSettings(NamedTuple):
    """Which tiers there are to be.

    Attributes:
        resolutions: Lengths of buckets in nanoseconds, ascending; each is a multiple of the last.
        window_ns: What is summed up at once: a multiple of all of them. Counters go on from points
            of the window before.
        points_since_ns: Points before it are expired, and not seen any more.
        kept_since_ns: By resolution: buckets before it are expired. Of others none are.
    """

    resolutions: tuple[int, ...]
    window_ns: int
    points_since_ns: int = MIN_NS
    kept_since_ns: Mapping[int, int] = {}

    def keeps(self, resolution_ns: int, start_ns: int) -> bool:
        """Whether a tier holds a window that starts then."""
        return start_ns >= self.kept_since_ns.get(resolution_ns, MIN_NS)


class Way(StrEnum):
    """How the tiers of a window become what they should be."""

    AFRESH = "afresh"
    """Of all points: they are all there."""
    AMEND = "amend"
    """Of what the tiers hold and the points that came since: others are gone, and live on in the
    tiers alone."""
    STUCK = "stuck"
    """Not at all: points that are gone and live on in a tier alone are in one file with new ones
    that are not."""


class WindowPlan(NamedTuple):
    """What is to be done in one window.

    Attributes:
        start_ns: Its start.
        end_ns: Its end.
        lookback_ns: Start of the window before it.
        way: How.
        points: Segments of points that are read: all of the window, or those that came since.
        before: Segments of points of the window before.
        resolutions: Tiers that are made, ascending.
        tiers: The tier segments that there are, by resolution: those of `resolutions` are replaced.
        inputs: Ids for `Segment.inputs` of what is made.
        beside: Ids for `Segment.beside`.
    """

    start_ns: int
    end_ns: int
    lookback_ns: int
    way: Way
    points: tuple[Segment, ...]
    before: tuple[Segment, ...]
    resolutions: tuple[int, ...]
    tiers: Mapping[int, tuple[Segment, ...]]
    inputs: tuple[str, ...]
    beside: tuple[str, ...]


def tier_settings(config: Config, organization: str, now_ns: int) -> TierSettings:
    """Which tiers an organization is to have at a time.

    Raises:
        ConfigurationError: What settings say of retention cannot be read.
    """
    tiers, rules = config.rollup_tiers_ns, read_retention(config)
    return TierSettings(
        tiers,
        window_of(config.window_ns, tiers),
        rules.bound_ns(organization, "metrics", now_ns=now_ns),
        {
            each: rules.bound_ns(organization, "metrics_rollup", each, now_ns=now_ns)
            for each in tiers
        },
    )


def window_of(settings_ns: int, resolutions: Sequence[int]) -> int:
    """The length of what is summed up at once: whole windows of points, and whole buckets.

    Example:
        >>> window_of(3600, [10, 60]), window_of(600, [10, 3600]), window_of(5000, [10, 3600])
        (3600, 3600, 7200)
    """
    longest = max(resolutions)
    return -(-settings_ns // longest) * longest


def windows(
    points: Iterable[Segment], tiers: Iterable[Segment], settings: TierSettings
) -> list[tuple[int, int]]:
    """The windows in which there is anything, from start to end, in order.

    A tier that was made when windows were longer makes its window one again.
    """
    length = settings.window_ns
    starts: set[int] = set()
    for one in points:
        first, last = one.min_timestamp_ns // length, one.max_timestamp_ns // length
        starts.update(range(first * length, (last + 1) * length, length))
    spans = [(start, start + length) for start in starts]
    for one in tiers:
        end = one.window_start_ns + one.window_ns
        spans.append((one.window_start_ns // length * length, -(-end // length) * length))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(set(spans)):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def plan_windows(
    points: Sequence[Segment], tiers: Sequence[Segment], settings: TierSettings
) -> list[WindowPlan]:
    """What is to be done, in order of time.

    Args:
        points: Live segments of points; for a part of the time, those of the window before it, too.
        tiers: Live tier segments.
        settings: Which tiers there are to be.
    """
    by_point = _by_window(points, settings.window_ns)
    by_tier = _by_window(tiers, settings.window_ns)
    found = []
    for start, end in windows(points, tiers, settings):
        plan = plan_window(
            _within(by_point, start - settings.window_ns, end, settings.window_ns),
            _within(by_tier, start, end, settings.window_ns),
            (start, end),
            settings,
        )
        if plan is not None:
            found.append(plan)
    return found


def _by_window(segments: Iterable[Segment], length: int) -> dict[int, list[Segment]]:
    found: dict[int, list[Segment]] = defaultdict(list)
    for one in segments:
        for place in range(one.min_timestamp_ns // length, one.max_timestamp_ns // length + 1):
            found[place].append(one)
    return found


def _within(found: Mapping[int, list[Segment]], start: int, end: int, length: int) -> list[Segment]:
    places = range(start // length, -(-end // length))
    several = chain.from_iterable(found.get(place, ()) for place in places)
    return list({one.id: one for one in several}.values())


def plan_window(
    points: Iterable[Segment],
    tiers: Iterable[Segment],
    window: tuple[int, int],
    settings: TierSettings,
    deletions: Iterable[Deletion] = (),
) -> WindowPlan | None:
    """What is to be done in one window; None if its tiers hold all that there is.

    Args:
        points: Live segments of points that may lie in it or in the window before.
        tiers: Live tier segments that may lie in it.
        window: From start to end.
        settings: Which tiers there are to be.
        deletions: Of points, pending or done. Where one is younger than the tiers, points that are
            gone were deleted, and a window that would be stuck is summed up afresh.
    """
    start, end = window
    if start < settings.points_since_ns:
        return None  # some of its points are expired: no tier may be made of the rest
    lookback = max(start - settings.window_ns, MIN_NS)
    live, before = _touching(points, start, end), _touching(points, lookback, start)
    held: dict[int, list[Segment]] = defaultdict(list)
    for one in _touching(tiers, start, end):
        held[one.resolution_ns].append(one)
    wanted = [
        each for each in sorted({*settings.resolutions, *held}) if settings.keeps(each, start)
    ]
    if not live:
        return None  # a tier may live on without its points
    stale = [each for each in wanted if not _holds(held.get(each, ()), live, before)]
    if not stale:
        return None
    known = {each: _ids(one.inputs for one in several) for each, several in held.items()}
    beside = _ids(one.beside for several in held.values() for one in several)
    there = _ids(_stands_for(one) for one in live)
    context = _ids(_stands_for(one) for one in before)
    base = WindowPlan(
        *(start, end, lookback, Way.AFRESH, tuple(live), tuple(before), tuple(stale)),
        {each: tuple(several) for each, several in sorted(held.items())},
        tuple(sorted(there)),
        tuple(sorted(context)),
    )
    if _ids(known.values()) <= there and beside <= context:
        return base
    amended = _amended(base, known, beside, stale)
    if amended is not None and amended.way is Way.STUCK:
        made = min(one.epoch for several in held.values() for one in several)
        if any(
            one.epoch > made and one.start_ns < end and one.end_ns > lookback for one in deletions
        ):
            return base
    return amended


def _amended(
    base: WindowPlan,
    known: Mapping[int, frozenset[str]],
    beside: frozenset[str],
    stale: Sequence[int],
) -> WindowPlan | None:
    """Add what came since to tiers of which some points are gone.

    The fullest tier decides what that is. Counters do not go on from the window before: what came
    too late for that adds nothing to an increase that the points around it have told already.
    """
    fullest = max(known, key=lambda each: (len(known[each]), -each))
    new = [one for one in base.points if not _covered(one, known[fullest])]
    mixed = any(_stands_for(one) & known[fullest] for one in new)
    changed = [each for each in stale if each in known and known[each] == known[fullest]]
    made = [each for each in stale if each not in known and each > fullest]
    if mixed:
        return base._replace(way=Way.STUCK, resolutions=tuple(stale))
    resolutions = tuple(sorted([*(changed if new else ()), *made]))
    if not resolutions:
        return None  # only the window before changed; what was counted of it stays
    inputs = known[fullest].union(*(_stands_for(one) for one in new))
    return base._replace(
        way=Way.AMEND,
        points=tuple(new),
        before=(),
        resolutions=resolutions,
        inputs=tuple(sorted(inputs)),
        beside=tuple(sorted(beside)),
    )


def plan_aggregate(
    rows: Iterable[Segment],
    made: Iterable[Segment],
    window: tuple[int, int],
    made_by: str,
    *,
    anew: bool = False,
) -> WindowPlan | None:
    """What a rule has to make of one window; None if what it made holds all rows that there are.

    Args:
        rows: Live segments of what it makes metrics of.
        made: Live segments that any version of it made.
        window: From start to end.
        made_by: The rule in its present version.
        anew: Make again what an earlier version made.
    """
    start, end = window
    live, held = _touching(rows, start, end), _touching(made, start, end)
    known = _ids(one.inputs for one in held)
    old = anew and any(one.made_by != made_by for one in held)
    if not live or (held and not old and all(_covered(one, known) for one in live)):
        return None
    there = _ids(_stands_for(one) for one in live)
    way = Way.AFRESH if known <= there else Way.STUCK
    inputs = tuple(sorted(there))
    return WindowPlan(start, end, start, way, tuple(live), (), (0,), {0: tuple(held)}, inputs, ())


def _touching(segments: Iterable[Segment], start: int, end: int) -> list[Segment]:
    return sorted(
        (one for one in segments if one.min_timestamp_ns < end and one.max_timestamp_ns >= start),
        key=lambda one: one.id,
    )


def _ids(several: Iterable[Iterable[str]]) -> frozenset[str]:
    return frozenset(chain.from_iterable(several))


def _stands_for(segment: Segment) -> frozenset[str]:
    """A segment, and all whose rows it has taken over."""
    return frozenset((segment.id, *segment.replaces))


def _covered(segment: Segment, known: frozenset[str]) -> bool:
    """Whether rows that are known are all of a segment's.

    A merge has the rows of what it replaced, and no others. A rewrite has fewer, and so has a merge
    to which a deletion was applied: their windows are summed up again.
    """
    if segment.id in known:
        return True
    return (
        segment.kind == "compact" and bool(segment.replaces) and known.issuperset(segment.replaces)
    )


def _holds(several: Sequence[Segment], live: Sequence[Segment], before: Sequence[Segment]) -> bool:
    """Whether the segments of a tier hold all points that there are."""
    known = _ids(one.inputs for one in several)
    context = _ids(one.beside for one in several)
    return all(_covered(one, known) for one in live) and all(
        _covered(one, context) for one in before
    )


def due(plan: WindowPlan, now_ns: int, settle_seconds: float) -> bool:
    """Whether it is time for a window, for a worker that looks again and again.

    A window that may still fill is summed up when half as many points as before have come, so that
    each is read three times at most until the window is complete.
    """
    if plan.end_ns + int(settle_seconds * 1e9) <= now_ns:
        return True
    known = _ids(one.inputs for several in plan.tiers.values() for one in several)
    new = sum(one.rows for one in plan.points if not _covered(one, known))
    return 2 * new >= sum(one.rows for one in plan.points) - new


class TierRange(NamedTuple):
    """A part of the time, and where its answer is read.

    Attributes:
        start_ns: Its start.
        end_ns: Its end, which is not part of it.
        resolution_ns: Of the tier; 0 for the points themselves.
    """

    start_ns: int
    end_ns: int
    resolution_ns: int


def choose_tiers(
    points: Sequence[Segment],
    tiers: Sequence[Segment],
    start_ns: int,
    end_ns: int,
    step_ns: int,
    settings: TierSettings,
) -> list[TierRange]:
    """Where to read sums over steps of time: the coarsest tier that gives the same answer.

    A tier does where its buckets divide the step, begin where the steps begin, and hold all points
    that there are. Elsewhere a finer one is taken, and where none does, the points.

    Args:
        points: Live segments of points that may lie in the range, or in the window before it.
        tiers: Live tier segments that may lie in it.
        start_ns: Start of the range, and of its first step.
        end_ns: Its end.
        step_ns: Length of a step: what is asked for is a sum over each.
        settings: Which tiers there are.

    Returns:
        The range in parts, in order, each as long as it can be.
    """
    fitting = [
        each
        for each in sorted({one.resolution_ns for one in tiers}, reverse=True)
        if step_ns % each == 0 and start_ns % each == 0
    ]
    by_point = _by_window(points, settings.window_ns)
    by_tier = _by_window(tiers, settings.window_ns)
    parts: list[TierRange] = []
    for start, end in windows(points, tiers, settings):
        low, high = max(start, start_ns), min(end, end_ns)
        if low >= high:
            continue
        near = _within(by_point, start - settings.window_ns, end, settings.window_ns)
        held = _touching(_within(by_tier, start, end, settings.window_ns), start, end)
        chosen = _chosen(near, held, (start, end), fitting, settings)
        whole = chosen and high % chosen and high < end
        cut = high // chosen * chosen if whole else high
        parts += [TierRange(low, cut, chosen)] if low < cut else []
        parts += [TierRange(max(low, cut), high, 0)] if cut < high else []
    return _joined(parts, start_ns, end_ns)


def _chosen(
    near: Sequence[Segment],
    held: Sequence[Segment],
    window: tuple[int, int],
    fitting: Sequence[int],
    settings: TierSettings,
) -> int:
    start, end = window
    live = _touching(near, start, end)
    before = _touching(near, max(start - settings.window_ns, MIN_NS), start)
    for resolution in fitting:
        tier = [one for one in held if one.resolution_ns == resolution]
        if tier and settings.keeps(resolution, start) and _holds(tier, live, before):
            return resolution
    return 0


def choose_exact(
    points: Sequence[Segment],
    tiers: Sequence[Segment],
    span: tuple[int, int],
    every_ns: int,
    settings: TierSettings,
) -> list[TierRange]:
    """Where to read what must be answered as from the points: one tier, and points elsewhere.

    A tier does where it holds exactly the points that are still there, and its buckets end wherever
    a range does. Of those that do, the one is taken with which the fewest rows are read.

    Args:
        points: Live segments of points, of all windows that the range touches.
        tiers: Live tier segments of these windows.
        span: From start to end, both multiples of `every_ns`.
        every_ns: All ranges begin and end at multiples of it.
        settings: Which tiers there are. Windows from before its points expire are not read of any.

    Returns:
        The range in parts, in order; a single one of the points where no tier helps.
    """
    start_ns, end_ns = span
    by_point = _by_window(points, settings.window_ns)
    by_tier = _by_window(tiers, settings.window_ns)
    best, least = [TierRange(start_ns, end_ns, 0)], sum(one.rows for one in points)
    for each in sorted({one.resolution_ns for one in tiers}, reverse=True):
        if every_ns % each:
            continue
        parts, rows = [], 0
        for start, end in windows(points, tiers, settings):
            live = _touching(_within(by_point, start, end, settings.window_ns), start, end)
            held = _touching(_within(by_tier, start, end, settings.window_ns), start, end)
            tier = [one for one in held if one.resolution_ns == each]
            same = settings.keeps(each, start) and start >= settings.points_since_ns
            same = same and bool(tier) and _equal(tier, live)
            rows += sum(one.rows for one in (tier if same else live))
            low, high = max(start, start_ns), min(end, end_ns)
            if low < high:
                parts.append(TierRange(low, high, each if same else 0))
        if rows < least and any(part.resolution_ns for part in parts):
            best, least = _joined(parts, start_ns, end_ns), rows
    return best


def _equal(tier: Sequence[Segment], live: Sequence[Segment]) -> bool:
    """Whether the segments of a tier hold the points that are there, and no others."""
    known = _ids(one.inputs for one in tier)
    there = _ids(_stands_for(one) for one in live)
    made = all(one.kind == "rollup" for one in tier)
    return made and known <= there and all(_covered(one, known) for one in live)


def _joined(parts: Sequence[TierRange], start_ns: int, end_ns: int) -> list[TierRange]:
    """Neighbours of one resolution as one, with the gaps between them, where nothing is."""
    joined: list[TierRange] = []
    for part in sorted(parts):
        if joined and joined[-1].resolution_ns == part.resolution_ns:
            joined[-1] = joined[-1]._replace(end_ns=part.end_ns)
        elif joined:
            joined.append(part._replace(start_ns=joined[-1].end_ns))
        else:
            joined.append(part._replace(start_ns=start_ns))
    if not joined:
        return [TierRange(start_ns, end_ns, 0)] if start_ns < end_ns else []
    joined[-1] = joined[-1]._replace(end_ns=min(max(joined[-1].end_ns, end_ns), MAX_NS))
    return joined

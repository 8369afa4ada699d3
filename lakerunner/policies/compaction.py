"""Which segments are merged with which, and when: decided from what the catalog says of them.

Each merge gives its rows a level one above the highest of what it merges, and nothing of the last
level is merged again. So no row is written more often than there are levels, whatever arrives, and
a window whose rows came in some thousand pieces still ends with a few segments: the further up a
segment is, the longer it waits for others, or the more others it waits for.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.limits import (
    COMPACT_FAN_IN,
    COMPACT_INPUTS,
    COMPACT_LEVELS,
    COMPACT_SETTLE_NS,
    COMPACT_TARGET_BYTES,
    MIB,
)
from lakerunner.schema.arrays import common_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.model.segment import ColumnStats, Segment

_FULL = 0.75
"""A segment of this share of the target is as large as it need be."""

_RATIO = 4
"""How many times larger than all that joins it a segment may be and still be written again soon."""

_CHEAP_BYTES = 16 * MIB
"""Bytes that are written again without asking for how little."""

_PATIENCE = 36
"""Times that a segment waits longer before it is written again for little: a day at level two."""

_OPEN_LEVELS = 2
"""Levels that merges in a window reach which is not over yet: the others are for what comes."""

_EXACT = 2**53
_SCALARS = frozenset({"string", "int64", "double", "bool"})
_PAIR = 2


class CompactionSettings(NamedTuple):
    """What the policy goes by.

    Attributes:
        target_bytes: Size up to which segments are merged.
        inputs: Segments of one merge at most.
        fan_in: So many segments of one level are merged even while more are expected.
        settle_ns: How long after its end a window is expected to receive more, and how long a
            merged segment waits for company; four times as long with each level.
        eager: Do not wait: merge whatever is there. At most two levels in a window that is not
            over, for its last merge is yet to come.
    """

    target_bytes: int = COMPACT_TARGET_BYTES
    inputs: int = COMPACT_INPUTS
    fan_in: int = COMPACT_FAN_IN
    settle_ns: int = COMPACT_SETTLE_NS
    eager: bool = False


class Merge(NamedTuple):
    """Segments that become one.

    Attributes:
        segments: By (smallest timestamp, id); of one organization, table, resolution, rule and
            window.
        reason: Why now, for a person.
    """

    segments: tuple[Segment, ...]
    reason: str

    @property
    def key(self) -> str:
        """What this piece of work is called: the same for whoever plans it from the same state.

        Example:
            >>> from lakerunner.testing.values import make_segment
            >>> Merge((make_segment("a"),), "").key
            'acme/logs/0/0/a'
        """
        first = self.segments[0]
        place = (first.organization, first.table, first.resolution_ns, first.window_start_ns)
        return "/".join(map(str, (*place, min(one.id for one in self.segments))))


def plan_merges(
    segments: Iterable[Segment], now_ns: int, settings: CompactionSettings
) -> list[Merge]:
    """What to merge among live segments. No segment is in two merges.

    A clock that is wrong makes merges too early or too late, and nothing else.

    Args:
        segments: Any; those that have nothing to merge with are passed over.
        now_ns: The present, in nanoseconds since the epoch.
        settings: What to go by.

    Returns:
        Merges that can be done in any order and at the same time.
    """
    found: list[Merge] = []
    for _, window in groupby(sorted(segments, key=_sort_key), key=_place):
        candidates = [one for one in window if unfinished(one, settings)]
        for fitting in fitting_groups(candidates):
            found += _merges_in_window(fitting, now_ns, settings)
    return found


def unfinished(segment: Segment, settings: CompactionSettings) -> bool:
    """Whether a segment is still to be merged with others, if there are any.

    A rollup is not: whoever made it replaces it as a whole.
    """
    return segment.kind != "rollup" and (
        segment.level < COMPACT_LEVELS and segment.bytes < settings.target_bytes * _FULL
    )


def fitting_groups(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Put segments that can be merged without loss together, each into the first group it fits.

    Two segments do not fit where one name stands for different attributes in them, or where
    integers that no double holds would have to share a column with doubles.

    Example:
        >>> from lakerunner.model.segment import ColumnStats
        >>> from lakerunner.testing.values import make_segment
        >>> dotted = make_segment("a", columns={"attr_a_b": ColumnStats("string", key="a.b")})
        >>> other = make_segment("b", columns={"attr_a_b": ColumnStats("string", key="a_b")})
        >>> [len(group) for group in fitting_groups([dotted, other, dotted])]
        [2, 1]
    """
    groups: list[tuple[list[Segment], dict[str, _Kind]]] = []
    for segment in segments:
        kinds = {name: _kind(stats) for name, stats in segment.columns.items()}
        for members, known in groups:
            if all(name not in known or known[name].fits(kind) for name, kind in kinds.items()):
                members.append(segment)
                for name, kind in kinds.items():
                    known[name] = known[name].joined(kind) if name in known else kind
                break
        else:
            groups.append(([segment], kinds))
    return [members for members, _ in groups]


class _Kind(NamedTuple):
    """What must agree of a column in all segments of a merge.

    Attributes:
        key: The attribute's.
        types: Under which it is read.
        inexact: Whether it has, or may have, integers that are no doubles.
    """

    key: str
    types: frozenset[str]
    inexact: bool

    def fits(self, other: _Kind) -> bool:
        types = self.types | other.types
        if self.key != other.key or (len(types) > 1 and not types <= _SCALARS):
            return False
        inexact = self.inexact or other.inexact
        return len(types) == 1 or not (inexact and common_type(types) == "double")

    def joined(self, other: _Kind) -> _Kind:
        return _Kind(self.key, self.types | other.types, self.inexact or other.inexact)


def _kind(stats: ColumnStats) -> _Kind:
    inexact = False
    if stats.type == "int64":
        low, high = stats.min, stats.max
        known = isinstance(low, int) and isinstance(high, int)
        inexact = not known or int(low or 0) < -_EXACT or int(high or 0) > _EXACT
    return _Kind(stats.key, frozenset({stats.type}), inexact)


def _place(segment: Segment) -> tuple[str, str, int, str, int, int]:
    """What all segments of a merge have in common."""
    return (
        segment.organization,
        segment.table,
        segment.resolution_ns,
        segment.made_by,
        segment.window_start_ns,
        segment.window_ns,
    )


def _sort_key(segment: Segment) -> tuple[tuple[str, str, int, str, int, int], int, str]:
    return _place(segment), segment.min_timestamp_ns, segment.id


def _merges_in_window(
    segments: Sequence[Segment], now_ns: int, settings: CompactionSettings
) -> Iterator[Merge]:
    """Merges among unfinished segments that fit; they are in order of time."""
    if len(segments) < _PAIR:
        return
    over = now_ns >= segments[0].window_start_ns + segments[0].window_ns + settings.settle_ns
    limit = COMPACT_LEVELS if over else _OPEN_LEVELS
    if settings.eager or over:
        ready = [one for one in segments if one.level < limit]
        chosen = _worthwhile(ready, now_ns, settings)
        if len(chosen) >= _PAIR and (settings.eager or _calm(chosen, now_ns, settings)):
            reason = "its window is over" if over else "asked for now"
            merges = list(_filled(chosen, settings, _PAIR, reason))
            yield from merges
            if merges:
                return
    # More will come: only as many as are merged anyway, of one level at a time.
    limit = min(limit, COMPACT_LEVELS - 1)
    for level in range(limit):
        alike = [one for one in segments if one.level == level]
        yield from _filled(alike, settings, settings.fan_in, f"{settings.fan_in} of level {level}")


def _worthwhile(
    segments: Sequence[Segment], now_ns: int, settings: CompactionSettings
) -> list[Segment]:
    """The smaller ones, up to where one is too large to be written again for so little."""
    total = 0
    chosen: set[str] = set()
    for one in sorted(segments, key=lambda one: (one.bytes, one.id)):
        balanced = one.bytes <= _RATIO * total or total + one.bytes <= _CHEAP_BYTES
        if chosen and not balanced and not _calm(segments, now_ns, settings, _PATIENCE):
            break
        chosen.add(one.id)
        total += one.bytes
    return [one for one in segments if one.id in chosen]


def _calm(
    segments: Sequence[Segment], now_ns: int, settings: CompactionSettings, times: int = 1
) -> bool:
    """Whether nothing has come for longer than what is there should wait for it.

    What was never merged need not wait.
    """
    level = max(one.level for one in segments)
    newest_ns = max(one.created_ns for one in segments)
    # A segment from the future, by a clock that was ahead, has waited long enough.
    waited_ns = abs(now_ns - newest_ns)
    return level == 0 or waited_ns >= times * settings.settle_ns * 4 ** (level - 1)


def _filled(
    segments: Sequence[Segment], settings: CompactionSettings, least: int, reason: str
) -> Iterator[Merge]:
    """Merges of neighbours in time, each up to the target; none of fewer than `least`."""
    waiting: list[Segment] = []
    size = 0
    for one in segments:
        full = size + one.bytes > settings.target_bytes or len(waiting) == settings.inputs
        if waiting and full:
            if len(waiting) >= least:
                yield Merge(tuple(waiting), reason)
            waiting, size = [], 0
        waiting.append(one)
        size += one.bytes
    if len(waiting) >= least:
        yield Merge(tuple(waiting), reason)

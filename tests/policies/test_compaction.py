"""What is merged when: by simulation of what arrives, with bounds in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lakerunner.limits import COMPACT_LEVELS, MIB, WINDOW_NS
from lakerunner.model.segment import ColumnStats
from lakerunner.policies.compaction import CompactionSettings, fitting_groups, plan_merges
from lakerunner.testing.values import make_segment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakerunner.model.segment import Segment

MINUTE = 60 * 10**9
LAZY = CompactionSettings()
EAGER = CompactionSettings(eager=True)
LATER = 1000 * WINDOW_NS


def arrived(number: int, at_ns: int, size: int, window: int | None = None) -> Segment:
    start = at_ns if window is None else window * WINDOW_NS
    one = make_segment(f"{number:08d}", start, start, size=size)
    return replace(one, created_ns=at_ns)


class World:
    """Live segments, by window, and how many bytes were written."""

    def __init__(self, settings: CompactionSettings) -> None:
        self.settings = settings
        self.windows: dict[int, dict[str, Segment]] = {}
        self.came = self.written = self.count = 0
        self.most = 0

    def arrive(self, at_ns: int, size: int, window: int | None = None) -> None:
        self.count += 1
        one = arrived(self.count, at_ns, size, window)
        self.windows.setdefault(one.window_start_ns, {})[one.id] = one
        self.came += size

    def compact(self, now_ns: int, windows: Iterable[int] | None = None) -> int:
        done = 0
        for start in list(self.windows if windows is None else windows):
            live = self.windows.get(start, {})
            while merges := plan_merges(live.values(), now_ns, self.settings):
                for merge in merges:
                    self.swap(live, merge.segments, now_ns)
                    done += 1
        return done

    def swap(self, live: dict[str, Segment], parts: tuple[Segment, ...], now_ns: int) -> None:
        size = sum(one.bytes for one in parts)
        assert len(parts) > 1
        assert len({one.window_start_ns for one in parts}) == 1
        assert size <= max(self.settings.target_bytes, *(one.bytes for one in parts))
        self.count += 1
        self.most = max(self.most, len(parts))
        level = max(one.level for one in parts) + 1
        assert level <= COMPACT_LEVELS  # so no byte is written again more often than that
        first = min(parts, key=lambda one: one.min_timestamp_ns)
        made = replace(first, id=f"{self.count:08d}", bytes=size, level=level, created_ns=now_ns)
        for one in parts:
            del live[one.id]
        live[made.id] = made
        self.written += size

    @property
    def sizes(self) -> list[int]:
        return [len(live) for live in self.windows.values()]


class Outcome(NamedTuple):
    """What some days left: files of each window, and bytes written for each byte that came."""

    most_files: int
    mean_files: float
    amplification: float


def simulated(days: int, size: int, late_every: int = 0) -> Outcome:
    """A segment each minute, some of them for a window of the last two days."""
    world = World(LAZY)
    for minute in range(days * 24 * 60):
        now_ns = minute * MINUTE
        world.arrive(now_ns, size)
        hour = minute // 60
        touched = {hour * WINDOW_NS, (hour - 1) * WINDOW_NS}
        if late_every and minute % late_every == 0 and hour > 48:
            late = hour - 1 - (minute * 7919) % 48
            world.arrive(now_ns, size // 10, late)
            touched.add(late * WINDOW_NS)
        if minute % 60 == 15:  # all, once an hour, for those that have waited long enough
            touched |= {start for start, live in world.windows.items() if len(live) > 1}
        world.compact(now_ns, touched)
    world.compact(days * 24 * 60 * MINUTE + 100 * WINDOW_NS)
    sizes = world.sizes
    return Outcome(max(sizes), sum(sizes) / len(sizes), world.written / world.came)


def test_days_of_minutes_end_with_a_file_for_each_hour() -> None:
    found = simulated(4, MIB)
    assert found.most_files == 1
    assert found.amplification < 2.1


def test_late_rows_leave_few_files_and_bounded_writing() -> None:
    found = simulated(6, MIB, late_every=5)
    assert found.most_files <= 3
    assert found.amplification < 2.8


def test_large_segments_are_left_alone() -> None:
    world = World(LAZY)
    for minute in range(60):
        world.arrive(minute * MINUTE, 20 * MIB)
    world.compact(LATER)
    assert world.sizes == [5]  # 1200 MiB
    assert world.written == world.came
    assert world.compact(2 * LATER) == 0


def test_a_window_under_way_waits_for_company() -> None:
    world = World(LAZY)
    for minute in range(7):
        world.arrive(minute * MINUTE, MIB)
        assert world.compact(minute * MINUTE) == 0
    world.arrive(7 * MINUTE, MIB)
    assert world.compact(7 * MINUTE) == 1
    assert world.sizes == [1]


def test_asked_for_now_it_waits_for_nothing() -> None:
    world = World(EAGER)
    for number in range(3):
        world.arrive(number * MINUTE, MIB)
    assert world.compact(3 * MINUTE) == 1
    assert world.sizes == [1]


def test_somebody_who_asks_every_minute_cannot_use_up_all_levels() -> None:
    world = World(EAGER)
    for minute in range(60):
        world.arrive(minute * MINUTE, MIB // 100)
        world.compact(minute * MINUTE)
    world.compact(LATER)
    assert world.sizes == [1]


def test_two_hundred_become_one() -> None:
    world = World(EAGER)
    for number in range(200):
        world.arrive(number, 5000)
    world.compact(LATER)
    assert (world.sizes, world.written) == ([1], world.came)


@pytest.mark.parametrize("minutes", [1, 15, 120, 2000])
def test_late_rows_that_never_end_leave_few_files(minutes: int) -> None:
    world = World(LAZY)
    for minute in range(60):
        world.arrive(minute * MINUTE, MIB)
    for number in range(1, 600):
        now_ns = 120 * MINUTE + number * minutes * MINUTE
        world.arrive(now_ns, MIB // 10, 0)
        world.compact(now_ns)
    assert max(world.sizes) <= 40
    world.compact(10**6 * WINDOW_NS)
    assert max(world.sizes) <= 12
    assert world.written <= COMPACT_LEVELS * world.came


def test_a_late_row_joins_what_is_large_after_a_while() -> None:
    world = World(EAGER)
    for minute in range(2):
        world.arrive(minute * MINUTE, 90 * MIB)
    world.compact(LATER)
    world.arrive(LATER, 1000, 0)
    assert world.compact(LATER + MINUTE) == 0
    assert world.compact(LATER + 400 * MINUTE) == 1
    assert world.sizes == [1]


def test_nothing_is_merged_across_what_must_stay_apart() -> None:
    one = make_segment("a", 0, 0)
    others = (
        replace(one, id="b", organization="other"),
        replace(one, id="b", table="spans"),
        replace(one, id="b", resolution_ns=10),
        replace(one, id="b", made_by="rule 2"),
        replace(one, id="b", kind="rollup"),
        replace(one, id="b", window_start_ns=WINDOW_NS),
        replace(one, id="b", window_ns=2 * WINDOW_NS),
        replace(one, id="b", columns={"timestamp": ColumnStats("string")}),
    )
    for other in others:
        assert plan_merges([one, other], LATER, EAGER) == []
    assert len(plan_merges([one, replace(one, id="b")], LATER, EAGER)) == 1


def test_numbers_that_would_change_stay_apart() -> None:
    def of(kind: str, low: float | None = None, high: float | None = None) -> Segment:
        return make_segment(kind, columns={"attr_n": ColumnStats(kind, min=low, max=high)})

    big, small, unknown = of("int64", 0, 2**60), of("int64", 0, 9), of("int64")
    double, text, flag = of("double", 0.5, 0.5), of("string"), of("bool")
    assert len(fitting_groups([big, double])) == 2
    assert len(fitting_groups([unknown, double])) == 2
    assert len(fitting_groups([small, double, flag, text])) == 1
    assert len(fitting_groups([big, text, double])) == 1  # all of them are text
    assert len(fitting_groups([double, big, small])) == 2


SEGMENTS = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(0, 300 * MIB), st.integers(0, 5), st.integers(0, LATER)
    ),
    max_size=40,
)


@settings(max_examples=100)
@given(SEGMENTS, st.integers(0, 2 * LATER), st.sampled_from([EAGER, LAZY]))
def test_whatever_is_there_each_is_merged_once_and_it_comes_to_an_end(
    described: list[tuple[int, int, int, int]], now_ns: int, chosen: CompactionSettings
) -> None:
    world = World(chosen)
    for number, (window, size, level, created_ns) in enumerate(described):
        one = replace(arrived(number, created_ns, size, window), level=level, created_ns=created_ns)
        world.windows.setdefault(one.window_start_ns, {})[one.id] = one
    world.count = 10**6
    every = [one for live in world.windows.values() for one in live.values()]
    named = [
        one.id for merge in plan_merges(every, now_ns, world.settings) for one in merge.segments
    ]
    assert len(set(named)) == len(named)
    assert world.compact(now_ns) <= len(described)
    assert sum(one.bytes for live in world.windows.values() for one in live.values()) == sum(
        size for _, size, _, _ in described
    )

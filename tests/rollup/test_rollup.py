"""Each tier holds each point once, whatever happens in between."""

from __future__ import annotations

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lakerunner
from lakerunner.errors import ReadOnlyError
from lakerunner.limits import MEMORY_FLOOR_BYTES
from lakerunner.model.times import TimeRange
from lakerunner.rollup import Rollup, making
from lakerunner.testing.faults import FaultPlan, FaultyCatalog, FaultyStore, SimulatedCrash
from tests.rollup.world import HOUR, SECOND, START, TIERS, Point, World

if TYPE_CHECKING:
    from pathlib import Path

    from lakerunner.model.segment import Segment

DAY = 24 * HOUR


def same(points: int, total: float, least: float, most: float, increase: float) -> list[object]:
    return [(tier, points, total, least, most, increase) for tier in TIERS]


def test_a_point_a_day_late_is_once_in_all_five_tiers() -> None:
    world = World()
    world.ingest(*(Point(at, at) for at in range(0, 100, 10)))
    world.roll()
    assert world.sums() == same(10, 450.0, 0.0, 90.0, 90.0)
    world.ingest(Point(DAY, 500))
    world.roll()
    world.ingest(Point(15, 15))
    assert world.roll().tasks == 1
    assert world.sums() == same(12, 965.0, 0.0, 500.0, 90.0)
    assert world.roll().tasks == 0


def test_six_buckets_make_one() -> None:
    world = World()
    world.ingest(*(Point(at, 1.0, gauge=True) for at in range(60)))
    world.roll()
    assert [row["point_count"] for row in world.buckets(10)] == [10] * 6
    assert [row["point_count"] for row in world.buckets(60)] == [60]


def test_a_counter_goes_on_from_the_window_before_whichever_comes_first() -> None:
    world = World()
    world.ingest(Point(HOUR + 5, 70), Point(HOUR + 15, 75))
    world.roll()
    assert world.sums() == same(2, 145.0, 70.0, 75.0, 5.0)
    world.ingest(Point(HOUR - 5, 60))
    world.roll()
    assert world.sums() == same(3, 205.0, 60.0, 75.0, 15.0)


def test_a_rate_over_a_tier_is_that_over_the_points() -> None:
    world = World()
    values = [at * 3 % 1000 for at in range(0, 2 * HOUR, 5)]  # begins anew again and again
    world.ingest(*(Point(at * 5, value) for at, value in enumerate(values)))
    world.roll()
    rises = [after - before if after >= before else after for before, after in pairwise(values)]
    for tier in TIERS:
        added = [0.0] * (2 * HOUR // tier)
        for at, more in enumerate(rises, 1):
            added[at * 5 // tier] += more
        assert [row["value_increase"] for row in world.buckets(tier)] == added
    # Between two points of one counter, Prometheus adds what the later buckets hold.
    asked = world.lake.promql("increase(requests_total[1h])", time=START + 2 * HOUR - 5 + 0.001)
    (sample,) = asked.to_pylist()
    (_, row) = world.buckets(3600)
    assert sample["value"] == pytest.approx(row["value_increase"], rel=0.01)


def test_attributes_and_identity_stay() -> None:
    world = World()
    world.ingest(Point(1, 5, "a"), Point(2, 7, "b"))
    world.roll()
    rows = world.buckets(3600)
    assert sorted(row["attr_host"] for row in rows) == ["a", "b"]
    ids = world.lake.sql("SELECT DISTINCT series_id FROM metrics").to_arrow()["series_id"]
    assert {row["series_id"] for row in rows} == set(ids.to_pylist())
    assert {row["temporality"] for row in rows} == {"cumulative"}
    assert world.lake.sql('SELECT "host" FROM metrics_rollup LIMIT 1').to_arrow().num_rows == 1


def test_a_merge_costs_nothing_and_a_rewrite_is_summed_up_again() -> None:
    world = World()
    world.ingest(Point(1, 5))
    world.ingest(Point(2, 7))
    world.roll()
    world.replace(world.points(), "compact")
    assert len(world.points()) == 1
    assert world.roll().tasks == 0
    world.ingest(Point(3, 8))
    world.replace(world.points(), "compact")
    world.roll()
    assert world.sums() == same(3, 20.0, 5.0, 8.0, 3.0)
    world.replace(
        world.points(), "rewrite", lambda table: table.filter(pc.less(table["value"], 8.0))
    )
    world.roll()
    assert world.sums() == same(2, 12.0, 5.0, 7.0, 2.0)


def test_what_is_deleted_from_points_leaves_the_tiers() -> None:
    world = World()
    world.ingest(Point(1, 5, "a", gauge=True), Point(2, 7, "b", gauge=True))
    world.ingest(Point(3, 9, "b", gauge=True))
    world.roll()
    world.lake.delete("metrics", where="attr_host = 'b'")
    world.lake.retain()
    world.roll()
    assert [row[1:5] for row in world.sums()] == [(1, 5.0, 5.0, 5.0)] * len(TIERS)
    world.lake.delete("metrics_rollup", where="attr_host = 'a'")
    assert world.sums() == []
    world.ingest(Point(4, 1, "c", gauge=True))
    world.roll()
    # What was deleted from a tier stays deleted when its window is made again.
    assert [row[1:5] for row in world.sums()] == [(1, 1.0, 1.0, 1.0)] * len(TIERS)


def test_tiers_outlive_their_points_and_take_up_late_ones() -> None:
    world = World()
    world.ingest(Point(5, 100, gauge=True), Point(30, 300, gauge=True), Point(6, 10), Point(40, 30))
    world.roll()
    world.retire(world.points())
    assert world.roll().tasks == 0
    assert world.sums() == same(4, 440.0, 10.0, 300.0, 20.0)
    world.ingest(Point(31, 50, gauge=True), Point(20, 15))
    assert world.roll().tasks == 1
    assert world.sums() == same(6, 505.0, 10.0, 300.0, 20.0)
    (gauge,) = [row for row in world.buckets(3600) if row["metric_type"] == "gauge"]
    assert (gauge["value_first"], gauge["value_last"]) == (100.0, 50.0)
    assert world.roll().tasks == 0


def test_what_cannot_be_told_apart_is_said_and_not_guessed() -> None:
    world = World()
    world.ingest(Point(1, 5))
    world.ingest(Point(2, 7))
    world.roll()
    world.ingest(Point(3, 8))
    first, second, late = sorted(world.points(), key=lambda one: one.min_timestamp_ns)
    world.retire([first])
    world.replace([second, late], "compact")
    report = world.lake.rollup()
    assert "cannot take up later points" in report.failed[0].reason
    assert world.sums() == same(2, 12.0, 5.0, 7.0, 2.0)


def test_another_tier_is_made_of_what_there_is() -> None:
    world = World(rollup_tiers_ns=[10 * SECOND, 60 * SECOND])
    world.ingest(*(Point(at, at) for at in range(0, 200, 5)))
    world.roll()
    world.retire(world.points())
    more = {**world.config, "rollup_tiers_ns": [each * SECOND for each in TIERS]}
    world.lake = lakerunner.Lake(world.store, world.catalog, config=more)
    world.ingest(Point(300, 200))
    world.roll()
    assert [row[:2] for row in world.sums()] == [(tier, 41) for tier in TIERS]


def test_a_dry_run_and_a_lake_that_may_only_be_read() -> None:
    world = World()
    world.ingest(Point(1, 5))
    (line,) = world.lake.rollup(dry_run=True).planned
    assert "afresh, 1 points into 10 s, 60 s, 300 s, 1200 s, 3600 s" in line
    assert not world.lake.segments("metrics_rollup")
    reading = lakerunner.Lake(world.store, world.catalog, read_only=True)
    assert reading.rollup(dry_run=True).planned
    with pytest.raises(ReadOnlyError):
        reading.rollup()


def test_each_organization_has_its_own() -> None:
    world = World()
    world.ingest(Point(1, 5))
    acme = world.lake.for_organization("acme")
    assert acme.rollup().tasks == 0
    assert world.lake.rollup().tasks == 1
    assert not acme.segments("metrics_rollup")


def test_windows_that_still_fill_wait() -> None:
    world = World()
    world.ingest(*(Point(at, at) for at in range(8)))
    assert world.lake.rollup(settle_seconds=10**9).tasks == 1  # none of it was summed up before
    world.ingest(Point(9, 9))
    assert world.lake.rollup(settle_seconds=10**9).tasks == 0
    assert world.lake.rollup(settle_seconds=0).tasks == 1


def test_a_part_of_the_time() -> None:
    world = World()
    world.ingest(Point(1, 5), Point(5 * HOUR, 6), Point(9 * HOUR, 7))
    lake = world.lake
    assert lake.rollup(start=START + 4 * HOUR, end=START + 6 * HOUR).tasks == 1
    assert world.roll().tasks == 2
    assert world.roll().tasks == 0


def test_expired_windows_are_left_alone() -> None:
    world = World(retention={"metrics": "1d", "metrics_rollup": {"10s": "1d"}})
    world.ingest(Point(1, 5))
    assert world.lake.rollup(dry_run=True).planned == ()
    kept = World(retention={"metrics_rollup": {"10s": "1d"}})
    kept.ingest(Point(1, 5))
    kept.roll()
    assert [row[0] for row in kept.sums()] == TIERS[1:]
    assert kept.roll().tasks == 0


def test_many_parts_make_the_same_tiers(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        Point(at, at * 3, host, gauge=gauge)
        for at in range(0, 90, 3)
        for host in "abcdefgh"
        for gauge in (True, False)
    ]
    whole, cut = World(), World()
    for world in (whole, cut):
        world.ingest(*points)
    whole.roll()
    # As if memory were short: a few dozen points at a time.
    room = whole.lake._scope.config.memory_bytes - MEMORY_FLOOR_BYTES
    monkeypatch.setattr(making, "ROLLUP_ROW_BYTES", room // 50)
    cut.roll()
    for tier in TIERS:
        assert cut.buckets(tier) == whole.buckets(tier)
    for segment in cut.lake.segments("metrics_rollup"):
        rows = pa.parquet.read_table(pa.BufferReader(cut.store.get(segment.key).data))
        keys = rows.select(["metric_name", "series_id", "timestamp"]).to_pylist()
        order = [tuple(key.values()) for key in keys]
        assert order == sorted(order)


def test_killed_at_any_call_and_run_again() -> None:
    call = 0
    while True:
        world = World()
        world.ingest(Point(1, 5), Point(2, 8))
        world.roll()
        world.ingest(Point(12, 9))
        call += 1 if settings().max_examples > 1000 else 9
        plan = FaultPlan.crash_at(call, after=call % 2 == 0)
        store, catalog = FaultyStore(world.store, plan), FaultyCatalog(world.catalog, plan)
        with suppress(SimulatedCrash):
            Rollup(store, catalog, config=world.config).run()
        held = {row[1:3] for row in world.sums()}
        assert held in ({(2, 13.0)}, {(3, 22.0)})
        if not plan.crashed:
            break
        _unlease(world)
        world.roll()
        assert world.sums() == same(3, 22.0, 5.0, 9.0, 4.0)
        assert world.roll().tasks == 0


def _unlease(world: World) -> None:
    """What a dead worker held is free when its time is over."""
    world.catalog.leases()._held.clear()  # type: ignore[attr-defined] # of catalogs in memory


def test_two_workers_make_each_window_once() -> None:
    world = World()
    world.ingest(*(Point(at * HOUR, at) for at in range(4)))
    workers = [Rollup(world.store, world.catalog, config=world.config) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(lambda worker: worker.run(), workers))
    assert sum(report.tasks for report in reports) == 4
    assert world.roll().tasks == 0
    assert world.sums() == same(4, 6.0, 0.0, 3.0, 3.0)


def test_two_workers_without_leases_end_with_one_winner() -> None:
    world = World()
    world.ingest(Point(1, 5), Point(2, 8))
    plan = FaultPlan()
    catalog = FaultyCatalog(world.catalog, plan)
    first = Rollup(world.store, catalog, config=world.config)
    tasks = [task for task, _ in first._tasks(TimeRange(), None)]

    class Free:
        """A lease that was never taken."""

        def check(self) -> None:
            """Let it go on."""

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(making.roll_window, first._scope, tasks[0], Free()) for _ in range(2)]  # type: ignore[arg-type] # a lease is more
        outcomes = [run.exception() for run in runs]
    assert outcomes.count(None) >= 1
    assert world.sums() == same(2, 13.0, 5.0, 8.0, 3.0)


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("ingest"),
            st.lists(
                st.tuples(st.integers(0, 2 * HOUR), st.integers(0, 99), st.sampled_from("ab")),
                min_size=1,
                max_size=6,
            ),
        ),
        st.tuples(st.sampled_from(["roll", "merge", "retire", "kill"]), st.integers(0, 30)),
    ),
    min_size=2,
    max_size=9,
)


def test_captured_metrics_are_in_each_tier_as_they_were_sent(telemetry: Path) -> None:
    lake = World().lake
    lake.ingest(str(telemetry / "otlp" / "metrics") + "/")
    assert not lake.rollup().failed
    sent = lake.sql("""
        SELECT metric_type, count(*) AS points, round(sum(value), 3) AS total
        FROM metrics WHERE coalesce(flags, 0) = 0 GROUP BY 1 ORDER BY 1
    """).to_pylist()
    assert sum(row["points"] for row in sent) > 30_000
    for tier in TIERS:
        held = lake.sql(f"""
            SELECT metric_type, sum(point_count) AS points, round(sum(value_sum), 3) AS total
            FROM metrics_rollup WHERE resolution_ns = {tier * SECOND} GROUP BY 1 ORDER BY 1
        """).to_pylist()
        assert held == sent
    added = "SELECT sum(count) FROM {} WHERE temporality = 'delta' AND metric_type = 'histogram'"
    whole = lake.sql(added.format("metrics")).scalar()
    assert lake.sql(added.format("metrics_rollup")).scalar() == whole * len(TIERS)


class Story:
    """A world, and all points that were ever taken."""

    def __init__(self) -> None:
        self.world = World()
        self.taken: list[tuple[int, int]] = []

    def ingest(self, points: list[tuple[int, int, str]]) -> None:
        self.world.ingest(*(Point(at, value, host, gauge=True) for at, value, host in points))
        self.taken += [(at, value) for at, value, _ in points]

    def roll(self, number: int) -> None:
        del number
        self.world.roll()

    def merge(self, number: int) -> None:
        del number
        self.world.lake.compact()

    def retire(self, number: int) -> None:
        self.world.roll()  # what nobody summed up would be gone, as it should be
        self.world.retire(self.window(number))

    def kill(self, number: int) -> None:
        world, plan = self.world, FaultPlan.crash_at(number + 1)
        store, catalog = FaultyStore(world.store, plan), FaultyCatalog(world.catalog, plan)
        with suppress(SimulatedCrash):
            Rollup(store, catalog, config=world.config).run()
        _unlease(world)

    def window(self, number: int) -> list[Segment]:
        windows = defaultdict(list)
        for one in self.world.points():
            windows[one.window_start_ns].append(one)
        return windows[sorted(windows)[number % len(windows)]] if windows else []

    def check(self) -> None:
        world, values = self.world, [value for _, value in self.taken]
        if not values:
            return
        expected = (len(values), sum(values), min(values), max(values))
        assert [row[1:5] for row in world.sums()] == [expected] * len(TIERS)
        for tier in TIERS:
            counts = Counter(at // tier * tier for at, _ in self.taken)
            found: Counter[int] = Counter()
            for row in world.buckets(tier):
                found[row["timestamp"].value // SECOND - START] += row["point_count"]
            assert found == counts


@settings(max_examples=100 if settings().max_examples > 1000 else 6)
@given(STEPS)
def test_whatever_happens_each_point_is_in_each_tier_once(steps: list[tuple[str, Any]]) -> None:
    story = Story()
    for what, said in steps:
        getattr(story, what)(said)
    story.world.roll()
    story.check()
    assert story.world.roll().tasks == 0


def _range(world: World, start: int, end: int, step: int) -> list[tuple[int, ...]]:
    wanted = TimeRange((START + start) * SECOND, (START + end) * SECOND)
    worker = Rollup(world.store, world.catalog, config=world.config)
    numbers = [
        tuple(each // SECOND for each in part) for part in worker.choose(wanted, step * SECOND)
    ]
    return [(start - START, end - START, tier) for start, end, tier in numbers]


def test_the_coarsest_tier_that_gives_the_same_answer() -> None:
    world = World()
    world.ingest(*(Point(at * HOUR + 7, at) for at in range(4)))
    world.roll()
    assert _range(world, 0, 4 * HOUR, 3600) == [(0, 4 * HOUR, 3600)]
    assert _range(world, 0, 4 * HOUR, 7200) == [(0, 4 * HOUR, 3600)]
    assert _range(world, 0, 4 * HOUR, 600) == [(0, 4 * HOUR, 300)]
    assert _range(world, 10, 4 * HOUR, 60) == [(10, 4 * HOUR, 10)]
    assert _range(world, 3, 4 * HOUR, 60) == [(3, 4 * HOUR, 0)]
    assert _range(world, 0, HOUR + 65, 60) == [(0, HOUR + 60, 60), (HOUR + 60, HOUR + 65, 0)]
    world.ingest(Point(HOUR + 9, 5))
    # The window has a point that its tiers lack, and from it the next one goes on.
    assert _range(world, 0, 4 * HOUR, 3600) == [
        (0, HOUR, 3600),
        (HOUR, 3 * HOUR, 0),
        (3 * HOUR, 4 * HOUR, 3600),
    ]
    (minute,) = [
        one
        for one in world.lake.segments("metrics_rollup")
        if one.resolution_ns == 60 * SECOND and one.window_start_ns == START * SECOND
    ]
    world.retire([minute])
    assert _range(world, 0, HOUR, 60) == [(0, HOUR, 10)]

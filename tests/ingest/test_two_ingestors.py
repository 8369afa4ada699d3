"""Ingestors that meet: over the same objects, at every moment, with clocks that disagree."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, cast

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

import lakerunner
from lakerunner.errors import LakerunnerError, StoreUnavailableError
from lakerunner.model.config import Config
from lakerunner.retain.retention import collect_orphans
from lakerunner.testing.faults import Fault, FaultPlan, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lakerunner.model.report import IngestReport
    from tests.ingest.conftest import World, Worlds

HOUR_NS = 3600 * 10**9
SMALL = Config(batch_objects=2, backoff_seconds=0.01, attempts=8)


class Meanwhile(FaultPlan):
    """Before one call of a process, something else happens; once."""

    def __init__(self, at: int, action: Callable[[], object], *faults: Fault) -> None:
        super().__init__(*faults)
        self.at, self.action = at, action
        self.happened = False

    def begin(self, name: str) -> Ticket:
        ticket = super().begin(name)
        if ticket.number == self.at:
            self.action()
            self.happened = True
        return ticket


@contextmanager
def clock(skew_ns: int) -> Iterator[None]:
    """A process whose clock is wrong."""
    right = time.time_ns
    time.time_ns = lambda: right() + skew_ns
    try:
        yield
    finally:
        time.time_ns = right


def moments(worlds: Worlds) -> Iterator[tuple[World, int]]:
    """A filled world for each call of the first ingestor; in S3 for every fifth."""
    for call in itertools.count(1, 5 if worlds.kind == "bucket-s3" else 1):
        world = worlds()
        world.fill()
        yield world, call


def test_another_ingests_the_same_at_any_moment(worlds: Worlds) -> None:
    for world, call in moments(worlds):
        plan = Meanwhile(call, world.ingest)
        world.ingest(plan)
        assert world.bodies() == world.expected
        world.settle()
        if not plan.happened:
            break
    assert call > 12


def test_an_object_is_overwritten_at_any_moment(worlds: Worlds) -> None:
    """By a writer, with an ingestor on its heels, while the first one has the old version in hand.

    A version that was overwritten before anybody had read it is gone; any other lands whole, once.
    """
    landed = 0
    for world, call in moments(worlds):

        def overwrite_and_ingest(world: World = world) -> None:
            world.put("logs_1.binpb", rows=4)
            world.ingest()

        plan = Meanwhile(call, overwrite_and_ingest)
        world.ingest(plan)
        world.settle(overwritten=True)
        landed += len(world.bodies()) > 10
        if not plan.happened:
            break
    assert landed


def test_clocks_may_be_hours_apart(worlds: Worlds) -> None:
    """One clock is hours behind, the other hours ahead, and its orphan collector runs as well."""
    for world, call in moments(worlds):

        def ingest_and_collect(world: World = world) -> None:
            with clock(10 * HOUR_NS):
                world.ingest()
                with world.look() as catalog:
                    collect_orphans(world.lake, catalog, Config())

        plan = Meanwhile(call, ingest_and_collect)
        with clock(-5 * HOUR_NS):
            world.ingest(plan)
        assert world.bodies() == world.expected
        world.settle()
        if not plan.happened:
            break


def test_a_clock_that_jumps_ahead_commits_nothing_that_may_be_collected(worlds: Worlds) -> None:
    """Segments of half the grace period are made again: their files may be gone."""
    world = worlds()
    world.fill()
    right = time.time_ns
    jumped = threading.Event()

    def jump() -> None:
        if not jumped.is_set():
            jumped.set()
            time.time_ns = lambda: right() + 13 * HOUR_NS

    try:
        # The second segment of the first batch is on its way.
        report = world.ingest(PutHook(2, jump))
    finally:
        time.time_ns = right
    assert jumped.is_set()
    assert (report.objects, report.failed) == (3, ())
    world.settle()


class PutHook(Meanwhile):
    """Counts puts only."""

    def begin(self, name: str) -> Ticket:
        ticket = FaultPlan.begin(self, name)
        if name == "store.put" and ticket.nth == self.at:
            self.action()
        return ticket


def test_threads_that_take_the_same_objects(worlds: Worlds) -> None:
    world = worlds()
    world.fill(objects=12)
    start = threading.Barrier(3)

    def work(_: int) -> IngestReport:
        start.wait()
        return world.ingest(config=SMALL)

    with ThreadPoolExecutor(3) as threads:
        reports = list(threads.map(work, range(3)))
    assert sum(report.objects for report in reports) == 12
    assert sum(report.rows for report in reports) == 36
    assert world.bodies() == world.expected
    world.settle()


def ingest_here(lake: str, catalog: str, source: str, options: Mapping[str, object]) -> int:
    """What a process of the pool does; its rows."""
    own = None if catalog.startswith("bucket+s3") else catalog
    config = {"batch_objects": 2, "backoff_seconds": 0.01, "attempts": 8}
    with lakerunner.open(lake, catalog=own, storage_options=options, config=config) as opened:
        return opened.ingest(source).rows


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize(
    "worlds", ["sqlite", "postgresql", "bucket-local", "bucket-s3"], indirect=True
)
def test_processes_that_take_the_same_objects(worlds: Worlds, pool: ProcessPoolExecutor) -> None:
    world = worlds()
    world.fill(objects=12)
    arguments = (world.lake.url, world.catalog_url, world.input_url, world.lake.storage_options)
    jobs = [pool.submit(ingest_here, *arguments) for _ in range(2)]
    assert sum(job.result() for job in jobs) == 36
    assert world.bodies() == world.expected
    world.settle()


class MeetingMachine(RuleBasedStateMachine):
    """Two ingestors, of which one works in the middle of the other; objects come and change."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    @rule(name=st.sampled_from("abcd"), rows=st.integers(1, 3))
    def put(self, name: str, rows: int) -> None:
        self.world.put(f"logs_{name}.binpb", rows)

    @rule(
        at=st.integers(1, 20),
        name=st.sampled_from("abcd"),
        overwrites=st.booleans(),
        crash=st.integers(1, 40),
        inner=st.integers(1, 40),
    )
    def meet(self, at: int, name: str, overwrites: bool, crash: int, inner: int) -> None:
        """Either may die, or fail, at some call; 40 is far beyond the end of most."""

        def action() -> None:
            if overwrites:
                self.put(name, 2)
            self.world.dies(FaultPlan.crash_at(inner))

        try:
            self.world.dies(Meanwhile(at, action, Fault(crash, after=True)))
        except LakerunnerError:
            return

    @rule(call=st.integers(1, 20), after=st.booleans(), times=st.integers(1, 5))
    def fail(self, call: int, after: bool, times: int) -> None:
        error = StoreUnavailableError("503")
        try:
            self.world.ingest(FaultPlan(Fault(call, after=after, error=error, times=times)))
        except LakerunnerError:
            return

    @rule()
    def collect(self) -> None:
        with self.world.look() as catalog:
            collect_orphans(self.world.lake, catalog, Config(orphan_grace_ns=1), force=True)

    @invariant()
    def each_version_lands_whole_and_once(self) -> None:
        self.world.check_versions()

    def teardown(self) -> None:
        self.world.settle(overwritten=True)


@pytest.mark.parametrize("worlds", ["memory", "bucket-memory"], indirect=True)
def test_any_meeting(worlds: Worlds) -> None:
    def machine() -> MeetingMachine:
        return MeetingMachine(worlds())

    run_state_machine_as_test(
        cast("type[MeetingMachine]", machine),
        settings=settings(
            max_examples=max(1, settings().max_examples // 4), stateful_step_count=12
        ),
    )

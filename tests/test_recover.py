"""A catalog is lost, made again from the footers, and the answers are the same."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.ingest import Ingestor
from lakerunner.model.config import Config
from lakerunner.recover import recover_catalog
from lakerunner.retain.retention import collect_orphans
from lakerunner.store.memory import MemoryStore
from lakerunner.testing.faults import Fault, FaultPlan, FaultyCatalog, FaultyStore, SimulatedCrash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lakerunner.catalog import Catalog
    from lakerunner.model.report import RecoveryReport
    from lakerunner.model.segment import Segment
    from lakerunner.store import ObjectStore
    from lakerunner.testing.faults import Ticket

HOUR_NS = 3600 * 10**9
START_NS = 490_000 * HOUR_NS
CONFIG = Config(batch_objects=2, backoff_seconds=0.0, attempts=3)


def logs(bodies: list[str]) -> bytes:
    """A request whose records lie in two windows in turn."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for position, body in enumerate(bodies):
        record = scope.log_records.add(time_unix_nano=START_NS + position % 2 * HOUR_NS)
        record.body.string_value = body
    return request.SerializeToString()


class World:
    """A bucket of input, a lake, and a catalog that can be lost."""

    def __init__(self) -> None:
        self.name = uuid4().hex
        self.raw = MemoryStore(f"memory://{self.name}/raw")
        self.lake = MemoryStore(f"memory://{self.name}/lake")
        self.catalog: Catalog = MemoryCatalog()

    def ingest(self, plan: FaultPlan | None = None, batch_objects: int = 2) -> None:
        """One process takes the input, until it ends or the plan ends it."""
        plan = plan or FaultPlan()

        def open_bucket(url: str, options: Mapping[str, object]) -> ObjectStore:
            return FaultyStore(MemoryStore(url, options), plan)

        Ingestor(
            FaultyStore(self.lake, plan),
            FaultyCatalog(self.catalog, plan),
            config=replace(CONFIG, batch_objects=batch_objects),
            open_bucket=open_bucket,
        ).ingest(f"memory://{self.name}/raw/")

    def lose_and_recover(self) -> RecoveryReport:
        self.catalog = MemoryCatalog()
        return recover_catalog(self.lake, self.catalog, CONFIG)

    def bodies(self) -> Counter[str]:
        """What is in the segments that the catalog names."""
        found: Counter[str] = Counter()
        for segment in self.catalog.segments("default", "logs"):
            found.update(self.rows(segment)["body"].to_pylist())
        return found

    def rows(self, segment: Segment) -> pa.Table:
        return pq.read_table(pa.BufferReader(self.lake.get(segment.key).data))


def filled(world: World) -> Counter[str]:
    """Put five objects, one of them broken, and say which rows must come out."""
    expected: Counter[str] = Counter()
    for number in range(4):
        bodies = [f"{number}-{position}" for position in range(3)]
        world.raw.put(f"logs_{number}.binpb", logs(bodies))
        expected.update(bodies)
    world.raw.put("logs_2b.binpb", b"\x0a\xff")
    return expected


def calls_of_one_ingest() -> int:
    world, plan = World(), FaultPlan()
    filled(world)
    world.ingest(plan)
    return len(plan.calls)


CALLS = range(1, calls_of_one_ingest() + 1)


class Meanwhile(FaultPlan):
    """A plan under which something else happens right before a call."""

    def __init__(self, call: int, action: Callable[[], None], *faults: Fault) -> None:
        super().__init__(*faults)
        self._call, self._action = call, action

    def begin(self, name: str) -> Ticket:
        if len(self.calls) + 1 == self._call and not self.crashed:
            self._action()
        return super().begin(name)


def test_nothing_is_lost_with_the_catalog() -> None:
    world = World()
    expected = filled(world)
    world.ingest()
    before = world.catalog.segments("default", "logs")
    report = world.lose_and_recover()
    # Checksums of pages are the catalog's alone: to make them again would read every segment.
    unchecked = [replace(segment, checksums="") for segment in before]
    assert list(world.catalog.segments("default", "logs")) == unchecked
    assert world.bodies() == expected
    assert (report.rows, report.segments, report.sources) == (12, len(before), 4)
    assert (report.left_out, report.missing, report.broken) == ((), (), ())
    world.ingest()
    assert world.bodies() == expected
    assert len(world.catalog.rejections("default")) == 1  # set aside once more


@pytest.mark.parametrize("after", [False, True], ids=["before", "lost-reply"])
@pytest.mark.parametrize("call", CALLS)
def test_a_crash_at_any_call_and_then_the_loss(call: int, after: bool) -> None:
    world = World()
    expected = filled(world)
    with pytest.raises(SimulatedCrash):
        world.ingest(FaultPlan.crash_at(call, after=after))
    committed = world.bodies()
    world.lose_and_recover()
    recovered = world.bodies()
    assert committed <= recovered <= expected  # as multisets
    world.ingest()
    assert world.bodies() == expected


@pytest.mark.parametrize("again", [1, 3], ids=["smaller batches", "larger batches"])
@pytest.mark.parametrize("call", CALLS)
def test_a_crash_and_other_batches_and_then_the_loss(call: int, again: int) -> None:
    world = World()
    expected = filled(world)
    with pytest.raises(SimulatedCrash):
        world.ingest(FaultPlan.crash_at(call, after=True))
    world.raw.put("logs_1b.binpb", logs(["new"]))
    expected["new"] += 1
    world.ingest(batch_objects=again)
    assert world.bodies() == expected
    world.lose_and_recover()
    assert world.bodies() == expected


@pytest.mark.parametrize("call", CALLS)
def test_two_crashes_in_different_places_and_then_the_loss(call: int) -> None:
    for second in range(1 + call % 3, 12, 3):
        world = World()
        expected = filled(world)
        with pytest.raises(SimulatedCrash):
            world.ingest(FaultPlan.crash_at(call, after=True))
        with suppress(SimulatedCrash):
            world.ingest(FaultPlan.crash_at(second, after=True), batch_objects=3)
        committed = world.bodies()
        world.lose_and_recover()
        assert committed <= world.bodies() <= expected
        world.ingest()
        assert world.bodies() == expected


@pytest.mark.parametrize("crash", [None, 1, 2], ids=["no-crash", "at-delete-1", "at-delete-2"])
@pytest.mark.parametrize("call", CALLS)
def test_two_ingestors_of_the_same_objects(call: int, crash: int | None) -> None:
    world = World()
    expected = filled(world)
    faults = [Fault(call=crash, name="store.delete")] if crash else []
    try:
        world.ingest(Meanwhile(call, world.ingest, *faults))
    except SimulatedCrash:
        assert crash
    committed = world.bodies()
    world.lose_and_recover()
    assert committed <= world.bodies() <= expected
    world.ingest()
    assert world.bodies() == expected


@pytest.mark.parametrize("call", CALLS)
def test_two_ingestors_whose_batches_differ(call: int) -> None:
    """Where both live on, the loser takes its segments away."""
    world = World()
    expected = filled(world)
    world.ingest(Meanwhile(call, lambda: world.ingest(batch_objects=3)))
    world.lose_and_recover()
    assert world.bodies() == expected


class LossMachine(RuleBasedStateMachine):
    """Objects come, processes die, ingestors overlap, orphans are collected, catalogs are lost."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.expected: Counter[str] = Counter()
        self.numbers = count()
        self.alone = True

    @rule(name=st.sampled_from("abcdef"), rows=st.integers(0, 3))
    def put(self, name: str, rows: int) -> None:
        bodies = [f"{next(self.numbers)}" for _ in range(rows)]
        self.world.raw.put(f"logs_{name}{next(self.numbers)}.binpb", logs(bodies))
        self.expected.update(bodies)

    @rule(call=st.integers(1, 20), after=st.booleans(), size=st.integers(1, 3))
    def crash(self, call: int, after: bool, size: int) -> None:
        try:
            self.world.ingest(FaultPlan.crash_at(call, after=after), size)
        except SimulatedCrash:
            return

    @rule(
        at=st.integers(1, 12),
        size=st.integers(1, 3),
        other=st.integers(1, 3),
        call=st.integers(1, 30) | st.none(),
    )
    def two_at_once(self, at: int, size: int, other: int, call: int | None) -> None:
        faults = () if call is None else (Fault(call=call),)
        self.alone &= call is None
        try:
            self.world.ingest(
                Meanwhile(at, lambda: self.world.ingest(batch_objects=other), *faults), size
            )
        except SimulatedCrash:
            return

    @rule(size=st.integers(1, 3))
    def ingest(self, size: int) -> None:
        self.world.ingest(batch_objects=size)
        assert self.world.bodies() == self.expected

    @rule()
    def collect(self) -> None:
        collect_orphans(self.world.lake, self.world.catalog, Config(orphan_grace_ns=1), force=True)

    @rule()
    def lose(self) -> None:
        before = self.world.bodies()
        self.world.lose_and_recover()
        # A loser that dies between the refusal and its first deletion cannot be told from a winner.
        assert not self.alone or before <= self.world.bodies()

    @invariant()
    def nothing_is_doubled(self) -> None:
        assert self.world.bodies() <= self.expected

    def teardown(self) -> None:
        self.world.lose_and_recover()
        self.world.ingest()
        assert self.world.bodies() == self.expected


TestLossMachine = LossMachine.TestCase
TestLossMachine.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)

"""Exactly once: the ingestor is stopped at every call it makes, and run again."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from lakerunner.catalog import open_catalog
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.errors import (
    CommitUnknownError,
    LakerunnerError,
    ObjectDeniedError,
    StoreUnavailableError,
)
from lakerunner.ingest import Ingestor
from lakerunner.model.config import Config
from lakerunner.query import QueryEngine
from lakerunner.retain.retention import collect_orphans
from lakerunner.store.memory import MemoryStore
from lakerunner.testing.faults import Fault, FaultPlan, FaultyCatalog, FaultyStore, SimulatedCrash

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lakerunner.catalog import Catalog
    from lakerunner.store import ObjectStore

HOUR_NS = 3600 * 10**9
START_NS = 490_000 * HOUR_NS
CONFIG = Config(batch_objects=2, backoff_seconds=0.0, attempts=3)
WITHOUT_GRACE = Config(orphan_grace_ns=1)


def logs(bodies: list[str]) -> bytes:
    """A request whose records lie in two windows in turn."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for position, body in enumerate(bodies):
        record = scope.log_records.add(time_unix_nano=START_NS + position % 2 * HOUR_NS)
        record.body.string_value = body
    return request.SerializeToString()


class World:
    """A bucket of input, a lake and a catalog that outlive every process that works on them."""

    def __init__(self, catalog: Catalog | None = None, lake: ObjectStore | None = None) -> None:
        self.name = uuid4().hex
        self.raw = MemoryStore(f"memory://{self.name}/raw")
        self.lake = lake or MemoryStore(f"memory://{self.name}/lake")
        self.catalog = catalog or MemoryCatalog()

    def ingest(self, plan: FaultPlan) -> None:
        """One process takes the input, until it ends or the plan ends it."""

        def open_bucket(url: str, options: Mapping[str, object]) -> ObjectStore:
            return FaultyStore(MemoryStore(url, options), plan)

        Ingestor(
            FaultyStore(self.lake, plan),
            FaultyCatalog(self.catalog, plan),
            config=CONFIG,
            open_bucket=open_bucket,
        ).ingest(f"memory://{self.name}/raw/")

    def bodies(self) -> Counter[str]:
        """What is in the lake, read as a query reads it."""
        with QueryEngine(self.lake, self.catalog) as engine:
            column = engine.sql("SELECT body FROM logs").to_arrow()["body"]
        return Counter(column.to_pylist())

    def unnamed(self) -> set[str]:
        """Segment files that no commit names."""
        segments = self.catalog.segments("default", "logs")
        return {item.key for item in self.lake.list("segments/")} - {
            segment.key for segment in segments
        }


def filled(world: World) -> Counter[str]:
    """Put five objects, one of them broken, and say which rows must come out."""
    expected: Counter[str] = Counter()
    for number in range(4):
        bodies = [f"{number}-{position}" for position in range(3)]
        world.raw.put(f"logs_{number}.binpb", logs(bodies))
        expected.update(bodies)
    world.raw.put("logs_2b.binpb", b"\x0a\xff")
    return expected


def calls_of_one_ingest() -> tuple[str, ...]:
    world, plan = World(), FaultPlan()
    filled(world)
    world.ingest(plan)
    return plan.calls


CALLS = calls_of_one_ingest()


def test_an_ingest_makes_every_kind_of_call() -> None:
    assert set(CALLS) == {
        "store.list", "store.get", "store.put", "catalog.sources", "catalog.commit",
        "catalog.head", "catalog.settle", "catalog.rejections",
    }  # fmt: skip
    assert CALLS.count("store.get") == 5
    assert CALLS.count("catalog.commit") == 3


@pytest.mark.parametrize("after", [False, True], ids=["before", "lost-reply"])
@pytest.mark.parametrize("call", range(1, len(CALLS) + 1))
def test_a_crash_at_any_call_loses_and_doubles_nothing(call: int, after: bool) -> None:
    world = World()
    expected = filled(world)
    plan = FaultPlan.crash_at(call, after=after)
    with pytest.raises(SimulatedCrash):
        world.ingest(plan)
    assert plan.crashed
    assert not world.bodies() - expected
    world.ingest(FaultPlan())
    assert world.bodies() == expected
    assert [item.source.key for item in world.catalog.rejections("default")] == [
        f"{world.name}/raw/logs_2b.binpb"
    ]
    left_behind = world.unnamed()
    assert collect_orphans(world.lake, world.catalog, CONFIG) == []  # younger than the grace period
    assert set(collect_orphans(world.lake, world.catalog, WITHOUT_GRACE)) == left_behind
    assert world.unnamed() == set()
    assert world.bodies() == expected


@pytest.mark.parametrize("after", [False, True], ids=["before", "lost-reply"])
@pytest.mark.parametrize("call", range(1, len(CALLS) + 1))
def test_a_failing_call_is_tried_again(call: int, after: bool) -> None:
    world = World()
    expected = filled(world)
    commit = CALLS[call - 1] == "catalog.commit"
    error = CommitUnknownError("no reply") if commit else StoreUnavailableError("503")
    if CALLS[call - 1] in {
        "store.list",
        "catalog.sources",
    }:  # nothing was begun: the user calls again
        with pytest.raises(LakerunnerError):
            world.ingest(FaultPlan(Fault(call=call, after=after, error=error, times=9)))
        world.ingest(FaultPlan())
    else:
        world.ingest(FaultPlan(Fault(call=call, after=after, error=error)))
    assert world.bodies() == expected


def test_the_embedded_catalog_and_a_directory_survive_a_crash_at_any_call(tmp_path: Path) -> None:
    for call in range(1, len(CALLS) + 1):
        with open_catalog(f"sqlite://{tmp_path}/{call}.db") as catalog:
            world = World(catalog)
            expected = filled(world)
            with pytest.raises(SimulatedCrash):
                world.ingest(FaultPlan.crash_at(call, after=True))
            world.ingest(FaultPlan())
            assert world.bodies() == expected


class IngestMachine(RuleBasedStateMachine):
    """Objects come and are overwritten, processes die and stores fail; each version lands once."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.versions: dict[str, frozenset[str]] = {}
        self.ever: list[frozenset[str]] = []
        self.numbers = count()
        self.last: tuple[object, Counter[str]] | None = None

    def bodies(self) -> Counter[str]:
        """What is in the lake; asked again only if a commit or a file came or went since."""
        files = frozenset((item.key, item.etag) for item in self.world.lake.list("segments/"))
        state = (self.world.catalog.head(), files)
        if self.last is None or self.last[0] != state:
            self.last = (state, self.world.bodies())
        return self.last[1]

    @rule(name=st.sampled_from("abcdef"), rows=st.integers(0, 4))
    def put(self, name: str, rows: int) -> None:
        bodies = [f"{next(self.numbers)}" for _ in range(rows)]
        self.world.raw.put(f"logs_{name}.binpb", logs(bodies))
        self.versions[name] = frozenset(bodies)
        self.ever.append(self.versions[name])

    @rule(name=st.sampled_from("xy"))
    def put_broken(self, name: str) -> None:
        self.world.raw.put(f"logs_{name}.binpb", b"\x0a\xff")

    @rule(call=st.integers(1, 20), after=st.booleans())
    def crash(self, call: int, after: bool) -> None:
        try:
            self.world.ingest(FaultPlan.crash_at(call, after=after))
        except SimulatedCrash:
            return
        self.complete()

    @rule(
        call=st.integers(1, 20),
        after=st.booleans(),
        times=st.integers(1, 5),
        error=st.sampled_from([StoreUnavailableError("503"), ObjectDeniedError("403")]),
    )
    def fail(self, call: int, after: bool, times: int, error: LakerunnerError) -> None:
        try:
            self.world.ingest(FaultPlan(Fault(call=call, after=after, error=error, times=times)))
        except LakerunnerError:
            return

    @rule()
    def ingest(self) -> None:
        self.world.ingest(FaultPlan())
        self.complete()

    @rule()
    def collect(self) -> None:
        collect_orphans(self.world.lake, self.world.catalog, WITHOUT_GRACE, force=True)
        assert not self.world.unnamed()

    def complete(self) -> None:
        """Every current version is there after an ingest that ran to its end."""
        bodies = self.bodies()
        for version in self.versions.values():
            assert version <= bodies.keys()

    @invariant()
    def each_version_lands_whole_and_once(self) -> None:
        bodies = self.bodies()
        assert all(times == 1 for times in bodies.values())
        for version in self.ever:
            assert not (present := version & bodies.keys()) or present == version


TestIngestMachine = IngestMachine.TestCase
TestIngestMachine.settings = settings(
    max_examples=settings().max_examples // 4, stateful_step_count=20, deadline=None
)

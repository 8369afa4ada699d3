"""Watching: what is announced lands once, however it is announced and whatever fails."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

import lakerunner
from lakerunner.catalog import FaultyCatalog
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.errors import (
    CatalogUnavailableError,
    ConfigurationError,
    EventsUnavailableError,
    LakerunnerError,
    ObjectDeniedError,
    StoreUnavailableError,
)
from lakerunner.events import Delivery, EventQueue
from lakerunner.ingest import Ingestor
from lakerunner.model.config import Config
from lakerunner.model.event import ObjectEvent
from lakerunner.model.faults import Fault, FaultPlan, SimulatedCrash
from lakerunner.query import QueryEngine
from lakerunner.store import CountingStore, open_store
from lakerunner.store.faulty import FaultyStore
from lakerunner.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from lakerunner.model.progress import ProgressEvent
    from lakerunner.model.report import IngestReport
    from lakerunner.store import ObjectMeta, ObjectStore

CONFIG = Config(backoff_seconds=0.0, attempts=3, watch_seconds=0.0)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of seconds become pauses of milliseconds."""
    monkeypatch.setattr("lakerunner.ingest.watching.WATCH_BACKOFF_SECONDS", 0.01)


def request(*bodies: str) -> bytes:
    message = ExportLogsServiceRequest()
    records = message.resource_logs.add().scope_logs.add().log_records
    for body in bodies:
        records.add(time_unix_nano=1_790_078_400 * 10**9).body.string_value = body
    return message.SerializeToString()


class World:
    """A bucket of raw objects, a lake, and a queue of events."""

    def __init__(self) -> None:
        self.name = uuid4().hex
        self.raw = MemoryStore(f"memory://{self.name}/raw")
        self.lake = MemoryStore(f"memory://{self.name}/lake")
        self.catalog = MemoryCatalog()
        self.queue = EventQueue()

    def put(self, name: str, *bodies: str, data: bytes | None = None) -> ObjectEvent:
        """Store an object, and return what announces it."""
        return self.event(self.raw.put(name, request(*bodies) if data is None else data))

    def event(self, meta: ObjectMeta) -> ObjectEvent:
        key = f"{self.name}/raw/{meta.key}"
        return ObjectEvent("memory://", key, meta.size, meta.etag, meta.modified_ns)

    def missing(self, name: str) -> ObjectEvent:
        return ObjectEvent("memory://", f"{self.name}/raw/{name}", 5, "etag")

    def tell(self, *events: ObjectEvent) -> list[Future[None]]:
        """Announce each event in a message of its own."""
        return [self.queue.put([event]) for event in events]

    def watch(
        self,
        plan: FaultPlan | None = None,
        wrap: Callable[[ObjectStore], ObjectStore] | None = None,
        **options: Any,
    ) -> IngestReport:
        def open_bucket(url: str, storage_options: Mapping[str, object]) -> ObjectStore:
            store = open_store(url, storage_options)
            store = store if wrap is None else wrap(store)
            return store if plan is None else FaultyStore(store, plan)

        ingestor = Ingestor(
            self.lake if plan is None else FaultyStore(self.lake, plan),
            self.catalog if plan is None else FaultyCatalog(self.catalog, plan),
            config=options.pop("config", CONFIG),
            open_bucket=open_bucket,
        )
        source = options.pop("source", self.queue)
        return ingestor.watch(source, **{"until_idle": 0.05, **options})

    def bodies(self) -> list[str]:
        with QueryEngine(self.lake, self.catalog) as engine:
            found = engine.sql("SELECT body FROM logs ORDER BY body").to_arrow()
        bodies: list[str] = found["body"].to_pylist()
        return bodies

    def segments(self) -> int:
        return len(list(self.lake.list("segments/")))


def test_announced_objects_land_and_are_acknowledged() -> None:
    world = World()
    done = world.tell(world.put("logs_1.binpb", "a", "b"), world.put("logs_2.binpb", "c"))
    report = world.watch(max_age=5.0)
    assert world.bodies() == ["a", "b", "c"]
    assert (report.objects, report.rows, report.skipped, report.gone) == (2, 3, 0, 0)
    assert world.segments() == 1
    assert all(each.done() for each in done)


def test_an_object_is_read_once_and_nothing_else_is_asked() -> None:
    world = World()
    event = world.put("logs_1.binpb", "a")
    world.tell(event, event, event)
    counting: list[CountingStore] = []

    def wrap(store: ObjectStore) -> ObjectStore:
        counting.append(CountingStore(store))
        return counting[-1]

    report = world.watch(wrap=wrap, max_age=5.0)
    assert report.objects == 1
    world.tell(event)
    assert world.watch(wrap=wrap).skipped == 1
    assert [(store.counts.get, store.counts.requests) for store in counting] == [(1, 1), (0, 0)]


@given(
    order=st.lists(st.integers(0, 5), min_size=6, max_size=20).filter(
        lambda numbers: set(numbers) == set(range(6))
    ),
    grouping=st.integers(1, 4),
    max_objects=st.integers(1, 8),
)
@settings(max_examples=25)
def test_any_repetition_and_order_of_events_gives_the_same_rows(
    order: list[int], grouping: int, max_objects: int
) -> None:
    world = World()
    events = [world.put(f"logs_{number}.binpb", f"{number}a", f"{number}b") for number in range(5)]
    old = events[0]
    events.append(world.put("logs_0.binpb", "new"))  # a second version, and both are announced
    assert old.etag != events[-1].etag
    for start in range(0, len(order), grouping):
        world.queue.put([events[number] for number in order[start : start + grouping]])
    world.watch(max_objects=max_objects, until_idle=0.0, max_age=60.0)
    world.watch(max_objects=max_objects)
    expected = [f"{number}{letter}" for number in range(1, 5) for letter in "ab"]
    assert world.bodies() == [*expected, "new"]


def test_a_version_that_is_overwritten_between_two_events_lands_too() -> None:
    world = World()
    for body in "abc":
        world.tell(world.put("logs_1.binpb", body))
        world.watch()
    assert world.bodies() == ["a", "b", "c"]


def test_an_event_without_version_or_size_is_enough() -> None:
    world = World()
    event = world.put("logs_1.binpb", "a")
    bare = ObjectEvent(event.bucket, event.key)
    world.tell(bare, event, ObjectEvent(event.bucket, event.key, event.size))
    assert world.watch(max_age=5.0).objects == 1
    assert world.bodies() == ["a"]


def test_a_lone_object_does_not_wait_longer_than_max_age() -> None:
    world = World()
    stop = threading.Event()
    event = world.put("logs_1.binpb", "a")
    watching = threading.Thread(
        target=world.watch, kwargs={"max_age": 0.5, "stop": stop, "until_idle": None}
    )
    watching.start()
    begun = time.monotonic()
    (done,) = world.tell(event)
    done.result(10)
    waited = time.monotonic() - begun
    stop.set()
    watching.join(10)
    assert 0.5 <= waited < 2.5
    assert world.bodies() == ["a"]


def test_a_trickle_of_small_objects_becomes_few_segments() -> None:
    world = World()
    events = [world.put(f"logs_{number}.binpb", f"{number:03}") for number in range(200)]

    def trickle() -> None:
        for event in events:
            world.tell(event)
            time.sleep(0.005)

    thread = threading.Thread(target=trickle)
    thread.start()
    report = world.watch(max_age=0.4, until_idle=0.6)
    thread.join()
    assert world.bodies() == [f"{number:03}" for number in range(200)]
    assert report.objects == 200
    assert world.segments() <= 6


@pytest.mark.parametrize(("limit", "segments"), [({"max_objects": 2}, 3), ({"max_bytes": 1}, 6)])
def test_gatherings_end_by_count_and_by_bytes(limit: dict[str, int], segments: int) -> None:
    world = World()
    for number in range(6):
        world.tell(world.put(f"logs_{number}.binpb", "x"))
    # One at a time, so that what is received together is not ingested together.
    world.watch(source=OneAtATime(world.queue), max_age=60.0, **limit)
    assert world.segments() == segments


class OneAtATime(EventQueue):
    """Hands out the messages of another queue one by one."""

    def __init__(self, inner: EventQueue) -> None:
        super().__init__()
        self.inner = inner
        self.acknowledge = inner.acknowledge  # type: ignore[method-assign]
        self.release = inner.release  # type: ignore[method-assign]

    def receive(self, maximum: int, wait_seconds: float) -> Sequence[Delivery]:
        return self.inner.receive(min(maximum, 1), wait_seconds)


@pytest.mark.parametrize("value", [{"max_bytes": 0}, {"max_objects": 0}, {"max_age": -1.0}])
def test_limits_that_gather_nothing_are_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        World().watch(**value)


def test_an_object_that_is_gone_is_counted_and_acknowledged() -> None:
    world = World()
    (gone,) = world.tell(world.missing("logs_1.binpb"))
    (there,) = world.tell(world.put("logs_2.binpb", "a"))
    report = world.watch()
    assert (report.gone, report.objects, report.failed) == (1, 1, ())
    assert gone.done()
    assert there.done()
    # It is not held against an object that comes later, not even in the same version.
    assert world.catalog.rejections("default") == []


def test_an_object_that_is_announced_before_it_is_there_lands() -> None:
    world = World()
    (done,) = world.tell(world.missing("logs_1.binpb"))

    class Late(CountingStore):
        def get(self, key: str, *args: Any) -> Any:
            if self.counts.get == 1:
                world.put("logs_1.binpb", "late")
            return super().get(key, *args)

    report = world.watch(wrap=Late)
    assert world.bodies() == ["late"]
    assert done.done()
    assert (report.objects, report.gone) == (1, 0)


def test_an_object_that_may_not_be_read_is_announced_again() -> None:
    world = World()
    (done,) = world.tell(world.put("logs_1.binpb", "a"))
    plan = FaultPlan(Fault(call=2, error=ObjectDeniedError("403"), times=2))
    report = world.watch(plan)
    assert world.bodies() == ["a"]
    assert report.failed == ()
    assert done.done()


def test_what_cannot_be_read_in_the_end_is_in_the_report_and_not_acknowledged() -> None:
    world = World()
    (done,) = world.tell(world.put("logs_1.binpb", "a"))
    plan = FaultPlan(Fault(call=2, error=ObjectDeniedError("403"), times=10**6))
    report = world.watch(plan, until_idle=0.0, max_age=0.01)
    assert [each.code for each in report.failed] == ["object_denied"]
    assert not done.done()
    world.watch()
    assert world.bodies() == ["a"]


def test_a_broken_object_is_set_aside_and_acknowledged_once() -> None:
    world = World()
    event = world.put("logs_1.binpb", data=b"\x0a\xff")
    done = world.tell(event, world.put("logs_2.binpb", "a"))
    report = world.watch(max_age=5.0)
    assert [each.code for each in report.rejected] == ["corrupt_object"]
    assert [each.source.key for each in world.catalog.rejections("default")] == [event.key]
    assert all(each.done() for each in done)
    world.tell(event)
    assert world.watch().skipped == 1
    assert world.bodies() == ["a"]


def test_what_is_no_input_is_acknowledged(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    lake, folder, escape, foreign = (
        ObjectEvent("memory://", f"{world.name}/lake/segments/x.parquet", 1, "e"),
        ObjectEvent("memory://", f"{world.name}/raw/", 0, "e"),
        ObjectEvent("memory://", f"{world.name}/../secret", 1, "e"),
        ObjectEvent("ftp://host", "a", 1, "e"),
    )
    done = [world.queue.put([]), *world.tell(lake, folder, escape, foreign)]
    done.append(world.queue.put([], ["an event is not JSON"]))
    report = world.watch()
    assert all(each.done() for each in done)
    reasons = [each.reason for each in report.rejected]
    assert len(reasons) == 3
    assert "is not JSON" in reasons[0]
    assert "'..'" in reasons[1]
    assert "ftp://" in reasons[2]
    assert all(reason in caplog.text for reason in reasons)
    assert (report.objects, report.gone) == (0, 0)


def calls_of_one_watch() -> tuple[str, ...]:
    world, plan = World(), FaultPlan()
    world.tell(world.put("logs_1.binpb", "a"), world.put("logs_2.binpb", "b"))
    world.watch(plan, max_age=5.0)
    return plan.calls


CALLS = calls_of_one_watch()


def test_a_watch_makes_these_calls() -> None:
    assert CALLS == (
        "catalog.sources", "catalog.sources", "store.get", "store.get", "store.put",
        "catalog.commit",
    )  # fmt: skip


@pytest.mark.parametrize("after", [False, True], ids=["before", "lost-reply"])
@pytest.mark.parametrize("call", range(1, len(CALLS) + 1))
def test_a_crash_at_any_call_loses_and_doubles_nothing(call: int, after: bool) -> None:
    world = World()
    events = [world.put("logs_1.binpb", "a"), world.put("logs_2.binpb", "b")]
    done = world.tell(*events)
    with pytest.raises(SimulatedCrash):
        world.watch(FaultPlan.crash_at(call, after=after), max_age=5.0)
    assert not any(each.done() for each in done)
    world.watch(max_age=5.0)  # the source announces again what was not acknowledged
    assert world.bodies() == ["a", "b"]
    assert all(each.done() for each in done)


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("call", range(1, len(CALLS) + 1))
def test_failures_that_pass_are_waited_out(call: int, times: int) -> None:
    world = World()
    done = world.tell(world.put("logs_1.binpb", "a"), world.put("logs_2.binpb", "b"))
    catalog = CALLS[call - 1].startswith("catalog")
    error: LakerunnerError = (
        CatalogUnavailableError("locked") if catalog else StoreUnavailableError("503")
    )
    report = world.watch(FaultPlan(Fault(call=call, error=error, times=times)), max_age=0.2)
    assert world.bodies() == ["a", "b"]
    assert all(each.done() for each in done)
    assert report.failed == ()


class Flaky(EventQueue):
    """Fails now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def _fail(self) -> None:
        self.calls += 1
        if self.calls % 2:
            raise EventsUnavailableError("no reply")

    def receive(self, maximum: int, wait_seconds: float) -> Sequence[Delivery]:
        self._fail()
        return super().receive(maximum, wait_seconds)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        super().acknowledge(deliveries)
        self._fail()


def test_a_source_that_fails_now_and_then_does_no_harm() -> None:
    world = World()
    world.queue = Flaky()
    done = world.tell(world.put("logs_1.binpb", "a"), world.put("logs_2.binpb", "b"))
    world.watch(until_idle=0.3, max_age=0.1)
    assert world.bodies() == ["a", "b"]
    assert all(each.done() for each in done)


class Leased(EventQueue):
    """Notes whose leases are kept."""

    lease_seconds = 0.06

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[str] = []

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        self.kept += [each.handle for each in deliveries]


def test_leases_are_kept_while_objects_wait() -> None:
    world = World()
    world.queue = queue = Leased()
    world.tell(world.put("logs_1.binpb", "a"))
    world.watch(max_age=0.5, until_idle=0.6)
    assert len(queue.kept) >= 5
    kept = len(queue.kept)
    world.watch(until_idle=0.2)
    assert len(queue.kept) == kept
    assert "lakerunner-leases" not in {thread.name for thread in threading.enumerate()}


def test_sigterm_drains_and_the_handler_comes_back() -> None:
    world = World()
    before = signal.getsignal(signal.SIGTERM)
    (done,) = world.tell(world.put("logs_1.binpb", "a"))
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    report = world.watch(max_age=60.0, until_idle=None)
    timer.join()
    assert report.objects == 1
    assert world.bodies() == ["a"]
    assert done.done()
    assert signal.getsignal(signal.SIGTERM) is before


def test_progress_tells_totals() -> None:
    world = World()
    world.tell(world.put("logs_1.binpb", "a"), world.put("logs_2.binpb", "b"))
    heard: list[ProgressEvent] = []
    world.watch(progress=heard.append, max_objects=1, source=OneAtATime(world.queue))
    assert [(event.stage, event.done, event.rows) for event in heard] == [
        ("watch", 1, 1),
        ("watch", 2, 2),
    ]


def test_a_lake_watches_a_directory_by_its_path(tmp_path: Any) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "logs_1.binpb").write_bytes(request("a"))
    (tmp_path / "raw" / "logs_2.binpb.tmp").write_bytes(request("b"))
    old = time.time() - 60
    os.utime(tmp_path / "raw" / "logs_1.binpb", (old, old))
    with lakerunner.open(tmp_path / "lake") as lake:
        report = lake.watch(tmp_path / "raw", until_idle=1.5, max_age=0.1)
        assert report.rows == 1
    with (
        lakerunner.open(tmp_path / "lake", read_only=True) as lake,
        pytest.raises(lakerunner.errors.ReadOnlyError),
    ):
        lake.watch(tmp_path / "raw")

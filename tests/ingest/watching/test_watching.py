"""Watching: what is announced lands once, in few segments, and in time."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lakerunner
from lakerunner.errors import (
    ConfigurationError,
)
from lakerunner.events import Delivery, EventQueue
from lakerunner.model.config import Config
from lakerunner.model.report import ObjectEvent
from lakerunner.store import CountingStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.model.report import ProgressEvent
    from lakerunner.store import ObjectStore

CONFIG = Config(backoff_seconds=0.0, attempts=3, watch_seconds=0.0)


def test_announced_objects_land_and_are_acknowledged(new_world: type[Any]) -> None:
    world = new_world()
    done = world.tell(world.put("logs_1.binpb", "a", "b"), world.put("logs_2.binpb", "c"))
    report = world.watch(max_age=5.0)
    assert world.bodies() == ["a", "b", "c"]
    assert (report.objects, report.rows, report.skipped, report.gone) == (2, 3, 0, 0)
    assert world.segments() == 1
    assert all(each.done() for each in done)


def test_an_object_is_read_once_and_nothing_else_is_asked(new_world: type[Any]) -> None:
    world = new_world()
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
    new_world: type[Any], order: list[int], grouping: int, max_objects: int
) -> None:
    world = new_world()
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


def test_a_version_that_is_overwritten_between_two_events_lands_too(new_world: type[Any]) -> None:
    world = new_world()
    for body in "abc":
        world.tell(world.put("logs_1.binpb", body))
        world.watch()
    assert world.bodies() == ["a", "b", "c"]


def test_an_event_without_version_or_size_is_enough(new_world: type[Any]) -> None:
    world = new_world()
    event = world.put("logs_1.binpb", "a")
    bare = ObjectEvent(event.bucket, event.key)
    world.tell(bare, event, ObjectEvent(event.bucket, event.key, event.size))
    assert world.watch(max_age=5.0).objects == 1
    assert world.bodies() == ["a"]


def test_a_lone_object_does_not_wait_longer_than_max_age(new_world: type[Any]) -> None:
    world = new_world()
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


def test_a_trickle_of_small_objects_becomes_few_segments(new_world: type[Any]) -> None:
    world = new_world()
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
def test_gatherings_end_by_count_and_by_bytes(
    new_world: type[Any], one_at_a_time: type[Any], limit: dict[str, Any], segments: int
) -> None:
    world = new_world()
    for number in range(6):
        world.tell(world.put(f"logs_{number}.binpb", "x"))
    # One at a time, so that what is received together is not ingested together.
    world.watch(source=one_at_a_time(world.queue), max_age=60.0, **limit)
    assert world.segments() == segments


@pytest.mark.parametrize("value", [{"max_bytes": 0}, {"max_objects": 0}, {"max_age": -1.0}])
def test_limits_that_gather_nothing_are_refused(
    new_world: type[Any], value: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError):
        new_world().watch(**value)


class Leased(EventQueue):
    """Notes whose leases are kept."""

    lease_seconds = 0.06

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[str] = []

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        self.kept += [each.handle for each in deliveries]


def test_leases_are_kept_while_objects_wait(new_world: type[Any]) -> None:
    world = new_world()
    world.queue = queue = Leased()
    world.tell(world.put("logs_1.binpb", "a"))
    world.watch(max_age=0.5, until_idle=0.6)
    assert len(queue.kept) >= 5
    kept = len(queue.kept)
    world.watch(until_idle=0.2)
    assert len(queue.kept) == kept
    assert "lakerunner-leases" not in {thread.name for thread in threading.enumerate()}


def test_sigterm_drains_and_the_handler_comes_back(new_world: type[Any]) -> None:
    world = new_world()
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


def test_progress_tells_totals(new_world: type[Any], one_at_a_time: type[Any]) -> None:
    world = new_world()
    world.tell(world.put("logs_1.binpb", "a"), world.put("logs_2.binpb", "b"))
    heard: list[ProgressEvent] = []
    world.watch(progress=heard.append, max_objects=1, source=one_at_a_time(world.queue))
    assert [(event.stage, event.done, event.rows) for event in heard] == [
        ("watch", 1, 1),
        ("watch", 2, 2),
    ]


def test_a_lake_watches_a_directory_by_its_path(new_world: type[Any], tmp_path: Any) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "logs_1.binpb").write_bytes(new_world.logs("a"))
    (tmp_path / "raw" / "logs_2.binpb.tmp").write_bytes(new_world.logs("b"))
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

"""Watching when things go wrong: nothing is lost, nothing is doubled, nothing is skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lakerunner.errors import (
    CatalogUnavailableError,
    EventsUnavailableError,
    LakerunnerError,
    ObjectDeniedError,
    StoreUnavailableError,
)
from lakerunner.events import Delivery, EventQueue
from lakerunner.model.config import Config
from lakerunner.model.report import ObjectEvent
from lakerunner.store import CountingStore
from lakerunner.testing.faults import Fault, FaultPlan, SimulatedCrash

if TYPE_CHECKING:
    from collections.abc import Sequence


CONFIG = Config(backoff_seconds=0.0, attempts=3, watch_seconds=0.0)


def test_an_object_that_is_gone_is_counted_and_acknowledged(new_world: type[Any]) -> None:
    world = new_world()
    (gone,) = world.tell(world.missing("logs_1.binpb"))
    (there,) = world.tell(world.put("logs_2.binpb", "a"))
    report = world.watch()
    assert (report.gone, report.objects, report.failed) == (1, 1, ())
    assert gone.done()
    assert there.done()
    # It is not held against an object that comes later, not even in the same version.
    assert world.catalog.rejections("default") == []


def test_an_object_that_is_announced_before_it_is_there_lands(new_world: type[Any]) -> None:
    world = new_world()
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


def test_an_object_that_may_not_be_read_is_announced_again(new_world: type[Any]) -> None:
    world = new_world()
    (done,) = world.tell(world.put("logs_1.binpb", "a"))
    plan = FaultPlan(Fault(call=1, name="store.get", error=ObjectDeniedError("403"), times=2))
    report = world.watch(plan)
    assert world.bodies() == ["a"]
    assert report.failed == ()
    assert done.done()


def test_what_cannot_be_read_in_the_end_is_in_the_report_and_not_acknowledged(
    new_world: type[Any],
) -> None:
    world = new_world()
    (done,) = world.tell(world.put("logs_1.binpb", "a"))
    plan = FaultPlan(Fault(call=1, name="store.get", error=ObjectDeniedError("403"), times=10**6))
    report = world.watch(plan, until_idle=0.0, max_age=0.01)
    assert [each.code for each in report.failed] == ["object_denied"]
    assert not done.done()
    world.watch()
    assert world.bodies() == ["a"]


def test_a_broken_object_is_set_aside_and_acknowledged_once(new_world: type[Any]) -> None:
    world = new_world()
    event = world.put("logs_1.binpb", data=b"\x0a\xff")
    done = world.tell(event, world.put("logs_2.binpb", "a"))
    report = world.watch(max_age=5.0)
    assert [each.code for each in report.rejected] == ["corrupt_object"]
    assert [each.source.key for each in world.catalog.rejections("default")] == [event.key]
    assert all(each.done() for each in done)
    world.tell(event)
    assert world.watch().skipped == 1
    assert world.bodies() == ["a"]


def test_what_is_no_input_is_acknowledged(
    new_world: type[Any], caplog: pytest.LogCaptureFixture
) -> None:
    world = new_world()
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


CALLS = (
    *("catalog.sources", "catalog.sources", "catalog.head"),
    # What a new lake is asked before it says what it is:
    *("catalog.head", "store.list", "store.list", "store.list", "catalog.head"),
    *("store.put", "catalog.settle", "catalog.head"),
    *("store.get", "store.get", "store.put", "catalog.rejections", "catalog.commit", "store.put"),
)


def test_a_watch_makes_these_calls(new_world: type[Any]) -> None:
    world, plan = new_world(), FaultPlan()
    world.tell(world.put("logs_1.binpb", "a"), world.put("logs_2.binpb", "b"))
    world.watch(plan, max_age=5.0)
    assert plan.calls == CALLS


@pytest.mark.parametrize("after", [False, True], ids=["before", "lost-reply"])
@pytest.mark.parametrize("call", range(1, len(CALLS) + 1))
def test_a_crash_at_any_call_loses_and_doubles_nothing(
    new_world: type[Any], call: int, after: bool
) -> None:
    world = new_world()
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
def test_failures_that_pass_are_waited_out(new_world: type[Any], call: int, times: int) -> None:
    world = new_world()
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


def test_a_source_that_fails_now_and_then_does_no_harm(new_world: type[Any]) -> None:
    world = new_world()
    world.queue = Flaky()
    done = world.tell(world.put("logs_1.binpb", "a"), world.put("logs_2.binpb", "b"))
    world.watch(until_idle=0.3, max_age=0.1)
    assert world.bodies() == ["a", "b"]
    assert all(each.done() for each in done)

"""Exactly once, over each catalog: processes that die, replies that are lost, services that fail.

A bucket catalog is stopped at each request it makes itself, too.
"""

from __future__ import annotations

import itertools
import random
import threading
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lakerunner.errors import (
    CatalogUnavailableError,
    CommitUnknownError,
    LakerunnerError,
    ObjectDeniedError,
    StoreUnavailableError,
)
from lakerunner.model.signal import Signal
from lakerunner.testing.faults import Fault, FaultPlan, FaultyCatalog
from lakerunner.testing.servers import Spoil

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ingest.conftest import World, Worlds

MANY = 12
"""An ingest makes more calls than that, so to find fewer shows that nothing was tested."""


BROKEN_CALLS: dict[str, LakerunnerError] = {
    "store": StoreUnavailableError("503"),
    "catalog": CommitUnknownError("no reply"),
}


def fates(worlds: Worlds) -> Iterator[tuple[World, int, bool]]:
    """A filled world for each call, and for before and after it; the last one outlives them all."""
    slow = worlds.kind == "bucket-s3"  # its calls are those of the other buckets: some of them do
    for call in itertools.count(1, 3 if slow else 1):
        for after in [call % 2 == 0] if slow else [False, True]:
            world = worlds()
            world.fill()
            yield world, call, after


def test_a_process_may_die_at_any_call(worlds: Worlds) -> None:
    for world, call, after in fates(worlds):
        died = world.dies(FaultPlan.crash_at(call, after=after))
        assert not world.bodies() - world.expected
        world.settle()
        if not died:
            break
    assert call > MANY


def test_any_call_may_fail_once(worlds: Worlds) -> None:
    """Whatever is not tried again at once is taken by the next ingest."""
    plan = FaultPlan()
    rehearsal = worlds()
    rehearsal.fill()
    rehearsal.ingest(plan)
    for world, call, after in fates(worlds):
        if call > len(plan.calls):
            break
        error = BROKEN_CALLS[plan.calls[call - 1].partition(".")[0]]
        try:
            world.ingest(FaultPlan(Fault(call, after=after, error=error)))
        except LakerunnerError:
            assert not world.bodies() - world.expected
        world.settle()
    assert call > MANY


@pytest.mark.parametrize("after", [False, True])
def test_what_fails_for_long_is_taken_later(worlds: Worlds, after: bool) -> None:
    errors: list[LakerunnerError] = [ObjectDeniedError("403"), StoreUnavailableError("503")]
    if not worlds.kind.startswith("bucket-"):  # in a bucket, commits are puts as well
        errors = [CatalogUnavailableError("locked"), CommitUnknownError("no reply"), *errors]
    for error in errors:
        name = "store.put" if isinstance(error, OSError) else "catalog.commit"
        for call in (1, 2, 3):
            world = worlds()
            world.fill()
            try:
                world.ingest(FaultPlan(Fault(call, name, after, error, times=20)))
            except LakerunnerError:
                assert world.bodies() != world.expected or after
            assert not world.bodies() - world.expected
            world.settle()


def test_signals_of_one_batch_land_together_or_not_at_all(worlds: Worlds) -> None:
    world = worlds()
    world.put("a.binpb", rows=4)
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name="GET")
    span.trace_id, span.span_id = b"t" * 16, b"s" * 8
    span.start_time_unix_nano = span.end_time_unix_nano = 1_790_078_400 * 10**9
    world.bucket.put(f"{world.prefix}/traces_b.binpb", request.SerializeToString())
    whole = world.open_catalog
    refusal = Fault(1, "catalog.commit", error=CatalogUnavailableError("locked"), times=9)
    world.open_catalog = lambda lake, plan: FaultyCatalog(whole(lake, plan), FaultPlan(refusal))
    with pytest.raises(CatalogUnavailableError):
        world.ingest()
    world.open_catalog = whole
    with world.look() as catalog:
        taken = [catalog.snapshot("default", signal).rows for signal in Signal]
    assert taken == [0, 0, 0]
    again = world.ingest()
    assert (again.objects, again.skipped) == (2, 0)
    with world.look() as catalog:
        assert catalog.snapshot("default", "logs").rows == 4
        assert catalog.snapshot("default", "spans").rows == 1
    assert world.bodies() == world.expected


# -- what a service does to requests --------------------------------------------------------------


class SpoilNth:
    """Spoils the n-th request of a method."""

    def __init__(self, method: str, number: int, spoil: Spoil) -> None:
        self.method, self.left, self.spoil = method, number, spoil
        self._lock = threading.Lock()

    def __call__(self, method: str, _path: str) -> Spoil | None:
        with self._lock:
            self.left -= method == self.method
            return self.spoil if method == self.method and self.left == 0 else None


only_s3 = pytest.mark.parametrize("worlds", ["bucket-s3"], indirect=True)


@only_s3
@pytest.mark.parametrize("spoil", [Spoil(0, forward=True), Spoil(500, forward=True), Spoil(503)])
def test_the_reply_to_any_put_may_be_lost(worlds: Worlds, spoil: Spoil) -> None:
    """Segments, the rejection, entries of the log and checkpoints, of one process and one try."""
    assert worlds.proxy is not None
    for number in itertools.count(1):
        world = worlds()
        world.fill()
        nth = worlds.proxy.spoil = SpoilNth("PUT", number, spoil)
        report = world.ingest()
        worlds.proxy.spoil = lambda _method, _path: None
        assert (report.objects, report.rows, len(report.rejected)) == (3, 9, 1)
        assert not report.failed
        assert world.bodies() == world.expected
        world.settle()
        if nth.left > 0:
            break
    assert number > 6


@only_s3
@pytest.mark.parametrize("seed", range(3))
def test_a_storm_passes(worlds: Worlds, seed: int) -> None:
    """Of hundreds of requests a half is spoiled, each in one of four ways, until it is over."""
    assert worlds.proxy is not None
    ways = [Spoil(503), Spoil(500, forward=True), Spoil(0), Spoil(0, forward=True)]
    rng = random.Random(seed)  # noqa: S311 - no secret depends on it
    lock, spoiled = threading.Lock(), itertools.count()

    def storm(_method: str, _path: str) -> Spoil | None:
        with lock:
            return rng.choice(ways) if rng.random() < 0.5 and next(spoiled) < 200 else None

    world = worlds()
    world.fill(objects=8)
    worlds.proxy.spoil = storm
    for _ in range(100):
        try:
            report = world.ingest()
        except LakerunnerError:
            continue
        if not report.failed:
            break
    worlds.proxy.spoil = lambda _method, _path: None
    assert next(spoiled) > 20
    assert world.bodies() == world.expected
    world.settle()

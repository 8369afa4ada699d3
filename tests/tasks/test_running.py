"""Tasks: each done once at a time, renewed, put off when it fails, and never in another's way."""

from __future__ import annotations

import pickle
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import msgspec
import pytest

from lakerunner.catalog.opening import open_catalog
from lakerunner.errors import (
    CatalogMismatchError,
    CommitConflictError,
    LakerunnerError,
    LeaseLostError,
    StoreUnavailableError,
)
from lakerunner.limits import SETBACK_KEPT_NS
from lakerunner.model.config import Config
from lakerunner.model.report import Setback, WorkReport
from lakerunner.scope import Scope
from lakerunner.store.urls import open_store
from lakerunner.tasks import Hold, Manner, Task, run_tasks
from lakerunner.tasks.running import (
    LEASES,
    SETBACKS_PREFIX,
    is_due,
    note_setback,
    old_setbacks,
    pause_ns,
    read_setbacks,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from pathlib import Path

    from lakerunner.model.report import ProgressEvent

HOUR = 3600 * 10**9


@pytest.fixture
def scope(tmp_path: Path) -> Scope:
    store = open_store(str(tmp_path))
    catalog = open_catalog(f"sqlite:///{tmp_path}/catalog.db")
    return Scope(store, catalog, "acme", Config(workers=2, attempts=1))


def hours(number: int, kind: str = "count") -> list[Task[int]]:
    return [Task(kind, "acme", "logs", hour * HOUR, hour) for hour in range(number)]


def count(scope: Scope, task: Task[int], hold: Hold) -> WorkReport:
    hold.check()
    assert scope.organization == task.organization
    return WorkReport(task.kind, tasks=1, rows_read=task.payload)


def fail_odd(scope: Scope, task: Task[int], hold: Hold) -> WorkReport:
    if task.payload % 2:
        raise StoreUnavailableError(f"no room for {task.payload} in {scope.store.url}")
    return count(scope, task, hold)


def test_every_task_is_done_and_progress_is_told(scope: Scope) -> None:
    events: list[ProgressEvent] = []
    report = run_tasks(scope, "count", hours(7), count, Manner(progress=events.append))
    assert (report.tasks, report.rows_read) == (7, 21)
    assert [event.done for event in events] == list(range(1, 8))
    assert {(event.stage, event.total) for event in events} == {("count", 7)}
    assert not scope.catalog.leases().renew(LEASES, [one.place for one in hours(7)], "x", 1)


@pytest.mark.parametrize("make", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor_fans_out(scope: Scope, make: Callable[..., Executor]) -> None:
    settings = {"mp_context": get_context("spawn")} if make is ProcessPoolExecutor else {}
    with make(2, **settings) as executor:
        report = run_tasks(scope, "count", hours(5), fail_odd, Manner(executor=executor))
    assert (report.tasks, report.rows_read, len(report.failed)) == (3, 6, 2)


def test_failures_are_put_off_for_everybody(scope: Scope) -> None:
    first = run_tasks(scope, "count", hours(6), fail_odd)
    assert (first.tasks, first.rows_read) == (3, 6)
    assert [one.attempts for one in first.failed] == [1, 1, 1]
    assert {one.code for one in first.failed} == {"store_unavailable"}
    # Another process would look just so: nothing is remembered but in the lake.
    second = run_tasks(scope, "count", hours(6), fail_odd)
    assert (second.tasks, second.failed) == (3, ())
    assert {one.task for one in second.waiting} == {one.task for one in first.failed}
    third = run_tasks(scope, "count", hours(6), fail_odd, Manner(again=True))
    assert [one.attempts for one in third.failed] == [2, 2, 2]
    assert all(one.next_ns - one.failed_ns == 120 * 10**9 for one in third.failed)
    assert "failed 2 times" in str(third.failed[0])
    last = run_tasks(scope, "count", hours(6), count, Manner(again=True))
    assert (last.tasks, read_setbacks(scope.store)) == (6, {})


def test_what_is_no_failure_is_not_put_off(scope: Scope) -> None:
    def lose(scope: Scope, task: Task[int], hold: Hold) -> WorkReport:
        raise [CommitConflictError, LeaseLostError][task.payload]("others were there")

    report = run_tasks(scope, "count", hours(2), lose)
    assert (report.conflicts, report.busy, report.failed, report.waiting) == (1, 1, (), ())
    assert not read_setbacks(scope.store)


def test_a_recovered_lake_ends_the_run(scope: Scope) -> None:
    def refused(scope: Scope, task: Task[int], hold: Hold) -> WorkReport:
        raise CatalogMismatchError("it was recovered")

    with pytest.raises(CatalogMismatchError):
        run_tasks(scope, "count", hours(2), refused)


def test_a_place_is_in_one_pair_of_hands(scope: Scope) -> None:
    inside = threading.Barrier(2, timeout=10)
    leave = threading.Event()

    def slow(scope: Scope, task: Task[int], hold: Hold) -> WorkReport:
        inside.wait()
        assert leave.wait(10)
        return count(scope, task, hold)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run_tasks, scope, "compact", hours(1, "compact"), slow)
        inside.wait()
        try:
            # Another kind of task, but the same window.
            other = run_tasks(scope, "delete", hours(2, "delete"), count)
        finally:
            leave.set()
        assert (other.tasks, other.busy) == (1, 1)
        assert first.result(10).tasks == 1


def test_a_lease_is_kept_while_its_task_runs(scope: Scope) -> None:
    (task,) = hours(1)

    def outlast(scope: Scope, task: Task[int], hold: Hold) -> WorkReport:
        for _ in range(20):
            time.sleep(0.05)
            hold.check()
            assert not scope.catalog.leases().take(LEASES, [task.place], "somebody", 60)
        return count(scope, task, hold)

    assert run_tasks(scope, "count", [task], outlast, Manner(lease_seconds=0.6)).tasks == 1


def test_a_lost_lease_stops_its_task(scope: Scope) -> None:
    leases, steps = scope.catalog.leases(), []

    def robbed(scope: Scope, task: Task[int], hold: Hold) -> WorkReport:
        # As if this process had been stopped for longer than the lease lasts.
        (owner,) = [holder for holder in owners if leases.renew(LEASES, [task.place], holder, 1)]
        leases.release(LEASES, [task.place], owner)
        assert leases.take(LEASES, [task.place], "somebody", 60)
        for step in range(1000):
            steps.append(step)
            hold.check()
            time.sleep(0.01)
        return count(scope, task, hold)

    owners: list[str] = []
    real = type(leases).take

    def spy(self: object, kind: str, keys: list[str], owner: str, *rest: float) -> list[str]:
        owners.append(owner)
        return real(self, kind, keys, owner, *rest)  # type: ignore[arg-type] # the class under test

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(leases), "take", spy)
        report = run_tasks(scope, "count", hours(1), robbed, Manner(lease_seconds=0.1))
    assert (report.tasks, report.busy, report.failed) == (0, 1, ())
    assert len(steps) < 1000


def test_no_task_begins_after_a_stop(scope: Scope) -> None:
    stop = threading.Event()

    def once(scope: Scope, task: Task[int], hold: Hold) -> WorkReport:
        stop.set()
        return count(scope, task, hold)

    alone = scope._replace(config=Config(workers=1))
    assert run_tasks(alone, "count", hours(5), once, Manner(stop=stop)).tasks == 1


def test_progress_can_cancel(scope: Scope) -> None:
    def cancel(event: ProgressEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks(scope, "count", hours(50), count, Manner(progress=cancel))
    assert run_tasks(scope, "count", hours(50), count).tasks == 50


def test_what_failed_in_the_future_is_tried() -> None:
    # The clock of the store was set back by days: nobody knows how long ago that was.
    note = Setback("count x", "store", "no room", failed_ns=10**18, next_ns=10**18 + pause_ns(1))
    assert is_due(note, 10**18 - 5 * 86_400 * 10**9)
    assert not is_due(note, 10**18 + 1)
    assert is_due(note, note.next_ns)


def test_notes_of_strangers_do_no_harm(scope: Scope) -> None:
    newer = {"task": "count acme/x", "code": "c", "reason": "r", "attempts": 3, "colour": "red"}
    scope.store.put(f"{SETBACKS_PREFIX}acme/1", msgspec.json.encode(newer))
    scope.store.put(f"{SETBACKS_PREFIX}acme/2", b"\x00 no JSON")
    note_setback(scope.store, "other", Setback("count other/x", "c", "r"))
    assert set(read_setbacks(scope.store)) == {"count acme/x", "count other/x"}
    assert set(read_setbacks(scope.store, "acme")) == {"count acme/x"}
    assert run_tasks(scope, "count", hours(3), count).tasks == 3


def test_old_notes_can_be_found(scope: Scope) -> None:
    noted = note_setback(scope.store, "acme", Setback("count acme/x", "c", "r"))
    assert not list(old_setbacks(scope.store, noted.failed_ns))
    assert len(list(old_setbacks(scope.store, noted.failed_ns + SETBACK_KEPT_NS + 1))) == 1


def test_a_bound_lake_sees_no_place(scope: Scope) -> None:
    bound = scope.of("acme")
    report = run_tasks(bound, "count", hours(2), fail_odd)
    assert scope.store.url not in report.failed[0].reason
    assert "the lake" in report.failed[0].reason


def test_reports_add_up_print_and_are_json() -> None:
    setback = Setback("compact acme/logs/x", "store", "no room\x1b[2J", attempts=2)
    one = WorkReport(
        "compact", tasks=1, removed=3, added=1, bytes_read=3 * 10**6, failed=(setback,)
    )
    whole = WorkReport.of("maintain", [one, WorkReport("retain", tasks=2, rows_removed=9)])
    assert (whole.tasks, whole.rows_removed, whole.failed) == (3, 9, (setback,))
    text = str(whole)
    assert "\n" not in text
    assert text == (
        "maintain: 3 tasks, 3 segments to 1, 9 rows removed, 0.0 MB of 3.0 MB, 0.00 s, 1 failed"
    )
    assert "\x1b" not in str(setback)
    assert msgspec.json.decode(msgspec.json.encode(whole), type=WorkReport) == whole
    assert pickle.loads(pickle.dumps(whole)) == whole  # noqa: S301 - own bytes


def test_unknown_errors_are_setbacks_too(scope: Scope) -> None:
    def burst(scope: Scope, task: Task[int], hold: Hold) -> WorkReport:
        raise MemoryError("too much") if task.payload else LakerunnerError("known")

    report = run_tasks(scope, "count", hours(2), burst)
    assert {one.code for one in report.failed} == {"MemoryError", "configuration"}

"""Run tasks: each by one worker at a time, fanned out, and none in the way of another."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Sized
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from lakerunner.errors import (
    CatalogMismatchError,
    CommitConflictError,
    LakerunnerError,
    LeaseLostError,
    StoreError,
)
from lakerunner.executors import bounded_map, workers_of
from lakerunner.fencing.heights import present_ns
from lakerunner.limits import LEASE_SECONDS
from lakerunner.model.report import ProgressEvent, Setback, WorkReport
from lakerunner.retrying import retrying
from lakerunner.tasks.setbacks import forget_setback, is_due, note_setback, read_setbacks
from lakerunner.tasks.task import LEASES, Hold, Task

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor

    from lakerunner.model.report import Progress
    from lakerunner.scope import Scope

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

Work: TypeAlias = "Callable[[Scope, Task[T], Hold], WorkReport]"
"""Does one task. Its scope is that of the task's organization.

It looks again whether there is still something to do, for its task was planned a while ago; calls
`Hold.check` between its steps; and returns what it did, with `tasks=1` if that was anything. For a
pool of processes it is a function of a module, or a `partial` of one.

Raises:
    CommitConflictError: Others were faster: no failure, for the next run looks again.
    LeaseLostError: As `Hold.check` raises it: no failure either.
    CatalogMismatchError: The lake was recovered: nothing else goes on.
    Exception: Whatever else is a setback of this task, and of no other.
"""


class _Outcome(NamedTuple):
    """What became of a task: its report, or why it failed."""

    name: str
    organization: str
    report: WorkReport
    code: str = ""
    reason: str = ""


class Manner(NamedTuple):
    """How tasks are run, for any kind of them.

    Attributes:
        executor: Where; None for `Config.workers` threads.
        progress: Called after each task.
        stop: When it is set, no further task is begun.
        again: Do not wait with what failed before.
        lease_seconds: How long others wait for a worker that died.
    """

    executor: Executor | None = None
    progress: Progress | None = None
    stop: threading.Event | None = None
    again: bool = False
    lease_seconds: float = LEASE_SECONDS


ANYHOW = Manner()


def run_tasks(
    scope: Scope,
    what: str,
    tasks: Iterable[Task[T]],
    work: Work[T],
    manner: Manner = ANYHOW,
) -> WorkReport:
    """Do tasks that nobody else is doing, and say what became of each.

    Tasks are drawn one by one, so they may be planned while others run. Each is leased where it
    runs, and the lease renewed until it ends; those that others have are left out. A task that
    fails is noted in the lake and left alone for a minute, and twice as long after each further
    failure, whoever looks (see `setbacks`); all others go on.

    Args:
        scope: The lake. If it is bound to an organization, so must be the tasks.
        what: The stage, for report and progress.
        tasks: What there is to do, the most urgent first.
        work: Does one of them.
        manner: Where, and how.

    Returns:
        The sum of what was done. `failed` has what failed now, `waiting` what was put off.

    Raises:
        CatalogMismatchError: The lake was recovered meanwhile; begin again.
        CatalogUnavailableError: Leases cannot be taken.
        BrokenExecutor: A process of the executor died. What was done stays.

    Example:
        >>> from lakerunner.catalog.opening import open_catalog
        >>> from lakerunner.model.config import Config
        >>> from lakerunner.scope import Scope
        >>> from lakerunner.store.urls import open_store
        >>> def count(scope: Scope, task: Task[int], hold: Hold) -> WorkReport:
        ...     hold.check()
        ...     return WorkReport(task.kind, tasks=1, rows_read=task.payload)
        >>> scope = Scope(open_store("memory://"), open_catalog("memory://"), "acme", Config())
        >>> tasks = [Task("count", "acme", "logs", hour * 3600 * 10**9, hour) for hour in range(5)]
        >>> run_tasks(scope, "count", tasks, count).rows_read
        10
    """
    begun = time.perf_counter()
    failures = read_setbacks(scope.store, scope.organization if scope.bound else None)
    now_ns = present_ns(scope.store) if failures else 0
    waiting: list[Setback] = []
    ready = _ready(tasks, manner, failures, now_ns, waiting)
    total = len(tasks) if isinstance(tasks, Sized) else None
    report, done = WorkReport(what), 0
    one = partial(_run_one, scope, work, manner.lease_seconds)
    with workers_of(manner.executor, scope.config, what) as (pool, in_flight):
        for outcome in bounded_map(pool, one, ready, in_flight=in_flight):
            report += _settled(scope, what, outcome, failures)
            done += 1
            if manner.progress is not None:
                event = ProgressEvent(what, done, total, report.rows_read, report.bytes_read)
                manner.progress(event)
    seconds = time.perf_counter() - begun
    return report + WorkReport(what, waiting=tuple(waiting), seconds=seconds)


def _ready(
    tasks: Iterable[Task[T]],
    manner: Manner,
    failures: dict[str, Setback],
    now_ns: int,
    waiting: list[Setback],
) -> Iterator[Task[T]]:
    """Tasks that may be begun now; what has to wait is added to `waiting`."""
    for task in tasks:
        if manner.stop is not None and manner.stop.is_set():
            return
        before = failures.get(task.name)
        if before is None or manner.again or is_due(before, now_ns):
            yield task
        else:
            waiting.append(before)


def _run_one(scope: Scope, work: Work[T], seconds: float, task: Task[T]) -> _Outcome:
    """Lease one task and do it; in whatever thread or process the executor has."""
    leases, owner = scope.catalog.leases(), uuid.uuid4().hex
    taken = retrying(lambda: leases.take(LEASES, [task.place], owner, seconds), scope.config)
    busy = WorkReport(task.kind, busy=1)
    if not taken:
        return _Outcome(task.name, task.organization, busy)
    own = scope._replace(organization=task.organization)
    try:
        with Hold(leases, task.place, owner, seconds) as hold:
            return _Outcome(task.name, task.organization, work(own, task, hold))
    except LeaseLostError:
        return _Outcome(task.name, task.organization, busy)
    except CommitConflictError as error:
        _LOG.info("%s: others were faster: %s", task.name, error)
        return _Outcome(task.name, task.organization, WorkReport(task.kind, conflicts=1))
    except CatalogMismatchError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the other tasks go on
        _LOG.info("%s failed", task.name, exc_info=True)
        code = error.code if isinstance(error, LakerunnerError) else type(error).__name__
        reason = scope.discretion().kept_from(str(error))
        return _Outcome(task.name, task.organization, WorkReport(task.kind), code, reason)


def _settled(
    scope: Scope, what: str, outcome: _Outcome, failures: dict[str, Setback]
) -> WorkReport:
    """The report of a task, and a note of its failure, or of its success after one."""
    name, organization = outcome.name, outcome.organization
    before = failures.get(name)
    try:
        if outcome.code:
            attempts = before.attempts + 1 if before else 1
            setback = Setback(name, outcome.code, outcome.reason, attempts)
            setback = note_setback(scope.store, organization, setback)
            return WorkReport(what, failed=(setback,))
        if before is not None and not outcome.report.busy:
            forget_setback(scope.store, organization, name)
    except StoreError as error:  # then it is tried again sooner, or once more
        _LOG.warning("%s: what became of %s was not noted: %s", scope.store.url, name, error)
        if outcome.code:
            failed = Setback(name, outcome.code, outcome.reason)
            return WorkReport(what, failed=(failed,))
    return outcome.report

"""Run tasks: each by one worker at a time, fanned out, and none in the way of another."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Sized
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Generic, NamedTuple, Self, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from lakerunner.errors import (
    CatalogMismatchError,
    CommitConflictError,
    LakerunnerError,
    LeaseLostError,
    ObjectNotFoundError,
    StoreError,
)
from lakerunner.executors import bounded_map, workers_of
from lakerunner.fencing.fence import present_ns
from lakerunner.fencing.identity import PREFIX
from lakerunner.limits import (
    LEASE_SECONDS,
    SETBACK_KEPT_NS,
    SETBACK_PAUSE_NS,
    SETBACK_PAUSE_NS_MOST,
)
from lakerunner.model.report import ProgressEvent, Setback, WorkReport
from lakerunner.model.times import isoformat
from lakerunner.retrying import retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor

    from lakerunner.catalog.leases import Leases
    from lakerunner.model.report import Progress
    from lakerunner.scope import Scope
    from lakerunner.store.base import ObjectStore

# What failed, how often, and when it is tried again: small objects of the lake.
#
# They lie in the lake and not in a process, for whoever comes next may be another machine: a task
# that always fails is then tried by all of them together as rarely as by one. The only clock is the
# store's, so a machine whose own clock is days off neither hurries nor waits.

SETBACKS_PREFIX = f"{PREFIX}setbacks/"
_SETBACK = msgspec.json.Decoder(Setback)


def pause_ns(attempts: int) -> int:
    """Nanoseconds from a failure to the next attempt: doubling, up to some hours.

    Args:
        attempts: How often it has failed in a row, at least once.

    Example:
        >>> [pause_ns(attempts) // 10**9 for attempts in (1, 2, 3, 500)]
        [60, 120, 240, 21600]
    """
    doublings = min(attempts - 1, 32)  # beyond these the limit holds anyway
    return min(SETBACK_PAUSE_NS << doublings, SETBACK_PAUSE_NS_MOST)


def is_due(setback: Setback, now_ns: int) -> bool:
    """Whether what failed may be tried again.

    A failure that lies in the future was noted before the store's clock was set back: nobody knows
    how long ago that was, so it is tried.

    Example:
        >>> failed = Setback("compact acme/logs/…", "store", "no room", failed_ns=100, next_ns=160)
        >>> is_due(failed, 150), is_due(failed, 160), is_due(failed, 50)
        (False, True, True)
    """
    return not setback.failed_ns <= now_ns < setback.next_ns


def read_setbacks(store: ObjectStore, organization: str | None = None) -> dict[str, Setback]:
    """What failed and has not succeeded since, by the name of its task.

    One listing, and a small request for each.

    Args:
        store: The lake.
        organization: Whose tasks; None for those of all.

    Raises:
        StoreError: The lake cannot be read.
    """
    prefix = SETBACKS_PREFIX if organization is None else f"{SETBACKS_PREFIX}{organization}/"
    found: dict[str, Setback] = {}
    for meta in store.list(prefix):
        try:
            said = _SETBACK.decode(store.get(meta.key).data)
        except (ObjectNotFoundError, msgspec.MsgspecError):
            continue  # it succeeded meanwhile; or nobody can read it, and the next failure mends it
        due_ns = meta.modified_ns + pause_ns(max(said.attempts, 1))
        found[said.task] = replace(said, failed_ns=meta.modified_ns, next_ns=due_ns)
    return found


def note_setback(store: ObjectStore, organization: str, setback: Setback) -> Setback:
    """Note that a task failed; returns the same with its times, by the store's clock.

    Two who note the same task at once count as one.

    Raises:
        StoreError: It could not be put.
    """
    key = _key(organization, setback.task)
    failed_ns = store.put(key, msgspec.json.encode(setback)).modified_ns
    return replace(setback, failed_ns=failed_ns, next_ns=failed_ns + pause_ns(setback.attempts))


def forget_setback(store: ObjectStore, organization: str, task: str) -> None:
    """Note that a task that had failed is done."""
    store.delete(_key(organization, task))


def old_setbacks(store: ObjectStore, now_ns: int) -> Iterable[str]:
    """Keys of what failed so long ago that its task must be gone: nobody has tried it since."""
    for meta in store.list(SETBACKS_PREFIX):
        if meta.modified_ns < now_ns - SETBACK_KEPT_NS:
            yield meta.key


def _key(organization: str, task: str) -> str:
    # A digest: names of tasks have characters that are no good in keys.
    return f"{SETBACKS_PREFIX}{organization}/{blake2b(task.encode(), digest_size=16).hexdigest()}"


# A piece of maintenance, and its lease for as long as somebody is at it.

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_SHARE = 3  # a lease is renewed when a third of it has passed, so that two failures do no harm

LEASES = "maintenance"
"""The kind of all leases for tasks: tasks of different kinds must not change one window at once."""


class Task(NamedTuple, Generic[T]):
    """One window of one table of one organization, and what is to be done there.

    Attributes:
        kind: What is done: `compact`, `rollup`, `retain`, `delete`.
        organization: Whose rows.
        table: In which table the result lies.
        window_start_ns: Start of the window that changes, in nanoseconds since the epoch.
        payload: What its worker needs; it can be pickled.
        part: What else tells it from others of the window, such as a resolution.

    Example:
        >>> Task("compact", "acme", "logs", 1767225600 * 10**9, payload=("s1", "s2")).name
        'compact acme/logs/2026-01-01T00:00:00Z'
    """

    kind: str
    organization: str
    table: str
    window_start_ns: int
    payload: T
    part: str = ""

    @property
    def place(self) -> str:
        """What it changes: of tasks with the same place, of whatever kind, one runs at a time."""
        part = f"/{self.part}" if self.part else ""
        return f"{self.organization}/{self.table}/{isoformat(self.window_start_ns)}{part}"

    @property
    def name(self) -> str:
        """Kind and place: the same task when it is tried again."""
        return f"{self.kind} {self.place}"


class Hold:
    """Renews a lease that was taken, in a thread of its own, until the context ends.

    A lease saves work and protects nothing: what a task did after it lost its lease is refused by
    the catalog or was right. Safe to use from several threads.

    Args:
        leases: Of the catalog.
        place: What is held; see `Task.place`.
        owner: Who took it.
        seconds: For how long each time.

    Example:
        >>> from lakerunner.catalog.leases import MemoryLeases
        >>> leases = MemoryLeases()
        >>> _ = leases.take(LEASES, ["acme/logs/7"], "worker-1", 60)
        >>> with Hold(leases, "acme/logs/7", "worker-1", 60) as hold:
        ...     hold.check()
    """

    def __init__(self, leases: Leases, place: str, owner: str, seconds: float) -> None:
        self._leases = leases
        self._place = place
        self._owner = owner
        self._seconds = seconds
        self._lost = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lakerunner-lease", daemon=True)

    def check(self) -> None:
        """To be called between steps of the task: go on, or leave it to others.

        Raises:
            LeaseLostError: The lease ran out or somebody else has it.
        """
        if self._lost.is_set():
            raise LeaseLostError(f"the lease of {self._place} was lost", task=self._place)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()
        try:
            self._leases.release(LEASES, [self._place], self._owner)
        except LakerunnerError as error:
            _LOG.info("the lease of %s runs out by itself: %s", self._place, error)

    def _renew(self) -> None:
        until = time.monotonic() + self._seconds
        while not self._over.wait(self._seconds / _SHARE):
            begun = time.monotonic()
            try:
                kept = self._leases.renew(LEASES, [self._place], self._owner, self._seconds)
            except LakerunnerError as error:
                _LOG.warning("the lease of %s was not renewed: %s", self._place, error)
                if time.monotonic() < until:
                    continue
                kept = []
            if not kept:
                self._lost.set()
                return
            until = begun + self._seconds


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

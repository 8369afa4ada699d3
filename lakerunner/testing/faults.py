"""Faults on schedule: a store and a catalog that fail at given calls, to test what stands above.

No clock and no randomness: a fault is tied to the number of a call, so a failing test fails again.
"""

from __future__ import annotations

import copy
import itertools
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lakerunner.catalog.base import ALL_TIME, PAGE, Catalog, Place
from lakerunner.store.base import GetResult, ObjectMeta, ObjectStore, PutMode
from lakerunner.store.counting import WrapperStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lakerunner.catalog.leases import Leases
    from lakerunner.model.commit import Commit, Head, Snapshot
    from lakerunner.model.segment import Rejection, Segment, Source, SourceState
    from lakerunner.model.times import TimeRange
    from lakerunner.store.base import Buffer, ByteRange


class SimulatedCrash(BaseException):
    """The process ended here. Not an `Exception`: no handler may take it for an error."""


class Ticket(NamedTuple):
    """One call that was counted.

    Attributes:
        name: What was called.
        number: The how-manieth call of the plan it is.
        nth: The how-manieth call of this name it is.
    """

    name: str
    number: int
    nth: int


class Fault(msgspec.Struct, frozen=True):
    """What goes wrong, and at which call.

    Attributes:
        call: Number of the first call that fails; 1 is the first.
        name: Count only calls of this name (`store.put`); empty counts every call of the plan.
        after: The call takes effect and its reply is lost; otherwise it never begins.
        error: What is raised (a copy, each time). None ends the process: `SimulatedCrash`.
        times: How many calls fail in a row.
    """

    call: int
    name: str = ""
    after: bool = False
    error: BaseException | None = None
    times: int = 1

    def strikes(self, ticket: Ticket) -> bool:
        """Whether it hits this call."""
        if self.name and self.name != ticket.name:
            return False
        number = ticket.nth if self.name else ticket.number
        return self.call <= number < self.call + self.times


class FaultPlan:
    """Counts the calls of everything that shares it, and fails those it was told to fail.

    Hand one plan to a store and a catalog, and call `k` is the k-th call to either: to stop at each
    `k` in turn covers every point at which a process could die. After a `SimulatedCrash` every
    later call ends in one too, because a dead process makes no calls: clean-up code that runs while
    the exception travels cannot help. To go on as the restarted process, use a new plan.

    Calls may come from any threads at once. A pickled plan goes on counting on its own from where
    it was.

    Example:
        >>> plan = FaultPlan(Fault(call=2, name="store.put", after=True))
        >>> with plan.call("store.put"), plan.call("catalog.commit"):
        ...     pass
        >>> try:
        ...     with plan.call("store.put"):
        ...         print("stored")
        ... except SimulatedCrash as crash:
        ...     print(crash)
        stored
        stopped after call 3 (store.put)
        >>> plan.calls, plan.crashed
        (('store.put', 'catalog.commit', 'store.put'), True)
    """

    # The counters are `itertools.count` and plain dicts: each single step on them is atomic, so no
    # lock is needed, and this package stays free of threads.

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        self._restart({}, crashed=False)

    def _restart(self, calls: dict[int, str], *, crashed: bool) -> None:
        self._calls = calls
        self._crashed = crashed
        self._numbers = itertools.count(len(calls) + 1)
        names = list(calls.values())
        self._by_name = {name: itertools.count(names.count(name) + 1) for name in set(names)}

    @classmethod
    def crash_at(cls, call: int, *, name: str = "", after: bool = False) -> FaultPlan:
        """A plan with a single fault: the process ends before or after the given call."""
        return cls(Fault(call=call, name=name, after=after))

    @property
    def calls(self) -> tuple[str, ...]:
        """Names of the calls seen so far, in order; those that failed are among them."""
        calls = dict(self._calls)
        return tuple(calls[number] for number in sorted(calls))

    @property
    def crashed(self) -> bool:
        """Whether the simulated process has ended."""
        return self._crashed

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Count a call and run it, unless the plan says otherwise.

        Args:
            name: What is called: the kind of backend, a dot, and the method.

        Raises:
            SimulatedCrash: The process ends at this call, or has ended before.
            BaseException: The error of a fault, in place of the call or of its reply. A lost reply
                hides the error of the call, too.
        """
        ticket = self.begin(name)
        try:
            yield
        finally:
            self.end(ticket)

    def begin(self, name: str) -> Ticket:
        """Count a call whose reply comes later, in parts; raises what `call` does before it."""
        if self._crashed:
            raise SimulatedCrash(f"{name}: the process has ended")
        number = next(self._numbers)
        self._calls[number] = name
        ticket = Ticket(name, number, next(self._by_name.setdefault(name, itertools.count(1))))
        self._fail(ticket, after=False)
        return ticket

    def end(self, ticket: Ticket) -> None:
        """The reply to a call is about to be seen; raises what `call` does after it."""
        self._fail(ticket, after=True)
        if self._crashed:
            raise SimulatedCrash(f"{ticket.name}: the process ended during this call")

    def _fail(self, ticket: Ticket, *, after: bool) -> None:
        for fault in self.faults:
            if fault.after is after and fault.strikes(ticket):
                if fault.error is not None:
                    raise copy.copy(fault.error)
                self._crashed = True
                when = "after" if after else "before"
                raise SimulatedCrash(f"stopped {when} call {ticket.number} ({ticket.name})")

    def __getstate__(self) -> tuple[tuple[Fault, ...], dict[int, str], bool]:
        return self.faults, dict(self._calls), self._crashed

    def __setstate__(self, state: tuple[tuple[Fault, ...], dict[int, str], bool]) -> None:
        self.faults, calls, crashed = state
        self._restart(calls, crashed=crashed)

    def __repr__(self) -> str:
        return f"FaultPlan{self.faults!r}"


class FaultyStore(WrapperStore):
    """Fails the calls that its plan names, before they take effect or after.

    The calls are named `store.get`, `store.put`, `store.head`, `store.list` and `store.delete`. A
    listing that fails "after" breaks off behind its first object, or at the end if there is none.
    Wrapped stores and catalogs that share one plan are counted together.

    Args:
        inner: The store that does the work.
        plan: Which calls fail, and how.
        latency_s: Seconds that each call waits before it begins.

    Example:
        >>> from lakerunner.errors import StoreUnavailableError
        >>> from lakerunner.testing.faults import Fault, FaultPlan
        >>> from lakerunner.store import open_store
        >>> lost = Fault(call=1, after=True, error=StoreUnavailableError("no reply"))
        >>> store = FaultyStore(open_store("memory://faulty"), FaultPlan(lost))
        >>> try:
        ...     store.put("key", b"bytes")
        ... except StoreUnavailableError as error:
        ...     print(error, store.get("key").data)
        no reply b'bytes'
    """

    def __init__(self, inner: ObjectStore, plan: FaultPlan, *, latency_s: float = 0.0) -> None:
        super().__init__(inner)
        self.plan = plan
        self.latency_s = latency_s

    def _wait(self) -> None:
        if self.latency_s:
            time.sleep(self.latency_s)

    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        """Read an object or a part of it."""
        self._wait()
        with self.plan.call("store.get"):
            return self.inner.get(key, byte_range)

    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        """Write a whole object."""
        self._wait()
        with self.plan.call("store.put"):
            return self.inner.put(key, data, mode)

    def head(self, key: str) -> ObjectMeta:
        """Describe an object."""
        self._wait()
        with self.plan.call("store.head"):
            return self.inner.head(key)

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        """Describe the objects under a prefix."""
        self._wait()
        ticket = self.plan.begin("store.list")
        return self._entries(ticket, self.inner.list(prefix, start_after=start_after))

    def _entries(self, ticket: Ticket, entries: Iterator[ObjectMeta]) -> Iterator[ObjectMeta]:
        first = next(entries, None)
        if first is not None:
            yield first
        self.plan.end(ticket)
        yield from entries

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._wait()
        with self.plan.call("store.delete"):
            self.inner.delete(key)


class FaultyCatalog(Catalog):
    """Passes every call on, unless its plan stops it before or loses its reply after.

    A fault with `after=True` is a lost reply: the commit is applied and the writer never hears of
    it. With `error=CommitUnknownError(...)` the writer lives and must look; with no error its
    process ends there. Calls count as `catalog.commit`, `catalog.segments` and so on; `close` is
    never counted and never fails.

    Args:
        inner: The catalog that does the work.
        plan: When to fail; may be shared with a faulty store.

    Example:
        >>> from lakerunner.catalog import open_catalog
        >>> from lakerunner.errors import CommitUnknownError
        >>> from lakerunner.model.commit import Commit
        >>> from lakerunner.testing.faults import Fault, FaultPlan
        >>> lost = Fault(1, "catalog.commit", after=True, error=CommitUnknownError("no reply"))
        >>> catalog = FaultyCatalog(open_catalog("memory://"), FaultPlan(lost))
        >>> commit = Commit("c1", "acme", committed_ns=0)
        >>> try:
        ...     catalog.commit(commit)
        ... except CommitUnknownError:
        ...     print("applied as", catalog.commit(commit))
        applied as 1
    """

    def __init__(self, inner: Catalog, plan: FaultPlan) -> None:
        self.inner = inner
        self.plan = plan
        self.url = inner.url

    def commit(self, commit: Commit) -> int:
        """Apply a commit."""
        with self.plan.call("catalog.commit"):
            return self.inner.commit(commit)

    def segments(
        self,
        organization: str,
        table: str,
        time_range: TimeRange = ALL_TIME,
        *,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        """Find the segments of a time range."""
        with self.plan.call("catalog.segments"):
            return self.inner.segments(organization, table, time_range, sequence=sequence)

    def page(
        self,
        organization: str,
        table: str,
        *,
        after: Place | None = None,
        limit: int = PAGE,
        sequence: int | None = None,
    ) -> Sequence[Segment]:
        """Find the next segments."""
        with self.plan.call("catalog.page"):
            return self.inner.page(organization, table, after=after, limit=limit, sequence=sequence)

    def known(self, segment_ids: Sequence[str]) -> set[str]:
        """Look segments up."""
        with self.plan.call("catalog.known"):
            return self.inner.known(segment_ids)

    def tables(self, *, ever: bool = False) -> Sequence[tuple[str, str]]:
        """List the tables."""
        with self.plan.call("catalog.tables"):
            return self.inner.tables(ever=ever)

    def sources(self, sources: Sequence[Source]) -> dict[Source, SourceState]:
        """Look sources up."""
        with self.plan.call("catalog.sources"):
            return self.inner.sources(sources)

    def snapshot(self, organization: str, table: str) -> Snapshot:
        """Describe a table."""
        with self.plan.call("catalog.snapshot"):
            return self.inner.snapshot(organization, table)

    def sequence_at(self, time_ns: int) -> int:
        """Find the state at a time."""
        with self.plan.call("catalog.sequence_at"):
            return self.inner.sequence_at(time_ns)

    def rejections(self, organization: str) -> Sequence[Rejection]:
        """List what is set aside."""
        with self.plan.call("catalog.rejections"):
            return self.inner.rejections(organization)

    def removed(self, before_ns: int, *, limit: int | None = None) -> Sequence[Segment]:
        """List removed segments."""
        with self.plan.call("catalog.removed"):
            return self.inner.removed(before_ns, limit=limit)

    def purge(self, segment_ids: Sequence[str]) -> None:
        """Forget removed segments."""
        with self.plan.call("catalog.purge"):
            self.inner.purge(segment_ids)

    def forget(self, sources: Sequence[Source]) -> None:
        """Forget sources."""
        with self.plan.call("catalog.forget"):
            self.inner.forget(sources)

    def head(self) -> Head:
        """Say where the catalog stands."""
        with self.plan.call("catalog.head"):
            return self.inner.head()

    def condemn(
        self, segment_ids: Sequence[str], incarnation: int, *, floor: int = 0
    ) -> Sequence[str]:
        """Make sure that segments are never added."""
        with self.plan.call("catalog.condemn"):
            return self.inner.condemn(segment_ids, incarnation, floor=floor)

    def settle(self, lake: str, incarnation: int, *, whole: bool) -> None:
        """Become the catalog of an incarnation of a lake."""
        with self.plan.call("catalog.settle"):
            self.inner.settle(lake, incarnation, whole=whole)

    def leases(self) -> Leases:
        """The inner catalog's; calls to them are not counted."""
        return self.inner.leases()

    def close(self) -> None:
        """Close the inner catalog."""
        self.inner.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

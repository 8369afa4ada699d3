"""A deterministic schedule of faults, shared by the faulty store and the faulty catalog of a test.

No clock and no randomness: a fault is tied to the number of a call, so a failing test fails again.
"""

from __future__ import annotations

import copy
import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator


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

"""Whose turn it is: work of several organizations at once, fairly, and within a query's time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import (
    QueryBusyError,
    QueryLimitError,
    QueryStoppedError,
    QueryTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


_STOP: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


@contextmanager
def stopped_by(event: threading.Event) -> Iterator[None]:
    """Let an event end the queries of this context, and of threads that take it over.

    Example:
        >>> event = threading.Event()
        >>> with stopped_by(event):
        ...     refuse_stopped()
    """
    token = _STOP.set(event)
    try:
        yield
    finally:
        _STOP.reset(token)


def refuse_stopped(text: str = "") -> None:
    """Go no further if nobody waits for the answer.

    Args:
        text: The query, for the error.

    Raises:
        QueryStoppedError: The event of `stopped_by` was set.
    """
    event = _STOP.get()
    if event is not None and event.is_set():
        raise QueryStoppedError("nobody waits for the answer any more", query=text)


class Waiting(NamedTuple):
    """Somebody who waits for a turn.

    Attributes:
        who: The organization.
        number: Counts up; lower has waited longer.
    """

    who: str
    number: int


def next_turn(waiting: Sequence[Waiting], running: Mapping[str, int], each: int) -> Waiting | None:
    """Who goes next: of those below their own limit, who has least under way, then who came first.

    Args:
        waiting: Who waits.
        running: Turns under way, by organization.
        each: Turns that one organization may have at once.

    Example:
        >>> queue = [Waiting("loud", 1), Waiting("loud", 2), Waiting("quiet", 3)]
        >>> next_turn(queue, {"loud": 1}, each=2)
        Waiting(who='quiet', number=3)
    """
    free = [one for one in waiting if running.get(one.who, 0) < each]
    return min(free, key=lambda one: (running.get(one.who, 0), one.number), default=None)


class Turns:
    """Hands out turns: so many at once, and so many of them to one organization.

    May be used from several threads at once.

    Args:
        name: The setting that says how many there are, for messages.
        total: Turns at once.
        each: Turns of one organization at once.
        patience: Seconds that anybody waits for one.
    """

    def __init__(self, name: str, total: int, each: int, patience: float) -> None:
        self._name = name
        self._total = total
        self._each = each
        self._patience = patience
        self._changed = threading.Condition()
        self._running: Counter[str] = Counter()
        self._waiting: list[Waiting] = []
        self._number = 0

    @contextmanager
    def turn(self, who: str, seconds: float | None = None) -> Iterator[None]:
        """Wait for a turn, and have it until the context ends.

        Args:
            who: The organization.
            seconds: How long to wait, if that is less than the patience of this object.

        Raises:
            QueryBusyError: None came free in time.
        """
        patience = self._patience if seconds is None else min(seconds, self._patience)
        with self._changed:
            self._number += 1
            me = Waiting(who, self._number)
            self._waiting.append(me)
            try:
                if not self._changed.wait_for(lambda: self._is_next(me), patience):
                    raise QueryBusyError(
                        f"{self._total} queries are running, {self._running[who]} of them of "
                        f"'{who}', and none ended within {patience:g} s: try again later, or raise "
                        f"{self._name}",
                        limit=self._name,
                    )
                self._running[who] += 1
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._running[who] -= 1
                self._running += Counter()  # forgets those who have none
                self._changed.notify_all()

    def _is_next(self, me: Waiting) -> bool:
        if self._running.total() >= self._total:
            return False
        return next_turn(self._waiting, self._running, self._each) is me


class Allowance:
    """What one run of a query may take of the machine: turns among others, and time.

    Only the time spent inside turns and in waiting for them counts, not what the caller does
    between two batches. To be used by one thread at a time.

    Args:
        organization: Whose query it is.
        seconds: Time that it may take; None for as long as it needs.
        turns: Where it waits among others; None for no limit.
        text: The query, for messages.
        most_bytes: Bytes that it may read of segments; None for no limit.

    Example:
        >>> with Allowance("acme", 10.0).turn() as left:
        ...     left <= 10.0
        True
    """

    def __init__(
        self,
        organization: str,
        seconds: float | None = None,
        turns: Turns | None = None,
        text: str = "",
        most_bytes: int | None = None,
    ) -> None:
        self.organization = organization
        self._most_bytes = most_bytes
        self._read_bytes = 0
        self._seconds = seconds
        self._turns = turns
        self._text = text
        self._used = 0.0
        self._since: float | None = None

    def again(self) -> Allowance:
        """The same for another run, with all of its time."""
        return Allowance(
            self.organization, self._seconds, self._turns, self._text, self._most_bytes
        )

    @property
    def counts_bytes(self) -> bool:
        """Whether there is a limit to what it reads."""
        return self._most_bytes is not None

    def read(self, count: int, *, ended: bool = False) -> None:
        """Take note of the bytes that a part of the run has read up to now.

        Args:
            count: How many, of this part.
            ended: It will read no more.

        Raises:
            QueryLimitError: All parts together have read more than they may.
        """
        total = self._read_bytes + count
        if ended:
            self._read_bytes = total
        if self._most_bytes is not None and total > self._most_bytes:
            raise QueryLimitError(
                f"the query has read more than the {self._most_bytes:,} bytes it may: ask for a "
                "shorter time or fewer columns, or raise query_max_bytes",
                query=self._text,
                limit="query_max_bytes",
            )

    def left(self) -> float | None:
        """Seconds that are left; None for no limit.

        Raises:
            QueryTimeoutError: None are left.
        """
        if self._seconds is None:
            return None
        left = self._seconds - self._spent()
        if left <= 0:
            raise self.expired()
        return left

    def expired(self) -> QueryTimeoutError:
        """The error of a query whose time is over."""
        return QueryTimeoutError(
            f"the query took longer than the {self._seconds:g} s it may take: ask for less, or "
            "raise query_timeout (or timeout= of this query)",
            query=self._text,
            limit="query_timeout",
        )

    @contextmanager
    def turn(self, turns: Turns | None = None) -> Iterator[float | None]:
        """Wait for a turn and work until the context ends; yields the seconds that are left then.

        Args:
            turns: Where to wait, if elsewhere than usually.

        Raises:
            QueryTimeoutError: No time is left.
            QueryBusyError: There were too many other queries for too long.
        """
        left = self.left()
        turns = turns or self._turns
        self._since = time.monotonic()
        try:
            with nullcontext() if turns is None else self._waited(turns, left):
                yield self.left()
        finally:
            self._stop()

    @contextmanager
    def _waited(self, turns: Turns, seconds: float | None) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                stack.enter_context(turns.turn(self.organization, seconds))
            except QueryBusyError:
                self.left()  # if it is the time that is over, this says so
                raise
            yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the clock of a turn stand still until the context ends."""
        self._stop()
        try:
            yield
        finally:
            self._since = time.monotonic()

    def _stop(self) -> None:
        self._used, self._since = self._spent(), None

    def _spent(self) -> float:
        return self._used + (0.0 if self._since is None else time.monotonic() - self._since)

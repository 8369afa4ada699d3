"""Whose turn it is: work of several organizations at once, fairly, and within a query's time."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from lakerunner.errors import (
    ForkedProcessError,
    QueryBusyError,
    QueryExecutionError,
    QueryLimitError,
    QueryStoppedError,
    QueryTimeoutError,
)
from lakerunner.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

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

    @property
    def most_bytes(self) -> int | None:
        """Bytes that it may read of segments in all; None for no limit."""
        return self._most_bytes

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


# Waiting for DataFusion so that the wait can end: by a time limit, by Ctrl-C, by a closed result.
#
# DataFusion's blocking calls look up from their work once a second, and know no time limit. So its
# streams are asked through their asynchronous side, in one thread of an event loop that does
# nothing
# else: whoever waits can leave at once, and what is left is cancelled there.

Answer = TypeVar("Answer")

CANCELLED: ContextVar[threading.Event | None] = ContextVar("cancelled", default=None)
"""Set to an event, it ends what is driven in that context when the event is set."""

_AHEAD_BATCHES: Final = 16
_AHEAD_BYTES: Final = 4 * MIB
_QUICK_SECONDS: Final = 0.002
_LOOK_UP_SECONDS: Final = 0.1


class _Driver:
    """The event loop and its thread, started when first needed; one a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.forked = False

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, name="lakerunner-queries", daemon=True
                ).start()
            return self._loop

    def after_fork(self) -> None:
        self.forked = self.forked or self._loop is not None
        self._lock = threading.Lock()


_DRIVER = _Driver()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_DRIVER.after_fork)


def refuse_fork() -> None:
    """Refuse to go on in a process that was forked from one that had run a query.

    The threads of DataFusion stay behind in the parent; whoever waits for them waits for ever.

    Raises:
        ForkedProcessError: This is such a process.
    """
    if _DRIVER.forked:
        raise ForkedProcessError(
            "this process was forked from one that had run queries, and the threads that answer "
            'them stayed there: start processes by "spawn" '
            '(multiprocessing.get_context("spawn")), or open the lake with '
            'config={"query_isolation": "process"}'
        )


def mark_threads() -> None:
    """Say that this process has threads of DataFusion from now on."""
    _DRIVER.loop()


def check_cancelled() -> None:
    """End what is waited for if its context was cancelled.

    Raises:
        QueryExecutionError: It was.
    """
    cancelled = CANCELLED.get()
    if cancelled is not None and cancelled.is_set():
        raise QueryExecutionError("the query was cancelled")


def drive(
    work: Callable[[], Awaitable[Answer]],
    seconds: float | None = None,
    watch: Callable[[], None] | None = None,
) -> Answer:
    """Do asynchronous work and wait for its answer; whoever stops waiting cancels it.

    Args:
        work: Makes what is awaited, in the thread of the event loop.
        seconds: How long to wait; None for as long as it takes.
        watch: Called now and then meanwhile; what it raises ends the work.

    Raises:
        TimeoutError: It took longer.
        QueryExecutionError: It was cancelled; see `CANCELLED`.
        ForkedProcessError: This process was forked from one that had run queries.

    Example:
        >>> drive(lambda: asyncio.sleep(0, "done"))
        'done'
    """
    refuse_fork()

    async def awaited() -> Answer:
        return await work()

    future: Future[Answer] = asyncio.run_coroutine_threadsafe(awaited(), _DRIVER.loop())
    # Not `concurrent.futures.wait`: interrupted, it leaves a cycle behind that keeps the stream,
    # and so the work for it, until garbage is collected.
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    until = math.inf if seconds is None else time.monotonic() + seconds
    try:
        while not done.is_set() and (left := until - time.monotonic()) > 0:
            # Some libraries let the wait for a lock go on after Ctrl-C: it is never a long one.
            done.wait(min(left, _LOOK_UP_SECONDS))
            check_cancelled()
            if watch is not None:
                watch()
        return future.result(0)
    finally:
        future.cancel()  # of no effect on what is done


class Pull:
    """Takes the batches of a stream: those that are there, and further ones that come quickly.

    Each change between threads costs a tenth of a millisecond, so a short answer comes with one:
    the stream is started, its batches are taken, and its end is seen, in one turn.

    Args:
        start: Starts a `RecordBatchStream` of DataFusion; it may block.

    Attributes:
        started: Whether there is a stream.
        ended: Whether it has no further batches.
    """

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start
        self._stream: Any = None
        self._next: asyncio.Future[Any] | None = None
        self.ended = False
        self.started = False

    async def __call__(self) -> list[Any]:
        """The next batches of `pyarrow`; perhaps none at the end."""
        if not self.started:
            self._stream = await asyncio.to_thread(self._start)
            self.started = True
        found: list[Any] = []
        size = 0
        while len(found) < _AHEAD_BATCHES and size < _AHEAD_BYTES and not self.ended:
            if self._next is None:
                self._next = asyncio.ensure_future(anext(self._stream))
                self._next.add_done_callback(_seen)
            # Whoever waits for rows gets those that are there; the next go on being made.
            if found and not (await asyncio.wait([self._next], timeout=_QUICK_SECONDS))[0]:
                break
            try:
                batch = (await self._next).to_pyarrow()
            except StopAsyncIteration:
                self.ended = True
                break
            finally:
                self._next = None
            found.append(batch)
            size += batch.nbytes
        return found

    def now(self) -> list[Any]:
        """The next batches, taken in this thread; they cannot be waited for in another then.

        Raises:
            ForkedProcessError: This process was forked from one that had run queries.
        """
        refuse_fork()
        if not self.started:
            self._stream = self._start()
            self.started = True
        found: list[Any] = []
        size = 0
        while len(found) < _AHEAD_BATCHES and size < _AHEAD_BYTES and not self.ended:
            batch = next(self._stream, None)
            if batch is None:
                self.ended = True
            else:
                found.append(batch.to_pyarrow())
                size += found[-1].nbytes
        return found

    def drop(self) -> None:
        """Let go of the stream: what still runs for it ends."""
        self._stream = None
        self.ended = True
        if self._next is not None:
            _DRIVER.loop().call_soon_threadsafe(self._next.cancel)


def _seen(awaited: asyncio.Future[Any]) -> None:
    """Take note of a failure, or asyncio complains that nobody has."""
    if not awaited.cancelled():
        awaited.exception()

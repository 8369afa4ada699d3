"""Waiting for DataFusion so that the wait can end: by a time limit, by Ctrl-C, by a closed result.

DataFusion's blocking calls look up from their work once a second, and know no time limit. So its
streams are asked through their asynchronous side, in one thread of an event loop that does nothing
else: whoever waits can leave at once, and what is left is cancelled there.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lakerunner.errors import ForkedProcessError, QueryExecutionError
from lakerunner.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Future

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

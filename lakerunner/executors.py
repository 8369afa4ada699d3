"""Run many tasks on any `concurrent.futures.Executor`, a bounded number at a time.

Also pools of processes that live through Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager, nullcontext
from multiprocessing import get_context
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from lakerunner.model.config import Config

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


class InlineExecutor(Executor):
    """Runs each task at once, in the calling thread.

    Unlike a pool it lets an exception that is no `Exception`, such as `KeyboardInterrupt`, out of
    `submit`, as a plain call would.

    Example:
        >>> InlineExecutor().submit(max, 3, 5).result()
        5
    """

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run `fn` now and return its finished future."""
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - a future carries whatever went wrong
            future.set_exception(error)
        return future


@contextmanager
def workers_of(
    executor: Executor | None, config: Config, what: str, *, inline: bool = False
) -> Iterator[tuple[Executor, int]]:
    """Who does the work of one call, and how many pieces to hand out at a time.

    Args:
        executor: The user's; it stays open. None for `Config.workers` threads, which end with the
            context, or the calling thread if that is one.
        config: Settings.
        what: The work, for the names of threads.
        inline: Do it in the calling thread all the same.

    Example:
        >>> from lakerunner.model.config import Config
        >>> with workers_of(None, Config(), "compact") as (executor, in_flight):
        ...     in_flight
        1
    """
    if inline or (executor is None and config.workers == 1):
        yield InlineExecutor(), 1
    elif executor is not None:
        yield executor, 2 * int(getattr(executor, "_max_workers", 1))
    else:
        with ThreadPoolExecutor(config.workers, thread_name_prefix=f"lakerunner-{what}") as threads:
            yield threads, config.workers


def bounded_map(
    executor: Executor, function: Callable[[T], R], items: Iterable[T], *, in_flight: int
) -> Iterator[R]:
    """Apply a function to items, with at most `in_flight` of them submitted and not yet yielded.

    Items are drawn lazily, so an endless iterable is fine. Results come in order of completion.
    When a task fails, or the caller stops early, what has not begun is cancelled and what has begun
    is waited for, so that nothing runs on behind the caller's back.

    Raises:
        Exception: The first failure of a task.

    Example:
        >>> sorted(bounded_map(InlineExecutor(), abs, [-1, 2, -3], in_flight=2))
        [1, 2, 3]
    """
    waiting: set[Future[R]] = set()
    try:
        for item in items:
            waiting.add(executor.submit(function, item))
            if len(waiting) >= in_flight:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def worker_processes(count: int) -> AbstractContextManager[Executor | None]:
    """A pool of so many processes; None for one, which this process is itself.

    Processes rather than threads, because decoding holds the interpreter's lock. In the main
    thread, Ctrl-C ends the work and not the processes.
    """
    return nullcontext() if count == 1 else _LateProcesses(count)


class _LateProcesses(Executor):
    """A pool that starts with the second task: most calls have one, which runs here and now.

    Submitting is for one thread.
    """

    def __init__(self, count: int) -> None:
        self._max_workers = count  # as of the pools of the standard library: what callers ask for
        self._begun = False
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run the first task, and have the others run."""
        if not self._begun:
            self._begun = True
            return InlineExecutor().submit(fn, *args, **kwargs)
        if self._pool is None:
            self._pool = _started(self._max_workers)
        return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, *args: bool, **kwargs: bool) -> None:
        """End the processes; arguments as those of any executor."""
        if self._pool is not None:
            self._pool.shutdown(*args, **kwargs)


def _started(count: int) -> ProcessPoolExecutor:
    # Ctrl-C goes to all processes of the terminal, and a pool whose workers die of it can hang. So
    # they ignore it and finish what they have begun, while this process stops handing out work.
    # Started now, they inherit to ignore it, and cannot be hit before their initializer runs.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(
        count,
        mp_context=get_context("spawn"),  # to fork while Arrow's threads run may hang the child
        initializer=signal.signal,
        initargs=ignore,
    )
    if threading.current_thread() is not threading.main_thread():
        return pool
    handler = signal.signal(*ignore)
    try:
        for _ in range(count):
            pool.submit(os.getpid)  # starts a worker
    finally:
        signal.signal(signal.SIGINT, handler)
    return pool

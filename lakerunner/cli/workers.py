"""Worker processes for a command, and how they live through Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from lakerunner.executors import InlineExecutor

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

P = ParamSpec("P")
R = TypeVar("R")


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def worker_processes(count: int) -> AbstractContextManager[Executor | None]:
    """A pool of so many processes; None for one, which this process is itself.

    Processes rather than threads, because decoding holds the interpreter's lock. To be called from
    the main thread.
    """
    return nullcontext() if count == 1 else _LateProcesses(count)


class _LateProcesses(Executor):
    """A pool that starts with the second task: most commands have one, which runs here and now.

    Submitting is for the main thread.
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

    def shutdown(
        self,
        wait: bool = True,
        *,
        cancel_futures: bool = False,
    ) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)


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
    handler = signal.signal(*ignore)
    try:
        for _ in range(count):
            pool.submit(os.getpid)  # starts a worker
    finally:
        signal.signal(signal.SIGINT, handler)
    return pool

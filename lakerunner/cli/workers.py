"""Worker processes for a command, and how they live through Ctrl-C."""

from __future__ import annotations

import signal
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from os import getpid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from contextlib import AbstractContextManager


def worker_processes(count: int) -> AbstractContextManager[Executor | None]:
    """A pool of so many processes; None for one, which this process is itself.

    Processes rather than threads, because decoding holds the interpreter's lock. To be called from
    the main thread.
    """
    if count == 1:
        return nullcontext()
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
            pool.submit(getpid)  # starts a worker
    finally:
        signal.signal(signal.SIGINT, handler)
    return pool

"""The workers of one engine: as many as its settings allow, each for one query at a time."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lakerunner.compute.worker.process import Worker
from lakerunner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.compute.turns import Allowance, Turns
    from lakerunner.compute.worker.messages import WorkerSettings


class WorkerPool:
    """Keeps workers between queries, and replaces those that had to be ended.

    A worker is started by the first query that needs one; after that, one always is ready or on its
    way. May be used from several threads at once; in a process that was forked it starts anew.

    Args:
        settings: What each worker is started with.
        turns: How many of them work at once, for whom.

    Raises:
        ConfigurationError: This system has no such processes, or a setting cannot be sent to one.
    """

    def __init__(self, settings: WorkerSettings, turns: Turns) -> None:
        if sys.platform == "win32":
            raise ConfigurationError(
                'queries in processes of their own need POSIX: set query_isolation to "thread"',
                setting="query_isolation",
            )
        try:
            pickle.dumps(settings)
        except Exception as error:
            raise ConfigurationError(
                f"the storage options cannot be sent to another process: {error}",
                setting="storage_options",
            ) from error
        self._settings = settings
        self._turns = turns
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._inherited: list[set[Worker]] = []
        self._end = weakref.finalize(self, _end_all, self._all, self._idle, self._pid)

    @contextmanager
    def worker(self, allowance: Allowance) -> Iterator[tuple[Worker, float | None]]:
        """A worker, and the seconds that its query has left; given back when the context ends.

        Raises:
            QueryTimeoutError: No time is left.
            QueryBusyError: None came free in time.
            QueryExecutionError: None could be started.
        """
        with allowance.turn(self._turns):
            worker = self._take()
            try:
                with allowance.paused():
                    worker.await_ready()
                yield worker, allowance.left()
            except BaseException:
                if not worker.ready:
                    worker.end()
                raise
            finally:
                self._give_back(worker)

    def start(self) -> None:
        """Have a worker ready before it is needed."""
        self._give_back(self._take())

    def _take(self) -> Worker:
        with self._lock:
            if os.getpid() != self._pid:
                self._start_anew()
            if not self._end.alive:
                raise ConfigurationError("the query engine is closed")
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    return worker
                self._all.discard(worker)
                worker.end()
            return self._started()

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            if worker.alive and not worker.worn and worker in self._all:
                self._idle.append(worker)
                return
            worker.end()
            self._all.discard(worker)
            if self._end.alive and not self._idle:
                self._idle.append(self._started())

    def _started(self) -> Worker:
        worker = Worker(self._settings)
        self._all.add(worker)
        return worker

    def _start_anew(self) -> None:
        # They are children of our parent: kept from being collected, and left alone.
        self._inherited.append(self._all)
        self._end.detach()
        self._pid = os.getpid()
        self._idle, self._all = [], set()
        self._end = weakref.finalize(self, _end_all, self._all, self._idle, self._pid)

    def close(self) -> None:
        """End all workers; queries that still run in them fail."""
        self._end()


def _end_all(workers: set[Worker], idle: list[Worker], pid: int) -> None:
    if os.getpid() != pid:
        return
    for worker in idle:
        worker.end()
    for worker in workers - set(idle):
        worker.kill()
    workers.clear()
    idle.clear()

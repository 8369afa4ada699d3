"""What runs in a worker: takes queries from a pipe, one after the other, and writes the answers."""

from __future__ import annotations

import os
import queue
import select
import signal
import sys
import threading
from collections import OrderedDict
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from lakerunner.compute.execution import ScanMetrics
from lakerunner.compute.native_stores import NotNativeError, native_store
from lakerunner.compute.planned import PlannedQuery
from lakerunner.compute.session import Session
from lakerunner.compute.worker.messages import (
    Ask,
    Ended,
    Optimized,
    Ready,
    RemoteQuery,
    Step,
    WorkerSettings,
    receive,
    send,
    send_batch,
)
from lakerunner.errors import LakerunnerError, QueryExecutionError, QueryLimitError
from lakerunner.limits import WORKER_CACHE_BYTES, WORKER_IDLE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO


try:
    import resource
except ImportError:  # no system but POSIX has it, and no other starts workers
    resource = None  # type: ignore[assignment]

_PLANS_KEPT = 8
_ORPHAN_SECONDS = 1.0


def main() -> None:
    """Serve until the other end of the pipe is closed, or nothing was asked for long."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever is printed must not end up among the answers
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    _, settings = receive(requests)
    worker = _Worker(settings, requests, answers)
    _limit_memory(settings)
    os.nice(settings.nice)  # not before: who waits for it to start waits in the foreground
    send(answers, Ready(_resident_bytes()))
    worker.serve()


def _limit_memory(settings: WorkerSettings) -> None:
    """Let the address space grow by what the settings allow, and no further.

    An allocation beyond it ends the process, or fails inside of it: either way it says so.
    """
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - no file of a path
            pages = int(file.read().split()[0])
    except OSError:
        return  # the ceiling needs to know where it starts; without it there is none
    bound = pages * resource.getpagesize() + settings.memory_bytes + settings.spare_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        bound = min(bound, hard)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))


def _resident_bytes() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(usage) * (1 if sys.platform == "darwin" else 1024)


_STEPS: dict[Step, Callable[[PlannedQuery], PlannedQuery]] = {
    Step.OPTIMIZE: PlannedQuery.optimized,
    Step.MEND: PlannedQuery.mended,
    Step.RANKED: PlannedQuery.ranked,
    Step.WHOLE: PlannedQuery.whole,
}


class _Worker:
    """One session, and the plans that it made last."""

    def __init__(self, settings: WorkerSettings, requests: FileIO, answers: FileIO) -> None:
        self._answers = answers
        self._asked: queue.SimpleQueue[tuple[Ask, Any] | None] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._plans: OrderedDict[int, PlannedQuery] = OrderedDict()
        self._session = Session(
            memory_bytes=settings.memory_bytes,
            threads=settings.threads,
            cache_bytes=WORKER_CACHE_BYTES,
        )
        # Where there is none, the engine has found the same, and copies segments to files.
        with suppress(NotNativeError):
            options = settings.storage_options
            self._session.register(native_store(settings.url, options, self._session.directory))
        # What the first query would need is made now, while nobody waits.
        self._session.plan("SELECT 1", []).optimized().execute().read_all()
        threading.Thread(target=self._listen, args=(requests,), daemon=True).start()

    def _listen(self, requests: FileIO) -> None:
        """Take requests while queries run, so that they can be cancelled; ends with the engine."""
        parent = os.getppid()
        while True:
            ready, _, _ = select.select([requests], [], [], _ORPHAN_SECONDS)
            if os.getppid() != parent:
                os._exit(0)
            if not ready:
                continue
            try:
                _, (ask, content) = receive(requests)
            except EOFError:
                os._exit(0)
            if ask is Ask.CANCEL:
                self._cancelled.set()
            else:
                self._asked.put((ask, content))

    def serve(self) -> None:
        """Answer until nothing was asked for long."""
        answers: dict[Ask, Callable[[RemoteQuery], object]] = {
            Ask.PLAN: lambda query: self._plan(query).schema,
            Ask.OPTIMIZE: self._optimize,
            Ask.DESCRIBE: lambda query: self._plan(query).physical_text(),
            Ask.FIRST_ROWS: lambda query: self._plan(query).first_rows(),
        }
        while True:
            try:
                asked = self._asked.get(timeout=WORKER_IDLE_SECONDS)
            except queue.Empty:
                self._session.close()
                return
            if asked is None:
                return
            ask, query = asked
            if ask is Ask.RUN:
                self._run(query)
                continue
            try:
                answer = answers[ask](query)
            except Exception as error:  # noqa: BLE001 - told to whoever asked
                answer = _told(error, query.text)
            send(self._answers, answer)

    def _plan(self, query: RemoteQuery) -> PlannedQuery:
        planned = self._plans.get(query.number)
        if planned is not None:
            return planned
        steps = query.steps
        if query.frozen is not None:
            planned = self._session.thawed(query.frozen, query.text, query.tables)
            steps = steps[steps.index(Step.OPTIMIZE) + 1 :]
        else:
            planned = self._session.plan(query.text, query.tables, query.values, query.limit)
        for step in steps:
            planned = _STEPS[step](planned)
        self._plans[query.number] = planned
        while len(self._plans) > _PLANS_KEPT:
            self._plans.popitem(last=False)
        return planned

    def _optimize(self, query: RemoteQuery) -> Optimized:
        """Take the last step of a query, which is to optimize it."""
        optimized = self._plan(query)
        return Optimized(optimized.schema, optimized.scans(), optimized.frozen())

    def _run(self, query: RemoteQuery) -> None:
        self._cancelled.clear()
        error: BaseException | None = None
        metrics, listed = ScanMetrics(0, 0), {}
        try:
            execution = self._plan(query).execute()
            send(self._answers, execution.schema)
            with closing(iter(execution)) as batches:
                for batch in batches:
                    if self._cancelled.is_set():
                        break
                    send_batch(self._answers, batch)
            metrics, listed = execution.metrics(), dict(execution.listed())
        except Exception as failure:  # noqa: BLE001 - told to whoever asked
            error = _told(failure, query.text)
        send(self._answers, Ended(error, metrics, listed))


def _told(error: Exception, text: str) -> LakerunnerError:
    if isinstance(error, LakerunnerError):
        error.__cause__ = error.__context__ = None
        return error
    if isinstance(error, MemoryError):
        return QueryLimitError(
            "the query needs more memory than query_memory_bytes allows its process: raise it, or "
            "ask for less",
            query=text,
            limit="query_memory_bytes",
        )
    return QueryExecutionError(f"{type(error).__name__}: {error}", query=text)


if __name__ == "__main__":
    main()

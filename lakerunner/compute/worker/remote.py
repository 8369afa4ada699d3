"""A session, a planned query and a run of it that live in another process."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakerunner.compute.execution import ScanMetrics
from lakerunner.compute.worker.messages import Ask, Ended, RemoteQuery, Step

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from lakerunner.compute.first_rows import FirstRows
    from lakerunner.compute.scans import Scan
    from lakerunner.compute.table import Table
    from lakerunner.compute.turns import Allowance
    from lakerunner.compute.wire import Plan
    from lakerunner.compute.worker.messages import Optimized
    from lakerunner.compute.worker.pool import WorkerPool

_NUMBERS = count(1)


class WorkerSession:
    """Plans like `Session`, in the workers of a pool; made for one query.

    Args:
        pool: Where the workers are.
        allowance: What the planning of this query may take.
    """

    def __init__(self, pool: WorkerPool, allowance: Allowance) -> None:
        self._pool = pool
        self._allowance = allowance

    def plan(
        self,
        text: str,
        tables: Sequence[Table],
        values: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> RemotePlan:
        """Plan one SQL query; see `Session.plan`.

        Raises:
            QueryLimitError: Planning needs more memory than a worker may have.
            QueryTimeoutError: It took longer than it may.
            QueryBusyError: Too many queries are running.
            QueryError: As for `Session.plan`.
        """
        query = RemoteQuery(next(_NUMBERS), text, tables, values, limit=limit)
        schema = _ask(self._pool, self._allowance, Ask.PLAN, query)
        return RemotePlan(self._pool, self._allowance, query, schema)


class RemotePlan:
    """A query that a worker has understood; any other can be told of it. Like `PlannedQuery`.

    Args:
        pool: Where the workers are.
        allowance: What the planning of this query may take.
        query: The query.
        schema: Arrow schema of its result.
        scans: What it asks of each table, once it is optimized.

    Attributes:
        schema: Arrow schema of its result.
        text: The query.
    """

    def __init__(
        self,
        pool: WorkerPool,
        allowance: Allowance,
        query: RemoteQuery,
        schema: Any,
        scans: Sequence[Scan] = (),
    ) -> None:
        self._pool = pool
        self._allowance = allowance
        self._query = query
        self._scans = scans
        self.schema = schema
        self.text = query.text

    def optimized(self) -> RemotePlan:
        """See `PlannedQuery.optimized`."""
        query = self._after(Step.OPTIMIZE)
        answer: Optimized = _ask(self._pool, self._allowance, Ask.OPTIMIZE, query)
        query = query._replace(frozen=answer.frozen)
        return RemotePlan(self._pool, self._allowance, query, answer.schema, answer.scans)

    def mended(self, draft: Plan | None = None) -> RemotePlan:  # noqa: ARG002 - a worker has none
        """See `PlannedQuery.mended`."""
        return self._planned(Step.MEND)

    def tallied(self) -> None:
        """Not told: what counts so little needs no worker."""

    def summed(self, draft: Plan, column: str) -> None:
        """See `tallied`."""

    def first_rows(self) -> FirstRows | None:
        """See `PlannedQuery.first_rows`."""
        found: FirstRows | None = _ask(self._pool, self._allowance, Ask.FIRST_ROWS, self._query)
        return found

    def ranked(self) -> RemotePlan:
        """See `PlannedQuery.ranked`."""
        return self._planned(Step.RANKED)

    def whole(self) -> RemotePlan:
        """See `PlannedQuery.whole`."""
        return self._planned(Step.WHOLE)

    def _planned(self, step: Step) -> RemotePlan:
        query = self._after(step)
        schema = _ask(self._pool, self._allowance, Ask.PLAN, query)
        return RemotePlan(self._pool, self._allowance, query, schema, self._scans)

    def _after(self, step: Step) -> RemoteQuery:
        return self._query._replace(number=next(_NUMBERS), steps=(*self._query.steps, step))

    def scans(self) -> list[Scan]:
        """See `PlannedQuery.scans`; of an optimized query only."""
        return list(self._scans)

    def pairs(self, rows: Mapping[str, int]) -> float:  # noqa: ARG002 - as the contract has it
        """None that others wait for, whatever it is, in a process of its own."""
        return 0.0

    def execute(
        self,
        allowance: Allowance | None = None,
        *,
        brief: bool = False,  # noqa: ARG002 - as the contract has it
    ) -> RemoteExecution:
        """Start a run. No worker is taken before the first batch is asked for."""
        run = self._allowance.again() if allowance is None else allowance
        return RemoteExecution(self._pool, run, self._query, self.schema)

    def physical_text(self) -> str:
        """See `PlannedQuery.physical_text`."""
        text: str = _ask(self._pool, self._allowance, Ask.DESCRIBE, self._query)
        return text


class RemoteExecution:
    """A run in a worker, which has no other work until the run has ended. Like `Execution`.

    Args:
        pool: Where the workers are.
        allowance: Turns and time of this run.
        query: What runs.
        schema: Arrow schema of the batches.
    """

    def __init__(
        self, pool: WorkerPool, allowance: Allowance, query: RemoteQuery, schema: Any
    ) -> None:
        self._pool = pool
        self._allowance = allowance
        self._query = query
        self._ended = Ended(None, ScanMetrics(0, 0), {})
        self.schema = schema

    def __iter__(self) -> Generator[Any]:
        """Batches of `pyarrow`, in order; to be consumed once, by one thread.

        Raises:
            QueryLimitError: It needs more memory than a worker may have.
            QueryTimeoutError: Its time is over.
            QueryBusyError: No worker came free in time.
            QueryExecutionError: The query failed, or its process did.
        """
        with self._pool.worker(self._allowance) as (worker, seconds):
            ended: Ended | None = None
            try:
                worker.run(self._query)
                answer = worker.schema(seconds)
                while not isinstance(answer, Ended):
                    if isinstance(answer, pa.RecordBatch):
                        with self._allowance.paused():
                            yield answer
                    answer = worker.next_batch(self.schema, self._allowance.left())
                ended = answer
            except TimeoutError as error:
                raise self._allowance.expired() from error
            finally:
                if ended is None and worker.alive:
                    ended = worker.cancel()
                self._ended = ended or self._ended
            if self._ended.error is not None:
                raise self._ended.error
            # A worker cannot be asked while it runs: here the limit is looked at in the end.
            self._allowance.read(self._ended.metrics.bytes, ended=True)

    def read_all(self) -> Any:
        """All batches as one `pyarrow.Table`; raises as iteration does."""
        return pa.Table.from_batches(list(self), self.schema)

    def metrics(self) -> ScanMetrics:
        """What the scans of a run that has ended have read."""
        return self._ended.metrics

    def listed(self) -> Mapping[str, int]:
        """Files that the scans of a finished run were made of; see `Execution.listed`."""
        return self._ended.listed


def _ask(pool: WorkerPool, allowance: Allowance, what: Ask, query: RemoteQuery) -> Any:
    with pool.worker(allowance) as (worker, seconds):
        try:
            answer = worker.ask(what, query, seconds)
        except TimeoutError as error:
            worker.end()
            raise allowance.expired() from error
        except BaseException:
            worker.end()
            raise
    if isinstance(answer, BaseException):
        raise answer
    return answer

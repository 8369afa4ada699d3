"""A lake for programs that run on asyncio: the same calls, awaited, on threads."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lakerunner.compute.turns import CANCELLED
from lakerunner.errors import LakerunnerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from lakerunner.model.report import IngestReport
    from lakerunner.query import Explanation, Result
    from lakerunner.query.promql.answering import SampleResult
    from lakerunner.query.traces import Trace

Answer = TypeVar("Answer")


class AsyncLake:
    """What `lake.aio` is: the calls of a lake that take long, for programs that run on asyncio.

    Each call works in a thread of the loop's own pool, and its result is there as a whole when it
    is returned. Whoever cancels a task that awaits a query ends the query, within about a tenth of
    a second; an ingest that is cancelled ends with the batch at hand, and what was committed stays.

    Args:
        lake: What answers.

    Example:
        >>> import asyncio
        >>> import lakerunner
        >>> async def count() -> int:
        ...     lake = lakerunner.open("memory://doc/aio")
        ...     await lake.aio.ingest([{"message": "hello"}])
        ...     return (await lake.aio.sql("SELECT count(*) FROM logs")).scalar()
        >>> asyncio.run(count())
        1
    """

    def __init__(self, lake: Any) -> None:
        self._lake = lake

    async def sql(self, text: str, **settings: Any) -> Result:
        """Ask in SQL, and wait for all rows; see `Lake.sql`."""
        return await _in_thread(_whole, self._lake.sql, text, settings)

    async def promql(self, text: str, **settings: Any) -> SampleResult:
        """Evaluate PromQL; see `Lake.promql`."""
        return await _in_thread(_whole, self._lake.promql, text, settings)

    async def trace(self, trace_id: str, **settings: Any) -> Trace:
        """All spans of a trace; see `Lake.trace`."""
        return await _in_thread(_whole, self._lake.trace, trace_id, settings)

    async def explain(self, text: str, **settings: Any) -> Explanation:
        """Say which segments a query would read, and why; see `Lake.explain`."""
        return await _in_thread(partial(self._lake.explain, text, **settings))

    async def batches(self, text: str, **settings: Any) -> AsyncIterator[Any]:
        """The rows of a query in Arrow batches, as they are found; see `Lake.sql`."""
        found = await _in_thread(partial(self._lake.sql, text, **settings))
        batches = iter(found)
        while (batch := await _in_thread(next, batches, None)) is not None:
            yield batch

    async def ingest(self, *sources: Any, **settings: Any) -> IngestReport:
        """Take what sources name; see `Lake.ingest`."""
        return await _in_thread(partial(self._lake.ingest, *sources, **settings))


def _whole(ask: Callable[..., Any], text: str, settings: dict[str, Any]) -> Any:
    found = ask(text, **settings)
    found.to_arrow()
    return found


async def _in_thread(work: Callable[..., Answer], *given: Any) -> Answer:
    """Do blocking work in a thread; who stops waiting stops it."""
    cancelled = threading.Event()
    context = copy_context()
    context.run(CANCELLED.set, cancelled)
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(None, partial(context.run, work, *given))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        cancelled.set()
        with suppress(LakerunnerError, asyncio.CancelledError):
            await future  # it ends at once, and nothing of it is left running behind its caller
        raise

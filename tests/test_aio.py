"""A lake on asyncio, in other processes, and as a value that is sent."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import pytest

import lakerunner
from lakerunner.errors import ConfigurationError, ForkedProcessError, QuerySyntaxError

if TYPE_CHECKING:
    from pathlib import Path

COUNT = "SELECT count(*) FROM logs"
CROSS = "SELECT count(*) FROM logs a, logs b, logs c, logs d WHERE a.body <> d.body"


@pytest.fixture
def lake(tmp_path: Path) -> lakerunner.Lake:
    made = lakerunner.open(tmp_path / "lake")
    made.ingest([{"message": str(number)} for number in range(2000)])
    return made


def test_calls_are_awaited(lake: lakerunner.Lake) -> None:
    async def ask() -> tuple[object, int, list[int]]:
        report = await lake.aio.ingest([{"message": "one more"}], [{"message": "and one"}])
        answers = await asyncio.gather(*(lake.aio.sql(COUNT) for _ in range(4)))
        rows = [batch.num_rows async for batch in lake.aio.batches("SELECT body FROM logs")]
        assert (await lake.aio.promql("1 + 1", time=0)).to_arrow()["value"].to_pylist() == [2.0]
        assert (await lake.aio.explain(COUNT)).kept
        assert not await lake.aio.trace("ab" * 16)
        with pytest.raises(QuerySyntaxError):
            await lake.aio.sql("SELECT")
        return answers[0].scalar(), report.rows, [sum(rows), len({a.scalar() for a in answers})]

    assert asyncio.run(ask()) == (2002, 2, [2002, 1])


def test_who_cancels_ends_the_query(lake: lakerunner.Lake) -> None:
    async def ask() -> float:
        task = asyncio.create_task(lake.aio.sql(CROSS))
        await asyncio.sleep(1.0)
        begun = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - begun

    assert asyncio.run(ask()) < 30  # it would take hours
    assert lake.sql(COUNT).scalar() == 2000


def count(lake: lakerunner.Lake) -> int:
    found: int = lake.sql(COUNT).scalar()
    return found


def test_a_lake_is_sent_to_other_processes(lake: lakerunner.Lake) -> None:
    again = pickle.loads(pickle.dumps(lake))  # noqa: S301 - our own
    assert again.sql(COUNT).scalar() == 2000
    bound = pickle.loads(pickle.dumps(lake.for_organization("acme")))  # noqa: S301 - our own
    assert bound.organization == "acme"
    assert bound.sql(COUNT).scalar() == 0
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawning) as pool:
        assert pool.submit(count, lake).result() == 2000


def test_a_lake_in_memory_cannot_be_sent() -> None:
    with pytest.raises(ConfigurationError, match="memory"):
        pickle.dumps(lakerunner.open("memory://"))


def forked(lake: lakerunner.Lake, queue: multiprocessing.Queue[str]) -> None:
    try:
        queue.put(str(lake.sql(COUNT).scalar()))
    except ForkedProcessError as error:
        queue.put(type(error).__name__)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_of_a_process_that_asked_says_so(lake: lakerunner.Lake) -> None:
    assert lake.sql(COUNT).scalar() == 2000
    forking = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[str] = forking.Queue()
    child = forking.Process(target=forked, args=(lake, queue))
    child.start()
    assert queue.get(timeout=60) == "ForkedProcessError"
    child.join()

"""Queries in processes of their own: what they answer, what limits them, and how they end."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakerunner.compute import Allowance, ScanMode, Session, Table, Turns
from lakerunner.compute.worker import WorkerPool, WorkerSession
from lakerunner.compute.worker.messages import WorkerSettings
from lakerunner.errors import (
    ConfigurationError,
    QueryBusyError,
    QueryExecutionError,
    QueryLimitError,
    QuerySyntaxError,
    QueryTimeoutError,
    UnsupportedQueryError,
)
from lakerunner.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = pa.schema([("n", pa.int64()), ("word", pa.string_view())])
SETTINGS = WorkerSettings(64 * MIB, 256 * MIB, 2, "file:///lake", {})


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(SETTINGS, Turns("query_workers", 4, 2, 60))
    yield made
    made.close()


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, ...]:
    path: Path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(pa.table({"n": range(50_000), "word": ["ab", "cd"] * 25_000}), path)
    return (Table("logs", SCHEMA, (path.as_uri(),), ScanMode.SWEEP, {}),)


def run(pool: WorkerPool, text: str, tables: Any = (), seconds: float | None = None) -> Any:
    allowance = Allowance("acme", seconds, text=text)
    return WorkerSession(pool, allowance).plan(text, tables).execute(allowance.again()).read_all()


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pids(pool: WorkerPool) -> set[int]:
    return {one.pid for one in pool._all}


QUERIES = (
    "SELECT word, count(*) AS rows, sum(n) AS total FROM logs GROUP BY word ORDER BY word",
    "SELECT a.n FROM logs a JOIN logs b ON a.n = b.n + 1 WHERE a.n < 5 ORDER BY 1",
    "SELECT * FROM logs ORDER BY n DESC LIMIT 3",
    "SELECT 1 AS one, [word] AS list, named_struct('a', n) AS row FROM logs WHERE n = 7",
    "SELECT count(*) FROM logs WHERE n > 5 AND word = 'nobody'",
)


@pytest.mark.parametrize("text", QUERIES)
def test_a_worker_answers_as_a_session_does(
    pool: WorkerPool, tables: tuple[Table, ...], text: str
) -> None:
    session = Session()
    local, remote = (
        session.plan(text, tables),
        WorkerSession(pool, Allowance("a")).plan(text, tables),
    )
    assert remote.schema == local.schema
    assert remote.optimized().scans() == local.optimized().scans()
    assert remote.physical_text().count("\n") == local.physical_text().count("\n")
    for planned in (local, local.optimized()):
        expected = planned.execute()
        rows = expected.read_all()
        for plan in (remote, remote.optimized()):
            execution = plan.execute()
            assert execution.read_all() == rows
            assert execution.metrics().rows == expected.metrics().rows
            assert execution.listed() == expected.listed()
    session.close()


def test_errors_come_back_as_they_are(pool: WorkerPool, tables: tuple[Table, ...]) -> None:
    before = pids(pool)
    with pytest.raises(QuerySyntaxError, match="there is no column nothing"):
        run(pool, "SELECT nothing FROM logs", tables)
    with pytest.raises(UnsupportedQueryError, match="may only read"):
        run(pool, "CREATE TABLE a (b INT)")
    with pytest.raises(QueryExecutionError, match="Divide by zero"):
        run(pool, "SELECT n / (n - n) FROM logs", tables)
    assert before <= pids(pool), "no process had to end for it"


EXPANSIONS = {
    "repeat": "SELECT length(repeat('x', 2000000000))",
    "lpad": "SELECT length(lpad('x', 2000000000, 'y'))",
    "rpad": "SELECT length(rpad('x', 2000000000, 'y'))",
    "array_repeat": "SELECT array_length(array_repeat(1, 400000000))",
    "rows": "SELECT length(repeat(word, 1000000)) FROM logs",
    "range": "SELECT array_length(range(1, 2000000000))",
    "replace": "SELECT length(replace(repeat('x', 100000), 'x', repeat('y', 100000)))",
    "series": "SELECT array_agg(value) FROM generate_series(1, 1000000000)",
}


@pytest.mark.parametrize("shape", sorted(EXPANSIONS))
def test_memory_is_limited(pool: WorkerPool, tables: tuple[Table, ...], shape: str) -> None:
    with pytest.raises(QueryLimitError, match="query_memory_bytes") as caught:
        run(pool, EXPANSIONS[shape], tables)
    assert caught.value.context["limit"] == "query_memory_bytes"
    assert run(pool, "SELECT 1").num_rows == 1


ENDLESS = {
    "cross join": "SELECT sum(a.n * b.n) FROM logs a, logs b, logs c",
    "nested loops": "SELECT count(*) FROM logs a JOIN logs b ON a.n < b.n, logs c",
    "hash join": "SELECT sum(a.n * b.n) FROM logs a JOIN logs b USING (word)",
    "unnest": "SELECT sum(x) FROM (SELECT unnest(range(1, 40)) AS x FROM logs, logs b)",
    "scalar": "SELECT sum(levenshtein(repeat(word, 50000), repeat('x', 90000))) "
    "FROM logs WHERE n < 9",
}


@pytest.mark.parametrize("shape", sorted(ENDLESS))
def test_time_is_limited_whatever_the_shape(
    pool: WorkerPool, tables: tuple[Table, ...], shape: str
) -> None:
    allowance = Allowance("acme", text="x")
    plan = WorkerSession(pool, allowance).plan(ENDLESS[shape], tables)
    busy = pids(pool)
    with pytest.raises(QueryTimeoutError, match="query_timeout"):
        plan.execute(Allowance("acme", 0.2)).read_all()
    assert not any(lives(pid) for pid in busy - pids(pool)), "the work has ended"
    assert run(pool, "SELECT 1").num_rows == 1


def test_an_interrupt_ends_the_work(pool: WorkerPool, tables: tuple[Table, ...]) -> None:
    plan = WorkerSession(pool, Allowance("acme")).plan(ENDLESS["cross join"], tables)
    main = threading.main_thread().ident
    assert main is not None
    before = pids(pool)
    threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        plan.execute().read_all()
    assert not any(lives(pid) for pid in before - pids(pool))
    assert pids(pool) != before


def test_closing_early_keeps_a_worker_that_listens(
    pool: WorkerPool, tables: tuple[Table, ...]
) -> None:
    run(pool, "SELECT 1")
    before = pids(pool)
    text = "SELECT value FROM generate_series(1, 1000000000000)"
    with closing(iter(WorkerSession(pool, Allowance("a")).plan(text, []).execute())) as batches:
        assert next(batches).num_rows > 0
    assert pids(pool) == before
    assert run(pool, "SELECT 1").num_rows == 1


def test_a_worker_that_dies_says_how(pool: WorkerPool, tables: tuple[Table, ...]) -> None:
    plan = WorkerSession(pool, Allowance("acme")).plan(ENDLESS["cross join"], tables)

    def kill() -> None:
        for pid in pids(pool):
            os.kill(pid, signal.SIGSEGV)

    threading.Timer(0.2, kill).start()
    with pytest.raises(QueryExecutionError, match=r"died \(SIGSEGV\); other queries go on"):
        plan.execute().read_all()
    assert run(pool, "SELECT 1").num_rows == 1


def test_one_organization_leaves_workers_to_others(tables: tuple[Table, ...]) -> None:
    turns = Turns("query_workers", 2, 1, 0.05)
    own = WorkerPool(SETTINGS, turns)
    text = "SELECT value FROM generate_series(1, 1000000000000)"
    plan = WorkerSession(own, Allowance("loud")).plan(text, [])
    with closing(iter(plan.execute())) as batches:
        next(batches)
        with pytest.raises(QueryBusyError, match="query_workers"):
            next(iter(plan.execute()))
        assert run(own, "SELECT 1").num_rows == 1
    own.close()
    with pytest.raises(ConfigurationError, match="closed"):
        run(own, "SELECT 1")


def test_what_cannot_be_sent_is_said_at_once() -> None:
    settings = SETTINGS._replace(storage_options={"session": lambda: None})
    with pytest.raises(ConfigurationError, match="storage options"):
        WorkerPool(settings, Turns("query_workers", 2, 1, 1))


def test_workers_end_with_their_pool(tables: tuple[Table, ...]) -> None:
    own = WorkerPool(SETTINGS, Turns("query_workers", 2, 2, 60))
    run(own, "SELECT count(*) FROM logs", tables)
    (pid,) = pids(own)
    del own
    assert not lives(pid)

"""Waits that end: by time, by an interrupt, by closing; and processes that were forked."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakerunner.compute import Allowance, ScanMode, Session, Table
from lakerunner.compute.turns import drive
from lakerunner.errors import ForkedProcessError, QueryTimeoutError
from lakerunner.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = pa.schema([("n", pa.int64()), ("body", pa.string_view())])


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, ...]:
    path: Path = tmp_path_factory.mktemp("many") / "many.parquet"
    bodies = [f"{n * 7919 % 400_000:06} and more" for n in range(400_000)]
    pq.write_table(pa.table({"n": range(400_000), "body": bodies}), path)
    return (Table("logs", SCHEMA, (path.as_uri(),), ScanMode.SWEEP, {}),)


@pytest.fixture
def session() -> Iterator[Session]:
    made = Session(threads=2, memory_bytes=256 * MIB)
    yield made
    made.close()


LONG = {
    "aggregate": "SELECT body, count(*) FROM {t} GROUP BY body ORDER BY 2 LIMIT 1",
    "sort": "SELECT body FROM {t} ORDER BY body DESC",
    "window": "SELECT sum(n) OVER (PARTITION BY n % 100 ORDER BY n) FROM {t}",
    "series": "SELECT count(*) FROM generate_series(1, 1000000000000)",
    "recursion": "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r) "
    "SELECT count(*) FROM r",
    "scalar": "SELECT count(*) FROM {t} WHERE regexp_replace(body, '[0-9]', 'x', 'g') = 'y'",
}


@pytest.mark.parametrize("shape", sorted(LONG))
def test_a_run_ends_with_its_time(shape: str, session: Session, many: tuple[Table, ...]) -> None:
    # Ten times the rows, so that no shape is done before its time is over.
    text = LONG[shape].replace("{t}", "(" + " UNION ALL ".join(["SELECT * FROM logs"] * 10) + ")")
    execution = session.plan(text, many).execute(Allowance("acme", 0.05, text=text))
    with pytest.raises(QueryTimeoutError, match="query_timeout"):
        execution.read_all()
    session.plan("SELECT count(*) FROM logs", many).execute(Allowance("acme", 60)).read_all()
    assert settles(), "what is over still works"


def settles() -> bool:
    """Whether this process comes to rest, by the processor time that it uses."""
    for _ in range(600):
        used = time.process_time()
        time.sleep(0.05)
        if time.process_time() - used < 0.025:
            return True
    return False


def test_time_that_the_caller_takes_does_not_count(
    session: Session, many: tuple[Table, ...]
) -> None:
    execution = session.plan("SELECT * FROM logs", many).execute(Allowance("acme", 30.0))
    batches = iter(execution)
    rows = next(batches).num_rows
    before = execution._allowance.left()
    time.sleep(0.2)
    assert execution._allowance.left() == before
    assert rows + sum(batch.num_rows for batch in batches) == 400_000


def test_an_interrupt_ends_a_run_at_once(session: Session, many: tuple[Table, ...]) -> None:
    execution = session.plan(LONG["series"], many).execute()
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()
    gc.disable()  # what ends only when garbage is collected may go on for long
    try:
        with pytest.raises(KeyboardInterrupt):
            execution.read_all()
        assert settles()
    finally:
        gc.enable()


def test_what_is_waited_for_in_vain_is_cancelled() -> None:
    ended = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        drive(forever, 0.01)
    assert ended.wait(60)


def forked(answers: Any) -> None:
    try:
        Session()
    except ForkedProcessError as error:
        answers.put((error.code, str(error)))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_is_told_to_spawn(session: Session) -> None:
    session.plan("SELECT 1", []).execute().read_all()
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=forked, args=(answers,))
    child.start()
    code, message = answers.get(timeout=60)
    child.join()
    assert code == "forked_process"
    assert "spawn" in message

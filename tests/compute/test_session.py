"""One session for many queries: threads, memory, the clock, and what it leaves behind."""

from __future__ import annotations

import gc
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakerunner.compute import ScanMode, Session, Table
from lakerunner.errors import QueryExecutionError
from lakerunner.limits import MIB

SCHEMA = pa.schema([("n", pa.int64()), ("word", pa.string_view()), ("body", pa.string_view())])


def table(files: tuple[str, ...], mode: ScanMode = ScanMode.SWEEP) -> Table:
    return Table("logs", SCHEMA, files, mode, {})


def test_threads_do_not_see_the_files_of_others(session: Session, files: tuple[str, ...]) -> None:
    def ask(number: int) -> tuple[int, int, int]:
        some = (files[number % 3],)
        mode = list(ScanMode)[number % 2]
        text = f"SELECT min(n) AS a, count(*) AS c FROM logs WHERE word = 'w{number % 7}'"
        (row,) = session.plan(text, [table(some, mode)]).execute().read_all().to_pylist()
        return number, row["a"], row["c"]

    with ThreadPoolExecutor(8) as pool:
        for number, first, count in pool.map(ask, range(96)):
            rows = [n for n in range(1000) if n % 7 == number % 7]
            assert (first, count) == (number % 3 * 1000 + rows[0], len(rows))


def test_batches_stream(session: Session, tmp_path: Any) -> None:
    files = []
    for number in range(8):
        path = tmp_path / f"{number}.parquet"
        body = [f"{number}-{n}" * 20 for n in range(20_000)]
        pq.write_table(pa.table({"n": range(20_000), "body": body}), path, row_group_size=5000)
        files.append(path.as_uri())
    execution = session.plan("SELECT body FROM logs", [table(tuple(files))]).execute()
    batches = iter(execution)
    first = next(batches)
    assert first.num_rows > 0
    early = execution.metrics().rows
    assert early < 160_000
    assert first.num_rows + sum(batch.num_rows for batch in batches) == 160_000
    assert execution.metrics().rows == 160_000


def test_a_run_that_is_dropped_stops(session: Session, files: tuple[str, ...]) -> None:
    text = "SELECT a.body FROM logs a CROSS JOIN logs b CROSS JOIN logs c"
    execution = session.plan(text, [table(files)]).execute()
    batches = iter(execution)
    next(batches)
    del batches
    gc.collect()
    before = execution.metrics().rows
    time.sleep(0.05)
    assert execution.metrics().rows == before


def test_sorts_beyond_the_memory_spill(tmp_path: Any) -> None:
    path = tmp_path / "big.parquet"
    body = [f"{n * 7919 % 300_000:06}" * 40 for n in range(300_000)]
    pq.write_table(pa.table({"body": body}), path)
    session = Session(memory_bytes=24 * MIB, threads=1)
    text = "SELECT body FROM logs ORDER BY body"
    execution = session.plan(text, [table((path.as_uri(),))]).execute()
    last = ""
    for batch in execution:
        assert batch["body"][0].as_py() >= last
        last = batch["body"][-1].as_py()
    spilled = [node.metrics().spill_count for node in walk(execution._frame.execution_plan())]
    assert sum(count or 0 for count in spilled) > 0
    session.close()


@pytest.mark.parametrize("memory", [24, 48, 96])
def test_sorts_that_do_not_fit_succeed_every_time(tmp_path: Any, memory: int) -> None:
    files = []
    for number in range(4):
        path = tmp_path / f"{number}.parquet"
        at = range(number, 400_000, 4)
        body = [f"{n * 7919 % 400_000:06} handled {n % 97} with a status of {n % 7}" for n in at]
        word = [f"w{n % 5}" for n in at]
        pq.write_table(pa.table({"n": at, "word": word, "body": body}), path)
        files.append(path.as_uri())
    session = Session(memory_bytes=memory * MIB, threads=2)
    for text in (
        "SELECT * FROM logs ORDER BY body DESC, n",
        "SELECT body, n FROM logs ORDER BY body DESC",
        "SELECT body FROM logs ORDER BY word, n % 1000, body",
    ):
        planned = session.plan(text, [table(tuple(files))])
        for _ in range(3):
            rows, last = 0, "9"
            for batch in planned.execute():
                rows += batch.num_rows
                if "DESC" in text:
                    assert batch["body"][0].as_py() <= last
                    last = batch["body"][-1].as_py()
            assert rows == 400_000
    session.close()


def walk(plan: Any) -> list[Any]:
    below = [node for child in plan.children() for node in walk(child)]
    return [plan, *below] if plan.metrics() else below


def test_what_cannot_spill_fails_with_the_setting_that_helps(tmp_path: Any) -> None:
    path = tmp_path / "big.parquet"
    pq.write_table(pa.table({"body": [f"{n}" * 30 for n in range(200_000)]}), path)
    session = Session(memory_bytes=2 * MIB, threads=2)
    text = "SELECT a.body FROM logs a JOIN logs b ON a.body = b.body"
    with pytest.raises(QueryExecutionError, match="query_memory_bytes"):
        session.plan(text, [table((path.as_uri(),))]).execute().read_all()
    session.close()


def test_the_clock_stands_still_in_an_optimized_query(session: Session) -> None:
    text = "SELECT arrow_cast(now(), 'Int64') AS a FROM logs RIGHT JOIN (SELECT 1) ON true"
    planned = session.plan(text, [table(())])
    frozen = planned.optimized()
    runs = [frozen.execute().read_all().to_pylist() for _ in range(2)]
    assert runs[0] == runs[1]
    assert planned.execute().read_all().to_pylist() != planned.execute().read_all().to_pylist()


def test_results_have_plain_types(session: Session, files: tuple[str, ...]) -> None:
    text = """
        SELECT word, array_agg(body) AS bodies, arrow_cast('x', 'BinaryView') AS bytes,
               named_struct('a', word, 'b', [word]) AS nested, map([word], [1]) AS mapped,
               arrow_cast([word], 'LargeList(Utf8View)') AS large
        FROM logs WHERE n < 20 GROUP BY word ORDER BY word LIMIT 1"""
    execution = session.plan(text, [table(files)]).execute()
    result = execution.read_all()
    assert "view" not in str(result.schema)
    assert result.to_pylist() == [
        {
            "word": "w0",
            "bodies": ["body 0", "body 7", "body 14"],
            "bytes": b"x",
            "nested": {"a": "w0", "b": ["w0"]},
            "mapped": [("w0", 1)],
            "large": ["w0"],
        }
    ]
    result.validate(full=True)


def test_a_query_without_columns_counts(session: Session, files: tuple[str, ...]) -> None:
    assert session.plan(
        "SELECT 1 AS x FROM logs", [table(files)]
    ).execute().read_all().num_rows == (3000)


def test_closing_removes_every_file(files: tuple[str, ...]) -> None:
    session = Session()
    directory = session.directory
    assert directory.is_dir()
    session.close()
    session.close()
    assert not directory.exists()
    dropped = Session()
    directory = dropped.directory
    del dropped
    gc.collect()
    assert not directory.exists()

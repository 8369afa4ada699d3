"""Queries that are dealt out to an executor answer as at home, whatever becomes of workers."""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
from collections import Counter
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pyarrow as pa
import pytest

import lakerunner
from lakerunner.compute.turns import stopped_by
from lakerunner.errors import (
    LakerunnerError,
    QueryExecutionError,
    QueryLimitError,
    QueryStoppedError,
    QueryTimeoutError,
)
from lakerunner.query import QueryEngine
from lakerunner.query.fanout import deal
from tests.query.test_differential import TABLES, Asker, Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

P = ParamSpec("P")
R = TypeVar("R")

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
ALWAYS = {"query_fanout_bytes": 0}
COUNT = "SELECT level, count(*) AS n, max(attr_code) AS m FROM logs GROUP BY level ORDER BY level"

DONE_IN_PARTS = {
    COUNT: "aggregated",
    "SELECT sum(attr_code) AS s, min(body) AS a, max(attr_code) AS b FROM logs": "aggregated",
    "SELECT avg(attr_code) AS a, count(attr_code) AS n FROM logs WHERE body > 'b'": "aggregated",
    "SELECT count(*) FILTER (WHERE level = 'ERROR') AS n FROM logs": "aggregated",
    "SELECT count(DISTINCT level) AS n FROM logs": "aggregated",
    "SELECT level, count(*) AS n, count(DISTINCT resource_service_name) AS s, avg(attr_code) AS a "
    "FROM logs l GROUP BY level HAVING count(*) > 1 ORDER BY n DESC LIMIT 1": "aggregated",
    "SELECT date_trunc('hour', timestamp) AS h, sum(attr_code) + 1 AS s FROM logs GROUP BY 1 "
    "ORDER BY 1 DESC LIMIT 3 OFFSET 1": "aggregated",
    "SELECT max(n) AS n FROM (SELECT level, count(*) AS n FROM logs GROUP BY level)": "aggregated",
    "SELECT DISTINCT resource_service_name AS s FROM logs": "aggregated",
    "SELECT body FROM logs ORDER BY attr_code DESC LIMIT 4 OFFSET 2": "ordered",
    "SELECT body FROM logs WHERE attr_code % 7 = 0 ORDER BY attr_code": "ordered",
    "SELECT count(*) AS n FROM (SELECT body FROM logs LIMIT 7)": "no columns",
    "SELECT max(length(b)) AS n FROM (SELECT body AS b FROM logs LIMIT 700)": "ordered",
    "SELECT upper(body) AS b FROM logs WHERE level = 'ERROR'": "filtered and computed",
    "SELECT body AS b FROM logs UNION ALL SELECT level FROM logs": "filtered and computed",
    "SELECT median(attr_code) AS m FROM logs WHERE attr_code > 9": "median() cannot be merged",
    "SELECT body, row_number() OVER (ORDER BY attr_code) AS r FROM logs": "needs all rows",
    "SELECT a.body FROM logs a JOIN logs b ON a.attr_code = b.attr_code + 1": "Join needs",
    "SELECT level, count(*) AS n FROM logs GROUP BY level UNION ALL SELECT 'a', 1": "Union needs",
}


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(scope="module")
def hours(small_lake: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    lake = small_lake(str(tmp_path_factory.mktemp("hours")))
    lake.add_hours(7, rows=40)
    return lake


def engine(lake: Any, executor: Executor, **config: Any) -> QueryEngine:
    return QueryEngine(
        lake.store, lake.catalog, lake.organization, ALWAYS | config, executor=executor
    )


def rows_of(table: pa.Table) -> Counter[tuple[Any, ...]]:
    return Counter(
        tuple(f"{one:.9g}" if isinstance(one, float) else one for one in row.values())
        for row in table.to_pylist()
    )


@pytest.mark.parametrize("text", list(DONE_IN_PARTS))
def test_processes_answer_as_this_one_does(hours: Any, processes: Executor, text: str) -> None:
    with engine(hours, processes) as far:
        assert DONE_IN_PARTS[text] in str(far.explain(text))
        found, wanted = far.sql(text), hours.engine.sql(text)
        got, expected = found.to_arrow(), wanted.to_arrow()
        assert got.schema == expected.schema
        assert rows_of(got) == rows_of(expected)
        if "ORDER BY" in text and "OVER" not in text:
            assert got.to_pylist() == expected.to_pylist()
        assert (found.stats.scanned, found.stats.segments) == (7, 7)
        assert found.stats.bytes_read > 0
        if text == COUNT:  # of others, more or less is left out by what other files hold
            assert found.stats.bytes_read == wanted.stats.bytes_read
        assert rows_of(pa.Table.from_batches(found, found.schema)) == rows_of(expected)


@pytest.mark.parametrize("seed", range(20 if NIGHTLY else 2))
def test_random_lakes_and_queries(
    small_lake: Any, tmp_path: Path, threads: Executor, processes: Executor, seed: int
) -> None:
    """Columns of several types, NaN, overflowed attributes: as at home, or refused as there."""
    rng = random.Random(seed)  # noqa: S311 - the same lakes every time
    lake = small_lake(str(tmp_path))
    for signal in TABLES:
        Rows(rng, rng.choice([12, 40, 60])).write(lake, signal)
    asker = Asker(random.Random(seed))  # noqa: S311 - the same queries every time
    with engine(lake, threads) as near, engine(lake, processes) as far, lake.engine as home:
        for number in range(300 if NIGHTLY else 8):
            texts = asker.query().split("@")
            text = "".join(
                f"to_timestamp_nanos({one})" if place % 2 else one
                for place, one in enumerate(texts)
            )
            dealt = far if number % 4 == 0 else near
            assert answer(dealt, text) == answer(home, text), text


def answer(asked: QueryEngine, text: str) -> object:
    try:
        table = asked.sql(text).to_arrow()
    except LakerunnerError as error:
        return error.code
    return table.schema, rows_of(table)


def test_workers_leave_out_what_is_deleted(tmp_path: Path, threads: Executor) -> None:
    with lakerunner.open(tmp_path, config=ALWAYS, executor=threads) as lake:
        for hour in range(3):
            lake.ingest([{"time": f"2026-01-01T0{hour}:00:00Z", "message": f"m{n}"} for n in "abc"])
        lake.delete("logs", "body = 'ma'")
        assert "on ThreadPoolExecutor" in str(lake.explain("SELECT count(*) FROM logs"))
        assert lake.sql("SELECT count(*) FROM logs").scalar() == 6
        assert lake.sql("SELECT DISTINCT body FROM logs ORDER BY body").fetchall() == [
            ("mb",),
            ("mc",),
        ]


def test_tables_of_the_caller_stay_here(hours: Any, threads: Executor) -> None:
    text = "SELECT count(*) AS n FROM logs JOIN wanted ON attr_code = code WHERE attr_code > 5"
    given = {"wanted": pa.table({"code": [3, 9, 11]})}
    with engine(hours, threads) as far:
        result = far.sql(text, tables=given)
        assert result.scalar() == 2
        assert result.stats.bytes_read > 0


def test_own_names_and_parameters(hours: Any, threads: Executor) -> None:
    text = 'SELECT "code" AS c, count(*) AS n FROM logs WHERE "code" < $1 GROUP BY 1 ORDER BY 1'
    with engine(hours, threads) as far:
        wanted = hours.engine.sql(text, params=[70]).to_arrow()
        assert far.sql(text, params=[70]).to_arrow().equals(wanted)


def test_promql_reads_in_parts(tmp_path: Path, threads: Executor) -> None:
    points = [
        {"time": f"2026-01-01T0{hour}:00:{second:02}Z", "metric": "up", "value": float(second)}
        for hour in range(3)
        for second in range(0, 60, 10)
    ]
    table = pa.table(
        {
            "timestamp": pa.array([one["time"] for one in points]),
            "metric_name": [one["metric"] for one in points],
            "value": [one["value"] for one in points],
        }
    )
    range_of: dict[str, Any] = {
        "start": "2026-01-01T00:00:00Z",
        "end": "2026-01-01T03:00:00Z",
        "step": "30s",
    }
    with lakerunner.open(tmp_path) as lake:
        lake.ingest(table, signal="metrics")
        assert len(lake.segments("metrics")) == 3
        with QueryEngine(lake.store, lake.catalog, config=ALWAYS, executor=threads) as far:
            wanted = lake.promql("sum_over_time(up[1m])", **range_of).to_arrow()
            found = far.promql("sum_over_time(up[1m])", **range_of)
            assert wanted.num_rows > 10
            assert found.to_arrow().equals(wanted)
            assert "on ThreadPoolExecutor" in str(far.explain_promql("up", **range_of))


# What is not dealt out, and why.


def reasons(asked: QueryEngine, text: str) -> str:
    (line,) = (one for one in str(asked.explain(text)).splitlines() if one.startswith("here: "))
    return line


def test_small_queries_stay_here(hours: Any, threads: Executor) -> None:
    with QueryEngine(hours.store, hours.catalog, executor=threads) as far:
        assert "fewer than query_fanout_bytes" in reasons(far, COUNT)
    with engine(hours, threads) as far:
        assert "one segment" in reasons(far, "SELECT count(*) FROM logs WHERE attr_code = 3")
        assert "first rows" in reasons(far, "SELECT body FROM logs ORDER BY timestamp LIMIT 2")


def test_rows_are_sent_only_where_some_are_left_out(hours: Any, threads: Executor) -> None:
    size = sum(one.bytes for one in hours.segments)
    with engine(hours, threads, query_fanout_bytes=size) as far:
        assert "to send all rows" in reasons(far, "SELECT body FROM logs")
        assert "nothing is filtered" in reasons(far, "SELECT median(attr_code) FROM logs")
        assert "on ThreadPool" in str(far.explain(COUNT))
        assert "on ThreadPool" in str(far.explain("SELECT body FROM logs WHERE level = 'ERROR'"))


def test_forked_processes_are_not_asked(hours: Any) -> None:
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool,
        engine(hours, pool) as far,
    ):
        assert "spawn" in reasons(far, COUNT)
        assert far.sql(COUNT).to_arrow().equals(hours.engine.sql(COUNT).to_arrow())


def test_what_cannot_be_sent_stays_here(small_lake: Any, threads: Executor) -> None:
    lake = small_lake("memory://fanout")
    lake.add_hours(3, rows=5)
    with engine(lake, threads) as far:
        assert far.sql("SELECT count(*) FROM logs").scalar() == 15


# What becomes of workers.


class Losing(ProcessPoolExecutor):
    """The worker of the second part dies of it, and takes the pool along."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        self.told = getattr(self, "told", 0) + 1
        if self.told == 2:
            return super().submit(os._exit, 1)
        return super().submit(fn, *args, **kwargs)


class Forgetful(ThreadPoolExecutor):
    """Loses the first part, and takes it when it comes again."""

    told = 0

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        self.told += 1
        if self.told == 1:
            lost: Future[R] = Future()
            lost.set_exception(ConnectionError("the worker is gone"))
            return lost
        return super().submit(fn, *args, **kwargs)


def test_a_worker_that_dies_costs_nothing_but_time(
    hours: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Losing(2, mp_context=multiprocessing.get_context("spawn")) as pool,
        engine(hours, pool) as far,
    ):
        assert far.sql(COUNT).to_arrow().equals(hours.engine.sql(COUNT).to_arrow())
        assert far.sql(COUNT).to_arrow().equals(hours.engine.sql(COUNT).to_arrow())
    assert "Losing takes no more" in caplog.text


def test_a_part_that_is_lost_is_handed_out_again(
    hours: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with Forgetful(2) as pool, engine(hours, pool) as far:
        assert far.sql(COUNT).to_arrow().equals(hours.engine.sql(COUNT).to_arrow())
        assert pool.told == len(hours.segments) - 1 + 1 or pool.told > 2
    assert "the worker is gone" in caplog.text


def test_a_shut_executor_is_done_without(hours: Any) -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with engine(hours, pool) as far:
        assert far.sql("SELECT count(*) FROM logs").scalar() == 280


def test_what_a_worker_says_is_said_here(
    small_lake: Any, tmp_path: Path, processes: Executor
) -> None:
    lake = small_lake(str(tmp_path))
    lake.add_hours(3, rows=10)
    with engine(lake, processes) as far:
        result = far.sql("SELECT count(*) FROM logs WHERE body LIKE '%1%'")
        lake.store.delete(lake.segments[1].key)
        with pytest.raises(QueryExecutionError, match="its file is missing") as caught:
            result.to_arrow()
    assert caught.value.__notes__ == ["said by a worker of ProcessPoolExecutor"]


# What bounds a query bounds it in parts.


@pytest.fixture
def stuck() -> Iterator[Executor]:
    """An executor that does nothing until the test is over."""
    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(over.wait)
        yield pool
        over.set()


def test_time_is_over_while_parts_wait(hours: Any, stuck: Executor) -> None:
    with engine(hours, stuck) as far, pytest.raises(QueryTimeoutError, match=r"0\.5 s"):
        far.sql(COUNT, timeout=0.5).to_arrow()


def test_nobody_waits_any_more(hours: Any, stuck: Executor) -> None:
    given_up = threading.Event()
    with engine(hours, stuck) as far, stopped_by(given_up):
        result = far.sql(COUNT)
        given_up.set()
        with pytest.raises(QueryStoppedError):
            result.to_arrow()


def test_bytes_of_all_parts_count(hours: Any, threads: Executor) -> None:
    with engine(hours, threads) as far:
        read = far.sql("SELECT max(body) FROM logs")
        read.to_arrow()
    most = read.stats.bytes_read // 2
    with (
        engine(hours, threads, query_max_bytes=most) as far,
        pytest.raises(QueryLimitError, match="query_max_bytes"),
    ):
        far.sql("SELECT max(body) FROM logs").to_arrow()


def test_only_the_organization_of_the_view_is_seen(tmp_path: Path, threads: Executor) -> None:
    with lakerunner.open(tmp_path, config=ALWAYS, executor=threads) as whole:
        for name, hours in (("acme", 2), ("other", 3)):
            lake = whole.for_organization(name)
            for hour in range(hours):
                lake.ingest([{"time": f"2026-01-01T0{hour}:00:00Z", "message": name}])
        for name, hours in (("acme", 2), ("other", 3)):
            lake = whole.for_organization(name)
            assert "on ThreadPoolExecutor" in str(lake.explain("SELECT max(body) FROM logs"))
            assert lake.sql("SELECT body FROM logs").fetchall() == [(name,)] * hours


def test_parts_are_of_like_size_and_lose_nothing(hours: Any) -> None:
    (table,) = hours.engine.outline("SELECT count(*) FROM logs").tables
    for count in (1, 3, 20):
        parts = deal([table], count)
        assert len(parts) == min(count, 7)
        assert sorted(one.id for (part,) in parts for one in part.segments) == sorted(
            one.id for one in table.segments
        )
        sizes = [sum(one.bytes for one in part.segments) for (part,) in parts]
        assert max(sizes) - min(sizes) <= max(one.bytes for one in table.segments)

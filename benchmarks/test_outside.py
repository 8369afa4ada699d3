"""Ten queries at home, in parts, on Sail, and by DuckDB over Iceberg; what each way costs.

pytest benchmarks/test_outside.py --benchmark-enable --benchmark-json=outside.json
python benchmarks/test_outside.py 10000000   # one table of all ways
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import distributed
import duckdb
import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

import lakerunner
from lakerunner.model.commit import Commit
from lakerunner.model.segment import ColumnStats
from lakerunner.query import QueryEngine
from lakerunner.testing.servers import sail as run_sail
from lakerunner.testing.values import make_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Executor

    from lakerunner import Lake

pytestmark = pytest.mark.filterwarnings("ignore:PySpark does not yet:FutureWarning")

DASK: Any = distributed
"""Its functions have no types."""
HOUR = 3600 * 10**9
START = 1_767_225_600 * 10**9
HOURS = 20
QUESTIONS = {
    "count": "SELECT count(*) AS n FROM logs",
    "one hour": "SELECT count(*) AS n FROM logs WHERE timestamp >= '2026-01-01T03:00:00Z' "
    "AND timestamp < '2026-01-01T04:00:00Z'",
    "by service": "SELECT resource_service_name AS s, count(*) AS n FROM logs GROUP BY 1",
    "by level": "SELECT level, count(*) AS n FROM logs GROUP BY 1",
    "by minute": "SELECT date_trunc('minute', timestamp) AS m, count(*) AS n FROM logs GROUP BY 1",
    "distinct": "SELECT count(DISTINCT attr_user) AS n FROM logs",
    "text": "SELECT count(*) AS n FROM logs WHERE body LIKE '%checkout 77 %'",
    "one service": "SELECT level, count(*) AS n FROM logs "
    "WHERE resource_service_name = 'service-7' GROUP BY 1",
    "sum": "SELECT sum(attr_bytes) AS n FROM logs WHERE level = 'ERROR'",
    "top": "SELECT resource_service_name AS s, max(attr_bytes) AS m FROM logs GROUP BY 1 "
    "ORDER BY 2 DESC, 1 LIMIT 3",
}
FILTERS = {
    "one hour": "timestamp >= '2026-01-01T03:00:00+00:00' "
    "and timestamp < '2026-01-01T04:00:00+00:00'",
}
"""Conditions in the words of Iceberg, by which it leaves files out."""
SCANNED = (
    "SELECT count(*) AS n, max(length(body)) AS m FROM logs "
    "WHERE body LIKE '%7%9%' AND attr_user LIKE '%1%3%'"
)
"""A question whose time goes into reading and comparing."""
ALWAYS = {"query_fanout_bytes": 0}


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> int:
    return 10_000_000 if request.config.getoption("benchmark_enable") else 20_000


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory, rows: int) -> Iterator[Lake]:
    with filled(tmp_path_factory.mktemp("outside"), rows) as lake:
        yield lake


def filled(directory: Path, rows: int) -> Lake:
    """A lake of twenty hours of logs."""
    lake = lakerunner.open(directory / "lake", config={"word_filters": "never"})
    random = np.random.default_rng(1)
    for hour in range(HOURS):
        count = rows // HOURS
        users = random.integers(0, 200_000, count)
        lake.ingest(
            pa.table(
                {
                    "timestamp": pa.array(
                        START + hour * HOUR + np.sort(random.integers(0, HOUR, count)),
                        pa.timestamp("ns", "UTC"),
                    ),
                    "service.name": pa.array([f"service-{n}" for n in range(20)]).take(
                        pa.array(random.integers(0, 20, count))
                    ),
                    "level": pa.array(["INFO", "WARN", "ERROR"]).take(
                        pa.array(random.integers(0, 3, count))
                    ),
                    "body": pa.array([f"checkout {n} done" for n in range(1000)]).take(
                        pa.array(random.integers(0, 1000, count))
                    ),
                    "user": pa.array(users.astype(str)),
                    "bytes": pa.array(random.integers(0, 10**6, count)),
                }
            ),
            signal="logs",
        )
    return lake


class Ways:
    """All ways in which a lake is asked; each answers with the rows of a question.

    Args:
        lake: The lake.
        directory: For the catalog of Iceberg.
        stack: Ends what was begun.
    """

    def __init__(self, lake: Lake, directory: Path, stack: ExitStack) -> None:
        self.lake = lake
        url = stack.enter_context(run_sail())
        self.sail: Any = SparkSession.builder.remote(url).create()
        stack.callback(self.sail.stop)
        lake.spark(self.sail)
        cluster = stack.enter_context(
            DASK.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        )
        executor = stack.enter_context(DASK.Client(cluster)).get_executor()
        self.dask = stack.enter_context(in_parts(lake, executor))
        warehouse = directory / "iceberg"
        warehouse.mkdir()
        uri = f"sqlite:///{warehouse}/catalog.db"
        tables = lake.iceberg({"type": "sql", "uri": uri, "warehouse": f"file://{warehouse}"})
        tables.sync("logs")
        self.iceberg = tables.table("logs")
        self.duckdb = stack.enter_context(duckdb.connect())
        self.duckdb.execute("SET TimeZone = 'UTC'")

    def all(self) -> Mapping[str, Callable[[str], Any]]:
        return {
            "at home": lambda name: self.lake.sql(QUESTIONS[name]).to_arrow(),
            "Dask": lambda name: self.dask.sql(QUESTIONS[name]).to_arrow(),
            "Sail": lambda name: self.lake.sql(QUESTIONS[name], engine=self.sail).to_arrow(),
            "Sail, views made before": lambda name: self.sail.sql(QUESTIONS[name]).toArrow(),
            "DuckDB over Iceberg": self.by_duckdb,
        }

    def by_duckdb(self, name: str) -> Any:
        """DuckDB reads the files that Iceberg names; its own extension is in no package index."""
        scan = self.iceberg.scan(row_filter=FILTERS.get(name, "true"))
        files = [one.file.file_path.removeprefix("file://") for one in scan.plan_files()]
        text = QUESTIONS[name].replace("FROM logs", "FROM read_parquet(?, union_by_name=true)")
        # It does not truncate times in nanoseconds.
        text = text.replace("', timestamp)", "', timestamp::TIMESTAMPTZ)")
        return self.duckdb.sql(text, params=[files]).to_arrow_table()


def in_parts(lake: Lake, executor: Executor, **config: Any) -> QueryEngine:
    return QueryEngine(lake.store, lake.catalog, config=ALWAYS | config, executor=executor)


@pytest.fixture(scope="module")
def ways(logs: Lake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    with ExitStack() as stack:
        yield Ways(logs, tmp_path_factory.mktemp("ways"), stack)


def timed(action: Callable[[], Any], rounds: int = 5) -> float:
    """Milliseconds that something takes: the median of some tries."""
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        action()
        found.append(time.perf_counter() - begun)
    return statistics.median(found) * 1000


def _asked(whom: Lake | QueryEngine, text: str) -> Any:
    return whom.sql(text).to_arrow()


def values(table: Any) -> list[Any]:
    return sorted(table.column(table.num_columns - 1).to_pylist())


@pytest.mark.parametrize("name", list(QUESTIONS))
def test_all_ways_give_one_answer(benchmark: Any, ways: Ways, name: str) -> None:
    """Also what `lake.sql(…, engine=…)` takes beyond the same text over views made before."""
    wanted = values(ways.lake.sql(QUESTIONS[name]).to_arrow())
    for way, ask in ways.all().items():
        assert values(ask(name)) == wanted, way
        if not benchmark.disabled:
            benchmark.extra_info[way] = f"{timed(partial(ask, name)):.0f} ms"
    benchmark.pedantic(lambda: ways.all()["Sail"](name), rounds=5)


def test_two_processes_beside_one(benchmark: Any, logs: Lake) -> None:
    """A question that is all reading, by pools of one and of two processes; paired."""
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=context) as lone,
        ProcessPoolExecutor(2, mp_context=context) as both,
        in_parts(logs, lone) as one,
        in_parts(logs, both) as two,
    ):
        assert one.sql(SCANNED).fetchall() == two.sql(SCANNED).fetchall()
        assert two.sql(SCANNED).fetchall() == logs.sql(SCANNED).fetchall()
        if not benchmark.disabled:
            pairs = [
                timed(lambda: one.sql(SCANNED).to_arrow(), 1)
                / timed(lambda: two.sql(SCANNED).to_arrow(), 1)
                for _ in range(7)
            ]
            benchmark.extra_info["two are faster than one by"] = f"{statistics.median(pairs):.2f}"
        benchmark.pedantic(lambda: two.sql(SCANNED).to_arrow(), rounds=5)


def test_small_queries_cost_little_more(benchmark: Any, tmp_path: Path) -> None:
    """Two small segments, with no executor, with one that is not worth while, and forced."""
    context = multiprocessing.get_context("spawn")
    text = "SELECT level, count(*) AS n FROM logs GROUP BY level"
    with lakerunner.open(tmp_path) as lake, ProcessPoolExecutor(2, mp_context=context) as pool:
        for hour in range(2):
            lake.ingest([{"time": f"2026-01-01T0{hour}:00:00Z", "level": "info", "message": "a"}])
        plain = QueryEngine(lake.store, lake.catalog, executor=pool)
        with plain, in_parts(lake, pool) as forced:
            assert plain.sql(text).fetchall() == forced.sql(text).fetchall()
            if not benchmark.disabled:
                for name, engine in {"not dealt out": plain, "dealt out": forced}.items():
                    more = [
                        timed(partial(_asked, engine, text), 1)
                        - timed(partial(_asked, lake, text), 1)
                        for _ in range(15)
                    ]
                    benchmark.extra_info[f"{name}, more"] = f"{statistics.median(more):.1f} ms"
            benchmark.pedantic(lambda: plain.sql(text).to_arrow(), rounds=5)


def test_iceberg_registers_ten_thousand(benchmark: Any, tmp_path: Path) -> None:
    """Ten thousand segments at once, then one more, then a merge of twenty."""
    warehouse = tmp_path / "iceberg"
    warehouse.mkdir()
    uri = f"sqlite:///{warehouse}/catalog.db"
    text = {name: ColumnStats("string", 0, "a", "z") for name in ("level", "resource_service_name")}
    columns = {"timestamp": ColumnStats("timestamp"), "body": ColumnStats("string"), **text}
    with lakerunner.open(tmp_path / "lake") as lake:
        segments = [
            make_segment(
                f"s{place:05}",
                START + place * HOUR // 10,
                START + place * HOUR // 10 + 9,
                organization=lake.organization,
                columns=columns,
            )
            for place in range(10_021)
        ]

        def commit(number: int, first: int, last: int, remove: tuple[str, ...] = ()) -> None:
            added = tuple(segments[first:last])
            made = Commit(f"c{number}", lake.organization, number, add=added, remove=remove)
            lake.catalog.commit(made)

        commit(1, 0, 10_000)
        tables = lake.iceberg(
            {"type": "sql", "uri": uri, "warehouse": f"file://{warehouse}"}, namespace="bench"
        )
        steps = {"10,000 segments": (10_000, 0)}
        for place in range(3):
            steps[f"one more ({place})"] = (1, 0)
        steps["a merge of 20"] = (1, 20)
        at = 10_000
        for number, (name, (come, gone)) in enumerate(steps.items(), start=1):
            if number > 1:
                removed = tuple(one.id for one in segments[:gone])
                commit(number, at, at + come, removed)
                at += come
            begun, spent = time.perf_counter(), time.process_time()
            report = tables.sync("logs")
            wall = (time.perf_counter() - begun) * 1000
            cpu = (time.process_time() - spent) * 1000
            assert (report.added["logs"], report.removed["logs"]) == (come, gone)
            benchmark.extra_info[name] = f"{wall:.0f} ms, {cpu:.0f} ms of CPU"
        benchmark.pedantic(lambda: tables.sync("logs"), rounds=1)


def main(rows: int) -> None:
    """Print one table: each question, and the milliseconds of each way."""
    warnings.filterwarnings("ignore", "PySpark does not yet")
    with tempfile.TemporaryDirectory() as named, ExitStack() as stack:
        lake = stack.enter_context(filled(Path(named), rows))
        ways = Ways(lake, Path(named), stack)
        asked = ways.all()
        lines = [f"| {rows:,} rows | {' | '.join(asked)} |", f"|---|{'---:|' * len(asked)}"]
        for name in QUESTIONS:
            wanted = values(asked["at home"](name))
            took = []
            for way, ask in asked.items():
                if values(ask(name)) != wanted:
                    raise SystemExit(f"{way} answers otherwise: {name}")
                took.append(f"{timed(partial(ask, name)):.0f}")
            lines.append(f"| {name} | {' | '.join(took)} |")
        sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)

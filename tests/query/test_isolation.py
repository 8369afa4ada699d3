"""Where queries run: beside each other, or in a process of their own."""

from __future__ import annotations

import multiprocessing
import threading
from typing import TYPE_CHECKING, Any

import pytest

import lakerunner
from lakerunner.compute.worker.remote import RemotePlan
from lakerunner.errors import ConfigurationError, QueryLimitError, QueryTimeoutError
from lakerunner.limits import MIB
from lakerunner.query import QueryEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.query.conftest import SmallLake

CROSS = "SELECT sum(a.attr_code * b.attr_code) FROM logs a, logs b, logs c, logs d"


@pytest.fixture(scope="module")
def filled(
    small_lake: type[SmallLake], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallLake]:
    lake = small_lake(str(tmp_path_factory.mktemp("isolation") / "lake"))
    lake.add_hours(4)
    yield lake
    lake.engine.close()


@pytest.fixture(scope="module")
def isolated(filled: SmallLake) -> Iterator[QueryEngine]:
    with QueryEngine(filled.store, filled.catalog, isolation="process") as engine:
        yield engine


@pytest.fixture(scope="module")
def inline(filled: SmallLake) -> Iterator[QueryEngine]:
    with QueryEngine(filled.store, filled.catalog, isolation="thread") as engine:
        yield engine


LIGHT = (
    "SELECT level, count(*) FROM logs GROUP BY level ORDER BY 1",
    "SELECT * FROM logs WHERE attr_code = 7",
    "SELECT a.attr_code FROM logs a JOIN logs b USING (attr_code) ORDER BY 1 LIMIT 3",
    "SELECT count(*) FROM logs WHERE attr_code > (SELECT avg(attr_code) FROM logs)",
    "SELECT row_number() OVER (ORDER BY timestamp) AS n, upper(body) FROM logs ORDER BY 1 LIMIT 2",
    "SELECT count(*) FROM logs WHERE timestamp < now()",
)
HEAVY = (
    "SELECT count(*) FROM (SELECT unnest([attr_code, 1]) FROM logs)",
    "SELECT replace(body, 'request', 'r') AS b FROM logs ORDER BY 1 LIMIT 2",
    "SELECT count(*) FROM logs a, logs b, logs c",
    "SELECT level, count(*) FROM logs WHERE timestamp < now() GROUP BY CUBE (level) ORDER BY 1, 2",
    "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r WHERE a < 5) SELECT * FROM r",
)


@pytest.mark.parametrize("text", [*LIGHT, *HEAVY])
def test_the_answer_is_the_same_wherever_it_comes_from(
    filled: SmallLake, isolated: QueryEngine, inline: QueryEngine, text: str
) -> None:
    expected = inline.sql(text).to_arrow()
    assert isinstance(isolated.sql(text)._plan.planned, RemotePlan)
    assert isinstance(filled.engine.sql(text)._plan.planned, RemotePlan) == (text in HEAVY)
    for engine in (filled.engine, isolated):
        result = engine.sql(text)
        assert result.to_arrow() == expected
        assert result.stats.rows == expected.num_rows


def test_small_queries_go_on_beside_an_endless_one(filled: SmallLake) -> None:
    started = threading.Event()
    ended: list[Exception] = []

    def endless() -> None:
        result = filled.engine.sql(CROSS, timeout=8)
        started.set()
        try:
            result.to_arrow()
        except QueryTimeoutError as error:
            ended.append(error)

    thread = threading.Thread(target=endless)
    thread.start()
    assert started.wait(60)
    for _ in range(20):
        assert filled.one("SELECT count(*) FROM logs WHERE level = 'ERROR'") == 40
    assert not ended, "it still ran"
    thread.join()
    assert len(ended) == 1


def test_a_lake_takes_the_setting(tmp_path: Any) -> None:
    config = {"query_isolation": "process", "query_memory_bytes": 64 * MIB, "query_timeout": 60}
    with lakerunner.open(tmp_path / "lake", config=config) as lake:
        lake.ingest(b'{"message": "a"}\n{"message": "b"}', signal="logs")
        result = lake.sql("SELECT body FROM logs ORDER BY body")
        assert [row["body"] for row in result.to_arrow().to_pylist()] == ["a", "b"]
        assert str(result).startswith("body")
        assert lake.explain("SELECT body FROM logs").physical_plan
        with pytest.raises(QueryLimitError, match="query_memory_bytes"):
            lake.sql("SELECT repeat(repeat(body, 90000), 90000) FROM logs").to_arrow()
        assert lake.sql("SELECT count(*) AS n FROM logs").to_arrow()["n"].to_pylist() == [2]
        with pytest.raises(QueryTimeoutError, match=r"0\.2 s"):
            lake.sql(
                "SELECT count(*) FROM generate_series(1, 100000000000)", timeout=0.2
            ).to_arrow()


def test_settings_that_make_no_sense_are_refused() -> None:
    for config in (
        {"query_isolation": "none"},
        {"query_timeout": 0},
        {"query_workers": 0},
        {"query_concurrency_each": 0},
        {"query_wait_seconds": -1},
    ):
        with pytest.raises(ConfigurationError, match=next(iter(config))):
            lakerunner.open("memory://settings/lake", config=config)
    with lakerunner.open("memory://settings/lake") as lake, pytest.raises(ConfigurationError):
        lake.sql("SELECT 1", timeout=0)


def in_child(engine: QueryEngine, answers: Any) -> None:
    answers.put(engine.sql("SELECT count(*) AS n FROM logs").to_arrow()["n"][0].as_py())
    engine.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_may_ask_by_processes(filled: SmallLake, isolated: QueryEngine) -> None:
    filled.one("SELECT count(*) FROM logs")
    text = "SELECT count(*) AS n FROM logs"
    assert isolated.sql(text).to_arrow().num_rows == 1
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=in_child, args=(isolated, answers))
    child.start()
    assert answers.get(timeout=60) == 400
    child.join()
    assert isolated.sql(text).to_arrow()["n"].to_pylist() == [400]

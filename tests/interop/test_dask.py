"""Ingestion, maintenance and parts of queries on the workers of a Dask cluster, by its executor."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING, Any

import distributed
import pytest

import lakerunner
from lakerunner.query import QueryEngine
from tests.query.conftest import SmallLake
from tests.query.test_differential import TABLES, Asker, Rows
from tests.query.test_fanout import ALWAYS, answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


DASK: Any = distributed
"""Its functions have no types."""


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        DASK.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
        ) as cluster,
        DASK.Client(cluster) as client,
    ):
        yield client


def test_a_cluster_takes_in_and_merges(tmp_path: Path, client: Any) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(12):
        line = f'{{"time": "2026-01-01T00:00:{number:02}Z", "message": "m{number}"}}\n'
        (raw / f"{number}.jsonl").write_text(line)
    executor = client.get_executor()
    config = {"batch_objects": 2, **ALWAYS}
    with lakerunner.open(tmp_path / "lake", config=config, executor=executor) as lake:
        assert lake.ingest(f"{raw}/").rows == 12
        assert len(lake.segments()) == 6
        assert "on ClientExecutor, 6 parts" in str(lake.explain("SELECT max(body) FROM logs"))
        rows = lake.sql("SELECT body FROM logs").fetchall()
        lake.maintain(executor=executor)
        assert len(lake.segments()) == 1
        assert sorted(rows) == sorted(lake.sql("SELECT body FROM logs").fetchall())
    assert sorted(rows) == sorted((f"m{number}",) for number in range(12))


def test_a_cluster_answers_as_this_machine_does(tmp_path: Path, client: Any) -> None:
    lake = SmallLake(str(tmp_path))
    rng = random.Random(7)  # noqa: S311 - the same lake every time
    for table in TABLES:
        Rows(rng, 40).write(lake, table)
    asker = Asker(rng)
    executor = client.get_executor()
    with QueryEngine(lake.store, lake.catalog, config=ALWAYS, executor=executor) as far:
        for _ in range(5):
            texts = asker.query().split("@")
            text = "".join(
                f"to_timestamp_nanos({one})" if at % 2 else one for at, one in enumerate(texts)
            )
            assert answer(far, text) == answer(lake.engine, text), text


def test_a_cluster_that_loses_a_worker_answers_all_the_same(tmp_path: Path, client: Any) -> None:
    lake = SmallLake(str(tmp_path))
    lake.add_hours(12, rows=500)
    text = "SELECT level, count(*) AS n, max(body) AS b FROM logs GROUP BY level"
    executor = client.get_executor()
    with QueryEngine(lake.store, lake.catalog, config=ALWAYS, executor=executor) as far:
        result = far.sql(text)
        pids = client.run(os.getpid)
        os.kill(next(iter(pids.values())), signal.SIGKILL)
        found = result.to_arrow()
    wanted = lake.engine.sql(text).to_arrow()
    lake.engine.close()
    assert found.sort_by("level").equals(wanted.sort_by("level"))

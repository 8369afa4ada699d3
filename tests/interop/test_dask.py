"""Ingestion and maintenance on the workers of a Dask cluster, by its executor alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import distributed

import lakerunner

if TYPE_CHECKING:
    from pathlib import Path


DASK: Any = distributed
"""Its functions have no types."""


def test_a_cluster_takes_in_and_merges(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(12):
        line = f'{{"time": "2026-01-01T00:00:{number:02}Z", "message": "m{number}"}}\n'
        (raw / f"{number}.jsonl").write_text(line)
    with (
        DASK.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
        ) as cluster,
        DASK.Client(cluster) as client,
    ):
        executor = client.get_executor()
        config = {"batch_objects": 2}
        with lakerunner.open(tmp_path / "lake", config=config, executor=executor) as lake:
            assert lake.ingest(f"{raw}/").rows == 12
            assert len(lake.segments()) == 6
            lake.maintain(executor=executor)
            assert len(lake.segments()) == 1
            rows = lake.sql("SELECT body FROM logs").fetchall()
    assert sorted(rows) == sorted((f"m{number}",) for number in range(12))

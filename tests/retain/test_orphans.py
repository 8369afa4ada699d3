"""Orphans: what a crash left behind goes, what a commit names or may yet name stays."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

import lakerunner
from lakerunner.catalog.opening import open_catalog
from lakerunner.errors import CatalogError
from lakerunner.generate import logs_request
from lakerunner.model.commit import Commit
from lakerunner.model.config import Config
from lakerunner.model.times import NANOS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ORPHAN = "segments/default/logs/2026-01-01/00/left.parquet"
AGED = Config(orphan_grace_ns=1)


@pytest.fixture(params=["file", "memory"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[lakerunner.Lake]:
    url = str(tmp_path) if request.param == "file" else f"memory://{tmp_path}"
    with lakerunner.open(url) as opened:
        yield opened


def collector(lake: lakerunner.Lake, config: Config = AGED) -> lakerunner.Lake:
    """The same lake with another grace period."""
    return lakerunner.Lake(lake.store, lake.catalog, config=config)


def test_orphans_past_the_grace_period_go(lake: lakerunner.Lake) -> None:
    lake.ingest(logs_request(100))
    lake.ingest(logs_request(50), organization="acme")
    lake.store.put(ORPHAN, b"left behind")
    lake.store.put("segments/acme/logs/x.parquet", b"left behind")
    lake.store.put("segments/nobody/spans/x.parquet", b"of nobody we know")
    lake.store.put("notes.txt", b"no segment")
    live = {s.key for name in ("default", "acme") for s in lake.catalog.segments(name, "logs")}
    expected = [
        "segments/acme/logs/x.parquet",
        ORPHAN,
        "segments/nobody/spans/x.parquet",
    ]
    assert list(collector(lake).collect_orphans(dry_run=True)) == expected
    assert lake.store.exists(ORPHAN)
    assert list(collector(lake).collect_orphans()) == expected
    assert {meta.key for meta in lake.store.list("segments/")} == live
    assert lake.store.exists("notes.txt")
    assert not collector(lake).collect_orphans()
    assert lake.sql("SELECT count(*) AS n FROM logs").to_arrow()["n"].to_pylist() == [100]


def test_a_young_orphan_is_left_alone(lake: lakerunner.Lake) -> None:
    lake.ingest(logs_request(1))
    lake.store.put(ORPHAN, b"its commit may be on its way")
    assert not lake.collect_orphans()
    assert not collector(lake, Config(orphan_grace_ns=60 * NANOS)).collect_orphans()
    assert lake.store.exists(ORPHAN)


def test_a_removed_segment_is_no_orphan(lake: lakerunner.Lake) -> None:
    lake.ingest(logs_request(100))
    (segment,) = lake.segments()
    removal = Commit("retired", "default", time.time_ns(), remove=(segment.id,))
    lake.catalog.commit(removal)
    assert not lake.segments()
    assert not collector(lake).collect_orphans()
    assert lake.store.exists(segment.key)


def test_an_empty_lake_has_none(lake: lakerunner.Lake) -> None:
    assert not collector(lake).collect_orphans()


def test_a_lost_catalog_does_not_cost_the_lake(lake: lakerunner.Lake) -> None:
    lake.ingest(logs_request(100))
    (segment,) = lake.segments()
    lost = lakerunner.Lake(lake.store, open_catalog("memory://"), config=AGED)
    with pytest.raises(CatalogError, match="recover"):
        lost.collect_orphans()
    assert lake.store.exists(segment.key)
    assert lost.collect_orphans(dry_run=True) == [segment.key]
    assert lost.collect_orphans(force=True) == [segment.key]
    assert not lake.store.exists(segment.key)

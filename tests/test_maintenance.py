"""Maintenance as a whole: order, report, many at once, failures, and a loop that goes on."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import pyarrow as pa
import pytest

import lakerunner
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.errors import CatalogUnavailableError, ConfigurationError, StoreUnavailableError
from lakerunner.maintenance import Maintainer, MaintainerState
from lakerunner.model.report import WorkReport
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.store.memory import MemoryStore
from lakerunner.testing.faults import Fault, FaultPlan, FaultyCatalog, FaultyStore

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400 * 10**9
NOW = time.time_ns()
SETTINGS: dict[str, Any] = {
    "retention": {"logs": "7d"},
    "removed_grace_ns": 1,
    "orphan_grace_ns": 1,
    "attempts": 1,
}


def rows(ages: list[float], user: str = "a") -> pa.Table:
    times = pa.array([NOW - int(age * DAY) for age in ages]).cast(TIMESTAMP)
    texts = [f"{age} days" for age in ages]
    return pa.table({"timestamp": times, "body": texts, "user": [user] * len(ages)})


def world(settings: dict[str, Any] | None = None) -> lakerunner.Lake:
    store = MemoryStore(f"memory://{uuid4().hex}/lake")
    return lakerunner.Lake(store, MemoryCatalog(), config=SETTINGS | (settings or {}))


def bodies(lake: lakerunner.Lake) -> list[str]:
    found: list[str] = (
        lake.sql("SELECT body FROM logs ORDER BY body").to_arrow()["body"].to_pylist()
    )
    return found


def files(lake: lakerunner.Lake) -> set[str]:
    return {meta.key for meta in lake.store.list("segments/")}


def test_all_of_it_in_one_call() -> None:
    lake = world()
    lake.ingest(rows([0.1, 10]))
    lake.ingest(rows([0.2], user="b"))
    lake.delete("logs", "attr_user = 'b'")
    lake.store.put("segments/default/logs/left.parquet", b"left behind")
    planned = lake.maintain(dry_run=True).planned
    kinds = {line.split(maxsplit=1)[0].rstrip(":") for line in planned}
    assert {"delete", "retain", "collect"} <= kinds
    assert len(lake.segments()) == 3
    report = lake.maintain()
    assert report.parts[0].what == "delete"
    assert [part.what for part in report.parts][-2:] == ["retain", "collect"]
    assert report.rows_removed == 2
    assert report.failed == ()
    assert bodies(lake) == ["0.1 days"]
    lake.maintain()
    live = {one.key for one in lake.segments()}
    left = files(lake) - live
    assert all("/_deleted/" in key for key in left)
    assert msgspec.json.decode(msgspec.json.encode(report), type=WorkReport) == report
    assert "\n" not in str(report)
    assert lake.maintain().tasks == 0


def test_removed_segments_stay_for_their_grace() -> None:
    lake = world({"removed_grace_ns": DAY})
    lake.ingest(rows([0.1, 10, 11]))
    before = lake.snapshot()
    report = lake.maintain()
    assert report.removed == 2
    assert len(files(lake)) == 3
    lake.maintain()
    assert len(files(lake)) == 3
    assert bodies(lake.at(before)) == ["0.1 days"]
    eager = lakerunner.Lake(lake.store, lake.catalog, config=SETTINGS)
    (line, *more) = [x for x in eager.maintain(dry_run=True).planned if x.startswith("collect")]
    assert ".parquet, removed" in line
    assert len(more) == 1
    collected = eager.maintain()
    assert (collected.deleted, len(files(lake))) == (2, 1)
    assert collected.bytes_removed > 0


def test_a_writer_whose_clock_is_behind_loses_no_reader_its_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its removal looks as if it were days old, and the lake knows better."""
    lake = world({"removed_grace_ns": DAY})
    lake.ingest(rows([0.1, 10]))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: NOW - 2 * DAY)
        assert lake.retain().removed == 1
    lake.maintain()
    assert len(files(lake)) == 2


def test_one_organization_is_its_own() -> None:
    lake = world()
    for owner in ("acme", "globex"):
        lake.ingest(rows([0.1, 10]), organization=owner)
    acme = lake.for_organization("acme")
    report = acme.maintain()
    assert [part.what for part in report.parts][-1] == "retain"
    assert report.rows_removed == 1
    assert sum(one.rows for one in lake.for_organization("globex").segments()) == 2


def test_a_stage_that_fails_holds_up_no_other() -> None:
    lake = world()
    lake.ingest(rows([0.1, 10]))
    lake.delete("logs", "attr_user = 'nobody'")
    full = Fault(call=1, name="store.get", error=StoreUnavailableError("no room"), times=10**6)
    store = FaultyStore(lake.store, FaultPlan(full))
    report = lakerunner.Lake(store, lake.catalog, config=SETTINGS).maintain()
    assert {part.what for part in report.parts} >= {"delete", "rollup", "retain", "collect"}
    assert report.failed
    assert all(one.code == "store_unavailable" for one in report.failed)
    again = lake.maintain(again=True)
    assert (again.failed, bodies(lake)) == ((), ["0.1 days"])


def test_many_share_the_work(tmp_path: Path) -> None:
    with lakerunner.open(str(tmp_path), config=SETTINGS) as lake:
        lake.ingest(rows([0.1 + age for age in range(30)]))
        others = [lakerunner.open(str(tmp_path), config=SETTINGS) for _ in range(3)]
        reports: list[WorkReport] = []
        threads = [
            threading.Thread(target=lambda one=one: reports.append(one.maintain()))
            for one in others
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for other in others:
            other.close()
        assert sum(one.rows_removed for one in reports) == 30 - 7
        assert [one.failed for one in reports] == [()] * 3
        assert len(bodies(lake)) == 7


def test_nothing_begins_after_a_stop() -> None:
    lake = world()
    lake.ingest(rows([10]))
    stop = threading.Event()
    stop.set()
    assert lake.maintain(stop=stop).parts == ()
    lake.close()
    with pytest.raises(ConfigurationError, match="closed"):
        lake.maintain()


def test_a_maintainer_keeps_going() -> None:
    """Through runs that fail as a whole, with a back-off that can be seen."""
    lake = world()
    lake.ingest(rows([0.1, 10]))
    unreachable = CatalogUnavailableError("no route")
    plan = FaultPlan(Fault(call=1, name="catalog.tables", error=unreachable, times=2))
    states: list[MaintainerState] = []
    stop = threading.Event()

    def reported(state: MaintainerState) -> None:
        states.append(state)
        if state.report is not None and state.report.rows_removed:
            stop.set()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    catalog = FaultyCatalog(lake.catalog, plan)
    maintainer = Maintainer(lake.store, catalog, config=SETTINGS, seconds=0.001, reported=reported)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lakerunner.maintenance.stages", broken)
        state = maintainer._once()
    assert (state.failures, state.runs) == (1, 0)
    assert "a defect (RuntimeError)" in str(state)
    maintainer.run(stop)
    assert maintainer.state.failures == 0
    assert states[0].report is not None
    assert states[0].report.failed
    assert bodies(lake) == ["0.1 days"]
    assert "runs" in str(maintainer.state)


def test_a_maintainer_runs_beside_others_and_ends() -> None:
    lake = world()
    lake.ingest(rows([0.1, 10]))
    done = threading.Event()

    def reported(state: MaintainerState) -> None:
        if state.report is not None:
            done.set()

    with Maintainer(lake.store, lake.catalog, config=SETTINGS, reported=reported) as maintainer:
        assert done.wait(60)
    assert maintainer.state.runs == 1
    assert not [one for one in threading.enumerate() if one.name == "lakerunner-maintainer"]
    assert bodies(lake) == ["0.1 days"]

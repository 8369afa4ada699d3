"""Collection: what is deleted and when, by whose clock, and what happens where deleting fails."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

import lakerunner
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.errors import ConfigurationError, StoreUnavailableError
from lakerunner.fencing.intents import INTENTS_PREFIX
from lakerunner.model.config import read_config
from lakerunner.model.report import Setback
from lakerunner.model.segment import Source
from lakerunner.retain.collecting import collect, removed_long_ago
from lakerunner.scope import Scope
from lakerunner.store.memory import MemoryStore
from lakerunner.store.urls import open_store
from lakerunner.tasks import Manner
from lakerunner.tasks.running import note_setback, read_setbacks
from lakerunner.testing.faults import Fault, FaultPlan, FaultyStore
from lakerunner.testing.values import make_commit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lakerunner.model.segment import Segment

DAY = 86_400 * 10**9
SETTINGS: dict[str, Any] = {
    "retention": {"logs": "7d"},
    "removed_grace_ns": 1,
    "orphan_grace_ns": 1,
    "attempts": 1,
}


class World:
    """A lake with two small segments of today and one of long ago."""

    def __init__(self) -> None:
        self.store, self.catalog = MemoryStore(f"memory://{uuid4().hex}/lake"), MemoryCatalog()
        self.lake = lakerunner.Lake(self.store, self.catalog, config=SETTINGS)
        self.lake.ingest(b'{"message": "one"}')
        self.lake.ingest(b'{"message": "two"}')
        self.lake.ingest(b'{"time": "2020-01-01T00:00:00Z", "message": "old"}')

    def scope(self, store: Any = None, **settings: Any) -> Scope:
        config = read_config(SETTINGS | settings)
        return Scope(store or self.store, self.catalog, "default", config)

    def files(self) -> int:
        return len(list(self.store.list("segments/")))


def test_a_delete_that_fails_is_tried_again() -> None:
    world = World()
    world.lake.retain()
    world.lake.ingest(b'{"message": "three"}')
    refused = Fault(call=1, name="store.delete", error=StoreUnavailableError("not now"))
    report = collect(world.scope(FaultyStore(world.store, FaultPlan(refused))), Manner())
    (failed,) = report.failed
    assert failed.code == "store_unavailable"
    assert world.files() == 4
    assert collect(world.scope(), Manner()).waiting == (failed,)
    report = collect(world.scope(), Manner(again=True))
    assert (report.deleted, report.failed, world.files()) == (1, (), 3)


def test_nothing_goes_that_was_removed_just_now() -> None:
    world = World()
    world.lake.retain()
    kept = {"removed_grace_ns": DAY, "orphan_grace_ns": DAY}
    assert collect(world.scope(**kept), Manner()).deleted == 0
    assert world.files() == 3


@pytest.mark.parametrize("days", [-3, 3])
def test_our_own_clock_hurries_nothing(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """Neither that of who removed nor that of who collects: the store's time must have passed."""
    world = World()
    with monkeypatch.context() as patch:
        real = time.time_ns
        patch.setattr("lakerunner.retain.retention.time.time_ns", lambda: real() - 3 * DAY)
        world.lake.retain()
    ahead = SimpleNamespace(time_ns=lambda: time.time_ns() + days * DAY)
    monkeypatch.setattr("lakerunner.retain.collecting.time", ahead)
    config = world.scope(removed_grace_ns=DAY).config
    assert list(removed_long_ago(world.store, world.catalog, config)) == []


def test_some_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the first ones must stay: they were removed just now, by a clock days behind."""
    monkeypatch.setattr("lakerunner.retain.collecting._PAGE", 2)
    asked: list[int | None] = []

    class Catalog(MemoryCatalog):
        def removed(self, before_ns: int, *, limit: int | None = None) -> Sequence[Segment]:
            asked.append(limit)
            return super().removed(before_ns, limit=limit)

    world = World()
    world.catalog = Catalog()
    world.lake = lakerunner.Lake(world.store, world.catalog, config=SETTINGS)
    world.lake.recover()
    for day in range(7):
        world.lake.ingest(f'{{"time": "2020-02-0{day + 1}T00:00:00Z", "message": "x"}}'.encode())
    world.lake.retain()
    world.lake.ingest(b'{"message": "three"}')  # leaves a height
    time.sleep(0.01)
    late = [one.id for one in world.lake.segments()]
    world.catalog.commit(make_commit("late", organization="default", remove=late, committed_ns=1))
    assert len(late) == 3
    assert [one.id for one in world.catalog.removed(2)] == sorted(late)
    asked.clear()
    report = collect(world.scope(), Manner())
    assert report.deleted == 8
    assert None not in asked
    assert max(one for one in asked if one) <= 2 + 3
    assert {one.id for one in world.catalog.removed(time.time_ns())} == set(late)


def test_announcements_of_merges_go_and_others_stay() -> None:
    """What tells a recovery that rows went on purpose is kept; merges tell for themselves."""
    world = World()
    world.lake.retain()
    world.lake.compact()
    names = [meta.key for meta in world.store.list(INTENTS_PREFIX)]
    assert {name.split("-")[1] for name in names} == {"retain", "compact"}
    world.lake.ingest(b'{"message": "three"}')
    collect(world.scope(), Manner())
    time.sleep(0.01)
    collect(world.scope(), Manner())
    names = [meta.key for meta in world.store.list(INTENTS_PREFIX)]
    assert {name.split("-")[1] for name in names} == {"retain"}
    lost = lakerunner.Lake(world.store, MemoryCatalog(), config=SETTINGS)
    lost.recover()
    found = lost.sql("SELECT body FROM logs ORDER BY body").to_arrow()["body"].to_pylist()
    assert found == ["one", "three", "two"]
    assert sum(one.rows for one in lost.segments()) == 3


def test_old_notes_of_failures_go(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    note_setback(world.store, "acme", Setback("compact acme/logs/x", "store", "no room"))
    collect(world.scope(), Manner())
    assert read_setbacks(world.store)
    monkeypatch.setattr("lakerunner.tasks.running.SETBACK_KEPT_NS", 0)
    time.sleep(0.01)
    collect(world.scope(), Manner())
    assert not read_setbacks(world.store)


def test_one_organization_collects_nothing() -> None:
    world = World()
    with pytest.raises(ConfigurationError, match="bound"):
        collect(world.scope().of("acme"), Manner())


def _beside(lake: lakerunner.Lake, kind: str) -> list[str]:
    return [meta.key for meta in lake.store.list(f"_lakerunner/{kind}/")]


def test_lines_stay_as_long_as_they_are_set_aside(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in "ab":
        (raw / f"{name}.json").write_text('{"message": "good"}\n{broken\n')
    with lakerunner.open(tmp_path / "lake", config=SETTINGS) as lake:
        lake.ingest(f"{raw}/")
        kept = _beside(lake, "aside")
        crashed = "_lakerunner/aside/default/another/0123-000000"
        lake.store.put(crashed, b"of a batch that was never committed")
        scope = Scope(lake.store, lake.catalog, "default", read_config(SETTINGS))
        young = read_config({**SETTINGS, "orphan_grace_ns": DAY})
        assert collect(Scope(lake.store, lake.catalog, "default", young), Manner()).deleted == 0
        assert f"delete {crashed}" in "".join(collect(scope, Manner(), dry_run=True).planned)
        assert len(kept) == 2
        assert set(_beside(lake, "aside")) == {*kept, crashed}
        assert collect(scope, Manner()).deleted == 1
        assert _beside(lake, "aside") == kept
        first = min(lake.rejected(), key=lambda rejection: rejection.source.key)
        lake.catalog.forget([first.source])
        assert collect(scope, Manner()).deleted == 1
        (left,) = _beside(lake, "aside")
        assert left in kept
        assert len(lake.rejected_lines()) == 1


def test_notes_of_files_stay_as_long_as_their_sources_are_known(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    with lakerunner.open(tmp_path / "lake", config=SETTINGS) as lake:
        for name in "ab":
            (raw / f"{name}.log").write_text("first\n")
            lake.ingest(raw / f"{name}.log")
        kept = _beside(lake, "files")
        assert len(kept) == 2
        scope = Scope(lake.store, lake.catalog, "default", read_config(SETTINGS))
        assert collect(scope, Manner()).deleted == 0
        (item,) = open_store(f"file://{raw}").list("a.log")
        lake.catalog.forget([Source("file://", f"{str(raw)[1:]}/a.log", item.etag)])
        assert collect(scope, Manner()).deleted == 1
        assert len(_beside(lake, "files")) == 1
    with lakerunner.open(tmp_path / "lake", config=SETTINGS) as lake:
        with (raw / "b.log").open("a") as file:
            file.write("second\n")
        assert lake.ingest(raw / "b.log").rows == 1  # where the note ends, and no line twice

"""Deletion by condition: invisible at once, exact, of one organization, and proven when done."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import pyarrow as pa
import pytest
from msgspec.structs import replace

import lakerunner
from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.catalog.change import concerned, pending_deletions
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.catalog.postgres import PostgresCatalog
from lakerunner.errors import (
    CatalogVersionError,
    QuerySyntaxError,
    ReadOnlyError,
    UnsupportedQueryError,
)
from lakerunner.fencing import Fence
from lakerunner.model.commit import Commit
from lakerunner.model.config import Config
from lakerunner.model.deletion import DELETIONS, Deletion
from lakerunner.model.times import NANOS
from lakerunner.publish import Origin, SegmentWriter, make_segments
from lakerunner.retain import Retention
from lakerunner.retain.deleting import ask_for
from lakerunner.schema.arrays import TIMESTAMP
from lakerunner.schema.tables import TABLES
from lakerunner.scope import Scope
from lakerunner.store.memory import MemoryStore
from lakerunner.tasks import Manner
from lakerunner.testing.faults import FaultPlan, FaultyCatalog, FaultyStore, SimulatedCrash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.testing.servers.postgres import PostgresServer

HOUR = 3600 * NANOS
START = 490_000 * HOUR


@pytest.fixture
def lake() -> Iterator[lakerunner.Lake]:
    with lakerunner.open(f"memory://{uuid4().hex}") as opened:
        yield opened


def rows(count: int = 6, **columns: list[Any]) -> pa.Table:
    """Log records in two windows, from users a, b and nobody in turn."""
    numbers = list(range(count))
    made: dict[str, Any] = {
        "timestamp": pa.array([START + number % 2 * HOUR + number for number in numbers]).cast(
            TIMESTAMP
        ),
        "body": [f"row {number}" for number in numbers],
        "user": [("a", "b", None)[number % 3] for number in numbers],
        "code": numbers,
    }
    return pa.table(made | columns)


def bodies(lake: lakerunner.Lake) -> list[str]:
    found = lake.sql("SELECT body FROM logs ORDER BY body").to_arrow()["body"].to_pylist()
    return [text.removeprefix("row ") for text in found]


def test_rows_are_invisible_at_once_and_gone_afterwards(lake: lakerunner.Lake) -> None:
    lake.ingest(rows())
    before = lake.snapshot()
    asked = lake.delete("logs", where="attr_user = 'a'")
    assert bodies(lake) == ["1", "2", "4", "5"]
    assert bodies(lake.at(before)) == ["0", "1", "2", "3", "4", "5"]
    assert bodies(lake.at(lake.snapshot())) == ["1", "2", "4", "5"]
    (pending,) = lake.deletions()
    assert (pending.complete, pending.rows) == (False, 0)
    report = lake.retain()
    assert (report.removed, report.added, report.rows_removed) == (2, 2, 2)
    assert bodies(lake) == ["1", "2", "4", "5"]
    assert sum(one.rows for one in lake.segments()) == 4
    assert bodies(lake.at(before)) == ["0", "1", "2", "3", "4", "5"]
    (proof,) = lake.deletions()
    assert (proof.complete, proof.rows, proof.segments) == (True, 2, 2)
    assert proof.deletion == asked
    assert proof.commit_id
    assert asked.id in str(proof)
    assert not pending_deletions(lake.catalog, "default")
    again = lake.retain()
    assert (again.tasks, again.removed) == (0, 0)
    assert lake.verify() == []


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ("attr_user <> 'a'", ["0", "2", "3", "5"]),  # NULL is neither
        ("NOT attr_user = 'a'", ["0", "2", "3", "5"]),
        ("attr_user IS NULL", ["0", "1", "3", "4"]),
        ("attr_user IN ('a', 'b') AND attr_code >= 3", ["0", "1", "2", "5"]),
        ("body LIKE 'row _' AND (attr_code < 1 OR attr_code > 4)", ["1", "2", "3", "4"]),
        ("true", []),
        ("false", ["0", "1", "2", "3", "4", "5"]),
        ("NULL", ["0", "1", "2", "3", "4", "5"]),
        ("attr_user = 'it''s' OR body = 'a -- b'", ["0", "1", "2", "3", "4", "5"]),
    ],
)
def test_conditions_are_those_of_sql(lake: lakerunner.Lake, where: str, left: list[str]) -> None:
    lake.ingest(rows())
    lake.delete("logs", where)
    assert bodies(lake) == left
    lake.retain()
    assert bodies(lake) == left
    assert sum(one.rows for one in lake.segments()) == len(left)
    assert [one.complete for one in lake.deletions()] == [True]


def test_other_rows_are_untouched(lake: lakerunner.Lake) -> None:
    """Rows of others, of other times, of later, and segments without any."""
    lake.ingest(rows())
    lake.ingest(rows(), organization="acme")
    start = START + HOUR
    lake.delete("logs", "attr_user = 'a'", start=start, end=start + HOUR)
    kept = lake.segments(end=start)
    lake.ingest(rows())
    expected = sorted(["0", "1", "2", "4", "5", *"012345"])
    assert bodies(lake) == expected
    assert bodies(lake.for_organization("acme")) == [*"012345"]
    assert lake.for_organization("acme").deletions() == []
    assert lake.for_organization("acme").retain().removed == 0
    report = lake.retain()
    assert report.removed == 1
    assert bodies(lake) == expected
    assert {one.id for one in kept} <= {one.id for one in lake.segments()}


def test_a_column_may_change_its_type_afterwards(lake: lakerunner.Lake) -> None:
    lake.ingest(rows())
    lake.delete("logs", "attr_code > 3")
    lake.ingest(rows(2, code=["7", "many"], body=["row x", "row y"]))
    assert bodies(lake) == ["0", "1", "2", "3", "x", "y"]
    codes = lake.sql("SELECT attr_code AS c FROM logs ORDER BY body").to_arrow()["c"].to_pylist()
    assert codes == ["0", "1", "2", "3", "7", "many"]
    lake.retain()
    assert bodies(lake) == ["0", "1", "2", "3", "x", "y"]


def test_attributes_in_the_overflow_map_are_judged(lake: lakerunner.Lake) -> None:
    wide = {f"key{number:04d}": [f"{number}", None, None] for number in range(500)}
    lake.ingest(rows(3, **wide))
    held = [one.columns[f"attr_{name}"] for name in wide for one in lake.segments()[:1]]
    assert any(one.overflow for one in held)
    assert not all(one.overflow for one in held)
    lake.delete("logs", "attr_key0499 = '499'")
    lake.delete("logs", "attr_key0001 = 'nothing' OR attr_code = 2")
    assert bodies(lake) == ["1"]
    lake.retain()
    assert bodies(lake) == ["1"]
    assert sorted(one.rows for one in lake.deletions()) == [1, 1]


def test_metrics_and_promql(lake: lakerunner.Lake) -> None:
    points = pa.table(
        {
            "timestamp": pa.array([START + NANOS, START + 2 * NANOS]).cast(TIMESTAMP),
            "metric_name": ["up", "up"],
            "metric_type": ["gauge", "gauge"],
            "value": [1.0, 2.0],
            "attributes": pa.array(
                [[("host", "a")], [("host", "b")]], pa.map_(pa.string(), pa.string())
            ),
        }
    )
    lake.ingest(points, signal="metrics")
    lake.delete("metrics", "attr_host = 'a'")
    for _ in range(2):
        found = lake.promql("up", time=START + 3 * NANOS).to_arrow()
        assert found["value"].to_pylist() == [2.0]
        lake.retain()
    assert [one.rows for one in lake.deletions()] == [1]


@pytest.mark.parametrize(
    ("where", "error", "what"),
    [
        ("attr_usr = 'a'", QuerySyntaxError, "attr_usr"),
        ("attr_user =", QuerySyntaxError, "."),
        ("", QuerySyntaxError, "needs a condition"),
        ("body", QuerySyntaxError, "."),
        ("true) OR (true", QuerySyntaxError, "."),
        ("true -- all", QuerySyntaxError, "."),
        ("timestamp < now()", UnsupportedQueryError, "'now'"),
        ("random() < 0.5", UnsupportedQueryError, "'random'"),
        ("attr_user IN (SELECT body FROM logs)", UnsupportedQueryError, "'SELECT'"),
    ],
)
def test_what_cannot_be_judged_for_ever_is_refused(
    lake: lakerunner.Lake, where: str, error: type[Exception], what: str
) -> None:
    lake.ingest(rows())
    with pytest.raises(error, match=what):
        lake.delete("logs", where)
    assert len(bodies(lake)) == 6
    assert lake.deletions() == []


def test_several_at_once_and_rows_of_both(lake: lakerunner.Lake) -> None:
    lake.ingest(rows())
    lake.delete("logs", "attr_user = 'a'")
    lake.delete("logs", "attr_code < 2")
    assert bodies(lake) == ["2", "4", "5"]
    report = lake.retain(executor=None)
    assert report.rows_removed == 3
    assert [one.rows for one in lake.deletions()] == [2, 2]
    assert bodies(lake) == ["2", "4", "5"]


def test_a_lost_catalog_is_recovered_with_its_deletions() -> None:
    """What is pending stays pending, what is done stays done, and nothing is taken again."""
    name = f"memory://{uuid4().hex}"
    store = MemoryStore(f"{name}/lake")
    MemoryStore(f"{name}/raw").put(
        "a.jsonl", b"\n".join(b'{"message": "row %d", "user": "u%d"}' % (n, n) for n in range(6))
    )
    lake = lakerunner.Lake(store, MemoryCatalog())
    assert lake.ingest(f"{name}/raw/").rows == 6
    lake.delete("logs", "attr_user = 'u1'")
    lake.retain()
    lake.delete("logs", "attr_user IN ('u2', 'u3')")
    for _ in range(2):
        lake = lakerunner.Lake(store, MemoryCatalog())
        lake.recover()
        assert bodies(lake) == ["0", "4", "5"]
        assert [(one.complete, one.rows) for one in lake.deletions()] == [(True, 1), (False, 0)]
        assert lake.ingest(f"{name}/raw/").rows == 0
    lake.ingest(rows(2, body=["row x", "row y"], user=["u2", "u1"]))
    assert bodies(lake) == ["0", "4", "5", "x", "y"]
    lake.retain()
    lake = lakerunner.Lake(store, MemoryCatalog())
    lake.recover()
    assert bodies(lake) == ["0", "4", "5", "x", "y"]
    assert [(one.complete, one.rows) for one in lake.deletions()] == [(True, 1), (True, 2)]


def test_all_rows_of_all_windows_can_go() -> None:
    name = f"memory://{uuid4().hex}"
    store = MemoryStore(f"{name}/lake")
    MemoryStore(f"{name}/raw").put("a.jsonl", b'{"message": "row 1"}\n{"message": "row 2"}')
    lake = lakerunner.Lake(store, MemoryCatalog())
    lake.ingest(f"{name}/raw/")
    lake.delete("logs", "true")
    lake.retain()
    assert lake.segments() == []
    lake = lakerunner.Lake(store, MemoryCatalog())
    lake.recover()
    assert bodies(lake) == []
    assert lake.ingest(f"{name}/raw/").rows == 0


def catalogs(name: str, store: MemoryStore, place: Path, server: PostgresServer) -> Any:
    if name == "bucket":
        return BucketCatalog(store)
    if name == "postgres":
        return PostgresCatalog(f"{server.url()}?schema=s{uuid4().hex}")
    if name == "sqlite":
        return lakerunner.catalog.open_catalog(f"sqlite:///{place}/c.db")
    return MemoryCatalog()


@pytest.mark.parametrize("kind", ["memory", "sqlite", "bucket", "postgres"])
def test_every_catalog_holds_them(
    kind: str, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    store = MemoryStore(f"memory://{uuid4().hex}/lake")
    with lakerunner.Lake(store, catalogs(kind, store, tmp_path, postgres_server)) as lake:
        lake.ingest(rows())
        lake.delete("logs", "attr_user = 'a'")
        assert bodies(lake) == ["1", "2", "4", "5"]
        lake.ingest(rows(1))
        assert lake.retain().rows_removed == 2
        assert bodies(lake) == ["0", "1", "2", "4", "5"]
        assert [(one.complete, one.rows) for one in lake.deletions()] == [(True, 2)]


def test_a_batch_that_was_under_way_is_concerned_and_a_later_one_is_not() -> None:
    store, catalog = MemoryStore(f"memory://{uuid4().hex}/lake"), MemoryCatalog()
    lake = lakerunner.Lake(store, catalog)
    lake.ingest(rows(1))

    def put(epoch: int, body: str) -> Commit:
        name = uuid4().hex
        table = rows(1, body=[body]).rename_columns(["timestamp", "body", "attr_user", "attr_code"])
        writer = SegmentWriter(store, Config())
        origin = Origin("default", name, epoch=epoch)
        for made in make_segments(table, TABLES["logs"], origin, HOUR):
            writer.add(made)
        return Commit(name, "default", time.time_ns(), add=writer.finish())

    under_way = put(Fence(store, catalog).begin().epoch, "row under way")
    catalog.commit(Commit("something else", "default", time.time_ns()))
    lake.delete("logs", "attr_user = 'a'")
    catalog.commit(under_way)
    catalog.commit(put(Fence(store, catalog).begin().epoch, "row later"))
    assert bodies(lake) == ["later"]
    lake.retain()
    assert bodies(lake) == ["later"]


def test_merges_can_tell_what_to_leave_alone(lake: lakerunner.Lake) -> None:
    lake.ingest(rows())
    lake.delete("logs", "attr_user = 'a'", end=START + HOUR)
    pending = pending_deletions(lake.catalog, "default", "logs")
    first, second = lake.segments()
    assert [len(concerned(pending, one)) for one in (first, second)] == [1, 0]
    assert not concerned(pending, replace(first, applied=(pending[0].id,)))
    assert not concerned(pending, replace(first, epoch=pending[0].epoch))
    assert concerned(pending, replace(first, epoch=pending[0].epoch, oldest=first.epoch))


def test_a_damaged_segment_holds_up_no_other(lake: lakerunner.Lake) -> None:
    lake.ingest(rows())
    lake.delete("logs", "attr_user IS NOT NULL")
    first, _ = lake.segments()
    whole = lake.store.get(first.key).data
    lake.store.put(first.key, whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    report = lake.retain()
    (failed,) = report.failed
    assert failed.code == "segment_damaged"
    assert "set_aside" in failed.reason
    assert (report.removed, report.rows_removed) == (1, 2)
    assert lake.retain().waiting == (failed,)
    assert [one.complete for one in lake.deletions()] == [False]
    lake.set_aside(first.id)
    assert lake.retain().failed == ()
    assert [one.complete for one in lake.deletions()] == [True]


def test_a_deletion_of_a_newer_version_is_not_passed_over(lake: lakerunner.Lake) -> None:
    lake.ingest(rows())
    scope = Scope(lake.store, lake.catalog, "default", Config())
    ask_for(scope, Deletion("", "logs", "something we cannot know", version=2))
    with pytest.raises(CatalogVersionError, match="upgrade"):
        bodies(lake)
    with pytest.raises(CatalogVersionError, match="upgrade"):
        lake.retain()
    stated = lake.catalog.segments("default", DELETIONS)[0].statement
    assert msgspec.json.decode(stated)["version"] == 2


def test_nothing_is_deleted_from_what_is_only_read(tmp_path: Path) -> None:
    with lakerunner.open(str(tmp_path)) as lake:
        lake.ingest(rows())
    with lakerunner.open(str(tmp_path), read_only=True) as lake, pytest.raises(ReadOnlyError):
        lake.delete("logs", "true")


class World:
    """A lake with a deletion, and processes that carry it out until a plan ends them."""

    def __init__(self) -> None:
        self.store, self.catalog = MemoryStore(f"memory://{uuid4().hex}/lake"), MemoryCatalog()
        self.lake = lakerunner.Lake(self.store, self.catalog)
        self.lake.ingest(rows())
        self.lake.delete("logs", "attr_user = 'a'")

    def retain(self, plan: FaultPlan) -> None:
        store, catalog = FaultyStore(self.store, plan), FaultyCatalog(self.catalog, plan)
        manner = Manner(again=True)
        Retention(store, catalog, config=Config(attempts=1)).run(manner)


def calls_of_one_retain() -> int:
    world, plan = World(), FaultPlan()
    world.retain(plan)
    return len(plan.calls)


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_call_nothing_is_lost_or_seen_again(*, after: bool) -> None:
    for call in range(1 + int(after), calls_of_one_retain() + 1, 5):
        world = World()
        with suppress(SimulatedCrash):  # a listing that is not read to its end has no end
            world.retain(FaultPlan.crash_at(call, after=after))
        assert bodies(world.lake) == ["1", "2", "4", "5"]
        world.retain(FaultPlan())
        assert bodies(world.lake) == ["1", "2", "4", "5"]
        assert sum(one.rows for one in world.lake.segments()) == 4
        assert [(one.complete, one.rows) for one in world.lake.deletions()] == [(True, 2)]


def test_processes_share_the_work(tmp_path: Path) -> None:
    with lakerunner.open(str(tmp_path)) as lake:
        lake.ingest(rows())
        lake.delete("logs", "attr_user = 'a'")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            report = lake.retain(executor=pool)
        assert (report.failed, report.rows_removed) == ((), 2)
        assert bodies(lake) == ["1", "2", "4", "5"]


def test_merges_and_deletions_do_not_undo_each_other(lake: lakerunner.Lake) -> None:
    lake.ingest(rows())
    lake.ingest(rows(body=[f"row {number}" for number in range(6, 12)]))
    lake.delete("logs", "attr_user = 'a'")
    lake.compact()
    left = ["1", "10", "11", "2", "4", "5", "7", "8"]
    assert bodies(lake) == left
    lake.ingest(rows(1, body=["row later"]))
    for step in (lake.retain, lake.compact, lake.retain, lake.maintain):
        step()
        assert bodies(lake) == [*left, "later"]
    assert sum(one.rows for one in lake.segments()) == 9
    assert [(one.complete, one.rows) for one in lake.deletions()] == [(True, 4)]


def test_what_statistics_rule_out_is_not_read(lake: lakerunner.Lake) -> None:
    """A damaged file among it holds up nothing; and what they cannot rule out is read."""
    lake.ingest(rows())
    first, _ = lake.segments()
    lake.ingest(rows(code=list(range(100, 106))))
    lake.store.put(first.key, b"nothing of what was written")
    lake.delete("logs", "attr_code >= 102")
    report = lake.retain()
    assert (report.failed, report.rows_removed) == ((), 4)
    assert [(one.complete, one.rows) for one in lake.deletions()] == [(True, 4)]
    lake.delete("logs", "attr_code < 102")
    (failed,) = lake.retain().failed
    assert failed.attempts == 1


@pytest.mark.parametrize("where", ["attr_code > 2", "attr_code = 2", "NOT attr_code <= 2"])
def test_statistics_of_another_type_rule_nothing_out(lake: lakerunner.Lake, where: str) -> None:
    """Numbers in one segment and text in the next: text was what they were when it was asked."""
    lake.ingest(rows(3, code=["10", "9", "2"]))
    lake.ingest(rows(3, body=["row 3", "row 4", "row 5"], code=[10, 9, 2]))
    lake.delete("logs", where.replace("2", "'2'"))
    expected = bodies(lake)
    lake.retain()
    assert bodies(lake) == expected
    assert sum(one.rows for one in lake.segments()) == len(expected)
    texts = ["10", "9", "2", "10", "9", "2"]
    gone = {"attr_code > 2": {"9"}, "attr_code = 2": {"2"}}.get(where, {"9"})
    assert expected == [str(number) for number, text in enumerate(texts) if text not in gone]

"""Recovery beside compaction, broken files, catalogs in use; and what it costs."""

from __future__ import annotations

import gzip
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

import lakerunner
from lakerunner import recover
from lakerunner.catalog import open_catalog
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.errors import (
    CatalogUnavailableError,
    ConfigurationError,
    ObjectDeniedError,
)
from lakerunner.ingest import Ingestor
from lakerunner.model.commit import Commit
from lakerunner.model.config import Config
from lakerunner.model.segment import TakenSource
from lakerunner.publish.committing import read_footer
from lakerunner.recover import recover_catalog
from lakerunner.segments.codec import encode, read_description
from lakerunner.store.counting import CountingStore
from lakerunner.store.memory import MemoryStore
from lakerunner.testing.faults import Fault, FaultPlan, FaultyCatalog, FaultyStore, SimulatedCrash

if TYPE_CHECKING:
    from pathlib import Path

    from lakerunner.catalog import Catalog
    from lakerunner.model.report import ProgressEvent, RecoveryReport
    from lakerunner.model.segment import Segment
    from lakerunner.store import ByteRange, GetResult

HOUR_NS = 3600 * 10**9
START_NS = 490_000 * HOUR_NS
CONFIG = Config(batch_objects=2, backoff_seconds=0.0, attempts=3)
SMALL = 2600
"""Bytes that a batch may hold in tests with objects larger than a batch."""


def logs(bodies: list[str]) -> bytes:
    """A request whose records lie in two windows in turn."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for position, body in enumerate(bodies):
        record = scope.log_records.add(time_unix_nano=START_NS + position % 2 * HOUR_NS)
        record.body.string_value = body
    return request.SerializeToString()


class World:
    """A bucket of input, a lake, and a catalog that can be lost."""

    def __init__(self) -> None:
        self.name = uuid4().hex
        self.raw = MemoryStore(f"memory://{self.name}/raw")
        self.lake = MemoryStore(f"memory://{self.name}/lake")
        self.catalog: Catalog = MemoryCatalog()

    def ingest(self, batch_objects: int = 2) -> None:
        config = replace(CONFIG, batch_objects=batch_objects)
        Ingestor(self.lake, self.catalog, config=config).ingest(f"memory://{self.name}/raw/")

    def lose_and_recover(self) -> RecoveryReport:
        self.catalog = MemoryCatalog()
        return recover_catalog(self.lake, self.catalog, CONFIG)

    def bodies(self) -> Counter[str]:
        """What is in the segments that the catalog names."""
        found: Counter[str] = Counter()
        for segment in self.catalog.segments("default", "logs"):
            found.update(self.rows(segment)["body"].to_pylist())
        return found

    def rows(self, segment: Segment) -> pa.Table:
        return pq.read_table(pa.BufferReader(self.lake.get(segment.key).data))


def filled(world: World) -> Counter[str]:
    """Put four objects, and say which rows must come out."""
    expected: Counter[str] = Counter()
    for number in range(4):
        bodies = [f"{number}-{position}" for position in range(3)]
        world.raw.put(f"logs_{number}.binpb", logs(bodies))
        expected.update(bodies)
    return expected


def test_a_large_object_that_fails_leaves_the_others_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Config, "batch_bytes", SMALL)
    world = World()
    good = [f"good-{n}" for n in range(5)]
    large = [f"{n}-{'x' * 200}" for n in range(60)]
    world.raw.put("logs_a.binpb", logs(good))
    broken = b"".join(logs([body]) for body in large) + b"\x0a\xff"
    # So well compressed that all three are of one batch.
    world.raw.put("logs_b.binpb.gz", gzip.compress(broken))
    world.raw.put("logs_c.binpb.gz", gzip.compress(b"".join(logs([f"c{b}"]) for b in large)))
    expected = Counter([*good, *(f"c{body}" for body in large)])
    world.ingest(batch_objects=3)
    assert world.bodies() == expected
    segments = world.catalog.segments("default", "logs")
    (closing,) = [one for one in segments if one.siblings]
    assert set(closing.siblings) == {one.id for one in segments}
    assert len(segments) > 3
    world.lose_and_recover()
    assert world.bodies() == expected


def test_a_file_that_is_broken_is_named_and_the_rest_goes_on() -> None:
    world = World()
    expected = filled(world)
    world.ingest()
    segments = world.catalog.segments("default", "logs")
    victim = next(one for one in segments if not one.siblings)
    world.lake.put(victim.key, b"PAR1 and nothing else PAR1")
    world.lake.put("segments/default/logs/notes.txt", b"")
    report = world.lose_and_recover()
    assert [one.key for one in report.broken] == sorted(
        [victim.key, "segments/default/logs/notes.txt"]
    )
    assert report.missing == (victim.id,)
    assert world.bodies().total() == expected.total() - victim.rows


def compacted(world: World, parents: list[Segment], *, commit: bool) -> str:
    """Put one segment with the rows of others, as a compaction does, and commit it or not."""
    table = pa.concat_tables(map(world.rows, parents), promote_options="default").combine_chunks()
    ancestors = {one.id for one in parents} | {name for one in parents for name in one.replaces}
    attests = {name for one in parents for name in (*one.siblings, *one.attests)}
    name = f"{max(one.id for one in parents)}-{uuid4().hex[:6]}"
    described = replace(
        parents[0],
        id=name,
        key=parents[0].key.replace(parents[0].id, name),
        sort=(),
        rows=table.num_rows,
        commit_id=f"compact-{name}",
        sources=tuple({source for one in parents for source in one.sources}),
        parents=tuple(one.id for one in parents),
        replaces=tuple(sorted(ancestors)),
        attests=tuple(sorted(attests)),
        siblings=(name,),
        level=parents[0].level + 1,
    )
    data = encode(table, replace(described, bytes=0))
    world.lake.put(described.key, memoryview(data))
    if commit:
        removed = tuple(one.id for one in parents)
        segment = replace(described, bytes=data.size)
        world.catalog.commit(
            Commit(described.commit_id, "default", 0, add=(segment,), remove=removed)
        )
    return name


def window(world: World, number: int) -> list[Segment]:
    start = START_NS + number * HOUR_NS
    found = world.catalog.segments("default", "logs")
    return [one for one in found if one.window_start_ns == start]


def purge(world: World) -> None:
    removed = world.catalog.removed(2**62)
    world.lake.delete_many([one.key for one in removed])
    world.catalog.purge([one.id for one in removed])


@pytest.mark.parametrize("purged", [False, True], ids=["in-grace", "purged"])
@pytest.mark.parametrize("first", [0, 1], ids=["older-window", "closing-window"])
def test_what_was_compacted_stays_replaced(first: int, purged: bool) -> None:
    world = World()
    expected = filled(world)
    world.ingest()
    one = window(world, first)
    compacted(world, one[:2], commit=True)
    if purged:
        purge(world)
    compacted(world, window(world, first), commit=True)  # and once more, with what came later
    if purged:
        purge(world)
    before = {one.id for one in world.catalog.segments("default", "logs")}
    world.lose_and_recover()
    assert {one.id for one in world.catalog.segments("default", "logs")} == before
    assert world.bodies() == expected
    world.ingest()
    assert world.bodies() == expected


@pytest.mark.parametrize("purged", [False, True], ids=["in-grace", "purged"])
@pytest.mark.parametrize("loser_first", [False, True], ids=["loser-later", "loser-earlier"])
def test_a_compaction_that_lost_does_not_come_back(loser_first: bool, purged: bool) -> None:
    world = World()
    expected = filled(world)
    world.raw.put("logs_9.binpb", logs(["9-0", "9-1"]))
    expected.update(["9-0", "9-1"])
    world.ingest(batch_objects=1)
    a, b, c, *_ = window(world, 0)
    for lost in (loser_first, not loser_first):
        compacted(world, [a, b] if lost else [b, c], commit=not lost)
    if purged:
        purge(world)
        compacted(world, window(world, 0)[1:], commit=True)
        purge(world)
    world.lose_and_recover()
    assert world.bodies() == expected


def test_recover_refuses_a_catalog_in_use() -> None:
    world = World()
    expected = filled(world)
    world.ingest()
    with pytest.raises(ConfigurationError, match="merge=True"):
        recover_catalog(world.lake, world.catalog, CONFIG)
    recover_catalog(world.lake, world.catalog, CONFIG, merge=True)
    assert world.bodies() == expected


def copied(world: World) -> MemoryCatalog:
    """A catalog that knows what another one knew, as a backup does."""
    catalog = world.catalog
    copy, head = MemoryCatalog(), catalog.head()
    copy.settle(head.lake, head.incarnation, whole=True)
    commits: dict[str, list[Segment]] = {}
    for table in catalog.tables():
        for segment in catalog.segments(*table):
            commits.setdefault(segment.commit_id, []).append(segment)
    for name, segments in commits.items():
        footers = (read_footer(world.lake, one.key, one.bytes) for one in segments)
        sources = {source for footer in footers for source in footer.sources}
        taken = tuple(TakenSource(source, 1) for source in sorted(sources))
        owner = segments[0].organization
        copy.commit(Commit(name, owner, 0, add=tuple(segments), taken=taken))
    return copy


def test_an_old_copy_of_the_catalog_is_brought_up_to_date() -> None:
    world = World()
    expected = filled(world)
    world.ingest()
    copy = copied(world)
    world.raw.put("logs_7.binpb", logs(["7-0", "7-1"]))
    expected.update(["7-0", "7-1"])
    world.ingest()
    compacted(world, window(world, 0), commit=True)
    world.catalog = copy
    recover_catalog(world.lake, copy, CONFIG, merge=True)
    assert world.bodies() == expected


@pytest.mark.parametrize("call", range(1, 16, 2))
def test_an_interrupted_recovery_goes_on(call: int) -> None:
    world = World()
    expected = filled(world)
    world.ingest()
    catalog, plan = MemoryCatalog(), FaultPlan.crash_at(call, after=True)
    with suppress(SimulatedCrash):
        recover_catalog(FaultyStore(world.lake, plan), FaultyCatalog(catalog, plan), CONFIG)
    world.catalog = catalog
    recover_catalog(world.lake, catalog, CONFIG, merge=True)
    assert world.bodies() == expected


def test_failures_that_pass_are_tried_again_and_others_are_not() -> None:
    world = World()
    expected = filled(world)
    world.ingest()
    busy = FaultPlan(Fault(1, "catalog.commit", error=CatalogUnavailableError("busy")))
    world.catalog = MemoryCatalog()
    recover_catalog(world.lake, FaultyCatalog(world.catalog, busy), CONFIG)
    assert world.bodies() == expected
    denied = FaultPlan(Fault(1, "store.get", error=ObjectDeniedError("403")))
    with pytest.raises(ObjectDeniedError):
        recover_catalog(FaultyStore(world.lake, denied), MemoryCatalog(), CONFIG)


def test_what_is_not_held_whole_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    for number in range(4):
        world.raw.put(f"logs_{number}.binpb", logs([uuid4().hex for _ in range(3)]))
        world.ingest()
    plain = MemoryCatalog()
    recover_catalog(world.lake, plain, CONFIG)
    monkeypatch.setattr(recover, "_HELD_WHOLE", 1)
    store, catalog = CountingStore(world.lake), MemoryCatalog()
    assert recover_catalog(store, catalog, CONFIG).commits == 4
    assert catalog.segments("default", "logs") == plain.segments("default", "logs") != []


def test_one_request_and_one_footer_for_each_segment() -> None:
    world = World()
    bodies = [uuid4().hex for _ in range(20_000)]
    world.raw.put("logs_0.binpb", logs(bodies))
    world.ingest()
    store = CountingStore(world.lake)
    events: list[ProgressEvent] = []
    report = recover_catalog(store, MemoryCatalog(), CONFIG, progress=events.append)
    assert report.segments == 2
    assert (store.counts.list, store.counts.get, store.counts.requests) == (5, 3, 11)
    assert store.counts.bytes_read <= 2 * 64 * 1024 + 256 < report.bytes
    assert [(one.stage, one.done, one.total) for one in events] == [
        ("read", 1, 2), ("read", 2, 2), ("commit", 1, 1),
    ]  # fmt: skip


def test_a_lake_in_a_directory(tmp_path: Path) -> None:
    place = tmp_path / "lake"
    with lakerunner.open(place) as lake:
        lake.ingest(logs(["a", "b", "c"]))
    (place / "catalog.db").unlink()
    with pytest.raises(ConfigurationError, match="there is no lake"):
        lakerunner.open(place, read_only=True)
    with lakerunner.open(place) as lake:
        assert lake.recover(dry_run=True).rows == 3
        assert not lake.segments()
        assert lake.recover().rows == 3
        assert sorted(lake.sql("SELECT body FROM logs").to_arrow()["body"].to_pylist()) == [
            "a", "b", "c",
        ]  # fmt: skip


def test_footers_name_what_belongs_together() -> None:
    world = World()
    filled(world)
    world.ingest()
    for item in world.lake.list("segments/"):
        data = world.lake.get(item.key).data
        described = read_description(pa.BufferReader(data), key=item.key, size=item.size)
        others = [
            one
            for one in world.catalog.segments("default", "logs")
            if one.commit_id == described.commit_id
        ]
        last = max(others, key=lambda one: (one.window_start_ns, one.id))
        assert bool(described.siblings) == (described.id == last.id)
        if described.siblings:
            assert set(described.siblings) == {one.id for one in others}


def test_a_catalog_of_another_kind(tmp_path: Path) -> None:
    world = World()
    expected = filled(world)
    world.ingest()
    with open_catalog(f"sqlite://{tmp_path}/new.db") as catalog:
        world.catalog = catalog
        recover_catalog(world.lake, catalog, replace(CONFIG, workers=4))
        assert world.bodies() == expected


class Uneven(CountingStore):
    """A store that answers some requests much later than others."""

    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        """Wait, for one of three keys."""
        if not hash(key) % 3:
            time.sleep(0.01)
        return super().get(key, byte_range)


@pytest.mark.parametrize("held", [0, 1, 5, 1000])
def test_footers_may_come_in_any_order(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    """Whichever are held, and whichever are read again."""
    monkeypatch.setattr("lakerunner.recover._HELD_WHOLE", held)
    world = World()
    expected = filled(world)
    for number in range(20):
        world.raw.put(f"logs_more_{number}.binpb", logs([f"more {number}"]))
        expected[f"more {number}"] += 1
    world.ingest()
    compacted(world, window(world, 0)[:2], commit=True)
    before = {one.id for one in world.catalog.segments("default", "logs")}
    world.catalog = MemoryCatalog()
    recover_catalog(Uneven(world.lake), world.catalog, replace(CONFIG, workers=4))
    assert {one.id for one in world.catalog.segments("default", "logs")} == before
    assert world.bodies() == expected

"""What is deleted of the catalog itself, and who survives it."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.catalog.bucket.checkpoints import (
    CHECKPOINTS_PREFIX,
    FANOUT,
    PARTS_PREFIX,
    merge_from,
)
from lakerunner.catalog.bucket.records import LOG_PREFIX, numbered
from lakerunner.errors import CommitConflictError
from lakerunner.store import PutMode
from lakerunner.store.counting import WrapperStore
from lakerunner.testing.catalog_fixture import A, everything, ids
from lakerunner.testing.values import make_commit, make_segment, make_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakerunner.store import CountingStore, ObjectStore
    from lakerunner.store.base import Buffer, ObjectMeta

HOUR_NS = 3600 * 10**9


def fill(catalog: BucketCatalog, start: int, end: int) -> None:
    for number in range(start, end):
        name = f"s{number}"
        segment, source = make_segment(name, number), make_source(name)
        catalog.commit(make_commit(name, add=[segment], take=[source]))


def keys(store: ObjectStore, prefix: str) -> list[str]:
    return [meta.key for meta in store.list(prefix)]


def positions(store: ObjectStore) -> list[int]:
    return [int(key.removeprefix(LOG_PREFIX)[:20]) for key in keys(store, LOG_PREFIX)]


def test_nothing_young_is_deleted(store: CountingStore) -> None:
    catalog = BucketCatalog(store, checkpoint_every=5)
    fill(catalog, 0, 23)
    before = keys(store, "")
    catalog.purge([])
    assert keys(store, "") == before


def test_what_newer_checkpoints_cover_is_deleted(store: CountingStore) -> None:
    catalog = BucketCatalog(store, checkpoint_every=5, grace_ns=0)
    fill(catalog, 0, 23)
    before = everything(BucketCatalog(store))
    catalog.purge([])
    assert keys(store, CHECKPOINTS_PREFIX) == [numbered(CHECKPOINTS_PREFIX, 20)]
    # The entry before the checkpoint stays: by it a sleeping writer is found out.
    assert positions(store) == [20, 21, 22, 23]
    named = catalog._follower.checkpoints.read(20).parts()
    assert set(keys(store, PARTS_PREFIX)) == named
    assert everything(BucketCatalog(store)) == before
    assert ids(BucketCatalog(store), sequence=3) == ["s0", "s1", "s2"]


def test_parts_of_a_checkpoint_that_was_never_finished_are_deleted(store: CountingStore) -> None:
    catalog = BucketCatalog(store, checkpoint_every=5, grace_ns=0)
    fill(catalog, 0, 7)
    checkpoints = catalog._follower.checkpoints
    orphans = {checkpoints.write_part(position, b"crashed") for position in (5, 6)}
    catalog.purge([])
    # The younger one might be named by a checkpoint that is on its way.
    assert len(orphans.intersection(keys(store, PARTS_PREFIX))) == 1
    fill(catalog, 7, 11)
    catalog.purge([])
    assert not orphans.intersection(keys(store, PARTS_PREFIX))
    assert len(ids(BucketCatalog(store))) == 11


def test_a_lake_without_checkpoints_keeps_its_log(store: CountingStore) -> None:
    catalog = BucketCatalog(store, grace_ns=0)
    fill(catalog, 0, 9)
    catalog.purge([])
    assert positions(store) == list(range(1, 10))


def test_a_reader_that_was_outrun_goes_on_from_a_checkpoint(store: CountingStore) -> None:
    catalog, reader = (BucketCatalog(store, checkpoint_every=5, grace_ns=0) for _ in range(2))
    fill(catalog, 0, 7)
    assert len(ids(reader)) == 7  # the parts of checkpoint 5 among them
    fill(catalog, 7, 23)
    catalog.purge([])
    assert len(ids(reader)) == 23
    assert len(reader.sources([make_source(f"s{n}") for n in range(23)])) == 23


def test_parts_that_vanish_under_a_reader_are_found_elsewhere(store: CountingStore) -> None:
    catalog, reader = (BucketCatalog(store, checkpoint_every=5, grace_ns=0) for _ in range(2))
    fill(catalog, 0, 7)
    reader.snapshot("acme", "logs")  # a manifest, and no part of it
    fill(catalog, 7, 23)
    catalog.purge([])
    assert len(ids(reader)) == 23


class Interrupted(WrapperStore):
    """Lets something happen between the listing of the log and the reading of what it lists."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.meanwhile: Callable[[], object] = lambda: None

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        found = list(self.inner.list(prefix, start_after=start_after))
        if prefix == LOG_PREFIX:
            meanwhile, self.meanwhile = self.meanwhile, lambda: None
            meanwhile()
        return iter(found)


def test_entries_that_vanish_under_a_reader_are_found_in_a_checkpoint(
    store: CountingStore,
) -> None:
    catalog = BucketCatalog(store, checkpoint_every=5, grace_ns=0)
    fill(catalog, 0, 23)
    slow = Interrupted(store)
    reader = BucketCatalog(slow)
    store.put("catalog/last_checkpoint.json", b'{"position": 5}')
    slow.meanwhile = lambda: catalog.purge([])
    assert len(ids(reader)) == 23


class Dated(WrapperStore):
    """A store whose clock can be set: it stamps what is put through it."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.late_ns = 0

    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        meta = self.inner.put(key, data, mode)
        return meta._replace(modified_ns=time.time_ns() + self.late_ns)


@pytest.mark.parametrize("hours", [-30, 0, 30])
@pytest.mark.parametrize("known", [0, 3, 7])
def test_a_writer_that_overslept_its_position_does_not_fork_the_log(
    store: CountingStore, known: int, hours: int
) -> None:
    """Its number is free again, because it was used and deleted. No clock tells it so."""
    catalog = BucketCatalog(store, checkpoint_every=5, grace_ns=0)
    clock = Dated(store)
    sleeper = BucketCatalog(clock, checkpoint_every=5, grace_ns=HOUR_NS)
    fill(catalog, 0, known)
    ids(sleeper)
    fill(catalog, known, 23)
    catalog.commit(make_commit("taken meanwhile", take=[A]))
    catalog.purge([])
    assert known + 1 not in positions(store)
    clock.late_ns = hours * HOUR_NS
    with pytest.raises(CommitConflictError):
        sleeper.commit(make_commit("too late", take=[A]))
    sequence = sleeper.commit(make_commit("late", add=[make_segment("late")]))
    assert sequence == 25
    assert len(ids(BucketCatalog(store))) == 24
    catalog.purge([])
    assert positions(store) == [25]  # what it wrote in vain is gone


class Asleep(WrapperStore):
    """A store behind which something happens before an entry arrives, and after it did."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None

    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        log = key.startswith(LOG_PREFIX)
        before, self.before = (self.before, lambda: None) if log else (lambda: None, self.before)
        before()
        meta = self.inner.put(key, data, mode)
        after, self.after = (self.after, lambda: None) if log else (lambda: None, self.after)
        after()
        return meta


def test_nobody_reads_what_a_writer_that_fell_asleep_writes_in_vain(store: CountingStore) -> None:
    """It fell asleep between its look and its put, and others wake while its entry is there."""
    catalog, reader, rival = (
        BucketCatalog(store, checkpoint_every=5, grace_ns=0) for _ in range(3)
    )
    bed = Asleep(store)
    sleeper = BucketCatalog(bed, checkpoint_every=5, grace_ns=0)
    fill(catalog, 0, 7)
    for each in (reader, rival, sleeper):
        ids(each)
    seen: list[list[str]] = []

    def overslept() -> None:
        fill(catalog, 7, 23)
        assert 8 not in positions(store)

    def in_vain() -> None:
        assert 8 in positions(store)
        seen.append(ids(reader))
        rival.commit(make_commit("rival", add=[make_segment("rival")]))

    bed.before, bed.after = overslept, in_vain
    sequence = sleeper.commit(make_commit("late", add=[make_segment("late")], take=[A]))
    assert sequence == 25
    assert len(seen[0]) == 23
    for each in (reader, rival, sleeper, catalog, BucketCatalog(store)):
        assert {"late", "rival"} <= set(ids(each))
        assert len(ids(each)) == 25


def test_bytes_are_proportional_to_what_is_in_use(store: CountingStore) -> None:
    catalog = BucketCatalog(store, checkpoint_every=10, grace_ns=0)
    used = []
    for start in range(0, 1000, 200):
        for number in range(start, start + 200):
            before = [] if number == 0 else [f"s{number - 1}"]
            segment = make_segment(f"s{number}", number)
            catalog.commit(make_commit(f"c{number}", add=[segment], remove=before))
            if before:
                catalog.purge(before)
        used.append(sum(meta.size for meta in store.list("catalog/")))
        assert len(positions(store)) <= 40
    assert used[-1] < 2.5 * used[0]  # what is left of each commit is its id and its time
    assert ids(catalog) == ["s999"]


def test_parts_are_few_and_rows_rarely_rewritten() -> None:
    """By simulation: a part of one row each time, a hundred thousand times."""
    sizes: list[int] = []
    written = 0
    for _ in range(100_000):
        kept = merge_from([*sizes, 1])
        sizes = [*sizes[:kept], sum(sizes[kept:]) + 1]
        written += sizes[-1]
        assert all(older >= FANOUT * newer for older, newer in pairwise(sizes))
    assert len(sizes) <= 10
    assert written / 100_000 < 30

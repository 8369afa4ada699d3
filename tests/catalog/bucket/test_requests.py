"""What a call costs, in requests: exactly."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.catalog.bucket.records import LOG_PREFIX
from lakerunner.store.counting import Counts
from lakerunner.testing.catalog_fixture import A, ids
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment, make_source

if TYPE_CHECKING:
    from lakerunner.store import CountingStore


def requests(counts: Counts) -> Counts:
    return counts._replace(bytes_read=0, bytes_written=0)


def add(catalog: BucketCatalog, number: int) -> int:
    name = f"s{number}"
    segment, source = make_segment(name, number), make_source(name)
    return catalog.commit(make_commit(name, add=[segment], take=[source]))


def test_a_commit_is_one_put_and_a_look(store: CountingStore) -> None:
    catalog = BucketCatalog(store)
    add(catalog, 0)
    # Hint, checkpoints and log, all empty; the probe; the entry; still no checkpoint.
    first = requests(store.reset())
    assert first == Counts(get=1, list=3, put=3)
    for number in range(1, 50):
        add(catalog, number)
    # The look is for checkpoints of that position: there is none, so it was never used before.
    assert requests(store.reset()) == Counts(put=49, list=49)


def test_a_checkpoint_is_a_part_for_each_table_and_few_more(store: CountingStore) -> None:
    catalog = BucketCatalog(store, checkpoint_every=10)
    for number in range(9):
        add(catalog, number)
    store.reset()
    add(catalog, 9)
    # The entry, segments, claims, times, sources, the manifest and the hint, which was read before.
    # Then manifests, parts, log and what waits are listed for what can be deleted: nothing, as yet.
    assert requests(store.reset()) == Counts(put=7, get=1, list=1 + 3)
    assert not catalog.checkpoint()


def test_the_cost_of_a_commit_does_not_grow_with_the_history(store: CountingStore) -> None:
    """Twice the history adds a rewriting of each row at most, not twice the bytes."""
    catalog = BucketCatalog(store, checkpoint_every=5)
    costs = []
    for start in range(0, 960, 320):
        before = store.counts
        for number in range(start, start + 320):
            add(catalog, number)
        costs.append(store.counts - before)
    puts = {cost.put for cost in costs[1:]}
    assert puts == {320 + 5 * 64}
    assert costs[2].bytes_written < 1.5 * costs[1].bytes_written
    assert costs[2].get == 64  # of the hint: no part is ever read back


def test_a_question_is_one_listing(store: CountingStore) -> None:
    catalog, other = BucketCatalog(store), BucketCatalog(store)
    add(catalog, 0)
    ids(other)
    store.reset()
    for _ in range(3):
        assert ids(catalog) == ["s0"]  # one's own commits are known
    assert requests(store.reset()) == Counts(list=3)
    add(catalog, 1)
    add(catalog, 2)
    store.reset()
    assert ids(other) == ["s0", "s1", "s2"]
    assert requests(store.reset()) == Counts(list=1, get=2)
    assert other.sources([]) == {}
    assert requests(store.reset()) == Counts()


def test_a_lake_is_opened_by_its_newest_checkpoint(store: CountingStore) -> None:
    catalog = BucketCatalog(store, checkpoint_every=10)
    for number in range(23):
        add(catalog, number)
    store.reset()
    snapshot = BucketCatalog(store).snapshot(ORGANIZATION, "logs")
    assert (snapshot.segments, snapshot.sequence) == (23, 23)
    # Hint, manifest, three entries; no part is needed.
    assert requests(store.reset()) == Counts(list=1, get=5)
    assert len(ids(BucketCatalog(store))) == 23
    assert requests(store.reset()) == Counts(list=1, get=6)


def test_a_lost_race_costs_a_look_and_another_put(store: CountingStore) -> None:
    one, other = BucketCatalog(store), BucketCatalog(store)
    add(one, 0)
    ids(other)
    store.reset()
    assert add(one, 1) == 2
    assert requests(store.reset()) == Counts(put=1, list=1)
    assert add(other, 2) == 3
    # A put in vain and a look whether it was our own; what is new; what others handed over; a put
    # and the look behind it.
    assert requests(store.reset()) == Counts(put=2, get=2, list=3)


def test_a_refusal_is_judged_by_the_newest_state(store: CountingStore) -> None:
    one, other = BucketCatalog(store), BucketCatalog(store)
    add(one, 0)
    ids(other)
    one.commit(make_commit("purge", remove=["s0"]))
    one.purge(["s0"])
    assert other.commit(make_commit("again", add=[make_segment("s0", 5)])) > 2
    one.commit(make_commit("remove what is new", remove=["s0"]))


def test_readers_that_come_together_share_a_listing(store: CountingStore) -> None:
    catalog = BucketCatalog(store)
    add(catalog, 0)
    store.reset()
    start = Barrier(16)

    def read() -> list[str]:
        start.wait()
        return ids(catalog)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(16) as threads:
            answers = [job.result() for job in [threads.submit(read) for _ in range(16)]]
    finally:
        sys.setswitchinterval(interval)
    assert answers == [["s0"]] * 16
    assert 1 <= requests(store.counts).list <= 16


@pytest.mark.parametrize("writers", [2, 8])
def test_threads_that_commit_together_share_an_object(store: CountingStore, writers: int) -> None:
    catalog = BucketCatalog(store)
    add(catalog, 0)
    # While one thread holds the turn, the others line up behind it.
    with catalog._writer._turn, ThreadPoolExecutor(writers) as threads:
        commits = [make_commit("same", take=[A])] + [
            make_commit(f"c{n}", add=[make_segment(f"c{n}")], take=[A] if n == 1 else [])
            for n in range(1, writers)
        ]
        jobs = [threads.submit(catalog.commit, commit) for commit in commits]
        while len(catalog._writer._waiting) < writers:
            pass
        before = store.counts
        catalog._writer._turn.release()
        outcomes = [job.exception() or job.result() for job in jobs]
        catalog._writer._turn.acquire()
    assert len(list(store.list(LOG_PREFIX))) == 2
    assert requests(store.counts - before)._replace(list=0) == Counts(put=1)
    applied = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert sorted(applied) == list(range(2, 2 + len(applied)))
    # Of the two that take the same source one is told so, by the state after its neighbour.
    (refused,) = [outcome for outcome in outcomes if not isinstance(outcome, int)]
    assert "already taken" in str(refused)

"""Writers that meet: who appends, for whom, and what becomes of those who die over it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.catalog.bucket.checkpoints import PENDING_PREFIX
from lakerunner.catalog.bucket.records import LOG_PREFIX
from lakerunner.catalog.bucket.rivals import Pending
from lakerunner.errors import CommitConflictError, CommitUnknownError, StoreUnavailableError
from lakerunner.testing.catalog_fixture import A, ids
from lakerunner.testing.faults import Fault, FaultPlan, FaultyStore
from lakerunner.testing.values import make_commit, make_segment, make_source

if TYPE_CHECKING:
    from lakerunner.store import CountingStore

WRITERS = 5
EACH = 20


def met(store: CountingStore) -> BucketCatalog:
    """A catalog that met others a moment ago."""
    catalog = BucketCatalog(store)
    ids(catalog)
    catalog._writer._rivals.meet()
    return catalog


def waiting(store: CountingStore) -> list[str]:
    return [meta.key for meta in store.list(PENDING_PREFIX)]


def hand_over(store: CountingStore, *names: str) -> None:
    """What a writer left that died while it waited."""
    for name in names:
        commit = make_commit(name, add=[make_segment(name)], take=[make_source(name)])
        pending = Pending(store)
        pending.hand_over(pending.new_key(name), [commit])


def test_a_leader_appends_what_others_handed_over(store: CountingStore) -> None:
    leader = met(store)
    leader._writer._rivals.leads = True
    hand_over(store, "a", "b")
    assert leader.commit(make_commit("own", add=[make_segment("own")])) == 1
    assert len(list(store.list(LOG_PREFIX))) == 1
    assert ids(BucketCatalog(store)) == ["a", "b", "own"]


def test_what_nobody_deletes_is_deleted_by_a_leader(store: CountingStore) -> None:
    """Whoever handed over does so at once, unless he is dead; nobody reads it twice meanwhile."""
    leader = met(store)
    leader._writer._rivals.leads = True
    hand_over(store, "a", "b")
    leader.commit(make_commit("own 0"))
    assert len(waiting(store)) == 2
    store.reset()
    for number in range(1, 9):
        leader.commit(make_commit(f"own {number}"))
    assert (store.counts.get, store.counts.delete) == (0, 2)
    assert waiting(store) == []
    assert ids(leader) == ["a", "b"]


def test_a_follower_that_nobody_leads_leads_itself(store: CountingStore) -> None:
    follower = met(store)
    hand_over(store, "a")
    assert follower.commit(make_commit("own", add=[make_segment("own")])) == 1
    assert follower._writer._rivals.leads
    assert ids(follower) == ["a", "own"]
    assert len(waiting(store)) == 1  # what it handed over itself is gone


def test_what_was_handed_over_and_applied_already_is_known(store: CountingStore) -> None:
    leader = met(store)
    hand_over(store, "a")
    commit = make_commit("a", add=[make_segment("a")], take=[make_source("a")])
    assert BucketCatalog(store).commit(commit) == 1
    leader._writer._rivals.leads = True
    assert leader.commit(make_commit("own")) == 2
    assert ids(leader) == ["a"]
    assert leader.commit(commit) == 1


def test_what_was_handed_over_and_lost_its_race_is_left_out(store: CountingStore) -> None:
    leader = met(store)
    hand_over(store, "a")
    leader._writer._rivals.leads = True
    leader.commit(make_commit("own", add=[make_segment("own")], take=[make_source("a")]))
    assert ids(leader) == ["own"]


def test_a_follower_hears_of_its_conflict(store: CountingStore) -> None:
    follower = met(store)
    BucketCatalog(store).commit(make_commit("c1", take=[A]))
    with pytest.raises(CommitConflictError, match="already taken"):
        follower.commit(make_commit("c2", take=[A]))


def test_damage_among_what_was_handed_over_stops_nobody(
    store: CountingStore, caplog: pytest.LogCaptureFixture
) -> None:
    leader = met(store)
    leader._writer._rivals.leads = True
    store.put(Pending.new_key("broken"), b"rot")
    hand_over(store, "a")
    for number in range(9):
        leader.commit(make_commit(f"own {number}"))
    assert ids(leader) == ["a"]
    assert waiting(store) == []
    assert "appends it himself" in caplog.text


def test_whoever_handed_over_and_lost_the_store_does_not_know(store: CountingStore) -> None:
    plan = FaultPlan()
    follower = BucketCatalog(FaultyStore(store, plan))
    ids(follower)
    follower._writer._rivals.meet()
    commit = make_commit("c1", add=[make_segment("a")])
    down = StoreUnavailableError("503")
    assert isinstance(follower.store, FaultyStore)
    follower.store.plan = FaultPlan(Fault(1, "store.list", error=down, times=99))
    with pytest.raises(CommitUnknownError, match="another writer"):
        follower.commit(commit)
    leader = met(store)
    leader._writer._rivals.leads = True
    leader.commit(make_commit("own"))
    follower.store.plan = FaultPlan()
    assert follower.commit(commit) == 2
    assert ids(leader) == ["a"]


def test_who_never_lost_a_race_sees_that_somebody_waits(store: CountingStore) -> None:
    """It is seen in a listing that was due anyway."""
    leader = BucketCatalog(store)
    leader.commit(make_commit("first", add=[make_segment("first")]))
    commit = make_commit("waits", add=[make_segment("waits")])
    Pending(store).hand_over(Pending.new_key("waits"), [commit])
    store.reset()
    leader.commit(make_commit("second"))
    assert store.reset().list == 1
    assert leader._writer._rivals.near
    leader.commit(make_commit("third"))
    assert ids(BucketCatalog(store)) == ["first", "waits"]


def test_all_have_their_turn(store: CountingStore) -> None:
    """No writer is done before every other one had a fair share, and most commits are combined."""
    start = Barrier(WRITERS)

    def write(writer: int) -> list[int]:
        catalog = met(store)
        start.wait()
        return [
            catalog.commit(
                make_commit(f"{writer}-{n}", add=[make_segment(f"{writer}-{n}")], take=[])
            )
            for n in range(EACH)
        ]

    with ThreadPoolExecutor(WRITERS) as threads:
        sequences = list(threads.map(write, range(WRITERS)))
    every = sorted(number for own in sequences for number in own)
    assert every == list(range(1, WRITERS * EACH + 1))
    assert all(own == sorted(own) for own in sequences)
    first_done = min(own[-1] for own in sequences)
    assert all(sum(number < first_done for number in own) >= EACH // 5 for own in sequences)
    assert len(ids(BucketCatalog(store))) == WRITERS * EACH
    assert waiting(store) == []

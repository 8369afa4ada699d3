"""The runs of the ledger of sources say together what was taken, and read little to say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lakerunner.catalog.bucket import BucketCatalog, sources
from lakerunner.catalog.bucket.checkpoints import PARTS_PREFIX
from lakerunner.catalog.bucket.parts import ByteCache
from lakerunner.catalog.bucket.records import DamagedCheckpointError
from lakerunner.catalog.bucket.sources import RunWriter, SourceLedger, SourceRun
from lakerunner.catalog.ledger import source_digest
from lakerunner.errors import CommitConflictError
from lakerunner.model.segment import SourceState
from lakerunner.store import CountingStore, open_store
from lakerunner.testing.values import make_commit, make_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.model.segment import Source


def some(start: int, end: int) -> list[Source]:
    return [make_source(f"otel/{number}.binpb", etag=f"{number:x}") for number in range(start, end)]


class Lake:
    """A store, and runs in it."""

    def __init__(self, budget: int = 1 << 20) -> None:
        self.store = CountingStore(open_store("memory://"))
        self.ledger = SourceLedger(self.store, ByteCache(budget))
        self.writer = RunWriter(self.ledger, self.write)
        self.runs: tuple[SourceRun, ...] = ()
        self.keys: Iterator[str] = (f"part {number}" for number in range(10**6))

    def write(self, data: bytes) -> str:
        key = next(self.keys)
        self.store.put(key, data)
        return key

    def cold(self, budget: int = 1 << 20) -> SourceLedger:
        return SourceLedger(self.store, ByteCache(budget))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Move a few hundred digests at a time."""
    monkeypatch.setattr(sources, "PART_DIGESTS", 300)
    monkeypatch.setattr(sources, "_PER_NEW", 4)


CHANGES = st.dictionaries(
    st.builds(lambda n: source_digest(make_source(str(n))), st.integers(0, 40)),
    st.booleans(),
    max_size=9,
)


@given(st.lists(CHANGES, max_size=12), st.sampled_from([2, 7, 1 << 19]))
def test_the_newest_change_counts(history: list[dict[bytes, bool]], part: int) -> None:
    """In whatever state merges are, and wherever an object ends."""
    known: dict[bytes, bool] = {}
    lake = Lake(budget=5000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "PART_DIGESTS", part)
        patch.setattr(sources, "_PER_NEW", 1)
        for changes in history:
            known |= changes
            lake.runs = lake.writer.extend(lake.runs, changes)
            found = lake.cold().find(lake.runs, list(known))
            assert {d for d, taken in found.items() if taken} == {d for d, t in known.items() if t}


@pytest.mark.usefixtures("small")
def test_what_was_taken_is_known_while_runs_are_merged() -> None:
    lake = Lake()
    digests = [source_digest(one) for one in some(0, 6000)]
    merging = 0
    for start in range(0, 6000, 200):
        lake.runs = lake.writer.extend(lake.runs, dict.fromkeys(digests[start : start + 200], True))
        merging += any(run.merging for run in lake.runs)
        found = lake.cold().find(lake.runs, digests[: start + 400])
        assert found == dict.fromkeys(digests[: start + 200], True)
    assert merging > 0
    assert len(lake.runs) < 12
    assert max(part.rows for run in lake.runs for part in run.parts) <= 400


def test_a_look_up_reads_a_page_of_each_run() -> None:
    lake = Lake()
    digests = [source_digest(one) for one in some(0, 60_000)]
    lake.runs = lake.writer.extend((), dict.fromkeys(digests, True))
    lake.store.reset()
    cold = lake.cold()
    assert cold.find(lake.runs, [digests[7]]) == {digests[7]: True}
    counts = lake.store.reset()
    assert counts.get == 2  # the index, and a page
    assert counts.bytes_read < 10_000
    assert cold.find(lake.runs, [digests[7]]) == {digests[7]: True}
    assert lake.store.reset().get == 0
    size = sum(meta.size for meta in lake.store.list())
    assert size / 60_000 < 16.3


def test_little_is_kept_in_memory() -> None:
    lake = Lake(budget=10_000)
    digests = [source_digest(one) for one in some(0, 20_000)]
    lake.runs = lake.writer.extend((), dict.fromkeys(digests, True))
    assert len(lake.ledger.find(lake.runs, digests)) == 20_000
    assert sum(map(len, lake.ledger._cache._pieces.values())) <= 10_000


@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_damage_is_noticed(damage: str) -> None:
    lake = Lake()
    digests = [source_digest(one) for one in some(0, 1000)]
    lake.runs = lake.writer.extend((), dict.fromkeys(digests, True))
    ((key, data),) = [(m.key, lake.store.get(m.key).data) for m in lake.store.list()]
    lake.store.delete(key)
    if damage != "gone":
        spoilt = bytes([data[9] ^ 1])
        lake.store.put(key, data[:-500] if damage == "cut" else data[:9] + spoilt + data[10:])
    with pytest.raises(DamagedCheckpointError, match=key):
        lake.cold().find(lake.runs, [min(digests)])


def test_a_damaged_run_gives_way_to_the_checkpoint_before(store: CountingStore) -> None:
    catalog = BucketCatalog(store, checkpoint_every=10)
    for number in range(25):
        catalog.commit(make_commit(f"c{number}", take=some(number, number + 1)))
    (victim,) = [
        meta.key
        for meta in store.list(PARTS_PREFIX)
        if meta.key.endswith("sources") and f"{20:020d}" in meta.key
    ]
    store.put(victim, b"rot")
    reader = BucketCatalog(store)
    assert set(reader.sources(some(0, 30))) == set(some(0, 25))
    reader.commit(make_commit("more", take=some(25, 26)))
    with pytest.raises(CommitConflictError, match="already taken"):
        reader.commit(make_commit("again", take=some(3, 4)))


@pytest.mark.parametrize("every", [2, 100])
def test_forgetting_reaches_what_checkpoints_know(store: CountingStore, every: int) -> None:
    catalog = BucketCatalog(store, checkpoint_every=every)
    asked = some(0, 12)
    catalog.commit(make_commit("c0", take=asked[:10], reject=asked[10:]))
    catalog.commit(make_commit("c1"))
    catalog.forget([asked[0], asked[10], make_source("unknown")])
    catalog.checkpoint()
    for one in (catalog, BucketCatalog(store)):
        expected = dict.fromkeys(asked[1:10], SourceState.TAKEN)
        assert one.sources(asked) == {**expected, asked[11]: SourceState.REJECTED}
        assert [entry.source for entry in one.rejections("acme")] == [asked[11]]
    BucketCatalog(store).commit(make_commit("again", take=[asked[0]]))
    assert catalog.sources(asked[:1]) == {asked[0]: SourceState.TAKEN}
    before = len(list(store.list("catalog/log/")))
    catalog.forget([make_source("unknown")])
    assert len(list(store.list("catalog/log/"))) == before

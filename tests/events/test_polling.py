"""Pollers: every object is announced, late ones too, and no more often than must be."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakerunner.errors import ConfigurationError, EventsUnavailableError, StoreUnavailableError
from lakerunner.events.directory import DirectoryWatcher
from lakerunner.events.polling import PrefixPoller, open_source
from lakerunner.store import CountingStore, open_store
from lakerunner.store.counting import WrapperStore
from lakerunner.testing.faults import Fault, FaultPlan, FaultyStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lakerunner.events import EventSource
    from lakerunner.store import ObjectMeta, ObjectStore


class Aged(WrapperStore):
    """Makes objects look an hour old, but for those with `young` in their key."""

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        for meta in self.inner.list(prefix, start_after=start_after):
            age_ns = 0 if "young" in meta.key else 3600 * 10**9
            yield meta._replace(modified_ns=time.time_ns() - age_ns)


class Bucket:
    def __init__(self) -> None:
        self.root = uuid4().hex
        self.store = open_store("memory://")
        self.counting = CountingStore(Aged(self.store))

    def put(self, *names: str, data: bytes = b"x") -> None:
        for name in names:
            self.store.put(f"{self.root}/{name}", data)

    def poller(
        self, cursor: str = "", relist_every: int = 1000, store: ObjectStore | None = None
    ) -> PrefixPoller:
        return PrefixPoller(
            f"memory://{self.root}/",
            cursor=cursor,
            interval_seconds=0,
            relist_every=relist_every,
            store=store or self.counting,
        )


def heard(source: EventSource, *, settle: bool = True) -> list[str]:
    """Names of what is announced now."""
    found = source.receive(1000, 0)
    if settle:
        source.acknowledge(found)
    return [event.key.rpartition("/")[2] for each in found for event in each.events]


def test_each_object_and_each_version_is_announced_once() -> None:
    bucket = Bucket()
    poller = bucket.poller(relist_every=1)
    bucket.put("b", "a")
    assert heard(poller) == ["a", "b"]
    assert heard(poller) == []
    bucket.put("c")
    bucket.put("a", data=b"xx")
    assert heard(poller) == ["a", "c"]
    assert bucket.counting.counts.requests == bucket.counting.counts.list == 3


def test_between_whole_listings_only_what_lies_behind_the_cursor_is_listed() -> None:
    bucket = Bucket()
    poller = bucket.poller(relist_every=3)
    bucket.put("b")
    assert heard(poller) == ["b"]
    bucket.put("a", "c")
    assert heard(poller) == ["c"]
    assert heard(poller) == []
    assert heard(poller) == ["a"]


def test_the_cursor_never_passes_what_is_young() -> None:
    bucket = Bucket()
    poller = bucket.poller()
    bucket.put("a", "c-young", "d-young")
    assert heard(poller) == ["a", "c-young", "d-young"]
    assert poller.cursor.endswith("/a")
    bucket.put("b-young")
    assert heard(poller) == ["b-young"]


def test_a_cursor_that_is_saved_and_given_back_misses_nothing() -> None:
    bucket = Bucket()
    poller = bucket.poller()
    bucket.put("a", "b", "c")
    a, b, c = poller.receive(10, 0)
    assert poller.cursor < f"{bucket.root}/a"
    poller.acknowledge([a, c])
    # `b` is not settled, so whoever starts there hears of it again, and not of `a`.
    assert heard(bucket.poller(poller.cursor)) == ["b", "c"]
    poller.acknowledge([b])
    assert poller.cursor == f"{bucket.root}/c"
    bucket.put("d")
    assert heard(bucket.poller(poller.cursor)) == ["d"]


@given(
    st.lists(st.sampled_from(["put", "poll", "restart", "release"]), max_size=25),
    st.randoms(use_true_random=False),
)
def test_whatever_happens_everything_is_announced_until_settled(
    steps: Sequence[str], random: object
) -> None:
    bucket = Bucket()
    poller = bucket.poller(relist_every=3)
    put: set[str] = set()
    settled: list[str] = []
    number = 0
    for step in [*steps, "poll", "poll", "poll"]:
        if step == "put":
            number = (number * 7 + 5) % 31
            put.add(f"{number:02}")
            if f"{number:02}" not in settled:
                bucket.put(f"{number:02}")
        elif step == "restart":
            poller = bucket.poller(poller.cursor, relist_every=3)
        elif step == "release":
            poller.release(poller.receive(2, 0))
        else:
            settled += heard(poller)
    poller = bucket.poller(relist_every=1)
    settled += heard(poller)
    assert set(settled) == put


def test_released_objects_come_again_and_newer_versions_replace_them() -> None:
    bucket = Bucket()
    poller = bucket.poller(relist_every=1)
    bucket.put("a", "b")
    found = poller.receive(10, 0)
    bucket.put("b", data=b"xx")
    (newer,) = poller.receive(10, 0)
    poller.release(found)
    assert [each.handle[-1] for each in poller.receive(10, 0)] == ["a"]
    poller.acknowledge(found)
    assert poller.cursor < f"{bucket.root}/b"
    poller.acknowledge([newer])
    assert poller.cursor == f"{bucket.root}/b"


def test_a_listing_is_drawn_as_it_is_asked_for() -> None:
    bucket = Bucket()
    poller = bucket.poller()
    bucket.put(*(f"{number:03}" for number in range(10)))
    assert [len(poller.receive(4, 0)) for _ in range(4)] == [4, 4, 2, 0]
    assert bucket.counting.counts.list == 2


def test_a_listing_that_fails_is_begun_anew() -> None:
    bucket = Bucket()
    bucket.put("a")
    plan = FaultPlan(Fault(call=1, error=StoreUnavailableError("503")))
    poller = bucket.poller(store=FaultyStore(bucket.store, plan))
    with pytest.raises(EventsUnavailableError):
        poller.receive(1, 0)
    assert heard(poller) == ["a"]


def test_what_is_forgotten_is_announced_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakerunner.events.polling.POLL_REMEMBERED", 2)
    bucket = Bucket()
    poller = bucket.poller(relist_every=1)
    bucket.put("a", "b", "c")
    assert heard(poller) == ["a", "b", "c"]
    assert set(heard(poller)) >= {"a"}


def test_a_poller_waits_for_its_interval() -> None:
    bucket = Bucket()
    poller = PrefixPoller(
        f"memory://{bucket.root}/", interval_seconds=0.3, relist_every=1, store=bucket.counting
    )
    assert heard(poller) == []
    bucket.put("a")
    assert heard(poller) == []
    begun = time.monotonic()
    assert len(poller.receive(1, 5)) == 1
    assert 0.1 < time.monotonic() - begun < 2


def test_relisting_never_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        PrefixPoller("memory://x/", relist_every=0)


def looks(watcher: DirectoryWatcher, count: int = 2) -> list[str]:
    return [name for _ in range(count) for name in heard(watcher)]


def test_a_file_is_announced_once_it_holds_still(tmp_path: Path) -> None:
    watcher = DirectoryWatcher(tmp_path, interval_seconds=0, settle_seconds=0.3)
    growing = tmp_path / "day" / "logs.json"
    growing.parent.mkdir()
    for _ in range(4):
        with growing.open("a") as out:
            out.write("{}\n")
        assert looks(watcher) == []
        time.sleep(0.1)
    time.sleep(0.4)
    assert looks(watcher) == ["logs.json"]
    assert looks(watcher) == []


def test_an_old_time_alone_is_not_enough(tmp_path: Path) -> None:
    watcher = DirectoryWatcher(tmp_path, interval_seconds=0, settle_seconds=0.3)
    growing = tmp_path / "logs.json"
    for size in range(1, 4):
        growing.write_bytes(b"x" * size)
        os.utime(growing, (1, 1))  # as a copy that keeps times does
        assert heard(watcher) == []
    assert heard(watcher) == ["logs.json"]


def test_temporary_names_are_never_taken(tmp_path: Path) -> None:
    watcher = DirectoryWatcher(tmp_path, interval_seconds=0, settle_seconds=0)
    for name in (".logs.json.Xy12", "logs.json.tmp", "logs.json.part", "logs.json~"):
        (tmp_path / name).write_bytes(b"x")
    assert heard(watcher) == []
    (tmp_path / "logs.json.tmp").rename(tmp_path / "logs.json")
    assert heard(watcher) == ["logs.json"]


def test_a_directory_may_come_later(tmp_path: Path) -> None:
    watcher = DirectoryWatcher(tmp_path / "later", interval_seconds=0, settle_seconds=0)
    assert heard(watcher) == []
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "a.json").write_bytes(b"x")
    (event,) = watcher.receive(1, 0)[0].events
    assert (event.bucket, event.key) == ("file://", str(tmp_path / "later/a.json")[1:])


def test_urls_lead_to_sources(tmp_path: Path) -> None:
    assert isinstance(open_source(tmp_path), DirectoryWatcher)
    assert type(open_source("memory://raw/")) is PrefixPoller

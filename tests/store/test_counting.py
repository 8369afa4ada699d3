"""A store that counts counts every request, once, also from many threads."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import fsspec
import pytest

from lakerunner.errors import ObjectExistsError, ObjectNotFoundError
from lakerunner.store import ByteRange, CountingStore, Counts, PutMode, open_store
from lakerunner.testing.store import StoreSuite

if TYPE_CHECKING:
    from pathlib import Path

    from lakerunner.store import ObjectStore


class TestCountingStore(StoreSuite):
    """It cannot be told from the store inside."""

    adapter = "memory, wrapped in `CountingStore`"

    def open_store(self, place: Path) -> ObjectStore:
        return CountingStore(open_store(f"memory://{place}"))

    def raw_write(self, store: ObjectStore, key: str, data: bytes) -> None:
        fsspec.filesystem("memory").pipe_file(f"{store.url}/{key}", data)

    def raw_read(self, store: ObjectStore, key: str) -> bytes:
        data: bytes = fsspec.filesystem("memory").cat_file(f"{store.url}/{key}")
        return data

    def raw_delete(self, store: ObjectStore, key: str) -> None:
        fsspec.filesystem("memory").rm_file(f"{store.url}/{key}")


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(open_store(f"memory://{tmp_path}"))


def test_each_verb_has_its_count(store: CountingStore) -> None:
    store.put("a", b"12345")
    store.put("b", memoryview(b"678"), PutMode.CREATE)
    assert store.counts == Counts(put=2, bytes_written=8)
    store.get("a")
    store.get("a", ByteRange(-2))
    store.head("a")
    assert len(list(store.list())) == 2
    store.delete("a")
    counts = Counts(get=2, put=2, head=1, list=1, delete=1, bytes_read=7, bytes_written=8)
    assert store.counts == counts
    assert counts.requests == 7


def test_what_is_derived_counts_as_the_verbs_it_takes(store: CountingStore) -> None:
    store.put("a", b"12345")
    before = store.counts
    assert store.exists("a")
    store.copy("a", "b")
    store.delete_many(["a", "b", "missing"])
    assert store.counts - before == Counts(1, 1, 1, 0, 3, bytes_read=5, bytes_written=5)


def test_a_request_that_fails_counts_and_moves_no_bytes(store: CountingStore) -> None:
    store.put("a", b"12345")
    store.reset()
    for call in (store.get, store.head):
        with pytest.raises(ObjectNotFoundError):
            call("missing")
    with pytest.raises(ObjectExistsError):
        store.put("a", b"12345", PutMode.CREATE)
    assert store.counts == Counts(get=1, head=1, put=1)


def test_a_reset_returns_what_it_forgets(store: CountingStore) -> None:
    store.put("a", b"1")
    assert store.reset() == Counts(put=1, bytes_written=1)
    assert store.counts == Counts()


def test_no_request_is_lost_between_threads(store: CountingStore) -> None:
    store.put("a", b"1")
    store.reset()
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(store.exists, ["a"] * 800))
    assert store.counts == Counts(head=800)


def test_a_copy_counts_on_its_own(store: CountingStore) -> None:
    store.put("a", b"1")
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own bytes
    assert copy.counts == Counts()
    assert copy.get("a").data == b"1"
    assert (store.counts.get, copy.counts.get) == (0, 1)


def test_it_leads_to_the_files_of_the_store_inside(tmp_path: Path) -> None:
    store = CountingStore(open_store(tmp_path))
    assert store.local_path("a/b") == tmp_path / "a" / "b"

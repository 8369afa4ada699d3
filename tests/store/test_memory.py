"""The store in memory: the suite, and what holds for it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fsspec

from lakerunner.store import open_store
from lakerunner.store.memory import MemoryStore
from lakerunner.testing.store import StoreSuite
from lakerunner.testing.store_fixture import keys

if TYPE_CHECKING:
    from pathlib import Path

    from lakerunner.store import ObjectStore


class TestMemoryStore(StoreSuite):
    adapter = "memory"

    def open_store(self, place: Path) -> ObjectStore:
        return MemoryStore(f"memory://{place}")

    def raw_write(self, store: ObjectStore, key: str, data: bytes) -> None:
        fsspec.filesystem("memory").pipe_file(f"{store.url}/{key}", data)

    def raw_read(self, store: ObjectStore, key: str) -> bytes:
        data: bytes = fsspec.filesystem("memory").cat_file(f"{store.url}/{key}")
        return data

    def raw_delete(self, store: ObjectStore, key: str) -> None:
        fsspec.filesystem("memory").rm_file(f"{store.url}/{key}")


def test_stores_on_one_url_are_one() -> None:
    meta = open_store("memory://one/two/").put("a/b", b"1")
    assert open_store("memory://one/two").head("a/b") == meta
    assert open_store("memory:///one").get("two/a/b").data == b"1"
    assert open_store("memory://").head("one/two/a/b").etag == meta.etag


def test_a_name_that_continues_another_is_another_store() -> None:
    open_store("memory://acme").put("a", b"1")
    open_store("memory://acme-2").put("b", b"1")
    assert keys(open_store("memory://acme")) == ["a"]
    assert not open_store("memory://acme").exists("b")


def test_objects_are_in_no_directory() -> None:
    store = open_store("memory://flat")
    store.put("a", b"1")
    store.put("a/b", b"2")
    assert keys(store) == ["a", "a/b"]
    store.delete("a")
    assert keys(store) == ["a/b"]


def test_it_has_no_files() -> None:
    assert open_store("memory://no-files").local_path("a") is None

"""Segments as local files: in place, or copied once and bounded."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import msgspec
import pytest

from lakerunner.compute import SegmentFiles
from lakerunner.errors import ErrorCode, QueryExecutionError
from lakerunner.store import CountingStore, ObjectStore, open_store
from lakerunner.testing.values import make_segment

if TYPE_CHECKING:
    from lakerunner.model.segment import Segment


def segments(store: ObjectStore, count: int, size: int = 100) -> list[Segment]:
    made = []
    for number in range(count):
        key = f"segments/a b/{number} %41?.parquet"
        store.put(key, bytes([number]) * size)
        made.append(msgspec.structs.replace(make_segment(f"s/{number}", size=size), key=key))
    return made


def path_of(url: str) -> Path:
    assert url.startswith("file:///")
    return Path(unquote(urlsplit(url).path))


def test_files_are_read_where_they_lie(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "lake #1"))
    files = SegmentFiles(store, tmp_path / "copies")
    (segment,) = segments(store, 1)
    with files.held([segment]):
        path = path_of(files.url(segment))
        assert path == store.local_path(segment.key)
        assert path.read_bytes() == bytes(100)
    assert not (tmp_path / "copies").exists()


def test_objects_are_copied_once(tmp_path: Path) -> None:
    store = CountingStore(open_store("memory://"))
    files = SegmentFiles(store, tmp_path)
    some = segments(store, 3)
    for _ in range(3):
        with files.held(some):
            read = [path_of(files.url(one)).read_bytes() for one in some]
            assert read == [bytes([number]) * 100 for number in range(3)]
    assert store.counts.get == 3


def test_the_least_recently_used_copies_go_first(tmp_path: Path) -> None:
    store = open_store("memory://")
    files = SegmentFiles(store, tmp_path, bound_bytes=250)
    some = segments(store, 4)
    for order in ([0, 1], [2], [1], [3]):
        with files.held([some[number] for number in order]):
            pass
    kept = [number for number in range(4) if path_of(files.url(some[number])).exists()]
    assert kept == [1, 3]


def test_copies_in_use_are_never_removed(tmp_path: Path) -> None:
    store = open_store("memory://")
    files = SegmentFiles(store, tmp_path, bound_bytes=0)
    some = segments(store, 3)
    with files.held(some), files.held(some[:1]):
        with files.held(some[1:]):
            pass
        assert all(path_of(files.url(one)).exists() for one in some)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["memory://", "file"])
def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path, url: str) -> None:
    store = open_store(url if url == "memory://" else str(tmp_path / "lake"))
    copies = tmp_path / "copies"
    copies.mkdir()
    files = SegmentFiles(store, copies)
    some = segments(store, 2)
    store.delete(some[1].key)
    with pytest.raises(QueryExecutionError, match="its file is missing") as caught:
        files.held(some).__enter__()
    assert caught.value.context["key"] == some[1].key
    assert caught.value.code is ErrorCode.QUERY_EXECUTION


def test_a_file_that_vanishes_meanwhile_is_noticed(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "lake"))
    files = SegmentFiles(store, tmp_path / "copies")
    some = segments(store, 2)
    with pytest.raises(QueryExecutionError, match="its file is missing"), files.held(some):
        store.delete(some[0].key)


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    store = open_store("memory://")
    files = SegmentFiles(store, tmp_path)
    (segment,) = segments(store, 1)
    short = msgspec.structs.replace(segment, bytes=99)
    with pytest.raises(QueryExecutionError, match="has 100 bytes, but the catalog says 99"):
        files.held([short]).__enter__()


def test_threads_share_the_copies(tmp_path: Path) -> None:
    store = open_store("memory://")
    files = SegmentFiles(store, tmp_path, bound_bytes=300)
    some = segments(store, 8, size=1000)
    start = threading.Barrier(8)

    def use(number: int) -> bool:
        start.wait()
        mine = [some[(number + step) % 8] for step in range(3)]
        for _ in range(20):
            with files.held(mine):
                for one in mine:
                    data = path_of(files.url(one)).read_bytes()
                    if len(data) != 1000 or len(set(data)) != 1:
                        return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(8)))
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - only the names matter

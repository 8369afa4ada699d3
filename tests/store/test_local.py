"""The store in a directory: the suite, and what holds for files alone."""

from __future__ import annotations

import errno
import logging
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lakerunner.errors import (
    ConfigurationError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from lakerunner.limits import ORPHAN_GRACE_NS
from lakerunner.store import PutMode, open_store
from lakerunner.store.local import LocalStore
from lakerunner.testing.store import StoreSuite
from lakerunner.testing.store_fixture import keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakerunner.store import ObjectStore

LEFTOVER = ".lakerunner-0123456789abcdef01234567.tmp"


class TestLocalStore(StoreSuite):
    adapter = "local directory"

    def open_store(self, place: Path) -> ObjectStore:
        return LocalStore(place / "not made yet" / "lake")

    def raw_write(self, store: ObjectStore, key: str, data: bytes) -> None:
        path = self._path(store, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        # The kernel's stamps move in ticks of milliseconds; quicker changes in place are not seen.
        os.utime(path, ns=(time.time_ns(), time.time_ns()))

    def raw_read(self, store: ObjectStore, key: str) -> bytes:
        return self._path(store, key).read_bytes()

    def raw_delete(self, store: ObjectStore, key: str) -> None:
        self._path(store, key).unlink()

    def _path(self, store: ObjectStore, key: str) -> Path:
        return Path(store.url.removeprefix("file://"), key)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root)


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# -- where it is ---------------------------------------------------------------------------------


def test_a_path_and_its_url_are_one_place(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for url in (root, str(root), f"{root}/", "lake", "./x/../lake", f"file://{root}"):
        store = open_store(url)
        assert isinstance(store, LocalStore)
        assert store.url == f"file://{root}"
    assert not root.exists()


def test_the_whole_machine_is_a_bucket(store: LocalStore, root: Path) -> None:
    meta = store.put("a b/%.txt", b"1")
    machine = LocalStore("file://")
    assert machine.url == "file://"
    found = machine.head(f"{root}/a b/%.txt"[1:])
    assert (found.size, found.etag) == (meta.size, meta.etag)
    assert keys(machine, f"{root}/a"[1:]) == [found.key]


@pytest.mark.parametrize("url", ["", "file://host/lake", "memory://lake"])
def test_a_url_of_another_place_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        LocalStore(url)


def test_a_key_leads_nowhere_else(store: LocalStore, root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    store.put("a", b"1")
    for key in ("../secret", "a/../../secret", str(secret), f"/{secret}", "./../secret"):
        for call in (store.get, store.head, store.delete, store.local_path):
            with pytest.raises(ConfigurationError):
                call(key)
        with pytest.raises(ConfigurationError):
            store.put(key, b"2")
        assert keys(store, key) == []
    assert secret.read_bytes() == b"secret"
    assert names(tmp_path) == ["lake", "secret"]
    assert names(root) == ["a"]


def test_an_object_is_the_file_of_its_name(store: LocalStore, root: Path) -> None:
    store.put("a/b", b"1")
    assert store.local_path("a/b") == root / "a" / "b"
    assert stat.S_IMODE((root / "a" / "b").stat().st_mode) & 0o600 == 0o600


# -- power cuts, crashes, full disks -------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "darwin", reason="F_FULLFSYNC takes the place of fsync there")
@pytest.mark.parametrize("mode", PutMode)
def test_what_is_named_is_on_disk_before_and_its_name_after(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, mode: PutMode
) -> None:
    target = root / "a" / "b"
    flushed: list[tuple[int, bool]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_ino, target.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store.put("a/b", b"1", mode)
    made_in = (root.parent.parent, root.parent, root)  # also for what another writer just made
    inodes = [path.stat().st_ino for path in (*made_in, target, target.parent)]
    assert flushed == [*((inode, False) for inode in inodes[:-1]), (inodes[-1], True)]

    flushed.clear()
    store.put("a/c", b"1", mode)  # the directories are known to be durable
    assert [inode for inode, _ in flushed] == [(root / "a/c").stat().st_ino, inodes[-1]]

    flushed.clear()
    store.delete("a/b")
    assert flushed == [(inodes[-1], False)]


CRASH = """
import os, sys
from lakerunner.store import PutMode, open_store
calls = iter(range(100))
real = os.fsync
def fsync(descriptor):
    if next(calls) == int(sys.argv[2]):
        os._exit(9)
    real(descriptor)
os.fsync = fsync
open_store(sys.argv[1]).put("a/b", b"new and longer", PutMode(sys.argv[3]))
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="F_FULLFSYNC takes the place of fsync there")
@pytest.mark.parametrize(("call", "there"), [(0, False), (3, False), (4, True), (5, True)])
@pytest.mark.parametrize("mode", PutMode)
def test_a_crash_leaves_all_or_nothing(
    store: LocalStore, root: Path, call: int, mode: PutMode, *, there: bool
) -> None:
    done = run(CRASH, root, call, mode)
    assert done.returncode == (9 if call < 5 else 0), done.stderr
    assert keys(store) == ["a/b"] * there
    assert store.exists("a/b") == there
    if there:
        assert store.get("a/b").data == b"new and longer"
    store.put("a/b", b"next")
    assert keys(store) == ["a/b"]


def test_a_crash_leaves_the_version_before(store: LocalStore, root: Path) -> None:
    before = store.put("a/b", b"old")
    assert run(CRASH, root, 2, PutMode.OVERWRITE).returncode == 9
    assert len(names(root / "a")) == 2  # what was being written is still there
    assert store.get("a/b")[:2] == (before, b"old")
    assert list(store.list()) == [before]


def test_what_a_crash_left_is_no_object(store: LocalStore, root: Path) -> None:
    store.put("a/b", b"1")
    (root / "a" / LEFTOVER).write_bytes(b"half")
    key = f"a/{LEFTOVER}"
    assert keys(store) == keys(store, "a/") == ["a/b"]
    assert keys(store, key) == []
    for call in (store.get, store.head):
        with pytest.raises(ObjectNotFoundError):
            call(key)
    with pytest.raises(ConfigurationError, match="temporary"):
        store.put(key, b"2")
    store.delete(key)
    assert (root / "a" / LEFTOVER).read_bytes() == b"half"


def test_old_leftovers_are_swept(store: LocalStore, root: Path) -> None:
    old, young = root / LEFTOVER, root / LEFTOVER.replace("0", "f")
    root.mkdir()
    for path, age in ((old, ORPHAN_GRACE_NS + 10**9), (young, ORPHAN_GRACE_NS - 60 * 10**9)):
        path.write_bytes(b"half")
        os.utime(path, ns=(0, time.time_ns() - age))
    store.put("a", b"1")
    assert names(root) == [young.name, "a"]


FULL_DISK = """
import resource, sys
from lakerunner.errors import StoreUnavailableError
from lakerunner.store import open_store
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
store = open_store(sys.argv[1])
for key in ("old", "new"):
    try:
        store.put(key, bytes(10_000))
    except StoreUnavailableError as error:
        print(error.code)
store.put("small", bytes(4096))
"""


def test_a_full_disk_changes_nothing(store: LocalStore, root: Path) -> None:
    before = store.put("old", b"1")
    done = run(FULL_DISK, root)
    assert done.stdout.split() == ["store_unavailable"] * 2, done.stderr
    assert names(root) == ["old", "small"]
    assert store.get("old")[:2] == (before, b"1")
    assert store.head("small").size == 4096


def test_a_directory_that_was_removed_is_made_again(store: LocalStore, root: Path) -> None:
    store.put("a/b/c", b"1")
    (root / "a/b/c").unlink()
    (root / "a/b").rmdir()
    (root / "a").rmdir()
    assert not store.exists("a/b/c")
    assert store.put("a/b/c", b"2") == store.head("a/b/c")


def test_create_only_needs_hard_links(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hardlink_to(path: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "not here")

    monkeypatch.setattr(Path, "hardlink_to", hardlink_to)
    with pytest.raises(StoreError, match="no hard links"):
        store.put("a", b"1", PutMode.CREATE)
    assert names(root) == []
    store.put("a", b"1")


# -- others write here as well -------------------------------------------------------------------


@pytest.mark.parametrize("mode", PutMode)
def test_a_file_and_a_directory_cannot_share_a_name(
    store: LocalStore, root: Path, mode: PutMode
) -> None:
    store.put("a/b", b"1")
    for key in ("a", "a/b/c", "a/b/c/d"):
        with pytest.raises(StoreError, match="cannot be a file") as failure:
            store.put(key, b"2", mode)
        assert not isinstance(failure.value, ObjectExistsError)
    assert keys(store) == ["a/b"]
    assert names(root / "a") == ["b"]


def test_links_are_followed_but_not_in_circles(
    store: LocalStore, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_bytes(b"1")
    store.put("a/b", b"2")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "file").symlink_to(root / "a" / "b")
    (root / "a" / "up").symlink_to(root)
    (root / "nothing").symlink_to(root / "missing")
    (root / "itself").symlink_to(root / "itself")
    assert keys(store) == ["a/b", "file"]
    assert keys(LocalStore(root, {"follow_symlinks": True})) == ["a/b", "file", "linked/x"]
    assert store.get("linked/x").data == b"1"  # it was named
    for key in ("nothing", "itself", "linked"):
        with pytest.raises(ObjectNotFoundError):
            store.get(key)
    store.delete("file")
    assert keys(store) == ["a/b"]


def test_a_pipe_is_no_object_and_nobody_waits_for_it(store: LocalStore, root: Path) -> None:
    store.put("a", b"1")
    os.mkfifo(root / "pipe")
    assert keys(store) == ["a"]
    for call in (store.get, store.head):
        with pytest.raises(ObjectNotFoundError):
            call("pipe")


def test_a_name_that_is_not_utf8_is_left_out_aloud(
    store: LocalStore, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.put("a", b"1")
    try:
        Path(os.fsdecode(os.fsencode(root) + b"/\xff")).write_bytes(b"2")
    except OSError:
        pytest.skip("this file system holds UTF-8 names only")
    with caplog.at_level(logging.WARNING):
        assert keys(store) == ["a"]
    assert r"\xff" in caplog.text


def changing(path: Path, times: int) -> Callable[[int, int, int], bytes]:
    """A read that finds, so many times, that the file was written to meanwhile."""
    real, left = os.pread, iter(range(times))

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        data = real(descriptor, size, offset)
        if next(left, None) is not None:
            path.write_bytes(b"new" + path.read_bytes())
        return data

    return pread


def test_a_file_is_read_again_until_it_holds_still(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a", b"old")
    monkeypatch.setattr(os, "pread", changing(root / "a", 2))
    meta, data, _ = store.get("a")
    assert data == b"newnewold"
    assert meta == store.head("a")


def test_a_file_that_never_holds_still_is_not_read(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a", b"old")
    monkeypatch.setattr(os, "pread", changing(root / "a", 1000))
    with pytest.raises(StoreUnavailableError, match="kept changing"):
        store.get("a")


def test_a_listing_reads_a_directory_when_its_turn_comes(store: LocalStore) -> None:
    for key in ("a/1", "b/1", "c/1"):
        store.put(key, b"")
    listing = store.list()
    assert next(listing).key == "a/1"
    store.put("b/0", b"")
    store.delete("c/1")
    assert [meta.key for meta in listing] == ["b/0", "b/1"]

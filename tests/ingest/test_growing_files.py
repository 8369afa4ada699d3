"""Files of this machine that grow, move or are touched: each line lands once."""

from __future__ import annotations

import gzip
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import lakerunner
from lakerunner.events.directory import DirectoryWatcher
from lakerunner.ingest import Ingestor
from lakerunner.store.counting import WrapperStore
from lakerunner.testing.faults import FaultPlan, FaultyCatalog, FaultyStore, SimulatedCrash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lakerunner.model.report import ProgressEvent
    from lakerunner.store import ObjectStore


class Folder:
    """A directory of logs, and a lake beside it."""

    def __init__(self, root: Path) -> None:
        self.path = root / "logs"
        self.path.mkdir()
        self.lake = lakerunner.open(str(root / "lake"))
        self.log = self.path / "app.log"

    def append(self, *lines: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    def ingest(self) -> int:
        return self.lake.ingest(f"{self.path}/").rows

    def bodies(self) -> list[str]:
        found = self.lake.sql("SELECT body FROM logs ORDER BY body").to_arrow()
        bodies: list[str] = found["body"].to_pylist()
        return bodies


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    made = Folder(tmp_path)
    yield made
    made.lake.close()


def test_what_is_appended_is_taken_once(folder: Folder) -> None:
    folder.append("a", "b")
    assert folder.ingest() == 2
    assert folder.ingest() == 0
    for number in range(5):
        folder.append(f"c{number}", f"d{number}")
        assert folder.ingest() == 2
        assert folder.ingest() == 0
    assert len(folder.bodies()) == len(set(folder.bodies())) == 12


def test_another_ingestor_goes_on_where_the_first_left(folder: Folder, tmp_path: Path) -> None:
    folder.append("a")
    folder.ingest()
    folder.append("b")
    with lakerunner.open(str(tmp_path / "lake")) as other:
        assert other.ingest(f"{folder.path}/").rows == 1
    assert folder.ingest() == 0
    assert folder.bodies() == ["a", "b"]


def test_a_touched_file_is_the_same(folder: Folder) -> None:
    folder.append("a")
    folder.ingest()
    os.utime(folder.log, ns=(1, 10**18))
    assert folder.ingest() == 0
    folder.append("b")
    assert folder.ingest() == 1


def test_a_touched_file_that_is_no_text_is_the_same(folder: Folder) -> None:
    (folder.path / "a.json.gz").write_bytes(gzip.compress(b'{"msg": "a"}\n'))
    assert folder.ingest() == 1
    os.utime(folder.path / "a.json.gz", ns=(1, 10**18))
    assert folder.ingest() == 0


def test_a_renamed_file_is_the_same(folder: Folder) -> None:
    folder.append("a")
    folder.ingest()
    folder.append("b")
    folder.log.rename(folder.path / "app.log.1")
    folder.append("c")
    assert folder.ingest() == 2
    assert folder.ingest() == 0
    assert folder.bodies() == ["a", "b", "c"]


def test_a_file_that_was_copied_and_emptied(folder: Folder) -> None:
    folder.append("a", "b")
    folder.ingest()
    folder.append("c")
    shutil.copy(folder.log, folder.path / "app.log.1")
    os.truncate(folder.log, 0)
    folder.append("d")
    assert folder.ingest() == 2
    folder.append("e")
    assert folder.ingest() == 1
    assert folder.bodies() == ["a", "b", "c", "d", "e"]


def test_two_files_of_the_same_content_are_two(folder: Folder) -> None:
    folder.append("a")
    (folder.path / "app.log.1").write_text("a\n")
    assert folder.ingest() == 2
    (folder.path / "app.log.2").write_text("a\n")
    assert folder.ingest() == 1


def test_a_link_beside_its_target_is_the_same(folder: Folder) -> None:
    folder.append("a")
    (folder.path / "link.log").symlink_to(folder.log)
    (folder.path / "hard.log").hardlink_to(folder.log)
    assert folder.ingest() == 1
    folder.append("b")
    assert folder.ingest() == 1
    assert folder.bodies() == ["a", "b"]


def test_a_rewrite_that_keeps_time_and_size_is_seen(folder: Folder) -> None:
    folder.append("a")
    folder.ingest()
    before = folder.log.stat()
    for line in ("b", "c"):
        with folder.log.open("r+", encoding="utf-8") as file:
            file.write(f"{line}\n")
        os.utime(folder.log, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert folder.ingest() == 1
        assert folder.ingest() == 0
    assert folder.bodies() == ["a", "b", "c"]


def test_a_file_that_is_written_anew_is_taken_whole(folder: Folder) -> None:
    folder.append("a", "b", "c")
    folder.ingest()
    folder.log.write_text("x\n")
    assert folder.ingest() == 1
    folder.log.write_text("y\nz\nlonger than before\n")
    assert folder.ingest() == 3


def test_rows_that_are_appended_have_the_header_of_their_file(folder: Folder) -> None:
    table = folder.path / "a.csv"
    table.write_text("message,size\na,1\n")
    folder.ingest()
    with table.open("a", encoding="utf-8") as file:
        file.write("b,2\n")
    assert folder.ingest() == 1
    found = folder.lake.sql("SELECT body, attr_size FROM logs ORDER BY body").to_arrow()
    assert found.to_pylist() == [{"body": "a", "attr_size": 1}, {"body": "b", "attr_size": 2}]


def test_a_line_that_is_being_written_waits(folder: Folder) -> None:
    folder.append("a")
    folder.ingest()
    with folder.log.open("a", encoding="utf-8") as file:
        file.write("b\nhalf")
    assert folder.ingest() == 1
    with folder.log.open("a", encoding="utf-8") as file:
        file.write(" and half\n")
    assert folder.ingest() == 1
    assert folder.bodies() == ["a", "b", "half and half"]


def test_a_line_without_an_end_is_taken_when_its_file_is_at_rest(folder: Folder) -> None:
    folder.append("a")
    folder.ingest()
    with folder.log.open("a", encoding="utf-8") as file:
        file.write("b\nlast")
    os.utime(folder.log, ns=(10**18, 10**18))
    assert folder.ingest() == 2


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call(tmp_path: Path, *, after: bool) -> None:
    for call in range(1, 40):
        root = tmp_path / str(call)
        root.mkdir()
        folder = Folder(root)
        folder.append("a")
        folder.ingest()
        folder.append("b")
        plan = FaultPlan.crash_at(call, after=after)
        store = FaultyStore(folder.lake.store, plan)
        catalog = FaultyCatalog(folder.lake.catalog, plan)
        try:
            Ingestor(store, catalog).ingest(f"{folder.path}/")
        except SimulatedCrash:
            folder.append("c")
            folder.ingest()
            assert folder.bodies() == ["a", "b", "c"], plan.calls
            folder.lake.close()
        else:
            assert not plan.crashed
            assert "catalog.commit" in plan.calls
            folder.lake.close()
            return
    pytest.fail("it never came to its end")


class _Meanwhile(WrapperStore):
    """Calls something before the first segment is put."""

    def __init__(self, inner: ObjectStore, call: Callable[[], object]) -> None:
        super().__init__(inner)
        self.calls = [call]

    def put(self, key: str, *rest: Any) -> Any:
        if key.startswith("segments/") and self.calls:
            self.calls.pop()()
        return super().put(key, *rest)


@pytest.mark.parametrize("taken", [0, 1])
def test_two_take_what_ends_differently_for_each(folder: Folder, taken: int) -> None:
    for number in range(taken):
        folder.append(f"0{number}")
        folder.ingest()
    folder.append("a")

    def other() -> None:
        folder.append("b")
        assert folder.ingest() == 2

    store = _Meanwhile(folder.lake.store, other)
    late = Ingestor(store, folder.lake.catalog).ingest(f"{folder.path}/")
    assert late.rows == 0
    assert late.skipped + len(late.failed) == 1
    folder.append("c")
    assert folder.ingest() == 1
    assert folder.bodies()[taken:] == ["a", "b", "c"]


def test_a_watched_file_that_grows(folder: Folder) -> None:
    folder.append("a", "b")
    stop = threading.Event()
    heard: list[int] = []

    def progress(event: ProgressEvent) -> None:
        heard.append(event.rows)
        if len(heard) == 1:
            folder.append("c")
        elif event.rows >= 3:
            stop.set()

    watcher = DirectoryWatcher(folder.path, interval_seconds=0.05, settle_seconds=0.1)
    with watcher:
        folder.lake.watch(watcher, stop=stop, max_age=0.0, until_idle=20, progress=progress)
    assert folder.bodies() == ["a", "b", "c"]


def test_a_watched_file_that_never_rests(tmp_path: Path) -> None:
    """It is announced while it grows, and once more when it is at rest."""
    log = tmp_path / "app.log"
    watcher = DirectoryWatcher(tmp_path, interval_seconds=0.0, settle_seconds=0.3)
    announced = 0
    until = time.monotonic() + 1.0
    with watcher:
        while time.monotonic() < until:
            with log.open("a", encoding="utf-8") as file:
                file.write("line\n")
            found = watcher.receive(10, 0.02)
            watcher.acknowledge(found)
            announced += len(found)
        assert announced
        assert not (log.stat().st_mtime < time.time() - 1)
        rested = watcher.receive(10, 5.0)
        assert [event.size for each in rested for event in each.events] == [log.stat().st_size]


def test_notes_are_merged(folder: Folder, tmp_path: Path) -> None:
    for number in range(40):
        folder.append(f"{number:02}")
        assert folder.ingest() == 1
    with lakerunner.open(str(tmp_path / "lake")) as other:
        assert other.ingest(f"{folder.path}/").rows == 0
    assert len(list(folder.lake.store.list("_lakerunner/files/"))) < 40
    folder.append("more")
    assert folder.ingest() == 1
    assert len(folder.bodies()) == 41

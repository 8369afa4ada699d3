"""Copies of segments that processes share: made once, checked, bounded, and safe to remove."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import lakerunner
from lakerunner.catalog import open_catalog
from lakerunner.errors import ConfigurationError, QueryExecutionError
from lakerunner.lake import Lake
from lakerunner.store import CountingStore, open_store

if TYPE_CHECKING:
    from pathlib import Path

COUNT = "SELECT count(*), max(body) FROM logs"


class Bucket:
    """A lake whose objects are no files, and lakes over it, as if each were another process."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.store = CountingStore(open_store(f"memory://{cache.name}"))
        self.catalog = open_catalog("memory://")
        writer = Lake(self.store, self.catalog)
        for number in range(4):
            writer.ingest(
                pa.table({"body": [f"{number} {row}" for row in range(500)]}), signal="logs"
            )

    def reader(self, **config: Any) -> Lake:
        settings = {"query_cache_directory": str(self.cache), **config}
        return Lake(self.store, self.catalog, config=settings)

    def fetched(self, lake: Lake) -> int:
        """Requests for whole objects that a query makes."""
        before = self.store.counts.get
        assert lake.sql(COUNT).fetchall() == [(2000, "3 99")]
        return self.store.counts.get - before

    def copies(self) -> list[Path]:
        return sorted(self.cache.glob("*/*.parquet"))

    def links(self) -> list[Path]:
        return [path for path in self.cache.glob("*/held/*/*") if path.is_file()]


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path / "cache")


def test_what_one_process_copied_all_others_read(bucket: Bucket) -> None:
    first, second = bucket.reader(), bucket.reader()
    assert bucket.fetched(first) == 4
    assert bucket.fetched(first) == 0
    assert bucket.fetched(second) == 0
    assert len(bucket.copies()) == 4
    assert bucket.links() == []
    first._queries.close()
    assert bucket.fetched(second) == 0
    assert bucket.fetched(bucket.reader()) == 0


def test_a_copy_may_be_removed_while_it_is_read(bucket: Bucket) -> None:
    lake = bucket.reader()
    batches = iter(lake.sql("SELECT body FROM logs"))
    next(batches)
    assert len(bucket.links()) == 4
    for copy in bucket.copies():
        copy.unlink()
    assert sum(batch.num_rows for batch in batches) > 0
    assert bucket.links() == []
    assert bucket.fetched(lake) == 4


@pytest.mark.parametrize("damage", ["shorter", "other bytes"])
def test_a_damaged_copy_is_made_again(bucket: Bucket, damage: str) -> None:
    bucket.fetched(bucket.reader())
    copy = bucket.copies()[0]
    data = copy.read_bytes()
    middle = len(data) // 2
    broken = data[:middle] if damage == "shorter" else data[:middle] + b"x" + data[middle + 1 :]
    copy.unlink()
    copy.write_bytes(broken)
    assert bucket.fetched(bucket.reader()) == 1
    assert bucket.copies()[0].read_bytes() == data


def test_the_least_recently_used_copies_go(bucket: Bucket) -> None:
    lake = bucket.reader()
    bucket.fetched(lake)
    sizes = [copy.stat().st_size for copy in bucket.copies()]
    oldest = bucket.copies()[2]
    os.utime(oldest, (1, 1))
    os.utime(bucket.copies()[0], (2, 2))
    bounded = bucket.reader(query_cache_bytes=sum(sizes) - 1)
    bucket.copies()[3].unlink()
    assert bucket.fetched(bounded) >= 1
    assert sum(copy.stat().st_size for copy in bucket.copies()) < sum(sizes)


def test_a_disk_that_is_full_makes_a_clear_error_and_no_half_files(tmp_path: Path) -> None:
    """Files may be no larger than a kilobyte, which is what a full disk looks like."""
    script = f"""
import resource, sys
sys.path.insert(0, {str(tmp_path)!r})
import pyarrow as pa
from pathlib import Path
import lakerunner
lake = lakerunner.open("memory://full", config={{"query_cache_directory": {str(tmp_path / "c")!r}}})
lake.ingest(pa.table({{"body": [str(n) for n in range(500)]}}), signal="logs")
text = "SELECT count(*) FROM logs WHERE body > ''"
lake.sql("SELECT 1").arrow()
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
try:
    lake.sql(text).scalar()
except lakerunner.errors.QueryExecutionError as error:
    print("cannot be copied" in str(error))
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
print([one.name for one in Path({str(tmp_path / "c")!r}).rglob("*") if one.is_file()])
print(lake.sql(text).scalar())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.split("\n")[:3] == ["True", "[]", "500"], done.stderr


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    where = str(tmp_path / "file" / "cache")
    with (
        lakerunner.open("memory://nowhere", config={"query_cache_directory": where}) as lake,
        pytest.raises(ConfigurationError, match="query_cache_directory"),
    ):
        lake.sql("SELECT 1")


def test_what_dead_processes_left_is_removed(bucket: Bucket) -> None:
    bucket.fetched(bucket.reader())
    (held,) = bucket.cache.glob("*/held")
    left = held / "1-dead"
    left.mkdir()
    (left / "x.parquet").write_bytes(b"x")
    os.utime(left, (1, 1))
    bucket.fetched(bucket.reader())
    assert not left.exists()


def test_links_that_are_gone_make_a_clear_error(bucket: Bucket) -> None:
    lake = bucket.reader()
    bucket.fetched(lake)
    for directory in bucket.cache.glob("*/held/*"):
        directory.rmdir()
    with pytest.raises(QueryExecutionError, match="cannot be copied"):
        lake.sql(COUNT).arrow()

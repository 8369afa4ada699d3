"""Processes that want to write take turns."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

from lakerunner.catalog.sqlite import SqliteCatalog
from lakerunner.catalog.sqlite.pool import WriterQueue
from lakerunner.testing.values import make_commit, make_segment

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

HOLD = """
import sys, time
from pathlib import Path
from lakerunner.catalog.sqlite.pool import WriterQueue
with WriterQueue(Path(sys.argv[1])).place(time.monotonic() + 60):
    print("held", flush=True)
    sys.stdin.read()
"""

COMMIT = """
import sys
from lakerunner.catalog.sqlite import SqliteCatalog
from lakerunner.testing.values import make_commit
catalog = SqliteCatalog(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    print(catalog.commit(make_commit(f"{sys.argv[2]}-{number}")), flush=True)
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() in {"held", "ready"}
    return process


def test_a_place_is_free_when_its_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with start(HOLD, str(path)) as holder:
        begun = time.monotonic()
        with WriterQueue(path).place(begun + 0.4):  # done without, after half of the time
            assert time.monotonic() >= begun + 0.2
        holder.kill()
        holder.wait()
        deadline = time.monotonic() + 600
        with WriterQueue(path).place(deadline):
            assert time.monotonic() < deadline - 300


def test_whoever_stands_still_at_the_head_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "catalog.db"
    with SqliteCatalog(path) as catalog, start(HOLD, str(path)) as holder:
        monkeypatch.setattr("lakerunner.catalog.sqlite.pool.CATALOG_BUSY_MS", 200)
        assert catalog.commit(make_commit("c1", add=[make_segment("a")])) == 1
        holder.communicate()


def test_processes_take_turns(tmp_path: Path) -> None:
    """None is done before every other one has had its turn, many times."""
    path = tmp_path / "catalog.db"
    SqliteCatalog(path).close()
    writers = [start(COMMIT, str(path), str(number)) for number in range(4)]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    sequences = [[int(line) for line in writer.communicate()[0].split()] for writer in writers]
    assert sorted(number for own in sequences for number in own) == list(range(1, 161))
    first_done = min(own[-1] for own in sequences)
    assert all(sum(number < first_done for number in own) >= 5 for own in sequences)

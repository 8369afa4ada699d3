"""Connections across threads, processes, forks and sudden ends."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog.sqlite import SqliteCatalog
from lakerunner.errors import CommitConflictError
from lakerunner.model.segment import encode_segment
from lakerunner.testing.catalog_fixture import ids
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment, make_source

if TYPE_CHECKING:
    from pathlib import Path

PREAMBLE = """
import os, sys, threading
from lakerunner.catalog.sqlite import SqliteCatalog
from lakerunner.testing.values import make_commit, make_segment, make_source

catalog = SqliteCatalog(sys.argv[1])

def commit(name):
    segments = [make_segment(f"{name}-{n}", n) for n in range(10)]
    return catalog.commit(make_commit(name, add=segments, take=[make_source(name)]))
"""

COMMIT_FOR_EVER = """
for number in range(10**6):
    print(commit(str(number)), flush=True)
"""

FORK_WHILE_OTHERS_COMMIT = """
stop = threading.Event()
counts = [0, 0]

def write(thread):
    while not stop.is_set():
        commit(f"parent-{thread}-{counts[thread]}")
        counts[thread] += 1

threads = [threading.Thread(target=write, args=(thread,)) for thread in range(2)]
for thread in threads:
    thread.start()
children = []
for child in range(5):
    pid = os.fork()
    if pid == 0:
        for number in range(10):
            commit(f"child-{child}-{number}")
        catalog.close()
        os._exit(0)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
stop.set()
for thread in threads:
    thread.join()
commit("last")
print(codes, 1 + sum(counts) + 50)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


def start(program: str, path: Path) -> subprocess.Popen[str]:
    # A fork while threads run is what is tested, so Python need not warn of it.
    options = ["-W", "ignore::DeprecationWarning", "-c", PREAMBLE + textwrap.dedent(program)]
    return subprocess.Popen(
        [sys.executable, *options, str(path)], stdout=subprocess.PIPE, text=True
    )


def check(path: Path, commits: int) -> None:
    """The file is sound, and everything in it agrees with everything else."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*), max(sequence) FROM commits").fetchone() == (
            commits,
            commits,
        )
        assert connection.execute("SELECT count(*) FROM ledger_recent").fetchone() == (commits,)
    with SqliteCatalog(path) as catalog:
        snapshot = catalog.snapshot(ORGANIZATION, "logs")
        assert (snapshot.segments, snapshot.rows) == (10 * commits, 10 * commits)
        assert snapshot.columns["timestamp"].physical == 10 * commits
        assert len(ids(catalog)) == 10 * commits


@pytest.mark.parametrize("acknowledged", [1, 20, 60])
def test_killed_in_the_middle_of_commits(path: Path, acknowledged: int) -> None:
    with start(COMMIT_FOR_EVER, path) as writer:
        assert writer.stdout is not None
        for _ in range(acknowledged):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        last = max([last, *map(int, writer.stdout.read().split())])
    with SqliteCatalog(path) as catalog:
        sequence = catalog.snapshot(ORGANIZATION, "logs").sequence
    assert sequence in {last, last + 1}  # the last one may be durable and not yet acknowledged
    check(path, sequence)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forks_while_threads_commit(path: Path) -> None:
    with start(FORK_WHILE_OTHERS_COMMIT, path) as program:
        output, _ = program.communicate(timeout=120)
    codes, _, commits = output.strip().rpartition(" ")
    assert codes == "[0, 0, 0, 0, 0]"
    check(path, int(commits))


def test_two_processes_commit_at_once(path: Path) -> None:
    commits = [
        make_commit(
            f"{writer}-{number}",
            add=[make_segment(f"{writer}-{number}-{n}", n) for n in range(10)],
            take=[make_source(str(number))],
        )
        for number in range(15)
        for writer in range(2)
    ]
    with (
        SqliteCatalog(path) as catalog,
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes,
    ):
        futures = [processes.submit(catalog.commit, commit) for commit in commits]
        errors = [future.exception() for future in futures]
    assert {type(error) for error in errors} == {type(None), CommitConflictError}
    for one, other in zip(errors[::2], errors[1::2], strict=True):
        assert (one is None) != (other is None)
    check(path, 15)


def test_a_reader_holds_nobody_up(path: Path) -> None:
    with SqliteCatalog(path) as catalog, catalog._pool.reading() as reader:
        count = "SELECT count(*) FROM commits"
        assert reader.execute(count).fetchone() == (0,)
        assert catalog.commit(make_commit("c1")) == 1
        assert reader.execute(count).fetchone() == (0,)  # still the state it began with


def test_connections_are_used_again(path: Path) -> None:
    with SqliteCatalog(path) as catalog:
        (connection,) = catalog._pool._idle
        catalog.commit(make_commit("c1", take=[make_source("a")]))
        with pytest.raises(CommitConflictError):
            catalog.commit(make_commit("c2", take=[make_source("a")]))
        thread = threading.Thread(target=ids, args=(catalog,))
        thread.start()
        thread.join()
        assert catalog._pool._idle == [connection]


def test_an_interrupted_transaction_leaves_nothing(path: Path) -> None:
    with SqliteCatalog(path) as catalog:

        def interrupted() -> None:
            with catalog._pool.writing() as connection:
                connection.execute("DELETE FROM tables")
                connection.execute(
                    "INSERT INTO segments VALUES (1, 'a', 1, 0, 0, 1, NULL, NULL, ?)",
                    (encode_segment(make_segment("a")),),
                )
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert catalog.commit(make_commit("c1", add=[make_segment("a")])) == 1
        assert ids(catalog) == ["a"]


def test_closing_while_a_transaction_runs(path: Path) -> None:
    with SqliteCatalog(path) as catalog:
        with catalog._pool.writing() as connection:
            catalog.close()
            connection.execute(
                "INSERT INTO commits (sequence, id, committed_ns) VALUES (1, 'c1', 0)"
            )
        assert catalog._pool._idle == []
        assert catalog.commit(make_commit("c1")) == 1


def test_a_forgotten_catalog_closes_its_file(path: Path) -> None:
    SqliteCatalog(path).commit(make_commit("c1"))
    assert [entry.name for entry in path.parent.iterdir()] == ["catalog.db"]

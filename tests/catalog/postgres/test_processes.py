"""Catalogs across threads, processes, forks and sudden ends."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import psycopg
import pytest

from lakerunner.catalog.postgres import PostgresCatalog
from lakerunner.errors import CommitConflictError
from lakerunner.testing.catalog_fixture import ids
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment, make_source

if TYPE_CHECKING:
    from lakerunner.testing.servers.postgres import PostgresServer

PREAMBLE = """
import os, sys, threading
from lakerunner.catalog.postgres import PostgresCatalog
from lakerunner.testing.values import make_commit, make_segment, make_source

catalog = PostgresCatalog(sys.argv[1])

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
        try:
            for number in range(10):
                commit(f"child-{child}-{number}")
            catalog.close()
        finally:
            os._exit(0)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
stop.set()
for thread in threads:
    thread.join()
commit("last")
print(codes, 1 + sum(counts) + 50)
"""

FORK_AND_END_WITHOUT_CLOSING = """
commit("first")
pid = os.fork()
if pid == 0:
    sys.exit(0 if commit("child") == 2 else 1)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print([code], commit("parent"))
"""


def start(program: str, url: str) -> subprocess.Popen[str]:
    # A fork while threads run is what is tested, so Python need not warn of it.
    options = ["-W", "error", "-W", "ignore::DeprecationWarning"]
    return subprocess.Popen(
        [sys.executable, *options, "-c", PREAMBLE + textwrap.dedent(program), url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check(url: str, commits: int) -> None:
    """Everything in the catalog agrees with everything else."""
    with PostgresCatalog(url) as catalog:
        snapshot = catalog.snapshot(ORGANIZATION, "logs")
        assert snapshot.sequence == commits
        assert (snapshot.segments, snapshot.rows) == (10 * commits, 10 * commits)
        assert snapshot.columns["timestamp"].physical == 10 * commits
        assert len(ids(catalog)) == 10 * commits
        rows = catalog._pool.read("SELECT count(*), max(sequence) FROM commits", {})
        assert rows == [(commits, commits)]
        assert catalog._pool.read("SELECT count(*) FROM ledger_recent", {}) == [(commits,)]


@pytest.mark.parametrize("acknowledged", [1, 20, 60])
def test_killed_in_the_middle_of_commits(url: str, acknowledged: int) -> None:
    with start(COMMIT_FOR_EVER, url) as writer:
        assert writer.stdout is not None
        for _ in range(acknowledged):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        last = max([last, *map(int, writer.stdout.read().split())])
    with PostgresCatalog(url) as catalog:
        sequence = catalog.commit(make_commit("after"))  # waits for what is still under way
        assert sequence - 1 in {last, last + 1}
        missing = sequence - 1
        rows = catalog._pool.read("SELECT count(*) FROM ledger_recent", {})
        assert rows == [(missing,)]
        assert catalog.snapshot(ORGANIZATION, "logs").segments == 10 * missing


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("program", [FORK_WHILE_OTHERS_COMMIT, FORK_AND_END_WITHOUT_CLOSING])
def test_forks(url: str, program: str) -> None:
    with start(program, url) as process:
        output, errors = process.communicate(timeout=120)
    codes, _, commits = output.strip().rpartition(" ")
    assert set(codes) <= set("[0, ]"), errors
    assert errors == ""
    check(url, int(commits))


def test_a_forgotten_catalog_ends_without_a_word(url: str) -> None:
    with start('print(commit("only"))', url) as process:
        assert process.communicate(timeout=60) == ("1\n", "")


def test_two_processes_commit_at_once(url: str) -> None:
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
        PostgresCatalog(url) as catalog,
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes,
    ):
        futures = [processes.submit(catalog.commit, commit) for commit in commits]
        errors = [future.exception() for future in futures]
    assert {type(error) for error in errors} == {type(None), CommitConflictError}
    for one, other in zip(errors[::2], errors[1::2], strict=True):
        assert (one is None) != (other is None)
    check(url, 15)


def test_numbers_become_visible_in_their_order(url: str) -> None:
    """Whoever has seen a number has seen all that lie below it."""

    def write(writer: int) -> None:
        with PostgresCatalog(url) as catalog:
            for number in range(25):
                name = f"{writer}-{number}"
                catalog.commit(make_commit(name, add=[make_segment(name, number)]))

    with PostgresCatalog(url) as catalog, ThreadPoolExecutor(4) as threads:
        writers = [threads.submit(write, writer) for writer in range(4)]
        while not all(writer.done() for writer in writers):
            before = catalog.snapshot(ORGANIZATION, "logs")
            assert before.sequence == before.segments
            seen = ids(catalog, sequence=before.sequence)
            assert len(seen) == before.segments
            assert ids(catalog, sequence=before.sequence) == seen
        for writer in writers:
            writer.result()


def test_it_travels_with_its_password(url: str, server: PostgresServer) -> None:
    with PostgresCatalog(url) as catalog:
        catalog.commit(make_commit("c1", add=[make_segment("a")]))
        with pickle.loads(pickle.dumps(catalog)) as copy:  # noqa: S301 - our own bytes
            assert ids(copy) == ["a"]
        for shown in (catalog.url, repr(catalog), str(catalog)):
            assert server.password not in shown


def test_closing_ends_all_connections(url: str, server: PostgresServer) -> None:
    catalog = PostgresCatalog(url)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: ids(catalog), range(20)))
    with catalog._pool.writing() as transaction:
        catalog.close()
        with transaction.asking():
            pass
        with transaction.changing() as connection:
            connection.execute("INSERT INTO buckets (url) VALUES ('s3://late')")
    with psycopg.connect(server.url(), autocommit=True) as admin:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lakerunner'"
        deadline = time.monotonic() + 5
        while admin.execute(query).fetchone() != (0,) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert admin.execute(query).fetchone() == (0,)
    assert catalog._pool.read("SELECT url FROM buckets", {}) == [("s3://late",)]
    catalog.close()
    catalog.close()

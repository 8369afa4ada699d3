"""Worker processes of a command: none for one task, and then one for each core."""

from __future__ import annotations

import os

from lakerunner.executors import available_cores, worker_processes


def test_the_first_task_runs_here_and_the_others_elsewhere() -> None:
    with worker_processes(2) as pool:
        assert pool is not None
        assert pool.submit(os.getpid).result() == os.getpid()
        others = {pool.submit(os.getpid).result() for _ in range(4)}
    assert os.getpid() not in others
    assert len(others) <= 2


def test_a_pool_that_nothing_was_handed_ends() -> None:
    with worker_processes(2) as pool:
        assert pool is not None
    with worker_processes(1) as pool:
        assert pool is None
    assert available_cores() >= 1

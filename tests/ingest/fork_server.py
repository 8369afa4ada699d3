"""A process that has everything loaded, and forks workers which it kills at given moments.

Reads a list of jobs from each line of its input, as JSON, and runs them side by side; answers with
a line of their statuses: negative for one that was killed, as `subprocess` says it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from typing import Any, TypedDict

import lakerunner.catalog.sqlite  # loaded once, for all workers
import lakerunner.opening
import lakerunner.store.local
import lakerunner.store.s3
from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.store import open_store

_POLL_SECONDS = 0.0005


class Job(TypedDict):
    """What a worker ingests, and when it is killed: seconds after its start; None for never."""

    source: str
    lake: str
    catalog: str
    options: dict[str, Any]
    config: dict[str, Any]
    kill_after: float | None


def work(job: Job) -> None:
    """An ingest, as any program does it."""
    options = job["options"]
    catalog: Any = job["catalog"]
    if catalog.startswith("bucket+"):
        catalog = BucketCatalog(open_store(job["lake"], options), checkpoint_every=5)
    with lakerunner.opening.open(
        job["lake"], catalog=catalog, storage_options=options, config=job["config"]
    ) as lake:
        lake.ingest(job["source"])


def start(job: Job) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        work(job)
    except BaseException:  # noqa: BLE001 - must not return into the loop of the parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def run(jobs: list[Job]) -> list[int]:
    """Run workers side by side; a process that was not waited for keeps its number."""
    begun = time.monotonic()
    running = {start(job): number for number, job in enumerate(jobs)}
    kills = {pid: jobs[number]["kill_after"] for pid, number in running.items()}
    statuses = [0] * len(jobs)
    while running:
        for pid in list(running):
            after = kills[pid]
            if after is not None and time.monotonic() - begun >= after:
                kills[pid] = None
                os.kill(pid, signal.SIGKILL)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                statuses[running.pop(pid)] = os.waitstatus_to_exitcode(status)
        time.sleep(_POLL_SECONDS)
    return statuses


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run(json.loads(line))) + "\n")
        sys.stdout.flush()

"""Processes take in and maintain one lake in S3; some of them are killed at random.

Three of which one is killed; with HYPOTHESIS_PROFILE=nightly, eight of which two are.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import lakerunner
from lakerunner.generate import TelemetryConfig, telemetry_objects
from lakerunner.model.signal import Signal
from lakerunner.store import open_store

if TYPE_CHECKING:
    from lakerunner.testing.servers import Service

PROCESSES, KILLED = (8, 2) if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else (3, 1)

CODE = """
import json, sys
import lakerunner
url, source, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
with lakerunner.open(url, storage_options=options, config={"batch_objects": 2}) as lake:
    print("open", flush=True)
    sys.stdin.readline()
    lake.ingest(source)
    lake.maintain()
"""
FACTS = {
    "logs": "count(*), count(DISTINCT body), min(timestamp), max(timestamp)",
    "spans": "count(*), count(DISTINCT span_id), sum(duration_ns)",
    "metrics": "count(*), count(DISTINCT series_id), sum(value_int), sum(count)",
}


def facts(lake: lakerunner.Lake) -> dict[str, object]:
    return {name: lake.sql(f"SELECT {what} FROM {name}").fetchall() for name, what in FACTS.items()}


def test_some_are_killed_at_random(seaweed: Service) -> None:
    options = dict(seaweed.storage_options)
    config = TelemetryConfig(
        seed=3, signals=tuple(Signal), rate=15, duration_s=10, records_per_object=50
    )
    lake, raw = "s3://lake/many/lake", "s3://lake/many/raw"
    places = [open_store(raw, options), open_store("memory://many/raw")]
    for each in telemetry_objects(config):
        for store in places:
            store.put(each.key, each.data)
    with lakerunner.open("memory://many/lake") as reference:
        reference.ingest("memory://many/raw/")
        expected = facts(reference)
    command = [sys.executable, "-c", CODE, lake, f"{raw}/", json.dumps(options)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    for one in workers:
        assert one.stdout is not None
        assert one.stdout.readline() == "open\n"
    for one in workers:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    chosen = random.Random()  # noqa: S311 - another moment each time is what it is for
    for one in chosen.sample(workers, KILLED):
        time.sleep(chosen.uniform(0.1, 1.5))
        one.send_signal(signal.SIGKILL)
    for one in workers:
        one.communicate()
    assert sum(one.returncode == 0 for one in workers) >= PROCESSES - KILLED
    with lakerunner.open(lake, storage_options=options) as watching:
        watching.ingest(f"{raw}/")  # what those had taken on that were killed
        assert facts(watching) == expected
        watching.maintain()
        assert facts(watching) == expected
        assert not watching.verify()
        assert watching.ingest(f"{raw}/").objects == 0

"""Watchers that are killed in the middle of their work: every row lands, and lands once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import lakerunner

if TYPE_CHECKING:
    from pathlib import Path

WATCH = """
import json, sys, lakerunner
from lakerunner.events.sqs import SqsSource
lake_url, url, options = sys.argv[1:]
options = json.loads(options)
with lakerunner.open(lake_url, storage_options=options) as lake:
    source = SqsSource(url, options, lease_seconds=1)
    print("ready", flush=True)
    say = lambda event: print(event.done, flush=True)
    lake.watch(source, max_age=0.05, max_objects=7, progress=say)
"""


def test_a_watcher_that_is_killed_again_and_again(cloud: Any, tmp_path: Path) -> None:
    cloud.announce()
    for number in range(100):
        cloud.put(f"logs_{number}.binpb", f"{number:03}")
        if number % 3 == 0:  # announced again, and out of order
            cloud.send(cloud.event(f"logs_{number // 2}.binpb"))
    command = [sys.executable, "-c", WATCH, str(tmp_path / "lake"), cloud.url]
    for gatherings, pause in ((1, 0.0), (2, 0.03)):
        process = subprocess.Popen(
            [*command, json.dumps(cloud.options)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(1 + gatherings):
            assert process.stdout.readline()
        time.sleep(pause)  # somewhere in the next gathering
        process.kill()
        process.communicate()
    with lakerunner.open(tmp_path / "lake", storage_options=cloud.options) as lake:
        assert 0 < lake.sql("SELECT body FROM logs").to_arrow().num_rows < 100
        lake.watch(cloud.url, until_idle=1.5, max_age=0.5)
        found = lake.sql("SELECT body FROM logs ORDER BY body").to_arrow()["body"].to_pylist()
        assert found == [f"{number:03}" for number in range(100)]
    assert cloud.left() == 0

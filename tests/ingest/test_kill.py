"""Workers that are killed with `kill -9` at random moments, 200 times, lose and double nothing."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lakerunner.testing.servers import Service
    from tests.ingest.conftest import World, Worlds

SERVER = Path(__file__).with_name("fork_server.py")
CONFIG = {"batch_objects": 2, "backoff_seconds": 0.01, "attempts": 9}


@contextmanager
def fork_server() -> Iterator[Callable[[list[dict[str, Any]]], list[int]]]:
    """A call that runs jobs side by side and returns their statuses; see `fork_server.py`."""
    command = [sys.executable, "-W", "ignore", str(SERVER)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        source, sink = process.stdout, process.stdin
        assert source is not None
        assert sink is not None

        def run(jobs: list[dict[str, Any]]) -> list[int]:
            sink.write(f"{json.dumps(jobs)}\n")
            sink.flush()
            answer: list[int] = json.loads(source.readline())
            return answer

        yield run
        sink.close()


class Killer:
    """Puts objects, starts two workers, and kills those that live too long; again and again.

    Args:
        world: Where they work.
        options: How a worker reaches the store.
        objects: How many new objects each round brings.
        seed: Of the moments.
    """

    def __init__(
        self, world: World, options: Mapping[str, object], objects: int, seed: int
    ) -> None:
        self.world, self.objects = world, objects
        self.rng = random.Random(seed)  # noqa: S311 - no secret depends on it
        self.job = {
            "source": world.input_url,
            "lake": world.lake.url,
            "catalog": world.catalog_url,
            "options": dict(options),
            "config": CONFIG,
        }
        self.names = (f"logs_{number:05d}.binpb" for number in range(10**5))
        self.rounds = self.kills = self.progress = self.committed = self.orphans = 0

    def bring(self) -> None:
        for _ in range(self.objects):
            self.world.put(next(self.names), rows=2)

    def run(self, kills: int) -> None:
        """Go on until so many workers were killed."""
        with fork_server() as server:
            self.bring()
            begun = time.monotonic()
            assert server([{**self.job, "kill_after": None}]) == [0]
            longest = time.monotonic() - begun
            while self.kills < kills:
                self.bring()
                moments = [self.rng.uniform(0, longest) for _ in range(2)]
                statuses = server([{**self.job, "kill_after": moment} for moment in moments])
                assert set(statuses) <= {0, -9}
                killed = statuses.count(-9)
                self.kills += killed
                # So that most are killed, and some at their very end: more work takes longer.
                longest *= (0.7, 0.95, 1.1)[killed]
                self.look()
            assert server([{**self.job, "kill_after": None}]) == [0]
        with self.world.look() as catalog:
            self.orphans = len(self.world.unnamed(catalog))
        self.world.settle()

    def look(self) -> None:
        with self.world.look() as catalog:
            rows = catalog.snapshot("default", "logs").rows
        self.rounds += 1
        self.progress += rows > self.committed
        self.committed = rows


@pytest.mark.parametrize("worlds", ["sqlite"], indirect=True)
def test_killed_160_times_over_a_directory(worlds: Worlds) -> None:
    killer = Killer(worlds(), {}, objects=4, seed=1)
    killer.run(kills=160)
    # Some died before they had committed anything, some after they had, and some in between.
    assert 10 < killer.progress < killer.rounds
    assert killer.orphans


@pytest.mark.parametrize("worlds", ["bucket-s3"], indirect=True)
def test_killed_40_times_over_a_bucket(worlds: Worlds, moto_s3: Service) -> None:
    killer = Killer(worlds(), moto_s3.storage_options, objects=2, seed=2)
    killer.run(kills=40)
    assert 2 < killer.progress < killer.rounds
    assert killer.orphans

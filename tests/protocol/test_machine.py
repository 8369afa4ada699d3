"""The workers themselves, frozen at any call while others go on: rows are as the model says."""

from __future__ import annotations

import io
import itertools
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar
from unittest.mock import patch
from uuid import uuid4

import hypothesis.strategies as st
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

import lakerunner
from lakerunner.catalog import open_catalog
from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.catalog.postgres import PostgresCatalog
from lakerunner.errors import (
    CatalogError,
    CommitUnknownError,
    LakerunnerError,
    ObjectNotFoundError,
    SnapshotExpiredError,
    StoreUnavailableError,
)
from lakerunner.fencing import Fence
from lakerunner.model.commit import Commit
from lakerunner.model.config import Config
from lakerunner.publish.committing import announce_removal, publish_removal
from lakerunner.store import open_store
from lakerunner.testing.faults import Fault, FaultPlan, FaultyCatalog, FaultyStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.testing.faults import Ticket
    from lakerunner.testing.servers.postgres import PostgresServer

CONFIG = Config(orphan_grace_ns=1, attempts=2, backoff_seconds=0.0001)
DAY_NS = 24 * 3600 * 10**9
STEP = st.tuples(
    st.sampled_from(["write", "write", "collect", "collect", "retain", "recover", "read"]),
    st.integers(1, 20),  # the call before which the next one goes on
    st.integers(-3, 3),  # days by which its clock is wrong
)
LOST = st.none() | st.none() | st.integers(1, 20)


class Frozen(FaultPlan):
    """A worker that stands still before one call while others work, and whose reply is lost."""

    def __init__(self, call: int, meanwhile: Callable[[], None], lost: int | None) -> None:
        faults = []
        if lost is not None:
            for name in ("commit", "condemn"):
                error = CommitUnknownError("no reply")
                faults.append(Fault(lost, f"catalog.{name}", after=True, error=error))
            error_ = StoreUnavailableError("no reply")
            faults.append(Fault(lost, "store.put", after=True, error=error_))
        super().__init__(*faults)
        self._call, self._meanwhile = call, meanwhile

    def begin(self, name: str) -> Ticket:
        """Let others go on first, at one call."""
        if len(self.calls) + 1 == self._call:
            self._meanwhile()
        return super().begin(name)


class Workers(RuleBasedStateMachine):
    """Two writers, a collector, retention, a recoverer and a reader over one lake."""

    open_catalog: ClassVar[Callable[[], Catalog]]

    def __init__(self) -> None:
        super().__init__()
        self.url = f"memory://{uuid4().hex}"
        self.raw = open_store(f"{self.url}/raw")
        self.store = open_store(f"{self.url}/lake")
        self.catalog = type(self).open_catalog()
        self.numbers = itertools.count()
        self.put_so_far: set[str] = set()
        self.kept: set[str] = set()
        self.removed: set[str] = set()
        self.maybe: set[str] = set()
        """Rows whose removal was tried, and of which nobody was told."""

    @rule(objects=st.integers(1, 3))
    def put(self, objects: int) -> None:
        """New objects, of two rows each."""
        for _ in range(objects):
            name = next(self.numbers)
            lines = [f'{{"message": "{name}-{n}", "time": {1_790_078_400 + n}}}' for n in (1, 2)]
            self.raw.put(f"{name}.jsonl", "\n".join(lines).encode())
            self.put_so_far |= {f"{name}-1", f"{name}-2"}

    @rule(steps=st.lists(STEP, min_size=1, max_size=4), lost=LOST)
    def work(self, steps: Sequence[tuple[str, int, int]], lost: int | None) -> None:
        """Each goes on while the one before it stands still, and ends before that one resumes."""
        self.run(steps, lost)
        if not self.catalog.head().whole:
            lakerunner.Lake(self.store, self.catalog, config=CONFIG).recover(merge=True)
        self.check()

    def run(self, steps: Sequence[tuple[str, int, int]], lost: int | None) -> None:
        """The first step, and within it the others."""
        if not steps:
            return
        (name, call, days), *rest = steps
        plan = Frozen(call, lambda: self.run(rest, None), lost)
        store, catalog = FaultyStore(self.store, plan), FaultyCatalog(self.catalog, plan)
        lake = lakerunner.Lake(store, catalog, config=CONFIG)
        real = time.time_ns
        with suppress(LakerunnerError), ExitStack() as stack:
            clock = patch("time.time_ns", lambda: real() + days * DAY_NS)
            stack.enter_context(clock)
            getattr(self, f"_{name}")(lake)

    def _write(self, lake: lakerunner.Lake) -> None:
        lake.ingest(f"{self.url}/raw/")

    def _collect(self, lake: lakerunner.Lake) -> None:
        lake.collect_orphans()

    def _recover(self, lake: lakerunner.Lake) -> None:
        lake.recover(merge=True)

    def _read(self, lake: lakerunner.Lake) -> None:
        snapshot = lake.snapshot()
        before = {segment.id for segment in lake.at(snapshot).segments()}
        with suppress(SnapshotExpiredError):
            assert {segment.id for segment in lake.at(snapshot).segments()} == before

    def _retain(self, lake: lakerunner.Lake) -> None:
        fence = Fence(lake.store, lake.catalog)
        head = fence.begin()
        live = lake.segments()
        if not live:
            return
        rows = set(self.texts(live[0].key))
        announced = announce_removal(fence, "retain", live[:1], head)
        commit = Commit(uuid4().hex, "default", 0, remove=(live[0].id,))
        self.maybe |= rows
        publish_removal(fence, commit, announced, head, CONFIG)
        self.removed |= rows
        if next(self.numbers) % 2:
            return  # within its grace period
        lake.catalog.purge([live[0].id])
        lake.store.delete(live[0].key)

    def texts(self, key: str) -> list[str]:
        """The rows of a file, which must be there."""
        table = pq.read_table(io.BytesIO(self.store.get(key).data), columns=["body"])
        found: list[str] = table["body"].to_pylist()
        return found

    def check(self) -> None:
        """Nothing is lost, doubled, or back."""
        live = self.catalog.segments("default", "logs")
        seen = Counter(text for segment in live for text in self.texts(segment.key))
        assert not [text for text, times in seen.items() if times > 1]
        assert self.kept - self.maybe <= seen.keys()
        assert not self.removed & seen.keys()
        self.kept |= seen.keys()

    def teardown(self) -> None:
        """A last ingest takes what is left, and nothing that was removed."""
        lake = lakerunner.Lake(self.store, self.catalog, config=CONFIG)
        lake.ingest(f"{self.url}/raw/")
        self.check()
        assert self.put_so_far - self.maybe <= self.kept
        lake.collect_orphans(force=True)
        self.check()
        self.catalog.close()


class LosingWorkers(Workers):
    """The same, with a catalog that is lost now and then: what is in its place is empty."""

    def _recover(self, lake: lakerunner.Lake) -> None:
        assert isinstance(self.catalog, MemoryCatalog)
        self.catalog._state = type(self.catalog._state)()
        lake.recover()

    def check(self) -> None:
        """What recovery could not tell from what was never committed is taken again."""
        with suppress(CatalogError):
            lakerunner.Lake(self.store, self.catalog).ingest(f"{self.url}/raw/")
        if self.catalog.head().sequence == 0 and self.kept:  # lost, and its recovery was refused
            lakerunner.Lake(self.store, self.catalog).recover(merge=True)
            lakerunner.Lake(self.store, self.catalog).ingest(f"{self.url}/raw/")
        super().check()


def run(machine: type[Workers], opened: Callable[[], Catalog], share: int) -> None:
    """A part of the examples of the profile, for what takes so much longer than others."""
    own = type("Machine", (machine,), {"open_catalog": staticmethod(opened)})
    examples = max(2, settings().max_examples // share)
    run_state_machine_as_test(
        own, settings=settings(max_examples=examples, stateful_step_count=8, deadline=None)
    )


WORK = ["write", "collect", "retain", "recover"]


@pytest.mark.parametrize("losing", [False, True], ids=["the catalog is there", "it is lost"])
@pytest.mark.parametrize("second", WORK)
@pytest.mark.parametrize("first", WORK)
def test_each_beside_each_at_any_call(first: str, second: str, *, losing: bool) -> None:
    """One stands still before each of its calls in turn, while the other does all of its work."""
    machine: Any = LosingWorkers if losing else Workers
    opened = type("Opened", (machine,), {"open_catalog": staticmethod(MemoryCatalog)})
    for call in range(1, 18):
        workers = opened()
        workers.put(1)
        workers.work([("write", 99, 0)], None)
        workers.put(1)
        workers.work([(first, call, -2), (second, 99, 2)], None)
        workers.teardown()


def test_the_walk_finds_what_condemnation_prevents() -> None:
    """Were condemned ids forgotten, a writer beside a collector would commit a deleted file."""
    condemn = MemoryCatalog.condemn

    def forgetful(self: MemoryCatalog, ids: Sequence[str], incarnation: int, **floor: int) -> Any:
        found = condemn(self, ids, incarnation, **floor)
        self._state.condemned = set()
        return found

    def walk() -> None:
        for call in range(1, 18):
            workers: Any = type(
                "Opened", (Workers,), {"open_catalog": staticmethod(MemoryCatalog)}
            )()
            workers.put(1)
            workers.work([("write", 99, 0)], None)
            workers.put(1)
            workers.work([("write", call, -2), ("collect", 99, 2)], None)
            workers.teardown()

    walk()
    with patch.object(MemoryCatalog, "condemn", forgetful), pytest.raises(ObjectNotFoundError):
        walk()


def test_in_memory() -> None:
    """Any order of steps, with the catalog in memory."""
    run(Workers, MemoryCatalog, 5)


def test_in_memory_with_losses() -> None:
    """Any order of steps, and a catalog that is lost."""
    run(LosingWorkers, MemoryCatalog, 5)


def test_in_a_file() -> None:
    """Any order of steps, with SQLite."""
    with TemporaryDirectory() as directory:
        run(Workers, lambda: open_catalog(f"sqlite://{Path(directory, uuid4().hex)}"), 10)


def test_in_a_bucket() -> None:
    """Any order of steps, with the catalog in a bucket."""
    run(Workers, lambda: BucketCatalog(open_store(f"memory://{uuid4().hex}")), 10)


def test_in_a_database(postgres_server: PostgresServer) -> None:
    """Any order of steps, with PostgreSQL."""
    run(Workers, lambda: PostgresCatalog(f"{postgres_server.url()}?schema=s{uuid4().hex}"), 20)

"""Workers of one lake, each of which may stand still before any of its calls while others go on."""

from __future__ import annotations

import copy
import io
import itertools
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING
from unittest.mock import patch
from uuid import uuid4

import pyarrow.parquet as pq

import lakerunner
from lakerunner.catalog import open_catalog
from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.catalog.bucket.records import LOG_PREFIX
from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.catalog.postgres import PostgresCatalog
from lakerunner.catalog.sqlite import SqliteCatalog
from lakerunner.errors import (
    CommitUnknownError,
    LakerunnerError,
    SnapshotExpiredError,
    StoreUnavailableError,
)
from lakerunner.fencing import Fence
from lakerunner.model.commit import Commit
from lakerunner.model.config import Config
from lakerunner.publish.committing import announce_removal, publish_removal
from lakerunner.store import open_store
from lakerunner.store.counting import WrapperStore
from lakerunner.testing.faults import Fault, FaultPlan, FaultyCatalog, FaultyStore, SimulatedCrash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from lakerunner.catalog import Catalog
    from lakerunner.store import ObjectMeta
    from lakerunner.testing.faults import Ticket

DAY_NS = 24 * 3600 * 10**9
DAYS = (0, 2, -2, 400, -400)
END = 10**6
KILL = "kill"

Until = str | int
"""How far a worker goes: until before its next call of a name, or for so many calls more."""

Move = tuple[str, Until]
"""Who goes on, and how far. A digit behind a name tells two apart who do the same."""

CONFIG = Config(orphan_grace_ns=1, removed_grace_ns=1, attempts=2, backoff_seconds=0.0001)


class Pausing(FaultPlan):
    """The calls of one worker, which stands still before some of them until it is told to go on."""

    def __init__(self, lost: int | None = None) -> None:
        faults = []
        if lost is not None:
            for name in ("commit", "condemn"):
                error = CommitUnknownError("no reply")
                faults.append(Fault(lost, f"catalog.{name}", after=True, error=error))
            error_ = StoreUnavailableError("no reply")
            faults.append(Fault(lost, "store.put", after=True, error=error_))
        super().__init__(*faults)
        self.changed = threading.Condition()
        self.until: Until = END
        self.still = False
        self.dead = False

    def begin(self, name: str) -> Ticket:
        """Stand still first, if this is the call."""
        with self.changed:
            self.changed.wait_for(lambda: not self.still)
            if self.until in (name, 0):
                self.still = True
                self.changed.notify_all()
                self.changed.wait_for(lambda: not self.still)
            if isinstance(self.until, int):
                self.until -= 1
            if self.dead:
                raise SimulatedCrash(f"killed before {name}")
        return super().begin(name)


class Worker:
    """Somebody at work in a thread of his own, who goes on only as far as he is told.

    Args:
        work: What he does.
        plan: His calls.
    """

    def __init__(self, work: Callable[[], None], plan: Pausing) -> None:
        self.plan = plan
        self.failure: BaseException | None = None
        self._work = work
        self._ended = False
        self._thread = threading.Thread(target=self._do, daemon=True)

    def _do(self) -> None:
        try:
            self._work()
        except (LakerunnerError, SimulatedCrash):
            pass
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self.failure = error
        finally:
            with self.plan.changed:
                self._ended = True
                self.plan.changed.notify_all()

    def go(self, until: Until) -> None:
        """Go on until before a call, or to the end."""
        with self.plan.changed:
            self.plan.until, self.plan.still = until, False
            self.plan.changed.notify_all()
            if self._thread.ident is None:
                self._thread.start()
            arrived = self.plan.changed.wait_for(lambda: self.plan.still or self._ended, 120)
        assert arrived, "a worker waits for another one"
        if self.failure is not None:
            raise self.failure

    def kill(self) -> None:
        """Do nothing more."""
        with self.plan.changed:
            self.plan.dead = True
        self.go(END)


class Lagging(WrapperStore):
    """A store of which every third listing of a log lacks an entry that others follow."""

    def __init__(self) -> None:
        super().__init__(open_store(f"memory://{uuid4().hex}"))
        self._listings = itertools.count(1)

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        """Describe objects; not all of them."""
        found = list(self.inner.list(prefix, start_after=start_after))
        lags = prefix == LOG_PREFIX and next(self._listings) % 3 == 0
        return iter(found[1:] if lags and len(found) > 1 else found)


class Workers:
    """Writers, a collector, a compactor, retention, a recoverer and a reader over one lake.

    After each piece of work what can be read is compared with what was put, removed and promised.

    Args:
        opened: Makes an empty catalog.
    """

    def __init__(self, opened: Callable[[], Catalog]) -> None:
        self.opened = opened
        self.url = f"memory://{uuid4().hex}"
        self.raw = open_store(f"{self.url}/raw")
        self.store = open_store(f"{self.url}/lake")
        self.catalogs = [opened()]
        self.catalog = FaultyCatalog(self.catalogs[0], FaultPlan())  # what it holds can be lost
        self.numbers = itertools.count()
        self.put_so_far: set[str] = set()
        self.kept: set[str] = set()
        self.removed: set[str] = set()
        self.maybe: set[str] = set()
        """Rows whose removal was tried, and of which nobody was told."""
        self.copies: list[Catalog] = []

    def put(self, objects: int, folder: str = "a") -> None:
        """New objects, of two rows each; each writer has a folder of its own."""
        for _ in range(objects):
            name = next(self.numbers)
            lines = [f'{{"message": "{name}-{n}", "time": {1_790_078_400 + n}}}' for n in (1, 2)]
            self.raw.put(f"{folder}/{name}.jsonl", "\n".join(lines).encode())
            self.put_so_far |= {f"{name}-1", f"{name}-2"}

    def work(self, moves: Sequence[Move], lost: int | None = None) -> None:
        """Let workers go on in turn. Who is left standing ends in the order of his beginning."""
        at_work: dict[str, Worker] = {}
        real, days = time.time_ns, 0
        with patch("time.time_ns", lambda: real() + days * DAY_NS):
            try:
                for who, until in [*moves, *((who, END) for who in dict(moves))]:
                    # By how many days a clock is wrong: it never matters.
                    days = DAYS[sum(map(ord, who)) % len(DAYS)]
                    if who not in at_work:
                        at_work[who] = self.hire(who, lost if not at_work else None)
                    if until == KILL:
                        at_work[who].kill()
                    else:
                        at_work[who].go(until)
            finally:
                for worker in at_work.values():
                    worker.kill()
        self.settle()
        self.check()

    def hire(self, who: str, lost: int | None = None) -> Worker:
        """Somebody who has not begun yet."""
        plan = Pausing(lost)
        lake = lakerunner.Lake(
            FaultyStore(self.store, plan), FaultyCatalog(self.catalog, plan), config=CONFIG
        )
        return Worker(partial(getattr(self, f"_{who.rstrip('123')}"), lake), plan)

    @property
    def lake(self) -> lakerunner.Lake:
        """The lake, undisturbed."""
        return lakerunner.Lake(self.store, self.catalog, config=CONFIG)

    def settle(self) -> None:
        """What a person does who is told so: recover what is not whole, empty, or set back."""
        try:
            Fence(self.store, self.catalog).compare()
        except LakerunnerError:
            self.lake.recover(merge=True)
            # What recovery could not tell from what was never committed is taken again.
            self.lake.ingest(f"{self.url}/raw/")

    def _write(self, lake: lakerunner.Lake) -> None:
        lake.ingest(f"{self.url}/raw/")

    def _first(self, lake: lakerunner.Lake) -> None:
        lake.ingest(f"{self.url}/raw/a/")

    def _second(self, lake: lakerunner.Lake) -> None:
        lake.ingest(f"{self.url}/raw/b/")

    def _collect(self, lake: lakerunner.Lake) -> None:
        lake.collect_orphans()

    def _maintain(self, lake: lakerunner.Lake) -> None:
        lake.maintain()

    def _compact(self, lake: lakerunner.Lake) -> None:
        lake.compact()

    def _recover(self, lake: lakerunner.Lake) -> None:
        lake.recover(merge=True)

    def _lose(self, lake: lakerunner.Lake) -> None:
        """What is in the place of the catalog is empty."""
        del lake
        self._replace(self.opened())

    def _copy(self, lake: lakerunner.Lake) -> None:
        """Somebody makes a backup of the catalog."""
        del lake
        self.copies.append(copied(self.catalog.inner, self.opened()))

    def _restore(self, lake: lakerunner.Lake) -> None:
        """The backup is in the place of the catalog."""
        del lake
        self._replace(self.copies.pop())

    def _replace(self, catalog: Catalog) -> None:
        self.catalogs.append(catalog)
        self.catalog.inner = catalog

    def _expire(self, lake: lakerunner.Lake) -> None:
        """Producers delete what was acknowledged, so that it cannot be taken again."""
        del lake
        self.check()
        for meta in list(self.raw.list()):
            name = meta.key.rpartition("/")[2].removesuffix(".jsonl")
            if {f"{name}-1", f"{name}-2"} <= self.kept:
                self.raw.delete(meta.key)

    def _checkpoint(self, lake: lakerunner.Lake) -> None:
        """Time passes: a catalog in a bucket merges its parts, and forgets what it may."""
        del lake
        catalog = self.catalog.inner
        for number in range(8 if isinstance(catalog, BucketCatalog) else 0):
            assert isinstance(catalog, BucketCatalog)
            catalog.condemn([f"nobody's {number}"], catalog.head().incarnation)
            catalog.checkpoint()

    def _settle(self, lake: lakerunner.Lake) -> None:
        del lake
        self.settle()

    def _read(self, lake: lakerunner.Lake) -> None:
        snapshot, catalog = lake.snapshot(), self.catalog.inner
        before = {segment.id for segment in lake.at(snapshot).segments()}
        with suppress(SnapshotExpiredError):
            after = {segment.id for segment in lake.at(snapshot).segments()}
            assert after == before or catalog is not self.catalog.inner, "shrunk"

    def _retain(self, lake: lakerunner.Lake) -> None:
        """Remove a segment, whose file stays for its grace period."""
        fence = Fence(lake.store, lake.catalog)
        head = fence.begin()
        for segment in list(lake.segments())[:1]:
            rows = set(self.texts(segment.key))
            announced = announce_removal(fence, "retain", [segment], head)
            commit = Commit(uuid4().hex, "default", 0, remove=(segment.id,))
            self.maybe |= rows
            publish_removal(fence, commit, announced, head, CONFIG)
            self.removed |= rows

    def _purge(self, lake: lakerunner.Lake) -> None:
        """Remove a segment, and delete its file at once."""
        live = list(lake.segments())[:1]
        self._retain(lake)
        for segment in live:
            lake.catalog.purge([segment.id])
            lake.store.delete(segment.key)

    def texts(self, key: str) -> list[str]:
        """The rows of a file, which must be there."""
        table = pq.read_table(io.BytesIO(self.store.get(key).data), columns=["body"])
        found: list[str] = table["body"].to_pylist()
        return found

    def check(self) -> None:
        """Nothing is lost, doubled, or back."""
        live = self.catalog.segments("default", "logs")
        seen = Counter(text for segment in live for text in self.texts(segment.key))
        assert not [text for text, times in seen.items() if times > 1], "doubled"
        assert self.kept - self.maybe <= seen.keys(), "lost"
        assert not self.removed & seen.keys(), "back"
        self.kept |= seen.keys()

    def finish(self) -> None:
        """A last ingest takes what is left, and nothing that was removed."""
        self.lake.ingest(f"{self.url}/raw/")
        self.check()
        assert self.put_so_far - self.maybe <= self.kept, "never taken"
        self.lake.collect_orphans(force=True)
        self.check()

    def close(self) -> None:
        """Close all catalogs, those that were lost as well."""
        for catalog in (*self.catalogs, *self.copies):
            catalog.close()


def copied(catalog: Catalog, empty: Catalog) -> Catalog:
    """The state of a catalog, in an empty one of its kind."""
    if isinstance(catalog, MemoryCatalog) and isinstance(empty, MemoryCatalog):
        own = {"lock", "leases"}
        kept = {name: value for name, value in vars(catalog._state).items() if name not in own}
        vars(empty._state).update(copy.deepcopy(kept))
    elif isinstance(catalog, BucketCatalog) and isinstance(empty, BucketCatalog):
        for meta in list(catalog.store.list()):
            empty.store.put(meta.key, catalog.store.get(meta.key).data)
    else:
        assert isinstance(catalog, SqliteCatalog)
        assert isinstance(empty, SqliteCatalog)
        with (
            closing(sqlite3.connect(catalog.path)) as old,
            closing(sqlite3.connect(empty.path)) as new,
        ):
            old.backup(new)
    return empty


def catalogs(kind: str, place: Path, server: str) -> Callable[[], Catalog]:
    """What makes empty catalogs of a kind, one after the other."""
    return {
        "memory": MemoryCatalog,
        "sqlite": lambda: open_catalog(f"sqlite://{place}/{uuid4().hex}.db"),
        "bucket": lambda: BucketCatalog(Lagging(), checkpoint_every=5),
        "postgresql": lambda: PostgresCatalog(f"{server}?schema=s{uuid4().hex}"),
    }[kind]


KINDS = ("memory", "sqlite", "bucket", "postgresql")

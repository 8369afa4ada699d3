"""A bucket of raw objects, a lake, and a queue of events between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from lakerunner.catalog.memory import MemoryCatalog
from lakerunner.events import Delivery, EventQueue
from lakerunner.ingest import Ingestor
from lakerunner.model.config import Config
from lakerunner.model.report import ObjectEvent
from lakerunner.query import QueryEngine
from lakerunner.store import open_store
from lakerunner.store.memory import MemoryStore
from lakerunner.testing.faults import FaultyCatalog, FaultyStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from lakerunner.model.report import IngestReport
    from lakerunner.store import ObjectMeta, ObjectStore
    from lakerunner.testing.faults import FaultPlan

CONFIG = Config(backoff_seconds=0.0, attempts=3, watch_seconds=0.0)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of seconds become pauses of milliseconds."""
    monkeypatch.setattr("lakerunner.ingest.watching.WATCH_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr("lakerunner.ingest.watching.WATCH_POLL_SECONDS", 0.2)


def logs(*bodies: str) -> bytes:
    message = ExportLogsServiceRequest()
    records = message.resource_logs.add().scope_logs.add().log_records
    for body in bodies:
        records.add(time_unix_nano=1_790_078_400 * 10**9).body.string_value = body
    return message.SerializeToString()


class World:
    """A bucket of raw objects, a lake, and a queue of events."""

    def __init__(self) -> None:
        self.name = uuid4().hex
        self.raw = MemoryStore(f"memory://{self.name}/raw")
        self.lake = MemoryStore(f"memory://{self.name}/lake")
        self.catalog = MemoryCatalog()
        self.queue = EventQueue()

    def put(self, name: str, *bodies: str, data: bytes | None = None) -> ObjectEvent:
        """Store an object, and return what announces it."""
        return self.event(self.raw.put(name, logs(*bodies) if data is None else data))

    def event(self, meta: ObjectMeta) -> ObjectEvent:
        key = f"{self.name}/raw/{meta.key}"
        return ObjectEvent("memory://", key, meta.size, meta.etag, meta.modified_ns)

    def missing(self, name: str) -> ObjectEvent:
        return ObjectEvent("memory://", f"{self.name}/raw/{name}", 5, "etag")

    @staticmethod
    def logs(*bodies: str) -> bytes:
        return logs(*bodies)

    def tell(self, *events: ObjectEvent) -> list[Future[None]]:
        """Announce each event in a message of its own."""
        return [self.queue.put([event]) for event in events]

    def watch(
        self,
        plan: FaultPlan | None = None,
        wrap: Callable[[ObjectStore], ObjectStore] | None = None,
        **options: Any,
    ) -> IngestReport:
        def open_bucket(url: str, storage_options: Mapping[str, object]) -> ObjectStore:
            store = open_store(url, storage_options)
            store = store if wrap is None else wrap(store)
            return store if plan is None else FaultyStore(store, plan)

        ingestor = Ingestor(
            self.lake if plan is None else FaultyStore(self.lake, plan),
            self.catalog if plan is None else FaultyCatalog(self.catalog, plan),
            config=options.pop("config", CONFIG),
            open_bucket=open_bucket,
        )
        source = options.pop("source", self.queue)
        return ingestor.watch(source, **{"until_idle": 0.05, **options})

    def bodies(self) -> list[str]:
        with QueryEngine(self.lake, self.catalog) as engine:
            found = engine.sql("SELECT body FROM logs ORDER BY body").to_arrow()
        bodies: list[str] = found["body"].to_pylist()
        return bodies

    def segments(self) -> int:
        return len(list(self.lake.list("segments/")))


class OneAtATime(EventQueue):
    """Hands out the messages of another queue one by one."""

    def __init__(self, inner: EventQueue) -> None:
        super().__init__()
        self.inner = inner
        self.acknowledge = inner.acknowledge  # type: ignore[method-assign]
        self.release = inner.release  # type: ignore[method-assign]

    def receive(self, maximum: int, wait_seconds: float) -> Sequence[Delivery]:
        return self.inner.receive(min(maximum, 1), wait_seconds)


@pytest.fixture(scope="session")
def new_world() -> type[World]:
    return World


@pytest.fixture(scope="session")
def one_at_a_time() -> type[OneAtATime]:
    return OneAtATime

"""Buckets of raw objects beside empty lakes, over each store and catalog, and ways to fill them."""

from __future__ import annotations

import gzip
import io
import itertools
from collections import Counter, defaultdict
from contextlib import ExitStack
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

import lakerunner
from lakerunner.catalog import open_catalog
from lakerunner.catalog.bucket import BucketCatalog, records
from lakerunner.ingest import Ingestor
from lakerunner.model.config import Config
from lakerunner.model.segment import Source, SourceState
from lakerunner.retain.retention import collect_orphans
from lakerunner.store import durable, open_store, remote
from lakerunner.store.counting import WrapperStore
from lakerunner.store.urls import locate
from lakerunner.testing.faults import FaultPlan, FaultyCatalog, FaultyStore, SimulatedCrash
from lakerunner.testing.servers import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from lakerunner.catalog import Catalog
    from lakerunner.errors import LakerunnerError
    from lakerunner.model.report import IngestReport
    from lakerunner.store import ByteRange, GetResult, ObjectStore
    from lakerunner.testing.servers import Service
    from lakerunner.testing.servers.postgres import PostgresServer

NOON = 1_790_078_400 * 10**9
"""2026-09-22T12:00:00Z, the start of a window."""


class Bucket:
    """Raw objects and a lake over one root."""

    noon = NOON

    def __init__(self, root: str) -> None:
        self.root = root
        self.url = f"{root}/raw/"
        self.store = open_store(f"{root}/raw")
        self.lake = self.open()

    def open(self, **options: Any) -> lakerunner.Lake:
        return lakerunner.open(f"{self.root}/lake", **options)

    def put(self, key: str, *bodies: str, start_ns: int = NOON) -> None:
        """Store an object with a record for each body, one second apart."""
        data = self.request(*bodies, start_ns=start_ns)
        self.store.put(key, gzip.compress(data) if key.endswith(".gz") else data)

    @staticmethod
    def request(*bodies: str, start_ns: int = NOON) -> bytes:
        request = ExportLogsServiceRequest()
        records = request.resource_logs.add().scope_logs.add().log_records
        for number, body in enumerate(bodies):
            record = records.add(time_unix_nano=start_ns + number * 10**9)
            record.body.string_value = body
        return request.SerializeToString()

    def bodies(self, lake: lakerunner.Lake | None = None) -> list[str]:
        """All bodies in the lake, sorted."""
        table = (lake or self.lake).sql("SELECT body FROM logs ORDER BY body").to_arrow()
        found: list[str] = table["body"].to_pylist()
        return found

    def rows(self, text: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.lake.sql(text).to_arrow().to_pylist()
        return found

    def reasons(self) -> dict[str, str]:
        """What is set aside: the last part of the key, and the code."""
        return {r.source.key.rpartition("/")[2]: r.code for r in self.lake.rejected()}

    def segment_objects(self) -> list[str]:
        """Keys of all segment files, committed or not."""
        return [meta.key for meta in self.lake.store.list("segments/")]

    def ingestor(self, wrap: Callable[[ObjectStore], ObjectStore], **options: Any) -> Ingestor:
        """An ingestor of this lake that reads its input through a wrapper."""

        def open_bucket(url: str, storage_options: Mapping[str, object]) -> ObjectStore:
            return wrap(open_store(url, storage_options))

        store, catalog = self.lake.store, self.lake.catalog
        return Ingestor(store, catalog, open_bucket=open_bucket, **options)


class Refusing(WrapperStore):
    """Does things on the side before each read of some objects, and may answer with an error."""

    def __init__(
        self,
        inner: ObjectStore,
        name: str,
        error: LakerunnerError | None,
        *asides: Callable[[], object],
    ) -> None:
        super().__init__(inner)
        self.name, self.error, self.asides = name, error, iter(asides)

    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        if key.endswith(self.name):
            if (aside := next(self.asides, None)) is not None:
                aside()
            if self.error is not None:
                raise self.error
        return super().get(key, byte_range)


@pytest.fixture
def refusing() -> type[Refusing]:
    return Refusing


@pytest.fixture(params=["file", "memory"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bucket]:
    """A bucket and its lake, once on disk and once in memory."""
    root = str(tmp_path) if request.param == "file" else f"memory://{tmp_path}"
    made = Bucket(root)
    yield made
    made.lake.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Bucket]:
    """A bucket and its lake on disk."""
    made = Bucket(str(tmp_path))
    yield made
    made.lake.close()


# -- worlds: what outlives every process that works on it -----------------------------------------

HOUR_NS = 3600 * 10**9
BROKEN_NAME = "logs_1b.binpb"
CONFIG = Config(batch_objects=2, backoff_seconds=0.0, attempts=3)
WITHOUT_GRACE = Config(orphan_grace_ns=1)
WORLDS = ["memory", "sqlite", "postgresql", "bucket-memory", "bucket-local", "bucket-s3"]


class World:
    """A bucket of input, a lake and a catalog.

    Args:
        bucket: The whole bucket that input lies in.
        prefix: Where in it.
        lake: The lake.
        open_catalog: Opens the catalog as a process does, over the lake as that process sees it.
        catalog_url: For the processes of a pool; empty if there can be none.
    """

    def __init__(
        self,
        bucket: ObjectStore,
        prefix: str,
        lake: ObjectStore,
        open_catalog: Callable[[ObjectStore, FaultPlan], Catalog],
        catalog_url: str,
    ) -> None:
        self.bucket, self.prefix, self.lake = bucket, prefix, lake
        self.catalog_url = catalog_url
        self.input_url = f"{bucket.url}/{prefix}/"
        self.open_catalog = open_catalog
        self.versions: list[tuple[Source, frozenset[str]]] = []
        self.current: dict[str, frozenset[str]] = {}
        self._rows = itertools.count()

    # -- input

    def put(self, name: str, rows: int = 3) -> None:
        """Put an object, or a new version of it, whose rows lie in two windows in turn."""
        bodies = [f"{name}-{next(self._rows)}" for _ in range(rows)]
        request = ExportLogsServiceRequest()
        records = request.resource_logs.add().scope_logs.add().log_records
        for position, body in enumerate(bodies):
            record = records.add(time_unix_nano=NOON + position % 2 * HOUR_NS)
            record.body.string_value = body
        meta = self.bucket.put(f"{self.prefix}/{name}", request.SerializeToString())
        source = Source(self.bucket.url, meta.key, meta.etag)
        self.versions.append((source, frozenset(bodies)))
        self.current[name] = frozenset(bodies)

    def fill(self, objects: int = 3) -> None:
        """Put some objects, and one that is broken."""
        for number in range(objects):
            self.put(f"logs_{number}.binpb")
        self.bucket.put(f"{self.prefix}/{BROKEN_NAME}", b"\x0a\xff")

    @property
    def expected(self) -> Counter[str]:
        """The rows of the current versions."""
        return Counter(body for bodies in self.current.values() for body in bodies)

    # -- processes

    def ingest(self, plan: FaultPlan | None = None, config: Config = CONFIG) -> IngestReport:
        """One process takes the input, until it ends or the plan ends it."""
        plan = FaultPlan() if plan is None else plan
        lake = FaultyStore(self.lake, plan)

        def open_bucket(url: str, options: Mapping[str, object]) -> ObjectStore:
            return FaultyStore(self.bucket, plan)

        with self.open_catalog(lake, plan) as catalog:
            ingestor = Ingestor(lake, catalog, config=config, open_bucket=open_bucket)
            return ingestor.ingest(self.input_url)

    def dies(self, plan: FaultPlan) -> bool:
        """Whether the plan ended an ingest before it was done."""
        try:
            self.ingest(plan)
        except SimulatedCrash:
            return True
        return False

    def look(self) -> Catalog:
        """The catalog, as a process that has no part in anything sees it."""
        return self.open_catalog(self.lake, FaultPlan())

    # -- what must hold

    def bodies(self) -> Counter[str]:
        """The rows of all live segments, read with no code of ours but that of the store."""
        with self.look() as catalog:
            segments = catalog.segments("default", "logs")
        found: Counter[str] = Counter()
        for segment in segments:
            table = pq.read_table(io.BytesIO(self.lake.get(segment.key).data), columns=["body"])
            found.update(table["body"].to_pylist())
        return found

    def check_versions(self) -> None:
        """Each version of an object is in the lake whole and once, or not at all."""
        bodies = self.bodies()
        assert all(times == 1 for times in bodies.values())
        for _, version in self.versions:
            assert version & bodies.keys() in (frozenset(), version)

    def settle(self, *, overwritten: bool = False) -> None:
        """Ingest what is left; then everything must be there once, and nothing else but orphans.

        Args:
            overwritten: Versions that are gone may or may not have been taken.
        """
        self.ingest()
        bodies = self.bodies()
        assert not self.expected - bodies
        self.check_versions()
        if not overwritten:
            assert bodies == self.expected
        with self.look() as catalog:
            self._check_sources(catalog)
            left_behind = self.unnamed(catalog)
            # Younger than the grace period, so they may belong to a commit on its way.
            assert collect_orphans(self.lake, catalog, CONFIG) == []
            assert set(collect_orphans(self.lake, catalog, WITHOUT_GRACE)) == left_behind
            assert not self.unnamed(catalog)
        assert self.bodies() == bodies

    def _check_sources(self, catalog: Catalog) -> None:
        """Every current object is recorded, and every source came with one commit only."""
        present = [
            Source(self.bucket.url, meta.key, meta.etag)
            for meta in self.bucket.list(f"{self.prefix}/")
        ]
        states = catalog.sources(present)
        for source in present:
            broken = source.key.endswith(f"/{BROKEN_NAME}")
            assert states[source] is (SourceState.REJECTED if broken else SourceState.TAKEN)
        commits: dict[Source, set[str]] = defaultdict(set)
        for segment in catalog.segments("default", "logs"):
            for source in segment.sources:
                commits[source].add(segment.commit_id)
        assert all(len(ids) == 1 for ids in commits.values())
        rejected = [item.source for item in catalog.rejections("default")]
        assert rejected == [source for source in present if source.key.endswith(BROKEN_NAME)]

    def unnamed(self, catalog: Catalog) -> set[str]:
        """Segment files that no commit names."""
        segments = catalog.segments("default", "logs")
        listed = {item.key for item in self.lake.list("segments/")}
        return listed - {segment.key for segment in segments}


class Worlds:
    """Makes worlds of one kind, each of which begins empty.

    Args:
        kind: One of `WORLDS`.
        root: URL that all of them lie below.
        options: Of the store.
        database: URL of a catalog that is no bucket, with `{}` for the number of its world.
        resources: Closes what is opened.
        proxy: What all requests pass through, if there is a service.
    """

    def __init__(
        self,
        kind: str,
        root: str,
        options: Mapping[str, object],
        database: str,
        resources: ExitStack,
        proxy: Proxy | None = None,
    ) -> None:
        self.kind, self.proxy = kind, proxy
        self._options, self._database, self._resources = options, database, resources
        self._root = locate(root)
        self._bucket = self._open(self._root.bucket)
        self._numbers = itertools.count()

    def __call__(self) -> World:
        number = next(self._numbers)
        prefix = f"{self._root.key}/{number}".lstrip("/")
        lake = self._open(f"{self._bucket.url}/{prefix}/lake")
        if self.kind.startswith("bucket-"):
            url = f"bucket+{lake.url}"
            return World(self._bucket, f"{prefix}/raw", lake, _bucket_catalog, url)
        url = self._database.format(number)

        def open_database(_lake: ObjectStore, plan: FaultPlan) -> Catalog:
            return FaultyCatalog(open_catalog(url), plan)

        return World(self._bucket, f"{prefix}/raw", lake, open_database, url)

    def _open(self, url: str) -> ObjectStore:
        store = open_store(url, self._options)
        self._resources.callback(store.close)
        return store


def _bucket_catalog(lake: ObjectStore, _plan: FaultPlan) -> Catalog:
    return BucketCatalog(lake, checkpoint_every=3)


@pytest.fixture(params=WORLDS)
def worlds(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Worlds]:
    """Worlds over each catalog; a bucket's lie in memory, in a directory, and in S3 on moto."""
    monkeypatch.setattr(remote, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(records, "_FIRST_PAUSE_S", 0.001)
    # Processes die here, the system does not: what they wrote is there without being flushed, and
    # waiting for the disk was two thirds of the time. `tests/store` holds flushing to its word.
    monkeypatch.setattr(durable, "_flush", lambda _: None)
    kind: str = request.param
    place = f"{tmp_path.parent.name}/{tmp_path.name}"
    with ExitStack() as resources:
        if kind in {"memory", "bucket-memory"}:
            yield Worlds(kind, f"memory://{place}", {}, f"memory://{place}/{{}}", resources)
        elif kind in {"sqlite", "bucket-local"}:
            yield Worlds(kind, f"file://{tmp_path}", {}, f"sqlite://{tmp_path}/{{}}.db", resources)
        elif kind == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres_server")
            schema = f"w{blake2b(place.encode(), digest_size=8).hexdigest()}"
            database = f"{server.url()}?schema={schema}_{{}}"
            yield Worlds(kind, f"file://{tmp_path}", {}, database, resources)
        else:
            service: Service = request.getfixturevalue("moto_s3")
            proxy = resources.enter_context(Proxy(service.endpoint))
            options = {**service.storage_options, "endpoint_url": proxy.url}
            yield Worlds(kind, f"s3://lake/{place}", options, "", resources, proxy)

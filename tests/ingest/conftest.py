"""A bucket of raw objects beside an empty lake, on disk and in memory, and ways to fill it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

import lakerunner
from lakerunner.ingest import Ingestor
from lakerunner.store import open_store
from lakerunner.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from lakerunner.errors import LakerunnerError
    from lakerunner.store import ByteRange, GetResult, ObjectStore

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

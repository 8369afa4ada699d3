"""What is missing, broken or too new: an error that names it, or a way round it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import zstandard

from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.catalog.bucket.checkpoints import CHECKPOINTS_PREFIX, HINT_KEY, PARTS_PREFIX
from lakerunner.catalog.bucket.records import FORMAT_VERSION, LOG_PREFIX, numbered
from lakerunner.errors import (
    CatalogError,
    CatalogUnavailableError,
    CatalogVersionError,
    ConfigurationError,
    ObjectDeniedError,
    StoreUnavailableError,
)
from lakerunner.store import PutMode
from lakerunner.store.counting import WrapperStore
from lakerunner.store.probe import PROBE_KEY
from lakerunner.testing.catalog_fixture import everything, ids
from lakerunner.testing.faults import Fault, FaultPlan, FaultyStore
from lakerunner.testing.values import ORGANIZATION, make_commit, make_segment, make_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakerunner.store import CountingStore, ObjectMeta, ObjectStore
    from lakerunner.store.base import Buffer

ENTRIES = 23
NAMES = sorted(f"s{number}" for number in range(ENTRIES))


@pytest.fixture
def lake(store: CountingStore) -> CountingStore:
    """A lake of 23 commits, with checkpoints at 10 and 20."""
    catalog = BucketCatalog(store, checkpoint_every=10)
    for number in range(ENTRIES):
        name = f"s{number}"
        segment, source = make_segment(name, number), make_source(name)
        catalog.commit(make_commit(name, add=[segment], take=[source]))
    return store


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGES: list[Callable[[bytes], bytes]] = [cut, flip, lambda _: b"", lambda _: b"{}"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_log_entry_is_named(lake: CountingStore, damage: Callable[[bytes], bytes]) -> None:
    key = numbered(LOG_PREFIX, 22)
    lake.put(key, damage(lake.get(key).data))
    catalog = BucketCatalog(lake)
    for _ in range(2):
        with pytest.raises(CatalogError, match=key):
            ids(catalog)
    with pytest.raises(CatalogError, match=key):
        catalog.commit(make_commit("c"))


@pytest.mark.parametrize("position", [21, 22])
def test_a_missing_log_entry_is_named(lake: CountingStore, position: int) -> None:
    key = numbered(LOG_PREFIX, position)
    lake.delete(key)
    with pytest.raises(CatalogError, match=rf"{key}.*missing"):
        ids(BucketCatalog(lake))


def test_an_entry_in_a_wrong_place_is_named(lake: CountingStore) -> None:
    key = numbered(LOG_PREFIX, 24)
    lake.copy(numbered(LOG_PREFIX, 23), key)
    with pytest.raises(CatalogError, match=key):
        ids(BucketCatalog(lake))


def test_an_entry_of_another_history_is_noticed(lake: CountingStore) -> None:
    lake.delete(numbered(LOG_PREFIX, 23))
    catalog, other = BucketCatalog(lake), BucketCatalog(lake)
    ids(other)
    catalog.commit(make_commit("one"))
    assert len(ids(other)) == 22
    lake.delete(numbered(LOG_PREFIX, 23))
    BucketCatalog(lake).commit(make_commit("two"))
    BucketCatalog(lake).commit(make_commit("three"))
    with pytest.raises(CatalogError, match="does not follow"):
        ids(other)


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"{}", b'{"position": 999}'])
def test_the_hint_is_only_a_hint(lake: CountingStore, content: bytes | None) -> None:
    lake.delete(HINT_KEY)
    if content is not None:
        lake.put(HINT_KEY, content)
    assert sorted(ids(BucketCatalog(lake))) == NAMES


def test_a_stale_hint_makes_the_log_longer(lake: CountingStore) -> None:
    lake.put(HINT_KEY, b'{"position": 10}')
    lake.reset()
    assert sorted(ids(BucketCatalog(lake))) == NAMES
    assert lake.reset().get == 2 + 13 + 1


def test_a_stale_hint_is_noticed_when_the_log_is_gone(lake: CountingStore) -> None:
    for position in range(1, 20):
        lake.delete(numbered(LOG_PREFIX, position))
    lake.put(HINT_KEY, b'{"position": 10}')
    assert sorted(ids(BucketCatalog(lake))) == NAMES


@pytest.mark.parametrize("damage", [None, *DAMAGES])
@pytest.mark.parametrize("prefix", [CHECKPOINTS_PREFIX, PARTS_PREFIX])
def test_a_broken_checkpoint_gives_way_to_the_one_before(
    lake: CountingStore, prefix: str, damage: Callable[[bytes], bytes] | None
) -> None:
    before = everything(BucketCatalog(lake))
    newest = [meta.key for meta in lake.list(prefix) if f"{20:020d}" in meta.key]
    for key in newest:
        data = lake.get(key).data
        lake.delete(key)
        if damage is not None:
            lake.put(key, damage(data))
    open_for_long = BucketCatalog(lake, checkpoint_every=10)
    assert everything(open_for_long) == before
    assert len(open_for_long.sources([make_source(name) for name in NAMES])) == ENTRIES
    open_for_long.commit(make_commit("new", remove=["s3"]))
    assert open_for_long.checkpoint()
    assert len(ids(BucketCatalog(lake))) == ENTRIES - 1


def test_an_older_checkpoint_is_read_as_it_was(lake: CountingStore) -> None:
    """What a newer one said of its parts is not taken for granted: the log says it again."""
    catalog = BucketCatalog(lake, checkpoint_every=5)
    catalog.commit(make_commit("remove", remove=["s3"]))
    catalog.commit(make_commit("more"))
    reader = BucketCatalog(lake)
    assert [segment.id for segment in reader.removed(9)] == ["s3"]
    claims = reader._follower.checkpoints.read(25).claims
    lake.delete(claims[-1].key)
    assert reader.known(["s3"]) == {"s3"}
    assert reader._follower.ask(lambda state: state.manifest.position) == 20
    assert [segment.id for segment in reader.removed(9)] == ["s3"]
    assert len(ids(reader)) == ENTRIES - 1


def test_without_checkpoints_the_log_is_enough(lake: CountingStore) -> None:
    for prefix in (CHECKPOINTS_PREFIX, PARTS_PREFIX):
        lake.delete_many([meta.key for meta in lake.list(prefix)])
    assert sorted(ids(BucketCatalog(lake))) == NAMES
    lake.delete(numbered(LOG_PREFIX, 1))
    with pytest.raises(CatalogError, match=numbered(LOG_PREFIX, 1)):
        ids(BucketCatalog(lake))


@pytest.mark.parametrize("key", [numbered(LOG_PREFIX, 23), numbered(CHECKPOINTS_PREFIX, 20)])
def test_a_newer_version_is_refused_and_left_alone(lake: CountingStore, key: str) -> None:
    content = msgspec.json.decode(zstandard.ZstdDecompressor().decompress(lake.get(key).data))
    newer = msgspec.json.encode({**content, "version": FORMAT_VERSION + 1})
    lake.put(key, zstandard.ZstdCompressor().compress(newer))
    before = {meta.key: meta.etag for meta in lake.list()}
    catalog = BucketCatalog(lake)
    for call in (lambda: ids(catalog), lambda: catalog.commit(make_commit("c"))):
        with pytest.raises(CatalogVersionError, match=key):
            call()
    assert {meta.key: meta.etag for meta in lake.list()} == before


def test_objects_of_others_are_passed_over(lake: CountingStore) -> None:
    for key in ("readme", "00000000000000000024.json.zst.bak", "9.json.zst"):
        lake.put(f"{LOG_PREFIX}{key}", b"x")
        lake.put(f"{CHECKPOINTS_PREFIX}{key}", b"x")
    lake.delete(HINT_KEY)
    assert sorted(ids(BucketCatalog(lake))) == NAMES


@pytest.mark.parametrize("error", [StoreUnavailableError("503"), ObjectDeniedError("403")])
@pytest.mark.parametrize("call", ["store.list", "store.get"])
def test_a_store_that_fails_is_an_unavailable_catalog(
    lake: CountingStore, error: Exception, call: str
) -> None:
    plan = FaultPlan(Fault(1, call, error=error))
    catalog = BucketCatalog(FaultyStore(lake, plan))
    with pytest.raises(CatalogUnavailableError):
        catalog.snapshot(ORGANIZATION, "logs")
    assert catalog.snapshot(ORGANIZATION, "logs").segments == ENTRIES


def test_a_bucket_that_may_only_be_read(lake: CountingStore) -> None:
    plan = FaultPlan(Fault(1, "store.put", error=ObjectDeniedError("403"), times=99))
    catalog = BucketCatalog(FaultyStore(lake, plan), checkpoint_every=2)
    assert sorted(ids(catalog)) == NAMES
    with pytest.raises(CatalogUnavailableError, match="403"):
        catalog.commit(make_commit("c"))


def test_a_checkpoint_that_cannot_be_written_fails_no_commit(
    store: CountingStore, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = BucketCatalog(store, checkpoint_every=10)
    for number in range(9):
        catalog.commit(make_commit(f"c{number}"))
    plan = FaultPlan(Fault(2, "store.put", error=ObjectDeniedError("403")))
    poor = BucketCatalog(FaultyStore(store, plan), checkpoint_every=10)
    assert [poor.commit(make_commit(f"d{number}")) for number in range(5)] == list(range(10, 15))
    assert "no checkpoint was written" in caplog.text
    assert list(store.list(CHECKPOINTS_PREFIX)) == []
    assert poor.commit(make_commit("d5")) == 15  # half an interval late
    assert [meta.key for meta in store.list(CHECKPOINTS_PREFIX)] == [
        numbered(CHECKPOINTS_PREFIX, 15)
    ]


class Overwriting(WrapperStore):
    """A store that knows no conditions, as some that speak S3."""

    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        del mode
        return self.inner.put(key, data)


def test_a_store_without_conditional_puts_is_refused(store: ObjectStore) -> None:
    catalog = BucketCatalog(Overwriting(store))
    assert ids(catalog) == []
    with pytest.raises(ConfigurationError, match="If-None-Match is ignored"):
        catalog.commit(make_commit("c"))
    assert [meta.key for meta in store.list()] == [PROBE_KEY]


class Forgetful(WrapperStore):
    """A store whose listing lacks one object, once: it was put while the listing was made."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.lacks = ""

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        lacks, self.lacks = self.lacks, ""
        found = self.inner.list(prefix, start_after=start_after)
        return (meta for meta in found if meta.key != lacks)


@pytest.mark.parametrize("lacks", [24, 25])
def test_an_entry_that_a_listing_lacks_is_asked_for(lake: CountingStore, lacks: int) -> None:
    store = Forgetful(lake)
    reader, writer = BucketCatalog(store), BucketCatalog(lake)
    ids(reader)
    for number in range(3):
        writer.commit(make_commit(f"more {number}", add=[make_segment(f"more {number}")]))
    store.lacks = numbered(LOG_PREFIX, lacks)
    assert len(ids(reader)) == ENTRIES + 3
    store.lacks = numbered(LOG_PREFIX, lacks)
    assert len(ids(BucketCatalog(store))) == ENTRIES + 3


def test_a_damaged_part_that_many_checkpoints_name(store: CountingStore) -> None:
    """As long as the log is whole, nothing is lost with it."""
    catalog = BucketCatalog(store, checkpoint_every=10)
    for number in range(400):
        segment, source = make_segment(f"s{number}", number), make_source(f"o{number}")
        catalog.commit(make_commit(f"c{number}", add=[segment], take=[source]))
    checkpoints = catalog._follower.checkpoints
    manifests = [checkpoints.read(position) for position in range(10, 401, 10)]
    victim = manifests[-1].tables[0].parts[0].key
    assert sum(victim in manifest.parts() for manifest in manifests) > 6
    store.put(victim, b"rot")
    late = BucketCatalog(store, checkpoint_every=10)
    assert len(ids(late)) == 400
    late.commit(make_commit("late", remove=["s7"]))  # which writes a checkpoint as well
    assert len(ids(BucketCatalog(store))) == 399

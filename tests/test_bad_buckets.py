"""Lakes in buckets that cannot hold one, or whose catalog is damaged: refused, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import lakerunner
from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.catalog.bucket.checkpoints import CHECKPOINTS_PREFIX, PARTS_PREFIX
from lakerunner.catalog.bucket.records import LOG_PREFIX
from lakerunner.errors import CatalogError, ConfigurationError, ObjectDeniedError, StoreError
from lakerunner.generate import logs_request
from lakerunner.store import open_store
from lakerunner.testing.servers import Proxy, s3_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.store import ObjectStore
    from lakerunner.testing.servers import Service
    from lakerunner.testing.servers.postgres import PostgresServer

COUNT = "SELECT count(*) AS n FROM logs"


def count(lake: lakerunner.Lake) -> int:
    (found,) = lake.sql(COUNT).to_arrow()["n"].to_pylist()
    return int(found)


@pytest.mark.parametrize("wrong", [{"secret": "wrong"}, {"key": "nobody"}])
def test_wrong_credentials(seaweed: Service, wrong: dict[str, str]) -> None:
    options = {**seaweed.storage_options, **wrong}
    with pytest.raises(ObjectDeniedError, match="s3://lake/wrong"):
        lakerunner.open("s3://lake/wrong", storage_options=options)
    with pytest.raises(lakerunner.LakerunnerError, match="s3://lake/wrong"):
        lakerunner.open("s3://lake/wrong", storage_options=options, read_only=True)


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_missing_bucket(moto_s3: Service, google: Service, scheme: str) -> None:
    service = moto_s3 if scheme == "s3" else google
    options = service.storage_options
    with pytest.raises((ConfigurationError, StoreError), match=f"no bucket for {scheme}://missing"):
        lakerunner.open(f"{scheme}://missing-{scheme}/lake", storage_options=options)
    opened = lakerunner.open(f"{scheme}://lake/not-missing", storage_options=options)
    with opened as lake, pytest.raises(StoreError, match=f"no bucket for {scheme}://missing"):
        lake.ingest(f"{scheme}://missing-{scheme}/raw/")


def test_a_bucket_that_may_only_be_read(seaweed: Service) -> None:
    url, reader = "s3://lake/read only", s3_options(seaweed.endpoint, "reader")
    with pytest.raises(ObjectDeniedError, match="read only"):
        lakerunner.open(url, storage_options=reader)
    with lakerunner.open(url, storage_options=seaweed.storage_options) as lake:
        lake.ingest(logs_request(10))
    with pytest.raises(ObjectDeniedError, match="read only"):
        lakerunner.open("s3://lake/read only", storage_options=reader)
    with lakerunner.open(url, storage_options=reader, read_only=True) as lake:
        assert count(lake) == 10
        with pytest.raises(lakerunner.errors.ReadOnlyError):
            lake.ingest(logs_request(10))


def test_a_bucket_that_may_only_be_read_with_a_catalog_elsewhere(
    seaweed: Service, tmp_path: Path
) -> None:
    reader = s3_options(seaweed.endpoint, "reader")
    catalog = f"sqlite://{tmp_path}/catalog.db"
    with lakerunner.open("s3://lake/elsewhere", catalog=catalog, storage_options=reader) as lake:
        with pytest.raises(ObjectDeniedError, match="s3://lake/elsewhere"):
            lake.ingest(logs_request(10))
        assert count(lake) == 0


# -- a store that knows no conditions -------------------------------------------------------------


@pytest.fixture
def unconditional(moto_s3: Service) -> Iterator[dict[str, Any]]:
    """Options that lead to a service which replaces objects whatever the request says."""
    with Proxy(moto_s3.endpoint, drop={"if-none-match"}) as proxy:
        yield {**moto_s3.storage_options, "endpoint_url": proxy.url}


def test_a_store_without_conditional_puts_is_refused(unconditional: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"If-None-Match is ignored.*postgresql://"):
        lakerunner.open("s3://lake/unconditional", storage_options=unconditional)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_store_without_conditional_puts_serves_with_a_database(
    unconditional: dict[str, Any], postgres_server: PostgresServer, kind: str, tmp_path: Path
) -> None:
    url = f"s3://lake/unconditional-{kind}"
    sqlite = f"sqlite://{tmp_path}/catalog.db"
    catalog = sqlite if kind == "sqlite" else f"{postgres_server.url()}?schema=unconditional"
    raw = open_store(f"{url}-raw", unconditional)
    for number in range(3):
        raw.put(f"logs_{number}.binpb", logs_request(10, seed=number))
    raw.close()
    with lakerunner.open(url, catalog=catalog, storage_options=unconditional) as lake:
        assert lake.ingest(f"{url}-raw/").rows == 30
        assert lake.ingest(f"{url}-raw/").skipped == 3
        assert count(lake) == 30


# -- a catalog that is damaged --------------------------------------------------------------------


@pytest.fixture(params=["s3", "gs"])
def damaged(
    request: pytest.FixtureRequest, moto_s3: Service, google: Service, tmp_path: Path
) -> Iterator[ObjectStore]:
    """A lake of twelve commits, with checkpoints at five and ten."""
    service = moto_s3 if request.param == "s3" else google
    url = f"{request.param}://lake/damaged/{tmp_path.name}"
    store = open_store(url, service.storage_options)
    catalog = BucketCatalog(store, checkpoint_every=5)
    with lakerunner.open(url, catalog=catalog, storage_options=service.storage_options) as lake:
        for number in range(12):
            lake.ingest(logs_request(5, seed=number))
    yield store
    store.close()


def reopened(store: ObjectStore) -> lakerunner.Lake:
    return lakerunner.open(store.url, storage_options=store.storage_options)


def test_a_half_written_log_entry_is_named(damaged: ObjectStore) -> None:
    *_, last = damaged.list(LOG_PREFIX)
    damaged.put(last.key, damaged.get(last.key).data[: last.size // 2])
    with reopened(damaged) as lake:
        for call in (lambda: count(lake), lambda: lake.ingest(logs_request(5))):
            with pytest.raises(CatalogError, match=last.key):
                call()


@pytest.mark.parametrize("corrupt", [False, True])
@pytest.mark.parametrize("prefix", [CHECKPOINTS_PREFIX, PARTS_PREFIX])
def test_a_lost_checkpoint_costs_nothing_while_the_log_is_there(
    damaged: ObjectStore, prefix: str, corrupt: bool
) -> None:
    for meta in list(damaged.list(prefix)):
        if corrupt:
            damaged.put(meta.key, damaged.get(meta.key).data[: meta.size // 2])
        else:
            damaged.delete(meta.key)
    with reopened(damaged) as lake:
        assert count(lake) == 60
        lake.ingest(logs_request(5, seed=99))
        assert count(lake) == 65


def test_a_lost_checkpoint_is_named_when_the_log_is_gone(damaged: ObjectStore) -> None:
    first, *_ = damaged.list(LOG_PREFIX)
    damaged.delete(first.key)
    for meta in list(damaged.list(CHECKPOINTS_PREFIX)):
        damaged.put(meta.key, b"")
    with reopened(damaged) as lake, pytest.raises(CatalogError, match=LOG_PREFIX):
        count(lake)

"""The bucket catalog passes the suite on each service, each place in a prefix of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.store import open_store
from lakerunner.testing.catalog import CatalogSuite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.catalog import Catalog
    from lakerunner.store import ObjectStore
    from lakerunner.testing.servers import Service


class _OnService(CatalogSuite):
    """A request takes milliseconds here: fewer and shorter histories, of the same kind."""

    scheme = "s3"
    histories = 20
    many = 84  # a checkpoint each 7, so that older ones are merged
    service: Service
    stores: list[ObjectStore]

    def use(self, service: Service) -> Iterator[None]:
        self.service, self.stores = service, []
        yield
        for store in self.stores:
            store.close()

    def open_catalog(self, place: Path) -> Catalog:
        url = f"{self.scheme}://lake/catalogs/{place.parent.name}/{place.name}"
        self.stores.append(open_store(url, self.service.storage_options))
        return BucketCatalog(self.stores[-1], checkpoint_every=7)


class TestOnMoto(_OnService):
    adapter = "bucket, S3 on moto"

    @pytest.fixture(autouse=True)
    def _service(self, moto_s3: Service) -> Iterator[None]:
        yield from self.use(moto_s3)


class TestOnSeaweedFS(_OnService):
    """It lets the losers of a race wait for a second, so there are few."""

    adapter = "bucket, S3 on SeaweedFS"
    races = 2

    @pytest.fixture(autouse=True)
    def _service(self, seaweed: Service) -> Iterator[None]:
        yield from self.use(seaweed)


class TestOnGcs(_OnService):
    adapter = "bucket, GCS on fake-gcs-server"
    scheme = "gs"

    @pytest.fixture(autouse=True)
    def _service(self, google: Service) -> Iterator[None]:
        yield from self.use(google)

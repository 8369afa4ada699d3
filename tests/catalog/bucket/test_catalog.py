"""The bucket catalog passes the suite on every store at hand, with checkpoints at any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.store import open_store
from lakerunner.testing.catalog import CatalogSuite
from lakerunner.testing.leases import LeasesSuite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.catalog import Catalog
    from lakerunner.catalog.leases import Leases


class TestOnMemory(CatalogSuite):
    adapter = "bucket, in memory"

    def open_catalog(self, place: Path) -> Catalog:
        return BucketCatalog(open_store(f"memory://bucket{place}"))


class TestOnMemoryWithManyCheckpoints(CatalogSuite):
    adapter = "bucket, in memory, a checkpoint every 2 commits"

    def open_catalog(self, place: Path) -> Catalog:
        store = open_store(f"memory://bucket{place}")
        return BucketCatalog(store, checkpoint_every=2, grace_ns=0)


class TestLeasesOnMemory(LeasesSuite):
    adapter = "bucket, in memory"

    def open_leases(self, place: Path) -> Iterator[Leases]:
        yield BucketCatalog(open_store(f"memory://leases{place}")).leases()


class TestOnDisk(CatalogSuite):
    adapter = "bucket, in a local directory"

    def open_catalog(self, place: Path) -> Catalog:
        return BucketCatalog(open_store(place), checkpoint_every=7)

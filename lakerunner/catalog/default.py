"""The catalog of a lake for which none is named: kept with the lake itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lakerunner.catalog.bucket import BucketCatalog
from lakerunner.catalog.opening import open_catalog
from lakerunner.errors import ConfigurationError
from lakerunner.registry import split_scheme
from lakerunner.store.probe import check_conditional_puts
from lakerunner.store.urls import locate

if TYPE_CHECKING:
    from lakerunner.catalog.base import Catalog
    from lakerunner.store.base import ObjectStore

CATALOG_NAME = "catalog.db"
"""Name of the catalog inside a lake that is a directory."""


def default_catalog(store: ObjectStore, *, read_only: bool = False) -> Catalog:
    """Open the catalog of a lake: a file in a directory, memory in memory, else the bucket itself.

    Args:
        store: The lake.
        read_only: Create nothing, and open only what is there.

    Raises:
        ConfigurationError: The lake is in a bucket that takes no create-only puts, or is to be read
            and there is none.
        ObjectDeniedError: The bucket may not be written, and `read_only` is not set.
        CatalogError: What lies at the catalog's place is no catalog of this version.

    Example:
        >>> from lakerunner.store import open_store
        >>> default_catalog(open_store("memory://doc/default"))
        MemoryCatalog('memory://doc/default')
    """
    scheme = split_scheme(store.url)[0]
    place = locate(store.url)
    if scheme == "memory":
        catalog = open_catalog(f"memory://{place.key.strip('/')}")
        return _begun(catalog, store) if read_only else catalog
    if scheme == "file":
        file = Path("/", place.key, CATALOG_NAME)
        if read_only and not file.exists():
            raise _none(store.url)
        file.parent.mkdir(parents=True, exist_ok=True)
        return open_catalog(f"sqlite://{file}")
    if not read_only:
        check_conditional_puts(store)
        return BucketCatalog(store)
    return _begun(BucketCatalog(store), store)


def _begun(catalog: Catalog, store: ObjectStore) -> Catalog:
    """The catalog, if anything was ever written to it."""
    head = catalog.head()
    if not head.sequence and not head.lake and next(store.list(), None) is None:
        catalog.close()
        raise _none(store.url)
    return catalog


def _none(url: str) -> ConfigurationError:
    return ConfigurationError(
        f"there is no lake at {url} to be read; open it without read_only, or ingest into it, and "
        "there is one",
        url=url,
    )

"""From a URL to a lake."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Any

from lakerunner.catalog import Catalog
from lakerunner.catalog.default import default_catalog
from lakerunner.catalog.opening import open_catalog
from lakerunner.errors import (
    CatalogError,
    CatalogMismatchError,
    StoreError,
)
from lakerunner.fencing import Fence
from lakerunner.ingest.owners import read_ownership
from lakerunner.lake import Lake
from lakerunner.model.config import read_config
from lakerunner.model.profile import check_organization
from lakerunner.store.urls import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor
    from os import PathLike

    from lakerunner.model.config import Config
    from lakerunner.policies.ownership import Ownership
    from lakerunner.store import ObjectStore

_LOG = logging.getLogger(__name__)


def open(  # noqa: A001 - `lakerunner.open` is the name
    url: str | PathLike[str],
    *,
    catalog: str | Catalog | None = None,
    organization: str = "default",
    storage_options: Mapping[str, object] | None = None,
    config: Config | Mapping[str, Any] | None = None,
    read_only: bool = False,
    executor: Executor | None = None,
    ownership: Ownership | Mapping[str, Any] | None = None,
) -> Lake:
    """Open a lake; one that does not exist yet is made, unless it is opened to be read only.

    Args:
        url: A path, `file://…`, `s3://…`, `gs://…`, `memory://name`; `memory://` is one's own.
        catalog: A catalog, or its URL (`sqlite:///…`, `postgresql://…`). By default it is kept with
            the lake: the file `catalog.db` inside a directory, memory for `memory://`, and a log of
            commits in the bucket itself for object stores.
        organization: Whose rows are read and, unless a call says otherwise, written.
        storage_options: Credentials and endpoints, in fsspec's words; for the lake and its input.
        config: Settings: a `Config` or a mapping of its fields.
        read_only: Refuse everything that writes, and open only what is a lake.
        executor: Runs ingest batches, and parts of queries that read `query_fanout_bytes` or more;
            its workers must be able to reach the lake. See `Ingestor` and `QueryEngine`.
        ownership: Rules that say whose each object is, for buckets that several organizations write
            to: an `Ownership`, or a mapping of its fields. `{"profiles": "profiles.yaml"}` reads
            storage profiles from a file, `{"prefixes": {"s3://raw/apps/": "acme"}}` maps a prefix.

    Raises:
        ConfigurationError: The URL, the organization, a rule or a setting is wrong, the bucket
            takes no create-only puts, without which it cannot hold its own catalog, or there is no
            lake to be read.
        ObjectDeniedError: The bucket may not be written; open it with `read_only=True`.
        MissingExtraError: The URL needs an optional dependency; the message holds the command.
        CatalogError: What lies at the catalog's place is no catalog of this version.

    Example:
        >>> lake = open("memory://doc/open")
        >>> lake.sql("SELECT count(*) AS rows FROM logs").to_arrow()["rows"].to_pylist()
        [0]
    """
    # Before anything is opened, so that a wrong setting leaves nothing open behind.
    check_organization(organization)
    settings, rules = read_config(config), read_ownership(ownership)
    store = open_store(_place(url), storage_options)
    if catalog is None:
        opened = default_catalog(store, read_only=read_only)
    elif isinstance(catalog, Catalog):
        opened = catalog
    else:
        opened = open_catalog(catalog, only_read=read_only)
    return Lake(
        store,
        opened if read_only else _compared(store, opened),
        organization=organization,
        config=settings,
        read_only=read_only,
        executor=executor,
        ownership=rules,
    )


def _place(url: str | PathLike[str]) -> str | PathLike[str]:
    """Where a lake lies; `memory://` without a name is one of one's own, as its catalog is."""
    return f"memory://lakerunner-own-{uuid.uuid4().hex}" if url == "memory://" else url


def _compared(store: ObjectStore, catalog: Catalog) -> Catalog:
    """Say early what the first call that writes or deletes will refuse for; reading goes on."""
    try:
        Fence(store, catalog).compare()
    except CatalogMismatchError as error:
        _LOG.warning("%s", error)
    except (StoreError, CatalogError) as error:
        _LOG.info("%s: could not be compared with its catalog: %s", store.url, error)
    return catalog

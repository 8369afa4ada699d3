"""From a URL to a catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.registry import load_adapter, split_scheme

if TYPE_CHECKING:
    from lakerunner.catalog.base import Catalog


def open_catalog(url: str, *, only_read: bool = False) -> Catalog:
    """Open the catalog that a URL names; an embedded one is created where there is none.

    Args:
        url: `sqlite:///absolute/path/catalog.db`, `memory://name`,
            `postgresql://user@host/database`, or the URL of a catalog that another package
            registers. An adapter is called with the whole URL.
        only_read: Create nothing, and open only what is there. It is `adapter.existing` then that
            is called with the URL, of adapters that have it: those that would create something.

    Raises:
        ConfigurationError: There is no catalog, and none is to be created.
        UnknownSchemeError: No adapter is known for the scheme.
        MissingExtraError: The adapter needs an optional dependency; the message says which.
        CatalogVersionError: The catalog was written by a newer version; it is left untouched.
        CatalogError: What lies there is not a catalog, or is damaged.
        CatalogUnavailableError: The catalog cannot be reached.

    Example:
        >>> open_catalog("memory://docs")
        MemoryCatalog('memory://docs')
    """
    scheme, _ = split_scheme(url)
    adapter = load_adapter("catalog", scheme)
    catalog: Catalog = getattr(adapter, "existing", adapter)(url) if only_read else adapter(url)
    return catalog

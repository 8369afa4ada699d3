"""From a URL to a store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lakerunner.registry import load_adapter, split_scheme
from lakerunner.store.urls import refuse_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from lakerunner.store.base import ObjectStore


def open_store(
    url: str | PathLike[str], storage_options: Mapping[str, object] | None = None
) -> ObjectStore:
    """Open the store that a URL names. Nothing is read or written yet.

    Args:
        url: A URL, or a path, which need not exist.
        storage_options: Credentials and endpoints, in fsspec's words.

    Raises:
        UnknownSchemeError: There is no adapter for the scheme; the message lists those there are.
        MissingExtraError: The adapter is not installed; the message says how to.
        ConfigurationError: The URL cannot be read, or holds credentials.

    Example:
        >>> open_store("memory://acme/lake")
        MemoryStore('memory://acme/lake')
    """
    url = os.fspath(url)
    refuse_credentials(url)
    refuse_credentials(str((storage_options or {}).get("endpoint_url", "")))
    adapter = load_adapter("store", split_scheme(url)[0])
    store: ObjectStore = adapter(url, storage_options)
    return store

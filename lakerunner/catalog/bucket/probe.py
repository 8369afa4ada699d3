"""Whether a store keeps what the bucket catalog stands on: that a create-only put refuses."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from lakerunner.catalog.bucket.log import PREFIX
from lakerunner.errors import ConfigurationError, ObjectExistsError
from lakerunner.store.base import PutMode

if TYPE_CHECKING:
    from lakerunner.store.base import ObjectStore


def require_conditional_puts(store: ObjectStore) -> None:
    """Create an object twice: the second time must be refused. The object is deleted again.

    Raises:
        ConfigurationError: The store overwrote it.

    Example:
        >>> from lakerunner.store import open_store
        >>> require_conditional_puts(open_store("memory://probe"))
    """
    key = f"{PREFIX}probe-{uuid.uuid4().hex}"
    store.put(key, b"1", PutMode.CREATE)
    try:
        store.put(key, b"2", PutMode.CREATE)
    except ObjectExistsError:
        return
    finally:
        store.delete(key)
    raise ConfigurationError(
        f"{store.url} has no conditional puts: it overwrote an object that was to be created only "
        "once; keep the catalog elsewhere, with catalog='postgresql://…' or 'sqlite:///…'",
        url=store.url,
    )

"""Object storage: the contract and one adapter a file. `open_store` finds the adapter by URL."""

from __future__ import annotations

from lakerunner.store.base import (
    Buffer,
    ByteRange,
    GetResult,
    ObjectMeta,
    ObjectStore,
    PutMode,
    coalesce,
)
from lakerunner.store.counting import CountingStore, Counts
from lakerunner.store.probe import check_conditional_puts
from lakerunner.store.urls import Location, locate, open_store

__all__ = [
    "Buffer",
    "ByteRange",
    "CountingStore",
    "Counts",
    "GetResult",
    "Location",
    "ObjectMeta",
    "ObjectStore",
    "PutMode",
    "check_conditional_puts",
    "coalesce",
    "locate",
    "open_store",
]

"""Object storage: the contract and one adapter a file."""

from __future__ import annotations

from lakerunner.store.base import ByteRange, GetResult, ObjectMeta, ObjectStore, PutMode

__all__ = ["ByteRange", "GetResult", "ObjectMeta", "ObjectStore", "PutMode"]

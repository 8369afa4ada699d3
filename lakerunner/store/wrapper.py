"""A store around another store: the base of those that watch or disturb what passes through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.store.base import GetResult, ObjectMeta, ObjectStore, PutMode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.store.base import Buffer, ByteRange


class WrapperStore(ObjectStore):
    """Passes the five verbs on to an inner store, under the same URL.

    The derived methods are made of the five verbs here as well, so that a wrapper that replaces a
    verb sees every request; a faster way that the inner store may have for them is not taken. What
    somebody reads by `local_path` passes by the wrapper.

    Args:
        inner: The store that does the work.
    """

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.url = inner.url
        self.storage_options = inner.storage_options

    @property
    def ignores_case(self) -> bool:
        """Whether `A` and `a` are one key."""
        return self.inner.ignores_case

    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        """Read an object or a part of it."""
        return self.inner.get(key, byte_range)

    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        """Write a whole object."""
        return self.inner.put(key, data, mode)

    def head(self, key: str) -> ObjectMeta:
        """Describe an object."""
        return self.inner.head(key)

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        """Describe the objects under a prefix."""
        return self.inner.list(prefix, start_after=start_after)

    def delete(self, key: str) -> None:
        """Remove an object."""
        self.inner.delete(key)

    def local_path(self, key: str) -> Path | None:
        """Where the object lies as a file of this machine."""
        return self.inner.local_path(key)

    def close(self) -> None:
        """Close the inner store."""
        self.inner.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

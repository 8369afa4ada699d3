"""A store that counts: requests by verb, and bytes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.store.base import GetResult, ObjectMeta, ObjectStore, PutMode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lakerunner.store.base import Buffer, ByteRange

# A store around another store: the base of those that watch or disturb what passes through.


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


class Counts(NamedTuple):
    """What passed through a store.

    Attributes:
        get: Requests to read; each is counted when it is sent, also if it fails.
        put: Requests to write.
        head: Requests to describe.
        list: Listings, however many objects they list.
        delete: Requests to remove.
        bytes_read: Bytes that reads returned.
        bytes_written: Bytes of the writes that succeeded.
    """

    get: int = 0
    put: int = 0
    head: int = 0
    list: int = 0
    delete: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    @property
    def requests(self) -> int:
        """Requests of all verbs."""
        return self.get + self.put + self.head + self.list + self.delete

    def __sub__(self, earlier: Counts) -> Counts:
        """What passed since an earlier count."""
        return Counts(*(now - then for now, then in zip(self, earlier, strict=True)))


class CountingStore(WrapperStore):
    """Counts what passes through to the inner store; may be used from any threads at once.

    A pickled copy counts on its own, from zero.

    Args:
        inner: The store that does the work.

    Example:
        >>> from lakerunner.store import open_store
        >>> store = CountingStore(open_store("memory://counting"))
        >>> meta = store.put("key", b"0123456789")
        >>> store.get_ranges("key", [(0, 2), (4, 6)])
        [b'01', b'45']
        >>> store.counts
        Counts(get=1, put=1, head=0, list=0, delete=0, bytes_read=6, bytes_written=10)
    """

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self._counts = Counts()

    @property
    def counts(self) -> Counts:
        """Everything since the store was made, or was reset."""
        return self._counts

    def reset(self) -> Counts:
        """Start again from zero; returns what was counted until then."""
        with self._lock:
            counts, self._counts = self._counts, Counts()
        return counts

    def _count(self, **more: int) -> None:
        with self._lock:
            now = self._counts
            self._counts = now._replace(**{name: getattr(now, name) + more[name] for name in more})

    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        """Read an object or a part of it."""
        self._count(get=1)
        result = self.inner.get(key, byte_range)
        self._count(bytes_read=len(result.data))
        return result

    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        """Write a whole object."""
        self._count(put=1)
        meta = self.inner.put(key, data, mode)
        self._count(bytes_written=memoryview(data).nbytes)
        return meta

    def head(self, key: str) -> ObjectMeta:
        """Describe an object."""
        self._count(head=1)
        return self.inner.head(key)

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        """Describe the objects under a prefix."""
        self._count(list=1)
        return self.inner.list(prefix, start_after=start_after)

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._count(delete=1)
        self.inner.delete(key)

    def __reduce__(self) -> tuple[type[CountingStore], tuple[ObjectStore]]:
        return type(self), (self.inner,)

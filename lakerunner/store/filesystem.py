"""A store over any fsspec filesystem: what the adapters of object stores have in common.

An adapter is a subclass that says how its filesystem differs from the plain case, by class
attributes (`protocol`, `etag_fields`, `time_fields`) and by the methods under "what an adapter may
replace". It never catches or translates errors elsewhere than in `translate`.
"""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

import fsspec

from lakerunner.errors import StoreError, StoreUnavailableError
from lakerunner.limits import READ_ATTEMPTS
from lakerunner.registry import split_scheme
from lakerunner.store.base import GetResult, ObjectMeta, ObjectStore, PutMode
from lakerunner.store.failures import store_error, translated
from lakerunner.store.urls import bounds, check_key, split_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lakerunner.store.base import Buffer, ByteRange

Info = dict[str, Any]
"""What fsspec says of a file: `name`, `size`, `type`, and whatever the backend adds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FilesystemStore(ObjectStore):
    """An object store over an fsspec filesystem, rooted at a URL.

    As it stands it is right for a filesystem whose `pipe_file` replaces a file atomically, whose
    `pipe_file(mode="create")` is atomic too, and whose `info` holds a version marker and a time.
    An adapter for any other replaces the methods concerned.

    Args:
        url: Scheme, bucket and prefix.
        storage_options: Arguments of the fsspec filesystem.

    Attributes:
        protocol: fsspec's name of the filesystem.
        etag_fields: Fields of `info` that, taken together, tell two versions of a file apart.
        time_fields: Fields of `info` that may hold the time of the last change; the first counts.
    """

    protocol: ClassVar[str]
    etag_fields: ClassVar[tuple[str, ...]] = ("generation", "etag", "ETag")
    time_fields: ClassVar[tuple[str, ...]] = ("LastModified", "updated", "modified", "mtime")

    def __init__(self, url: str, storage_options: Mapping[str, object] | None = None) -> None:
        scheme, rest = split_scheme(url)
        self.url = f"{scheme}://{rest.strip('/')}"
        self.storage_options = dict(storage_options or {})
        self._root = self.root()
        self._filesystem: Any = None
        self._inherited: list[Any] = []
        self._pid = 0
        self._lock = threading.Lock()

    # -- the five verbs ----------------------------------------------------------------------

    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        """Read an object or a part of it: see `read`."""
        path = self._path(key)
        with translated(self.url, key, self.translate):
            return self.read(key, path, byte_range)

    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        """Write a whole object: see `write`."""
        path = self._path(key)
        with translated(self.url, key, self.translate):
            return self.meta(key, self.write(path, bytes(data), mode))

    def head(self, key: str) -> ObjectMeta:
        """Describe an object: see `info`."""
        path = self._path(key)
        with translated(self.url, key, self.translate):
            return self._head(key, path)

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        """Describe the objects under a prefix: see `find`."""
        if split_prefix(prefix) is not None:
            with translated(self.url, prefix, self.translate):
                for key, info in self.find(prefix, start_after):
                    yield self.meta(key, info)

    def delete(self, key: str) -> None:
        """Remove an object."""
        path = self._path(key)
        with translated(self.url, key, self.translate):
            try:
                self.erase(path)
            except FileNotFoundError:
                return

    # -- what an adapter may replace ---------------------------------------------------------

    def connect(self) -> Any:
        """Open the filesystem. Listings must not be cached: others write to the bucket as well."""
        return fsspec.filesystem(
            self.protocol, **{"use_listings_cache": False, **self.storage_options}
        )

    def root(self) -> str:
        """The path of the store's root inside the filesystem, without a trailing slash."""
        return split_scheme(self.url)[1]

    def info(self, path: str) -> Info:
        """Describe a file by a fresh request; raises `FileNotFoundError` if there is none."""
        info: Info = self.filesystem.info(path)
        if info["type"] != "file":
            raise FileNotFoundError(path)
        return info

    def read(self, key: str, path: str, byte_range: ByteRange | None) -> GetResult:
        """Read one version: describe, read, describe again, and start anew if it has changed.

        An adapter whose backend sends the version along with the bytes makes one request of it.
        """
        before = self._head(key, path)
        for _ in range(READ_ATTEMPTS):
            start, end = bounds(byte_range, before.size, key)
            data = self.filesystem.cat_file(path, start, end) if start < end else b""
            after = self._head(key, path)
            if after == before and len(data) == end - start:
                return GetResult(before, data)
            before = after
        raise StoreUnavailableError(
            f"{key!r} in {self.url} kept changing while it was read", url=self.url, key=key
        )

    def write(self, path: str, data: bytes, mode: PutMode) -> Info:
        """Write a whole file atomically and describe the version written.

        With `PutMode.CREATE`, raises `FileExistsError` if there is one; only one of several racing
        writers may pass.
        """
        self.filesystem.pipe_file(path, data, mode=str(mode))
        return self.info(path)

    def erase(self, path: str) -> None:
        """Remove a file; may raise `FileNotFoundError` if there is none."""
        self.filesystem.rm_file(path)

    def find(self, prefix: str, start_after: str) -> Iterator[tuple[str, Info]]:
        """Keys and descriptions of the files of a listing, in key order.

        This one holds the whole directory tree under the prefix in memory; an adapter whose backend
        lists in order, page by page, passes its pages on.
        """
        directory = f"{self._root}/{prefix.rpartition('/')[0]}".rstrip("/")
        try:
            found = self.filesystem.find(directory, detail=True, on_error="raise")
        except FileNotFoundError:
            return
        for key, info in self.select(found.items(), prefix, start_after):
            if info["type"] == "file":
                yield key, info

    def translate(self, error: Exception, url: str, key: str) -> Exception:
        """The error to raise for one that the filesystem raised: see `store_error`."""
        return store_error(error, url, key)

    # -- shared ------------------------------------------------------------------------------

    @property
    def filesystem(self) -> Any:
        """The fsspec filesystem, opened on first use, once a process."""
        filesystem = self._filesystem
        if filesystem is None or self._pid != os.getpid():
            with self._lock:
                if self._filesystem is None or self._pid != os.getpid():
                    # A fork inherits connections that are the parent's: they are neither used nor
                    # closed, so the filesystem that holds them must not be collected.
                    self._inherited.append(self._filesystem)
                    self._filesystem = self.connect()
                    self._pid = os.getpid()
                filesystem = self._filesystem
        return filesystem

    def meta(self, key: str, info: Info) -> ObjectMeta:
        """What fsspec says of a file, in our words.

        Raises:
            StoreError: The filesystem gives no version marker or no time: it cannot hold a lake.
        """
        versions = [str(info[field]).strip('"') for field in self.etag_fields if info.get(field)]
        times = [info[field] for field in self.time_fields if info.get(field)]
        if not versions or not times:
            raise StoreError(f"{self.url} tells no version or time of {key!r}", key=key)
        return ObjectMeta(key, int(info["size"]), "-".join(versions), nanoseconds(times[0]))

    def select(
        self, found: Iterable[tuple[str, Any]], prefix: str, start_after: str
    ) -> Sequence[tuple[str, Any]]:
        """From (path, anything) pairs of the filesystem, (key, anything) pairs of a listing."""
        root = f"{self._root}/"
        keys = ((path[len(root) :], entry) for path, entry in found if path.startswith(root))
        # Texts compare by code point, and so do their UTF-8 bytes.
        return sorted(
            ((key, entry) for key, entry in keys if key.startswith(prefix) and key > start_after),
            key=itemgetter(0),
        )

    def close(self) -> None:
        """Let go of the filesystem; the next request opens it anew."""
        self._filesystem = None

    def _path(self, key: str) -> str:
        check_key(key)
        return f"{self._root}/{key}"

    def _head(self, key: str, path: str) -> ObjectMeta:
        return self.meta(key, self.info(path))

    def __reduce__(self) -> tuple[type[FilesystemStore], tuple[str, Mapping[str, object]]]:
        return type(self), (self.url, self.storage_options)


def nanoseconds(time: datetime | str | float) -> int:
    """Read a time as fsspec's backends give it: datetime, RFC 3339, or seconds since the epoch."""
    if isinstance(time, int | float):
        return round(time * 1e9)
    when = datetime.fromisoformat(time) if isinstance(time, str) else time
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1000

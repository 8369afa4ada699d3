"""The contract of an object store: five abstract verbs, everything else derived from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import ObjectNotFoundError, ObjectRangeError
from lakerunner.limits import RANGE_GAP_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

Buffer = bytes | bytearray | memoryview
"""Bytes to be stored. The store never keeps a reference after `put` returns."""


class PutMode(StrEnum):
    """What a put does when there is an object at the key."""

    OVERWRITE = "overwrite"
    CREATE = "create"


class ObjectMeta(NamedTuple):
    """What a store says of an object.

    Attributes:
        key: Key relative to the store's URL; `/` separates parts; never starts with `/`.
        size: Bytes.
        etag: Marker that differs between any two versions of the object.
        modified_ns: When this version was written: the store's clock, nanoseconds since the epoch.
    """

    key: str
    size: int
    etag: str
    modified_ns: int


class ByteRange(NamedTuple):
    """Bytes `[start, end)` of an object; a negative start counts from the end, with no `end`.

    Example:
        >>> ByteRange(0, 4).resolve(10), ByteRange(-4).resolve(10), ByteRange(4).resolve(10)
        ((0, 4), (6, 10), (4, 10))
    """

    start: int
    end: int | None = None

    def resolve(self, size: int) -> tuple[int, int]:
        """Absolute bounds inside an object of `size` bytes.

        Raises:
            ValueError: The range is empty, reversed, or reaches outside the object.
        """
        start = self.start + size if self.start < 0 else self.start
        end = size if self.end is None else self.end
        if self.start < 0 and self.end is not None:
            raise ValueError(f"a suffix range has no end: {self}")
        if not 0 <= start < end <= size:
            raise ValueError(f"bytes {start}-{end} of an object of {size} bytes")
        return start, end


class GetResult(NamedTuple):
    """Bytes, and the version they were read from.

    Attributes:
        meta: Of exactly the version that `data` belongs to, with the size of the whole object.
        data: The requested bytes.
        content_type: The object's media type, where the store keeps one.
    """

    meta: ObjectMeta
    data: bytes
    content_type: str = ""


class ObjectStore(ABC):
    """A bucket, or a prefix of one.

    Every method may be called from any thread at once, and every store can be pickled (it opens its
    connections anew on the other side). Keys are relative to `url`, hold no empty, `.` or `..` part
    (any other is refused with `ConfigurationError`) and are listed in the order of their UTF-8
    bytes. All methods raise `ObjectDeniedError` on a refused credential and `StoreUnavailableError`
    on a failure that may pass; these are not repeated below. After `StoreUnavailableError` from
    `put` or `delete` the effect may or may not have taken place.

    Attributes:
        url: Where the store is rooted, without a trailing slash.
        storage_options: Credentials and endpoints, in fsspec's words.
    """

    url: str
    storage_options: Mapping[str, object]

    @property
    def ignores_case(self) -> bool:
        """Whether `A` and `a` are one key, as in the file systems of some machines."""
        return False

    @abstractmethod
    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        """Read an object or a part of it, all from one version.

        Raises:
            ObjectNotFoundError: There is no object at `key`.
            ObjectRangeError: The range is not inside the object. A short read is never returned.
        """

    @abstractmethod
    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        """Write a whole object; it is durable and visible to `get` and `list` on return.

        Atomic: no reader ever sees a part of it, and after a crash it is there whole or not at all.
        With `PutMode.CREATE`, exactly one of any number of racing writers succeeds.

        Returns:
            This version's description. If another writer replaces it at once, `modified_ns` may be
            when the store answered, a little later than what a listing would have told.

        Raises:
            ObjectExistsError: `mode` is `CREATE` and there is an object already.
        """

    def create(self, key: str, data: Buffer) -> None:
        """Write a whole object that must not be there yet, and ask nothing about it.

        As `put` with `PutMode.CREATE`; a store that has to look for what that returns need not.

        Raises:
            ObjectExistsError: There is an object already.
        """
        self.put(key, data, PutMode.CREATE)

    @abstractmethod
    def head(self, key: str) -> ObjectMeta:
        """Describe an object without reading it.

        Raises:
            ObjectNotFoundError: There is no object at `key`.
        """

    @abstractmethod
    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        """Describe all objects whose key starts with `prefix`, in key order, lazily.

        `prefix` is plain text and need not end at a `/`. Only keys after `start_after` are listed.
        Objects put before the call are always in it. A missing prefix lists nothing.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object. To remove one that is not there succeeds."""

    def exists(self, key: str) -> bool:
        """Whether there is an object at `key`."""
        try:
            self.head(key)
        except ObjectNotFoundError:
            return False
        return True

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> Sequence[bytes]:
        """Read many `[start, end)` parts, joining those that lie close into one request.

        Parts are returned in the order they were asked for. They may come from different versions
        if the object is overwritten meanwhile; segments never are.

        Raises:
            ObjectNotFoundError: There is no object at `key`.
            ObjectRangeError: A range is empty or not inside the object.
        """
        for first, last in ranges:
            if not 0 <= first < last:
                raise ObjectRangeError(f"{key!r} has no bytes {first}-{last}", key=key)
        parts: dict[tuple[int, int], bytes] = {}
        for start, end in coalesce(ranges, RANGE_GAP_BYTES):
            data = self.get(key, ByteRange(start, end)).data
            for first, last in ranges:
                if start <= first and last <= end:
                    parts[first, last] = data[first - start : last - start]
        return [parts[span] for span in ranges]

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove objects one after the other; stops at the first that cannot be removed."""
        for key in keys:
            self.delete(key)

    def copy(self, source: str, target: str, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        """Copy an object within the store, under the guarantees of `put`.

        Raises:
            ObjectNotFoundError: There is no object at `source`.
            ObjectExistsError: `mode` is `CREATE` and there is an object at `target`.
        """
        return self.put(target, self.get(source).data, mode)

    def local_path(self, key: str) -> Path | None:
        """Where the object lies as a file of this machine, or None if it does not."""
        del key
        return None

    def close(self) -> None:  # noqa: B027 - most stores have nothing to release
        """Release connections. A closed store may be used again; it connects anew."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


def coalesce(ranges: Iterable[tuple[int, int]], gap: int) -> Sequence[tuple[int, int]]:
    """Join `[start, end)` ranges that overlap or lie at most `gap` bytes apart.

    Example:
        >>> coalesce([(0, 4), (6, 8), (100, 101)], gap=2)
        [(0, 8), (100, 101)]
    """
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1] + gap:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined

"""Bytes that somebody handed over, on their way into the lake, however often that has to be tried.

They may have a name of their sender's. It is all of their identity then, whatever the bytes: what
comes again under it is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.errors import (
    CatalogUnavailableError,
    CommitUnknownError,
    ConfigurationError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreError,
)
from lakerunner.model.segment import HANDED
from lakerunner.store.base import Buffer, ByteRange, GetResult, ObjectMeta, ObjectStore, PutMode
from lakerunner.store.urls import bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakerunner.model.report import IngestReport

_ETAG = "handed"
_PASSING = (StoreError, CatalogUnavailableError, CommitUnknownError)
_LONGEST_PAUSE = 30.0


def insist(
    take: Callable[[], IngestReport], again: Callable[[str, float], None]
) -> Iterator[IngestReport]:
    """Take objects, again and again where it fails in a way that may pass.

    Args:
        take: Ingests them; what was taken before is not taken again.
        again: Waits before the next attempt; gets the problem and the seconds. It raises to end.

    Yields:
        The report of each attempt that came to one; the last has no failures.
    """
    pause = 0.1
    while True:
        try:
            report = take()
            yield report
            if not report.failed:
                return
            problem = report.failed[0].reason
        except _PASSING as error:
            problem = str(error)
        again(problem, pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


class HandedStore(ObjectStore):
    """Objects in memory whose version is always the same. Safe across threads.

    Args:
        url: Where they are from, beginning with one of `HANDED`; it is part of their identity.
        time_ns: For records that have no time of their own.

    Example:
        >>> store = HandedStore("request://", time_ns=0)
        >>> store.put("a", b"bytes").etag == store.put("a", b"other").etag
        True
    """

    def __init__(self, url: str, time_ns: int) -> None:
        if not url.startswith(HANDED):
            raise ConfigurationError(f"{url} begins with none of {HANDED}")
        self.url = url
        self.storage_options = {}
        self._time_ns = time_ns
        self._objects: dict[str, bytes] = {}

    def get(self, key: str, byte_range: ByteRange | None = None) -> GetResult:
        """Read an object or a part of it."""
        meta = self.head(key)
        start, end = bounds(byte_range, meta.size, key)
        return GetResult(meta, self._objects[key][start:end])

    def put(self, key: str, data: Buffer, mode: PutMode = PutMode.OVERWRITE) -> ObjectMeta:
        """Keep bytes under a name."""
        if mode is PutMode.CREATE and key in self._objects:
            raise ObjectExistsError(f"there is {key!r} already", key=key)
        self._objects[key] = bytes(data)
        return self.head(key)

    def head(self, key: str) -> ObjectMeta:
        """Describe an object."""
        data = self._objects.get(key)
        if data is None:
            raise ObjectNotFoundError(f"there is no {key!r}", key=key)
        return ObjectMeta(key, len(data), _ETAG, self._time_ns)

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectMeta]:
        """Describe all of them whose key starts so."""
        for key in sorted(self._objects, key=str.encode):
            if key.startswith(prefix) and key > start_after:
                yield self.head(key)

    def delete(self, key: str) -> None:
        """Let go of an object."""
        self._objects.pop(key, None)

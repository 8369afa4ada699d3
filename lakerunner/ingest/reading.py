"""Read one version of an input object, in blocks."""

from __future__ import annotations

import os
import time
from itertools import chain
from typing import TYPE_CHECKING

from lakerunner.errors import ObjectNotFoundError, ObjectRangeError, StoreUnavailableError
from lakerunner.limits import LISTED_ATTEMPTS, MIB
from lakerunner.retrying import retrying
from lakerunner.store import ByteRange
from lakerunner.store.failures import translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.model.config import Config
    from lakerunner.store import GetResult, ObjectMeta, ObjectStore

_WHOLE_BYTES = 32 * MIB  # objects up to this are read in one request
_BLOCK_BYTES = 8 * MIB
_BEGINNING_BYTES = 64 * 1024


def piece_etag(etag: str, start: int, end: int) -> str:
    """The etag of a part of a file.

    Example:
        >>> piece_etag("18-ff-7", 16, 255), piece_span("18-ff-7@10-ff"), piece_span("18-ff-7")
        ('18-ff-7@10-ff', (16, 255), None)
    """
    return f"{etag}@{start:x}-{end:x}"


def piece_span(etag: str) -> tuple[int, int] | None:
    """Start and end of a part of a file, by its etag; None if it is no part."""
    _, at, span = etag.partition("@")
    if not at:
        return None
    start, end = span.split("-")[:2]
    return int(start, 16), int(end, 16)


class ObjectReader:
    """The bytes of one object, all of one version.

    The version is the one that was there when the first block was read, which may be newer than the
    one that was listed; `meta` tells.

    Args:
        store: Where it lies.
        listed: What the listing said of it.
        config: How often to try again.
        announced: Nobody saw it in a listing; whoever heard of it looks for it again by himself.

    Attributes:
        meta: Of the version that is read. The listed one until `open` was called.
        content_type: Its media type, once it is open and if the store keeps one.
        beginning: The head of the file of which this is a part; empty for whole objects.
    """

    beginning = b""

    def __init__(
        self, store: ObjectStore, listed: ObjectMeta, config: Config, *, announced: bool = False
    ) -> None:
        self._store = store
        self._config = config
        self._looks = 1 if announced else LISTED_ATTEMPTS
        self._block = min(_BLOCK_BYTES, config.read_bytes)
        self.meta = listed
        self.content_type = ""

    def open(self) -> Iterator[bytes]:
        """Read the first block now, and return an iterator over all blocks.

        A listed object that is not there is looked for again: its producer may be replacing it, and
        whoever sets it aside under its version never sees the same bytes under the same key again.

        Raises:
            ObjectNotFoundError: It is gone, and stays gone.
            ObjectDeniedError: It may not be read.
            StoreUnavailableError: The store does not answer, or the object was overwritten while
                it was read.
        """
        first = self._first()
        self.meta, self.content_type = first.meta, first.content_type
        return self._blocks(first)

    def _first(self) -> GetResult:
        whole = self.meta.size <= min(_WHOLE_BYTES, self._config.read_bytes)
        byte_range = None if whole else ByteRange(0, self._block)
        for look in range(1, self._looks):
            try:
                return self._get(byte_range)
            except ObjectNotFoundError:
                time.sleep(self._config.backoff_seconds * 2 ** (look - 1))
        return self._get(byte_range)

    def _blocks(self, first: GetResult) -> Iterator[bytes]:
        data, position = first.data, 0
        while True:
            position += len(data)
            yield data
            if position >= self.meta.size:
                return
            data = self._next(position)

    def _next(self, position: int) -> bytes:
        byte_range = ByteRange(position, min(position + self._block, self.meta.size))
        try:
            result = self._get(byte_range)
        except ObjectRangeError:
            result = None
        if result is None or result.meta.etag != self.meta.etag:
            raise StoreUnavailableError(
                f"'{self.meta.key}' was overwritten while it was read", key=self.meta.key
            )
        return result.data

    def _get(self, byte_range: ByteRange | None) -> GetResult:
        return retrying(lambda: self._store.get(self.meta.key, byte_range), self._config)


class PieceReader(ObjectReader):
    """The bytes of a part of a file of this machine, to which others may be appending.

    Its arguments and attributes are those of `ObjectReader`.
    """

    def open(self) -> Iterator[bytes]:
        """Read the first block now, and return an iterator over all blocks.

        Raises:
            ObjectNotFoundError: The file is gone.
            ObjectDeniedError: It may not be read.
            StoreUnavailableError: It is another file by now, or shorter.
        """
        start, end = piece_span(self.meta.etag) or (0, 0)
        self.beginning = self._span(0, min(start, _BEGINNING_BYTES))
        first = self._span(start, min(start + self._block, end))
        rest = range(start + self._block, end, self._block)
        return chain([first], (self._span(at, min(at + self._block, end)) for at in rest))

    def _span(self, start: int, end: int) -> bytes:
        path = self._store.local_path(self.meta.key)
        inode = int(self.meta.etag.partition("@")[0].split("-")[2], 16)
        with translated(self._store.url, self.meta.key):
            if path is None:
                raise FileNotFoundError(self.meta.key)
            with path.open("rb") as file:
                same = os.fstat(file.fileno()).st_ino == inode
                data = os.pread(file.fileno(), end - start, start) if same else b""
        if len(data) < end - start:
            raise StoreUnavailableError(
                f"'{self.meta.key}' was replaced while it was read", key=self.meta.key
            )
        return data

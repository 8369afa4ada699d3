"""Read what segment files say of themselves, in one small request each."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from lakerunner.segments.codec import read_description
from lakerunner.store import ByteRange

if TYPE_CHECKING:
    from lakerunner.model.segment import Segment
    from lakerunner.store import ObjectStore

_TAIL_BYTES = 64 * 1024
"""The end of a file that is read at once; most footers are shorter."""


def read_footer(store: ObjectStore, key: str, size: int) -> Segment:
    """The description in a segment's footer, with the sources of its rows.

    Args:
        store: The lake.
        key: Of the file.
        size: Of the file, in bytes.

    Raises:
        ObjectNotFoundError: It is gone.
        ObjectRangeError: It is shorter than it should be.
        SegmentError: It is no segment, or of a newer format.
    """
    return read_description(_Tail(store, key, size), key=key, size=size)


class _Tail(io.RawIOBase):
    """An object as a file whose end has been read; whatever lies before is read when asked for."""

    def __init__(self, store: ObjectStore, key: str, size: int) -> None:
        self._store = store
        self._key = key
        self._size = size
        self._position = 0
        self._start = max(0, size - _TAIL_BYTES)
        self._end = self._bytes(self._start, size)

    def _bytes(self, start: int, end: int) -> bytes:
        return self._store.get(self._key, ByteRange(start, end)).data if start < end else b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        start = self._position
        end = self._size if size < 0 else min(start + size, self._size)
        self._position = max(start, end)
        if start >= self._start:
            return self._end[start - self._start : end - self._start]
        return self._bytes(start, end)

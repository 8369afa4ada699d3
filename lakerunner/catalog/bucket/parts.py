"""Parts of checkpoints, loaded when they are asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec
import pyarrow as pa

from lakerunner.catalog.bucket.claims import ClaimPart
from lakerunner.catalog.bucket.failures import DamagedCheckpointError
from lakerunner.catalog.bucket.moments import MomentPart
from lakerunner.catalog.bucket.rejection_part import RejectionPart
from lakerunner.catalog.bucket.segment_part import SegmentPart
from lakerunner.catalog.bucket.sources import SourceLedger
from lakerunner.errors import ObjectNotFoundError, ObjectRangeError
from lakerunner.limits import CATALOG_CACHE_BYTES
from lakerunner.store.base import ByteRange

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from lakerunner.catalog.bucket.manifest import PartName
    from lakerunner.store.base import ObjectStore

Part = SegmentPart | ClaimPart | RejectionPart | MomentPart
P = TypeVar("P", SegmentPart, ClaimPart, RejectionPart, MomentPart)


_SMALL_BYTES = 256 * 1024
"""Bytes of entries that are read, and held, with the numbers of their part."""


class ByteCache:
    """Pieces of objects, of which those that were not used for longest make room for new ones.

    Safe to use from several threads.

    Args:
        budget: Bytes at most.

    Example:
        >>> cache = ByteCache(8)
        >>> cache.put(("a", 0), b"12345")
        >>> cache.put(("b", 0), b"1234")
        >>> cache.get(("a", 0)), cache.get(("b", 0))
        (None, b'1234')
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._lock = threading.Lock()
        self._pieces: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._bytes = 0

    def get(self, name: tuple[str, int]) -> bytes | None:
        """A piece by the key of its object and its number, if it is there."""
        with self._lock:
            if name in self._pieces:
                self._pieces.move_to_end(name)
            return self._pieces.get(name)

    def put(self, name: tuple[str, int], piece: bytes) -> None:
        """Keep a piece, for a while."""
        with self._lock:
            self._bytes += len(piece) - len(self._pieces.pop(name, b""))
            self._pieces[name] = piece
            while self._bytes > self.budget:
                _, oldest = self._pieces.popitem(last=False)
                self._bytes -= len(oldest)


class PartCache:
    """Loads parts once. Loading the same part in two threads at once is wasteful, and harmless.

    Args:
        store: The lake.

    Attributes:
        pieces: Of parts that are read piece by piece.
        sources: What was taken.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._parts: dict[str, Part] = {}
        self.pieces = ByteCache(CATALOG_CACHE_BYTES)
        self.sources = SourceLedger(store, self.pieces)

    def segments(self, name: PartName) -> SegmentPart:
        """A part with segments."""
        if name.index < 0:
            return self._load(name, SegmentPart, SegmentPart.before_version_3)
        if name.index <= _SMALL_BYTES:
            return self._load(name, SegmentPart, partial(_small_part, name.index))
        frames = partial(self._frames, name.key)
        return self._load(name, SegmentPart, lambda tail: SegmentPart(tail, frames))

    def claims(self, name: PartName) -> ClaimPart:
        """A part with claims."""
        return self._load(name, ClaimPart, ClaimPart.decode)

    def rejections(self, name: PartName) -> RejectionPart:
        """A part with rejections."""
        return self._load(name, RejectionPart, RejectionPart.decode)

    def moments(self, name: PartName) -> MomentPart:
        """A part with moments."""
        return self._load(name, MomentPart, MomentPart.decode)

    def _load(self, name: PartName, kind: type[P], read: Callable[[bytes], P]) -> P:
        part = self._parts.get(name.key)
        if part is None:
            try:
                part = read(self._store.get(name.key, _tail_of(name)).data)
            except (
                *(ObjectNotFoundError, ObjectRangeError),
                *(pa.ArrowException, msgspec.MsgspecError, OSError),
            ) as error:
                raise DamagedCheckpointError(
                    f"{name.key!r} is missing or damaged: {error}", key=name.key
                ) from error
            self._parts[name.key] = part
        if not isinstance(part, kind) or len(part) != name.rows:
            raise DamagedCheckpointError(f"{name.key!r} is not what it should be", key=name.key)
        return part

    def add(self, key: str, part: Part) -> None:
        """Keep a part that was just written; of its entries, what the budget lets us."""
        if isinstance(part, SegmentPart) and part.index > _SMALL_BYTES:
            part = part.stored(partial(self._frames, key))
        self._parts[key] = part

    def _frames(self, key: str, spans: Sequence[tuple[int, int]]) -> Sequence[bytes]:
        held = {span: self.pieces.get((key, span[0])) for span in spans}
        missing = [span for span, data in held.items() if data is None]
        try:
            read = self._store.get_ranges(key, missing) if missing else ()
        except (ObjectNotFoundError, ObjectRangeError) as error:
            raise DamagedCheckpointError(
                f"{key!r} is missing or too short: {error}", key=key
            ) from error
        for span, data in zip(missing, read, strict=True):
            held[span] = data
            self.pieces.put((key, span[0]), data)
        return [data for data in held.values() if data is not None]

    def keep(self, keys: Collection[str]) -> None:
        """Forget all parts but these."""
        self._parts = {key: part for key, part in self._parts.items() if key in keys}


def _tail_of(name: PartName) -> ByteRange | None:
    return ByteRange(name.index) if name.index > _SMALL_BYTES else None


def _small_part(index: int, data: bytes) -> SegmentPart:
    return SegmentPart(data[index:], lambda spans: [data[start:end] for start, end in spans])

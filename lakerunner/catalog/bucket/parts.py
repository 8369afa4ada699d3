"""Parts of checkpoints, loaded when they are asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec
import pyarrow as pa

from lakerunner.catalog.bucket.checkpoints import Manifest, PartName, TableManifest, merge_from
from lakerunner.catalog.bucket.claims import ClaimPart, MomentPart, open_file, split, write_table
from lakerunner.catalog.bucket.records import FORMAT_VERSION, DamagedCheckpointError
from lakerunner.catalog.bucket.segment_part import SegmentPart
from lakerunner.catalog.bucket.sources import RunWriter, SourceLedger
from lakerunner.errors import ObjectNotFoundError, ObjectRangeError
from lakerunner.limits import CATALOG_CACHE_BYTES
from lakerunner.model.segment import Rejection
from lakerunner.store.base import ByteRange

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from lakerunner.catalog.bucket.checkpoints import Checkpoints
    from lakerunner.catalog.bucket.delta import Delta, TableDelta
    from lakerunner.catalog.bucket.sources import SourceRun
    from lakerunner.store.base import ObjectStore

# What is set aside, as a part: owner and reasons by the digest of the source.

_SCHEMA = pa.schema(
    [
        pa.field("high", pa.uint64(), nullable=False),
        pa.field("low", pa.uint64(), nullable=False),
        pa.field("organization", pa.string()),
        pa.field("reasons", pa.binary()),
    ]
)
"""`reasons` is a JSON array; NULL says that the source was taken since, and hides older reasons."""

Reasons = tuple[str, "Sequence[Rejection]"]
"""The owner of what is set aside, and why it is."""

_DECODER = msgspec.json.Decoder(tuple[Rejection, ...])


class RejectionPart:
    """Sources that are set aside, or no longer. Immutable; held decoded, for they are few.

    Args:
        entries: By digest of the source; None where the source was taken since.
    """

    def __init__(self, entries: Mapping[bytes, Reasons | None]) -> None:
        self.entries = entries

    @classmethod
    def decode(cls, data: bytes) -> RejectionPart:
        """Read what `encode` wrote.

        Raises:
            pa.ArrowException: It is something else.
            msgspec.MsgspecError: Its reasons are.
        """
        table = open_file(data, _SCHEMA).read()
        high, low, owners, reasons = (column.to_pylist() for column in table.columns)
        digests = (
            first.to_bytes(8, "big") + second.to_bytes(8, "big")
            for first, second in zip(high, low, strict=True)
        )
        return cls(
            {
                digest: None if text is None else (owner, _DECODER.decode(text))
                for digest, owner, text in zip(digests, owners, reasons, strict=True)
            }
        )

    def encode(self) -> bytes:
        """The part as a Parquet file."""
        high, low = split(list(self.entries))
        kept = list(self.entries.values())
        owners = pa.array([entry and entry[0] for entry in kept], pa.string())
        reasons = pa.array([entry and msgspec.json.encode(entry[1]) for entry in kept], pa.binary())
        return write_table(_SCHEMA, [pa.table([high, low, owners, reasons], schema=_SCHEMA)])

    def __len__(self) -> int:
        return len(self.entries)

    @staticmethod
    def merge(parts: Sequence[RejectionPart], *, oldest: bool) -> RejectionPart:
        """One part with the newest entry of each source.

        Args:
            parts: From old to new.
            oldest: There is no older part, so that what was taken since hides nothing any more.
        """
        entries: dict[bytes, Reasons | None] = {}
        for part in parts:
            entries |= part.entries
        if oldest:
            entries = {digest: entry for digest, entry in entries.items() if entry is not None}
        return RejectionPart(entries)


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


# Making a checkpoint: the parts of the one before, a part of what changed, and merges.

RUNS_SINCE = 3
"""Version since which sources that were taken are no claims, but have runs."""


class Checkpointer:
    """Writes the parts of one checkpoint.

    Args:
        checkpoints: Where to.
        cache: Loads older parts that are merged, and keeps the new ones.
    """

    def __init__(self, checkpoints: Checkpoints, cache: PartCache) -> None:
        self._checkpoints = checkpoints
        self._cache = cache

    def extend(self, base: Manifest, delta: Delta) -> Manifest:
        """Write all parts of the state after `delta`, and name them; the manifest is not written.

        Args:
            base: The checkpoint on which the delta stands.
            delta: Everything since.

        Raises:
            DamagedCheckpointError: A part of `base` that is to be merged cannot be read.
            StoreError: A part cannot be written.
        """
        known = {(table.organization, table.table): table for table in base.tables}
        tables = []
        for key in delta.numbers:
            table = known.get(key) or TableManifest(*key)
            tables.append(self._table(table, delta.tables.get(key), delta.position))
        return Manifest(
            version=FORMAT_VERSION,
            position=delta.position,
            sequence=delta.sequence,
            entry_id=delta.entry_id,
            entry_position=delta.entry_position,
            newest_ns=delta.newest_ns,
            tables=tuple(tables),
            claims=self._claims(base, delta),
            rejections=self._rejections(base, delta),
            head=delta.head,
            moments=self._moments(base, delta),
            sources=self._sources(base, delta),
        )

    def _table(
        self, table: TableManifest, delta: TableDelta | None, position: int
    ) -> TableManifest:
        if delta is None:
            return table
        parts = table.parts
        if delta.entered or delta.marks:
            parts = self._append(
                parts,
                SegmentPart.of(delta),
                position,
                load=self._cache.segments,
                merge=lambda found, oldest: SegmentPart.merge(found, oldest=oldest),
                encode=SegmentPart.encode,
            )
        return TableManifest(table.organization, table.table, parts, table.totals.changed_by(delta))

    def _sources(self, base: Manifest, delta: Delta) -> tuple[SourceRun, ...]:
        def write(data: bytes) -> str:
            return self._checkpoints.write_part(delta.position, data, "sources")

        writer = RunWriter(self._cache.sources, write)
        runs = base.sources
        if base.version < RUNS_SINCE:
            older = [digest for name in base.claims for digest in self._cache.claims(name).taken()]
            runs = writer.extend((), dict.fromkeys(older, True))
        return writer.extend(runs, delta.taken)

    def _claims(self, base: Manifest, delta: Delta) -> tuple[PartName, ...]:
        if base.version < RUNS_SINCE and base.claims:
            parts = [*map(self._cache.claims, base.claims), ClaimPart.of(delta.claims)]
            return self._append(
                (),
                _merged_claims(parts, delta, oldest=True),
                delta.position,
                load=self._cache.claims,
                merge=lambda found, oldest: _merged_claims(found, delta, oldest=oldest),
                encode=ClaimPart.encode,
            )
        if not delta.claims:
            return base.claims
        return self._append(
            base.claims,
            ClaimPart.of(delta.claims),
            delta.position,
            load=self._cache.claims,
            merge=lambda found, oldest: _merged_claims(found, delta, oldest=oldest),
            encode=ClaimPart.encode,
        )

    def _rejections(self, base: Manifest, delta: Delta) -> tuple[PartName, ...]:
        if not delta.rejections:
            return base.rejections
        return self._append(
            base.rejections,
            RejectionPart(delta.rejections),
            delta.position,
            load=self._cache.rejections,
            merge=lambda found, oldest: RejectionPart.merge(found, oldest=oldest),
            encode=RejectionPart.encode,
        )

    def _moments(self, base: Manifest, delta: Delta) -> tuple[PartName, ...]:
        if not delta.moments:
            return base.moments
        return self._append(
            base.moments,
            MomentPart.of(delta.moments),
            delta.position,
            load=self._cache.moments,
            merge=lambda found, oldest: MomentPart.merge(found, oldest=oldest),
            encode=MomentPart.encode,
        )

    def _append(
        self,
        older: Sequence[PartName],
        part: P,
        position: int,
        *,
        load: Callable[[PartName], P],
        merge: Callable[[Sequence[P], bool], P],
        encode: Callable[[P], bytes],
    ) -> tuple[PartName, ...]:
        kept: int = merge_from([*(name.rows for name in older), len(part)])
        if kept < len(older):
            found = [load(name) for name in older[kept:]]
            found.append(part)
            part = merge(found, kept == 0)
        if kept == 0 and not len(part):
            return ()
        key = self._checkpoints.write_part(position, encode(part))
        self._cache.add(key, part)
        index: int = getattr(part, "index", -1)  # only parts with segments have entries apart
        return (*older[:kept], PartName(key, len(part), index))


def _merged_claims(parts: Sequence[ClaimPart], delta: Delta, *, oldest: bool) -> ClaimPart:
    return ClaimPart.merge(parts, oldest=oldest, sequence=delta.sequence, floor=delta.head.floor)

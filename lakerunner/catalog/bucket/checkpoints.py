"""Where checkpoints lie in the lake: manifests, their parts, and the hint at the newest one."""

from __future__ import annotations

import uuid
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lakerunner.catalog.bucket.records import (
    LOG_PREFIX,
    PREFIX,
    DamagedCheckpointError,
    decode,
    encode,
    numbered,
    position_of,
)
from lakerunner.catalog.bucket.sources import SourceRun
from lakerunner.catalog.change import ColumnKey
from lakerunner.errors import (
    CatalogError,
    CatalogVersionError,
    ObjectExistsError,
    ObjectNotFoundError,
)
from lakerunner.model.commit import Head
from lakerunner.model.times import MIN_NS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from lakerunner.catalog.bucket.delta import TableDelta
    from lakerunner.store.base import ObjectMeta, ObjectStore

# What a checkpoint consists of: the manifest that names its parts, and which parts to merge.

FANOUT = 4
"""A part is merged with the older one if that has less than so many times its rows."""


class PartName(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part by its key, with its size in rows.

    Of a part with segments, `index` says where behind their entries the numbers begin.
    """

    key: str
    rows: int
    index: int = -1


class Totals(msgspec.Struct, frozen=True):
    """What a snapshot says of a table."""

    segments: int = 0
    rows: int = 0
    bytes: int = 0
    columns: tuple[tuple[ColumnKey, int], ...] = ()

    def changed_by(self, delta: TableDelta | None) -> Totals:
        """The totals after further commits."""
        if delta is None:
            return self
        columns = dict(self.columns)
        for key, number in delta.columns.items():
            columns[key] = columns.get(key, 0) + number
        return Totals(
            self.segments + delta.segments,
            self.rows + delta.rows,
            self.bytes + delta.bytes,
            tuple((key, number) for key, number in columns.items() if number),
        )


class TableManifest(msgspec.Struct, frozen=True):
    """One table; parts from old to new."""

    organization: str
    table: str
    parts: tuple[PartName, ...] = ()
    totals: Totals = Totals()


class Manifest(msgspec.Struct, frozen=True):
    """The state of the whole catalog after the record at `position`.

    Attributes:
        version: See `records.FORMAT_VERSION`.
        position: Of the last record it includes.
        sequence: Of the last commit it includes.
        entry_id: The write id of the last entry it includes.
        entry_position: The first position of that entry.
        newest_ns: The latest `committed_ns` of all commits it includes.
        tables: In the order of their numbers.
        claims: Parts from old to new.
        rejections: Parts from old to new.
        head: Where the catalog stands; its own sequence is not used.
        moments: Parts from old to new.
        sources: What was taken, in runs from old to new. Before version 3 it was among the claims.
    """

    version: int = 1
    position: int = 0
    sequence: int = 0
    entry_id: str = ""
    entry_position: int = 0
    newest_ns: int = MIN_NS
    tables: tuple[TableManifest, ...] = ()
    claims: tuple[PartName, ...] = ()
    rejections: tuple[PartName, ...] = ()
    head: Head = Head(0)
    moments: tuple[PartName, ...] = ()
    sources: tuple[SourceRun, ...] = ()

    def parts(self) -> set[str]:
        """Keys of all parts."""
        named = [*self.claims, *self.rejections, *self.moments]
        for table in self.tables:
            named += table.parts
        return {part.key for part in named} | {p.key for run in self.sources for p in run.parts}


def merge_from(sizes: Sequence[int]) -> int:
    """From which part on, of these sizes from old to new, all are to become one.

    Afterwards each part is at least `FANOUT` times as large as the next, so there are few, and a
    row is rewritten only when its part grows by a fixed share.

    Returns:
        The number of parts that stay as they are.

    Example:
        >>> merge_from([1000, 100, 10]), merge_from([1000, 100, 30]), merge_from([1000, 300, 90])
        (3, 1, 0)
    """
    kept = len(sizes) - 1
    merged = sizes[-1] if sizes else 0
    while kept > 0 and sizes[kept - 1] < FANOUT * merged:
        kept -= 1
        merged += sizes[kept]
    return len(sizes) if kept == len(sizes) - 1 else kept


CHECKPOINTS_PREFIX = f"{PREFIX}checkpoints/"
PENDING_PREFIX = f"{CHECKPOINTS_PREFIX}pending/"
"""Commits that were handed over lie behind the manifests: so a writer, who lists these after each
entry, sees that somebody waits without another request."""

PARTS_PREFIX = f"{PREFIX}parts/"
HINT_KEY = f"{PREFIX}last_checkpoint.json"


class _Hint(msgspec.Struct):
    position: int


_HINT = msgspec.json.Decoder(_Hint)
_MANIFEST = msgspec.json.Decoder(Manifest)


class Behind(NamedTuple):
    """What lies behind a manifest.

    Attributes:
        positions: Of manifests, from old to new.
        waiting: Whether somebody has handed commits over.
    """

    positions: tuple[int, ...]
    waiting: bool


class Checkpoints:
    """Reads and writes checkpoints. Keeps no state; may be used from any threads at once.

    Args:
        store: The lake.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def newest(
        self,
        damaged: Collection[int] = (),
        parts: Collection[str] = (),
        *,
        trust_hint: bool = True,
    ) -> Manifest:
        """The newest checkpoint that can be read; an empty one if there is none.

        Args:
            damaged: Positions of checkpoints that are known to be of no use.
            parts: Keys of parts that are; checkpoints that name one are passed over.
            trust_hint: Ask the hint first, which may be stale, and list only if it is of no use.

        Raises:
            CatalogVersionError: A newer version wrote it.
        """
        unusable = set(damaged)
        hint = self.hint() if trust_hint else None
        if hint is not None and hint not in unusable:
            found = self._read(hint)
            if found is not None:
                return found
            unusable.add(hint)
        listed = (position_of(meta.key, CHECKPOINTS_PREFIX) for meta in self.list())
        for position in sorted((p for p in listed if p is not None), reverse=True):
            if position not in unusable:
                found = self._read(position)
                if found is not None and found.parts().isdisjoint(parts):
                    return found
        return Manifest()

    def list(self) -> list[ObjectMeta]:
        """All manifests, from old to new."""
        return list(self._store.list(CHECKPOINTS_PREFIX))

    def behind(self, position: int) -> Behind:
        """What lies behind the manifest of a position: one listing."""
        after = numbered(CHECKPOINTS_PREFIX, position)
        found = [meta.key for meta in self._store.list(CHECKPOINTS_PREFIX, start_after=after)]
        listed = [position_of(key, CHECKPOINTS_PREFIX) for key in found]
        return Behind(
            tuple(number for number in listed if number is not None),
            waiting=any(key.startswith(PENDING_PREFIX) for key in found),
        )

    def hint(self) -> int | None:
        """The position of a recent checkpoint, if the hint can be read."""
        try:
            return _HINT.decode(self._store.get(HINT_KEY).data).position
        except (ObjectNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _read(self, position: int) -> Manifest | None:
        try:
            return self.read(position)
        except CatalogVersionError:
            raise
        except CatalogError:
            return None

    def read(self, position: int) -> Manifest:
        """The checkpoint at a position.

        Raises:
            CatalogVersionError: A newer version wrote it.
            DamagedCheckpointError: It is missing or broken.
        """
        key = numbered(CHECKPOINTS_PREFIX, position)
        try:
            manifest = decode(self._store.get(key).data, _MANIFEST, key)
        except CatalogVersionError:
            raise
        except (ObjectNotFoundError, CatalogError) as error:
            raise DamagedCheckpointError(str(error), key=key, position=position) from error
        if manifest.position != position:
            raise DamagedCheckpointError(f"{key!r} says {manifest.position}", key=key)
        return manifest

    def write_part(self, position: int, data: bytes, kind: str = "parquet") -> str:
        """Put a part of the checkpoint at a position; returns its key, which is unique."""
        key = f"{PARTS_PREFIX}{position:020d}-{uuid.uuid4().hex}.{kind}"
        self._store.create(key, data)
        return key

    def write(self, manifest: Manifest) -> bool:
        """Put a manifest whose parts are there, and point at it; False if another one is there."""
        key = numbered(CHECKPOINTS_PREFIX, manifest.position)
        try:
            self._store.create(key, encode(manifest))
        except ObjectExistsError:
            return False
        self._store.put(HINT_KEY, msgspec.json.encode(_Hint(manifest.position)))
        return True


# Deleting what newer checkpoints have made superfluous: log entries, old checkpoints, parts.

_IN_USE = 2
"""Newest checkpoints that are read for the parts they name, whatever their age."""


def collect_garbage(store: ObjectStore, *, grace_ns: int) -> Sequence[str]:
    """Delete what the newest checkpoints say better, unless it is young.

    What keeps a late writer from using a number again is not its age, but that the newest manifest
    is never deleted: see `writer.Writer`. The age is a courtesy to readers, who would have to begin
    again, and it is told by the clock of the store alone: by how much later its newest object was
    written.

    Kept are: the newest readable checkpoint that is not young, all later ones, their parts, and the
    log from the first of them on. So a later one that is damaged can be replaced.

    Args:
        store: The lake.
        grace_ns: How long, in nanoseconds, an object stays after it was written.

    Returns:
        Keys of what was deleted.
    """
    checkpoints = Checkpoints(store)
    manifests = _numbered(checkpoints.list(), CHECKPOINTS_PREFIX)
    if not manifests:
        return []
    entries = _numbered(list(store.list(LOG_PREFIX)), LOG_PREFIX)
    parts = list(store.list(PARTS_PREFIX))
    listed = [*manifests.values(), *entries.values(), *parts]
    before_ns = max(meta.modified_ns for meta in listed) - grace_ns
    old = [position for position, meta in manifests.items() if meta.modified_ns <= before_ns]
    floor = _newest_usable(checkpoints, old)
    if floor is None:
        return []
    # What a checkpoint names is named by the floor as well, or was put later, under a higher
    # position. Where two processes wrote checkpoints at the same time that may not be so: those
    # in use now are looked at, and whoever still reads one in between goes on with the newest.
    named: set[str] = set()
    newer = sorted(position for position in manifests if position > floor)
    for position in (floor, *newer[-_IN_USE:]):
        with suppress(DamagedCheckpointError):
            named |= checkpoints.read(position).parts()
    superfluous = [
        meta.key
        for (_, meta), (following, _) in pairwise(entries.items())
        if following <= floor and meta.modified_ns <= before_ns
    ]
    superfluous += [manifests[position].key for position in old if position < floor]
    superfluous += [
        meta.key
        for meta in parts
        if meta.modified_ns <= before_ns
        and meta.key not in named
        and meta.key < f"{PARTS_PREFIX}{floor + 1:020d}"
    ]
    # Whoever handed it over is gone, or sees that it is and appends it himself.
    superfluous += [m.key for m in store.list(PENDING_PREFIX) if m.modified_ns <= before_ns]
    store.delete_many(superfluous)
    return superfluous


def _newest_usable(checkpoints: Checkpoints, positions: list[int]) -> int | None:
    for position in sorted(positions, reverse=True):
        try:
            checkpoints.read(position)
        except DamagedCheckpointError:
            continue
        return position
    return None


def _numbered(listed: list[ObjectMeta], prefix: str) -> dict[int, ObjectMeta]:
    found = ((position_of(meta.key, prefix), meta) for meta in listed)
    return {position: meta for position, meta in found if position is not None}

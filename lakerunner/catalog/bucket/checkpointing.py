"""Making a checkpoint: the parts of the one before, a part of what changed, and merges."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from lakerunner.catalog.bucket.claims import ClaimPart
from lakerunner.catalog.bucket.manifest import (
    Manifest,
    PartName,
    TableManifest,
    merge_from,
)
from lakerunner.catalog.bucket.moments import MomentPart
from lakerunner.catalog.bucket.records import FORMAT_VERSION
from lakerunner.catalog.bucket.rejection_part import RejectionPart
from lakerunner.catalog.bucket.segment_part import SegmentPart
from lakerunner.catalog.bucket.sources import RunWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakerunner.catalog.bucket.checkpoints import Checkpoints
    from lakerunner.catalog.bucket.delta import Delta, TableDelta
    from lakerunner.catalog.bucket.parts import PartCache
    from lakerunner.catalog.bucket.sources import SourceRun

P = TypeVar("P", SegmentPart, ClaimPart, RejectionPart, MomentPart)


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

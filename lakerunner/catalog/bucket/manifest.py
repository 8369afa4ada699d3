"""What a checkpoint consists of: the manifest that names its parts, and which parts to merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lakerunner.catalog.bucket.sources import SourceRun
from lakerunner.catalog.columns import ColumnKey
from lakerunner.model.commit import Head
from lakerunner.model.times import MIN_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.catalog.bucket.delta import TableDelta

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

"""How a lake is doing: what is in it, what was set aside, what failed, and what there is to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lakerunner.model.report import Setback
from lakerunner.tasks.running import read_setbacks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.model.segment import Segment
    from lakerunner.store import ObjectStore


class TableStatus(msgspec.Struct, frozen=True):
    """What is in one table of one organization.

    Attributes:
        organization: Whose rows.
        table: Which table.
        segments: Live ones.
        rows: In all of them; those that are deleted and not yet gone are counted, too.
        bytes: Of their files.
        first_ns: Time of the oldest row, nanoseconds since the epoch.
        last_ns: Time of the newest row.
        unmerged: Segments as they were ingested, which no maintenance has merged yet.
        written_ns: When the latest of these was written; 0 if there are none.
        delay_ns: How old the newest row of that one was then.
    """

    organization: str
    table: str
    segments: int
    rows: int
    bytes: int
    first_ns: int
    last_ns: int
    unmerged: int = 0
    written_ns: int = 0
    delay_ns: int = 0


class SetAside(msgspec.Struct, frozen=True):
    """What was set aside of one organization's input; `lake.rejected()` lists it.

    Attributes:
        organization: Whose input.
        objects: Whole objects.
        rows: Lines and records of objects that were taken.
        reason: Of the latest.
    """

    organization: str
    objects: int
    rows: int
    reason: str


class LakeStatus(msgspec.Struct, frozen=True):
    """How a lake is doing.

    Attributes:
        sequence: Number of the latest commit.
        tables: What is in each table, by organization and name.
        set_aside: What input was set aside, by organization; those without any are left out.
        setbacks: Tasks of maintenance that failed and have not succeeded since.
    """

    sequence: int
    tables: tuple[TableStatus, ...]
    set_aside: tuple[SetAside, ...]
    setbacks: tuple[Setback, ...]

    def __str__(self) -> str:
        rows = sum(one.rows for one in self.tables)
        segments = sum(one.segments for one in self.tables)
        aside = sum(one.objects + one.rows for one in self.set_aside)
        return (
            f"{rows:,} rows in {segments:,} segments of {len(self.tables):,} tables, "
            f"{aside:,} set aside, {len(self.setbacks):,} tasks put off"
        )


class Waiting(msgspec.Struct, frozen=True):
    """Work that nobody has done yet.

    Attributes:
        files: Objects to be taken, or segments to be merged.
        bytes: Of these, as they are stored.
        age_seconds: How long the oldest of them has been there; 0 if there is none.
    """

    files: int = 0
    bytes: int = 0
    age_seconds: float = 0.0


class Backlog(msgspec.Struct, frozen=True):
    """How far a lake is behind, as numbers that workers can be added and taken away by.

    Attributes:
        input: Objects that are neither taken nor set aside.
        merges: Segments that are to be merged now.
    """

    input: Waiting
    merges: Waiting


def waiting(found: Iterable[tuple[int, int]], now_ns: int) -> Waiting:
    """Add up what waits.

    Args:
        found: Bytes of each, and since when it has been there, nanoseconds since the epoch.
        now_ns: The present.

    Example:
        >>> waiting([(10, 3 * 10**9), (20, 10**9)], 5 * 10**9)
        Waiting(files=2, bytes=30, age_seconds=4.0)
    """
    files = size = 0
    oldest_ns = now_ns
    for each, since_ns in found:
        files += 1
        size += each
        oldest_ns = min(oldest_ns, since_ns)
    return Waiting(files, size, (now_ns - oldest_ns) / 1e9)


def status_of(
    store: ObjectStore, catalog: Catalog, organizations: Sequence[str] | None = None
) -> LakeStatus:
    """See how a lake is doing. Cost grows with the number of its segments.

    Args:
        store: Where its files are.
        catalog: What knows them.
        organizations: Whose; None for all.

    Raises:
        CatalogError: The catalog cannot be asked.
        StoreError: The store cannot be listed.
    """
    wanted = set(catalog.organizations() if organizations is None else organizations)
    setbacks: dict[str, Setback] = {}
    for name in [None] if organizations is None else sorted(wanted):
        setbacks |= read_setbacks(store, name)
    return LakeStatus(
        sequence=catalog.head().sequence,
        tables=tuple(_tables(catalog, wanted)),
        set_aside=tuple(_set_aside(catalog, wanted)),
        setbacks=tuple(setbacks[name] for name in sorted(setbacks)),
    )


def _tables(catalog: Catalog, wanted: set[str]) -> Iterator[TableStatus]:
    for organization, table in catalog.tables():
        if organization not in wanted:
            continue
        segments = rows = size = last = unmerged = 0
        first: int | None = None
        latest: Segment | None = None
        for page in catalog.pages(organization, table):
            segments += len(page)
            rows += sum(one.rows for one in page)
            size += sum(one.bytes for one in page)
            oldest = min(one.min_timestamp_ns for one in page)
            first = oldest if first is None else min(first, oldest)
            last = page[-1].max_timestamp_ns
            ingested = [one for one in page if one.level == 0 and not one.kind]
            unmerged += len(ingested)
            latest = max(filter(None, (latest, *ingested)), key=_written, default=None)
        written = latest.created_ns if latest else 0
        delay = max(latest.created_ns - latest.max_timestamp_ns, 0) if latest else 0
        yield TableStatus(
            organization, table, segments, rows, size, first or 0, last, unmerged, written, delay
        )


def _written(segment: Segment) -> int:
    return segment.created_ns


def _set_aside(catalog: Catalog, wanted: set[str]) -> Iterator[SetAside]:
    for organization in sorted(wanted):
        found = catalog.rejections(organization)
        if found:
            objects = sum(one.rows is None for one in found)
            rows = sum(one.rows or 0 for one in found)
            yield SetAside(organization, objects, rows, found[-1].reason)

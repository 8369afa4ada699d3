"""Find segments whose files are not as they were written, and take them out of the way."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from lakerunner.errors import (
    ConfigurationError,
    ErrorCode,
    ObjectNotFoundError,
    StoreUnavailableError,
)
from lakerunner.executors import bounded_map
from lakerunner.fencing import Fence
from lakerunner.model.commit import Commit
from lakerunner.model.report import ProgressEvent
from lakerunner.model.segment import LAKE, Rejection, Segment, Source
from lakerunner.model.times import TimeRange
from lakerunner.publish.committing import announce_removal, publish_removal
from lakerunner.segments.checksums import FOOTER, damaged_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.model.report import Progress
    from lakerunner.scope import Scope
    from lakerunner.store import ObjectStore


ALL_TIMES = TimeRange()


class DamagedSegment(msgspec.Struct, frozen=True):
    """A live segment whose file is not as it was written.

    Attributes:
        segment: As the catalog describes it: `segment.id` is what `Lake.set_aside` takes.
        reason: What of it is damaged, for a person.
        readable: Whether its footer can be read.
    """

    segment: Segment
    reason: str
    readable: bool


def find_damage(
    scope: Scope,
    table: str | None = None,
    wanted: TimeRange = ALL_TIMES,
    progress: Progress | None = None,
) -> Sequence[DamagedSegment]:
    """Read every live segment of an organization, and name those that are damaged.

    All bytes are read once, `config.workers` files at a time; files in a bucket are held in memory
    meanwhile. The catalog is read page by page, and nothing is written.

    Args:
        scope: Whose segments.
        table: Only those of this table.
        wanted: Only those that may hold rows in this time range.
        progress: Called for each segment that was read (stage `verify`).

    Returns:
        In order of their keys. What was removed while this ran is not among them.

    Raises:
        StoreError: A file cannot be read for another reason than being damaged.
    """
    catalog, organization = scope.catalog, scope.organization
    tables = [
        name for owner, name in catalog.tables() if owner == organization and table in {None, name}
    ]
    found: list[DamagedSegment] = []
    done = rows = 0
    with ThreadPoolExecutor(scope.config.workers, thread_name_prefix="lakerunner-verify") as pool:
        live = _live(catalog, organization, tables, wanted)
        examine = partial(_examined, scope.store)
        for segment, damage in bounded_map(pool, examine, live, in_flight=2 * scope.config.workers):
            done, rows = done + 1, rows + segment.rows
            if damage is not None:
                found.append(damage)
            if progress is not None:
                progress(ProgressEvent("verify", done, done, rows))
    if found:  # its file may be gone because it was replaced meanwhile
        still = {one.id for one in _live(catalog, organization, tables, wanted)}
        found = [one for one in found if one.segment.id in still]
    return sorted(found, key=lambda one: one.segment.key)


def set_aside_segment(scope: Scope, segment_id: str, reason: str | None = None) -> Rejection:
    """Take a segment out of the live ones: queries answer without its rows from then on.

    One commit removes it and lists it with its reason among what is set aside. Its file stays as
    long as that of any segment that was removed, and the catalog's recovery does not bring it back.
    The objects of its rows count as taken still. Only where the footer is unreadable and the
    catalog is lost afterwards, nothing knows any more that they were, and they are taken again.

    Args:
        scope: Whose segment it is.
        segment_id: Which, as errors and `find_damage` say.
        reason: Why; told from its file if not given.

    Returns:
        What is listed from now on.

    Raises:
        ConfigurationError: There is no such live segment of the organization; or no reason is
            given, and it is as it was written.
        CommitConflictError: It was removed or replaced meanwhile.
        CatalogMismatchError: The lake was recovered meanwhile.
        StoreError: Its file cannot be read for another reason than being damaged.
    """
    fence = Fence(scope.store, scope.catalog)
    head = fence.begin()
    segment = _find(scope, segment_id)
    _, damage = _examined(scope.store, segment)
    if damage is None and not reason:
        raise ConfigurationError(
            f"set_aside: the segment '{segment_id}' is as it was written; "
            "to set it aside all the same, say why: reason='…'",
            segment=segment_id,
        )
    commit_id, now_ns = uuid.uuid4().hex, time.time_ns()
    listed = Rejection(
        Source(LAKE, segment.key, segment.id),
        ErrorCode.SEGMENT_DAMAGED,
        reason or (damage.reason if damage else ""),
        now_ns,
        segment.rows,
    )
    unreadable = {segment.id} if damage and not damage.readable else frozenset[str]()
    announced = announce_removal(
        fence, "damage", [segment], head, commit_id=commit_id, unreadable=unreadable
    )
    commit = Commit(commit_id, scope.organization, now_ns, remove=(segment.id,), rejected=(listed,))
    publish_removal(fence, commit, announced, head, scope.config)
    fence.leave_height()
    return listed


def _find(scope: Scope, segment_id: str) -> Segment:
    """A live segment by its id; those of others do not exist for this organization."""
    tables = [name for owner, name in scope.catalog.tables() if owner == scope.organization]
    for segment in _live(scope.catalog, scope.organization, tables):
        if segment.id == segment_id:
            return segment
    raise ConfigurationError(
        f"set_aside: '{scope.organization}' has no live segment '{segment_id}'; "
        "lake.verify() names those that are damaged, lake.segments(table) all",
        segment=segment_id,
        organization=scope.organization,
    )


def _live(
    catalog: Catalog, organization: str, tables: Iterable[str], wanted: TimeRange = ALL_TIMES
) -> Iterator[Segment]:
    for table in tables:
        for page in catalog.pages(organization, table):
            for segment in page:
                if wanted.overlaps(segment.min_timestamp_ns, segment.max_timestamp_ns):
                    yield segment


def _examined(store: ObjectStore, segment: Segment) -> tuple[Segment, DamagedSegment | None]:
    try:
        damaged = _damaged(store, segment)
    except (FileNotFoundError, ObjectNotFoundError):
        return segment, DamagedSegment(segment, "its file is missing", readable=False)
    if not damaged:
        return segment, None
    reason = f"damaged: {', '.join(damaged)}"
    return segment, DamagedSegment(segment, reason, readable=FOOTER not in damaged)


def _damaged(store: ObjectStore, segment: Segment) -> Sequence[str]:
    local = store.local_path(segment.key)
    if local is None:
        return damaged_parts(pa.BufferReader(store.get(segment.key).data), segment)
    try:
        with pa.OSFile(str(local)) as file:
            return damaged_parts(file, segment)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreUnavailableError(
            f"the segment '{segment.key}' cannot be read: {error}", key=segment.key
        ) from error

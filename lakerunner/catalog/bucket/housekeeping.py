"""Deleting what newer checkpoints have made superfluous: log entries, old checkpoints, parts."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

from lakerunner.catalog.bucket.checkpoints import (
    CHECKPOINTS_PREFIX,
    PARTS_PREFIX,
    PENDING_PREFIX,
    Checkpoints,
)
from lakerunner.catalog.bucket.failures import DamagedCheckpointError
from lakerunner.catalog.bucket.log import LOG_PREFIX, position_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.store.base import ObjectMeta, ObjectStore

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

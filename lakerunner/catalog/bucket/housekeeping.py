"""Deleting what newer checkpoints have made superfluous: log entries, old checkpoints, parts."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

from lakerunner.catalog.bucket.checkpoints import CHECKPOINTS_PREFIX, PARTS_PREFIX, Checkpoints
from lakerunner.catalog.bucket.failures import DamagedCheckpointError
from lakerunner.catalog.bucket.log import LOG_PREFIX, position_of

if TYPE_CHECKING:
    from lakerunner.store.base import ObjectMeta, ObjectStore

_IN_USE = 2
"""Newest checkpoints that are read for the parts they name, whatever their age."""


def collect_garbage(store: ObjectStore, *, before_ns: int) -> list[str]:
    """Delete what no reader of the last grace period needs.

    Kept are: the newest readable checkpoint that is older than `before_ns`, all younger ones, their
    parts, and the log from the older one on. So a younger one that is damaged can be replaced.

    Args:
        store: The lake.
        before_ns: End of the grace period, nanoseconds since the epoch, by the store's clock.

    Returns:
        Keys of what was deleted. The log is deleted in ascending order: see `writer.Writer`.
    """
    checkpoints = Checkpoints(store)
    manifests = _numbered(checkpoints.list(), CHECKPOINTS_PREFIX)
    old = [position for position, meta in manifests.items() if meta.modified_ns < before_ns]
    parts = [meta for meta in store.list(PARTS_PREFIX) if meta.modified_ns < before_ns]
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
    entries = list(_numbered(list(store.list(LOG_PREFIX)), LOG_PREFIX).items())
    superfluous = [
        meta.key
        for (_, meta), (following, _) in pairwise(entries)
        if following <= floor and meta.modified_ns < before_ns
    ]
    superfluous += [manifests[position].key for position in old if position < floor]
    superfluous += [
        meta.key
        for meta in parts
        if meta.key not in named and meta.key < f"{PARTS_PREFIX}{floor + 1:020d}"
    ]
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

"""Which commit was the last one at a time: by older checkpoints, and the log behind one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakerunner.catalog.bucket.checkpoints import CHECKPOINTS_PREFIX
from lakerunner.catalog.bucket.failures import DamagedCheckpointError
from lakerunner.catalog.bucket.log import position_of
from lakerunner.catalog.bucket.manifest import Manifest
from lakerunner.catalog.bucket.records import CommitRecord
from lakerunner.errors import ObjectNotFoundError, SnapshotExpiredError
from lakerunner.model.times import isoformat

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakerunner.catalog.bucket.checkpoints import Checkpoints
    from lakerunner.catalog.bucket.log import Log, Stored

_READ_AT_ONCE = 64


def sequence_before(sequence: int, entries: Iterable[Stored], time_ns: int) -> int:
    """The last commit before the first one after a time.

    Args:
        sequence: The last commit before `entries`; it and all before it are not after the time.
        entries: What follows, in order.
        time_ns: The time.
    """
    for stored in entries:
        for position, record in enumerate(stored.entry.records, stored.entry.position):
            if isinstance(record, CommitRecord):
                if record.commit.committed_ns > time_ns:
                    return sequence
                sequence = position
    return sequence


def look_back(checkpoints: Checkpoints, log: Log, newer: Manifest, time_ns: int) -> int:
    """The last commit at a time that lies before a checkpoint.

    Reads a few older checkpoints, and as much of the log as lies between two.

    Args:
        checkpoints: Where older ones lie.
        log: The log.
        newer: A checkpoint that includes a commit after the time.
        time_ns: The time.

    Raises:
        SnapshotExpiredError: The log of that time was deleted.
    """
    base = _newest_before(checkpoints, newer.position, time_ns)
    positions = [p for p in log.positions_after(base.position) if p <= newer.position]
    sequence = base.sequence
    if positions[:1] != [base.position + 1]:
        raise _forgotten(time_ns)
    try:
        for start in range(0, len(positions), _READ_AT_ONCE):
            some = log.read(positions[start : start + _READ_AT_ONCE])
            sequence = sequence_before(sequence, some, time_ns)
            if sequence < _last_commit(some, sequence):
                break
    except ObjectNotFoundError:
        raise _forgotten(time_ns) from None
    return sequence


def _last_commit(entries: Iterable[Stored], before: int) -> int:
    for stored in entries:
        for position, record in enumerate(stored.entry.records, stored.entry.position):
            if isinstance(record, CommitRecord):
                before = position
    return before


def _newest_before(checkpoints: Checkpoints, position: int, time_ns: int) -> Manifest:
    """The newest checkpoint all of whose commits lie before a time; an empty one if there is none.

    The latest time that a checkpoint includes only grows from one to the next.
    """
    listed = (position_of(meta.key, CHECKPOINTS_PREFIX) for meta in checkpoints.list())
    left = sorted(found for found in listed if found is not None and found < position)
    best = Manifest()
    while left:
        middle = len(left) // 2
        try:
            manifest = checkpoints.read(left[middle])
        except DamagedCheckpointError:
            del left[middle]
            continue
        if manifest.newest_ns <= time_ns:
            best, left = manifest, left[middle + 1 :]
        else:
            left = left[:middle]
    return best


def _forgotten(time_ns: int) -> SnapshotExpiredError:
    return SnapshotExpiredError(
        f"the state at {isoformat(time_ns)} is not known any more; ask for a later one",
        time_ns=time_ns,
    )

"""How far a catalog has come, written into the lake: proof of it, and a clock for grace periods.

A height is a create-only object whose key is an epoch that the catalog had reached when it was put,
and whose time is by the store's clock. So a catalog that stands below it was set back, and whatever
was removed up to it, or begun below it, was so before that time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import ObjectExistsError
from lakerunner.fencing.identity import PREFIX
from lakerunner.store.base import PutMode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.store.base import ObjectStore

HEIGHTS_PREFIX = f"{PREFIX}heights/"


class Height(NamedTuple):
    """An epoch, and a time of the store at which the catalog had reached it, in nanoseconds."""

    epoch: int
    time_ns: int


def put_height(store: ObjectStore, epoch: int) -> Height:
    """Say that an epoch was reached; returns when that was, by the store's clock."""
    key = _key(epoch)
    try:
        return Height(epoch, store.put(key, b"", PutMode.CREATE).modified_ns)
    except ObjectExistsError:
        return Height(epoch, store.head(key).modified_ns)


def heights(store: ObjectStore, *, above: int = -1) -> list[Height]:
    """Heights beyond an epoch, from low to high."""
    found = store.list(HEIGHTS_PREFIX, start_after=_key(above) if above >= 0 else "")
    names = ((meta.key.removeprefix(HEIGHTS_PREFIX), meta.modified_ns) for meta in found)
    return [Height(int(name), time_ns) for name, time_ns in names if name.isdecimal()]


def reached_before(found: Sequence[Height], time_ns: int) -> int:
    """The epoch that had certainly been reached at a time; 0 if none is known to have been.

    Example:
        >>> reached_before([Height(3, 100), Height(8, 200), Height(9, 300)], 250)
        8
        >>> reached_before([], 250)
        0
    """
    return max((one.epoch for one in found if one.time_ns <= time_ns), default=0)


def thin_out(store: ObjectStore, found: Sequence[Height], time_ns: int) -> None:
    """Delete heights that a higher one from before that time makes superfluous."""
    last = reached_before(found, time_ns)
    store.delete_many(_key(one.epoch) for one in found if one.epoch < last)


def present_ns(store: ObjectStore) -> int:
    """The time by the store's clock: that of an object put just now.

    Later than that of all objects that were put before, whatever the store rounds times to.
    """
    return store.put(f"{PREFIX}clock", b"").modified_ns + 1


def _key(epoch: int) -> str:
    return f"{HEIGHTS_PREFIX}{epoch:020d}"

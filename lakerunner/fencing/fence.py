"""What a worker holds while it writes to a lake, collects from it, or removes from it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import CatalogMismatchError, ObjectExistsError, StoreError
from lakerunner.fencing.identity import (
    PREFIX,
    begin_incarnation,
    first_incarnation,
    newest_incarnation,
    newest_number,
)
from lakerunner.fencing.intents import Intent, put_intent, withdraw_intent
from lakerunner.model.commit import Head
from lakerunner.segments.layout import SEGMENTS_PREFIX
from lakerunner.store.base import PutMode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.fencing.identity import Incarnation
    from lakerunner.store.base import ObjectStore

# How far a catalog has come, written into the lake: proof of it, and a clock for grace periods.
#
# A height is a create-only object whose key is an epoch that the catalog had reached when it was
# put,
# and whose time is by the store's clock. So a catalog that stands below it was set back, and
# whatever
# was removed up to it, or begun below it, was so before that time.

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


_LOG = logging.getLogger(__name__)


class Fence:
    """Knows that a lake and a catalog belong together. Safe to use from several threads.

    Args:
        store: The lake.
        catalog: What names its segments.
    """

    def __init__(self, store: ObjectStore, catalog: Catalog) -> None:
        self.store = store
        self.catalog = catalog
        self._lock = threading.Lock()
        self._own: tuple[str, int] | None = None
        self._sequence = 0  # the highest that no height tells of

    def begin(self) -> Head:
        """Where the catalog stands, before anything is put: its epoch goes into segment ids.

        Lake and catalog are compared the first time; a lake that is new gets its identity then.

        Raises:
            CatalogMismatchError: The catalog is not this lake's, or not up to it. The message says
                what to do.
        """
        head = self.catalog.head()
        with self._lock:
            if self._own != (head.lake, head.incarnation) or not head.whole:
                head = self._claim()
                self._own = head.lake, head.incarnation
        return head

    def compare(self) -> None:
        """Compare lake and catalog, and change nothing.

        Raises:
            CatalogMismatchError: As `begin` would.
        """
        self._examine()

    def take_over(self) -> Head:
        """Make this the lake's catalog, whatever it knows, and begin a new incarnation.

        To files that the catalog does not know, this is the end: they count as leftovers.
        """
        new = begin_incarnation(self.store, self.catalog.head())
        self.catalog.settle(new.lake, new.number, whole=True)
        return self.catalog.head()

    def reached(self, sequence: int) -> None:
        """Note that a commit was acknowledged; `leave_height` tells the lake."""
        with self._lock:
            self._sequence = max(self._sequence, sequence)

    def leave_height(self) -> None:
        """Leave a height in the lake, if anything was committed since the last one.

        A lake that cannot be written just now has one less, which is no reason to fail.
        """
        with self._lock:
            own, sequence, self._sequence = self._own, self._sequence, 0
        if own and sequence:
            try:
                put_height(self.store, Head(sequence, *own).epoch)
            except StoreError as error:
                _LOG.warning("%s: no height was left: %s", self.store.url, error)

    def discard(
        self, files: Mapping[str, str], incarnation: int, *, floor: int = 0
    ) -> Sequence[str]:
        """Delete segment files that no commit has named, so that none ever can.

        Args:
            files: Segment ids by the key of their file, in the order in which they are deleted.
            incarnation: Of the lake, as `begin` said before anybody looked whether they are named.
            floor: Epoch below which no segment is added any more from now on.

        Returns:
            Keys of what was deleted: not what was committed meanwhile.

        Raises:
            CatalogMismatchError: The lake was recovered since.
            StoreError: Not all could be deleted. None of them will ever be committed.
            CatalogError: The catalog could not be asked. Nothing was deleted.
        """
        names = self.catalog.condemn(list(files.values()), incarnation, floor=floor)
        if not names:
            return []
        condemned = set(names)
        announced = put_intent(self.store, Intent("collect", incarnation, condemned=tuple(names)))
        self.verify(incarnation)
        keys = [key for key, name in files.items() if name in condemned]
        self.store.delete_many(keys)
        withdraw_intent(self.store, announced)  # nothing is left that recovery could adopt
        return keys

    def verify(self, incarnation: int) -> None:
        """Make sure that nobody has begun to recover the lake, after something was announced.

        Raises:
            CatalogMismatchError: Somebody has.
        """
        if newest_number(self.store) != incarnation:
            raise CatalogMismatchError(
                f"{self.store.url} was recovered meanwhile; nothing was deleted, begin again",
                url=self.store.url,
            )

    def _claim(self) -> Head:
        """Compare lake and catalog, and give both an identity if neither has one."""
        own, head = self._examine()
        if own is None or not head.lake:
            own = own or first_incarnation(self.store)
            self.catalog.settle(own.lake, own.number, whole=True)
            head = self.catalog.head()
        return head

    def _examine(self) -> tuple[Incarnation | None, Head]:
        """The incarnation of the lake, if it has one, and where the catalog stands."""
        try:
            return self._compare()
        except CatalogMismatchError:
            # Somebody may have been giving both an identity just now; that is over in a moment.
            return self._compare()

    def _compare(self) -> tuple[Incarnation | None, Head]:
        # The lake is looked at first. Whatever is in it, the catalog had been told of before: so
        # nobody who writes just now can make a catalog look older than its lake.
        beyond = heights(self.store, above=self.catalog.head().epoch)
        own = newest_incarnation(self.store)
        used = next(iter(self.store.list(SEGMENTS_PREFIX)), None) is not None
        head = self.catalog.head()
        empty = not head.sequence and not head.lake
        if empty and (used or beyond):
            # A lake may have no segments any more: what was retired must not be taken again.
            holds = "holds segments" if used else "has seen commits"
            raise self._mismatch(f"is empty, and the lake {holds}", "If it was lost, r")
        if own is None and head.lake:
            raise self._mismatch(
                f"is that of the lake {head.lake}, and this lake has no identity",
                "Name the lake's own catalog, or r",
            )
        if own is None or empty:
            return own, head
        if head.lake != own.lake:
            raise self._mismatch(
                f"is that of the lake {head.lake or '(none)'}, and this is {own.lake}",
                "Name the lake's own catalog, or r",
            )
        if not head.whole:
            raise self._mismatch("is being recovered, or its recovery broke off", "R")
        if head.incarnation != own.number:
            raise self._mismatch(
                f"is of incarnation {head.incarnation}, and the lake of {own.number}: it is a "
                "copy from before a recovery, or a recovery broke off",
                "R",
            )
        if beyond and beyond[-1].epoch > head.epoch:
            raise self._mismatch(
                f"stands at {head.epoch:x}, and the lake has seen it at {beyond[-1].epoch:x}: it "
                "was restored from a copy, or a standby took over that lagged",
                "R",
            )
        return own, head

    def _mismatch(self, what: str, way: str) -> CatalogMismatchError:
        return CatalogMismatchError(
            f"the catalog {self.catalog.url} {what} ({self.store.url}). Nothing is written to the "
            f"lake or deleted from it. {way}ecover the lake: lake.recover(merge=True), or "
            "`lakerunner recover --merge`",
            url=self.catalog.url,
            lake=self.store.url,
        )

"""What a worker holds while it writes to a lake, collects from it, or removes from it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from lakerunner.errors import CatalogMismatchError
from lakerunner.fencing.heights import heights, put_height
from lakerunner.fencing.identity import first_incarnation, newest_incarnation, newest_number
from lakerunner.fencing.intents import Intent, put_intent, put_mark
from lakerunner.segments.naming import SEGMENTS_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakerunner.catalog import Catalog
    from lakerunner.fencing.identity import Incarnation
    from lakerunner.model.head import Head
    from lakerunner.store.base import ObjectStore


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
        self._own: Incarnation | None = None
        self._height = 0

    def begin(self) -> Head:
        """Where the catalog stands, before anything is put: its epoch goes into segment ids.

        Lake and catalog are compared the first time; a lake that is new gets its identity then.

        Raises:
            CatalogMismatchError: The catalog is not this lake's, or not up to it. The message says
                what to do.
        """
        with self._lock:
            if self._own is None:
                self._own = self._claim()
            own = self._own
        head = self.catalog.head()
        if (head.lake, head.incarnation, head.whole) != (own.lake, own.number, True):
            with self._lock:
                self._own = self._claim()
            head = self.catalog.head()
        return head

    def reached(self) -> None:
        """Leave a height, if anything was committed since the last one."""
        epoch = self.catalog.head().epoch
        with self._lock:
            known, self._height = self._height, max(epoch, self._height)
        if epoch > known:
            put_height(self.store, epoch)

    def discard(self, files: Mapping[str, str], head: Head, *, floor: int = 0) -> Sequence[str]:
        """Delete segment files that no commit has named, so that none ever can.

        Args:
            files: Keys of the files, by segment id.
            head: What `begin` returned before anybody looked whether they are named.
            floor: Epoch below which no segment is added any more from now on.

        Returns:
            Keys of what was deleted, in the order of `files`: not what was committed meanwhile.

        Raises:
            CatalogMismatchError: The lake was recovered since.
            StoreError: Not all could be deleted. None of them will ever be committed.
            CatalogError: The catalog could not be asked. Nothing was deleted.
        """
        condemned = set(self.catalog.condemn(list(files), head.incarnation, floor=floor))
        names = [name for name in files if name in condemned]
        if not names:
            return []
        announced = put_intent(
            self.store, Intent("collect", head.incarnation, condemned=tuple(names))
        )
        self.verify(head)
        keys = [files[name] for name in names]
        self.store.delete_many(keys)
        put_mark(self.store, announced)
        return keys

    def verify(self, head: Head) -> None:
        """Make sure that nobody has begun to recover the lake, after something was announced.

        Raises:
            CatalogMismatchError: Somebody has.
        """
        if newest_number(self.store) != head.incarnation:
            raise CatalogMismatchError(
                f"{self.store.url} was recovered meanwhile; nothing was deleted, begin again",
                url=self.store.url,
            )

    def _claim(self) -> Incarnation:
        """Compare lake and catalog; give both an identity if neither has one."""
        head, own = self.catalog.head(), newest_incarnation(self.store)
        empty = not head.sequence and not head.lake
        if empty and next(iter(self.store.list(SEGMENTS_PREFIX)), None) is not None:
            raise self._mismatch("is empty, and the lake holds segments", "If it was lost, r")
        if own is None and head.lake:
            raise self._mismatch(
                f"is that of the lake {head.lake}, and this lake has no identity",
                "Name the lake's own catalog, or r",
            )
        if own is None or not head.lake:
            own = own or first_incarnation(self.store)
            self.catalog.settle(own.lake, own.number, whole=True)
            return own
        if head.lake != own.lake:
            raise self._mismatch(
                f"is that of the lake {head.lake}, and this is {own.lake}",
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
        if beyond := heights(self.store, above=head.epoch):
            raise self._mismatch(
                f"stands at {head.epoch:x}, and the lake has seen it at {beyond[-1].epoch:x}: it "
                "was restored from a copy, or a standby took over that lagged",
                "R",
            )
        return own

    def _mismatch(self, what: str, way: str) -> CatalogMismatchError:
        return CatalogMismatchError(
            f"the catalog {self.catalog.url} {what} ({self.store.url}). Nothing is written to the "
            f"lake or deleted from it. {way}ecover the lake: lake.recover(merge=True), or "
            "`lakerunner recover --merge`",
            url=self.catalog.url,
            lake=self.store.url,
        )

"""Following the log: a state that is brought up to date, from whichever checkpoint can be read."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, TypeVar

from lakerunner.catalog.bucket.checkpoints import Checkpoints
from lakerunner.catalog.bucket.parts import PartCache
from lakerunner.catalog.bucket.records import LOG_PREFIX, DamagedCheckpointError, Log, numbered
from lakerunner.catalog.bucket.state import State
from lakerunner.errors import CatalogError, CatalogUnavailableError, ObjectNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lakerunner.catalog.bucket.checkpoints import Manifest
    from lakerunner.catalog.bucket.records import Entry
    from lakerunner.store.base import ObjectStore

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_ATTEMPTS = 5


class _OutrunError(Exception):
    """The log does not go on at a position: it was deleted there meanwhile."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class Follower:
    """The state of a lake's catalog as this process knows it. Safe to use from several threads.

    Args:
        store: The lake.
        interval: Positions between two checkpoints.

    Attributes:
        log: Entries.
        checkpoints: Checkpoints.
        cache: Parts that were loaded.
    """

    def __init__(self, store: ObjectStore, interval: int) -> None:
        self.log = Log(store)
        self.checkpoints = Checkpoints(store)
        self.cache = PartCache(store)
        self._interval = interval
        self._state = State(self.cache)
        self._state_lock = threading.Lock()  # held for questions, never while the log is read
        self._refresh_lock = threading.Lock()
        self._started = self._done = 0
        self._opened = False
        self._damaged: set[int] = set()
        self._damaged_parts: set[str] = set()
        self._looked_at = 0

    def open(self) -> None:
        """Read the catalog, unless that was done before."""
        if not self._opened:
            self.refresh()

    def refresh(self) -> None:
        """Bring the state up to date: to every commit that was acknowledged before this call.

        Threads that call at the same time share one listing, if it began after they called.
        """
        wanted = self._started + 1
        with self._refresh_lock:
            if self._done < wanted:
                self._started += 1
                self._catch_up()
                self._done = self._started

    def ask(self, question: Callable[[State], T]) -> T:
        """Answer from the state as it is; if its checkpoint is of no use, from an older one.

        Raises:
            CatalogError: Neither this checkpoint nor an older one with its log can be read.
        """
        while True:  # each time round, another checkpoint or part is known to be of no use
            with self._state_lock:
                base = self._state.manifest.position
                try:
                    return question(self._state)
                except DamagedCheckpointError as error:
                    failure = error
            self.abandon(base, failure)

    def advance(self, entry: Entry) -> None:
        """Apply an entry of our own, unless it was read back in the meantime."""
        with self._state_lock:
            if entry.position == self._state.position + 1:
                self._state.apply(entry)

    def adopt(self, manifest: Manifest) -> None:
        """Stand on a newer checkpoint."""
        with self._state_lock:
            if manifest.position > self._state.manifest.position:
                self._state.rebase(manifest, self._state.tail)

    def adopt_hint(self) -> None:
        """Stand on the checkpoint that the hint names, if it is newer and can be read."""
        hint = self.checkpoints.hint()
        if hint is not None and hint > self._state.manifest.position and hint not in self._damaged:
            try:
                self.adopt(self.checkpoints.read(hint))
            except DamagedCheckpointError as error:
                self._damaged.add(hint)
                _LOG.warning("checkpoint passed over: %s", error)

    def reopen(self) -> None:
        """Go on from the newest checkpoint: what the state ends with may be no part of the log."""
        with self._refresh_lock:
            manifest = self._newest()
            with self._state_lock:
                self._state.rebase(manifest)
            self._catch_up()

    def _restart(self, missing: int) -> None:
        manifest = self._newest()
        if manifest.position < missing:
            key = numbered(LOG_PREFIX, missing)
            raise CatalogError(
                f"{key!r} is missing or does not follow what was before it, and no checkpoint "
                "beyond it can be read",
                key=key,
            )
        with self._state_lock:
            self._state.rebase(manifest)

    def abandon(self, base: int, failure: DamagedCheckpointError) -> None:
        """Leave a checkpoint for another one: a newer one if it was deleted, or else an older.

        Raises:
            CatalogError: There is no other from which the log leads on.
        """
        _LOG.warning("checkpoint %d passed over: %s", base, failure)
        with self._refresh_lock:
            if base == 0:
                raise failure  # not even the log is of use
            self._damaged.add(base)
            if (key := failure.context.get("key")) is not None:
                self._damaged_parts.add(str(key))  # others may name it as well
            if self._state.manifest.position == base:
                manifest = self._newest()
                with self._state_lock:
                    self._state.rebase(manifest)
            try:
                self._catch_up()
            except CatalogError as error:
                raise error from failure

    def _newest(self) -> Manifest:
        return self.checkpoints.newest(self._damaged, self._damaged_parts, trust_hint=False)

    def _catch_up(self) -> None:
        if not self._opened:
            self._state.rebase(self.checkpoints.newest())
            self._opened = True
        for _ in range(_ATTEMPTS):
            positions = self.log.positions_after(self._state.position)
            if len(positions) > self._interval:
                self.adopt_hint()  # far behind: a checkpoint is read sooner than so long a log
            reached = self._state.position
            try:
                self._extend(self.log.read([p for p in positions if p > reached]))
            except ObjectNotFoundError:
                self._restart(reached + 1)
                continue
            except _OutrunError as outrun:
                self._restart(outrun.position)
                continue
            self._shorten()
            return
        raise CatalogUnavailableError("the log is deleted faster than it can be read")

    def _extend(self, entries: Sequence[Entry]) -> None:
        """Apply what follows the state; nothing of it, if it is no unbroken chain to its end.

        A listing may lack an entry that is there: a directory is read while it changes. So what it
        seems to lack is asked for by its number.
        """
        with self._state_lock:
            position, entry_id = self._state.position, self._state.delta.entry_id
        chain: list[Entry] = []
        for entry in entries:
            if entry.last <= position:
                continue  # our own, applied while we read
            while entry.position > position + 1:
                try:
                    (missed,) = self.log.read([position + 1])
                except ObjectNotFoundError:
                    raise _OutrunError(position + 1) from None
                position, entry_id = self._linked(chain, missed, position, entry_id)
            position, entry_id = self._linked(chain, entry, position, entry_id)
        with self._state_lock:
            for entry in chain:
                if entry.position == self._state.position + 1:
                    self._state.apply(entry)

    @staticmethod
    def _linked(chain: list[Entry], entry: Entry, position: int, entry_id: str) -> tuple[int, str]:
        if entry.position != position + 1 or entry.previous != entry_id:
            raise _OutrunError(position + 1)
        chain.append(entry)
        return entry.last, entry.id

    def _shorten(self) -> None:
        """Look for a newer checkpoint now and then, so that the tail in memory stays short."""
        reached = self._state.position // self._interval
        behind = self._state.position - self._state.manifest.position
        if behind >= 2 * self._interval and reached > self._looked_at:
            self._looked_at = reached
            self.adopt_hint()

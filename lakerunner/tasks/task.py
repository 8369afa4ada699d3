"""A piece of maintenance, and its lease for as long as somebody is at it."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Generic, NamedTuple, Self, TypeVar

from lakerunner.errors import LakerunnerError, LeaseLostError
from lakerunner.model.times import isoformat

if TYPE_CHECKING:
    from lakerunner.catalog.leases import Leases

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_SHARE = 3  # a lease is renewed when a third of it has passed, so that two failures do no harm

LEASES = "maintenance"
"""The kind of all leases for tasks: tasks of different kinds must not change one window at once."""


class Task(NamedTuple, Generic[T]):
    """One window of one table of one organization, and what is to be done there.

    Attributes:
        kind: What is done: `compact`, `rollup`, `retain`, `delete`.
        organization: Whose rows.
        table: In which table the result lies.
        window_start_ns: Start of the window that changes, in nanoseconds since the epoch.
        payload: What its worker needs; it can be pickled.
        part: What else tells it from others of the window, such as a resolution.

    Example:
        >>> Task("compact", "acme", "logs", 1767225600 * 10**9, payload=("s1", "s2")).name
        'compact acme/logs/2026-01-01T00:00:00Z'
    """

    kind: str
    organization: str
    table: str
    window_start_ns: int
    payload: T
    part: str = ""

    @property
    def place(self) -> str:
        """What it changes: of tasks with the same place, of whatever kind, one runs at a time."""
        part = f"/{self.part}" if self.part else ""
        return f"{self.organization}/{self.table}/{isoformat(self.window_start_ns)}{part}"

    @property
    def name(self) -> str:
        """Kind and place: the same task when it is tried again."""
        return f"{self.kind} {self.place}"


class Hold:
    """Renews a lease that was taken, in a thread of its own, until the context ends.

    A lease saves work and protects nothing: what a task did after it lost its lease is refused by
    the catalog or was right. Safe to use from several threads.

    Args:
        leases: Of the catalog.
        place: What is held; see `Task.place`.
        owner: Who took it.
        seconds: For how long each time.

    Example:
        >>> from lakerunner.catalog.leases import MemoryLeases
        >>> leases = MemoryLeases()
        >>> _ = leases.take(LEASES, ["acme/logs/7"], "worker-1", 60)
        >>> with Hold(leases, "acme/logs/7", "worker-1", 60) as hold:
        ...     hold.check()
    """

    def __init__(self, leases: Leases, place: str, owner: str, seconds: float) -> None:
        self._leases = leases
        self._place = place
        self._owner = owner
        self._seconds = seconds
        self._lost = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lakerunner-lease", daemon=True)

    def check(self) -> None:
        """To be called between steps of the task: go on, or leave it to others.

        Raises:
            LeaseLostError: The lease ran out or somebody else has it.
        """
        if self._lost.is_set():
            raise LeaseLostError(f"the lease of {self._place} was lost", task=self._place)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()
        try:
            self._leases.release(LEASES, [self._place], self._owner)
        except LakerunnerError as error:
            _LOG.info("the lease of %s runs out by itself: %s", self._place, error)

    def _renew(self) -> None:
        until = time.monotonic() + self._seconds
        while not self._over.wait(self._seconds / _SHARE):
            begun = time.monotonic()
            try:
                kept = self._leases.renew(LEASES, [self._place], self._owner, self._seconds)
            except LakerunnerError as error:
                _LOG.warning("the lease of %s was not renewed: %s", self._place, error)
                if time.monotonic() < until:
                    continue
                kept = []
            if not kept:
                self._lost.set()
                return
            until = begun + self._seconds

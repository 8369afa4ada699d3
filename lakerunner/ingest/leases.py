"""Keep what an event source handed out while long work goes on."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Self

from lakerunner.errors import LakerunnerError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakerunner.events import Delivery, EventSource

_LOG = logging.getLogger(__name__)
_SHARE = 3  # a lease is kept when a third of it has passed, so that two failures do no harm


class LeaseKeeper:
    """Extends the deliveries it was given until they are let go, in a thread of its own.

    There is no thread if the source knows no leases. A lease that cannot be kept does no harm but
    to have the delivery handed out twice, so that is only logged.

    Args:
        source: Where the deliveries come from.
    """

    def __init__(self, source: EventSource) -> None:
        self._source = source
        self._held: dict[str, Delivery] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._pause_s = (source.lease_seconds or 0) / _SHARE

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Keep deliveries from now on."""
        with self._lock:
            self._held.update((each.handle, each) for each in deliveries)

    def drop(self, deliveries: Iterable[Delivery]) -> None:
        """Let deliveries go."""
        with self._lock:
            for each in deliveries:
                self._held.pop(each.handle, None)

    def __enter__(self) -> Self:
        if self._source.lease_seconds is not None:
            self._thread = threading.Thread(target=self._run, name="lakerunner-leases", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._pause_s):
            with self._lock:
                held = list(self._held.values())
            if not held:
                continue
            try:
                self._source.extend(held)
            except LakerunnerError as error:
                _LOG.warning("%s: leases were not kept: %s", self._source.url, error)

"""How much one organization may ask for, so that the others get their answers, too."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from lakerunner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_MINUTE = 60.0


class QuotaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What each organization may ask for.

    Attributes:
        requests_per_second: On average; as many as in two seconds may come at once.
        queries: That run at the same time.
        query_seconds: That one query may take, whatever it asks for itself.
        rows: That one answer may have; None for any number.
        scanned_bytes: That its queries may read in a minute on average, and at once; None for any
            number. What a query reads is known at its end: the next ones wait for it.
        followers: Clients that are sent new rows at the same time.
    """

    requests_per_second: float = 200.0
    queries: int = 16
    query_seconds: float = 120.0
    rows: int | None = None
    scanned_bytes: int | None = None
    followers: int = 200

    def __post_init__(self) -> None:
        for name in ("requests_per_second", "queries", "query_seconds", "rows", "scanned_bytes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"{name} must be above 0", setting=name)


class TooMany(Exception):  # noqa: N818 - it is an answer, and no defect
    """An organization asks for more than it may at once.

    Attributes:
        seconds: After how long it may be worth trying again.
    """

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class Quotas:
    """Counts what organizations ask for. Safe across threads.

    Args:
        settings: What each may ask for.
        clock: Seconds that never go back.

    Example:
        >>> quotas = Quotas(QuotaSettings(requests_per_second=1, queries=1), clock=lambda: 0.0)
        >>> with quotas.query("acme"):
        ...     quotas.running("acme")
        1
    """

    def __init__(
        self, settings: QuotaSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()
        self._filled: dict[str, tuple[float, float]] = {}
        self._scanned: dict[str, tuple[float, float]] = {}

    def request(self, organization: str) -> None:
        """Count a request.

        Raises:
            TooMany: There were too many of late.
        """
        rate = self.settings.requests_per_second
        most = max(2 * rate, 1.0)
        now = self._clock()
        with self._lock:
            left, at = self._filled.get(organization, (most, now))
            left = min(most, left + (now - at) * rate)
            if left < 1:
                self._filled[organization] = (left, now)
                raise TooMany(f"more than {rate:g} requests a second", (1 - left) / rate)
            self._filled[organization] = (left - 1, now)
            if len(self._filled) > 10_000:  # noqa: PLR2004 - those that are full again tell nothing
                self._filled = {
                    name: (rest, since)
                    for name, (rest, since) in self._filled.items()
                    if rest + (now - since) * rate < most
                }

    @contextmanager
    def query(self, organization: str) -> Iterator[None]:
        """Count a query for as long as the context lasts.

        Raises:
            TooMany: As many are running already, or they have read too much of late.
        """
        with self._lock:
            self._check_scanned(organization)
            if self._running[organization] >= self.settings.queries:
                raise TooMany(f"{self.settings.queries} queries are running already", 1.0)
            self._running[organization] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[organization] -= 1
                self._running += Counter()  # forgets those who have none

    def scanned(self, organization: str, count: int) -> None:
        """Count bytes that a query of an organization has read."""
        if self.settings.scanned_bytes is None or not count:
            return
        with self._lock:
            self._scanned[organization] = (self._owed(organization) + count, self._clock())

    def _check_scanned(self, organization: str) -> None:
        most = self.settings.scanned_bytes
        if most is None:
            return
        owed = self._owed(organization)
        if owed >= most:
            raise TooMany(
                f"the queries of the last minute have read more than {most:,} bytes",
                (owed - most) / most * _MINUTE + 1,
            )
        if not owed:
            self._scanned.pop(organization, None)

    def _owed(self, organization: str) -> float:
        """What an organization has read, less what it might have since."""
        owed, at = self._scanned.get(organization, (0.0, self._clock()))
        return max(0.0, owed - (self._clock() - at) / _MINUTE * (self.settings.scanned_bytes or 0))

    def running(self, organization: str | None = None) -> int:
        """How many queries are running, of one organization or of all."""
        with self._lock:
            return self._running.total() if organization is None else self._running[organization]

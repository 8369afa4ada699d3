"""What each organization has waiting, what became of the rest, and how much it may send."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future
from enum import Enum
from typing import TYPE_CHECKING

from lakerunner.errors import IntakeFullError
from lakerunner.intake.settings import IntakeQuota, OrganizationReport

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakerunner.intake.payloads import Payload

_BURST_SECONDS = 2.0


class Room(Enum):
    """Where a payload waits: in memory, in the journal, or there for want of room in memory."""

    MEMORY = "memory"
    JOURNAL = "journal"
    SPILL = "spill"


class Batch:
    """What waits of one organization, and whoever waits for it.

    Attributes:
        parts: Payloads that are kept in memory, by kind.
        payloads: How many there are, those on disk included.
        records: That they hold, as far as that is known.
        bytes: Of all of them.
        on_disk: Some of them are in the journal.
        spilled: Bytes of those that are there because memory had no room.
        since: When the first of them came.
        due: It is to be committed now.
        awaited: Somebody waits for its commit.
        done: Set when that is over.
    """

    def __init__(self, now: float) -> None:
        self.parts: dict[str, list[Payload]] = {}
        self.payloads = self.records = self.bytes = self.spilled = 0
        self.since = now
        self.due = self.awaited = self.on_disk = False
        self.done: Future[None] = Future()

    def add(self, payload: Payload, room: Room) -> None:
        """Add a payload to what waits, wherever there was room for it."""
        if room is Room.MEMORY:
            kind = payload.kind or f"alone {self.payloads}"
            self.parts.setdefault(kind, []).append(payload)
        self.on_disk = self.on_disk or room is not Room.MEMORY
        self.spilled += len(payload.data) if room is Room.SPILL else 0
        self.payloads += 1
        self.records += payload.records
        self.bytes += len(payload.data)


class Refusals:
    """What of a batch could not be taken.

    Attributes:
        payloads: How many.
        records: That they held, as far as that is known.
        error: Why, of one of them; None if all was taken.
    """

    def __init__(self) -> None:
        self.payloads = self.records = 0
        self.error: Exception | None = None

    def add(self, error: Exception, payloads: int, records: int) -> None:
        """Count some more."""
        self.payloads += payloads
        self.records += records
        self.error = error


class Accounts:
    """Counts of records by organization. Not safe across threads: its owner has a lock.

    What came in is what was committed, what was rejected, and what waits.
    """

    def __init__(self) -> None:
        self._records: Counter[str] = Counter()
        self._committed: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()

    def accepted(self, organization: str, records: int) -> None:
        """Count records that wait from now on."""
        self._records[organization] += records

    def settled(self, organization: str, records: int, rejected: int) -> None:
        """Count records that wait no longer, and how many of them were rejected."""
        self._committed[organization] += records - rejected
        self._rejected[organization] += rejected

    def refused(self, organization: str, records: int) -> None:
        """Count records that were turned away at once."""
        self._records[organization] += records
        self._rejected[organization] += records

    def organizations(self) -> int:
        """How many have sent something."""
        return len(self._records)

    def reports(self) -> tuple[OrganizationReport, ...]:
        """All of them, by name."""
        return tuple(
            OrganizationReport(
                organization=name,
                records=count,
                committed=self._committed[name],
                rejected=self._rejected[name],
                waiting=count - self._committed[name] - self._rejected[name],
            )
            for name, count in sorted(self._records.items())
        )


class Allowances:
    """How much organizations may still send. Not safe across threads: its owner has a lock.

    Args:
        default: What each may send, unless it is named.
        named: What some may send.
        clock: Seconds that never go back.

    Example:
        >>> allowed = Allowances(IntakeQuota(records_per_second=10), {}, clock=lambda: 0.0)
        >>> allowed.take("acme", records=20, size=100)
        >>> allowed.take("acme", records=1, size=100)
        Traceback (most recent call last):
        lakerunner.errors.IntakeFullError: acme sends more than 10 records a second: try again later
    """

    def __init__(
        self,
        default: IntakeQuota,
        named: dict[str, IntakeQuota],
        clock: Callable[[], float],
    ) -> None:
        self._default = default
        self._named = named
        self._clock = clock
        self._left: dict[tuple[str, str], tuple[float, float]] = {}

    def take(self, organization: str, records: int, size: int) -> None:
        """Count a payload against what its organization may send.

        A payload that is larger than all that may be sent at once is let in when nothing else was
        sent of late, and paid for afterwards.

        Raises:
            IntakeFullError: It sends too much; says after how long it may go on.
        """
        quota = self._named.get(organization, self._default)
        wanted = (
            ("records", quota.records_per_second, records),
            ("bytes", quota.bytes_per_second, size),
        )
        now = self._clock()
        left: dict[tuple[str, str], tuple[float, float]] = {}
        for what, rate, count in wanted:
            if rate is None:
                continue
            most = rate * _BURST_SECONDS
            rest, since = self._left.get((organization, what), (most, now))
            rest = min(most, rest + (now - since) * rate)
            if rest < min(count, most):
                raise IntakeFullError(
                    f"{organization} sends more than {rate:,.0f} {what} a second: try again later",
                    retry_after=(min(count, most) - rest) / rate,
                )
            left[organization, what] = (rest - count, now)
        self._left |= left

"""The terms on which a writer takes what it is given, and its account of what became of it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from lakerunner.errors import ConfigurationError
from lakerunner.limits import MIB
from lakerunner.model.report import IngestReport

if TYPE_CHECKING:
    from collections.abc import Mapping


class Acknowledge(StrEnum):
    """What it means that `write` returns.

    `buffered`: it is in memory. `logged`: it is on disk, in the journal, and survives `kill -9`.
    `committed`: it is in the lake, and queries see it.
    """

    BUFFERED = "buffered"
    LOGGED = "logged"
    COMMITTED = "committed"


class Pressure(StrEnum):
    """What `write` does when more is waiting than may wait.

    `block`: it waits itself. `reject`: it refuses, and says when to come again. `spill`: it puts
    what has no room in memory into the journal, as far as `spill_bytes` go, and refuses beyond.
    """

    BLOCK = "block"
    REJECT = "reject"
    SPILL = "spill"


class IntakeQuota(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one organization may send; twice as much may come at once.

    Attributes:
        records_per_second: Log records, spans and points; None for any number.
        bytes_per_second: As they are written; None for any number.
    """

    records_per_second: float | None = None
    bytes_per_second: float | None = None

    def __post_init__(self) -> None:
        for name in ("records_per_second", "bytes_per_second"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"{name} must be above 0", setting=name)


class WriterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a writer.

    Attributes:
        acknowledge: What it means that `write` returns.
        flush_bytes: Commit when so many bytes of one organization are waiting.
        flush_seconds: Commit what has waited for so long.
        linger_seconds: How long a write that waits for its commit waits for others to join it.
        waiting_bytes: How much may wait in all, in bytes as they were written. The last
            quarter is kept for organizations that have less than their share of it waiting.
        pressure: What happens beyond that.
        spill_bytes: How much may wait on disk with `pressure="spill"`.
        quota: What each organization may send.
        quotas: What some may send, by name.
    """

    acknowledge: Acknowledge = Acknowledge.COMMITTED
    flush_bytes: int = 16 * MIB
    flush_seconds: float = 5.0
    linger_seconds: float = 0.05
    waiting_bytes: int = 128 * MIB
    pressure: Pressure = Pressure.BLOCK
    spill_bytes: int = 8192 * MIB
    quota: IntakeQuota = IntakeQuota()
    quotas: dict[str, IntakeQuota] = {}

    def __post_init__(self) -> None:
        for name in ("flush_bytes", "flush_seconds", "waiting_bytes", "spill_bytes"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be above 0", setting=name)
        if self.linger_seconds < 0:
            raise ConfigurationError(
                "linger_seconds must not be negative", setting="linger_seconds"
            )


class WriterOptions(TypedDict, total=False):
    """The settings of a writer, as keywords of `Lake.writer`; see `WriterSettings`."""

    acknowledge: Acknowledge | str
    flush_bytes: int
    flush_seconds: float
    linger_seconds: float
    waiting_bytes: int
    pressure: Pressure | str
    spill_bytes: int
    quota: IntakeQuota | Mapping[str, float]
    quotas: Mapping[str, Any]


# Looked at now: threads that look at a type at once, for the first time, crash msgspec.
msgspec.json.Decoder(WriterSettings)


def read_writer_settings(options: Mapping[str, Any]) -> WriterSettings:
    """Settings from keywords.

    Raises:
        ConfigurationError: One is unknown or wrong; the message names it.

    Example:
        >>> read_writer_settings({"acknowledge": "logged"}).flush_seconds
        5.0
    """
    try:
        return msgspec.convert(dict(options), WriterSettings)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"settings of a writer: {error}") from error


class OrganizationReport(msgspec.Struct, frozen=True):
    """What became of the records of one organization: records = committed + rejected + waiting.

    Attributes:
        organization: Whose they are.
        records: Log records, spans and points that came, as far as they were counted.
        committed: Those that are in the lake.
        rejected: Those that cannot be taken.
        waiting: Those that are neither yet.
    """

    organization: str
    records: int = 0
    committed: int = 0
    rejected: int = 0
    waiting: int = 0


class WriterReport(msgspec.Struct, frozen=True):
    """What became of what was written, since the writer was opened: in = out + rejected + waiting.

    Attributes:
        payloads: Calls of `write`, and what was found in the journal.
        bytes: Bytes of these.
        committed: Payloads that are in the lake.
        rejected: Payloads that cannot be taken; `reasons` says why, of the latest.
        waiting: Payloads that are neither yet.
        waiting_bytes: Bytes of these.
        spilled_bytes: Those of them that are on disk because memory had no room.
        oldest_seconds: For how long the oldest of them has waited.
        attempts: Commits that failed in a way that may pass, and are tried again.
        refused: Records that receivers turned away one by one, within payloads that they took.
        ingest: What the commits took: rows, segments, bytes.
        reasons: Of the latest rejections.
        organizations: What became of the records of each.
    """

    payloads: int = 0
    bytes: int = 0
    committed: int = 0
    rejected: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    spilled_bytes: int = 0
    oldest_seconds: float = 0.0
    attempts: int = 0
    refused: int = 0
    ingest: IngestReport = IngestReport()
    reasons: tuple[str, ...] = ()
    organizations: tuple[OrganizationReport, ...] = ()

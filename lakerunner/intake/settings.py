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
    """What `write` does when more is waiting than may wait: wait itself, or refuse."""

    BLOCK = "block"
    REJECT = "reject"


class WriterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a writer.

    Attributes:
        acknowledge: What it means that `write` returns.
        flush_bytes: Commit when so many bytes of one organization are waiting.
        flush_seconds: Commit what has waited for so long.
        linger_seconds: How long a write that waits for its commit waits for others to join it.
        waiting_bytes: How much may wait in all, in bytes as they were written.
        pressure: What happens beyond that.
    """

    acknowledge: Acknowledge = Acknowledge.COMMITTED
    flush_bytes: int = 16 * MIB
    flush_seconds: float = 5.0
    linger_seconds: float = 0.05
    waiting_bytes: int = 128 * MIB
    pressure: Pressure = Pressure.BLOCK

    def __post_init__(self) -> None:
        for name in ("flush_bytes", "flush_seconds", "waiting_bytes"):
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


class WriterReport(msgspec.Struct, frozen=True):
    """What became of what was written, since the writer was opened: in = out + rejected + waiting.

    Attributes:
        payloads: Calls of `write`, and what was found in the journal.
        bytes: Bytes of these.
        committed: Payloads that are in the lake.
        rejected: Payloads that cannot be taken; `reasons` says why, of the latest.
        waiting: Payloads that are neither yet.
        waiting_bytes: Bytes of these.
        oldest_seconds: For how long the oldest of them has waited.
        attempts: Commits that failed in a way that may pass, and are tried again.
        refused: Records that receivers turned away one by one, within payloads that they took.
        ingest: What the commits took: rows, segments, bytes.
        reasons: Of the latest rejections.
    """

    payloads: int = 0
    bytes: int = 0
    committed: int = 0
    rejected: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    oldest_seconds: float = 0.0
    attempts: int = 0
    refused: int = 0
    ingest: IngestReport = IngestReport()
    reasons: tuple[str, ...] = ()

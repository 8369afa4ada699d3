"""What became of each query: who asked what, what it read, and how long it took.

A record goes to the log, and where that is asked for into a lake: a log record and the span of the
same query, in the trace that the client says it is part of.
"""

from __future__ import annotations

import logging
import re
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

import lakerunner
from lakerunner.errors import ConfigurationError, LakerunnerError
from lakerunner.gateway.problems import problem_of
from lakerunner.intake.settings import Acknowledge, Pressure
from lakerunner.model.profile import check_organization
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lakerunner.gateway.access import Caller
    from lakerunner.intake.writer import Writer
    from lakerunner.lake import Lake
    from lakerunner.query.explanation import QueryStats

_LOG = logging.getLogger("lakerunner.gateway.audit")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_NOWHERE = ("0" * 32, "0" * 16)
_LONGEST_QUERY = 10_000
_CLOSE_SECONDS = 10.0


class AuditSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where records of queries are kept, beside the log.

    Attributes:
        organization: Whose logs and spans they become; None: they are in the log only.
        lake: URL of another lake that they go to; None for the one that is served.
        flush_seconds: When they are to be seen there, at the latest.
    """

    organization: str | None = None
    lake: str | None = None
    flush_seconds: float = 5.0

    def __post_init__(self) -> None:
        if self.organization is not None:
            check_organization(self.organization)
        elif self.lake is not None:
            raise ConfigurationError("audit: lake is of use with organization only")


class Account:
    """What one query did. For one request.

    Attributes:
        query: Its text; empty for a request that has none.
        bytes: That it read.
        rows: Of its answer.
    """

    __slots__ = ("bytes", "query", "rows")

    def __init__(self) -> None:
        self.query = ""
        self.bytes = self.rows = 0

    def add(self, stats: QueryStats) -> None:
        """Count what a result has read so far."""
        self.bytes += stats.bytes_read + stats.filter_bytes
        self.rows += stats.rows


class Asked(NamedTuple):
    """A query that is over.

    Attributes:
        caller: Who asked.
        route: Where.
        account: What it did.
        request_id: Of the request.
        started_ns: When it began, in nanoseconds since the epoch.
        seconds: How long it took.
        error: Why it failed; None if it did not.
        traceparent: The trace that the client says it is part of, as W3C writes it; empty for none.
    """

    caller: Caller
    route: str
    account: Account
    request_id: str
    started_ns: int
    seconds: float
    error: BaseException | None
    traceparent: str

    def record(self) -> dict[str, Any]:
        """As the log has it."""
        failed = self.error
        problem = problem_of(failed) if isinstance(failed, Exception) else None
        code = "ok" if failed is None else "cancelled" if problem is None else problem.code
        return {
            "request_id": self.request_id,
            "caller": self.caller.name,
            "organization": self.caller.organization,
            "route": self.route,
            "query": self.account.query[:_LONGEST_QUERY],
            "bytes": self.account.bytes,
            "rows": self.account.rows,
            "milliseconds": round(self.seconds * 1000, 3),
            "code": code,
        }


class Audit:
    """Keeps records of queries. Safe across threads.

    Args:
        settings: Where.
        lake: The lake that is served.

    Raises:
        ReadOnlyError: They are to go to a lake that is not written to.
    """

    def __init__(self, settings: AuditSettings, lake: Lake) -> None:
        self._own: Lake | None = None
        self._writer: Writer | None = None
        if settings.organization is None:
            return
        if settings.lake is not None:
            lake = self._own = lakerunner.open(settings.lake)
        self._writer = lake.writer(
            organization=settings.organization,
            acknowledge=Acknowledge.BUFFERED,
            pressure=Pressure.REJECT,
            linger_seconds=settings.flush_seconds,
        )

    def add(self, asked: Asked) -> None:
        """Keep one."""
        record = asked.record()
        _LOG.info("%s", msgspec.json.encode(record).decode())
        if self._writer is None:
            return
        try:
            for signal, message in telemetry_of(asked, record).items():
                self._writer.write(message, signal=signal)
        except LakerunnerError as error:  # the answer is not to fail, too
            _LOG.warning("a record of a query could not be kept: %s", error)

    def close(self) -> None:
        """Write what is there, and end."""
        if self._writer is not None:
            self._writer.close(_CLOSE_SECONDS)
        if self._own is not None:
            self._own.close()


def telemetry_of(asked: Asked, record: Mapping[str, Any]) -> dict[Signal, bytes]:
    """A record as OTLP: a log record, and the span of the query that it is about.

    Args:
        asked: The query.
        record: Of it.

    Returns:
        Requests in JSON, by what they hold.
    """
    given = _TRACEPARENT.fullmatch(asked.traceparent)
    trace_id, parent = given.groups() if given else (secrets.token_hex(16), "")
    if trace_id == _NOWHERE[0] or parent == _NOWHERE[1]:
        trace_id, parent = secrets.token_hex(16), ""
    failed = asked.error is not None
    shared = {"traceId": trace_id, "spanId": secrets.token_hex(8)}
    ended_ns = asked.started_ns + round(asked.seconds * 1e9)
    attributes = [
        {"key": f"lakerunner.{name}", "value": _value(one)} for name, one in record.items()
    ]
    log = {
        **shared,
        "timeUnixNano": str(ended_ns),
        "severityText": "WARN" if failed else "INFO",
        "body": {"stringValue": f"{asked.caller.name} asked {asked.route}"},
        "attributes": attributes,
    }
    span = {
        **shared,
        "parentSpanId": parent,
        "name": asked.route,
        "kind": 2,
        "startTimeUnixNano": str(asked.started_ns),
        "endTimeUnixNano": str(ended_ns),
        "attributes": attributes,
        "status": {"code": 2 if failed else 1},
    }
    about = {"attributes": [{"key": "service.name", "value": {"stringValue": "lakerunner"}}]}
    logs = {"resource": about, "scopeLogs": [{"logRecords": [log]}]}
    spans = {"resource": about, "scopeSpans": [{"spans": [span]}]}
    return {
        Signal.LOGS: msgspec.json.encode({"resourceLogs": [logs]}),
        Signal.SPANS: msgspec.json.encode({"resourceSpans": [spans]}),
    }


def _value(value: object) -> dict[str, object]:
    match value:
        case float():
            return {"doubleValue": value}
        case int():
            return {"intValue": str(value)}
    return {"stringValue": str(value)}

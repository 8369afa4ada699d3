"""The three kinds of telemetry that an input may hold."""

from __future__ import annotations

from enum import StrEnum


class Signal(StrEnum):
    """A kind of telemetry: what an input holds. Where its rows lie is `lakerunner.schema.tables`'.

    Example:
        >>> Signal("logs")
        <Signal.LOGS: 'logs'>
    """

    LOGS = "logs"
    SPANS = "spans"
    METRICS = "metrics"

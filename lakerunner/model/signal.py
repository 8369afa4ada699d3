"""The three kinds of telemetry."""

from __future__ import annotations

from enum import StrEnum


class Signal(StrEnum):
    """A kind of telemetry; the value is also the name of its SQL table.

    Example:
        >>> Signal("logs")
        <Signal.LOGS: 'logs'>
    """

    LOGS = "logs"
    SPANS = "spans"
    METRICS = "metrics"

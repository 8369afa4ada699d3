"""The three kinds of telemetry that an input may hold."""

from __future__ import annotations

from enum import StrEnum

from lakerunner.errors import ConfigurationError, did_you_mean

_ALIASES = {"traces": "spans"}


class Signal(StrEnum):
    """A kind of telemetry: what an input holds. Where its rows lie is `lakerunner.schema.tables`'.

    Example:
        >>> Signal("logs")
        <Signal.LOGS: 'logs'>
        >>> Signal("traces")
        <Signal.SPANS: 'spans'>
    """

    LOGS = "logs"
    SPANS = "spans"
    METRICS = "metrics"

    @classmethod
    def _missing_(cls, value: object) -> Signal | None:
        """A signal by another name of it."""
        return cls(_ALIASES[value]) if isinstance(value, str) and value in _ALIASES else None


def read_signal(value: Signal | str) -> Signal:
    """A signal as somebody wrote it.

    Raises:
        ConfigurationError: There is none of that name.

    Example:
        >>> read_signal("trace")
        Traceback (most recent call last):
        lakerunner.errors.ConfigurationError: no signal 'trace'; did you mean 'traces'?
    """
    try:
        return Signal(value)
    except ValueError:
        known = did_you_mean(str(value), [*Signal, *_ALIASES])
        raise ConfigurationError(f"no signal {str(value)!r}{known}", signal=str(value)) from None

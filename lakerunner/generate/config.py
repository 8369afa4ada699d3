"""What to generate: a frozen description that, with its seed, fixes every byte but compression."""

from __future__ import annotations

from typing import Literal

import msgspec

from lakerunner.errors import ConfigurationError
from lakerunner.generate.shop import SERVICE_NAMES
from lakerunner.model.signal import Signal
from lakerunner.model.times import MAX_NS, NANOS

MOST_RECORDS = 1_000_000
"""Records in one object at most: about half a gigabyte, all of it in memory at once."""

MOST_SERIES = 1_000_000
"""Metric series at most; the state of all of them is in memory at once."""

Compression = Literal["gzip", "zstd", "none"]
Temporality = Literal["cumulative", "delta"]


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """A while in which the payment service fails and slows down, and checkouts fail with it.

    Attributes:
        start: When it begins, as a fraction of the generated duration.
        end: When it is over, likewise.
        failures: Share of charges that fail while it lasts (otherwise about 1 %).
        slowdown: How many times longer the payment service takes while it lasts.
    """

    start: float = 0.4
    end: float = 0.65
    failures: float = 0.45
    slowdown: float = 8.0

    def __post_init__(self) -> None:
        if not (0 <= self.start <= self.end <= 1 and 0 <= self.failures <= 1 <= self.slowdown):
            raise ConfigurationError(
                "an incident needs 0 <= start <= end <= 1, 0 <= failures <= 1 and slowdown >= 1; "
                f"this is {self}"
            )


class TelemetryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How much telemetry to generate, of what, and from when.

    Equal configs give equal records. Records lie in `[start_ns, start_ns + duration_s)`. Logs,
    spans and metrics are of the same requests: leaving one out changes nothing about the others.

    Attributes:
        seed: Any non-negative integer.
        signals: Kinds of telemetry to generate.
        signal: One kind alone; if given, it counts in place of `signals`.
        services: Names of the services that send telemetry, of `shop.SERVICES`.
        rate: Log records per second, over all services; spans are about as many.
        start_ns: Start of the interval, in nanoseconds since the epoch.
        duration_s: Length of the interval, in seconds.
        records_per_object: Log records, spans or metric points in each object; the last one of each
            kind holds what is left.
        organization: Part of the keys.
        collector: Part of the keys.
        compression: How objects are compressed.
        incident: The trouble to be found in the data; None for a quiet day.
        series: Metric series, about; what requests and processes measure is some 200 at least.
        metrics_interval_s: Seconds between two points of a series.
        temporality: Of counters and histograms.

    Example:
        >>> TelemetryConfig(rate=100, duration_s=60).records
        6000
    """

    seed: int = 0
    signals: tuple[Signal, ...] = (Signal.LOGS,)
    signal: Signal | None = None
    services: tuple[str, ...] = SERVICE_NAMES
    rate: float = 1000.0
    start_ns: int = 1_767_225_600 * NANOS
    duration_s: float = 600.0
    records_per_object: int = 5000
    organization: str = "default"
    collector: str = "collector-0"
    compression: Compression = "gzip"
    incident: Incident | None = Incident()
    series: int = 400
    metrics_interval_s: float = 15.0
    temporality: Temporality = "cumulative"

    def __post_init__(self) -> None:
        unknown = [name for name in self.services if name not in SERVICE_NAMES]
        wrong = {
            f"signals {self.signals}: name each of {', '.join(Signal)} once at most": (
                not self.signals
                or len({*self.signals}) < len(self.signals)
                or not {*self.signals} <= {*Signal}
            ),
            f"no service {', '.join(unknown)}; the shop has {', '.join(SERVICE_NAMES)}": unknown,
            "at least one service has to send telemetry": not self.services,
            f"seed {self.seed} is negative": self.seed < 0,
            f"rate {self.rate} is not a positive number": not 0 < self.rate <= NANOS,
            f"duration {self.duration_s} s is not a positive number": not self.duration_s > 0,
            f"{self.records_per_object} records per object; 1 to {MOST_RECORDS} can be made": (
                not 1 <= self.records_per_object <= MOST_RECORDS
            ),
            f"compression {self.compression!r} is none of gzip, zstd and none": (
                self.compression not in {"gzip", "zstd", "none"}
            ),
            f"{self.series} metric series; 0 to {MOST_SERIES} can be made": (
                not 0 <= self.series <= MOST_SERIES
            ),
            f"metrics interval {self.metrics_interval_s} s is less than a second": (
                not self.metrics_interval_s >= 1
            ),
            f"temporality {self.temporality!r} is neither cumulative nor delta": (
                self.temporality not in {"cumulative", "delta"}
            ),
        }
        for message, is_wrong in wrong.items():
            if is_wrong:
                raise ConfigurationError(message)
        for name in ("organization", "collector"):
            if not getattr(self, name) or "/" in getattr(self, name):
                raise ConfigurationError(f"{name} is one part of a key, without '/', and not empty")
        if not 0 <= self.start_ns <= MAX_NS - self.duration_ns:
            raise ConfigurationError("the interval lies outside the years 1970 to 2262")

    @property
    def kinds(self) -> tuple[Signal, ...]:
        """The kinds of telemetry to generate, in the order of the signals."""
        wanted = self.signals if self.signal is None else (self.signal,)
        return tuple(signal for signal in Signal if signal in wanted)

    @property
    def end_ns(self) -> int:
        """End of the interval: the first nanosecond after it."""
        return self.start_ns + self.duration_ns

    @property
    def duration_ns(self) -> int:
        """Length of the interval in nanoseconds."""
        return round(min(self.duration_s, 1e11) * NANOS)

    @property
    def records(self) -> int:
        """How many log records there will be, exactly."""
        return round(self.rate * self.duration_s)

    @property
    def objects(self) -> int:
        """How many objects of log records there will be, exactly."""
        return -(-self.records // self.records_per_object)

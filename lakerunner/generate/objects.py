"""Generated telemetry as objects of a bucket, laid out as a collector's S3 exporter does it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import zstandard
from isal import igzip

from lakerunner.generate.config import TelemetryConfig
from lakerunner.generate.requests import requests_of
from lakerunner.model.signal import Signal
from lakerunner.model.times import NANOS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakerunner.generate.config import Compression

ROOT = "otel-raw"
"""First part of every key."""

_NUMBERS, _STEP = 900_000_000, 654_188_429  # without a common divisor: no number comes twice
_ZSTD_LEVEL = 3

_NAMES = {Signal.LOGS: "logs", Signal.SPANS: "traces", Signal.METRICS: "metrics"}

_COMPRESSORS: dict[Compression, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": (".gz", lambda data: igzip.compress(data, mtime=0)),
    "zstd": (".zst", lambda data: zstandard.ZstdCompressor(_ZSTD_LEVEL).compress(data)),
    "none": ("", lambda data: data),
}


class TelemetryObject(NamedTuple):
    """One object of a bucket.

    Attributes:
        signal: Kind of telemetry in it.
        key: Its name in the bucket.
        data: Its content.
        records: How many log records, spans or metric points it holds.
    """

    signal: Signal
    key: str
    data: bytes
    records: int


def generate_objects(config: TelemetryConfig) -> Iterator[tuple[str, bytes]]:
    """Generate the objects that a config describes, those of each signal in the order of time.

    Objects are made as they are asked for; memory does not grow with their number. Each holds
    exactly `config.records_per_object` records, except the last one of its signal. Within an
    object, the records of each resource are ordered by time, and no record is older than any of
    that signal in an earlier object. The time of a span is here its end, when it is sent.

    Yields:
        Key and content:
        `otel-raw/<organization>/<collector>/year=…/month=…/day=…/hour=…/minute=…/logs_<n>.binpb.gz`,
        or `traces_<n>` or `metrics_<n>`. The minute is that of the object's last record.

    Example:
        >>> config = TelemetryConfig(rate=10, duration_s=3, records_per_object=20)
        >>> for key, data in generate_objects(config):
        ...     print(key)
        otel-raw/default/collector-0/year=2026/month=01/day=01/hour=00/minute=00/logs_...binpb.gz
        otel-raw/default/collector-0/year=2026/month=01/day=01/hour=00/minute=00/logs_...binpb.gz
    """
    for each in telemetry_objects(config):
        yield each.key, each.data


def telemetry_objects(config: TelemetryConfig) -> Iterator[TelemetryObject]:
    """As `generate_objects`, saying more of each."""
    suffix, compress = _COMPRESSORS[config.compression]
    numbers = dict.fromkeys(Signal, 0)
    for signal, request in requests_of(config):
        key = _key(config, signal, numbers[signal], request.last_ns)
        yield TelemetryObject(signal, key + suffix, compress(request.data), request.records)
        numbers[signal] += 1


def logs_request(records: int, *, seed: int = 0) -> bytes:
    """One uncompressed `ExportLogsServiceRequest` with exactly this many records.

    Args:
        records: How many; at 1,000 records a second, from 2026-01-01 on.
        seed: Any non-negative integer.

    Example:
        >>> from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
        >>> request = logs_service_pb2.ExportLogsServiceRequest.FromString(logs_request(100))
        >>> sum(len(each.scope_logs[0].log_records) for each in request.resource_logs)
        100
    """
    config = TelemetryConfig(
        seed=seed, duration_s=max(records, 1) / 1000, records_per_object=max(records, 1)
    )
    return next(request.data for _, request in requests_of(config)) if records else b""


def _key(config: TelemetryConfig, signal: Signal, number: int, at_ns: int) -> str:
    at = datetime.fromtimestamp(at_ns // NANOS, UTC)
    name = 100_000_000 + (config.seed * 7919 + number * _STEP) % _NUMBERS
    return (
        f"{ROOT}/{config.organization}/{config.collector}/"
        f"{at:year=%Y/month=%m/day=%d/hour=%H/minute=%M}/{_NAMES[signal]}_{name}.binpb"
    )

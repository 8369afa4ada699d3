"""Generated telemetry as objects of a bucket, laid out as a collector's S3 exporter does it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import zstandard
from isal import igzip

from lakerunner.generate.config import TelemetryConfig
from lakerunner.generate.logs import LogsEncoder
from lakerunner.generate.shop import resources_of
from lakerunner.generate.traffic import Traffic
from lakerunner.model.times import NANOS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakerunner.generate.config import Compression

ROOT = "otel-raw"
"""First part of every key."""

_NUMBERS, _STEP = 900_000_000, 654_188_429  # without a common divisor: no number comes twice
_ZSTD_LEVEL = 3

_COMPRESSORS: dict[Compression, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": (".gz", lambda data: igzip.compress(data, mtime=0)),
    "zstd": (".zst", lambda data: zstandard.ZstdCompressor(_ZSTD_LEVEL).compress(data)),
    "none": ("", lambda data: data),
}


def generate_objects(config: TelemetryConfig) -> Iterator[tuple[str, bytes]]:
    """Generate the objects that a config describes, in the order of their records' times.

    Objects are made as they are asked for; memory does not grow with their number. Each holds
    exactly `config.records_per_object` records, except the last one. Within an object, the records
    of each resource are ordered by time, and no record is older than any in an earlier object.

    Yields:
        Key and content:
        `otel-raw/<organization>/<collector>/year=…/month=…/day=…/hour=…/minute=…/logs_<n>.binpb.gz`.
        The minute is that of the object's last record.

    Example:
        >>> config = TelemetryConfig(rate=10, duration_s=3, records_per_object=20)
        >>> for key, data in generate_objects(config):
        ...     print(key)
        otel-raw/default/collector-0/year=2026/month=01/day=01/hour=00/minute=00/logs_...binpb.gz
        otel-raw/default/collector-0/year=2026/month=01/day=01/hour=00/minute=00/logs_...binpb.gz
    """
    suffix, compress = _COMPRESSORS[config.compression]
    for number, (last_ns, data) in enumerate(_requests(config)):
        yield _key(config, number, last_ns) + suffix, compress(data)


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
    return next(data for _, data in _requests(config)) if records else b""


def _requests(config: TelemetryConfig) -> Iterator[tuple[int, bytes]]:
    """The time of the last record, and the bytes, of each request."""
    encoder = _encoder(config.services)
    size = config.records_per_object
    for rows in Traffic(config).blocks():
        for position, data in enumerate(encoder.requests(rows, size)):
            last = rows["time"][min((position + 1) * size, len(rows)) - 1]
            yield int(last), data


@lru_cache(maxsize=4)
def _encoder(services: tuple[str, ...]) -> LogsEncoder:
    return LogsEncoder(resources_of(services))


def _key(config: TelemetryConfig, number: int, at_ns: int) -> str:
    at = datetime.fromtimestamp(at_ns // NANOS, UTC)
    name = 100_000_000 + (config.seed * 7919 + number * _STEP) % _NUMBERS
    return (
        f"{ROOT}/{config.organization}/{config.collector}/"
        f"{at:year=%Y/month=%m/day=%d/hour=%H/minute=%M}/{config.signal}_{name}.binpb"
    )
